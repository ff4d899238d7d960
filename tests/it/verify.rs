//! `maskstream verify`: damage that the tests make themselves, at places that the `tar` crate tells.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use maskstream::index::Sidecar;
use maskstream::{Loader, MaskFilter, OnCorrupt, OnError, Quarantine, ShardSet};
use serde_json::{Value, json};

use crate::command::{run, text};
use crate::fixture::{Dice, Made, gzip, jpeg, made_many, members, pack, read_with_tar};

/// What the command prints, and its exit status.
fn verify(dir: &Path, args: &str) -> (String, i32) {
    let output = run(dir, &format!("verify {args}"));
    let status = output.status.code().unwrap();
    assert!(status < 2, "{args}: {}", text(&output.stderr));
    (text(&output.stdout), status)
}

/// The defects and the totals of `--json`.
fn verify_json(dir: &Path, args: &str) -> (Vec<Value>, Value) {
    let (out, status) = verify(dir, &format!("{args} --json"));
    let mut lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let summary = lines.pop().unwrap()["summary"].clone();
    assert_eq!(status == 0, summary["defects"] == 0, "{out}");
    (lines, summary)
}

/// Shard, kind, member without `./`, and offset of the defects that are no notes.
fn defects(dir: &Path, args: &str) -> BTreeSet<(String, String, String, Option<u64>)> {
    let (lines, summary) = verify_json(dir, args);
    let found = lines.iter().filter(|line| line["severity"] != "note");
    let word = |line: &Value, field: &str| line[field].as_str().unwrap_or_default().trim_start_matches("./").to_owned();
    let found: Vec<_> = found
        .map(|line| (word(line, "shard"), word(line, "kind"), word(line, "member"), line["offset"].as_u64()))
        .collect();
    assert_eq!(summary["defects"], found.len());
    assert!(lines.iter().all(|line| !line["reason"].as_str().unwrap().is_empty()));
    found.into_iter().collect()
}

fn kinds(dir: &Path, args: &str) -> BTreeSet<String> {
    defects(dir, args).into_iter().map(|(_, kind, ..)| kind).collect()
}

fn tar(samples: &[Made]) -> Vec<u8> {
    pack(&members(samples))
}

/// Flips a bit so that a marker comes to stand in the image data, where the standard allows none.
fn flip_into_marker(jpeg: &mut [u8]) {
    let scan = jpeg.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap() + 14;
    let is_marker = |at: &usize| {
        let [before, byte, after] = [jpeg[at - 1], jpeg[*at], jpeg[at + 1]];
        before != 0xff && (byte ^ 0xff).count_ones() == 1 && !matches!(after, 0 | 0xff | 0xd0..=0xd7)
    };
    let at = (scan..jpeg.len() - 3).find(is_marker).unwrap();
    jpeg[at] = 0xff;
}

/// Changes a file as a disk does: its time stays.
fn rot(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let time = fs::metadata(path).unwrap().modified().unwrap();
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
    File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

fn place(tar: &[u8], name: &str) -> (u64, Vec<u8>) {
    read_with_tar(tar)[name].clone()
}

fn edit_json(sample: &mut Made, edit: impl FnOnce(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&sample.json).unwrap();
    edit(&mut value);
    sample.json = serde_json::to_vec(&value).unwrap();
}

/// Writes `a.tar`, indexes it if wanted, lets `rotten` change it, and checks which kinds of defects each level finds.
/// One of them is of this member, and has its offset in the tar.
fn finds(
    bytes: &[u8],
    indexed: bool,
    rotten: impl FnOnce(&mut Vec<u8>),
    member: Option<(&str, u64)>,
    levels: [&[&str]; 3],
) {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fs::write(dir.join("a.tar"), bytes).unwrap();
    if indexed {
        assert!(run(dir, "index a.tar").status.success());
    }
    rot(&dir.join("a.tar"), rotten);
    for (level, expected) in ["header", "crc", "full"].into_iter().zip(levels) {
        let args = format!("a.tar --level {level}");
        let found = defects(dir, &args);
        assert_eq!(kinds(dir, &args), expected.iter().map(|&kind| kind.to_owned()).collect(), "{level}: {found:?}");
        if let (Some((name, offset)), false) = (member, expected.is_empty()) {
            assert!(found.iter().any(|found| found.2 == name && found.3 == Some(offset)), "{level}: {found:?}");
        }
        if !indexed {
            // The next level is to see what the first one sees.
            let _ = fs::remove_file(dir.join("a.tar.msidx"));
        }
    }
}

#[test]
fn a_flipped_bit_in_an_image_is_found_where_it_is() {
    let mut samples = made_many(6);
    let sound = tar(&samples);
    let name = samples[3].image_name();
    let (offset, image) = place(&sound, &name);
    let mut bad = image.clone();
    flip_into_marker(&mut bad);
    samples[3].image = bad.clone();
    // Before the first indexing nothing knows the bytes but the decoder.
    finds(&tar(&samples), false, |_| (), Some((&name, offset)), [&[], &[], &["image cannot be decoded"]]);
    // A later one is not what was indexed, whether it can be decoded or not.
    let into = |bytes: &mut Vec<u8>| bytes[offset as usize..][..bad.len()].copy_from_slice(&bad);
    finds(&sound, true, into, Some((&name, offset)), [&[], &["changed member"], &["changed member"]]);
    let last = offset as usize + image.len() - 3;
    finds(
        &sound,
        true,
        |bytes| bytes[last] ^= 1,
        Some((&name, offset)),
        [&[], &["changed member"], &["changed member"]],
    );
}

#[test]
fn a_flipped_bit_in_a_json_is_found_where_it_is() {
    let sound = tar(&made_many(6));
    let (offset, json) = place(&sound, "sa_2.json");
    let flip = |bytes: &mut Vec<u8>| bytes[offset as usize] ^= 1;
    let broken: &[&str] = &["broken annotations"];
    let mut flipped = sound.clone();
    flip(&mut flipped);
    finds(&flipped, false, |_| (), Some(("sa_2.json", offset)), [broken; 3]);
    let both: &[&str] = &["broken annotations", "changed member"];
    finds(&sound, true, flip, Some(("sa_2.json", offset)), [broken, both, both]);
    // A digit of a score: still good JSON.
    let digit = json.windows(16).position(|word| word == b"\"predicted_iou\":").unwrap() + 18;
    let flip = |bytes: &mut Vec<u8>| bytes[offset as usize + digit] ^= 1;
    finds(&sound, true, flip, Some(("sa_2.json", offset)), [&[], &["changed member"], &["changed member"]]);
}

#[test]
fn damaged_gzip_streams_are_found_with_an_index_and_without() {
    let sound = tar(&made_many(6));
    let (offset, image) = place(&sound, "sa_4.jpg");
    // Stored, so that the bytes of the member can be found in the file.
    let stored = gzip(&sound, 0);
    let at = stored.windows(image.len()).position(|bytes| bytes == image).unwrap() + image.len() - 3;
    let checksum: &[&str] = &["wrong checksum"];
    let changed: &[&str] = &["changed member", "wrong checksum"];
    // Of so few samples, the lowest level compares all with the index.
    let rot = |bytes: &mut Vec<u8>| bytes[at] ^= 1;
    finds(&stored, true, rot, Some(("sa_4.jpg", offset)), [&["changed member"], changed, changed]);
    // The checksum and the length at the end.
    let packed = gzip(&sound, 6);
    for back in [8, 1] {
        let flip = |bytes: &mut Vec<u8>| {
            let end = bytes.len();
            bytes[end - back] ^= 1;
        };
        let mut flipped = packed.clone();
        flip(&mut flipped);
        finds(&flipped, false, |_| (), None, [checksum; 3]);
        finds(&packed, true, flip, None, [&[], checksum, checksum]);
    }
    // The JSON come first, and the last image is cut.
    let broken: &[&str] = &["annotations without image", "broken shard"];
    finds(&packed[..packed.len() - 20], false, |_| (), None, [broken; 3]);
    // Another size is another shard: it is indexed again, with what its old index still leads to.
    finds(&packed, true, |bytes| bytes.truncate(bytes.len() - 20), None, [broken; 3]);
}

#[test]
fn a_broken_stream_costs_no_sample_behind_the_break_that_its_index_leads_to() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let samples = made_many(12);
    let sound = tar(&samples);
    fs::write(dir.join("a.tar"), gzip(&sound, 6)).unwrap();
    assert!(run(dir, "index a.tar").status.success());
    rot(&dir.join("a.tar"), |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle..middle + 12].fill(0xff);
    });
    for level in ["crc", "full"] {
        let found = defects(dir, &format!("a.tar --level {level} --quarantine bad.jsonl --force"));
        assert!(found.iter().any(|(_, kind, ..)| kind == "broken shard" || kind == "wrong checksum"), "{found:?}");
        let lost: BTreeSet<i64> = found
            .iter()
            .filter(|(_, kind, ..)| kind == "changed member" || kind == "member cannot be read")
            .map(|(_, _, member, offset)| {
                assert_eq!(*offset, Some(place(&sound, member).0));
                member.trim_start_matches("sa_").split('.').next().unwrap().parse().unwrap()
            })
            .collect();
        // What a loader gets with this index.
        let failed = failing(&dir.join("a.tar"));
        assert_eq!(lost, failed);
        assert!(!lost.is_empty() && lost.len() < samples.len());
        assert_eq!(listed(&dir.join("bad.jsonl")), lost);
    }
}

/// The image ids of a quarantine list.
fn listed(path: &Path) -> BTreeSet<i64> {
    let list = fs::read_to_string(path).unwrap();
    let ids: Vec<i64> =
        list.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["image_id"].as_i64().unwrap()).collect();
    assert_eq!(Quarantine::load(path).unwrap().len(), ids.len());
    ids.into_iter().collect()
}

#[test]
fn shards_that_lack_something_are_found_at_every_level() {
    let samples = made_many(5);
    let sound = tar(&samples);
    let broken: &[&str] = &["broken shard"];
    // In the middle of a member: the JSON come first, so all images behind it are lost.
    let (offset, _) = place(&sound, "sa_3.json");
    let kinds: &[&str] = &["annotations without image", "broken shard"];
    finds(&sound[..offset as usize + 100], false, |_| (), None, [kinds; 3]);
    finds(&[&sound[..], b"and more".repeat(200).as_slice()].concat(), false, |_| (), None, [broken; 3]);
    for bytes in [&b""[..], b"no tar at all"] {
        finds(bytes, false, |_| (), None, [broken; 3]);
    }
    let mut some = members(&samples);
    some.retain(|(name, _)| name != "sa_2.json");
    let some = pack(&some);
    let (offset, _) = place(&some, "sa_2.jpg");
    finds(&some, false, |_| (), Some(("sa_2.jpg", offset)), [&["image without annotations"]; 3]);
    finds(&pack(&[]), false, |_| (), None, [&["shard without samples"]; 3]);
}

#[test]
fn what_json_and_image_say_of_each_other_is_compared() {
    let mut samples = made_many(5);
    // Sample 4 has 40 x 28 pixels.
    samples[3].image = jpeg(28, 40, 9);
    let swapped = tar(&samples);
    let (offset, _) = place(&swapped, "sa_4.jpg");
    let unlike: &[&str] = &["image cannot be decoded"];
    for (bytes, indexed) in [(swapped.clone(), false), (swapped.clone(), true), (gzip(&swapped, 6), false)] {
        finds(&bytes, indexed, |_| (), Some(("sa_4.jpg", offset)), [unlike; 3]);
    }

    let mut samples = made_many(5);
    edit_json(&mut samples[1], |json| {
        let area = json["annotations"][1]["area"].as_u64().unwrap();
        json["annotations"][1]["area"] = json!(area + 500);
    });
    edit_json(&mut samples[2], |json| json["annotations"][0]["bbox"] = json!([0, 0, 1, 1]));
    edit_json(&mut samples[4], |json| json["annotations"][0]["segmentation"]["counts"] = json!("0"));
    let wrong = tar(&samples);
    let (offset, _) = place(&wrong, "sa_2.json");
    let found: &[&str] = &["mask cannot be read", "mask unlike its area", "mask unlike its box"];
    finds(&wrong, false, |_| (), Some(("sa_2.json", offset)), [&[], &[], found]);
}

/// Shards of all kinds in `s`, some damaged.
fn mixed(dir: &Path) {
    fs::create_dir(dir.join("s")).unwrap();
    let mut samples = made_many(8);
    fs::write(dir.join("s/a_sound.tar"), tar(&samples)).unwrap();
    fs::write(dir.join("s/b_gzip.tar"), gzip(&tar(&samples), 6)).unwrap();
    flip_into_marker(&mut samples[2].image);
    samples[5].image = jpeg(9, 9, 1);
    edit_json(&mut samples[6], |json| json["annotations"][0]["segmentation"]["counts"] = json!("0"));
    edit_json(&mut samples[1], |json| json["annotations"][0]["area"] = json!(7));
    let mut members = members(&samples);
    members.push(("README.txt".to_owned(), b"notes".to_vec()));
    let bad = pack(&members);
    fs::write(dir.join("s/c_bad.tar"), &bad).unwrap();
    fs::write(dir.join("s/d_cut.tar"), &gzip(&bad, 6)[..3000]).unwrap();
    fs::write(dir.join("s/e_empty.tar"), b"").unwrap();
    fs::write(dir.join("s/f_sound.tar"), tar(&made_many(3))).unwrap();
}

#[test]
fn sound_shards_are_whole_and_get_an_index_where_all_of_them_was_read() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    for (name, bytes) in [("a.tar", tar(&made_many(7))), ("b.tar", gzip(&tar(&made_many(7)), 6))] {
        fs::write(dir.join(name), bytes).unwrap();
        for level in ["header", "crc", "full", "full"] {
            let (out, status) = verify(dir, &format!("{name} --level {level}"));
            assert_eq!(status, 0, "{out}");
            assert!(out.starts_with(&format!("{name}: whole: ")) && out.contains("1 of 1 shard whole"), "{out}");
            let is_indexed = level != "header" || name == "b.tar";
            assert_eq!(dir.join(format!("{name}.msidx")).exists(), is_indexed, "{name} {level}");
        }
    }
}

#[test]
fn output_fits_80_columns_and_is_the_same_for_any_number_of_threads() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    mixed(dir);
    for level in ["header", "crc", "full"] {
        let args = |jobs: usize| format!("s s/g{{1..2}}.tar --level {level} --jobs {jobs} --index-dir none{jobs}");
        let (out, status) = verify(dir, &args(1));
        assert_eq!(status, 1);
        assert!(out.lines().all(|line| line.chars().count() <= 80), "{out}");
        assert!(out.contains("s/g2.tar: shard cannot be read:"), "{out}");
        assert!(out.contains("s/c_bad.tar: image cannot be decoded: member ./sa_6.jpg,"), "{out}");
        assert!(out.contains("s/c_bad.tar: note: unknown member: member ./README.txt,"), "{out}");
        assert_eq!(verify(dir, &args(8)).0, out);
        let json = verify_json(dir, &args(1));
        assert_eq!(verify_json(dir, &args(8)), json);
        assert_eq!(json.1["shards"], 8);
        assert_eq!(json.1["whole_shards"], 3);
    }
}

#[test]
fn an_index_of_another_version_of_the_file_is_made_anew_with_a_note() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let path = dir.join("s.tar");
    fs::write(&path, tar(&made_many(6))).unwrap();
    assert_eq!(verify(dir, "s.tar").1, 0);
    let mut bytes = fs::read(&path).unwrap();
    let (offset, jpeg) = place(&bytes, "sa_3.jpg");
    // Still a JPEG, and now a newer file.
    bytes[offset as usize + jpeg.len() - 20] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let later = std::time::SystemTime::now() + Duration::from_secs(5);
    File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
    let (found, _) = verify_json(dir, "s.tar --level crc");
    let notes: Vec<&Value> = found.iter().filter(|defect| defect["severity"] == "note").collect();
    assert!(notes.len() == 1 && notes[0]["kind"] == "index made anew", "{found:?}");
    // The new one is of this file.
    assert_eq!(verify_json(dir, "s.tar --level crc").0, Vec::<Value>::new());
}

/// Gives the header at this place another name.
fn rename(tar: &mut [u8], header: usize, name: &str) {
    let block: &mut [u8; 512] = (&mut tar[header..header + 512]).try_into().unwrap();
    block[..100].fill(0);
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

#[test]
fn names_that_were_swapped_under_an_index_are_found_at_every_level() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let path = dir.join("s.tar");
    fs::write(&path, tar(&made_many(6))).unwrap();
    assert_eq!(verify(dir, "s.tar").1, 0);
    rot(&path, |bytes| {
        let [a, b] = ["sa_1.jpg", "sa_2.jpg"].map(|name| place(bytes, name).0 as usize - 512);
        rename(bytes, a, "./sa_2.jpg");
        rename(bytes, b, "./sa_1.jpg");
    });
    for level in ["crc", "full"] {
        assert!(kinds(dir, &format!("s.tar --level {level}")).contains("renamed member"), "{level}");
    }
}

#[test]
fn a_sample_is_not_bad_because_another_one_has_a_link_to_its_image() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let samples = made_many(6);
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in members(&samples) {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, &bytes[..]).unwrap();
    }
    // The image of a sample with the annotations of one whose image has another size.
    let other = samples.iter().find(|sample| [sample.width, sample.height] != [samples[0].width, samples[0].height]);
    let (first, other) = (&samples[0], other.unwrap());
    for (name, target) in [("sa_99.jpg", first.image_name()), ("sa_99.json", other.json_name())] {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Link);
        header.set_size(0);
        builder.append_link(&mut header, name, &target).unwrap();
    }
    let bytes = builder.into_inner().unwrap();
    for (file, bytes) in [("plain.tar", bytes.clone()), ("gzip.tar", gzip(&bytes, 6))] {
        fs::write(dir.join(file), bytes).unwrap();
        let (_, summary) = verify_json(dir, &format!("{file} --quarantine {file}.jsonl"));
        assert_eq!(summary["bad_samples"], 1, "{file}: {summary}");
        let list = fs::read_to_string(dir.join(format!("{file}.jsonl"))).unwrap();
        assert!(list.lines().count() == 1 && list.contains("sa_99.jpg"), "{list}");
    }
}

#[test]
fn inspect_and_verify_agree() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    mixed(dir);
    let output = run(dir, "inspect s --decode --json");
    let mut inspected = Vec::new();
    for line in text(&output.stdout).lines() {
        let summary: Value = serde_json::from_str(line).unwrap();
        let findings = summary["findings"].as_array().unwrap().iter();
        inspected.extend(findings.map(|finding| format!("{}: {}", summary["shard"], finding.as_str().unwrap())));
    }
    let (lines, _) = verify_json(dir, "s");
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    let verified = lines.iter().map(|line| {
        let [kind, member, reason] = ["kind", "member", "reason"].map(|field| word(&line[field]));
        format!("{}: {kind}: member {member}, byte {}: {reason}", line["shard"], line["offset"])
    });
    assert_eq!(verified.collect::<Vec<_>>(), inspected);
    assert!(inspected.len() > 6);
}

#[test]
fn the_quarantine_list_has_the_damaged_samples_and_an_epoch_without_them_has_no_error() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    mixed(dir);
    verify(dir, "s/c_bad.tar s/a_sound.tar --quarantine bad.jsonl");
    assert_eq!(listed(&dir.join("bad.jsonl")), BTreeSet::from([3, 6, 7]));
    let epoch = |list: Option<&str>| {
        let set = ShardSet::builder().filter(MaskFilter::all()).sidecar(Sidecar::Beside);
        let set = list.into_iter().fold(set, |set, list| set.quarantine(Quarantine::load(dir.join(list)).unwrap()));
        let set = set.open(&[dir.join("s/c_bad.tar")]).unwrap();
        let loader = Loader::builder().batch_size(2).image_size(16).build(set).unwrap();
        let mut epoch = loader.epoch(0).unwrap();
        let failed = epoch.any(|batch| batch.is_err());
        (failed, epoch.report().delivered)
    };
    assert!(epoch(None).0);
    assert_eq!(epoch(Some("bad.jsonl")), (false, 5));

    // A sample that has changed since it was indexed fails with that index.
    let (offset, image) = place(&fs::read(dir.join("s/c_bad.tar")).unwrap(), "sa_8.jpg");
    rot(&dir.join("s/c_bad.tar"), |bytes| bytes[offset as usize + image.len() - 3] ^= 1);
    assert!(epoch(Some("bad.jsonl")).0);
    verify(dir, "s/c_bad.tar --quarantine more.jsonl");
    assert_eq!(listed(&dir.join("more.jsonl")), BTreeSet::from([3, 6, 7, 8]));
    assert_eq!(epoch(Some("more.jsonl")), (false, 4));

    // Nothing is overwritten unasked, and a list of nothing is a list.
    let before = fs::read(dir.join("bad.jsonl")).unwrap();
    let output = run(dir, "verify s/a_sound.tar --quarantine bad.jsonl");
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(fs::read(dir.join("bad.jsonl")).unwrap(), before);
    verify(dir, "s/a_sound.tar --quarantine bad.jsonl --force");
    assert!(listed(&dir.join("bad.jsonl")).is_empty());
}

/// The samples that a loader fails on, all masks included.
fn failing(path: &Path) -> BTreeSet<i64> {
    let set = ShardSet::builder().filter(MaskFilter::all()).on_corrupt(OnCorrupt::KEEP).use_unverified(true);
    let Ok(set) = set.open(&[path]) else { return BTreeSet::new() };
    let loader =
        Loader::builder().batch_size(1).image_size(16).mask_size([8, 8]).top_k(50).on_error(OnError::skip(1000));
    let loader = loader.build(set).unwrap();
    let mut failed = BTreeSet::new();
    for batch in loader.epoch(0).unwrap() {
        for error in batch.unwrap().errors() {
            failed.insert(loader.shards().unwrap().entry(error.sample).unwrap().image_id);
        }
    }
    failed
}

#[test]
fn what_a_loader_fails_on_is_listed_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, mut dice) = (dir.path(), Dice(18));
    let sound = tar(&made_many(9));
    let (mut listed_ones, mut sound_ones) = (0, 0);
    for round in 0..60 {
        let path = dir.join(format!("{round}.tar"));
        let bytes = match round % 3 {
            0 => sound.clone(),
            1 => gzip(&sound, 6),
            _ => gzip(&sound, 0),
        };
        fs::write(&path, &bytes).unwrap();
        if round % 2 == 0 {
            assert!(run(dir, &format!("index {round}.tar")).status.success());
        }
        rot(&path, |bytes| {
            for _ in 0..=dice.below(3) {
                let at = dice.below(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << dice.below(8);
            }
        });
        verify(dir, &format!("{round}.tar --quarantine {round}.jsonl"));
        let (listed, failing) = (listed(&dir.join(format!("{round}.jsonl"))), failing(&path));
        assert_eq!(listed, failing, "round {round}");
        *if listed.is_empty() { &mut sound_ones } else { &mut listed_ones } += 1;
    }
    assert!(listed_ones > 10 && sound_ones > 5, "{listed_ones} {sound_ones}");
}

/// The output of a run that another one preceded: the number of skipped shards may differ.
fn resumed(dir: &Path, args: &str) -> (Vec<Value>, Value, u64) {
    let (lines, mut summary) = verify_json(dir, args);
    let skipped = summary["resumed_shards"].take().as_u64().unwrap();
    (lines, summary, skipped)
}

#[test]
fn a_run_that_was_killed_at_any_byte_of_its_state_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fs::create_dir(dir.join("s")).unwrap();
    let mut samples = made_many(3);
    fs::write(dir.join("s/b.tar"), tar(&samples)).unwrap();
    flip_into_marker(&mut samples[1].image);
    fs::write(dir.join("s/a.tar"), tar(&samples)).unwrap();
    fs::write(dir.join("s/c.tar"), b"").unwrap();
    let args = "s --jobs 1 --quarantine bad.jsonl --force";
    verify(dir, args);
    let plain = verify(dir, args).0;
    let list = fs::read(dir.join("bad.jsonl")).unwrap();
    let (lines, summary, skipped) = resumed(dir, &format!("{args} --state all"));
    assert_eq!((lines.len(), skipped), (2, 0));
    let all = fs::read(dir.join("all")).unwrap();
    let last = all[..all.len() - 1].iter().rposition(|&byte| byte == b'\n').unwrap() + 1;
    let title = all.iter().position(|&byte| byte == b'\n').unwrap();
    for cut in [0, 1, title, title + 1].into_iter().chain(last..=all.len()) {
        fs::write(dir.join("cut"), &all[..cut]).unwrap();
        let complete = all[..cut].iter().filter(|&&byte| byte == b'\n').count().saturating_sub(1);
        let again = resumed(dir, &format!("{args} --state cut"));
        assert_eq!(again, (lines.clone(), summary.clone(), complete as u64), "{cut}");
        assert_eq!(fs::read(dir.join("bad.jsonl")).unwrap(), list);
        // Now it is complete: nothing is read again.
        assert_eq!(fs::read(dir.join("cut")).unwrap().len(), all.len());
    }
    assert_eq!(verify(dir, &format!("{args} --state cut")).0, plain);
}

#[test]
fn a_state_is_of_the_shards_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fs::write(dir.join("a.tar"), tar(&made_many(3))).unwrap();
    fs::write(dir.join("b.tar"), tar(&made_many(4))).unwrap();
    let skipped = |args: &str| resumed(dir, &format!("a.tar b.tar --state state {args}")).2;
    // Indexes are made by the first level that reads all, and belong to what is remembered.
    assert_eq!([skipped("--level header"), skipped("--level header")], [0, 2]);
    assert_eq!([skipped("--level full"), skipped("--level crc"), skipped("--level full")], [0, 2, 2]);
    fs::write(dir.join("b.tar"), tar(&made_many(5))).unwrap();
    assert_eq!([skipped(""), skipped("")], [1, 2]);
    // The same bytes at another time may be others.
    File::options().write(true).open(dir.join("b.tar")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    assert_eq!([skipped(""), skipped("")], [1, 2]);
    // Checksums were not computed before.
    fs::write(dir.join("sums"), format!("{:032x}  a.tar\n", 0)).unwrap();
    assert_eq!([skipped("--md5 sums"), skipped("--md5 sums"), skipped("")], [0, 2, 2]);
    // A limit is of the run, not of the shard.
    let limited = "a.tar --state limited --max-image-pixels 100";
    assert_eq!([resumed(dir, limited).2, resumed(dir, limited).2], [0, 0]);

    for foreign in [&b"notes of mine\n"[..], b"{\"shard\":\"a.tar\"}\n", b"{\"maskstream\":\"verify\",\"version\":2}\n"]
    {
        fs::write(dir.join("mine"), foreign).unwrap();
        let output = run(dir, "verify a.tar --state mine");
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
        assert_eq!(fs::read(dir.join("mine")).unwrap(), foreign);
    }
    let output = run(dir, "verify a.tar --state a.tar");
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(fs::read(dir.join("a.tar")).unwrap(), tar(&made_many(3)));
}

#[test]
#[cfg(target_os = "linux")]
fn a_run_that_a_signal_ends_goes_on() {
    use rustix::process::{Pid, Signal, kill_process};
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fs::create_dir(dir.join("s")).unwrap();
    let mut samples = made_many(30);
    flip_into_marker(&mut samples[7].image);
    let shard = tar(&samples);
    for number in 10..50 {
        fs::write(dir.join(format!("s/{number}.tar")), &shard).unwrap();
    }
    let args = "s --jobs 1 --quarantine bad.jsonl --force";
    let (lines, summary, _) = resumed(dir, args);
    let list = fs::read(dir.join("bad.jsonl")).unwrap();
    for (signal, name, status) in [(Signal::KILL, "kill", None), (Signal::INT, "int", Some(130))] {
        let mut command = Command::new("env");
        command.current_dir(dir).args(["--default-signal=INT", env!("CARGO_BIN_EXE_maskstream"), "verify"]);
        command.args(args.split(' ')).args(["--state", name]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let start = Instant::now();
        let count = || fs::read_to_string(dir.join(name)).unwrap_or_default().matches('\n').count();
        while count() < 4 {
            assert!(start.elapsed() < Duration::from_secs(60));
            std::thread::sleep(Duration::from_micros(200));
        }
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), status);
        assert!(count() < 41, "it ended before the signal");
        let again = resumed(dir, &format!("{args} --state {name}"));
        assert!(again.2 >= 3 && again.2 < 40);
        assert_eq!((&again.0, &again.1), (&lines, &summary));
        assert_eq!(fs::read(dir.join("bad.jsonl")).unwrap(), list);
        assert_eq!(resumed(dir, &format!("{args} --state {name}")).2, 40);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn published_checksums_are_those_of_md5sum() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut plain = members(&made_many(6));
    // Members that nobody else reads.
    plain.insert(3, ("big.bin".to_owned(), vec![7; 300_000]));
    plain.push(("end.bin".to_owned(), vec![8; 100_000]));
    fs::write(dir.join("a.tar"), pack(&plain)).unwrap();
    fs::write(dir.join("b.tar"), gzip(&pack(&plain), 6)).unwrap();
    fs::write(dir.join("c.tar"), &gzip(&pack(&plain), 6)[..4000]).unwrap();
    fs::write(dir.join("d.tar"), b"").unwrap();
    let output = Command::new("md5sum").current_dir(dir).args(["a.tar", "-b", "b.tar", "c.tar"]).output().unwrap();
    fs::write(dir.join("sums"), &output.stdout).unwrap();
    for level in ["header", "crc", "full", "full"] {
        let (lines, summary) = verify_json(dir, &format!(". --level {level} --md5 sums"));
        let counts = json!({"matching": 3, "differing": 0, "without_a_line": 1, "lines_without_a_shard": 0});
        assert_eq!(summary["md5"], counts, "{level}");
        // The right sum of a damaged file does not make it whole.
        assert!(lines.iter().any(|line| line["shard"] == "./c.tar" && line["kind"] == "broken shard"));
        assert!(lines.iter().any(|line| line["shard"] == "./d.tar" && line["kind"] == "no published MD5"));
    }
    let sums = text(&output.stdout);
    let table: Vec<_> = sums.lines().map(|line| format!("{}\t{}\n", &line[34..], line[..32].to_uppercase())).collect();
    let other = format!("file_name\tmd5\n{}other.tar\t{}\n", table.concat(), "0".repeat(32));
    fs::write(dir.join("table"), other).unwrap();
    let (_, summary) = verify_json(dir, "a.tar b.tar --level crc --md5 table");
    let counts = json!({"matching": 2, "differing": 0, "without_a_line": 0, "lines_without_a_shard": 2});
    assert_eq!(summary["md5"], counts);
    fs::write(dir.join("wrong"), sums.replacen(&sums[..1], if sums.starts_with('0') { "1" } else { "0" }, 1)).unwrap();
    let (lines, _) = verify_json(dir, "a.tar b.tar --level header --md5 wrong");
    let wrong: Vec<_> = lines.iter().filter(|line| line["kind"] == "wrong MD5").map(|line| &line["shard"]).collect();
    assert_eq!(wrong, ["a.tar"]);
    assert!(lines[0]["reason"].as_str().unwrap().contains(&sums[..32]));
    for bad in ["", "a.tar\nb.tar\n"] {
        fs::write(dir.join("bad"), bad).unwrap();
        assert_eq!(run(dir, "verify a.tar --md5 bad").status.code(), Some(2));
    }
    assert_eq!(run(dir, "verify a.tar --md5 absent").status.code(), Some(2));
}

#[test]
fn arguments_that_name_nothing_are_wrong_and_what_is_missing_among_others_is_a_defect() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fs::write(dir.join("a1.tar"), tar(&made_many(3))).unwrap();
    fs::write(dir.join("a4.tar"), tar(&made_many(3))).unwrap();
    for wrong in ["absent.tar", "*.zip", "a1.tar *.zip", "a1.tar -", "a1.tar --level deep", "a1.tar --task 2/2", ""] {
        let output = run(dir, &format!("verify {wrong}"));
        assert_eq!(output.status.code(), Some(2), "{wrong}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty());
    }
    let missing = |args: &str| -> Vec<String> {
        let found = defects(dir, args).into_iter().filter(|(_, kind, ..)| kind == "shard cannot be read");
        found.map(|(shard, ..)| shard).collect()
    };
    assert_eq!(missing("a1.tar absent.tar"), ["absent.tar"]);
    assert_eq!(missing("a{1..4}.tar"), ["a2.tar", "a3.tar"]);
    let tasks = [0, 1].map(|task| missing(&format!("a{{1..4}}.tar --task {task}/2")));
    assert_eq!(tasks.concat(), ["a3.tar", "a2.tar"]);
}

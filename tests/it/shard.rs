//! Shards: pairs are found in any order of members, damage is named and tolerated, and a sidecar is never used for a
//! changed shard.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, SystemTime};

use maskstream::index::{Entry, Finding, FindingKind, IndexStatus, Indexer, ShardIndex, Sidecar, resolve_patterns};
use maskstream::source::{self, MemorySource, MmapSource, Source};
use maskstream::{ErrorKind, IdList, MaskFilter, OnCorrupt, SampleId, ShardSet};
use proptest::prelude::*;
use tar::{Builder, EntryType, Header};

use crate::fixture::{self, Made, lenient, made_many, members, pack, read_with_tar};

fn index(bytes: &[u8]) -> ShardIndex {
    ShardIndex::build(&MemorySource::new(bytes.to_vec()), &|_| {}).unwrap()
}

fn kinds(findings: &[Finding]) -> Vec<(FindingKind, &str)> {
    findings.iter().map(|finding| (finding.kind, finding.member.as_str())).collect()
}

/// Compares an index with what the `tar` crate reads; returns the ids in index order.
fn check_against_tar(bytes: &[u8], index: &ShardIndex) -> Vec<i64> {
    let members = read_with_tar(bytes);
    let mut last = 0;
    for entry in index.entries() {
        let complete = entry.image.offset.max(entry.annotations.offset);
        assert!(complete > last, "entries are in the order in which they are complete");
        last = complete;
        for (name, extent) in [(entry.image_name(), entry.image), (entry.annotations_name(), entry.annotations)] {
            let (offset, content) = &members[name.trim_start_matches("./")];
            assert_eq!((extent.offset, extent.len as usize), (*offset, content.len()), "{name}");
            assert_eq!(extent.crc32c, crc32c::crc32c(content), "{name}");
            assert_eq!(&bytes[extent.range().start as usize..extent.range().end as usize], &content[..], "{name}");
        }
    }
    index.entries().iter().map(|entry| entry.image_id).collect()
}

fn header(name: &str, kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(size);
    header.set_cksum();
    header
}

/// A header with this content, padded to whole blocks.
fn block(header: &Header, content: &[u8]) -> Vec<u8> {
    let mut out = header.as_bytes().to_vec();
    out.extend_from_slice(content);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

/// The shard without its closing zeros.
fn without_end(bytes: &[u8]) -> Vec<u8> {
    let last = read_with_tar(bytes).values().map(|(offset, content)| offset + content.len() as u64).max().unwrap();
    bytes[..last.next_multiple_of(512) as usize].to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    #[test]
    fn pairs_are_found_in_any_order_of_members(order in Just((0..12).collect::<Vec<usize>>()).prop_shuffle()) {
        let all = members(&made_many(6));
        let shuffled: Vec<_> = order.iter().map(|&i| all[i].clone()).collect();
        let bytes = pack(&shuffled);
        let index = index(&bytes);
        prop_assert_eq!(index.findings(), &[]);
        let ids = check_against_tar(&bytes, &index);
        let mut seen = Vec::new();
        let mut complete = Vec::new();
        for (name, _) in &shuffled {
            let id: i64 = name.strip_prefix("sa_").unwrap().split('.').next().unwrap().parse().unwrap();
            if seen.contains(&id) { complete.push(id) } else { seen.push(id) }
        }
        prop_assert_eq!(ids, complete);
    }
}

#[test]
fn generated_shards_equal_what_the_tar_crate_reads() {
    let dir = tempfile::tempdir().unwrap();
    let options = maskstream::synth::SynthOptions::new(maskstream::synth::Preset::Small).samples(3).gzip(false);
    let path = dir.path().join("sa_000000.tar");
    maskstream::synth::write_shard(&path, 0, &options).unwrap();
    let bytes = fs::read(&path).unwrap();
    let index = index(&bytes);
    let mut ids = check_against_tar(&bytes, &index);
    ids.sort_unstable();
    assert_eq!((ids, index.findings()), (vec![1, 2, 3], &[][..]));
    let set = lenient().open(&[&path]).unwrap();
    assert_eq!(set.len(), 3);
}

#[test]
fn an_index_holds_what_the_json_says() {
    let samples = made_many(5);
    let index = index(&fixture::shard(&samples));
    let mut annotations = 0;
    for (i, entry) in index.entries().iter().enumerate() {
        let sample = samples.iter().find(|sample| sample.id == entry.image_id).unwrap();
        assert_eq!((entry.width, entry.height), (sample.width, sample.height));
        let json: serde_json::Value = serde_json::from_slice(&sample.json).unwrap();
        let list = json["annotations"].as_array().unwrap();
        assert_eq!(index.stats(i).len(), list.len());
        for (score, annotation) in index.stats(i).iter().zip(list) {
            assert_eq!(score.area, annotation["area"]);
            assert_eq!(f64::from(score.box_width), annotation["bbox"][2].as_f64().unwrap());
            assert_eq!(f64::from(score.box_height), annotation["bbox"][3].as_f64().unwrap());
            assert_eq!(score.predicted_iou, annotation["predicted_iou"].as_f64().unwrap() as f32);
            assert_eq!(score.stability_score, annotation["stability_score"].as_f64().unwrap() as f32);
        }
        annotations += list.len();
    }
    assert_eq!(index.annotations(), annotations);
}

#[test]
fn long_names_of_gnu_and_pax_are_read() {
    let samples = made_many(3);
    let stem = |id: i64| format!("{}/sa_{id}", "deep/".repeat(30));
    let named = |extension: &str, pick: fn(&Made) -> Vec<u8>| -> Vec<(String, Vec<u8>)> {
        samples.iter().map(|s| (format!("{}.{extension}", stem(s.id)), pick(s))).collect()
    };
    let all = [named("jpg", |s| s.image.clone()), named("json", |s| s.json.clone())].concat();
    let gnu = pack(&all);

    let mut pax = Builder::new(Vec::new());
    for (name, content) in &all {
        pax.append_pax_extensions([("path", name.as_bytes()), ("comment", &[b'x'; 2000][..])]).unwrap();
        pax.append(&header("cut", EntryType::Regular, content.len() as u64), &content[..]).unwrap();
    }
    let pax = pax.into_inner().unwrap();

    for bytes in [gnu, pax] {
        let index = index(&bytes);
        assert_eq!(index.findings(), &[]);
        assert_eq!(check_against_tar(&bytes, &index), [1, 2, 3]);
        assert!(index.entries()[0].image_name().ends_with(&format!("{}.jpg", stem(1))));
        assert!(index.entries()[0].annotations_name().ends_with(&format!("{}.json", stem(1))));
    }
}

#[test]
fn what_does_not_fit_is_counted_and_named() {
    let samples = made_many(4);
    let mut all = members(&samples);
    all.retain(|(name, _)| name != "sa_2.json" && name != "sa_3.jpg");
    all.push(("sa_1.jpg".to_owned(), b"a second one".to_vec()));
    all.push(("sa_4.json".to_owned(), samples[3].json.clone()));
    all.push(("README.txt".to_owned(), b"hello".to_vec()));
    all.push(("no_extension".to_owned(), Vec::new()));
    let mut bytes = without_end(&pack(&all));
    let mut link = header("link.jpg", EntryType::Symlink, 0);
    link.set_link_name("sa_1.jpg").unwrap();
    link.set_cksum();
    bytes.extend(block(&link, b""));
    bytes.extend([0; 1024]);

    let index = index(&bytes);
    assert_eq!(
        kinds(index.findings()),
        [
            (FindingKind::AnnotationsWithoutImage, "./sa_3.json"),
            (FindingKind::Duplicate, "./sa_4.json"),
            (FindingKind::Duplicate, "./sa_1.jpg"),
            (FindingKind::ImageWithoutAnnotations, "./sa_2.jpg"),
            (FindingKind::UnknownMember, "./README.txt"),
            (FindingKind::UnknownMember, "./no_extension"),
            (FindingKind::UnknownMember, "link.jpg"),
        ]
    );
    assert!(index.findings().is_sorted_by_key(|finding| finding.offset));
    let ids: Vec<i64> = index.entries().iter().map(|entry| entry.image_id).collect();
    assert_eq!(ids, [1, 4]);
    assert_eq!(index.entries()[0].image.crc32c, crc32c::crc32c(b"a second one"), "the last one counts");
    let left_out = index.left_out();
    assert_eq!((left_out.images_without_annotations, left_out.annotations_without_image, left_out.total()), (1, 1, 2));
    // None of this is damage.
    let sources = || vec![("odd".to_owned(), fixture::memory(bytes.clone()))];
    let set = lenient().on_corrupt(OnCorrupt::Stop).from_sources(sources()).unwrap();
    assert_eq!(set.reports().next().unwrap().findings.len(), 7);
}

#[test]
fn broken_json_loses_its_own_sample_only() {
    let samples = made_many(3);
    let mut all = members(&samples);
    let broken = all.iter_mut().find(|(name, _)| name == "sa_2.json").unwrap();
    broken.1.truncate(40);
    let bytes = pack(&all);
    let index = index(&bytes);
    assert_eq!(kinds(index.findings()), [(FindingKind::BrokenAnnotations, "./sa_2.json")]);
    let (offset, _) = read_with_tar(&bytes)["sa_2.json"];
    assert_eq!(index.findings()[0].offset, offset);
    assert_eq!(index.entries().iter().map(|e| e.image_id).collect::<Vec<_>>(), [1, 3]);

    let open = |on_corrupt| {
        lenient().on_corrupt(on_corrupt).from_sources(vec![("s.tar".into(), fixture::memory(bytes.clone()))])
    };
    let error = open(OnCorrupt::Stop).unwrap_err();
    let at = error.location();
    assert!(error.is_corrupt());
    assert_eq!(
        (at.shard.as_deref(), at.member.as_deref(), at.offset),
        (Some(Path::new("s.tar")), Some("./sa_2.json"), Some(offset))
    );
    assert_eq!(open(OnCorrupt::KEEP).unwrap().len(), 2);
}

#[test]
fn a_shard_cut_anywhere_keeps_its_sound_samples_and_names_the_cut() {
    let samples = made_many(4);
    // Interleaved, so that each cut leaves another number of pairs.
    let all: Vec<_> =
        samples.iter().flat_map(|s| [(s.json_name(), s.json.clone()), (s.image_name(), s.image.clone())]).collect();
    let bytes = pack(&all);
    let found = read_with_tar(&bytes);
    let end = |name: &str| found[name].0 + found[name].1.len() as u64;
    let mut last_good = "./".to_owned();
    let mut cuts = 0;
    for (name, _) in &all {
        let (offset, content) = &found[name];
        let (start, len) = (offset - 512, content.len() as u64);
        let mut cases = vec![(start, start), (start + 1, start), (start + 300, start), (start + 511, start)];
        cases.extend([
            (*offset, *offset),
            (offset + 1, *offset),
            (offset + len / 2, *offset),
            (offset + len - 1, *offset),
        ]);
        for (cut, expected_offset) in cases {
            cuts += 1;
            let cut_bytes = bytes[..cut as usize].to_vec();
            let whole = |s: &&Made| end(&s.json_name()).max(end(&s.image_name())) <= cut;
            let sound: Vec<i64> = samples.iter().filter(whole).map(|s| s.id).collect();
            let index = index(&cut_bytes);
            assert_eq!(index.entries().iter().map(|e| e.image_id).collect::<Vec<_>>(), sound, "cut at {cut}");
            let broken: Vec<_> = index.findings().iter().filter(|p| p.kind == FindingKind::BrokenShard).collect();
            assert_eq!(broken.len(), 1, "cut at {cut}: {:?}", index.findings());
            assert_eq!(broken[0].offset, expected_offset, "cut at {cut} in {name}: {}", broken[0]);
            assert!(broken[0].member.starts_with(&last_good), "cut at {cut}: {} is not {last_good}", broken[0].member);
            assert!(broken[0].message.contains(&cut.to_string()), "the length is named: {}", broken[0]);

            let open = |on_corrupt| {
                lenient().on_corrupt(on_corrupt).from_sources(vec![("s".into(), fixture::memory(cut_bytes.clone()))])
            };
            let error = open(OnCorrupt::Stop).unwrap_err();
            assert!(error.is_corrupt() && error.location().offset == Some(expected_offset), "cut at {cut}: {error}");
            match open(OnCorrupt::KEEP) {
                Ok(set) => assert_eq!(set.len(), sound.len() as u64),
                Err(error) => assert!(sound.is_empty() && error.kind() == ErrorKind::Config, "cut at {cut}: {error}"),
            }
        }
        last_good = format!("./{name}");
    }
    assert_eq!(cuts, 8 * 8);
    // Cut exactly after the last member: nothing is lost, but the cut is still reported.
    let index = index(&without_end(&bytes));
    assert_eq!(index.entries().len(), 4);
    assert_eq!(kinds(index.findings()), [(FindingKind::BrokenShard, "./sa_4.jpg (the last good one)")]);
}

#[test]
fn a_bad_header_checksum_is_named_and_ends_the_shard() {
    let samples = made_many(3);
    let all: Vec<_> =
        samples.iter().flat_map(|s| [(s.json_name(), s.json.clone()), (s.image_name(), s.image.clone())]).collect();
    let mut bytes = pack(&all);
    let start = read_with_tar(&bytes)["sa_3.json"].0 - 512;
    bytes[start as usize + 3] ^= 1;
    let index = index(&bytes);
    assert_eq!(index.entries().len(), 2);
    assert_eq!(kinds(index.findings()), [(FindingKind::BrokenShard, "./sa_2.jpg (the last good one)")]);
    assert_eq!(index.findings()[0].offset, start);
    assert!(index.findings()[0].message.contains("checksum"), "{}", index.findings()[0]);
}

#[test]
fn impossible_sizes_are_damage_and_nothing_is_allocated_for_them() {
    let sound = without_end(&fixture::shard(&made_many(2)));
    let huge = [
        header("x.jpg", EntryType::Regular, u64::MAX),
        header("x.jpg", EntryType::Regular, u64::MAX - 511),
        header("x.jpg", EntryType::Regular, i64::MAX as u64),
        header("x.jpg", EntryType::Regular, 1 << 40),
        header("x.jpg", EntryType::GNULongName, 1 << 40),
        header("x.jpg", EntryType::GNULongName, u64::MAX),
        header("x.jpg", EntryType::XHeader, 1 << 40),
        header("x.jpg", EntryType::XGlobalHeader, 1 << 40),
        header("x.jpg", EntryType::GNULongLink, 1 << 40),
    ];
    for header in huge {
        let bytes = [sound.clone(), block(&header, b"content"), vec![0; 1024]].concat();
        let index = index(&bytes);
        assert_eq!(index.entries().len(), 2);
        let broken: Vec<_> = index.findings().iter().filter(|p| p.kind == FindingKind::BrokenShard).collect();
        assert_eq!(broken.len(), 1, "type {:?}, size {:?}: {:?}", header.entry_type(), header.size(), index.findings());
    }
    // A long name that is complete, but longer than any name needs to be.
    let long = vec![b'n'; 3 << 20];
    let bytes = [sound, block(&header("x", EntryType::GNULongName, long.len() as u64), &long), vec![0; 1024]].concat();
    assert!(index(&bytes).findings().iter().any(|p| p.kind == FindingKind::BrokenShard));
}

#[test]
fn flipped_header_bytes_never_panic_and_never_invent_samples() {
    let samples = made_many(2);
    let bytes = fixture::shard(&samples);
    let jsons: BTreeMap<i64, u32> = samples.iter().map(|s| (s.id, crc32c::crc32c(&s.json))).collect();
    let start = read_with_tar(&bytes)["sa_2.jpg"].0 as usize - 512;
    for at in 0..512 {
        for flip in [0x01, 0x80, 0xff] {
            let mut bytes = bytes.clone();
            bytes[start + at] ^= flip;
            let index = index(&bytes);
            for entry in index.entries() {
                assert_eq!(jsons.get(&entry.image_id), Some(&entry.annotations.crc32c), "byte {at}");
            }
            assert!(index.entries().len() < 2 || index.findings().is_empty(), "byte {at} ^ {flip}");
        }
    }
}

#[test]
fn data_after_the_end_marker_is_damage_and_named() {
    let sound = fixture::shard(&made_many(2));
    // A second archive appended to the first: its samples would be lost silently.
    let glued = [sound.clone(), fixture::shard(&made_many(3))].concat();
    let index_of_glued = index(&glued);
    assert_eq!(index_of_glued.entries().len(), 2);
    assert_eq!(index_of_glued.findings().len(), 1);
    let finding = &index_of_glued.findings()[0];
    assert_eq!(finding.kind, FindingKind::BrokenShard);
    assert_eq!(finding.offset, sound.len() as u64, "{finding}");
    assert!(finding.message.contains(&format!("{} bytes", glued.len() - sound.len())), "{finding}");
    // Zeros are padding, as tar itself writes it.
    let padded = [sound, vec![0; 10_240]].concat();
    assert_eq!(index(&padded).findings(), &[]);
}

#[test]
fn the_offset_of_data_after_the_end_marker_is_where_it_starts() {
    let sound = fixture::shard(&made_many(2));
    let garbage = [sound.clone(), vec![0; 100], b"junk".to_vec()].concat();
    let index = index(&garbage);
    assert_eq!(index.findings()[0].offset, sound.len() as u64 + 100, "{}", index.findings()[0]);
}

#[test]
fn an_empty_file_is_damage_at_byte_0() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("empty.tar");
    File::create(&path).unwrap();
    let error = ShardSet::builder().open(&[&path]).unwrap_err();
    assert!(error.is_corrupt(), "{error}");
    assert_eq!((error.location().shard.as_deref(), error.location().offset), (Some(path.as_path()), Some(0)));
    assert_eq!(lenient().open(&[&path]).unwrap_err().kind(), ErrorKind::Config);
}

#[test]
fn reads_past_the_end_name_range_and_length() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    fs::write(&path, [1, 2, 3, 4]).unwrap();
    let mapped = MmapSource::open(&path).unwrap();
    let memory = MemorySource::new(vec![1, 2, 3, 4]);
    for source in [&mapped as &dyn Source, &memory] {
        assert_eq!((source.len(), source.is_empty()), (4, false));
        assert_eq!(source.read(1..3).unwrap()[..], [2, 3]);
        assert!(source.read(4..4).unwrap().is_empty());
        #[allow(clippy::reversed_empty_ranges)]
        for range in [3..5, 5..6, 0..u64::MAX, 3..2] {
            let error = source.read(range.clone()).unwrap_err();
            assert!(error.is_corrupt() && error.to_string().contains("byte 4"), "{range:?}: {error}");
            assert_eq!(error.location().offset, Some(range.start));
        }
        source.will_need(0..100);
    }
    // Bytes stay readable after other reads of the same pages are gone.
    let (kept, gone) = (mapped.read(0..4).unwrap(), mapped.read(0..4).unwrap());
    drop(gone);
    assert_eq!(kept[..], [1, 2, 3, 4]);
    for missing in [dir.path().to_owned(), dir.path().join("missing")] {
        let error = MmapSource::open(&missing).unwrap_err();
        assert!(error.is_io() && error.location().shard.as_deref() == Some(missing.as_path()), "{error}");
    }
}

/// A shard on disk and its entries.
struct OnDisk {
    dir: tempfile::TempDir,
    path: PathBuf,
}

impl OnDisk {
    fn new(count: i64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.tar");
        fs::write(&path, fixture::shard(&made_many(count))).unwrap();
        Self { dir, path }
    }

    fn sidecar(&self) -> PathBuf {
        self.dir.path().join("s.tar.msidx")
    }

    fn open(&self, sidecar: Sidecar) -> (IndexStatus, Vec<Entry>) {
        let set = lenient().sidecar(sidecar).open(&[&self.path]).unwrap();
        let entries =
            (0..set.len() as u32).map(|entry| set.entry(SampleId { shard: 0, entry }).unwrap().clone()).collect();
        let status = set.reports().next().unwrap().status.clone();
        (status, entries)
    }

    /// Opens the shard twice: first the index is built, for a reason that contains `why`, then it is loaded.
    fn rebuilt(&self, why: &str, expected: &[Entry]) {
        let (status, entries) = self.open(Sidecar::Beside);
        assert!(matches!(&status, IndexStatus::Built(reason) if reason.contains(why)), "{status:?} does not say {why}");
        assert_eq!(entries, expected);
        assert_eq!(self.open(Sidecar::Beside), (IndexStatus::Loaded, expected.to_vec()));
    }

    fn files(&self) -> Vec<String> {
        let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        let mut names: Vec<_> = fs::read_dir(self.dir.path()).unwrap().map(name).collect();
        names.sort();
        names
    }
}

#[test]
fn a_sidecar_is_made_once_and_used_again() {
    let disk = OnDisk::new(4);
    let (_, expected) = disk.open(Sidecar::Off);
    assert_eq!(disk.files(), ["s.tar"]);
    disk.rebuilt("no index file yet", &expected);
    assert_eq!(disk.files(), ["s.tar", "s.tar.msidx"], "nothing temporary is left");
    // Loading the index reads no byte of the shard.
    let set =
        lenient().sidecar(Sidecar::Beside).opener(|_| panic!("the shard was opened")).open(&[&disk.path]).unwrap();
    assert_eq!(set.len(), 4);
}

#[test]
fn findings_and_scores_survive_in_the_sidecar() {
    let disk = OnDisk::new(4);
    let mut all = members(&made_many(4));
    all.retain(|(name, _)| name != "sa_2.json");
    fs::write(&disk.path, pack(&all)).unwrap();
    let report = || {
        let filter = MaskFilter::default();
        let set = lenient().filter(filter).sidecar(Sidecar::Beside).open(&[&disk.path]).unwrap();
        set.reports().next().unwrap().clone()
    };
    let (built, loaded) = (report(), report());
    assert_eq!((built.findings.len(), loaded.status), (1, IndexStatus::Loaded));
    assert_eq!(built.findings, loaded.findings);
    assert_eq!(
        (built.samples, built.annotations, built.kept_samples, built.kept_annotations),
        (loaded.samples, loaded.annotations, loaded.kept_samples, loaded.kept_annotations)
    );
    assert!(loaded.kept_annotations < loaded.annotations);
}

#[test]
fn a_sidecar_does_not_outlive_its_shard() {
    let disk = OnDisk::new(3);
    let (_, three) = disk.open(Sidecar::Beside);
    let touch = |seconds| {
        let time = SystemTime::now() - Duration::from_secs(seconds);
        File::options().write(true).open(&disk.path).unwrap().set_modified(time).unwrap();
    };
    // Another modification time, the same bytes: the index is compared with the shard once, and used.
    touch(1000);
    assert_eq!(disk.open(Sidecar::Beside), (IndexStatus::Loaded, three.clone()));
    let unread = lenient().sidecar(Sidecar::Beside).opener(|_| panic!("compared again")).open(&[&disk.path]);
    assert_eq!(unread.unwrap().len(), 3);
    // Another modification time and other bytes of the same size.
    let mut bytes = fs::read(&disk.path).unwrap();
    let last = three[2].image.range().end as usize - 1;
    bytes[last] ^= 1;
    fs::write(&disk.path, &bytes).unwrap();
    touch(500);
    let (_, other) = disk.open(Sidecar::Off);
    disk.rebuilt("its time and its bytes, not its size", &other);
    // Other bytes, the same modification time.
    let modified = fs::metadata(&disk.path).unwrap().modified().unwrap();
    fs::write(&disk.path, fixture::shard(&made_many(4))).unwrap();
    File::options().write(true).open(&disk.path).unwrap().set_modified(modified).unwrap();
    let (_, four) = disk.open(Sidecar::Off);
    assert_eq!(four.len(), 4);
    disk.rebuilt("changed", &four);
}

#[test]
fn a_damaged_sidecar_is_built_anew() {
    let disk = OnDisk::new(3);
    let (_, expected) = disk.open(Sidecar::Beside);
    let sound = fs::read(disk.sidecar()).unwrap();
    let (len, payload_end) = (sound.len(), payload_end(&sound));
    for at in [8, 11, 12, 15, 17, 23, 24, 31, 39, 47, 51, 52, 55, 56, 57, payload_end / 2, payload_end - 1] {
        let mut bytes = sound.clone();
        bytes[at] ^= 0x10;
        fs::write(disk.sidecar(), bytes).unwrap();
        let why = match at {
            8..12 => "version",
            _ => "checksum",
        };
        disk.rebuilt(why, &expected);
    }
    // A file that does not begin as an index file does may be the user's.
    for at in [0, 7] {
        let mut bytes = sound.clone();
        bytes[at] ^= 0x10;
        fs::write(disk.sidecar(), &bytes).unwrap();
        let (status, entries) = disk.open(Sidecar::Beside);
        assert!(matches!(&status, IndexStatus::Unsaved(why) if why.contains("no index file")), "{status:?}");
        assert!(entries == expected && fs::read(disk.sidecar()).unwrap() == bytes);
    }
    for cut in [0, 1, 15, 16, 55, 56, 57, len - 1] {
        fs::write(disk.sidecar(), &sound[..cut]).unwrap();
        disk.rebuilt("", &expected);
    }
    fs::write(disk.sidecar(), [sound.clone(), vec![0]].concat()).unwrap();
    disk.rebuilt("length", &expected);
    assert_eq!(fs::read(disk.sidecar()).unwrap(), sound, "the same shard gives the same sidecar");
    assert_eq!(disk.files(), ["s.tar", "s.tar.msidx"]);
}

/// Where the columns of scores begin.
fn payload_end(sidecar: &[u8]) -> usize {
    fixture::SIDECAR_HEADER + u64::from_le_bytes(sidecar[16..24].try_into().unwrap()) as usize
}

#[test]
fn a_damaged_column_is_noticed_by_those_who_read_it_and_by_no_other() {
    let disk = OnDisk::new(5);
    let (_, expected) = disk.open(Sidecar::Beside);
    let sound = fs::read(disk.sidecar()).unwrap();
    let index = || Indexer::new().sidecar(Sidecar::Beside).index(&disk.path).unwrap();
    let whole = index();
    assert_eq!(whole.status, IndexStatus::Loaded);
    for at in payload_end(&sound)..sound.len() {
        let mut bytes = sound.clone();
        bytes[at] ^= 0x10;
        fs::write(disk.sidecar(), &bytes).unwrap();
        // A filter that needs no column.
        assert_eq!(disk.open(Sidecar::Beside), (IndexStatus::Loaded, expected.clone()));
        let rebuilt = index();
        assert!(matches!(&rebuilt.status, IndexStatus::Built(why) if why.contains("column")), "{:?}", rebuilt.status);
        assert_eq!(rebuilt.index, whole.index);
    }
    assert_eq!(fs::read(disk.sidecar()).unwrap(), sound);
}

#[test]
fn reading_only_the_numbers_that_a_filter_asks_for_changes_nothing() {
    let disk = OnDisk::new(12);
    disk.open(Sidecar::Beside);
    let all = || MaskFilter::all().min_masks(2);
    let ids = || IdList::annotations((1..=12).flat_map(|image| [(image, image * 100), (image, image * 100 + 2)]));
    let filters = [
        all(),
        all().min_predicted_iou(0.93),
        all().min_stability_score(0.95),
        all().area(50, 400),
        all().area_fraction(0.05, 0.4),
        all().box_side(4.0, 20.0),
        all().min_predicted_iou(0.89).min_stability_score(0.92).area(10, 700).box_side(2.0, 40.0),
        MaskFilter::default(),
    ];
    for (number, filter) in filters.iter().enumerate() {
        for selection in [None, Some(ids())] {
            let set = |sidecar| {
                let options = lenient().filter(filter.clone()).sidecar(sidecar);
                let options = match &selection {
                    Some(selection) => options.ids(selection.clone()),
                    None => options,
                };
                options.open(&[&disk.path]).ok()
            };
            // Without a sidecar, all numbers come from the shard itself.
            let [saved, fresh] = [Sidecar::Beside, Sidecar::Off].map(set);
            let said = |set: &Option<ShardSet>| {
                set.as_ref().map(|set| {
                    let report = set.reports().next().unwrap();
                    let entry = |entry| set.entry(SampleId { shard: 0, entry }).unwrap().image_id;
                    ((0..set.len() as u32).map(entry).collect::<Vec<_>>(), report.kept_annotations)
                })
            };
            assert_eq!(said(&saved), said(&fresh), "filter {number}, {selection:?}");
            assert!(saved.is_none_or(|set| set.reports().all(|report| report.status == IndexStatus::Loaded)));
        }
    }
}

#[test]
fn a_forged_sidecar_never_panics_and_never_points_outside_its_shard() {
    let disk = OnDisk::new(2);
    disk.open(Sidecar::Beside);
    let sound = fs::read(disk.sidecar()).unwrap();
    let shard_bytes = fs::metadata(&disk.path).unwrap().len();
    let mut loaded = 0;
    let end = payload_end(&sound);
    for at in fixture::SIDECAR_HEADER..end {
        for value in [0x00, 0x7f, 0xff] {
            let mut bytes = sound.clone();
            bytes[at] = value;
            fixture::sign_sidecar(&mut bytes);
            fs::write(disk.sidecar(), &bytes).unwrap();
            // With an opener that fails, so that this does not write a thousand files.
            let indexer = Indexer::new().sidecar(Sidecar::Beside).opener(|_| Err(fixture::read_error(0)));
            loaded += usize::from(indexer.index(&disk.path).is_ok());
            let Ok(set) =
                lenient().sidecar(Sidecar::Beside).opener(|_| Err(fixture::read_error(0))).open(&[&disk.path])
            else {
                continue;
            };
            loaded += 1;
            for position in 0..set.len() as u32 {
                let entry = set.entry(SampleId { shard: 0, entry: position }).unwrap();
                assert!(entry.image.range().end <= shard_bytes && entry.annotations.range().end <= shard_bytes);
                assert!(entry.width > 0 && entry.height > 0);
            }
        }
    }
    assert!(loaded > 0);
}

#[test]
fn a_sidecar_that_cannot_be_written_costs_nothing_but_time() {
    let disk = OnDisk::new(3);
    let (_, expected) = disk.open(Sidecar::Off);
    // A directory below a file cannot be created by any user.
    let blocked = Sidecar::Dir(disk.path.join("below"));
    for _ in 0..2 {
        let (status, entries) = disk.open(blocked.clone());
        assert!(matches!(&status, IndexStatus::Unsaved(reason) if reason.contains("s.tar.msidx")), "{status:?}");
        assert_eq!(entries, expected);
    }
    // A directory where the sidecar should be.
    fs::create_dir(disk.sidecar()).unwrap();
    let (status, entries) = disk.open(Sidecar::Beside);
    assert!(matches!(&status, IndexStatus::Unsaved(_)), "{status:?}");
    assert_eq!(entries, expected);
    assert_eq!(disk.files(), ["s.tar", "s.tar.msidx"], "nothing temporary is left");
}

#[test]
fn sidecars_may_live_in_a_directory_of_their_own() {
    let disk = OnDisk::new(3);
    let dir = disk.dir.path().join("made/for/it");
    let (first, expected) = disk.open(Sidecar::Dir(dir.clone()));
    assert!(matches!(first, IndexStatus::Built(_)));
    assert_eq!(disk.open(Sidecar::Dir(dir.clone())), (IndexStatus::Loaded, expected));
    assert!(dir.join("s.tar.msidx").is_file());
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    assert_eq!(disk.files(), ["made", "s.tar"]);
}

#[test]
fn several_openers_at_once_agree_on_one_sidecar() {
    let disk = Arc::new(OnDisk::new(3));
    let threads: Vec<_> = (0..6)
        .map(|_| {
            let disk = Arc::clone(&disk);
            std::thread::spawn(move || disk.open(Sidecar::Beside).1)
        })
        .collect();
    let all: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(disk.files(), ["s.tar", "s.tar.msidx"]);
    assert_eq!(disk.open(Sidecar::Beside).0, IndexStatus::Loaded);
}

#[test]
fn a_shard_that_changed_after_opening_is_refused() {
    let disk = OnDisk::new(3);
    let set = lenient().open(&[&disk.path]).unwrap();
    fs::write(&disk.path, fixture::shard(&made_many(2))).unwrap();
    let error = set.source(0).map(drop).unwrap_err();
    assert!(error.is_io() && error.location().shard.as_deref() == Some(disk.path.as_path()), "{error}");
    assert_eq!(set.source(1).map(drop).unwrap_err().kind(), ErrorKind::Config);
}

#[test]
fn few_shards_are_open_at_once_and_used_again() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..3 {
        fs::write(dir.path().join(format!("{i}.tar")), fixture::shard(&made_many(2))).unwrap();
    }
    let opened = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&opened);
    let opener = move |path: &Path| {
        counter.fetch_add(1, SeqCst);
        source::open(path)
    };
    let set = lenient().open_shards(2).opener(opener).open(&[dir.path()]).unwrap();
    let before = opened.load(SeqCst);
    let opens = |shards: &[u32]| {
        shards.iter().for_each(|&shard| drop(set.source(shard).unwrap()));
        opened.load(SeqCst) - before
    };
    assert_eq!(opens(&[0, 1, 0, 1, 0]), 2);
    // 1 is the least recently used and makes room for 2.
    assert_eq!(opens(&[2, 0, 2]), 3);
    assert_eq!(opens(&[1]), 4);
}

/// The number of samples that a damaged shard reports as missing; no smaller budget accepts it.
fn missing_by_a_guess(bytes: &[u8]) -> (u64, u64) {
    let index = index(bytes);
    let broken = index.findings().iter().find(|p| p.kind == FindingKind::BrokenShard).unwrap();
    let open = |budget| {
        let sources = vec![("s".into(), fixture::memory(bytes.to_vec()))];
        lenient().on_corrupt(OnCorrupt::Skip { budget }).from_sources(sources)
    };
    let error = open(index.left_out().damaged() - 1).unwrap_err();
    assert!(error.is_corrupt() && error.to_string().contains("the budget of"), "{error}");
    assert!(!open(index.left_out().damaged()).is_err_and(|error| error.is_corrupt()));
    (index.left_out().damaged(), broken.offset)
}

#[test]
fn of_a_shard_that_breaks_before_its_first_sample_its_size_says_what_is_missing() {
    let all = members(&made_many(4));
    let bytes = pack(&all);
    let first = read_with_tar(&bytes)[&all[0].0].0;
    let mut no_header = bytes.clone();
    no_header[3] ^= 1;
    let page = "<html>not found</html>".repeat(400_000).into_bytes();
    assert_eq!(missing_by_a_guess(&page), (page.len().div_ceil(1 << 20) as u64, 0));
    for broken in [&no_header[..], &bytes[..first as usize - 100], &bytes[..first as usize + 10]] {
        assert_eq!(missing_by_a_guess(broken).0, 1);
    }
    let gzip = |bytes: &[u8]| fixture::gzip(bytes, 6);
    let whole = gzip(&bytes);
    for broken in [gzip(&no_header), whole[..30].to_vec(), [&whole[..15], &[0xff; 200][..]].concat()] {
        assert_eq!(missing_by_a_guess(&broken).0, 1);
    }
}

#[test]
fn a_plain_shard_that_ends_in_zeros_was_not_downloaded_to_its_end() {
    let all = members(&made_many(4));
    let whole = pack(&all);
    let found = read_with_tar(&whole);
    let zeros = |bytes: &[u8], more: usize| [bytes, &vec![0; more]].concat();
    // Some zeros are normal.
    assert!(index(&zeros(&whole, 60 << 10)).findings().is_empty());
    assert_eq!(index(&zeros(&whole, 900 << 10)).findings().len(), 1, "no record of tar is so long");
    assert!(index(&zeros(&[], 10_240)).findings().is_empty());

    assert_eq!(missing_by_a_guess(&zeros(&[], 3 << 20)), (3, 0));
    let (offset, content) = &found[&all[5].0];
    let end = (*offset as usize + content.len()).next_multiple_of(512);
    for cut in [end, end - 600] {
        let (missing, at) = missing_by_a_guess(&zeros(&whole[..cut], 4 << 20));
        assert!(missing > 1 && at == end as u64, "{missing}, {at}");
    }
}

#[test]
fn a_sparse_file_takes_up_what_is_stored_of_it() {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::GNUSparse);
    header.set_path("sparse.bin").unwrap();
    header.set_size(512);
    let gnu = header.as_gnu_mut().unwrap();
    // 8 GiB, of which the last 512 bytes are stored.
    gnu.realsize.copy_from_slice(b"100000000000");
    gnu.sparse[0].offset.copy_from_slice(b"077777777000");
    gnu.sparse[0].numbytes.copy_from_slice(b"000000001000");
    header.set_cksum();
    let sparse = [header.as_bytes(), &[7; 512][..]].concat();
    let whole = pack(&members(&made_many(3)));
    for bytes in [[&sparse[..], &whole].concat(), [&whole[..whole.len() - 1024], &sparse, &[0; 1024]].concat()] {
        for packed in [bytes.clone(), fixture::gzip(&bytes, 6)] {
            let index = index(&packed);
            assert_eq!(kinds(index.findings()), [(FindingKind::UnknownMember, "sparse.bin")]);
            assert_eq!(index.entries().len(), 3);
        }
    }
}

#[test]
fn patterns_name_files_directories_and_globs() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for name in ["b.tar", "a.tar", "c.txt", "odd[1].tar"] {
        File::create(at(name)).unwrap();
    }
    fs::create_dir(at("sub.tar")).unwrap();
    let tars = || vec![at("a.tar"), at("b.tar"), at("odd[1].tar")];
    assert_eq!(resolve_patterns(&[dir.path()]).unwrap(), tars());
    assert_eq!(resolve_patterns(&[at("*.tar")]).unwrap(), tars());
    assert_eq!(resolve_patterns(&[at("c.txt")]).unwrap(), [at("c.txt")], "a named file needs no extension");
    assert_eq!(resolve_patterns(&[at("odd[1].tar")]).unwrap(), [at("odd[1].tar")], "a real file wins over a pattern");
    assert_eq!(resolve_patterns(&[at("[ab].tar")]).unwrap(), [at("a.tar"), at("b.tar")]);
    assert_eq!(
        resolve_patterns(&[at("b.tar"), at("*.tar"), at("b.tar")]).unwrap(),
        [at("b.tar"), at("a.tar"), at("odd[1].tar")]
    );
    // One file under several names.
    std::os::unix::fs::symlink(at("a.tar"), at("link.tar")).unwrap();
    assert_eq!(
        resolve_patterns(&[at("a.tar"), at("sub.tar/../a.tar"), at("link.tar"), at("c.txt")]).unwrap(),
        [at("a.tar"), at("c.txt")]
    );
    fs::remove_file(at("link.tar")).unwrap();
    for nothing in [at("missing.tar"), at("*.zip"), at("sub.tar"), at("[")] {
        let error = resolve_patterns(&[at("a.tar"), nothing.clone()]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(nothing.to_str().unwrap()), "{error}");
    }
    assert_eq!(resolve_patterns::<&str>(&[]).unwrap_err().kind(), ErrorKind::Config);
    // A directory whose own name looks like a pattern.
    fs::create_dir(at("dir[x]")).unwrap();
    File::create(at("dir[x]/d.tar")).unwrap();
    assert_eq!(resolve_patterns(&[at("dir[x]")]).unwrap(), [at("dir[x]/d.tar")]);
}

#[test]
fn a_set_numbers_its_samples_shard_by_shard() {
    let samples = made_many(7);
    let set = fixture::set_of(vec![
        fixture::shard(&samples[..3]),
        fixture::shard(&samples[3..4]),
        fixture::shard(&samples[4..]),
    ]);
    assert_eq!((set.len(), set.is_empty()), (7, false));
    let id = |shard, entry| set.entry(SampleId { shard, entry }).map(|entry| entry.image_id);
    assert_eq!([id(0, 0), id(0, 2), id(1, 0), id(2, 2)], [Some(1), Some(3), Some(4), Some(7)]);
    assert_eq!([id(0, 3), id(3, 0)], [None, None]);
    assert_eq!(set.shard_path(SampleId { shard: 1, entry: 0 }), Some(Path::new("b")));
    assert_eq!(set.reports().map(|report| report.samples).collect::<Vec<_>>(), [3, 1, 3]);
}

#[test]
fn sources_of_the_same_name_are_not_mixed_up() {
    let samples = made_many(4);
    let [a, b] = [&samples[..2], &samples[2..]].map(|part| fixture::memory(fixture::shard(part)));
    let opened = lenient().from_sources(vec![("same".into(), a), ("same".into(), b)]);
    match opened {
        Err(error) => assert_eq!(error.kind(), ErrorKind::Config),
        Ok(set) => {
            for shard in 0..2 {
                let entry = set.entry(SampleId { shard, entry: 0 }).unwrap();
                let bytes = set.source(shard).unwrap().read(entry.image.range()).unwrap();
                assert_eq!(crc32c::crc32c(&bytes), entry.image.crc32c, "shard {shard} is read from another's bytes");
            }
        }
    }
}

#[test]
fn a_set_without_samples_is_refused_and_filters_nobody_can_pass() {
    use maskstream::MaskFilter;
    let sources = || vec![("s".to_owned(), fixture::memory(fixture::shard(&made_many(3))))];
    let open = |filter| lenient().filter(filter).from_sources(sources());
    let all = MaskFilter::all;
    for filter in [
        all().min_predicted_iou(5.0).min_masks(1),
        all().min_predicted_iou(f32::NAN),
        all().min_stability_score(f32::NAN),
        all().area(2, 1),
        all().area_fraction(0.5, 0.4),
        all().area_fraction(f32::NAN, 1.0),
        all().box_side(2.0, 1.0),
        all().min_masks(1000),
    ] {
        assert_eq!(open(filter.clone()).unwrap_err().kind(), ErrorKind::Config, "{filter:?}");
    }
    assert_eq!(lenient().from_sources(Vec::new()).unwrap_err().kind(), ErrorKind::Config);
    // min_masks decides on images, by the masks that survive.
    let filter = all().min_predicted_iou(0.95).min_masks(2);
    let expected = made_many(3)
        .iter()
        .filter(|sample| {
            let json: serde_json::Value = serde_json::from_slice(&sample.json).unwrap();
            let list = json["annotations"].as_array().unwrap();
            list.iter().filter(|a| a["predicted_iou"].as_f64().unwrap() as f32 >= 0.95).count() >= 2
        })
        .count();
    assert_eq!(open(filter).map_or(0, |set| set.len()), expected as u64);
}

#[test]
#[cfg(target_os = "linux")]
fn a_mapped_file_that_shrank_is_an_error_not_a_signal() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    fs::write(&path, vec![7; 1 << 20]).unwrap();
    let mapped = MmapSource::open(&path).unwrap();
    File::options().write(true).open(&path).unwrap().set_len(10).unwrap();
    let error = mapped.read(1 << 19..(1 << 19) + 9).unwrap_err();
    assert!(error.is_io() && error.location().offset == Some(1 << 19), "{error}");
    assert_eq!(mapped.read(0..10).unwrap()[..], [7; 10]);
}

#[test]
fn selected_samples_alone_enter_the_order() {
    let samples = fixture::made_many(9);
    let open = |keep: fn(i64) -> bool| {
        let options = lenient().retain(move |entry| keep(entry.image_id));
        options.from_sources(vec![("s".into(), fixture::memory(fixture::shard(&samples)))])
    };
    let (even, odd) = (open(|id| id % 2 == 0).unwrap(), open(|id| id % 2 != 0).unwrap());
    assert_eq!(even.len() + odd.len(), 9);
    assert!(!even.is_empty() && !odd.is_empty());
    let error = open(|_| false).unwrap_err();
    assert!(error.to_string().contains("none of the 9 samples in 1 shards passes `retain`"), "{error}");
}

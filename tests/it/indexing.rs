//! Indexing of shards as other tools make, copy and damage them: nothing is refused without need, and nothing is left
//! out without being counted. The oracle is the list of members that each shard was made of.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use maskstream::index::{FindingKind, IndexStatus, Indexer, ShardIndex, Sidecar};
use maskstream::source::MemorySource;
use maskstream::{ErrorKind, Loader, OnCorrupt, ShardSet};
use tar::{EntryType, Header};

use crate::fixture::{Made, document, gzip, lenient, made, made_many, members, memory, pack, set_of};

fn index(bytes: &[u8]) -> ShardIndex {
    ShardIndex::build(&MemorySource::new(bytes.to_vec()), &|_| {}).unwrap()
}

fn ids(index: &ShardIndex) -> Vec<i64> {
    let mut ids: Vec<i64> = index.entries().iter().map(|entry| entry.image_id).collect();
    ids.sort_unstable();
    ids
}

fn damage(index: &ShardIndex) -> Vec<String> {
    index.findings().iter().filter(|finding| finding.kind.is_damage()).map(ToString::to_string).collect()
}

/// Both encodings of a tar: as it is, and as a gzip stream.
fn encodings(tar: &[u8]) -> [Vec<u8>; 2] {
    [tar.to_vec(), gzip(tar, 6)]
}

fn header(name: &str, kind: EntryType, size: usize) -> Header {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(size as u64);
    header.set_cksum();
    header
}

/// A tar member by member; members without content are hard links to the name that follows `->`.
fn tar_of(members: &[(String, Option<Vec<u8>>)]) -> Vec<u8> {
    let mut tar = Vec::new();
    for (name, content) in members {
        match (content, name.split_once("->")) {
            (Some(content), _) => {
                tar.extend(header(name, EntryType::Regular, content.len()).as_bytes());
                tar.extend(content);
                tar.resize(tar.len().next_multiple_of(512), 0);
            }
            (None, Some((name, target))) => {
                let mut link = header(name, EntryType::Link, 0);
                link.set_link_name(target).unwrap();
                link.set_cksum();
                tar.extend(link.as_bytes());
            }
            (None, None) => tar.extend(header(name, EntryType::new(b'V'), 0).as_bytes()),
        }
    }
    tar.extend([0; 1024]);
    tar
}

fn data(name: String, content: Vec<u8>) -> (String, Option<Vec<u8>>) {
    (name, Some(content))
}

#[test]
fn the_last_member_of_a_name_counts_wherever_it_stands() {
    // The JSON of the first sample is mended, and the image of the second; both have been complete before.
    let samples = made_many(3);
    let mended = Made { json: document(1, samples[0].width, samples[0].height, &[]), ..samples[0].clone() };
    let image = made(9, samples[1].width, samples[1].height, 1).image;
    for gap in [false, true] {
        let mut all = Vec::new();
        for (i, sample) in samples.iter().enumerate() {
            all.push((sample.image_name(), sample.image.clone()));
            all.push((sample.json_name(), sample.json.clone()));
            if i == 1 && !gap {
                all.push((mended.json_name(), mended.json.clone()));
            }
        }
        if gap {
            all.push((mended.json_name(), mended.json.clone()));
        }
        all.push((samples[1].image_name(), image.clone()));
        for shard in encodings(&pack(&all)) {
            let index = index(&shard);
            assert_eq!(ids(&index), [1, 2, 3]);
            assert_eq!((damage(&index), index.left_out().total()), (vec![], 0));
            let at = |id| index.entries().iter().position(|entry| entry.image_id == id).unwrap();
            assert_eq!(index.stats(at(1)), &[], "the mended JSON has no annotation");
            assert_eq!(index.entries()[at(2)].image.crc32c, crc32c::crc32c(&image), "the later image");
            assert!(!index.stats(at(2)).is_empty() && !index.stats(at(3)).is_empty());
            let replaced: Vec<&str> = index.findings().iter().map(|finding| finding.member.as_str()).collect();
            assert_eq!(replaced, ["./sa_1.json", "./sa_2.jpg"], "the earlier ones are named");
            assert!(index.findings().iter().all(|finding| finding.kind == FindingKind::Duplicate));

            // While it is indexed, each sample comes once as well.
            let sources = || vec![("s".to_owned(), memory(shard.clone()))];
            let set = lenient().on_corrupt(OnCorrupt::Stop).from_sources(sources()).unwrap();
            assert_eq!(set.len(), 3);
        }
    }
    // Both members of a sample are appended, one after the other: it still comes once while it is indexed.
    let mut twice: Vec<_> =
        samples.iter().flat_map(|s| [(s.image_name(), s.image.clone()), (s.json_name(), s.json.clone())]).collect();
    twice.extend(twice.clone());
    for shard in encodings(&pack(&twice)) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.tar");
        fs::write(&path, shard).unwrap();
        let lazy = lenient().open_lazy(&[&path]).unwrap();
        let loader = Loader::builder().image_size(24).batch_size(1).build(lazy).unwrap();
        let mut epoch = loader.epoch(0).unwrap();
        let rows: usize = epoch.by_ref().map(|batch| batch.unwrap().valid_rows()).sum();
        let report = epoch.report();
        assert_eq!((rows as u64, report.delivered, report.held, report.selected), (3, 3, 3, 3), "{report}");
    }
    // A JSON that was mended by a broken one is broken, as it would be on disk.
    let mut all = members(&samples);
    all.push((samples[0].json_name(), b"{".to_vec()));
    for shard in encodings(&pack(&all)) {
        let index = index(&shard);
        assert_eq!((ids(&index), index.left_out().broken_annotations), (vec![2, 3], 1));
    }
}

#[test]
fn an_epoch_that_indexes_delivers_each_image_once_also_if_a_member_is_replaced() {
    let samples = made_many(6);
    let mut all = Vec::new();
    for sample in &samples {
        all.push((sample.image_name(), sample.image.clone()));
        all.push((sample.json_name(), sample.json.clone()));
    }
    all.push((samples[0].json_name(), samples[0].json.clone()));
    all.push((samples[1].image_name(), samples[1].image.clone()));
    for shard in encodings(&pack(&all)) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.tar");
        fs::write(&path, shard).unwrap();
        let lazy = lenient().sidecar(Sidecar::Beside).open_lazy(&[&path]).unwrap();
        let loader = Loader::builder().image_size(24).batch_size(2).build(lazy).unwrap();
        for epoch in 0..2 {
            let mut found: Vec<i64> =
                loader.epoch(epoch).unwrap().flat_map(|batch| batch.unwrap().image_ids().to_vec()).collect();
            found.sort_unstable();
            assert_eq!(found, [1, 2, 3, 4, 5, 6], "epoch {epoch}");
        }
    }
}

#[test]
fn hard_links_are_read_from_their_targets() {
    let samples = made_many(2);
    let twin = made(3, samples[0].width, samples[0].height, 2);
    let tar = tar_of(&[
        data("./sa_1.jpg".to_owned(), samples[0].image.clone()),
        data("./sa_1.json".to_owned(), samples[0].json.clone()),
        data("./sa_3.json".to_owned(), twin.json.clone()),
        ("./sa_3.jpg->./sa_1.jpg".to_owned(), None),
        data("./sa_2.jpg".to_owned(), samples[1].image.clone()),
        data("./sa_2.json".to_owned(), samples[1].json.clone()),
        // The same annotations under another name.
        data("./copy.jpg".to_owned(), samples[1].image.clone()),
        ("./copy.json->sa_2.json".to_owned(), None),
        // A link to a file that is not in the shard.
        ("./sa_4.jpg->./elsewhere.jpg".to_owned(), None),
        data("./sa_4.json".to_owned(), made(4, 20, 20, 1).json),
    ]);
    for shard in encodings(&tar) {
        let index = index(&shard);
        assert_eq!(ids(&index), [1, 2, 2, 3], "{:?}", index.findings());
        let image = |id| index.entries().iter().find(|entry| entry.image_id == id).unwrap().image;
        assert_eq!(image(3), image(1));
        let left_out = index.left_out();
        assert_eq!((left_out.annotations_without_image, left_out.total()), (1, 1));
        let unknown = index.findings().iter().find(|finding| finding.kind == FindingKind::UnknownMember).unwrap();
        assert!(unknown.message.contains("elsewhere.jpg"), "{unknown}");

        // Every sample decodes, from the index file as well.
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.tar");
        fs::write(&path, &shard).unwrap();
        for _ in 0..2 {
            let set = lenient().sidecar(Sidecar::Beside).open(&[&path]).unwrap();
            let loader = Loader::builder().image_size(24).build(set).unwrap();
            let rows: usize = loader.epoch(0).unwrap().map(|batch| batch.unwrap().valid_rows()).sum();
            assert_eq!(rows, 4);
        }
    }
}

#[test]
fn what_other_tools_add_to_an_archive_is_no_damage() {
    let samples = made_many(3);
    let mut all: Vec<(String, Option<Vec<u8>>)> = vec![("LABEL OF THE VOLUME".to_owned(), None)];
    for (name, content) in members(&samples) {
        // macOS adds the attributes of each file, under the same extension.
        all.push(data(format!("./._{name}"), b"\0\x05\x16\x07\0\x02\0\0Mac OS X".to_vec()));
        all.push(data(format!("./{name}"), content));
    }
    all.push(data("./dataset_infos.json".to_owned(), br#"{"version": 1}"#.to_vec()));
    all.push(data("./empty.json".to_owned(), Vec::new()));
    let tar = tar_of(&all);
    for shard in encodings(&tar) {
        let index = index(&shard);
        assert_eq!((ids(&index), damage(&index)), (vec![1, 2, 3], vec![]));
        assert_eq!(index.left_out().total(), 0);
        let unknown = index.findings().iter().filter(|finding| finding.kind == FindingKind::UnknownMember).count();
        assert_eq!(unknown, 6 + 2, "{:?}", index.findings());
        assert!(!index.findings().iter().any(|finding| finding.member.contains("LABEL")));
    }
    // GNU tar writes the header of a label without a size, and without the word `ustar`.
    let mut label = [0; 512];
    label[..5].copy_from_slice(b"label");
    label[136..147].copy_from_slice(b"14722223344");
    label[148..156].fill(b' ');
    label[156] = b'V';
    let sum: u32 = label.iter().map(|&byte| u32::from(byte)).sum();
    label[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let labelled = [&label[..], &pack(&members(&samples))].concat();
    for shard in encodings(&labelled) {
        let index = index(&shard);
        assert_eq!((ids(&index), index.findings()), (vec![1, 2, 3], &[][..]));
    }
    label[149] ^= 1;
    let wrong = [&label[..], &pack(&members(&samples))].concat();
    assert_eq!(damage(&index(&wrong)).len(), 1, "a wrong checksum");
    // The blocking factor of GNU tar pads the archive to whole records, of 4 MiB with `tar -b 8192`.
    for record in [10_240, 1 << 20, 4 << 20, 32 << 20] {
        let mut padded = tar.clone();
        padded.resize(padded.len().next_multiple_of(record), 0);
        for shard in encodings(&padded) {
            assert_eq!(damage(&index(&shard)), Vec::<String>::new(), "records of {record} bytes");
        }
    }
    // Zeros that no record explains are a download that was not written to its end.
    let mut hole = tar.clone();
    hole.resize(tar.len() + (5 << 20), 0);
    assert_eq!(damage(&index(&hole)).len(), 1);
}

#[test]
fn a_json_that_is_broken_counts_only_where_an_image_needs_it() {
    let samples = made_many(2);
    let mut all = members(&samples);
    all.push(("notes.json".to_owned(), b"[1, 2".to_vec()));
    all.push(("sa_7.json".to_owned(), b"{\"image\": 7}".to_vec()));
    all.push(("sa_7.jpg".to_owned(), samples[0].image.clone()));
    for shard in encodings(&pack(&all)) {
        let index = index(&shard);
        assert_eq!(ids(&index), [1, 2]);
        let left_out = index.left_out();
        assert_eq!((left_out.broken_annotations, left_out.total()), (1, 1));
        let kinds: Vec<_> = index.findings().iter().map(|f| (f.member.as_str(), f.kind)).collect();
        assert_eq!(
            kinds,
            [("./notes.json", FindingKind::UnknownMember), ("./sa_7.json", FindingKind::BrokenAnnotations)]
        );
    }
}

#[test]
fn every_sample_of_a_shard_is_delivered_or_left_out_by_name_with_and_without_an_earlier_index() {
    let whole = || {
        let samples = made_many(8);
        samples.iter().flat_map(|s| [(s.image_name(), s.image.clone()), (s.json_name(), s.json.clone())]).collect()
    };
    type Members = Vec<(String, Vec<u8>)>;
    type Change = fn(&mut Members);
    let cases: [(&str, Change, [u64; 3]); 5] = [
        ("nothing", |_| {}, [0, 0, 0]),
        ("no JSON", |members| members.retain(|(name, _)| name != "sa_2.json"), [1, 0, 0]),
        ("no image", |members| members.retain(|(name, _)| name != "sa_3.jpg"), [0, 1, 0]),
        ("a broken JSON", |members| members[9].1.truncate(20), [0, 0, 1]),
        (
            "all of them",
            |members| {
                members[9].1.truncate(20);
                members.retain(|(name, _)| name != "sa_2.json" && name != "sa_3.jpg");
            },
            [1, 1, 1],
        ),
    ];
    for (case, change, [no_json, no_image, broken]) in cases {
        let mut all: Members = whole();
        change(&mut all);
        for shard in encodings(&pack(&all)) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("s.tar");
            fs::write(&path, &shard).unwrap();
            // Built, loaded, and while it is indexed.
            for pass in 0..4 {
                let builder = || lenient().sidecar(if pass < 2 { Sidecar::Beside } else { Sidecar::Off });
                let options = || Loader::builder().image_size(24).batch_size(3);
                let loader = match pass {
                    0..3 => options().build(builder().open(&[&path]).unwrap()).unwrap(),
                    _ => options().build(builder().open_lazy(&[&path]).unwrap()).unwrap(),
                };
                let mut epoch = loader.epoch(0).unwrap();
                assert!(epoch.by_ref().all(|batch| batch.is_ok()));
                let report = epoch.report();
                let left_out = report.left_out;
                let found = [
                    left_out.images_without_annotations,
                    left_out.annotations_without_image,
                    left_out.broken_annotations,
                ];
                assert_eq!(found, [no_json, no_image, broken], "{case}, pass {pass}: {report}");
                assert_eq!((report.held, report.delivered + left_out.total()), (8, 8), "{case}, pass {pass}: {report}");
                assert_eq!(report.planned, Some(report.selected), "{case}, pass {pass}");
                let said = report.to_string();
                assert_eq!(said.contains("the shards hold 8 samples"), left_out.total() > 0, "{case}: {said}");
            }
        }
    }
    // Samples that are not selected are no loss, and are told apart.
    let set = lenient().retain(|entry| entry.image_id > 3).from_sources(vec![("a".into(), memory(pack(&whole())))]);
    let loader = Loader::builder().image_size(24).build(set.unwrap()).unwrap();
    let mut epoch = loader.epoch(0).unwrap();
    epoch.by_ref().for_each(drop);
    assert!(epoch.report().to_string().ends_with("the shards hold 8 samples: 5 selected, 3 not selected"));
}

/// Two directories with a shard of the same name, and a place for indexes.
struct Copies {
    dir: tempfile::TempDir,
}

impl Copies {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn write(&self, place: &str, bytes: &[u8], seconds: u64) -> PathBuf {
        let path = self.dir.path().join(place).join("sa_000000.tar");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        path
    }

    fn indexer(&self) -> Indexer {
        Indexer::new().sidecar(Sidecar::Dir(self.dir.path().join("indexes")))
    }

    fn index(&self, path: &Path) -> (Vec<i64>, bool) {
        let shard = self.indexer().index(path).unwrap();
        (ids(&shard.index), shard.status == IndexStatus::Loaded)
    }
}

#[test]
fn shards_of_one_name_share_a_directory_of_indexes_and_never_an_index() {
    // Equal names, sizes and times: only the bytes differ.
    let [a, b] = [[1, 2], [3, 4]].map(|ids| {
        let samples: Vec<Made> = ids.map(|id| made(id, 40, 28, 3)).to_vec();
        let mut bytes = gzip(&pack(&members(&samples)), 6);
        bytes.resize(6_000, 0);
        bytes
    });
    let copies = Copies::new();
    let [a, b] = [("a", a), ("b", b)].map(|(place, bytes)| copies.write(place, &bytes, 1000));
    assert_eq!(copies.index(&a), (vec![1, 2], false));
    assert_eq!(copies.index(&b), (vec![3, 4], false));
    for _ in 0..2 {
        assert_eq!(copies.index(&a), (vec![1, 2], true), "kept");
        assert_eq!(copies.index(&b), (vec![3, 4], true), "kept");
    }
    // In one set, indexed at the same time.
    fs::remove_dir_all(copies.dir.path().join("indexes")).unwrap();
    for status in [false, true] {
        let set = lenient().sidecar(Sidecar::Dir(copies.dir.path().join("indexes"))).open(&[&a, &b]).unwrap();
        assert_eq!((set.len(), set.repeated_images().samples), (4, 0));
        assert!(set.reports().all(|report| (report.status == IndexStatus::Loaded) == status));
    }
}

#[test]
fn a_copy_of_a_shard_keeps_its_index_and_a_changed_one_does_not() {
    for encode in [|tar: &[u8]| tar.to_vec(), |tar: &[u8]| gzip(tar, 6)] {
        let bytes = encode(&pack(&members(&made_many(20))));
        let copies = Copies::new();
        let first = copies.write("a", &bytes, 1000);
        assert!(!copies.index(&first).1);
        // Another time, and another directory with the same indexes.
        copies.write("a", &bytes, 2000);
        assert!(copies.index(&first).1);
        fs::rename(copies.dir.path().join("a"), copies.dir.path().join("b")).unwrap();
        let moved = copies.dir.path().join("b/sa_000000.tar");
        assert!(copies.index(&moved).1);
        // What is appended into the padding of a tar leaves its size as it was.
        let unpadded = bytes.len() - 1024;
        if bytes[..2] != [0x1f, 0x8b] {
            let mut padded = bytes.clone();
            padded.resize(bytes.len() + 20_480, 0);
            let place = copies.write("p", &padded, 1000);
            assert!(!copies.index(&place).1);
            let mended = made_many(20)[4].json.clone();
            let member = pack(&[("sa_5.json".to_owned(), mended[..mended.len() - 1].to_vec())]);
            let member = &member[512..member.len() - 1024];
            padded[unpadded..unpadded + member.len()].copy_from_slice(member);
            copies.write("p", &padded, 2000);
            let shard = copies.indexer().index(&place).unwrap();
            assert!(matches!(&shard.status, IndexStatus::Built(_)), "{:?}", shard.status);
            assert_eq!(shard.index.left_out().broken_annotations, 1, "the appended member counts");
        }
        // Another shard of the same size.
        let mut other = encode(&pack(&members(&made_many(21)[1..])));
        other.resize(bytes.len(), 0);
        copies.write("b", &other, 3000);
        let shard = copies.indexer().index(&moved).unwrap();
        assert!(
            matches!(&shard.status, IndexStatus::Built(why) if why.contains("its time and its bytes")),
            "{shard:?}"
        );
    }
}

#[test]
fn images_that_come_twice_are_counted_and_named() {
    let shard = |ids: &[i64]| pack(&members(&ids.iter().map(|&id| made(id, 20, 16, 1)).collect::<Vec<_>>()));
    let repeated = |shards: Vec<Vec<u8>>| {
        let set = set_of(shards);
        let repeated = set.repeated_images().clone();
        let examples: Vec<[(u32, i64); 2]> =
            repeated.examples.iter().map(|pair| pair.map(|id| (id.shard, set.entry(id).unwrap().image_id))).collect();
        (repeated.samples, examples)
    };
    assert_eq!(repeated(vec![shard(&[1, 2]), shard(&[3, 4]), shard(&[6, 5])]), (0, vec![]));
    assert_eq!(repeated(vec![shard(&[1, 9]), shard(&[3, 4]), shard(&[9, 5])]), (1, vec![[(0, 9), (2, 9)]]));
    assert_eq!(repeated(vec![shard(&[1, 2]), shard(&[1, 2])]).0, 2);
    // Ids far apart, as hashes would be.
    assert_eq!(repeated(vec![shard(&[1 << 45, 5, 1 << 40]), shard(&[5, 77])]).0, 1);
    // Two names with one id in one shard.
    let mut all = members(&made_many(2));
    all.push(("copy.jpg".to_owned(), all[2].1.clone()));
    all.push(("copy.json".to_owned(), all[0].1.clone()));
    assert_eq!(repeated(vec![pack(&all)]), (1, vec![[(0, 1), (0, 1)]]));
}

#[test]
fn what_is_no_tar_is_named_by_its_first_bytes_and_gets_no_index_file() {
    let page = b"<!DOCTYPE html><html><body>the link has expired</body></html>\n".to_vec();
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 11222978468\n".to_vec();
    let twice = gzip(&gzip(&pack(&members(&made_many(2))), 6), 6);
    let cases: [(&str, Vec<u8>, &str); 8] = [
        ("zstd", [&[0x28, 0xb5, 0x2f, 0xfd][..], &[7; 900]].concat(), "zstd -d"),
        ("xz", [&b"\xfd7zXZ\0"[..], &[7; 900]].concat(), "xz -d"),
        ("zip", [&b"PK\x03\x04"[..], &[7; 900]].concat(), "zip archive"),
        ("page", page, "web page"),
        ("pointer", pointer, "Git LFS pointer"),
        ("twice", twice, "gzip stream inside"),
        ("noise", vec![0x81; 2000], "no tar header"),
        ("empty", Vec::new(), "the file is empty"),
    ];
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes, what) in cases {
        let path = dir.path().join(format!("{name}.tar"));
        fs::write(&path, &bytes).unwrap();
        for builder in [ShardSet::builder(), ShardSet::builder().on_corrupt(OnCorrupt::KEEP)] {
            let error = builder.open(&[&path]).unwrap_err();
            assert!(error.to_string().contains(what), "{name}: {error}");
            assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Config), "{name}: {error}");
        }
        let shard = Indexer::new().index(&path).unwrap();
        assert!(matches!(shard.status, IndexStatus::Unsaved(_)), "{name}: {:?}", shard.status);
    }
    let names = fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    assert!(names.into_iter().all(|name| name.ends_with(".tar")), "an index file beside what is no shard");
}

#[test]
fn a_shard_without_samples_says_what_it_holds_instead() {
    let one = &made_many(1)[0];
    let cases = [
        (vec![("images/sa_1.jpg", &one.image), ("annotations/sa_1.json", &one.json)], "images/sa_1.jpg"),
        (vec![("sa_1.jpg", &one.image), ("sa_1.jpg.json", &one.json)], "sa_1.jpg.json"),
        (vec![("sa_1.png", &one.image), ("sa_1.json", &one.json)], "sa_1.png"),
    ];
    for (members, named) in cases {
        let members: Vec<_> = members.into_iter().map(|(name, bytes)| (name.to_owned(), bytes.clone())).collect();
        let error = lenient().from_sources(vec![("odd.tar".into(), memory(pack(&members)))]).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("no samples in odd.tar") && text.contains(named), "{text}");
        assert!(text.contains("NAME.jpg and NAME.json"), "{text}");
    }
}

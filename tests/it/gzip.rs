//! For every reader, a gzip shard equals the tar inside it; and damage costs only the samples that it touches.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use maskstream::index::{Entry, Finding, FindingKind, IndexStatus, Indexer, ShardIndex, Sidecar};
use maskstream::internals::OneLine;
use maskstream::source::{self, MemorySource, Source};
use maskstream::{Batch, ErrorKind, Loader, LoaderBuilder, OnCorrupt, OnError, Result, SampleId, ShardSet};
use proptest::prelude::*;

use crate::fixture::{
    BadAdvice, Dice, Faulty, Made, content, gzip, lenient, made_many, members, memory, pack, read_error, read_with_tar,
    set_of, shard, within,
};

/// Compresses each piece of this size as a gzip member of its own.
fn in_pieces(bytes: &[u8], size: usize, level: u32) -> Vec<u8> {
    bytes.chunks(size).flat_map(|piece| gzip(piece, level)).collect()
}

/// One gzip member in which each tar member's data has its own blocks. Returns the file and the position of each
/// member's blocks in it, by name.
fn in_blocks(tar: &[u8]) -> (Vec<u8>, BTreeMap<String, Range<usize>>) {
    let mut members: Vec<_> = read_with_tar(tar).into_iter().collect();
    members.sort_by_key(|(_, (offset, _))| *offset);
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let (mut at, mut places) = (0, BTreeMap::new());
    let mut write_to = |encoder: &mut GzEncoder<Vec<u8>>, end: usize| {
        encoder.write_all(&tar[at..end]).unwrap();
        encoder.flush().unwrap();
        at = end;
        encoder.get_ref().len()
    };
    for (name, (offset, content)) in members {
        let start = write_to(&mut encoder, offset as usize);
        let end = write_to(&mut encoder, offset as usize + content.len());
        places.insert(name, start..end);
    }
    write_to(&mut encoder, tar.len());
    (encoder.finish().unwrap(), places)
}

/// Image and annotations of each sample side by side.
fn interleaved(samples: &[Made]) -> Vec<u8> {
    let both = |s: &Made| [(s.image_name(), s.image.clone()), (s.json_name(), s.json.clone())];
    pack(&samples.iter().flat_map(both).collect::<Vec<_>>())
}

fn index(bytes: &[u8]) -> ShardIndex {
    ShardIndex::build(&MemorySource::new(bytes.to_vec()), &|_| {}).unwrap()
}

fn broken(index: &ShardIndex) -> Option<&Finding> {
    let is_break = |kind| matches!(kind, FindingKind::BrokenShard | FindingKind::WrongChecksum);
    index.findings().iter().find(|finding| is_break(finding.kind))
}

/// The bytes that another inflater gets out of a gzip file before the damage.
fn inflated(file: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = flate2::bufread::MultiGzDecoder::new(file).read_to_end(&mut bytes);
    bytes
}

/// Samples whose two members end before `end` in the tar.
fn whole_before(tar: &[u8], samples: &[Made], end: usize) -> BTreeSet<i64> {
    let found = read_with_tar(tar);
    let ends = |name: &str| found[name].0 as usize + found[name].1.len() <= end;
    samples.iter().filter(|s| ends(&s.image_name()) && ends(&s.json_name())).map(|s| s.id).collect()
}

/// Ids of the entries whose checksums are those of the sample's members.
fn right(index: &ShardIndex, samples: &[Made]) -> BTreeSet<i64> {
    let is_right = |entry: &&maskstream::index::Entry| {
        let sample = samples.iter().find(|sample| sample.id == entry.image_id);
        sample.is_some_and(|sample| {
            entry.image.crc32c == crc32c::crc32c(&sample.image)
                && entry.annotations.crc32c == crc32c::crc32c(&sample.json)
        })
    };
    index.entries().iter().filter(is_right).map(|entry| entry.image_id).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    #[test]
    fn the_index_of_a_gzip_shard_is_that_of_the_tar_inside(
        order in Just((0..14).collect::<Vec<usize>>()).prop_shuffle(),
        level in 0..=9_u32,
        piece in prop_oneof![100..2000_usize, Just(usize::MAX)],
    ) {
        let mut all = members(&made_many(5));
        // An orphan, a duplicate, broken annotations and an unknown member.
        all.retain(|(name, _)| name != "sa_2.json");
        let json = &mut all.iter_mut().find(|(name, _)| name == "sa_4.json").unwrap().1;
        json.truncate(30);
        all.push(("sa_1.jpg".to_owned(), b"another".to_vec()));
        all.push(("README".to_owned(), Vec::new()));
        all.push((format!("{}.jpg", "deep/".repeat(60)), b"long".to_vec()));
        all.push(("empty.json".to_owned(), Vec::new()));
        all.push(("sa_99.jpg".to_owned(), vec![1; 1024]));
        let shuffled: Vec<_> = order.iter().map(|&i| all[i].clone()).collect();
        let plain = pack(&shuffled);
        prop_assert_eq!(index(&in_pieces(&plain, piece, level)), index(&plain));
        prop_assert_eq!(index(&in_blocks(&plain).0), index(&plain));
    }

    #[test]
    fn broken_tars_inside_of_sound_gzip_files_are_broken_in_the_same_place(seed: u64) {
        let mut dice = Dice(seed);
        let samples = made_many(4);
        let mut plain = interleaved(&samples);
        match dice.below(4) {
            0 => plain.truncate(dice.below(plain.len() as u64) as usize),
            1 => plain.extend(interleaved(&samples)),
            2 => {
                let found = read_with_tar(&plain);
                let (offset, _) = found.values().nth(dice.below(8) as usize).unwrap();
                plain[*offset as usize - 1 - dice.below(512) as usize] ^= 1 << dice.below(8);
            }
            _ => {
                for _ in 0..4 {
                    let at = dice.below(plain.len() as u64) as usize;
                    plain[at] ^= 1 << dice.below(8);
                }
            }
        }
        let [a, b] = [index(&plain), index(&gzip(&plain, 6))];
        prop_assert_eq!(a.entries(), b.entries());
        let kinds = |index: &ShardIndex| -> Vec<_> {
            index.findings().iter().map(|finding| (finding.kind, finding.member.clone())).collect()
        };
        prop_assert_eq!(kinds(&a), kinds(&b));
    }
}

/// A gzip shard on disk, and the tar inside it.
struct OnDisk {
    dir: tempfile::TempDir,
    path: PathBuf,
    plain: Vec<u8>,
}

impl OnDisk {
    fn new(plain: Vec<u8>, file: &[u8]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.tar");
        fs::write(&path, file).unwrap();
        Self { dir, path, plain }
    }

    fn sidecar(&self) -> PathBuf {
        self.dir.path().join("s.tar.msidx")
    }

    fn open(&self) -> ShardSet {
        lenient().sidecar(Sidecar::Beside).open(&[&self.path]).unwrap()
    }

    fn status(&self) -> IndexStatus {
        self.open().reports().next().unwrap().status.clone()
    }

    /// Changes bytes of the file, but neither its size nor its time.
    fn overwrite(&self, bytes: &[u8]) {
        let modified = fs::metadata(&self.path).unwrap().modified().unwrap();
        assert_eq!(fs::metadata(&self.path).unwrap().len(), bytes.len() as u64);
        fs::write(&self.path, bytes).unwrap();
        File::options().write(true).open(&self.path).unwrap().set_modified(modified).unwrap();
    }

    /// Reads every member of every sample through this source.
    fn check(&self, index: &ShardIndex, source: &dyn Source) {
        let members = read_with_tar(&self.plain);
        assert_eq!(source.len(), self.plain.len() as u64);
        for entry in index.entries() {
            for (name, extent) in [(entry.image_name(), entry.image), (entry.annotations_name(), entry.annotations)] {
                let (offset, content) = &members[name.trim_start_matches("./")];
                assert_eq!((extent.offset, extent.len as usize), (*offset, content.len()), "{name}");
                assert!(source.read(extent.range()).unwrap() == content, "{name}");
            }
        }
        assert!(source.read(0..source.len()).unwrap() == self.plain);
    }
}

#[test]
fn every_member_is_read_in_place_with_a_sidecar_and_without() {
    let samples = made_many(7);
    let plain = shard(&samples);
    for file in [gzip(&plain, 6), gzip(&plain, 0), in_pieces(&plain, 700, 9), in_blocks(&plain).0] {
        let disk = OnDisk::new(plain.clone(), &file);
        let dir = Sidecar::Dir(disk.dir.path().join("elsewhere"));
        for sidecar in [Sidecar::Off, dir.clone(), dir, Sidecar::Beside, Sidecar::Beside] {
            let options = lenient().sidecar(sidecar.clone());
            let indexed = Indexer::new().sidecar(sidecar).index(&disk.path).unwrap();
            assert!(indexed.is_gzip());
            assert_eq!((indexed.shard_bytes, indexed.index.left_out().damaged()), (file.len() as u64, 0));
            assert_eq!(indexed.index.findings(), &[]);
            disk.check(&indexed.index, indexed.source(source::open(&disk.path).unwrap()).unwrap().as_ref());
            let set = options.open(&[&disk.path]).unwrap();
            assert!(set.reports().all(|report| report.is_gzip && report.left_out.damaged() == 0));
            disk.check(&indexed.index, set.source(0).unwrap().as_ref());
        }
        assert_eq!(disk.status(), IndexStatus::Loaded);
        let set = lenient().from_sources(vec![("in memory".into(), memory(file))]).unwrap();
        disk.check(&index(&plain), set.source(0).unwrap().as_ref());
    }
}

fn options() -> LoaderBuilder {
    Loader::builder().batch_size(3).image_size(24).mask_size(Some([8, 8])).coverage(Some(4)).top_k(4)
}

fn epoch(options: LoaderBuilder, set: ShardSet, number: u64) -> Vec<Batch> {
    options.build(set).unwrap().epoch(number).unwrap().map(Result::unwrap).collect()
}

#[test]
fn an_epoch_over_gzip_shards_is_that_over_plain_ones() {
    within(|| {
        let samples = made_many(13);
        let plain = [shard(&samples[..6]), interleaved(&samples[6..])];
        let packed = [in_pieces(&plain[0], 900, 6), gzip(&plain[1], 6)];
        for workers in [1, 3] {
            for number in 0..2 {
                let options = || options().shuffle(5).num_workers(workers);
                let [a, b] = [&plain, &packed].map(|shards| epoch(options(), set_of(shards.to_vec()), number));
                assert_eq!(a.len(), 5);
                assert!(a.iter().map(content).eq(b.iter().map(content)), "epoch {number}, {workers} workers");
                // A mixed set works as well.
                let c = epoch(options(), set_of(vec![plain[0].clone(), packed[1].clone()]), number);
                assert!(a.iter().map(content).eq(c.iter().map(content)));
            }
        }
        let disk = OnDisk::new(plain[0].clone(), &packed[0]);
        let expected = epoch(options(), set_of(vec![plain[0].clone()]), 0);
        for status in ["Built", "Loaded"] {
            let set = disk.open();
            assert!(format!("{:?}", set.reports().next().unwrap().status).starts_with(status));
            let found = epoch(options(), set, 0);
            let rows = |batch: &Batch| {
                batch.fields().map(|field| (field.spec.name().to_owned(), field.bytes.to_vec())).collect::<Vec<_>>()
            };
            assert!(found.iter().map(rows).eq(expected.iter().map(rows)), "{status}");
        }
    });
}

/// Number of bytes in the gzip members from the start of a file that inflate and whose trailers match: for another
/// inflater, a member at a time.
fn verified(mut file: &[u8]) -> usize {
    let mut bytes = 0;
    while !file.is_empty() {
        let mut content = Vec::new();
        let mut member = flate2::bufread::GzDecoder::new(&mut file);
        if member.read_to_end(&mut content).is_err() {
            break;
        }
        bytes += content.len();
    }
    bytes
}

/// Checks a damaged file, given how many unchanged bytes another inflater still gets out of it.
fn check_damaged(file: &[u8], tar: &[u8], samples: &[Made], sound: usize, case: &str) {
    let index = index(file);
    let expected = whole_before(tar, samples, sound);
    let finding = broken(&index).unwrap_or_else(|| panic!("{case}: no word of the damage"));
    // Samples that seemed complete are left out if they are in the block that breaks, or just before an invalid header.
    let in_doubt: usize = finding
        .message
        .split([',', ';'])
        .find_map(|part| part.trim().strip_suffix(" of them possibly corrupt"))
        .map_or(0, |n| n.parse().unwrap_or_else(|_| panic!("{case}: {finding}")));
    let right = right(&index, samples);
    let lost = expected.difference(&right).count();
    assert!(lost <= in_doubt, "{case}: {expected:?} are whole, {:?}", index.findings());
    if in_doubt > 0 {
        assert_eq!(right.len(), index.entries().len(), "{case}: nothing else is in doubt");
    }
    assert!(finding.offset >= sound as u64 / 512 * 512, "{case}: {finding}, of {sound} bytes");
    assert!(finding.member.ends_with("(the last good one)"), "{case}: {finding}");
    let complete = format!("{} samples before it are complete", index.entries().len());
    let left_out = index.left_out();
    let missing = left_out.damaged();
    // Only the gzip members whose trailers match vouch for samples.
    let vouched = verified(file) as u64;
    let is_vouched = |entry: &&Entry| entry.image.range().end.max(entry.annotations.range().end) <= vouched;
    let verified: Vec<&Entry> = index.entries().iter().filter(is_vouched).collect();
    // A break of the tar alone is behind the end of a whole stream.
    let is_whole = verified.len() == index.entries().len();
    assert_eq!(left_out.unverified as usize, index.entries().len() - verified.len(), "{case}");
    assert!(
        verified.iter().all(|entry| right.contains(&entry.image_id)),
        "{case}: wrong bytes, and a checksum that fits"
    );
    let vouches = format!("no checksum vouches for {} samples", left_out.unverified);
    assert_eq!(finding.message.contains(&vouches), !is_whole, "{case}: {finding}");
    if finding.kind != FindingKind::WrongChecksum {
        assert!(finding.message.contains(&complete), "{case}: {finding}");
        assert!(finding.message.contains(&format!(" {} are missing", left_out.unreadable)), "{case}: {finding}");
    }
    let builder = || lenient().use_unverified(false);
    let sources = || vec![("s".into(), memory(file.to_vec()))];
    let open = |on_corrupt| builder().on_corrupt(on_corrupt).from_sources(sources());
    match open(OnCorrupt::KEEP) {
        Ok(set) => assert_eq!(set.len() as usize, verified.len(), "{case}: unverified samples are left out"),
        Err(error) => assert!(verified.is_empty() && error.kind() == ErrorKind::Config, "{case}: {error}"),
    }
    let error = open(OnCorrupt::Stop).unwrap_err();
    let first = index.findings().iter().find(|finding| finding.kind.is_damage()).unwrap();
    assert!(error.is_corrupt() && error.to_string().contains(&OneLine(&first.message).to_string()), "{case}: {error}");
    assert_eq!(error.location().offset, Some(first.offset), "{case}");
    if missing > 0 {
        let error = open(OnCorrupt::Skip { budget: missing - 1 }).unwrap_err();
        assert!(error.is_corrupt(), "{case}: {error}");
        assert!(error.to_string().contains(&format!("the budget of {}", missing - 1)), "{case}: {error}");
    }
    match builder().use_unverified(true).on_corrupt(OnCorrupt::Skip { budget: missing }).from_sources(sources()) {
        Ok(set) => {
            assert_eq!(set.len(), index.entries().len() as u64, "{case}");
            let source = set.source(0).unwrap();
            for entry in index.entries() {
                for extent in [entry.image, entry.annotations] {
                    let bytes = source.read(extent.range()).unwrap();
                    assert_eq!(crc32c::crc32c(&bytes), extent.crc32c, "{case}: another time, other bytes");
                }
            }
        }
        Err(error) => assert!(index.entries().is_empty() && error.kind() == ErrorKind::Config, "{case}: {error}"),
    }
}

#[test]
fn a_gzip_shard_cut_anywhere_keeps_what_is_whole_and_names_the_cut() {
    let samples = made_many(6);
    let tar = interleaved(&samples);
    let found = read_with_tar(&tar);
    for (name, file, borders) in [
        ("one member", gzip(&tar, 6), Vec::new()),
        ("stored", gzip(&tar, 0), Vec::new()),
        ("pieces", in_pieces(&tar, 1500, 6), {
            let mut at = 0;
            tar.chunks(1500)
                .map(|piece| {
                    at += gzip(piece, 6).len();
                    at
                })
                .collect()
        }),
    ] {
        let len = file.len();
        let mut cuts: Vec<usize> = (2..30).chain(len - 30..len).chain((30..len).step_by(97)).collect();
        cuts.extend(borders.iter().flat_map(|&border: &usize| border - 2..border + 12).filter(|cut| *cut < len));
        for cut in cuts {
            let case = format!("{name}, cut at {cut} of {len}");
            let sound = inflated(&file[..cut]).len();
            let index = index(&file[..cut]);
            if sound >= tar.len() - 512 && borders.contains(&cut) {
                assert_eq!(index, self::index(&tar), "{case}: the tar is whole");
                continue;
            }
            check_damaged(&file[..cut], &tar, &samples, sound, &case);
            let finding = broken(&index).unwrap();
            if !borders.contains(&cut) {
                assert!(
                    finding.message.contains("gzip") && finding.message.contains("is truncated"),
                    "{case}: {finding}"
                );
                let place =
                    if finding.message.contains("header") { "gzip header at byte".to_owned() } else { cut.to_string() };
                assert!(finding.message.contains(&place), "{case}: {finding}");
            }
            let whole = found.iter().filter(|(_, (offset, content))| *offset as usize + content.len() <= sound);
            let last = whole.max_by_key(|(_, (offset, _))| *offset).map(|(name, _)| format!("./{name} "));
            let last = last.unwrap_or_else(|| if sound >= 512 { "./ ".to_owned() } else { "(none)".to_owned() });
            assert!(finding.member.starts_with(&last), "{case}: {finding}, not {last}");
        }
    }
}

#[test]
fn a_flipped_bit_costs_nothing_that_comes_before_it_and_never_goes_unnoticed() {
    let samples = made_many(6);
    let tar = interleaved(&samples);
    let mut dice = Dice(9);
    let mut noticed = 0;
    for sound_file in [gzip(&tar, 6), gzip(&tar, 0), in_pieces(&tar, 1500, 6)] {
        for _ in 0..80 {
            let at = dice.below(sound_file.len() as u64) as usize;
            let mut file = sound_file.clone();
            file[at] ^= 1 << dice.below(8);
            let case = format!("byte {at} of {}", file.len());
            let index = index(&file[..]);
            if file.starts_with(&[0x1f, 0x8b]) && broken(&index).is_none() {
                assert!(inflated(&file) == tar, "{case}: other bytes, and no word of it");
                assert_eq!(index, self::index(&tar), "{case}");
                continue;
            }
            noticed += 1;
            if file.starts_with(&[0x1f, 0x8b]) {
                check_damaged(&file, &tar, &samples, inflated(&sound_file[..at]).len(), &case);
            }
        }
    }
    assert!(noticed > 200, "{noticed}");
}

#[test]
fn a_wrong_trailer_makes_every_sample_doubtful_and_names_its_place() {
    let samples = made_many(4);
    let tar = interleaved(&samples);
    let sound = gzip(&tar, 6);
    for at in sound.len() - 8..sound.len() {
        let mut file = sound.clone();
        file[at] ^= 1;
        check_damaged(&file, &tar, &samples, tar.len(), "trailer");
        let index = index(&file);
        let finding = broken(&index).unwrap();
        assert_eq!((index.entries().len(), index.left_out().damaged()), (4, 4), "any may be wrong");
        assert!(finding.message.contains("checksum"), "{finding}");
        assert!(finding.message.contains(&format!("byte {} of the file", sound.len() - 8)), "{finding}");
        assert_eq!(finding.offset, tar.len() as u64);
    }
}

#[test]
fn what_follows_a_gzip_stream_is_named_unless_it_is_padding() {
    let samples = made_many(3);
    let tar = interleaved(&samples);
    let sound = gzip(&tar, 6);
    for zeros in [1, 511, 100_000] {
        let padded = [sound.clone(), vec![0; zeros]].concat();
        assert_eq!(index(&padded), index(&tar));
        let file = [padded, b"other data".to_vec()].concat();
        check_damaged(&file, &tar, &samples, tar.len(), "other data");
        let index = index(&file);
        assert_eq!(index.entries().len(), 3);
        let at = sound.len() + zeros;
        assert!(broken(&index).unwrap().message.contains("10 bytes of other data follow"), "{at}");
        assert!(broken(&index).unwrap().message.contains(&format!("at byte {at} of the file")));
    }
    for line_end in ["\n", "\r\n"] {
        assert_eq!(index(&[&sound, line_end.as_bytes()].concat()), index(&tar));
    }
    for other in ["\r", "\n\n", " ", "\nx", "\n\0", "\0\n"] {
        let file = [&sound, other.as_bytes()].concat();
        check_damaged(&file, &tar, &samples, tar.len(), "other data");
    }
    // A second shard appended to the first: its samples would be lost silently.
    let glued = [sound.clone(), sound].concat();
    check_damaged(&glued, &tar, &samples, tar.len(), "two shards");
    // A shard whose tar ends before the gzip stream does; zeros follow.
    let longer = gzip(&[tar.clone(), vec![0; 3 << 20]].concat(), 6);
    assert_eq!(index(&longer), index(&tar));
}

#[test]
fn a_bad_block_in_the_middle_costs_what_is_behind_it_and_the_rest_is_guessed() {
    // Members of equal size, so that the guess can be judged.
    let samples: Vec<Made> = (1..=20).map(|id| crate::fixture::made(id, 40, 28, 4)).collect();
    let tar = interleaved(&samples);
    let (sound, places) = in_blocks(&tar);
    for id in [3, 10, 19] {
        let mut file = sound.clone();
        let place = places[&format!("sa_{id}.json")].clone();
        // No block has this type.
        file[place.start] |= 6;
        let index = index(&file);
        check_damaged(&file, &tar, &samples, read_with_tar(&tar)[&format!("sa_{id}.jpg")].0 as usize, "bad block");
        assert_eq!(index.entries().len() as i64, id - 1);
        let finding = broken(&index).unwrap();
        assert!(finding.message.contains(&format!("byte {} of the file", place.start)), "{finding}");
        assert_eq!(finding.member, format!("./sa_{id}.jpg (the last good one)"));
        let (missing, truth) = (index.left_out().unreadable as f64, (21 - id) as f64);
        assert!(missing >= 1.0 && (missing - truth).abs() <= 2.0 + truth * 0.3, "{missing} of {truth}: {finding}");
    }
}

#[test]
fn the_budget_of_damage_is_that_of_all_shards_together() {
    let samples = made_many(6);
    let tar = interleaved(&samples);
    let file = gzip(&tar, 6);
    let cut = file[..file.len() * 2 / 3].to_vec();
    let missing = index(&cut).left_out().unreadable;
    assert!(missing > 0);
    let open = |budget| {
        let sources = ["a", "b"].map(|name| (name.to_owned(), memory(cut.clone())));
        let options = lenient().use_unverified(true).on_corrupt(OnCorrupt::Skip { budget });
        options.from_sources(sources.into())
    };
    assert!(open(2 * missing).is_ok());
    assert!(open(2 * missing - 1).unwrap_err().is_corrupt());
}

#[test]
fn damage_that_comes_after_indexing_costs_the_samples_it_touches() {
    within(|| {
        let samples = made_many(12);
        let tar = interleaved(&samples);
        let (sound, places) = in_blocks(&tar);
        let disk = OnDisk::new(tar.clone(), &sound);
        let reference = epoch(options(), disk.open(), 0);
        let mut dice = Dice(11);
        let mut struck = 0;
        for round in 0..24 {
            let sample = &samples[dice.below(12) as usize];
            let name = if round % 2 == 0 { sample.image_name() } else { sample.json_name() };
            let place = places[&name].clone();
            let mut file = sound.clone();
            match round % 3 {
                0 => file[place.clone()].fill(0xff),
                1 => file[place.clone()].fill(0),
                _ => file[place.start + dice.below(place.len() as u64) as usize] ^= 1 << dice.below(8),
            }
            disk.overwrite(&file);
            assert_eq!(disk.status(), IndexStatus::Loaded, "nothing tells from outside");
            let loader = options().num_workers(2).on_error(OnError::skip(12)).build(disk.open()).unwrap();
            let batches: Vec<Batch> = loader.epoch(0).unwrap().map(Result::unwrap).collect();
            let mut errors = 0;
            for (batch, expected) in batches.iter().zip(&reference) {
                let bad: Vec<usize> = batch.errors().iter().map(|issue| issue.row).collect();
                for issue in batch.errors() {
                    let at = issue.error.location();
                    assert_eq!(at.shard.as_deref(), Some(disk.path.as_path()), "{}", issue.error);
                    let named = at.member.as_deref().unwrap();
                    assert!(named.starts_with(&format!("./sa_{}.", sample.id)), "{name} was damaged: {}", issue.error);
                    assert!(at.offset.is_some() && issue.error.is_corrupt(), "{}", issue.error);
                    errors += 1;
                }
                for (field, expected) in batch.fields().zip(expected.fields()) {
                    let rows = field.bytes.len() / field.spec.shape[0];
                    for (row, (a, b)) in field.bytes.chunks(rows).zip(expected.bytes.chunks(rows)).enumerate() {
                        assert!(bad.contains(&row) || a == b, "{name} was damaged, row {row}: {}", field.spec.name());
                    }
                }
            }
            assert!(errors <= 1, "{name} was damaged, {errors} errors");
            // A flipped bit may be one without meaning.
            assert!(errors == 1 || round % 3 == 2, "{name} was damaged without an error");
            struck += errors;
        }
        assert!(struck > 18, "{struck}");
    });
}

#[test]
fn damage_that_comes_after_indexing_is_an_error_wherever_it_strikes() {
    // Blocks that many members share, so that one flipped bit may affect any of them.
    let samples = made_many(8);
    let tar = interleaved(&samples);
    let mut dice = Dice(12);
    for sound in [gzip(&tar, 6), in_pieces(&tar, 1200, 6)] {
        let disk = OnDisk::new(tar.clone(), &sound);
        let members = read_with_tar(&tar);
        let entries = index(&tar).entries().to_vec();
        disk.open();
        for _ in 0..60 {
            let at = dice.below(sound.len() as u64) as usize;
            let mut file = sound.clone();
            file[at] ^= 1 << dice.below(8);
            disk.overwrite(&file);
            let set = disk.open();
            let before = inflated(&sound[..at]).len() as u64;
            let source = set.source(0).unwrap();
            for entry in &entries {
                for (name, extent) in [(entry.image_name(), entry.image), (entry.annotations_name(), entry.annotations)]
                {
                    let expected = &members[name.trim_start_matches("./")].1;
                    match source.read(extent.range()) {
                        Ok(bytes) if bytes == expected => {}
                        Ok(bytes) => {
                            assert_ne!(crc32c::crc32c(&bytes), extent.crc32c);
                            assert!(extent.range().end > before, "byte {at}: {name} lies before it");
                        }
                        Err(error) => {
                            assert!(error.is_corrupt(), "byte {at}: {error}");
                            assert!(extent.range().end > before, "byte {at}: {name} lies before it");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn a_damaged_sidecar_of_a_gzip_shard_is_built_anew_or_costs_nothing() {
    let samples = made_many(3);
    let tar = shard(&samples);
    let disk = OnDisk::new(tar.clone(), &gzip(&tar, 6));
    disk.open();
    let sound = fs::read(disk.sidecar()).unwrap();
    let expected = index(&tar);
    let members = read_with_tar(&tar);
    let (mut rebuilt, mut refused) = (0, 0);
    let check = |bytes: &[u8], case: &str| {
        fs::write(disk.sidecar(), bytes).unwrap();
        let set = disk.open();
        assert_eq!(set.len(), 3, "{case}");
        let is_rebuilt = set.reports().next().unwrap().status != IndexStatus::Loaded;
        let mut refused = 0;
        let source = set.source(0).unwrap();
        for entry in expected.entries() {
            for (name, extent) in [(entry.image_name(), entry.image), (entry.annotations_name(), entry.annotations)] {
                match source.read(extent.range()) {
                    Ok(bytes) if bytes == members[name.trim_start_matches("./")].1 => {}
                    Ok(bytes) => {
                        assert_ne!(crc32c::crc32c(&bytes), extent.crc32c);
                        refused += 1;
                    }
                    Err(error) => {
                        assert!(error.is_corrupt(), "{case}: {error}");
                        refused += 1;
                    }
                }
            }
        }
        assert!(!is_rebuilt || refused == 0, "{case}");
        (is_rebuilt, refused)
    };
    for at in (0..sound.len()).step_by(3) {
        let mut bytes = sound.clone();
        bytes[at] ^= 1 << (at % 8);
        let (is_rebuilt, lost) = check(&bytes, &format!("byte {at}"));
        rebuilt += usize::from(is_rebuilt);
        refused += lost;
    }
    for cut in (0..sound.len()).step_by(31) {
        assert!(check(&sound[..cut], &format!("cut at {cut}")).0);
    }
    assert!(check(&[&sound[..], b"x"].concat(), "longer").0);
    assert!(rebuilt > 0 && rebuilt < sound.len() / 3, "{rebuilt} rebuilt");
    assert_eq!(refused, 0, "a damaged window costs no sample");
    // Deleted while it is in use, or replaced by another.
    fs::write(disk.sidecar(), &sound).unwrap();
    let set = disk.open();
    fs::write(disk.sidecar(), vec![0; sound.len()]).unwrap();
    assert!(set.source(0).map(drop).unwrap_err().is_corrupt());
    let set = lenient().sidecar(Sidecar::Off).open(&[&disk.path]).unwrap();
    disk.check(&expected, set.source(0).unwrap().as_ref());
}

#[test]
fn a_forged_sidecar_of_a_gzip_shard_never_panics() {
    let tar = shard(&made_many(2));
    let disk = OnDisk::new(tar.clone(), &gzip(&tar, 6));
    disk.open();
    let sound = fs::read(disk.sidecar()).unwrap();
    let header = crate::fixture::SIDECAR_HEADER;
    let payload_end = header + u64::from_le_bytes(sound[16..24].try_into().unwrap()) as usize;
    let mut loaded = 0;
    for at in header..payload_end {
        for value in [0x00, 0x7f, 0xff, sound[at].wrapping_add(1)] {
            let mut bytes = sound.clone();
            bytes[at] = value;
            crate::fixture::sign_sidecar(&mut bytes);
            fs::write(disk.sidecar(), &bytes).unwrap();
            let opened = lenient().sidecar(Sidecar::Beside).open(&[&disk.path]);
            let Ok(set) = opened else { continue };
            loaded += usize::from(set.reports().next().unwrap().status == IndexStatus::Loaded);
            let Ok(source) = set.source(0) else { continue };
            for position in 0..set.len() as u32 {
                let entry = set.entry(SampleId { shard: 0, entry: position }).unwrap();
                for extent in [entry.image, entry.annotations] {
                    source.will_need(extent.range());
                    if let Ok(bytes) = source.read(extent.range()) {
                        assert_eq!(bytes.len(), extent.len as usize);
                    }
                }
            }
        }
    }
    assert!(loaded > 0);
}

/// A gzip shard larger than one read.
fn large() -> (Vec<u8>, Vec<u8>) {
    let mut dice = Dice(13);
    let mut all = members(&made_many(4));
    for id in 0..3 {
        all.push((format!("noise_{id}.bin"), (0..1 << 20).map(|_| dice.next() as u8).collect()));
    }
    let tar = pack(&all);
    (gzip(&tar, 1), tar)
}

#[test]
fn errors_and_panics_of_a_source_during_the_pass_are_those_of_its_shard() {
    let (file, tar) = large();
    let reads = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&reads);
    let counting = Faulty::new(file.clone(), move |_, bytes| {
        counter.fetch_add(1, SeqCst);
        Ok(bytes)
    });
    counting.arm();
    let whole = ShardIndex::build(counting.as_ref(), &|_| {}).unwrap();
    assert_eq!(whole, index(&tar));
    let count = reads.load(SeqCst);
    assert!(count > 3, "{count} reads");
    for panics in [false, true] {
        for failing in 0..count {
            let seen = AtomicUsize::new(0);
            let source = Faulty::new(file.clone(), move |range: Range<u64>, bytes: Bytes| {
                if seen.fetch_add(1, SeqCst) != failing {
                    return Ok(bytes);
                }
                assert!(!panics, "the source gave way");
                Err(std::io::Error::other(format!("no bytes from {}", range.start)).into())
            });
            source.arm();
            let error = lenient().from_sources(vec![("s".into(), source)]).unwrap_err();
            let expected = if panics { ErrorKind::Panic } else { ErrorKind::Io };
            assert_eq!(error.kind(), expected, "read {failing} of {count}: {error}");
            assert_eq!(error.location().shard.as_deref(), Some("s".as_ref()), "{error}");
        }
    }
}

#[test]
fn a_panic_in_mere_advice_costs_no_shard() {
    within(|| {
        let file = gzip(&shard(&made_many(6)), 6);
        let set = lenient().from_sources(vec![("s".into(), Arc::new(BadAdvice(MemorySource::new(file))))]).unwrap();
        let batches = epoch(options(), set, 0);
        assert_eq!(batches.iter().map(Batch::valid_rows).sum::<usize>(), 6);
    });
}

#[test]
fn a_fault_of_the_file_is_the_error_of_the_samples_read_from_it() {
    within(|| {
        let tar = interleaved(&made_many(6));
        let (file, places) = in_blocks(&tar);
        let target = places["sa_4.jpg"].clone();
        for panics in [false, true] {
            let target = target.clone();
            let source = Faulty::new(file.clone(), move |range: Range<u64>, bytes: Bytes| {
                if !(range.start..range.end).contains(&(target.start as u64 + 20)) {
                    return Ok(bytes);
                }
                assert!(!panics, "the source gave way");
                Err(read_error(range.start))
            });
            let set = lenient().from_sources(vec![("s".into(), source.clone())]).unwrap();
            source.arm();
            let loader = options().on_error(OnError::skip(1)).build(set).unwrap();
            let batches: Vec<Batch> = loader.epoch(0).unwrap().map(Result::unwrap).collect();
            let errors: Vec<_> = batches.iter().flat_map(Batch::errors).collect();
            assert_eq!(errors.len(), 1);
            assert_eq!(errors[0].error.location().member.as_deref(), Some("./sa_4.jpg"), "{}", errors[0].error);
        }
    });
}

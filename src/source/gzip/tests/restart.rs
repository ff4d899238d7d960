//! Any range of a gzip file can be read in place with the restart points of a pass. A forged table leads to an error or
//! to wrong bytes, never to a panic.

use std::io::{Read, Write};
use std::ops::Range;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};
use proptest::prelude::*;

use super::encoder::{self, Dice};
use crate::Result;
use crate::source::gzip::inflate::WINDOW_BYTES;
use crate::source::gzip::point::{read_window, write_window};
use crate::source::gzip::{GzipPass, GzipSource, Inflater};
use crate::source::{Frontier, MemorySource, Parts, RECORD_BYTES, Restarts, Source};

/// One gzip member.
fn gzip(bytes: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(level));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// One gzip member with this deflate stream.
fn wrap(stream: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    out.extend_from_slice(stream);
    out.extend(crc32fast::hash(bytes).to_le_bytes());
    out.extend((bytes.len() as u32).to_le_bytes());
    out
}

/// Tar-like data: for each member a 512-byte header, then data padded to 512. Returns the range of the data of each.
fn layout(dice: &mut Dice, members: usize, long: bool) -> (Vec<u8>, Vec<Range<usize>>) {
    let (mut bytes, mut ranges) = (Vec::new(), Vec::new());
    for member in 0..members {
        let mut header = [0; 512];
        header[..8].copy_from_slice(&(member as u64).to_le_bytes());
        header[100..112].copy_from_slice(b"0000644\x000000");
        bytes.extend(header);
        let len = match dice.below(5) {
            0 => 0,
            1 | 2 => dice.below(600),
            3 => dice.below(40_000),
            _ if long && dice.below(6) == 0 => (1 << 20) + dice.below(100_000),
            _ => 512 * dice.below(8),
        };
        let start = bytes.len();
        match dice.below(4) {
            0 => bytes.extend(dice.bytes(len)),
            1 => bytes.extend((0..len).map(|_| (dice.next().leading_zeros() * 23) as u8)),
            2 => bytes.extend(std::iter::repeat_n(b'z', len)),
            _ => bytes.extend((0..len).map(|index| b"{\"counts\":\"abc\",\"area\":17},"[index % 27])),
        }
        ranges.push(start..bytes.len());
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    (bytes, ranges)
}

/// Compresses the bytes to a gzip file of one of five shapes.
fn compress(bytes: &[u8], ranges: &[Range<usize>], shape: usize, dice: &mut Dice) -> Vec<u8> {
    let mut out = Vec::new();
    let level = |dice: &mut Dice| dice.below(10) as u32;
    match shape % 5 {
        0 => return gzip(bytes, level(dice)),
        // Many small gzip members, some of them empty.
        1 => {
            for piece in bytes.chunks(1 + dice.below(65_536)) {
                out.extend(gzip(piece, level(dice)));
                if dice.below(3) == 0 {
                    out.extend(gzip(&[], level(dice)));
                }
            }
        }
        // One gzip member for each header and for the data of each member.
        2 => {
            let mut at = 0;
            for end in ranges.iter().flat_map(|range| [range.start, range.end]).chain([bytes.len()]) {
                out.extend(gzip(&bytes[at..end], level(dice)));
                at = end;
            }
        }
        // One gzip member whose blocks end where headers and data do.
        3 => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::new(level(dice)));
            let mut at = 0;
            for end in ranges.iter().flat_map(|range| [range.start, range.end]).chain([bytes.len()]) {
                encoder.write_all(&bytes[at..end]).unwrap();
                encoder.flush().unwrap();
                at = end;
            }
            return encoder.finish().unwrap();
        }
        // Blocks with matches that no encoder would choose, before and after the data.
        _ => {
            let (stream, before) = encoder::stream(dice, 2);
            out.extend(wrap(&stream, &before));
            out.extend(gzip(bytes, level(dice)));
            let (stream, behind) = encoder::stream(dice, 2);
            out.extend(wrap(&stream, &behind));
        }
    }
    out
}

/// The inflated bytes of a gzip file.
fn inflated(file: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    flate2::read::MultiGzDecoder::new(file).read_to_end(&mut bytes).unwrap();
    bytes
}

fn read_exactly(pass: &mut GzipPass<'_>, mut count: usize, most: usize, into: &mut Vec<u8>) {
    while count > 0 {
        let start = into.len();
        into.resize(start + count.min(most), 0);
        let got = pass.read(&mut into[start..]).unwrap();
        into.truncate(start + got);
        count -= got;
        if got == 0 {
            return;
        }
    }
}

/// Passes over a file as the tar reader does: reads up to the data of each member, creates a restart point and reads
/// the data. Checks on the way that everything before a point can be read.
fn pass(file: &Arc<dyn Source>, expected: &[u8], starts: &[usize], dice: &mut Dice) -> Arc<Restarts> {
    let mut pass = GzipPass::new(file.as_ref());
    let restarts = Arc::clone(pass.restarts());
    let growing = GzipSource::new(Arc::clone(file), Arc::clone(&restarts));
    let mut bytes = Vec::new();
    let most = [512, 8 << 10, 128 << 10][dice.below(3)];
    for &start in starts {
        let data = start.saturating_sub(bytes.len() + 512);
        read_exactly(&mut pass, data, most, &mut bytes);
        read_exactly(&mut pass, start - bytes.len(), 512, &mut bytes);
        pass.mark().unwrap();
        let len = growing.len() as usize;
        assert!(len <= bytes.len() && len + 258 > bytes.len(), "{len} of {} bytes can be read", bytes.len());
        let range = dice.below(len + 1)..len;
        assert!(growing.read(range.start as u64..range.end as u64).unwrap() == expected[range]);
    }
    read_exactly(&mut pass, usize::MAX, 64 << 10, &mut bytes);
    assert!(pass.failure().is_none());
    assert!(bytes == expected);
    pass.finish().unwrap();
    restarts
}

fn memory(bytes: Vec<u8>) -> Arc<dyn Source> {
    Arc::new(MemorySource::new(bytes))
}

/// The table as an index file stores it, with other bytes before and after the windows.
fn saved(parts: &Parts) -> Parts {
    let windows = parts.windows.read(0..parts.windows.len()).unwrap();
    let stored = [&[0xee; 77], &windows[..], &[0xee; 9]].concat();
    Parts { windows: memory(stored), windows_start: 77, ..parts.clone() }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    #[test]
    fn any_range_is_read_in_place(seed: u64, shape in 0..5_usize, members in 1..30_usize) {
        let mut dice = Dice(seed);
        let (bytes, ranges) = layout(&mut dice, members, true);
        let file = compress(&bytes, &ranges, shape, &mut dice);
        let all = inflated(&file);
        let shift = all.windows(bytes.len()).position(|window| window == bytes).unwrap();
        let file = memory(file);
        let starts: Vec<usize> = ranges.iter().map(|range| shift + range.start).collect();
        let restarts = pass(&file, &all, &starts, &mut dice);
        let complete = Arc::new(Restarts::complete(saved(&restarts.parts())));
        let sources = [restarts, complete].map(|restarts| GzipSource::new(Arc::clone(&file), restarts));
        for source in &sources {
            prop_assert_eq!(source.len(), all.len() as u64);
            for range in &ranges {
                let range = shift + range.start..shift + range.end;
                let fetched = source.fetch(range.start as u64..range.end as u64).unwrap();
                let most = (range.len() + 258) as u64;
                prop_assert!(fetched.inflated_bytes() <= most, "{fetched:?} for {} bytes", range.len());
                prop_assert!(fetched.inflate(&mut Inflater::default()).unwrap() == &all[range]);
            }
            // Reused memory contains other bytes before the window.
            let mut inflater = Inflater::default();
            for _ in 0..40 {
                let start = dice.below(all.len() + 1);
                let most = [1, 300, 70_000, all.len()][dice.below(4)];
                let range = start..(start + dice.below(most + 1)).min(all.len());
                let fetched = source.fetch(range.start as u64..range.end as u64).unwrap();
                prop_assert!(fetched.inflate(&mut inflater).unwrap() == &all[range.clone()], "{:?}", range);
                source.will_need(range.start as u64..range.end as u64);
            }
            prop_assert!(source.read(0..all.len() as u64).unwrap() == all);
            prop_assert!(source.read(0..all.len() as u64 + 1).unwrap_err().is_corrupt());
        }
    }

    #[test]
    fn windows_are_restored_in_place(
        seed: u64,
        len in prop_oneof![0..50_usize, Just(WINDOW_BYTES), 0..=WINDOW_BYTES],
        ranges in 0..60_usize,
        longest in prop_oneof![Just(3_usize), Just(258), Just(WINDOW_BYTES)],
    ) {
        let mut dice = Dice(seed);
        let before = dice.bytes(len);
        let mut used = Vec::new();
        for _ in 0..ranges.min(len * 60) {
            let from = dice.below(len);
            used.push((from, (from + 1 + dice.below(longest)).min(len)));
        }
        let mut window = Vec::new();
        write_window(&before, &mut used.clone(), &mut window);
        prop_assert!(window.len() <= 4 * WINDOW_BYTES);
        // Restored into a whole window, and into one that is cut off at the start of the data.
        for size in [WINDOW_BYTES, len] {
            let mut found = vec![0; size];
            read_window(&window, &mut found).unwrap();
            let found = &found[size - len..];
            for &(from, to) in &used {
                prop_assert!(found[from..to] == before[from..to], "{from}..{to} of {len}");
            }
        }
        // A damaged window is refused or yields other bytes.
        for _ in 0..50 {
            let mut damaged = window.clone();
            if let Some(length) = (!damaged.is_empty()).then_some(damaged.len()) {
                damaged[dice.below(length)] = dice.next() as u8;
                damaged.truncate(if dice.below(2) == 0 { length } else { dice.below(length) });
            }
            let _ = read_window(&damaged, &mut vec![0; size_of_window(len)]);
            let mut guarded = vec![0x5a; WINDOW_BYTES + 64];
            let _ = read_window(&damaged, &mut guarded[32..32 + WINDOW_BYTES]);
            prop_assert!(guarded[..32].iter().chain(&guarded[32 + WINDOW_BYTES..]).all(|&byte| byte == 0x5a));
        }
    }

    #[test]
    fn a_forged_table_is_an_error_or_other_bytes(seed: u64, members in 2..8_usize) {
        let mut dice = Dice(seed);
        let (bytes, ranges) = layout(&mut dice, members, false);
        let shape = dice.below(4);
        let file = memory(compress(&bytes, &ranges, shape, &mut dice));
        let starts: Vec<usize> = ranges.iter().map(|range| range.start).collect();
        let parts = saved(&pass(&file, &bytes, &starts, &mut dice).parts());
        let windows = parts.windows.read(0..parts.windows.len()).unwrap();
        for _ in 0..60 {
            let (mut records, mut windows) = (parts.records.to_vec(), windows.to_vec());
            let (mut frontier, mut windows_start) = (parts.frontier, parts.windows_start);
            match dice.below(8) {
                0 => {
                    let at = dice.below(windows.len());
                    windows[at] ^= 1 << dice.below(8);
                }
                1 => windows.truncate(dice.below(windows.len())),
                2 => records.truncate(dice.below(records.len())),
                3 => frontier = Frontier { inflated: dice.next(), bit: dice.next() },
                4 => windows_start = dice.next(),
                5 => {
                    let (a, b) = (dice.below(records.len() / RECORD_BYTES), dice.below(records.len() / RECORD_BYTES));
                    for at in 0..RECORD_BYTES {
                        records.swap(a * RECORD_BYTES + at, b * RECORD_BYTES + at);
                    }
                }
                6 => {
                    let at = 4 * dice.below(records.len() / 4);
                    records[at..at + 4].copy_from_slice(&(dice.next() as u32 >> dice.below(32)).to_le_bytes());
                }
                _ => {
                    let at = dice.below(records.len());
                    records[at] = dice.next() as u8;
                }
            }
            let parts = Parts { records: records.into(), windows: memory(windows), windows_start, frontier };
            let source = GzipSource::new(Arc::clone(&file), Arc::new(Restarts::complete(parts)));
            for range in ranges.iter().cloned().chain([0..bytes.len(), bytes.len() - 1..bytes.len()]) {
                let range = range.start as u64..range.end as u64;
                source.will_need(range.clone());
                if let Ok(found) = source.read(range.clone()) {
                    prop_assert_eq!(found.len() as u64, range.end - range.start);
                }
            }
            // Ranges that a forged frontier allows, larger than any memory.
            let far = source.len();
            let _ = source.read(far.saturating_sub(1 << 40)..far);
            let _ = source.read(far.saturating_sub(1)..far);
        }
    }
}

fn size_of_window(len: usize) -> usize {
    if len.is_multiple_of(2) { WINDOW_BYTES } else { len }
}

#[test]
fn a_table_that_claims_impossible_lengths_allocates_nothing() {
    let bytes = vec![0; 5000];
    let file = memory(gzip(&bytes, 9));
    let parts = pass(&file, &bytes, &[512], &mut Dice(1)).parts();
    let far = 1 << 50;
    let forged = Parts { frontier: Frontier { inflated: far, bit: parts.frontier.bit }, ..parts };
    let source = GzipSource::new(file, Arc::new(Restarts::complete(forged)));
    for range in [0..far, far - 10..far, 4000..1 << 32] {
        let error = source.read(range.clone()).unwrap_err();
        assert!(error.is_corrupt() && error.location().offset == Some(range.start), "{error}");
    }
    assert_eq!(source.read(10..5000).unwrap()[..], bytes[10..]);
}

#[test]
fn only_the_empty_range_of_an_empty_file_can_be_read() {
    for file in [gzip(&[], 6), [gzip(&[], 6), gzip(&[], 6), vec![0; 100]].concat()] {
        let file = memory(file);
        let restarts = pass(&file, &[], &[], &mut Dice(2));
        let source = GzipSource::new(file, restarts);
        assert!(source.is_empty());
        assert!(source.read(0..0).unwrap().is_empty());
        assert!(source.read(0..1).unwrap_err().is_corrupt());
    }
}

#[test]
fn the_densest_possible_stream_can_be_read() {
    // Only matches of 258 bytes, each of two bits.
    let bytes = vec![b'a'; 20 << 20];
    let file = memory(gzip(&bytes, 9));
    let restarts = pass(&file, &bytes, &[512, 10_000, 15 << 20], &mut Dice(3));
    let source = GzipSource::new(file, restarts);
    for range in [0..20 << 20, 512..10_000, 10_000..15 << 20, 15 << 20..20 << 20] {
        assert!(source.read(range.clone()).unwrap().iter().all(|&byte| byte == b'a'), "{range:?}");
    }
}

/// A gzip file of some bytes whose header has fields of these lengths.
fn with_header(extra: usize, name: usize, comment: usize) -> Vec<u8> {
    let mut builder = GzBuilder::new();
    if extra > 0 {
        builder = builder.extra(vec![b'x'; extra]);
    }
    if name > 0 {
        builder = builder.filename(vec![b'n'; name]);
    }
    if comment > 0 {
        builder = builder.comment(vec![b'c'; comment]);
    }
    let mut encoder = builder.write(Vec::new(), Compression::default());
    encoder.write_all(b"some bytes").unwrap();
    encoder.finish().unwrap()
}

/// The bytes that a pass over this file reads, and the error that ends it.
fn passed(file: Vec<u8>) -> (Vec<u8>, Option<String>) {
    let source = MemorySource::new(file);
    let mut pass = GzipPass::new(&source);
    let mut bytes = Vec::new();
    let read = pass.read_to_end(&mut bytes);
    assert_eq!(read.is_err(), pass.failure().is_some());
    pass.finish().unwrap();
    (bytes, pass.failure().map(|failure| failure.message().to_owned()))
}

#[test]
fn gzip_headers_of_every_form_are_read_and_invalid_ones_are_named() {
    for (extra, name, comment) in [(0, 0, 0), (1, 0, 0), (0, 5, 0), (0, 0, 5), (65_535, 3, 9), (500, 700, 70_000)] {
        let one = with_header(extra, name, comment);
        let two = [one.clone(), one.clone()].concat();
        assert_eq!(passed(two.clone()), (b"some bytessome bytes".to_vec(), None), "{extra}, {name}, {comment}");
        // Truncated in the header of the second one.
        let header = one.len() - gzip(b"some bytes", 6).len() + 10;
        for cut in [1, 2, 3, 9, 10, 11, 12, header / 2, header - 1].into_iter().filter(|&cut| cut < header) {
            let (bytes, failure) = passed(two[..one.len() + cut].to_vec());
            let failure = failure.unwrap();
            assert_eq!(bytes, b"some bytes");
            assert!(failure.contains(&format!("at byte {} of the file is truncated", one.len())), "{cut}: {failure}");
        }
    }
    // With a header checksum, right and wrong.
    let mut checked = with_header(3, 3, 3);
    checked[3] |= 2;
    let end = checked.len() - (gzip(b"some bytes", 6).len() - 10);
    let crc = crc32fast::hash(&checked[..end]) as u16;
    checked.splice(end..end, crc.to_le_bytes());
    assert_eq!(passed(checked.clone()), (b"some bytes".to_vec(), None));
    checked[end] ^= 1;
    assert!(passed(checked).1.unwrap().contains("does not match its checksum"));
    for (at, value, why) in [(0, 0, "1f 8b"), (1, 0, "1f 8b"), (2, 7, "method"), (3, 0x20, "flags"), (3, 0x80, "flags")]
    {
        let mut file = with_header(0, 0, 0);
        file[at] = value;
        let (bytes, failure) = passed(file);
        assert!(bytes.is_empty() && failure.unwrap().contains(why), "{why}");
    }
    let (_, failure) = passed(with_header(0, 3 << 20, 0));
    assert!(failure.unwrap().contains("longer than 1 MiB"));
}

#[test]
fn trailers_are_checked_and_trailing_data_is_named() {
    let one = gzip(b"some bytes", 6);
    let len = one.len();
    for at in len - 8..len {
        let mut file = [one.clone(), one.clone()].concat();
        file[len + at] ^= 0x10;
        let (bytes, failure) = passed(file);
        let failure = failure.unwrap();
        assert_eq!(bytes, b"some bytessome bytes");
        assert!(failure.contains("checksum") && failure.contains(&format!("byte {}", 2 * len - 8)), "{failure}");
    }
    for cut in 1..=8 {
        let (bytes, failure) = passed(one[..len - cut].to_vec());
        let failure = failure.unwrap();
        assert_eq!(bytes, b"some bytes");
        assert!(failure.contains("is truncated") && failure.contains(&format!("byte {}", len - cut)), "{failure}");
    }
    for zeros in [0, 1, 7, 512, 3 << 20] {
        let padded = [one.clone(), vec![0; zeros]].concat();
        assert_eq!(passed(padded.clone()), (b"some bytes".to_vec(), None));
        let (bytes, failure) = passed([padded, b"\x01junk".to_vec()].concat());
        let failure = failure.unwrap();
        assert_eq!(bytes, b"some bytes");
        let place = format!("5 bytes of other data follow the end of the gzip stream, at byte {}", len + zeros);
        assert!(failure.contains(&place), "{failure}");
    }
}

/// A source that returns fewer bytes than requested, or more, and counts the bytes requested.
#[derive(Debug)]
struct WrongLengths {
    inner: MemorySource,
    most: usize,
    more: usize,
    asked: Mutex<u64>,
}

impl Source for WrongLengths {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        *self.asked.lock().unwrap() += range.end - range.start;
        let bytes = self.inner.read(range)?;
        let bytes = bytes.slice(..bytes.len().min(self.most));
        Ok([&bytes[..], &vec![0; self.more]].concat().into())
    }
}

#[test]
fn a_source_that_returns_wrong_lengths_is_an_error_and_no_hang() {
    let file = gzip(&Dice(4).bytes(5000), 6);
    for (most, more) in [(0, 0), (1, 0), (100, 0), (4999, 0), (usize::MAX, 1)] {
        let source = WrongLengths { inner: MemorySource::new(file.clone()), most, more, asked: Mutex::new(0) };
        let mut pass = GzipPass::new(&source);
        assert!(pass.read_to_end(&mut Vec::new()).is_err());
        assert!(pass.failure().unwrap().is_io(), "bytes that are missing now may be there later: not corrupt");
    }
    let sound = memory(file.clone());
    let bytes = inflated(&file);
    let restarts = pass(&sound, &bytes, &[512], &mut Dice(5));
    for (most, more) in [(0, 0), (4999, 0), (usize::MAX, 1)] {
        let inner = MemorySource::new(file.clone());
        let source = Arc::new(WrongLengths { inner, most, more, asked: Mutex::new(0) });
        let error = GzipSource::new(source, Arc::clone(&restarts)).read(0..5000).unwrap_err();
        assert!(error.is_io(), "{error}");
    }
}

#[test]
fn a_file_of_small_gzip_members_is_read_little_more_than_once() {
    let bytes = Dice(6).bytes(3 << 20);
    let file: Vec<u8> = bytes.chunks(1000).flat_map(|chunk| gzip(chunk, 6)).collect();
    let len = file.len() as u64;
    let source = WrongLengths { inner: MemorySource::new(file), most: usize::MAX, more: 0, asked: Mutex::new(0) };
    let mut found = Vec::new();
    GzipPass::new(&source).read_to_end(&mut found).unwrap();
    assert!(found == bytes);
    let asked = *source.asked.lock().unwrap();
    assert!(asked < len + (64 << 10), "{asked} bytes were requested, of {len}");
}

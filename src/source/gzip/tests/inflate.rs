//! The deflate decoder agrees with zlib-rs on every stream, valid or corrupt, in pieces of any size.

use std::io::Write;

use flate2::write::DeflateEncoder;
use flate2::{Compression, Decompress, FlushDecompress, Status};
use proptest::prelude::*;

use super::encoder::{self, BitWriter, Dice, Token};
use crate::source::gzip::inflate::{BackReferences, BitPosition, DataError, DeflateDecoder, Input, Output, Pause};

/// How a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Whole,
    Broken,
    Cut,
}

/// Fills the output past the limit, to detect writes there.
const SENTINEL: u8 = 0xa5;

/// Inflates a stream in pieces: `piece` returns the number of input bytes to add and of output bytes to allow. Returns
/// the bytes, how the stream ended, and the error if there is one.
fn inflate_in_pieces(stream: &[u8], mut piece: impl FnMut() -> (usize, usize)) -> (Vec<u8>, Ending, Option<DataError>) {
    let mut decoder = DeflateDecoder::new(0);
    let (mut out, mut at, mut have) = (Vec::new(), 0, 0);
    let (ending, error) = loop {
        let (more_input, more_output) = piece();
        let limit = at + more_output;
        out.resize(limit + 300, SENTINEL);
        out[limit..].fill(SENTINEL);
        let from = (decoder.position().symbol / 8) as usize;
        let input = Input { bytes: &stream[from..have], start: from as u64 };
        let mut output = Output { bytes: &mut out, at, floor: 0, limit };
        let mut pause = decoder.run(input, &mut output, None);
        assert!(output.at <= limit);
        assert!(output.bytes[limit..].iter().all(|&byte| byte == SENTINEL), "written beyond the limit");
        if pause == Ok(Pause::OutputLimit) && output.at < limit {
            let before = output.at;
            pause = decoder.step(input, &mut output, None);
            assert!(pause != Ok(Pause::OutputLimit) || output.at > limit, "{before}: the one symbol crosses the limit");
        }
        at = output.at;
        match pause {
            Ok(Pause::OutputLimit) => {}
            Ok(Pause::NeedInput) if have == stream.len() => break (Ending::Cut, None),
            Ok(Pause::NeedInput) => have = (have + more_input).min(stream.len()),
            Ok(Pause::StreamEnd) => break (Ending::Whole, None),
            Err(error) => break (Ending::Broken, Some(error)),
        }
    };
    out.truncate(at);
    (out, ending, error)
}

fn inflate(stream: &[u8]) -> (Vec<u8>, Ending) {
    let (bytes, ending, _) = inflate_in_pieces(stream, || (stream.len(), 4 * stream.len() + 300));
    (bytes, ending)
}

/// The result of zlib-rs.
fn oracle(stream: &[u8]) -> (Vec<u8>, Ending) {
    let mut decompress = Decompress::new(false);
    let mut out = Vec::new();
    loop {
        out.reserve(4 * stream.len() + 300);
        let (before_in, before_out) = (decompress.total_in(), decompress.total_out());
        let rest = &stream[before_in as usize..];
        let ending = match decompress.decompress_vec(rest, &mut out, FlushDecompress::None) {
            Ok(Status::StreamEnd) => Ending::Whole,
            Err(_) => Ending::Broken,
            Ok(_) if (decompress.total_in(), decompress.total_out()) == (before_in, before_out) => Ending::Cut,
            Ok(_) => continue,
        };
        return (out, ending);
    }
}

fn deflate(bytes: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::new(level));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Bytes of many kinds.
fn data(kind: usize, len: usize, dice: &mut Dice) -> Vec<u8> {
    match kind % 6 {
        0 => dice.bytes(len),
        1 => vec![7; len],
        2 => (0..len).map(|index| b"the quick brown fox jumps over the lazy dog, "[index % 45]).collect(),
        // Like image data: every byte occurs, some more often.
        3 => (0..len).map(|_| (dice.next().leading_zeros() * 23) as u8 ^ (dice.next() as u8 & 31)).collect(),
        4 => (0..len).map(|_| b"0123456789[],. "[dice.below(15)]).collect(),
        _ => {
            let noise = dice.bytes(len.div_ceil(3));
            noise.iter().flat_map(|&byte| vec![byte; dice.below(6)]).collect()
        }
    }
}

/// Checks that both decoders end alike and agree on the bytes before.
fn agrees(stream: &[u8], dice: &mut Dice, case: &str) -> Ending {
    let (theirs, their_ending) = oracle(stream);
    let (ours, ending) = inflate(stream);
    if (ending, their_ending) == (Ending::Broken, Ending::Cut) {
        // zlib-rs waits for more bits, but none can make the stream valid.
        for byte in [0x00, 0x55, 0xff] {
            assert_eq!(oracle(&[stream, &[byte; 64]].concat()).1, Ending::Broken, "{case}");
        }
    } else {
        assert_eq!(ending, their_ending, "{case}");
    }
    let common = ours.len().min(theirs.len());
    assert!(ours[..common] == theirs[..common], "{case}: other bytes before the end");
    assert!(ending != Ending::Whole || ours == theirs, "{case}");
    // The size of the pieces makes no difference.
    let (most_in, most_out) = (1 + dice.below(3000), 1 + dice.below(5000));
    let (pieces, in_pieces, _) = inflate_in_pieces(stream, || (1 + dice.below(most_in), 1 + dice.below(most_out)));
    assert_eq!(in_pieces, ending, "{case}, in pieces of {most_in} and {most_out}");
    assert!(ours == pieces, "{case}, in pieces of {most_in} and {most_out}: other bytes");
    ending
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(60) })]

    #[test]
    fn encoded_bytes_come_back_in_any_pieces(
        kind in 0..6_usize,
        len in prop_oneof![0..40_usize, 0..3000_usize, 0..200_000_usize],
        level in 0..=9_u32,
        seed: u64,
        most_in in prop_oneof![Just(1_usize), 1..20_usize, 1..5000_usize],
        most_out in prop_oneof![Just(1_usize), 1..300_usize, 1..70_000_usize],
    ) {
        let mut dice = Dice(seed);
        let bytes = data(kind, len, &mut dice);
        let stream = deflate(&bytes, level);
        let (found, ending, _) =
            inflate_in_pieces(&stream, || (1 + dice.below(most_in), 1 + dice.below(most_out)));
        prop_assert_eq!(ending, Ending::Whole);
        prop_assert!(found == bytes);
    }

    #[test]
    fn streams_of_any_codes_and_tokens_mean_what_they_say(seed: u64, blocks in 1..6_usize) {
        let mut dice = Dice(seed);
        let (stream, bytes) = encoder::stream(&mut dice, blocks);
        prop_assert!(oracle(&stream) == (bytes.clone(), Ending::Whole), "the stream is not what it should be");
        prop_assert_eq!(agrees(&stream, &mut dice, "whole"), Ending::Whole);
        prop_assert!(inflate(&stream).0 == bytes);
    }

    #[test]
    fn changed_streams_are_accepted_and_refused_as_by_another_inflater(seed: u64, blocks in 1..4_usize) {
        let mut dice = Dice(seed);
        let stream = match dice.below(3) {
            0 => {
                let (kind, len, level) = (dice.below(6), dice.below(5000), dice.below(10));
                let bytes = data(kind, len, &mut dice);
                deflate(&bytes, level as u32)
            }
            _ => encoder::stream(&mut dice, blocks).0,
        };
        for change in 0..20 {
            let mut changed = stream.clone();
            // Block headers are near the start.
            let span = if change % 2 == 0 { stream.len().min(80) } else { stream.len() };
            for _ in 0..=dice.below(3) {
                let bit = dice.below(span * 8);
                changed[bit / 8] ^= 1 << (bit % 8);
            }
            if dice.below(4) == 0 {
                changed.truncate(dice.below(stream.len()));
            }
            agrees(&changed, &mut dice, &format!("seed {seed}, change {change}"));
        }
    }

    #[test]
    fn noise_is_refused_as_by_another_inflater(seed: u64) {
        let mut dice = Dice(seed);
        for block in 0..50 {
            let mut noise = dice.bytes(300);
            // The three kinds of blocks in turn.
            noise[0] = noise[0] & !6 | [0, 2, 4][block % 3];
            agrees(&noise, &mut dice, &format!("seed {seed}, block {block}"));
        }
    }

    #[test]
    fn decoding_goes_on_at_any_symbol_as_if_it_had_never_stopped(seed: u64, blocks in 1..5_usize) {
        let mut dice = Dice(seed);
        let (stream, bytes) = encoder::stream(&mut dice, blocks);
        let input = Input { bytes: &stream, start: 0 };
        let mut first = DeflateDecoder::new(0);
        let mut out = vec![0; bytes.len() + 300];
        let mut at = 0;
        while at < bytes.len() {
            let limit = (at + 1 + dice.below(bytes.len())).min(bytes.len());
            let mut output = Output { bytes: &mut out, at, floor: 0, limit };
            prop_assert_eq!(first.run(input, &mut output, None), Ok(Pause::OutputLimit));
            at = output.at;
            // A second decoder starts there, with the bytes before, and decodes the rest in one run.
            let mut other = DeflateDecoder::new(0);
            prop_assert_eq!(other.seek(first.position(), input), Ok(Pause::OutputLimit));
            let mut copy = bytes[..at].to_vec();
            copy.resize(bytes.len() + 300, 0);
            let mut output = Output { bytes: &mut copy, at, floor: 0, limit: bytes.len() + 1 };
            prop_assert_eq!(other.run(input, &mut output, None), Ok(Pause::StreamEnd));
            prop_assert_eq!(output.at, bytes.len());
            prop_assert!(copy[..bytes.len()] == bytes[..]);
            if at < limit {
                let mut output = Output { bytes: &mut out, at, floor: 0, limit: bytes.len() };
                prop_assert_eq!(first.step(input, &mut output, None), Ok(Pause::OutputLimit));
                at = output.at;
            }
        }
        prop_assert!(out[..at] == bytes[..]);
    }

    #[test]
    fn recorded_back_references_are_all_that_later_bytes_need(seed: u64, blocks in 1..5_usize) {
        let mut dice = Dice(seed);
        let (stream, bytes) = encoder::stream(&mut dice, blocks);
        let input = Input { bytes: &stream, start: 0 };
        let mut decoder = DeflateDecoder::new(0);
        let mut out = vec![0; bytes.len() + 300];
        let limit = dice.below(bytes.len() + 1);
        let mut output = Output { bytes: &mut out, at: 0, floor: 0, limit };
        let _ = decoder.run(input, &mut output, None).unwrap();
        let (boundary, position) = (output.at, decoder.position());
        let mut references = BackReferences { boundary, ranges: Vec::new() };
        output.limit = bytes.len() + 1;
        if !decoder.has_ended() {
            prop_assert_eq!(decoder.run(input, &mut output, Some(&mut references)), Ok(Pause::StreamEnd));
            // Decoded again, with all bytes overwritten that were not recorded.
            let mut bare = vec![!0; bytes.len() + 300];
            for &(from, to) in &references.ranges {
                prop_assert!(from < to && to <= boundary);
                bare[from..to].copy_from_slice(&bytes[from..to]);
            }
            let mut again = DeflateDecoder::new(0);
            again.seek(position, input).unwrap();
            let mut output = Output { bytes: &mut bare, at: boundary, floor: 0, limit: bytes.len() + 1 };
            prop_assert_eq!(again.run(input, &mut output, None), Ok(Pause::StreamEnd));
            prop_assert!(bare[boundary..bytes.len()] == bytes[boundary..]);
        }
    }
}

#[test]
fn every_distance_up_to_40_and_the_farthest_are_copied_right() {
    let mut dice = Dice(1);
    for distance in (1..=40).chain([255, 256, 257, 4096, 32_767, 32_768]) {
        for length in [3, 4, 7, 8, 9, 15, 16, 17, 64, 257, 258] {
            let mut tokens: Vec<Token> = dice.bytes(distance).into_iter().map(Token::Literal).collect();
            tokens.push(Token::Match { distance, length });
            tokens.extend(dice.bytes(400).into_iter().map(Token::Literal));
            let mut bytes = Vec::new();
            encoder::expand(&tokens, &mut bytes);
            for fixed in [true, false] {
                let mut out = BitWriter::default();
                if fixed {
                    encoder::put_fixed(&mut out, &tokens, true, &mut dice);
                } else {
                    encoder::put_dynamic(&mut out, &tokens, true, &mut dice);
                }
                assert!(inflate(&out.bytes) == (bytes.clone(), Ending::Whole), "{length} bytes from {distance} back");
                assert!(oracle(&out.bytes) == (bytes.clone(), Ending::Whole));
            }
        }
    }
}

#[test]
fn a_reference_to_before_the_start_is_refused_anywhere() {
    let mut dice = Dice(2);
    for before in [0, 1, 2, 39, 1000, 32_767] {
        // At the end of the stream, and with enough data after it for the fast loop.
        for behind in [0, 1000] {
            let mut tokens: Vec<Token> = dice.bytes(before).into_iter().map(Token::Literal).collect();
            tokens.push(Token::Match { distance: before + 1, length: 5 });
            tokens.extend(vec![Token::Literal(1); behind]);
            let mut out = BitWriter::default();
            encoder::put_fixed(&mut out, &tokens, true, &mut dice);
            let (bytes, ending) = inflate(&out.bytes);
            assert_eq!((bytes.len(), ending), (before, Ending::Broken));
            agrees(&out.bytes, &mut dice, &format!("{before} bytes before, {behind} tokens behind"));
        }
    }
}

/// A dynamic block with these code lengths, followed by some bytes.
fn dynamic(literals: &[u8], distances: &[u8], behind: &[u8]) -> Vec<u8> {
    let mut out = BitWriter::default();
    out.put(1, 1);
    out.put(2, 2);
    encoder::put_codes(&mut out, literals, distances, &mut Dice(3));
    behind.iter().for_each(|&byte| out.put(usize::from(byte), 8));
    out.bytes
}

/// Code lengths that are 0 except for these symbols.
fn lengths(count: usize, some: &[(usize, u8)]) -> Vec<u8> {
    let mut lengths = vec![0; count];
    some.iter().for_each(|&(symbol, bits)| lengths[symbol] = bits);
    lengths
}

#[test]
fn invalid_code_lengths_are_refused_and_valid_ones_are_not() {
    let none = [0];
    let cases: [(&str, Vec<u8>, Vec<u8>, bool); 12] = [
        ("too many codes", lengths(257, &[(0, 1), (1, 1), (256, 1)]), none.to_vec(), false),
        ("too many long codes", lengths(257, &[(0, 1), (1, 2), (2, 2), (256, 15)]), none.to_vec(), false),
        ("codes left over", lengths(257, &[(0, 2), (1, 2), (256, 2)]), none.to_vec(), false),
        ("one code of two bits", lengths(257, &[(256, 2)]), none.to_vec(), false),
        ("no end", lengths(257, &[(0, 1), (1, 1)]), none.to_vec(), false),
        ("no code at all", lengths(257, &[]), none.to_vec(), false),
        ("the end alone", lengths(257, &[(256, 1)]), none.to_vec(), true),
        ("one distance of one bit", lengths(257, &[(0, 1), (256, 1)]), vec![1], true),
        ("one distance of two bits", lengths(257, &[(0, 1), (256, 1)]), vec![2], false),
        ("two distances that leave codes", lengths(257, &[(0, 1), (256, 1)]), vec![1, 2], false),
        ("too many distances", lengths(257, &[(0, 1), (256, 1)]), vec![1, 1, 1], false),
        ("two distances", lengths(257, &[(0, 1), (256, 1)]), vec![1, 1], true),
    ];
    for (name, literals, distances, sound) in cases {
        for behind in [0x00, 0xff, 0xaa] {
            let stream = dynamic(&literals, &distances, &[behind; 40]);
            let (_, theirs) = oracle(&stream);
            let (_, ending, error) = inflate_in_pieces(&stream, || (stream.len(), 1 << 16));
            assert_eq!(ending, theirs, "{name}");
            // The header itself is refused, not what follows it.
            let in_header = error.is_some_and(|error| error.bit == 0);
            assert_eq!(in_header, !sound, "{name}: {error:?}");
        }
    }
}

#[test]
fn invalid_block_headers_are_refused() {
    let header = |fields: &[(usize, usize)]| {
        let mut out = BitWriter::default();
        fields.iter().for_each(|&(value, bits)| out.put(value, bits));
        out.bytes.extend([0; 40]);
        out.bytes
    };
    let precode = |literals: usize, distances: usize, lengths: &[usize]| {
        let mut fields = vec![(1, 1), (2, 2), (literals - 257, 5), (distances - 1, 5), (lengths.len() - 4, 4)];
        fields.extend(lengths.iter().map(|&length| (length, 3)));
        fields
    };
    // The first four lengths are those of 16, 17, 18 and 0.
    let repeat_first = header(&precode(257, 1, &[1, 1, 0, 0]));
    let mut too_many = precode(257, 1, &[0, 1, 1, 0]);
    too_many.extend([(1, 1), (127, 7), (1, 1), (127, 7)]);
    let cases = [
        ("a block of type 3", header(&[(1, 1), (3, 2)])),
        ("a stored length without its check", header(&[(1, 1), (0, 2), (0, 5), (5, 16), (5, 16)])),
        ("287 literals", header(&precode(287, 1, &[1, 1, 0, 0]))),
        ("288 literals", header(&precode(288, 1, &[1, 1, 0, 0]))),
        ("31 distances", header(&precode(257, 31, &[1, 1, 0, 0]))),
        ("32 distances", header(&precode(257, 32, &[1, 1, 0, 0]))),
        ("no code for lengths", header(&precode(257, 1, &[0, 0, 0, 0]))),
        ("one code for lengths", header(&precode(257, 1, &[0, 0, 1, 0]))),
        ("too many codes for lengths", header(&precode(257, 1, &[1, 1, 1, 0]))),
        ("a repetition of nothing", repeat_first),
        ("more lengths than announced", header(&too_many)),
    ];
    for (name, stream) in cases {
        assert_eq!(oracle(&stream).1, Ending::Broken, "{name}");
        assert_eq!(inflate(&stream), (Vec::new(), Ending::Broken), "{name}");
        for len in 0..stream.len() {
            agrees(&stream[..len], &mut Dice(4), name);
        }
    }
}

#[test]
fn unused_symbols_are_refused() {
    let fixed = |symbols: &[(usize, usize)], behind: usize| {
        let mut out = BitWriter::default();
        out.put(1, 1);
        out.put(1, 2);
        symbols.iter().for_each(|&code| out.put_code(code));
        out.bytes.extend(vec![0; behind]);
        out.bytes
    };
    let literal = (0x30 + 65, 8);
    let three_bytes = (1, 7);
    for behind in [0, 3, 40, 1000] {
        for (name, symbols) in [
            ("286", vec![literal, (0xc6, 8)]),
            ("287", vec![literal, (0xc7, 8)]),
            ("distance 30", vec![literal, three_bytes, (30, 5)]),
            ("distance 31", vec![literal, three_bytes, (31, 5)]),
        ] {
            let stream = fixed(&symbols, behind);
            assert_eq!(inflate(&stream), (vec![65], Ending::Broken), "{name}, {behind} bytes behind");
            agrees(&stream, &mut Dice(5), name);
        }
    }
    // A code of one symbol leaves the other bit unused.
    for (literals, distances, bits) in [
        (lengths(257, &[(256, 1)]), vec![0], vec![1]),
        (lengths(258, &[(65, 2), (256, 2), (257, 1)]), vec![1], vec![0, 1, 0, 1]),
        (lengths(258, &[(65, 2), (256, 2), (257, 1)]), vec![0], vec![0, 1, 0, 0]),
    ] {
        let mut out = BitWriter::default();
        out.put(1, 1);
        out.put(2, 2);
        encoder::put_codes(&mut out, &literals, &distances, &mut Dice(6));
        bits.iter().for_each(|&bit| out.put(bit, 1));
        out.bytes.extend([0; 40]);
        assert_eq!(inflate(&out.bytes).1, Ending::Broken);
        agrees(&out.bytes, &mut Dice(6), "an unused bit");
    }
}

#[test]
fn a_stream_cut_at_any_byte_is_cut_and_never_wrong() {
    let mut dice = Dice(7);
    for level in [0, 1, 6, 9] {
        for kind in 0..6 {
            let bytes = data(kind, 1500, &mut dice);
            let stream = deflate(&bytes, level);
            for len in 0..stream.len() {
                let (found, ending) = inflate(&stream[..len]);
                assert_eq!(ending, Ending::Cut, "{len} of {} bytes, level {level}", stream.len());
                assert!(bytes.starts_with(&found));
            }
        }
    }
}

#[test]
fn empty_blocks_of_every_kind_are_skipped() {
    let mut dice = Dice(8);
    for kind in 0..3 {
        let mut out = BitWriter::default();
        for index in 0..300 {
            let is_last = index == 299;
            match kind {
                0 => encoder::put_stored(&mut out, &[], is_last),
                1 => encoder::put_fixed(&mut out, &[], is_last, &mut dice),
                _ => encoder::put_dynamic(&mut out, &[], is_last, &mut dice),
            }
        }
        assert_eq!(inflate(&out.bytes), (Vec::new(), Ending::Whole));
        agrees(&out.bytes, &mut dice, "empty blocks");
    }
}

#[test]
fn a_position_outside_of_its_block_is_refused() {
    let mut out = BitWriter::default();
    encoder::put_stored(&mut out, &[1, 2, 3], false);
    encoder::put_fixed(&mut out, &[Token::Literal(9)], true, &mut Dice(9));
    let input = Input { bytes: &out.bytes, start: 0 };
    let mut decoder = DeflateDecoder::new(0);
    // In the header, inside a byte of a stored block, and after the block.
    for symbol in [8, 43, 1000] {
        assert!(decoder.seek(BitPosition { block: 0, symbol }, input).is_err(), "bit {symbol}");
    }
    assert_eq!(decoder.seek(BitPosition { block: 0, symbol: 48 }, input), Ok(Pause::OutputLimit));
    let mut bytes = [0; 300];
    let mut output = Output { bytes: &mut bytes, at: 0, floor: 0, limit: 10 };
    assert_eq!(decoder.run(input, &mut output, None), Ok(Pause::StreamEnd));
    assert_eq!(bytes[..3], [2, 3, 9]);
    let beyond = BitPosition { block: 8 * out.bytes.len() as u64, symbol: 8 * out.bytes.len() as u64 + 9 };
    assert_eq!(decoder.seek(beyond, input), Ok(Pause::NeedInput));
}

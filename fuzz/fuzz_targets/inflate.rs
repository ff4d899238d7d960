//! Deflate: the same result and the same bytes as zlib-rs, in pieces of any size, with decoding restarted at any
//! symbol.
#![no_main]
#![allow(dead_code)]

#[path = "../../src/source/gzip/huffman.rs"]
mod huffman;
#[path = "../../src/source/gzip/inflate.rs"]
mod inflate;
#[path = "../../src/source/gzip/symbols.rs"]
mod symbols;

use flate2::{Decompress, FlushDecompress, Status};
use inflate::{DeflateDecoder, Input, Output, Pause};
use libfuzzer_sys::fuzz_target;

/// Output longer than this is not compared.
const MOST_BYTES: usize = 1 << 20;

#[derive(Debug, PartialEq)]
enum Ending {
    Whole,
    Broken(&'static str),
    Cut,
    Long,
}

// Three bytes of choices, then the stream, so that real streams can serve as a corpus.
fuzz_target!(|input: &[u8]| {
    let [more_input, more_output, renewed, stream @ ..] = input else { return };
    let (theirs, their_ending) = oracle(stream);
    let (ours, ending) = ours(stream, usize::from(*more_input) + 1, sized(*more_output), *renewed);
    let common = ours.len().min(theirs.len());
    assert!(ours[..common] == theirs[..common], "other bytes");
    match (&ending, their_ending) {
        (Ending::Whole, Ending::Whole) => assert_eq!(ours.len(), theirs.len()),
        (Ending::Long, _) | (_, Ending::Long) => {}
        (Ending::Cut, Ending::Cut) | (Ending::Broken(_), Ending::Broken(_)) => {}
        // zlib-rs waits for more bits, but none can make the stream valid.
        (Ending::Broken(_), Ending::Cut) => {
            for byte in [0x00, 0x55, 0xff] {
                let longer = oracle(&[stream, &[byte; 64]].concat()).1;
                assert!(matches!(longer, Ending::Broken(_)), "{ending:?} here, {longer:?} with more there");
            }
        }
        (_, theirs) => panic!("{ending:?} here, {theirs:?} there"),
    }
});

/// From 1 to more than what the fast loop needs.
fn sized(byte: u8) -> usize {
    if byte < 128 { usize::from(byte) + 1 } else { usize::from(byte) * 37 }
}

fn ours(stream: &[u8], more_input: usize, more_output: usize, renewed: u8) -> (Vec<u8>, Ending) {
    let mut decoder = DeflateDecoder::new(0);
    let (mut out, mut at, mut have, mut round) = (Vec::new(), 0, 0, 0_u8);
    let ending = loop {
        let limit = at + more_output;
        out.resize(limit + 300, 0);
        let whole = Input { bytes: &stream[..have], start: 0 };
        round = round.wrapping_add(1);
        if renewed != 0 && round.is_multiple_of(renewed) && !decoder.has_ended() {
            let position = decoder.position();
            decoder = DeflateDecoder::new(0);
            assert_eq!(decoder.seek(position, whole), Ok(Pause::OutputLimit), "its own position is refused");
            assert_eq!(decoder.position(), position);
        }
        let from = (decoder.position().symbol / 8) as usize;
        let input = Input { bytes: &stream[from..have], start: from as u64 };
        let mut output = Output { bytes: &mut out, at, floor: 0, limit };
        let mut pause = decoder.run(input, &mut output, None);
        assert!(output.at <= limit);
        if pause == Ok(Pause::OutputLimit) && output.at < limit {
            pause = decoder.step(input, &mut output, None);
        } else if pause == Ok(Pause::OutputLimit) && renewed & 1 == 1 {
            pause = decoder.skip_headers(input, output.at);
        }
        at = output.at;
        match pause {
            Ok(Pause::OutputLimit) if at > MOST_BYTES => break Ending::Long,
            Ok(Pause::OutputLimit) => {}
            Ok(Pause::NeedInput) if have == stream.len() => break Ending::Cut,
            Ok(Pause::NeedInput) => have = (have + more_input).min(stream.len()),
            Ok(Pause::StreamEnd) => break Ending::Whole,
            Err(error) => {
                assert!(error.bit <= 8 * have as u64);
                break Ending::Broken(error.reason);
            }
        }
    };
    out.truncate(at);
    (out, ending)
}

fn oracle(stream: &[u8]) -> (Vec<u8>, Ending) {
    let mut decompress = Decompress::new(false);
    let mut out = Vec::new();
    loop {
        out.reserve(64 << 10);
        let before = (decompress.total_in(), decompress.total_out());
        let rest = &stream[before.0 as usize..];
        let ending = match decompress.decompress_vec(rest, &mut out, FlushDecompress::None) {
            Ok(Status::StreamEnd) => Ending::Whole,
            Err(_) => Ending::Broken(""),
            Ok(_) if (decompress.total_in(), decompress.total_out()) == before => Ending::Cut,
            Ok(_) if out.len() > MOST_BYTES => Ending::Long,
            Ok(_) => continue,
        };
        return (out, ending);
    }
}

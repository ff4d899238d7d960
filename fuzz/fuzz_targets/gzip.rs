//! Gzip shards: no panic and no hang, everything that the pass has read can be read in place, and a valid gzip file has
//! the index of the tar inside of it.
#![no_main]

use std::io::{Read, Write};
use std::sync::Arc;

use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use libfuzzer_sys::fuzz_target;
use maskstream::index::{ShardIndex, Sidecar};
use maskstream::source::{MemorySource, Source};
use maskstream::{MaskFilter, OnCorrupt, ShardSet};

const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

// The first byte chooses what the rest is: a gzip file (or what follows its header), or a tar to compress.
fuzz_target!(|input: &[u8]| {
    let [choice, rest @ ..] = input else { return };
    if choice & 1 == 0 {
        let file = if rest.starts_with(&HEADER[..3]) { rest.to_vec() } else { [&HEADER, rest].concat() };
        check(file);
        return;
    }
    let piece = if choice & 2 == 0 { rest.len().max(1) } else { usize::from(*choice) * 7 + 1 };
    let mut file = gzip(&rest[..piece.min(rest.len())], choice >> 4);
    rest.chunks(piece).skip(1).for_each(|piece| file.extend(gzip(piece, choice >> 4)));
    let packed = check(file);
    let plain = ShardIndex::build(&MemorySource::new(rest.to_vec()), &|_| {}).unwrap();
    assert_eq!(packed.entries(), plain.entries());
});

fn gzip(bytes: &[u8], level: u8) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(u32::from(level.min(9))));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn check(file: Vec<u8>) -> ShardIndex {
    let source: Arc<dyn Source> = Arc::new(MemorySource::new(file.clone()));
    let index = ShardIndex::build(source.as_ref(), &|_| {}).unwrap();
    let options = ShardSet::builder().filter(MaskFilter::all()).sidecar(Sidecar::Off).on_corrupt(OnCorrupt::KEEP);
    let Ok(set) = options.from_sources(vec![("s".to_owned(), source)]) else {
        assert!(index.entries().is_empty());
        return index;
    };
    let source = set.source(0).unwrap();
    for entry in index.entries() {
        for extent in [entry.image, entry.annotations] {
            let range = extent.range();
            let fetched = source.fetch(range.clone()).unwrap();
            assert!(fetched.inflated_bytes() <= u64::from(extent.len) + 258);
            assert_eq!(crc32c(&source.read(range).unwrap()), extent.crc32c);
        }
    }
    let mut expected = Vec::new();
    let _ = MultiGzDecoder::new(&file[..]).read_to_end(&mut expected);
    let found = source.read(0..source.len()).unwrap();
    let common = found.len().min(expected.len());
    assert!(found[..common] == expected[..common]);
    index
}

/// Computed bit by bit, independently of the crate.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), step))
}

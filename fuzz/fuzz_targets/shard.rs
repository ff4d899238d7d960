//! Tar structure: no panic, no hang; every sample found lies inside the shard.
#![no_main]

use libfuzzer_sys::fuzz_target;
use maskstream::index::ShardIndex;
use maskstream::source::{MemorySource, Source};

fuzz_target!(|bytes: &[u8]| {
    // Of a gzip stream, the target `gzip` knows where samples may lie.
    if bytes.starts_with(&[0x1f, 0x8b]) {
        return;
    }
    let source = MemorySource::new(bytes.to_vec());
    let Ok(index) = ShardIndex::build(&source, &|_| {}) else { return };
    for entry in index.entries() {
        assert!(entry.image.range().end <= source.len() && entry.annotations.range().end <= source.len());
    }
});

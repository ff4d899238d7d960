//! A shard in memory. Comes in: bytes. Goes out: a [`Source`] whose reads share them. Fails only past the end.

use std::ops::Range;

use bytes::Bytes;

use super::{Source, bounds};
use crate::Result;

/// A shard held in memory; reads are reference-counted slices of it.
#[derive(Clone, Debug)]
pub struct MemorySource(Bytes);

impl MemorySource {
    /// A source over these bytes.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Self(bytes.into())
    }
}

impl Source for MemorySource {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        Ok(self.0.slice(bounds(&range, self.len())?))
    }
}

/// A stretch of a longer source, at its own offsets; nothing before it can be read.
#[derive(Debug)]
pub(super) struct Part {
    bytes: Bytes,
    start: u64,
}

impl Part {
    pub(super) fn new(bytes: Bytes, start: u64) -> Self {
        Self { bytes, start }
    }
}

impl Source for Part {
    fn len(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        let range = bounds(&range, self.len())?;
        let start = self.start as usize;
        Ok(self.bytes.slice(range.start.saturating_sub(start)..range.end.saturating_sub(start)))
    }
}

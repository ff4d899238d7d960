//! A shard in memory. Reads share its bytes.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;

use super::access::{Source, bounds};
use crate::Result;

/// A shard held in memory. Reads are reference-counted slices of it, without a copy; a clone shares the same bytes.
///
/// ```
/// use maskstream::source::{MemorySource, Source};
///
/// let source = MemorySource::new(vec![1, 2, 3, 4]);
/// assert_eq!(source.len(), 4);
/// assert_eq!(source.read(1..3)?[..], [2, 3]);
/// assert!(source.read(3..5).unwrap_err().is_corrupt()); // it ends at byte 4
/// # Ok::<(), maskstream::Error>(())
/// ```
#[derive(Clone)]
pub struct MemorySource(Bytes);

impl MemorySource {
    /// A source of these bytes.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Self(bytes.into())
    }
}

impl fmt::Debug for MemorySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemorySource").field("len", &self.len()).finish()
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

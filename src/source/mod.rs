//! The bytes of a shard. Comes in: a path, or bytes in memory. Goes out: a [`Source`], which answers one question: give
//! me these bytes. Fails where the range does not exist, the operating system refuses, or a gzip stream is broken.
//!
//! A `Source` is also the seam for tests: wrap one, and every fault a disk can have can be shown to the rooms below.

mod fetched;
mod gzip;
mod memory;
mod mmap;
mod reader;

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::{Error, Result};

pub use fetched::Fetched;
pub use gzip::Inflater;
pub(crate) use gzip::{Frontier, GzipPass, GzipSource, Parts, RECORD_BYTES, Restarts, is_gzip};
pub use memory::MemorySource;
pub use mmap::MmapSource;
pub(crate) use reader::SourceReader;

/// Positioned reads of one shard. Any number of threads may read at once.
pub trait Source: Send + Sync + fmt::Debug {
    /// Length in bytes.
    fn len(&self) -> u64;

    /// Exactly the bytes of `range`, present in memory when this returns. The bytes stay readable as long as they are
    /// held.
    ///
    /// # Errors
    /// If the range reaches past the end, or the read fails; the error names the offset. (A source outside of this
    /// crate makes errors from `std::io::Error`.)
    fn read(&self, range: Range<u64>) -> Result<Bytes>;

    /// The bytes of `range` as far as the device is concerned; computing, such as inflating, is left to
    /// [`Fetched::unpack`], so that it can happen on another thread. By default the bytes are read, with nothing left
    /// to do.
    ///
    /// # Errors
    /// As [`Source::read`].
    fn fetch(&self, range: Range<u64>) -> Result<Fetched> {
        self.read(range).map(Fetched::from)
    }

    /// Says that `range` will be read soon, so that the device can start; returns without waiting. Does nothing by
    /// default.
    fn will_need(&self, range: Range<u64>) {
        let _ = range;
    }

    /// Whether there are no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Opens the file at `path`: maps it into memory. A gzip file is opened as it is, compressed; its shard's index says
/// how to read it in place.
///
/// # Errors
/// If it cannot be opened or mapped.
pub fn open(path: &Path) -> Result<Arc<dyn Source>> {
    Ok(Arc::new(MmapSource::open(path)?))
}

/// `range` as indices into `len` bytes, or the error that says how far the bytes reach.
fn bounds(range: &Range<u64>, len: u64) -> Result<Range<usize>> {
    if range.start > range.end || range.end > len {
        return Err(Error::corrupt(format!(
            "bytes {}..{} are needed, but the shard ends at byte {len}: it is truncated or not the file that was indexed",
            range.start, range.end
        ))
        .at_offset(range.start));
    }
    // Both fit: what is in memory or mapped is at most usize::MAX long.
    Ok(range.start as usize..range.end as usize)
}

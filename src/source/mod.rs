//! The bytes of a shard. Comes in: a path, or bytes in memory. Goes out: a [`Source`], which answers one question: give
//! me these bytes. Fails where the range does not exist or the operating system refuses.
//!
//! A `Source` is also the seam for tests: wrap one, and every fault a disk can have can be shown to the rooms below.

mod memory;
mod mmap;
mod reader;

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::{Error, Result};

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

/// Opens the shard at `path`: maps it into memory.
///
/// # Errors
/// If it cannot be opened or mapped, or is a gzip stream, which cannot be read in place.
pub fn open(path: &Path) -> Result<Arc<dyn Source>> {
    let source = MmapSource::open(path)?;
    refuse_gzip(&source).map_err(|e| e.in_shard(path))?;
    Ok(Arc::new(source))
}

/// The official files are gzip streams named `.tar`, so the first bytes decide, not the name.
pub(crate) fn refuse_gzip(source: &dyn Source) -> Result<()> {
    if source.len() >= 2 && source.read(0..2)?[..] == [0x1f, 0x8b] {
        return Err(Error::unsupported(
            "is a gzip stream (first bytes 1f 8b), which cannot be read in place yet; unpack it once: gzip -dc SHARD > PLAIN.tar",
        )
        .at_offset(0));
    }
    Ok(())
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

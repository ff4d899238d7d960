//! Shard bytes by range: the [`Source`] trait, its implementations for files and memory, and gzip files in place.
//!
//! A [`Source`] is one shard: it has a length and returns the bytes of any range. [`open`] maps a file
//! ([`MmapSource`]), which is what a [`ShardSet`](crate::ShardSet) does with every path. [`MemorySource`] holds bytes
//! in memory. To read from anything else, implement the trait.
//!
//! # Threads
//!
//! A source is shared by several threads, so all methods take `&self`. Over an epoch they are called from:
//!
//! | method | thread | why there |
//! |---|---|---|
//! | [`will_need`](Source::will_need) | the feed thread of an epoch | one batch ahead, so that the device can start |
//! | [`fetch`](Source::fetch) | the feed thread of an epoch | it waits for the device so that no worker has to |
//! | [`Fetched::inflate`] | the workers | decompression only, in parallel |
//!
//! Threads that build a missing index call [`read`](Source::read), on ranges that together cover the whole shard.
//!
//! # Fault injection
//!
//! The trait is the place to test what a training job does when a disk fails: wrap a source and let some reads fail.
//! [`ShardSetBuilder::opener`](crate::ShardSetBuilder::opener) replaces [`open`] for all shards of a set.
//!
//! ```no_run
//! use std::ops::Range;
//! use std::sync::Arc;
//! use std::sync::atomic::{AtomicU64, Ordering};
//!
//! use bytes::Bytes;
//! use maskstream::source::{self, Source};
//! use maskstream::ShardSet;
//!
//! /// Fails every thousandth read.
//! #[derive(Debug)]
//! struct Flaky {
//!     inner: Arc<dyn Source>,
//!     reads: AtomicU64,
//! }
//!
//! impl Source for Flaky {
//!     fn len(&self) -> u64 {
//!         self.inner.len()
//!     }
//!
//!     fn read(&self, range: Range<u64>) -> maskstream::Result<Bytes> {
//!         if self.reads.fetch_add(1, Ordering::Relaxed) % 1000 == 999 {
//!             return Err(std::io::Error::other("injected fault").into());
//!         }
//!         self.inner.read(range)
//!     }
//! }
//!
//! let shards = ShardSet::builder()
//!     .opener(|path| Ok(Arc::new(Flaky { inner: source::open(path)?, reads: AtomicU64::new(0) })))
//!     .open(&["sa1b/*.tar"])?;
//! # Ok::<(), maskstream::Error>(())
//! ```

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
pub(crate) use reader::{Allowance, SourceReader};

/// Random access to the bytes of one shard. Any number of threads may read at once; see the
/// [module documentation](self) for which thread calls what.
///
/// [`len`](Source::len) and [`read`](Source::read) are required. The other methods have defaults that are correct for
/// every source.
///
/// ```
/// use std::io::{Error, ErrorKind};
/// use std::ops::Range;
///
/// use bytes::Bytes;
/// use maskstream::source::{Inflater, Source};
///
/// #[derive(Debug)]
/// struct VecSource(Vec<u8>);
///
/// impl Source for VecSource {
///     fn len(&self) -> u64 {
///         self.0.len() as u64
///     }
///
///     fn read(&self, range: Range<u64>) -> maskstream::Result<Bytes> {
///         let bytes = self.0.get(range.start as usize..range.end as usize);
///         let bytes = bytes.ok_or_else(|| Error::new(ErrorKind::UnexpectedEof, format!("no bytes {range:?}")))?;
///         Ok(Bytes::copy_from_slice(bytes))
///     }
/// }
///
/// let source = VecSource(b"the bytes of a shard".to_vec());
/// source.will_need(4..9); // a hint; this source ignores it
/// let fetched = source.fetch(4..9)?;
/// assert_eq!(fetched.inflate(&mut Inflater::default())?, b"bytes");
/// assert!(source.read(4..99).is_err());
/// # Ok::<(), maskstream::Error>(())
/// ```
pub trait Source: Send + Sync + fmt::Debug {
    /// Length in bytes.
    fn len(&self) -> u64;

    /// Returns exactly the bytes of `range`, waiting for the device if necessary. They are in memory when this returns
    /// and stay valid as long as the returned [`Bytes`] is held.
    ///
    /// # Errors
    /// If the range ends past [`len`](Source::len), or the read fails; the error should name the offset. A source
    /// outside of this crate converts a [`std::io::Error`] with `?` or `into()`.
    fn read(&self, range: Range<u64>) -> Result<Bytes>;

    /// Does the part of a read that waits for the device, and leaves the part that only computes to
    /// [`Fetched::inflate`], which can run on another thread. For a gzip shard, `range` is a range of the inflated
    /// stream, and this reads the compressed bytes that contain it.
    ///
    /// By default this calls [`read`](Source::read), and nothing is left to compute.
    ///
    /// # Errors
    /// As [`read`](Source::read).
    fn fetch(&self, range: Range<u64>) -> Result<Fetched> {
        self.read(range).map(Fetched::from)
    }

    /// Announces that `range` will be read soon, so that the device can start to read ahead. It returns without
    /// waiting. It is a hint: errors are not reported, any range is allowed, and ignoring it is correct. The default
    /// does nothing.
    fn will_need(&self, range: Range<u64>) {
        let _ = range;
    }

    /// Whether the length is zero.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Maps the file at `path` into memory. A gzip file is opened as it is: the source holds its compressed bytes, and a
/// [`ShardSet`](crate::ShardSet) reads samples inside of them with the restart points in the shard's index.
///
/// # Errors
/// If the file cannot be opened or mapped.
pub fn open(path: &Path) -> Result<Arc<dyn Source>> {
    Ok(Arc::new(MmapSource::open(path)?))
}

/// Converts `range` to indices into `len` bytes; an error if it is reversed or ends past `len`.
fn bounds(range: &Range<u64>, len: u64) -> Result<Range<usize>> {
    if range.start > range.end || range.end > len {
        return Err(Error::corrupt(format!(
            "cannot read bytes {}..{}: the shard ends at byte {len}; it is truncated or not the file that was indexed",
            range.start, range.end
        ))
        .at_offset(range.start));
    }
    // Both fit: what is in memory or mapped is at most usize::MAX long.
    Ok(range.start as usize..range.end as usize)
}

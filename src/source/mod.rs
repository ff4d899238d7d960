//! Shard bytes by range: the [`Source`] trait, its implementations for files and memory, and gzip files in place.
//!
//! A [`Source`] is one shard: it has a length and returns the bytes of any range. [`open`] opens a file for positioned
//! reads ([`FileSource`]), which is what a [`ShardSet`](crate::ShardSet) does with every path. [`MmapSource`] maps a
//! file instead, and [`MemorySource`] holds bytes in memory. To read from anything else, implement the trait.
//!
//! # Threads
//!
//! A source is shared by several threads, so all methods take `&self`. Over an epoch they are called from:
//!
//! | method | thread | why there |
//! |---|---|---|
//! | [`prefetch`](Source::prefetch) | the feed thread of an epoch | ahead, so that the device can start |
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

mod access;
mod address;
mod fetched;
mod file;
mod gzip;
mod memory;
mod mmap;
mod prefetch;
mod reader;
#[cfg(feature = "remote")]
mod remote;
mod sequential;
mod storage;

use std::path::Path;
use std::sync::Arc;

use crate::Result;

pub use access::Source;
pub(crate) use access::{finish, read_all};
pub(crate) use address::is_remote;
#[doc(hidden)]
pub use address::split_query;
pub use fetched::Fetched;
pub(crate) use fetched::Inflated;
pub use file::FileSource;
pub(crate) use file::{check_regular, max_open_files};
pub use gzip::Inflater;
pub(crate) use gzip::{Frontier, GzipPass, GzipSource, Parts, RECORD_BYTES, Restarts, is_gzip};
pub use memory::MemorySource;
pub use mmap::MmapSource;
pub use prefetch::{Prefetch, ReadAhead};
pub(crate) use reader::{Allowance, SourceReader};

#[cfg(feature = "remote")]
pub use remote::{Remote, RemoteBuilder, RemoteStats};
pub(crate) use sequential::Sequential;
pub(crate) use storage::{Stamp, Storage, refuse_remote};

/// Opens the file at `path` for positioned reads. A gzip file is opened as it is: the source has its compressed bytes,
/// and a [`ShardSet`](crate::ShardSet) reads samples inside of them with the restart points in the shard's index.
///
/// # Errors
/// As [`FileSource::open`].
pub fn open(path: impl AsRef<Path>) -> Result<Arc<dyn Source>> {
    Ok(Arc::new(FileSource::open(path)?))
}

//! A shard mapped into memory, for those who ask for it. Reads are slices of the mapping.
//!
//! # Contract of the mapping
//!
//! * The mapping is read-only and shared. The file must not be changed while it is mapped. A file that has *shrunk* is
//!   detected: [`MmapSource::read`] makes the kernel load the pages before it returns, which gives an error where
//!   touching a missing page would kill the process. One race remains, and cannot be closed: a file that is truncated
//!   after that call and before the last use of the bytes. This is why [`open`](super::open) does not map files.
//! * Because of the same call, page faults happen on the reading thread and never in a decoder.
//! * When the bytes are dropped, their pages are unmapped again (they stay in the page cache). Resident memory
//!   therefore does not grow to the size of the shard over an epoch.

#![allow(unsafe_code)]

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use memmap2::Mmap;

use super::access::{Source, bounds};
use super::file::open_shard;
use crate::{Error, Result};

/// A file mapped into memory and read without a copy. Use it for files that nobody can change, on a read-only disk;
/// otherwise, use [`FileSource`](super::FileSource), which costs one copy.
///
/// **A mapped file that shrinks can end the process.** If it is truncated or overwritten, or its network file system
/// fails, after a read has returned and before the bytes have been used, the process dies of the signal SIGBUS. Only a
/// read after the file has shrunk is an error (on Linux from 5.14 on).
///
/// ```
/// use std::sync::Arc;
///
/// use maskstream::ShardSet;
/// use maskstream::source::MmapSource;
///
/// let builder = ShardSet::builder().opener(|path| Ok(Arc::new(MmapSource::open(path)?)));
/// ```
///
/// By itself:
///
/// ```
/// use maskstream::source::{MmapSource, Source};
///
/// let dir = tempfile::tempdir()?;
/// let path = dir.path().join("shard.tar");
/// std::fs::write(&path, b"the bytes of a shard")?;
///
/// let source = MmapSource::open(&path)?;
/// assert_eq!(source.len(), 20);
/// assert_eq!(source.read(4..9)?[..], *b"bytes");
/// # Ok::<(), maskstream::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct MmapSource(Arc<Mmap>);

impl MmapSource {
    /// Maps the file at `path`.
    ///
    /// # Errors
    /// If the file cannot be opened or mapped, or is not a regular file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let (file, _) = open_shard(path)?;
        // SAFETY: read-only and shared. That the file is not changed meanwhile is the contract in the module header.
        let map = unsafe { Mmap::map(&file) };
        let map = map.map_err(|e| Error::io("cannot map the file", e).in_shard(path))?;
        Ok(Self(Arc::new(map)))
    }
}

impl Source for MmapSource {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        let range = bounds(&range, self.len())?;
        populate(&self.0, &range).map_err(|e| {
            Error::io("cannot read the shard; the file may have shrunk", e).at_offset(range.start as u64)
        })?;
        Ok(Bytes::from_owner(View { map: Arc::clone(&self.0), range }))
    }

    fn will_need(&self, range: Range<u64>) {
        #[cfg(unix)]
        if let Ok(range) = bounds(&range, self.len()) {
            // A hint: a refusal only costs speed.
            let _ = self.0.advise_range(memmap2::Advice::WillNeed, range.start, range.len());
        }
    }
}

/// Makes the kernel read and map the pages of `range`. On a kernel that is too old for this (before 5.14) they are
/// loaded by page faults later.
fn populate(map: &Mmap, range: &Range<usize>) -> std::io::Result<()> {
    #[cfg(target_os = "linux")]
    if !range.is_empty() {
        let advised = map.advise_range(memmap2::Advice::PopulateRead, range.start, range.len());
        if let Err(e) = advised
            && e.raw_os_error() != Some(rustix::io::Errno::INVAL.raw_os_error())
        {
            return Err(e);
        }
    }
    let _ = (map, range);
    Ok(())
}

/// A page fault also maps the cached pages around it, in aligned blocks of this size (Linux's `fault_around_bytes`).
#[cfg(target_os = "linux")]
const FAULT_AROUND_BYTES: usize = 64 << 10;

/// The bytes of one read. Unmaps their pages when dropped, and those that page faults have mapped around them.
struct View {
    map: Arc<Mmap>,
    range: Range<usize>,
}

impl AsRef<[u8]> for View {
    fn as_ref(&self) -> &[u8] {
        &self.map[self.range.clone()]
    }
}

impl Drop for View {
    fn drop(&mut self) {
        #[cfg(target_os = "linux")]
        if !self.range.is_empty() {
            let start = self.range.start / FAULT_AROUND_BYTES * FAULT_AROUND_BYTES;
            let end = self.range.end.next_multiple_of(FAULT_AROUND_BYTES).min(self.map.len());
            // SAFETY: MADV_DONTNEED on a shared read-only file mapping only drops page table entries. Another
            // reader of these pages (of a neighbouring range, for the first and last ones) faults in the same bytes.
            let _ = unsafe { self.map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, end - start) };
        }
    }
}

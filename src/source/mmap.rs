//! A shard mapped into memory. Comes in: a path. Goes out: a [`Source`] whose reads are slices of the mapping. Fails
//! where the file cannot be opened or mapped, or has shrunk since.
//!
//! # Contract of the mapping
//!
//! * The mapping is read-only and shared. Nobody may change the file while it is mapped; shards are written once. A
//!   file that *shrinks* is noticed: [`MmapSource::read`] has the kernel bring the pages in before it returns, which
//!   fails cleanly where touching them would kill the process. (A cut between that moment and the last use of the bytes
//!   is the race that remains.)
//! * That same call means that no decoder ever waits for a page fault: the thread that reads does.
//! * When the bytes are dropped their pages leave the process again (they stay in the page cache), so that resident
//!   memory does not grow to the size of the shard over an epoch.

#![allow(unsafe_code)]

use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use memmap2::Mmap;

use super::{Source, bounds};
use crate::{Error, Result};

/// A file mapped into memory, read without a copy.
#[derive(Clone, Debug)]
pub struct MmapSource(Arc<Mmap>);

impl MmapSource {
    /// Maps the file at `path`.
    ///
    /// # Errors
    /// If the file cannot be opened or mapped.
    pub fn open(path: &Path) -> Result<Self> {
        let map = || -> std::io::Result<Mmap> {
            let file = File::open(path)?;
            if file.metadata()?.is_dir() {
                return Err(std::io::ErrorKind::IsADirectory.into());
            }
            // SAFETY: read-only and shared; that nobody changes the file meanwhile is the contract at the top.
            unsafe { Mmap::map(&file) }
        };
        let map = map().map_err(|e| Error::io("cannot open the shard", e).in_shard(path))?;
        Ok(Self(Arc::new(map)))
    }
}

impl Source for MmapSource {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        let range = bounds(&range, self.len())?;
        populate(&self.0, &range)
            .map_err(|e| Error::io("the file has shrunk or cannot be read", e).at_offset(range.start as u64))?;
        Ok(Bytes::from_owner(View { map: Arc::clone(&self.0), range }))
    }

    fn will_need(&self, range: Range<u64>) {
        #[cfg(unix)]
        if let Ok(range) = bounds(&range, self.len()) {
            // Advice only: a refusal costs speed, nothing else.
            let _ = self.0.advise_range(memmap2::Advice::WillNeed, range.start, range.len());
        }
    }
}

/// Has the kernel read and map the pages of `range`. A kernel too old for this (before 5.14) leaves them to be faulted
/// in.
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

/// A fault maps cached pages around it too, in stretches of this size (Linux's `fault_around_bytes`).
#[cfg(target_os = "linux")]
const FAULT_AROUND_BYTES: usize = 64 << 10;

/// The bytes of one read; gives the pages back when dropped, with those that came along.
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
            // SAFETY: MADV_DONTNEED on a shared read-only file mapping only drops page table entries. Whoever else
            // still reads these pages (a neighbour on the first or last ones) faults in the same bytes again.
            let _ = unsafe { self.map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, end - start) };
        }
    }
}

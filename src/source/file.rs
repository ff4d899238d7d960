//! A shard as a file: opening it, and reading ranges of it into memory of their own.
//!
//! A file may change under its reader: another program truncates or replaces it, or a network file system fails. All of
//! that is an error of the read here. It would end the process (SIGBUS) if the file were mapped.

use std::fs::{self, File, Metadata};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::fs::OFlags;
use rustix::io::{Errno, pread, retry_on_intr};
use rustix::process::{Resource, getrlimit};

use super::access::{Source, bounds};
use crate::{Error, ErrorKind, Result};

/// A file that is read by positioned reads (`pread`): what [`open`](super::open) returns. Each read copies its range
/// into memory of its own, so nothing that happens to the file later can change bytes that were returned.
///
/// If a file has become shorter since it was opened, a read past its new end is an I/O error. What is left can still be
/// read, and whether it is what it was is for checksums to tell.
///
/// ```
/// use maskstream::source::{FileSource, Source};
///
/// let dir = tempfile::tempdir()?;
/// let path = dir.path().join("shard.tar");
/// std::fs::write(&path, b"the bytes of a shard")?;
///
/// let source = FileSource::open(&path)?;
/// assert_eq!(source.len(), 20);
/// assert_eq!(source.read(4..9)?[..], *b"bytes");
///
/// std::fs::write(&path, b"cut short")?;
/// assert!(source.read(4..19).unwrap_err().to_string().contains("had 20 bytes"));
/// # Ok::<(), maskstream::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct FileSource(Arc<Opened>);

#[derive(Debug)]
struct Opened {
    file: File,
    path: Box<Path>,
    /// When it was opened.
    len: u64,
}

impl FileSource {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// If it cannot be opened, or is not a regular file: a fifo, a socket, a device or a directory.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let (file, len) = open_shard(path)?;
        Ok(Self(Arc::new(Opened { file, path: path.into(), len })))
    }

    /// Opens the file at `path`; `None` if there is none.
    pub(super) fn open_existing(path: &Path) -> Result<Option<Self>> {
        match try_open(path) {
            Ok((file, len)) => Ok(Some(Self(Arc::new(Opened { file, path: path.into(), len })))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(cannot_open(path, e)),
        }
    }

    /// The error of a file that ends at byte `end` now. It is not called corrupt: what is on the list of bad samples
    /// must be bad when the file is whole again.
    fn has_shrunk(&self, end: u64) -> Error {
        let then = self.len();
        Error::new(
            ErrorKind::Io,
            format!(
                "the file ends at byte {end} now, it had {then} bytes when it was opened: it was truncated or replaced \
                 while in use; to replace a file in use, write a new one and rename it"
            ),
        )
    }
}

impl Source for FileSource {
    fn len(&self) -> u64 {
        self.0.len
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        let Opened { file, path, .. } = &*self.0;
        let failed = |e: Error| e.in_shard(path).at_offset(range.start);
        let size = bounds(&range, self.len()).map_err(failed)?.len();
        let mut bytes = Vec::new();
        bytes
            .try_reserve_exact(size)
            .map_err(|e| failed(Error::limit(format!("there is no memory for a read of {size} bytes")).caused_by(e)))?;
        let io = |e: io::Error| failed(Error::io("cannot read the file", e));
        fill(file, range.start, size, &mut bytes).map_err(io)?;
        if bytes.len() < size {
            let end = range.start + bytes.len() as u64;
            // It may have grown again since the read.
            let now = file.metadata().map_err(io)?.len();
            return Err(failed(self.has_shrunk(if now < self.len() { now } else { end })));
        }
        Ok(bytes.into())
    }

    fn will_need(&self, range: Range<u64>) {
        #[cfg(target_os = "linux")]
        {
            let size = std::num::NonZeroU64::new(range.end.saturating_sub(range.start));
            // A hint: a refusal only costs speed. Without a size it would mean the rest of the file.
            let _ = size.map(|_| rustix::fs::fadvise(&self.0.file, range.start, size, rustix::fs::Advice::WillNeed));
        }
        let _ = range;
    }
}

/// Reads up to `size` bytes at `offset`; fewer only where the file ends. The memory is not zeroed first.
fn fill(file: &File, offset: u64, size: usize, bytes: &mut Vec<u8>) -> io::Result<()> {
    while bytes.len() < size {
        let at = offset + bytes.len() as u64;
        if retry_on_intr(|| pread(file, spare_capacity(bytes), at))? == 0 {
            break;
        }
    }
    bytes.truncate(size);
    Ok(())
}

/// Opens a shard, or its index, for reading; returns its length as well.
pub(super) fn open_shard(path: &Path) -> Result<(File, u64)> {
    try_open(path).map_err(|e| cannot_open(path, e))
}

fn try_open(path: &Path) -> io::Result<(File, u64)> {
    let file = open_regular(path)?;
    let len = file.metadata()?.len();
    Ok((file, len))
}

fn cannot_open(path: &Path, cause: io::Error) -> Error {
    match Errno::from_io_error(&cause) {
        Some(Errno::MFILE) => Error::limit(too_many_files()).caused_by(cause).in_shard(path),
        _ => Error::io("cannot open the file", cause).in_shard(path),
    }
}

/// Opens a file for reading.
///
/// # Errors
/// If it is not a regular file. To open a fifo would wait for a program that writes to it, without end.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    // Before it is opened, because that may have an effect on a device.
    check_regular(&fs::metadata(path)?)?;
    // The file may have been replaced since. A regular file ignores the flag.
    let file = File::options().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path)?;
    check_regular(&file.metadata()?)?;
    Ok(file)
}

/// # Errors
/// If it is not a regular file: what it is, and what to do.
pub(crate) fn check_regular(metadata: &Metadata) -> io::Result<()> {
    let kind = metadata.file_type();
    let what = if kind.is_file() {
        return Ok(());
    } else if kind.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    } else if kind.is_fifo() {
        "a fifo (a pipe)"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    };
    let text = format!("it is {what}, and shards are read at random places: write its contents to a file first");
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
}

/// How many files this process may have open; `None` if there is no limit.
pub(crate) fn max_open_files() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

fn too_many_files() -> String {
    let limit = max_open_files().map_or_else(String::new, |limit| format!(" ({limit} now)"));
    format!("this process has too many files open: raise the limit with `ulimit -n`{limit}, or lower open_shards")
}

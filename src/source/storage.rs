//! Where a path leads: to a file, or with the feature `remote` to an object in a store.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
#[cfg(feature = "remote")]
use std::sync::{Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use bytes::Bytes;

use super::access::Source;
use super::address::{is_remote, split_query};
use super::file::FileSource;
use super::prefetch::ReadAhead;
#[cfg(feature = "remote")]
use super::remote::Remote;
use crate::atomic::write_file;
use crate::{Error, Result};

/// Bytes of an object that are received with its length, where its beginning is what is needed: the header and the
/// entries of the index of a usual shard.
#[cfg(feature = "remote")]
const START_BYTES: u64 = 1 << 20;

/// What a file or an object is known by: one that was replaced has another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Length in bytes.
    pub(crate) len: u64,
    /// The modification time of a file in nanoseconds, or a digest of the ETag of an object.
    pub(crate) version: u64,
}

/// Opens, examines and writes what paths lead to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Storage {
    /// Made when the first address is met.
    #[cfg(feature = "remote")]
    remote: Arc<Mutex<Option<Remote>>>,
}

impl Storage {
    /// The name of what is at `path`: an address without its query, which is kept for requests and may be a secret.
    pub(crate) fn name(&self, path: &Path) -> Result<PathBuf> {
        #[cfg(feature = "remote")]
        if is_remote(path) {
            return Ok(self.remote()?.name(path));
        }
        Ok(split_query(path).0)
    }

    /// Opens what is at `path` for reading at random places.
    pub(crate) fn open(&self, path: &Path) -> Result<Arc<dyn Source>> {
        #[cfg(feature = "remote")]
        if is_remote(path) {
            return Ok(Arc::new(self.remote()?.open(path)?));
        }
        refuse_remote(path)?;
        Ok(Arc::new(FileSource::open(path)?))
    }

    /// Opens an index file. Others may write it anew while it is read, with the same content.
    pub(crate) fn open_index(&self, path: &Path) -> Result<Arc<dyn Source>> {
        #[cfg(feature = "remote")]
        if is_remote(path) {
            return Ok(Arc::new(self.remote()?.open_unpinned(path)?));
        }
        self.open(path)
    }

    /// The same, of which the beginning is needed first; `None` if there is none.
    pub(crate) fn open_at_start(&self, path: &Path) -> Result<Option<Arc<dyn Source>>> {
        #[cfg(feature = "remote")]
        if is_remote(path) {
            let source = self.remote()?.open_at_start(path, START_BYTES)?;
            return Ok(source.map(|source| Arc::new(source) as Arc<dyn Source>));
        }
        refuse_remote(path)?;
        Ok(FileSource::open_existing(path)?.map(|file| Arc::new(file) as Arc<dyn Source>))
    }

    /// What is at `path` now.
    ///
    /// # Errors
    /// If there is nothing, or it cannot be examined.
    pub(crate) fn stamp(&self, path: &Path) -> Result<Stamp> {
        #[cfg(feature = "remote")]
        if is_remote(path) {
            let stat = self.remote()?.stat(path)?;
            return Ok(Stamp { len: stat.len, version: stat.version() });
        }
        refuse_remote(path)?;
        let failed = |e| Error::io("cannot read the file's metadata", e).in_shard(path);
        let metadata = fs::metadata(path).map_err(failed)?;
        let modified = metadata.modified().map_err(failed)?.duration_since(UNIX_EPOCH).unwrap_or_default();
        // 2^64 nanoseconds last until the year 2554.
        Ok(Stamp { len: metadata.len(), version: modified.as_nanos() as u64 })
    }

    /// Writes parts, one after the other, in place of what is at `path`: a reader sees the old bytes or the new ones.
    pub(crate) fn write(&self, path: &Path, parts: Vec<Bytes>) -> Result<()> {
        #[cfg(feature = "remote")]
        if is_remote(path) {
            return self.remote()?.write(path, parts);
        }
        refuse_remote(path)?;
        let write = |out: &mut fs::File| parts.iter().try_for_each(|part| io::Write::write_all(out, part));
        write_file(path, write).map_err(|e| Error::io(format!("cannot write {}", path.display()), e))
    }

    /// How what is at `path` wants to be read ahead.
    pub(crate) fn read_ahead(&self, path: &Path) -> Result<ReadAhead> {
        #[cfg(feature = "remote")]
        if is_remote(path) {
            return Ok(self.remote()?.read_ahead());
        }
        let _ = path;
        Ok(ReadAhead::default())
    }

    /// Access to stores.
    #[cfg(feature = "remote")]
    pub(crate) fn remote(&self) -> Result<Remote> {
        let mut remote = self.remote.lock().unwrap_or_else(PoisonError::into_inner);
        match &*remote {
            Some(remote) => Ok(remote.clone()),
            None => Ok(remote.insert(Remote::builder().build()?).clone()),
        }
    }
}

#[cfg(feature = "remote")]
impl From<Remote> for Storage {
    fn from(remote: Remote) -> Self {
        Self { remote: Arc::new(Mutex::new(Some(remote))) }
    }
}

/// # Errors
/// If the path is an address, which only the feature `remote` reads.
pub(crate) fn refuse_remote(path: &Path) -> Result<()> {
    if cfg!(feature = "remote") || !is_remote(path) {
        return Ok(());
    }
    Err(Error::config(format!(
        "{} is in an object store or behind HTTP, and this build reads files only: build it with the feature `remote` \
         (cargo install maskstream --features remote), download the shards, or mount the bucket as a directory",
        path.display()
    )))
}

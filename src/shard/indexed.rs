//! A shard's index, from its sidecar or anew. Comes in: a path and options. Goes out: an [`IndexedShard`]. Fails if the
//! shard cannot be read or changes meanwhile; a sidecar that cannot be read or written only costs time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::options::Progress;
use super::sidecar::{self, Stamp};
use super::{Origin, ShardIndex, ShardSetOptions};
use crate::source::{Source, refuse_gzip};
use crate::{Error, Result};

/// One shard with its index.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct IndexedShard {
    /// Path or name.
    pub path: PathBuf,
    /// Length of the shard in bytes.
    pub shard_bytes: u64,
    /// How the index came to be.
    pub origin: Origin,
    /// The index.
    pub index: ShardIndex,
}

impl ShardSetOptions {
    /// Loads or builds the index of one shard, damaged or not, and saves it.
    ///
    /// # Errors
    /// If the shard cannot be read, is a gzip stream, or changes while it is read.
    pub fn index(&self, path: &Path) -> Result<IndexedShard> {
        let stamp = Stamp::of(path)?;
        let shard =
            |origin, index| IndexedShard { path: path.to_owned(), shard_bytes: stamp.shard_bytes, origin, index };
        let file = self.sidecar.path(path);
        let reason = match file.as_deref().map(|file| sidecar::load(file, stamp)) {
            Some(Ok(index)) => {
                (self.progress)(stamp.shard_bytes);
                return Ok(shard(Origin::Loaded, index));
            }
            Some(Err(reason)) => reason,
            None => "sidecars are off".to_owned(),
        };
        let source = (self.opener)(path).map_err(|e| e.in_shard(path))?;
        let index = build(source.as_ref(), path, &*self.progress)?;
        // A shard that changed while it was read must not get a sidecar that says otherwise.
        if Stamp::of(path)? != stamp || source.len() != stamp.shard_bytes {
            return Err(Error::corrupt("the shard changed while it was indexed").in_shard(path));
        }
        let origin = match file {
            None => Origin::Unsaved(reason),
            Some(file) => match sidecar::save(&file, stamp, &index) {
                Ok(()) => Origin::Built(reason),
                Err(e) => Origin::Unsaved(e.to_string()),
            },
        };
        Ok(shard(origin, index))
    }
}

pub(super) fn build(source: &dyn Source, path: &Path, progress: &Progress) -> Result<ShardIndex> {
    // A source is foreign code: its panic is this shard's error.
    let build = || refuse_gzip(source).and_then(|()| ShardIndex::build(source, progress));
    let built = catch_unwind(AssertUnwindSafe(build)).unwrap_or_else(|payload| Err(Error::panic(&*payload)));
    built.map_err(|e| e.in_shard(path))
}

//! The index on disk. Comes in: a shard's path and index. Goes out: a file beside the shard or in a directory of its
//! own, and the index again as long as the shard is still the one it was made from. Saving fails as the file system
//! does; whatever is wrong with a file that is read makes the index be built anew, and says why.
//!
//! # Layout, all little-endian
//!
//! `MSKINDEX`, version (u32), crc32c of the payload (u32), then the payload in postcard form: the shard's length and
//! modification time, and the index.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::ShardIndex;
use crate::atomic::{dir_of, write_file};
use crate::{Error, Result};

const MAGIC: [u8; 8] = *b"MSKINDEX";
/// Changes whenever the payload's form or meaning does.
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 16;

/// Where sidecar files live.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Sidecar {
    /// Beside the shard, as `<shard>.msidx`.
    #[default]
    Beside,
    /// In this directory, as `<shard's file name>.msidx`; made if it does not exist. Shards of the same file name need
    /// directories of their own.
    Dir(PathBuf),
    /// Nowhere: the index is built every time.
    Off,
}

/// How an index came to be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// Read from its sidecar.
    Loaded,
    /// Built by reading the shard, for this reason, and saved.
    Built(String),
    /// Built by reading the shard; it could not be saved, for this reason, and will be built again next time.
    Unsaved(String),
}

/// The shard an index belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    pub(super) shard_bytes: u64,
    modified_ns: u64,
}

impl Sidecar {
    /// The sidecar of the shard at `path`; `None` when off.
    pub fn path(&self, shard: &Path) -> Option<PathBuf> {
        let mut name = shard.file_name()?.to_owned();
        name.push(".msidx");
        match self {
            Self::Beside => Some(shard.with_file_name(name)),
            Self::Dir(dir) => Some(dir.join(name)),
            Self::Off => None,
        }
    }
}

impl Stamp {
    pub(super) fn of(shard: &Path) -> Result<Self> {
        let read = || {
            let metadata = fs::metadata(shard)?;
            let modified = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            // 2^64 nanoseconds reach to the year 2554.
            Ok(Self { shard_bytes: metadata.len(), modified_ns: modified.as_nanos() as u64 })
        };
        read().map_err(|e| Error::io("cannot look at the shard", e).in_shard(shard))
    }
}

/// Reads the sidecar at `path`, or says why it cannot serve the shard of this stamp.
pub(super) fn load(path: &Path, stamp: Stamp) -> Result<ShardIndex, String> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err("no sidecar yet".to_owned()),
        Err(e) => return Err(format!("cannot read {}: {e}", path.display())),
    };
    let (header, payload) =
        bytes.split_at_checked(HEADER_BYTES).ok_or_else(|| format!("{} is cut short", path.display()))?;
    if header[..8] != MAGIC {
        return Err(format!("{} is not a sidecar", path.display()));
    }
    let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    if word(8) != VERSION {
        return Err(format!("the sidecar has format version {}, this is {VERSION}", word(8)));
    }
    if word(12) != crc32c::crc32c(payload) {
        return Err(format!("{} is damaged: its checksum does not fit", path.display()));
    }
    let (found, index): (Stamp, ShardIndex) =
        postcard::from_bytes(payload).map_err(|e| format!("{} is damaged: {e}", path.display()))?;
    if found != stamp {
        return Err(format!("the shard has changed (size {} then, {} now)", found.shard_bytes, stamp.shard_bytes));
    }
    if !index.is_consistent(stamp.shard_bytes) {
        return Err(format!("{} is damaged: its parts do not fit each other", path.display()));
    }
    Ok(index)
}

/// Writes the sidecar so that a reader sees the old file or the whole new one.
pub(super) fn save(path: &Path, stamp: Stamp, index: &ShardIndex) -> Result<()> {
    let payload = postcard::to_stdvec(&(stamp, index))
        .map_err(|e| Error::config(format!("cannot encode the index: {e}")).caused_by(e))?;
    let write = || {
        fs::create_dir_all(dir_of(path))?;
        write_file(path, |file| {
            file.write_all(&MAGIC)?;
            file.write_all(&VERSION.to_le_bytes())?;
            file.write_all(&crc32c::crc32c(&payload).to_le_bytes())?;
            file.write_all(&payload)
        })
    };
    write().map_err(|e| Error::io(format!("cannot write {}", path.display()), e))
}

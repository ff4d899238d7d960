//! Index files (sidecars): saving the index of a shard, and loading it while the shard is unchanged.
//!
//! A file that cannot be loaded gives the reason, and the index is built again. Errors of saving are those of the file
//! system.
//!
//! # Layout, all little-endian
//!
//! `MSKINDEX`, version (u32), crc32c of the payload (u32), length of the payload (u64), then the payload in postcard
//! form: the shard's length and modification time, the index, the description of the columns of annotation statistics,
//! and for a gzip shard that of its restart points. The columns follow; only those that a filter uses are read (see
//! `columns.rs`). Restart points follow them: records, then windows (see `source/gzip/restart.rs`). They are read when
//! the shard is opened, and windows one at a time; whether inflating from them gives the right bytes is checked by each
//! member's own checksum.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::ShardIndex;
use super::columns::Columns;
use super::stored::StoredIndex;
use crate::annotation::ScoreColumns;
use crate::atomic::{dir_of, write_file};
use crate::source::{FileSource, Frontier, Parts, RECORD_BYTES, Restarts, Source, open_regular};
use crate::{Error, Result};

const MAGIC: [u8; 8] = *b"MSKINDEX";
/// Changes whenever the payload's format or meaning does.
const VERSION: u32 = 3;
const HEADER_BYTES: usize = 24;

/// Where index files are kept.
///
/// ```
/// use std::path::{Path, PathBuf};
///
/// use maskstream::index::Sidecar;
///
/// let shard = Path::new("sa1b/sa_000000.tar");
/// assert_eq!(Sidecar::Beside.path(shard), Some(PathBuf::from("sa1b/sa_000000.tar.msidx")));
/// assert_eq!(Sidecar::Dir("indexes".into()).path(shard), Some(PathBuf::from("indexes/sa_000000.tar.msidx")));
/// assert_eq!(Sidecar::Off.path(shard), None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sidecar {
    /// Next to the shard, as `<shard>.msidx`.
    #[default]
    Beside,
    /// In this directory, as `<shard's file name>.msidx`. The directory is created if necessary. Shards with the same
    /// file name need different directories.
    Dir(PathBuf),
    /// Nowhere: the index is built every time.
    Off,
}

/// Whether an index was loaded or built.
///
/// ```
/// # #[cfg(feature = "synth")] {
/// # use maskstream::synth::{Preset, SynthOptions, write_shards};
/// use maskstream::index::{IndexStatus, Indexer, Sidecar};
///
/// # let dir = tempfile::tempdir()?;
/// # write_shards(dir.path(), 1, &SynthOptions::new(Preset::Small).samples(1), &|_| ())?;
/// # let path = dir.path().join("sa_000000.tar");
/// match Indexer::new().sidecar(Sidecar::Off).index(&path)?.status {
///     IndexStatus::Loaded => println!("up to date"),
///     IndexStatus::Built(reason) => println!("built: {reason}"),
///     IndexStatus::Unsaved(reason) => eprintln!("built, but not saved: {reason}"),
///     _ => {}
/// }
/// # }
/// # Ok::<(), maskstream::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IndexStatus {
    /// Loaded from its index file.
    Loaded,
    /// Built by reading the shard, and saved; with the reason why it was not loaded.
    Built(String),
    /// Built by reading the shard, and not saved, with the reason. It will be built again next time.
    Unsaved(String),
}

/// Length and modification time of the shard that an index belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileStamp {
    pub(super) shard_bytes: u64,
    modified_ns: u64,
}

impl Sidecar {
    /// Returns the path of the index file of `shard`; `None` for [`Sidecar::Off`].
    pub fn path(&self, shard: impl AsRef<Path>) -> Option<PathBuf> {
        let shard = shard.as_ref();
        let mut name = shard.file_name()?.to_owned();
        name.push(".msidx");
        match self {
            Self::Beside => Some(shard.with_file_name(name)),
            Self::Dir(dir) => Some(dir.join(name)),
            Self::Off => None,
        }
    }
}

impl FileStamp {
    pub(super) fn of(shard: &Path) -> Result<Self> {
        let read = || {
            let metadata = fs::metadata(shard)?;
            let modified = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            // 2^64 nanoseconds last until the year 2554.
            Ok(Self { shard_bytes: metadata.len(), modified_ns: modified.as_nanos() as u64 })
        };
        read().map_err(|e| Error::io("cannot read the file's metadata", e).in_shard(shard))
    }
}

/// The contents of an index file.
#[derive(Debug)]
pub(super) struct SavedIndex {
    pub(super) index: ShardIndex,
    /// The restart points of a gzip stream.
    pub(super) restarts: Option<SavedRestarts>,
}

/// The description of the restart points in an index file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RestartSection {
    records: u64,
    records_crc32c: u32,
    window_bytes: u64,
    frontier: Frontier,
}

/// Restart points in an index file that have not been read yet.
#[derive(Clone, Debug)]
pub(super) struct SavedRestarts {
    path: PathBuf,
    /// File offset of the first record.
    start: u64,
    section: RestartSection,
}

/// Why an index file cannot be used.
#[derive(Debug)]
pub(super) struct Rejected {
    pub(super) reason: String,
    /// Whether it is valid, but of the shard before it changed.
    pub(super) is_earlier: bool,
}

impl From<String> for Rejected {
    fn from(reason: String) -> Self {
        Self { reason, is_earlier: false }
    }
}

/// Loads the index file at `path`, which must be of the shard with this stamp.
pub(super) fn load(path: &Path, stamp: FileStamp, columns: ScoreColumns) -> Result<SavedIndex, Rejected> {
    let (found, saved) = read(path, columns)?;
    if found == stamp {
        return Ok(saved);
    }
    let reason = format!("the shard has changed (size {} then, {} now)", found.shard_bytes, stamp.shard_bytes);
    Err(Rejected { reason, is_earlier: true })
}

/// Reads the index file at `path`, even if the shard has changed since.
pub(super) fn read(path: &Path, wanted: ScoreColumns) -> Result<(FileStamp, SavedIndex), String> {
    let damaged = |what: &str| format!("{} is damaged: {what}", path.display());
    let cannot = |e: std::io::Error| format!("cannot read {}: {e}", path.display());
    let mut file = match open_regular(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err("no index file yet".to_owned()),
        Err(e) => return Err(cannot(e)),
    };
    let file_bytes = file.metadata().map_err(cannot)?.len();
    let mut header = [0; HEADER_BYTES];
    file.read_exact(&mut header).map_err(|_| format!("{} is cut short", path.display()))?;
    if header[..8] != MAGIC {
        return Err(format!("{} is not an index file", path.display()));
    }
    let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    if word(8) != VERSION {
        return Err(format!(
            "the index file has format version {}, but this version of maskstream uses {VERSION}",
            word(8)
        ));
    }
    let payload_bytes = u64::from(word(16)) | u64::from(word(20)) << 32;
    let start = payload_bytes.checked_add(HEADER_BYTES as u64).filter(|&end| end <= file_bytes);
    let start = start.ok_or_else(|| format!("{} is cut short", path.display()))?;
    let mut payload = Vec::new();
    Read::by_ref(&mut file).take(payload_bytes).read_to_end(&mut payload).map_err(cannot)?;
    if word(12) != crc32c::crc32c(&payload) {
        return Err(damaged("its checksum does not match"));
    }
    let (found, index, columns, section): (FileStamp, StoredIndex, Columns, Option<RestartSection>) =
        postcard::from_bytes(&payload).map_err(|e| damaged(&e.to_string()))?;
    let columns_start = start;
    let start = columns.bytes().and_then(|bytes| columns_start.checked_add(bytes)).filter(|&end| end <= file_bytes);
    let start = start.ok_or_else(|| damaged("it does not have the expected length"))?;
    let mut index = index.into_index();
    index.stats = columns.read(&mut file, columns_start, wanted).map_err(|what| damaged(&what))?;
    let inflated = section.as_ref().map_or(found.shard_bytes, |section| section.frontier.inflated);
    if !index.is_consistent(inflated) {
        return Err(damaged("its parts do not agree with each other"));
    }
    let restarts = section.map(|section| SavedRestarts { path: path.to_owned(), start, section });
    if restarts.as_ref().map_or(Some(start), SavedRestarts::end) != Some(file_bytes) {
        return Err(damaged("it does not have the expected length"));
    }
    // The records are few and small, so damage is found here; damaged windows are found by the members' checksums.
    if let Some(restarts) = &restarts {
        let mut records = Vec::new();
        file.seek(SeekFrom::Start(start)).map_err(cannot)?;
        file.take(restarts.records_bytes().unwrap_or(0)).read_to_end(&mut records).map_err(cannot)?;
        if crc32c::crc32c(&records) != restarts.section.records_crc32c {
            return Err(damaged("the checksum of its restart points does not match"));
        }
    }
    Ok((found, SavedIndex { index, restarts }))
}

/// Writes the index file atomically: a reader sees the old file or the whole new one. Returns the saved restart points.
pub(super) fn save(
    path: &Path,
    stamp: FileStamp,
    index: &ShardIndex,
    restarts: Option<&Restarts>,
) -> Result<Option<SavedRestarts>> {
    let parts = restarts.map(Restarts::parts);
    let cannot = |e: std::io::Error| Error::io(format!("cannot write {}", path.display()), e);
    let section = parts.as_ref().map(|parts| RestartSection {
        records: (parts.records.len() / RECORD_BYTES) as u64,
        records_crc32c: crc32c::crc32c(&parts.records),
        window_bytes: parts.windows_range().end - parts.windows_range().start,
        frontier: parts.frontier,
    });
    let (columns, column_bytes) = Columns::encode(&index.stats);
    let payload = postcard::to_stdvec(&(stamp, StoredIndex::of(index), columns, &section))
        .map_err(|e| Error::config(format!("cannot encode the index: {e}")).caused_by(e))?;
    let windows = parts.as_ref().map(|parts| parts.windows.read(parts.windows_range())).transpose()?;
    let write = || {
        fs::create_dir_all(dir_of(path))?;
        write_file(path, |file| {
            file.write_all(&MAGIC)?;
            file.write_all(&VERSION.to_le_bytes())?;
            file.write_all(&crc32c::crc32c(&payload).to_le_bytes())?;
            file.write_all(&(payload.len() as u64).to_le_bytes())?;
            file.write_all(&payload)?;
            file.write_all(&column_bytes)?;
            parts.iter().try_for_each(|parts| file.write_all(&parts.records))?;
            windows.iter().try_for_each(|windows| file.write_all(windows))
        })
    };
    write().map_err(cannot)?;
    let start = (HEADER_BYTES + payload.len() + column_bytes.len()) as u64;
    Ok(section.map(|section| SavedRestarts { path: path.to_owned(), start, section }))
}

impl SavedRestarts {
    fn records_bytes(&self) -> Option<u64> {
        self.section.records.checked_mul(RECORD_BYTES as u64)
    }

    fn end(&self) -> Option<u64> {
        self.start.checked_add(self.records_bytes()?)?.checked_add(self.section.window_bytes)
    }

    /// Reads the points; windows are read on demand.
    ///
    /// # Errors
    /// If the index file cannot be read or has changed.
    pub(super) fn open(&self) -> Result<Restarts> {
        let source = FileSource::open(&self.path)?;
        let records_end = self.start + self.records_bytes().unwrap_or(u64::MAX - self.start);
        let records = source.read(self.start..records_end).map_err(|e| e.in_shard(&self.path))?;
        if self.end() != Some(source.len()) || crc32c::crc32c(&records) != self.section.records_crc32c {
            return Err(Error::corrupt("the index file has changed since it was opened").in_shard(&self.path));
        }
        Ok(Restarts::complete(Parts {
            records,
            windows: Arc::new(source),
            windows_start: records_end,
            frontier: self.section.frontier,
        }))
    }
}

//! Index files (sidecars): saving the index of a shard, and loading it while the shard is unchanged.
//!
//! A file that cannot be loaded gives the reason, and the index is built again. Errors of saving are those of the file
//! system.
//!
//! # Layout, all little-endian
//!
//! The header: `MSKINDEX`, version (u32), crc32c of the payload (u32), length of the payload (u64), length of the shard
//! (u64), its modification time in nanoseconds (u64), a hash of its path (u64), crc32c of the last bytes of the shard
//! (u32), crc32c of the header so far (u32). Then
//! the payload in postcard form: the index, the description of the columns of annotation statistics, and for a gzip
//! shard that of its restart points. The columns follow; only those that a filter uses are read (see `columns.rs`).
//! Restart points follow them: records, then windows (see `source/gzip/restart.rs`). They are read when the shard is
//! opened, and windows one at a time.

use std::fs;
use std::io::{ErrorKind, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::ShardIndex;
use super::columns::Columns;
use super::stored::StoredIndex;
use crate::annotation::ScoreColumns;
use crate::atomic::{AtomicFile, check_target, dir_of};
use crate::source::{self, Frontier, Parts, RECORD_BYTES, Restarts, Source, Stamp, Storage, is_remote, split_query};
use crate::splitmix::mix_bytes;
use crate::{Error, Result};

const MAGIC: [u8; 8] = *b"MSKINDEX";
/// Changes whenever the payload's format or meaning does.
const VERSION: u32 = 5;
const HEADER_BYTES: usize = 56;
/// Bytes at the end of a shard that an index has the checksum of.
const TAIL_BYTES: u64 = 1 << 20;
/// How often a file name is chosen again if another process takes it.
const MAX_ATTEMPTS: u32 = 3;

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
    /// In this directory, as `<shard's file name>.msidx`. The directory is created if necessary. If several shards have
    /// the same file name, the file names of their indexes also contain a hash of the shard's path. With the feature
    /// `remote`, it may be the address of a prefix.
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

impl Sidecar {
    /// Returns the usual path of the index file of `shard`; `None` for [`Sidecar::Off`].
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

impl Sidecar {
    /// Paths at which the index file of `shard` may be, the one that is certainly its own first. In a store it comes
    /// last: it is seldom there, and to ask takes time.
    pub(super) fn candidates(&self, shard: &Path) -> Vec<PathBuf> {
        let Some(usual) = self.path(shard) else { return Vec::new() };
        if !self.is_shared() {
            return vec![usual];
        }
        let own = with_hash(&usual, path_hash(shard));
        match is_remote(&usual) {
            true => vec![usual, own],
            false => [own].into_iter().filter(|own| own.exists()).chain([usual]).collect(),
        }
    }

    /// # Errors
    /// If the directory is an address with a query, which names one object only.
    pub(super) fn check(&self) -> Result<()> {
        match self {
            Self::Dir(dir) if split_query(dir).1.is_some() => Err(Error::config(format!(
                "{} has a query, so it cannot be a directory of index files: name a local one",
                split_query(dir).0.display()
            ))),
            _ => Ok(()),
        }
    }

    /// Whether shards of several directories have their index files here.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self, Self::Dir(_))
    }

    /// The path to save the index file of `shard` at: the usual one, unless another shard has its index file there.
    fn target(&self, storage: &Storage, shard: &Path) -> Option<PathBuf> {
        let usual = self.path(shard)?;
        let hash = path_hash(shard);
        let owner = || Some(Header::read(storage.open_at_start(&usual).ok()??.as_ref()).ok()?.path_hash);
        Some(if self.is_shared() && owner().is_some_and(|owner| owner != hash) {
            with_hash(&usual, hash)
        } else {
            usual
        })
    }
}

/// `NAME.msidx` with a hash: `NAME.<hash>.msidx`.
fn with_hash(usual: &Path, hash: u64) -> PathBuf {
    usual.with_extension(format!("{hash:016x}.msidx"))
}

/// A hash of the shard's absolute path.
pub(super) fn path_hash(shard: &Path) -> u64 {
    let path = fs::canonicalize(shard).unwrap_or_else(|_| shard.to_owned());
    mix_bytes(path.as_os_str().as_encoded_bytes())
}

/// The fixed part at the start of an index file.
struct Header {
    payload_crc32c: u32,
    payload_bytes: u64,
    stamp: Stamp,
    path_hash: u64,
    tail_crc32c: u32,
}

impl Header {
    fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let Self { payload_crc32c, payload_bytes, stamp, path_hash, tail_crc32c } = self;
        let Stamp { len: shard_bytes, version } = stamp;
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&payload_crc32c.to_le_bytes());
        for (i, word) in [payload_bytes, shard_bytes, version, path_hash].into_iter().enumerate() {
            bytes[16 + 8 * i..24 + 8 * i].copy_from_slice(&word.to_le_bytes());
        }
        bytes[48..52].copy_from_slice(&tail_crc32c.to_le_bytes());
        let crc32c = crc32c::crc32c(&bytes[..HEADER_BYTES - 4]);
        bytes[HEADER_BYTES - 4..].copy_from_slice(&crc32c.to_le_bytes());
        bytes
    }

    /// Reads the header at the start of a file; an error is a part of a sentence about the file.
    fn read(file: &dyn Source) -> Result<Self, String> {
        let mut bytes = [0; HEADER_BYTES];
        // Files of other versions may be shorter than this header.
        let filled = file.len().min(HEADER_BYTES as u64) as usize;
        let start = file.read(0..filled as u64).map_err(|e| format!("cannot be read: {e}"))?;
        bytes[..filled].copy_from_slice(&exactly(start, filled)?);
        let half = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        if filled >= 8 && bytes[..8] != MAGIC {
            return Err("is not an index file".to_owned());
        }
        if filled >= 12 && half(8) != VERSION {
            let found = half(8);
            return Err(format!("has format version {found}, but this version of maskstream uses {VERSION}"));
        }
        if filled < HEADER_BYTES {
            return Err("is cut short".to_owned());
        }
        if half(HEADER_BYTES - 4) != crc32c::crc32c(&bytes[..HEADER_BYTES - 4]) {
            return Err("is damaged: the checksum of its header does not match".to_owned());
        }
        let stamp = Stamp { len: word(24), version: word(32) };
        let (payload_crc32c, payload_bytes, path_hash, tail_crc32c) = (half(12), word(16), word(40), half(48));
        Ok(Self { payload_crc32c, payload_bytes, stamp, path_hash, tail_crc32c })
    }
}

/// # Errors
/// If a read returned another number of bytes.
fn exactly(bytes: Bytes, size: usize) -> Result<Bytes, String> {
    if bytes.len() == size { Ok(bytes) } else { Err(format!("cannot be read: {} bytes came for {size}", bytes.len())) }
}

/// Checksum of the last bytes of a shard's file: what is appended, a download that is completed, and the trailer of a
/// gzip stream show there.
pub(super) fn tail_crc32c(file: &dyn Source) -> Result<u32> {
    Ok(crc32c::crc32c(&file.read(file.len().saturating_sub(TAIL_BYTES)..file.len())?))
}

/// The contents of an index file.
#[derive(Debug)]
pub(super) struct SavedIndex {
    /// Of the shard when it was indexed.
    pub(super) stamp: Stamp,
    /// Hash of the path that the shard had then.
    pub(super) path_hash: u64,
    /// Checksum of the last bytes of the file, [`tail_crc32c`].
    pub(super) tail_crc32c: u32,
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

/// Restart points in an index file.
#[derive(Clone, Debug)]
pub(super) struct SavedRestarts {
    storage: Storage,
    path: PathBuf,
    /// File offset of the first record.
    start: u64,
    section: RestartSection,
    /// The records, if they take long to read again.
    records: Option<Bytes>,
}

/// Reads the index file at `path`. An error is the reason why it cannot be used.
pub(super) fn read(storage: &Storage, path: &Path, wanted: ScoreColumns) -> Result<SavedIndex, String> {
    let damaged = |what: &str| format!("{} is damaged: {what}", path.display());
    let cannot = |e: crate::Error| format!("cannot read {}: {}", path.display(), e.reason());
    let file = storage.open_at_start(path).map_err(cannot)?.ok_or_else(|| "no index file yet".to_owned())?;
    let (file, file_bytes) = (file.as_ref(), file.len());
    let header = Header::read(file).map_err(|what| format!("{} {what}", path.display()))?;
    let Header { payload_crc32c, payload_bytes, stamp, path_hash, tail_crc32c } = header;
    let start = payload_bytes.checked_add(HEADER_BYTES as u64).filter(|&end| end <= file_bytes);
    let start = start.ok_or_else(|| format!("{} is cut short", path.display()))?;
    let payload = file.read(HEADER_BYTES as u64..start).map_err(cannot)?;
    if payload_crc32c != crc32c::crc32c(&payload) {
        return Err(damaged("its checksum does not match"));
    }
    let (index, columns, section): (StoredIndex, Columns, Option<RestartSection>) =
        postcard::from_bytes(&payload).map_err(|e| damaged(&e.to_string()))?;
    let columns_start = start;
    let start = columns.bytes().and_then(|bytes| columns_start.checked_add(bytes)).filter(|&end| end <= file_bytes);
    let start = start.ok_or_else(|| damaged("it does not have the expected length"))?;
    let mut restarts = section.map(|section| {
        let (storage, path) = (storage.clone(), path.to_owned());
        SavedRestarts { storage, path, start, section, records: None }
    });
    if restarts.as_ref().map_or(Some(start), SavedRestarts::end) != Some(file_bytes) {
        return Err(damaged("it does not have the expected length"));
    }
    // All that is needed is read at once.
    let parts = columns.ranges(columns_start, wanted).map_err(|what| damaged(&what))?;
    let records = restarts.as_ref().map_or(start..start, SavedRestarts::records_range);
    let ranges: Vec<_> = parts.iter().map(|(_, range)| range.clone()).chain([records]).collect();
    let mut read = source::read_all(file, &ranges).map_err(cannot)?;
    let records = read.pop().unwrap_or_default();
    let parts = parts.iter().map(|(number, _)| *number).zip(&read);
    let mut index = index.into_index();
    index.stats = columns.decode(parts).map_err(|what| damaged(&what))?;
    let inflated = restarts.as_ref().map_or(stamp.len, |restarts| restarts.section.frontier.inflated);
    if !index.is_consistent(inflated) {
        return Err(damaged("its parts do not agree with each other"));
    }
    // The records are few and small, so damage is found here. Windows have a checksum each.
    if let Some(restarts) = &mut restarts {
        if crc32c::crc32c(&records) != restarts.section.records_crc32c {
            return Err(damaged("the checksum of its restart points does not match"));
        }
        restarts.records = is_remote(path).then_some(records);
    }
    Ok(SavedIndex { stamp, path_hash, tail_crc32c, index, restarts })
}

/// Writes the present time and path of a shard to its index file, so that it need not be compared again.
pub(super) fn refresh(storage: &Storage, path: &Path, stamp: Stamp, path_hash: u64) -> Result<()> {
    let file = storage.open_index(path)?;
    let header = Header::read(file.as_ref()).map_err(Error::corrupt)?;
    let rest = file.read(HEADER_BYTES as u64..file.len())?;
    storage.write(path, vec![Header { stamp, path_hash, ..header }.to_bytes().to_vec().into(), rest])
}

/// Refuses to replace a file that is no index file. One that is shorter than the first word of such a file is the rest
/// of one.
fn refuse_foreign(storage: &Storage, path: &Path) -> Result<()> {
    let Some(file) = storage.open_at_start(path)? else { return Ok(()) };
    let is_foreign = file.len() >= MAGIC.len() as u64 && file.read(0..MAGIC.len() as u64)?[..] != MAGIC;
    let text = "a file of this name is there that is no index file: move it away";
    if is_foreign { Err(Error::new(crate::ErrorKind::Io, text)) } else { Ok(()) }
}

/// Writes the index file of `shard` atomically: a reader sees the old file or the whole new one. Returns its path, and
/// the saved restart points.
pub(super) fn save(
    storage: &Storage,
    sidecar: &Sidecar,
    shard: &Path,
    file: &dyn Source,
    stamp: Stamp,
    index: &ShardIndex,
    restarts: Option<&Restarts>,
) -> Result<(PathBuf, Option<SavedRestarts>)> {
    let points = restarts.map(Restarts::parts);
    let section = points.as_ref().map(|points| RestartSection {
        records: (points.records.len() / RECORD_BYTES) as u64,
        records_crc32c: crc32c::crc32c(&points.records),
        window_bytes: points.windows_range().end - points.windows_range().start,
        frontier: points.frontier,
    });
    let (columns, column_bytes) = Columns::encode(&index.stats);
    let payload = postcard::to_stdvec(&(StoredIndex::of(index), columns, &section))
        .map_err(|e| Error::config(format!("cannot encode the index: {e}")).caused_by(e))?;
    let header = Header {
        payload_crc32c: crc32c::crc32c(&payload),
        payload_bytes: payload.len() as u64,
        stamp,
        path_hash: path_hash(shard),
        tail_crc32c: tail_crc32c(file)?,
    };
    let start = (HEADER_BYTES + payload.len() + column_bytes.len()) as u64;
    let mut parts = vec![Bytes::from(header.to_bytes().to_vec()), payload.into(), column_bytes.into()];
    if let Some(points) = &points {
        parts.extend([points.records.clone(), points.windows.read(points.windows_range())?]);
    }
    let path = write(storage, sidecar, shard, &parts)?;
    let records = points.filter(|_| is_remote(&path)).map(|points| points.records);
    let saved = |section| SavedRestarts { storage: storage.clone(), path: path.clone(), start, section, records };
    let saved = section.map(saved);
    Ok((path, saved))
}

/// Writes the parts of the index file of `shard`; returns its path.
fn write(storage: &Storage, sidecar: &Sidecar, shard: &Path, parts: &[Bytes]) -> Result<PathBuf> {
    let mut attempts = 0..MAX_ATTEMPTS;
    loop {
        let Some(path) = sidecar.target(storage, shard) else { return Err(Error::config("index files are off")) };
        let cannot = |e: std::io::Error| Error::io(format!("cannot write {}", path.display()), e);
        let refused = |e: Error| Error::new(e.kind(), format!("cannot write {}: {}", path.display(), e.reason()));
        if is_remote(&path) {
            refuse_foreign(storage, &path).map_err(refused)?;
            storage.write(&path, parts.to_vec()).map_err(refused)?;
            return Ok(path);
        }
        fs::create_dir_all(dir_of(&path)).map_err(cannot)?;
        refuse_foreign(storage, &path).map_err(refused)?;
        let draft = || {
            let overwrite = !sidecar.is_shared() || path.exists();
            check_target(&path, overwrite)?;
            let mut draft = AtomicFile::of(&path)?;
            parts.iter().try_for_each(|part| draft.file().write_all(part))?;
            Ok((draft, overwrite))
        };
        let (draft, overwrite) = draft().map_err(cannot)?;
        match draft.publish(&path, overwrite) {
            // Another shard of this name was quicker: the file is its own.
            Err(e) if e.kind() == ErrorKind::AlreadyExists && attempts.next().is_some() => {}
            published => return published.map_err(cannot).map(|()| path),
        }
    }
}

impl SavedRestarts {
    fn records_bytes(&self) -> Option<u64> {
        self.section.records.checked_mul(RECORD_BYTES as u64)
    }

    fn end(&self) -> Option<u64> {
        self.start.checked_add(self.records_bytes()?)?.checked_add(self.section.window_bytes)
    }

    /// Where the records are in the file, if it is as long as it says.
    fn records_range(&self) -> Range<u64> {
        self.start..self.start.saturating_add(self.records_bytes().unwrap_or(u64::MAX))
    }

    /// Reads the points; their windows are read on demand.
    ///
    /// # Errors
    /// If the index file cannot be read or has changed.
    pub(super) fn open(&self) -> Result<Restarts> {
        let source = self.storage.open_index(&self.path)?;
        let range = self.records_range();
        let has_changed = || Error::corrupt("the index file has changed since it was opened").in_shard(&self.path);
        if self.end() != Some(source.len()) {
            return Err(has_changed());
        }
        let records = match &self.records {
            Some(records) => records.clone(),
            None => source.read(range.clone()).map_err(|e| e.in_shard(&self.path))?,
        };
        if crc32c::crc32c(&records) != self.section.records_crc32c {
            return Err(has_changed());
        }
        Ok(Restarts::complete(Parts {
            records,
            windows: source,
            windows_start: range.end,
            frontier: self.section.frontier,
        }))
    }
}

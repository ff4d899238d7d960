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

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::ShardIndex;
use super::columns::Columns;
use super::stored::StoredIndex;
use crate::annotation::ScoreColumns;
use crate::atomic::{AtomicFile, check_target, dir_of, write_file};
use crate::source::{self, Frontier, Parts, RECORD_BYTES, Restarts, Source, open_regular};
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
    /// the same file name, the file names of their indexes also contain a hash of the shard's path.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileStamp {
    pub(super) shard_bytes: u64,
    modified_ns: u64,
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
    /// Paths at which the index file of `shard` may be, the one that is certainly its own first.
    pub(super) fn candidates(&self, shard: &Path) -> Vec<PathBuf> {
        let usual = self.path(shard);
        let own = usual.as_deref().filter(|_| self.is_shared()).map(|usual| with_hash(usual, path_hash(shard)));
        own.into_iter().filter(|own| own.exists()).chain(usual).collect()
    }

    /// Whether shards of several directories have their index files here.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self, Self::Dir(_))
    }

    /// The path to save the index file of `shard` at: the usual one, unless another shard has its index file there.
    fn target(&self, shard: &Path) -> Option<PathBuf> {
        let usual = self.path(shard)?;
        let hash = path_hash(shard);
        let owner = || Some(Header::read(&mut open_regular(&usual).ok()?).ok()?.path_hash);
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

impl FileStamp {
    pub(super) fn of(shard: &Path) -> Result<Self> {
        let failed = |e| Error::io("cannot read the file's metadata", e).in_shard(shard);
        let metadata = fs::metadata(shard).map_err(failed)?;
        let modified = metadata.modified().map_err(failed)?.duration_since(UNIX_EPOCH).unwrap_or_default();
        // 2^64 nanoseconds last until the year 2554.
        Ok(Self { shard_bytes: metadata.len(), modified_ns: modified.as_nanos() as u64 })
    }
}

/// The fixed part at the start of an index file.
struct Header {
    payload_crc32c: u32,
    payload_bytes: u64,
    stamp: FileStamp,
    path_hash: u64,
    tail_crc32c: u32,
}

impl Header {
    fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let Self { payload_crc32c, payload_bytes, stamp, path_hash, tail_crc32c } = self;
        let FileStamp { shard_bytes, modified_ns } = stamp;
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&payload_crc32c.to_le_bytes());
        for (i, word) in [payload_bytes, shard_bytes, modified_ns, path_hash].into_iter().enumerate() {
            bytes[16 + 8 * i..24 + 8 * i].copy_from_slice(&word.to_le_bytes());
        }
        bytes[48..52].copy_from_slice(&tail_crc32c.to_le_bytes());
        let crc32c = crc32c::crc32c(&bytes[..HEADER_BYTES - 4]);
        bytes[HEADER_BYTES - 4..].copy_from_slice(&crc32c.to_le_bytes());
        bytes
    }

    /// Reads the header at the start of a file; an error is a part of a sentence about the file.
    fn read(file: &mut impl Read) -> Result<Self, String> {
        let mut bytes = [0; HEADER_BYTES];
        // Files of other versions may be shorter than this header.
        let mut filled = 0;
        while let Some(count) = file.read(&mut bytes[filled..]).ok().filter(|&count| count > 0) {
            filled += count;
        }
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
        let stamp = FileStamp { shard_bytes: word(24), modified_ns: word(32) };
        let (payload_crc32c, payload_bytes, path_hash, tail_crc32c) = (half(12), word(16), word(40), half(48));
        Ok(Self { payload_crc32c, payload_bytes, stamp, path_hash, tail_crc32c })
    }
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
    pub(super) stamp: FileStamp,
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

/// Restart points in an index file that have not been read yet.
#[derive(Clone, Debug)]
pub(super) struct SavedRestarts {
    path: PathBuf,
    /// File offset of the first record.
    start: u64,
    section: RestartSection,
}

/// Reads the index file at `path`. An error is the reason why it cannot be used.
pub(super) fn read(path: &Path, wanted: ScoreColumns) -> Result<SavedIndex, String> {
    let damaged = |what: &str| format!("{} is damaged: {what}", path.display());
    let cannot = |e: std::io::Error| format!("cannot read {}: {e}", path.display());
    let mut file = match open_regular(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err("no index file yet".to_owned()),
        Err(e) => return Err(cannot(e)),
    };
    let file_bytes = file.metadata().map_err(cannot)?.len();
    let header = Header::read(&mut file).map_err(|what| format!("{} {what}", path.display()))?;
    let Header { payload_crc32c, payload_bytes, stamp, path_hash, tail_crc32c } = header;
    let start = payload_bytes.checked_add(HEADER_BYTES as u64).filter(|&end| end <= file_bytes);
    let start = start.ok_or_else(|| format!("{} is cut short", path.display()))?;
    let mut payload = Vec::new();
    Read::by_ref(&mut file).take(payload_bytes).read_to_end(&mut payload).map_err(cannot)?;
    if payload_crc32c != crc32c::crc32c(&payload) {
        return Err(damaged("its checksum does not match"));
    }
    let (index, columns, section): (StoredIndex, Columns, Option<RestartSection>) =
        postcard::from_bytes(&payload).map_err(|e| damaged(&e.to_string()))?;
    let columns_start = start;
    let start = columns.bytes().and_then(|bytes| columns_start.checked_add(bytes)).filter(|&end| end <= file_bytes);
    let start = start.ok_or_else(|| damaged("it does not have the expected length"))?;
    let mut index = index.into_index();
    index.stats = columns.read(&mut file, columns_start, wanted).map_err(|what| damaged(&what))?;
    let inflated = section.as_ref().map_or(stamp.shard_bytes, |section| section.frontier.inflated);
    if !index.is_consistent(inflated) {
        return Err(damaged("its parts do not agree with each other"));
    }
    let restarts = section.map(|section| SavedRestarts { path: path.to_owned(), start, section });
    if restarts.as_ref().map_or(Some(start), SavedRestarts::end) != Some(file_bytes) {
        return Err(damaged("it does not have the expected length"));
    }
    // The records are few and small, so damage is found here. Windows have a checksum each.
    if let Some(restarts) = &restarts {
        let mut records = Vec::new();
        file.seek(SeekFrom::Start(start)).map_err(cannot)?;
        file.take(restarts.records_bytes().unwrap_or(0)).read_to_end(&mut records).map_err(cannot)?;
        if crc32c::crc32c(&records) != restarts.section.records_crc32c {
            return Err(damaged("the checksum of its restart points does not match"));
        }
    }
    Ok(SavedIndex { stamp, path_hash, tail_crc32c, index, restarts })
}

/// Writes the present time and path of a shard to its index file, so that it need not be compared again.
pub(super) fn refresh(path: &Path, stamp: FileStamp, path_hash: u64) -> std::io::Result<()> {
    let mut file = open_regular(path)?;
    let header = Header::read(&mut file).map_err(std::io::Error::other)?;
    write_file(path, |out| {
        out.write_all(&Header { stamp, path_hash, ..header }.to_bytes())?;
        std::io::copy(&mut file, out).map(drop)
    })
}

/// Refuses to replace a file that is no index file. One that is shorter than the first word of such a file is the rest
/// of one.
fn refuse_foreign(path: &Path) -> std::io::Result<()> {
    let mut start = [0; MAGIC.len()];
    let is_foreign = open_regular(path).is_ok_and(|mut file| file.read_exact(&mut start).is_ok() && start != MAGIC);
    let text = "a file of this name is there that is no index file: move it away";
    if is_foreign { Err(std::io::Error::other(text)) } else { Ok(()) }
}

/// Writes the index file of `shard` atomically: a reader sees the old file or the whole new one. Returns its path, and
/// the saved restart points.
pub(super) fn save(
    sidecar: &Sidecar,
    shard: &Path,
    file: &dyn Source,
    stamp: FileStamp,
    index: &ShardIndex,
    restarts: Option<&Restarts>,
) -> Result<(PathBuf, Option<SavedRestarts>)> {
    let parts = restarts.map(Restarts::parts);
    let section = parts.as_ref().map(|parts| RestartSection {
        records: (parts.records.len() / RECORD_BYTES) as u64,
        records_crc32c: crc32c::crc32c(&parts.records),
        window_bytes: parts.windows_range().end - parts.windows_range().start,
        frontier: parts.frontier,
    });
    let (columns, column_bytes) = Columns::encode(&index.stats);
    let payload = postcard::to_stdvec(&(StoredIndex::of(index), columns, &section))
        .map_err(|e| Error::config(format!("cannot encode the index: {e}")).caused_by(e))?;
    let windows = parts.as_ref().map(|parts| parts.windows.read(parts.windows_range())).transpose()?;
    let header = Header {
        payload_crc32c: crc32c::crc32c(&payload),
        payload_bytes: payload.len() as u64,
        stamp,
        path_hash: path_hash(shard),
        tail_crc32c: tail_crc32c(file)?,
    };
    let write = |file: &mut File| {
        file.write_all(&header.to_bytes())?;
        file.write_all(&payload)?;
        file.write_all(&column_bytes)?;
        parts.iter().try_for_each(|parts| file.write_all(&parts.records))?;
        windows.iter().try_for_each(|windows| file.write_all(windows))
    };
    let mut attempts = 0..MAX_ATTEMPTS;
    let path = loop {
        let Some(path) = sidecar.target(shard) else { return Err(Error::config("index files are off")) };
        let cannot = |e| Error::io(format!("cannot write {}", path.display()), e);
        let draft = || {
            fs::create_dir_all(dir_of(&path))?;
            refuse_foreign(&path)?;
            let overwrite = !sidecar.is_shared() || path.exists();
            check_target(&path, overwrite)?;
            let mut draft = AtomicFile::of(&path)?;
            write(draft.file())?;
            Ok((draft, overwrite))
        };
        let (draft, overwrite) = draft().map_err(cannot)?;
        match draft.publish(&path, overwrite) {
            // Another shard of this name was quicker: the file is its own.
            Err(e) if e.kind() == ErrorKind::AlreadyExists && attempts.next().is_some() => {}
            published => {
                published.map_err(cannot)?;
                break path;
            }
        }
    };
    let start = (HEADER_BYTES + payload.len() + column_bytes.len()) as u64;
    Ok((path.clone(), section.map(|section| SavedRestarts { path, start, section })))
}

impl SavedRestarts {
    fn records_bytes(&self) -> Option<u64> {
        self.section.records.checked_mul(RECORD_BYTES as u64)
    }

    fn end(&self) -> Option<u64> {
        self.start.checked_add(self.records_bytes()?)?.checked_add(self.section.window_bytes)
    }

    /// Reads the points; their windows are read on demand.
    ///
    /// # Errors
    /// If the index file cannot be read or has changed.
    pub(super) fn open(&self) -> Result<Restarts> {
        let source = source::open(&self.path)?;
        let records_end = self.start + self.records_bytes().unwrap_or(u64::MAX - self.start);
        let records = source.read(self.start..records_end).map_err(|e| e.in_shard(&self.path))?;
        if self.end() != Some(source.len()) || crc32c::crc32c(&records) != self.section.records_crc32c {
            return Err(Error::corrupt("the index file has changed since it was opened").in_shard(&self.path));
        }
        Ok(Restarts::complete(Parts {
            records,
            windows: source,
            windows_start: records_end,
            frontier: self.section.frontier,
        }))
    }
}

//! Loading or building the index of one shard, which gives an [`IndexedShard`].
//!
//! A shard that cannot be read, or that changes meanwhile, is an error. An index file that cannot be read or written is
//! not: the index is built again, which only costs time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::index::PassObserver;
use super::indexer::Progress;
use super::sidecar::{self, SavedIndex, SavedRestarts};
use super::{IndexStatus, Indexer, ShardIndex, ShardReport, Sidecar, pool};
use crate::annotation::ScoreColumns;
use crate::source::{GzipSource, Inflater, Restarts, Sequential, Source, Stamp, Storage, is_gzip};
use crate::{Error, Result};

/// Number of samples that are compared before an index is used for a copy of its shard.
const COMPARED_SAMPLES: usize = 16;

/// A shard with its index, from [`Indexer::index`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct IndexedShard {
    /// Path of the shard.
    pub path: PathBuf,
    /// Length of the shard's file in bytes.
    pub shard_bytes: u64,
    /// Whether the index was loaded or built.
    pub status: IndexStatus,
    /// The index.
    pub index: ShardIndex,
    /// Its index file, if it has one.
    pub(super) index_file: Option<PathBuf>,
    pub(super) encoding: Encoding,
}

/// How a shard's file encodes the bytes to which its index refers.
#[derive(Clone, Debug)]
pub(super) enum Encoding {
    Plain,
    /// A gzip stream whose restart points are in the index file.
    GzipSaved(SavedRestarts),
    /// A gzip stream whose restart points are in memory only.
    GzipInMemory(Arc<Restarts>),
}

impl Encoding {
    /// The bytes to which the index refers: those of the file, or the inflated ones.
    pub(super) fn source(&self, file: Arc<dyn Source>) -> Result<Arc<dyn Source>> {
        let restarts = match self {
            Self::Plain => return Ok(file),
            Self::GzipSaved(restarts) => Arc::new(restarts.open()?),
            Self::GzipInMemory(restarts) => Arc::clone(restarts),
        };
        Ok(Arc::new(GzipSource::new(file, restarts)))
    }
}

impl IndexedShard {
    /// The report before a filter is applied: every sample counts as kept.
    pub(super) fn report(&self) -> ShardReport {
        let index = &self.index;
        ShardReport {
            path: self.path.clone(),
            shard_bytes: self.shard_bytes,
            is_gzip: self.is_gzip(),
            status: self.status.clone(),
            samples: index.entries().len(),
            derived_samples: index.derived_samples(),
            annotations: index.annotations(),
            kept_samples: index.entries().len(),
            quarantined_samples: 0,
            kept_annotations: index.annotations(),
            unverified_samples: 0,
            left_out: index.left_out(),
            findings: index.findings().to_vec(),
        }
    }

    /// The shard without the samples that no checksum vouches for.
    pub(super) fn verified(self) -> Result<Self> {
        let index = self.index.filtered(|at| self.index.is_verified(&self.index.entries()[at]))?;
        Ok(Self { index, ..self })
    }

    /// Whether the shard is a gzip stream. If so, offsets in its index count inflated bytes.
    pub fn is_gzip(&self) -> bool {
        !matches!(self.encoding, Encoding::Plain)
    }

    /// Returns a source of the bytes to which the index refers, given the shard's file: `file` itself, or the inflated
    /// bytes of a gzip stream.
    ///
    /// # Errors
    /// If the restart points cannot be read from the index file.
    pub fn source(&self, file: Arc<dyn Source>) -> Result<Arc<dyn Source>> {
        self.encoding.source(file)
    }
}

/// A shard that has no index yet.
#[derive(Clone)]
pub(crate) struct Unindexed {
    pub(crate) path: PathBuf,
    stamp: Stamp,
    storage: Storage,
    sidecar: Sidecar,
    /// Why it has none.
    pub(super) reason: String,
    /// The index file of the shard as it was before a change.
    earlier: Option<PathBuf>,
}

impl Indexer {
    /// Loads the index of a shard, or builds and saves it. A damaged shard is no error: its index lists the findings.
    ///
    /// # Errors
    /// If the shard cannot be read, or changes while it is read.
    pub fn index(&self, path: impl AsRef<Path>) -> Result<IndexedShard> {
        let path = &self.storage.name(path.as_ref())?;
        let mut found = self.load(path, ScoreColumns::ALL)?;
        if self.rebuild && found.is_ok() {
            found = Err(self.unindexed(path, self.storage.stamp(path)?, "rebuilt on request".to_owned(), None));
        }
        self.build_missing(path, found)
    }

    /// The same, but reads only these columns of an index that exists already.
    pub(super) fn index_columns(&self, path: &Path, columns: ScoreColumns) -> Result<IndexedShard> {
        let found = self.load(path, columns)?;
        self.build_missing(path, found)
    }

    fn build_missing(&self, path: &Path, found: Result<IndexedShard, Unindexed>) -> Result<IndexedShard> {
        pool::start()?;
        match found {
            Ok(shard) => {
                (self.progress)(shard.shard_bytes);
                Ok(shard)
            }
            Err(unindexed) => {
                let file = self.open(path).map_err(|e| e.in_shard(path))?;
                let built = build(file.as_ref(), path, &*self.progress)?;
                unindexed.finish(&file, built, &|| ())
            }
        }
    }

    /// The index that a shard has already, or that it has none.
    pub(super) fn load(&self, path: &Path, columns: ScoreColumns) -> Result<Result<IndexedShard, Unindexed>> {
        self.sidecar.check()?;
        let stamp = self.storage.stamp(path)?;
        let path_hash = self.sidecar.is_shared().then(|| sidecar::path_hash(path));
        let (mut reason, mut earlier) = (None, None);
        for file in self.sidecar.candidates(path) {
            let refused = match sidecar::read(&self.storage, &file, columns) {
                Ok(saved) => match self.check(path, stamp, path_hash, &saved) {
                    Ok(is_current) => {
                        if !is_current {
                            // It only saves the comparison next time.
                            let _ = sidecar::refresh(&self.storage, &file, stamp, path_hash.unwrap_or(saved.path_hash));
                        }
                        return Ok(Ok(IndexedShard {
                            path: path.to_owned(),
                            shard_bytes: stamp.len,
                            status: IndexStatus::Loaded,
                            index: saved.index,
                            index_file: Some(file),
                            encoding: saved.restarts.map_or(Encoding::Plain, Encoding::GzipSaved),
                        }));
                    }
                    Err(changed) => {
                        earlier.get_or_insert(file);
                        changed
                    }
                },
                Err(refused) => refused,
            };
            reason.get_or_insert(refused);
        }
        let reason = reason.unwrap_or_else(|| "index files are off".to_owned());
        Ok(Err(self.unindexed(path, stamp, reason, earlier)))
    }

    fn unindexed(&self, path: &Path, stamp: Stamp, reason: String, earlier: Option<PathBuf>) -> Unindexed {
        let (storage, sidecar) = (self.storage.clone(), self.sidecar.clone());
        Unindexed { path: path.to_owned(), stamp, storage, sidecar, reason, earlier }
    }

    /// Whether an index file is of this shard: `Ok(true)` if size, time and path say so, `Ok(false)` if the bytes of
    /// some samples do. A copy of a shard has another time or path.
    ///
    /// # Errors
    /// Why it is not.
    fn check(
        &self,
        path: &Path,
        stamp: Stamp,
        path_hash: Option<u64>,
        saved: &SavedIndex,
    ) -> std::result::Result<bool, String> {
        let is_same_path = path_hash.is_none_or(|hash| hash == saved.path_hash);
        if is_same_path && saved.stamp == stamp {
            return Ok(true);
        }
        let (then, now) = (saved.stamp.len, stamp.len);
        if self.is_exact {
            return Err("its time is not that in its index file".to_owned());
        }
        if then != now {
            return Err(match is_same_path {
                true => format!("the shard has changed (size {then} then, {now} now)"),
                false => "the index file of that name is of another shard".to_owned(),
            });
        }
        // What was damaged or incomplete may have been mended.
        let is_damaged = saved.index.findings().iter().any(|finding| finding.kind.is_damage());
        if is_damaged || saved.index.left_out().total() > 0 {
            return Err("the shard has changed (its time), and something was wrong with it before".to_owned());
        }
        let encoding = saved.restarts.clone().map_or(Encoding::Plain, Encoding::GzipSaved);
        let is_same = catch_panic(path, || {
            let file = self.open(path)?;
            if sidecar::tail_crc32c(file.as_ref())? != saved.tail_crc32c {
                return Err(Error::corrupt("its last bytes are others"));
            }
            is_index_of(&saved.index, encoding.source(file)?.as_ref())
        });
        match is_same {
            Ok(()) => Ok(false),
            Err(e) if e.is_io() => Err(format!("the shard cannot be compared with its index file: {e}")),
            Err(_) if is_same_path => Err("the shard has changed (its time and its bytes, not its size)".to_owned()),
            Err(_) => Err("the index file of that name is of another shard".to_owned()),
        }
    }
}

/// Compares samples at a few places, from the first to the last one, with the shard.
///
/// # Errors
/// If one differs or cannot be read, or if there is none.
fn is_index_of(index: &ShardIndex, shard: &dyn Source) -> Result<()> {
    let entries = index.entries();
    let last = entries.len().checked_sub(1).ok_or_else(|| Error::corrupt("the index has no sample"))?;
    let places = COMPARED_SAMPLES.min(entries.len());
    let mut inflater = Inflater::default();
    for place in 0..places {
        entries[last * place / (places - 1).max(1)].verify(shard, &mut inflater)?;
    }
    Ok(())
}

impl Unindexed {
    pub(super) fn shard_bytes(&self) -> u64 {
        self.stamp.len
    }

    /// Saves an index that was built from `file`. If the shard is broken, first tries to recover samples with the help
    /// of an earlier index. Calls `saving` before it saves.
    pub(super) fn finish(self, file: &Arc<dyn Source>, built: BuiltIndex, saving: &dyn Fn()) -> Result<IndexedShard> {
        let Self { path, stamp, storage, sidecar, reason, earlier } = self;
        let earlier = earlier.filter(|_| built.index.is_broken());
        let earlier = earlier.map(|file| sidecar::read(&storage, &file, ScoreColumns::ALL));
        let BuiltIndex { index, restarts } = match earlier {
            Some(Ok(earlier)) => catch_panic(&path, || built.salvage(&earlier, file))?,
            // There is no earlier index, or it is gone.
            Some(Err(_)) | None => built,
        };
        saving();
        // The index may mix the old and the new bytes of a shard that changed meanwhile.
        if storage.stamp(&path)? != stamp || file.len() != stamp.len {
            return Err(Error::corrupt("the shard changed while it was indexed").in_shard(&path));
        }
        let saved = match (&sidecar, index.entries().is_empty()) {
            (Sidecar::Off, _) => Err(reason.clone()),
            // The file may be no shard at all, and an index of nothing is built at once.
            (_, true) => Err("it has no samples, so no index is saved".to_owned()),
            _ => sidecar::save(&storage, &sidecar, &path, file.as_ref(), stamp, &index, restarts.as_deref())
                .map_err(|e| e.to_string()),
        };
        let in_memory = restarts.map_or(Encoding::Plain, Encoding::GzipInMemory);
        let (status, encoding, index_file) = match saved {
            Ok((file, restarts)) => {
                (IndexStatus::Built(reason), restarts.map_or(Encoding::Plain, Encoding::GzipSaved), Some(file))
            }
            Err(why) => (IndexStatus::Unsaved(why), in_memory, None),
        };
        Ok(IndexedShard { path, shard_bytes: stamp.len, status, index, index_file, encoding })
    }
}

/// An index that has just been built, and the restart points of a gzip stream.
pub(super) struct BuiltIndex {
    pub(super) index: ShardIndex,
    pub(super) restarts: Option<Arc<Restarts>>,
}

impl BuiltIndex {
    /// Adds the samples of an earlier index that can still be read. Its restart points lead past the break.
    fn salvage(mut self, earlier: &SavedIndex, file: &Arc<dyn Source>) -> Result<Self> {
        match (&self.restarts, &earlier.restarts) {
            (None, None) => {
                self.index.salvage(&earlier.index, file.as_ref())?;
            }
            (Some(_), Some(restarts)) => {
                // An index file that can no longer be read is ignored.
                let Ok(restarts) = restarts.open().map(Arc::new) else { return Ok(self) };
                let source = GzipSource::new(Arc::clone(file), Arc::clone(&restarts));
                // Points that led to valid samples belong to this file; those of a repacked shard do not.
                if self.index.salvage(&earlier.index, &source)?.is_some_and(|added| added > 0) {
                    self.restarts = Some(restarts);
                }
            }
            // The earlier file was plain and this one is gzip, or the reverse.
            _ => {}
        }
        Ok(self)
    }
}

/// Builds the index of a shard, which need not be a file.
pub(super) fn build(file: &dyn Source, path: &Path, progress: &(dyn Fn(u64) + Send + Sync)) -> Result<BuiltIndex> {
    if let Some(blocks) = Sequential::over(file) {
        return pass_over(&blocks, path, progress, &mut ());
    }
    catch_panic(path, || match is_gzip(file)? {
        true => gzip(file, progress, &mut ()),
        false => Ok(BuiltIndex { index: ShardIndex::build_plain(file, progress)?, restarts: None }),
    })
}

/// The same from front to back; emits each sample as soon as it is complete.
pub(super) fn pass(
    file: &dyn Source,
    path: &Path,
    progress: &Progress,
    observer: &mut dyn PassObserver,
) -> Result<BuiltIndex> {
    match Sequential::over(file) {
        Some(blocks) => pass_over(&blocks, path, progress, observer),
        None => pass_over(file, path, progress, observer),
    }
}

fn pass_over(
    file: &dyn Source,
    path: &Path,
    progress: &(dyn Fn(u64) + Send + Sync),
    observer: &mut dyn PassObserver,
) -> Result<BuiltIndex> {
    catch_panic(path, || match is_gzip(file)? {
        true => gzip(file, progress, observer),
        false => Ok(BuiltIndex { index: ShardIndex::pass(file, progress, observer)?, restarts: None }),
    })
}

fn gzip(file: &dyn Source, progress: &dyn Fn(u64), observer: &mut dyn PassObserver) -> Result<BuiltIndex> {
    let (index, restarts) = ShardIndex::pass_gzip(file, progress, observer)?;
    Ok(BuiltIndex { index, restarts: Some(restarts) })
}

/// Turns a panic in `work` into an error of this shard: sources, openers and callbacks are user code.
pub(crate) fn catch_panic<T>(path: &Path, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let done = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| Err(Error::panic(&*payload)));
    done.map_err(|e| e.in_shard(path))
}

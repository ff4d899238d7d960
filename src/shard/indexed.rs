//! A shard's index, from its sidecar or anew. Comes in: a path and options. Goes out: an [`IndexedShard`]. Fails if the
//! shard cannot be read or changes meanwhile; a sidecar that cannot be read or written only costs time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::index::PassObserver;
use super::indexer::Progress;
use super::sidecar::{self, FileStamp, Rejected, Saved, SavedRestarts};
use super::{IndexStatus, Indexer, ShardIndex, ShardReport};
use crate::annotation::ScoreColumns;
use crate::source::{GzipSource, Restarts, Source, is_gzip};
use crate::{Error, Result};

/// One shard with its index.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct IndexedShard {
    /// Path or name.
    pub path: PathBuf,
    /// Length of the shard's file in bytes.
    pub shard_bytes: u64,
    /// How the index came to be.
    pub status: IndexStatus,
    /// The index.
    pub index: ShardIndex,
    /// How to get at the bytes that the index speaks of.
    pub(super) form: Encoding,
}

/// What kind of file a shard is.
#[derive(Clone, Debug)]
pub(super) enum Encoding {
    Plain,
    /// A gzip stream, whose restart points are in its sidecar.
    Saved(SavedRestarts),
    /// A gzip stream, whose restart points are in memory only.
    Held(Arc<Restarts>),
}

impl Encoding {
    /// The bytes that the index speaks of: those of the file, or the inflated ones.
    pub(super) fn source(&self, file: Arc<dyn Source>) -> Result<Arc<dyn Source>> {
        let restarts = match self {
            Self::Plain => return Ok(file),
            Self::Saved(restarts) => Arc::new(restarts.open()?),
            Self::Held(restarts) => Arc::clone(restarts),
        };
        Ok(Arc::new(GzipSource::new(file, restarts)))
    }
}

impl IndexedShard {
    /// What is known before a filter is applied: every sample counts as kept.
    pub(super) fn report(&self) -> ShardReport {
        let index = &self.index;
        ShardReport {
            path: self.path.clone(),
            shard_bytes: self.shard_bytes,
            is_gzip: self.is_gzip(),
            status: self.status.clone(),
            samples: index.entries().len(),
            annotations: index.annotations(),
            kept_samples: index.entries().len(),
            quarantined_samples: 0,
            kept_annotations: index.annotations(),
            missing_samples: index.missing(),
            findings: index.findings().to_vec(),
        }
    }

    /// Whether the shard is a gzip stream: offsets in its index are then offsets in the inflated stream.
    pub fn is_gzip(&self) -> bool {
        !matches!(self.form, Encoding::Plain)
    }

    /// The bytes that the index speaks of, given the shard's file.
    ///
    /// # Errors
    /// If restart points cannot be read.
    pub fn source(&self, file: Arc<dyn Source>) -> Result<Arc<dyn Source>> {
        self.form.source(file)
    }
}

/// A shard that has no index yet.
#[derive(Clone)]
pub(crate) struct Unindexed {
    pub(crate) path: PathBuf,
    stamp: FileStamp,
    sidecar: Option<PathBuf>,
    /// Why not.
    pub(super) reason: String,
    /// Whether the sidecar is one of the shard before it changed.
    has_earlier: bool,
}

impl Indexer {
    /// Loads or builds the index of one shard, damaged or not, and saves it.
    ///
    /// # Errors
    /// If the shard cannot be read, or changes while it is read.
    pub fn index(&self, path: impl AsRef<Path>) -> Result<IndexedShard> {
        self.index_columns(path.as_ref(), ScoreColumns::ALL)
    }

    /// The same; of an index that is there already, only these numbers of each score are read.
    pub(super) fn index_columns(&self, path: &Path, columns: ScoreColumns) -> Result<IndexedShard> {
        match self.load(path, columns)? {
            Ok(shard) => {
                (self.progress)(shard.shard_bytes);
                Ok(shard)
            }
            Err(unindexed) => {
                let file = (self.opener)(path).map_err(|e| e.in_shard(path))?;
                let built = build(file.as_ref(), path, &*self.progress)?;
                unindexed.finish(&file, built, &|| ())
            }
        }
    }

    /// The index that a shard has already, or that it has none.
    pub(super) fn load(&self, path: &Path, columns: ScoreColumns) -> Result<Result<IndexedShard, Unindexed>> {
        let stamp = FileStamp::of(path)?;
        let sidecar = self.sidecar.path(path);
        let Rejected { reason, is_earlier } = match sidecar.as_deref().map(|file| sidecar::load(file, stamp, columns)) {
            Some(Ok(saved)) => {
                return Ok(Ok(IndexedShard {
                    path: path.to_owned(),
                    shard_bytes: stamp.shard_bytes,
                    status: IndexStatus::Loaded,
                    index: saved.index,
                    form: saved.restarts.map_or(Encoding::Plain, Encoding::Saved),
                }));
            }
            Some(Err(unfit)) => unfit,
            None => "sidecars are off".to_owned().into(),
        };
        Ok(Err(Unindexed { path: path.to_owned(), stamp, sidecar, reason, has_earlier: is_earlier }))
    }
}

impl Unindexed {
    pub(super) fn shard_bytes(&self) -> u64 {
        self.stamp.shard_bytes
    }

    /// Saves an index that was built from `file`. Where that breaks off, what an earlier index knows of the rest is
    /// tried, before `saving` is called.
    pub(super) fn finish(self, file: &Arc<dyn Source>, built: Built, saving: &dyn Fn()) -> Result<IndexedShard> {
        let Self { path, stamp, sidecar, reason, has_earlier } = self;
        let earlier = sidecar.as_deref().filter(|_| has_earlier && built.index.is_broken());
        let earlier = earlier.map(|file| sidecar::read(file, ScoreColumns::ALL));
        let Built { index, restarts } = match earlier {
            Some(Ok((_, earlier))) => catch_panic(&path, || built.salvage(&earlier, file))?,
            // There is none, or none any more.
            Some(Err(_)) | None => built,
        };
        saving();
        // A shard that changed while it was read must not get a sidecar that says otherwise.
        if FileStamp::of(&path)? != stamp || file.len() != stamp.shard_bytes {
            return Err(Error::corrupt("the shard changed while it was indexed").in_shard(&path));
        }
        let saved = sidecar.map(|sidecar| sidecar::save(&sidecar, stamp, &index, restarts.as_deref()));
        let (status, form) = match saved {
            Some(Ok(saved)) => (IndexStatus::Built(reason), saved.map_or(Encoding::Plain, Encoding::Saved)),
            Some(Err(e)) => (IndexStatus::Unsaved(e.to_string()), restarts.map_or(Encoding::Plain, Encoding::Held)),
            None => (IndexStatus::Unsaved(reason), restarts.map_or(Encoding::Plain, Encoding::Held)),
        };
        Ok(IndexedShard { path, shard_bytes: stamp.shard_bytes, status, index, form })
    }
}

/// An index that was just built, and the restart points of a gzip stream.
pub(super) struct Built {
    pub(super) index: ShardIndex,
    pub(super) restarts: Option<Arc<Restarts>>,
}

impl Built {
    /// Adds what can still be read of an earlier index. Its restart points lead on behind the break.
    fn salvage(mut self, earlier: &Saved, file: &Arc<dyn Source>) -> Result<Self> {
        match (&self.restarts, &earlier.restarts) {
            (None, None) => {
                self.index.salvage(&earlier.index, file.as_ref())?;
            }
            (Some(_), Some(restarts)) => {
                // A sidecar that cannot be read any more is none.
                let Ok(restarts) = restarts.open().map(Arc::new) else { return Ok(self) };
                let source = GzipSource::new(Arc::clone(file), Arc::clone(&restarts));
                // Points that led to sound samples fit the file; those of the same shard packed anew do not.
                if self.index.salvage(&earlier.index, &source)?.is_some_and(|added| added > 0) {
                    self.restarts = Some(restarts);
                }
            }
            // It was another kind of file.
            _ => {}
        }
        Ok(self)
    }
}

/// Builds the index of a shard that is a file or not.
pub(super) fn build(file: &dyn Source, path: &Path, progress: &Progress) -> Result<Built> {
    catch_panic(path, || match is_gzip(file)? {
        true => gzip(file, progress, &mut ()),
        false => Ok(Built { index: ShardIndex::build_plain(file, progress)?, restarts: None }),
    })
}

/// The same from front to back, naming each sample as soon as it is complete.
pub(super) fn pass(
    file: &dyn Source,
    path: &Path,
    progress: &Progress,
    follow: &mut dyn PassObserver,
) -> Result<Built> {
    catch_panic(path, || match is_gzip(file)? {
        true => gzip(file, progress, follow),
        false => Ok(Built { index: ShardIndex::pass(file, progress, follow)?, restarts: None }),
    })
}

fn gzip(file: &dyn Source, progress: &Progress, follow: &mut dyn PassObserver) -> Result<Built> {
    let (index, restarts) = ShardIndex::pass_gzip(file, progress, follow)?;
    Ok(Built { index, restarts: Some(restarts) })
}

/// A source is foreign code: its panic is this shard's error.
pub(crate) fn catch_panic<T>(path: &Path, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let done = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| Err(Error::panic(&*payload)));
    done.map_err(|e| e.in_shard(path))
}

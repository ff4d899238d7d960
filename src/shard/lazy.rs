//! A set of shards, some of which may have no index yet: what [`ShardSetBuilder::open_lazy`] returns.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use super::indexed::{self, Unindexed};
use super::set::Shard;
use super::{PassObserver, ShardSet, ShardSetBuilder, pool};
use crate::source::Source;
use crate::{Error, Result};

/// Shards that may have no index yet, to train on without waiting.
/// [`LoaderBuilder::build`](crate::LoaderBuilder::build) accepts it in place of a [`ShardSet`].
///
/// If a shard has no index, the first epoch is not shuffled: samples come in the order of the shards, each as soon as
/// both its members have been read. The index of a shard is saved when its end has been reached. After such an epoch
/// has run to its end, all shards have an index, and the next epoch is shuffled. For a full shuffle from the first
/// batch, run `maskstream index` first, or use [`ShardSetBuilder::open`].
///
/// ```no_run
/// use maskstream::{Loader, ShardSet};
///
/// let shards = ShardSet::builder().open_lazy(&["sa1b/*.tar"])?;
/// println!("{} of {} shards have no index yet", shards.unindexed(), shards.shards());
/// let loader = Loader::builder().shuffle(42).build(shards)?;
/// # Ok::<(), maskstream::Error>(())
/// ```
#[derive(Debug)]
pub struct LazyShardSet(pub(crate) Opened);

/// What was found when the shards were opened.
#[derive(Debug)]
pub(crate) enum Opened {
    /// Every shard has an index.
    Indexed(Arc<ShardSet>),
    /// Some shards have no index.
    Partly(PartlyIndexed),
}

/// Shards, some of which have no index.
pub(crate) struct PartlyIndexed {
    pub(crate) options: ShardSetBuilder,
    pub(crate) paths: Vec<PathBuf>,
    /// In the order of the paths.
    pub(crate) shards: Vec<Result<Shard, Unindexed>>,
}

impl LazyShardSet {
    /// Loads the indexes that exist and builds none.
    pub(super) fn open(options: ShardSetBuilder, paths: Vec<PathBuf>) -> Result<Self> {
        pool::start()?;
        let load = |path: &PathBuf| options.load_shard(path);
        let shards = paths.par_iter().map(load).collect::<Result<Vec<_>>>()?;
        if shards.iter().any(Result::is_err) {
            return Ok(Self(Opened::Partly(PartlyIndexed { options, paths, shards })));
        }
        Ok(ShardSet::assemble(options, shards.into_iter().flatten().collect())?.into())
    }

    /// Number of shards.
    pub fn shards(&self) -> usize {
        match &self.0 {
            Opened::Indexed(set) => set.reports().len(),
            Opened::Partly(partly) => partly.shards.len(),
        }
    }

    /// Number of shards without an index.
    pub fn unindexed(&self) -> usize {
        match &self.0 {
            Opened::Indexed(_) => 0,
            Opened::Partly(partly) => partly.shards.iter().filter(|shard| shard.is_err()).count(),
        }
    }
}

impl From<ShardSet> for LazyShardSet {
    fn from(set: ShardSet) -> Self {
        Arc::new(set).into()
    }
}

impl From<Arc<ShardSet>> for LazyShardSet {
    fn from(set: Arc<ShardSet>) -> Self {
        Self(Opened::Indexed(set))
    }
}

impl ShardSetBuilder {
    /// Opens shards without building missing indexes: the first epoch does that. See [`LazyShardSet`].
    ///
    /// # Errors
    /// As [`ShardSetBuilder::open`], but shards without an index are not read yet, so their errors come from the epoch.
    pub fn open_lazy<P: AsRef<Path>>(self, patterns: &[P]) -> Result<LazyShardSet> {
        self.check()?;
        let paths = super::paths::resolve(&self.indexer.storage, patterns)?;
        LazyShardSet::open(self, paths)
    }

    /// The shard at `path` with the samples that this builder keeps, or `Unindexed` if it has no index.
    ///
    /// # Errors
    /// If the file cannot be examined, or the shard is more damaged than the policy allows.
    fn load_shard(&self, path: &Path) -> Result<Result<Shard, Unindexed>> {
        let shard = self.load_lenient(path)?;
        if let Ok(shard) = &shard {
            (self.indexer.progress)(shard.report().shard_bytes);
            self.damage_policy().check([shard.report()])?;
        }
        Ok(shard)
    }

    /// The same, however damaged the shard is.
    pub(crate) fn load_lenient(&self, path: &Path) -> Result<Result<Shard, Unindexed>> {
        let found = self.indexer.load(path, self.selector.columns())?;
        Ok(found.map(|indexed| Shard::filtered(indexed, self)))
    }

    /// Opens a shard's file with the opener.
    pub(crate) fn open_file(&self, path: &Path) -> Result<Arc<dyn Source>> {
        self.indexer.open(path)
    }

    /// Indexes a shard in one pass, reports each sample to `observer`, and saves the index. Calls `salvaging` before it
    /// tries to recover samples behind a break from an earlier index, and `saving` before it saves.
    pub(crate) fn pass(
        &self,
        unindexed: Unindexed,
        file: &Arc<dyn Source>,
        observer: &mut dyn PassObserver,
        salvaging: &dyn Fn(),
        saving: &dyn Fn(),
    ) -> Result<Shard> {
        let built = indexed::pass(file.as_ref(), &unindexed.path, &*self.indexer.progress, observer)?;
        salvaging();
        let indexed = unindexed.finish(file, built, saving)?;
        Ok(Shard::filtered(indexed, self))
    }
}

impl std::fmt::Debug for PartlyIndexed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PartlyIndexed").field("shards", &self.paths.len()).finish_non_exhaustive()
    }
}

/// The error of code that needs every shard to have an index.
pub(crate) fn no_index(unindexed: usize, shards: usize, why: &str) -> Error {
    Error::config(format!(
        "{unindexed} of {shards} shards have no index, {why}: build the indexes first, with `maskstream index` or \
         ShardSet::builder().open(..)"
    ))
}

//! Training before the index is there. Comes in: shards, indexed or not. Goes out: epochs; the first one while the
//! shards are indexed. Fails as indexing and loading do.

use std::sync::{Arc, OnceLock};

use super::options::Inner;
use super::{Epoch, Loader, LoaderStats, MemoryPlan};
use crate::batch::BatchLayout;
use crate::order::Cursor;
use crate::shard::{LiveSet, ShardReport, ShardSet};
use crate::{Error, Result};

/// A loader that does not wait for its shards to be indexed.
///
/// While a shard has no index, an epoch comes in the order of the shards, whatever shuffle was asked for: each sample
/// as soon as a pass over its shard has come by both its halves. At the end of a shard its index is saved. Once such an
/// epoch has run to its end, all shards have one, and epochs are those of a [`Loader`], shuffled if so asked. Without a
/// shuffle both are the same, batch by batch. Cheap to clone.
///
/// Who wants the full shuffle from the first batch runs `maskstream index` before.
///
/// ```no_run
/// use maskstream::{Loader, ShardSet};
///
/// let loader = Loader::builder().batch_size(16).shuffle(42).stream(ShardSet::builder(), &["sa1b/*.tar"])?;
/// if let Some(notice) = loader.notice() {
///     eprintln!("{notice}");
/// }
/// for epoch in 0..3 {
///     for batch in loader.epoch(epoch)? {
///         let batch = batch?;
///         // ...
///     }
/// }
/// # Ok::<(), maskstream::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct StreamLoader {
    inner: Arc<Inner>,
    growing: Arc<LiveSet>,
    ready: Arc<OnceLock<Result<Loader>>>,
}

impl StreamLoader {
    pub(super) fn new(inner: Arc<Inner>, growing: LiveSet) -> Self {
        Self { inner, growing: Arc::new(growing), ready: Arc::default() }
    }

    /// Of shards that all have an index.
    pub(super) fn indexed(loader: Loader, growing: LiveSet) -> Self {
        let inner = Arc::clone(loader.inner());
        Self { inner, growing: Arc::new(growing), ready: Arc::new(OnceLock::from(Ok(loader))) }
    }

    /// Starts the threads of epoch number `epoch` and returns its batches.
    ///
    /// Dropped before its end, an epoch over shards without an index leaves those it has not come to without one, and
    /// the next epoch begins at the first shard again, unshuffled like the first.
    ///
    /// # Errors
    /// If threads cannot be started, or an epoch is under way while the shards are indexed.
    pub fn epoch(&self, epoch: u64) -> Result<Epoch> {
        if let Some(loader) = self.loader()? {
            return loader.epoch(epoch);
        }
        // A pass yields samples several times as fast as a worker decodes them.
        let passes = self.inner.num_workers.div_ceil(4).min(self.growing.unindexed());
        match (Epoch::start_growing(&self.inner, epoch, &self.growing, passes), self.loader()?) {
            // Another clone has come to the end of the shards meanwhile.
            (Err(_), Some(loader)) => loader.epoch(epoch),
            (started, _) => started,
        }
    }

    /// The loader of the indexed shards; `None` until an epoch has run to its end, if a shard had no index at first.
    ///
    /// # Errors
    /// If no sample passes the filter, or none fill a batch.
    pub fn loader(&self) -> Result<Option<&Loader>> {
        if self.ready.get().is_none() && !self.growing.is_known() {
            return Ok(None);
        }
        let make = || -> Result<Loader> {
            let set: ShardSet = self.growing.finish()?;
            Loader::new(Arc::clone(&self.inner), Arc::new(set))
        };
        self.ready.get_or_init(make).as_ref().map(Some).map_err(Error::repeat)
    }

    /// Number of batches of each epoch; `None` as long as [`StreamLoader::loader`] is.
    pub fn steps(&self) -> Option<u64> {
        self.loader().ok().flatten().map(Loader::steps)
    }

    /// Where training stands, as [`Loader::cursor`]; `None` as long as [`StreamLoader::loader`] is: there is no order yet
    /// to stand in.
    pub fn cursor(&self) -> Option<Cursor> {
        self.loader().ok().flatten().map(Loader::cursor)
    }

    /// The rest of the epoch that a cursor stands in, as [`Loader::resume_from`].
    ///
    /// # Errors
    /// As there, and if a shard has no index.
    pub fn resume_from(&self, cursor: &Cursor) -> Result<Epoch> {
        match self.loader()? {
            Some(loader) => loader.resume_from(cursor),
            None => Err(Error::config(format!(
                "{} of {} shards have no index, so there is no order to go on with: make indexes first, with `maskstream index`",
                self.growing.unindexed(),
                self.growing.len()
            ))),
        }
    }

    /// What is known of each shard that has an index by now: also whether it could be saved, and what is wrong.
    pub fn reports(&self) -> Vec<ShardReport> {
        match self.ready.get() {
            Some(Ok(loader)) => loader.shards().reports().cloned().collect(),
            _ => self.growing.reports(),
        }
    }

    /// What a user should know who asked for a shuffle and does not get one yet.
    pub fn notice(&self) -> Option<String> {
        let unindexed = match self.ready.get() {
            Some(_) => 0,
            None => self.growing.unindexed(),
        };
        (unindexed > 0).then(|| {
            let order = if self.inner.order.shuffle.is_some() { ", not shuffled," } else { "" };
            format!(
                "{unindexed} of {} shards have no index yet: this epoch comes in the order of the shards{order} while they are indexed; `maskstream index` makes indexes beforehand",
                self.growing.len()
            )
        })
    }

    /// Figures of all its epochs together, also while one runs.
    pub fn stats(&self) -> LoaderStats {
        self.inner.counters.stats()
    }

    /// What its memory goes to; if a shard had no index at first, as if the largest sample were no larger than most, and
    /// without the index: nobody knows.
    pub fn memory_plan(&self) -> &MemoryPlan {
        &self.inner.memory_plan
    }

    /// What its batches hold.
    pub fn layout(&self) -> &BatchLayout {
        self.inner.stock.layout()
    }
}

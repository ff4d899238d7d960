//! The loader: threads that turn planned samples into batches.
//!
//! # Threads
//!
//! * The *feed* thread walks the plan. For each batch it acquires buffers from the pool, advises the sources which
//!   bytes the next batch will need, fetches the bytes of each sample, and sends the samples one by one to the workers
//!   through a bounded channel. It is the only thread that waits for the disk.
//! * The *workers* inflate and decode one sample each, so that all of them work on the same batch. The worker that
//!   finishes the last sample of a batch sends the batch to the consumer.
//! * *Pass* threads exist only while shards have no index. Each indexes one shard at a time (`live`).
//! * The *consumer*, the thread that calls `next`, receives batches and restores their planned order.
//!
//! # Contract
//!
//! * Success: the number of batches is determined by the plan, and the iterator ends after exactly that many. While
//!   shards are being indexed, the number is known once the last one is indexed; threads that end before that are an
//!   error.
//! * Failure: a sample that cannot be read or decoded, or whose decoding panics, is an error of its batch. The
//!   [`OnError`] policy is applied when it is that batch's turn, after the batches before it have been delivered. The
//!   iterator ends after an error.
//! * Bounds: at most `prefetch_batches` are under way, and the work channel bounds the samples read ahead.
//! * Stalls: while the consumer waits, a thread that stays at one sample, or a pass at one member, for longer than
//!   `stall_timeout` ends the epoch with an error that names the sample or shard. The thread is left running; it owns
//!   everything it accesses.
//! * Shutdown: dropping the epoch closes the pool and stops the passes, which wakes the feed; the feed's end closes the
//!   work channel, which ends the workers; then all are joined. Queued work is dropped, not decoded. A thread that is
//!   decoding or reading a sample finishes it first, and so does a pass that salvages the samples after a corrupt part.
//! * Determinism: the same settings give the same bytes for any number of workers, any prefetch depth and any timing.
//!   Whether shards have an index is one of the settings: epochs are shuffled once all have one.

mod activity;
mod ahead;
mod builder;
mod cache;
mod engine;
mod epoch;
mod failures;
mod feed;
mod live;
mod memory;
mod metrics;
mod occupancy;
mod planned;
mod reader;
mod shared;
mod stats;
mod steps;
mod trace;
mod verdict;
mod worker;

use std::sync::{Arc, OnceLock};

pub use builder::LoaderBuilder;
pub use epoch::Epoch;
pub use failures::{Budget, EpochReport, OnError};
pub use memory::MemoryPlan;
pub use occupancy::Occupancy;
pub use stats::{LoaderStats, StageBytes, StageStats};
pub use verdict::{Bottleneck, Verdict};

use self::engine::Engine;
use self::epoch::EpochSpec;
use self::live::{ASSUMED_SIZE, LiveCounts, LiveSet, LiveSteps};
use self::planned::Planned;
use self::shared::{Found, Shared};
use self::steps::Steps;
use crate::batch::{Batch, BatchLayout};
use crate::order::{Cursor, Plan};
use crate::shard::{LazyShardSet, Opened, ShardReport, ShardSet, no_index};
use crate::{Error, Result};

/// Makes epochs of batches from a set of shards. Cheap to clone.
///
/// ```no_run
/// use maskstream::{Loader, ShardSet};
///
/// let shards = ShardSet::builder().open(&["sa1b/*.tar"])?;
/// let loader = Loader::builder().batch_size(16).image_size(512).shuffle(42).build(shards)?;
/// for epoch in 0..3 {
///     for batch in loader.epoch(epoch)? {
///         let batch = batch?;
///         // [B, 3, S, S] u8, and [B, K, 256, 256] u8
///         let (images, masks) = (batch.images(), batch.masks());
///     }
/// }
/// # Ok::<(), maskstream::Error>(())
/// ```
///
/// Over a [`LazyShardSet`] the first epoch starts at once and builds the missing indexes. Until it has run to its end
/// there is no plan: [`Loader::steps`] and all cursors are `None`, and epochs are not shuffled.
#[derive(Clone, Debug)]
pub struct Loader {
    shared: Arc<Shared>,
    /// Empty until every shard has an index.
    planned: Arc<OnceLock<Result<Planned>>>,
    /// The shards, if some had no index when the loader was built.
    live: Option<Arc<LiveSet>>,
}

impl LoaderBuilder {
    /// Checks the settings and builds a loader over a [`ShardSet`], an `Arc` of one (for several loaders over the same
    /// shards), or a [`LazyShardSet`]. Starts no thread.
    ///
    /// # Errors
    /// If a size is 0 or too large, a setting has no effect with the others, the rank is not below the world size, the
    /// memory budget is too small, `drop_last` leaves no batch, or the quarantine log cannot be written. If a shard has
    /// no index although several ranks share the epoch: equal steps on all ranks can only be computed from indexes.
    pub fn build(self, shards: impl Into<LazyShardSet>) -> Result<Loader> {
        match shards.into().0 {
            Opened::Indexed(set) => {
                let shared = Arc::new(Shared::new(self, &Found::of(&set))?);
                let planned = Planned::new(&shared, set)?;
                Ok(Loader { shared, planned: Arc::new(OnceLock::from(Ok(planned))), live: None })
            }
            Opened::Partly(partly) => {
                let live = Arc::new(LiveSet::new(partly));
                if self.order.world_size > 1 {
                    let why = format!(
                        "but {} ranks need equal steps, which are computed from indexes",
                        self.order.world_size
                    );
                    return Err(no_index(live.unindexed(), live.len(), &why));
                }
                let shared = Arc::new(Shared::new(self, &Found { largest: ASSUMED_SIZE, ..Found::default() })?);
                Ok(Loader { shared, planned: Arc::default(), live: Some(live) })
            }
        }
    }
}

impl Loader {
    /// The default settings, to change and to build a loader with.
    pub fn builder() -> LoaderBuilder {
        LoaderBuilder::default()
    }

    /// Starts the threads of epoch `epoch` and returns the iterator over its batches. The epoch's number affects only
    /// the shuffle and the draw of masks by [`TopKBy::Random`](crate::TopKBy::Random) and
    /// [`TopKBy::AreaStratified`](crate::TopKBy::AreaStratified).
    ///
    /// If an epoch over shards without an index is dropped before its end, the shards that it has not indexed remain
    /// without one, and the next epoch starts at the first shard again, unshuffled.
    ///
    /// # Errors
    /// If threads cannot be started, if another epoch is running while shards are being indexed, or if the samples of
    /// all shards that pass the filter do not fill a batch.
    pub fn epoch(&self, epoch: u64) -> Result<Epoch> {
        if let Some(planned) = self.planned()? {
            return planned.epoch(&self.shared, epoch);
        }
        let started = self.start_live(epoch);
        match (started, self.planned()?) {
            // The epoch of another clone has finished the indexes in the meantime.
            (Err(_), Some(planned)) => planned.epoch(&self.shared, epoch),
            (started, _) => started,
        }
    }

    /// Resumes an epoch at a cursor: yields exactly the batches that the uninterrupted epoch would have delivered next,
    /// and none if it had ended. The number of workers may differ, and so may the world size, as long as `batch_size` x
    /// `world_size` is the same.
    ///
    /// ```no_run
    /// # fn load() -> Option<maskstream::Cursor> { None }
    /// # fn save(_: maskstream::Cursor) {}
    /// # fn train(loader: &maskstream::Loader) -> maskstream::Result<()> {
    /// let saved = load();
    /// let first = saved.map_or(0, |cursor| cursor.epoch());
    /// for index in first..10 {
    ///     let epoch = match &saved {
    ///         Some(cursor) if cursor.epoch() == index => loader.resume_from(cursor)?,
    ///         _ => loader.epoch(index)?,
    ///     };
    ///     for batch in epoch {
    ///         let batch = batch?;
    ///         // ... a step, and now and then:
    ///         if let Some(cursor) = batch.cursor() {
    ///             save(cursor);
    ///         }
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If the cursor was saved with other shards, another filter, selection, seed, codec or `top_k`, or another global
    /// batch size: the message names what differs. If a shard has no index, or threads cannot be started.
    pub fn resume_from(&self, cursor: &Cursor) -> Result<Epoch> {
        self.indexed()?.resume_from(&self.shared, cursor)
    }

    /// Decodes one batch of a cursor's epoch again, without the others: to inspect what a training run has seen.
    /// Samples that cannot be decoded are in [`Batch::errors`], also with [`OnError::Stop`].
    ///
    /// # Errors
    /// As [`Loader::resume_from`], and if the epoch has no such step.
    pub fn replay(&self, cursor: &Cursor, step: u64) -> Result<Batch> {
        self.indexed()?.replay(&self.shared, cursor, step)
    }

    /// Reads the bytes of an epoch's samples as a running epoch does, and decodes nothing: `each` is called with the
    /// number of bytes of each sample as they were received, and ends the epoch by returning `false`.
    #[doc(hidden)]
    pub fn read_only(&self, epoch: u64, each: &mut dyn FnMut(u64) -> bool) -> Result<()> {
        self.indexed()?.read_only(&self.shared, epoch, each)
    }

    /// A digest of everything that determines the samples of each batch, as in a [`Cursor`], and of the world size;
    /// `None` while shards have no index. Compare it across ranks before training: it differs on a rank that has other
    /// shards or settings, which would otherwise deadlock a collective operation.
    pub fn fingerprint(&self) -> Option<u64> {
        Some(self.ready()?.fingerprint())
    }

    /// The plan of an epoch: which sample is in which row of which batch; `None` while shards have no index.
    #[doc(hidden)]
    pub fn plan(&self, epoch: u64) -> Option<Plan> {
        Some(self.ready()?.plan(epoch))
    }

    /// Number of batches of each epoch, the same on every rank; `None` while shards have no index.
    pub fn steps(&self) -> Option<u64> {
        Some(self.ready()?.steps)
    }

    /// The shards; `None` while some have no index.
    pub fn shards(&self) -> Option<&ShardSet> {
        Some(&self.ready()?.set)
    }

    /// Reports of the shards that have an index so far: what was found wrong with a shard, and whether its index was
    /// saved.
    pub fn reports(&self) -> Vec<ShardReport> {
        match (self.ready(), &self.live) {
            (Some(planned), _) => planned.set.reports().cloned().collect(),
            (None, Some(live)) => live.reports(),
            (None, None) => Vec::new(),
        }
    }

    /// A warning to show before the first epoch if shards have no index, so that it is not shuffled.
    pub fn warning(&self) -> Option<String> {
        let live = self.live.as_ref().filter(|_| self.planned.get().is_none())?;
        let unindexed = live.unindexed();
        let order = if self.shared.order.shuffle.is_some() { " and is not shuffled" } else { "" };
        (unindexed > 0).then(|| {
            format!(
                "{unindexed} of {} shards have no index yet: while they are indexed, this epoch is in the order of the \
                 shards{order}; `maskstream index` builds indexes beforehand",
                live.len()
            )
        })
    }

    /// Timings and counts of all epochs together, so far.
    pub fn stats(&self) -> LoaderStats {
        self.shared.stats(&self.shared.counters)
    }

    /// How the memory budget is divided. If a shard had no index when the loader was built, the largest sample is
    /// assumed to have 4 MiB and 1500 x 2250 pixels, and the index is not included.
    pub fn memory_plan(&self) -> &MemoryPlan {
        &self.shared.memory_plan
    }

    /// The sizes and fields of the batches.
    pub fn layout(&self) -> &BatchLayout {
        self.shared.pool.layout()
    }

    /// One of `of` parts of this loader's share: every `of`-th sample, starting at `part`, in batches of the same size.
    /// All parts share the memory budget and the statistics.
    ///
    /// # Errors
    /// If a shard has no index, `part` is not below `of`, the world would be too large, or the parts have no batch.
    #[cfg(feature = "burn")]
    pub(crate) fn share(&self, part: usize, of: usize) -> Result<Self> {
        let share = self.indexed()?.share(part, of)?;
        Ok(Self { shared: Arc::clone(&self.shared), planned: Arc::new(OnceLock::from(Ok(share))), live: None })
    }

    /// The plan over indexed shards; `None` while a shard has no index.
    ///
    /// # Errors
    /// If no sample passes the filter, or none fill a batch.
    fn planned(&self) -> Result<Option<&Planned>> {
        let finish = |live: &LiveSet| Planned::new(&self.shared, Arc::new(live.finish()?));
        let planned = match (self.planned.get(), &self.live) {
            (Some(planned), _) => planned,
            (None, Some(live)) if live.is_complete() => self.planned.get_or_init(|| finish(live)),
            (None, _) => return Ok(None),
        };
        planned.as_ref().map(Some).map_err(Error::clone)
    }

    /// The plan over indexed shards; `None` also if there can be none.
    fn ready(&self) -> Option<&Planned> {
        self.planned().ok().flatten()
    }

    /// Number of samples of an epoch on this rank.
    ///
    /// # Errors
    /// If a shard has no index.
    #[cfg(feature = "burn")]
    pub(crate) fn planned_samples(&self) -> Result<u64> {
        Ok(self.indexed()?.plan(0).samples_from(0))
    }

    /// The plan over indexed shards.
    ///
    /// # Errors
    /// As [`Loader::planned`], and if a shard has no index.
    fn indexed(&self) -> Result<&Planned> {
        let missing = || {
            let (unindexed, shards) = self.live.as_ref().map_or((0, 0), |live| (live.unindexed(), live.len()));
            no_index(unindexed, shards, "so there is no order yet")
        };
        self.planned()?.ok_or_else(missing)
    }

    /// Starts an epoch over shards of which some have no index.
    fn start_live(&self, epoch: u64) -> Result<Epoch> {
        let Some(live) = &self.live else { return Err(Error::config("the loader has no shards")) };
        let shared = &self.shared;
        // One pass finds samples several times as fast as one worker decodes them.
        let passes = shared.num_workers.div_ceil(4).min(live.unindexed());
        let counts = Arc::<LiveCounts>::default();
        let steps = LiveSteps::new(Arc::clone(live), shared.order, Arc::clone(&counts));
        let engine = Engine::start_live(shared, live, epoch, Steps::Live(steps), passes)?;
        let spec = EpochSpec { index: epoch, first: 0, plan: None, counts, is_logged: true };
        Ok(Epoch::new(engine, spec, shared.on_error))
    }
}

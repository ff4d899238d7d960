//! Epochs over indexed shards. Comes in: settings and a [`ShardSet`]. Goes out: epochs, from their start or from where a
//! cursor says. Fails on a cursor that does not fit.

use std::sync::Arc;

use super::epoch::EpochSpec;
use super::options::{Inner, Latest};
use super::steps::Steps;
use super::{Budget, Epoch, LoaderBuilder, LoaderStats, MemoryPlan, OnError};
use crate::batch::{Batch, BatchLayout};
use crate::order::{Cursor, Fingerprint, Order, Plan};
use crate::shard::{Samples, ShardSet};
use crate::{Error, Result};

/// Makes epochs of batches from a shard set. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Loader {
    inner: Arc<Inner>,
    set: Arc<ShardSet>,
    order: Order,
    fingerprint: Fingerprint,
    steps: u64,
}

impl Loader {
    /// Settings to make a loader with.
    pub fn builder() -> LoaderBuilder {
        LoaderBuilder::default()
    }

    pub(super) fn new(inner: Arc<Inner>, set: Arc<ShardSet>) -> Result<Self> {
        let mut order = inner.order;
        // Else it is one sample, whatever their size: eleven million are not looked at for nothing.
        if let (Some(shuffle), 1..) = (&mut order.shuffle, inner.chunk_bytes) {
            shuffle.chunk_samples = (inner.chunk_bytes / set.mean_sample_bytes().max(1)).max(1);
        }
        let steps = order.plan(set.population(), 0)?.steps();
        let fingerprint = Fingerprint {
            version: Fingerprint::VERSION,
            data: set.identity(),
            top_k: inner.sample.top_k as u64,
            // Numbers only: encoding cannot fail.
            top_k_by: crc32c::crc32c(&postcard::to_stdvec(&inner.sample.top_k_by).unwrap_or_default()),
            shuffle: order.shuffle.map(|shuffle| (shuffle.seed, shuffle.chunk_samples)),
            global_batch: order.global_batch(),
            drop_last: order.drop_last,
        };
        Ok(Self { inner, set, order, fingerprint, steps })
    }

    /// What it is made of.
    pub(super) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    /// Starts the threads of epoch number `epoch` and returns its batches. The number decides the shuffle, nothing
    /// else.
    ///
    /// # Errors
    /// If threads cannot be started.
    pub fn epoch(&self, epoch: u64) -> Result<Epoch> {
        let started = self.start(epoch, 0..self.steps, self.inner.on_error)?;
        *self.inner.latest() = Latest { epoch, position: Some(0) };
        Ok(started)
    }

    /// Where training stands: behind the batch that was received last, of whatever epoch of this loader or its clones, or
    /// where the epoch begins that was begun last. To be saved together with the model.
    ///
    /// Who runs several epochs at a time takes [`Batch::cursor`].
    pub fn cursor(&self) -> Cursor {
        let Latest { epoch, position } = *self.inner.latest();
        Cursor::new(epoch, position.unwrap_or(self.steps * self.order.global_batch()), self.fingerprint)
    }

    /// The rest of the epoch that a cursor stands in: from the next batch on, exactly those that the epoch would have
    /// gone on with; none if it had come to its end. The number of workers may be another, and so may the world size,
    /// as long as `batch_size` x `world_size` is the same.
    ///
    /// ```no_run
    /// # fn load() -> Option<maskstream::order::Cursor> { None }
    /// # fn save(_: &maskstream::order::Cursor) {}
    /// # fn train(loader: &maskstream::Loader) -> maskstream::Result<()> {
    /// let saved = load();
    /// let first = saved.map_or(0, |cursor| cursor.epoch());
    /// for epoch in first..10 {
    ///     let batches = match &saved {
    ///         Some(cursor) if cursor.epoch() == epoch => loader.resume_from(cursor)?,
    ///         _ => loader.epoch(epoch)?,
    ///     };
    ///     for batch in batches {
    ///         let batch = batch?;
    ///         // ... a step, and now and then:
    ///         save(&loader.cursor());
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If the cursor was saved with other shards, another filter, selection, seed or `top_k`, or other batches: the
    /// message names what differs. If threads cannot be started.
    pub fn resume_from(&self, cursor: &Cursor) -> Result<Epoch> {
        self.check(cursor)?;
        let first = cursor.step().min(self.steps);
        let started = self.start(cursor.epoch(), first..self.steps, self.inner.on_error)?;
        *self.inner.latest() = Latest { epoch: cursor.epoch(), position: Some(cursor.position()) };
        Ok(started)
    }

    /// One batch of the epoch that a cursor stands in, decoded once more, alone: to look at what a training run has
    /// seen. Rows that cannot be decoded are errors, whatever [`OnError`] says; [`Loader::cursor`] does not move.
    ///
    /// # Errors
    /// As [`Loader::resume_from`], and if the epoch has no such step.
    pub fn replay(&self, cursor: &Cursor, step: u64) -> Result<Batch> {
        self.check(cursor)?;
        if step >= self.steps {
            return Err(Error::config(format!("there is no batch {step}: an epoch has {}", self.steps)));
        }
        let mut epoch = self.start(cursor.epoch(), step..step + 1, OnError::skip(Budget::UNLIMITED))?;
        epoch.replays();
        epoch.next().unwrap_or_else(|| Err(Error::panic(&"an epoch of one batch was empty")))
    }

    /// A digest of all that decides which samples are in which batch: what a [`Cursor`] holds, and the world size. Ranks
    /// that have the same one agree; exchange it once before training, and a rank with other shards or settings is
    /// found before it makes all others wait.
    pub fn fingerprint(&self) -> u64 {
        crate::splitmix::mix64(self.fingerprint.digest() ^ self.order.world_size as u64)
    }

    /// The plan of an epoch: which sample stands in which row of which batch.
    pub fn plan(&self, epoch: u64) -> Plan {
        // The settings were checked when the loader was made.
        self.order.plan_checked(self.set.population(), epoch)
    }

    /// Number of batches of each epoch, the same on every rank.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Figures of all its epochs together, also while one runs.
    pub fn stats(&self) -> LoaderStats {
        self.inner.counters.stats()
    }

    /// What its memory goes to.
    pub fn memory_plan(&self) -> &MemoryPlan {
        &self.inner.memory_plan
    }

    /// The samples it draws from.
    pub fn shards(&self) -> &ShardSet {
        &self.set
    }

    /// What its batches hold.
    pub fn layout(&self) -> &BatchLayout {
        self.inner.stock.layout()
    }

    /// Its share, divided once more: every `of`-th sample from the `part`-th on, with as many steps in each part. Batches
    /// have as many rows as before. All parts share the memory budget, the statistics and [`Loader::cursor`].
    ///
    /// # Errors
    /// If `part` is not below `of`, the world would be too large, or the parts have no batch.
    #[cfg(feature = "burn")]
    pub(crate) fn share(&self, part: usize, of: usize) -> Result<Self> {
        let mut share = self.clone();
        let Order { rank, world_size, .. } = self.order;
        // Rank r of w has the positions that are r modulo w; so have r, r + w, r + 2w ... of a world that is larger.
        share.order.rank = part.saturating_mul(world_size).saturating_add(rank);
        share.order.world_size = of.saturating_mul(world_size);
        share.steps = share.order.plan(self.set.population(), 0)?.steps();
        share.fingerprint.global_batch = share.order.global_batch();
        Ok(share)
    }

    fn start(&self, epoch: u64, steps: std::ops::Range<u64>, on_error: OnError) -> Result<Epoch> {
        let plan = self.plan(epoch);
        let course = EpochSpec {
            number: epoch,
            first: steps.start,
            end: Some(steps.end),
            plan: Some((plan.clone(), self.fingerprint)),
            steps: Steps::planned(plan, Arc::clone(&self.set), steps.end),
            on_error,
            passes: 0,
        };
        Epoch::start(&self.inner, Arc::clone(&self.set) as Arc<dyn Samples>, course)
    }

    fn check(&self, cursor: &Cursor) -> Result<()> {
        let (saved, now) = (cursor.plan(), &self.fingerprint);
        let (then, here) = (saved.data.shards as usize, now.data.shards as usize);
        if then < here && saved.version == now.version && self.set.files_digest(then) == saved.data.files {
            let names: Vec<_> =
                self.set.reports().skip(then).take(3).map(|report| report.path.display().to_string()).collect();
            let more = if here - then > names.len() { ", ..." } else { "" };
            return Err(Error::config(format!(
                "the cursor does not fit: there are {} more shards than when it was saved ({}{more}); finish the epoch with the first {then}, then begin the next one with all",
                here - then,
                names.join(", ")
            )));
        }
        now.check(saved)?;
        cursor.check_position()
    }
}

//! The iterator over the batches of one epoch, in planned order.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use super::engine::Engine;
use super::failures::Failures;
use super::live::LiveCounts;
use super::trace::Span;
use super::worker::CompletedBatch;
use super::{EpochReport, LoaderStats, OnError};
use crate::batch::Batch;
use crate::order::{Cursor, Fingerprint, Plan};
use crate::shard::{Entry, ShardTotals};
use crate::source::Inflater;
use crate::{Error, Result};

type Convert<T> = dyn FnMut(Batch) -> Result<T> + Send + Sync;

/// The batches of one epoch in planned order: an iterator that ends after the last batch, or with the first error.
///
/// The item type `T` is [`Batch`], or a framework's tensors after `.candle(..)`, `.burn(..)` or
/// [`Epoch::convert_with`]. There are [`Epoch::steps`] batches, less those before the step at which the epoch was
/// resumed. A batch counts as delivered once it has been converted.
///
/// Dropping an epoch ends and joins its threads. A thread that does not end within `stall_timeout` is left running.
/// Batches may outlive their epoch.
///
/// ```no_run
/// # fn train(loader: &maskstream::Loader) -> maskstream::Result<()> {
/// let mut epoch = loader.epoch(0)?;
/// for batch in &mut epoch {
///     let batch = batch?;
///     println!("batch {}: {} images", batch.step(), batch.valid_rows());
/// }
/// println!("{}", epoch.report());
/// # Ok(())
/// # }
/// ```
pub struct Epoch<T = Batch> {
    engine: Engine,
    spec: EpochSpec,
    /// Whether the last batch or an error has been returned.
    ended: bool,
    failures: Failures,
    convert: Box<Convert<T>>,
    /// When the latest batch was returned.
    returned: Option<Instant>,
}

/// What an epoch consists of.
pub(super) struct EpochSpec {
    pub(super) index: u64,
    /// The first step.
    pub(super) first: u64,
    /// `None` while shards are being indexed.
    pub(super) plan: Option<(Plan, Fingerprint)>,
    /// Counts of samples while shards are being indexed.
    pub(super) counts: Arc<LiveCounts>,
    /// Whether samples that cannot be decoded are added to the quarantine log.
    pub(super) is_logged: bool,
}

impl Epoch {
    pub(super) fn new(engine: Engine, spec: EpochSpec, on_error: OnError) -> Self {
        Self { engine, spec, ended: false, failures: Failures::new(on_error), convert: Box::new(Ok), returned: None }
    }

    /// An epoch whose items are the results of `convert`, for example a framework's tensors. `convert` runs in `next`,
    /// on the thread that calls it. If it fails or panics, the epoch ends with that error and its batch counts as lost.
    /// [`Error::other`](crate::Error::other) makes an error of one that is not this crate's.
    ///
    /// ```no_run
    /// # fn train(loader: &maskstream::Loader) -> maskstream::Result<()> {
    /// let means = loader.epoch(0)?.convert_with(|batch| {
    ///     let areas = batch.area();
    ///     Ok(areas.iter().sum::<f32>() / areas.len() as f32)
    /// });
    /// for mean in means {
    ///     println!("{} pixels", mean?);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn convert_with<T>(self, convert: impl FnMut(Batch) -> Result<T> + Send + Sync + 'static) -> Epoch<T> {
        let Self { engine, spec, ended, failures, returned, .. } = self;
        Epoch { engine, spec, ended, failures, convert: Box::new(convert), returned }
    }
}

impl<T> Epoch<T> {
    /// The epoch's index, as given to [`Loader::epoch`](crate::Loader::epoch).
    pub fn index(&self) -> u64 {
        self.spec.index
    }

    /// Number of batches of the whole epoch, the same on every rank; `None` while shards are being indexed.
    pub fn steps(&self) -> Option<u64> {
        self.engine.end()
    }

    /// Counts of the epoch's samples so far.
    pub fn report(&self) -> EpochReport {
        let EpochSpec { index, first, plan, counts, .. } = &self.spec;
        let plan = plan.as_ref().map(|(plan, _)| plan);
        let found = counts.planned.load(Relaxed);
        let ShardTotals { held, selected, left_out, unverified } = self.engine.samples().totals();
        let left = match plan {
            Some(plan) => plan.samples_from(self.engine.next_step()),
            // Samples that no pass has found yet cannot be counted.
            None => found.saturating_sub(self.failures.received()),
        };
        EpochReport {
            epoch: *index,
            first_step: *first,
            planned: match plan {
                Some(plan) => Some(plan.samples_from(*first)),
                None => self.engine.end().map(|_| found),
            },
            dropped: plan.map_or_else(|| counts.dropped.load(Relaxed), Plan::dropped),
            held,
            selected,
            left_out,
            unverified,
            ..self.failures.report(left)
        }
    }

    /// The position after the batch that was delivered last; `None` while shards are being indexed.
    pub fn cursor(&self) -> Option<Cursor> {
        self.cursor_at(self.engine.next_step())
    }

    fn cursor_at(&self, step: u64) -> Option<Cursor> {
        let (_, fingerprint) = self.spec.plan.as_ref()?;
        Some(Cursor::new(self.spec.index, step * fingerprint.settings.global_batch, *fingerprint))
    }

    /// Timings and counts of this epoch so far.
    pub fn stats(&self) -> LoaderStats {
        self.engine.shared().stats(self.engine.counters())
    }

    /// The next batch, converted and counted.
    fn deliver(&mut self) -> Result<Option<T>> {
        let start = Instant::now();
        let ready = self.engine.ready();
        let next = self.engine.next_step();
        let received = Span::wait(next).run(|| self.engine.receive());
        self.engine.counters().add_wait(start.elapsed(), self.returned.is_none());
        if let Some(returned) = self.returned {
            self.engine.counters().add_consumer(start - returned);
            if matches!(received, Ok(Some(_))) {
                self.engine.counters().add_ready(ready);
            }
        }
        let Some(CompletedBatch { step, buffers, samples, errors }) = received? else { return Ok(None) };
        let cursor = self.cursor_at(step + 1);
        let pool = Arc::clone(self.engine.pool());
        let mut batch = Batch::new(buffers, pool, self.spec.index, step, cursor, samples, errors);
        self.log(&batch)?;
        let tally = self.failures.check(&mut batch)?;
        let (delivered, skipped) = (batch.valid_rows() as u64, batch.errors().len() as u64);
        // A panic would leave the epoch waiting for a batch that it has received.
        let convert = || Span::convert(step).run(|| (self.convert)(batch));
        let converted = catch_unwind(AssertUnwindSafe(convert));
        let converted = converted.unwrap_or_else(|payload| Err(Error::panic(&*payload)))?;
        self.failures.commit(tally);
        self.engine.counters().add_batch(delivered, skipped, self.engine.pool().layout().bytes());
        self.engine.advance();
        Ok(Some(converted))
    }

    /// Adds the samples of a batch that cannot be decoded to the quarantine log.
    fn log(&self, batch: &Batch) -> Result<()> {
        let log = self.engine.shared().quarantine_log.as_ref().filter(|_| self.spec.is_logged);
        let Some(log) = log else { return Ok(()) };
        let samples = self.engine.samples();
        for failed in batch.errors() {
            let shard = failed.sample.shard;
            if let (Some(entry), Some(path)) = (samples.entry(failed.sample), samples.path(shard)) {
                let is_unchanged = || self.is_unchanged(shard, &entry);
                log.add(&path, &entry, [batch.epoch(), batch.step()], &failed.error, is_unchanged)?;
            }
        }
        Ok(())
    }

    /// Whether a sample's bytes still match their checksums in the index.
    fn is_unchanged(&self, shard: u32, entry: &Entry) -> bool {
        let source = self.engine.samples().source(shard);
        source.is_ok_and(|source| entry.verify(source.as_ref(), &mut Inflater::default()).is_ok())
    }
}

impl<T> Iterator for Epoch<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let delivered = self.deliver();
        self.returned = Some(Instant::now());
        self.ended = !matches!(delivered, Ok(Some(_)));
        if let Err(error) = &delivered {
            self.failures.end(error);
        }
        // The next epoch over these shards can start before this one is dropped.
        if self.ended && self.engine.is_live() {
            let _ = self.engine.join();
        }
        delivered.transpose()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        if self.ended {
            return (0, Some(0));
        }
        let left = self.engine.end().map(|end| (end - self.engine.next_step()) as usize);
        // An error may end the epoch early.
        (left.unwrap_or(0).min(1), left)
    }
}

impl<T> std::iter::FusedIterator for Epoch<T> {}

impl<T> fmt::Debug for Epoch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { engine, spec, ended, .. } = self;
        let mut debug = f.debug_struct("Epoch");
        debug.field("index", &spec.index).field("next_step", &engine.next_step()).field("steps", &engine.end());
        debug.field("ended", ended).finish_non_exhaustive()
    }
}

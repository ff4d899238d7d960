//! The consumer's end. Comes in: finished batches in any order. Goes out: an iterator over them in planned order, and
//! the statistics. Fails as the room's head says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::failures::Failures;
use super::feed::Feed;
use super::options::{Inner, Latest};
use super::stats::Counters;
use super::steps::{Counts, Steps};
use super::watch::{ActivityBoard, StallDetector, Stalled, Task};
use super::worker::{self, Finished, Outcome, Worker, locate};
use super::{EpochReport, LoaderStats, OnError};
use crate::batch::{Batch, Pool};
use crate::order::{Cursor, Fingerprint, Plan};
use crate::shard::{Entry, LiveSet, Samples};
use crate::source::Inflater;
use crate::{Error, Result};

/// How often a waiting consumer looks whether the budget has been used up elsewhere, or a thread is stuck.
const CHECK: Duration = Duration::from_millis(100);
/// How long threads get to end when another one is known to be stuck.
const GRACE: Duration = Duration::from_millis(200);

/// The batches of one epoch, in planned order: an iterator that ends after the last one, or with the first error. There
/// are [`Epoch::steps`], less those before the place from which the epoch was resumed.
///
/// Dropping it ends and joins all its threads, but for one that does not come back within `stall_timeout`, which is left
/// behind. Batches may outlive it.
#[derive(Debug)]
pub struct Epoch {
    loader: Arc<Inner>,
    samples: Arc<dyn Samples>,
    number: u64,
    first: u64,
    /// The step behind the last one; `None` until it is known.
    end: Option<u64>,
    /// `None` while shards are indexed.
    plan: Option<(Plan, Fingerprint)>,
    next_step: u64,
    /// Whether what is received is written down: for cursors and the quarantine list.
    records: bool,
    /// Set by an error that was returned: nothing follows it.
    ended: bool,
    pool: Arc<Pool>,
    counters: Arc<Counters>,
    stop: Arc<AtomicBool>,
    /// Outcomes that came before their turn.
    early: BTreeMap<u64, Result<Finished>>,
    /// `None` once the epoch is being dropped.
    outcomes: Option<Receiver<Outcome>>,
    threads: Vec<JoinHandle<()>>,
    /// Nothing comes, but it closes when the last thread has ended.
    alive: (Option<Sender<()>>, Receiver<()>),
    watch: Arc<ActivityBoard>,
    patience: StallDetector,
    is_stuck: bool,
    failures: Failures,
    /// Of growing shards.
    taken: Arc<Counts>,
    /// The shards that are indexed meanwhile.
    growing: Option<Arc<LiveSet>>,
}

impl std::fmt::Debug for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Finished").field("step", &self.step).finish_non_exhaustive()
    }
}

/// What an epoch goes through.
pub(super) struct EpochSpec {
    pub(super) number: u64,
    /// The first step, and the one behind the last, if that is known.
    pub(super) first: u64,
    pub(super) end: Option<u64>,
    pub(super) plan: Option<(Plan, Fingerprint)>,
    pub(super) steps: Steps,
    pub(super) on_error: OnError,
    /// Threads that index shards meanwhile.
    pub(super) passes: usize,
}

impl Epoch {
    /// Starts the threads of an epoch.
    pub(super) fn start(loader: &Arc<Inner>, samples: Arc<dyn Samples>, course: EpochSpec) -> Result<Self> {
        let EpochSpec { number, first, end, plan, steps, on_error, passes } = course;
        let taken = steps.counts();
        let pool = Arc::new(Pool::new(Arc::clone(&loader.stock), loader.prefetch_batches));
        // One sample being decoded and one waiting for each worker: read-ahead that is bounded in samples.
        let (work_in, work_out) = bounded(loader.num_workers);
        // Room for every batch under way, an error and the end: sending never waits.
        let (outcomes_in, outcomes) = bounded(loader.prefetch_batches + 2);
        let (alive_in, alive) = bounded(0);
        let mut epoch = Self {
            loader: Arc::clone(loader),
            samples: Arc::clone(&samples),
            number,
            first,
            end,
            plan,
            next_step: first,
            records: true,
            ended: false,
            pool: Arc::clone(&pool),
            counters: Arc::new(Counters::within(&loader.counters)),
            stop: Arc::default(),
            early: BTreeMap::new(),
            outcomes: Some(outcomes),
            threads: Vec::new(),
            alive: (Some(alive_in), alive),
            watch: Arc::new(ActivityBoard::new(1 + loader.num_workers + passes)),
            patience: StallDetector::default(),
            is_stuck: false,
            failures: Failures::new(on_error),
            taken,
            growing: None,
        };
        let feed = Feed {
            loader: Arc::clone(loader),
            samples: Arc::clone(&samples),
            steps,
            pool,
            counters: Arc::clone(&epoch.counters),
            watch: Arc::clone(&epoch.watch),
            first,
            stop: Arc::clone(&epoch.stop),
            work: work_in,
            outcomes: outcomes_in,
        };
        for index in 0..loader.num_workers {
            let worker = Worker {
                loader: Arc::clone(loader),
                samples: Arc::clone(&samples),
                counters: Arc::clone(&epoch.counters),
                watch: Arc::clone(&epoch.watch),
                place: index + 1,
                stop: Arc::clone(&epoch.stop),
                work: work_out.clone(),
            };
            epoch.spawn(format!("maskstream-{index}"), move || worker::run(&worker))?;
        }
        epoch.spawn("maskstream-feed".to_owned(), move || feed.run())?;
        Ok(epoch)
    }

    /// The same over shards that are indexed meanwhile, by `passes` threads.
    pub(super) fn start_growing(
        loader: &Arc<Inner>,
        number: u64,
        growing: &Arc<LiveSet>,
        passes: usize,
    ) -> Result<Self> {
        let run = growing.start(passes)?;
        let steps = Steps::growing(Arc::clone(growing), loader.order);
        let on_error = loader.on_error;
        let course = EpochSpec { number, first: 0, end: None, plan: None, steps, on_error, passes };
        let epoch = Self::start(loader, Arc::clone(growing) as Arc<dyn Samples>, course);
        let mut epoch = epoch.inspect_err(|_| growing.rest(false))?;
        epoch.growing = Some(Arc::clone(growing));
        for index in 0..passes {
            let (growing, watch) = (Arc::clone(growing), Arc::clone(&epoch.watch));
            let place = 1 + loader.num_workers + index;
            let alive = move |shard: Option<u32>| watch.set(place, shard.map(Task::Pass));
            epoch.spawn(format!("maskstream-pass-{index}"), move || growing.run_passes(run, &alive))?;
        }
        Ok(epoch)
    }

    fn spawn(&mut self, name: String, life: impl FnOnce() + Send + 'static) -> Result<()> {
        let alive = self.alive.0.clone();
        let thread = thread::Builder::new().name(name).spawn(move || {
            life();
            drop(alive);
        });
        self.threads.push(thread.map_err(|e| Error::io("cannot start a thread", e))?);
        Ok(())
    }

    /// The epoch's number.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Number of batches, the same on every rank. `None` while shards are still being indexed: see
    /// [`StreamLoader`](super::StreamLoader).
    pub fn steps(&self) -> Option<u64> {
        self.end
    }

    /// What has become of its samples so far.
    pub fn report(&self) -> EpochReport {
        let left = match &self.plan {
            Some((plan, _)) => plan.samples_from(self.next_step),
            // What a pass has not found yet cannot be counted.
            None => self.taken.handed.load(Relaxed).saturating_sub(self.failures.received()),
        };
        let report = self.failures.report(left);
        EpochReport {
            epoch: self.number,
            first_step: self.first,
            planned: match &self.plan {
                Some((plan, _)) => Some(plan.samples_from(self.first)),
                None => self.end.map(|_| self.taken.handed.load(Relaxed)),
            },
            dropped: match &self.plan {
                Some((plan, _)) => plan.dropped(),
                None => self.taken.dropped.load(Relaxed),
            },
            ..report
        }
    }

    /// Where it stands: behind the batch that was received last. `None` while shards are being indexed.
    pub fn cursor(&self) -> Option<Cursor> {
        self.cursor_at(self.next_step)
    }

    fn cursor_at(&self, step: u64) -> Option<Cursor> {
        self.plan.as_ref().map(|(_, plan)| Cursor::new(self.number, step * plan.global_batch, *plan))
    }

    /// The batch that was received last is of no use: it counts as lost, and nothing follows it.
    #[cfg(any(feature = "burn", feature = "candle"))]
    pub(crate) fn refuse(&mut self, error: &Error) {
        self.next_step -= 1;
        self.failures.take_back();
        self.failures.end(error);
        self.ended = true;
        if let Some(cursor) = self.cursor() {
            *self.loader.latest() = Latest { epoch: self.number, position: Some(cursor.position()) };
        }
    }

    /// Leaves no trace of what is received.
    pub(super) fn replays(&mut self) {
        self.records = false;
    }

    /// Figures so far.
    pub fn stats(&self) -> LoaderStats {
        self.counters.stats()
    }

    /// Waits for the batch whose turn it is; `None` when there is none.
    fn receive(&mut self) -> Result<Option<Batch>> {
        let finished = loop {
            if self.end == Some(self.next_step) {
                return Ok(None);
            }
            if let Some(outcome) = self.early.remove(&self.next_step) {
                break outcome?;
            }
            match self.outcomes.as_ref().map(|outcomes| outcomes.recv_timeout(CHECK)) {
                Some(Ok(Outcome::Batch(finished))) => drop(self.early.insert(finished.step, Ok(finished))),
                Some(Ok(Outcome::Failed { step, error })) => drop(self.early.insert(step, Err(error))),
                Some(Ok(Outcome::End { steps })) => self.end = Some(steps),
                // Nothing comes when receivers, of other epochs perhaps, hold the whole budget.
                Some(Err(RecvTimeoutError::Timeout)) => {
                    if let Some(error) = self.pool.starved().or_else(|| self.stalled()) {
                        return Err(error);
                    }
                }
                // All senders are gone although the plan goes on: a thread died outside of any sample.
                Some(Err(RecvTimeoutError::Disconnected)) | None => return Err(self.join().unwrap_or_else(lost)),
            }
        };
        let Finished { step, buffers, samples, errors } = finished;
        let cursor = self.cursor_at(step + 1);
        let batch = Batch::new(buffers, Arc::clone(&self.pool), [self.number, step], cursor, samples, errors);
        self.record(&batch)?;
        let batch = self.failures.judge(batch)?;
        self.counters.add_batch(batch.valid_rows() as u64, batch.errors().len() as u64);
        Ok(Some(batch))
    }

    /// Writes down which samples of a batch are bad.
    fn record(&self, batch: &Batch) -> Result<()> {
        let Some(quarantine) = self.loader.quarantine.as_ref().filter(|_| self.records) else { return Ok(()) };
        for sample_error in batch.errors() {
            if let (Some(entry), Some(shard)) =
                (self.samples.entry(sample_error.sample), self.samples.path(sample_error.sample.shard))
            {
                let is_unchanged = || self.is_unchanged(sample_error.sample.shard, &entry);
                quarantine.add(&shard, &entry, [batch.epoch(), batch.step()], &sample_error.error, is_unchanged)?;
            }
        }
        Ok(())
    }

    /// Whether a sample's bytes are those that were indexed.
    fn is_unchanged(&self, shard: u32, entry: &Entry) -> bool {
        let source = self.samples.source(shard);
        source.is_ok_and(|source| entry.verify(source.as_ref(), &mut Inflater::default()).is_ok())
    }

    /// Why the next batch will not come, if a thread has been busy with one sample for too long.
    fn stalled(&mut self) -> Option<Error> {
        let limit = self.loader.stall_timeout?;
        let Stalled { task, place, time } = self.patience.look(&self.watch, CHECK, limit)?;
        self.is_stuck = true;
        let who = match (task, place) {
            (Task::Pass(_), _) => "a pass has been at one member of the shard".to_owned(),
            (_, 0) => "the feed thread has been reading one sample".to_owned(),
            (_, worker) => format!("worker {} has been decoding one sample", worker - 1),
        };
        let error = Error::limit(format!(
            "{who} for {:.1} s, stall_timeout is {:.1} s; the thread is left behind",
            time.as_secs_f64(),
            limit.as_secs_f64()
        ));
        Some(match task {
            Task::Sample(sample) => locate(&*self.samples, sample, error),
            Task::Pass(shard) => error.in_shard(&self.samples.path(shard).unwrap_or_default()),
        })
    }

    /// Ends all threads; returns the first panic among them.
    fn join(&mut self) -> Option<Error> {
        self.stop.store(true, Relaxed);
        self.pool.close();
        if let Some(growing) = &self.growing {
            growing.stop();
        }
        self.outcomes = None;
        self.alive.0 = None;
        let patience = if self.is_stuck { Some(GRACE) } else { self.loader.stall_timeout };
        let everyone_ended = match patience {
            Some(patience) => self.alive.1.recv_timeout(patience) == Err(RecvTimeoutError::Disconnected),
            None => self.alive.1.recv().is_err(),
        };
        // One that is stuck in foreign code cannot be waited for: it owns what it works with.
        let ended = self.threads.drain(..).filter(|thread| everyone_ended || thread.is_finished());
        let panics = ended.filter_map(|thread| thread.join().err());
        let first = panics.map(|payload| Error::panic(&*payload)).reduce(|first, _| first);
        self.early.clear();
        self.pool.write_off();
        if let Some(growing) = self.growing.take() {
            growing.rest(self.end == Some(self.next_step));
        }
        first
    }
}

fn lost() -> Error {
    Error::panic(&"the loader's threads ended before the epoch")
}

impl Iterator for Epoch {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let start = Instant::now();
        let batch = self.receive();
        self.counters.add_wait(start.elapsed());
        match &batch {
            Ok(Some(batch)) => {
                self.next_step += 1;
                if let (Some(cursor), true) = (batch.cursor(), self.records) {
                    *self.loader.latest() = Latest { epoch: self.number, position: Some(cursor.position()) };
                }
            }
            Ok(None) | Err(_) => {
                self.ended = true;
                if let Err(error) = &batch {
                    self.failures.end(error);
                }
                // The next epoch over these shards need not wait until this one is dropped.
                if self.growing.is_some() {
                    if batch.is_ok() {
                        *self.loader.latest() = Latest { epoch: self.number, position: None };
                    }
                    let _ = self.join();
                }
            }
        }
        batch.transpose()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.end.map(|end| if self.ended { 0 } else { (end - self.next_step) as usize });
        // An error may end it early.
        (left.unwrap_or(0).min(1), left)
    }
}

impl std::iter::FusedIterator for Epoch {}

impl Drop for Epoch {
    fn drop(&mut self) {
        // A panic of a thread here concerns work that nobody waits for.
        let _ = self.join();
    }
}

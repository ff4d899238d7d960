//! The consumer's end. Comes in: finished batches in any order. Goes out: an iterator over them in planned order, and
//! the statistics. Fails as the room's head says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};

use super::feed::Feed;
use super::options::Inner;
use super::stats::Counters;
use super::steps::Steps;
use super::worker::{self, Finished, Outcome};
use super::{LoaderStats, OnError};
use crate::batch::{Batch, Pool};
use crate::shard::{GrowingSet, Samples};
use crate::{Error, Result};

/// How often a waiting consumer looks whether the budget has been used up elsewhere.
const STARVED_CHECK: Duration = Duration::from_millis(100);

/// The batches of one epoch, in planned order: an iterator that ends after the last one, of which there are
/// [`Epoch::steps`], or with the first error.
///
/// Dropping it ends and joins all its threads. Batches may outlive it.
#[derive(Debug)]
pub struct Epoch {
    loader: Arc<Inner>,
    number: u64,
    /// `None` until it is known.
    steps: Option<u64>,
    next_step: u64,
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
    /// Rows skipped so far, in planned order.
    skipped: u64,
    /// The shards that are indexed meanwhile.
    growing: Option<Arc<GrowingSet>>,
}

impl std::fmt::Debug for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Finished").field("step", &self.step).finish_non_exhaustive()
    }
}

impl Epoch {
    /// Starts the threads of an epoch of `steps`, of which there are `count` if that is known.
    pub(super) fn start(
        loader: &Arc<Inner>,
        number: u64,
        samples: Arc<dyn Samples>,
        steps: Steps,
        count: Option<u64>,
    ) -> Result<Self> {
        let pool = Arc::new(Pool::new(Arc::clone(&loader.stock), loader.prefetch_batches));
        // One sample being decoded and one waiting for each worker: read-ahead that is bounded in samples.
        let (work_in, work_out) = bounded(loader.num_workers);
        // Room for every batch under way, an error and the end: sending never waits.
        let (outcomes_in, outcomes) = bounded(loader.prefetch_batches + 2);
        let mut epoch = Self {
            loader: Arc::clone(loader),
            number,
            steps: count,
            next_step: 0,
            ended: false,
            pool: Arc::clone(&pool),
            counters: Arc::new(Counters::within(&loader.counters)),
            stop: Arc::default(),
            early: BTreeMap::new(),
            outcomes: Some(outcomes),
            threads: Vec::new(),
            skipped: 0,
            growing: None,
        };
        let feed = Feed {
            loader: Arc::clone(loader),
            samples: Arc::clone(&samples),
            steps,
            pool,
            counters: Arc::clone(&epoch.counters),
            stop: Arc::clone(&epoch.stop),
            work: work_in,
            outcomes: outcomes_in,
        };
        for index in 0..loader.num_workers {
            let (loader, samples) = (Arc::clone(loader), Arc::clone(&samples));
            let (counters, stop, work) = (Arc::clone(&epoch.counters), Arc::clone(&epoch.stop), work_out.clone());
            let life = move || worker::run(&loader, &*samples, &counters, &stop, &work);
            epoch.spawn(format!("maskstream-{index}"), life)?;
        }
        epoch.spawn("maskstream-feed".to_owned(), move || feed.run())?;
        Ok(epoch)
    }

    /// The same over shards that are indexed meanwhile, by `passes` threads.
    pub(super) fn start_growing(
        loader: &Arc<Inner>,
        number: u64,
        growing: &Arc<GrowingSet>,
        passes: usize,
    ) -> Result<Self> {
        growing.start(passes)?;
        let steps = Steps::growing(Arc::clone(growing), loader.order);
        let epoch = Self::start(loader, number, Arc::clone(growing) as Arc<dyn Samples>, steps, None);
        let mut epoch = epoch.inspect_err(|_| growing.rest(false))?;
        epoch.growing = Some(Arc::clone(growing));
        for index in 0..passes {
            let growing = Arc::clone(growing);
            epoch.spawn(format!("maskstream-pass-{index}"), move || growing.run_passes())?;
        }
        Ok(epoch)
    }

    fn spawn(&mut self, name: String, life: impl FnOnce() + Send + 'static) -> Result<()> {
        let thread = thread::Builder::new().name(name).spawn(life);
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
        self.steps
    }

    /// Figures so far.
    pub fn stats(&self) -> LoaderStats {
        self.counters.stats()
    }

    /// Waits for the batch whose turn it is; `None` when there is none.
    fn receive(&mut self) -> Result<Option<Batch>> {
        let finished = loop {
            if self.steps == Some(self.next_step) {
                return Ok(None);
            }
            if let Some(outcome) = self.early.remove(&self.next_step) {
                break outcome?;
            }
            match self.outcomes.as_ref().map(|outcomes| outcomes.recv_timeout(STARVED_CHECK)) {
                Some(Ok(Outcome::Batch(finished))) => drop(self.early.insert(finished.step, Ok(finished))),
                Some(Ok(Outcome::Failed { step, error })) => drop(self.early.insert(step, Err(error))),
                Some(Ok(Outcome::End { steps })) => self.steps = Some(steps),
                // Nothing comes when receivers, of other epochs perhaps, hold the whole budget.
                Some(Err(RecvTimeoutError::Timeout)) => {
                    if let Some(error) = self.pool.starved() {
                        return Err(error);
                    }
                }
                // All senders are gone although the plan goes on: a thread died outside of any sample.
                Some(Err(RecvTimeoutError::Disconnected)) | None => return Err(self.join().unwrap_or_else(lost)),
            }
        };
        let Finished { step, buffers, samples, issues } = finished;
        let batch = Batch::new(buffers, Arc::clone(&self.pool), self.number, step, samples, issues);
        self.judge(batch).map(Some)
    }

    /// Applies the user's policy to a batch with issues.
    fn judge(&mut self, mut batch: Batch) -> Result<Batch> {
        let skipped = self.skipped + batch.issues().len() as u64;
        let broken = match self.loader.on_error {
            OnError::Stop => !batch.issues().is_empty(),
            OnError::Skip { budget } => skipped > budget,
        };
        if broken && let Some(issue) = batch.take_issues().into_iter().next() {
            return Err(match self.loader.on_error {
                OnError::Stop => issue.error,
                OnError::Skip { budget } => {
                    let text = format!(
                        "{skipped} samples could not be decoded, more than the budget of {budget}; among the last: {}",
                        issue.error
                    );
                    Error::limit(text).caused_by(issue.error)
                }
            });
        }
        self.counters.add_batch(batch.valid_rows() as u64, batch.issues().len() as u64);
        self.skipped = skipped;
        Ok(batch)
    }

    /// Ends all threads; returns the first panic among them.
    fn join(&mut self) -> Option<Error> {
        self.stop.store(true, Relaxed);
        self.pool.close();
        if let Some(growing) = &self.growing {
            growing.stop();
        }
        self.outcomes = None;
        let panics = self.threads.drain(..).filter_map(|thread| thread.join().err());
        let first = panics.map(|payload| Error::panic(&*payload)).reduce(|first, _| first);
        self.early.clear();
        self.pool.write_off();
        if let Some(growing) = self.growing.take() {
            growing.rest(self.steps == Some(self.next_step));
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
        match batch {
            Ok(Some(_)) => self.next_step += 1,
            Ok(None) | Err(_) => {
                self.ended = true;
                // The next epoch over these shards need not wait until this one is dropped.
                if self.growing.is_some() {
                    let _ = self.join();
                }
            }
        }
        batch.transpose()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.steps.map(|steps| if self.ended { 0 } else { (steps - self.next_step) as usize });
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

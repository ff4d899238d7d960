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
use super::worker::{self, Finished, Outcome};
use super::{Loader, LoaderStats, OnError};
use crate::batch::{Batch, Pool};
use crate::{Error, Result};

/// How often a waiting consumer looks whether the budget has been used up elsewhere.
const STARVED_CHECK: Duration = Duration::from_millis(100);

/// The batches of one epoch, in planned order: an iterator that ends after [`Epoch::steps`] batches, or with the first
/// error.
///
/// Dropping it ends and joins all its threads. Batches may outlive it.
#[derive(Debug)]
pub struct Epoch {
    loader: Arc<Inner>,
    number: u64,
    steps: u64,
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
}

impl std::fmt::Debug for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Finished").field("step", &self.step).finish_non_exhaustive()
    }
}

impl Epoch {
    pub(super) fn start(loader: &Loader, number: u64) -> Result<Self> {
        let loader = &loader.0;
        let plan = loader.order.plan(loader.set.len(), number)?;
        let pool = Arc::new(Pool::new(Arc::clone(&loader.stock), loader.prefetch_batches));
        // One sample being decoded and one waiting for each worker: read-ahead that is bounded in samples.
        let (work_in, work_out) = bounded(loader.num_workers);
        // Room for every batch under way: sending never waits.
        let (outcomes_in, outcomes) = bounded(loader.prefetch_batches + 1);
        let mut epoch = Self {
            loader: Arc::clone(loader),
            number,
            steps: plan.steps(),
            next_step: 0,
            ended: false,
            pool: Arc::clone(&pool),
            counters: Arc::new(Counters::within(&loader.counters)),
            stop: Arc::default(),
            early: BTreeMap::new(),
            outcomes: Some(outcomes),
            threads: Vec::new(),
            skipped: 0,
        };
        let feed = Feed {
            loader: Arc::clone(loader),
            plan,
            pool,
            counters: Arc::clone(&epoch.counters),
            stop: Arc::clone(&epoch.stop),
            work: work_in,
            outcomes: outcomes_in,
        };
        for index in 0..loader.num_workers {
            let (loader, counters, stop) = (Arc::clone(loader), Arc::clone(&epoch.counters), Arc::clone(&epoch.stop));
            let work = work_out.clone();
            epoch.spawn(format!("maskstream-{index}"), move || worker::run(&loader, &counters, &stop, &work))?;
        }
        epoch.spawn("maskstream-feed".to_owned(), move || feed.run())?;
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

    /// Number of batches, the same on every rank.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Figures so far.
    pub fn stats(&self) -> LoaderStats {
        self.counters.stats()
    }

    /// Waits for the batch whose turn it is.
    fn receive(&mut self) -> Result<Batch> {
        let finished = loop {
            if let Some(outcome) = self.early.remove(&self.next_step) {
                break outcome?;
            }
            if let Some(error) = self.pool.starved() {
                return Err(error);
            }
            match self.outcomes.as_ref().map(|outcomes| outcomes.recv_timeout(STARVED_CHECK)) {
                Some(Ok((step, outcome))) => drop(self.early.insert(step, outcome)),
                // Other epochs' receivers may have used up the budget meanwhile.
                Some(Err(RecvTimeoutError::Timeout)) => {}
                // All senders are gone although the plan goes on: a thread died outside of any sample.
                Some(Err(RecvTimeoutError::Disconnected)) | None => return Err(self.join().unwrap_or_else(lost)),
            }
        };
        let Finished { step, buffers, samples, issues } = finished;
        let batch = Batch::new(buffers, Arc::clone(&self.pool), self.number, step, samples, issues);
        self.judge(batch)
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
        self.outcomes = None;
        let panics = self.threads.drain(..).filter_map(|thread| thread.join().err());
        let first = panics.map(|payload| Error::panic(&*payload)).reduce(|first, _| first);
        self.early.clear();
        self.pool.write_off();
        first
    }
}

fn lost() -> Error {
    Error::panic(&"the loader's threads ended before the epoch")
}

impl Iterator for Epoch {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended || self.next_step == self.steps {
            return None;
        }
        let start = Instant::now();
        let batch = self.receive();
        self.counters.add_wait(start.elapsed());
        match batch {
            Ok(_) => self.next_step += 1,
            Err(_) => self.ended = true,
        }
        Some(batch)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = if self.ended { 0 } else { (self.steps - self.next_step) as usize };
        // An error may end it early.
        (left.min(1), Some(left))
    }
}

impl std::iter::FusedIterator for Epoch {}

impl Drop for Epoch {
    fn drop(&mut self) {
        // A panic of a thread here concerns work that nobody waits for.
        let _ = self.join();
    }
}

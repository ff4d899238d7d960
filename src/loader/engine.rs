//! The threads of one epoch: started here, watched while the consumer waits, and joined here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::feed::Feed;
use super::live::LiveSet;
use super::shared::Shared;
use super::stats::Counters;
use super::steps::Steps;
use super::watch::{ActivityBoard, StallDetector, Stalled, Task};
use super::worker::{self, Finished, Outcome, Worker, locate};
use crate::batch::Pool;
use crate::shard::Samples;
use crate::{Error, Result};

/// How often a waiting consumer checks whether the memory budget is used up elsewhere, or a thread has stalled.
const CHECK: Duration = Duration::from_millis(100);
/// How long the other threads get to end when one is known to have stalled.
const GRACE: Duration = Duration::from_millis(200);

/// The running threads of an epoch, and the batches they have finished.
///
/// Dropping it ends and joins all threads. A thread that does not end within `stall_timeout` is left behind; it owns
/// what it works with.
#[derive(Debug)]
pub(super) struct Engine {
    shared: Arc<Shared>,
    samples: Arc<dyn Samples>,
    /// The step that the consumer receives next.
    next_step: u64,
    /// One past the last step; `None` until it is known.
    end: Option<u64>,
    pool: Arc<Pool>,
    counters: Arc<Counters>,
    stop: Arc<AtomicBool>,
    /// Outcomes that came before their turn.
    early: BTreeMap<u64, Result<Finished>>,
    /// `None` once the threads are being joined.
    outcomes: Option<Receiver<Outcome>>,
    threads: Vec<JoinHandle<()>>,
    /// Carries nothing; it closes when the last thread has ended.
    alive: (Option<Sender<()>>, Receiver<()>),
    board: Arc<ActivityBoard>,
    detector: StallDetector,
    has_stalled: bool,
    /// The shards that are being indexed.
    live: Option<Arc<LiveSet>>,
}

impl Engine {
    /// Starts the feed thread and the workers on the steps from `first` on.
    pub(super) fn start(
        shared: &Arc<Shared>,
        samples: Arc<dyn Samples>,
        steps: Steps,
        first: u64,
        end: Option<u64>,
    ) -> Result<Self> {
        Self::start_with(shared, samples, steps, first, end, 0)
    }

    /// The same over shards that `passes` further threads index meanwhile.
    pub(super) fn start_live(shared: &Arc<Shared>, live: &Arc<LiveSet>, steps: Steps, passes: usize) -> Result<Self> {
        let run = live.start(passes)?;
        let samples = Arc::clone(live) as Arc<dyn Samples>;
        let engine = Self::start_with(shared, samples, steps, 0, None, passes);
        let mut engine = engine.inspect_err(|_| live.rest(false))?;
        engine.live = Some(Arc::clone(live));
        for index in 0..passes {
            let (live, board) = (Arc::clone(live), Arc::clone(&engine.board));
            let place = 1 + shared.num_workers + index;
            let alive = move |shard: Option<u32>| board.set(place, shard.map(Task::Pass));
            engine.spawn(format!("maskstream-pass-{index}"), move || live.run_passes(run, &alive))?;
        }
        Ok(engine)
    }

    fn start_with(
        shared: &Arc<Shared>,
        samples: Arc<dyn Samples>,
        steps: Steps,
        first: u64,
        end: Option<u64>,
        passes: usize,
    ) -> Result<Self> {
        let pool = Arc::new(Pool::new(Arc::clone(&shared.pool), shared.prefetch_batches));
        // One sample being decoded and one waiting for each worker: read-ahead that is bounded in samples.
        let (jobs_in, jobs) = bounded(shared.num_workers);
        // Room for every batch under way, an error and the end: sending never waits.
        let (outcomes_in, outcomes) = bounded(shared.prefetch_batches + 2);
        let (alive_in, alive) = bounded(0);
        let mut engine = Self {
            shared: Arc::clone(shared),
            samples: Arc::clone(&samples),
            next_step: first,
            end,
            pool: Arc::clone(&pool),
            counters: Arc::new(Counters::within(&shared.counters)),
            stop: Arc::default(),
            early: BTreeMap::new(),
            outcomes: Some(outcomes),
            threads: Vec::new(),
            alive: (Some(alive_in), alive),
            board: Arc::new(ActivityBoard::new(1 + shared.num_workers + passes)),
            detector: StallDetector::default(),
            has_stalled: false,
            live: None,
        };
        let feed = Feed {
            shared: Arc::clone(shared),
            samples: Arc::clone(&samples),
            steps,
            pool,
            counters: Arc::clone(&engine.counters),
            board: Arc::clone(&engine.board),
            first,
            stop: Arc::clone(&engine.stop),
            jobs: jobs_in,
            outcomes: outcomes_in,
        };
        for index in 0..shared.num_workers {
            let worker = Worker {
                shared: Arc::clone(shared),
                samples: Arc::clone(&samples),
                counters: Arc::clone(&engine.counters),
                board: Arc::clone(&engine.board),
                place: index + 1,
                stop: Arc::clone(&engine.stop),
                jobs: jobs.clone(),
            };
            engine.spawn(format!("maskstream-{index}"), move || worker::run(&worker))?;
        }
        engine.spawn("maskstream-feed".to_owned(), move || feed.run())?;
        Ok(engine)
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

    pub(super) fn samples(&self) -> &dyn Samples {
        &*self.samples
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(super) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The step that comes next.
    pub(super) fn next_step(&self) -> u64 {
        self.next_step
    }

    /// One past the last step, if it is known.
    pub(super) fn end(&self) -> Option<u64> {
        self.end
    }

    /// Whether shards are being indexed.
    pub(super) fn is_live(&self) -> bool {
        self.live.is_some()
    }

    /// The batch of the next step has been delivered.
    pub(super) fn advance(&mut self) {
        self.next_step += 1;
    }

    /// Waits for the batch of the next step; `None` when there is none.
    ///
    /// # Errors
    /// If there is no batch at this step because reading, indexing, memory or a thread failed.
    pub(super) fn receive(&mut self) -> Result<Option<Finished>> {
        loop {
            if self.end == Some(self.next_step) {
                return Ok(None);
            }
            if let Some(outcome) = self.early.remove(&self.next_step) {
                return outcome.map(Some);
            }
            match self.outcomes.as_ref().map(|outcomes| outcomes.recv_timeout(CHECK)) {
                Some(Ok(Outcome::Batch(finished))) => drop(self.early.insert(finished.step, Ok(finished))),
                Some(Ok(Outcome::Failed { step, error })) => drop(self.early.insert(step, Err(error))),
                Some(Ok(Outcome::End { steps })) => self.end = Some(steps),
                // Nothing comes while receivers, of other epochs perhaps, hold the whole memory budget.
                Some(Err(RecvTimeoutError::Timeout)) => {
                    if let Some(error) = self.pool.starved().or_else(|| self.stalled()) {
                        return Err(error);
                    }
                }
                // All senders are gone although steps are left: a thread died outside of any sample.
                Some(Err(RecvTimeoutError::Disconnected)) | None => return Err(self.join().unwrap_or_else(lost)),
            }
        }
    }

    /// The error of a thread that has worked on one sample for too long.
    fn stalled(&mut self) -> Option<Error> {
        let limit = self.shared.stall_timeout?;
        let Stalled { task, place, time } = self.detector.look(&self.board, CHECK, limit)?;
        self.has_stalled = true;
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
    pub(super) fn join(&mut self) -> Option<Error> {
        self.stop.store(true, Relaxed);
        self.pool.close();
        if let Some(live) = &self.live {
            live.stop();
        }
        self.outcomes = None;
        self.alive.0 = None;
        let patience = if self.has_stalled { Some(GRACE) } else { self.shared.stall_timeout };
        let all_ended = match patience {
            Some(patience) => self.alive.1.recv_timeout(patience) == Err(RecvTimeoutError::Disconnected),
            None => self.alive.1.recv().is_err(),
        };
        // A thread that is stuck in foreign code cannot be waited for.
        let ended = self.threads.drain(..).filter(|thread| all_ended || thread.is_finished());
        let panics = ended.filter_map(|thread| thread.join().err());
        let first = panics.map(|payload| Error::panic(&*payload)).reduce(|first, _| first);
        self.early.clear();
        self.pool.write_off();
        if let Some(live) = self.live.take() {
            live.rest(self.end == Some(self.next_step));
        }
        first
    }
}

fn lost() -> Error {
    Error::panic(&"the loader's threads ended before the epoch")
}

impl Drop for Engine {
    fn drop(&mut self) {
        // A panic of a thread here concerns work that has no receiver.
        let _ = self.join();
    }
}

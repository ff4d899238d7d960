//! The threads of one epoch: starting them, receiving their batches in order, detecting stalls, and joining them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::activity::{Activity, ActivityBoard, Stall, StallDetector};
use super::feed::Feed;
use super::live::LiveSet;
use super::reader::Reader;
use super::shared::Shared;
use super::stats::Counters;
use super::steps::Steps;
use super::worker::{self, CompletedBatch, Message, Worker, locate};
use crate::batch::Pool;
use crate::image::TOGETHER;
use crate::shard::Samples;
use crate::{Error, Result};

/// How often a waiting consumer checks whether the memory budget is used up, or a thread has stalled.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// How long to wait for the other threads after one has stalled.
const STALLED_JOIN_TIMEOUT: Duration = Duration::from_millis(200);

/// The running threads of an epoch, and the batches they have completed.
///
/// Dropping it ends and joins all threads. A thread that does not end within `stall_timeout` is detached; it owns
/// everything it accesses.
#[derive(Debug)]
pub(super) struct Engine {
    shared: Arc<Shared>,
    samples: Arc<dyn Samples>,
    /// The step of the batch that the consumer receives next.
    next_step: u64,
    /// One past the last step; `None` until it is known.
    end: Option<u64>,
    pool: Arc<Pool>,
    counters: Arc<Counters>,
    stop: Arc<AtomicBool>,
    /// Batches and errors that arrived before their turn, by step.
    reorder_buffer: BTreeMap<u64, Result<CompletedBatch>>,
    /// `None` once the threads are being joined.
    messages: Option<Receiver<Message>>,
    threads: Vec<JoinHandle<()>>,
    /// A channel that carries nothing and closes when the last thread, each of which holds a sender, has ended.
    running: (Option<Sender<()>>, Receiver<()>),
    board: Arc<ActivityBoard>,
    detector: StallDetector,
    has_stalled: bool,
    /// The shards that are being indexed.
    live: Option<Arc<LiveSet>>,
}

impl Engine {
    /// Starts the feed thread and the workers on these steps of an epoch.
    pub(super) fn start(
        shared: &Arc<Shared>,
        samples: Arc<dyn Samples>,
        epoch: u64,
        steps: Steps,
        range: Range<u64>,
    ) -> Result<Self> {
        Self::start_with(shared, samples, epoch, steps, (range.start, Some(range.end)), 0)
    }

    /// Starts the feed thread, the workers, and `passes` further threads that index shards.
    pub(super) fn start_live(
        shared: &Arc<Shared>,
        live: &Arc<LiveSet>,
        epoch: u64,
        steps: Steps,
        passes: usize,
    ) -> Result<Self> {
        let run = live.start(passes)?;
        let samples = Arc::clone(live) as Arc<dyn Samples>;
        let engine = Self::start_with(shared, samples, epoch, steps, (0, None), passes);
        let mut engine = engine.inspect_err(|_| live.end_run(false))?;
        engine.live = Some(Arc::clone(live));
        for index in 0..passes {
            let (live, board) = (Arc::clone(live), Arc::clone(&engine.board));
            let thread = 1 + shared.num_workers * TOGETHER + index;
            let heartbeat = move |shard: Option<u32>| board.set(thread, shard.map(Activity::Pass));
            engine.spawn(format!("maskstream-pass-{index}"), move || live.run_passes(run, &heartbeat))?;
        }
        Ok(engine)
    }

    fn start_with(
        shared: &Arc<Shared>,
        samples: Arc<dyn Samples>,
        epoch: u64,
        steps: Steps,
        (first, end): (u64, Option<u64>),
        passes: usize,
    ) -> Result<Self> {
        let pool = Arc::new(Pool::new(Arc::clone(&shared.pool), shared.prefetch_batches));
        // For each worker, one sample waits while others are decoded: this bounds the samples read ahead.
        let (jobs_in, jobs) = bounded(shared.num_workers);
        // Room for every batch under way, an error and the end, so that sending never blocks.
        let (messages_in, messages) = bounded(shared.prefetch_batches + 2);
        let (running_in, running) = bounded(0);
        let mut engine = Self {
            shared: Arc::clone(shared),
            samples: Arc::clone(&samples),
            next_step: first,
            end,
            pool: Arc::clone(&pool),
            counters: Arc::new(Counters::with_parent(&shared.counters)),
            stop: Arc::default(),
            reorder_buffer: BTreeMap::new(),
            messages: Some(messages),
            threads: Vec::new(),
            running: (Some(running_in), running),
            board: Arc::new(ActivityBoard::new(1 + shared.num_workers * TOGETHER + passes)),
            detector: StallDetector::default(),
            has_stalled: false,
            live: None,
        };
        let reader = Reader::new(shared, &samples, steps, first, &engine.counters, &engine.board);
        engine.stop = Arc::clone(&reader.stop);
        let feed = Feed { reader, pool, first, jobs: jobs_in, messages: messages_in };
        for index in 0..shared.num_workers {
            let worker = Worker {
                shared: Arc::clone(shared),
                samples: Arc::clone(&samples),
                counters: Arc::clone(&engine.counters),
                board: Arc::clone(&engine.board),
                place: 1 + index * TOGETHER,
                epoch,
                first,
                stop: Arc::clone(&engine.stop),
                jobs: jobs.clone(),
            };
            engine.spawn(format!("maskstream-{index}"), move || worker::run(&worker))?;
        }
        engine.spawn("maskstream-feed".to_owned(), move || feed.run())?;
        Ok(engine)
    }

    fn spawn(&mut self, name: String, body: impl FnOnce() + Send + 'static) -> Result<()> {
        let running = self.running.0.clone();
        let thread = thread::Builder::new().name(name).spawn(move || {
            body();
            drop(running);
        });
        let number = self.threads.len() + 1;
        self.threads.push(thread.map_err(|e| {
            Error::limit(format!(
                "cannot start thread {number} of this epoch: {e}; lower num_workers, or raise the limit on threads \
                 (`ulimit -u`, or that of the container)"
            ))
            .caused_by(e)
        })?);
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

    /// The step of the batch that the consumer receives next.
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

    /// Records that the batch of the next step has been delivered.
    pub(super) fn advance(&mut self) {
        self.next_step += 1;
    }

    /// Waits for the batch of the next step; `None` at the end of the epoch.
    ///
    /// # Errors
    /// If there is no batch at this step because reading, indexing, memory or a thread failed.
    pub(super) fn receive(&mut self) -> Result<Option<CompletedBatch>> {
        loop {
            if self.end == Some(self.next_step) {
                return Ok(None);
            }
            if let Some(received) = self.reorder_buffer.remove(&self.next_step) {
                return received.map(Some);
            }
            match self.messages.as_ref().map(|messages| messages.recv_timeout(CHECK_INTERVAL)) {
                Some(Ok(message)) => self.keep(message),
                // No batch can come if delivered batches, perhaps of other epochs, hold the whole memory budget.
                Some(Err(RecvTimeoutError::Timeout)) => {
                    if let Some(error) = self.pool.exhausted().or_else(|| self.stalled()) {
                        return Err(error);
                    }
                }
                // All senders are gone although steps are left: a thread has panicked outside the decoding of a sample.
                Some(Err(RecvTimeoutError::Disconnected)) | None => return Err(self.join().unwrap_or_else(lost)),
            }
        }
    }

    fn keep(&mut self, message: Message) {
        match message {
            Message::Batch(batch) => drop(self.reorder_buffer.insert(batch.step, Ok(batch))),
            Message::Failed { step, error } => drop(self.reorder_buffer.insert(step, Err(error))),
            Message::End { steps } => self.end = Some(steps),
        }
    }

    /// Number of batches that [`receive`](Self::receive) returns without waiting.
    pub(super) fn ready(&mut self) -> u64 {
        while let Some(Ok(message)) = self.messages.as_ref().map(Receiver::try_recv) {
            self.keep(message);
        }
        let steps = self.reorder_buffer.keys().zip(self.next_step..);
        steps.take_while(|(step, turn)| *step == turn).count() as u64
    }

    /// The error of a thread that has been at one activity for longer than `stall_timeout`.
    fn stalled(&mut self) -> Option<Error> {
        let limit = self.shared.stall_timeout?;
        let Stall { activity, thread, time } = self.detector.check(&self.board, CHECK_INTERVAL, limit)?;
        self.has_stalled = true;
        let who = match (activity, thread) {
            (Activity::Pass(_), _) => "a pass has been at one member of the shard".to_owned(),
            (_, 0) => "the feed thread has been reading one sample".to_owned(),
            (_, worker) => format!("worker {} has been decoding one sample", worker - 1),
        };
        let error = Error::limit(format!(
            "{who} for {:.1} s, longer than stall_timeout ({:.1} s); the thread is left running",
            time.as_secs_f64(),
            limit.as_secs_f64()
        ));
        Some(match activity {
            Activity::Sample(sample) => locate(&*self.samples, sample, error),
            Activity::Pass(shard) => error.in_shard(&self.samples.path(shard).unwrap_or_default()),
        })
    }

    /// Ends and joins all threads. Returns the error of the first one that has panicked.
    pub(super) fn join(&mut self) -> Option<Error> {
        self.stop.store(true, Relaxed);
        self.pool.close();
        if let Some(live) = &self.live {
            live.stop();
        }
        self.messages = None;
        self.running.0 = None;
        let timeout = if self.has_stalled { Some(STALLED_JOIN_TIMEOUT) } else { self.shared.stall_timeout };
        let all_ended = match timeout {
            Some(timeout) => self.running.1.recv_timeout(timeout) == Err(RecvTimeoutError::Disconnected),
            None => self.running.1.recv().is_err(),
        };
        // A thread that is stuck in foreign code is not joined.
        let ended = self.threads.drain(..).filter(|thread| all_ended || thread.is_finished());
        let panics = ended.filter_map(|thread| thread.join().err());
        let first = panics.map(|payload| Error::panic(&*payload)).reduce(|first, _| first);
        self.reorder_buffer.clear();
        self.pool.discard_under_way();
        if let Some(live) = self.live.take() {
            live.end_run(self.end == Some(self.next_step));
        }
        first
    }
}

fn lost() -> Error {
    Error::panic(&"the loader's threads ended before the end of the epoch")
}

impl Drop for Engine {
    fn drop(&mut self) {
        // A panic is not reported: its batch has no consumer any more.
        let _ = self.join();
    }
}

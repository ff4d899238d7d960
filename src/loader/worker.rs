//! The worker threads: each inflates and decodes one sample at a time into its slot. The worker that finishes the last
//! slot of a batch sends the batch to the consumer. A sample that fails, panics or is abandoned is an error of its
//! batch.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender};

use super::activity::ActivityBoard;
use super::shared::Shared;
use super::stats::Counters;
use crate::annotation::AnnotationSelector;
use crate::batch::{BatchBuffers, SampleError, Slot};
use crate::sample::{Clock, LabelSource, SampleDecoder, StageTimes};
use crate::shard::{Entry, SampleId, Samples};
use crate::source::{Fetched, Inflater};
use crate::{Error, Result};

/// A batch whose slots are all finished.
pub(super) struct CompletedBatch {
    pub(super) step: u64,
    pub(super) buffers: BatchBuffers,
    pub(super) samples: Vec<Option<SampleId>>,
    pub(super) errors: Vec<SampleError>,
}

impl std::fmt::Debug for CompletedBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CompletedBatch").field("step", &self.step).finish_non_exhaustive()
    }
}

/// A message to the consumer.
pub(super) enum Message {
    /// A batch, which may be ahead of its turn.
    Batch(CompletedBatch),
    /// There is no batch at this step, and none after it.
    Failed { step: u64, error: Error },
    /// The number of steps, sent when the feed has reached the end of the plan.
    End { steps: u64 },
}

/// What the jobs of one batch share.
pub(super) struct PendingBatch {
    pub(super) step: u64,
    pub(super) samples: Vec<Option<SampleId>>,
    pub(super) errors: Mutex<Vec<SampleError>>,
    pub(super) messages: Sender<Message>,
}

/// One sample to decode. Dropping a job finishes its slot, and the last job of a batch sends the batch to the consumer.
/// A job that was dropped before it was done is an error of the batch.
pub(super) struct Job {
    slot: Option<Slot>,
    sample: Option<SampleId>,
    pending: Arc<PendingBatch>,
    done: bool,
    pub(super) bytes: Option<SampleBytes>,
}

/// A sample's index entry, and its bytes as they were fetched.
pub(super) struct SampleBytes {
    pub(super) entry: Entry,
    pub(super) selector: Arc<AnnotationSelector>,
    pub(super) image: Fetched,
    pub(super) labels: LabelBytes,
}

/// The labels of a sample: annotations to decode, or a row from the mask cache.
pub(super) enum LabelBytes {
    Json(Fetched),
    Saved(Arc<[u8]>),
}

impl Job {
    pub(super) fn new(slot: Slot, pending: &Arc<PendingBatch>) -> Self {
        let sample = pending.samples.get(slot.row()).copied().flatten();
        Self { slot: Some(slot), sample, pending: Arc::clone(pending), done: false, bytes: None }
    }

    pub(super) fn sample(&self) -> Option<SampleId> {
        self.sample
    }

    /// Zeroes the row: it is padding.
    pub(super) fn pad(mut self) {
        self.zero();
    }

    /// Zeroes the row, and adds the error to the batch.
    pub(super) fn fail(&mut self, error: Error) {
        self.zero();
        if let (Some(slot), Some(sample)) = (&self.slot, self.sample) {
            let failed = SampleError { row: slot.row(), sample, error };
            self.pending.errors.lock().unwrap_or_else(PoisonError::into_inner).push(failed);
        }
    }

    fn zero(&mut self) {
        if let Some(slot) = &mut self.slot {
            slot.zero();
        }
        self.done = true;
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if !self.done {
            self.fail(Error::panic(&"the sample was abandoned"));
        }
        let Some(buffers) = self.slot.take().and_then(Slot::finish) else { return };
        let PendingBatch { step, samples, errors, messages } = &*self.pending;
        let errors = std::mem::take(&mut *errors.lock().unwrap_or_else(PoisonError::into_inner));
        let finished = CompletedBatch { step: *step, buffers, samples: samples.clone(), errors };
        // Sending fails only if the epoch was dropped.
        let _ = messages.send(Message::Batch(finished));
    }
}

/// A worker's decoder and buffers, reused for each sample.
struct WorkerState {
    decoder: SampleDecoder,
    image: Inflater,
    json: Inflater,
}

impl WorkerState {
    fn new(shared: &Shared) -> Self {
        let (image, json) = Default::default();
        Self { decoder: SampleDecoder::new(Arc::clone(&shared.sample), Arc::clone(&shared.planes)), image, json }
    }
}

/// What a worker thread is given.
pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) samples: Arc<dyn Samples>,
    pub(super) counters: Arc<Counters>,
    pub(super) board: Arc<ActivityBoard>,
    /// Index of this thread on the board.
    pub(super) thread: usize,
    pub(super) epoch: u64,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) jobs: Receiver<Job>,
}

/// The body of a worker thread: decodes until the work channel closes. Once `stop` is set, jobs are dropped, not
/// decoded.
pub(super) fn run(worker: &Worker) {
    let Worker { shared, samples, counters, .. } = worker;
    let mut state = WorkerState::new(shared);
    for mut job in &worker.jobs {
        if worker.stop.load(Relaxed) {
            continue;
        }
        let _guard = job.sample.map(|sample| worker.board.begin(worker.thread, sample));
        // After a panic the decoder and buffers are replaced, because their state may be inconsistent.
        let decoded = catch_unwind(AssertUnwindSafe(|| decode(shared, worker.epoch, &mut state, &mut job)));
        let error = match decoded {
            Ok(Ok(times)) => {
                job.done = true;
                counters.add_sample(&times);
                continue;
            }
            Ok(Err(error)) => error,
            Err(payload) => {
                state = WorkerState::new(shared);
                Error::panic(&*payload)
            }
        };
        if let Some(sample) = job.sample {
            job.fail(locate(&**samples, sample, error));
        }
    }
}

fn decode(shared: &Shared, epoch: u64, state: &mut WorkerState, job: &mut Job) -> Result<StageTimes> {
    let mut times = StageTimes::default();
    // Taken out so that they are freed when this function returns.
    let bytes = job.bytes.take();
    let (Some(SampleBytes { entry, selector, image, labels }), Some(slot), Some(sample)) =
        (&bytes, &mut job.slot, job.sample)
    else {
        return Err(Error::panic(&"a worker received a sample without bytes or slot"));
    };
    let mut clock = Clock::start();
    let image = image.inflate(&mut state.image).map_err(|e| e.in_member(&entry.image_name()))?;
    let labels = match labels {
        LabelBytes::Json(json) => {
            let json = json.inflate(&mut state.json).map_err(|e| e.in_member(&entry.annotations_name()))?;
            LabelSource::Json { json, selector, epoch }
        }
        LabelBytes::Saved(row) => LabelSource::Saved(row),
    };
    times.inflate += clock.lap();
    let is_new = matches!(labels, LabelSource::Json { .. });
    state.decoder.decode(entry, image, labels, slot.row_mut(), &mut times)?;
    if let (Some(cache), true) = (&shared.cache, is_new) {
        cache.put(sample, entry.annotations, slot.row_mut().save_labels());
    }
    Ok(times)
}

/// Adds the location of the sample to an error that has none.
pub(super) fn locate(samples: &dyn Samples, sample: SampleId, error: Error) -> Error {
    let error = match samples.path(sample.shard) {
        Some(path) => error.in_shard(&path),
        None => error,
    };
    match samples.entry(sample) {
        Some(entry) => error.in_member(&entry.image_name()).at_offset(entry.image.offset),
        None => error,
    }
}

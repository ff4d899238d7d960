//! Decoding. Comes in: samples with their bytes, packed or not, and slots. Goes out: filled slots, and with a batch's
//! last one the batch. A sample that fails, panics or is given up is an error of its batch.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender};

use super::shared::Shared;
use super::stats::Counters;
use super::watch::ActivityBoard;
use crate::annotation::AnnotationSelector;
use crate::batch::{BatchBuffers, SampleError, Slot};
use crate::sample::{Clock, LabelSource, SampleDecoder, StageTimes};
use crate::shard::{Entry, SampleId, Samples};
use crate::source::{Fetched, Inflater};
use crate::{Error, Result};

/// A batch all of whose slots are done.
pub(super) struct Finished {
    pub(super) step: u64,
    pub(super) buffers: BatchBuffers,
    pub(super) samples: Vec<Option<SampleId>>,
    pub(super) errors: Vec<SampleError>,
}

impl std::fmt::Debug for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Finished").field("step", &self.step).finish_non_exhaustive()
    }
}

/// What goes to the consumer.
pub(super) enum Outcome {
    Batch(Finished),
    /// The error that stands in the place of a batch.
    Failed {
        step: u64,
        error: Error,
    },
    /// The plan has come to its end, which it did not know before.
    End {
        steps: u64,
    },
}

/// What the slots of one batch have in common.
pub(super) struct PendingBatch {
    pub(super) step: u64,
    pub(super) samples: Vec<Option<SampleId>>,
    pub(super) errors: Mutex<Vec<SampleError>>,
    pub(super) outcomes: Sender<Outcome>,
}

/// One sample to decode. However it ends, dropping it settles its slot, and the last one of a batch sends the batch.
pub(super) struct Job {
    slot: Option<Slot>,
    sample: Option<SampleId>,
    pending: Arc<PendingBatch>,
    settled: bool,
    pub(super) bytes: Option<SampleBytes>,
}

/// A sample's index row, and its bytes as they were fetched.
pub(super) struct SampleBytes {
    pub(super) entry: Entry,
    pub(super) selector: Arc<AnnotationSelector>,
    pub(super) image: Fetched,
    pub(super) labels: LabelBytes,
}

pub(super) enum LabelBytes {
    Json(Fetched),
    Saved(Arc<[u8]>),
}

impl Job {
    pub(super) fn new(slot: Slot, pending: &Arc<PendingBatch>) -> Self {
        let sample = pending.samples.get(slot.row()).copied().flatten();
        Self { slot: Some(slot), sample, pending: Arc::clone(pending), settled: false, bytes: None }
    }

    pub(super) fn sample(&self) -> Option<SampleId> {
        self.sample
    }

    /// Leaves the row empty: it is padding.
    pub(super) fn pad(mut self) {
        self.empty();
    }

    /// Leaves the row empty, for this reason.
    pub(super) fn fail(&mut self, error: Error) {
        self.empty();
        if let (Some(slot), Some(sample)) = (&self.slot, self.sample) {
            let failed = SampleError { row: slot.row(), sample, error };
            self.pending.errors.lock().unwrap_or_else(PoisonError::into_inner).push(failed);
        }
    }

    fn empty(&mut self) {
        if let Some(slot) = &mut self.slot {
            slot.zero();
        }
        self.settled = true;
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if !self.settled {
            self.fail(Error::panic(&"the sample was given up"));
        }
        let Some(buffers) = self.slot.take().and_then(Slot::finish) else { return };
        let PendingBatch { step, samples, errors, outcomes } = &*self.pending;
        let errors = std::mem::take(&mut *errors.lock().unwrap_or_else(PoisonError::into_inner));
        let finished = Finished { step: *step, buffers, samples: samples.clone(), errors };
        // Nobody listens any more when the epoch was dropped.
        let _ = outcomes.send(Outcome::Batch(finished));
    }
}

/// What a worker works with, used again for each sample.
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

/// What a worker thread works for.
pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) samples: Arc<dyn Samples>,
    pub(super) counters: Arc<Counters>,
    pub(super) board: Arc<ActivityBoard>,
    /// Its place there.
    pub(super) place: usize,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) jobs: Receiver<Job>,
}

/// A worker's life: decodes until the work channel closes. Once `stop` is set, work is dropped undone.
pub(super) fn run(worker: &Worker) {
    let Worker { shared, samples, counters, .. } = worker;
    let mut state = WorkerState::new(shared);
    for mut job in &worker.jobs {
        if worker.stop.load(Relaxed) {
            continue;
        }
        let _guard = job.sample.map(|sample| worker.board.begin(worker.place, sample));
        // After a panic the tools are replaced, so nothing half-changed is seen again.
        let decoded = catch_unwind(AssertUnwindSafe(|| decode(shared, &mut state, &mut job)));
        let error = match decoded {
            Ok(Ok(times)) => {
                job.settled = true;
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

fn decode(shared: &Shared, state: &mut WorkerState, job: &mut Job) -> Result<StageTimes> {
    let mut times = StageTimes::default();
    // Taken out, so that they are dropped here, on success and on failure.
    let bytes = job.bytes.take();
    let (Some(SampleBytes { entry, selector, image, labels }), Some(slot), Some(sample)) =
        (&bytes, &mut job.slot, job.sample)
    else {
        return Err(Error::panic(&"a sample came to its worker without bytes or slot"));
    };
    let mut clock = Clock::start();
    let image = image.inflate(&mut state.image).map_err(|e| e.in_member(&entry.image_name()))?;
    let labels = match labels {
        LabelBytes::Json(json) => {
            let json = json.inflate(&mut state.json).map_err(|e| e.in_member(&entry.annotations_name()))?;
            LabelSource::Json(json, selector)
        }
        LabelBytes::Saved(row) => LabelSource::Saved(row),
    };
    times.inflate += clock.lap();
    let is_new = matches!(labels, LabelSource::Json(..));
    state.decoder.decode(entry, image, labels, slot.row_mut(), &mut times)?;
    if let (Some(cache), true) = (&shared.cache, is_new) {
        cache.put(sample, entry.annotations, slot.row_mut().save_labels());
    }
    Ok(times)
}

/// Adds the place of the sample to an error that does not name one.
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

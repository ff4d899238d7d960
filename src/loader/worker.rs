//! Decoding. Comes in: samples with their bytes and slots. Goes out: filled slots, and with a batch's last one the
//! batch. A sample that fails, panics or is given up is an issue of its batch.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender};

use super::options::Inner;
use super::stats::Counters;
use crate::batch::{BatchBuffers, Issue, Slot};
use crate::sample::{LabelSource, SampleDecoder, StageTimes};
use crate::shard::SampleId;
use crate::{Error, Result};

/// A batch all of whose slots are done.
pub(super) struct Finished {
    pub(super) step: u64,
    pub(super) buffers: BatchBuffers,
    pub(super) samples: Vec<Option<SampleId>>,
    pub(super) issues: Vec<Issue>,
}

/// What goes to the consumer: a batch, or the error that stands in its place.
pub(super) type Outcome = (u64, Result<Finished>);

/// What the slots of one batch have in common.
pub(super) struct Assembly {
    pub(super) step: u64,
    pub(super) samples: Vec<Option<SampleId>>,
    pub(super) issues: Mutex<Vec<Issue>>,
    pub(super) outcomes: Sender<Outcome>,
}

/// One sample to decode. However it ends, dropping it settles its slot, and the last one of a batch sends the batch.
pub(super) struct Work {
    slot: Option<Slot>,
    sample: Option<SampleId>,
    assembly: Arc<Assembly>,
    settled: bool,
    pub(super) bytes: Option<SampleBytes>,
}

/// A sample's bytes in memory.
pub(super) struct SampleBytes {
    pub(super) image: Bytes,
    pub(super) labels: LabelBytes,
}

pub(super) enum LabelBytes {
    Json(Bytes),
    Saved(Arc<[u8]>),
}

impl Work {
    pub(super) fn new(slot: Slot, assembly: &Arc<Assembly>) -> Self {
        let sample = assembly.samples.get(slot.row()).copied().flatten();
        Self { slot: Some(slot), sample, assembly: Arc::clone(assembly), settled: false, bytes: None }
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
            let issue = Issue { row: slot.row(), sample, error };
            self.assembly.issues.lock().unwrap_or_else(PoisonError::into_inner).push(issue);
        }
    }

    fn empty(&mut self) {
        if let Some(slot) = &mut self.slot {
            slot.zero();
        }
        self.settled = true;
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if !self.settled {
            self.fail(Error::panic(&"the sample was given up"));
        }
        let Some(buffers) = self.slot.take().and_then(Slot::finish) else { return };
        let Assembly { step, samples, issues, outcomes } = &*self.assembly;
        let issues = std::mem::take(&mut *issues.lock().unwrap_or_else(PoisonError::into_inner));
        let finished = Finished { step: *step, buffers, samples: samples.clone(), issues };
        // Nobody listens any more when the epoch was dropped.
        let _ = outcomes.send((*step, Ok(finished)));
    }
}

/// A worker's life: decodes until the work channel closes. Once `stop` is set, work is dropped undone.
pub(super) fn run(loader: &Inner, counters: &Counters, stop: &AtomicBool, work: &Receiver<Work>) {
    let mut decoder = SampleDecoder::new(Arc::clone(&loader.sample));
    for mut work in work {
        if stop.load(Relaxed) {
            continue;
        }
        // After a panic the decoder is replaced, so nothing half-changed is seen again.
        let decoded = catch_unwind(AssertUnwindSafe(|| decode(loader, &mut decoder, &mut work)));
        let error = match decoded {
            Ok(Ok(times)) => {
                work.settled = true;
                counters.add_sample(&times);
                continue;
            }
            Ok(Err(error)) => error,
            Err(payload) => {
                decoder = SampleDecoder::new(Arc::clone(&loader.sample));
                Error::panic(&*payload)
            }
        };
        if let Some(sample) = work.sample {
            work.fail(locate(loader, sample, error));
        }
    }
}

fn decode(loader: &Inner, decoder: &mut SampleDecoder, work: &mut Work) -> Result<StageTimes> {
    let mut times = StageTimes::default();
    // Taken out, so that they are dropped here, on success and on failure.
    let bytes = work.bytes.take();
    let (Some(bytes), Some(slot), Some(sample)) = (&bytes, &mut work.slot, work.sample) else {
        return Err(Error::panic(&"a sample came to its worker without bytes or slot"));
    };
    let entry = loader.set.entry(sample).ok_or_else(|| Error::config(format!("there is no sample {sample:?}")))?;
    let labels = match &bytes.labels {
        LabelBytes::Json(json) => LabelSource::Json(json),
        LabelBytes::Saved(row) => LabelSource::Saved(row),
    };
    decoder.decode(entry, &bytes.image, labels, slot.row_mut(), &mut times)?;
    if let (Some(cache), LabelBytes::Json(_)) = (&loader.cache, &bytes.labels) {
        cache.put(sample, slot.row_mut().labels.save());
    }
    Ok(times)
}

/// Adds the place of the sample to an error that does not name one.
pub(super) fn locate(loader: &Inner, sample: SampleId, error: Error) -> Error {
    let error = match loader.set.shard_path(sample) {
        Some(path) => error.in_shard(path),
        None => error,
    };
    match loader.set.entry(sample) {
        Some(entry) => error.in_member(&entry.image_name()).at_offset(entry.image.offset),
        None => error,
    }
}

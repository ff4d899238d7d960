//! Plan -> work. Comes in: the plan, the pool, the shards. Goes out: each planned sample with its slot and its bytes,
//! in order. A sample whose bytes cannot be read is an error of its batch; a batch without buffers is an error in its
//! place.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use crossbeam_channel::Sender;

use super::shared::Shared;
use super::stats::Counters;
use super::steps::Steps;
use super::watch::ActivityBoard;
use super::worker::{Job, LabelBytes, Outcome, PendingBatch, SampleBytes, locate};
use crate::batch::{BatchBuffers, Pool, slots};
use crate::sample::Clock;
use crate::shard::{SampleId, Samples};
use crate::{Error, Result};

/// What the feed thread works with.
pub(super) struct Feed {
    pub(super) shared: Arc<Shared>,
    pub(super) samples: Arc<dyn Samples>,
    pub(super) steps: Steps,
    pub(super) pool: Arc<Pool>,
    pub(super) counters: Arc<Counters>,
    pub(super) board: Arc<ActivityBoard>,
    /// The first step.
    pub(super) first: u64,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) jobs: Sender<Job>,
    pub(super) outcomes: Sender<Outcome>,
}

impl Feed {
    /// The feed thread's life: walks the plan until its end, or until the epoch is dropped.
    pub(super) fn run(mut self) {
        // Nobody listens any more when the epoch was dropped.
        match self.walk() {
            Ok(Some(steps)) => drop(self.outcomes.send(Outcome::End { steps })),
            Ok(None) => {}
            Err((step, error)) => drop(self.outcomes.send(Outcome::Failed { step, error })),
        }
    }

    /// Returns the number of steps at the end of the plan, `None` when the epoch was dropped, or the step at which
    /// there is no batch and why.
    fn walk(&mut self) -> Result<Option<u64>, (u64, Error)> {
        let mut next = self.steps.batch(self.first).map_err(|error| (self.first, error))?;
        self.prefetch(next.as_deref());
        for step in self.first.. {
            let Some(samples) = next else { return Ok(Some(step)) };
            let Some(buffers) = self.pool.acquire().map_err(|error| (step, error))? else { return Ok(None) };
            // One step ahead where that needs no waiting.
            let ahead = self.steps.is_planned().then(|| self.steps.batch(step + 1));
            if let Some(Ok(samples)) = &ahead {
                self.prefetch(samples.as_deref());
            }
            if !self.send(step, samples, buffers) {
                return Ok(None);
            }
            next = match ahead {
                Some(batch) => batch.map_err(|error| (step + 1, error))?,
                None => {
                    let batch = self.steps.batch(step + 1).map_err(|error| (step + 1, error))?;
                    self.prefetch(batch.as_deref());
                    batch
                }
            };
        }
        Ok(None)
    }

    /// Reads the samples of one batch and hands them to the workers; `false` when the epoch was dropped.
    fn send(&self, step: u64, samples: Vec<Option<SampleId>>, buffers: BatchBuffers) -> bool {
        let errors = Default::default();
        let pending = Arc::new(PendingBatch { step, samples, errors, outcomes: self.outcomes.clone() });
        // All of them first: whatever happens below, each settles its slot.
        let jobs: Vec<_> =
            slots(self.pool.layout(), buffers).into_iter().map(|slot| Job::new(slot, &pending)).collect();
        for mut job in jobs {
            if self.stop.load(Relaxed) {
                return false;
            }
            let Some(sample) = job.sample() else {
                job.pad();
                continue;
            };
            let fetched = {
                let _guard = self.board.begin(0, sample);
                self.fetch(sample)
            };
            match fetched {
                Ok(bytes) => job.bytes = Some(bytes),
                Err(error) => {
                    job.fail(locate(&*self.samples, sample, error));
                    continue;
                }
            }
            if self.jobs.send(job).is_err() {
                return false;
            }
        }
        true
    }

    /// Tells the sources what a batch will need, so that the device works while another one is decoded. Whatever is
    /// wrong, a panic of a source included, shows again when the bytes are read.
    fn prefetch(&mut self, samples: Option<&[Option<SampleId>]>) {
        let samples = self.steps.prefetchable(samples.unwrap_or_default());
        let prefetch = |sample: SampleId| {
            // This may be the first to open a shard.
            let _guard = self.board.begin(0, sample);
            if let (Some(entry), Ok(source)) = (self.samples.entry(sample), self.samples.source(sample.shard)) {
                source.will_need(entry.image.range());
                source.will_need(entry.annotations.range());
            }
        };
        for sample in samples {
            let _ = catch_unwind(AssertUnwindSafe(|| prefetch(sample)));
        }
    }

    /// The bytes of a sample, packed or not. A source is foreign code: its panic is this sample's error.
    fn fetch(&self, sample: SampleId) -> Result<SampleBytes> {
        let (mut clock, wall) = (Clock::start(), Instant::now());
        let fetch = || {
            let entry =
                self.samples.entry(sample).ok_or_else(|| Error::config(format!("there is no sample {sample:?}")))?;
            let source = self.samples.source(sample.shard)?;
            let image = source
                .fetch(entry.image.range())
                .map_err(|e| e.in_member(&entry.image_name()).at_offset(entry.image.offset))?;
            let labels = match self.shared.cache.as_ref().and_then(|cache| cache.get(sample, entry.annotations)) {
                Some(row) => LabelBytes::Saved(row),
                None => {
                    let json = source.fetch(entry.annotations.range());
                    LabelBytes::Json(
                        json.map_err(|e| e.in_member(&entry.annotations_name()).at_offset(entry.annotations.offset))?,
                    )
                }
            };
            let selector =
                self.samples.selector(sample.shard).ok_or_else(|| Error::config("there is no such shard"))?;
            Ok(SampleBytes { entry, selector, image, labels })
        };
        let bytes = catch_unwind(AssertUnwindSafe(fetch)).unwrap_or_else(|payload| Err(Error::panic(&*payload)));
        self.counters.add_read(clock.lap(), wall.elapsed());
        bytes
    }
}

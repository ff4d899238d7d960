//! The feed thread: walks the plan, acquires buffers for each batch, reads the bytes of its samples, and sends them to
//! the workers in planned order, each with its slot. A sample that cannot be read is an error of its batch. If a batch
//! has no samples or buffers because of an error, that error is sent to the consumer and the feed ends.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use crossbeam_channel::Sender;

use super::activity::ActivityBoard;
use super::shared::Shared;
use super::stats::Counters;
use super::steps::Steps;
use super::trace::Span;
use super::worker::{Job, LabelBytes, Message, PendingBatch, SampleBytes, locate};
use crate::batch::{BatchBuffers, Pool, slots};
use crate::sample::Clock;
use crate::shard::{SampleId, Samples};
use crate::{Error, Result};

/// The state of the feed thread.
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
    pub(super) messages: Sender<Message>,
}

impl Feed {
    /// The body of the feed thread: walks the plan to its end, or until the epoch is dropped.
    pub(super) fn run(mut self) {
        // Sending fails only if the epoch was dropped.
        match self.walk() {
            Ok(Some(steps)) => drop(self.messages.send(Message::End { steps })),
            Ok(None) => {}
            Err((step, error)) => drop(self.messages.send(Message::Failed { step, error })),
        }
    }

    /// Returns the number of steps at the end of the plan, or `None` if the epoch was dropped.
    ///
    /// # Errors
    /// The step at which there is no batch, and why.
    fn walk(&mut self) -> Result<Option<u64>, (u64, Error)> {
        let mut next = self.steps.batch(self.first).map_err(|error| (self.first, error))?;
        self.prefetch(next.as_deref());
        for step in self.first.. {
            let Some(samples) = next else { return Ok(Some(step)) };
            let Some(buffers) = self.pool.acquire().map_err(|error| (step, error))? else { return Ok(None) };
            // Prefetch one step ahead if its samples can be computed without waiting.
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

    /// Reads the samples of one batch and sends them to the workers; `false` if the epoch was dropped.
    fn send(&self, step: u64, samples: Vec<Option<SampleId>>, buffers: BatchBuffers) -> bool {
        let errors = Default::default();
        let pending = Arc::new(PendingBatch { step, samples, errors, messages: self.messages.clone() });
        // All jobs are created first, because dropping one finishes its slot, also on an early return below.
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
                Span::read(step, sample).run(|| self.fetch(sample))
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

    /// Advises the sources which bytes a batch will need, so that the device reads them while another batch is decoded.
    /// Errors and panics of sources are ignored: they recur when the bytes are read.
    fn prefetch(&mut self, samples: Option<&[Option<SampleId>]>) {
        let samples = self.steps.prefetchable(samples.unwrap_or_default());
        let prefetch = |sample: SampleId| {
            // Posted as an activity because it may open a shard, which can take long.
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

    /// Reads the bytes of a sample, compressed or not. A panic of the source, which is foreign code, becomes the
    /// sample's error.
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
        let fetched = bytes.as_ref().map_or(0, SampleBytes::fetched_bytes);
        self.counters.add_read(clock.lap(), wall.elapsed(), fetched);
        bytes
    }
}

//! The feed thread: walks the plan, acquires buffers for each batch, reads the bytes of its samples, and sends them to
//! the workers in planned order, each with its slot. A sample that cannot be read is an error of its batch. If a batch
//! has no samples or buffers because of an error, that error is sent to the consumer and the feed ends.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use crossbeam_channel::Sender;

use super::activity::ActivityBoard;
use super::ahead::{Ahead, Reads};
use super::shared::Shared;
use super::stats::Counters;
use super::steps::Steps;
use super::trace::Span;
use super::worker::{Job, LabelBytes, Message, PendingBatch, SampleBytes, locate};
use crate::batch::{BatchBuffers, Pool, slots};
use crate::sample::Clock;
use crate::shard::{SampleId, Samples};
use crate::source::Prefetch;
use crate::{Error, Result};

/// The state of the feed thread.
pub(super) struct Feed {
    pub(super) shared: Arc<Shared>,
    pub(super) samples: Arc<dyn Samples>,
    pub(super) steps: Steps,
    pub(super) pool: Arc<Pool>,
    pub(super) counters: Arc<Counters>,
    pub(super) board: Arc<ActivityBoard>,
    pub(super) ahead: Ahead,
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
        for step in self.first.. {
            self.ahead.advance(step);
            let Some(samples) = self.steps.batch(step).map_err(|error| (step, error))? else { return Ok(Some(step)) };
            if self.ahead.due() == Some(step) {
                self.ahead.begin(&mut self.steps, Some(&samples));
            }
            let Some(buffers) = self.pool.acquire().map_err(|error| (step, error))? else { return Ok(None) };
            if !self.send(step, samples, buffers) {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// Begins the reads of the steps that are due, if their samples can be computed without waiting.
    fn read_ahead(&mut self) {
        while let Some(step) = self.ahead.due().filter(|_| self.steps.is_planned()) {
            let samples = self.steps.batch(step).ok().flatten();
            self.ahead.begin(&mut self.steps, samples.as_deref());
        }
    }

    /// Reads the samples of one batch and sends them to the workers; `false` if the epoch was dropped.
    fn send(&mut self, step: u64, samples: Vec<Option<SampleId>>, buffers: BatchBuffers) -> bool {
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
            self.read_ahead();
            let reads = self.ahead.take(sample, &self.steps);
            let fetched = {
                let _guard = self.board.begin(0, sample);
                Span::read(step, sample).run(|| self.fetch(sample, reads))
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

    /// Reads the bytes of a sample, compressed or not. A panic of the source, which is foreign code, becomes the
    /// sample's error.
    fn fetch(&self, sample: SampleId, reads: Reads) -> Result<SampleBytes> {
        let (mut clock, wall) = (Clock::start(), Instant::now());
        let fetch = || {
            let entry =
                self.samples.entry(sample).ok_or_else(|| Error::config(format!("there is no sample {sample:?}")))?;
            let source = self.samples.source(sample.shard)?;
            let fetch = |read: Prefetch, range: Range<u64>| match read.finish(&self.stop) {
                Some(result) => result,
                None => source.fetch(range),
            };
            let image = fetch(reads.image, entry.image.range())
                .map_err(|e| e.in_member(&entry.image_name()).at_offset(entry.image.offset))?;
            let labels = match self.shared.cache.as_ref().and_then(|cache| cache.get(sample, entry.annotations)) {
                Some(row) => LabelBytes::Saved(row),
                None => {
                    let json = fetch(reads.annotations, entry.annotations.range());
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

//! Reads the bytes of samples, step by step, those of later steps ahead.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::activity::ActivityBoard;
use super::ahead::{Ahead, Reads};
use super::shared::Shared;
use super::stats::Counters;
use super::steps::Steps;
use super::trace::Span;
use super::worker::{LabelBytes, SampleBytes};
use crate::sample::Clock;
use crate::shard::{SampleId, Samples};
use crate::source::finish;
use crate::{Error, Result};

/// The state of reading.
pub(super) struct Reader {
    shared: Arc<Shared>,
    pub(super) samples: Arc<dyn Samples>,
    steps: Steps,
    ahead: Ahead,
    counters: Arc<Counters>,
    board: Arc<ActivityBoard>,
    pub(super) stop: Arc<AtomicBool>,
}

impl Reader {
    /// Reads from step `first` on.
    pub(super) fn new(
        shared: &Arc<Shared>,
        samples: &Arc<dyn Samples>,
        steps: Steps,
        first: u64,
        counters: &Arc<Counters>,
        board: &Arc<ActivityBoard>,
    ) -> Self {
        let (shared, samples, counters) = (Arc::clone(shared), Arc::clone(samples), Arc::clone(counters));
        let (board, stop) = (Arc::clone(board), Arc::default());
        let ahead = Ahead::new(&shared, &samples, &board, first);
        Self { shared, samples, steps, ahead, counters, board, stop }
    }

    /// The samples of a step, whose reads begin; `None` at the end. Steps must be requested in order.
    ///
    /// # Errors
    /// If indexing fails.
    pub(super) fn batch(&mut self, step: u64) -> Result<Option<Vec<Option<SampleId>>>> {
        self.ahead.advance(step);
        let samples = self.steps.batch(step)?;
        if samples.is_some() && self.ahead.due() == Some(step) {
            self.ahead.begin(&mut self.steps, samples.as_deref());
        }
        Ok(samples)
    }

    /// Reads the bytes of a sample of the present step, compressed or not.
    pub(super) fn read(&mut self, step: u64, sample: SampleId) -> Result<SampleBytes> {
        self.read_ahead();
        let reads = self.ahead.take(sample, &self.steps);
        let _guard = self.board.begin(0, sample);
        Span::read(step, sample).run(|| self.fetch(sample, reads))
    }

    /// Begins the reads of the steps that are due, if their samples can be computed without waiting.
    fn read_ahead(&mut self) {
        while let Some(step) = self.ahead.due().filter(|_| self.steps.is_planned()) {
            let samples = self.steps.batch(step).ok().flatten();
            self.ahead.begin(&mut self.steps, samples.as_deref());
        }
    }

    /// A panic of the source, which is foreign code, becomes the sample's error.
    fn fetch(&self, sample: SampleId, reads: Reads) -> Result<SampleBytes> {
        let (mut clock, wall) = (Clock::start(), Instant::now());
        let fetch = || {
            let entry =
                self.samples.entry(sample).ok_or_else(|| Error::config(format!("there is no sample {sample:?}")))?;
            let source = self.samples.source(sample.shard)?;
            let fetch = |read, range| finish(&*source, read, range, &self.stop);
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

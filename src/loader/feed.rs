//! Plan -> work. Comes in: the plan, the pool, the shards. Goes out: each planned sample with its slot and its bytes,
//! in order. A sample whose bytes cannot be read is an issue of its batch; a batch without buffers is an error in its
//! place.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use crossbeam_channel::Sender;

use super::options::Inner;
use super::stats::Counters;
use super::worker::{Assembly, LabelBytes, Outcome, SampleBytes, Work, locate};
use crate::batch::{Pool, slots};
use crate::order::Plan;
use crate::sample::Clock;
use crate::shard::SampleId;
use crate::{Error, Result};

/// What the feed thread works with.
pub(super) struct Feed {
    pub(super) loader: Arc<Inner>,
    pub(super) plan: Plan,
    pub(super) pool: Arc<Pool>,
    pub(super) counters: Arc<Counters>,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) work: Sender<Work>,
    pub(super) outcomes: Sender<Outcome>,
}

impl Feed {
    /// The feed thread's life: walks the plan until its end, or until the epoch is dropped.
    pub(super) fn run(self) {
        self.announce(0);
        for step in 0..self.plan.steps() {
            let buffers = match self.pool.acquire() {
                Ok(Some(buffers)) => buffers,
                Ok(None) => return,
                Err(error) => {
                    let _ = self.outcomes.send((step, Err(error)));
                    return;
                }
            };
            if step + 1 < self.plan.steps() {
                self.announce(step + 1);
            }
            let samples = self.samples(step);
            let issues = Default::default();
            let assembly = Arc::new(Assembly { step, samples, issues, outcomes: self.outcomes.clone() });
            // All of them first: whatever happens below, each settles its slot.
            let works: Vec<_> =
                slots(self.pool.layout(), buffers).into_iter().map(|slot| Work::new(slot, &assembly)).collect();
            for mut work in works {
                if self.stop.load(Relaxed) {
                    return;
                }
                let Some(sample) = work.sample() else {
                    work.pad();
                    continue;
                };
                match self.read(sample) {
                    Ok(bytes) => work.bytes = Some(bytes),
                    Err(error) => {
                        work.fail(locate(&self.loader, sample, error));
                        continue;
                    }
                }
                if self.work.send(work).is_err() {
                    return;
                }
            }
        }
    }

    fn samples(&self, step: u64) -> Vec<Option<SampleId>> {
        self.plan.batch(step).map(|sample| sample.map(|position| self.loader.set.sample_at(position))).collect()
    }

    /// Tells the sources what a later batch will need, so that the device works while this one is decoded. Whatever is
    /// wrong, a panic of a source included, shows again when the bytes are read.
    fn announce(&self, step: u64) {
        let announce = |sample: SampleId| {
            let set = &self.loader.set;
            if let (Some(entry), Ok(source)) = (set.entry(sample), set.source(sample.shard)) {
                source.will_need(entry.image.range());
                source.will_need(entry.annotations.range());
            }
        };
        for sample in self.samples(step).into_iter().flatten() {
            let _ = catch_unwind(AssertUnwindSafe(|| announce(sample)));
        }
    }

    /// The bytes of a sample. A source is foreign code: its panic is this sample's error.
    fn read(&self, sample: SampleId) -> Result<SampleBytes> {
        let (mut clock, wall) = (Clock::start(), Instant::now());
        let read = || {
            let set = &self.loader.set;
            let entry = set.entry(sample).ok_or_else(|| Error::config(format!("there is no sample {sample:?}")))?;
            let source = set.source(sample.shard)?;
            let image = source
                .read(entry.image.range())
                .map_err(|e| e.in_member(&entry.image_name()).at_offset(entry.image.offset))?;
            let labels = match self.loader.cache.as_ref().and_then(|cache| cache.get(sample)) {
                Some(row) => LabelBytes::Saved(row),
                None => {
                    let json = source.read(entry.annotations.range());
                    LabelBytes::Json(
                        json.map_err(|e| e.in_member(&entry.annotations_name()).at_offset(entry.annotations.offset))?,
                    )
                }
            };
            Ok(SampleBytes { image, labels })
        };
        let bytes = catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|payload| Err(Error::panic(&*payload)));
        self.counters.add_read(clock.lap(), wall.elapsed());
        bytes
    }
}

//! Step -> samples. Comes in: a plan, or shards that are still being indexed. Goes out: the samples of each batch.
//! Planned steps cannot fail; others fail as the indexing does, after the samples before the failure.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use lru::LruCache;

use crate::order::{Order, Plan};
use crate::shard::{LiveSet, Position, SampleId, ShardSet};
use crate::{Error, Result};

/// Chunks that are not announced again: more than are in use at a time.
const ANNOUNCED_CHUNKS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4095);

/// Where the samples of a step come from.
pub(super) enum Steps {
    /// By arithmetic alone.
    Planned(PlannedSteps),
    /// In the order of the shards, as they become known.
    Growing(GrowingSteps),
}

pub(super) struct PlannedSteps {
    plan: Plan,
    set: Arc<ShardSet>,
    /// The step to stop before.
    end: u64,
    /// First samples of the chunks that were announced.
    announced: LruCache<u64, ()>,
}

pub(super) struct GrowingSteps {
    set: Arc<LiveSet>,
    order: Order,
    position: Position,
    /// What stands after the last sound sample.
    failure: Option<Error>,
    ended: bool,
    counts: Arc<Counts>,
}

/// Samples of growing shards so far.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Taken for batches.
    pub(super) handed: AtomicU64,
    /// Left out, as they do not fill one.
    pub(super) dropped: AtomicU64,
}

impl Steps {
    pub(super) fn growing(set: Arc<LiveSet>, order: Order) -> Self {
        let (position, counts) = Default::default();
        Self::Growing(GrowingSteps { set, order, position, failure: None, ended: false, counts })
    }

    /// Those of a plan before step `end`.
    pub(super) fn planned(plan: Plan, set: Arc<ShardSet>, end: u64) -> Self {
        Self::Planned(PlannedSteps { plan, set, end, announced: LruCache::new(ANNOUNCED_CHUNKS) })
    }

    /// Counts the samples of growing shards.
    pub(super) fn counts(&self) -> Arc<Counts> {
        match self {
            Self::Planned(_) => Arc::default(),
            Self::Growing(steps) => Arc::clone(&steps.counts),
        }
    }

    /// Whether a step can be known before its turn.
    pub(super) fn is_planned(&self) -> bool {
        matches!(self, Self::Planned(_))
    }

    /// What is best read from the device for the sake of these samples: they, or the chunks they lie in, each once.
    pub(super) fn announceable(&mut self, samples: &[Option<SampleId>]) -> Vec<SampleId> {
        let samples = samples.iter().flatten().copied();
        let Self::Planned(PlannedSteps { plan, set, announced, .. }) = self else { return samples.collect() };
        let mut all = Vec::new();
        for sample in samples {
            let chunk = plan.chunk_of(set.number_of(sample));
            if chunk.end - chunk.start == 1 {
                all.push(sample);
            } else if announced.put(chunk.start, ()).is_none() {
                all.extend(chunk.map(|number| set.sample_at(number)));
            }
        }
        all
    }

    /// The samples of batch `step`; to be asked in order. `None` at the end.
    pub(super) fn batch(&mut self, step: u64) -> Result<Option<Vec<Option<SampleId>>>> {
        match self {
            Self::Planned(PlannedSteps { end, .. }) if step >= *end => Ok(None),
            Self::Planned(PlannedSteps { plan, set, .. }) => {
                Ok(Some(plan.batch(step).map(|sample| sample.map(|number| set.sample_at(number))).collect()))
            }
            Self::Growing(steps) => steps.batch(step),
        }
    }
}

impl GrowingSteps {
    fn batch(&mut self, step: u64) -> Result<Option<Vec<Option<SampleId>>>> {
        let size = self.order.batch_size;
        let mut samples = Vec::with_capacity(size);
        while samples.len() < size && !self.ended {
            match self.set.next(&mut self.position) {
                Ok(Some(sample)) => samples.push(Some(sample)),
                Ok(None) => self.ended = true,
                Err(error) => (self.ended, self.failure) = (true, Some(error)),
            }
        }
        // Before a failure, everything sound is delivered, in a padded batch if need be.
        let is_dropped = self.order.drop_last && self.failure.is_none() && samples.len() < size;
        if is_dropped {
            self.counts.dropped.fetch_add(samples.len() as u64, Relaxed);
        }
        if samples.is_empty() || is_dropped {
            return match self.failure.take() {
                Some(error) => Err(error),
                None if step == 0 => Err(Error::config(format!(
                    "the samples in {} shards that are selected and pass the filter do not fill a batch",
                    self.set.len()
                ))),
                None => Ok(None),
            };
        }
        self.counts.handed.fetch_add(samples.len() as u64, Relaxed);
        samples.resize(size, None);
        Ok(Some(samples))
    }
}

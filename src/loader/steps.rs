//! The samples of each step: from a plan, or from shards that are being indexed.

use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;

use super::live::LiveSteps;
use crate::Result;
use crate::order::Plan;
use crate::shard::{SampleId, ShardSet};

/// Number of chunks whose prefetch is remembered: more than are in use at a time.
const PREFETCHED_CHUNKS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4095);

/// Where the samples of a step come from.
pub(super) enum Steps {
    /// From a plan, by arithmetic.
    Planned(PlannedSteps),
    /// From passes, in the order of the shards.
    Live(LiveSteps),
}

/// Samples that are read together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    /// The number of its first sample.
    pub(super) key: u64,
    pub(super) samples: u64,
}

/// Takes samples from a plan, batch by batch.
pub(super) struct PlannedSteps {
    plan: Plan,
    set: Arc<ShardSet>,
    /// The step to stop before.
    end: u64,
    /// The chunks that were prefetched, by their first sample.
    prefetched: LruCache<u64, ()>,
}

impl Steps {
    /// The steps of a plan before step `end`.
    pub(super) fn planned(plan: Plan, set: Arc<ShardSet>, end: u64) -> Self {
        Self::Planned(PlannedSteps { plan, set, end, prefetched: LruCache::new(PREFETCHED_CHUNKS) })
    }

    /// Whether the samples of a later step can be computed without waiting.
    pub(super) fn is_planned(&self) -> bool {
        matches!(self, Self::Planned(_))
    }

    /// The samples whose bytes the sources should read ahead for this batch: its own samples, or those of the chunks
    /// they are in, each chunk once.
    pub(super) fn prefetchable(&mut self, samples: &[Option<SampleId>]) -> Vec<(SampleId, Chunk)> {
        let mut all = Vec::new();
        for &sample in samples.iter().flatten() {
            let chunk = self.chunk_of(sample);
            match self {
                Self::Planned(PlannedSteps { set, prefetched, .. }) if chunk.samples > 1 => {
                    if prefetched.put(chunk.key, ()).is_none() {
                        let numbers = chunk.key..chunk.key + chunk.samples;
                        all.extend(numbers.map(|number| (set.sample_at(number), chunk)));
                    }
                }
                _ => all.push((sample, chunk)),
            }
        }
        all
    }

    /// The chunk that a sample is in. Samples that are being indexed are alone.
    pub(super) fn chunk_of(&self, sample: SampleId) -> Chunk {
        match self {
            Self::Planned(PlannedSteps { plan, set, .. }) => {
                let numbers = plan.chunk_of(set.number_of(sample));
                Chunk { key: numbers.start, samples: numbers.end - numbers.start }
            }
            Self::Live(_) => Chunk { key: u64::from(sample.shard) << 32 | u64::from(sample.entry), samples: 1 },
        }
    }

    /// The samples of batch `step`; `None` at the end. Steps must be requested in order.
    ///
    /// # Errors
    /// If indexing fails. Planned steps do not fail.
    pub(super) fn batch(&mut self, step: u64) -> Result<Option<Vec<Option<SampleId>>>> {
        match self {
            Self::Planned(PlannedSteps { end, .. }) if step >= *end => Ok(None),
            Self::Planned(PlannedSteps { plan, set, .. }) => {
                Ok(Some(plan.batch(step).map(|sample| sample.map(|number| set.sample_at(number))).collect()))
            }
            Self::Live(steps) => steps.batch(step),
        }
    }
}

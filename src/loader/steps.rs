//! The samples of each step: from a plan, or from shards that are still being indexed.

use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;

use super::live::LiveSteps;
use crate::Result;
use crate::order::Plan;
use crate::shard::{SampleId, ShardSet};

/// Chunks whose prefetch is remembered: more than are in use at a time.
const PREFETCHED_CHUNKS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4095);

/// Where the samples of a step come from.
pub(super) enum Steps {
    /// By arithmetic alone.
    Planned(PlannedSteps),
    /// In the order of the shards, as they become known.
    Live(LiveSteps),
}

pub(super) struct PlannedSteps {
    plan: Plan,
    set: Arc<ShardSet>,
    /// The step to stop before.
    end: u64,
    /// First samples of the chunks that were prefetched.
    prefetched: LruCache<u64, ()>,
}

impl Steps {
    /// The steps of a plan before step `end`.
    pub(super) fn planned(plan: Plan, set: Arc<ShardSet>, end: u64) -> Self {
        Self::Planned(PlannedSteps { plan, set, end, prefetched: LruCache::new(PREFETCHED_CHUNKS) })
    }

    /// Whether a step can be known before its turn.
    pub(super) fn is_planned(&self) -> bool {
        matches!(self, Self::Planned(_))
    }

    /// The samples whose bytes the device should read ahead for this batch: its own, or the chunks they lie in, each
    /// chunk once.
    pub(super) fn prefetchable(&mut self, samples: &[Option<SampleId>]) -> Vec<SampleId> {
        let samples = samples.iter().flatten().copied();
        let Self::Planned(PlannedSteps { plan, set, prefetched, .. }) = self else { return samples.collect() };
        let mut all = Vec::new();
        for sample in samples {
            let chunk = plan.chunk_of(set.number_of(sample));
            if chunk.end - chunk.start == 1 {
                all.push(sample);
            } else if prefetched.put(chunk.start, ()).is_none() {
                all.extend(chunk.map(|number| set.sample_at(number)));
            }
        }
        all
    }

    /// The samples of batch `step`, to be called in order; `None` at the end. Planned steps cannot fail; live ones fail
    /// as indexing does.
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

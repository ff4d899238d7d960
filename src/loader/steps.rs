//! Step -> samples. Comes in: a plan, or shards that are still being indexed. Goes out: the samples of each batch.
//! Planned steps cannot fail; others fail as the indexing does, after the samples before the failure.

use std::sync::Arc;

use crate::Result;
use crate::order::{Order, Plan};
use crate::shard::{GrowingSet, Position, SampleId, ShardSet};
use crate::{Error, shard};

/// Where the samples of a step come from.
pub(super) enum Steps {
    /// By arithmetic alone.
    Planned { plan: Plan, set: Arc<ShardSet> },
    /// In the order of the shards, as they become known.
    Growing(GrowingSteps),
}

pub(super) struct GrowingSteps {
    set: Arc<GrowingSet>,
    order: Order,
    position: Position,
    /// What stands after the last sound sample.
    failure: Option<Error>,
    ended: bool,
}

impl Steps {
    pub(super) fn growing(set: Arc<GrowingSet>, order: Order) -> Self {
        Self::Growing(GrowingSteps { set, order, position: shard::Position::default(), failure: None, ended: false })
    }

    /// Whether a step can be known before its turn.
    pub(super) fn is_planned(&self) -> bool {
        matches!(self, Self::Planned { .. })
    }

    /// The samples of batch `step`; to be asked in order. `None` at the end.
    pub(super) fn batch(&mut self, step: u64) -> Result<Option<Vec<Option<SampleId>>>> {
        match self {
            Self::Planned { plan, .. } if step >= plan.steps() => Ok(None),
            Self::Planned { plan, set } => {
                Ok(Some(plan.batch(step).map(|sample| sample.map(|position| set.sample_at(position))).collect()))
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
        samples.resize(size, None);
        Ok(Some(samples))
    }
}

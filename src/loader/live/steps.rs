//! The samples of each batch, in the order in which passes find them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::set::{LiveSet, Position};
use crate::order::Order;
use crate::shard::SampleId;
use crate::{Error, Result};

/// Takes samples from a [`LiveSet`], batch by batch.
pub(in crate::loader) struct LiveSteps {
    set: Arc<LiveSet>,
    order: Order,
    position: Position,
    /// The error to return after the last valid sample.
    failure: Option<Error>,
    ended: bool,
    counts: Arc<LiveCounts>,
}

/// Counts of samples so far.
#[derive(Debug, Default)]
pub(in crate::loader) struct LiveCounts {
    /// Samples in batches.
    pub(in crate::loader) planned: AtomicU64,
    /// Samples that were dropped because they do not fill a batch.
    pub(in crate::loader) dropped: AtomicU64,
}

impl LiveSteps {
    pub(in crate::loader) fn new(set: Arc<LiveSet>, order: Order, counts: Arc<LiveCounts>) -> Self {
        Self { set, order, position: Position::default(), failure: None, ended: false, counts }
    }

    /// The samples of batch `step`; `None` at the end. Steps must be requested in order. Waits for the passes.
    ///
    /// # Errors
    /// If indexing fails; the valid samples before the failure have been returned by then.
    pub(in crate::loader) fn batch(&mut self, step: u64) -> Result<Option<Vec<Option<SampleId>>>> {
        let size = self.order.batch_size;
        let mut samples = Vec::with_capacity(size);
        while samples.len() < size && !self.ended {
            match self.set.next(&mut self.position) {
                Ok(Some(sample)) => samples.push(Some(sample)),
                Ok(None) => self.ended = true,
                Err(error) => (self.ended, self.failure) = (true, Some(error)),
            }
        }
        // Before a failure every valid sample is delivered, in a padded batch if necessary.
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
        self.counts.planned.fetch_add(samples.len() as u64, Relaxed);
        samples.resize(size, None);
        Ok(Some(samples))
    }
}

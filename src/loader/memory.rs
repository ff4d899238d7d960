//! What a loader's memory goes to. Comes in: settings, the largest sample, a budget. Goes out: a [`MemoryPlan`]. Fails
//! if the budget does not hold what is needed at least, with the sum that shows why.

use std::fmt;

use crate::shard::MaxSampleSize;
use crate::{Error, Result};

/// The budget unless the user says otherwise.
const DEFAULT_BYTES: u64 = 8 << 30;
/// What an index takes in memory for each sample.
const ENTRY_BYTES: u64 = 80;

/// What the loader's memory goes to, all in bytes. What depends on samples is reckoned by the largest one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryPlan {
    /// The budget: `max_memory_bytes`.
    pub max_bytes: u64,
    /// One batch.
    pub batch_bytes: u64,
    /// Batches that the budget holds, beside the rest: under way, or kept by their receivers.
    pub batches: u64,
    /// Batches that there have to be: those under way, and one in use.
    pub min_batches: u64,
    /// Image and annotations of one sample, as they are read.
    pub sample_bytes: u64,
    /// Samples that are read ahead of, or being decoded.
    pub samples_ahead: u64,
    /// What a worker decodes in.
    pub worker_bytes: u64,
    /// Workers.
    pub workers: u64,
    /// Decoded masks that are kept: `mask_cache_bytes`.
    pub cache_bytes: u64,
    /// Where the samples lie.
    pub index_bytes: u64,
}

/// What a plan is made of.
pub(super) struct MemoryRequirements {
    pub(super) max_bytes: Option<u64>,
    pub(super) batch_bytes: u64,
    pub(super) prefetch_batches: u64,
    pub(super) workers: u64,
    pub(super) side: u64,
    pub(super) cache_bytes: u64,
    pub(super) samples: u64,
    pub(super) largest: MaxSampleSize,
}

impl MemoryPlan {
    pub(super) fn new(needs: &MemoryRequirements) -> Result<Self> {
        let MemoryRequirements { batch_bytes, prefetch_batches, workers, side, cache_bytes, samples, largest, .. } =
            *needs;
        let mut plan = Self {
            max_bytes: 0,
            batch_bytes,
            batches: 0,
            min_batches: prefetch_batches + 1,
            sample_bytes: largest.sample_bytes,
            // One in the feed's hands, and for each worker one waiting and one being decoded.
            samples_ahead: 2 * workers + 1,
            // The decoded image, the same while it is resized, the resized one, and the inflated members.
            worker_bytes: 6 * largest.pixels + 3 * side * side + largest.sample_bytes,
            workers,
            cache_bytes,
            index_bytes: samples * ENTRY_BYTES,
        };
        let least = plan.expected_bytes();
        plan.max_bytes = needs.max_bytes.unwrap_or(DEFAULT_BYTES.max(least));
        if plan.max_bytes < least {
            plan.batches = plan.min_batches;
            return Err(Error::config(format!("max_memory_bytes is {}, but {plan}", plan.max_bytes)));
        }
        plan.batches = (plan.max_bytes - plan.fixed_bytes()) / batch_bytes.max(1);
        Ok(plan)
    }

    /// All but the batches.
    pub fn fixed_bytes(&self) -> u64 {
        let samples = self.samples_ahead * self.sample_bytes;
        let sum = samples + self.workers * self.worker_bytes + self.index_bytes;
        // The one number that is whatever the user says.
        sum.saturating_add(self.cache_bytes)
    }

    /// What is used as long as no batch is kept beyond the one in use.
    pub fn expected_bytes(&self) -> u64 {
        self.fixed_bytes().saturating_add(self.min_batches * self.batch_bytes)
    }
}

impl fmt::Display for MemoryPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mb = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
        write!(f, "{} batches x {}", self.min_batches, mb(self.batch_bytes))?;
        write!(f, " + {} samples read x {}", self.samples_ahead, mb(self.sample_bytes))?;
        write!(f, " + {} workers x {}", self.workers, mb(self.worker_bytes))?;
        if self.cache_bytes > 0 {
            write!(f, " + mask cache {}", mb(self.cache_bytes))?;
        }
        write!(f, " + index {} = {}", mb(self.index_bytes), mb(self.expected_bytes()))
    }
}

//! The memory plan: how a loader's budget is divided, computed from its settings and the largest sample. A budget that
//! is too small is an error that shows the sum.

use std::fmt;

use crate::image::TOGETHER;
use crate::shard::MaxSampleSize;
use crate::{Error, Result};

/// The default budget. It is the same on every machine, because containers and launchers give a process a part of the
/// memory that the system reports.
const DEFAULT_BYTES: u64 = 8 << 30;
/// Size in memory of an index entry.
const ENTRY_BYTES: u64 = 80;

/// How a loader's memory budget is divided. Sizes are in bytes; those that depend on the sample are of the largest one.
///
/// ```no_run
/// # fn show(loader: &maskstream::Loader) {
/// let plan = loader.memory_plan();
/// println!("{plan}"); // 3 batches x 30.4 MB + 5 samples read x 1.2 MB + 2 workers x 24.8 MB + index 0.9 MB = ...
/// println!("{} of {} bytes are expected to be used", plan.expected_bytes(), plan.max_bytes);
/// println!("a consumer may keep {} batches", plan.batches - plan.min_batches + 1);
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryPlan {
    /// The budget: `max_memory_bytes`.
    pub max_bytes: u64,
    /// Size of one batch.
    pub batch_bytes: u64,
    /// Batches that fit the budget beside everything else, under way or held by the consumer.
    pub batches: u64,
    /// Batches that are needed at least: `prefetch_batches` under way, and one in use.
    pub min_batches: u64,
    /// Size of a sample as it is read: image and annotations.
    pub sample_bytes: u64,
    /// Samples that are read ahead or being decoded.
    pub samples_ahead: u64,
    /// Buffers of one worker.
    pub worker_bytes: u64,
    /// Number of workers.
    pub workers: u64,
    /// The mask cache: `mask_cache_bytes`.
    pub cache_bytes: u64,
    /// The index of all samples.
    pub index_bytes: u64,
    /// Bytes that are received ahead from an object store, and the chunks in use of `chunk_bytes`; 0 for files.
    pub read_ahead_bytes: u64,
}

/// What a plan is computed from.
pub(super) struct MemoryRequirements {
    pub(super) max_bytes: Option<u64>,
    pub(super) batch_bytes: u64,
    pub(super) prefetch_batches: u64,
    pub(super) workers: u64,
    /// Bytes of an image that waits for its last row before it is written.
    pub(super) waiting_bytes: u64,
    pub(super) cache_bytes: u64,
    pub(super) samples: u64,
    pub(super) largest: MaxSampleSize,
    pub(super) read_ahead_bytes: u64,
}

impl MemoryPlan {
    pub(super) fn new(needs: &MemoryRequirements) -> Result<Self> {
        let MemoryRequirements {
            batch_bytes,
            prefetch_batches,
            workers,
            cache_bytes,
            samples,
            largest,
            waiting_bytes,
            read_ahead_bytes,
            ..
        } = *needs;
        let mut plan = Self {
            max_bytes: 0,
            batch_bytes,
            batches: 0,
            min_batches: prefetch_batches + 1,
            sample_bytes: largest.sample_bytes,
            // One that the feed reads, and for each worker one waiting and a few being decoded.
            samples_ahead: (1 + TOGETHER as u64) * workers + 1,
            // A progressive image while it is decoded, and of each image the inflated members and its image data.
            worker_bytes: largest
                .pixels
                .saturating_mul(6)
                .saturating_add(TOGETHER as u64 * (2 * largest.sample_bytes + waiting_bytes)),
            workers,
            cache_bytes,
            index_bytes: samples * ENTRY_BYTES,
            read_ahead_bytes,
        };
        let least = plan.expected_bytes();
        if least == u64::MAX {
            plan.batches = plan.min_batches;
            return Err(Error::config(format!("no memory holds {plan}: lower mask_cache_bytes or max_image_pixels")));
        }
        plan.max_bytes = needs.max_bytes.unwrap_or(DEFAULT_BYTES);
        if plan.max_bytes < least {
            plan.batches = plan.min_batches;
            let origin = if needs.max_bytes.is_some() { "" } else { " by default" };
            return Err(Error::config(format!(
                "max_memory_bytes is {}{origin}, but {plan} are needed: lower batch_size, image_size, num_workers, \
                 {}or prefetch_batches, or raise max_memory_bytes to {least}",
                plan.max_bytes,
                if read_ahead_bytes > 0 { "chunk_bytes, read_ahead_bytes " } else { "" }
            )));
        }
        plan.batches = (plan.max_bytes - plan.fixed_bytes()) / batch_bytes.max(1);
        Ok(plan)
    }

    /// Everything but the batches.
    pub fn fixed_bytes(&self) -> u64 {
        let samples = self.samples_ahead * self.sample_bytes;
        let workers = self.workers.saturating_mul(self.worker_bytes);
        // The user may set any size of cache.
        let ahead = self.cache_bytes.saturating_add(self.read_ahead_bytes);
        workers.saturating_add(samples + self.index_bytes).saturating_add(ahead)
    }

    /// What is used while the consumer holds one batch at a time.
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
        if self.read_ahead_bytes > 0 {
            write!(f, " + read ahead {}", mb(self.read_ahead_bytes))?;
        }
        write!(f, " + index {} = {}", mb(self.index_bytes), mb(self.expected_bytes()))
    }
}

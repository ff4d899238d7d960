//! Position -> sample. Comes in: an [`Order`] and the number of samples. Goes out: a [`Plan`] of steps. Fails on a rank
//! outside the world, or zero sizes.

use super::Permutation;
use crate::mix::mix64;
use crate::{Error, Result};

/// Largest batch and world: their product and every position stay far inside 64 bits.
const MAX_SIZE: usize = 1 << 20;

/// Settings of an epoch's order; names as in PyTorch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Samples per batch on this rank.
    pub batch_size: usize,
    /// Whether to shuffle; otherwise samples come in the order of the shards.
    pub shuffle: bool,
    /// Seed of the shuffle.
    pub seed: u64,
    /// This process, below `world_size`.
    pub rank: usize,
    /// Number of processes that share the epoch.
    pub world_size: usize,
    /// Whether samples that do not fill a batch on every rank are left out; otherwise the last batches are padded with
    /// empty rows.
    pub drop_last: bool,
}

impl Default for Order {
    fn default() -> Self {
        Self { batch_size: 8, shuffle: false, seed: 0, rank: 0, world_size: 1, drop_last: false }
    }
}

/// The batches of one epoch on one rank. Every rank has the same number of steps; step t of all ranks together is the
/// same stretch of one global order, whatever the world size, as long as `batch_size` x `world_size` is the same.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    order: Order,
    samples: u64,
    shuffle: Option<Permutation>,
}

impl Order {
    /// The plan of epoch number `epoch` over `samples` samples.
    ///
    /// # Errors
    /// If batch or world size is 0 or beyond 2^20, the rank is not below the world size, or there is no full batch and
    /// `drop_last` is set.
    pub fn plan(self, samples: u64, epoch: u64) -> Result<Plan> {
        self.check()?;
        let key = mix64(mix64(self.seed) ^ epoch);
        let plan = Plan { order: self, samples, shuffle: self.shuffle.then(|| Permutation::new(samples, key)) };
        if plan.steps() == 0 {
            return Err(Error::config(format!(
                "{samples} samples do not fill one batch of {} on each of {} ranks, and drop_last is set",
                self.batch_size, self.world_size
            )));
        }
        Ok(plan)
    }

    /// Whether the settings fit together, whatever the number of samples.
    pub(crate) fn check(self) -> Result<()> {
        if self.batch_size == 0 || self.batch_size > MAX_SIZE || self.world_size > MAX_SIZE {
            let Self { batch_size, world_size, .. } = self;
            let text = format!("batch_size {batch_size} and world_size {world_size} must lie within 1 to {MAX_SIZE}");
            return Err(Error::config(text));
        }
        if self.rank >= self.world_size {
            return Err(Error::config(format!("rank {} is not below world_size {}", self.rank, self.world_size)));
        }
        Ok(())
    }
}

impl Plan {
    /// Number of batches, the same on every rank.
    pub fn steps(&self) -> u64 {
        let global = self.global_batch();
        if self.order.drop_last { self.samples / global } else { self.samples.div_ceil(global) }
    }

    /// The samples of batch `step` on this rank, by number in the shard set; `None` is an empty row.
    pub fn batch(&self, step: u64) -> impl ExactSizeIterator<Item = Option<u64>> + '_ {
        let Order { batch_size, rank, world_size, .. } = self.order;
        let start = step * self.global_batch();
        // Neighbours of the global order go to different ranks: each reads its share of every shard in sequence.
        (0..batch_size).map(move |row| {
            let position = start + row as u64 * world_size as u64 + rank as u64;
            (position < self.samples).then(|| self.sample(position))
        })
    }

    fn sample(&self, position: u64) -> u64 {
        self.shuffle.map_or(position, |shuffle| shuffle.get(position))
    }

    fn global_batch(&self) -> u64 {
        self.order.batch_size as u64 * self.order.world_size as u64
    }
}

//! The settings of an order, and the plan of an epoch that follows from them and the samples.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::SampleSpace;
use super::round::ShuffleRound;
use super::sample_space::{MixSlot, SampleSet};
use crate::splitmix::mix64;
use crate::{Error, Result};

/// Largest batch size and world size. Their product and every position are far below 2^64.
const MAX_SIZE: usize = 1 << 20;

/// How an epoch is shuffled.
///
/// With one sample in a chunk, the shuffle is perfect and each sample is a read of its own. A larger chunk is a run of
/// consecutive samples of one shard, read as a whole when its first sample is due. Chunks are shuffled, and so are the
/// samples of the thousand or so chunks that are in use at a time. Batches are then a little less varied than random
/// ones; `cargo bench --bench order` measures by how much. A chunk is one long read only if each image lies beside its
/// annotations, as `maskstream repack` writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shuffle {
    /// Seed of the shuffle. The order of an epoch depends on it and on the epoch's index.
    pub seed: u64,
    /// Number of samples in a chunk, at least 1.
    pub chunk_samples: u64,
}

impl Shuffle {
    /// A perfect shuffle: one sample in a chunk.
    pub fn of_samples(seed: u64) -> Self {
        Self { seed, chunk_samples: 1 }
    }
}

/// Settings of the order of an epoch, named as in PyTorch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Samples per batch on this rank.
    pub batch_size: usize,
    /// How to shuffle. `None`: samples come in the order of the shards.
    pub shuffle: Option<Shuffle>,
    /// Rank of this process, below `world_size`.
    pub rank: usize,
    /// Number of processes that share the epoch.
    pub world_size: usize,
    /// Whether to leave out the last samples if they do not fill a batch on every rank. Otherwise the last batches are
    /// padded with empty rows.
    pub drop_last: bool,
}

impl Default for Order {
    fn default() -> Self {
        Self { batch_size: 8, shuffle: None, rank: 0, world_size: 1, drop_last: false }
    }
}

/// The batches of one epoch on one rank.
///
/// Every rank has the same number of steps. Step t of all ranks together is the same range of one global order for
/// every world size with the same `batch_size` x `world_size`.
#[derive(Clone, Debug)]
pub struct Plan {
    order: Order,
    epoch: u64,
    samples: SampleSpace,
    /// One for each set.
    rounds: Vec<ShuffleRound>,
}

impl Order {
    /// The plan of an epoch over these samples.
    ///
    /// # Errors
    /// If batch size or world size is 0 or exceeds 2^20, if the rank is not below the world size, if a chunk has no
    /// samples, if there are no samples, or if `drop_last` is set and no batch is full.
    pub fn plan(self, samples: &SampleSpace, epoch: u64) -> Result<Plan> {
        self.check()?;
        let plan = self.plan_checked(samples, epoch);
        if plan.steps() == 0 {
            return Err(Error::config(format!(
                "{} samples do not fill one batch of {} on each of {} ranks{}",
                samples.len(),
                self.batch_size,
                self.world_size,
                if self.drop_last { ", and drop_last is set" } else { "" }
            )));
        }
        Ok(plan)
    }

    /// As [`Order::plan`], for settings that are known to fit these samples.
    pub(crate) fn plan_checked(self, samples: &SampleSpace, epoch: u64) -> Plan {
        let chunk = self.shuffle.map_or(0, |shuffle| shuffle.chunk_samples);
        let rounds = samples.sets.iter().map(|set| ShuffleRound::new(set, chunk)).collect();
        Plan { order: self, epoch, samples: samples.clone(), rounds }
    }

    /// Number of samples in a step of all ranks together.
    pub fn global_batch(&self) -> u64 {
        self.batch_size as u64 * self.world_size as u64
    }

    /// Refuses settings that fit no number of samples.
    pub(crate) fn check(self) -> Result<()> {
        if self.batch_size == 0 || self.batch_size > MAX_SIZE || self.world_size > MAX_SIZE {
            let Self { batch_size, world_size, .. } = self;
            let text =
                format!("batch_size is {batch_size} and world_size is {world_size}, but each must be 1 to {MAX_SIZE}");
            return Err(Error::config(text));
        }
        if self.rank >= self.world_size {
            return Err(Error::config(format!(
                "rank is {}, but must be below world_size, {}",
                self.rank, self.world_size
            )));
        }
        if self.shuffle.is_some_and(|shuffle| shuffle.chunk_samples == 0) {
            return Err(Error::config("chunk_samples is 0, but must be at least 1"));
        }
        Ok(())
    }
}

impl Plan {
    /// Number of batches, the same on every rank.
    pub fn steps(&self) -> u64 {
        let (samples, global) = (self.samples.len(), self.order.global_batch());
        if self.order.drop_last { samples / global } else { samples.div_ceil(global) }
    }

    /// Index of the epoch.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Number of samples that `drop_last` leaves out, on all ranks together.
    pub fn dropped(&self) -> u64 {
        self.samples.len() - self.end()
    }

    /// The end of the positions that are in a batch.
    fn end(&self) -> u64 {
        self.samples.len().min(self.steps() * self.order.global_batch())
    }

    /// Number of samples that this rank receives in the steps from `step` on.
    pub fn samples_from(&self, step: u64) -> u64 {
        let end = self.end();
        let start = end.min(step.saturating_mul(self.order.global_batch()));
        // Number of this rank's positions below `to`.
        let own = |to: u64| {
            let (rank, world) = (self.order.rank as u64, self.order.world_size as u64);
            to.saturating_sub(rank).div_ceil(world)
        };
        own(end) - own(start)
    }

    /// The samples of batch `step` on this rank, by their numbers in the [`SampleSpace`]. `None` is an empty row. After
    /// the last step all rows are empty.
    pub fn batch(&self, step: u64) -> impl ExactSizeIterator<Item = Option<u64>> + '_ {
        let Order { batch_size, rank, world_size, .. } = self.order;
        let start = step.saturating_mul(self.order.global_batch());
        let end = self.end();
        // Consecutive positions go to different ranks, so each rank reads its share of every shard in sequence.
        (0..batch_size).map(move |row| {
            let position = start.saturating_add(row as u64 * world_size as u64 + rank as u64);
            (position < end).then(|| self.sample_at(position))
        })
    }

    /// The sample at a position of the global order.
    ///
    /// # Panics
    /// If `position` is not below the number of samples.
    pub fn sample_at(&self, position: u64) -> u64 {
        let (len, draws) = (self.samples.len(), &self.samples.draws);
        assert!(position < len, "position {position} of an order of {len} samples");
        if draws.len() == 1 {
            return self.sample_of(0, self.epoch, position);
        }
        // Draws are counted over all epochs, so that a round over a set can continue in the next epoch.
        let (drawn, period) = (u128::from(self.epoch) * u128::from(len) + u128::from(position), draws.len() as u128);
        let MixSlot { set, before } = draws[(drawn % period) as usize];
        let SampleSet { share, .. } = &self.samples.sets[set];
        let drawn_of_set = drawn / period * u128::from(*share) + u128::from(before);
        let samples = u128::from(self.samples.sets[set].len());
        self.sample_of(set, (drawn_of_set / samples) as u64, (drawn_of_set % samples) as u64)
    }

    /// The sample at a position of one round over a set.
    fn sample_of(&self, set: usize, round: u64, position: u64) -> u64 {
        let key = mix64(mix64(mix64(self.seed()) ^ round) ^ set as u64);
        self.samples.sets[set].first + self.rounds[set].get(position, key)
    }

    /// The chunk that `sample` is in: the samples to read together with it.
    ///
    /// # Panics
    /// If there is no such sample.
    pub fn chunk_of(&self, sample: u64) -> Range<u64> {
        let set = self.samples.sets.partition_point(|set| set.first <= sample) - 1;
        let first = self.samples.sets[set].first;
        let chunk = self.rounds[set].chunk_of(sample - first);
        first + chunk.start..first + chunk.end
    }

    fn seed(&self) -> u64 {
        self.order.shuffle.map_or(0, |shuffle| shuffle.seed)
    }
}

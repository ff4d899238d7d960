//! Position -> sample. Comes in: an [`Order`] and a [`SampleSpace`]. Goes out: a [`Plan`] of steps. Fails on a rank
//! outside the world, or zero sizes.

use std::ops::Range;

use super::SampleSpace;
use super::deck::ShuffleRound;
use super::population::{MixSlot, Part};
use crate::splitmix::mix64;
use crate::{Error, Result};

/// Largest batch and world: their product and every position stay far inside 64 bits.
const MAX_SIZE: usize = 1 << 20;

/// How an epoch is shuffled.
///
/// A chunk is a run of samples that lie one after the other in a shard. Chunks are shuffled, and so are the samples of
/// about a thousand chunks that are in use at a time; each chunk is read as a whole when its first sample is due. One
/// sample to a chunk is a perfect shuffle. With more, batches are a little more alike in what they hold than random
/// ones (`cargo bench --bench order` shows by how much), and reads are longer. Chunks are as long as they promise where
/// image and annotations lie side by side, as `maskstream repack` lays them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shuffle {
    /// Decides the order of every epoch, together with the epoch's number.
    pub seed: u64,
    /// Samples in a chunk, at least 1.
    pub chunk_samples: u64,
}

impl Shuffle {
    /// Every sample for itself.
    pub fn of_samples(seed: u64) -> Self {
        Self { seed, chunk_samples: 1 }
    }
}

/// Settings of an epoch's order; names as in PyTorch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Samples per batch on this rank.
    pub batch_size: usize,
    /// How to shuffle; without, samples come in the order of the shards.
    pub shuffle: Option<Shuffle>,
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
        Self { batch_size: 8, shuffle: None, rank: 0, world_size: 1, drop_last: false }
    }
}

/// The batches of one epoch on one rank. Every rank has the same number of steps; step t of all ranks together is the
/// same stretch of one global order, whatever the world size, as long as `batch_size` x `world_size` is the same.
#[derive(Clone, Debug)]
pub struct Plan {
    order: Order,
    epoch: u64,
    population: SampleSpace,
    /// One for each set.
    decks: Vec<ShuffleRound>,
}

impl Order {
    /// The plan of epoch number `epoch` over these samples.
    ///
    /// # Errors
    /// If batch or world size is 0 or beyond 2^20, the rank is not below the world size, a chunk has no samples, there
    /// is no sample, or there is no full batch and `drop_last` is set.
    pub fn plan(self, population: &SampleSpace, epoch: u64) -> Result<Plan> {
        self.check()?;
        let plan = self.plan_checked(population, epoch);
        if plan.steps() == 0 {
            return Err(Error::config(format!(
                "{} samples do not fill one batch of {} on each of {} ranks{}",
                population.len(),
                self.batch_size,
                self.world_size,
                if self.drop_last { ", and drop_last is set" } else { "" }
            )));
        }
        Ok(plan)
    }

    /// The same of settings that were found good for this population.
    pub(crate) fn plan_checked(self, population: &SampleSpace, epoch: u64) -> Plan {
        let chunk = self.shuffle.map_or(0, |shuffle| shuffle.chunk_samples);
        let decks = population.parts.iter().map(|part| ShuffleRound::new(part, chunk)).collect();
        Plan { order: self, epoch, population: population.clone(), decks }
    }

    /// Samples in a step of all ranks together.
    pub fn global_batch(&self) -> u64 {
        self.batch_size as u64 * self.world_size as u64
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
        if self.shuffle.is_some_and(|shuffle| shuffle.chunk_samples == 0) {
            return Err(Error::config("chunk_samples is 0: a chunk has at least one sample"));
        }
        Ok(())
    }
}

impl Plan {
    /// Number of batches, the same on every rank.
    pub fn steps(&self) -> u64 {
        let (samples, global) = (self.population.len(), self.order.global_batch());
        if self.order.drop_last { samples / global } else { samples.div_ceil(global) }
    }

    /// The epoch's number.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Samples that `drop_last` leaves out, of all ranks together.
    pub fn dropped(&self) -> u64 {
        self.population.len() - self.end()
    }

    /// The position behind the last one that is in a batch.
    fn end(&self) -> u64 {
        self.population.len().min(self.steps() * self.order.global_batch())
    }

    /// Samples that this rank gets in the steps from `step` on.
    pub fn samples_from(&self, step: u64) -> u64 {
        let end = self.end();
        let start = end.min(step.saturating_mul(self.order.global_batch()));
        // Positions below `to` that are this rank's.
        let own = |to: u64| {
            let (rank, world) = (self.order.rank as u64, self.order.world_size as u64);
            to.saturating_sub(rank).div_ceil(world)
        };
        own(end) - own(start)
    }

    /// The samples of batch `step` on this rank, by number in the population; `None` is an empty row. Beyond the last step
    /// all rows are empty.
    pub fn batch(&self, step: u64) -> impl ExactSizeIterator<Item = Option<u64>> + '_ {
        let Order { batch_size, rank, world_size, .. } = self.order;
        let start = step.saturating_mul(self.order.global_batch());
        let end = self.end();
        // Neighbours of the global order go to different ranks: each reads its share of every shard in sequence.
        (0..batch_size).map(move |row| {
            let position = start.saturating_add(row as u64 * world_size as u64 + rank as u64);
            (position < end).then(|| self.sample_at(position))
        })
    }

    /// The sample at a position of the global order, which must be below the number of samples.
    ///
    /// # Panics
    /// If it is not.
    pub fn sample_at(&self, position: u64) -> u64 {
        let (len, draws) = (self.population.len(), &self.population.draws);
        assert!(position < len, "position {position} of an order of {len} samples");
        if draws.len() == 1 {
            return self.sample_of(0, self.epoch, position);
        }
        // Draws are counted over all epochs, so that each set is gone through before it begins anew.
        let (drawn, period) = (u128::from(self.epoch) * u128::from(len) + u128::from(position), draws.len() as u128);
        let MixSlot { part, before } = draws[(drawn % period) as usize];
        let Part { share, .. } = &self.population.parts[part];
        let drawn_of_part = drawn / period * u128::from(*share) + u128::from(before);
        let samples = u128::from(self.population.parts[part].len());
        self.sample_of(part, (drawn_of_part / samples) as u64, (drawn_of_part % samples) as u64)
    }

    /// The sample at a place of one round over a set.
    fn sample_of(&self, part: usize, round: u64, place: u64) -> u64 {
        let key = mix64(mix64(mix64(self.seed()) ^ round) ^ part as u64);
        self.population.parts[part].first + self.decks[part].get(place, key)
    }

    /// The samples of the chunk that `sample` lies in: those that are best read together with it.
    ///
    /// # Panics
    /// If there is no such sample.
    pub fn chunk_of(&self, sample: u64) -> Range<u64> {
        let part = self.population.parts.partition_point(|part| part.first <= sample) - 1;
        let first = self.population.parts[part].first;
        let chunk = self.decks[part].chunk_of(sample - first);
        first + chunk.start..first + chunk.end
    }

    fn seed(&self) -> u64 {
        self.order.shuffle.map_or(0, |shuffle| shuffle.seed)
    }
}

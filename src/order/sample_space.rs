//! The samples that an order ranges over: those of one set, or of several sets that are mixed by weight.

use std::sync::Arc;

use super::{Permutation, PrefixSums};
use crate::{Error, Result};

/// Number of draws after which every set has had exactly its share. It is prime, so that a rank or a row of a batch
/// does not meet the same draws in every period.
const PERIOD: u64 = 4093;

/// The samples that an order ranges over, numbered from 0: set by set, shard by shard.
#[derive(Clone, Debug)]
pub struct SampleSpace {
    pub(super) sets: Arc<[SampleSet]>,
    /// The draws of one period. A space of one set has a single draw.
    pub(super) draws: Arc<[MixSlot]>,
}

/// The set that a draw goes to.
#[derive(Clone, Copy, Debug)]
pub(super) struct MixSlot {
    pub(super) set: usize,
    /// Number of earlier draws of the period that go to the same set.
    pub(super) before: u64,
}

/// The samples of one set.
#[derive(Clone, Debug)]
pub(super) struct SampleSet {
    /// Number of the set's first sample.
    pub(super) first: u64,
    /// Samples by shard.
    pub(super) shards: PrefixSums,
    /// Number of draws of a period that go to this set.
    pub(super) share: u64,
}

impl SampleSpace {
    /// One set, from the number of samples in each of its shards. An epoch is all samples, once.
    pub fn of_shards(samples: &[u64]) -> Self {
        Self { sets: Arc::new([SampleSet::new(0, samples, 1)]), draws: Arc::new([MixSlot { set: 0, before: 0 }]) }
    }

    /// Several sets, each with its weight and the number of samples in each of its shards.
    ///
    /// An epoch has as many samples as all sets together. A set's share of them is its weight divided by the sum of the
    /// weights, to within 1/4000. All samples of a set come once before any comes again, even if an epoch ends in
    /// between.
    ///
    /// # Errors
    /// If there is no set, a set is empty, a weight is not positive, or its share is too small to be drawn.
    pub fn mixed(sets: &[(f64, &[u64])]) -> Result<Self> {
        let total: f64 = sets.iter().map(|(weight, _)| weight).sum();
        let shares = shares(&sets.iter().map(|(weight, _)| weight / total).collect::<Vec<_>>());
        let (mut spaces, mut ends) = (Vec::<SampleSet>::new(), Vec::new());
        let (mut first, mut end) = (0, 0);
        for ((weight, samples), share) in sets.iter().zip(shares) {
            let set = SampleSet::new(first, samples, share);
            if !weight.is_finite() || *weight <= 0.0 || !total.is_finite() || share == 0 {
                return Err(Error::config(format!(
                    "the weight {weight} of a set is not a usable share of the sum {total}"
                )));
            }
            if set.len() == 0 {
                return Err(Error::config("a set to be mixed is empty"));
            }
            (first, end) = (first + set.len(), end + share);
            ends.push(end);
            spaces.push(set);
        }
        if spaces.is_empty() {
            return Err(Error::config("there are no sets to mix"));
        }
        let mut drawn = vec![0; spaces.len()];
        let mut slot = |number| {
            let set = ends.partition_point(|&end| end <= number);
            drawn[set] += 1;
            MixSlot { set, before: drawn[set] - 1 }
        };
        let scattered = Permutation::new(PERIOD, 0);
        let draws = (0..PERIOD).map(|draw| slot(scattered.get(draw))).collect();
        Ok(Self { sets: spaces.into(), draws })
    }

    /// Number of samples, and the length of an epoch.
    pub fn len(&self) -> u64 {
        self.sets.last().map_or(0, |set| set.first + set.len())
    }

    /// Number of draws of a period that go to each set.
    pub(crate) fn shares(&self) -> impl Iterator<Item = u64> + '_ {
        self.sets.iter().map(|set| set.share)
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Number of draws of a period for each set, by largest remainder. A set whose exact share is less than one draw gets
/// none.
fn shares(weights: &[f64]) -> Vec<u64> {
    let exact: Vec<f64> = weights.iter().map(|weight| weight * PERIOD as f64).collect();
    let mut shares: Vec<u64> = exact.iter().map(|exact| exact.floor() as u64).collect();
    let mut order: Vec<usize> = (0..shares.len()).filter(|&set| shares[set] > 0).collect();
    order.sort_by(|&a, &b| exact[b].fract().total_cmp(&exact[a].fract()));
    let left = PERIOD.saturating_sub(shares.iter().sum());
    order.iter().cycle().take(left as usize).for_each(|&set| shares[set] += 1);
    shares
}

impl SampleSet {
    fn new(first: u64, samples: &[u64], share: u64) -> Self {
        Self { first, shards: PrefixSums::of(samples.iter().copied()), share }
    }

    pub(super) fn len(&self) -> u64 {
        self.shards.total()
    }
}

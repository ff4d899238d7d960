//! What is ordered. Comes in: the number of samples of each shard, of one set or of several with weights. Goes out: a
//! [`SampleSpace`]. Fails on weights that cannot be kept.

use std::sync::Arc;

use super::{Permutation, PrefixSums};
use crate::{Error, Result};

/// Draws after which every set has had its share exactly. A prime: no rank and no row of a batch meets the same draws in
/// every period.
const PERIOD: u64 = 4093;

/// The samples that an order ranges over, numbered from 0: shard by shard, set by set.
#[derive(Clone, Debug)]
pub struct SampleSpace {
    pub(super) parts: Arc<[Part]>,
    /// The draws of a period; one if nothing is mixed.
    pub(super) draws: Arc<[MixSlot]>,
}

/// Which set a draw goes to.
#[derive(Clone, Copy, Debug)]
pub(super) struct MixSlot {
    pub(super) part: usize,
    /// Draws of the period before it that go to the same set.
    pub(super) before: u64,
}

/// The samples of one set.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// Number of the first sample.
    pub(super) first: u64,
    pub(super) shards: PrefixSums,
    /// How many draws of a period go to this set.
    pub(super) share: u64,
}

impl SampleSpace {
    /// One set, whose shards hold so many samples each. An epoch is all of them, once.
    pub fn of_shards(samples: &[u64]) -> Self {
        Self { parts: Arc::new([Part::new(0, samples, 1)]), draws: Arc::new([MixSlot { part: 0, before: 0 }]) }
    }

    /// Several sets, each with its weight and the number of samples in its shards. An epoch has as many samples as all
    /// together; a set's share of them is its weight over the sum of weights, to within 1/4000. Each set is gone
    /// through as a whole before any of its samples comes again, over the end of an epoch as well.
    ///
    /// # Errors
    /// If there is no set, one is empty, or a weight is not positive or so small that its share is none.
    pub fn mixed(sets: &[(f64, &[u64])]) -> Result<Self> {
        let total: f64 = sets.iter().map(|(weight, _)| weight).sum();
        let shares = shares(&sets.iter().map(|(weight, _)| weight / total).collect::<Vec<_>>());
        let (mut parts, mut ends) = (Vec::<Part>::new(), Vec::new());
        let (mut first, mut end) = (0, 0);
        for ((weight, samples), share) in sets.iter().zip(shares) {
            let part = Part::new(first, samples, share);
            if !weight.is_finite() || *weight <= 0.0 || !total.is_finite() || share == 0 {
                return Err(Error::config(format!("the weight {weight} of a set is no share of their sum {total}")));
            }
            if part.len() == 0 {
                return Err(Error::config("a set to be mixed is empty"));
            }
            (first, end) = (first + part.len(), end + share);
            ends.push(end);
            parts.push(part);
        }
        if parts.is_empty() {
            return Err(Error::config("no sets are given to be mixed"));
        }
        let mut taken = vec![0; parts.len()];
        let mut draw = |place| {
            let part = ends.partition_point(|&end| end <= place);
            taken[part] += 1;
            MixSlot { part, before: taken[part] - 1 }
        };
        let scattered = Permutation::new(PERIOD, 0);
        let draws = (0..PERIOD).map(|place| draw(scattered.get(place))).collect();
        Ok(Self { parts: parts.into(), draws })
    }

    /// Number of samples, which is also that of an epoch.
    pub fn len(&self) -> u64 {
        self.parts.last().map_or(0, |part| part.first + part.len())
    }

    /// How many draws of a period go to each set.
    pub(crate) fn shares(&self) -> impl Iterator<Item = u64> + '_ {
        self.parts.iter().map(|part| part.share)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// How many draws of a period each set gets: by largest remainder, and none that has not earned one draw of its own.
fn shares(weights: &[f64]) -> Vec<u64> {
    let exact: Vec<f64> = weights.iter().map(|weight| weight * PERIOD as f64).collect();
    let mut shares: Vec<u64> = exact.iter().map(|exact| exact.floor() as u64).collect();
    let mut order: Vec<usize> = (0..shares.len()).filter(|&set| shares[set] > 0).collect();
    order.sort_by(|&a, &b| exact[b].fract().total_cmp(&exact[a].fract()));
    let left = PERIOD.saturating_sub(shares.iter().sum());
    order.iter().cycle().take(left as usize).for_each(|&set| shares[set] += 1);
    shares
}

impl Part {
    fn new(first: u64, samples: &[u64], share: u64) -> Self {
        Self { first, shards: PrefixSums::of(samples.iter().copied()), share }
    }

    pub(super) fn len(&self) -> u64 {
        self.shards.total()
    }
}

//! What is ordered. Comes in: the number of samples of each shard, of one set or of several with weights. Goes out: a
//! [`Population`]. Fails on weights that cannot be kept.

use std::ops::Range;
use std::sync::Arc;

use crate::{Error, Result};

/// Draws after which every set has had its share exactly.
const PERIOD: u64 = 4096;

/// The samples that an order ranges over, numbered from 0: shard by shard, set by set.
#[derive(Clone, Debug)]
pub struct Population {
    pub(super) parts: Arc<[Part]>,
}

/// The samples of one set.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// Number of the first sample.
    pub(super) first: u64,
    /// Number of samples before each shard, and at the end their total.
    pub(super) starts: Vec<u64>,
    /// The draws of a period that go to this set.
    pub(super) slots: Range<u64>,
}

impl Population {
    /// One set, whose shards hold so many samples each. An epoch is all of them, once.
    pub fn of_shards(samples: &[u64]) -> Self {
        Self { parts: Arc::new([Part::new(0, samples, 0..1)]) }
    }

    /// Several sets, each with its weight and the number of samples in its shards. An epoch has as many samples as all
    /// together; a set's share of them is its weight over the sum of weights, to within 1/8192. Each set is gone
    /// through as a whole before any of its samples comes again, over the end of an epoch as well.
    ///
    /// # Errors
    /// If there is no set, one is empty, or a weight is not positive or so small that its share is none.
    pub fn mixed(sets: &[(f64, &[u64])]) -> Result<Self> {
        let total: f64 = sets.iter().map(|(weight, _)| weight).sum();
        let (mut parts, mut first, mut slot, mut until) = (Vec::new(), 0, 0, 0.0);
        for (weight, samples) in sets {
            // Rounding the ends, not the shares: they add up to a period.
            until += weight;
            let end = (until / total * PERIOD as f64).round() as u64;
            let part = Part::new(first, samples, slot..end);
            if !weight.is_finite() || *weight <= 0.0 || !total.is_finite() || end <= slot {
                return Err(Error::config(format!("the weight {weight} of a set is no share of their sum {total}")));
            }
            if part.len() == 0 {
                return Err(Error::config("a set to be mixed is empty"));
            }
            (first, slot) = (first + part.len(), end);
            parts.push(part);
        }
        if parts.is_empty() {
            return Err(Error::config("no sets are given to be mixed"));
        }
        Ok(Self { parts: parts.into() })
    }

    /// Number of samples, which is also that of an epoch.
    pub fn len(&self) -> u64 {
        self.parts.last().map_or(0, |part| part.first + part.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Draws in a period: 1 where nothing is mixed.
    pub(super) fn period(&self) -> u64 {
        self.parts.last().map_or(1, |part| part.slots.end)
    }
}

impl Part {
    fn new(first: u64, samples: &[u64], slots: Range<u64>) -> Self {
        let mut starts = vec![0];
        let mut sum = 0;
        starts.extend(samples.iter().map(|count| {
            sum += count;
            sum
        }));
        Self { first, starts, slots }
    }

    pub(super) fn len(&self) -> u64 {
        self.starts.last().copied().unwrap_or(0)
    }
}

//! A keyed permutation of `0..count` that needs no table.
//!
//! # How it works
//!
//! A balanced Feistel network permutes all numbers of an even number of bits: the smallest such range that contains
//! `0..count`. A number that lands outside `0..count` is permuted again until it lands inside (cycle walking). The
//! result is still a bijection. As the range is less than four times the count, it takes fewer than four tries on
//! average. (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002.)

use crate::splitmix::mix64;

/// Six rounds look random on large ranges; small ranges need a few more.
const ROUNDS: u64 = 8;

/// A permutation of `0..count` that is computed, not stored.
#[derive(Clone, Copy, Debug)]
pub struct Permutation {
    count: u64,
    half_bits: u32,
    key: u64,
}

impl Permutation {
    /// The permutation of `0..count` with this key.
    pub fn new(count: u64, key: u64) -> Self {
        let bits = u64::BITS - count.saturating_sub(1).leading_zeros();
        Self { count, half_bits: bits.div_ceil(2).max(1), key }
    }

    /// The image of `index`.
    ///
    /// # Panics
    /// If `index` is not below the count.
    pub fn get(&self, index: u64) -> u64 {
        assert!(index < self.count, "index {index} of a permutation of {}", self.count);
        let mut value = self.network(index);
        while value >= self.count {
            value = self.network(value);
        }
        value
    }

    /// One pass through the Feistel network.
    fn network(&self, value: u64) -> u64 {
        let mask = (1_u64 << self.half_bits) - 1;
        let (mut left, mut right) = (value >> self.half_bits, value & mask);
        for round in 0..ROUNDS {
            let mixed = mix64(mix64(self.key ^ round) ^ right) & mask;
            (left, right) = (right, left ^ mixed);
        }
        left << self.half_bits | right
    }
}

//! A small random generator, and the trigonometry that scenes need.
//!
//! The same seed gives the same numbers for ever and on every platform: only integer arithmetic and IEEE operations
//! that round exactly are used.

use crate::splitmix::mix64;

/// SplitMix64: the state is a counter, each output a hash of it.
#[derive(Clone, Debug)]
pub(super) struct Rng(u64);

impl Rng {
    /// The stream of random numbers for `keys`; their order matters.
    pub(super) fn new(keys: &[u64]) -> Self {
        Self(keys.iter().fold(0, |state, key| mix64(mix64(state ^ key))))
    }

    /// 64 random bits.
    #[inline]
    pub(super) fn next_u64(&mut self) -> u64 {
        let bits = mix64(self.0);
        self.0 = self.0.wrapping_add(GOLDEN);
        bits
    }

    /// A whole number in `0..n`, or 0 if `n` is 0. The bias is below n / 2^64.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(n)) >> 64) as u64
    }

    /// A whole number from `low` to `high`, both included.
    pub(super) fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below((high - low) as u64 + 1) as usize
    }

    /// A number in `0.0..1.0`.
    pub(super) fn unit(&mut self) -> f32 {
        (self.next_u64() >> 40) as f32 / (1_u32 << 24) as f32
    }

    /// A number in `low..high`.
    pub(super) fn range(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// True with probability `p`.
    pub(super) fn chance(&mut self, p: f32) -> bool {
        self.unit() < p
    }

    /// Puts `items` into random order.
    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.between(0, last));
        }
    }
}

/// The step of SplitMix64's counter.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Cosine and sine of `turns` full turns, to about five digits. The standard library's may differ between platforms.
pub(super) fn cos_sin(turns: f32) -> [f32; 2] {
    [sine(turns + 0.25), sine(turns)]
}

fn sine(turns: f32) -> f32 {
    // Folded to within a quarter turn of zero, where a short series is accurate.
    let turns = turns - turns.floor();
    let folded = if turns < 0.25 {
        turns
    } else if turns < 0.75 {
        0.5 - turns
    } else {
        turns - 1.0
    };
    let x = folded * std::f32::consts::TAU;
    let xx = x * x;
    x * (1.0 - xx / 6.0 * (1.0 - xx / 20.0 * (1.0 - xx / 42.0 * (1.0 - xx / 72.0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_never_changes() {
        // Published first outputs of SplitMix64 from state 0.
        let mut rng = Rng(0);
        assert_eq!([rng.next_u64(), rng.next_u64()], [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4]);
    }

    #[test]
    fn cos_sin_is_a_unit_vector() {
        for step in -20..40 {
            let turns = step as f32 / 16.0;
            let [c, s] = cos_sin(turns);
            let angle = turns * std::f32::consts::TAU;
            assert!((c - angle.cos()).abs() < 2e-5 && (s - angle.sin()).abs() < 2e-5, "{turns}");
        }
    }
}

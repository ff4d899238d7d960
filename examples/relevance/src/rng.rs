//! Seeded random numbers: the same keys give the same stream on every machine.
//!
//! candle's generator cannot be seeded on the CPU and Burn's draws other numbers, but a training run must be
//! repeatable to be debugged.

/// SplitMix64: a counter whose hash is the output.
pub struct Rng(u64);

impl Rng {
    /// The stream of these keys, in this order.
    pub fn new(keys: &[u64]) -> Self {
        Self(keys.iter().fold(0, |state, key| hash(state ^ key)))
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        hash(self.0)
    }

    /// A number in `0..n`; 0 if `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }

    /// A number in `0..1`.
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1 << 24) as f32
    }

    /// A number in `-limit..limit`.
    pub fn within(&mut self, limit: f32) -> f32 {
        limit * (2.0 * self.unit() - 1.0)
    }

    /// Shuffles `items`.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

fn hash(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

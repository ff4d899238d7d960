//! Random numbers that are functions of what they are for.

use crate::splitmix::mix64;

/// What a number is for. Numbers for one purpose do not depend on whether others are drawn.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub(crate) enum Purpose {
    FlipX = 1,
    FlipY = 2,
    Crop = 3,
    Point = 4,
    Positive = 5,
    Negative = 6,
    Box = 7,
    ColorOrder = 8,
    Color = 9,
    Grayscale = 10,
    Transform = 11,
    Turn = 12,
}

/// The numbers of one image in one epoch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draws(u64);

impl Draws {
    pub(crate) fn new(seed: u64, epoch: u64, image_id: i64) -> Self {
        // Each is mixed on its own: a single mix would only swap neighbours where two seeds differ in one bit.
        Self([epoch, image_id as u64].into_iter().fold(mix64(seed), |key, part| mix64(key ^ part)))
    }

    /// The numbers of one annotation of the image.
    pub(crate) fn about(self, id: i64) -> Self {
        Self(mix64(self.0 ^ mix64(id as u64)))
    }

    fn bits(self, purpose: Purpose, number: u64) -> u64 {
        mix64(mix64(self.0 ^ purpose as u64) ^ number)
    }

    /// The `number`-th number for a purpose, from 0 to less than 1, in steps of 2^-53.
    pub(crate) fn unit(self, purpose: Purpose, number: u64) -> f64 {
        (self.bits(purpose, number) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// The same in a range.
    pub(crate) fn within(self, purpose: Purpose, number: u64, [least, most]: [f64; 2]) -> f64 {
        least + (most - least) * self.unit(purpose, number)
    }

    /// A whole number below `end`, or 0 if that is 0.
    pub(crate) fn below(self, purpose: Purpose, number: u64, end: u64) -> u64 {
        ((u128::from(self.bits(purpose, number)) * u128::from(end)) >> 64) as u64
    }
}

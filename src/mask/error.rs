//! What can be wrong with a mask. Comes in: nothing; goes out: [`RleError`], which names the value at fault and where
//! it stands.

use std::fmt;

/// Why a run-length encoding, a grid or a buffer was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RleError {
    /// A byte outside the alphabet (48 to 111) at this index of the counts string.
    Character {
        /// Index in the string.
        index: usize,
        /// The byte found there.
        byte: u8,
    },
    /// The counts string ends inside a number.
    Truncated,
    /// A run is negative or does not fit 32 bits.
    Run {
        /// Index of the run.
        index: usize,
        /// Its value as far as it could be read.
        value: i64,
    },
    /// The runs do not add up to height x width. Where the sum is larger, it is the sum at the first run too many.
    Sum {
        /// Sum of the runs.
        sum: u64,
        /// Height x width.
        pixels: u64,
    },
    /// Two sizes that must agree do not: of a buffer, or of a mask and a grid made for another image.
    Size {
        /// What was needed.
        expected: u64,
        /// What was given.
        found: u64,
    },
    /// A grid axis without cells or pixels, with a zero scale, or with a scale beyond exact arithmetic.
    Axis,
}

impl fmt::Display for RleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Character { index, byte } => {
                write!(f, "counts: byte {byte} at index {index} is outside the alphabet 48..=111")
            }
            Self::Truncated => f.write_str("counts: the string ends inside a number"),
            Self::Run { index, value } => write!(f, "counts: run {index} is {value}, not a 32-bit length"),
            Self::Sum { sum, pixels } => {
                write!(f, "counts: the runs add up to {sum}, but the image has {pixels} pixels")
            }
            Self::Size { expected, found } => write!(f, "size is {found}, but {expected} was needed"),
            Self::Axis => f.write_str("grid axis is empty or its scale is beyond exact arithmetic"),
        }
    }
}

impl std::error::Error for RleError {}

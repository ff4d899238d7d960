//! What can be wrong with a mask. Comes in: nothing; goes out: [`RleError`], which names the value at fault and where
//! it stands.

use std::fmt;

/// Why a run-length encoding, a grid or a buffer was refused.
#[derive(Clone, Debug, PartialEq)]
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
    /// The runs do not add up to height x width. Of a counts string with too many, the sum at the first of these.
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
    /// An image with a side beyond 2^22 pixels, or with more detail than an operation goes into.
    Image {
        /// Its height.
        height: u32,
        /// Its width.
        width: u32,
    },
    /// Two masks that must be of one size are not; sizes are height, width.
    Sizes {
        /// Size of the first mask.
        expected: [u32; 2],
        /// Size of the other one.
        found: [u32; 2],
        /// Place of the other one in its list.
        index: usize,
    },
    /// A part of the image that does not lie within it.
    Window {
        /// The part: x, y, width, height.
        window: [u32; 4],
        /// The image: height, width.
        size: [u32; 2],
    },
    /// A polygon of fewer than three points, or of an odd count of numbers.
    Points {
        /// How many numbers were given.
        numbers: usize,
    },
    /// A coordinate that is not finite, or beyond what pycocotools can compute with.
    Coordinate {
        /// Index in the list of numbers.
        index: usize,
        /// Its value.
        value: f64,
    },
    /// Distances between pixels at which neither rows nor columns lie apart from each other.
    Strides {
        /// To the pixel below.
        row: usize,
        /// To the pixel on the right.
        column: usize,
    },
    /// A score that is not a number.
    Score {
        /// Its place in the list.
        index: usize,
    },
    /// A tolerance that is no distance: negative or not a number.
    Tolerance {
        /// Its value.
        value: f64,
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
            Self::Image { height, width } => {
                write!(
                    f,
                    "an image of {height} x {width} pixels is too large, or too detailed, for this: a side may have 2^22"
                )
            }
            Self::Sizes { expected: [h, w], found: [height, width], index } => {
                write!(f, "mask {index}: size is [{height}, {width}], but [{h}, {w}] was needed")
            }
            Self::Window { window: [x, y, width, height], size: [h, w] } => {
                write!(f, "{height} x {width} pixels from row {y}, column {x} do not lie within {h} x {w}")
            }
            Self::Points { numbers } => {
                write!(f, "polygon: {numbers} numbers, not x and y of three points or more")
            }
            Self::Coordinate { index, value } => {
                write!(f, "coordinates: number {index} is {value}, not a position in or near an image")
            }
            Self::Strides { row, column } => {
                write!(f, "strides {row} and {column}: neither rows nor columns lie apart")
            }
            Self::Score { index } => write!(f, "score {index} is not a number"),
            Self::Tolerance { value } => {
                write!(f, "tolerance or threshold is {value}, which nothing can be compared with")
            }
            Self::Axis => f.write_str("grid axis is empty or its scale is beyond exact arithmetic"),
        }
    }
}

impl std::error::Error for RleError {}

//! [`RleError`]: why an operation on masks failed, with the invalid value and its position.

use std::fmt;

/// Why a mask, a grid, a polygon or a buffer was rejected.
///
/// ```
/// use maskstream::mask::{Rle, RleError};
///
/// match Rle::from_counts(b"9 2", 4, 6) {
///     Err(RleError::Character { index, byte }) => assert_eq!((index, byte), (1, b' ')),
///     other => panic!("{other:?}"),
/// }
/// let error = Rle::from_runs(vec![9, 2], 4, 6).unwrap_err();
/// assert_eq!(error.to_string(), "counts: the runs add up to 11, but the image has 24 pixels");
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum RleError {
    /// The counts string contains a byte outside the alphabet (48 to 111).
    Character {
        /// Index of the byte in the string.
        index: usize,
        /// The invalid byte.
        byte: u8,
    },
    /// The counts string ends inside a number.
    Truncated,
    /// A run is negative or does not fit 32 bits.
    Run {
        /// Index of the run.
        index: usize,
        /// The value of the run, as far as it was decoded.
        value: i64,
    },
    /// The runs do not add up to height x width.
    Sum {
        /// Sum of the runs; for a counts string with too many pixels, the sum at the first run beyond the image.
        sum: u64,
        /// Height x width.
        pixels: u64,
    },
    /// The length of a buffer or list is wrong, or a mask does not have the size that a grid was made for.
    Size {
        /// The required size.
        expected: u64,
        /// The actual size.
        found: u64,
    },
    /// A side of the image exceeds 2^22 pixels, or the mask is too detailed for the operation.
    Image {
        /// Height of the image.
        height: u32,
        /// Width of the image.
        width: u32,
    },
    /// Two masks that must have the same size do not. Sizes are height and width.
    Sizes {
        /// Size of the first mask.
        expected: [u32; 2],
        /// Size of the other mask.
        found: [u32; 2],
        /// Index of the other mask in its list.
        index: usize,
    },
    /// A window exceeds the image.
    Window {
        /// The window: x, y, width, height.
        window: [u32; 4],
        /// The image: height, width.
        size: [u32; 2],
    },
    /// A polygon has fewer than three points, or an odd number of values.
    Points {
        /// Number of values given.
        numbers: usize,
    },
    /// A coordinate is not finite or out of range.
    Coordinate {
        /// Index of the value in the list.
        index: usize,
        /// The invalid value.
        value: f64,
    },
    /// With these strides, pixels could overlap.
    Strides {
        /// Distance to the pixel below, in bytes.
        row: usize,
        /// Distance to the pixel on the right, in bytes.
        column: usize,
    },
    /// A score is NaN.
    Score {
        /// Index of the score in the list.
        index: usize,
    },
    /// A tolerance is negative or NaN, or a threshold is NaN.
    Tolerance {
        /// The invalid value.
        value: f64,
    },
    /// A grid axis has no cells or pixels, a zero scale, or a scale too fine for exact arithmetic.
    Axis,
}

impl fmt::Display for RleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Character { index, byte } => {
                write!(f, "counts: byte {byte} at index {index} is outside the alphabet 48..=111")
            }
            Self::Truncated => f.write_str("counts: the string ends inside a number"),
            Self::Run { index, value } => {
                write!(f, "counts: run {index} is {value}, which is not an unsigned 32-bit number")
            }
            Self::Sum { sum, pixels } => {
                write!(f, "counts: the runs add up to {sum}, but the image has {pixels} pixels")
            }
            Self::Size { expected, found } => write!(f, "size is {found}, expected {expected}"),
            Self::Image { height, width } => {
                write!(
                    f,
                    "an image of {height} x {width} pixels is too large (sides may have 2^22) or its mask too detailed"
                )
            }
            Self::Sizes { expected: [h, w], found: [height, width], index } => {
                write!(f, "mask {index}: size is [{height}, {width}], expected [{h}, {w}]")
            }
            Self::Window { window: [x, y, width, height], size: [h, w] } => {
                write!(f, "window of {height} x {width} pixels at row {y}, column {x} exceeds the image of {h} x {w}")
            }
            Self::Points { numbers } => {
                write!(f, "polygon: {numbers} values, expected x and y of at least three points")
            }
            Self::Coordinate { index, value } => {
                write!(f, "coordinates: value {index} is {value}, which is not finite or out of range")
            }
            Self::Strides { row, column } => {
                write!(f, "strides: pixels overlap at {row} bytes per row and {column} per column")
            }
            Self::Score { index } => write!(f, "score {index} is NaN"),
            Self::Tolerance { value } => {
                write!(f, "tolerance or threshold {value} is negative or NaN")
            }
            Self::Axis => f.write_str("grid axis: no pixels or cells, or a scale too fine for exact arithmetic"),
        }
    }
}

impl std::error::Error for RleError {}

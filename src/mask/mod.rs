//! COCO run-length masks: decoding, encoding, set operations, geometry and drawing on grids.
//!
//! A mask is an [`Rle`]. It is made from a counts string, run lengths, a bitmap, polygons or a box, and converts back
//! to all of these. Masks are measured, merged, transformed and compared without a bitmap. A [`Grid`] draws a mask at
//! any size, by nearest pixel centre or by exact area, also without the full-size bitmap.
//!
//! The module does no I/O and uses nothing else of the crate. Errors are [`RleError`]s that name the invalid value.
//! Untrusted input does not cause a panic, and memory stays within a few times the size of the input and the result.
//! Results that could be very much larger than their input are refused.
//!
//! # The format
//!
//! Pixels are in column-major order. Runs alternate between background and mask and start with background, so the first
//! run may be 0. The counts string stores each run as a number in groups of 5 bits, lowest group first. Each group is
//! one byte with an offset of 48: bit 0x20 says that more groups follow, and bit 0x10 of the last group is the sign.
//! From the fourth number on, a number is the difference from the run two places before it. (Source: `maskApi.c` of the
//! COCO API.)
//!
//! ```
//! use maskstream::mask::{Grid, Rle};
//!
//! // 4 rows, 6 columns; rows 1 and 2 of columns 2 and 3 are set.
//! let mask = Rle::from_runs(vec![9, 2, 2, 2, 9], 4, 6)?;
//! assert_eq!(mask.area(), 4);
//! assert_eq!(mask.bbox(), [2, 1, 2, 2]);
//! assert_eq!(Rle::from_counts(mask.to_counts().as_bytes(), 4, 6)?, mask);
//!
//! // The exact fraction of each cell of a 2 x 3 grid that it covers.
//! let mut coverage = [0.0; 6];
//! Grid::stretch(4, 6, 2, 3)?.coverage(&mask, &mut Default::default(), &mut coverage)?;
//! assert_eq!(coverage, [0.0, 0.5, 0.0, 0.0, 0.5, 0.0]);
//!
//! // To polygons and back.
//! assert_eq!(mask.to_polygons(0.0)?.to_rle()?, mask);
//! # Ok::<(), maskstream::mask::RleError>(())
//! ```
//!
//! # Coming from pycocotools
//!
//! | pycocotools.mask | here |
//! |---|---|
//! | `encode`, `decode` of a stack | [`encode`], [`decode`] |
//! | `encode`, `decode` of one mask | [`Rle::from_column_major`], [`Rle::write_column_major`]; also other layouts |
//! | `area`, `toBbox` | [`Rle::area`], [`Rle::bbox`] |
//! | `iou` of masks, of boxes | [`iou`], [`box_iou`] |
//! | `merge` | [`merge`], [`Rle::union`], [`Rle::intersection`]; also difference and xor |
//! | `frPyObjects` of polygons | [`Rle::from_polygon`], [`Rle::from_polygons`] (their union) |
//! | `frPyObjects` of a box, of runs | [`Rle::from_box`], [`Rle::from_runs`] |
//! | `annToRLE` | [`Segmentation::to_rle`] |
//! | `counts` of a dict | [`Rle::from_counts`], [`Rle::to_counts`] |
//!
//! Wherever the result of pycocotools 2.0.11 is well-defined and correct, the result here is the same, byte for byte.
//! The differences are:
//!
//! - Counts that do not add up to height x width, end inside a number, contain a byte outside the alphabet or contain a
//!   negative run are errors. (pycocotools reads past its buffers or returns uninitialized memory.)
//! - Runs of length 0 within a mask are ordinary runs. (pycocotools stops at them, which makes unions and boxes wrong.)
//!   Areas and positions have 64 bits. (pycocotools wraps at 32.)
//! - Masks of different sizes in one list are an error. (pycocotools mixes them up, or returns an IoU of -1.)
//! - A polygon with fewer than three points, with an odd number of values, or with a coordinate that is not finite or
//!   beyond 2^22 is an error. (pycocotools crashes on some of these.) All other polygons are drawn as pycocotools draws
//!   them, including points outside the image.
//! - Every nonzero byte of a bitmap belongs to the mask. (pycocotools starts a new run at every change of value.)

mod axis;
mod bitmap;
mod blocks;
mod boolean;
mod builder;
mod cell_bits;
mod cell_rect;
mod columns;
mod components;
mod contour;
mod counts;
mod error;
mod grid;
mod iou;
mod morphology;
mod polygon;
mod rle;
mod rows;
mod runs;
mod segmentation;
mod simplify;
mod tracer;
mod transform;
mod window;

pub use axis::Axis;
pub use bitmap::{Strides, decode, encode};
pub use boolean::{Merge, merge};
pub use components::Connectivity;
pub use contour::{Polygon, Polygons};
pub use error::RleError;
pub use grid::{Grid, GridScratch};
pub use iou::{box_iou, iou, nms};
pub use rle::{Rle, RleStats};
pub use rows::unpack_rows;
pub use segmentation::{Counts, Segmentation};

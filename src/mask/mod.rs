//! COCO run-length masks: a library of its own, without I/O.
//!
//! Comes in: counts strings, runs, bitmaps, polygons or boxes. Goes out: all of these again, numbers about masks, masks
//! made of masks, or a mask drawn on a [`Grid`] of any size, by nearest pixel centre or by exact area, without the
//! full-size bitmap in between. Fails with an [`RleError`] that names the value at fault. Hostile input does not panic, nor
//! take more memory than a few times its own size and that of the result; results that could be very much larger than
//! what they are made of are refused.
//!
//! # The format
//!
//! Pixels are walked column by column. Runs alternate between background and mask and start with background, so the
//! first may be 0. The counts string writes them as numbers of 5-bit groups, lowest first, each group stored as a byte
//! 48 higher; bit 0x20 says that more groups follow, bit 0x10 of the last group is the sign. From the fourth number on,
//! a number is the difference to the run two places before it. (Source: the COCO API, `maskApi.c`.)
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
//! // Its exact share of each cell of a 2 x 3 grid.
//! let mut share = [0.0; 6];
//! Grid::stretch(4, 6, 2, 3)?.coverage(&mask, &mut Default::default(), &mut share)?;
//! assert_eq!(share, [0.0, 0.5, 0.0, 0.0, 0.5, 0.0]);
//!
//! // As polygons, and back.
//! assert_eq!(mask.to_polygons(0.0)?.to_rle()?, mask);
//! # Ok::<(), maskstream::mask::RleError>(())
//! ```
//!
//! # Coming from pycocotools
//!
//! | pycocotools.mask | here |
//! |---|---|
//! | `encode`, `decode` | [`encode`], [`decode`]; of one mask [`Rle::from_column_major`], [`Rle::write_column_major`], and row by row, strided or by bits |
//! | `area`, `toBbox` | [`Rle::area`], [`Rle::bbox`] |
//! | `iou` of masks, of boxes | [`iou`], [`box_iou`] |
//! | `merge` | [`merge`], [`Rle::union`], [`Rle::intersection`]; also difference and xor |
//! | `frPyObjects` | [`Rle::from_polygon`], [`Rle::from_polygons`] (united), [`Rle::from_box`], [`Rle::from_runs`]; of JSON [`Segmentation`] |
//! | `counts` of a dict | [`Rle::from_counts`], [`Rle::to_counts`] |
//!
//! Where pycocotools 2.0.11 is defined and right, results are the same, byte for byte. They differ where it is not:
//!
//! - Counts that do not add up to height x width, end inside a number, hold a byte outside the alphabet or a negative
//!   run are errors (it reads past its buffers, or returns memory that nobody wrote).
//! - Runs of length 0 within a mask are just that (its walks end there: wrong unions and boxes). Areas and positions
//!   have 64 bits (it wraps at 32).
//! - Masks of different sizes in one list are errors (it mixes them up, or gives an IoU of -1).
//! - A polygon of fewer than three points, of half a point, or with a coordinate that is not finite or beyond 2^22 is an
//!   error (it crashes on some of these). What it draws for the others is drawn, also outside the image.
//! - In a bitmap every byte but 0 is mask (it begins a new run at every change of value).

mod axis;
mod bitmap;
mod blocks;
mod boolean;
mod builder;
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
mod segmentation;
mod simplify;
mod tracer;
mod transform;

pub use axis::Axis;
pub use bitmap::{Strides, decode, encode};
pub use boolean::{Merge, merge};
pub use components::Connectivity;
pub use contour::{Polygon, Polygons};
pub use error::RleError;
pub use grid::{Grid, GridScratch};
pub use iou::{box_iou, iou, nms};
pub use rle::{Rle, RleStats};
pub use segmentation::{Counts, Segmentation};

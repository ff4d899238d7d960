//! COCO run-length masks: a library of its own, without I/O.
//!
//! Comes in: a counts string, runs, or a bitmap. Goes out: runs, counts, area, box, a full bitmap, or the mask drawn on
//! a [`Grid`] of any size, by nearest pixel centre or by exact area, without the full-size bitmap in between. Fails
//! with an [`RleError`] that names the value at fault; hostile input neither panics nor allocates more than its own
//! length.
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
//! # Ok::<(), maskstream::mask::RleError>(())
//! ```

#![forbid(unsafe_code)]

mod axis;
mod bitmap;
mod blocks;
mod boolean;
mod builder;
mod components;
mod contour;
mod counts;
mod error;
mod grid;
mod iou;
mod morphology;
mod polygon;
mod rle;
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

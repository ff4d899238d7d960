//! Decodes the labels of a sample into its row of a batch: masks, coverage, boxes, points and scores.
//!
//! Damage anywhere in the sample is an error. The row's content is then undefined, and its owner sets it to zero.

mod boxes;
mod clock;
mod decode;
mod geometry;
mod place;
mod prompts;
mod row;

pub use boxes::{BoxFormat, CoordFrame};
pub(crate) use clock::Clock;
pub use decode::MaskKind;
pub(crate) use decode::{LabelDecoder, LabelSource, SampleOptions, StageTimes};
pub use geometry::{Fit, Geometry};
pub(crate) use row::RowMut;

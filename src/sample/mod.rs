//! Decodes the labels of a sample into its row of a batch: masks, coverage, boxes, points and scores.
//!
//! Damage anywhere in the sample is an error. The row's content is then undefined, and its owner sets it to zero.

mod boxes;
mod clock;
mod decode;
mod geometry;
mod options;
mod place;
mod prompts;
mod row;
mod transform;
mod turned;

pub use boxes::{BoxFormat, CoordFrame};
pub(crate) use clock::Clock;
pub(crate) use decode::{LabelDecoder, LabelSource, StageTimes};
pub use geometry::{Fit, Geometry};
pub use options::MaskKind;
pub(crate) use options::SampleOptions;
pub(crate) use row::RowMut;
pub use transform::Sample;
pub(crate) use transform::Transform;

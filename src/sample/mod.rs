//! One sample -> one slot. Comes in: a sample's bytes and its slot. Goes out: the slot filled: image, masks, coverage,
//! boxes, points, scores. Fails on anything in the sample that is damaged; the slot's content is then undefined, and
//! its owner sets it to zero.

mod boxes;
mod decode;
mod geometry;
mod row;

pub use boxes::{BoxFormat, CoordFrame};
pub use decode::MaskKind;
pub(crate) use decode::{Clock, LabelSource, SampleDecoder, SampleOptions, StageTimes};
pub use geometry::{Fit, Geometry};
pub(crate) use row::RowMut;

//! SA-1B annotation files. Comes in: the bytes of a json member. Goes out: an [`AnnotationFile`] that borrows from
//! them, and which of its annotations survive a [`MaskFilter`] and rank first. Fails on JSON that does not fit the
//! schema; the message names what and where.

mod filter;
mod rank;
mod schema;
mod selection;

pub(crate) use filter::ScoreColumns;
pub use filter::{AnnotationStats, MaskFilter};
pub use rank::TopKBy;
pub(crate) use schema::MAX_SIDE;
pub use schema::{Annotation, AnnotationFile, ImageInfo};
pub(crate) use selection::AnnotationSelector;
pub use selection::IdList;

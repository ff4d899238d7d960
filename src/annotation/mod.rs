//! SA-1B's annotation files, and the choice of masks from them.
//!
//! [`AnnotationFile::parse`] reads a JSON member; the result borrows from its bytes. [`MaskFilter`] and [`IdList`] say
//! which annotations are kept, [`TopKBy`] which of those come first. A field that is missing costs that field alone.
//! JSON that does not fit the schema is an error that names the field and the byte.

mod bounds;
mod fault;
mod filter;
mod id_list;
mod json;
mod mismatch;
mod schema;
mod selector;
mod top_k;

pub(crate) use bounds::FilterBounds;
pub(crate) use filter::ScoreColumns;
pub use filter::{AnnotationStats, MaskFilter};
pub use id_list::IdList;
pub use mismatch::MaskMismatch;
pub(crate) use schema::MAX_SIDE;
pub use schema::{Annotation, AnnotationFile, ImageInfo};
pub(crate) use selector::AnnotationSelector;
pub use top_k::TopKBy;

//! What may happen to a sample between its shard and its batch, and the numbers that are drawn for it.
//!
//! Image, masks, boxes and points of a sample share one map, so an augmentation is no step of its own: it is another
//! map. Every number is a function of the seed, the epoch, the id of the image and what it is for, so workers, ranks,
//! prefetching and resuming change nothing.

mod colour;
mod crop;
mod draws;
mod prompts;
mod settings;

pub use colour::{ColorJitter, ColorStep};
pub(crate) use crop::Frame;
pub use crop::Placement;
pub(crate) use draws::{Draws, Purpose};
pub use prompts::{NegativeClicks, Prompts};
pub use settings::{Augment, Crop};

//! Batches. Comes in: the sizes of a batch. Goes out: buffers from a pool, slots that workers fill side by side, and
//! the finished [`Batch`] with named fields. Fails where memory cannot be had or the memory budget is used up.

mod fill;
mod finished;
mod layout;
mod memory;
mod pool;

pub(crate) use fill::{Slot, slots};
pub use finished::{Batch, Field, SampleError};
pub use layout::{BatchLayout, FieldSpec};
pub(crate) use memory::BatchBuffers;
#[cfg(any(feature = "burn", feature = "candle"))]
pub(crate) use memory::Buffer;
pub use memory::{Memory, PinState};
pub(crate) use pool::{Pool, SharedPool};

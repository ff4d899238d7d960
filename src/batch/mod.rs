//! Batches. Comes in: the sizes of a batch. Goes out: buffers from a pool, slots that workers fill side by side, and the finished [`Batch`] with named
//! fields. Fails where memory cannot be had or the memory budget is used up.

mod batch;
mod fill;
mod layout;
mod memory;
mod pool;

pub use batch::{Batch, Field, Issue};
pub(crate) use fill::{Slot, slots};
pub use layout::{BatchLayout, FieldSpec, FieldType};
pub(crate) use memory::BatchBuffers;
#[cfg(feature = "candle")]
pub(crate) use memory::Buffer;
pub use memory::{Memory, PinState};
pub(crate) use pool::{Pool, Spares};

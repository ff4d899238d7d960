//! Streams SA-1B tar shards into training loops.
pub mod error;
mod mix;
pub mod mask;
pub mod annotation;
pub mod source;
pub mod shard;
pub mod image;
pub mod sample;
pub mod order;
pub mod batch;
pub mod loader;
#[cfg(feature = "candle")]
pub mod adapter;
#[cfg(feature = "synth")]
pub mod synth;

pub use error::{Error, ErrorKind, Location, Result};
pub use batch::Batch;
pub use loader::Loader;
pub use shard::ShardSet;

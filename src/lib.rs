//! Streams SA-1B tar shards into training loops.
#[cfg(feature = "candle")]
pub mod adapter;
pub mod annotation;
pub mod batch;
pub mod error;
pub mod image;
pub mod loader;
pub mod mask;
mod mix;
pub mod order;
pub mod sample;
pub mod shard;
pub mod source;
#[cfg(feature = "synth")]
pub mod synth;

pub use batch::Batch;
pub use error::{Error, ErrorKind, Location, Result};
pub use loader::Loader;
pub use shard::ShardSet;

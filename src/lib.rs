//! Streams SA-1B tar shards into training loops.
pub mod annotation;
pub mod batch;
pub mod error;
pub mod image;
pub mod mask;
mod mix;
pub mod order;
pub mod sample;
pub mod shard;
pub mod source;

pub use error::{Error, ErrorKind, Location, Result};
pub mod adapter;
pub mod loader;

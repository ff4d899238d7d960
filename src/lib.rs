//! Streams SA-1B tar shards into training loops.
pub mod error;
pub mod mask;

pub use error::{Error, ErrorKind, Location, Result};

//! Streams SA-1B tar shards into training loops.
pub mod error;
pub mod mask;
#[cfg(feature = "synth")]
pub mod synth;

pub use error::{Error, ErrorKind, Location, Result};

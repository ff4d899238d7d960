//! The result type of this package.

use std::error::Error;

/// Errors come from shards, files and the framework; the program only prints them.
pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

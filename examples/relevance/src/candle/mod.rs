//! The heads in candle.

pub mod adamw;
pub mod heads;
pub mod model;
pub mod weights;

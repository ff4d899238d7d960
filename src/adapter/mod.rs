//! Batch -> tensors of a framework. Comes in: a [`Batch`](crate::batch::Batch). Goes out: the framework's own tensors.
//! Fails as the framework does.

#[cfg(feature = "candle")]
mod candle;

#[cfg(feature = "candle")]
pub use candle::{CandleBatch, CandleEpoch};

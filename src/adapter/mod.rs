//! Batch -> tensors of a framework. Comes in: a [`Batch`](crate::batch::Batch). Goes out: the framework's own tensors.
//! Fails as the framework does.

#[cfg(feature = "burn")]
mod burn;
#[cfg(feature = "candle")]
mod candle;
mod epoch;

#[cfg(feature = "burn")]
pub use burn::{BurnBatch, BurnEpoch, BurnImages, BurnLoader};
#[cfg(feature = "candle")]
pub use candle::{CandleBatch, CandleEpoch};
pub use epoch::TensorEpoch;

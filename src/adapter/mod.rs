//! Batches as tensors of a framework. Each adapter uses only the crate's public API: [`Batch::into_parts`] and
//! [`Epoch::convert_with`] suffice to write an adapter for another framework.
//!
//! [`Batch::into_parts`]: crate::Batch::into_parts
//! [`Epoch::convert_with`]: crate::Epoch::convert_with

#[cfg(feature = "burn")]
mod burn;
#[cfg(feature = "burn")]
mod burn_loader;
#[cfg(feature = "candle")]
mod candle;

#[cfg(feature = "burn")]
pub use burn::{BurnBatch, BurnImages};
#[cfg(feature = "burn")]
pub use burn_loader::BurnLoader;
#[cfg(feature = "candle")]
pub use candle::CandleBatch;

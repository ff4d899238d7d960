//! Batches as tensors of a framework. An adapter for another framework needs no more than these: [`Batch::into_parts`]
//! for the bytes, and [`Epoch::convert_with`] for the epoch.
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

/// The eight cells of each byte of packed masks, row-major, 256 x 8: devices look them up.
#[cfg(any(feature = "burn", feature = "candle"))]
fn cells_of_bytes() -> Vec<u8> {
    let bytes: Vec<u8> = (0..=u8::MAX).collect();
    crate::mask::unpack_rows(&bytes, 8)
}

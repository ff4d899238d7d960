//! Properties of the library, from outside. Each module is a room or a seam, each test is named by the property it
//! proves, and each oracle is independent of the code it judges: naive arithmetic, the `tar` crate, a JPEG decoded
//! apart.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod annotation;
mod architecture;
#[cfg(feature = "burn-flex")]
mod burn;
#[cfg(feature = "candle")]
mod candle;
#[cfg(feature = "cli")]
mod cli;
mod fault_table;
mod faults;
mod fixture;
mod gzip;
mod loader;
mod mask;
mod order;
mod repack;
mod resume;
mod selection;
mod shard;
mod stream;
#[cfg(feature = "candle")]
mod tensor_docs;
#[cfg(feature = "burn-flex")]
mod tensor_docs_burn;
#[cfg(any(feature = "burn-flex", feature = "candle"))]
mod tensors;

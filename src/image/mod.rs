//! Images. Comes in: a JPEG, the size its annotations say, and the size wanted. Goes out: RGB planes of that size in
//! the number type wanted. Fails on JPEGs that are damaged, cut short, of another size than annotated, or larger than
//! allowed.
//!
//! Three steps, so that each can be timed: [`Decoder::decode`] to interleaved pixels, [`Decoder::resize`] (bilinear
//! with antialiasing, as PIL's `BILINEAR`), and [`to_chw`] into the batch.

mod decoder;
mod planes;
#[cfg(feature = "turbojpeg")]
mod turbo;
mod zune;

pub use decoder::{Decoder, JpegCodec};
pub use planes::{Normalization, Planes, to_chw};

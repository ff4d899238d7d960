//! Images: from a JPEG to the RGB planes of a batch.
//!
//! There are three steps, so that each can be timed: [`Decoder::decode`] makes interleaved pixels, [`Decoded::resize`]
//! resizes them (bilinear with antialiasing, as PIL's `BILINEAR`), and [`to_chw`] writes them into the batch as planes
//! of its number type. A JPEG that is damaged, cut short, larger than allowed, or of another size than its annotations
//! say is an error; a derived one is of the size that it says of itself.

mod decoder;
#[cfg(feature = "derive")]
mod derive;
mod fit;
mod jpeg;
mod pixels;
mod planes;
#[cfg(feature = "turbojpeg")]
mod turbo;
mod zune;

pub use decoder::{Decoder, JpegCodec};
#[cfg(feature = "derive")]
pub use derive::Derive;
#[cfg(feature = "derive")]
pub(crate) use derive::Deriver;
pub(crate) use fit::letterboxed;
pub(crate) use jpeg::HEAD_BYTES;
pub use jpeg::{Derived, orientation as exif_orientation};
pub use planes::{Normalization, Planes, to_chw};

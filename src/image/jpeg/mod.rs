//! What a JPEG is made of, and whether its image data is whole. Knows nothing of pixels: codecs make those.
//!
//! [`Picture::read`] finds the segments as libjpeg does: fill bytes, and stray bytes between the segments of the
//! header, are passed over; whatever follows the end marker is ignored. [`Picture::write`] puts together a JPEG of only
//! what a decoder needs, so that every decoder understands the same picture. [`check`] reads the image data without
//! decoding it and refuses whatever libjpeg warns of. [`interleave`] makes one scan of several.

mod bits;
mod derived;
mod entropy;
mod exif;
mod foreign;
mod holes;
mod interleave;
mod picture;
mod segments;
mod standard;

pub use derived::Derived;
pub(crate) use derived::HEAD_BYTES;
pub(super) use entropy::check;
pub use exif::orientation;
pub(super) use holes::refuse_holes;
pub(super) use interleave::interleave;
pub(super) use picture::{Picture, Tail};

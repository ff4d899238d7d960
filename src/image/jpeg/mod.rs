//! JPEGs: what they are made of, whether their image data is whole, and the pixels of the sequential ones.
//!
//! [`Picture::read`] finds the segments as libjpeg does: fill bytes, and stray bytes between the segments of the
//! header, are passed over; whatever follows the end marker is ignored. [`Decoding`] decodes sequential pictures of one
//! scan, at full size or a part of it. [`interleave`] makes one scan of several. [`Picture::write`] puts together a
//! JPEG of only what a decoder needs, for the forms that are decoded elsewhere; [`check`] first reads their image data
//! without decoding it, and refuses whatever libjpeg warns of.

mod bits;
mod colour;
mod dct;
mod decode;
mod derived;
mod entropy;
mod exif;
mod foreign;
mod frame;
mod holes;
mod huffman;
mod interleave;
mod lanes;
mod picture;
mod points;
mod segments;
mod standard;
mod stream;
mod strips;
mod survey;
mod unstuff;
mod zigzag;

pub(crate) use decode::TOGETHER;
pub(super) use decode::{Damaged, Decoding, KnownTables, Progress, Rows, Scratch, decode_one, decode_some, verdict};
pub use derived::Derived;
pub(crate) use derived::HEAD_BYTES;
pub(super) use entropy::check;
pub use exif::orientation;
pub(super) use holes::refuse_holes;
pub(super) use interleave::interleave;

/// What is wrong with a JPEG's header or image data, which is read without decoding it.
pub(crate) fn damage(jpeg: &[u8]) -> Option<crate::Error> {
    Picture::read(jpeg).and_then(|picture| check(&picture)).err()
}

pub(super) use picture::{Picture, frame_size};
pub use points::RowPoints;

//! Images: from a JPEG to the RGB planes of a batch.
//!
//! [`Decoder::decode`] takes a JPEG from its codes to the slot of a batch in one go, a few rows at a time, so that all
//! between stays in the caches: coefficients, samples, pixels, resized pixels (bilinear with antialiasing, as Pillow's
//! `BILINEAR`), numbers of the batch's type. A JPEG that is damaged, cut short, larger than allowed, or of another size
//! than its annotations say is an error; a derived one is of the size that it says of itself.

mod colours;
mod decoder;
#[cfg(feature = "derive")]
mod derive;
mod fit;
mod job;
mod jpeg;
mod output;
mod pixels;
mod planes;
mod resize;
mod simd;
mod turn;
mod view;
mod zune;

pub use decoder::{Decoder, ScaledDecode};
#[cfg(feature = "derive")]
pub use derive::Derive;
#[cfg(feature = "derive")]
pub(crate) use derive::Deriver;
pub(crate) use fit::letterboxed;
pub use job::{ImageJob, ImageSource, ImageTask};
pub(crate) use jpeg::HEAD_BYTES;
pub(crate) use jpeg::TOGETHER;
pub(crate) use jpeg::damage;
pub use jpeg::{Derived, RowPoints, orientation as exif_orientation};
pub(crate) use pixels::check_header;
pub use pixels::{check_head, own_size};
pub use planes::{Canvas, Normalization, Planes};
pub use simd::Simd;
pub(crate) use turn::turn;
pub use view::View;

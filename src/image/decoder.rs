//! Decodes a JPEG and resizes its pixels, in buffers that are reused from image to image.

use std::fmt;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use serde::Serialize;

use super::jpeg::{Picture, refuse_holes};
use super::pixels::{Pixels, check_size};
use crate::{Error, Result};

/// The library that decodes JPEGs. Each gives slightly different pixels, so the codec is a setting: no feature changes
/// the default.
///
/// ```
/// use maskstream::{JpegCodec, Loader};
///
/// assert_eq!(JpegCodec::default(), JpegCodec::Zune);
/// // The variant exists with the feature `turbojpeg`.
/// # #[cfg(feature = "turbojpeg")]
/// let builder = Loader::builder().jpeg_codec(JpegCodec::Turbo);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum JpegCodec {
    /// zune-jpeg, in pure Rust. Always decodes at full size. The default, with every set of features.
    #[default]
    Zune,
    /// libjpeg-turbo, with the feature `turbojpeg`. Decodes at a half, a quarter or an eighth of the size where that is
    /// no smaller than the image on the canvas, which is faster.
    #[cfg(feature = "turbojpeg")]
    Turbo,
}

/// Decodes and resizes one image after the other, reusing its buffers. Each worker has one.
pub struct Decoder {
    codec: JpegCodec,
    max_pixels: u64,
    /// The JPEG as the codec gets it.
    jpeg: Vec<u8>,
    decoded: Pixels,
    resized: Pixels,
    resizer: Resizer,
}

/// A decoded image, in the buffers of its [`Decoder`].
pub struct Decoded<'a> {
    pixels: &'a Pixels,
    resized: &'a mut Pixels,
    resizer: &'a mut Resizer,
}

impl Decoder {
    /// A decoder that refuses images of more than `max_pixels` pixels.
    pub fn new(codec: JpegCodec, max_pixels: u64) -> Self {
        Self {
            codec,
            max_pixels,
            jpeg: Vec::new(),
            decoded: Pixels::default(),
            resized: Pixels::default(),
            resizer: Resizer::new(),
        }
    }

    /// Decodes `jpeg`. `size` is the (width, height) that its annotations say, which is that of the JPEG unless it is a
    /// derived one; `target` is the size that it will be resized to. A codec that can scale decodes at the smallest
    /// scale that is at least `target`.
    ///
    /// # Errors
    /// If `jpeg` is no JPEG, is damaged or cut short, is not of `size` and not derived from an image of
    /// that size, or has more pixels than allowed.
    pub fn decode(&mut self, jpeg: &[u8], size: (u32, u32), target: (u32, u32)) -> Result<Decoded<'_>> {
        let picture = Picture::read(jpeg)?;
        check_size(picture.size(), size, jpeg)?;
        let (width, height) = picture.size();
        if u64::from(width) * u64::from(height) > self.max_pixels {
            let max = self.max_pixels;
            return Err(Error::limit(format!(
                "the image has {width} x {height} pixels, more than max_image_pixels, {max}"
            )));
        }
        refuse_holes(&picture)?;
        match self.codec {
            JpegCodec::Zune => super::zune::decode(&picture, &mut self.jpeg, &mut self.decoded),
            #[cfg(feature = "turbojpeg")]
            JpegCodec::Turbo => super::turbo::decode(&picture, target, &mut self.jpeg, &mut self.decoded),
        }?;
        // Only codecs that scale use it.
        let _ = target;
        Ok(Decoded { pixels: &self.decoded, resized: &mut self.resized, resizer: &mut self.resizer })
    }
}

impl Decoded<'_> {
    /// Resizes the image to `target` (width, height) and returns its pixels: interleaved RGB, 3 bytes a pixel, row by
    /// row.
    ///
    /// # Errors
    /// If a side of `target` is 0.
    pub fn resize(&mut self, target: (u32, u32)) -> Result<&[u8]> {
        let Pixels { width, height, bytes } = self.pixels;
        if (*width, *height) == target {
            return Ok(bytes);
        }
        let refused = |e: String| Error::config(format!("cannot resize {width} x {height} to {target:?}: {e}"));
        let source = ImageRef::new(*width, *height, bytes, PixelType::U8x3).map_err(|e| refused(e.to_string()))?;
        let out = self.resized.reset(target.0, target.1);
        let mut out =
            Image::from_slice_u8(target.0, target.1, out, PixelType::U8x3).map_err(|e| refused(e.to_string()))?;
        let bilinear = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
        self.resizer.resize(&source, &mut out, &bilinear).map_err(|e| refused(e.to_string()))?;
        Ok(&self.resized.bytes)
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { codec, max_pixels, .. } = self;
        f.debug_struct("Decoder").field("codec", codec).field("max_pixels", max_pixels).finish_non_exhaustive()
    }
}

impl fmt::Debug for Decoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Pixels { width, height, .. } = self.pixels;
        f.debug_struct("Decoded").field("width", width).field("height", height).finish_non_exhaustive()
    }
}

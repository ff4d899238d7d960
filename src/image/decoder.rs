//! JPEG -> RGB pixels -> wanted size. Comes in: JPEG bytes. Goes out: pixels in buffers that are used again from image
//! to image. Fails as the room's head says.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use crate::{Error, Result};

/// Which library decodes JPEGs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JpegCodec {
    /// zune-jpeg, in Rust. Always decodes at full size.
    Zune,
    /// libjpeg-turbo. Decodes at half, quarter or eighth size where that is still at least the size wanted.
    #[cfg(feature = "turbojpeg")]
    Turbo,
}

impl Default for JpegCodec {
    /// libjpeg-turbo where the feature `turbojpeg` is on, zune-jpeg otherwise.
    fn default() -> Self {
        #[cfg(feature = "turbojpeg")]
        return Self::Turbo;
        #[cfg(not(feature = "turbojpeg"))]
        Self::Zune
    }
}

/// Decodes and resizes images one after the other, in memory that is used again. Each worker has one.
pub struct Decoder {
    codec: JpegCodec,
    max_pixels: u64,
    copy: Vec<u8>,
    decoded: Pixels,
    resized: Pixels,
    resizer: Resizer,
}

/// Interleaved RGB, 3 bytes a pixel, row by row.
#[derive(Default)]
pub(super) struct Pixels {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) bytes: Vec<u8>,
}

impl Pixels {
    pub(super) fn reset(&mut self, width: u32, height: u32) -> &mut [u8] {
        (self.width, self.height) = (width, height);
        self.bytes.resize(width as usize * height as usize * 3, 0);
        &mut self.bytes
    }
}

impl Decoder {
    /// A decoder that refuses images of more than `max_pixels` pixels.
    pub fn new(codec: JpegCodec, max_pixels: u64) -> Self {
        let (copy, decoded, resized) = Default::default();
        Self { codec, max_pixels, copy, decoded, resized, resizer: Resizer::new() }
    }

    /// Decodes `jpeg`, which must be of `size` (width, height) pixels; where the codec can, at a smaller scale that is
    /// still at least `wanted`.
    ///
    /// # Errors
    /// If the JPEG is damaged or cut short, of another size, or has more pixels than allowed.
    pub fn decode(&mut self, jpeg: &[u8], size: (u32, u32), wanted: (u32, u32)) -> Result<()> {
        let pixels = u64::from(size.0) * u64::from(size.1);
        if pixels > self.max_pixels {
            let (width, height) = size;
            let most = self.max_pixels;
            return Err(Error::limit(format!(
                "image of {width} x {height} pixels, more than the {most} that max_image_pixels allows"
            )));
        }
        // Decoders fill up what is missing near the end; a JPEG that was not cut has its end marker.
        let end = jpeg.windows(2).rposition(|pair| pair == [0xff, 0xd9]).ok_or_else(|| {
            Error::corrupt(format!("jpeg: {} bytes without an end marker: it is cut short", jpeg.len()))
        })?;
        match self.codec {
            JpegCodec::Zune => super::zune::decode(jpeg, end, size, &mut self.copy, &mut self.decoded),
            #[cfg(feature = "turbojpeg")]
            JpegCodec::Turbo => super::turbo::decode(jpeg, size, wanted, &mut self.decoded),
        }?;
        let _ = (end, wanted);
        Ok(())
    }

    /// Resizes what was decoded last to `wanted` (width, height) and returns it, interleaved RGB row by row.
    ///
    /// # Errors
    /// If `wanted` is empty.
    pub fn resize(&mut self, wanted: (u32, u32)) -> Result<&[u8]> {
        let Pixels { width, height, bytes } = &self.decoded;
        if (*width, *height) == wanted {
            return Ok(bytes);
        }
        let refused = |e: String| Error::config(format!("cannot resize {width} x {height} to {wanted:?}: {e}"));
        let source = ImageRef::new(*width, *height, bytes, PixelType::U8x3).map_err(|e| refused(e.to_string()))?;
        let target = self.resized.reset(wanted.0, wanted.1);
        let mut target =
            Image::from_slice_u8(wanted.0, wanted.1, target, PixelType::U8x3).map_err(|e| refused(e.to_string()))?;
        let bilinear = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
        self.resizer.resize(&source, &mut target, &bilinear).map_err(|e| refused(e.to_string()))?;
        Ok(&self.resized.bytes)
    }
}

/// The size a JPEG has must be the size its annotations were made for.
pub(super) fn check_size(found: (u32, u32), annotated: (u32, u32)) -> Result<()> {
    if found == annotated {
        return Ok(());
    }
    let ((w, h), (aw, ah)) = (found, annotated);
    Err(Error::corrupt(format!("jpeg: image is {w} x {h}, but its annotations say {aw} x {ah}")))
}

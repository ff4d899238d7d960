//! Decodes JPEGs with libjpeg-turbo, at the smallest scale that is large enough: the inverse DCT then computes fewer
//! pixels. Damaged data is an error.

use turbojpeg::{Decompressor, Image, PixelFormat, ScalingFactor};

use super::jpeg::{Picture, Tail};
use super::pixels::Pixels;
use crate::{Error, Result};

/// Denominators of the scales that libjpeg-turbo has fast code for, smallest scale first.
const SCALES: [usize; 4] = [8, 4, 2, 1];

/// Decodes `picture` to `out`, at a scale of at least `target`. `copy` is scratch memory.
pub(super) fn decode(picture: &Picture<'_>, target: (u32, u32), copy: &mut Vec<u8>, out: &mut Pixels) -> Result<()> {
    let refused = |e: turbojpeg::Error| Error::corrupt(format!("jpeg: {e}"));
    picture.write(Tail::EndMarker, copy);
    let jpeg = copy.as_slice();
    let mut decompressor = Decompressor::new().map_err(refused)?;
    let header = decompressor.read_header(jpeg).map_err(refused)?;
    let scale = SCALES.map(|denom| ScalingFactor::new(1, denom)).into_iter().find(|scale| {
        let scaled = header.scaled(*scale);
        scaled.width >= target.0 as usize && scaled.height >= target.1 as usize
    });
    let scale = scale.unwrap_or(ScalingFactor::new(1, 1));
    decompressor.set_scaling_factor(scale).map_err(refused)?;
    let scaled = header.scaled(scale);
    let (width, height) = (scaled.width, scaled.height);
    let pixels = out.reset(width as u32, height as u32);
    let image = Image { pixels, width, pitch: width * 3, height, format: PixelFormat::RGB };
    decompressor.decompress(jpeg, image).map_err(refused)
}

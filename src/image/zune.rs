//! JPEG -> RGB by zune-jpeg. Comes in: JPEG bytes. Goes out: pixels at full size. Fails on anything strict decoding refuses.

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::decoder::{Pixels, check_size};
use crate::{Error, Result};

pub(super) fn decode(jpeg: &[u8], size: (u32, u32), out: &mut Pixels) -> Result<()> {
    let refused = |e: zune_jpeg::errors::DecodeErrors| Error::corrupt(format!("jpeg: {e:?}"));
    // Strict: a decoder that makes the best of damaged data would hand on wrong pixels as good.
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(size.0 as usize)
        .set_max_height(size.1 as usize)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(jpeg), options);
    decoder.decode_headers().map_err(refused)?;
    let (width, height) = decoder.dimensions().unwrap_or_default();
    check_size((width as u32, height as u32), size)?;
    decoder.decode_into(out.reset(size.0, size.1)).map_err(refused)
}

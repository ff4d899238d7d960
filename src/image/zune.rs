//! Decodes JPEGs with zune-jpeg, at full size. Whatever strict decoding refuses is an error, and so is image data that
//! ends early.
//!
//! # Image data that ends early
//!
//! Even in strict mode, zune-jpeg stops at the first end marker and leaves the rest of the image grey. So the marker is
//! replaced by a few zeros. Complete data is used up before them. Data that ends early runs past the end of the buffer,
//! which strict mode refuses. A cut within the last row of blocks is not noticed. Progressive images need their end
//! marker; if whole scans are missing at their end, that is not noticed either.

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::pixels::{Pixels, check_size};
use crate::{Error, Result};

/// More bytes than the decoder reads ahead (8), so that complete data never reaches the end.
const READ_AHEAD: [u8; 16] = [0; 16];

/// Decodes `jpeg`, whose end marker is at `end`, to `out`. `copy` is scratch memory.
pub(super) fn decode(jpeg: &[u8], end: usize, size: (u32, u32), copy: &mut Vec<u8>, out: &mut Pixels) -> Result<()> {
    let mut whole = open(jpeg, size)?;
    if !whole.info().is_some_and(|info| info.sof.is_sequential_dct()) {
        return whole.decode_into(out.reset(size.0, size.1)).map_err(refused);
    }
    copy.clear();
    copy.extend_from_slice(&jpeg[..end]);
    copy.extend_from_slice(&READ_AHEAD);
    open(copy, size)?.decode_into(out.reset(size.0, size.1)).map_err(refused)
}

/// Reads the headers and checks the size.
fn open(jpeg: &[u8], size: (u32, u32)) -> Result<JpegDecoder<ZCursor<&[u8]>>> {
    // Strict, as lenient decoding returns wrong pixels for damaged data without an error. The size is checked before
    // memory is allocated for the pixels.
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX))
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(jpeg), options);
    decoder.decode_headers().map_err(refused)?;
    let (width, height) = decoder.dimensions().unwrap_or_default();
    check_size((width as u32, height as u32), size)?;
    Ok(decoder)
}

fn refused(e: zune_jpeg::errors::DecodeErrors) -> Error {
    Error::corrupt(format!("jpeg: {e:?}"))
}

//! JPEG -> RGB by zune-jpeg. Comes in: JPEG bytes. Goes out: pixels at full size. Fails on anything strict decoding
//! refuses, and on image data that ends early.
//!
//! # Image data that ends early
//!
//! Even in strict mode zune-jpeg takes an end marker for the end wherever it comes, and leaves the rest of the image
//! grey. So the marker is replaced by a few zeros: sound data is used up before them, and data that ends early runs
//! into the end of the buffer, which strict mode refuses. What remains unnoticed is a cut within the last row of
//! blocks. Progressive images need their end marker: of them, whole scans that are missing at the end remain unnoticed.

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::decoder::{Pixels, check_size};
use crate::{Error, Result};

/// More than the decoder ever reads ahead (8 bytes), so that sound data never meets the end.
const READ_AHEAD: [u8; 16] = [0; 16];

/// Decodes `jpeg`, whose end marker stands at `end`; `copy` is memory to use.
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
    // Strict: a decoder that makes the best of damaged data would hand on wrong pixels as good. The size is checked
    // before any pixel is stored.
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

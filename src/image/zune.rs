//! Decodes with zune-jpeg, at full size, what is not sequential or has four components. Its image data has been
//! checked: zune-jpeg does not notice where data ends early or late.

use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::jpeg::Picture;
use super::pixels::Pixels;
use crate::{Error, Result};

/// Decodes `picture` to `out`. `copy` is scratch memory.
pub(super) fn decode(picture: &Picture<'_>, copy: &mut Vec<u8>, out: &mut Pixels) -> Result<()> {
    if picture.is_sequential() && !picture.has_four_components() {
        return Err(Error::corrupt(
            "jpeg: the sampling factors of its components are not decoded: samples must stand for a whole number of \
             pixels; convert it to 4:4:4 or 4:2:0",
        ));
    }
    if !(picture.is_progressive() || picture.is_sequential()) {
        return Err(Error::corrupt(format!(
            "jpeg: the {} form of this image is not decoded; convert it to baseline",
            picture.coding()
        )));
    }
    let (width, height) = picture.size();
    let pixels = out.reset(width, height);
    picture.write(copy);
    JpegDecoder::new_with_options(ZCursor::new(copy.as_slice()), options()).decode_into(pixels).map_err(refused)
}

/// Strict, as lenient decoding returns wrong pixels for damaged data without an error.
fn options() -> DecoderOptions {
    DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX))
        .jpeg_set_out_colorspace(ColorSpace::RGB)
}

/// zune-jpeg's errors print as debug forms, with quotes and names of its types.
fn refused(e: DecodeErrors) -> Error {
    let words = match e {
        DecodeErrors::Format(words) | DecodeErrors::MCUError(words) | DecodeErrors::HuffmanDecode(words) => words,
        DecodeErrors::FormatStatic(words) => words.to_owned(),
        DecodeErrors::ExhaustedData | DecodeErrors::IoErrors(_) => "the image data ends early".to_owned(),
        other => other.to_string(),
    };
    Error::corrupt(format!("jpeg: damaged: {words}"))
}

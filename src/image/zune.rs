//! Decodes JPEGs with zune-jpeg, at full size. Image data that ends early or late is an error.
//!
//! # Image data that ends early or late
//!
//! Even in strict mode, zune-jpeg leaves the rest of the image grey if the end marker comes early, and says nothing if
//! the image is complete before the marker. A block of zeros in the image data has one of these effects. So the marker
//! is replaced by ones: no Huffman code is all ones, so a decoder that goes on to read them stops with an error. And a
//! reader notes how far the decoder has read when the image is complete: to the end of the data, and a few bytes ahead,
//! as it holds up to 63 bits. Up to 7 bytes that are left over can go unnoticed, as in libjpeg-turbo, which holds as
//! many.
//!
//! That is for the plain form, which SA-1B has: one scan without restart markers. The data of others, where the
//! reader's place tells nothing, is read twice: once to check it, exactly, and once by zune-jpeg.

use std::cell::Cell;

use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::bytestream::{ZByteIoError, ZByteReaderTrait, ZCursor, ZSeekFrom};
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::jpeg::{Picture, Tail, check, interleave};
use super::pixels::Pixels;
use crate::{Error, Result};

/// More bytes than the decoder reads ahead, so that it never reads a marker or the end of whole data.
const AHEAD: usize = 16;

/// Decodes `picture` to `out`. `copy` is scratch memory.
pub(super) fn decode(picture: &Picture<'_>, copy: &mut Vec<u8>, out: &mut Pixels) -> Result<()> {
    let (width, height) = picture.size();
    let pixels = out.reset(width, height);
    if picture.is_plain() {
        picture.write(Tail::Ones(AHEAD), copy);
        return decode_plain(copy, pixels);
    }
    if picture.is_sequential() && !picture.has_one_scan() {
        interleave(picture, copy)?;
    } else if picture.is_sequential() || picture.is_progressive() {
        check(picture)?;
        picture.write(Tail::EndMarker, copy);
    } else {
        return Err(Error::corrupt(format!(
            "jpeg: zune-jpeg does not decode the {} form; convert it to baseline, or use the codec turbo",
            picture.coding()
        )));
    }
    JpegDecoder::new_with_options(ZCursor::new(copy.as_slice()), options()).decode_into(pixels).map_err(refused)
}

fn decode_plain(jpeg: &[u8], pixels: &mut [u8]) -> Result<()> {
    let end = Cell::new(None);
    let reader = Reader { cursor: ZCursor::new(jpeg), reads_bits: false, end: &end };
    JpegDecoder::new_with_options(reader, options()).decode_into(pixels).map_err(refused)?;
    // The decoder has at least 32 bits before it decodes a code, which with its value has at most 31. So it has read
    // all of whole data, but for padding within the last byte.
    let data_end = (jpeg.len() - 2 * AHEAD) as u64;
    match end.get().unwrap_or(data_end) {
        read if read < data_end => {
            let (least, most) = (data_end - read, data_end - read + 7);
            Err(Error::corrupt(format!("jpeg: damaged: {least} to {most} bytes of the image data are left over")))
        }
        _ => Ok(()),
    }
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
        DecodeErrors::ExhaustedData | DecodeErrors::IoErrors(_) => ENDS_EARLY.to_owned(),
        other => other.to_string(),
    };
    let words = if words.starts_with("Bad Huffman") { ENDS_EARLY.to_owned() } else { words };
    Error::corrupt(format!("jpeg: damaged: {words}"))
}

const ENDS_EARLY: &str = "the image data ends early, or has a code that no Huffman table contains";

/// Bytes in memory. Notes where the decoder stops to read image data and begins to look for the next marker.
struct Reader<'a> {
    cursor: ZCursor<&'a [u8]>,
    /// Whether the last byte was read as image data.
    reads_bits: bool,
    end: &'a Cell<Option<u64>>,
}

impl ZByteReaderTrait for Reader<'_> {
    #[inline(always)]
    fn read_byte_no_error(&mut self) -> u8 {
        self.reads_bits = true;
        self.cursor.read_byte_no_error()
    }

    #[inline(always)]
    fn read_exact_bytes(&mut self, buf: &mut [u8]) -> Result<(), ZByteIoError> {
        self.cursor.read_exact_bytes(buf)
    }

    #[inline(always)]
    fn read_bytes(&mut self, buf: &mut [u8]) -> Result<usize, ZByteIoError> {
        self.cursor.read_bytes(buf)
    }

    #[inline(always)]
    fn peek_bytes(&mut self, buf: &mut [u8]) -> Result<usize, ZByteIoError> {
        self.cursor.peek_bytes(buf)
    }

    #[inline(always)]
    fn peek_exact_bytes(&mut self, buf: &mut [u8]) -> Result<(), ZByteIoError> {
        self.cursor.peek_exact_bytes(buf)
    }

    #[inline(always)]
    fn z_seek(&mut self, from: ZSeekFrom) -> Result<u64, ZByteIoError> {
        self.cursor.z_seek(from)
    }

    /// Is asked behind each byte of image data, and before each byte that is skipped in search of a marker.
    #[inline(always)]
    fn is_eof(&mut self) -> Result<bool, ZByteIoError> {
        if !self.reads_bits && self.end.get().is_none() {
            self.end.set(self.cursor.z_position().ok());
        }
        self.reads_bits = false;
        self.cursor.is_eof()
    }

    #[inline(always)]
    fn z_position(&mut self) -> Result<u64, ZByteIoError> {
        self.cursor.z_position()
    }

    #[inline(always)]
    fn read_remaining(&mut self, sink: &mut Vec<u8>) -> Result<usize, ZByteIoError> {
        self.cursor.read_remaining(sink)
    }
}

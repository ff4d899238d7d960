//! What a mask takes as compressed RLE counts, as a bitmap, and as that bitmap in zlib and in PNG.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::ZlibEncoder;
use maskstream::mask::Rle;
use serde::Serialize;

/// Largest image in pixels whose bitmaps are compressed: the loader's default.
const MAX_PIXELS: u64 = 1 << 26;
const ZLIB_LEVEL: u32 = 6;

/// Sums over the masks of a class.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Sizes {
    pub(super) masks: u64,
    pub(super) runs: u64,
    /// Bytes of the compressed RLE counts.
    pub(super) rle_bytes: u64,
    /// Bytes at 1 bit and at 1 byte per pixel.
    pub(super) bitmap_bit_bytes: u64,
    pub(super) bitmap_byte_bytes: u64,
    /// The masks among them whose bitmaps of 1 bit per pixel were compressed, and their counts.
    pub(super) compressed_masks: u64,
    pub(super) compressed_rle_bytes: u64,
    pub(super) zlib_bytes: u64,
    pub(super) png_bytes: u64,
}

/// Bytes of a bitmap in zlib and in PNG.
pub(super) struct Compressed {
    zlib: u64,
    png: u64,
}

/// The sums of masks whose area, or number of runs, is from one number up to the next.
#[derive(Clone, Debug)]
pub(super) struct Classes<const N: usize> {
    edges: [u64; N],
    sizes: [Sizes; N],
}

impl<const N: usize> Classes<N> {
    /// Classes that begin at these numbers, of which the first is 0.
    pub(super) fn new(edges: [u64; N]) -> Self {
        Self { edges, sizes: [Sizes::default(); N] }
    }

    pub(super) fn add(&mut self, number: u64, sizes: &Sizes) {
        let class = self.edges.partition_point(|edge| *edge <= number).saturating_sub(1);
        self.sizes[class].merge(sizes);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.sizes.iter_mut().zip(&other.sizes).for_each(|(sum, more)| sum.merge(more));
    }

    /// The classes that have masks: where each begins and ends, and its sums.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, Option<u64>, &Sizes)> {
        let ends = self.edges.iter().skip(1).map(|edge| Some(*edge)).chain([None]);
        let all = self.edges.iter().zip(ends).zip(&self.sizes).map(|((from, to), sizes)| (*from, to, sizes));
        all.filter(|(.., sizes)| sizes.masks > 0)
    }
}

impl Sizes {
    /// The sizes of one mask, whose counts string has `rle_bytes` bytes in its file.
    pub(super) fn of(mask: &Rle, rle_bytes: usize, compressed: Option<Compressed>) -> Self {
        let (height, width) = (u64::from(mask.height()), u64::from(mask.width()));
        let mut sizes = Self {
            masks: 1,
            runs: mask.runs().len() as u64,
            rle_bytes: rle_bytes as u64,
            bitmap_bit_bytes: height * width.div_ceil(8),
            bitmap_byte_bytes: height * width,
            ..Self::default()
        };
        if let Some(Compressed { zlib, png }) = compressed {
            (sizes.compressed_masks, sizes.compressed_rle_bytes) = (1, sizes.rle_bytes);
            (sizes.zlib_bytes, sizes.png_bytes) = (zlib, png);
        }
        sizes
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.masks += other.masks;
        self.runs += other.runs;
        self.rle_bytes += other.rle_bytes;
        self.bitmap_bit_bytes += other.bitmap_bit_bytes;
        self.bitmap_byte_bytes += other.bitmap_byte_bytes;
        self.compressed_masks += other.compressed_masks;
        self.compressed_rle_bytes += other.compressed_rle_bytes;
        self.zlib_bytes += other.zlib_bytes;
        self.png_bytes += other.png_bytes;
    }

    /// How many times as large as the counts are: bitmaps of 1 bit and of 1 byte per pixel, zlib, PNG.
    pub(super) fn ratios(&self) -> [Option<f64>; 4] {
        let Self { rle_bytes, compressed_rle_bytes: compressed, .. } = *self;
        let ratio = |bytes: u64, of: u64| (of > 0).then(|| bytes as f64 / of as f64);
        [
            ratio(self.bitmap_bit_bytes, rle_bytes),
            ratio(self.bitmap_byte_bytes, rle_bytes),
            ratio(self.zlib_bytes, compressed),
            ratio(self.png_bytes, compressed),
        ]
    }
}

/// Compresses the bitmap of a mask, row by row at 1 bit per pixel. `None` for one that is too large.
///
/// # Errors
/// If the mask has no bitmap, or an encoder fails.
pub(super) fn compress(mask: &Rle) -> Result<Option<Compressed>, Box<dyn std::error::Error + Send + Sync>> {
    let (height, width) = (mask.height(), mask.width());
    if u64::from(height) * u64::from(width) > MAX_PIXELS {
        return Ok(None);
    }
    let mut bits = vec![0; height as usize * (width as usize).div_ceil(8)];
    mask.write_packed(&mut bits)?;
    let mut zlib = ZlibEncoder::new(Length(0), Compression::new(ZLIB_LEVEL));
    zlib.write_all(&bits)?;
    let mut png = Length(0);
    let mut encoder = png::Encoder::new(&mut png, width, height);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::One);
    // Filters make bitmaps of less than 8 bits larger, as the PNG specification says.
    encoder.set_filter(png::Filter::NoFilter);
    encoder.write_header()?.write_image_data(&bits)?;
    Ok(Some(Compressed { zlib: zlib.finish()?.0, png: png.0 }))
}

/// Counts what is written.
struct Length(u64);

impl Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

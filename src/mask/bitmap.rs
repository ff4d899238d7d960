//! Conversion between masks and full bitmaps.
//!
//! Bitmaps have one byte per pixel (0 or 1), in column-major, row-major or strided layout, or one bit per pixel. All
//! functions return an error if a buffer has the wrong size.
//!
//! Column-major conversion is here: decoding is one memory fill per run, and encoding skips every block of 64 equal
//! pixels. Row-major conversion is in `rows.rs`.

use super::rle::{check_len, check_same_sizes, pixels};
use super::rows::{WORD, bits_of, row_toggles};
use super::runs::{check_sides, push_run};
use super::{Rle, RleError};

/// The distances in bytes between neighbouring pixels of a bitmap; see [`Rle::write_strided`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strides {
    /// Distance from a pixel to the pixel below it.
    pub row: usize,
    /// Distance from a pixel to the pixel on its right.
    pub column: usize,
}

/// Encodes `count` consecutive column-major bitmaps of `height` x `width` bytes. This is pycocotools' `encode` of a
/// Fortran-ordered array of shape height x width x count.
///
/// # Errors
/// Returns [`RleError::Size`] if `bitmaps` does not hold `count` x `height` x `width` bytes.
///
/// ```
/// use maskstream::mask::encode;
///
/// // Two bitmaps of 2 x 2 pixels, column by column.
/// let masks = encode(&[0, 1, 1, 0, 1, 1, 1, 1], 2, 2, 2)?;
/// assert_eq!(masks[0].runs(), [1, 2, 1]);
/// assert_eq!(masks[1].runs(), [0, 4]);
/// # Ok::<(), maskstream::mask::RleError>(())
/// ```
pub fn encode(bitmaps: &[u8], count: usize, height: u32, width: u32) -> Result<Vec<Rle>, RleError> {
    let pixels = pixels(height, width);
    check_len(pixels.saturating_mul(count as u64), bitmaps.len())?;
    (0..count)
        .map(|i| Rle::from_column_major(&bitmaps[i * pixels as usize..(i + 1) * pixels as usize], height, width))
        .collect()
}

/// Writes masks of the same size as consecutive column-major bitmaps. This is the memory layout of pycocotools'
/// `decode`.
///
/// # Errors
/// Returns [`RleError::Sizes`] if the masks differ in size, and [`RleError::Size`] if the length of `out` is not the
/// number of pixels of all masks together.
///
/// ```
/// use maskstream::mask::{Rle, decode};
///
/// let masks = [Rle::from_runs(vec![1, 2, 1], 2, 2)?, Rle::from_runs(vec![0, 4], 2, 2)?];
/// let mut bitmaps = [9; 8];
/// decode(&masks, &mut bitmaps)?;
/// assert_eq!(bitmaps, [0, 1, 1, 0, 1, 1, 1, 1]);
/// # Ok::<(), maskstream::mask::RleError>(())
/// ```
pub fn decode(masks: &[Rle], out: &mut [u8]) -> Result<(), RleError> {
    let pixels = masks.first().map_or(0, Rle::pixels);
    check_same_sizes(masks)?;
    check_len(pixels.saturating_mul(masks.len() as u64), out.len())?;
    if pixels > 0 {
        masks.iter().zip(out.chunks_exact_mut(pixels as usize)).for_each(|(mask, out)| fill_runs(mask.runs(), out));
    }
    Ok(())
}

impl Rle {
    /// Encodes a column-major bitmap of one byte per pixel. Every nonzero byte belongs to the mask. (pycocotools'
    /// `encode` starts a new run at every change of value, which gives the same result for 0 and 1.)
    ///
    /// # Errors
    /// Returns [`RleError::Size`] if `bitmap` does not hold `height` x `width` bytes.
    ///
    /// ```
    /// use maskstream::mask::Rle;
    ///
    /// let mask = Rle::from_column_major(&[0, 1, 1, 255], 2, 2)?;
    /// assert_eq!(mask.runs(), [1, 3]);
    /// # Ok::<(), maskstream::mask::RleError>(())
    /// ```
    pub fn from_column_major(bitmap: &[u8], height: u32, width: u32) -> Result<Self, RleError> {
        check_len(pixels(height, width), bitmap.len())?;
        Ok(Self::from_runs_unchecked(column_runs(bitmap), height, width))
    }

    /// Encodes a row-major bitmap of one byte per pixel. Every nonzero byte belongs to the mask.
    ///
    /// # Errors
    /// Returns [`RleError::Size`] if `bitmap` does not hold `height` x `width` bytes, and [`RleError::Image`] if a side
    /// exceeds 2^22 pixels.
    ///
    /// ```
    /// use maskstream::mask::Rle;
    ///
    /// // 2 rows, 3 columns; the two columns on the right are set.
    /// let mask = Rle::from_row_major(&[0, 1, 1, 0, 1, 1], 2, 3)?;
    /// assert_eq!(mask.runs(), [2, 4]);
    /// # Ok::<(), maskstream::mask::RleError>(())
    /// ```
    pub fn from_row_major(bitmap: &[u8], height: u32, width: u32) -> Result<Self, RleError> {
        check_len(pixels(height, width), bitmap.len())?;
        check_sides(height, width)?;
        if bitmap.is_empty() { Self::empty(height, width) } else { row_toggles(bitmap, height, width).into_rle() }
    }

    /// Writes the mask as a column-major bitmap, one byte (0 or 1) per pixel.
    ///
    /// # Errors
    /// Returns [`RleError::Size`] if the length of `out` is not height x width.
    pub fn write_column_major(&self, out: &mut [u8]) -> Result<(), RleError> {
        check_len(self.pixels(), out.len())?;
        fill_runs(self.runs(), out);
        Ok(())
    }

    /// Writes the mask as a row-major bitmap, one byte (0 or 1) per pixel.
    ///
    /// # Errors
    /// Same as [`Rle::write_column_major`].
    pub fn write_row_major(&self, out: &mut [u8]) -> Result<(), RleError> {
        check_len(self.pixels(), out.len())?;
        out.fill(0);
        self.draw_rows(out, self.width() as usize);
        Ok(())
    }

    /// Writes the mask into a buffer with the given distances between pixels, one byte (0 or 1) per pixel. Bytes
    /// between the pixels are left unchanged.
    ///
    /// # Errors
    /// Returns [`RleError::Strides`] if the strides could make pixels overlap, and [`RleError::Size`] if `out` ends
    /// before the last pixel; `expected` is then the minimum length.
    ///
    /// ```
    /// use maskstream::mask::{Rle, Strides};
    ///
    /// // The second channel of an interleaved image of 1 x 3 pixels with two channels.
    /// let mut image = [7; 6];
    /// let mask = Rle::from_runs(vec![1, 2], 1, 3)?;
    /// mask.write_strided(&mut image[1..], Strides { row: 6, column: 2 })?;
    /// assert_eq!(image, [7, 0, 7, 1, 7, 1]);
    /// # Ok::<(), maskstream::mask::RleError>(())
    /// ```
    pub fn write_strided(&self, out: &mut [u8], strides: Strides) -> Result<(), RleError> {
        let Strides { row, column } = strides;
        let (height, width) = (self.height() as usize, self.width() as usize);
        if self.pixels() == 0 {
            return Ok(());
        }
        let [down, right] = [row.saturating_mul(height - 1), column.saturating_mul(width - 1)];
        if (height > 1 && width > 1 && row <= right && column <= down)
            || (height > 1 && row == 0)
            || (width > 1 && column == 0)
        {
            return Err(RleError::Strides { row, column });
        }
        let last = down.saturating_add(right);
        if last >= out.len() {
            return Err(RleError::Size { expected: last.saturating_add(1) as u64, found: out.len() as u64 });
        }
        if column == 1 {
            (0..height).for_each(|y| out[y * row..][..width].fill(0));
            self.draw_rows(out, row);
            return Ok(());
        }
        let mut draw = |x: usize, rows: std::ops::Range<usize>, value: u8| {
            if row == 1 {
                out[x * column..][rows].fill(value);
            } else {
                rows.for_each(|y| out[x * column + y * row] = value);
            }
        };
        (0..width).for_each(|x| draw(x, 0..height, 0));
        self.for_each_segment(|x, top, bottom| draw(x as usize, top as usize..bottom as usize, 1));
        Ok(())
    }

    /// Writes the mask row by row, one bit per pixel. The first pixel of a byte is its highest bit, and each row is
    /// padded with zero bits to whole bytes, as `numpy.packbits(mask, axis=1)` does.
    ///
    /// # Errors
    /// Returns [`RleError::Size`] if the length of `out` is not height x ceil(width / 8).
    ///
    /// ```
    /// use maskstream::mask::Rle;
    ///
    /// let mut bits = [0; 2];
    /// Rle::from_row_major(&[0, 1, 1, 1, 0, 0], 2, 3)?.write_packed(&mut bits)?;
    /// assert_eq!(bits, [0b0110_0000, 0b1000_0000]);
    /// # Ok::<(), maskstream::mask::RleError>(())
    /// ```
    pub fn write_packed(&self, out: &mut [u8]) -> Result<(), RleError> {
        let stride = (self.width() as usize).div_ceil(8);
        check_len(u64::from(self.height()) * stride as u64, out.len())?;
        out.fill(0);
        self.for_each_word(|y, x, pixels| {
            let bytes = pixels.reverse_bits().to_be_bytes();
            let from = x / 8;
            let count = bytes.len().min(stride - from);
            out[y * stride + from..][..count].copy_from_slice(&bytes[..count]);
        });
        Ok(())
    }

    /// Returns the column-major bitmap in newly allocated memory. Only the pages that contain mask pixels are written.
    ///
    /// Allocates height x width bytes: check the size of masks from untrusted sources first.
    ///
    /// # Errors
    /// Returns [`RleError::Image`] if a side exceeds 2^22 pixels.
    pub fn to_column_major(&self) -> Result<Vec<u8>, RleError> {
        check_sides(self.height(), self.width())?;
        let mut out = vec![0; self.pixels() as usize];
        self.for_each_span(|from, to| out[from as usize..to as usize].fill(1));
        Ok(out)
    }

    /// Returns the row-major bitmap in newly allocated memory. Only the pages that contain mask pixels are written.
    ///
    /// # Errors
    /// Same as [`Rle::to_column_major`], with the same note on memory.
    pub fn to_row_major(&self) -> Result<Vec<u8>, RleError> {
        check_sides(self.height(), self.width())?;
        let mut out = vec![0; self.pixels() as usize];
        self.draw_rows(&mut out, self.width() as usize);
        Ok(out)
    }
}

/// Fills `out` with alternating runs of 0 and 1. The runs must add up to `out.len()`.
fn fill_runs(runs: &[u32], out: &mut [u8]) {
    let (mut rest, mut value) = (out, 0);
    for &run in runs {
        let (head, tail) = rest.split_at_mut(run as usize);
        head.fill(value);
        (rest, value) = (tail, value ^ 1);
    }
}

/// Encodes a column-major bitmap as run lengths, background first.
fn column_runs(bitmap: &[u8]) -> Vec<u32> {
    let mut runs = Vec::new();
    let (mut last, mut inside) = (0, false);
    let (words, rest) = bitmap.as_chunks::<WORD>();
    let mut toggle = |at: usize| {
        push_run(&mut runs, (at - last) as u64);
        last = at;
    };
    for (i, word) in words.iter().enumerate() {
        let same = if inside { word.iter().all_set() } else { word.iter().none_set() };
        if same {
            continue;
        }
        let bits = bits_of(word);
        let mut toggles = bits ^ (bits << 1 | u64::from(inside));
        while toggles != 0 {
            toggle(i * WORD + toggles.trailing_zeros() as usize);
            toggles &= toggles - 1;
        }
        inside = bits >> 63 != 0;
    }
    for (i, &pixel) in rest.iter().enumerate() {
        if (pixel != 0) != inside {
            toggle(words.len() * WORD + i);
            inside = !inside;
        }
    }
    if last < bitmap.len() || bitmap.is_empty() {
        push_run(&mut runs, (bitmap.len() - last) as u64);
    }
    runs
}

/// Tests on whole blocks of bytes, without an early exit so that they are vectorized.
trait Uniform {
    fn all_set(self) -> bool;
    fn none_set(self) -> bool;
}

impl<'a, I: Iterator<Item = &'a u8>> Uniform for I {
    #[inline]
    fn all_set(self) -> bool {
        self.fold(true, |all, &byte| all & (byte != 0))
    }

    #[inline]
    fn none_set(self) -> bool {
        self.fold(0, |any, &byte| any | byte) == 0
    }
}

//! Runs <-> full bitmaps. Comes in: a mask and a buffer, or a bitmap. Goes out: one byte (0 or 1) or one bit a pixel in
//! any layout, or a mask. Fails on buffers of the wrong size.
//!
//! Column by column a run is a memory fill, and encoding looks closely only at blocks of 64 pixels that are not all alike.
//! Row by row is `rows.rs`.

use super::builder::{check_sides, push_run};
use super::rle::{check_len, check_same_sizes, pixels};
use super::rows::{WORD, bits_of, row_toggles};
use super::{Rle, RleError};

/// Distances in bytes between neighbouring pixels of a bitmap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strides {
    /// From a pixel to the one below.
    pub row: usize,
    /// From a pixel to the one on its right.
    pub column: usize,
}

/// Encodes `count` column-major bitmaps of `height` x `width` bytes that lie one after the other (pycocotools'
/// `encode` of a Fortran-ordered height x width x count array).
///
/// # Errors
/// As [`Rle::from_column_major`].
pub fn encode(bitmaps: &[u8], count: usize, height: u32, width: u32) -> Result<Vec<Rle>, RleError> {
    let pixels = pixels(height, width);
    check_len(pixels.saturating_mul(count as u64), bitmaps.len())?;
    (0..count)
        .map(|i| Rle::from_column_major(&bitmaps[i * pixels as usize..(i + 1) * pixels as usize], height, width))
        .collect()
}

/// Writes masks of one size as column-major bitmaps, one after the other (the memory of pycocotools' `decode`).
///
/// # Errors
/// [`RleError::Sizes`] if the masks differ in size, [`RleError::Size`] if `out` does not hold them all exactly.
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
    /// Encodes a column-major bitmap of one byte a pixel; every byte but 0 belongs to the mask (pycocotools' `encode`
    /// begins a new run at every change of value instead, which is the same for 0 and 1).
    ///
    /// # Errors
    /// [`RleError::Size`] if `bitmap` does not hold `height` x `width` bytes.
    pub fn from_column_major(bitmap: &[u8], height: u32, width: u32) -> Result<Self, RleError> {
        check_len(pixels(height, width), bitmap.len())?;
        Ok(Self::trusted(column_runs(bitmap), height, width))
    }

    /// Encodes a row-major bitmap of one byte a pixel; every byte but 0 belongs to the mask.
    ///
    /// # Errors
    /// As [`Rle::from_column_major`], and [`RleError::Image`] for a side beyond 2^22 pixels.
    pub fn from_row_major(bitmap: &[u8], height: u32, width: u32) -> Result<Self, RleError> {
        check_len(pixels(height, width), bitmap.len())?;
        check_sides(height, width)?;
        if bitmap.is_empty() { Self::empty(height, width) } else { row_toggles(bitmap, height, width).into_rle() }
    }

    /// Writes the mask column by column, one byte (0 or 1) a pixel.
    ///
    /// # Errors
    /// [`RleError::Size`] if `out` does not hold height x width bytes.
    pub fn write_column_major(&self, out: &mut [u8]) -> Result<(), RleError> {
        check_len(self.pixels(), out.len())?;
        fill_runs(self.runs(), out);
        Ok(())
    }

    /// Writes the mask row by row, one byte (0 or 1) a pixel.
    ///
    /// # Errors
    /// As [`Rle::write_column_major`].
    pub fn write_row_major(&self, out: &mut [u8]) -> Result<(), RleError> {
        check_len(self.pixels(), out.len())?;
        out.fill(0);
        self.draw_rows(out, self.width() as usize);
        Ok(())
    }

    /// Writes the mask into a buffer with any distance between pixels, one byte (0 or 1) a pixel. Bytes between pixels
    /// stay as they are.
    ///
    /// # Errors
    /// [`RleError::Strides`] if neither rows nor columns lie apart from each other,
    /// [`RleError::Size`] if `out` ends before the last pixel; `expected` is the least it must hold.
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

    /// Writes the mask row by row, one bit a pixel: eight pixels a byte, the first in the highest bit, each row padded
    /// with zeros to whole bytes (as `numpy.packbits(mask, axis=1)`).
    ///
    /// # Errors
    /// [`RleError::Size`] if `out` does not hold height x ceil(width / 8) bytes.
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

    /// The column-major bitmap in fresh memory, of which only the mask's pages are touched.
    ///
    /// # Errors
    /// [`RleError::Image`] for a side beyond 2^22 pixels. Memory for the whole bitmap is asked for: check sizes that come
    /// from outside first.
    pub fn to_column_major(&self) -> Result<Vec<u8>, RleError> {
        check_sides(self.height(), self.width())?;
        let mut out = vec![0; self.pixels() as usize];
        self.for_each_stretch(|from, to| out[from as usize..to as usize].fill(1));
        Ok(out)
    }

    /// The row-major bitmap in fresh memory, of which only the mask's pages are touched.
    ///
    /// # Errors
    /// As [`Rle::to_column_major`].
    pub fn to_row_major(&self) -> Result<Vec<u8>, RleError> {
        check_sides(self.height(), self.width())?;
        let mut out = vec![0; self.pixels() as usize];
        self.draw_rows(&mut out, self.width() as usize);
        Ok(out)
    }
}

/// Fills `out` with the runs' 0 and 1. The runs add up to `out.len()`.
fn fill_runs(runs: &[u32], out: &mut [u8]) {
    let (mut rest, mut value) = (out, 0);
    for &run in runs {
        let (head, tail) = rest.split_at_mut(run as usize);
        head.fill(value);
        (rest, value) = (tail, value ^ 1);
    }
}

/// The runs of a column-major bitmap, background first.
fn column_runs(bitmap: &[u8]) -> Vec<u32> {
    let mut runs = Vec::new();
    let (mut last, mut inside) = (0, false);
    let (words, rest) = bitmap.as_chunks::<WORD>();
    let mut turn = |at: usize| {
        push_run(&mut runs, (at - last) as u64);
        last = at;
    };
    for (i, word) in words.iter().enumerate() {
        let same = if inside { word.iter().all_set() } else { word.iter().none_set() };
        if same {
            continue;
        }
        let bits = bits_of(word);
        let mut turns = bits ^ (bits << 1 | u64::from(inside));
        while turns != 0 {
            turn(i * WORD + turns.trailing_zeros() as usize);
            turns &= turns - 1;
        }
        inside = bits >> 63 != 0;
    }
    for (i, &pixel) in rest.iter().enumerate() {
        if (pixel != 0) != inside {
            turn(words.len() * WORD + i);
            inside = !inside;
        }
    }
    if last < bitmap.len() || bitmap.is_empty() {
        push_run(&mut runs, (bitmap.len() - last) as u64);
    }
    runs
}

/// Whole blocks at once, in a form that compiles to vector instructions.
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

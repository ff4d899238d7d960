//! Runs <-> full bitmaps. Comes in: a mask and a buffer, or a bitmap. Goes out: one byte (0 or 1) or one bit a pixel in
//! any layout, or a mask. Fails on buffers of the wrong size.
//!
//! # How
//!
//! Column by column a run is a memory fill. Row by row, 64 columns are drawn at once: each segment toggles its column's
//! bit in the row where it begins and in the row below its end, a running XOR down the rows turns toggles into pixels,
//! and only words that hold pixels are written. Encoding compares whole blocks and looks closer only where they differ.

use super::builder::{Builder, check_sides, push_run};
use super::rle::{check_len, pixels};
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
    for (index, mask) in masks.iter().enumerate() {
        masks[0].check_same_size(mask, index)?;
    }
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
    /// As [`Rle::from_column_major`].
    pub fn from_row_major(bitmap: &[u8], height: u32, width: u32) -> Result<Self, RleError> {
        check_len(pixels(height, width), bitmap.len())?;
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
    /// [`RleError::Size`] if `out` ends before the last pixel; `expected` is the least it must hold.
    pub fn write_strided(&self, out: &mut [u8], strides: Strides) -> Result<(), RleError> {
        let Strides { row, column } = strides;
        let (height, width) = (self.height() as usize, self.width() as usize);
        if self.pixels() == 0 {
            return Ok(());
        }
        let last = row.saturating_mul(height - 1).saturating_add(column.saturating_mul(width - 1));
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
    /// [`RleError::Image`] for a side beyond 2^22 pixels. Memory for the whole bitmap is asked for: check sizes that come from
    /// outside first.
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

    /// Sets the mask's pixels in a row-major bitmap of zeros.
    fn draw_rows(&self, out: &mut [u8], stride: usize) {
        let width = self.width() as usize;
        self.for_each_word(|y, x, pixels| {
            let row = &mut out[y * stride + x..y * stride + width.min(x + WORD)];
            if pixels == u64::MAX {
                row.fill(1);
            } else if let Some(row) = row.first_chunk_mut::<WORD>() {
                expand(pixels, row);
            } else {
                let mut word = [0; WORD];
                expand(pixels, &mut word);
                row.copy_from_slice(&word[..row.len()]);
            }
        });
    }

    /// Calls `f(y, x, pixels)` for each word of 64 pixels of row `y` from column `x` on that is not empty: bit i is
    /// column x + i. Words come in blocks of columns, from the top down.
    fn for_each_word(&self, mut f: impl FnMut(usize, usize, u64)) {
        if self.pixels() == 0 {
            return;
        }
        let height = self.height() as usize;
        // Toggles of the block's rows; the last takes those below the image.
        let mut toggles = vec![0_u64; height + 1];
        let (mut block, mut rows) = (0, height..0);
        let mut flush = |block: usize, rows: std::ops::Range<usize>, toggles: &mut [u64]| {
            let mut pixels = 0;
            for y in rows {
                pixels ^= std::mem::take(&mut toggles[y]);
                if pixels != 0 {
                    f(y, block * WORD, pixels);
                }
            }
        };
        self.for_each_segment(|x, top, bottom| {
            let (x, top, bottom) = (x as usize, top as usize, bottom as usize);
            if x / WORD != block {
                flush(block, rows.clone(), &mut toggles);
                toggles[height] = 0;
                (block, rows) = (x / WORD, height..0);
            }
            toggles[top] ^= 1 << (x % WORD);
            toggles[bottom] ^= 1 << (x % WORD);
            rows = rows.start.min(top)..rows.end.max(height.min(bottom + 1));
        });
        flush(block, rows, &mut toggles);
    }
}

/// Pixels drawn or looked at together.
const WORD: usize = 64;
/// Pixels of two rows that are compared at once.
const BLOCK: usize = 4 * WORD;

/// For each byte, its bits as bytes of 0 and 1, lowest first.
static BYTES_OF_BITS: [[u8; 8]; 256] = {
    let mut table = [[0; 8]; 256];
    let mut i = 0;
    while i < 256 * 8 {
        table[i / 8][i % 8] = ((i / 8) >> (i % 8)) as u8 & 1;
        i += 1;
    }
    table
};

/// Bits to bytes of 0 and 1.
#[inline]
fn expand(bits: u64, out: &mut [u8; WORD]) {
    for (out, bits) in out.as_chunks_mut::<8>().0.iter_mut().zip(bits.to_le_bytes()) {
        *out = BYTES_OF_BITS[usize::from(bits)];
    }
}

/// The bits of bytes: 1 for all but 0.
#[inline]
fn bits_of(bytes: &[u8; WORD]) -> u64 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let mut bits = 0;
    for (i, bytes) in bytes.as_chunks::<8>().0.iter().enumerate() {
        let bytes = u64::from_le_bytes(*bytes);
        // The highest bit of each byte that is not 0, then all eight of them in one byte.
        let set = (((bytes & LOW) + LOW) | bytes) & !LOW;
        bits |= ((set >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) << (8 * i);
    }
    bits
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

/// Compares each row with the one above.
fn row_toggles(bitmap: &[u8], height: u32, width: u32) -> LineToggles {
    let mut toggles = LineToggles::new(height, width);
    let empty = vec![0; width as usize];
    let mut above = &empty[..];
    for (y, row) in bitmap.chunks_exact((width as usize).max(1)).enumerate() {
        // Most blocks are as those above them.
        for (from, (block, above)) in (0..).step_by(BLOCK).zip(row.chunks(BLOCK).zip(above.chunks(BLOCK))) {
            if block.iter().zip(above).fold(0, |unlike, (a, b)| unlike | (a ^ b)) != 0 {
                compare(block, above, |x| toggles.push((from + x) as u32, y as u32));
            }
        }
        above = row;
    }
    toggles
}

/// Calls `f` with the index of each pixel that is mask in one of two stretches of a row only.
fn compare(row: &[u8], above: &[u8], mut f: impl FnMut(usize)) {
    let ((words, rest), (words_above, rest_above)) = (row.as_chunks::<WORD>(), above.as_chunks::<WORD>());
    for (i, (word, above)) in words.iter().zip(words_above).enumerate() {
        let mut changed = if word == above { 0 } else { bits_of(word) ^ bits_of(above) };
        while changed != 0 {
            f(i * WORD + changed.trailing_zeros() as usize);
            changed &= changed - 1;
        }
    }
    for (i, (pixel, above)) in rest.iter().zip(rest_above).enumerate() {
        if (*pixel != 0) != (*above != 0) {
            f(words.len() * WORD + i);
        }
    }
}

/// Where the columns of a mask begin and end, told in any order of columns, from the top down within each.
pub(super) struct LineToggles {
    height: u32,
    width: u32,
    /// Column and row.
    toggles: Vec<(u32, u32)>,
}

impl LineToggles {
    /// For an image of `height` x `width` pixels.
    pub(super) fn new(height: u32, width: u32) -> Self {
        Self { height, width, toggles: Vec::new() }
    }

    #[inline]
    pub(super) fn push(&mut self, x: u32, y: u32) {
        self.toggles.push((x, y));
    }

    /// The mask; a column that does not end reaches the bottom.
    pub(super) fn into_rle(self) -> Result<Rle, RleError> {
        // A counting sort by column.
        let mut next = vec![0_usize; self.width as usize + 1];
        self.toggles.iter().for_each(|&(x, _)| next[x as usize + 1] += 1);
        for x in 1..next.len() {
            next[x] += next[x - 1];
        }
        let mut rows = vec![0; self.toggles.len()];
        for &(x, y) in &self.toggles {
            rows[next[x as usize]] = y;
            next[x as usize] += 1;
        }
        let mut runs = Builder::with_capacity(self.height, self.width, rows.len() + 1)?;
        // Each column's place has moved to its end.
        let mut start = 0;
        for (x, &end) in (0..self.width).zip(&next) {
            for pair in rows[start..end].chunks(2) {
                runs.push_segment(x, pair[0], pair.get(1).copied().unwrap_or(self.height));
            }
            start = end;
        }
        Ok(runs.finish())
    }
}

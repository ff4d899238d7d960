//! Row-major conversion between masks and bitmaps, 64 pixels at a time, and of packed rows to bytes.
//!
//! Encoding is an error if a side of the image exceeds 2^22 pixels.
//!
//! To decode, each segment toggles the bit of its column in the row where it begins and in the row below its end. A
//! running XOR down the rows turns toggles into pixels. To encode, each row is compared with the row above, and only
//! blocks that differ are examined further.

use std::ops::Range;

use super::builder::Builder;
use super::{Rle, RleError};

/// Number of pixels processed together.
pub(super) const WORD: usize = 64;
/// Number of pixels of two rows that are compared at once.
const BLOCK: usize = 4 * WORD;

impl Rle {
    /// Sets the mask's pixels in a row-major bitmap that is all zero.
    pub(super) fn draw_rows(&self, out: &mut [u8], stride: usize) {
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

    /// Calls `f(y, x, pixels)` for each nonempty word of 64 pixels: bit i is the pixel in row `y` and column `x` + i.
    /// Words come block by block of 64 columns, and from top to bottom within a block.
    pub(super) fn for_each_word(&self, mut f: impl FnMut(usize, usize, u64)) {
        if self.pixels() == 0 {
            return;
        }
        let height = self.height() as usize;
        // The toggles of each row of the current block. The last entry takes those below the image.
        let mut toggles = vec![0_u64; height + 1];
        let (mut block, mut rows) = (0, height..0);
        let mut flush = |block: usize, rows: Range<usize>, toggles: &mut [u64]| {
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

/// The eight bits of each byte as bytes of 0 and 1, lowest bit first.
static BYTES_OF_BITS: [[u8; 8]; 256] = {
    let mut table = [[0; 8]; 256];
    let mut i = 0;
    while i < 256 * 8 {
        table[i / 8][i % 8] = ((i / 8) >> (i % 8)) as u8 & 1;
        i += 1;
    }
    table
};

/// Expands bits to bytes of 0 and 1.
#[inline]
pub(super) fn expand(bits: u64, out: &mut [u8; WORD]) {
    for (out, bits) in out.as_chunks_mut::<8>().0.iter_mut().zip(bits.to_le_bytes()) {
        *out = BYTES_OF_BITS[usize::from(bits)];
    }
}

/// Unpacks rows of bits, also of many masks, to one byte of 0 or 1 for each bit: the opposite of [`Rle::write_packed`]
/// and of [`Grid::nearest_packed`](super::Grid::nearest_packed). Each row has ceil(`columns` / 8) bytes in `packed`;
/// bytes that do not fill a row are left out.
///
/// ```
/// use maskstream::mask::{Rle, unpack_rows};
///
/// let mut bits = [0; 2];
/// Rle::from_row_major(&[0, 1, 1, 1, 0, 0], 2, 3)?.write_packed(&mut bits)?;
/// assert_eq!(unpack_rows(&bits, 3), [0, 1, 1, 1, 0, 0]);
/// # Ok::<(), maskstream::mask::RleError>(())
/// ```
pub fn unpack_rows(packed: &[u8], columns: usize) -> Vec<u8> {
    let stride = columns.div_ceil(8).max(1);
    let mut out = Vec::with_capacity(packed.len() / stride * columns);
    for row in packed.chunks_exact(stride) {
        let end = out.len() + columns;
        row.iter().for_each(|bits| out.extend_from_slice(&BYTES_OF_BITS[usize::from(bits.reverse_bits())]));
        out.truncate(end);
    }
    out
}

/// Packs bytes into bits: 1 for every nonzero byte.
#[inline]
pub(super) fn bits_of(bytes: &[u8; WORD]) -> u64 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let mut bits = 0;
    for (i, bytes) in bytes.as_chunks::<8>().0.iter().enumerate() {
        let bytes = u64::from_le_bytes(*bytes);
        // Sets the highest bit of each nonzero byte, then gathers these bits in one byte.
        let set = (((bytes & LOW) + LOW) | bytes) & !LOW;
        bits |= ((set >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) << (8 * i);
    }
    bits
}

/// Finds the pixels at which each row differs from the row above.
pub(super) fn row_toggles(bitmap: &[u8], height: u32, width: u32) -> ColumnToggles {
    let mut toggles = ColumnToggles::with_capacity(height, width, 0);
    let empty = vec![0; width as usize];
    let mut above = &empty[..];
    for (y, row) in bitmap.chunks_exact((width as usize).max(1)).enumerate() {
        // Most blocks equal the block above.
        for (from, (block, above)) in (0..).step_by(BLOCK).zip(row.chunks(BLOCK).zip(above.chunks(BLOCK))) {
            if block.iter().zip(above).fold(0, |difference, (a, b)| difference | (a ^ b)) != 0 {
                for_each_change(block, above, |x| toggles.push((from + x) as u32, y as u32));
            }
        }
        above = row;
    }
    toggles
}

/// Calls `f` with the index of each pixel that belongs to the mask in only one of the two rows.
fn for_each_change(row: &[u8], above: &[u8], mut f: impl FnMut(usize)) {
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

/// The positions at which the columns of a mask change between background and mask. Columns may be added in any order,
/// but the rows of each column must be ascending.
pub(super) struct ColumnToggles {
    height: u32,
    width: u32,
    /// Column and row of each toggle.
    toggles: Vec<(u32, u32)>,
}

impl ColumnToggles {
    /// For an image of `height` x `width` pixels, with capacity for `toggles` toggles.
    pub(super) fn with_capacity(height: u32, width: u32, toggles: usize) -> Self {
        Self { height, width, toggles: Vec::with_capacity(toggles) }
    }

    #[inline]
    pub(super) fn push(&mut self, x: u32, y: u32) {
        self.toggles.push((x, y));
    }

    /// Builds the mask. A column with an odd number of toggles reaches the bottom of the image.
    pub(super) fn into_rle(self) -> Result<Rle, RleError> {
        let (rows, ends) = rows_by_column(&self.toggles, 0..self.width);
        drop(self.toggles);
        let mut runs = Builder::with_capacity(self.height, self.width, rows.len() + 1)?;
        let mut start = 0;
        for (x, &end) in (0..self.width).zip(&ends) {
            for pair in rows[start..end].chunks(2) {
                runs.push_segment(x, pair[0], pair.get(1).copied().unwrap_or(self.height));
            }
            start = end;
        }
        Ok(runs.finish())
    }
}

/// Groups positions (column, row) by column with a counting sort. `columns` is the range of columns. Returns the rows,
/// column by column and otherwise in their original order, and the end of each column's rows.
pub(super) fn rows_by_column(places: &[(u32, u32)], columns: Range<u32>) -> (Vec<u32>, Vec<usize>) {
    let index = |column: u32| (column - columns.start) as usize;
    // Starts as the beginning of each column's rows and moves to their end as rows are added.
    let mut ends = vec![0_usize; columns.len() + 1];
    places.iter().for_each(|&(column, _)| ends[index(column) + 1] += 1);
    for i in 1..ends.len() {
        ends[i] += ends[i - 1];
    }
    let mut rows = vec![0; places.len()];
    for &(column, row) in places {
        let at = &mut ends[index(column)];
        rows[*at] = row;
        *at += 1;
    }
    ends.pop();
    (rows, ends)
}

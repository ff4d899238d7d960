//! [`CellBits`]: the cells of a grid as bits, 64 columns to a word, from which a mask of 0 and 1 is drawn.
//!
//! Each column of cells is toggled where a segment begins and below its end. A running XOR down the rows turns toggles
//! into cells. The words are expanded, or packed, into the output from front to back.

use std::ops::Range;

use super::cell_rect::CellRect;
use super::rows::{WORD, expand};

/// The cells of one mask after another. All zero between two masks, so that the next grid may have another size.
#[derive(Clone, Debug, Default)]
pub(super) struct CellBits {
    /// Row-major, and one more row for what ends at the lower edge of the grid.
    toggles: Vec<u64>,
    /// The running XOR: the cells of one row.
    row: Vec<u64>,
}

impl CellBits {
    /// Prepares for a mask on a grid of this size.
    pub(super) fn begin(&mut self, rows: usize, columns: usize) {
        self.row.resize(columns.div_ceil(WORD), 0);
        self.toggles.resize((rows + 1) * self.row.len(), 0);
    }

    /// Changes all cells of rows `top..bottom` of a column.
    #[inline]
    pub(super) fn toggle(&mut self, column: usize, top: usize, bottom: usize) {
        let (word, bit) = (column / WORD, 1 << (column % WORD));
        self.toggles[top * self.row.len() + word] ^= bit;
        self.toggles[bottom * self.row.len() + word] ^= bit;
    }

    /// Writes every cell of the grid as a byte of 0 or 1. All that was toggled must lie in `rect`.
    pub(super) fn write_bytes(&mut self, rect: CellRect, columns: usize, out: &mut [u8]) {
        let words = rect.left / WORD..rect.right.div_ceil(WORD);
        let whole_words = CellRect { left: words.start * WORD, right: columns.min(words.end * WORD), ..rect };
        whole_words.fill_around(columns, out, |row, cells| {
            let (whole, rest) = cells.as_chunks_mut::<WORD>();
            let mut bits = self.next_row(row, words.clone());
            for (cells, bits) in whole.iter_mut().zip(bits.by_ref()) {
                expand(bits, cells);
            }
            if let Some(bits) = bits.next() {
                let mut cells = [0; WORD];
                expand(bits, &mut cells);
                rest.copy_from_slice(&cells[..rest.len()]);
            }
        });
        // What ends at the lower edge of the rectangle; no cell is left.
        self.next_row(rect.bottom, words).for_each(drop);
    }

    /// Writes every cell of the grid as a bit, the first of a byte in its highest bit, and each row in whole bytes. All
    /// that was toggled must lie in `rect`.
    pub(super) fn write_packed(&mut self, rect: CellRect, columns: usize, out: &mut [u8]) {
        const BYTES: usize = WORD / 8;
        let stride = columns.div_ceil(8);
        let words = rect.left / WORD..rect.right.div_ceil(WORD);
        let bytes = CellRect { left: words.start * BYTES, right: stride.min(words.end * BYTES), ..rect };
        bytes.fill_around(stride, out, |row, bytes| {
            for (bytes, bits) in bytes.chunks_mut(BYTES).zip(self.next_row(row, words.clone())) {
                bytes.copy_from_slice(&bits.reverse_bits().to_be_bytes()[..bytes.len()]);
            }
        });
        self.next_row(rect.bottom, words).for_each(drop);
    }

    /// The words of the next row, whose toggles become zero.
    #[inline]
    fn next_row(&mut self, row: usize, words: Range<usize>) -> impl Iterator<Item = u64> {
        let toggles = &mut self.toggles[row * self.row.len()..][words.clone()];
        self.row[words].iter_mut().zip(toggles).map(|(bits, toggles)| {
            *bits ^= std::mem::take(toggles);
            *bits
        })
    }
}

//! Runs -> blocks of columns. Comes in: a mask. Goes out: its stretches in the column-major order, or the blocks that
//! these make in two dimensions; what touches is joined, however the runs are cut. Cannot fail.

use super::Rle;

/// Mask pixels of the rows `y0..y1` in each of the columns `x0..x1`. A block of several columns is as high as the image:
/// so there are at most three blocks to a run, however wide the image is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    pub(super) x0: u32,
    pub(super) x1: u32,
    pub(super) y0: u32,
    pub(super) y1: u32,
}

impl Rle {
    /// Calls `f(from, to)` for each stretch of mask pixels in the column-major order. No two of them touch.
    #[inline]
    pub(super) fn for_each_stretch(&self, mut f: impl FnMut(u64, u64)) {
        let (mut from, mut to) = (0, 0);
        let mut at = 0;
        for pair in self.runs().chunks(2) {
            let start = at + u64::from(pair[0]);
            at = start + pair.get(1).map_or(0, |&run| u64::from(run));
            if start > to {
                if to > from {
                    f(from, to);
                }
                from = start;
            }
            to = at;
        }
        if to > from {
            f(from, to);
        }
    }

    /// The mask as blocks, by column and row. No two blocks touch in a column, and no two full columns lie side by side
    /// in different blocks.
    pub(super) fn blocks(&self) -> Vec<Block> {
        let height = u64::from(self.height());
        let mut blocks = Vec::with_capacity(self.runs().len());
        let (mut x, mut start) = (0, 0);
        self.for_each_stretch(|from, to| {
            if from - start >= height {
                let columns = (from - start) / height;
                x += columns as u32;
                start += columns * height;
            }
            let y0 = (from - start) as u32;
            if to - start <= height {
                blocks.push(Block { x0: x, x1: x + 1, y0, y1: (to - start) as u32 });
                return;
            }
            if y0 > 0 {
                blocks.push(Block { x0: x, x1: x + 1, y0, y1: self.height() });
                x += 1;
                start += height;
            }
            let full = (to - start) / height;
            if full > 0 {
                blocks.push(Block { x0: x, x1: x + full as u32, y0: 0, y1: self.height() });
                x += full as u32;
                start += full * height;
            }
            if to > start {
                blocks.push(Block { x0: x, x1: x + 1, y0: 0, y1: (to - start) as u32 });
            }
        });
        blocks
    }
}

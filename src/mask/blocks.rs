//! Runs -> blocks of columns. Comes in: a mask. Goes out: the rectangles that its runs make in two dimensions; what
//! touches is joined, however the runs are cut. Cannot fail.

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
    /// The mask as blocks, by column and row. No two blocks touch in a column, and no two full columns lie side by side
    /// in different blocks.
    pub(super) fn blocks(&self) -> Vec<Block> {
        let height = u64::from(self.height());
        let mut blocks = Vec::with_capacity(self.runs().len());
        let (mut x, mut start) = (0, 0);
        let mut add = |from: u64, to: u64| {
            if from == to {
                return;
            }
            // Most stretches begin in the column of the last one, or in the next.
            if from - start >= height {
                (x, start) = (x + 1, start + height);
                if from - start >= height {
                    let columns = (from - start) / height;
                    x += columns as u32;
                    start += columns * height;
                }
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
        };
        // The stretch that may still go on.
        let mut open = (0, 0);
        self.for_each_stretch(|from, to| {
            if from == open.1 {
                open.1 = to;
            } else if from < to {
                add(open.0, open.1);
                open = (from, to);
            }
        });
        add(open.0, open.1);
        blocks
    }
}

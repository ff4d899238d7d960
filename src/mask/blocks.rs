//! [`Block`]: the rectangles that a mask's runs form in the image.
//!
//! Runs that touch are joined first, so the blocks do not depend on how the runs are split.

use super::Rle;

/// The mask pixels of rows `y0..y1` in each of the columns `x0..x1`. A block that spans several columns is as high as
/// the image, so a run has at most three blocks however wide the image is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    pub(super) x0: u32,
    pub(super) x1: u32,
    pub(super) y0: u32,
    pub(super) y1: u32,
}

impl Rle {
    /// The blocks of the mask, ordered by column and row. Blocks of the same column do not touch, and neighbouring full
    /// columns are always in the same block.
    pub(super) fn blocks(&self) -> Vec<Block> {
        let height = u64::from(self.height());
        let mut blocks = Vec::with_capacity(self.runs().len());
        let (mut x, mut start) = (0, 0);
        let mut add = |from: u64, to: u64| {
            if from == to {
                return;
            }
            // Most spans begin in the same column as the previous one, or in the next.
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
        // The current span, which may still be extended.
        let mut current = (0, 0);
        self.for_each_span(|from, to| {
            if from == current.1 {
                current.1 = to;
            } else if from < to {
                add(current.0, current.1);
                current = (from, to);
            }
        });
        add(current.0, current.1);
        blocks
    }
}

//! Masks made thinner or thicker. Comes in: a mask and a radius in pixels. Goes out: its erosion, dilation or boundary.
//! Cannot fail.
//!
//! # How
//!
//! The square of side 2r + 1 is a column of pixels times a row of pixels. Along the columns, the ends of each stretch
//! move by r. Along the rows, the mask is merged with itself moved by whole columns, which in the column-major order
//! moves every run by the same distance: merges with the mask moved by 1, 2, 4, ... columns make the window of r + 1
//! columns that ends at a pixel, and one more makes the window of 2r + 1 columns around it.

use super::boolean::combine;
use super::builder::Builder;
use super::{Merge, Rle};

impl Rle {
    /// The pixels whose square of side 2 x `radius` + 1 pixels lies within the mask. What is outside the image is
    /// background. The result is in canonical form, with up to two runs for each stretch of a column.
    pub fn erode(&self, radius: u32) -> Self {
        let window = 2 * u64::from(radius) + 1;
        if u64::from(self.width()) < window || u64::from(self.height()) < window {
            return Builder::like(self, 1).finish();
        }
        if radius == 0 {
            return self.canonical();
        }
        self.shortened(radius).widened(radius, Merge::Intersection)
    }

    /// The pixels whose square of side 2 x `radius` + 1 pixels has a pixel of the mask. The result is in canonical form,
    /// with up to two runs for each stretch of a column, and of columns that had none before.
    pub fn dilate(&self, radius: u32) -> Self {
        // A window that reaches from edge to edge does not grow further.
        let (columns, rows) = (radius.min(self.width().saturating_sub(1)), radius.min(self.height()));
        self.lengthened(rows).widened(columns, Merge::Union)
    }

    /// The mask without its erosion: the pixels whose square of side 2 x `radius` + 1 leaves the mask. This is what
    /// Boundary IoU compares.
    pub fn boundary(&self, radius: u32) -> Self {
        combine(self, &self.erode(radius), Merge::Difference)
    }

    /// Takes `rows` pixels off both ends of each stretch of a column.
    fn shortened(&self, rows: u32) -> Self {
        let height = u64::from(self.height());
        let mut made = Builder::like(self, self.runs().len());
        for block in self.blocks() {
            let (y0, y1) = (u64::from(block.y0) + u64::from(rows), u64::from(block.y1).saturating_sub(rows.into()));
            if y0 < y1 {
                for start in (block.x0..block.x1).map(|x| u64::from(x) * height) {
                    made.push(start + y0, start + y1);
                }
            }
        }
        made.finish()
    }

    /// Adds `rows` pixels to both ends of each stretch of a column.
    fn lengthened(&self, rows: u32) -> Self {
        let height = u64::from(self.height());
        let mut made = Builder::like(self, self.runs().len());
        let mut end = 0;
        for block in self.blocks() {
            let start = u64::from(block.x0) * height;
            let from = start + u64::from(block.y0.saturating_sub(rows));
            let to = u64::from(block.x1 - 1) * height + (u64::from(block.y1) + u64::from(rows)).min(height);
            made.push(from.max(end), to);
            end = to;
        }
        made.finish()
    }

    /// Merges the `columns` columns on both sides of each column into it. `how` is a union, with less columns than the
    /// image has, or an intersection.
    fn widened(&self, columns: u32, how: Merge) -> Self {
        // `made` holds, for each column, the merge of the `window` columns that end there.
        let (mut made, mut window) = (self.canonical(), 1);
        while window <= columns {
            let step = window.min(columns + 1 - window);
            made = combine(&made, &made.moved_right(step), how);
            window += step;
        }
        if columns == 0 { made } else { combine(&made, &made.moved_left(columns, how == Merge::Union), how) }
    }

    /// Moved right by `columns`; background moves in.
    fn moved_right(&self, columns: u32) -> Self {
        let (by, pixels) = (u64::from(columns) * u64::from(self.height()), self.pixels());
        let mut made = Builder::like(self, self.runs().len() + 1);
        self.for_each_stretch(|from, to| made.push((from + by).min(pixels), (to + by).min(pixels)));
        made.finish()
    }

    /// Moved left by `columns`; what moves in is background or repeats the last column.
    fn moved_left(&self, columns: u32, repeat: bool) -> Self {
        let height = u64::from(self.height());
        let by = u64::from(columns) * height;
        let last = self.pixels().saturating_sub(height);
        let mut made = Builder::like(self, self.runs().len() + 1);
        let mut column = Vec::new();
        self.for_each_stretch(|from, to| {
            made.push(from.saturating_sub(by), to.saturating_sub(by));
            if repeat && to > last {
                column.push((from.max(last), to));
            }
        });
        match *column {
            [] => {}
            // Full columns are one run, however many there are.
            [(from, to)] if to - from == height => made.push(to - by, to),
            _ => {
                for back in (0..columns).rev().map(|n| u64::from(n) * height) {
                    column.iter().for_each(|&(from, to)| made.push(from - back, to - back));
                }
            }
        }
        made.finish()
    }
}

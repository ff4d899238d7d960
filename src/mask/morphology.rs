//! Masks made thinner or thicker. Comes in: a mask and a radius in pixels. Goes out: its erosion, dilation or boundary.
//! Fails on images with a side beyond 2^22 pixels where each column would cost runs of its own.
//!
//! # How
//!
//! The square of side 2r + 1 is a column of pixels times a row of pixels. Along the columns, the ends of each stretch
//! move by r. Along the rows, the mask is merged with itself moved by whole columns, which in the column-major order
//! moves every run by the same distance: merges with itself moved by 1, 2, 4, ... columns make a window of 2r + 1 columns
//! in few steps.

use super::boolean::{combine, combine_runs};
use super::builder::{Builder, check_sides, push_run};
use super::{Merge, Rle, RleError};

impl Rle {
    /// The pixels whose square of side 2 x `radius` + 1 pixels lies within the mask. What is outside the image is
    /// background. The result is in canonical form, with up to two runs for each stretch of a column.
    ///
    /// # Errors
    /// [`RleError::Image`] for a side beyond 2^22 pixels.
    pub fn erode(&self, radius: u32) -> Result<Self, RleError> {
        check_sides(self.height(), self.width())?;
        let window = 2 * u64::from(radius) + 1;
        if u64::from(self.width()) < window || u64::from(self.height()) < window {
            return Ok(Builder::like(self, 1).finish());
        }
        if radius == 0 {
            return Ok(self.canonical());
        }
        Ok(self.shortened(radius).widened(radius, Merge::Intersection))
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
    ///
    /// # Errors
    /// As [`Rle::erode`].
    pub fn boundary(&self, radius: u32) -> Result<Self, RleError> {
        Ok(combine(self, &self.erode(radius)?, Merge::Difference))
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

    /// Merges the `columns` columns on both sides of each column into it; outside the image there is background. `how`
    /// is a union or an intersection.
    fn widened(&self, columns: u32, how: Merge) -> Self {
        if columns == 0 || self.pixels() == 0 {
            return self.canonical();
        }
        let height = u64::from(self.height());
        let [margin, window] = [u64::from(columns) * height, 2 * u64::from(columns) + 1];
        // What moves out of the image to the right is kept: each step makes it wider.
        let (mut runs, mut pixels, mut made) = (self.runs().to_vec(), self.pixels(), 1);
        while made < window {
            // Each column becomes the merge of the columns that are up to `made` to its left, and of as many more.
            let step = made.min(window - made);
            pixels += step * height;
            let moved = preceded(step * height, &runs);
            followed(&mut runs, step * height);
            runs = combine_runs(&runs, &moved, pixels, how);
            made += step;
        }
        let mut cut = Builder::like(self, runs.len());
        let within = |at: u64| at.clamp(margin, margin + self.pixels()) - margin;
        let mut at = 0;
        for pair in runs.chunks_exact(2) {
            let from = at + u64::from(pair[0]);
            at = from + u64::from(pair[1]);
            cut.push(within(from), within(at));
        }
        cut.finish()
    }
}

/// The runs with so much background before them.
fn preceded(background: u64, runs: &[u32]) -> Vec<u32> {
    let (first, rest) = runs.split_at(1.min(runs.len()));
    let mut made = Vec::with_capacity(runs.len() + 1);
    push_run(&mut made, background + first.iter().map(|&run| u64::from(run)).sum::<u64>());
    made.extend_from_slice(rest);
    made
}

/// Adds so much background after the runs.
fn followed(runs: &mut Vec<u32>, background: u64) {
    let last = if runs.len().is_multiple_of(2) { None } else { runs.pop() };
    push_run(runs, background + last.map_or(0, u64::from));
}

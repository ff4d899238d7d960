//! Masks made thinner or thicker. Comes in: a mask and a radius in pixels. Goes out: its erosion, dilation or boundary.
//! Fails on images with a side beyond 2^22 pixels where each column would cost runs of its own.
//!
//! # How
//!
//! The square of side 2r + 1 is a column of pixels times a row of pixels. Along the columns, the ends of each stretch
//! move by r. Along the rows, a mask is intersected with itself moved by whole columns, which in the column-major order
//! moves every stretch by the same distance: moves by 1, 2, 4, ... columns make a window of 2r + 1 columns in few steps.
//! A dilation is the erosion of the background.

use super::boolean::combine;
use super::builder::{Builder, check_sides};
use super::{Merge, Rle, RleError};

/// From and to, in positions of the column-major order that begin at [`Window::start`]. Stretches ascend and do not
/// touch.
type Stretch = [u64; 2];

/// Where columns begin, and how many of them are looked at.
struct Window {
    height: u64,
    columns: u64,
}

impl Rle {
    /// The pixels whose square of side 2 x `radius` + 1 pixels lies within the mask. What is outside the image is
    /// background. The result is in canonical form, with up to two runs for each stretch of a column.
    ///
    /// # Errors
    /// [`RleError::Image`] for a side beyond 2^22 pixels.
    pub fn erode(&self, radius: u32) -> Result<Self, RleError> {
        check_sides(self.height(), self.width())?;
        if u64::from(self.width().min(self.height())) <= 2 * u64::from(radius) {
            return Ok(Builder::like(self, 1).finish());
        }
        if radius == 0 {
            return Ok(self.canonical());
        }
        let (window, rows) = (Window::new(self, radius), u64::from(radius));
        let mut stretches = Vec::with_capacity(self.runs().len());
        for block in self.blocks() {
            let (top, bottom) = (u64::from(block.y0) + rows, u64::from(block.y1).saturating_sub(rows));
            if top < bottom {
                let columns = (block.x0..block.x1).map(|x| window.start(x));
                stretches.extend(columns.map(|start| [start + top, start + bottom]));
            }
        }
        Ok(window.cut(self, window.shrink(stretches, false).into_iter()))
    }

    /// The pixels whose square of side 2 x `radius` + 1 pixels has a pixel of the mask. The result is in canonical form,
    /// with up to two runs for each stretch of a column, and of columns that had none before.
    pub fn dilate(&self, radius: u32) -> Self {
        // A window that reaches from edge to edge does not grow further.
        let window = Window::new(self, radius.min(self.width().saturating_sub(1)));
        let rows = radius.min(self.height());
        // What lies between the stretches, without end on both sides.
        let mut gaps = Vec::with_capacity(self.runs().len());
        let mut end = 0;
        for block in self.blocks() {
            let from = window.start(block.x0) + u64::from(block.y0.saturating_sub(rows));
            if from > end {
                gaps.push([end, from]);
            }
            end = window.start(block.x1 - 1) + (u64::from(block.y1) + u64::from(rows)).min(window.height);
        }
        gaps.push([end, u64::MAX]);
        let gaps = window.shrink(gaps, true);
        window.cut(self, gaps.windows(2).map(|pair| [pair[0][1], pair[1][0]]))
    }

    /// The mask without its erosion: the pixels whose square of side 2 x `radius` + 1 leaves the mask. This is what
    /// Boundary IoU compares.
    ///
    /// # Errors
    /// As [`Rle::erode`].
    pub fn boundary(&self, radius: u32) -> Result<Self, RleError> {
        Ok(combine(self, &self.erode(radius)?, Merge::Difference))
    }
}

impl Window {
    /// `columns` on either side.
    fn new(mask: &Rle, columns: u32) -> Self {
        Self { height: mask.height().into(), columns: columns.into() }
    }

    /// Where column `x` begins. Before the first there is room for a window: what lies there moves, but stays.
    fn start(&self, x: u32) -> u64 {
        (u64::from(x) + self.width()) * self.height
    }

    fn width(&self) -> u64 {
        2 * self.columns + 1
    }

    /// What all columns of the window share, at the last of them. `outside`: the first and the last stretch have no
    /// end.
    fn shrink(&self, mut stretches: Vec<Stretch>, outside: bool) -> Vec<Stretch> {
        let (mut next, mut made) = (Vec::new(), 1);
        while made < self.width() && !stretches.is_empty() {
            let step = made.min(self.width() - made);
            shared(&stretches, step * self.height, &mut next);
            if outside {
                next[0][0] = 0;
            }
            std::mem::swap(&mut stretches, &mut next);
            made += step;
        }
        stretches
    }

    /// The stretches within the image, from the last column of each window back to its middle.
    fn cut(&self, mask: &Rle, stretches: impl ExactSizeIterator<Item = Stretch>) -> Rle {
        let mut made = Builder::like(mask, 2 * stretches.len() + 1);
        let first = self.start(0) + self.columns * self.height;
        let within = |at: u64| at.saturating_sub(first).min(mask.pixels());
        stretches.for_each(|[from, to]| made.push(within(from), within(to)));
        made.finish()
    }
}

/// What the stretches share with themselves moved on by so many pixels.
fn shared(stretches: &[Stretch], by: u64, out: &mut Vec<Stretch>) {
    let next = |index: usize| stretches.get(index + 1).map_or(u64::MAX, |next| next[0]);
    let (mut here, mut moved, mut count) = (0, 0, 0);
    // Each step writes what two stretches share, which counts only if it is not empty, and passes those that end before
    // the other side goes on, one or both: no branch depends on the mask.
    while here < stretches.len() && moved < stretches.len() {
        if count == out.len() {
            out.push([0; 2]);
        }
        let ([a, a_end], [b, b_end]) = (stretches[here], stretches[moved]);
        let b_end = b_end.saturating_add(by);
        let (from, to) = (a.max(b + by), a_end.min(b_end));
        out[count] = [from, to];
        count += usize::from(from < to);
        let (a_next, b_next) = (next(here), next(moved).saturating_add(by));
        here += usize::from(a_end <= b_next);
        moved += usize::from(b_end <= a_next);
    }
    out.truncate(count);
}

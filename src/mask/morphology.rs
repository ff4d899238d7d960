//! Erosion, dilation and boundary of masks, with a square structuring element of a given radius in pixels.
//!
//! Erosion fails if a side of the image exceeds 2^22 pixels, because every column of a wide run gets runs of its own.
//!
//! # Algorithm
//!
//! The square of side 2r + 1 is separable into a vertical and a horizontal line. Vertically, the ends of each span
//! within a column move by r. Horizontally, a mask is intersected with itself shifted by whole columns; in column-major
//! order this shifts every span by the same distance. Shifts by 1, 2, 4, ... columns cover 2r + 1 columns in a
//! logarithmic number of steps. A dilation is the erosion of the background.

use super::boolean::combine;
use super::builder::Builder;
use super::runs::check_sides;
use super::{Merge, Rle, RleError};

/// A half-open range of positions in column-major order, counted as in [`Window::start`]. Lists of spans are ascending,
/// and their spans do not touch.
type Span = [u64; 2];

/// The horizontal window: the column height, and the number of columns on either side of the middle.
struct Window {
    height: u64,
    columns: u64,
}

impl Rle {
    /// Erosion: the pixels whose square of side 2 x `radius` + 1 lies entirely within the mask. Pixels outside the
    /// image count as background. The result is in canonical form and has up to two runs for each span of a column.
    ///
    /// # Errors
    /// Returns [`RleError::Image`] if a side exceeds 2^22 pixels.
    ///
    /// ```
    /// use maskstream::mask::Rle;
    ///
    /// let full = Rle::from_runs(vec![0, 25], 5, 5)?;
    /// assert_eq!(full.erode(1)?.bbox(), [1, 1, 3, 3]);
    /// assert_eq!(full.erode(1)?.dilate(1), full);
    /// assert_eq!(full.boundary(1)?.area(), 16);
    /// # Ok::<(), maskstream::mask::RleError>(())
    /// ```
    pub fn erode(&self, radius: u32) -> Result<Self, RleError> {
        check_sides(self.height(), self.width())?;
        if u64::from(self.width().min(self.height())) <= 2 * u64::from(radius) {
            return Ok(Builder::like(self, 1).finish());
        }
        if radius == 0 {
            return Ok(self.canonical());
        }
        let (window, rows) = (Window::new(self, radius), u64::from(radius));
        let mut spans = Vec::with_capacity(self.runs().len());
        for block in self.blocks() {
            let (top, bottom) = (u64::from(block.y0) + rows, u64::from(block.y1).saturating_sub(rows));
            if top < bottom {
                let columns = (block.x0..block.x1).map(|x| window.start(x));
                spans.extend(columns.map(|start| [start + top, start + bottom]));
            }
        }
        Ok(window.clip(self, window.erode_rows(spans, false).into_iter()))
    }

    /// Dilation: the pixels whose square of side 2 x `radius` + 1 contains a pixel of the mask. The result is in
    /// canonical form and has up to two runs for each span of a column, including columns that were empty before.
    pub fn dilate(&self, radius: u32) -> Self {
        // A window that reaches from edge to edge need not grow further.
        let window = Window::new(self, radius.min(self.width().saturating_sub(1)));
        let rows = radius.min(self.height());
        // The gaps between the spans; the first and the last are unbounded.
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
        let gaps = window.erode_rows(gaps, true);
        window.clip(self, gaps.windows(2).map(|pair| [pair[0][1], pair[1][0]]))
    }

    /// The mask without its erosion: the pixels of the mask whose square of side 2 x `radius` + 1 leaves the mask. This
    /// is the boundary that Boundary IoU compares.
    ///
    /// # Errors
    /// Same as [`Rle::erode`].
    pub fn boundary(&self, radius: u32) -> Result<Self, RleError> {
        Ok(combine(self, &self.erode(radius)?, Merge::Difference))
    }
}

impl Window {
    /// A window with `columns` columns on either side of the middle.
    fn new(mask: &Rle, columns: u32) -> Self {
        Self { height: mask.height().into(), columns: columns.into() }
    }

    /// The position at which column `x` begins. One window width is left free before column 0, so that spans shifted to
    /// the left of the image keep a valid position.
    fn start(&self, x: u32) -> u64 {
        (u64::from(x) + self.width()) * self.height
    }

    fn width(&self) -> u64 {
        2 * self.columns + 1
    }

    /// Erodes horizontally: the intersection of all columns of the window, stored at its last column. If `unbounded` is
    /// set, the first and the last span extend to infinity.
    fn erode_rows(&self, mut spans: Vec<Span>, unbounded: bool) -> Vec<Span> {
        let (mut next, mut covered) = (Vec::new(), 1);
        while covered < self.width() && !spans.is_empty() {
            let step = covered.min(self.width() - covered);
            intersect_shifted(&spans, step * self.height, &mut next);
            if unbounded {
                next[0][0] = 0;
            }
            std::mem::swap(&mut spans, &mut next);
            covered += step;
        }
        spans
    }

    /// Clips the spans to the image and moves them from the last column of each window back to its middle.
    fn clip(&self, mask: &Rle, spans: impl ExactSizeIterator<Item = Span>) -> Rle {
        let mut runs = Builder::like(mask, 2 * spans.len() + 1);
        let first = self.start(0) + self.columns * self.height;
        let within = |at: u64| at.saturating_sub(first).min(mask.pixels());
        spans.for_each(|[from, to]| runs.push(within(from), within(to)));
        runs.finish()
    }
}

/// Intersects the spans with themselves shifted forward by `by` pixels.
fn intersect_shifted(spans: &[Span], by: u64, out: &mut Vec<Span>) {
    let next = |index: usize| spans.get(index + 1).map_or(u64::MAX, |next| next[0]);
    let (mut here, mut moved, mut count) = (0, 0, 0);
    // Each step writes the intersection of two spans, which is kept only if it is not empty. It then advances past each
    // of the two that ends before the other side's next span begins, one or both: no branch depends on the mask.
    while here < spans.len() && moved < spans.len() {
        if count == out.len() {
            out.push([0; 2]);
        }
        let ([a, a_end], [b, b_end]) = (spans[here], spans[moved]);
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

//! [`Builder`]: builds a mask in canonical form from ascending spans of mask pixels.
//!
//! Images with a side beyond [`MAX_SIDE`](super::runs::MAX_SIDE) are rejected.

use super::runs::{check_sides, push_run};
use super::{Rle, RleError};

/// Collects spans of mask pixels and turns them into runs.
pub(super) struct Builder {
    height: u32,
    width: u32,
    runs: Vec<u32>,
    /// Number of pixels in `runs`.
    end: u64,
    /// The last span, which may still grow. Empty before the first span.
    pending: [u64; 2],
}

impl Builder {
    /// Creates a builder for an image of `height` x `width` pixels.
    pub(super) fn new(height: u32, width: u32) -> Result<Self, RleError> {
        Self::with_capacity(height, width, 0)
    }

    /// Same as [`Builder::new`], with capacity for `runs` runs.
    pub(super) fn with_capacity(height: u32, width: u32, runs: usize) -> Result<Self, RleError> {
        check_sides(height, width)?;
        Ok(Self { height, width, runs: Vec::with_capacity(runs), end: 0, pending: [0; 2] })
    }

    /// Creates a builder for an image of the size of `mask`, with capacity for `runs` runs. The size is not checked:
    /// the runs of `mask` already bound the cost.
    pub(super) fn like(mask: &Rle, runs: usize) -> Self {
        Self { height: mask.height(), width: mask.width(), runs: Vec::with_capacity(runs), end: 0, pending: [0; 2] }
    }

    /// Adds the pixels `from..to` in column-major order. Spans must be ascending and must not overlap; spans that touch
    /// are joined.
    #[inline]
    pub(super) fn push(&mut self, from: u64, to: u64) {
        debug_assert!(from >= self.pending[1] && to >= from);
        if from == self.pending[1] {
            self.pending[1] = to;
        } else if from < to {
            self.flush();
            self.pending = [from, to];
        }
    }

    /// Appends the pending span to the runs.
    #[inline]
    fn flush(&mut self) {
        let [from, to] = self.pending;
        if from == to {
            return;
        }
        let (gap, mask) = (from - self.end, to - from);
        if (gap | mask) >> 32 == 0 {
            self.runs.extend_from_slice(&[gap as u32, mask as u32]);
        } else {
            push_run(&mut self.runs, gap);
            push_run(&mut self.runs, mask);
        }
        self.end = to;
    }

    /// Adds rows `top..bottom` of column `x`; see [`Builder::push`].
    #[inline]
    pub(super) fn push_segment(&mut self, x: u32, top: u32, bottom: u32) {
        let column = u64::from(x) * u64::from(self.height);
        self.push(column + u64::from(top), column + u64::from(bottom));
    }

    /// Adds rows `top..bottom` of the columns `left..right`; see [`Builder::push`]. If there are several columns, the
    /// rows must be all rows of the image.
    #[inline]
    pub(super) fn push_block(&mut self, left: u32, right: u32, top: u32, bottom: u32) {
        let (first, last) = (u64::from(left), u64::from(right - 1));
        let height = u64::from(self.height);
        self.push(first * height + u64::from(top), last * height + u64::from(bottom));
    }

    /// Returns the mask of all spans added.
    pub(super) fn finish(mut self) -> Rle {
        self.flush();
        let pixels = u64::from(self.height) * u64::from(self.width);
        debug_assert!(self.end <= pixels);
        if self.end < pixels || pixels == 0 {
            push_run(&mut self.runs, pixels - self.end);
        }
        Rle::from_runs_unchecked(self.runs, self.height, self.width)
    }
}

//! Runs from stretches of mask pixels. Comes in: ascending stretches of the column-major order. Goes out: an [`Rle`]
//! in canonical form. Fails on images too large to invent runs for.

use super::{Rle, RleError};

/// Longest side of an image for which runs are made rather than read: bounds what a mask of a hostile size costs.
pub(super) const MAX_SIDE: u32 = 1 << 22;

/// Collects stretches of mask pixels.
pub(super) struct Builder {
    height: u32,
    width: u32,
    runs: Vec<u32>,
    /// Pixels in `runs`.
    end: u64,
    /// The last stretch, which may go on; from `end` to `end` before the first.
    open: [u64; 2],
}

impl Builder {
    /// For an image of `height` x `width` pixels.
    pub(super) fn new(height: u32, width: u32) -> Result<Self, RleError> {
        Self::with_capacity(height, width, 0)
    }

    /// [`Builder::new`] with room for this many runs.
    pub(super) fn with_capacity(height: u32, width: u32, runs: usize) -> Result<Self, RleError> {
        check_sides(height, width)?;
        Ok(Self { height, width, runs: Vec::with_capacity(runs), end: 0, open: [0; 2] })
    }

    /// For an image of the size of `mask`, whose own runs bound what a mask of that size costs; with room for this many
    /// runs.
    pub(super) fn like(mask: &Rle, runs: usize) -> Self {
        Self { height: mask.height(), width: mask.width(), runs: Vec::with_capacity(runs), end: 0, open: [0; 2] }
    }

    /// Adds the pixels `from..to` of the column-major order. Stretches come in ascending order and do not overlap;
    /// those that touch become one.
    #[inline]
    pub(super) fn push(&mut self, from: u64, to: u64) {
        debug_assert!(from >= self.open[1] && to >= from);
        if from == self.open[1] {
            self.open[1] = to;
        } else if from < to {
            self.close();
            self.open = [from, to];
        }
    }

    /// Makes runs of the open stretch.
    #[inline]
    fn close(&mut self) {
        let [from, to] = self.open;
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

    /// Adds rows `top..bottom` of column `x`; as [`Builder::push`].
    #[inline]
    pub(super) fn push_segment(&mut self, x: u32, top: u32, bottom: u32) {
        let column = u64::from(x) * u64::from(self.height);
        self.push(column + u64::from(top), column + u64::from(bottom));
    }

    /// Adds rows `top..bottom` of the columns `left..right`, several only if the rows are all; as [`Builder::push`].
    #[inline]
    pub(super) fn push_block(&mut self, left: u32, right: u32, top: u32, bottom: u32) {
        let (first, last) = (u64::from(left), u64::from(right - 1));
        let height = u64::from(self.height);
        self.push(first * height + u64::from(top), last * height + u64::from(bottom));
    }

    /// The mask of all that was pushed.
    pub(super) fn finish(mut self) -> Rle {
        self.close();
        let pixels = u64::from(self.height) * u64::from(self.width);
        debug_assert!(self.end <= pixels);
        if self.end < pixels || pixels == 0 {
            push_run(&mut self.runs, pixels - self.end);
        }
        Rle::trusted(self.runs, self.height, self.width)
    }
}

/// Refuses an image with a side beyond [`MAX_SIDE`].
pub(super) fn check_sides(height: u32, width: u32) -> Result<(), RleError> {
    if height.max(width) > MAX_SIDE { Err(RleError::Image { height, width }) } else { Ok(()) }
}

/// Adds a run to `runs`. One of 2^32 pixels or more has no form in the format: it is cut by empty runs of the other
/// kind.
#[inline]
pub(super) fn push_run(runs: &mut Vec<u32>, mut run: u64) {
    while run > u64::from(u32::MAX) {
        runs.extend([u32::MAX, 0]);
        run -= u64::from(u32::MAX);
    }
    runs.push(run as u32);
}

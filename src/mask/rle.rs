//! One mask as runs. Comes in: counts, runs or a bitmap, with the image's height and width. Goes out: an [`Rle`] whose
//! runs are known to add up, and what can be read off them. Fails where they do not.

use super::builder::{Builder, push_run};
use super::{RleError, counts};

/// A mask of `height` x `width` pixels as column-major runs, background first; the runs always add up to height x
/// width.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rle {
    height: u32,
    width: u32,
    runs: Vec<u32>,
}

impl Rle {
    /// Reads a COCO counts string.
    ///
    /// # Errors
    /// [`RleError`] for bytes outside the alphabet, a string that ends inside a number, a negative or oversized run, or
    /// runs that do not add up to `height` x `width`.
    pub fn from_counts(counts: &[u8], height: u32, width: u32) -> Result<Self, RleError> {
        let mut rle = Self::default();
        rle.read_counts(counts, height, width)?;
        Ok(rle)
    }

    /// [`Rle::from_counts`] into an existing mask, whose memory is used again. After an error the mask is empty, of
    /// size 0 x 0.
    ///
    /// # Errors
    /// As [`Rle::from_counts`].
    pub fn read_counts(&mut self, counts: &[u8], height: u32, width: u32) -> Result<(), RleError> {
        let read = counts::parse(counts, pixels(height, width), &mut self.runs);
        (self.height, self.width) = if read.is_ok() { (height, width) } else { (0, 0) };
        read.inspect_err(|_| self.runs.clear())
    }

    /// Takes column-major run lengths, background first (the uncompressed form of COCO).
    ///
    /// # Errors
    /// [`RleError::Sum`] if they do not add up to `height` x `width`.
    pub fn from_runs(runs: Vec<u32>, height: u32, width: u32) -> Result<Self, RleError> {
        let pixels = pixels(height, width);
        let sum = runs.iter().map(|&run| u64::from(run)).sum();
        if sum != pixels {
            return Err(RleError::Sum { sum, pixels });
        }
        Ok(Self { height, width, runs })
    }

    /// A mask without pixels.
    ///
    /// # Errors
    /// [`RleError::Image`] beyond 2^40 pixels.
    pub fn empty(height: u32, width: u32) -> Result<Self, RleError> {
        Ok(Builder::new(height, width)?.finish())
    }

    /// Runs that are known to add up.
    pub(super) fn trusted(runs: Vec<u32>, height: u32, width: u32) -> Self {
        debug_assert_eq!(runs.iter().map(|&run| u64::from(run)).sum::<u64>(), pixels(height, width));
        Self { height, width, runs }
    }

    /// The COCO counts string, byte for byte as pycocotools writes it.
    pub fn to_counts(&self) -> String {
        counts::write(&self.runs)
    }

    /// Height of the image in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Width of the image in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// The run lengths: background, mask, background, ...
    pub fn runs(&self) -> &[u32] {
        &self.runs
    }

    /// The run lengths themselves.
    pub fn into_runs(self) -> Vec<u32> {
        self.runs
    }

    /// Pixels of the whole image.
    pub(super) fn pixels(&self) -> u64 {
        pixels(self.height, self.width)
    }

    /// Whether no run is empty but the first: the form in which equal masks have equal runs.
    pub fn is_canonical(&self) -> bool {
        !self.runs.is_empty() && self.runs[1..].iter().all(|&run| run > 0)
    }

    /// The same mask in canonical form. Only in an image of 2^32 pixels or more may runs stay empty, which then cut a
    /// longer one.
    pub fn canonical(&self) -> Self {
        if self.is_canonical() {
            return self.clone();
        }
        let mut runs = Vec::with_capacity(self.runs.len());
        // The run that is still growing, and the kind of run that it is.
        let (mut open, mut inside) = (0_u64, false);
        for (index, &run) in self.runs.iter().enumerate() {
            if run > 0 && (index % 2 == 1) != inside {
                push_run(&mut runs, std::mem::take(&mut open));
                inside = !inside;
            }
            open += u64::from(run);
        }
        push_run(&mut runs, open);
        Self::trusted(runs, self.height, self.width)
    }

    /// That another mask, number `index` of its list, is of this one's size.
    pub(super) fn check_same_size(&self, other: &Self, index: usize) -> Result<(), RleError> {
        let (expected, found) = ([self.height, self.width], [other.height, other.width]);
        if expected == found { Ok(()) } else { Err(RleError::Sizes { expected, found, index }) }
    }

    /// Number of pixels in the mask.
    pub fn area(&self) -> u64 {
        self.runs.iter().skip(1).step_by(2).map(|&run| u64::from(run)).sum()
    }

    /// The smallest box around the mask as `[x, y, width, height]` in pixels; zeros for an empty mask. Width and height
    /// count pixels, as pycocotools' `toBbox` does; SA-1B's own `bbox` is one less.
    pub fn bbox(&self) -> [u32; 4] {
        let [mut left, mut top, mut right, mut bottom] = [u32::MAX, u32::MAX, 0, 0];
        self.for_each_segment(|x, y0, y1| {
            left = left.min(x);
            right = right.max(x + 1);
            top = top.min(y0);
            bottom = bottom.max(y1);
        });
        if right == 0 { [0; 4] } else { [left, top, right - left, bottom - top] }
    }

    /// Calls `f(x, y0, y1)` for each stretch of mask pixels within a column, from left to right and top to bottom: rows
    /// `y0..y1` of column `x`.
    #[inline]
    pub(super) fn for_each_segment(&self, mut f: impl FnMut(u32, u32, u32)) {
        let height = self.height;
        // 64 bits: a run may reach far past the column it starts in.
        let (mut x, mut y) = (0_u32, 0_u32);
        let mut inside = false;
        for &run in &self.runs {
            let mut end = u64::from(y) + u64::from(run);
            if inside && run > 0 {
                while end >= u64::from(height) {
                    f(x, y, height);
                    end -= u64::from(height);
                    (x, y) = (x + 1, 0);
                }
                // What is left is less than a column.
                if end > u64::from(y) {
                    f(x, y, end as u32);
                }
                y = end as u32;
            } else if end < u64::from(height) {
                y = end as u32;
            } else if height > 0 {
                x += (end / u64::from(height)) as u32;
                y = (end % u64::from(height)) as u32;
            }
            inside = !inside;
        }
    }
}

fn pixels(height: u32, width: u32) -> u64 {
    u64::from(height) * u64::from(width)
}

pub(super) fn check_len(expected: u64, found: usize) -> Result<(), RleError> {
    let found = found as u64;
    if expected == found { Ok(()) } else { Err(RleError::Size { expected, found }) }
}

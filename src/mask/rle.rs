//! [`Rle`]: a mask stored as run lengths.
//!
//! It is built from a counts string, run lengths or a bitmap, together with the height and width of the image. An error
//! is returned if the run lengths do not add up to the number of pixels, so every [`Rle`] is consistent.

use std::borrow::Cow;

use super::runs::{check_sides, push_run};
use super::{RleError, counts};

/// A mask of `height` x `width` pixels as run lengths in column-major order, background first.
///
/// The run lengths always add up to height x width.
///
/// ```
/// use maskstream::mask::Rle;
///
/// // 4 rows, 6 columns; the mask is rows 1 and 2 of columns 2 and 3.
/// let mask = Rle::from_counts(b"92207", 4, 6)?;
/// assert_eq!(mask.runs(), [9, 2, 2, 2, 9]);
/// assert_eq!(mask.area(), 4);
/// assert_eq!(mask.bbox(), [2, 1, 2, 2]);
/// assert_eq!(mask.centroid(), Some([2.5, 1.5]));
/// # Ok::<(), maskstream::mask::RleError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rle {
    height: u32,
    width: u32,
    runs: Vec<u32>,
}

/// The size of a mask in its different representations; see [`Rle::stats`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RleStats {
    /// Number of runs, of background and mask together.
    pub runs: usize,
    /// Length of the counts string in bytes.
    pub counts_bytes: usize,
    /// Size of the run lengths in bytes, at four bytes a run.
    pub runs_bytes: usize,
    /// Size of the bitmap in bytes, at one byte a pixel.
    pub bitmap_bytes: u64,
}

impl RleStats {
    /// The bitmap's size divided by the length of the counts string.
    pub fn compression(&self) -> f64 {
        self.bitmap_bytes as f64 / self.counts_bytes.max(1) as f64
    }
}

impl Rle {
    /// Decodes a COCO counts string.
    ///
    /// # Errors
    /// Returns an [`RleError`] if the string contains a byte outside the alphabet or ends inside a number, if a run is
    /// negative or exceeds 32 bits, or if the runs do not add up to `height` x `width`.
    ///
    /// ```
    /// use maskstream::mask::{Rle, RleError};
    ///
    /// assert_eq!(Rle::from_counts(b"92207", 4, 6)?.area(), 4);
    /// assert_eq!(Rle::from_counts(b"92", 4, 6), Err(RleError::Sum { sum: 11, pixels: 24 }));
    /// # Ok::<(), RleError>(())
    /// ```
    pub fn from_counts(counts: &[u8], height: u32, width: u32) -> Result<Self, RleError> {
        let mut rle = Self::default();
        rle.read_counts(counts, height, width)?;
        Ok(rle)
    }

    /// Decodes a counts string as [`Rle::from_counts`] does, reusing the memory of this mask. After an error the mask
    /// is empty and its size is 0 x 0.
    ///
    /// # Errors
    /// Same as [`Rle::from_counts`].
    pub fn read_counts(&mut self, counts: &[u8], height: u32, width: u32) -> Result<(), RleError> {
        let read = counts::parse(counts, pixels(height, width), &mut self.runs);
        (self.height, self.width) = if read.is_ok() { (height, width) } else { (0, 0) };
        read.inspect_err(|_| self.runs.clear())
    }

    /// Creates a mask from column-major run lengths, background first (COCO's uncompressed RLE).
    ///
    /// # Errors
    /// Returns [`RleError::Sum`] if the runs do not add up to `height` x `width`.
    ///
    /// ```
    /// use maskstream::mask::Rle;
    ///
    /// let mask = Rle::from_runs(vec![9, 2, 2, 2, 9], 4, 6)?;
    /// assert_eq!(mask.to_counts(), "92207");
    /// # Ok::<(), maskstream::mask::RleError>(())
    /// ```
    pub fn from_runs(runs: Vec<u32>, height: u32, width: u32) -> Result<Self, RleError> {
        let pixels = pixels(height, width);
        let sum = runs.iter().map(|&run| u64::from(run)).sum();
        if sum != pixels {
            return Err(RleError::Sum { sum, pixels });
        }
        Ok(Self { height, width, runs })
    }

    /// Creates a mask that contains no pixels.
    ///
    /// # Errors
    /// Returns [`RleError::Image`] if a side exceeds 2^22 pixels.
    pub fn empty(height: u32, width: u32) -> Result<Self, RleError> {
        check_sides(height, width)?;
        let mut runs = Vec::new();
        push_run(&mut runs, u64::from(height) * u64::from(width));
        Ok(Self::from_runs_unchecked(runs, height, width))
    }

    /// Wraps runs that are known to add up; checked in debug builds only.
    pub(super) fn from_runs_unchecked(runs: Vec<u32>, height: u32, width: u32) -> Self {
        debug_assert_eq!(runs.iter().map(|&run| u64::from(run)).sum::<u64>(), pixels(height, width));
        Self { height, width, runs }
    }

    /// Encodes the mask as a COCO counts string, byte for byte as pycocotools does.
    ///
    /// ```
    /// use maskstream::mask::Rle;
    ///
    /// let mask = Rle::from_column_major(&[0, 0, 1, 1, 1, 0], 2, 3)?;
    /// assert_eq!(mask.to_counts(), "231");
    /// # Ok::<(), maskstream::mask::RleError>(())
    /// ```
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

    /// Converts the mask into its run lengths without copying them.
    pub fn into_runs(self) -> Vec<u32> {
        self.runs
    }

    /// Number of pixels of the whole image.
    pub(super) fn pixels(&self) -> u64 {
        pixels(self.height, self.width)
    }

    /// Whether no run except the first is empty. In this form equal masks have equal runs.
    pub fn is_canonical(&self) -> bool {
        // `all` stops early and would prevent vectorization.
        !self.runs.is_empty() && self.runs[1..].iter().fold(true, |all, &run| all & (run > 0))
    }

    /// Returns the mask in canonical form. In an image of 2^32 pixels or more, empty runs may remain: they split a run
    /// that does not fit 32 bits.
    ///
    /// ```
    /// use maskstream::mask::Rle;
    ///
    /// let mask = Rle::from_runs(vec![1, 2, 0, 1], 2, 2)?;
    /// assert!(!mask.is_canonical());
    /// assert_eq!(mask.canonical().runs(), [1, 3]);
    /// # Ok::<(), maskstream::mask::RleError>(())
    /// ```
    pub fn canonical(&self) -> Self {
        if self.is_canonical() {
            return self.clone();
        }
        let mut runs = Vec::with_capacity(self.runs.len());
        // The length of the run being merged, and whether it belongs to the mask.
        let (mut open, mut inside) = (0_u64, false);
        for (index, &run) in self.runs.iter().enumerate() {
            if run > 0 && (index % 2 == 1) != inside {
                push_run(&mut runs, std::mem::take(&mut open));
                inside = !inside;
            }
            open += u64::from(run);
        }
        push_run(&mut runs, open);
        Self::from_runs_unchecked(runs, self.height, self.width)
    }

    /// Same as [`Rle::canonical`], but borrows if the mask already is canonical.
    pub(super) fn as_canonical(&self) -> Cow<'_, Self> {
        if self.is_canonical() { Cow::Borrowed(self) } else { Cow::Owned(self.canonical()) }
    }

    /// Checks that `other`, the mask at `index` of its list, has the same size as this mask.
    pub(super) fn check_same_size(&self, other: &Self, index: usize) -> Result<(), RleError> {
        let (expected, found) = ([self.height, self.width], [other.height, other.width]);
        if expected == found { Ok(()) } else { Err(RleError::Sizes { expected, found, index }) }
    }

    /// Number of pixels that belong to the mask.
    pub fn area(&self) -> u64 {
        self.runs.as_chunks::<2>().0.iter().map(|pair| u64::from(pair[1])).sum()
    }

    /// The bounding box as `[x, y, width, height]` in pixels, or zeros if the mask is empty. Width and height count
    /// pixels, as in pycocotools' `toBbox`; in SA-1B's own `bbox` they are one less.
    pub fn bbox(&self) -> [u32; 4] {
        let height = u64::from(self.height);
        let pairs = self.runs.as_chunks::<2>().0;
        // Number of pairs before the first and after the last that contain mask pixels.
        let before = pairs.iter().take_while(|pair| pair[1] == 0).count();
        let behind = pairs.iter().rev().take_while(|pair| pair[1] == 0).count();
        if before == pairs.len() {
            return [0; 4];
        }
        // The remainder without a division, exact below 2^32.
        // (Lemire, Kaser, Kurz: Faster remainder by direct computation, 2019)
        let inverse = (u64::MAX / height).wrapping_add(1);
        let fits_32_bits = self.pixels() <= u64::from(u32::MAX);
        let row = |at: u64| {
            if fits_32_bits {
                ((u128::from(inverse.wrapping_mul(at)) * u128::from(height)) >> 64) as u64
            } else {
                at % height
            }
        };
        let (mut at, mut top, mut bottom) = (0, u64::MAX, 0);
        let (mut first, mut last) = (0, 0);
        for (index, pair) in pairs[..pairs.len() - behind].iter().enumerate() {
            let start = at + u64::from(pair[0]);
            at = start + u64::from(pair[1]);
            first = if index <= before { start } else { first };
            last = at;
            let y = row(start);
            // An empty mask run must not affect the top or the bottom.
            let none = if pair[1] == 0 { u64::MAX } else { 0 };
            top = top.min(y | none);
            bottom = bottom.max((y & !none) + u64::from(pair[1]));
        }
        if bottom > height {
            // Some run continues in the next column, so all rows are covered.
            (top, bottom) = (0, height);
        }
        let (left, right) = (first / height, (last - 1) / height + 1);
        [left, top, right - left, bottom - top].map(|value| value as u32)
    }

    /// The mean x and y of the mask's pixels, or `None` if the mask is empty. Pixel centres have integer coordinates.
    pub fn centroid(&self) -> Option<[f64; 2]> {
        let (mut area, mut sum_x, mut sum_y) = (0_u64, 0_u128, 0_u128);
        for block in self.blocks() {
            let [x0, x1, y0, y1] = [block.x0, block.x1, block.y0, block.y1].map(u64::from);
            let count = (x1 - x0) * (y1 - y0);
            area += count;
            // Twice the sums of the coordinates, to stay in integers.
            sum_x += u128::from(x0 + x1 - 1) * u128::from(count);
            sum_y += u128::from(y0 + y1 - 1) * u128::from(count);
        }
        (area > 0).then(|| [sum_x, sum_y].map(|sum| sum as f64 / (2.0 * area as f64)))
    }

    /// The size of this mask as runs, as a counts string and as a bitmap.
    ///
    /// ```
    /// use maskstream::mask::Rle;
    ///
    /// let stats = Rle::from_counts(b"92207", 4, 6)?.stats();
    /// assert_eq!((stats.runs, stats.counts_bytes, stats.bitmap_bytes), (5, 5, 24));
    /// assert_eq!(stats.compression(), 4.8);
    /// # Ok::<(), maskstream::mask::RleError>(())
    /// ```
    pub fn stats(&self) -> RleStats {
        RleStats {
            runs: self.runs.len(),
            counts_bytes: counts::write(&self.runs).len(),
            runs_bytes: size_of_val(&self.runs[..]),
            bitmap_bytes: self.pixels(),
        }
    }

    /// Calls `f(from, to)` for each run of mask pixels, as a range of positions in column-major order.
    #[inline]
    pub(super) fn for_each_span(&self, mut f: impl FnMut(u64, u64)) {
        let mut at = 0;
        for pair in self.runs.chunks_exact(2) {
            let from = at + u64::from(pair[0]);
            at = from + u64::from(pair[1]);
            f(from, at);
        }
    }

    /// Calls `f(x, y0, y1)` for each segment: rows `y0..y1` of column `x`, a run or the part of a run within one
    /// column. Segments come from left to right, and from top to bottom within a column.
    #[inline]
    pub(super) fn for_each_segment(&self, mut f: impl FnMut(u32, u32, u32)) {
        let height = self.height;
        let mut at = Position::new(height);
        for pair in self.runs.chunks_exact(2) {
            at.advance(pair[0]);
            let (x, y, mut rest) = (at.x, at.y, pair[1]);
            if rest == 0 {
                continue;
            }
            if rest <= height - y {
                f(x, y, y + rest);
                at.advance(rest);
                continue;
            }
            f(x, y, height);
            rest -= height - y;
            at = Position { x: x + 1, y: 0, height };
            while rest >= height {
                f(at.x, 0, height);
                rest -= height;
                at.x += 1;
            }
            if rest > 0 {
                f(at.x, 0, rest);
                at.y = rest;
            }
        }
    }
}

/// A pixel position in column-major order.
struct Position {
    x: u32,
    y: u32,
    height: u32,
}

impl Position {
    fn new(height: u32) -> Self {
        Self { x: 0, y: 0, height }
    }

    /// Moves forward by `pixels`. The new position must not be past the end of the image.
    #[inline]
    fn advance(&mut self, pixels: u32) {
        let height = u64::from(self.height);
        let y = u64::from(self.y) + u64::from(pixels);
        // Most runs end in the same column or the next, which is handled without a branch.
        let next = y >= height;
        self.x += u32::from(next);
        let y = y - if next { height } else { 0 };
        self.y = y as u32;
        if y >= height && height > 0 {
            self.x += (y / height) as u32;
            self.y = (y % height) as u32;
        }
    }
}

pub(super) fn pixels(height: u32, width: u32) -> u64 {
    u64::from(height) * u64::from(width)
}

/// Checks that all masks have the same size.
pub(super) fn check_same_sizes<'a>(masks: impl IntoIterator<Item = &'a Rle>) -> Result<(), RleError> {
    let mut masks = masks.into_iter();
    let Some(first) = masks.next() else { return Ok(()) };
    masks.enumerate().try_for_each(|(index, mask)| first.check_same_size(mask, index + 1))
}

pub(super) fn check_len(expected: u64, found: usize) -> Result<(), RleError> {
    let found = found as u64;
    if expected == found { Ok(()) } else { Err(RleError::Size { expected, found }) }
}

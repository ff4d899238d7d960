//! One mask as runs. Comes in: counts, runs or a bitmap, with the image's height and width. Goes out: an [`Rle`] whose
//! runs are known to add up, and what can be read off them. Fails where they do not.

use std::borrow::Cow;

use super::builder::{Builder, push_run};
use super::{RleError, counts};

/// A mask of `height` x `width` pixels as column-major runs, background first; the runs always add up to height x
/// width.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rle {
    height: u32,
    width: u32,
    runs: Vec<u32>,
}

/// What a mask takes in its forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RleStats {
    /// Runs, of background and of mask.
    pub runs: usize,
    /// Bytes of the counts string.
    pub counts_bytes: usize,
    /// Bytes of the runs as 32-bit numbers.
    pub runs_bytes: usize,
    /// Bytes of the bitmap at one byte a pixel.
    pub bitmap_bytes: u64,
}

impl RleStats {
    /// How many times smaller than the bitmap the counts string is.
    pub fn compression(&self) -> f64 {
        self.bitmap_bytes as f64 / self.counts_bytes.max(1) as f64
    }
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
    /// [`RleError::Image`] for a side beyond 2^22 pixels.
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
        // Not `all`, which stops early and so takes one run at a time.
        !self.runs.is_empty() && self.runs[1..].iter().fold(true, |all, &run| all & (run > 0))
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

    /// [`Rle::canonical`] without a copy where the mask is in that form.
    pub(super) fn as_canonical(&self) -> Cow<'_, Self> {
        if self.is_canonical() { Cow::Borrowed(self) } else { Cow::Owned(self.canonical()) }
    }

    /// That another mask, number `index` of its list, is of this one's size.
    pub(super) fn check_same_size(&self, other: &Self, index: usize) -> Result<(), RleError> {
        let (expected, found) = ([self.height, self.width], [other.height, other.width]);
        if expected == found { Ok(()) } else { Err(RleError::Sizes { expected, found, index }) }
    }

    /// Number of pixels in the mask.
    pub fn area(&self) -> u64 {
        self.runs.as_chunks::<2>().0.iter().map(|pair| u64::from(pair[1])).sum()
    }

    /// The smallest box around the mask as `[x, y, width, height]` in pixels; zeros for an empty mask. Width and height
    /// count pixels, as pycocotools' `toBbox` does; SA-1B's own `bbox` is one less.
    pub fn bbox(&self) -> [u32; 4] {
        let height = u64::from(self.height);
        let pairs = self.runs.as_chunks::<2>().0;
        // Runs before the first that has pixels, and behind the last that has.
        let before = pairs.iter().take_while(|pair| pair[1] == 0).count();
        let behind = pairs.iter().rev().take_while(|pair| pair[1] == 0).count();
        if before == pairs.len() {
            return [0; 4];
        }
        // Rows without a division, exact below 2^32 (Lemire, Kaser, Kurz: Faster remainder by direct computation, 2019).
        let inverse = (u64::MAX / height).wrapping_add(1);
        let short = self.pixels() <= u64::from(u32::MAX);
        let row = |at: u64| match short {
            true => ((u128::from(inverse.wrapping_mul(at)) * u128::from(height)) >> 64) as u64,
            false => at % height,
        };
        let (mut at, mut top, mut bottom) = (0, u64::MAX, 0);
        let (mut first, mut last) = (0, 0);
        for (index, pair) in pairs[..pairs.len() - behind].iter().enumerate() {
            let start = at + u64::from(pair[0]);
            at = start + u64::from(pair[1]);
            first = if index <= before { start } else { first };
            last = at;
            let y = row(start);
            // An empty run among them has no rows.
            let none = if pair[1] == 0 { u64::MAX } else { 0 };
            top = top.min(y | none);
            bottom = bottom.max((y & !none) + u64::from(pair[1]));
        }
        if bottom > height {
            // A run goes on in the next column.
            (top, bottom) = (0, height);
        }
        let (left, right) = (first / height, (last - 1) / height + 1);
        [left, top, right - left, bottom - top].map(|value| value as u32)
    }

    /// The mean x and y of the mask's pixels, whole numbers being pixel centres; `None` for an empty mask.
    pub fn centroid(&self) -> Option<[f64; 2]> {
        let (mut area, mut sum_x, mut sum_y) = (0_u64, 0_u128, 0_u128);
        for block in self.blocks() {
            let [x0, x1, y0, y1] = [block.x0, block.x1, block.y0, block.y1].map(u64::from);
            let count = (x1 - x0) * (y1 - y0);
            area += count;
            // Twice the sums.
            sum_x += u128::from(x0 + x1 - 1) * u128::from(count);
            sum_y += u128::from(y0 + y1 - 1) * u128::from(count);
        }
        (area > 0).then(|| [sum_x, sum_y].map(|sum| sum as f64 / (2.0 * area as f64)))
    }

    /// Sizes of this mask in its forms.
    pub fn stats(&self) -> RleStats {
        RleStats {
            runs: self.runs.len(),
            counts_bytes: counts::write(&self.runs).len(),
            runs_bytes: size_of_val(&self.runs[..]),
            bitmap_bytes: self.pixels(),
        }
    }

    /// Calls `f(from, to)` for each run of mask pixels, in positions of the column-major order.
    #[inline]
    pub(super) fn for_each_stretch(&self, mut f: impl FnMut(u64, u64)) {
        let mut at = 0;
        for pair in self.runs.chunks_exact(2) {
            let from = at + u64::from(pair[0]);
            at = from + u64::from(pair[1]);
            f(from, at);
        }
    }

    /// Calls `f(x, y0, y1)` for each stretch of mask pixels within a column, from left to right and top to bottom: rows
    /// `y0..y1` of column `x`.
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

/// A place in the column-major order.
struct Position {
    x: u32,
    y: u32,
    height: u32,
}

impl Position {
    fn new(height: u32) -> Self {
        Self { x: 0, y: 0, height }
    }

    /// Moves on by `pixels`, which stay within the image.
    #[inline]
    fn advance(&mut self, pixels: u32) {
        let height = u64::from(self.height);
        let y = u64::from(self.y) + u64::from(pixels);
        // Most runs end in the column where they begin, or in the next: no branch tells which.
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

/// That all masks are of one size.
pub(super) fn check_same_sizes<'a>(masks: impl IntoIterator<Item = &'a Rle>) -> Result<(), RleError> {
    let mut masks = masks.into_iter();
    let Some(first) = masks.next() else { return Ok(()) };
    masks.enumerate().try_for_each(|(index, mask)| first.check_same_size(mask, index + 1))
}

pub(super) fn check_len(expected: u64, found: usize) -> Result<(), RleError> {
    let found = found as u64;
    if expected == found { Ok(()) } else { Err(RleError::Size { expected, found }) }
}

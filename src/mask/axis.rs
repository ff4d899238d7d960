//! [`Axis`]: how the pixels of one image axis map to the cells of a grid.
//!
//! An axis is built from the number of pixels, the number of cells and an exact rational scale. It holds lookup tables
//! that all masks of an image share. An axis without pixels or cells, or a scale too fine for exact arithmetic, is an
//! error.

use std::ops::Range;

use super::{RleError, runs::MAX_SIDE};

/// Upper bound of the denominator: its square, the weight of a full cell, must fit an `i64`.
const MAX_DENOMINATOR: u64 = 1 << 31;

/// One axis of a [`Grid`](super::Grid): the mapping from image pixels to grid cells. Cells that no pixel reaches stay
/// empty.
#[derive(Clone, Debug)]
pub struct Axis {
    pixels: u32,
    cells: u32,
    /// Number of parts of a cell. Pixel boundaries lie at multiples of 1 / `den`.
    den: u64,
    /// Whether the axis is mirrored: later pixels map to earlier cells.
    flipped: bool,
    /// For each pixel boundary `0..=pixels`: the cell that contains it, and its offset in that cell in parts.
    bounds: Vec<(u32, u32)>,
    /// For each pixel boundary `0..=pixels`: the number of cells whose centre lies in an earlier pixel.
    centres_before: Vec<u32>,
}

impl Axis {
    /// Maps `pixels` pixels to `cells` cells at a scale of `num / den` cells per pixel: pixel boundary `t` lies at
    /// `t * num / den` cells. Pixels past the last cell are cropped.
    ///
    /// # Errors
    /// Returns [`RleError::Axis`] if an argument is 0, if `pixels` exceeds 2^22, or if the reduced fraction is too fine
    /// for exact 64-bit sums.
    pub fn new(pixels: u32, cells: u32, num: u64, den: u64) -> Result<Self, RleError> {
        Self::build((pixels, 0..pixels), (cells, 0..cells), (num, den), false)
    }

    /// Maps the pixels `crop` of an axis of `pixels` pixels to the cells `place` of an axis of `cells` cells, mirrored
    /// if `flip` is set. The result equals cropping, resizing, flipping and padding the bitmap one after the other.
    ///
    /// # Errors
    /// Returns [`RleError::Axis`] if a range is empty or out of bounds, and in the cases of [`Axis::new`].
    ///
    /// ```
    /// use maskstream::mask::{Axis, Grid, GridScratch, Rle};
    ///
    /// // Mirrors columns 1..4 of an image of 1 x 4 pixels; the first cell is padding.
    /// let x = Axis::window(4, 1..4, 4, 1..4, true)?;
    /// let y = Axis::new(1, 1, 1, 1)?;
    /// let mut cells = [9; 4];
    /// let mask = Rle::from_runs(vec![3, 1], 1, 4)?;
    /// Grid::new(x, y).nearest(&mask, &mut GridScratch::default(), &mut cells)?;
    /// assert_eq!(cells, [0, 1, 0, 0]);
    /// # Ok::<(), maskstream::mask::RleError>(())
    /// ```
    pub fn window(pixels: u32, crop: Range<u32>, cells: u32, place: Range<u32>, flip: bool) -> Result<Self, RleError> {
        if crop.is_empty() || place.is_empty() || crop.end > pixels || place.end > cells {
            return Err(RleError::Axis);
        }
        let scale = (u64::from(place.end - place.start), u64::from(crop.end - crop.start));
        Self::build((pixels, crop), (cells, place), scale, flip)
    }

    /// Maps the pixels `crop` of an axis of `pixels` pixels to an axis of `cells` cells, from the first cell on, at a
    /// `scale` of `num / den` cells per pixel, mirrored if `flip` is set. What would lie past the last cell is cropped:
    /// where the axis is mirrored, that is the start of `crop`.
    ///
    /// # Errors
    /// Returns [`RleError::Axis`] if the range is empty or out of bounds, and in the cases of [`Axis::new`].
    ///
    /// ```
    /// use maskstream::mask::{Axis, Grid, GridScratch, Rle};
    ///
    /// // Columns 1..4 of an image of 1 x 4 pixels, mirrored, at two cells a pixel.
    /// let x = Axis::scaled_window(4, 1..4, 6, (2, 1), true)?;
    /// let mut cells = [9; 6];
    /// let mask = Rle::from_runs(vec![3, 1], 1, 4)?;
    /// Grid::new(x, Axis::new(1, 1, 1, 1)?).nearest(&mask, &mut GridScratch::default(), &mut cells)?;
    /// assert_eq!(cells, [1, 1, 0, 0, 0, 0]);
    /// # Ok::<(), maskstream::mask::RleError>(())
    /// ```
    pub fn scaled_window(
        pixels: u32,
        crop: Range<u32>,
        cells: u32,
        scale: (u64, u64),
        flip: bool,
    ) -> Result<Self, RleError> {
        if crop.is_empty() || crop.end > pixels {
            return Err(RleError::Axis);
        }
        Self::build((pixels, crop), (cells, 0..cells), scale, flip)
    }

    fn build(
        (pixels, crop): (u32, Range<u32>),
        (cells, place): (u32, Range<u32>),
        (num, den): (u64, u64),
        flipped: bool,
    ) -> Result<Self, RleError> {
        if num == 0 || den == 0 || pixels == 0 || cells == 0 || pixels > MAX_SIDE {
            return Err(RleError::Axis);
        }
        let gcd = gcd(num, den);
        let (num, den) = (num / gcd, den / gcd);
        // Products of 2^31 parts and 2^22 pixels, and twice that for the centres, fit a u64.
        if den >= MAX_DENOMINATOR || num >= MAX_DENOMINATOR {
            return Err(RleError::Axis);
        }
        let most = u64::from(place.end - place.start);
        // Indexed by the distance from the start of the crop as it appears on the grid. Cell and part advance without a
        // division.
        let mut steps = Vec::with_capacity((crop.end - crop.start) as usize + 1);
        let (mut bound, mut centre) = (MixedNumber::new(num, den), MixedNumber::new(2 * num, den));
        for _ in crop.start..=crop.end {
            let (cell, part) = if bound.whole >= most { (most, 0) } else { (bound.whole, bound.part) };
            // The centre of cell c, (2c + 1) / 2, lies before boundary t if (2c + 1) * den < 2 * t * num.
            let before = ((centre.whole + u64::from(centre.part > 0)) / 2).min(most);
            steps.push(((place.start + cell as u32, part as u32), place.start + before as u32));
            bound.advance();
            centre.advance();
        }
        let step = |t: u32| {
            let t = t.clamp(crop.start, crop.end);
            steps[(if flipped { crop.end - t } else { t - crop.start }) as usize]
        };
        let (bounds, centres_before) = (0..=pixels).map(step).unzip();
        Ok(Self { pixels, cells, den, flipped, bounds, centres_before })
    }

    /// Number of image pixels along the axis.
    pub fn pixels(&self) -> u32 {
        self.pixels
    }

    /// Number of grid cells along the axis.
    pub fn cells(&self) -> u32 {
        self.cells
    }

    /// Number of parts of a cell.
    pub(super) fn den(&self) -> u64 {
        self.den
    }

    /// Whether later pixels map to earlier cells.
    pub(super) fn is_flipped(&self) -> bool {
        self.flipped
    }

    /// The start and the end of the pixels `from..to` on the grid, each as a cell and an offset in parts.
    #[inline]
    pub(super) fn span(&self, from: u32, to: u32) -> [(usize, i64); 2] {
        let bound = |t: u32| {
            let (cell, part) = self.bounds[t as usize];
            (cell as usize, i64::from(part))
        };
        if self.flipped { [bound(to), bound(from)] } else { [bound(from), bound(to)] }
    }

    /// The half-open range of cells whose centres lie in the pixels `from..to`.
    #[inline]
    pub(super) fn centres(&self, from: u32, to: u32) -> (u32, u32) {
        let [from, to] = [from, to].map(|t| self.centres_before[t as usize]);
        if self.flipped { (to, from) } else { (from, to) }
    }

    /// Calls `f(cell, parts)` for each cell that pixel `x` overlaps, with the size of the overlap.
    #[inline]
    pub(super) fn for_each_cell(&self, x: u32, mut f: impl FnMut(usize, i64)) {
        let [(first, from), (last, to)] = self.span(x, x + 1);
        let full = self.den as i64;
        if first == last {
            if to > from {
                f(first, to - from);
            }
            return;
        }
        f(first, full - from);
        (first + 1..last).for_each(|cell| f(cell, full));
        if to > 0 {
            f(last, to);
        }
    }
}

/// A mixed number `whole + part / den` that grows in fixed steps.
struct MixedNumber {
    whole: u64,
    part: u64,
    den: u64,
    /// The increment, as whole and part.
    step: (u64, u64),
}

impl MixedNumber {
    fn new(num: u64, den: u64) -> Self {
        Self { whole: 0, part: 0, den, step: (num / den, num % den) }
    }

    #[inline]
    fn advance(&mut self) {
        self.whole += self.step.0;
        self.part += self.step.1;
        if self.part >= self.den {
            self.part -= self.den;
            self.whole += 1;
        }
    }
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

//! Where the pixels of one image axis fall on the cells of a grid. Comes in: pixel count, cell count and an exact
//! rational scale. Goes out: look-up tables shared by all masks of an image. Fails on empty axes and on scales beyond
//! exact arithmetic.

use std::ops::Range;

use super::{RleError, builder::MAX_SIDE};

/// Largest denominator: its square, the weight of a full cell, fits an `i64`.
const MAX_DENOMINATOR: u64 = 1 << 31;

/// One axis of a [`Grid`](super::Grid): which cells the pixels of the image fall on. Cells that no pixel reaches stay
/// empty.
#[derive(Clone, Debug)]
pub struct Axis {
    pixels: u32,
    cells: u32,
    /// Parts of a cell: boundaries lie at whole multiples of 1/den.
    den: u64,
    /// Whether later pixels fall on earlier cells.
    flipped: bool,
    /// For each pixel boundary `0..=pixels`: the cell it lies in, and how many parts into it.
    bounds: Vec<(u32, u32)>,
    /// For each pixel boundary `0..=pixels`: how many cells have their centre's pixel before it.
    centres_before: Vec<u32>,
}

impl Axis {
    /// An axis of `pixels` pixels on `cells` cells at the scale `num / den` cells a pixel: pixel boundary `t` lies at
    /// `t * num / den` cells. What falls past the last cell is cropped.
    ///
    /// # Errors
    /// [`RleError::Axis`] if any argument is 0, `pixels` exceeds 2^22, or the reduced fraction is too fine for exact
    /// 64-bit sums.
    pub fn new(pixels: u32, cells: u32, num: u64, den: u64) -> Result<Self, RleError> {
        Self::build((pixels, 0..pixels), (cells, 0..cells), (num, den), false)
    }

    /// An axis that stretches the pixels `crop` of an image of `pixels` pixels onto the cells `place` of a grid of
    /// `cells` cells, mirrored if `flip` is set: crop, flip and letterbox in one, equal to doing these to the bitmap
    /// first.
    ///
    /// # Errors
    /// [`RleError::Axis`] if a range is empty or does not lie within its whole, and as [`Axis::new`].
    pub fn window(pixels: u32, crop: Range<u32>, cells: u32, place: Range<u32>, flip: bool) -> Result<Self, RleError> {
        if crop.is_empty() || place.is_empty() || crop.end > pixels || place.end > cells {
            return Err(RleError::Axis);
        }
        let scale = (u64::from(place.end - place.start), u64::from(crop.end - crop.start));
        Self::build((pixels, crop), (cells, place), scale, flip)
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
        // 2^31 parts by 2^32 pixels and twice that for the centres stay within u64.
        if den >= MAX_DENOMINATOR || num >= MAX_DENOMINATOR {
            return Err(RleError::Axis);
        }
        let most = u64::from(place.end - place.start);
        // By the distance from the window's beginning as it is seen on the grid. A cell and its part advance without
        // a division.
        let mut steps = Vec::with_capacity((crop.end - crop.start) as usize + 1);
        let (mut bound, mut centre) = (Fraction::new(num, den), Fraction::new(2 * num, den));
        for _ in crop.start..=crop.end {
            let (cell, part) = if bound.whole >= most { (most, 0) } else { (bound.whole, bound.part) };
            // Cell c's centre (2c+1)/2 lies before boundary t where (2c+1) * den < 2 * t * num.
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

    /// Parts a cell is divided into.
    pub(super) fn den(&self) -> u64 {
        self.den
    }

    /// Whether later pixels fall on earlier cells.
    pub(super) fn is_flipped(&self) -> bool {
        self.flipped
    }

    /// Where the pixels `from..to` begin and end on the grid: cells, and parts of them.
    #[inline]
    pub(super) fn span(&self, from: u32, to: u32) -> [(usize, i64); 2] {
        let bound = |t: u32| {
            let (cell, part) = self.bounds[t as usize];
            (cell as usize, i64::from(part))
        };
        if self.flipped { [bound(to), bound(from)] } else { [bound(from), bound(to)] }
    }

    /// The cells, from the first to before the last, that have their centre in one of the pixels `from..to`.
    #[inline]
    pub(super) fn centres(&self, from: u32, to: u32) -> (u32, u32) {
        let [from, to] = [from, to].map(|t| self.centres_before[t as usize]);
        if self.flipped { (to, from) } else { (from, to) }
    }

    /// Calls `f(cell, parts)` for each cell that pixel `x` overlaps.
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

/// A multiple of a fraction: `whole` and `part` / den.
struct Fraction {
    whole: u64,
    part: u64,
    den: u64,
    /// What is added.
    step: (u64, u64),
}

impl Fraction {
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

//! Where the pixels of one image axis fall on the cells of a grid. Comes in: pixel count, cell count and an exact
//! rational scale. Goes out: look-up tables shared by all masks of an image. Fails on empty axes and on scales beyond
//! exact arithmetic.

use super::RleError;

/// Longest axis in pixels: bounds the tables, 12 bytes a pixel.
const MAX_PIXELS: u32 = 1 << 22;
/// Largest denominator: its square, the weight of a full cell, fits an `i64`.
const MAX_DENOMINATOR: u64 = 1 << 31;

/// One axis of a [`Grid`](super::Grid): pixel boundary `t` of the image lies at `t * num / den` cells. What falls past
/// the last cell is cropped, cells that no pixel reaches stay empty.
#[derive(Clone, Debug)]
pub struct Axis {
    pixels: u32,
    cells: u32,
    /// Parts of a cell: boundaries lie at whole multiples of 1/den.
    den: u64,
    /// For each pixel boundary `0..=pixels`: the cell it lies in, and how many parts into it.
    bounds: Vec<(u32, u32)>,
    /// For each pixel boundary `0..=pixels`: how many cells have their centre's pixel before it.
    centres_before: Vec<u32>,
}

impl Axis {
    /// An axis of `pixels` pixels on `cells` cells at the scale `num / den` cells a pixel.
    ///
    /// # Errors
    /// [`RleError::Axis`] if any argument is 0, `pixels` exceeds 2^22, or the reduced fraction is too fine for exact
    /// 64-bit sums.
    pub fn new(pixels: u32, cells: u32, num: u64, den: u64) -> Result<Self, RleError> {
        if num == 0 || den == 0 || pixels == 0 || cells == 0 || pixels > MAX_PIXELS {
            return Err(RleError::Axis);
        }
        let gcd = gcd(num, den);
        let (num, den) = (num / gcd, den / gcd);
        // 2^31 parts by 2^32 pixels and twice that for the centres stay within u64.
        if den >= MAX_DENOMINATOR || num >= MAX_DENOMINATOR {
            return Err(RleError::Axis);
        }
        let bound = |t: u64| {
            let position = t * num;
            let cell = position / den;
            if cell >= u64::from(cells) { (cells, 0) } else { (cell as u32, (position % den) as u32) }
        };
        let bounds = (0..=u64::from(pixels)).map(bound).collect();
        // Cell c's centre (2c+1)/2 lies before boundary t where (2c+1) * den < 2 * t * num.
        let before = |t: u64| ((2 * t * num).div_ceil(den) / 2).min(u64::from(cells)) as u32;
        let centres_before = (0..=u64::from(pixels)).map(before).collect();
        Ok(Self { pixels, cells, den, bounds, centres_before })
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

    /// The cell and the part of it at which pixel boundary `t` lies.
    #[inline]
    pub(super) fn bound(&self, t: u32) -> (usize, i64) {
        let (cell, part) = self.bounds[t as usize];
        (cell as usize, i64::from(part))
    }

    /// How many cells have their centre in a pixel before boundary `t`.
    #[inline]
    pub(super) fn centres_before(&self, t: u32) -> usize {
        self.centres_before[t as usize] as usize
    }

    /// Calls `f(cell, parts)` for each cell that pixel `x` overlaps.
    #[inline]
    pub(super) fn for_each_cell(&self, x: u32, mut f: impl FnMut(usize, i64)) {
        let (first, from) = self.bound(x);
        let (last, to) = self.bound(x + 1);
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

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

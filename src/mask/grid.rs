//! Runs -> any grid, without the full-size bitmap. Comes in: an [`Rle`] and the grid made for its image. Goes out:
//! bytes or shares, row by row, every cell written. Fails if mask, grid and buffer do not fit each other.
//!
//! # How
//!
//! By area: cut each run into column segments. The pixels `0..t` of a column cover all of the cells above the one in
//! which boundary `t` lies, and a part of that one; as a function of the row this is a step whose difference has two
//! entries. So a segment adds four numbers per column of cells to an array of differences, weighted by how much of that
//! column the pixel column covers, and one running sum down the rows gives every cell's area. All numbers are whole
//! multiples of 1/(den_x * den_y) of a cell, hence exact.
//!
//! By nearest centre: only pixel columns that hold a cell's centre count. A segment toggles the first cell below its
//! start and the first below its end; a running XOR down the rows fills what lies between.
//!
//! Both cost O(segments) and O(cells in the mask's box).

use std::ops::{AddAssign, Mul};

use super::{Axis, Rle, RleError, rle::check_len};

/// A target grid for the masks of one image: where its pixel columns and rows fall on the cells.
#[derive(Clone, Debug)]
pub struct Grid {
    pub(super) x: Axis,
    pub(super) y: Axis,
}

/// Memory that [`Grid`]'s area sums use again from mask to mask.
#[derive(Clone, Debug, Default)]
pub struct GridScratch {
    /// For grids whose sums fit 32 bits, which is nearly all.
    narrow: Sums<i32>,
    wide: Sums<i64>,
}

/// Sums in parts of a cell.
#[derive(Clone, Debug, Default)]
struct Sums<N> {
    /// Differences, row by row; all zero between calls.
    differences: Vec<N>,
    /// The running sum of each column.
    running: Vec<N>,
}

/// Cells touched so far: columns `left..right`, rows `top..bottom`.
struct Touched {
    left: usize,
    right: usize,
    top: usize,
    bottom: usize,
}

impl Grid {
    /// A grid over two axes.
    pub fn new(x: Axis, y: Axis) -> Self {
        Self { x, y }
    }

    /// The whole image of `height` x `width` pixels on `rows` x `columns` cells.
    ///
    /// # Errors
    /// [`RleError::Axis`] if any side is 0 or too large.
    pub fn stretch(height: u32, width: u32, rows: u32, columns: u32) -> Result<Self, RleError> {
        let axis = |pixels: u32, cells: u32| Axis::new(pixels, cells, u64::from(cells), u64::from(pixels));
        Ok(Self::new(axis(width, columns)?, axis(height, rows)?))
    }

    /// Rows of cells.
    pub fn rows(&self) -> usize {
        self.y.cells() as usize
    }

    /// Columns of cells.
    pub fn columns(&self) -> usize {
        self.x.cells() as usize
    }

    /// Draws the mask as 0 and 1: a cell takes the value of the pixel in which its centre lies. `out` is row-major. On
    /// a grid as large as the image this is the row-major bitmap.
    ///
    /// # Errors
    /// [`RleError::Size`] if the mask is not of the grid's image size, or `out` not rows x columns.
    pub fn nearest(&self, mask: &Rle, out: &mut [u8]) -> Result<(), RleError> {
        self.check_mask(mask)?;
        check_len(self.rows() as u64 * self.columns() as u64, out.len())?;
        out.fill(0);
        let (columns, rows) = (self.columns(), self.rows());
        let mut touched = Touched::none();
        mask.for_each_segment(|x, y0, y1| {
            let ((left, right), (top, bottom)) = (self.x.centres(x, x + 1), self.y.centres(y0, y1));
            if left == right || top == bottom {
                return;
            }
            let [left, right, top, bottom] = [left, right, top, bottom].map(|cell| cell as usize);
            touched.add(left, right, top, bottom);
            for column in left..right {
                out[top * columns + column] ^= 1;
                if bottom < rows {
                    out[bottom * columns + column] ^= 1;
                }
            }
        });
        // The row below the box holds the closing toggles and turns to zero.
        for row in touched.top + 1..(touched.bottom + 1).min(rows) {
            let (above, here) = out[(row - 1) * columns..(row + 1) * columns].split_at_mut(columns);
            for (here, above) in here[touched.left..touched.right].iter_mut().zip(&above[touched.left..touched.right]) {
                *here ^= above;
            }
        }
        Ok(())
    }

    /// Draws the mask as the share of each cell that it covers, 0 to 255, rounded. `out` is row-major.
    ///
    /// # Errors
    /// As [`Grid::nearest`].
    pub fn area(&self, mask: &Rle, scratch: &mut GridScratch, out: &mut [u8]) -> Result<(), RleError> {
        let scale = 255.0 / self.cell_weight();
        // Halves go up: sums are whole, so that a value is a half or further from one than the bias.
        self.sum_areas(mask, scratch, out, |sum| (sum * scale + (0.5 + 1e-10)) as u8)
    }

    /// Draws the mask as the exact share of each cell that it covers, 0 to 1. `out` is row-major.
    ///
    /// # Errors
    /// As [`Grid::nearest`].
    pub fn coverage(&self, mask: &Rle, scratch: &mut GridScratch, out: &mut [f32]) -> Result<(), RleError> {
        let full = self.cell_weight();
        self.sum_areas(mask, scratch, out, |sum| (sum / full) as f32)
    }

    fn cell_weight(&self) -> f64 {
        (self.x.den() * self.y.den()) as f64
    }

    fn sum_areas<T: Copy + Default>(
        &self,
        mask: &Rle,
        scratch: &mut GridScratch,
        out: &mut [T],
        finish: impl Fn(f64) -> T,
    ) -> Result<(), RleError> {
        self.check_mask(mask)?;
        check_len(self.rows() as u64 * self.columns() as u64, out.len())?;
        out.fill(T::default());
        // Differences lie within twice a full cell's weight, either way.
        if self.x.den() * self.y.den() < 1 << 30 {
            self.sum_areas_in(mask, &mut scratch.narrow, out, |part| part as i32, |sum| finish(sum.into()));
        } else {
            self.sum_areas_in(mask, &mut scratch.wide, out, |part| part, |sum| finish(sum as f64));
        }
        Ok(())
    }

    /// [`Grid::sum_areas`] in numbers of type `N`, on cells that are all zero.
    fn sum_areas_in<N, T>(
        &self,
        mask: &Rle,
        sums: &mut Sums<N>,
        out: &mut [T],
        number: impl Fn(i64) -> N,
        finish: impl Fn(N) -> T,
    ) where
        N: Copy + Default + AddAssign + Mul<Output = N>,
    {
        let (columns, rows) = (self.columns(), self.rows());
        // Two rows more: the entries of a boundary on the grid's lower edge.
        let Sums { differences, running } = sums;
        differences.resize((rows + 2) * columns, N::default());
        let full = self.y.den() as i64;
        let mut touched = Touched::none();
        mask.for_each_segment(|x, y0, y1| {
            let [(top, from), (bottom, to)] = self.y.span(y0, y1);
            if (top, from) == (bottom, to) {
                return;
            }
            let parts = [full - from, from, to - full, -to].map(&number);
            let starts = [top, top + 1, bottom, bottom + 1].map(|row| row * columns);
            self.x.for_each_cell(x, |column, weight| {
                touched.add(column, column + 1, top, (bottom + 1).min(rows));
                let weight = number(weight);
                for (start, part) in starts.into_iter().zip(parts) {
                    differences[start + column] += part * weight;
                }
            });
        });
        running.clear();
        running.resize(columns, N::default());
        // One row below the box may hold entries that close it: they are cleared, not summed.
        for row in touched.top..(touched.bottom + 2).min(rows + 2) {
            let span = row * columns + touched.left..row * columns + touched.right;
            let differences = &mut differences[span.clone()];
            if row < touched.bottom {
                let running = &mut running[touched.left..touched.right];
                for ((difference, sum), cell) in differences.iter().zip(running).zip(&mut out[span]) {
                    *sum += *difference;
                    *cell = finish(*sum);
                }
            }
            differences.fill(N::default());
        }
    }

    pub(super) fn check_mask(&self, mask: &Rle) -> Result<(), RleError> {
        for (axis, found) in [(&self.x, mask.width()), (&self.y, mask.height())] {
            check_len(u64::from(axis.pixels()), found as usize)?;
        }
        Ok(())
    }
}

impl Touched {
    fn none() -> Self {
        Self { left: usize::MAX, right: 0, top: usize::MAX - 1, bottom: 0 }
    }

    #[inline]
    fn add(&mut self, left: usize, right: usize, top: usize, bottom: usize) {
        self.left = self.left.min(left);
        self.right = self.right.max(right);
        self.top = self.top.min(top);
        self.bottom = self.bottom.max(bottom);
    }
}

//! [`Grid`]: draws masks on a grid of any size without the full-size bitmap.
//!
//! A mask is drawn by nearest pixel centre (0 or 1), or by the exact area of each cell that it covers (0 to 255, or 0
//! to 1). Every cell of the row-major output is written. It is an error if mask, grid and buffer do not match in size.
//!
//! # Algorithm
//!
//! By area: each run is cut into segments, one per pixel column. Rows `0..t` of a pixel column cover every cell above
//! the one that contains boundary `t`, and a fraction of that cell. As a function of the row, this is a step whose
//! differences have two nonzero entries. A segment therefore adds four numbers per column of cells to an array of
//! differences, weighted by the fraction of the cells' width that the pixel column covers. A running sum down the rows
//! then gives the area of every cell. All numbers are integer multiples of 1 / (den_x * den_y) of a cell, so the sums
//! are exact.
//!
//! By nearest centre: only pixel columns that contain a cell's centre matter. A segment toggles the first cell below
//! its start and the first below its end, and a running XOR down the rows fills the cells in between. This is done on
//! bits, 64 cells to a word, which are then expanded to bytes.
//!
//! Every byte of the output is written once, from front to back: at the size of an image, that is what takes the time.
//!
//! Both take time proportional to the number of segments plus the number of cells in the mask's bounding box.

use std::ops::{AddAssign, Mul};

use super::cell_bits::CellBits;
use super::cell_rect::{CellBounds, CellRect};
use super::{Axis, Rle, RleError, rle::check_len};

/// A grid of cells on which the masks of one image are drawn: one [`Axis`] across and one down.
#[derive(Clone, Debug)]
pub struct Grid {
    pub(super) x: Axis,
    pub(super) y: Axis,
}

/// Reusable buffers for drawing masks.
#[derive(Clone, Debug, Default)]
pub struct GridScratch {
    bits: CellBits,
    /// For grids whose sums fit 32 bits, which is nearly all of them.
    narrow: Accumulator<i32>,
    wide: Accumulator<i64>,
}

/// Areas, in parts of a cell.
#[derive(Clone, Debug, Default)]
struct Accumulator<N> {
    /// Differences between the rows, row-major; all zero between calls.
    differences: Vec<N>,
    /// The running sum of each column of cells.
    running: Vec<N>,
}

impl Grid {
    /// Combines two axes into a grid.
    pub fn new(x: Axis, y: Axis) -> Self {
        Self { x, y }
    }

    /// Maps the whole image of `height` x `width` pixels to `rows` x `columns` cells.
    ///
    /// # Errors
    /// Returns [`RleError::Axis`] if a side is 0 or too large.
    ///
    /// ```
    /// use maskstream::mask::{Grid, GridScratch, Rle};
    ///
    /// // The left half of an image of 4 x 4 pixels, on 2 x 2 cells.
    /// let mask = Rle::from_runs(vec![0, 8, 8], 4, 4)?;
    /// let mut cells = [9; 4];
    /// Grid::stretch(4, 4, 2, 2)?.nearest(&mask, &mut GridScratch::default(), &mut cells)?;
    /// assert_eq!(cells, [1, 0, 1, 0]);
    /// # Ok::<(), maskstream::mask::RleError>(())
    /// ```
    pub fn stretch(height: u32, width: u32, rows: u32, columns: u32) -> Result<Self, RleError> {
        let axis = |pixels: u32, cells: u32| Axis::new(pixels, cells, u64::from(cells), u64::from(pixels));
        Ok(Self::new(axis(width, columns)?, axis(height, rows)?))
    }

    /// Number of rows of cells.
    pub fn rows(&self) -> usize {
        self.y.cells() as usize
    }

    /// Number of columns of cells.
    pub fn columns(&self) -> usize {
        self.x.cells() as usize
    }

    /// Draws the mask as 0 and 1: each cell takes the value of the pixel that contains its centre. `out` is row-major.
    /// On a grid of the image's own size this is the row-major bitmap.
    ///
    /// # Errors
    /// Returns [`RleError::Size`] if the mask does not have the size of the grid's image, or if the length of `out` is
    /// not rows x columns.
    pub fn nearest(&self, mask: &Rle, scratch: &mut GridScratch, out: &mut [u8]) -> Result<(), RleError> {
        self.draw_nearest(mask, scratch, out).map(|_| ())
    }

    /// Draws the mask as [`Grid::nearest`] does, but never loses it: if it covers no cell's centre, the cell that it
    /// covers most is 1, the first of them in row-major order. Only a mask without pixels on the grid stays empty.
    ///
    /// # Errors
    /// Same as [`Grid::nearest`].
    ///
    /// ```
    /// use maskstream::mask::{Grid, GridScratch, Rle};
    ///
    /// // The second row of an image of 8 x 8 pixels, on 2 x 2 cells, whose centres lie in other rows.
    /// let mask = Rle::from_box([0.0, 1.0, 8.0, 1.0], 8, 8)?;
    /// let grid = Grid::stretch(8, 8, 2, 2)?;
    /// let mut cells = [9; 4];
    /// grid.nearest(&mask, &mut GridScratch::default(), &mut cells)?;
    /// assert_eq!(cells, [0, 0, 0, 0]);
    /// grid.nearest_or_best(&mask, &mut GridScratch::default(), &mut cells)?;
    /// assert_eq!(cells, [1, 0, 0, 0]);
    /// # Ok::<(), maskstream::mask::RleError>(())
    /// ```
    pub fn nearest_or_best(&self, mask: &Rle, scratch: &mut GridScratch, out: &mut [u8]) -> Result<(), RleError> {
        if self.draw_nearest(mask, scratch, out)?.is_empty() {
            self.set_best_cell(mask, scratch, out)?;
        }
        Ok(())
    }

    /// Draws the mask as [`Grid::nearest`] does, one bit per cell. The first cell of a byte is its highest bit, and
    /// each row is padded with zero bits to whole bytes, as by [`Rle::write_packed`] and `numpy.packbits(cells,
    /// axis=1)`. [`unpack_rows`](super::unpack_rows) is the opposite.
    ///
    /// # Errors
    /// Returns [`RleError::Size`] if the mask does not have the size of the grid's image, or if the length of `out` is
    /// not rows x ceil(columns / 8).
    ///
    /// ```
    /// use maskstream::mask::{Grid, GridScratch, Rle};
    ///
    /// // The left half of an image of 4 x 4 pixels, on 2 x 2 cells.
    /// let mask = Rle::from_runs(vec![0, 8, 8], 4, 4)?;
    /// let mut bits = [9; 2];
    /// Grid::stretch(4, 4, 2, 2)?.nearest_packed(&mask, &mut GridScratch::default(), &mut bits)?;
    /// assert_eq!(bits, [0b1000_0000, 0b1000_0000]);
    /// # Ok::<(), maskstream::mask::RleError>(())
    /// ```
    pub fn nearest_packed(&self, mask: &Rle, scratch: &mut GridScratch, out: &mut [u8]) -> Result<(), RleError> {
        self.draw_packed(mask, scratch, out).map(|_| ())
    }

    /// Draws the mask as [`Grid::nearest_or_best`] does, one bit per cell, as [`Grid::nearest_packed`] does.
    ///
    /// # Errors
    /// Same as [`Grid::nearest_packed`].
    pub fn nearest_or_best_packed(
        &self,
        mask: &Rle,
        scratch: &mut GridScratch,
        out: &mut [u8],
    ) -> Result<(), RleError> {
        if self.draw_packed(mask, scratch, out)?.is_empty()
            && let Some((row, column)) = self.best_cell(mask, scratch)?
        {
            out[row * self.columns().div_ceil(8) + column / 8] = 0x80 >> (column % 8);
        }
        Ok(())
    }

    /// [`Grid::nearest`]; returns a rectangle that holds all cells that are 1, empty if there is none.
    fn draw_nearest(&self, mask: &Rle, scratch: &mut GridScratch, out: &mut [u8]) -> Result<CellRect, RleError> {
        self.check_mask(mask)?;
        check_len(self.rows() as u64 * self.columns() as u64, out.len())?;
        let rect = self.toggle_centres(mask, &mut scratch.bits);
        scratch.bits.write_bytes(rect, self.columns(), out);
        Ok(rect)
    }

    /// [`Grid::nearest_packed`]; returns a rectangle that holds all cells that are 1, empty if there is none.
    fn draw_packed(&self, mask: &Rle, scratch: &mut GridScratch, out: &mut [u8]) -> Result<CellRect, RleError> {
        self.check_mask(mask)?;
        check_len(self.rows() as u64 * self.columns().div_ceil(8) as u64, out.len())?;
        let rect = self.toggle_centres(mask, &mut scratch.bits);
        scratch.bits.write_packed(rect, self.columns(), out);
        Ok(rect)
    }

    /// Toggles the cells whose centres lie in the mask; returns a rectangle that holds them.
    fn toggle_centres(&self, mask: &Rle, bits: &mut CellBits) -> CellRect {
        bits.begin(self.rows(), self.columns());
        let mut bounds = CellBounds::new();
        let mut toggle = |(left, right): (u32, u32), (top, bottom): (u32, u32)| {
            if top < bottom {
                let [left, right, top, bottom] = [left, right, top, bottom].map(|cell| cell as usize);
                bounds.include(left, right, top, bottom);
                (left..right).for_each(|column| bits.toggle(column, top, bottom));
            }
        };
        mask.for_each_segment(|x, y0, y1| {
            // Where pixels are smaller than cells, most columns of pixels have no centre.
            let columns = self.x.centres(x, x + 1);
            if columns.0 < columns.1 {
                toggle(columns, self.y.centres(y0, y1));
            }
        });
        bounds.rect()
    }

    /// Draws the fraction of each cell that the mask covers, scaled to 0 to 255 and rounded. `out` is row-major.
    ///
    /// # Errors
    /// Same as [`Grid::nearest`].
    ///
    /// ```
    /// use maskstream::mask::{Grid, GridScratch, Rle};
    ///
    /// // The leftmost column of an image of 4 x 4 pixels covers half of each cell on the left.
    /// let mask = Rle::from_runs(vec![0, 4, 12], 4, 4)?;
    /// let mut cells = [9; 4];
    /// Grid::stretch(4, 4, 2, 2)?.area(&mask, &mut GridScratch::default(), &mut cells)?;
    /// assert_eq!(cells, [128, 0, 128, 0]);
    /// # Ok::<(), maskstream::mask::RleError>(())
    /// ```
    pub fn area(&self, mask: &Rle, scratch: &mut GridScratch, out: &mut [u8]) -> Result<(), RleError> {
        self.draw_area(mask, scratch, out).map(|_| ())
    }

    /// Draws the mask as [`Grid::area`] does, but never loses it: if it rounds to 0 in every cell, the cell that it
    /// covers most is 1, the first of them in row-major order. Only a mask without pixels on the grid stays empty.
    ///
    /// # Errors
    /// Same as [`Grid::nearest`].
    pub fn area_or_best(&self, mask: &Rle, scratch: &mut GridScratch, out: &mut [u8]) -> Result<(), RleError> {
        let dirty = self.draw_area(mask, scratch, out)?;
        let mut rows = (dirty.top..dirty.bottom).map(|row| row * self.columns());
        if rows.all(|start| out[start + dirty.left..start + dirty.right].iter().all(|&cell| cell == 0)) {
            self.set_best_cell(mask, scratch, out)?;
        }
        Ok(())
    }

    /// [`Grid::area`]; returns the cells that it has changed.
    fn draw_area(&self, mask: &Rle, scratch: &mut GridScratch, out: &mut [u8]) -> Result<CellRect, RleError> {
        let scale = 255.0 / self.cell_weight();
        // Halves round up. The sums are integers, so a value that is not a half differs from one by more than 1e-10.
        self.sum_areas(mask, scratch, out, |sum| (sum * scale + (0.5 + 1e-10)) as u8)
    }

    /// Sets the first cell of those that the mask covers most to 1.
    fn set_best_cell(&self, mask: &Rle, scratch: &mut GridScratch, out: &mut [u8]) -> Result<(), RleError> {
        if let Some((row, column)) = self.best_cell(mask, scratch)? {
            out[row * self.columns() + column] = 1;
        }
        Ok(())
    }

    /// Row and column of the first cell of those that the mask covers most; `None` if it covers none.
    fn best_cell(&self, mask: &Rle, scratch: &mut GridScratch) -> Result<Option<(usize, usize)>, RleError> {
        let (mut most, mut best, mut visited) = (0.0, None, 0);
        // Cells of no size: the sums are only compared. They come row by row.
        let mut cells = vec![(); self.rows() * self.columns()];
        let dirty = self.sum_areas(mask, scratch, &mut cells, |sum| {
            if sum > most {
                (most, best) = (sum, Some(visited));
            }
            visited += 1;
        })?;
        let width = dirty.right - dirty.left;
        Ok(best.map(|best| (dirty.top + best / width, dirty.left + best % width)))
    }

    /// Draws the exact fraction of each cell that the mask covers, 0 to 1. `out` is row-major.
    ///
    /// # Errors
    /// Same as [`Grid::nearest`].
    ///
    /// ```
    /// use maskstream::mask::{Grid, GridScratch, Rle};
    ///
    /// let mask = Rle::from_runs(vec![0, 4, 12], 4, 4)?;
    /// let mut coverage = [9.0; 4];
    /// Grid::stretch(4, 4, 2, 2)?.coverage(&mask, &mut GridScratch::default(), &mut coverage)?;
    /// assert_eq!(coverage, [0.5, 0.0, 0.5, 0.0]);
    /// # Ok::<(), maskstream::mask::RleError>(())
    /// ```
    pub fn coverage(&self, mask: &Rle, scratch: &mut GridScratch, out: &mut [f32]) -> Result<(), RleError> {
        let full = self.cell_weight();
        self.sum_areas(mask, scratch, out, |sum| (sum / full) as f32).map(|_| ())
    }

    fn cell_weight(&self) -> f64 {
        (self.x.den() * self.y.den()) as f64
    }

    /// Writes the covered area of each cell, as `finish` converts it; returns the cells for which it was called.
    fn sum_areas<T: Copy + Default>(
        &self,
        mask: &Rle,
        scratch: &mut GridScratch,
        out: &mut [T],
        mut finish: impl FnMut(f64) -> T,
    ) -> Result<CellRect, RleError> {
        self.check_mask(mask)?;
        check_len(self.rows() as u64 * self.columns() as u64, out.len())?;
        // The absolute value of a difference is at most twice the weight of a full cell.
        Ok(if self.x.den() * self.y.den() < 1 << 30 {
            self.sum_areas_in(mask, &mut scratch.narrow, out, |part| part as i32, |sum| finish(sum.into()))
        } else {
            self.sum_areas_in(mask, &mut scratch.wide, out, |part| part, |sum| finish(sum as f64))
        })
    }

    /// [`Grid::sum_areas`] with numbers of type `N`.
    fn sum_areas_in<N, T>(
        &self,
        mask: &Rle,
        accumulator: &mut Accumulator<N>,
        out: &mut [T],
        number: impl Fn(i64) -> N,
        mut finish: impl FnMut(N) -> T,
    ) -> CellRect
    where
        N: Copy + Default + AddAssign + Mul<Output = N>,
        T: Copy + Default,
    {
        let (columns, rows) = (self.columns(), self.rows());
        // Two extra rows for the entries of boundaries on the lower edge of the grid.
        let Accumulator { differences, running } = accumulator;
        differences.resize((rows + 2) * columns, N::default());
        let full = self.y.den() as i64;
        let mut bounds = CellBounds::new();
        mask.for_each_segment(|x, y0, y1| {
            let [(top, from), (bottom, to)] = self.y.span(y0, y1);
            if (top, from) == (bottom, to) {
                return;
            }
            let parts = [full - from, from, to - full, -to].map(&number);
            let starts = [top, top + 1, bottom, bottom + 1].map(|row| row * columns);
            self.x.for_each_cell(x, |column, weight| {
                bounds.include(column, column + 1, top, (bottom + 1).min(rows));
                let weight = number(weight);
                for (start, part) in starts.into_iter().zip(parts) {
                    differences[start + column] += part * weight;
                }
            });
        });
        let dirty = bounds.rect();
        running.clear();
        running.resize(columns, N::default());
        let span = |row: usize| row * columns + dirty.left..row * columns + dirty.right;
        dirty.fill_around(columns, out, |row, cells| {
            let differences = &mut differences[span(row)];
            let running = &mut running[dirty.left..dirty.right];
            for ((difference, sum), cell) in differences.iter().zip(running).zip(cells) {
                *sum += *difference;
                *cell = finish(*sum);
            }
            differences.fill(N::default());
        });
        // The rows below the rectangle may hold closing entries, which are not summed.
        for row in dirty.bottom..(dirty.bottom + 2).min(rows + 2) {
            differences[span(row)].fill(N::default());
        }
        dirty
    }

    pub(super) fn check_mask(&self, mask: &Rle) -> Result<(), RleError> {
        for (axis, found) in [(&self.x, mask.width()), (&self.y, mask.height())] {
            check_len(u64::from(axis.pixels()), found as usize)?;
        }
        Ok(())
    }
}

//! Transforms of masks without a bitmap: crop, pad, flip, transpose, resize and resample.
//!
//! The result equals that of the same transform on the full bitmap. Windows outside the image and results with a side
//! beyond 2^22 pixels are errors.

use super::blocks::Block;
use super::builder::Builder;
use super::rows::ColumnToggles;
use super::runs::check_sides;
use super::{Grid, Rle, RleError};

/// Largest number of pixels that differ from their left neighbour in a mask to be transposed; they take 4 GB of memory.
const MAX_TOGGLES: u64 = 1 << 28;

impl Rle {
    /// Crops the image to `width` x `height` pixels, starting at column `x` and row `y`.
    ///
    /// # Errors
    /// Returns [`RleError::Window`] if the window exceeds the image, and [`RleError::Image`] if a side exceeds 2^22
    /// pixels.
    ///
    /// ```
    /// use maskstream::mask::Rle;
    ///
    /// let mask = Rle::from_runs(vec![9, 2, 2, 2, 9], 4, 6)?;
    /// let part = mask.crop(2, 1, 2, 2)?;
    /// assert_eq!(part.runs(), [0, 4]);
    /// assert_eq!(part.pad(2, 1, 2, 1)?, mask);
    /// # Ok::<(), maskstream::mask::RleError>(())
    /// ```
    pub fn crop(&self, x: u32, y: u32, width: u32, height: u32) -> Result<Self, RleError> {
        let inside = |from: u32, size: u32, whole: u32| from.checked_add(size).is_some_and(|end| end <= whole);
        if !inside(x, width, self.width()) || !inside(y, height, self.height()) {
            return Err(RleError::Window { window: [x, y, width, height], size: [self.height(), self.width()] });
        }
        check_sides(self.height(), self.width())?;
        let mut runs = Builder::new(height, width)?;
        let (right, lowest) = (x + width, y + height);
        self.for_each_segment(|column, top, bottom| {
            let (top, bottom) = (top.max(y), bottom.min(lowest));
            if (x..right).contains(&column) && top < bottom {
                runs.push_segment(column - x, top - y, bottom - y);
            }
        });
        Ok(runs.finish())
    }

    /// Pads the image with columns and rows of background.
    ///
    /// # Errors
    /// Returns [`RleError::Image`] if a side of the result exceeds 2^22 pixels.
    pub fn pad(&self, left: u32, top: u32, right: u32, bottom: u32) -> Result<Self, RleError> {
        let grown = |size: u32, a: u32, b: u32| size.saturating_add(a).saturating_add(b);
        let (height, width) = (grown(self.height(), top, bottom), grown(self.width(), left, right));
        // A sum that saturated exceeds the limit and is refused here, as is a larger image.
        let mut runs = Builder::new(height, width)?;
        self.for_each_segment(|x, from, to| runs.push_segment(x + left, from + top, to + top));
        Ok(runs.finish())
    }

    /// Mirrors the image: left and right are exchanged.
    pub fn flip_horizontal(&self) -> Self {
        let mut runs = Builder::like(self, self.runs().len() + 2);
        for column in by_column(&self.blocks()).rev() {
            for block in column {
                runs.push_block(self.width() - block.x1, self.width() - block.x0, block.y0, block.y1);
            }
        }
        runs.finish()
    }

    /// Flips the image upside down: top and bottom are exchanged.
    ///
    /// ```
    /// use maskstream::mask::Rle;
    ///
    /// let mask = Rle::from_row_major(&[1, 1, 0, 1, 0, 0], 2, 3)?;
    /// assert_eq!(mask.flip_vertical().to_row_major()?, [1, 0, 0, 1, 1, 0]);
    /// assert_eq!(mask.flip_horizontal().to_row_major()?, [0, 1, 1, 0, 0, 1]);
    /// assert_eq!(mask.transpose()?.to_row_major()?, [1, 1, 1, 0, 0, 0]);
    /// # Ok::<(), maskstream::mask::RleError>(())
    /// ```
    pub fn flip_vertical(&self) -> Self {
        let mut runs = Builder::like(self, self.runs().len() + 2);
        for column in by_column(&self.blocks()) {
            for block in column.iter().rev() {
                runs.push_block(block.x0, block.x1, self.height() - block.y1, self.height() - block.y0);
            }
        }
        runs.finish()
    }

    /// Exchanges rows and columns. Uses memory in proportion to the number of pixels that differ from their left
    /// neighbour.
    ///
    /// # Errors
    /// Returns [`RleError::Image`] if a side exceeds 2^22 pixels, or if there are more than 2^28 such pixels.
    pub fn transpose(&self) -> Result<Self, RleError> {
        // The pixels that differ from their left neighbour are where the rows toggle.
        let toggles = self.xor(&self.shift_right(1)?)?;
        if toggles.area() > MAX_TOGGLES {
            return Err(RleError::Image { height: self.height(), width: self.width() });
        }
        let mut lines = ColumnToggles::with_capacity(self.width(), self.height(), toggles.area() as usize);
        toggles.for_each_segment(|x, top, bottom| (top..bottom).for_each(|y| lines.push(y, x)));
        lines.into_rle()
    }

    /// Resizes the image to `height` x `width` pixels by nearest neighbour: each pixel takes the value of the old pixel
    /// that contains its centre.
    ///
    /// # Errors
    /// Returns [`RleError::Axis`] if a side of this image is 0 or exceeds 2^22 pixels or if a side of the result is 0,
    /// and [`RleError::Image`] if a side of the result exceeds 2^22.
    ///
    /// ```
    /// use maskstream::mask::Rle;
    ///
    /// let mask = Rle::from_runs(vec![9, 2, 2, 2, 9], 4, 6)?;
    /// assert_eq!(mask.resize(8, 12)?.bbox(), [4, 2, 4, 4]);
    /// # Ok::<(), maskstream::mask::RleError>(())
    /// ```
    pub fn resize(&self, height: u32, width: u32) -> Result<Self, RleError> {
        Grid::stretch(self.height(), self.width(), height, width)?.resample(self)
    }

    /// Shifts the mask to the right by whole columns; pixels that leave the image are dropped.
    pub(super) fn shift_right(&self, columns: u32) -> Result<Self, RleError> {
        let mut runs = Builder::with_capacity(self.height(), self.width(), self.runs().len() + 2)?;
        let shift = u64::from(columns) * u64::from(self.height());
        let end = self.pixels();
        self.for_each_span(|from, to| {
            if from + shift < end {
                runs.push(from + shift, (to + shift).min(end));
            }
        });
        Ok(runs.finish())
    }
}

impl Grid {
    /// Draws the mask as [`Grid::nearest`] does and returns the result as a mask of rows x columns pixels.
    ///
    /// # Errors
    /// Returns [`RleError::Size`] if the mask does not have the size of the grid's image, and [`RleError::Image`] if
    /// the grid has more than 2^22 rows or columns.
    pub fn resample(&self, mask: &Rle) -> Result<Rle, RleError> {
        self.check_mask(mask)?;
        let mut runs = Builder::new(self.y.cells(), self.x.cells())?;
        let mut rows = Vec::new();
        let mut draw = |column: &[Block]| {
            let (left, right) = column.first().map_or((0, 0), |block| self.x.centres(block.x0, block.x1));
            rows.clear();
            if left < right {
                rows.extend(column.iter().map(|b| self.y.centres(b.y0, b.y1)).filter(|(top, bottom)| top < bottom));
                rows.sort_unstable();
            }
            for x in left..right {
                rows.iter().for_each(|&(top, bottom)| runs.push_segment(x, top, bottom));
            }
        };
        let blocks = mask.blocks();
        if self.x.is_flipped() {
            by_column(&blocks).rev().for_each(&mut draw);
        } else {
            by_column(&blocks).for_each(&mut draw);
        }
        Ok(runs.finish())
    }
}

/// Groups the blocks by column. A block of several columns, which is as high as the image, is a group of its own.
fn by_column(blocks: &[Block]) -> impl DoubleEndedIterator<Item = &[Block]> {
    blocks.chunk_by(|a, b| a.x0 == b.x0)
}

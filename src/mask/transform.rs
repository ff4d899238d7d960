//! Masks moved, mirrored and resized without a bitmap. Comes in: a mask, or a mask and a grid. Goes out: another mask,
//! equal to what the same change makes of the full bitmap. Fails on windows outside the image and on sizes beyond
//! reason.

use super::blocks::Block;
use super::builder::{Builder, check_sides};
use super::rows::LineToggles;
use super::{Grid, Rle, RleError};

/// Most pixels unlike their left neighbour that a mask to be transposed may have: 4 GB of memory.
const MAX_TOGGLES: u64 = 1 << 28;

impl Rle {
    /// The part of the image that begins at column `x` and row `y` and is `width` x `height` pixels large.
    ///
    /// # Errors
    /// [`RleError::Window`] if it does not lie within the image, [`RleError::Image`] for a side beyond 2^22 pixels.
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

    /// The image with so many columns and rows of background around it.
    ///
    /// # Errors
    /// [`RleError::Image`] for a side beyond 2^22 pixels.
    pub fn pad(&self, left: u32, top: u32, right: u32, bottom: u32) -> Result<Self, RleError> {
        let grown = |size: u32, a: u32, b: u32| size.saturating_add(a).saturating_add(b);
        let (height, width) = (grown(self.height(), top, bottom), grown(self.width(), left, right));
        // A saturated side is refused here, and with it a larger image.
        let mut runs = Builder::new(height, width)?;
        self.for_each_segment(|x, from, to| runs.push_segment(x + left, from + top, to + top));
        Ok(runs.finish())
    }

    /// Left and right exchanged.
    pub fn flip_horizontal(&self) -> Self {
        let mut runs = Builder::like(self, self.runs().len() + 2);
        for column in by_column(&self.blocks()).rev() {
            for block in column {
                runs.push_block(self.width() - block.x1, self.width() - block.x0, block.y0, block.y1);
            }
        }
        runs.finish()
    }

    /// Top and bottom exchanged.
    pub fn flip_vertical(&self) -> Self {
        let mut runs = Builder::like(self, self.runs().len() + 2);
        for column in by_column(&self.blocks()) {
            for block in column.iter().rev() {
                runs.push_block(block.x0, block.x1, self.height() - block.y1, self.height() - block.y0);
            }
        }
        runs.finish()
    }

    /// Rows and columns exchanged. Costs memory for each pixel whose left neighbour is unlike it.
    ///
    /// # Errors
    /// [`RleError::Image`] for a side beyond 2^22 pixels, or for more than 2^28 such pixels.
    pub fn transpose(&self) -> Result<Self, RleError> {
        // Pixels unlike their left neighbour: where the rows toggle.
        let toggles = self.xor(&self.shift_right(1)?)?;
        if toggles.area() > MAX_TOGGLES {
            return Err(RleError::Image { height: self.height(), width: self.width() });
        }
        let mut lines = LineToggles::with_capacity(self.width(), self.height(), toggles.area() as usize);
        toggles.for_each_segment(|x, top, bottom| (top..bottom).for_each(|y| lines.push(y, x)));
        lines.into_rle()
    }

    /// The mask in an image of `height` x `width` pixels: each takes the value of the old pixel in which its centre
    /// lies.
    ///
    /// # Errors
    /// [`RleError::Axis`] if a side of the mask's image is 0 or beyond 2^22 pixels or a side of the new one 0,
    /// [`RleError::Image`] if one of those is beyond 2^22.
    pub fn resize(&self, height: u32, width: u32) -> Result<Self, RleError> {
        Grid::stretch(self.height(), self.width(), height, width)?.resample(self)
    }

    /// The mask moved to the right by whole columns; what leaves the image is lost.
    pub(super) fn shift_right(&self, columns: u32) -> Result<Self, RleError> {
        let mut runs = Builder::with_capacity(self.height(), self.width(), self.runs().len() + 2)?;
        let shift = u64::from(columns) * u64::from(self.height());
        let end = self.pixels();
        self.for_each_stretch(|from, to| {
            if from + shift < end {
                runs.push(from + shift, (to + shift).min(end));
            }
        });
        Ok(runs.finish())
    }
}

impl Grid {
    /// Draws the mask as [`Grid::nearest`] does, as runs: a mask of rows x columns pixels.
    ///
    /// # Errors
    /// [`RleError::Size`] if the mask is not of the grid's image size, [`RleError::Image`] for more than 2^22 rows or
    /// columns.
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

/// The blocks of each column, or of several columns if it is one block as high as the image.
fn by_column(blocks: &[Block]) -> impl DoubleEndedIterator<Item = &[Block]> {
    blocks.chunk_by(|a, b| a.x0 == b.x0)
}

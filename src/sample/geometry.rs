//! One geometry for image, masks, boxes and points. Comes in: the image's size, the canvas's side and how the one fits
//! the other. Goes out: sizes, an affine map and mask grids that all agree. Fails on sides that are 0 or too large.

use crate::annotation::MAX_SIDE as MAX_IMAGE_SIDE;
use crate::mask::{Axis, Grid};
use crate::{Error, Result};

/// Largest side of a canvas; keeps all mask geometry exact in 64 bits.
const MAX_SIDE: u32 = 16_384;

/// How an image fits the square canvas of the batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fit {
    /// The longer side fills the canvas, the aspect ratio stays, the rest is zero padding on the right or below; as SAM
    /// does.
    #[default]
    Letterbox,
    /// Both sides fill the canvas; as ARR-COC does.
    Stretch,
}

/// Where the pixels of one image lie on its canvas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Width of the original image in pixels.
    pub width: u32,
    /// Height of the original image in pixels.
    pub height: u32,
    /// Side of the canvas in pixels.
    pub side: u32,
    /// Width of the image on the canvas.
    pub content_width: u32,
    /// Height of the image on the canvas.
    pub content_height: u32,
}

impl Geometry {
    /// Fits an image of `width` x `height` pixels onto a canvas of `side` x `side`.
    ///
    /// # Errors
    /// If a size is 0, an image side exceeds 65535 or the canvas 16384.
    pub fn new(width: u32, height: u32, side: u32, fit: Fit) -> Result<Self> {
        if width == 0 || height == 0 || width > MAX_IMAGE_SIDE || height > MAX_IMAGE_SIDE {
            return Err(Error::corrupt(format!(
                "image is {width} x {height}, not within 1 to {MAX_IMAGE_SIDE} a side"
            )));
        }
        if side == 0 || side > MAX_SIDE {
            return Err(Error::config(format!("image side {side} is not within 1 to {MAX_SIDE}")));
        }
        let longest = u64::from(width.max(height));
        // Rounded to the nearest pixel as SAM does, and never to nothing.
        let scaled = |length: u32| {
            let rounded = (2 * u64::from(length) * u64::from(side) + longest) / (2 * longest);
            (rounded as u32).clamp(1, side)
        };
        let (content_width, content_height) = match fit {
            Fit::Letterbox => (scaled(width), scaled(height)),
            Fit::Stretch => (side, side),
        };
        Ok(Self { width, height, side, content_width, content_height })
    }

    /// The map from original pixels to canvas pixels, row by row:
    ///
    /// ```text
    /// x' = m[0] x + m[1] y + m[2]
    /// y' = m[3] x + m[4] y + m[5]
    /// ```
    ///
    /// Coordinates are of pixel edges: an image reaches from 0 to its width.
    pub fn affine(&self) -> [f32; 6] {
        let (sx, sy) = self.scale();
        [sx as f32, 0.0, 0.0, 0.0, sy as f32, 0.0]
    }

    /// The grid of `rows` x `columns` cells over the whole canvas, for masks of this image.
    ///
    /// # Errors
    /// If `rows` or `columns` are 0 or beyond 16384.
    pub fn grid(&self, rows: u32, columns: u32) -> Result<Grid> {
        let axis = |pixels: u32, content: u32, cells: u32| {
            let cells = if cells > MAX_SIDE { 0 } else { cells };
            Axis::new(pixels, cells, u64::from(content) * u64::from(cells), u64::from(pixels) * u64::from(self.side))
        };
        let axes = axis(self.width, self.content_width, columns)
            .and_then(|x| Ok(Grid::new(x, axis(self.height, self.content_height, rows)?)));
        axes.map_err(|e| Error::config(format!("mask grid of {rows} x {columns} cells: {e}")).caused_by(e))
    }

    /// Which cells of a `rows` x `rows` grid over the canvas have their centre in the image: the first so many rows,
    /// the first so many columns.
    pub fn content_cells(&self, cells: u32) -> (u32, u32) {
        let inside = |content: u32| {
            // Centre (2c+1)/2 cells = (2c+1) * side / (2 * cells) pixels lies before `content`.
            let centres = (2 * u64::from(content) * u64::from(cells)).div_ceil(u64::from(self.side)) / 2;
            centres.min(u64::from(cells)) as u32
        };
        (inside(self.content_height), inside(self.content_width))
    }

    /// Canvas pixels per original pixel, across and down.
    pub(super) fn scale(&self) -> (f64, f64) {
        let scale = |content: u32, pixels: u32| f64::from(content) / f64::from(pixels);
        (scale(self.content_width, self.width), scale(self.content_height, self.height))
    }
}

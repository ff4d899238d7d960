//! The geometry of one image on its canvas, shared by image, masks, boxes and points so that they agree.

use crate::annotation::MAX_SIDE as MAX_IMAGE_SIDE;
use crate::image::letterboxed;
use crate::mask::{Axis, Grid};
use crate::{Error, Result};

/// Largest side of a canvas. It keeps the arithmetic of mask grids exact in 64 bits.
const MAX_SIDE: u32 = 16_384;

/// How an image is fitted to the square canvas of the batch.
///
/// ```
/// use maskstream::internals::Geometry;
/// use maskstream::Fit;
///
/// let letterboxed = Geometry::new(1500, 2250, 1024, Fit::Letterbox)?;
/// assert_eq!((letterboxed.content_width(), letterboxed.content_height()), (683, 1024));
/// let stretched = Geometry::new(1500, 2250, 1024, Fit::Stretch)?;
/// assert_eq!((stretched.content_width(), stretched.content_height()), (1024, 1024));
/// # Ok::<(), maskstream::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fit {
    /// The longer side fills the canvas, the aspect ratio is kept, and the rest is zero padding on the right or below,
    /// as SAM does.
    #[default]
    Letterbox,
    /// Both sides fill the canvas; the aspect ratio is not kept.
    Stretch,
}

/// Where the pixels of one image are on its canvas.
///
/// ```
/// use maskstream::internals::Geometry;
/// use maskstream::Fit;
///
/// let geometry = Geometry::new(1500, 2250, 1024, Fit::Letterbox)?;
/// // From original to canvas pixels.
/// let [scale_x, _, _, _, scale_y, _] = geometry.affine();
/// assert_eq!((scale_x, scale_y), (683.0 / 1500.0, 1024.0 / 2250.0));
/// // Of 64 x 64 patches, all 64 rows and the first 43 columns are image; the others are padding.
/// assert_eq!(geometry.content_cells(64), (64, 43));
/// # Ok::<(), maskstream::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    width: u32,
    height: u32,
    side: u32,
    content_width: u32,
    content_height: u32,
}

impl Geometry {
    /// Fits an image of `width` x `height` pixels onto a canvas of `side` x `side`.
    ///
    /// # Errors
    /// If a size is 0, a side of the image exceeds 65535, or `side` exceeds 16384.
    pub fn new(width: u32, height: u32, side: u32, fit: Fit) -> Result<Self> {
        if width == 0 || height == 0 || width > MAX_IMAGE_SIDE || height > MAX_IMAGE_SIDE {
            return Err(Error::corrupt(format!(
                "the image is {width} x {height}, but each side must be 1 to {MAX_IMAGE_SIDE}"
            )));
        }
        if side == 0 || side > MAX_SIDE {
            return Err(Error::config(format!("image_size is {side}, but must be 1 to {MAX_SIDE}")));
        }
        let (content_width, content_height) = match fit {
            Fit::Letterbox => letterboxed(width, height, side),
            Fit::Stretch => (side, side),
        };
        Ok(Self { width, height, side, content_width, content_height })
    }

    /// Width of the original image in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height of the original image in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Side of the canvas in pixels, at least 1.
    pub fn side(&self) -> u32 {
        self.side
    }

    /// Width of the image on the canvas, in canvas pixels.
    pub fn content_width(&self) -> u32 {
        self.content_width
    }

    /// Height of the image on the canvas, in canvas pixels.
    pub fn content_height(&self) -> u32 {
        self.content_height
    }

    /// The affine map from original pixels to canvas pixels, row by row:
    ///
    /// ```text
    /// x' = m[0] x + m[1] y + m[2]
    /// y' = m[3] x + m[4] y + m[5]
    /// ```
    ///
    /// Coordinates are those of pixel edges: an image extends from 0 to its width.
    pub fn affine(&self) -> [f32; 6] {
        let (sx, sy) = self.scale();
        [sx as f32, 0.0, 0.0, 0.0, sy as f32, 0.0]
    }

    /// The grid of `rows` x `columns` cells over the whole canvas, to draw masks of this image on.
    ///
    /// # Errors
    /// If `rows` or `columns` is 0 or exceeds 16384.
    pub fn grid(&self, rows: u32, columns: u32) -> Result<Grid> {
        let axis = |pixels: u32, content: u32, cells: u32| {
            let cells = if cells > MAX_SIDE { 0 } else { cells };
            Axis::new(pixels, cells, u64::from(content) * u64::from(cells), u64::from(pixels) * u64::from(self.side))
        };
        let axes = axis(self.width, self.content_width, columns)
            .and_then(|x| Ok(Grid::new(x, axis(self.height, self.content_height, rows)?)));
        axes.map_err(|e| {
            let reason = match (rows.min(columns), rows.max(columns) > MAX_SIDE) {
                (0, _) => "each side must be at least 1".to_owned(),
                (_, true) => format!("each side must be at most {MAX_SIDE}"),
                _ => format!("cannot draw a grid of {rows} x {columns} cells: {e}"),
            };
            Error::config(reason).caused_by(e)
        })
    }

    /// Number of rows and columns of a `cells` x `cells` grid over the canvas whose centres lie in the image. They are
    /// the first rows and columns; the others are padding.
    pub fn content_cells(&self, cells: u32) -> (u32, u32) {
        let inside = |content: u32| {
            // Centre (2c+1)/2 cells = (2c+1) * side / (2 * cells) pixels lies before `content`.
            let centres = (2 * u64::from(content) * u64::from(cells)).div_ceil(u64::from(self.side)) / 2;
            centres.min(u64::from(cells)) as u32
        };
        (inside(self.content_height), inside(self.content_width))
    }

    /// Canvas pixels per original pixel, for x and y.
    pub(super) fn scale(&self) -> (f64, f64) {
        let scale = |content: u32, pixels: u32| f64::from(content) / f64::from(pixels);
        (scale(self.content_width, self.width), scale(self.content_height, self.height))
    }
}

//! The geometry of one image on its canvas, shared by image, masks, boxes and points so that they agree.

use std::ops::Range;

use crate::annotation::MAX_SIDE as MAX_IMAGE_SIDE;
use crate::augment::Placement;
use crate::image::{View, letterboxed};
use crate::mask::{Axis, Grid, Rle};
use crate::{Error, Result};

/// Largest side of a canvas. It keeps the arithmetic of mask grids exact in 64 bits.
const MAX_SIDE: u32 = 16_384;

/// How an image is fitted to the square canvas of the batch.
///
/// ```
/// use maskstream::{Fit, Geometry};
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

/// Where the pixels of one image are on its canvas: which part of it is shown, at which size, and whether it is
/// mirrored.
///
/// ```
/// use maskstream::{Fit, Geometry};
///
/// let geometry = Geometry::new(1500, 2250, 1024, Fit::Letterbox)?;
/// // From original to canvas pixels.
/// let [scale_x, _, _, _, scale_y, _] = geometry.affine();
/// assert_eq!((scale_x, scale_y), (683.0 / 1500.0, 1024.0 / 2250.0));
/// // Of 64 x 64 patches, all 64 rows and the first 43 columns are image; the others are padding.
/// assert_eq!(geometry.content_cells(64), (64, 43));
/// # Ok::<(), maskstream::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Geometry {
    width: u32,
    height: u32,
    side: u32,
    /// Left, top, right and bottom edge of what is shown, in original pixels.
    window: [u32; 4],
    /// Whether the original's left and right, and top and bottom, are exchanged.
    flip: [bool; 2],
    /// Whether its columns then become rows.
    is_turned: bool,
    content_width: u32,
    content_height: u32,
}

impl Fit {
    /// Width and height on a canvas of `side` x `side` pixels of an image of `width` x `height`.
    pub(super) fn size(self, width: u32, height: u32, side: u32) -> (u32, u32) {
        match self {
            Self::Letterbox => letterboxed(width, height, side),
            Self::Stretch => (side, side),
        }
    }
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
        let (content_width, content_height) = fit.size(width, height, side);
        let window = [0, 0, width, height];
        let (flip, is_turned) = ([false; 2], false);
        Ok(Self { width, height, side, window, flip, is_turned, content_width, content_height })
    }

    /// The geometry of a row of a batch: `original_size` (height, width), `crop` and `affine` are its rows of
    /// [`Field::OriginalSizes`](crate::Field::OriginalSizes), [`Field::Crops`](crate::Field::Crops) and
    /// [`Field::Geometry`](crate::Field::Geometry), and `side` is the `image_size` of the loader. For programs that
    /// have tensors; [`Batch::geometry_of`](crate::Batch::geometry_of) is for those that have the batch.
    ///
    /// # Errors
    /// If the numbers are not those of a row that is valid.
    pub fn of_row([height, width]: [u32; 2], crop: [u32; 4], affine: &[f32; 6], side: u32) -> Result<Self> {
        let content = |factor: f32, from: u32, to: u32| {
            (f64::from(factor.abs()) * f64::from(to.saturating_sub(from))).round() as u32
        };
        let is_turned = affine[0] == 0.0;
        let [x, y] = if is_turned { [affine[3], affine[1]] } else { [affine[0], affine[4]] };
        let (x_content, y_content) = (content(x, crop[0], crop[2]), content(y, crop[1], crop[3]));
        let content = if is_turned { (y_content, x_content) } else { (x_content, y_content) };
        let placement = Placement { window: crop, content, flip: [x < 0.0, y < 0.0], is_turned };
        Self::new(width, height, side, Fit::Letterbox)?.placed(placement)
    }

    /// The same image in another place on its canvas.
    ///
    /// # Errors
    /// If nothing of it would be shown, or more than it has or the canvas holds.
    #[doc(hidden)]
    pub fn placed(self, placement: Placement) -> Result<Self> {
        let Placement { window, content: (content_width, content_height), flip, is_turned } = placement;
        let [left, top, right, bottom] = window;
        let is_part = left < right && right <= self.width && top < bottom && bottom <= self.height;
        let fits = [content_width, content_height].iter().all(|side| (1..=self.side).contains(side));
        if !is_part || !fits {
            return Err(Error::config(format!(
                "cannot show {window:?} of an image of {} x {} pixels as {content_width} x {content_height} of {} x {}",
                self.width, self.height, self.side, self.side
            )));
        }
        Ok(Self { window, flip, is_turned, content_width, content_height, ..self })
    }

    /// Left, top, right and bottom edge of the part of the image that is shown, in original pixels.
    pub fn window(&self) -> [u32; 4] {
        self.window
    }

    /// Whether a part of the image is not shown.
    pub fn is_cropped(&self) -> bool {
        self.window != [0, 0, self.width, self.height]
    }

    /// Whether the original's left and right, and top and bottom, are exchanged.
    pub fn flips(&self) -> [bool; 2] {
        self.flip
    }

    /// Whether the original's columns become rows, after that. With one flip this is a quarter turn.
    pub fn is_turned(&self) -> bool {
        self.is_turned
    }

    /// A pair by the original's directions in the order of the canvas's, or the reverse.
    pub(super) fn ordered<T>(&self, [x, y]: [T; 2]) -> [T; 2] {
        if self.is_turned { [y, x] } else { [x, y] }
    }

    /// Width and height of what is shown, in canvas pixels, by the original's directions.
    pub(super) fn content(&self) -> [u32; 2] {
        self.ordered([self.content_width, self.content_height])
    }

    /// What the image's pixels are taken from.
    pub(crate) fn view(&self) -> View {
        let [left, top, right, bottom] = self.window.map(f64::from);
        View { x: left..right, y: top..bottom, flip_x: self.flip[0], flip_y: self.flip[1], is_turned: self.is_turned }
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
        let [x, y] = [self.line(0), self.line(1)].map(|line| (line.factor as f32, line.offset as f32));
        if self.is_turned { [0.0, y.0, y.1, x.0, 0.0, x.1] } else { [x.0, 0.0, x.1, 0.0, y.0, y.1] }
    }

    /// Where a point of the original image is on the canvas, in pixels from its upper left corner. Points that are not
    /// shown lie beside the image.
    ///
    /// ```
    /// use maskstream::{Fit, Geometry};
    ///
    /// let geometry = Geometry::new(1500, 2250, 1024, Fit::Stretch)?;
    /// assert_eq!(geometry.to_canvas([750.0, 2250.0]), [512.0, 1024.0]);
    /// # Ok::<(), maskstream::Error>(())
    /// ```
    pub fn to_canvas(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        self.ordered([self.line(0).at(x), self.line(1).at(y)])
    }

    /// Where a point of the canvas is in the original image: the opposite of [`Geometry::to_canvas`].
    ///
    /// ```
    /// use maskstream::{Fit, Geometry};
    ///
    /// let geometry = Geometry::new(1500, 2250, 1024, Fit::Stretch)?;
    /// assert_eq!(geometry.to_original([512.0, 1024.0]), [750.0, 2250.0]);
    /// # Ok::<(), maskstream::Error>(())
    /// ```
    pub fn to_original(&self, point: [f64; 2]) -> [f64; 2] {
        let [x, y] = self.ordered(point);
        [self.line(0).before(x), self.line(1).before(y)]
    }

    /// Canvas pixels per original pixel, across and down the original.
    pub(super) fn scale(&self) -> [f64; 2] {
        [self.line(0).factor.abs(), self.line(1).factor.abs()]
    }

    /// Where a box of the canvas, given by its left, top, right and bottom edge in pixels, is in the original image.
    ///
    /// ```
    /// use maskstream::{Fit, Geometry};
    ///
    /// let geometry = Geometry::new(1500, 2250, 1024, Fit::Stretch)?;
    /// assert_eq!(geometry.box_to_original([0.0, 512.0, 512.0, 1024.0]), [0.0, 1125.0, 750.0, 2250.0]);
    /// # Ok::<(), maskstream::Error>(())
    /// ```
    pub fn box_to_original(&self, [left, top, right, bottom]: [f64; 4]) -> [f64; 4] {
        let ([a, b], [c, d]) = (self.to_original([left, top]), self.to_original([right, bottom]));
        [a.min(c), b.min(d), a.max(c), b.max(d)]
    }

    /// The mask in the original image of a mask over the whole canvas, such as a model's output: `rows` x `columns`
    /// cells, row-major, of which those that are not 0 belong to it. A pixel has the value of the cell that its centre
    /// lies in, and none if it is not shown.
    ///
    /// ```
    /// use maskstream::{Fit, Geometry};
    ///
    /// // The left half of the canvas.
    /// let geometry = Geometry::new(6, 4, 512, Fit::Stretch)?;
    /// let mask = geometry.mask_to_original(&[1, 0, 1, 0], 2, 2)?;
    /// assert_eq!(mask.bbox(), [0, 0, 3, 4]);
    /// # Ok::<(), maskstream::Error>(())
    /// ```
    ///
    /// # Errors
    /// If there are no cells, or not `rows` x `columns` of them.
    pub fn mask_to_original(&self, cells: &[u8], rows: usize, columns: usize) -> Result<Rle> {
        if cells.is_empty() || rows.checked_mul(columns) != Some(cells.len()) {
            return Err(Error::config(format!("{} cells are not a grid of {rows} x {columns}", cells.len())));
        }
        // The cell of each pixel that is shown.
        let cell_of = |direction: usize, cells: usize| {
            let line = self.line(direction);
            let scale = cells as f64 / f64::from(self.side);
            let shown = self.window[direction]..self.window[direction + 2];
            shown.map(move |pixel| ((line.at(f64::from(pixel) + 0.5) * scale) as usize).min(cells - 1))
        };
        let [across, down] = self.ordered([columns, rows]);
        let in_column: Vec<usize> = cell_of(1, down).collect();
        let (left, top) = (u64::from(self.window[0]), u64::from(self.window[1]));
        let mut runs = vec![0_u64];
        let mut add = |is_mask: bool, pixels: u64| {
            if is_mask == (runs.len() % 2 == 0) {
                *runs.last_mut().unwrap_or(&mut 0) += pixels;
            } else if pixels > 0 {
                runs.push(pixels);
            }
        };
        let height = u64::from(self.height);
        add(false, left * height);
        for x in cell_of(0, across) {
            add(false, top);
            in_column.iter().for_each(|&y| {
                let [column, row] = self.ordered([x, y]);
                add(cells[row * columns + column] != 0, 1);
            });
            add(false, height - top - in_column.len() as u64);
        }
        add(false, u64::from(self.width - self.window[2]) * height);
        // A side has at most 65535 pixels, so all of them are fewer than 2^32.
        let runs = runs.into_iter().map(|run| run as u32).collect();
        Rle::from_runs(runs, self.height, self.width).map_err(|e| Error::config(e.to_string()).caused_by(e))
    }

    /// The map of one of the original's directions, across or down.
    fn line(&self, direction: usize) -> Line {
        let content = f64::from(self.content()[direction]);
        let [start, end] = [self.window[direction], self.window[direction + 2]].map(f64::from);
        let factor = content / (end - start);
        match self.flip[direction] {
            false => Line { factor, offset: 0.0 - factor * start },
            true => Line { factor: -factor, offset: content + factor * start },
        }
    }

    /// The grid of `rows` x `columns` cells over the whole canvas, to draw masks of this image on. Where the image is
    /// turned, it is the grid's rows that are drawn as columns: of `columns` x `rows` cells.
    ///
    /// # Errors
    /// If `rows` or `columns` is 0 or exceeds 16384.
    pub fn grid(&self, rows: u32, columns: u32) -> Result<Grid> {
        let axis = |direction: usize, pixels: u32, content: u32, cells: u32| {
            let cells = if cells > MAX_SIDE { 0 } else { cells };
            let shown: Range<u32> = self.window[direction]..self.window[direction + 2];
            let scale =
                (u64::from(content) * u64::from(cells), u64::from(shown.end - shown.start) * u64::from(self.side));
            Axis::scaled_window(pixels, shown, cells, scale, self.flip[direction])
        };
        let ([x_cells, y_cells], [x_content, y_content]) = (self.ordered([columns, rows]), self.content());
        let axes = axis(0, self.width, x_content, x_cells)
            .and_then(|x| Ok(Grid::new(x, axis(1, self.height, y_content, y_cells)?)));
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
}

/// The map from one coordinate to another: `factor` times it, and `offset` more.
struct Line {
    factor: f64,
    offset: f64,
}

impl Line {
    fn at(&self, x: f64) -> f64 {
        self.factor * x + self.offset
    }

    fn before(&self, x: f64) -> f64 {
        (x - self.offset) / self.factor
    }
}

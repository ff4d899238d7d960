//! Rasterization of polygons and boxes: coordinates in COCO's order to the mask that pycocotools draws, pixel for
//! pixel.
//!
//! A polygon of too few points is an error, unless it is one of several, and so are coordinates that are not finite or
//! far outside any image.
//!
//! # Algorithm
//!
//! The reference (`rleFrPoly` in `maskApi.c`) scales the vertices to a lattice with five points per pixel, walks along
//! each edge point by point, and toggles a pixel column wherever the walk crosses the middle of the column. Here only
//! these crossings are computed, with the reference's own floating-point formula: one per pixel column, regardless of
//! the length of the edge.

use super::boolean::combine;
use super::builder::Builder;
use super::rows::rows_by_column;
use super::runs::MAX_SIDE;
use super::{Merge, Rle, RleError};

/// Lattice points per pixel.
const SCALE: i64 = 5;
/// Largest coordinate. Up to this value the reference's rounding never skips a lattice column.
const MAX_COORDINATE: f64 = MAX_SIDE as f64;
/// Number of toggles after which equal pairs are cancelled. Bounds the memory for polygons with very many edges.
const CANCEL_THRESHOLD: usize = 1 << 16;

impl Rle {
    /// Draws one polygon given as x0, y0, x1, y1, ... in pixels, like pycocotools' `frPyObjects`. Where the polygon
    /// crosses itself, the even-odd rule applies. Points may lie outside the image.
    ///
    /// # Errors
    /// Returns [`RleError::Points`] for fewer than three points or an odd number of values, [`RleError::Coordinate`]
    /// for a value that is not finite or beyond 2^22 (pycocotools accesses memory out of bounds for some of these), and
    /// [`RleError::Image`] if a side exceeds 2^22 pixels.
    ///
    /// ```
    /// use maskstream::mask::Rle;
    ///
    /// // A rectangle in an image of 4 x 6 pixels.
    /// let mask = Rle::from_polygon(&[2.0, 1.0, 4.0, 1.0, 4.0, 3.0, 2.0, 3.0], 4, 6)?;
    /// assert_eq!(mask.bbox(), [2, 1, 2, 2]);
    /// # Ok::<(), maskstream::mask::RleError>(())
    /// ```
    pub fn from_polygon(points: &[f64], height: u32, width: u32) -> Result<Self, RleError> {
        if points.len() < 6 || !points.len().is_multiple_of(2) {
            return Err(RleError::Points { numbers: points.len() });
        }
        check_coordinates(points)?;
        // Rounded towards zero, like a cast in C.
        let scaled = |value: f64| (SCALE as f64 * value + 0.5) as i64;
        let mut rasterizer = Rasterizer::new(height, width)?;
        let vertices = points.chunks_exact(2).map(|point| (scaled(point[0]), scaled(point[1])));
        for (from, to) in vertices.clone().zip(vertices.cycle().skip(1)) {
            rasterizer.edge(from, to);
        }
        Ok(rasterizer.finish())
    }

    /// Draws the union of several polygons; COCO stores an object that consists of several parts this way. An empty
    /// list gives an empty mask. As in pycocotools, a polygon of fewer than three points encloses nothing if there is
    /// another one that has three, and half a point at the end of a polygon is left out.
    ///
    /// # Errors
    /// Same as [`Rle::from_polygon`] for the first invalid polygon, except that [`RleError::Points`] is returned only
    /// if no polygon has three points.
    ///
    /// ```
    /// use maskstream::mask::Rle;
    ///
    /// let parts = [[0.0, 0.0, 1.0, 0.0, 1.0, 4.0, 0.0, 4.0], [3.0, 0.0, 5.0, 0.0, 5.0, 4.0, 3.0, 4.0]];
    /// let mask = Rle::from_polygons(&parts, 4, 6)?;
    /// assert_eq!(mask.area(), 4 + 8);
    /// # Ok::<(), maskstream::mask::RleError>(())
    /// ```
    pub fn from_polygons<P: AsRef<[f64]>>(polygons: &[P], height: u32, width: u32) -> Result<Self, RleError> {
        // A stack of partial unions, each of more polygons than the next: its depth is logarithmic in their number.
        let mut parts: Vec<(usize, Self)> = Vec::new();
        let drawn = |points: &&[f64]| points.len() >= 6;
        let all = polygons.iter().map(P::as_ref);
        if let (Some(first), None) = (all.clone().next(), all.clone().find(drawn)) {
            return Err(RleError::Points { numbers: first.len() });
        }
        for points in all.filter(drawn) {
            let whole_points = &points[..points.len() / 2 * 2];
            let mut part = (1, Self::from_polygon(whole_points, height, width)?);
            while let Some((count, mask)) = parts.pop_if(|(count, _)| *count <= part.0) {
                part = (part.0 + count, combine(&mask, &part.1, Merge::Union));
            }
            parts.push(part);
        }
        let all = parts.into_iter().map(|(_, mask)| mask).rev().reduce(|a, b| combine(&a, &b, Merge::Union));
        all.map_or_else(|| Self::empty(height, width), Ok)
    }

    /// Draws a box `[x, y, width, height]` in pixels, like pycocotools' `frPyObjects`.
    ///
    /// # Errors
    /// Same as [`Rle::from_polygon`].
    ///
    /// ```
    /// use maskstream::mask::Rle;
    ///
    /// assert_eq!(Rle::from_box([2.0, 1.0, 2.0, 2.0], 4, 6)?.to_counts(), "92207");
    /// # Ok::<(), maskstream::mask::RleError>(())
    /// ```
    pub fn from_box([x, y, w, h]: [f64; 4], height: u32, width: u32) -> Result<Self, RleError> {
        check_coordinates(&[x, y, w, h])?;
        let (right, bottom) = (x + w, y + h);
        for (index, end, value) in [(2, right, w), (3, bottom, h)] {
            if end.abs() > MAX_COORDINATE {
                return Err(RleError::Coordinate { index, value });
            }
        }
        Self::from_polygon(&[x, y, x, bottom, right, bottom, right, y], height, width)
    }
}

fn check_coordinates(values: &[f64]) -> Result<(), RleError> {
    match values.iter().position(|value| value.is_nan() || value.abs() > MAX_COORDINATE) {
        None => Ok(()),
        Some(index) => Err(RleError::Coordinate { index, value: values[index] }),
    }
}

/// Collects the positions at which a column changes between background and mask.
struct Rasterizer {
    height: u32,
    width: u32,
    runs: Builder,
    /// Column and row of each toggle.
    positions: Vec<(u32, u32)>,
    /// Number of positions at which equal pairs are cancelled next.
    limit: usize,
}

impl Rasterizer {
    fn new(height: u32, width: u32) -> Result<Self, RleError> {
        let runs = Builder::new(height, width)?;
        Ok(Self { height, width, runs, positions: Vec::new(), limit: CANCEL_THRESHOLD })
    }

    /// Adds the toggles of the edge between two lattice points.
    fn edge(&mut self, from: (i64, i64), to: (i64, i64)) {
        let (dx, dy) = ((to.0 - from.0).abs(), (to.1 - from.1).abs());
        // Column k is toggled between the lattice columns 5k + 2 and 5k + 3.
        let columns = |low: i64, high: i64| {
            let first = (low.max(0) + 2) / SCALE;
            first..((high + 2).div_euclid(SCALE)).min(i64::from(self.width))
        };
        if dx >= dy {
            // Mostly horizontal: stepped along x, from left to right.
            let ((x0, y0), (x1, y1)) = if from.0 > to.0 { (to, from) } else { (from, to) };
            let slope = (y1 - y0) as f64 / dx as f64;
            let y_at = |x: i64| (y0 as f64 + slope * (x - x0) as f64 + 0.5) as i64;
            for column in columns(x0, x1) {
                let x = SCALE * column + 2;
                self.toggle(column, y_at(x).min(y_at(x + 1)));
            }
        } else {
            // Mostly vertical: stepped along y, from top to bottom.
            let ((x0, y0), (x1, _)) = if from.1 > to.1 { (to, from) } else { (from, to) };
            let slope = (x1 - x0) as f64 / dy as f64;
            let x_at = |step: i64| (x0 as f64 + slope * step as f64 + 0.5) as i64;
            for column in columns(x0.min(x1), x0.max(x1)) {
                let middle = SCALE * column + 2;
                // The first step beyond the middle: estimated, then corrected to match the reference's rounding.
                let crossed = |step: i64| if slope > 0.0 { x_at(step) > middle } else { x_at(step) <= middle };
                let mut step = (((middle - x0) as f64 + 0.5) / slope) as i64;
                while crossed(step) {
                    step -= 1;
                }
                while !crossed(step) {
                    step += 1;
                }
                self.toggle(column, y0 + step - 1);
            }
        }
    }

    /// Toggles `column` from lattice row `y` downwards.
    #[inline]
    fn toggle(&mut self, column: i64, y: i64) {
        let row = (y + 2).div_euclid(SCALE).clamp(0, i64::from(self.height));
        self.positions.push((column as u32, row as u32));
        if self.positions.len() >= self.limit {
            self.cancel_pairs();
            self.limit = CANCEL_THRESHOLD.max(2 * self.positions.len());
        }
    }

    /// Sorts the positions and cancels equal pairs.
    fn cancel_pairs(&mut self) {
        let columns = self.positions.iter().map(|&(column, _)| column);
        let (Some(first), Some(last)) = (columns.clone().min(), columns.max()) else { return };
        let (mut rows, ends) = rows_by_column(&self.positions, first..last + 1);
        self.positions.clear();
        let mut start = 0;
        for (column, &end) in (first..).zip(&ends) {
            rows[start..end].sort_unstable();
            for equal in rows[start..end].chunk_by(|a, b| a == b) {
                if equal.len() % 2 == 1 {
                    self.positions.push((column, equal[0]));
                }
            }
            start = end;
        }
    }

    fn finish(mut self) -> Rle {
        self.cancel_pairs();
        // The outline is closed, so each column has an even number of toggles.
        for pair in self.positions.as_chunks::<2>().0 {
            let [(column, top), (_, bottom)] = *pair;
            self.runs.push_segment(column, top, bottom);
        }
        self.runs.finish()
    }
}

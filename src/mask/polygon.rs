//! Polygons and boxes -> runs. Comes in: x and y in pixels, as COCO lists them. Goes out: the mask that pycocotools
//! draws, pixel for pixel. Fails on too few points and on coordinates that are no numbers or far outside any image.
//!
//! # How
//!
//! The reference (`maskApi.c`, `rleFrPoly`) moves the vertices to a lattice five times as fine, walks each edge point
//! by point, and toggles a pixel column where the walk steps over the middle of it. Here each edge is asked for those
//! steps only, with the reference's own floating-point formula: a point each five lattice columns, whatever the length
//! of the edge.

use super::boolean::combine;
use super::builder::{Builder, MAX_SIDE};
use super::rows::rows_by_column;
use super::{Merge, Rle, RleError};

/// Points of the fine lattice per pixel.
const FINE: i64 = 5;
/// Largest coordinate: up to here the reference's rounding never skips a lattice column.
const MAX_COORDINATE: f64 = MAX_SIDE as f64;
/// Toggles that are collected before pairs among them are dropped: bounds what a polygon of very many edges costs.
const MANY_TOGGLES: usize = 1 << 16;

impl Rle {
    /// Draws one polygon, `points` being x0, y0, x1, y1, ... in pixels, by parity where it crosses itself: the
    /// reference's `frPyObjects` of one polygon. Points may lie outside the image.
    ///
    /// # Errors
    /// [`RleError::Points`] for fewer than three points or half a point, [`RleError::Coordinate`] for a value that is
    /// not finite or beyond 2^22 (the reference reads or writes wild memory for some of these), [`RleError::Image`]
    /// for a side beyond 2^22 pixels.
    pub fn from_polygon(points: &[f64], height: u32, width: u32) -> Result<Self, RleError> {
        if points.len() < 6 || !points.len().is_multiple_of(2) {
            return Err(RleError::Points { numbers: points.len() });
        }
        check_coordinates(points)?;
        // Rounded as C casts: towards zero.
        let fine = |value: f64| (FINE as f64 * value + 0.5) as i64;
        let mut toggles = Toggles::new(height, width)?;
        let vertices = points.chunks_exact(2).map(|point| (fine(point[0]), fine(point[1])));
        for (from, to) in vertices.clone().zip(vertices.cycle().skip(1)) {
            toggles.edge(from, to);
        }
        Ok(toggles.finish())
    }

    /// Draws several polygons into one mask, their union: how COCO stores an object in several parts. Without polygons
    /// the mask is empty.
    ///
    /// # Errors
    /// As [`Rle::from_polygon`], and for the first polygon at fault.
    pub fn from_polygons<P: AsRef<[f64]>>(polygons: &[P], height: u32, width: u32) -> Result<Self, RleError> {
        // Drawn masks and merges of them, each of more polygons than the next: no more of them than the count has bits.
        let mut parts: Vec<(usize, Self)> = Vec::new();
        for polygon in polygons {
            let mut part = (1, Self::from_polygon(polygon.as_ref(), height, width)?);
            while let Some((count, mask)) = parts.pop_if(|(count, _)| *count <= part.0) {
                part = (part.0 + count, combine(&mask, &part.1, Merge::Union));
            }
            parts.push(part);
        }
        let all = parts.into_iter().map(|(_, mask)| mask).rev().reduce(|a, b| combine(&a, &b, Merge::Union));
        all.map_or_else(|| Self::empty(height, width), Ok)
    }

    /// Draws a box `[x, y, width, height]` in pixels, as the reference's `frPyObjects` does.
    ///
    /// # Errors
    /// As [`Rle::from_polygon`].
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

/// Where a mask begins or ends.
struct Toggles {
    height: u32,
    width: u32,
    runs: Builder,
    /// Column and row.
    positions: Vec<(u32, u32)>,
    /// How many positions are too many.
    limit: usize,
}

impl Toggles {
    fn new(height: u32, width: u32) -> Result<Self, RleError> {
        let runs = Builder::new(height, width)?;
        Ok(Self { height, width, runs, positions: Vec::new(), limit: MANY_TOGGLES })
    }

    /// Walks the edge between two lattice points.
    fn edge(&mut self, from: (i64, i64), to: (i64, i64)) {
        let (dx, dy) = ((to.0 - from.0).abs(), (to.1 - from.1).abs());
        // Column k is toggled between the lattice columns 5k + 2 and 5k + 3.
        let columns = |low: i64, high: i64| {
            let first = (low.max(0) + 2) / FINE;
            first..((high + 2).div_euclid(FINE)).min(i64::from(self.width))
        };
        if dx >= dy {
            // Along x: from left to right.
            let ((x0, y0), (x1, y1)) = if from.0 > to.0 { (to, from) } else { (from, to) };
            let slope = (y1 - y0) as f64 / dx as f64;
            let y_at = |x: i64| (y0 as f64 + slope * (x - x0) as f64 + 0.5) as i64;
            for column in columns(x0, x1) {
                let x = FINE * column + 2;
                self.toggle(column, y_at(x).min(y_at(x + 1)));
            }
        } else {
            // Along y: from top to bottom.
            let ((x0, y0), (x1, _)) = if from.1 > to.1 { (to, from) } else { (from, to) };
            let slope = (x1 - x0) as f64 / dy as f64;
            let x_at = |step: i64| (x0 as f64 + slope * step as f64 + 0.5) as i64;
            for column in columns(x0.min(x1), x0.max(x1)) {
                let middle = FINE * column + 2;
                // The first step on the far side: estimated, then corrected by the reference's rounding.
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

    /// Toggles `column` from the lattice row `y` down.
    #[inline]
    fn toggle(&mut self, column: i64, y: i64) {
        let row = (y + 2).div_euclid(FINE).clamp(0, i64::from(self.height));
        self.positions.push((column as u32, row as u32));
        if self.positions.len() >= self.limit {
            self.sort();
            self.limit = MANY_TOGGLES.max(2 * self.positions.len());
        }
    }

    /// Sorts the positions; those that occur twice cancel.
    fn sort(&mut self) {
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
        self.sort();
        // Each column is entered as often as it is left: the outline is closed.
        for pair in self.positions.as_chunks::<2>().0 {
            let [(column, top), (_, bottom)] = *pair;
            self.runs.push_segment(column, top, bottom);
        }
        self.runs.finish()
    }
}

//! Conversion between masks and outlines: [`Rle::to_polygons`], [`Polygons::to_rle`] and [`Polygons::to_coco`].
//!
//! A negative tolerance is an error, and so are polygons that cannot be drawn.

use serde::Serialize;

use super::simplify::Simplifier;
use super::tracer::for_each_ring;
use super::{Rle, RleError};

/// The outlines of a mask, as returned by [`Rle::to_polygons`].
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Polygons {
    /// Height and width of the image in pixels.
    pub size: [u32; 2],
    /// One polygon for each connected component of the mask.
    pub polygons: Vec<Polygon>,
}

/// The outline of one component. Points are x and y in pixels from the top left corner of the image and lie on pixel
/// corners: x is 0 to the width, y is 0 to the height. The first point of a ring is not repeated at its end.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Polygon {
    /// The outer ring, clockwise as seen in the image (the y axis points down).
    pub exterior: Vec<[f64; 2]>,
    /// The rings around the holes, counterclockwise.
    pub holes: Vec<Vec<[f64; 2]>>,
}

impl Rle {
    /// Traces the outlines of the mask: one polygon for each of its [`components`](Self::components), in their order,
    /// with a hole for each background region it encloses. The mask is four-connected and the background
    /// eight-connected, so rings never cross; they may touch at pixel corners.
    ///
    /// Rings have a point only where they turn. With a `tolerance` above 0, in pixels, points are removed as long as
    /// each stays within that distance of the line that replaces it (Douglas-Peucker, starting from two distant
    /// points). Holes with fewer than three points left are dropped; exteriors keep at least four. Simplified rings may
    /// cross. With a tolerance of 0, [`Polygons::to_rle`] restores the mask in canonical form if no side exceeds 2^22
    /// pixels.
    ///
    /// # Errors
    /// Returns [`RleError::Tolerance`] if `tolerance` is negative or NaN.
    ///
    /// ```
    /// use maskstream::mask::Rle;
    ///
    /// let mask = Rle::from_runs(vec![9, 2, 2, 2, 9], 4, 6)?;
    /// let outlines = mask.to_polygons(0.0)?;
    /// assert_eq!(outlines.polygons[0].exterior, [[2.0, 1.0], [4.0, 1.0], [4.0, 3.0], [2.0, 3.0]]);
    /// assert_eq!(outlines.to_coco(), [[2.0, 1.0, 4.0, 1.0, 4.0, 3.0, 2.0, 3.0]]);
    /// assert_eq!(outlines.to_rle()?, mask);
    /// # Ok::<(), maskstream::mask::RleError>(())
    /// ```
    pub fn to_polygons(&self, tolerance: f64) -> Result<Polygons, RleError> {
        if tolerance.is_nan() || tolerance < 0.0 {
            return Err(RleError::Tolerance { value: tolerance });
        }
        let mut polygons: Vec<Polygon> = Vec::new();
        let mut simplifier = Simplifier::default();
        for_each_ring(self, |ring, shape, is_hole| {
            let ring = match tolerance {
                0.0 => ring[..ring.len() - 1].to_vec(),
                _ => simplifier.simplify(ring, tolerance, !is_hole),
            };
            if !is_hole {
                polygons.push(Polygon { exterior: ring, holes: Vec::new() });
            } else if !ring.is_empty() {
                polygons[shape].holes.push(ring);
            }
        });
        Ok(Polygons { size: [self.height(), self.width()], polygons })
    }
}

impl Polygons {
    /// Draws the polygons as pycocotools draws the result of [`Polygons::to_coco`]: within a polygon the even-odd rule
    /// applies to its rings, and the mask is the union of all polygons.
    ///
    /// # Errors
    /// Same as [`Rle::from_polygon`].
    pub fn to_rle(&self) -> Result<Rle, RleError> {
        let [height, width] = self.size;
        Rle::from_polygons(&self.to_coco(), height, width)
    }

    /// Converts each polygon to COCO's form x0, y0, x1, y1, ...
    ///
    /// COCO has no holes, so the rings of a polygon are joined into one: from the first point of the exterior to the
    /// first point of the first hole, around the hole, on to the next hole, and finally all the way back. Lines walked
    /// in both directions enclose nothing, and pycocotools applies the even-odd rule, so the holes are preserved.
    pub fn to_coco(&self) -> Vec<Vec<f64>> {
        self.polygons.iter().map(Polygon::to_coco).collect()
    }
}

impl Polygon {
    fn to_coco(&self) -> Vec<f64> {
        let mut out = self.exterior.as_flattened().to_vec();
        // The first points of the rings, where one ring is left for the next.
        let mut way: Vec<[f64; 2]> = self.exterior.first().copied().into_iter().collect();
        for hole in self.holes.iter().filter(|hole| !hole.is_empty()) {
            // Closes the ring before this hole.
            out.extend(way.last().into_iter().flatten());
            out.extend(hole.as_flattened());
            way.push(hole[0]);
        }
        // All the way back, except the step to the very first point, which closes every polygon.
        out.extend(way.iter().skip(1).rev().flatten());
        out
    }
}

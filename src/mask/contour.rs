//! Runs <-> outlines. Comes in: a mask and a tolerance, or polygons. Goes out: polygons with holes, the same as COCO
//! lists them, or the mask that they enclose. Fails on a tolerance that is no distance, and where polygons cannot be
//! drawn.

use serde::Serialize;

use super::simplify::Simplifier;
use super::tracer::for_each_ring;
use super::{Rle, RleError};

/// The outlines of a mask.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Polygons {
    /// Height and width of the image in pixels.
    pub size: [u32; 2],
    /// One for each connected region of the mask.
    pub polygons: Vec<Polygon>,
}

/// The outline of one region. Points are x and y in pixels from the upper left corner of the image, on the corners of
/// pixels: 0 to the width, 0 to the height. The first point of a ring is not repeated at its end.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Polygon {
    /// The ring around the region, clockwise as one looks at the image (the y axis goes down).
    pub exterior: Vec<[f64; 2]>,
    /// The rings around its holes, counterclockwise.
    pub holes: Vec<Vec<[f64; 2]>>,
}

impl Rle {
    /// The outlines of the mask: a polygon for each of its [`components`](Self::components), in their order, with a hole
    /// for each background region inside it. Pixels are neighbours in the mask if they share a side, and in the
    /// background also if they share a corner. So no ring crosses itself or another one; they may touch at corners of
    /// pixels.
    ///
    /// Rings turn where the mask does: no point lies on the straight line between its neighbours. With a `tolerance`
    /// above 0, in pixels, points are left out as long as each is within that distance of the line in its place
    /// (Douglas-Peucker, from two points far apart). A hole of which less than three points are left is dropped; of an
    /// exterior at least four stay. Rings may then cross. With 0, [`Polygons::to_rle`] gives back the
    /// mask in canonical form, for sides up to 2^22.
    ///
    /// # Errors
    /// [`RleError::Tolerance`] if `tolerance` is negative or not a number.
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
    /// Draws the polygons as pycocotools draws those of [`Polygons::to_coco`]: within a polygon a pixel counts if an odd
    /// number of rings is around it, and the mask is the union of all polygons.
    ///
    /// # Errors
    /// As [`Rle::from_polygon`].
    pub fn to_rle(&self) -> Result<Rle, RleError> {
        let [height, width] = self.size;
        Rle::from_polygons(&self.to_coco(), height, width)
    }

    /// COCO's form of a segmentation: each polygon as x0, y0, x1, y1, ... COCO has no holes. So the ring leads from the
    /// first point of the exterior to that of the first hole, around it, on to the next hole, and from the last one all
    /// the way back. What is walked twice encloses nothing, and pycocotools, which counts how often it passes over a
    /// pixel, draws the polygon with its holes.
    pub fn to_coco(&self) -> Vec<Vec<f64>> {
        self.polygons.iter().map(Polygon::to_coco).collect()
    }
}

impl Polygon {
    fn to_coco(&self) -> Vec<f64> {
        let mut out = self.exterior.as_flattened().to_vec();
        // The first points, where one ring is left for the next.
        let mut way: Vec<[f64; 2]> = self.exterior.first().copied().into_iter().collect();
        for hole in self.holes.iter().filter(|hole| !hole.is_empty()) {
            // The ring before is closed first.
            out.extend(way.last().into_iter().flatten());
            out.extend(hole.as_flattened());
            way.push(hole[0]);
        }
        // All the way back; the last step, to the first point of all, is the one that closes every polygon.
        out.extend(way.iter().skip(1).rev().flatten());
        out
    }
}

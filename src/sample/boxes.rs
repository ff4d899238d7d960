//! Boxes and points in the form a model wants. Comes in: pixel coordinates as annotated. Goes out: normalized ones.
//! Cannot fail.

use super::Geometry;

/// The four numbers of a box.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BoxFormat {
    /// Left, top, width, height; as annotated.
    #[default]
    Xywh,
    /// Left, top, right, bottom.
    Xyxy,
    /// Centre x, centre y, width, height.
    CxCyWh,
}

/// What boxes and points are relative to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CoordFrame {
    /// The original image: x by its width, y by its height.
    #[default]
    Original,
    /// The canvas: 1 is its side. The same as `Original` where the image is stretched.
    Canvas,
}

impl CoordFrame {
    /// Factors from original pixels to 0..1, across and down.
    pub(super) fn factors(self, geometry: &Geometry) -> (f64, f64) {
        match self {
            Self::Original => (1.0 / f64::from(geometry.width), 1.0 / f64::from(geometry.height)),
            Self::Canvas => {
                let (sx, sy) = geometry.scale();
                (sx / f64::from(geometry.side), sy / f64::from(geometry.side))
            }
        }
    }
}

impl BoxFormat {
    /// A box given as left, top, width, height, scaled by `factors`.
    pub(super) fn normalize(self, [x, y, w, h]: [f64; 4], (fx, fy): (f64, f64)) -> [f32; 4] {
        let [x, y, w, h] = [x * fx, y * fy, w * fx, h * fy];
        let numbers = match self {
            Self::Xywh => [x, y, w, h],
            Self::Xyxy => [x, y, x + w, y + h],
            Self::CxCyWh => [x + w / 2.0, y + h / 2.0, w, h],
        };
        numbers.map(|v| v as f32)
    }
}

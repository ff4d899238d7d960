//! Normalizes boxes and points from annotated pixels to the format and frame that a model expects.

use super::Geometry;

/// What the four numbers of a box are.
///
/// ```
/// use maskstream::{BoxFormat, Loader};
///
/// // For a model like DETR, whose boxes are centres and sizes.
/// let builder = Loader::builder().box_format(BoxFormat::CxCyWh);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum BoxFormat {
    /// Left, top, width, height, as COCO and SA-1B have them.
    #[default]
    Xywh,
    /// Left, top, right, bottom, as torchvision has them.
    Xyxy,
    /// Centre x, centre y, width, height, as DETR has them.
    CxCyWh,
}

/// What the coordinates of boxes and points are relative to.
///
/// ```
/// use maskstream::{CoordFrame, Loader};
///
/// // A letterboxed image of 1500 x 2250 pixels covers 683 x 1024 pixels of a canvas of 1024 x 1024. Its lower right
/// // corner is (1, 1) in the frame `Original`, and (683 / 1024, 1) in the frame `Canvas`.
/// let builder = Loader::builder().image_size(1024).coord_frame(CoordFrame::Canvas);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CoordFrame {
    /// The original image: x is divided by its width, y by its height.
    #[default]
    Original,
    /// The canvas: 1 is its side. Where the image is stretched, this is the same as `Original`.
    Canvas,
}

impl CoordFrame {
    /// Factors from original pixels to this frame, for x and y.
    pub(super) fn factors(self, geometry: &Geometry) -> (f64, f64) {
        match self {
            Self::Original => (1.0 / f64::from(geometry.width()), 1.0 / f64::from(geometry.height())),
            Self::Canvas => {
                let (sx, sy) = geometry.scale();
                (sx / f64::from(geometry.side()), sy / f64::from(geometry.side()))
            }
        }
    }
}

impl BoxFormat {
    /// Scales a box of left, top, width and height by `factors`, and converts it to this format.
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

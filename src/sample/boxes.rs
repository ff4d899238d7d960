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
    /// The original image: x is divided by its width, y by its height. Of an image that is cropped, the part that is
    /// shown, as it is shown: (0, 0) is its upper left corner on the canvas, (1, 1) the lower right one.
    #[default]
    Original,
    /// The canvas: 1 is its side. Where the image is stretched, this is the same as `Original`.
    Canvas,
    /// The canvas in pixels, as SAM has them: from 0 to its side.
    CanvasPixels,
}

impl CoordFrame {
    /// The map from original pixels to this frame.
    pub(super) fn lines(self, geometry: &Geometry) -> Lines {
        let [left, top, right, bottom] = geometry.window().map(f64::from);
        let content = geometry.content().map(f64::from);
        let side = f64::from(geometry.side());
        let line = |direction: usize, start: f64, end: f64| {
            let factor = match self {
                Self::Original => 1.0 / (end - start),
                Self::Canvas => content[direction] / (end - start) / side,
                Self::CanvasPixels => content[direction] / (end - start),
            };
            // Boxes may lie beside the image. Only a crop cuts them.
            let shown = if geometry.is_cropped() { [start, end] } else { [f64::NEG_INFINITY, f64::INFINITY] };
            NormalizedLine { start, end, shown, factor, is_flipped: geometry.flips()[direction] }
        };
        Lines { lines: [line(0, left, right), line(1, top, bottom)], is_turned: geometry.is_turned() }
    }
}

/// The map from the shown part of the original image to a frame.
pub(super) struct Lines {
    /// Of the original's directions.
    lines: [NormalizedLine; 2],
    is_turned: bool,
}

impl Lines {
    /// Whether a point of the original is shown.
    pub(super) fn shows(&self, [x, y]: [f64; 2]) -> bool {
        self.lines[0].shows(x) && self.lines[1].shows(y)
    }

    pub(super) fn point(&self, [x, y]: [f64; 2]) -> [f32; 2] {
        let [x, y] = [self.lines[0].point(x) as f32, self.lines[1].point(y) as f32];
        if self.is_turned { [y, x] } else { [x, y] }
    }
}

/// The map of one direction, from the shown part of the original image to a frame.
struct NormalizedLine {
    start: f64,
    end: f64,
    /// The first and the last coordinate that are shown.
    shown: [f64; 2],
    factor: f64,
    is_flipped: bool,
}

impl NormalizedLine {
    /// Whether a coordinate is shown.
    fn shows(&self, x: f64) -> bool {
        (self.shown[0]..=self.shown[1]).contains(&x)
    }

    fn point(&self, x: f64) -> f64 {
        let from_edge = if self.is_flipped { self.end - x } else { x - self.start };
        from_edge * self.factor
    }

    /// The start and the length of the shown part of `length` pixels from `x` on.
    fn part(&self, x: f64, length: f64) -> (f64, f64) {
        let ends = [x, x + length];
        let [from, to] = ends.map(|end| end.clamp(self.shown[0], self.shown[1]));
        let length = if [from, to] == ends { length } else { to - from };
        (self.point(if self.is_flipped { from + length } else { from }), length * self.factor)
    }
}

impl BoxFormat {
    /// Maps the shown part of a box of left, top, width and height, and converts it to this format.
    pub(super) fn normalize(self, [x, y, w, h]: [f64; 4], lines: &Lines) -> [f32; 4] {
        let (across, down) = (lines.lines[0].part(x, w), lines.lines[1].part(y, h));
        let ((x, w), (y, h)) = if lines.is_turned { (down, across) } else { (across, down) };
        let numbers = match self {
            Self::Xywh => [x, y, w, h],
            Self::Xyxy => [x, y, x + w, y + h],
            Self::CxCyWh => [x + w / 2.0, y + h / 2.0, w, h],
        };
        numbers.map(|v| v as f32)
    }
}

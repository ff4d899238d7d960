//! Whether an annotation's mask is the one that its area and its box describe.

use std::fmt;

use super::schema::{Annotation, sa1b_box};
use crate::Result;
use crate::mask::Rle;

/// Pixels by which an edge of the box may differ. SA-1B's boxes are one pixel narrower than COCO's.
const BOX_TOLERANCE: f64 = 2.0;

/// How an annotation differs from its mask. Its text says so in a sentence.
#[derive(Clone, Debug, PartialEq)]
pub struct MaskMismatch {
    /// The annotation's id.
    pub id: i64,
    /// The annotated area and that of the mask, if they differ by more than half the outline of the mask's box: areas
    /// of polygons differ by less.
    pub area: Option<[u64; 2]>,
    /// The annotated box and that of the mask, as x, y, width, height with width and height as max - min, if an edge
    /// differs by more than two pixels.
    pub bbox: Option<[[f64; 4]; 2]>,
}

impl MaskMismatch {
    /// Reads the annotation's mask into `mask`, and compares. `None` if area and box describe the mask. `height` and
    /// `width` are the image's.
    ///
    /// # Errors
    /// As [`Annotation::read_mask`].
    pub fn of(annotation: &Annotation<'_>, height: u32, width: u32, mask: &mut Rle) -> Result<Option<Self>> {
        annotation.read_mask(height, width, mask)?;
        let (area, bbox) = (mask.area(), sa1b_box(mask));
        let edges = |[x, y, w, h]: [f64; 4]| [x, y, x + w, y + h];
        let is_box = edges(bbox).iter().zip(edges(annotation.bbox)).all(|(a, b)| (a - b).abs() <= BOX_TOLERANCE);
        let [_, _, w, h] = mask.bbox();
        let is_area = area.abs_diff(annotation.area) <= u64::from(w) + u64::from(h);
        let mismatch = Self {
            id: annotation.id,
            area: (!is_area).then_some([annotation.area, area]),
            bbox: (!is_box).then_some([annotation.bbox, bbox]),
        };
        Ok((!is_area || !is_box).then_some(mismatch))
    }
}

impl fmt::Display for MaskMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "annotation {}: ", self.id)?;
        if let Some([annotated, counted]) = self.area {
            write!(f, "area is {annotated}, but the mask has {counted} pixels")?;
        }
        if let Some([annotated, found]) = self.bbox {
            let and = if self.area.is_some() { "; " } else { "" };
            write!(f, "{and}bbox is {annotated:?}, but that of the mask is {found:?}")?;
        }
        Ok(())
    }
}

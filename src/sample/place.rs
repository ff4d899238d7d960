//! Where the image of a sample goes on its canvas, and what is shown of its annotations there.

use super::boxes::Lines;
use super::{Geometry, SampleOptions};
use crate::Result;
use crate::annotation::{Annotation, AnnotationFile};
use crate::augment::{Augment, Draws, Frame, Purpose};
use crate::mask::Rle;

/// Augmentation with the numbers that are drawn for one sample.
pub(super) struct Augmenter {
    pub(super) augment: Augment,
    pub(super) draws: Draws,
}

/// What is shown of an annotation, in pixels of the original image.
pub(super) struct Shown {
    pub(super) bbox: [f64; 4],
    pub(super) area: u64,
    pub(super) point: Option<[f64; 2]>,
}

impl Shown {
    /// All of it.
    pub(super) fn annotated(annotation: &Annotation<'_>) -> Self {
        let point = annotation.point_coords.first().copied();
        Self { bbox: annotation.bbox, area: annotation.area, point }
    }
}

impl Augmenter {
    /// Where the image goes, and which of the candidates are shown there: crops are drawn until one shows a mask.
    pub(super) fn place(
        &self,
        options: &SampleOptions,
        file: &AnnotationFile<'_>,
        candidates: Vec<usize>,
        whole: Geometry,
        rle: &mut Rle,
    ) -> Result<(Geometry, Vec<usize>)> {
        let Self { augment, draws } = *self;
        let &SampleOptions { fit, side, .. } = options;
        let size = (whole.width(), whole.height());
        let frame = Frame { size, side, fit: &|width, height| fit.size(width, height, side) };
        let edges = |&index: &usize| {
            let [x, y, width, height] = file.annotations[index].bbox;
            [x, y, x + width, y + height]
        };
        let boxes: Vec<_> = candidates.iter().map(edges).collect();
        for attempt in 0..augment.crop_attempts {
            let geometry = whole.placed(augment.place(draws, attempt.into(), &frame, &boxes))?;
            if !geometry.is_cropped() || candidates.is_empty() {
                return Ok((geometry, candidates));
            }
            let mut shown = Vec::new();
            for &index in &candidates {
                file.annotations[index].read_mask(whole.height(), whole.width(), rle)?;
                let (visible, pixels) = (rle.window(geometry.window()).area, rle.area());
                if visible == pixels || augment.is_enough(visible, pixels) {
                    shown.push(index);
                }
            }
            if !shown.is_empty() {
                return Ok((geometry, shown));
            }
        }
        Ok((whole.placed(augment.whole(draws, &frame))?, candidates))
    }

    /// What a crop shows of an annotation and its mask.
    pub(super) fn shown(&self, annotation: &Annotation<'_>, mask: &Rle, geometry: &Geometry, lines: &Lines) -> Shown {
        let mut shown = Shown::annotated(annotation);
        let part = mask.window(geometry.window());
        let is_cut = part.area < mask.area();
        if is_cut && self.augment.tight_boxes {
            // Sides are one less than pixels, as SA-1B has them.
            let [x, y, width, height] = part.bbox.map(f64::from);
            shown.bbox = [x, y, width - 1.0, height - 1.0];
        }
        if is_cut && self.augment.visible_area {
            shown.area = part.area;
        }
        if shown.point.is_some_and(|point| !lines.shows(point)) {
            let number = self.draws.about(annotation.id).below(Purpose::Point, 0, part.area);
            shown.point = mask.pixel_in(geometry.window(), number).map(|pixel| pixel.map(|at| f64::from(at) + 0.5));
        }
        shown
    }
}

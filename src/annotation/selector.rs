//! The filter and the list of ids together: which annotations of an image are kept, and whether the image is.

use super::{AnnotationFile, AnnotationStats, IdList, MaskFilter, ScoreColumns};

/// Decides which annotations are kept, and which images.
#[derive(Clone, Debug, Default)]
pub(crate) struct AnnotationSelector {
    pub(crate) filter: MaskFilter,
    pub(crate) selection: Option<IdList>,
}

impl AnnotationSelector {
    /// Number of kept annotations of an image of `width` x `height` pixels.
    pub(crate) fn count(&self, image_id: i64, annotations: &[AnnotationStats], width: u32, height: u32) -> usize {
        annotations.iter().filter(|stats| self.keeps(image_id, stats, width, height)).count()
    }

    /// Whether an image with this many kept annotations is kept.
    pub(crate) fn keeps_image(&self, image_id: i64, kept: usize) -> bool {
        let is_listed = self.selection.as_ref().is_none_or(|ids| ids.index_of(image_id).is_some());
        is_listed && self.filter.meets_min_masks(kept)
    }

    /// The columns that [`AnnotationSelector::count`] reads.
    pub(crate) fn columns(&self) -> ScoreColumns {
        ScoreColumns { id: self.selection.is_some(), ..self.filter.columns() }
    }

    /// Indices of the kept annotations of a file, in file order.
    pub(crate) fn select(&self, file: &AnnotationFile<'_>) -> Vec<usize> {
        let AnnotationFile { image, annotations } = file;
        let keeps = |&i: &usize| self.keeps(image.image_id, &annotations[i].stats(), image.width, image.height);
        (0..annotations.len()).filter(keeps).collect()
    }

    fn keeps(&self, image_id: i64, stats: &AnnotationStats, width: u32, height: u32) -> bool {
        let is_listed = || self.selection.as_ref().is_none_or(|ids| ids.contains(image_id, stats.id));
        self.filter.keeps(stats, width, height) && is_listed()
    }
}

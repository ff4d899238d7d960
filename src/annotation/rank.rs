//! Which of the surviving annotations come first. Comes in: annotations and a ranking. Goes out: indices, best first,
//! the same on every run. Cannot fail.

use std::cmp::Ordering;

use serde::Serialize;

use super::{AnnotationFile, MaskFilter, Wanted};
use crate::mix::mix64;

/// The number by which annotations are ranked. Ties go to the higher `predicted_iou`, then to the lower `id`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum RankBy {
    /// Most stable first.
    #[default]
    StabilityScore,
    /// Most confident first.
    PredictedIou,
    /// Largest first.
    LargestArea,
    /// Smallest first.
    SmallestArea,
    /// A draw that depends on the seed and the annotation's id alone.
    Random {
        /// Seed of the draw.
        seed: u64,
    },
}

impl RankBy {
    /// Indices of the first `k` annotations of `file` that pass `filter`, best first.
    pub fn top_k(&self, file: &AnnotationFile<'_>, filter: &MaskFilter, k: usize) -> Vec<usize> {
        self.top_k_wanted(file, &Wanted { filter: filter.clone(), selection: None }, k)
    }

    /// The same of the annotations that are wanted.
    pub(crate) fn top_k_wanted(&self, file: &AnnotationFile<'_>, wanted: &Wanted, k: usize) -> Vec<usize> {
        let annotations = &file.annotations;
        let mut kept = wanted.kept(file);
        let better = |&a: &usize, &b: &usize| {
            let (a, b) = (&annotations[a], &annotations[b]);
            let first = match *self {
                Self::StabilityScore => b.stability_score.total_cmp(&a.stability_score),
                Self::PredictedIou => Ordering::Equal,
                Self::LargestArea => b.area.cmp(&a.area),
                Self::SmallestArea => a.area.cmp(&b.area),
                Self::Random { seed } => draw(seed, a.id).cmp(&draw(seed, b.id)),
            };
            first.then(b.predicted_iou.total_cmp(&a.predicted_iou)).then(a.id.cmp(&b.id))
        };
        if kept.len() > k && k > 0 {
            kept.select_nth_unstable_by(k - 1, better);
        }
        kept.truncate(k);
        kept.sort_unstable_by(better);
        kept
    }
}

/// Two mixes: seeds that differ in one bit must not merely exchange neighbours.
fn draw(seed: u64, id: i64) -> u64 {
    mix64(mix64(seed) ^ id as u64)
}

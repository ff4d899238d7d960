//! Which of the surviving annotations come first. Comes in: annotations and a ranking. Goes out: indices, best first,
//! the same on every run. Cannot fail.

use std::cmp::Ordering;

use serde::Serialize;

use super::{AnnotationFile, AnnotationSelector, MaskFilter};
use crate::splitmix::mix64;

/// Below the first share of its image an annotation is small, from the second one on it is large.
const CLASS_FRACTIONS: [f64; 2] = [0.01, 0.1];

/// The number by which annotations are ranked. Ties go to the higher `predicted_iou`, then to the lower `id`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum TopKBy {
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
    /// As many of each size as there are: small (below 1 % of the image's area), medium and large ones (from 10 % on) take
    /// turns, within each a draw that depends on the seed and the annotation's id alone. Most masks of a photo are small,
    /// and the most stable ones seldom are.
    AreaStratified {
        /// Seed of the draw.
        seed: u64,
    },
}

impl TopKBy {
    /// Indices of the first `k` annotations of `file` that pass `filter`, best first.
    pub fn top_k(&self, file: &AnnotationFile<'_>, filter: &MaskFilter, k: usize) -> Vec<usize> {
        self.top_k_wanted(file, &AnnotationSelector { filter: filter.clone(), selection: None }, k)
    }

    /// The same of the annotations that are wanted.
    pub(crate) fn top_k_wanted(&self, file: &AnnotationFile<'_>, wanted: &AnnotationSelector, k: usize) -> Vec<usize> {
        let annotations = &file.annotations;
        let mut kept = wanted.kept(file);
        if let Self::AreaStratified { seed } = *self {
            return in_turns(file, kept, seed, k);
        }
        let better = |&a: &usize, &b: &usize| {
            let (a, b) = (&annotations[a], &annotations[b]);
            let first = match *self {
                Self::StabilityScore => b.stability_score.total_cmp(&a.stability_score),
                Self::PredictedIou | Self::AreaStratified { .. } => Ordering::Equal,
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

/// The first `k` of these annotations, the classes of size taking turns.
fn in_turns(file: &AnnotationFile<'_>, mut kept: Vec<usize>, seed: u64, k: usize) -> Vec<usize> {
    let pixels = f64::from(file.image.width) * f64::from(file.image.height);
    let class = |index: usize| {
        let fraction = file.annotations[index].area as f64 / pixels;
        CLASS_FRACTIONS.iter().filter(|&&least| fraction >= least).count()
    };
    kept.sort_unstable_by_key(|&index| {
        let id = file.annotations[index].id;
        (draw(seed, id), id)
    });
    let mut turns = [0; CLASS_FRACTIONS.len() + 1];
    let mut in_turn: Vec<(usize, usize, usize)> = kept
        .into_iter()
        .map(|index| {
            let class = class(index);
            turns[class] += 1;
            (turns[class], class, index)
        })
        .collect();
    in_turn.sort_unstable();
    in_turn.into_iter().take(k).map(|(.., index)| index).collect()
}

/// Two mixes: seeds that differ in one bit must not merely exchange neighbours.
fn draw(seed: u64, id: i64) -> u64 {
    mix64(mix64(seed) ^ id as u64)
}

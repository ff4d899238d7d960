//! Which of an image's kept annotations come first. The choice is the same on every run.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{AnnotationFile, MaskFilter};
use crate::splitmix::mix64;

/// Bounds of the size classes, as fractions of the image: small, medium and large.
const CLASS_BOUNDS: [f64; 2] = [0.01, 0.1];

/// How the K masks of an image are chosen. Ties go to the higher `predicted_iou`, then to the lower `id`.
///
/// ```
/// use maskstream::{Loader, TopKBy};
///
/// // Twelve masks of each image: as many small as medium and large ones, where the image has them.
/// let builder = Loader::builder().top_k(12).top_k_by(TopKBy::AreaStratified { seed: 1 });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum TopKBy {
    /// Highest `stability_score` first. The default: use it for the masks with the cleanest outlines.
    #[default]
    StabilityScore,
    /// Highest `predicted_iou` first. Use it for the masks that the mask model is most confident of.
    PredictedIou,
    /// Largest area first. Use it for whole objects and for the background.
    LargestArea,
    /// Smallest area first. Use it for parts and small objects.
    SmallestArea,
    /// A random choice that depends on the seed and the annotation ids alone. Use it for masks that are distributed as
    /// the data set's are.
    Random {
        /// Seed of the choice.
        seed: u64,
    },
    /// Small, medium and large masks in turn: below 1 % of the image, from 1 % on, and from 10 % on. Within a class the
    /// choice is random, as in [`TopKBy::Random`]. Use it to train on all sizes: most masks of a photo are small, and
    /// the most stable ones rarely are.
    AreaStratified {
        /// Seed of the choice.
        seed: u64,
    },
}

impl TopKBy {
    /// Indices of the first `k` annotations of `file` that pass `filter`, best first.
    ///
    /// ```
    /// use maskstream::index::AnnotationFile;
    /// use maskstream::{MaskFilter, TopKBy};
    ///
    /// # let json = br#"{
    /// #     "image": {"image_id": 7, "width": 6, "height": 4, "file_name": "sa_7.jpg"},
    /// #     "annotations": [{
    /// #         "id": 70, "bbox": [2, 1, 1, 1], "area": 4, "predicted_iou": 0.95, "stability_score": 0.97,
    /// #         "point_coords": [[2.5, 1.5]], "crop_box": [0, 0, 6, 4],
    /// #         "segmentation": {"size": [4, 6], "counts": "92207"}
    /// #     }, {
    /// #         "id": 71, "bbox": [0, 0, 5, 3], "area": 24, "predicted_iou": 0.99, "stability_score": 0.96,
    /// #         "point_coords": [[2.5, 1.5]], "crop_box": [0, 0, 6, 4],
    /// #         "segmentation": {"size": [4, 6], "counts": [0, 24]}
    /// #     }]
    /// # }"#;
    /// let file = AnnotationFile::parse(json)?; // mask 0: 4 pixels, stability 0.97; mask 1: 24 pixels, stability 0.96
    /// let filter = MaskFilter::default();
    /// assert_eq!(TopKBy::StabilityScore.top_k(&file, &filter, 2), [0, 1]);
    /// assert_eq!(TopKBy::LargestArea.top_k(&file, &filter, 1), [1]);
    /// # Ok::<(), maskstream::Error>(())
    /// ```
    pub fn top_k(&self, file: &AnnotationFile<'_>, filter: &MaskFilter, k: usize) -> Vec<usize> {
        let AnnotationFile { image, annotations } = file;
        let keeps = |&i: &usize| filter.keeps(&annotations[i].stats(), image.width, image.height);
        self.top_k_of(file, (0..annotations.len()).filter(keeps).collect(), k)
    }

    /// The first `k` of `candidates`, which are indices of annotations of `file`, best first.
    pub(crate) fn top_k_of(&self, file: &AnnotationFile<'_>, mut candidates: Vec<usize>, k: usize) -> Vec<usize> {
        let annotations = &file.annotations;
        if let Self::AreaStratified { seed } = *self {
            return round_robin(file, candidates, seed, k);
        }
        let better = |&a: &usize, &b: &usize| {
            let (a, b) = (&annotations[a], &annotations[b]);
            let first = match *self {
                Self::StabilityScore => b.stability_score.total_cmp(&a.stability_score),
                Self::PredictedIou | Self::AreaStratified { .. } => Ordering::Equal,
                Self::LargestArea => b.area.cmp(&a.area),
                Self::SmallestArea => a.area.cmp(&b.area),
                Self::Random { seed } => random_key(seed, a.id).cmp(&random_key(seed, b.id)),
            };
            first.then(b.predicted_iou.total_cmp(&a.predicted_iou)).then(a.id.cmp(&b.id))
        };
        if candidates.len() > k && k > 0 {
            candidates.select_nth_unstable_by(k - 1, better);
        }
        candidates.truncate(k);
        candidates.sort_unstable_by(better);
        candidates
    }
}

impl fmt::Display for TopKBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StabilityScore => f.write_str("highest stability_score"),
            Self::PredictedIou => f.write_str("highest predicted_iou"),
            Self::LargestArea => f.write_str("largest area"),
            Self::SmallestArea => f.write_str("smallest area"),
            Self::Random { seed } => write!(f, "random with seed {seed}"),
            Self::AreaStratified { seed } => write!(f, "sizes in turn with seed {seed}"),
        }
    }
}

/// The first `k` of `candidates`, taken from the size classes in turn.
fn round_robin(file: &AnnotationFile<'_>, mut candidates: Vec<usize>, seed: u64, k: usize) -> Vec<usize> {
    let pixels = f64::from(file.image.width) * f64::from(file.image.height);
    let class_of = |index: usize| {
        let fraction = file.annotations[index].area as f64 / pixels;
        CLASS_BOUNDS.iter().filter(|&&bound| fraction >= bound).count()
    };
    candidates.sort_unstable_by_key(|&index| {
        let id = file.annotations[index].id;
        (random_key(seed, id), id)
    });
    let mut class_len = [0; CLASS_BOUNDS.len() + 1];
    let mut in_turn: Vec<(usize, usize, usize)> = candidates
        .into_iter()
        .map(|index| {
            let class = class_of(index);
            class_len[class] += 1;
            (class_len[class], class, index)
        })
        .collect();
    in_turn.sort_unstable();
    in_turn.into_iter().take(k).map(|(.., index)| index).collect()
}

/// A key to sort by at random. The seed is mixed twice: a single mix would only swap neighbours if two seeds differ in
/// one bit.
fn random_key(seed: u64, id: i64) -> u64 {
    mix64(mix64(seed) ^ id as u64)
}

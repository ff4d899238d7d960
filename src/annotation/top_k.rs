//! Which of an image's kept annotations come first. The same epoch has the same choice on every run.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{AnnotationFile, MaskFilter};
use crate::splitmix::mix64;

/// Bounds of the size classes, as fractions of the image: small, medium and large.
const CLASS_BOUNDS: [f64; 2] = [0.01, 0.1];

/// How the K masks of an image are chosen. Ties go to the higher `predicted_iou`, then to the lower `id`, then to the
/// one that comes first in the file. A score that the file does not have ranks last.
///
/// Random choices are drawn anew in each epoch, so that training sees all masks of an image in time, and for each image
/// independently. They depend on the seed, the number of the epoch, and the ids of image and annotations alone: an
/// epoch that is resumed or replayed has the same masks. The forms named `Fixed` choose the same masks in every epoch:
/// use them for evaluation, and with [`mask_cache_bytes`](crate::LoaderBuilder::mask_cache_bytes).
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
    /// A random choice, another one in each epoch. Use it for masks that are distributed as the data set's are.
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
    /// The choice of [`TopKBy::Random`] in epoch 0, in every epoch.
    FixedRandom {
        /// Seed of the choice.
        seed: u64,
    },
    /// The choice of [`TopKBy::AreaStratified`] in epoch 0, in every epoch.
    FixedAreaStratified {
        /// Seed of the choice.
        seed: u64,
    },
}

impl TopKBy {
    /// Indices of the first `k` annotations of `file` that pass `filter`, best first, in an epoch. Only
    /// [`TopKBy::Random`] and [`TopKBy::AreaStratified`] depend on the epoch.
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
    /// assert_eq!(TopKBy::StabilityScore.top_k(&file, &filter, 2, 0), [0, 1]);
    /// assert_eq!(TopKBy::LargestArea.top_k(&file, &filter, 1, 0), [1]);
    /// # Ok::<(), maskstream::Error>(())
    /// ```
    pub fn top_k(&self, file: &AnnotationFile<'_>, filter: &MaskFilter, k: usize, epoch: u64) -> Vec<usize> {
        let AnnotationFile { image, annotations } = file;
        let keeps = |&i: &usize| filter.keeps(&annotations[i].stats(), image.width, image.height);
        self.top_k_of(file, (0..annotations.len()).filter(keeps).collect(), k, epoch)
    }

    /// The first `k` of `candidates`, which are indices of annotations of `file`, best first.
    pub(crate) fn top_k_of(
        &self,
        file: &AnnotationFile<'_>,
        mut candidates: Vec<usize>,
        k: usize,
        epoch: u64,
    ) -> Vec<usize> {
        let annotations = &file.annotations;
        let better = |&i: &usize, &j: &usize| {
            let (a, b) = (&annotations[i], &annotations[j]);
            let first = match *self {
                Self::StabilityScore => higher(a.stability_score, b.stability_score),
                Self::LargestArea => b.area.cmp(&a.area),
                Self::SmallestArea => a.area.cmp(&b.area),
                _ => Ordering::Equal,
            };
            first.then_with(|| higher(a.predicted_iou, b.predicted_iou)).then_with(|| (a.id, i).cmp(&(b.id, j)))
        };
        match *self {
            Self::Random { seed } => shuffle(file, &mut candidates, seed, epoch),
            Self::FixedRandom { seed } => shuffle(file, &mut candidates, seed, 0),
            Self::AreaStratified { seed } => stratify(file, &mut candidates, seed, epoch),
            Self::FixedAreaStratified { seed } => stratify(file, &mut candidates, seed, 0),
            Self::StabilityScore | Self::PredictedIou | Self::LargestArea | Self::SmallestArea => {
                if candidates.len() > k && k > 0 {
                    candidates.select_nth_unstable_by(k - 1, better);
                    candidates.truncate(k);
                }
                candidates.sort_unstable_by(better);
            }
        }
        candidates.truncate(k);
        candidates
    }

    /// Whether each epoch has a draw of its own.
    pub(crate) fn differs_by_epoch(&self) -> bool {
        matches!(self, Self::Random { .. } | Self::AreaStratified { .. })
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
            Self::FixedRandom { seed } => write!(f, "random, the same in every epoch, with seed {seed}"),
            Self::FixedAreaStratified { seed } => {
                write!(f, "sizes in turn, the same in every epoch, with seed {seed}")
            }
        }
    }
}

/// Orders by descending score. A score that is missing comes last.
fn higher(a: f32, b: f32) -> Ordering {
    let or_last = |score: f32| if score.is_nan() { f32::NEG_INFINITY } else { score };
    or_last(b).total_cmp(&or_last(a))
}

/// Shuffles annotations. The order depends on the seed, the epoch, the image and the annotations' ids, but not on their
/// order in the file, unless ids repeat.
fn shuffle(file: &AnnotationFile<'_>, candidates: &mut [usize], seed: u64, epoch: u64) {
    let id = |index: usize| file.annotations[index].id;
    // Each is mixed on its own: a single mix would only swap neighbours where two seeds differ in one bit.
    let draw = [epoch, file.image.image_id as u64].into_iter().fold(mix64(seed), |key, part| mix64(key ^ part));
    candidates.sort_unstable_by_key(|&index| (id(index), index));
    let mut keyed = Vec::with_capacity(candidates.len());
    for same_id in candidates.chunk_by(|&a, &b| id(a) == id(b)) {
        keyed.extend((0..).zip(same_id).map(|(n, &index)| (mix64(mix64(draw ^ id(index) as u64) ^ n), index)));
    }
    keyed.sort_unstable();
    candidates.iter_mut().zip(keyed).for_each(|(candidate, (_, index))| *candidate = index);
}

/// Takes annotations from the size classes in turn, in random order within each.
fn stratify(file: &AnnotationFile<'_>, candidates: &mut [usize], seed: u64, epoch: u64) {
    let pixels = f64::from(file.image.width) * f64::from(file.image.height);
    let class_of = |index: usize| {
        let fraction = file.annotations[index].area as f64 / pixels;
        CLASS_BOUNDS.iter().filter(|&&bound| fraction >= bound).count()
    };
    shuffle(file, candidates, seed, epoch);
    let mut class_len = [0; CLASS_BOUNDS.len() + 1];
    let mut in_turn: Vec<(usize, usize, usize)> = candidates
        .iter()
        .map(|&index| {
            let class = class_of(index);
            class_len[class] += 1;
            (class_len[class], class, index)
        })
        .collect();
    in_turn.sort_unstable();
    candidates.iter_mut().zip(in_turn).for_each(|(candidate, (.., index))| *candidate = index);
}

//! What the indexes of the shards have, added up: one index at a time, in memory of fixed size.

use std::collections::BTreeMap;

use maskstream::MaskFilter;
use maskstream::index::{AnnotationStats, Entry, IndexedShard, LeftOut};
use rayon::prelude::*;

use super::curve::Curve;
use super::histogram::Histogram;
use super::quantity::{Histograms, OF_INDEX, Quantity};

/// Lower bounds of the scores; minus infinity for none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) predicted_iou: f32,
    pub(super) stability_score: f32,
}

impl Bounds {
    fn filter(self) -> MaskFilter {
        MaskFilter::all().min_predicted_iou(self.predicted_iou).min_stability_score(self.stability_score)
    }
}

/// Different image sizes that are counted; more of them are counted together.
const MAX_IMAGE_SIZES: usize = 1 << 14;

/// Samples that are worth a core of their own.
const MIN_PART: usize = 256;

#[derive(Clone, Debug)]
pub(super) struct Totals {
    bounds: Bounds,
    pub(super) images: u64,
    pub(super) masks: u64,
    /// Images made smaller by `repack --longest-side`.
    pub(super) derived_images: u64,
    pub(super) shard_bytes: u64,
    /// What the bounds keep.
    pub(super) kept_images: u64,
    pub(super) kept_masks: u64,
    pub(super) histograms: Histograms<12>,
    /// Each among the masks that pass the bound of the other score.
    pub(super) predicted_iou: Curve,
    pub(super) stability_score: Curve,
    /// Images by width and height.
    pub(super) image_sizes: BTreeMap<(u32, u32), u64>,
    pub(super) other_image_sizes: u64,
    pub(super) left_out: LeftOut,
    pub(super) findings: BTreeMap<String, u64>,
}

impl Totals {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            images: 0,
            masks: 0,
            derived_images: 0,
            shard_bytes: 0,
            kept_images: 0,
            kept_masks: 0,
            histograms: Histograms::new(OF_INDEX),
            predicted_iou: Curve::new(bounds.predicted_iou),
            stability_score: Curve::new(bounds.stability_score),
            image_sizes: BTreeMap::new(),
            other_image_sizes: 0,
            left_out: LeftOut::default(),
            findings: BTreeMap::new(),
        }
    }

    /// The figures of a shard, counted on all cores.
    pub(super) fn of(shard: &IndexedShard, bounds: Bounds) -> Self {
        let index = &shard.index;
        // Without the samples that no checksum vouches for: no loader uses them.
        let used: Vec<usize> =
            (0..index.entries().len()).filter(|at| index.is_verified(&index.entries()[*at])).collect();
        let count = |part: &[usize]| {
            let mut totals = Self::new(bounds);
            part.iter().for_each(|at| totals.add(&index.entries()[*at], index.stats(*at)));
            totals
        };
        let parts = used.par_chunks(used.len().div_ceil(rayon::current_num_threads()).max(MIN_PART)).map(count);
        let mut totals = parts.reduce(
            || Self::new(bounds),
            |mut sum, part| {
                sum.merge(&part);
                sum
            },
        );
        totals.shard_bytes = shard.shard_bytes;
        totals.left_out = index.left_out();
        for finding in index.findings() {
            *totals.findings.entry(finding.kind.to_string()).or_default() += 1;
        }
        totals
    }

    fn add(&mut self, entry: &Entry, scores: &[AnnotationStats]) {
        let Bounds { predicted_iou, stability_score } = self.bounds;
        self.images += 1;
        self.masks += scores.len() as u64;
        self.derived_images += u64::from(entry.derived().is_some());
        self.histograms.add(Quantity::MasksPerImage, [scores.len() as f64]);
        let [jpeg, json] = [entry.image.len, entry.annotations.len].map(f64::from);
        self.histograms.add(Quantity::ImageWidth, [f64::from(entry.width), f64::from(entry.height), jpeg, json]);
        self.add_image_sizes((entry.width, entry.height), 1);
        let pixels = f64::from(entry.width) * f64::from(entry.height);
        let filter = self.bounds.filter();
        let kept = scores.iter().filter(|score| filter.keeps(score, entry.width, entry.height)).count();
        self.kept_masks += kept as u64;
        self.kept_images += u64::from(kept > 0);
        for score in scores {
            let [box_width, box_height] = [score.box_width, score.box_height].map(f64::from);
            let has_sides = box_width > 0.0 && box_height > 0.0;
            let numbers = [
                f64::from(score.predicted_iou),
                f64::from(score.stability_score),
                score.area as f64,
                100.0 * score.area as f64 / pixels,
                box_width,
                box_height,
                if has_sides { box_width / box_height } else { f64::NAN },
            ];
            self.histograms.add(Quantity::PredictedIou, numbers);
        }
        // As the loader's filter has it: minus infinity is no bound, and a missing score, NaN, passes no other.
        let passes = |score: f32, bound: f32| bound == f32::NEG_INFINITY || score >= bound;
        let others = scores.iter().filter(|score| passes(score.stability_score, stability_score));
        self.predicted_iou.add(others.map(|score| score.predicted_iou));
        let others = scores.iter().filter(|score| passes(score.predicted_iou, predicted_iou));
        self.stability_score.add(others.map(|score| score.stability_score));
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.images += other.images;
        self.masks += other.masks;
        self.derived_images += other.derived_images;
        self.shard_bytes += other.shard_bytes;
        self.kept_images += other.kept_images;
        self.kept_masks += other.kept_masks;
        self.histograms.merge(&other.histograms);
        self.predicted_iou.merge(&other.predicted_iou);
        self.stability_score.merge(&other.stability_score);
        other.image_sizes.iter().for_each(|(size, images)| self.add_image_sizes(*size, *images));
        self.other_image_sizes += other.other_image_sizes;
        self.left_out += other.left_out;
        for (kind, count) in &other.findings {
            *self.findings.entry(kind.clone()).or_default() += count;
        }
    }

    pub(super) fn histograms(&self) -> impl Iterator<Item = (Quantity, &Histogram)> {
        self.histograms.iter()
    }

    fn add_image_sizes(&mut self, size: (u32, u32), images: u64) {
        if self.image_sizes.len() < MAX_IMAGE_SIZES || self.image_sizes.contains_key(&size) {
            *self.image_sizes.entry(size).or_default() += images;
        } else {
            self.other_image_sizes += images;
        }
    }
}

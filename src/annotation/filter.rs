//! The filter on annotations, and the numbers of an annotation that it reads.
//!
//! The index holds the same numbers, so a filter is applied without reading any JSON.

use std::fmt;

use serde::Serialize;

use crate::{Error, Result};

/// The lower bound of scores that are not bounded.
const NO_BOUND: f32 = f32::NEG_INFINITY;

/// The numbers of one annotation that a [`MaskFilter`] reads.
///
/// The index stores them, so planning an epoch reads no JSON. [`Annotation::stats`](super::Annotation::stats) returns
/// them for a parsed annotation. Two missing scores are equal.
#[derive(Clone, Copy, Debug, Default)]
pub struct AnnotationStats {
    /// The annotation's id.
    pub id: i64,
    /// The mask model's estimate of the mask's IoU: its confidence. Can exceed 1. NaN: the file has none.
    pub predicted_iou: f32,
    /// How little the mask changes with the threshold it was cut at. NaN: the file has none.
    pub stability_score: f32,
    /// Number of pixels in the mask.
    pub area: u64,
    /// Width of the annotated box in pixels.
    pub box_width: f32,
    /// Height of the annotated box in pixels.
    pub box_height: f32,
}

impl PartialEq for AnnotationStats {
    fn eq(&self, other: &Self) -> bool {
        let numbers =
            |row: &Self| [row.predicted_iou, row.stability_score, row.box_width, row.box_height].map(f32::to_bits);
        (self.id, self.area, numbers(self)) == (other.id, other.area, numbers(other))
    }
}

/// The fields of [`AnnotationStats`] to load from an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ScoreColumns {
    pub(crate) id: bool,
    pub(crate) predicted_iou: bool,
    pub(crate) stability_score: bool,
    pub(crate) area: bool,
    pub(crate) box_sides: bool,
}

impl ScoreColumns {
    pub(crate) const ALL: Self =
        Self { id: true, predicted_iou: true, stability_score: true, area: true, box_sides: true };
}

/// Bounds that annotations must meet to be kept, and the number of kept annotations that an image needs.
///
/// The default keeps annotations with `predicted_iou >= 0.88` and images with at least one of them. All bounds are
/// inclusive. An annotation without a score passes no bound on that score: begin with [`MaskFilter::all`] for data
/// without scores. Pass it to [`ShardSetBuilder::filter`](crate::ShardSetBuilder::filter).
///
/// ```
/// use maskstream::index::AnnotationStats;
/// use maskstream::MaskFilter;
///
/// let filter = MaskFilter::default()
///     .min_predicted_iou(0.9)
///     .min_stability_score(0.92)
///     .area(400, 1_000_000) // of the mask, in pixels
///     .area_fraction(0.0005, 0.8) // of the mask, as a share of the image
///     .box_side(16.0, 2000.0) // both sides of the box, in pixels
///     .min_masks(4); // images with fewer kept masks are left out
///
/// let mask = AnnotationStats {
///     id: 1,
///     predicted_iou: 0.95,
///     stability_score: 0.97,
///     area: 5000,
///     box_width: 90.0,
///     box_height: 80.0,
/// };
/// let thin = AnnotationStats { box_width: 8.0, ..mask };
/// let (width, height) = (1500, 2250); // of the image
/// assert!(filter.keeps(&mask, width, height));
/// assert!(!filter.keeps(&thin, width, height));
/// assert!(filter.keeps_image(&[mask; 4], width, height));
/// assert!(!filter.keeps_image(&[mask, mask, mask, thin], width, height));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[must_use]
pub struct MaskFilter {
    pub(super) min_predicted_iou: f32,
    pub(super) min_stability_score: f32,
    pub(super) min_area: u64,
    pub(super) max_area: u64,
    pub(super) min_area_fraction: f32,
    pub(super) max_area_fraction: f32,
    pub(super) min_box_side: f32,
    pub(super) max_box_side: f32,
    pub(super) min_masks: usize,
}

impl Default for MaskFilter {
    fn default() -> Self {
        Self { min_predicted_iou: 0.88, min_masks: 1, ..Self::all() }
    }
}

impl MaskFilter {
    /// A filter that keeps every annotation and every image, even an image without annotations.
    pub fn all() -> Self {
        Self {
            min_predicted_iou: NO_BOUND,
            min_stability_score: NO_BOUND,
            min_area: 0,
            max_area: u64::MAX,
            min_area_fraction: 0.0,
            max_area_fraction: f32::INFINITY,
            min_box_side: f32::NEG_INFINITY,
            max_box_side: f32::INFINITY,
            min_masks: 0,
        }
    }

    /// Keeps annotations with `predicted_iou >= min`. Default: 0.88.
    pub fn min_predicted_iou(mut self, min: f32) -> Self {
        self.min_predicted_iou = min;
        self
    }

    /// Keeps annotations with `stability_score >= min`. Default: no bound.
    pub fn min_stability_score(mut self, min: f32) -> Self {
        self.min_stability_score = min;
        self
    }

    /// Keeps masks of `min` to `max` pixels. Default: no bounds.
    pub fn area(mut self, min: u64, max: u64) -> Self {
        (self.min_area, self.max_area) = (min, max);
        self
    }

    /// Keeps masks that cover `min` to `max` of the image, as fractions from 0 to 1. Default: no bounds.
    pub fn area_fraction(mut self, min: f32, max: f32) -> Self {
        (self.min_area_fraction, self.max_area_fraction) = (min, max);
        self
    }

    /// Keeps annotations whose box has both sides within `min` to `max` pixels. Default: no bounds.
    pub fn box_side(mut self, min: f32, max: f32) -> Self {
        (self.min_box_side, self.max_box_side) = (min, max);
        self
    }

    /// Keeps images with at least `min` kept annotations. Default: 1.
    pub fn min_masks(mut self, min: usize) -> Self {
        self.min_masks = min;
        self
    }

    /// Whether an annotation is kept, in an image of `width` x `height` pixels.
    pub fn keeps(&self, stats: &AnnotationStats, width: u32, height: u32) -> bool {
        let fraction = stats.area as f64 / (f64::from(width) * f64::from(height));
        // A score that is missing is NaN, and fails every comparison.
        let reaches = |score: f32, min: f32| score >= min || min == NO_BOUND;
        reaches(stats.predicted_iou, self.min_predicted_iou)
            && reaches(stats.stability_score, self.min_stability_score)
            && (self.min_area..=self.max_area).contains(&stats.area)
            && fraction >= f64::from(self.min_area_fraction)
            && fraction <= f64::from(self.max_area_fraction)
            && stats.box_width.min(stats.box_height) >= self.min_box_side
            && stats.box_width.max(stats.box_height) <= self.max_box_side
    }

    /// Whether an image of `width` x `height` pixels with these annotations is kept.
    pub fn keeps_image(&self, annotations: &[AnnotationStats], width: u32, height: u32) -> bool {
        self.meets_min_masks(annotations.iter().filter(|stats| self.keeps(stats, width, height)).count())
    }

    /// Whether an image with this many kept annotations is kept.
    pub(crate) fn meets_min_masks(&self, kept: usize) -> bool {
        kept >= self.min_masks
    }

    /// The name of a score that the filter bounds and that none of these annotations has, so that none can pass.
    ///
    /// ```
    /// use maskstream::MaskFilter;
    /// use maskstream::index::AnnotationStats;
    ///
    /// let unscored = AnnotationStats { predicted_iou: f32::NAN, ..AnnotationStats::default() };
    /// assert_eq!(MaskFilter::default().missing_score(&[unscored]), Some("predicted_iou"));
    /// assert_eq!(MaskFilter::all().missing_score(&[unscored]), None);
    /// ```
    pub fn missing_score(&self, stats: &[AnnotationStats]) -> Option<&'static str> {
        let columns = self.columns();
        let is_missing =
            |score: fn(&AnnotationStats) -> f32| !stats.is_empty() && stats.iter().all(|stats| score(stats).is_nan());
        if columns.predicted_iou && is_missing(|stats| stats.predicted_iou) {
            Some("predicted_iou")
        } else if columns.stability_score && is_missing(|stats| stats.stability_score) {
            Some("stability_score")
        } else {
            None
        }
    }

    /// The columns that the filter reads: those with a bound.
    pub(crate) fn columns(&self) -> ScoreColumns {
        let all = Self::all();
        let area =
            |filter: &Self| (filter.min_area, filter.max_area, filter.min_area_fraction, filter.max_area_fraction);
        ScoreColumns {
            id: false,
            predicted_iou: self.min_predicted_iou != all.min_predicted_iou,
            stability_score: self.min_stability_score != all.min_stability_score,
            area: area(self) != area(&all),
            box_sides: (self.min_box_side, self.max_box_side) != (all.min_box_side, all.max_box_side),
        }
    }

    /// Refuses bounds that no annotation can meet.
    ///
    /// # Errors
    /// If a bound is NaN, or a lower bound is above its upper bound.
    pub(crate) fn check(&self) -> Result<()> {
        use std::cmp::Ordering::{Equal, Less};
        let empty = self.min_area > self.max_area
            || self.min_predicted_iou.is_nan()
            || self.min_stability_score.is_nan()
            || !matches!(self.min_area_fraction.partial_cmp(&self.max_area_fraction), Some(Less | Equal))
            || !matches!(self.min_box_side.partial_cmp(&self.max_box_side), Some(Less | Equal));
        if empty { Err(Error::config(format!("no annotation can pass the filter ({self})"))) } else { Ok(()) }
    }
}

/// Lists the bounds.
///
/// ```
/// use maskstream::MaskFilter;
///
/// assert_eq!(MaskFilter::default().to_string(), "predicted_iou >= 0.88, at least 1 mask");
/// assert_eq!(MaskFilter::all().area(400, u64::MAX).to_string(), "area >= 400 pixels");
/// assert_eq!(MaskFilter::all().to_string(), "no bounds");
/// ```
impl fmt::Display for MaskFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = Self::all();
        let bound = |name: &str, operator: &str, value: f32, all: f32, unit: &str| {
            (value != all).then(|| format!("{name} {operator} {value}{unit}"))
        };
        let area =
            |operator: &str, value: u64, all: u64| (value != all).then(|| format!("area {operator} {value} pixels"));
        let bounds = [
            bound("predicted_iou", ">=", self.min_predicted_iou, all.min_predicted_iou, ""),
            bound("stability_score", ">=", self.min_stability_score, all.min_stability_score, ""),
            area(">=", self.min_area, all.min_area),
            area("<=", self.max_area, all.max_area),
            bound("area", ">=", self.min_area_fraction, all.min_area_fraction, " of the image"),
            bound("area", "<=", self.max_area_fraction, all.max_area_fraction, " of the image"),
            bound("box side", ">=", self.min_box_side, all.min_box_side, " pixels"),
            bound("box side", "<=", self.max_box_side, all.max_box_side, " pixels"),
            match self.min_masks {
                0 => None,
                1 => Some("at least 1 mask".to_owned()),
                masks => Some(format!("at least {masks} masks")),
            },
        ];
        match bounds.into_iter().flatten().collect::<Vec<_>>().join(", ").as_str() {
            "" => f.write_str("no bounds"),
            bounds => f.write_str(bounds),
        }
    }
}

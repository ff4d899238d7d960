//! Which annotations count. Comes in: the few numbers of an annotation that the index also holds. Goes out: yes or no.
//! Building a filter fails on bounds that nothing can meet.

use serde::Serialize;

use crate::{Error, Result};

/// The numbers of one annotation that filters decide on; the index keeps them, so that no json is read to plan an
/// epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AnnotationStats {
    /// The annotation's id.
    pub id: i64,
    /// As annotated; the confidence.
    pub predicted_iou: f32,
    /// As annotated.
    pub stability_score: f32,
    /// Pixels in the mask.
    pub area: u64,
    /// Width of the annotated box in pixels.
    pub box_width: f32,
    /// Height of the annotated box in pixels.
    pub box_height: f32,
}

/// Which of a score's numbers somebody asks for.
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

/// Bounds an annotation must meet, and how many of an image must. The default keeps `predicted_iou >= 0.88` and images
/// with at least one such mask. All bounds are inclusive.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[must_use]
pub struct MaskFilter {
    min_predicted_iou: f32,
    min_stability_score: f32,
    min_area: u64,
    max_area: u64,
    min_area_fraction: f32,
    max_area_fraction: f32,
    min_box_side: f32,
    max_box_side: f32,
    min_masks: usize,
}

impl Default for MaskFilter {
    fn default() -> Self {
        Self { min_predicted_iou: 0.88, min_masks: 1, ..Self::all() }
    }
}

impl MaskFilter {
    /// A filter that every annotation and every image passes, also one without annotations.
    pub fn all() -> Self {
        Self {
            min_predicted_iou: f32::NEG_INFINITY,
            min_stability_score: f32::NEG_INFINITY,
            min_area: 0,
            max_area: u64::MAX,
            min_area_fraction: 0.0,
            max_area_fraction: f32::INFINITY,
            min_box_side: f32::NEG_INFINITY,
            max_box_side: f32::INFINITY,
            min_masks: 0,
        }
    }

    /// At least this `predicted_iou`.
    pub fn min_predicted_iou(mut self, least: f32) -> Self {
        self.min_predicted_iou = least;
        self
    }

    /// At least this `stability_score`.
    pub fn min_stability_score(mut self, least: f32) -> Self {
        self.min_stability_score = least;
        self
    }

    /// Between `least` and `most` pixels of area.
    pub fn area(mut self, least: u64, most: u64) -> Self {
        (self.min_area, self.max_area) = (least, most);
        self
    }

    /// Between `least` and `most` of the image's area, 0 to 1.
    pub fn area_fraction(mut self, least: f32, most: f32) -> Self {
        (self.min_area_fraction, self.max_area_fraction) = (least, most);
        self
    }

    /// Both sides of the annotated box between `least` and `most` pixels.
    pub fn box_side(mut self, least: f32, most: f32) -> Self {
        (self.min_box_side, self.max_box_side) = (least, most);
        self
    }

    /// Only images with at least this many surviving annotations.
    pub fn min_masks(mut self, least: usize) -> Self {
        self.min_masks = least;
        self
    }

    /// Whether an annotation of an image of `width` x `height` pixels survives.
    pub fn keeps(&self, score: &AnnotationStats, width: u32, height: u32) -> bool {
        let fraction = score.area as f64 / (f64::from(width) * f64::from(height));
        score.predicted_iou >= self.min_predicted_iou
            && score.stability_score >= self.min_stability_score
            && (self.min_area..=self.max_area).contains(&score.area)
            && fraction >= f64::from(self.min_area_fraction)
            && fraction <= f64::from(self.max_area_fraction)
            && score.box_width.min(score.box_height) >= self.min_box_side
            && score.box_width.max(score.box_height) <= self.max_box_side
    }

    /// Whether an image with these annotations enters the order.
    pub fn keeps_image(&self, scores: &[AnnotationStats], width: u32, height: u32) -> bool {
        self.is_enough(scores.iter().filter(|score| self.keeps(score, width, height)).count())
    }

    /// Whether an image enters the order of which so many annotations survive.
    pub(crate) fn is_enough(&self, annotations: usize) -> bool {
        annotations >= self.min_masks
    }

    /// The numbers it asks for: whatever the others are, its answer is the same.
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

    /// Refuses bounds that nothing can meet.
    ///
    /// # Errors
    /// If a bound is NaN or a lower bound lies above its upper one.
    pub(crate) fn check(&self) -> Result<()> {
        use std::cmp::Ordering::{Equal, Less};
        let empty = self.min_area > self.max_area
            || self.min_predicted_iou.is_nan()
            || self.min_stability_score.is_nan()
            || !matches!(self.min_area_fraction.partial_cmp(&self.max_area_fraction), Some(Less | Equal))
            || !matches!(self.min_box_side.partial_cmp(&self.max_box_side), Some(Less | Equal));
        if empty { Err(Error::config(format!("no annotation can pass this filter: {self:?}"))) } else { Ok(()) }
    }
}

//! The bounds of a filter as a cursor saves them: those that are set, by name.

use serde::{Deserialize, Deserializer, Serialize};

use super::MaskFilter;

/// The bounds of a [`MaskFilter`]; `None` where it has none. JSON has no infinity, so the filter itself cannot be
/// saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct FilterBounds {
    #[serde(deserialize_with = "finite")]
    min_predicted_iou: Option<f32>,
    #[serde(deserialize_with = "finite")]
    min_stability_score: Option<f32>,
    min_area: Option<u64>,
    max_area: Option<u64>,
    #[serde(deserialize_with = "finite")]
    min_area_fraction: Option<f32>,
    #[serde(deserialize_with = "finite")]
    max_area_fraction: Option<f32>,
    #[serde(deserialize_with = "finite")]
    min_box_side: Option<f32>,
    #[serde(deserialize_with = "finite")]
    max_box_side: Option<f32>,
    min_masks: u64,
}

/// A number beyond the range of `f32` would be saved as no bound, so it is none.
fn finite<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f32>, D::Error> {
    Ok(Option::deserialize(deserializer)?.filter(|bound: &f32| bound.is_finite()))
}

/// A bound that differs from that of a filter which keeps everything.
fn set<T: PartialEq>(bound: T, all: T) -> Option<T> {
    (bound != all).then_some(bound)
}

impl From<&MaskFilter> for FilterBounds {
    fn from(filter: &MaskFilter) -> Self {
        let all = MaskFilter::all();
        // All fields are named, so that a new bound cannot be forgotten.
        let MaskFilter {
            min_predicted_iou,
            min_stability_score,
            min_area,
            max_area,
            min_area_fraction,
            max_area_fraction,
            min_box_side,
            max_box_side,
            min_masks,
        } = *filter;
        Self {
            min_predicted_iou: set(min_predicted_iou, all.min_predicted_iou),
            min_stability_score: set(min_stability_score, all.min_stability_score),
            min_area: set(min_area, all.min_area),
            max_area: set(max_area, all.max_area),
            min_area_fraction: set(min_area_fraction, all.min_area_fraction),
            max_area_fraction: set(max_area_fraction, all.max_area_fraction),
            min_box_side: set(min_box_side, all.min_box_side),
            max_box_side: set(max_box_side, all.max_box_side),
            min_masks: min_masks as u64,
        }
    }
}

impl From<FilterBounds> for MaskFilter {
    fn from(bounds: FilterBounds) -> Self {
        let all = Self::all();
        Self {
            min_predicted_iou: bounds.min_predicted_iou.unwrap_or(all.min_predicted_iou),
            min_stability_score: bounds.min_stability_score.unwrap_or(all.min_stability_score),
            min_area: bounds.min_area.unwrap_or(all.min_area),
            max_area: bounds.max_area.unwrap_or(all.max_area),
            min_area_fraction: bounds.min_area_fraction.unwrap_or(all.min_area_fraction),
            max_area_fraction: bounds.max_area_fraction.unwrap_or(all.max_area_fraction),
            min_box_side: bounds.min_box_side.unwrap_or(all.min_box_side),
            max_box_side: bounds.max_box_side.unwrap_or(all.max_box_side),
            min_masks: usize::try_from(bounds.min_masks).unwrap_or(usize::MAX),
        }
    }
}

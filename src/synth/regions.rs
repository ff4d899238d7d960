//! Turns the regions of a label map into annotations: the JSON member of one image.

use super::json::{Annotation, Document, Image, Number, Segmentation, encode, stem};
use super::labels::LabelMap;
use super::rng::Rng;
use crate::Result;
use crate::mask::Rle;

/// One annotation in this many has an integer box; in a file, they come after those with floats.
const ANNOTATIONS_PER_INT_BOX: usize = 8;

/// The JSON member for the regions of `map` with at least `min_area` visible pixels, and the number of these regions.
pub(super) fn annotate(map: &LabelMap, image_id: i64, min_area: u64, rng: &mut Rng) -> Result<(Vec<u8>, usize)> {
    let mut masks = visible_masks(map, min_area)?;
    rng.shuffle(&mut masks);
    let floats = masks.len() - masks.len() / ANNOTATIONS_PER_INT_BOX;
    let annotations: Vec<_> = masks
        .iter()
        .enumerate()
        .map(|(index, mask)| {
            let number = |value: u32| if index < floats { Number::Float(f64::from(value)) } else { Number::Int(value) };
            annotation(mask, annotation_id(image_id, index), number, rng)
        })
        .collect();
    let count = annotations.len();
    let image = Image { image_id, width: map.width, height: map.height, file_name: format!("{}.jpg", stem(image_id)) };
    Ok((encode(&Document { image, annotations })?, count))
}

/// Ids are unique over all images, and larger than 32 bits.
fn annotation_id(image_id: i64, index: usize) -> i64 {
    image_id.wrapping_shl(32).wrapping_add(index as i64)
}

/// The masks to write: large enough, not the whole image, and without duplicates. A region of which only one part is
/// visible would have the same mask as that part.
fn visible_masks(map: &LabelMap, min_area: u64) -> Result<Vec<Rle>> {
    let masks = map.masks()?;
    let areas: Vec<u64> = masks.iter().map(Rle::area).collect();
    let pixels = u64::from(map.width) * u64::from(map.height);
    let mut keep: Vec<bool> = areas.iter().map(|&area| area >= min_area && area < pixels).collect();
    for label in 0..map.len() {
        if let Some(parent) = map.parent(label as u16)
            && areas[usize::from(parent)] == areas[label]
        {
            keep[usize::from(parent)] = false;
        }
    }
    Ok(masks.into_iter().zip(keep).filter_map(|(mask, keep)| keep.then_some(mask)).collect())
}

fn annotation(mask: &Rle, id: i64, number: impl Fn(u32) -> Number, rng: &mut Rng) -> Annotation {
    let [x, y, width, height] = mask.bbox();
    // A few are below the usual threshold of 0.88, so that a filter has something to drop, and a few above 1.
    let predicted_iou = if rng.chance(0.04) { rng.range(0.86, 0.88) } else { 0.88 + 0.075 * (rng.unit() + rng.unit()) };
    let stability_score = 1.0 - 0.07 * rng.unit() * rng.unit();
    Annotation {
        bbox: [x, y, width.saturating_sub(1), height.saturating_sub(1)].map(&number),
        area: mask.area(),
        segmentation: Segmentation { size: [mask.height(), mask.width()], counts: mask.to_counts() },
        predicted_iou: f64::from(predicted_iou),
        point_coords: [point_inside(mask, rng)],
        crop_box: [0, 0, mask.width(), mask.height()].map(&number),
        id,
        stability_score: f64::from(stability_score),
    }
}

/// A point inside the mask: the middle of a vertical run of pixels, chosen at random. It lies a quarter of a pixel past
/// the pixel's corner, so that rounding and truncating both give that pixel.
fn point_inside(mask: &Rle, rng: &mut Rng) -> [f64; 2] {
    let height = u64::from(mask.height());
    let (mut start, mut skip) = (0_u64, rng.below(mask.area()));
    for pair in mask.runs().chunks_exact(2) {
        let (begin, len) = (start + u64::from(pair[0]), u64::from(pair[1]));
        if skip < len {
            let column = (begin + skip) / height;
            let (top, bottom) = (begin.max(column * height), (begin + len).min((column + 1) * height));
            let row = (top + bottom) / 2 - column * height;
            return [column as f64 + 0.25, row as f64 + 0.25];
        }
        (start, skip) = (begin + len, skip - len);
    }
    [0.25, 0.25]
}

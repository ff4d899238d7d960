//! Overlap of masks and boxes: intersection over union, and non-maximum suppression.
//!
//! All masks of a call must have the same size, and the lengths of the lists must match; otherwise an error is
//! returned.

use std::cmp::Ordering;

use super::{Rle, RleError, boolean::intersection_pixels, columns::ColumnIndex, rle::check_len, rle::check_same_sizes};

/// Intersection over union (IoU) of each mask of `dt` with each mask of `gt`: `dt.len()` x `gt.len()` values,
/// row-major. Where `crowd` is set for a mask of `gt`, the union is replaced by the area of the `dt` mask (COCO's
/// `iscrowd`). The IoU of two empty masks is 0.
///
/// # Errors
/// Returns [`RleError::Sizes`] if the masks differ in size (its index counts through `dt`, then `gt`), and
/// [`RleError::Size`] if `crowd` does not have one value per mask of `gt`.
///
/// ```
/// use maskstream::mask::{Rle, iou};
///
/// // Columns 0 and 1, and columns 1 and 2, of an image of 2 x 4 pixels.
/// let (dt, gt) = (Rle::from_runs(vec![0, 4, 4], 2, 4)?, Rle::from_runs(vec![2, 4, 2], 2, 4)?);
/// assert_eq!(iou(&[dt.clone()], &[gt.clone()], None)?, [2.0 / 6.0]);
/// assert_eq!(iou(&[dt], &[gt], Some(&[true]))?, [2.0 / 4.0]);
/// # Ok::<(), maskstream::mask::RleError>(())
/// ```
pub fn iou(dt: &[Rle], gt: &[Rle], crowd: Option<&[bool]>) -> Result<Vec<f64>, RleError> {
    check_crowd(gt.len(), crowd)?;
    check_same_sizes(dt.iter().chain(gt))?;
    if dt.len() == 1 || gt.len() == 1 {
        // Each mask is used once, so building an index does not pay.
        return Ok(iou_matrix(dt, gt, crowd, intersection_pixels, Rle::area));
    }
    Ok(iou_matrix(&ColumnIndex::of_all(dt), &ColumnIndex::of_all(gt), crowd, ColumnIndex::intersection, |mask| {
        mask.area
    }))
}

/// Intersection over union of boxes `[x, y, width, height]`. The layout of the result and `crowd` are as in [`iou`].
/// Boxes that only touch or have no area have an IoU of 0.
///
/// # Errors
/// Returns [`RleError::Size`] if `crowd` does not have one value per box of `gt`, and [`RleError::Coordinate`] for a
/// value that is not finite or beyond 1e100 (its index counts through the values of `dt`, then `gt`).
///
/// ```
/// use maskstream::mask::box_iou;
///
/// assert_eq!(box_iou(&[[0.0, 0.0, 2.0, 2.0]], &[[1.0, 0.0, 2.0, 2.0]], None)?, [2.0 / 6.0]);
/// # Ok::<(), maskstream::mask::RleError>(())
/// ```
pub fn box_iou(dt: &[[f64; 4]], gt: &[[f64; 4]], crowd: Option<&[bool]>) -> Result<Vec<f64>, RleError> {
    check_crowd(gt.len(), crowd)?;
    for (index, &value) in dt.iter().chain(gt).flatten().enumerate() {
        if value.is_nan() || value.abs() > 1e100 {
            return Err(RleError::Coordinate { index, value });
        }
    }
    let of_gt = |f: fn(&[f64; 4]) -> f64| gt.iter().map(f).collect::<Vec<f64>>();
    let (left, top) = (of_gt(|b| b[0]), of_gt(|b| b[1]));
    let (right, bottom) = (of_gt(|b| b[0] + b[2]), of_gt(|b| b[1] + b[3]));
    let areas = of_gt(|b| b[2] * b[3]);
    let mut out = vec![0.0; dt.len() * gt.len()];
    for (&[x, y, w, h], row) in dt.iter().zip(out.chunks_exact_mut(gt.len().max(1))) {
        // Slices of equal length let the compiler vectorize the loop.
        let (left, top, right, bottom) =
            (&left[..row.len()], &top[..row.len()], &right[..row.len()], &bottom[..row.len()]);
        let areas = &areas[..row.len()];
        for i in 0..row.len() {
            let intersection = overlap(x, x + w, left[i], right[i]) * overlap(y, y + h, top[i], bottom[i]);
            let union = w * h + areas[i] - intersection;
            row[i] = if intersection > 0.0 { intersection / union } else { 0.0 };
        }
        for i in (0..row.len()).filter(|&i| crowd.is_some_and(|crowd| crowd[i])) {
            let intersection = overlap(x, x + w, left[i], right[i]) * overlap(y, y + h, top[i], bottom[i]);
            row[i] = ratio(intersection, w * h);
        }
    }
    Ok(out)
}

/// Length of the overlap of two intervals. The values are never NaN, so plain comparisons do, which compile to fewer
/// instructions than `f64::min`.
#[inline]
fn overlap(from: f64, to: f64, other_from: f64, other_to: f64) -> f64 {
    let start = if from > other_from { from } else { other_from };
    let end = if to < other_to { to } else { other_to };
    if end > start { end - start } else { 0.0 }
}

/// Non-maximum suppression (NMS): visits the masks in descending order of score (ties in list order) and keeps each
/// mask whose IoU with every mask kept so far is at most `threshold`. Returns the indices of the kept masks in that
/// order.
///
/// # Errors
/// Returns [`RleError::Sizes`] if the masks differ in size, [`RleError::Size`] if there is not one score per mask,
/// [`RleError::Score`] if a score is NaN, and [`RleError::Tolerance`] if `threshold` is NaN.
///
/// ```
/// use maskstream::mask::{Rle, nms};
///
/// // 1 row, 8 columns. The first two masks have an IoU of 3 / 5; the third is disjoint from both.
/// let masks = [vec![0, 4, 4], vec![1, 4, 3], vec![6, 2]].map(|runs| Rle::from_runs(runs, 1, 8).unwrap());
/// assert_eq!(nms(&masks, &[0.8, 0.9, 0.7], 0.5)?, [1, 2]);
/// # Ok::<(), maskstream::mask::RleError>(())
/// ```
pub fn nms(masks: &[Rle], scores: &[f32], threshold: f64) -> Result<Vec<usize>, RleError> {
    check_len(masks.len() as u64, scores.len())?;
    check_same_sizes(masks)?;
    if threshold.is_nan() {
        return Err(RleError::Tolerance { value: threshold });
    }
    if let Some(index) = scores.iter().position(|score| score.is_nan()) {
        return Err(RleError::Score { index });
    }
    let mut order: Vec<usize> = (0..masks.len()).collect();
    order.sort_by(|&a, &b| scores[b].partial_cmp(&scores[a]).unwrap_or(Ordering::Equal));
    let columns = ColumnIndex::of_all(masks);
    let mut kept: Vec<usize> = Vec::new();
    for i in order {
        let overlaps = |&k: &usize| {
            let intersection = columns[i].intersection(&columns[k]);
            ratio(intersection as f64, (columns[i].area + columns[k].area - intersection) as f64) > threshold
        };
        if !kept.iter().any(overlaps) {
            kept.push(i);
        }
    }
    Ok(kept)
}

fn check_crowd(expected: usize, crowd: Option<&[bool]>) -> Result<(), RleError> {
    crowd.map_or(Ok(()), |crowd| check_len(expected as u64, crowd.len()))
}

fn ratio(intersection: f64, union: f64) -> f64 {
    if intersection > 0.0 { intersection / union } else { 0.0 }
}

fn iou_matrix<T>(
    dt: &[T],
    gt: &[T],
    crowd: Option<&[bool]>,
    intersection: impl Fn(&T, &T) -> u64,
    area: impl Fn(&T) -> u64,
) -> Vec<f64> {
    let areas: Vec<u64> = gt.iter().map(&area).collect();
    let mut out = Vec::with_capacity(dt.len() * gt.len());
    for a in dt {
        let area = area(a);
        for (index, b) in gt.iter().enumerate() {
            let intersection = intersection(a, b);
            let crowd = crowd.is_some_and(|crowd| crowd[index]);
            let union = if crowd { area } else { area + (areas[index] - intersection) };
            out.push(ratio(intersection as f64, union as f64));
        }
    }
    out
}

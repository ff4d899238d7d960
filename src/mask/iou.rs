//! How much masks and boxes overlap. Comes in: lists of masks of one size, or of boxes. Goes out: intersections over
//! unions, or which masks survive non-maximum suppression. Fails on masks of different sizes and on lists that do not
//! fit each other.

use std::cmp::Ordering;

use super::{Rle, RleError, boolean::shared_pixels, columns::Columns, rle::check_len, rle::check_same_sizes};

/// Intersection over union of each mask of `dt` with each of `gt`: `dt.len()` x `gt.len()` values, row-major. Where
/// `crowd` is set for a mask of `gt`, the union is the area of the `dt` mask alone (COCO's `iscrowd`). Two empty masks
/// have 0.
///
/// # Errors
/// [`RleError::Sizes`] if the masks are not all of one size (numbered through `dt`, then `gt`), [`RleError::Size`] if
/// `crowd` is not as long as `gt`.
pub fn iou(dt: &[Rle], gt: &[Rle], crowd: Option<&[bool]>) -> Result<Vec<f64>, RleError> {
    check_crowd(gt.len(), crowd)?;
    check_same_sizes(dt.iter().chain(gt))?;
    if dt.len() == 1 || gt.len() == 1 {
        // Each mask is looked at once: nothing to prepare.
        return Ok(matrix(dt, gt, crowd, shared_pixels, Rle::area));
    }
    Ok(matrix(&Columns::of_all(dt), &Columns::of_all(gt), crowd, Columns::intersection, |mask| mask.area))
}

/// Intersection over union of boxes `[x, y, width, height]`, laid out and with `crowd` as in [`iou`]. Boxes that only
/// touch, or have no area, have 0.
///
/// # Errors
/// [`RleError::Size`] if `crowd` is not as long as `gt`, [`RleError::Coordinate`] for a number that is not finite
/// or beyond 1e100 (numbered through `dt`, then `gt`).
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
        // Slices of one length: vector instructions.
        let (left, top, right, bottom) =
            (&left[..row.len()], &top[..row.len()], &right[..row.len()], &bottom[..row.len()]);
        let areas = &areas[..row.len()];
        for i in 0..row.len() {
            let shared = overlap(x, x + w, left[i], right[i]) * overlap(y, y + h, top[i], bottom[i]);
            let all = w * h + areas[i] - shared;
            row[i] = if shared > 0.0 { shared / all } else { 0.0 };
        }
        for i in (0..row.len()).filter(|&i| crowd.is_some_and(|crowd| crowd[i])) {
            let shared = overlap(x, x + w, left[i], right[i]) * overlap(y, y + h, top[i], bottom[i]);
            row[i] = ratio(shared, w * h);
        }
    }
    Ok(out)
}

/// Length that two stretches share. None of the numbers is NaN, so that a comparison is one instruction, unlike
/// `f64::min`.
#[inline]
fn overlap(from: f64, to: f64, other_from: f64, other_to: f64) -> f64 {
    let start = if from > other_from { from } else { other_from };
    let end = if to < other_to { to } else { other_to };
    if end > start { end - start } else { 0.0 }
}

/// Non-maximum suppression: goes through the masks from the highest score down (ties: as listed) and keeps those whose
/// intersection over union with every kept mask is at most `threshold`. Returns the indices kept, in that order.
///
/// # Errors
/// [`RleError::Sizes`] if the masks are not all of one size, [`RleError::Size`] if there is not one score for each,
/// [`RleError::Score`] for a score that is not a number, [`RleError::Tolerance`] for such a threshold.
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
    let columns = Columns::of_all(masks);
    let mut kept: Vec<usize> = Vec::new();
    for i in order {
        let overlaps = |&k: &usize| {
            let shared = columns[i].intersection(&columns[k]);
            ratio(shared as f64, (columns[i].area + columns[k].area - shared) as f64) > threshold
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

fn ratio(shared: f64, all: f64) -> f64 {
    if shared > 0.0 { shared / all } else { 0.0 }
}

fn matrix<T>(
    dt: &[T],
    gt: &[T],
    crowd: Option<&[bool]>,
    shared: impl Fn(&T, &T) -> u64,
    area: impl Fn(&T) -> u64,
) -> Vec<f64> {
    let areas: Vec<u64> = gt.iter().map(&area).collect();
    let mut out = Vec::with_capacity(dt.len() * gt.len());
    for a in dt {
        let area = area(a);
        for (index, b) in gt.iter().enumerate() {
            let shared = shared(a, b);
            let crowd = crowd.is_some_and(|crowd| crowd[index]);
            let all = if crowd { area } else { area + (areas[index] - shared) };
            out.push(ratio(shared as f64, all as f64));
        }
    }
    out
}

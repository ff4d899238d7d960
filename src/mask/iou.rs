//! How much masks and boxes overlap. Comes in: lists of masks of one size, or of boxes. Goes out: intersections over
//! unions, or which masks survive non-maximum suppression. Fails on masks of different sizes and on lists that do not
//! fit each other.
//!
//! # How
//!
//! Masks whose boxes do not meet are done. For the others the segments of eight neighbouring columns stand side by
//! side, first segments with first segments, second with second: the overlap of eight columns is a minimum, a maximum
//! and a difference of eight numbers each, which the compiler turns into vector instructions.

use std::cmp::Ordering;

use super::{Rle, RleError, boolean::shared_pixels, rle::check_len};

/// Intersection over union of each mask of `dt` with each of `gt`: `dt.len()` x `gt.len()` values, row-major. Where
/// `crowd` is set for a mask of `gt`, the union is the area of the `dt` mask alone (COCO's `iscrowd`). Two empty masks
/// have 0.
///
/// # Errors
/// [`RleError::Sizes`] if the masks are not all of one size (numbered through `dt`, then `gt`), [`RleError::Size`] if
/// `crowd` is not as long as `gt`.
pub fn iou(dt: &[Rle], gt: &[Rle], crowd: Option<&[bool]>) -> Result<Vec<f64>, RleError> {
    check_crowd(gt.len(), crowd)?;
    check_sizes(dt.iter().chain(gt))?;
    let (dt, gt) = (Columns::of_all(dt), Columns::of_all(gt));
    Ok(matrix(&dt, &gt, crowd, |a, b| a.intersection(b) as f64, |mask| mask.area as f64))
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
    let side = |a: &[f64; 4], b: &[f64; 4], i: usize| (a[i] + a[i + 2]).min(b[i] + b[i + 2]) - a[i].max(b[i]);
    let shared = |a: &[f64; 4], b: &[f64; 4]| side(a, b, 0).max(0.0) * side(a, b, 1).max(0.0);
    Ok(matrix(dt, gt, crowd, shared, |b| b[2] * b[3]))
}

/// Non-maximum suppression: goes through the masks from the highest score down (ties: as listed) and keeps those whose
/// intersection over union with every kept mask is at most `threshold`. Returns the indices kept, in that order.
///
/// # Errors
/// [`RleError::Sizes`] if the masks are not all of one size, [`RleError::Size`] if there is not one score for each,
/// [`RleError::Score`] for a score that is not a number.
pub fn nms(masks: &[Rle], scores: &[f32], threshold: f64) -> Result<Vec<usize>, RleError> {
    check_len(masks.len() as u64, scores.len())?;
    check_sizes(masks.iter())?;
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

fn check_sizes<'a>(mut masks: impl Iterator<Item = &'a Rle>) -> Result<(), RleError> {
    let Some(first) = masks.next() else { return Ok(()) };
    masks.enumerate().try_for_each(|(index, mask)| first.check_same_size(mask, index + 1))
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
    shared: impl Fn(&T, &T) -> f64,
    area: impl Fn(&T) -> f64,
) -> Vec<f64> {
    let mut out = Vec::with_capacity(dt.len() * gt.len());
    for a in dt {
        for (index, b) in gt.iter().enumerate() {
            let shared = shared(a, b);
            let crowd = crowd.is_some_and(|crowd| crowd[index]);
            out.push(ratio(shared, if crowd { area(a) } else { area(a) + area(b) - shared }));
        }
    }
    out
}

/// Columns that are looked at together.
const LANES: usize = 8;
/// Layers beyond which comparing each with each costs more than merging.
const MANY_LAYERS: usize = 16;
/// Groups of columns that any mask may have; others only as many more as they have runs.
const FEW_GROUPS: usize = 1 << 12;

/// One segment of each of [`LANES`] columns: rows `top..bottom`, both 0 where a column has none.
#[derive(Clone, Copy, Default)]
struct Layer {
    top: [i16; LANES],
    bottom: [i16; LANES],
}

/// A mask by columns, made for many intersections.
struct Columns<'a> {
    mask: &'a Rle,
    area: u64,
    /// Left, top, right and bottom of the box around the mask; right and bottom lie outside.
    bounds: [u32; 4],
    /// The first group of columns that `groups` speaks of.
    first: usize,
    /// Where each group's layers begin; one more for the end. Empty for an image too high for 16 bits, and for few runs in
    /// very many columns.
    groups: Vec<u32>,
    layers: Vec<Layer>,
}

impl<'a> Columns<'a> {
    fn of_all(masks: &'a [Rle]) -> Vec<Self> {
        masks.iter().map(Self::new).collect()
    }

    fn new(mask: &'a Rle) -> Self {
        let [left, top, width, height] = mask.bbox();
        let bounds = [left, top, left + width, top + height];
        let first = left as usize / LANES;
        let mut columns = Self { mask, area: mask.area(), bounds, first, groups: Vec::new(), layers: Vec::new() };
        if mask.height() <= i16::MAX as u32 && width as usize / LANES <= mask.runs().len() + FEW_GROUPS {
            columns.fill();
        }
        columns
    }

    fn fill(&mut self) {
        let groups = (self.bounds[2] as usize).div_ceil(LANES) - self.first;
        self.groups.reserve(groups + 1);
        self.layers.reserve(self.mask.runs().len() / 8);
        // Layers in use by each column of the last group.
        let mut used = [0; LANES];
        self.mask.for_each_segment(|x, top, bottom| {
            let group = x as usize / LANES - self.first;
            while self.groups.len() <= group {
                self.groups.push(self.layers.len() as u32);
                used = [0; LANES];
            }
            let lane = x as usize % LANES;
            let layer = self.groups[group] as usize + used[lane];
            used[lane] += 1;
            if layer == self.layers.len() {
                self.layers.push(Layer::default());
            }
            self.layers[layer].top[lane] = top as i16;
            self.layers[layer].bottom[lane] = bottom as i16;
        });
        self.groups.push(self.layers.len() as u32);
    }

    /// Pixels that both masks have.
    fn intersection(&self, other: &Self) -> u64 {
        let [a, b] = [self.bounds, other.bounds];
        let (left, right) = (a[0].max(b[0]), a[2].min(b[2]));
        if left >= right || a[1].max(b[1]) >= a[3].min(b[3]) {
            return 0;
        }
        if self.groups.is_empty() || other.groups.is_empty() {
            return shared_pixels(self.mask, other.mask);
        }
        (left as usize / LANES..(right as usize).div_ceil(LANES))
            .map(|group| overlap(self.group(group), other.group(group)))
            .sum()
    }

    #[inline]
    fn group(&self, group: usize) -> &[Layer] {
        let group = group - self.first;
        &self.layers[self.groups[group] as usize..self.groups[group + 1] as usize]
    }
}

/// Pixels that both groups of columns have.
#[inline]
fn overlap(a: &[Layer], b: &[Layer]) -> u64 {
    // Each with each is quick for few; for many, each column's segments are merged.
    if a.len() * b.len() > MANY_LAYERS * (a.len() + b.len()) {
        return (0..LANES).map(|lane| overlap_of_column(a, b, lane)).sum();
    }
    // Sixteen bits are enough: a column has no more pixels.
    let mut sum = [0_i16; LANES];
    for a in a {
        for b in b {
            for (lane, sum) in sum.iter_mut().enumerate() {
                let shared = a.bottom[lane].min(b.bottom[lane]) - a.top[lane].max(b.top[lane]);
                *sum += shared.max(0);
            }
        }
    }
    sum.iter().map(|&pixels| pixels as u64).sum()
}

/// Pixels that the segments of one column share.
fn overlap_of_column(a: &[Layer], b: &[Layer], lane: usize) -> u64 {
    let segments = |layers: &[Layer], i: usize| {
        layers.get(i).map(|layer| (layer.top[lane], layer.bottom[lane])).filter(|&(top, bottom)| top < bottom)
    };
    let (mut i, mut j, mut shared) = (0, 0, 0);
    while let (Some((a_top, a_bottom)), Some((b_top, b_bottom))) = (segments(a, i), segments(b, j)) {
        shared += (a_bottom.min(b_bottom) - a_top.max(b_top)).max(0) as u64;
        if a_bottom <= b_bottom { i += 1 } else { j += 1 }
    }
    shared
}

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
    let right = gt.iter().map(|[x, _, w, _]| x + w).collect::<Vec<_>>();
    let bottom = gt.iter().map(|[_, y, _, h]| y + h).collect::<Vec<_>>();
    let mut out = Vec::with_capacity(dt.len() * gt.len());
    // NaN does not occur: these are one instruction each, unlike `f64::min` and `f64::max`.
    let min = |a: f64, b: f64| if a < b { a } else { b };
    let max = |a: f64, b: f64| if a > b { a } else { b };
    for &[x, y, w, h] in dt {
        let (area, x1, y1) = (w * h, x + w, y + h);
        out.extend(gt.iter().zip(&right).zip(&bottom).enumerate().map(|(g, ((b, &right), &bottom))| {
            let shared = max(min(x1, right) - max(x, b[0]), 0.0) * max(min(y1, bottom) - max(y, b[1]), 0.0);
            let crowd = crowd.is_some_and(|crowd| crowd[g]);
            ratio(shared, if crowd { area } else { area + b[2] * b[3] - shared })
        }));
    }
    Ok(out)
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

/// Columns that are looked at together.
const LANES: usize = 8;
/// Layers beyond which comparing each with each costs more than merging.
const MANY_LAYERS: usize = 16;
/// Groups of columns that any mask may have; others only as many more as they have runs.
const FEW_GROUPS: usize = 1 << 12;
/// Groups whose pixels 32 bits can count.
const MOST_GROUPS: usize = 1 << 16;

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
        let groups = width as usize / LANES;
        if mask.height() <= i16::MAX as u32 && groups <= MOST_GROUPS.min(mask.runs().len() + FEW_GROUPS) {
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
        let mut sums = [0; LANES];
        for group in left as usize / LANES..(right as usize).div_ceil(LANES) {
            add_overlap(self.group(group), other.group(group), &mut sums);
        }
        sums.iter().map(|&pixels| u64::from(pixels)).sum()
    }

    #[inline]
    fn group(&self, group: usize) -> &[Layer] {
        let group = group - self.first;
        &self.layers[self.groups[group] as usize..self.groups[group + 1] as usize]
    }
}

/// Adds the pixels that both groups of columns have, column by column.
#[inline]
fn add_overlap(a: &[Layer], b: &[Layer], sums: &mut [u32; LANES]) {
    // Each with each is quick for few; for many, each column's segments are merged.
    if a.len() * b.len() > MANY_LAYERS * (a.len() + b.len()) {
        for (lane, sum) in sums.iter_mut().enumerate() {
            *sum += overlap_of_column(a, b, lane);
        }
        return;
    }
    // Sixteen bits are enough: a column has no more pixels.
    let mut pixels = [0_i16; LANES];
    for a in a {
        for b in b {
            for (lane, pixels) in pixels.iter_mut().enumerate() {
                let shared = a.bottom[lane].min(b.bottom[lane]) - a.top[lane].max(b.top[lane]);
                *pixels += shared.max(0);
            }
        }
    }
    for (sum, pixels) in sums.iter_mut().zip(pixels) {
        *sum += pixels as u32;
    }
}

/// Pixels that the segments of one column share.
fn overlap_of_column(a: &[Layer], b: &[Layer], lane: usize) -> u32 {
    let segment = |layers: &[Layer], i: usize| {
        layers.get(i).map(|layer| (layer.top[lane], layer.bottom[lane])).filter(|&(top, bottom)| top < bottom)
    };
    let (mut i, mut j, mut shared) = (0, 0, 0);
    while let (Some((a_top, a_bottom)), Some((b_top, b_bottom))) = (segment(a, i), segment(b, j)) {
        shared += (a_bottom.min(b_bottom) - a_top.max(b_top)).max(0) as u32;
        if a_bottom <= b_bottom { i += 1 } else { j += 1 }
    }
    shared
}

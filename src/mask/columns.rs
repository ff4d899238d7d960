//! A mask laid out for many intersections. Comes in: a mask. Goes out: how many pixels it shares with another one of the
//! same size. Cannot fail.
//!
//! The segments of eight neighbouring columns stand side by side, first segments with first segments, second with
//! second: the overlap of eight columns is a minimum, a maximum and a difference of eight numbers each, which the
//! compiler turns into vector instructions.

use super::{Rle, boolean::shared_pixels};

/// Columns that are looked at together.
const LANES: usize = 8;
/// Layers beyond which comparing each with each costs more than merging.
const MANY_LAYERS: usize = 16;
/// Groups of columns that any mask may have; others only as many more as they have runs.
const FEW_GROUPS: usize = 1 << 9;
/// Groups whose pixels 32 bits can count.
const MOST_GROUPS: usize = 1 << 16;

/// One segment of each of [`LANES`] columns: rows `top..bottom`, both 0 where a column has none.
#[derive(Clone, Copy, Default)]
struct Layer {
    top: [i16; LANES],
    bottom: [i16; LANES],
}

/// A mask by columns, made for many intersections.
pub(super) struct Columns<'a> {
    mask: &'a Rle,
    pub(super) area: u64,
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
    pub(super) fn of_all(masks: &'a [Rle]) -> Vec<Self> {
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
    pub(super) fn intersection(&self, other: &Self) -> u64 {
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

//! [`ColumnIndex`]: a mask prepared for many intersections with masks of the same size.
//!
//! The segments of eight neighbouring columns are stored side by side: the first segments of all eight, then the second
//! segments, and so on. The overlap of eight columns is then a minimum, a maximum and a difference of eight numbers
//! each, which the compiler vectorizes.

use super::{Rle, boolean::intersection_pixels};

/// Number of columns processed together.
const LANES: usize = 8;
/// Number of layers beyond which comparing all pairs takes longer than merging.
const MAX_PAIRWISE: usize = 16;
/// Number of column groups that every mask may have; more are allowed only for masks with as many more runs.
const BASE_GROUPS: usize = 1 << 9;
/// Largest number of groups whose pixels fit 32-bit counters.
const MAX_GROUPS: usize = 1 << 16;

/// One segment of each of [`LANES`] columns: rows `top..bottom`, or 0..0 if the column has none.
#[derive(Clone, Copy, Default)]
struct Layer {
    top: [i16; LANES],
    bottom: [i16; LANES],
}

/// The segments of a mask by column, in layers of [`LANES`] columns.
pub(super) struct ColumnIndex<'a> {
    mask: &'a Rle,
    pub(super) area: u64,
    /// Left, top, right and bottom of the bounding box; right and bottom are exclusive.
    bounds: [u32; 4],
    /// Index of the first group of columns in `groups`.
    first: usize,
    /// The start of each group's layers, followed by the end of the last. Empty if the image is too high for 16 bits,
    /// or if there are few runs in very many columns.
    groups: Vec<u32>,
    layers: Vec<Layer>,
}

impl<'a> ColumnIndex<'a> {
    pub(super) fn of_all(masks: &'a [Rle]) -> Vec<Self> {
        masks.iter().map(Self::new).collect()
    }

    fn new(mask: &'a Rle) -> Self {
        let [left, top, width, height] = mask.bbox();
        let bounds = [left, top, left + width, top + height];
        let first = left as usize / LANES;
        let mut index = Self { mask, area: mask.area(), bounds, first, groups: Vec::new(), layers: Vec::new() };
        let groups = width as usize / LANES;
        if mask.height() <= i16::MAX as u32 && groups <= MAX_GROUPS.min(mask.runs().len() + BASE_GROUPS) {
            index.fill();
        }
        index
    }

    fn fill(&mut self) {
        let groups = (self.bounds[2] as usize).div_ceil(LANES) - self.first;
        self.groups.reserve(groups + 1);
        self.layers.reserve(self.mask.runs().len() / 8);
        // Number of layers that each column of the current group uses.
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

    /// Number of pixels that belong to both masks.
    pub(super) fn intersection(&self, other: &Self) -> u64 {
        let [a, b] = [self.bounds, other.bounds];
        let (left, right) = (a[0].max(b[0]), a[2].min(b[2]));
        if left >= right || a[1].max(b[1]) >= a[3].min(b[3]) {
            return 0;
        }
        if self.groups.is_empty() || other.groups.is_empty() {
            return intersection_pixels(self.mask, other.mask);
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

/// Adds the overlap of two groups of columns to `sums`, column by column.
#[inline]
fn add_overlap(a: &[Layer], b: &[Layer], sums: &mut [u32; LANES]) {
    // Comparing all pairs is fast for few layers; for many, the segments of each column are merged.
    if a.len() * b.len() > MAX_PAIRWISE * (a.len() + b.len()) {
        for (lane, sum) in sums.iter_mut().enumerate() {
            *sum += overlap_of_column(a, b, lane);
        }
        return;
    }
    // A column has at most 2^15 - 1 pixels, so 16 bits suffice.
    let mut pixels = [0_i16; LANES];
    for a in a {
        for b in b {
            for (lane, pixels) in pixels.iter_mut().enumerate() {
                let common = a.bottom[lane].min(b.bottom[lane]) - a.top[lane].max(b.top[lane]);
                *pixels += common.max(0);
            }
        }
    }
    for (sum, pixels) in sums.iter_mut().zip(pixels) {
        *sum += pixels as u32;
    }
}

/// Number of pixels that the segments of one column share.
fn overlap_of_column(a: &[Layer], b: &[Layer], lane: usize) -> u32 {
    let segment = |layers: &[Layer], i: usize| {
        layers.get(i).map(|layer| (layer.top[lane], layer.bottom[lane])).filter(|&(top, bottom)| top < bottom)
    };
    let (mut i, mut j, mut common) = (0, 0, 0);
    while let (Some((a_top, a_bottom)), Some((b_top, b_bottom))) = (segment(a, i), segment(b, j)) {
        common += (a_bottom.min(b_bottom) - a_top.max(b_top)).max(0) as u32;
        if a_bottom <= b_bottom { i += 1 } else { j += 1 }
    }
    common
}

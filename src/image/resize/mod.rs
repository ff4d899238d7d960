//! Resizes rows of pixels as they come: bilinear with antialiasing, as Pillow's `BILINEAR`.
//!
//! Each output is a weighted mean of inputs: a triangle over the two inputs beside it, or, where the image becomes
//! smaller, over as many as an output covers on either side. Rows are weighed first, with 16 bits, and rounded to
//! bytes; then the pixels of a row, with 14 bits. All sums are of integers, so all processors give the same result.

use super::simd::{Simd, multiversion};

#[cfg(target_arch = "x86_64")]
mod avx2;
mod axis;
mod columns;
mod windows;

pub(super) use axis::Axis;
use axis::{MANY, ONE};
use windows::{WINDOW_OUTPUTS, Windows};

/// The weights of both directions.
#[derive(Debug)]
pub(super) struct Weights {
    across: Axis,
    windows: Option<Windows>,
    down: Axis,
    is_upside_down: bool,
}

impl Weights {
    /// Rows come from top to bottom; `is_upside_down` numbers them from the last to the first.
    pub(super) fn new(across: Axis, down: Axis, is_upside_down: bool) -> Self {
        let windows = Windows::new(&across);
        Self { across, windows, down, is_upside_down }
    }
}

/// Rows on their way from one size to the other.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// The latest rows of input: `slots` times three planes of `stride` bytes.
    ring: Vec<u8>,
    slots: usize,
    stride: usize,
    /// Rows that came in and went out.
    came: usize,
    went: usize,
    /// A row of three planes between the directions, and one behind both.
    between: Vec<u8>,
    out: Vec<u8>,
    /// Where the rows that are weighed begin in the ring.
    begins: Vec<usize>,
}

/// Zeros behind a row, so that windows may begin anywhere in it.
const PADDING: usize = 32;

impl Rows {
    /// Begins an image with rows of `width` pixels.
    pub(super) fn begin(&mut self, width: usize, weights: &Weights) {
        self.stride = (width + PADDING).next_multiple_of(64);
        self.slots = weights.down.taps + 1;
        let (ring, row) = (self.slots * 3 * self.stride, 3 * self.stride);
        self.ring.resize(ring.max(self.ring.len()), 0);
        self.between.resize(row.max(self.between.len()), 0);
        let out = 3 * weights.across.starts.len().next_multiple_of(WINDOW_OUTPUTS);
        self.out.resize(out.max(self.out.len()), 0);
        (self.came, self.went) = (0, 0);
    }

    /// Where the next row is to be written: red, green and blue, at least as wide as the image.
    pub(super) fn next_row(&mut self) -> [&mut [u8]; 3] {
        let begin = self.came % self.slots * 3 * self.stride;
        let (red, rest) = self.ring[begin..begin + 3 * self.stride].split_at_mut(self.stride);
        let (green, blue) = rest.split_at_mut(self.stride);
        [red, green, blue]
    }

    /// Passes on the rows that the row just written completes, with their numbers.
    pub(super) fn row_written(&mut self, weights: &Weights, simd: Simd, mut pass: impl FnMut(usize, [&[u8]; 3])) {
        self.came += 1;
        let Weights { across, windows, down, is_upside_down } = weights;
        while let Some(&start) = down.starts.get(self.went).filter(|&&start| start + down.taps <= self.came) {
            let Self { ring, slots, stride, between, out, begins, .. } = self;
            let (stride, slots) = (*stride, *slots);
            let begin = |row: usize| row % slots * 3 * stride;
            let source: &[u8] = if down.is_identity {
                &ring[begin(start)..begin(start) + 3 * stride]
            } else {
                let weights = &down.weights[self.went * down.taps..(self.went + 1) * down.taps];
                begins.clear();
                begins.extend((start..start + down.taps).map(begin));
                weigh_rows(simd, ring, begins, weights, &mut between[..3 * stride]);
                &between[..3 * stride]
            };
            let y = if *is_upside_down { down.starts.len() - 1 - self.went } else { self.went };
            let width = across.starts.len();
            let rgb = |stride: usize| [0, 1, 2].map(|plane| plane * stride..plane * stride + width);
            if across.is_identity {
                pass(y, rgb(stride).map(|plane| &source[plane]));
            } else {
                let room = width.next_multiple_of(WINDOW_OUTPUTS);
                for (plane, out) in source.chunks_exact(stride).zip(out.chunks_exact_mut(room)) {
                    weigh_pixels(simd, plane, across, windows.as_ref(), out);
                }
                pass(y, rgb(room).map(|plane| &out[plane]));
            }
            self.went += 1;
        }
    }
}

/// Weighs rows of `ring`, which begin at `rows`. `out` has a multiple of 64 bytes.
fn weigh_rows(simd: Simd, ring: &[u8], rows: &[usize], weights: &[i16], out: &mut [u8]) {
    if rows.len() >= MANY {
        return columns::weighed_many_rows(ring, rows, weights, out);
    }
    #[cfg(target_arch = "x86_64")]
    if simd.is_avx2() {
        return avx2::weigh_rows(simd, ring, rows, weights, out);
    }
    let _ = simd;
    columns::weighed_rows(ring, rows, weights, out);
}

/// Weighs the pixels of a row. `out` has a multiple of eight bytes.
fn weigh_pixels(simd: Simd, row: &[u8], axis: &Axis, windows: Option<&Windows>, out: &mut [u8]) {
    #[cfg(target_arch = "x86_64")]
    if let (true, Some(windows)) = (simd.is_avx2(), windows) {
        return avx2::weigh_pixels(simd, row, windows, out);
    }
    let _ = windows;
    weigh_pixels_one_by_one(simd, row, axis, out);
}

multiversion! {
    fn weigh_pixels_one_by_one(row: &[u8], axis: &Axis, out: &mut [u8]) = weighed_pixels
}

#[inline(always)]
fn weighed_pixels(row: &[u8], axis: &Axis, out: &mut [u8]) {
    let weights = axis.weights.chunks_exact(axis.taps);
    for ((out, &start), weights) in out.iter_mut().zip(&axis.starts).zip(weights) {
        let inputs = &row[start..start + axis.taps];
        let sum: i32 = inputs.iter().zip(weights).map(|(&byte, &weight)| i32::from(byte) * i32::from(weight)).sum();
        *out = ((sum + ONE / 2) >> 14) as u8;
    }
}

//! What the pixels of a JPEG are by definition, in f64; and what resized pixels are.

use std::ops::Range;

use std::f64::consts::PI;

use super::coded::{Block, Coded};

/// The pixels at 1 / 2^`shift` of the size: red, green and blue by rows. Samples are rounded to bytes, halves up, and
/// nothing behind them is. Those of a part of the size are the means of those that they stand for. Where components
/// have different sizes, libjpeg decides how they become the same.
pub(super) fn pixels(coded: &Coded, shift: usize) -> Vec<f64> {
    let (h_max, v_max) = coded.largest();
    let least = 8 >> shift;
    let size = (coded.size.0.div_ceil(1 << shift), coded.size.1.div_ceil(1 << shift));
    let planes: Vec<Vec<f64>> = (0..coded.sampling.len())
        .map(|component| {
            let (h, v) = coded.sampling[component];
            // A component of fewer samples is decoded at more of its size while that fits.
            let mut n = least;
            while n < 8 && (h_max * least).is_multiple_of(h * n * 2) && (v_max * least).is_multiple_of(v * n * 2) {
                n *= 2;
            }
            let plane = Plane::new(coded, component, n);
            let factors = (h_max * least / (h * n), v_max * least / (v * n));
            let is_smooth = least > 1
                && match factors {
                    (2, 1 | 2) => plane.width > 2,
                    (1, 2) => true,
                    _ => false,
                };
            let places = (0..size.1).flat_map(|y| (0..size.0).map(move |x| (x, y)));
            places.map(|(x, y)| plane.at(x, y, factors, is_smooth)).collect()
        })
        .collect();
    let pixel = |i: usize| match &planes[..] {
        [y] => [y[i]; 3],
        planes => {
            let (y, cb, cr) = (planes[0][i], planes[1][i] - 128.0, planes[2][i] - 128.0);
            // BT.601, full range.
            let green = (0.299 * 1.402 * cr + 0.114 * 1.772 * cb) / 0.587;
            [y + 1.402 * cr, y - green, y + 1.772 * cb]
        }
    };
    (0..size.0 * size.1).flat_map(|i| pixel(i).map(|value| value.clamp(0.0, 255.0))).collect()
}

/// A component at its own size.
struct Plane {
    samples: Vec<f64>,
    stride: usize,
    width: usize,
    height: usize,
}

impl Plane {
    /// With `n` x `n` samples of each block.
    fn new(coded: &Coded, component: usize, n: usize) -> Self {
        let ((h_max, v_max), (h, v)) = (coded.largest(), coded.sampling[component]);
        let across = coded.units().0 * h;
        let blocks = &coded.blocks[component];
        let stride = across * n;
        let mut samples = vec![0.0; blocks.len() * n * n];
        for (number, block) in blocks.iter().enumerate() {
            let full = inverse(block, &coded.steps[component]);
            let k = 8 / n;
            for (row, column) in (0..n).flat_map(|row| (0..n).map(move |column| (row, column))) {
                let sum: f64 = (0..k * k).map(|i| full[(row * k + i / k) * 8 + column * k + i % k]).sum();
                let at = (number / across * n + row) * stride + number % across * n + column;
                // Halves are exact in integers, but not here.
                samples[at] = (sum / (k * k) as f64 + 128.5 + 1e-6).floor().clamp(0.0, 255.0);
            }
        }
        let length = |side: usize, own: usize, largest: usize| (side * own * n).div_ceil(8 * largest);
        Self { samples, stride, width: length(coded.size.0, h, h_max), height: length(coded.size.1, v, v_max) }
    }

    /// The value at a pixel: interpolated between the samples' centres, or that of the sample that it lies in.
    fn at(&self, x: usize, y: usize, factors: (usize, usize), is_smooth: bool) -> f64 {
        let sample = |x: usize, y: usize| self.samples[y.min(self.height - 1) * self.stride + x.min(self.width - 1)];
        if !is_smooth {
            return sample(x / factors.0, y / factors.1);
        }
        let weighed = |at: usize, factor: usize, size: usize| {
            let centre = ((at as f64 + 0.5) / factor as f64 - 0.5).clamp(0.0, (size - 1) as f64);
            let part = centre.fract();
            [(centre as usize, 1.0 - part), (centre as usize + 1, part)]
        };
        let columns = weighed(x, factors.0, self.width);
        let rows = weighed(y, factors.1, self.height);
        rows.iter().flat_map(|row| columns.map(|column| sample(column.0, row.0) * column.1 * row.1)).sum()
    }
}

/// The inverse DCT by its definition (Annex A.3.3).
fn inverse(block: &Block, steps: &[u16; 64]) -> [f64; 64] {
    let wave = |at: usize, frequency: usize| {
        let scale = if frequency == 0 { 0.5_f64.sqrt() } else { 1.0 };
        scale / 2.0 * ((2 * at + 1) as f64 * frequency as f64 * PI / 16.0).cos()
    };
    let mut waves = [[0.0; 8]; 8];
    (0..64).for_each(|i| waves[i / 8][i % 8] = wave(i / 8, i % 8));
    let mut out = [0.0; 64];
    for (place, (&value, &step)) in block.iter().zip(steps).enumerate().filter(|(_, (value, _))| **value != 0) {
        let (v, u) = (place / 8, place % 8);
        for (i, out) in out.iter_mut().enumerate() {
            *out += f64::from(value) * f64::from(step) * waves[i / 8][v] * waves[i % 8][u];
        }
    }
    out
}

/// Pixels, three values each, resized with the triangle filter of Pillow's `BILINEAR`. The image covers `extents` of
/// the pixels, of which the first and the last may be parts.
pub(super) fn resized(
    pixels: &[u8],
    size: (usize, usize),
    extents: [Range<f64>; 2],
    target: (usize, usize),
) -> Vec<f64> {
    let [across, down] = extents;
    let (columns, rows) = (weights(size.0, across, target.0), weights(size.1, down, target.1));
    let mut out = Vec::new();
    for row in &rows {
        for column in &columns {
            let mut sums = [0.0; 3];
            for &(y, down) in row {
                for &(x, across) in column {
                    let pixel = &pixels[3 * (y * size.0 + x)..][..3];
                    (0..3).for_each(|i| sums[i] += down * across * f64::from(pixel[i]));
                }
            }
            out.extend(sums);
        }
    }
    out
}

/// The inputs of each output, with their weights.
fn weights(inputs: usize, extent: Range<f64>, outputs: usize) -> Vec<Vec<(usize, f64)>> {
    let step = (extent.end - extent.start) / outputs as f64;
    let reach = step.max(1.0);
    let of = |output: usize| {
        let centre = extent.start + (output as f64 + 0.5) * step;
        let first = (centre - reach + 0.5).max(0.0) as usize;
        let end = ((centre + reach + 0.5) as usize).min(inputs);
        let weight = |input: usize| (1.0 - (input as f64 + 0.5 - centre).abs() / reach).max(0.0);
        let sum: f64 = (first..end).map(weight).sum();
        (first..end).map(|input| (input, weight(input) / sum)).collect()
    };
    (0..outputs).map(of).collect()
}

//! What ARR-COC's heads see of an image: 13 numbers for each patch, without a parameter and without a gradient. Comes
//! in: RGB images as bytes. Goes out: plain numbers that any framework takes. Cannot fail.
//!
//! Channels: R, G, B; L* / 100 and (a* + 128) / 255 of CIE Lab; Sobel edges to the right, downwards, and their
//! magnitude; y, x, distance to the centre; the magnitude and L* once more. `scripts/make_relevance_vectors.py` has the
//! same equations in PyTorch.

use std::ops::Range;

/// Patches a side.
pub(crate) const GRID: usize = 32;
/// Patches of an image.
pub(crate) const PATCHES: usize = GRID * GRID;
/// Numbers of a patch.
pub(crate) const CHANNELS: usize = 13;
/// The channel of the edges' magnitude.
pub(crate) const EDGE: usize = 7;
/// Images are looked at in this size, whatever theirs is.
const SIDE: usize = 512;
/// Pixels of a patch a side.
const PATCH: usize = SIDE / GRID;

/// The textures of a batch of images `[B, 3, height, width]`: `[B, 13, 32, 32]`.
///
/// As ARR-COC has it: images are squashed to a square without averaging, a patch is four of its 256 pixels, and edges are
/// scaled by the smallest and the largest one of the whole batch.
pub(crate) fn texture(images: &[u8], height: usize, width: usize) -> Vec<f32> {
    let (rows, columns) = (Taps::new(height), Taps::new(width));
    let squares: Vec<[Vec<f32>; 3]> = images
        .chunks_exact(3 * height * width)
        .map(|image| {
            let mut planes = image.chunks_exact(height * width).map(|plane| squash(plane, width, &rows, &columns));
            [0; 3].map(|_| planes.next().unwrap_or_default())
        })
        .collect();
    let edges: Vec<[Vec<f32>; 3]> = squares.iter().map(edges).collect();
    let ranges = [0, 1, 2].map(|kind| extent(edges.iter().flat_map(|edges| &edges[kind])));

    let mut out = Vec::with_capacity(squares.len() * CHANNELS * PATCHES);
    for (square, edges) in squares.iter().zip(&edges) {
        let start = out.len();
        let pixel = |at: usize| [square[0][at], square[1][at], square[2][at]];
        for plane in square {
            out.extend(sampled(|at| plane[at]));
        }
        out.extend(sampled(|at| lab(pixel(at))[0] / 100.0));
        out.extend(sampled(|at| (lab(pixel(at))[1] + 128.0) / 255.0));
        for (plane, &(least, span)) in edges.iter().zip(&ranges) {
            out.extend(sampled(|at| (plane[at] - least) / span));
        }
        let line = |index: usize| index as f32 / (GRID - 1) as f32;
        let places = || (0..PATCHES).map(|patch| (line(patch / GRID), line(patch % GRID)));
        out.extend(places().map(|(y, _)| y));
        out.extend(places().map(|(_, x)| x));
        out.extend(places().map(|(y, x)| (y - 0.5).hypot(x - 0.5) / 0.5_f32.sqrt()));
        let again = |channel: usize| -> Range<usize> { start + channel * PATCHES..start + (channel + 1) * PATCHES };
        out.extend_from_within(again(EDGE));
        out.extend_from_within(again(3));
    }
    out
}

/// Entropy of the softmax over the channels of textures `[B, 13, N]`: `[B, N]`.
pub(crate) fn entropy(textures: &[f32]) -> Vec<f32> {
    let of_image = |texture: &[f32]| -> Vec<f32> {
        let of_patch = |patch: usize| {
            let numbers = || (0..CHANNELS).map(move |channel| texture[channel * PATCHES + patch]);
            let largest = numbers().fold(f32::NEG_INFINITY, f32::max);
            let sum: f32 = numbers().map(|number| (number - largest).exp()).sum();
            -numbers().map(|number| (number - largest).exp() / sum).map(|p| p * (p + 1e-10).ln()).sum::<f32>()
        };
        (0..PATCHES).map(of_patch).collect()
    };
    textures.chunks_exact(CHANNELS * PATCHES).flat_map(of_image).collect()
}

/// One channel of textures `[B, 13, N]`: `[B, N]`.
pub(crate) fn channel(textures: &[f32], channel: usize) -> Vec<f32> {
    let images = textures.chunks_exact(CHANNELS * PATCHES);
    images.flat_map(|texture| &texture[channel * PATCHES..(channel + 1) * PATCHES]).copied().collect()
}

/// To 0 to 1, by the smallest and the largest number of all.
pub(crate) fn min_max(mut numbers: Vec<f32>) -> Vec<f32> {
    let (least, span) = extent(&numbers);
    numbers.iter_mut().for_each(|number| *number = (*number - least) / span);
    numbers
}

/// Each image's `PATCHES` numbers to mean 0 and deviation 1.
pub(crate) fn standardized(mut numbers: Vec<f32>) -> Vec<f32> {
    for image in numbers.chunks_exact_mut(PATCHES) {
        let count = image.len() as f64;
        let mean = image.iter().copied().map(f64::from).sum::<f64>() / count;
        let squares = image.iter().map(|&number| (f64::from(number) - mean).powi(2)).sum::<f64>();
        let deviation = (squares / (count - 1.0)).sqrt();
        image.iter_mut().for_each(|number| *number = ((f64::from(*number) - mean) / (deviation + 1e-6)) as f32);
    }
    numbers
}

/// sRGB in 0 to 1 to CIE L*, a*, b* under D65.
pub(crate) fn lab(rgb: [f32; 3]) -> [f32; 3] {
    let [r, g, b] = rgb.map(|v| if v > 0.040_45 { ((v + 0.055) / 1.055).powf(2.4) } else { v / 12.92 });
    let curve = |t: f32| if t > 0.008_856 { t.cbrt() } else { 7.787 * t + 4.0 / 29.0 };
    let x = curve((0.412_453 * r + 0.357_580 * g + 0.180_423 * b) / 0.950_47);
    let y = curve(0.212_671 * r + 0.715_160 * g + 0.072_169 * b);
    let z = curve((0.019_334 * r + 0.119_193 * g + 0.950_227 * b) / 1.088_83);
    [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
}

/// Which two lines of an image each line of the square lies between.
struct Taps(Vec<(usize, usize, f32)>);

impl Taps {
    fn new(size: usize) -> Self {
        let tap = |line: usize| {
            let at = ((line as f64 + 0.5) * size as f64 / SIDE as f64 - 0.5).max(0.0);
            let first = (at as usize).min(size - 1);
            (first, (first + 1).min(size - 1), (at - first as f64) as f32)
        };
        Self((0..SIDE).map(tap).collect())
    }
}

/// Bilinear, without averaging where it shrinks.
fn squash(plane: &[u8], width: usize, rows: &Taps, columns: &Taps) -> Vec<f32> {
    let mut out = Vec::with_capacity(SIDE * SIDE);
    for &(above, below, down) in &rows.0 {
        let line = |row: usize, &(left, right, across): &(usize, usize, f32)| {
            let [a, b] = [left, right].map(|column| f32::from(plane[row * width + column]) / 255.0);
            a + across * (b - a)
        };
        out.extend(columns.0.iter().map(|tap| {
            let (a, b) = (line(above, tap), line(below, tap));
            a + down * (b - a)
        }));
    }
    out
}

/// Sobel edges of the brightness: to the right, downwards, and their magnitude; borders are repeated outwards.
fn edges(square: &[Vec<f32>; 3]) -> [Vec<f32>; 3] {
    let gray = |at: usize| 0.299 * square[0][at] + 0.587 * square[1][at] + 0.114 * square[2][at];
    let gray: Vec<f32> = (0..SIDE * SIDE).map(gray).collect();
    let near = |index: usize| [index.saturating_sub(1), index, (index + 1).min(SIDE - 1)];
    let [mut across, mut down, mut size] = [0; 3].map(|_| Vec::with_capacity(SIDE * SIDE));
    for y in 0..SIDE {
        let [above, here, below] = near(y).map(|y| &gray[y * SIDE..(y + 1) * SIDE]);
        for x in 0..SIDE {
            let [left, mid, right] = near(x);
            let gx = (above[right] - above[left] + 2.0 * (here[right] - here[left]) + below[right] - below[left]) / 8.0;
            let gy = (below[left] - above[left] + 2.0 * (below[mid] - above[mid]) + below[right] - above[right]) / 8.0;
            across.push(gx);
            down.push(gy);
            size.push((gx * gx + gy * gy + 1e-8).sqrt());
        }
    }
    [across, down, size]
}

/// The smallest number, and how far the largest is above it.
fn extent<'a>(numbers: impl IntoIterator<Item = &'a f32>) -> (f32, f32) {
    let fold = |(least, most): (f32, f32), &number: &f32| (least.min(number), most.max(number));
    let (least, most) = numbers.into_iter().fold((f32::INFINITY, f32::NEG_INFINITY), fold);
    (least, most - least + 1e-8)
}

/// The mean of each patch's four middle pixels.
fn sampled(of: impl Fn(usize) -> f32) -> impl Iterator<Item = f32> {
    (0..PATCHES).map(move |patch| {
        let at = (patch / GRID * PATCH + PATCH / 2 - 1) * SIDE + patch % GRID * PATCH + PATCH / 2 - 1;
        (of(at) + of(at + 1) + of(at + SIDE) + of(at + SIDE + 1)) / 4.0
    })
}

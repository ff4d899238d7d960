//! The features as ARR-COC computes them, for images of one size; all patches are valid.
//!
//! Images are squashed to a square without averaging, a patch is the mean of 4 of its 256 pixels, and edges and
//! entropy are scaled by the minimum and maximum over the whole batch.

use super::{CHANNELS, EDGE, Patches, channel, edges, entropy, lab, linear, min_and_span, positions};

/// Patches per side.
pub const GRID: usize = 32;
/// Patches per image.
const PATCHES: usize = GRID * GRID;
/// Side of the square to which images are resized.
const SIDE: usize = 512;
/// Side of a patch in pixels.
const PATCH: usize = SIDE / GRID;

/// Features of a batch of images `[B, 3, height, width]`.
pub fn verbatim(images: &[u8], height: usize, width: usize) -> Patches {
    let texture = texture(images, height, width);
    let (information, edge) = (min_max_normalized(entropy(&texture, PATCHES)), channel(&texture, PATCHES, EDGE));
    Patches { grid: GRID, valid: vec![1.0; edge.len()], input: texture.clone(), texture, information, edge }
}

fn texture(images: &[u8], height: usize, width: usize) -> Vec<f32> {
    let (rows, columns) = (Taps::new(height), Taps::new(width));
    let squares: Vec<[Vec<f32>; 3]> = images
        .chunks_exact(3 * height * width)
        .map(|image| {
            let mut planes = image.chunks_exact(height * width).map(|plane| squash(plane, width, &rows, &columns));
            [0; 3].map(|_| planes.next().unwrap_or_default())
        })
        .collect();
    let edges: Vec<[Vec<f32>; 3]> = squares.iter().map(|square| edges(square, SIDE)).collect();
    let ranges = [0, 1, 2].map(|kind| min_and_span(edges.iter().flat_map(|edges| &edges[kind])));

    let mut out = Vec::with_capacity(squares.len() * CHANNELS * PATCHES);
    for (square, edges) in squares.iter().zip(&edges) {
        let start = out.len();
        let lab = |at: usize| lab([square[0][at], square[1][at], square[2][at]].map(linear));
        for plane in square {
            out.extend(sampled(|at| plane[at]));
        }
        out.extend(sampled(|at| lab(at)[0] / 100.0));
        out.extend(sampled(|at| (lab(at)[1] + 128.0) / 255.0));
        for (plane, &(min, span)) in edges.iter().zip(&ranges) {
            out.extend(sampled(|at| (plane[at] - min) / span));
        }
        out.extend(positions(GRID).into_iter().flatten());
        for repeated in [EDGE, 3] {
            out.extend_from_within(start + repeated * PATCHES..start + (repeated + 1) * PATCHES);
        }
    }
    out
}

/// Min-max normalizes to [0, 1], over the whole batch.
fn min_max_normalized(mut values: Vec<f32>) -> Vec<f32> {
    let (min, span) = min_and_span(&values);
    values.iter_mut().for_each(|value| *value = (*value - min) / span);
    values
}

/// For each line of the square: the two lines of the image that it lies between, and the weight of the second one.
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

/// Resizes a plane bilinearly, without averaging when it shrinks.
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

/// The mean of each patch's four central pixels.
fn sampled(of: impl Fn(usize) -> f32) -> impl Iterator<Item = f32> {
    (0..PATCHES).map(move |patch| {
        let at = (patch / GRID * PATCH + PATCH / 2 - 1) * SIDE + patch % GRID * PATCH + PATCH / 2 - 1;
        (of(at) + of(at + 1) + of(at + SIDE) + of(at + SIDE + 1)) / 4.0
    })
}

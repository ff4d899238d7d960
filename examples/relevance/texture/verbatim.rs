//! As ARR-COC has it. Comes in: images of one size. Goes out: [`Patches`], all of them image. Cannot fail.
//!
//! Images are squashed to a square without averaging, a patch is four of its 256 pixels, and edges and entropy are scaled
//! by the smallest and the largest one of the whole batch.

use super::{CHANNELS, EDGE, Patches, channel, edges, entropy, extent, lab, linear, places};

/// Patches a side.
pub(crate) const GRID: usize = 32;
/// Patches of an image.
const PATCHES: usize = GRID * GRID;
/// Images are looked at in this size, whatever theirs is.
const SIDE: usize = 512;
/// Pixels of a patch a side.
const PATCH: usize = SIDE / GRID;

/// What is seen of a batch of images `[B, 3, height, width]`.
pub(crate) fn verbatim(images: &[u8], height: usize, width: usize) -> Patches {
    let texture = texture(images, height, width);
    let (information, edge) = (min_max(entropy(&texture, PATCHES)), channel(&texture, PATCHES, EDGE));
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
    let ranges = [0, 1, 2].map(|kind| extent(edges.iter().flat_map(|edges| &edges[kind])));

    let mut out = Vec::with_capacity(squares.len() * CHANNELS * PATCHES);
    for (square, edges) in squares.iter().zip(&edges) {
        let start = out.len();
        let lab = |at: usize| lab([square[0][at], square[1][at], square[2][at]].map(linear));
        for plane in square {
            out.extend(sampled(|at| plane[at]));
        }
        out.extend(sampled(|at| lab(at)[0] / 100.0));
        out.extend(sampled(|at| (lab(at)[1] + 128.0) / 255.0));
        for (plane, &(least, span)) in edges.iter().zip(&ranges) {
            out.extend(sampled(|at| (plane[at] - least) / span));
        }
        out.extend(places(GRID).into_iter().flatten());
        for again in [EDGE, 3] {
            out.extend_from_within(start + again * PATCHES..start + (again + 1) * PATCHES);
        }
    }
    out
}

/// To 0 to 1, by the smallest and the largest number of all.
fn min_max(mut numbers: Vec<f32>) -> Vec<f32> {
    let (least, span) = extent(&numbers);
    numbers.iter_mut().for_each(|number| *number = (*number - least) / span);
    numbers
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

/// The mean of each patch's four middle pixels.
fn sampled(of: impl Fn(usize) -> f32) -> impl Iterator<Item = f32> {
    (0..PATCHES).map(move |patch| {
        let at = (patch / GRID * PATCH + PATCH / 2 - 1) * SIDE + patch % GRID * PATCH + PATCH / 2 - 1;
        (of(at) + of(at + 1) + of(at + SIDE) + of(at + SIDE + 1)) / 4.0
    })
}

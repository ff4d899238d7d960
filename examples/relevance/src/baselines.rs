//! Scores of the heads and of simple baselines for one query: 0 to 1 for each patch.

use crate::model::Predictions;
use crate::query::Query;
use crate::rng::Rng;
use crate::texture::CHANNELS;
use crate::training_batch::TrainingBatch;

/// The method under test, and the baselines it must beat: both distances for the task `point`, the edges for
/// `allocate`.
pub const TRAINED: &str = "head, trained";
pub const POINT_DISTANCE: &str = "distance to the point";
pub const COLOUR_DISTANCE: &str = "colour distance";
pub const EDGES: &str = "edges";

pub const UNTRAINED: &str = "head, untrained";

/// Methods of the task `point`.
pub const PROMPTED: [&str; 8] =
    [TRAINED, UNTRAINED, POINT_DISTANCE, COLOUR_DISTANCE, EDGES, "information", "centre", "random"];
/// Methods of the task `allocate`, which has no point to be close to.
pub const UNPROMPTED: [&str; 7] = [TRAINED, UNTRAINED, EDGES, "information", "centre", "random", "target shares"];

/// The scores of [`PROMPTED`] for a query. `predictions` are those of the trained and of the untrained head.
pub fn prompted(batch: &TrainingBatch, query: &Query, predictions: &[Predictions; 2]) -> [Vec<f32>; 8] {
    let &Query { row, slot, patch, .. } = query;
    let [_, slots, patches] = batch.dims();
    let head = |predictions: &Predictions| {
        batch.patch_slice(&predictions.relevance, row * slots + slot).iter().copied().map(sigmoid).collect()
    };
    let grid = batch.patches.grid;
    let color = |patch: usize| [0, 1, 2].map(|channel| texture(batch, row, channel)[patch]);
    let nearness = |other: usize| 1.0 - distance(centre_of(other, grid), centre_of(patch, grid)) / 2_f32.sqrt();
    let similarity = |other: usize| 1.0 - color_distance(color(other), color(patch));
    let [edges, information, centre, random] = query_independent(batch, query);
    let each = |of: &dyn Fn(usize) -> f32| (0..patches).map(of).collect();
    let [trained, untrained] = predictions;
    [head(trained), head(untrained), each(&nearness), each(&similarity), edges, information, centre, random]
}

/// The scores of [`UNPROMPTED`] for the image of a mask. `shares` are the batch's allocation targets.
pub fn unprompted(
    batch: &TrainingBatch,
    query: &Query,
    predictions: &[Predictions; 2],
    shares: &[f32],
) -> [Vec<f32>; 7] {
    let head = |predictions: &Predictions| {
        batch.patch_slice(&predictions.relevance, query.row).iter().copied().map(sigmoid).collect()
    };
    let [edges, information, centre, random] = query_independent(batch, query);
    let shares = batch.patch_slice(shares, query.row).to_vec();
    let [trained, untrained] = predictions;
    [head(trained), head(untrained), edges, information, centre, random, shares]
}

/// Baselines that do not depend on the query: edges, information, nearness to the image's centre, random numbers.
fn query_independent(batch: &TrainingBatch, query: &Query) -> [Vec<f32>; 4] {
    let (row, grid, [_, _, patches]) = (query.row, batch.patches.grid, batch.dims());
    let valid = batch.patch_slice(&batch.patches.valid, row);
    let [rows, columns] = [grid, 1].map(|step| (0..grid).filter(|index| valid[index * step] > 0.0).count());
    let middle = [rows, columns].map(|content| content as f32 / (2 * grid) as f32);
    let nearness = |patch: usize| 1.0 - distance(centre_of(patch, grid), middle);
    let mut rng = Rng::new(&[patches as u64, row as u64, query.patch as u64]);
    let map = |map: &[f32]| min_max_normalized(batch.patch_slice(map, row));
    [
        map(&batch.patches.edge),
        map(&batch.patches.information),
        (0..patches).map(nearness).collect(),
        (0..patches).map(|_| rng.unit()).collect(),
    ]
}

/// `[N]`: one channel of an image's texture.
fn texture(batch: &TrainingBatch, row: usize, channel: usize) -> &[f32] {
    batch.patch_slice(&batch.patches.texture, row * CHANNELS + channel)
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// Min-max normalizes to [0, 1].
pub fn min_max_normalized(values: &[f32]) -> Vec<f32> {
    let min = values.iter().copied().fold(f32::INFINITY, f32::min);
    let max = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    values.iter().map(|value| (value - min) / (max - min).max(1e-6)).collect()
}

/// y and x of a patch's centre on a canvas of side 1.
fn centre_of(patch: usize, grid: usize) -> [f32; 2] {
    [patch / grid, patch % grid].map(|index| (index as f32 + 0.5) / grid as f32)
}

fn distance(a: [f32; 2], b: [f32; 2]) -> f32 {
    (a[0] - b[0]).hypot(a[1] - b[1])
}

/// Distance of two RGB colours, as a fraction of the distance from black to white.
fn color_distance(a: [f32; 3], b: [f32; 3]) -> f32 {
    (a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f32>() / 3.0).sqrt()
}

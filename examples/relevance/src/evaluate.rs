//! Evaluation on held-out images: a [`Table`] of the heads and the baselines, and [`Example`]s to draw.

use crate::allocate::top_k;
use crate::args::Task;
use crate::baselines::{min_max_normalized, prompted, unprompted};
use crate::metrics::kept_patches;
use crate::model::Model;
use crate::query::Query;
use crate::result::Result;
use crate::table::Table;
use crate::training_batch::TrainingBatch;

/// One held-out query with its target and its prediction.
pub struct Example {
    /// `[3, side, side]`, RGB.
    pub image: Vec<u8>,
    /// Side of the image in pixels.
    pub side: usize,
    /// Patches per side.
    pub grid: usize,
    /// The prompted patch; `None` for the task `allocate`.
    pub point: Option<usize>,
    /// Which patches are image, not padding.
    pub valid: Vec<bool>,
    /// Target of each patch, 0 to 1.
    pub target: Vec<f32>,
    /// Prediction of the trained head, 0 to 1.
    pub predicted: Vec<f32>,
    /// Which patches are among the top k.
    pub kept: Vec<bool>,
}

/// The two states of a head that an evaluation compares.
pub struct Heads<'a, M> {
    pub trained: &'a M,
    pub untrained: &'a M,
}

/// Evaluates both heads and all baselines on the queries of `batches`. Also returns the first query of `examples`
/// images, evenly spaced among the `images` of the batches.
///
/// Fails on errors of the loader and the framework, or if there are no queries.
pub fn evaluate<M: Model>(
    batches: impl Iterator<Item = Result<TrainingBatch>>,
    task: Task,
    heads: Heads<'_, M>,
    images: usize,
    examples: usize,
) -> Result<(Table, Vec<Example>)> {
    let (mut table, mut shown) = (Table::new(task), Vec::new());
    let spacing = (images / examples.max(1)).max(1);
    for batch in batches {
        let batch = batch?;
        let predictions = [heads.trained.predict(&batch)?, heads.untrained.predict(&batch)?];
        let shares = if task == Task::Allocate { batch.allocation_targets() } else { Vec::new() };
        for query in &batch.queries {
            let scores = match task {
                Task::Point => prompted(&batch, query, &predictions).to_vec(),
                Task::Allocate => unprompted(&batch, query, &predictions, &shares).to_vec(),
            };
            // The queries of an image follow each other.
            if query.slot == 0 {
                if table.images().is_multiple_of(spacing) && shown.len() < examples {
                    shown.push(Example::new(&batch, query, &scores[0], &shares));
                }
                table.begin_image();
            }
            table.add(&batch, query, &scores, &predictions[0]);
        }
    }
    if table.images() == 0 {
        return Err("no mask of the held-out shards is large enough for a query".into());
    }
    Ok((table, shown))
}

impl Example {
    fn new(batch: &TrainingBatch, query: &Query, scores: &[f32], shares: &[f32]) -> Self {
        let valid: Vec<bool> = batch.patch_slice(&batch.patches.valid, query.row).iter().map(|&v| v > 0.0).collect();
        // Padding ranks below every valid patch.
        let ranked: Vec<f32> = scores.iter().zip(&valid).map(|(&s, &valid)| if valid { s } else { -1.0 }).collect();
        let mut kept = vec![false; valid.len()];
        top_k(&ranked, kept_patches(valid.len())).into_iter().for_each(|patch| kept[patch] = valid[patch]);
        let bytes = 3 * batch.side * batch.side;
        let is_prompted = shares.is_empty();
        // Shares are small, so they are rescaled to be visible.
        let (target, predicted) = if is_prompted {
            (batch.target(query).to_vec(), scores.to_vec())
        } else {
            (min_max_normalized(batch.patch_slice(shares, query.row)), min_max_normalized(scores))
        };
        Self {
            image: batch.images[query.row * bytes..(query.row + 1) * bytes].to_vec(),
            side: batch.side,
            grid: batch.patches.grid,
            point: is_prompted.then_some(query.patch),
            valid,
            target,
            predicted,
            kept,
        }
    }
}

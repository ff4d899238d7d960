//! The training loop.

use maskstream::Loader;

use crate::args::{Args, Settings};
use crate::checkpoint::Checkpoint;
use crate::model::Model;
use crate::query::{PointSampler, QuerySampler};
use crate::report::Report;
use crate::result::Result;
use crate::run_state::RunState;

/// The error of an epoch without a single query.
pub const NO_QUERIES: &str = "no mask of the training shards is large enough for a query";

/// Trains `model` up to step `args.steps` (or `args.stop_at`), through as many epochs as that takes.
///
/// Fails on errors of the loader, the framework and files, if a whole epoch has no query, or if the loss is not
/// finite.
pub fn train<M: Model>(
    loader: &Loader,
    mut model: M,
    args: &Args,
    settings: &Settings,
    checkpoint: Option<Checkpoint>,
) -> Result<(M, Report)> {
    let sampler = QuerySampler { settings: *settings, points: PointSampler::Random { seed: settings.seed } };
    let (mut run, first_epoch, mut cursor) = RunState::begin(args, settings, checkpoint)?;
    for index in first_epoch.. {
        if run.is_done() {
            break;
        }
        let (steps_before, is_whole) = (run.report.steps(), cursor.is_none());
        let epoch = match cursor.take() {
            Some(cursor) => loader.resume_from(&cursor)?,
            None => loader.epoch(index)?,
        };
        for batch in model.batches(epoch, &sampler) {
            let batch = batch?;
            if batch.queries.is_empty() {
                continue;
            }
            let loss = model.train_step(&batch, run.learning_rate())?;
            run.record_step(&batch, loss, loader.stats().wait, || model.state_dict())?;
            if run.is_done() {
                break;
            }
        }
        if is_whole && run.report.steps() == steps_before {
            return Err(NO_QUERIES.into());
        }
    }
    Ok((model, run.report))
}

//! Small training jobs.

use std::path::Path;

use clap::Parser;
use maskstream::index::Indexer;
use maskstream::synth::{Preset, SynthOptions, write_shard};

use relevance::args::{Args, Settings};
use relevance::checkpoint::Checkpoint;
use relevance::data::Data;
use relevance::init::init_weights;
use relevance::model::Model;
use relevance::report::Report;
use relevance::result::Result;
use relevance::run::{BuildFn, TrainFn};
use relevance::state_dict::StateDict;

/// Writes two shards: one to train on, and one that is held out.
pub(crate) fn shards(dir: &Path) {
    for number in 0..2 {
        let path = dir.join(format!("sa_{number:06}.tar"));
        write_shard(&path, number, &SynthOptions::new(Preset::Small).seed(number).samples(10).overwrite(true)).unwrap();
        Indexer::new().index(&path).unwrap();
    }
}

/// The command line of a job of eight steps; an epoch has five.
pub(crate) fn args(dir: &Path, more: &[&str]) -> Args {
    args_for(dir, "8", more)
}

/// The command line of a job.
pub(crate) fn args_for(dir: &Path, steps: &str, more: &[&str]) -> Args {
    let dir = dir.to_str().unwrap();
    let always = ["finetune", "--shards", dir, "--out", dir, "--batch-size", "2", "--queries", "2", "--steps", steps];
    Args::parse_from(always.iter().chain(more))
}

/// Trains from the checkpoint if there is one to resume, else from seeded weights. Returns the model's state and the
/// report.
pub(crate) fn train_job<M: Model>(
    args: &Args,
    settings: &Settings,
    shapes: &[(String, Vec<usize>)],
    build: BuildFn<'_, M>,
    train: TrainFn<'_, M>,
) -> Result<(StateDict, Report)> {
    let checkpoint = Checkpoint::for_resume(args, settings)?;
    let initial = init_weights(shapes, 3);
    let model = build(checkpoint.as_ref().map_or(&initial, |checkpoint| &checkpoint.state))?;
    let (model, report) = train(&Data::open(args, *settings)?, model, checkpoint)?;
    Ok((model.state_dict()?, report))
}

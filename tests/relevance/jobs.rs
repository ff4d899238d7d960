//! Small training jobs.

use std::path::Path;

use clap::Parser;
use maskstream::ShardSet;
use maskstream::synth::{Preset, SynthOptions, write_shard};

use crate::relevance::args::{Args, Settings};
use crate::relevance::data::Data;
use crate::relevance::initial::initial;
use crate::relevance::model::{Model, Result};
use crate::relevance::named::Named;
use crate::relevance::run::{Learn, Make};
use crate::relevance::train::{Checkpoint, Report};

/// Two shards: to train on, held out.
pub(crate) fn shards(dir: &Path) {
    for number in 0..2 {
        let path = dir.join(format!("sa_{number:06}.tar"));
        write_shard(&path, number, &SynthOptions::new(Preset::Small).seed(number).samples(10)).unwrap();
        ShardSet::builder().index(&path).unwrap();
    }
}

/// Eight steps, of which five are an epoch.
pub(crate) fn args(dir: &Path, more: &[&str]) -> Args {
    args_for(dir, "8", more)
}

pub(crate) fn args_for(dir: &Path, steps: &str, more: &[&str]) -> Args {
    let dir = dir.to_str().unwrap();
    let always = ["finetune", "--shards", dir, "--out", dir, "--batch-size", "2", "--queries", "2", "--steps", steps];
    Args::parse_from(always.iter().chain(more))
}

/// Learns from the checkpoint, if there is one to resume, or else from weights of a seed.
pub(crate) fn trained<M: Model>(
    args: &Args,
    settings: &Settings,
    shapes: &[(String, Vec<usize>)],
    make: Make<'_, M>,
    learn: Learn<'_, M>,
) -> Result<(Named, Report)> {
    let checkpoint = Checkpoint::of(args, settings)?;
    let first = initial(shapes, 3);
    let model = make(checkpoint.as_ref().map_or(&first, |checkpoint| &checkpoint.state))?;
    let (model, report) = learn(&Data::open(args, *settings)?, model, checkpoint)?;
    Ok((model.state()?, report))
}

//! Whole runs: the exit code, the split, and the files of earlier runs.

use std::fs;
use std::process::ExitCode;

use candle_core::Device;
use maskstream::Epoch;
use maskstream::index::Indexer;
use maskstream::synth::{Preset, SynthOptions, write_shard};

use crate::common::jobs::{args, shards};
use relevance::args::Args;
use relevance::candle::model::TrainState;
use relevance::checkpoint::Checkpoint;
use relevance::data::Data;
use relevance::model::{Model, Predictions};
use relevance::query::QuerySampler;
use relevance::result::Result;
use relevance::run::run;
use relevance::state_dict::{self, StateDict};
use relevance::train::train;
use relevance::training_batch::TrainingBatch;

/// What a fake model does.
#[derive(Clone, Copy)]
enum Kind {
    /// Predicts the targets.
    Perfect,
    /// Predicts the same for every patch.
    Constant,
    /// Has a loss of NaN from this step on.
    Diverges(u32),
}

struct Fake {
    kind: Kind,
    steps: u32,
    real: TrainState,
}

impl Model for Fake {
    fn batches<'a>(
        &self,
        epoch: Epoch,
        sampler: &'a QuerySampler,
    ) -> Box<dyn Iterator<Item = Result<TrainingBatch>> + 'a> {
        self.real.batches(epoch, sampler)
    }

    fn train_step(&mut self, _: &TrainingBatch, _: f64) -> Result<f32> {
        self.steps += 1;
        Ok(if matches!(self.kind, Kind::Diverges(from) if from <= self.steps) { f32::NAN } else { 1.0 })
    }

    fn predict(&self, batch: &TrainingBatch) -> Result<Predictions> {
        let [images, slots, _] = batch.dims();
        let logit = |share: &f32| if matches!(self.kind, Kind::Perfect) { 20.0 * (share - 0.5) } else { 0.0 };
        Ok(Predictions {
            relevance: batch.coverage.iter().map(logit).collect(),
            weights: vec![0.0; images * slots * 3],
        })
    }

    fn state_dict(&self) -> Result<StateDict> {
        self.real.state_dict()
    }
}

fn run_fake(args: &Args, kind: Kind) -> Result<ExitCode> {
    let settings = args.settings()?;
    let build = |state: &_| Ok(Fake { kind, steps: 0, real: TrainState::new(state, &settings, &Device::Cpu)? });
    run(args, &settings, &TrainState::shapes(&settings), &build, &|data, model, checkpoint| {
        train(&data.train, model, args, &settings, checkpoint)
    })
}

/// Exit codes cannot be compared, but printed.
fn shown(code: impl Into<ExitCode>) -> String {
    format!("{:?}", code.into())
}

#[test]
fn success_means_beating_the_baselines() {
    let dir = tempfile::tempdir().unwrap();
    shards(dir.path());
    for (kind, code) in [(Kind::Perfect, 0), (Kind::Constant, 2)] {
        assert_eq!(shown(run_fake(&args(dir.path(), &["--stop-at", "8"]), kind).unwrap()), shown(code));
    }
    for name in ["weights.safetensors", "checkpoint.safetensors", "loss.png", "examples.png"] {
        assert!(fs::metadata(dir.path().join(name)).unwrap().len() > 100, "{name}");
    }
}

#[test]
fn a_diverging_run_fails_and_keeps_the_last_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    shards(dir.path());
    let args = args(dir.path(), &["--checkpoint-every", "1"]);
    let error = run_fake(&args, Kind::Diverges(3)).err().unwrap().to_string();
    assert_eq!(error, "step 3 gave NaN: training diverged; try a lower --lr than 3e-3");
    assert_eq!(Checkpoint::read(&args, &args.settings().unwrap()).map(|checkpoint| checkpoint.steps()).ok(), Some(2));
}

#[test]
fn an_earlier_runs_files_are_neither_lost_nor_mistaken() {
    let dir = tempfile::tempdir().unwrap();
    shards(dir.path());
    let stopped = |more: &[&str]| run_fake(&args(dir.path(), &[&["--stop-at", "1"], more].concat()), Kind::Perfect);
    stopped(&["--seed", "1"]).unwrap();
    let first = state_dict::read(&Checkpoint::path(dir.path())).unwrap();
    // A run that fails for its log or its shards leaves the checkpoint alone.
    for more in [["--log", "/nowhere/log.csv"], ["--val-shards", "/nowhere"]] {
        stopped(&more).unwrap_err();
        assert_eq!(state_dict::read(&Checkpoint::path(dir.path())).unwrap(), first);
    }
    stopped(&["--seed", "2"]).unwrap();
    assert_eq!(state_dict::read(&Checkpoint::backup_path(dir.path())).unwrap(), first);
    assert_ne!(state_dict::read(&Checkpoint::path(dir.path())).unwrap(), first);

    let path = dir.path().join("weights.safetensors");
    let error = stopped(&["--init", path.to_str().unwrap()]).unwrap_err().to_string();
    assert!(error.contains("weights.safetensors would be overwritten"), "{error}");
    let elsewhere = dir.path().join("begin.safetensors");
    fs::rename(path, &elsewhere).unwrap();
    let error = stopped(&["--init", elsewhere.to_str().unwrap(), "--context", "3"]).unwrap_err().to_string();
    assert!(
        error.contains("has the shape [64, 13, 1, 1], but the head needs [64, 13, 3, 3]; --preset, --context"),
        "{error}"
    );
    stopped(&["--init", elsewhere.to_str().unwrap()]).unwrap();
}

/// Ids of the training images and of the held-out images.
fn images(args: &Args) -> [Vec<i64>; 2] {
    let data = Data::open(args, args.settings().unwrap()).unwrap();
    let ids = |loader: &maskstream::Loader| {
        let batches = loader.epoch(0).unwrap().map(|batch| batch.unwrap());
        let mut ids: Vec<i64> =
            batches.flat_map(|b| b.image_ids()[..b.samples().iter().flatten().count()].to_vec()).collect();
        ids.sort_unstable();
        ids
    };
    [ids(&data.train), ids(&data.held_out().unwrap())]
}

#[test]
fn held_out_images_are_never_trained_on() {
    let dir = tempfile::tempdir().unwrap();
    shards(dir.path());
    let shard = |number: u64| dir.path().join(format!("sa_{number:06}.tar"));
    let [first, second] = [0, 1].map(shard);
    let [train, held_out] = images(&args(dir.path(), &[]));
    assert!(train.len() == 10 && held_out.len() == 10 && train.iter().all(|id| !held_out.contains(id)));

    // Also under another name.
    let link = dir.path().join("link.tar");
    std::os::unix::fs::symlink(&first, &link).unwrap();
    let by_link = images(&args(dir.path(), &["--val-shards", link.to_str().unwrap()]));
    assert_eq!(by_link, [held_out, train]);
    fs::remove_file(link).unwrap();

    // Every tenth image of a single shard.
    fs::remove_file(second).unwrap();
    write_shard(&first, 0, &SynthOptions::new(Preset::Small).samples(24).overwrite(true)).unwrap();
    Indexer::new().index(&first).unwrap();
    let [train, held_out] = images(&args(dir.path(), &[]));
    assert!(train.iter().all(|id| id % 10 != 0) && !held_out.is_empty() && held_out.iter().all(|id| id % 10 == 0));
    assert_eq!(train.len() + held_out.len(), 24);
}

//! Whole runs: the verdict, what is held out, what is left behind.

use std::fs;
use std::process::ExitCode;

use candle_core::Device;
use maskstream::synth::{Preset, SynthOptions, write_shard};
use maskstream::{Epoch, ShardSet};

use crate::jobs::{args, shards};
use crate::relevance::args::Args;
use crate::relevance::candle::model::Trainee;
use crate::relevance::data::Data;
use crate::relevance::lesson::{Ask, Lesson};
use crate::relevance::model::{Answers, Model, Result};
use crate::relevance::named::{self, Named};
use crate::relevance::run::run;
use crate::relevance::train::{Checkpoint, train};

/// What a model does in place of learning.
#[derive(Clone, Copy)]
enum Kind {
    /// Knows all masks.
    Knows,
    /// Says the same of every patch.
    Guesses,
    /// Learns no numbers from this step on.
    Diverges(u32),
}

struct Fake {
    kind: Kind,
    steps: u32,
    real: Trainee,
}

impl Model for Fake {
    fn lessons<'a>(&self, epoch: Epoch, ask: &'a Ask) -> Box<dyn Iterator<Item = Result<Lesson>> + 'a> {
        self.real.lessons(epoch, ask)
    }

    fn learn(&mut self, _: &Lesson, _: f64) -> Result<f32> {
        self.steps += 1;
        Ok(if matches!(self.kind, Kind::Diverges(from) if from <= self.steps) { f32::NAN } else { 1.0 })
    }

    fn answer(&self, lesson: &Lesson) -> Result<Answers> {
        let [images, places, _] = lesson.sizes();
        let said = |share: &f32| if matches!(self.kind, Kind::Knows) { 20.0 * (share - 0.5) } else { 0.0 };
        Ok(Answers { relevance: lesson.coverage.iter().map(said).collect(), weights: vec![0.0; images * places * 3] })
    }

    fn state(&self) -> Result<Named> {
        self.real.state()
    }
}

fn whole(args: &Args, kind: Kind) -> Result<ExitCode> {
    let settings = args.settings()?;
    let make = |state: &_| Ok(Fake { kind, steps: 0, real: Trainee::new(state, &settings, &Device::Cpu)? });
    run(args, &settings, &Trainee::shapes(&settings), &make, &|data, model, checkpoint| {
        train(&data.train, model, args, &settings, checkpoint)
    })
}

/// An exit code can only be shown.
fn shown(code: impl Into<ExitCode>) -> String {
    format!("{:?}", code.into())
}

#[test]
fn success_is_to_be_better_than_guesses_that_are_hard_to_beat() {
    let dir = tempfile::tempdir().unwrap();
    shards(dir.path());
    for (kind, code) in [(Kind::Knows, 0), (Kind::Guesses, 2)] {
        assert_eq!(shown(whole(&args(dir.path(), &["--stop-at", "8"]), kind).unwrap()), shown(code));
    }
    for name in ["weights.safetensors", "checkpoint.safetensors", "loss.png", "examples.png"] {
        assert!(fs::metadata(dir.path().join(name)).unwrap().len() > 100, "{name}");
    }
}

#[test]
fn a_run_that_diverges_says_so_and_leaves_the_checkpoint_of_before() {
    let dir = tempfile::tempdir().unwrap();
    shards(dir.path());
    let args = args(dir.path(), &["--checkpoint-every", "1"]);
    let error = whole(&args, Kind::Diverges(3)).err().unwrap().to_string();
    assert_eq!(error, "step 3 came to NaN: training diverged; try a lower --lr than 3e-3");
    assert_eq!(Checkpoint::read(&args, &args.settings().unwrap()).map(|checkpoint| checkpoint.steps()).ok(), Some(2));
}

#[test]
fn nothing_of_an_earlier_run_is_lost_or_taken_for_anothers() {
    let dir = tempfile::tempdir().unwrap();
    shards(dir.path());
    let stopped = |more: &[&str]| whole(&args(dir.path(), &[&["--stop-at", "1"], more].concat()), Kind::Knows);
    stopped(&["--seed", "1"]).unwrap();
    let first = named::read(&Checkpoint::path(dir.path())).unwrap();
    // Neither a log that cannot be written nor shards that are not there cost a checkpoint.
    for more in [["--log", "/nowhere/log.csv"], ["--val-shards", "/nowhere"]] {
        stopped(&more).unwrap_err();
        assert_eq!(named::read(&Checkpoint::path(dir.path())).unwrap(), first);
    }
    stopped(&["--seed", "2"]).unwrap();
    assert_eq!(named::read(&Checkpoint::path_before(dir.path())).unwrap(), first);
    assert_ne!(named::read(&Checkpoint::path(dir.path())).unwrap(), first);

    let path = dir.path().join("weights.safetensors");
    let error = stopped(&["--init", path.to_str().unwrap()]).unwrap_err().to_string();
    assert!(error.contains("weights.safetensors would be overwritten"), "{error}");
    let elsewhere = dir.path().join("begin.safetensors");
    fs::rename(path, &elsewhere).unwrap();
    let error = stopped(&["--init", elsewhere.to_str().unwrap(), "--context", "3"]).unwrap_err().to_string();
    assert!(error.contains("is of shape [64, 13, 1, 1], the head has [64, 13, 3, 3]; --preset, --context"), "{error}");
    stopped(&["--init", elsewhere.to_str().unwrap()]).unwrap();
}

/// Ids of the images that are trained on, and of those held out.
fn images(args: &Args) -> [Vec<i64>; 2] {
    let data = Data::open(args, args.settings().unwrap()).unwrap();
    let ids = |loader: &maskstream::Loader| {
        let batches = loader.epoch(0).unwrap().map(|batch| batch.unwrap());
        let mut ids: Vec<i64> =
            batches.flat_map(|b| b.image_ids()[..b.samples().iter().flatten().count()].to_vec()).collect();
        ids.sort_unstable();
        ids
    };
    [ids(data.train.loader().unwrap().unwrap()), ids(&data.held_out().unwrap())]
}

#[test]
fn what_is_held_out_is_never_trained_on() {
    let dir = tempfile::tempdir().unwrap();
    shards(dir.path());
    let shard = |number: u64| dir.path().join(format!("sa_{number:06}.tar"));
    let [first, second] = [0, 1].map(shard);
    let [train, held_out] = images(&args(dir.path(), &[]));
    assert!(train.len() == 10 && held_out.len() == 10 && train.iter().all(|id| !held_out.contains(id)));

    // By another name, too.
    let link = dir.path().join("link.tar");
    std::os::unix::fs::symlink(&first, &link).unwrap();
    let named = images(&args(dir.path(), &["--val-shards", link.to_str().unwrap()]));
    assert_eq!(named, [held_out, train]);
    fs::remove_file(link).unwrap();

    // Of a single shard, every tenth image.
    fs::remove_file(second).unwrap();
    write_shard(&first, 0, &SynthOptions::new(Preset::Small).samples(24)).unwrap();
    ShardSet::builder().index(&first).unwrap();
    let [train, held_out] = images(&args(dir.path(), &[]));
    assert!(train.iter().all(|id| id % 10 != 0) && !held_out.is_empty() && held_out.iter().all(|id| id % 10 == 0));
    assert_eq!(train.len() + held_out.len(), 24);
}

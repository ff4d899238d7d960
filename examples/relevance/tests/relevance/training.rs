//! Training: optimizer steps, checkpoints and frozen weights.

use std::path::Path;

use candle_core::{Device, Tensor, Var};
use candle_nn::{Optimizer, ParamsAdamW};
use maskstream::index::Indexer;
use maskstream::synth::{Preset, SynthOptions, write_shard};

use crate::common::jobs::{args, args_for, shards, train_job};
use relevance::args::Args;
use relevance::candle::adamw::AdamW;
use relevance::candle::model::TrainState;
use relevance::candle::weights::Weights;
use relevance::checkpoint::Checkpoint;
use relevance::init::init_weights;
use relevance::model::{BETAS, EPSILON, WEIGHT_DECAY};
use relevance::report::Report;
use relevance::result::Result;
use relevance::state_dict::{Array, StateDict};
use relevance::train::train;

fn run(args: &Args) -> Result<(StateDict, Report)> {
    let settings = args.settings()?;
    let build = |state: &_| TrainState::new(state, &settings, &Device::Cpu);
    train_job(args, &settings, &TrainState::shapes(&settings), &build, &|data, model, checkpoint| {
        train(&data.train, model, args, &settings, checkpoint)
    })
}

#[test]
fn a_run_that_is_stopped_and_resumed_ends_as_one_that_is_not() {
    check_resuming("none");
    check_resuming("resized-crop");
}

fn check_resuming(augment: &str) {
    let args = |dir: &Path, more: &[&str]| args(dir, &[&["--augment", augment], more].concat());
    let dir = tempfile::tempdir().unwrap();
    shards(dir.path());
    let log = dir.path().join("loss.csv");
    let log = ["--log", log.to_str().unwrap()];
    // No checkpoint exists yet.
    let (whole, report) = run(&args(dir.path(), &[&["--resume"], &log[..]].concat())).unwrap();
    let lines = |run: &str| -> Vec<String> {
        let log = std::fs::read_to_string(log[1]).unwrap();
        // Seconds differ.
        let lines: Vec<String> =
            log.lines().map(|line| line.split(',').take(4).collect::<Vec<_>>().join(",")).collect();
        assert_eq!(lines.len(), 9, "{run}: {log}");
        lines
    };
    let expected = lines("whole");
    assert_eq!(report.losses.len(), 8);
    // Stops within an epoch, at its end, and in the next one.
    for stops in [vec!["3"], vec!["5"], vec!["2", "6"]] {
        run(&args(dir.path(), &[&["--stop-at", stops[0]], &log[..]].concat())).unwrap();
        for stop in stops[1..].iter().chain(&["8"]) {
            // A killed run may have logged steps after its checkpoint.
            let written = std::fs::read_to_string(log[1]).unwrap();
            std::fs::write(log[1], written + "7,9,0.1,0.1,1,1.0,1.0\n8,9,0.").unwrap();
            run(&args(dir.path(), &[&["--resume", "--stop-at", stop], &log[..]].concat())).unwrap();
        }
        let resumed = run(&args(dir.path(), &["--resume"])).unwrap();
        assert_eq!(resumed.1.losses, report.losses, "{stops:?}");
        assert_eq!(resumed.0, whole, "{stops:?}");
        assert_eq!(lines("resumed"), expected, "{stops:?}");
    }
}

#[test]
fn a_checkpoint_of_other_settings_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    shards(dir.path());
    run(&args(dir.path(), &["--stop-at", "1"])).unwrap();
    let others = [
        ("--seed", "5", "seed"),
        ("--lr", "0.01", "lr"),
        ("--steps", "9", "steps"),
        ("--select", "largest", "select"),
        ("--augment", "lsj", "augment"),
    ];
    for (option, value, name) in others {
        let (steps, more) = if option == "--steps" { (value, vec![]) } else { ("8", vec![option, value]) };
        let args = args_for(dir.path(), steps, &[&["--resume"], &more[..]].concat());
        let error = run(&args).err().unwrap().to_string();
        assert!(error.contains(&format!("was made with {name} ")), "{option}: {error}");
    }
    let error = run(&args(dir.path(), &["--resume", "--init", "other"])).err().unwrap().to_string();
    assert!(error.contains("was made with init None"), "{error}");
    // Other shards are rejected by the loader.
    let path = dir.path().join("sa_000000.tar");
    write_shard(&path, 0, &SynthOptions::new(Preset::Small).seed(9).samples(10).overwrite(true)).unwrap();
    Indexer::new().index(&path).unwrap();
    let error = run(&args(dir.path(), &["--resume"])).err().unwrap().to_string();
    assert!(error.contains("cursor"), "{error}");
    std::fs::write(Checkpoint::path(dir.path()), b"{").unwrap();
    let error = run(&args(dir.path(), &["--resume"])).err().unwrap().to_string();
    assert!(error.contains("checkpoint.safetensors"), "{error}");
}

#[test]
fn frozen_weights_stay_and_the_rest_is_trained() {
    let dir = tempfile::tempdir().unwrap();
    shards(dir.path());
    for (freeze, task) in [("none", "point"), ("scorer", "point"), ("balancer", "point"), ("none", "allocate")] {
        let args = args(dir.path(), &["--freeze", freeze, "--task", task, "--stop-at", "2"]);
        let initial = init_weights(&TrainState::shapes(&args.settings().unwrap()), 3);
        let (state, _) = run(&args).unwrap();
        for (name, array) in &initial {
            let cancels_out = name == "participatory_scorer.texture_proj.2.bias"
                || task == "allocate" && ["balancer.bias", "participatory_scorer.falloff"].contains(&name.as_str());
            let is_frozen = cancels_out
                || name.starts_with(&format!("{freeze}."))
                || freeze == "scorer" && name.starts_with("participatory_scorer.");
            assert_eq!(state[name] == *array, is_frozen, "{freeze}, {task}: {name}");
        }
    }
}

#[test]
fn adamw_steps_as_candles_own() {
    let start = [0.5_f32, -2.0, 3.0, 1e-3];
    let weights: StateDict = [("a".to_owned(), Array::vector(start.to_vec()))].into();
    let weights = Weights::new(&weights, &Device::Cpu).unwrap();
    let mut ours = AdamW::new(&weights, |_| true, &StateDict::new()).unwrap();
    let theirs_weight = Var::new(&start, &Device::Cpu).unwrap();
    let settings = ParamsAdamW { lr: 0.03, beta1: BETAS[0], beta2: BETAS[1], eps: EPSILON, weight_decay: WEIGHT_DECAY };
    let mut theirs = candle_nn::AdamW::new(vec![theirs_weight.clone()], settings).unwrap();
    let loss = |weight: &Tensor| {
        let target = Tensor::new(&[0.1_f32, 0.2, -0.3, 4.0], &Device::Cpu).unwrap();
        (weight - target).unwrap().powf(4.0).unwrap().sum_all().unwrap()
    };
    for step in 0..60 {
        let weight = weights.get("a").unwrap().clone();
        ours.step(&loss(&weight).backward().unwrap(), 0.03).unwrap();
        theirs.backward_step(&loss(theirs_weight.as_tensor())).unwrap();
        let [ours, theirs] =
            [weights.get("a").unwrap(), theirs_weight.as_tensor()].map(|w| w.to_vec1::<f32>().unwrap());
        let apart = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart < 1e-5, "step {step}: {ours:?}, {theirs:?}");
    }
    assert_ne!(weights.get("a").unwrap().to_vec1::<f32>().unwrap(), start);
}

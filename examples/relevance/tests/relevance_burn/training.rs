//! Training in Burn: in the plain loop and with Burn's trainer, compared with each other and with candle.

use burn::tensor::Device;

use crate::common::jobs::{args, shards, train_job};
use relevance::args::Args;
use relevance::burn::model::TrainState;
use relevance::burn::trainer;
use relevance::report::Report;
use relevance::result::Result;
use relevance::state_dict::StateDict;
use relevance::train::train;

fn run(args: &Args, by_trainer: bool) -> Result<(StateDict, Report)> {
    let (settings, device) = (args.settings()?, Device::flex());
    let build = |state: &_| TrainState::new(state, &settings, &device);
    train_job(args, &settings, &TrainState::shapes(&settings)?, &build, &|data, model, checkpoint| {
        if by_trainer {
            trainer::train(data, model, args, &settings, checkpoint, &device)
        } else {
            train(&data.train, model, args, &settings, checkpoint)
        }
    })
}

#[test]
fn plain_loop_and_trainer_resumed_or_not_end_with_the_same_weights() {
    let dir = tempfile::tempdir().unwrap();
    shards(dir.path());
    let args = |more: &[&str]| args(dir.path(), more);
    let (whole, report) = run(&args(&[]), false).unwrap();
    assert_eq!(report.losses.len(), 8);
    let expect = |(state, found): (StateDict, Report), how: &str| {
        assert_eq!(found.losses, report.losses, "{how}");
        assert_eq!(state, whole, "{how}");
    };
    expect(run(&args(&[]), true).unwrap(), "trainer");
    // An epoch has five steps.
    for (first, second) in [(false, false), (true, true), (false, true)] {
        for stop in ["3", "5"] {
            run(&args(&["--stop-at", stop]), first).unwrap();
            expect(run(&args(&["--resume"]), second).unwrap(), &format!("{first}, {second}, after {stop}"));
        }
    }
}

#[test]
fn errors_of_the_trainer_name_their_cause() {
    let dir = tempfile::tempdir().unwrap();
    shards(dir.path());
    // The middle of the training shard is corrupt.
    let path = dir.path().join("sa_000000.tar");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 40_000].fill(7);
    let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
    std::fs::write(&path, bytes).unwrap();
    // With the same modification time, its index is still accepted.
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    let error = run(&args(dir.path(), &[]), true).err().unwrap().to_string();
    assert!(error.contains("sa_000000.tar"), "{error}");
    // A directory has the name of the checkpoint's temporary file.
    shards(dir.path());
    std::fs::create_dir(dir.path().join("checkpoint.tmp")).unwrap();
    let error = run(&args(dir.path(), &["--checkpoint-every", "2"]), true).err().unwrap().to_string();
    assert!(error.contains("cannot write") && error.contains("checkpoint.safetensors"), "{error}");
}

mod both {
    use candle_core::Device as CandleDevice;

    use super::*;
    use crate::common::jobs::args_for;
    use relevance::candle::model::TrainState as CandleTrainState;

    fn run_candle(args: &Args) -> Result<(StateDict, Report)> {
        let settings = args.settings()?;
        let build = |state: &_| CandleTrainState::new(state, &settings, &CandleDevice::Cpu);
        train_job(args, &settings, &CandleTrainState::shapes(&settings), &build, &|data, model, checkpoint| {
            train(&data.train, model, args, &settings, checkpoint)
        })
    }

    /// The largest relative difference of the losses.
    fn apart(a: &Report, b: &Report) -> f32 {
        assert_eq!(a.losses.len(), b.losses.len());
        a.losses.iter().zip(&b.losses).map(|(a, b)| (a - b).abs() / b.abs()).fold(0.0, f32::max)
    }

    #[test]
    fn fifty_steps_have_the_same_losses_in_candle() {
        let dir = tempfile::tempdir().unwrap();
        shards(dir.path());
        for (task, context) in [("point", "1"), ("allocate", "3")] {
            let args = args_for(dir.path(), "60", &["--task", task, "--context", context, "--stop-at", "50"]);
            let (weights, burn) = run(&args, false).unwrap();
            let (candle_weights, candle) = run_candle(&args).unwrap();
            println!(
                "{task}, {context}: losses at most {:.1e} apart, of {:.4} to {:.4}",
                apart(&burn, &candle),
                burn.losses[0],
                burn.loss()
            );
            assert!(apart(&burn, &candle) < 1e-4, "{:?}\n{:?}", burn.losses, candle.losses);
            let is_weight = |name: &&String| !name.starts_with("adam.");
            assert!(weights.keys().filter(is_weight).eq(candle_weights.keys().filter(is_weight)));
        }
    }

    #[test]
    fn a_checkpoint_of_either_framework_opens_in_the_other() {
        let dir = tempfile::tempdir().unwrap();
        shards(dir.path());
        let (_, whole) = run_candle(&args(dir.path(), &[])).unwrap();
        run_candle(&args(dir.path(), &["--stop-at", "4"])).unwrap();
        let (_, in_burn) = run(&args(dir.path(), &["--resume"]), false).unwrap();
        assert!(apart(&in_burn, &whole) < 1e-4, "{:?}\n{:?}", in_burn.losses, whole.losses);
        run(&args(dir.path(), &["--stop-at", "4"]), true).unwrap();
        let (_, in_candle) = run_candle(&args(dir.path(), &["--resume"])).unwrap();
        assert!(apart(&in_candle, &whole) < 1e-4, "{:?}\n{:?}", in_candle.losses, whole.losses);
    }
}

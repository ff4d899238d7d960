//! The same as the example `finetune`, with Burn: ARR-COC's relevance head trained on SA-1B shards, from tar files to
//! numbers and pictures, in a plain loop or by Burn's own trainer.
//!
//! Comes in: shards, or nothing: then it makes some. Goes out: a table of the head against simple guesses on held-out
//! images, its weights, pictures. Fails where shards cannot be read or files not be written; ends with code 2 if the head
//! learned nothing. What knows Burn is in `examples/relevance/burn`.

#[path = "../relevance/mod.rs"]
#[allow(dead_code, reason = "the head as it was published is for the tests and for who needs it")]
mod relevance;

use std::process::ExitCode;

use burn::tensor::Device;
use clap::Parser;

use relevance::args::{AFTER_HELP, Args, kind_and_number};
use relevance::burn::learner::learn;
use relevance::burn::model::Trainee;
use relevance::model::Result;
use relevance::run::{exit_code, run};
use relevance::train::train;

// Keeps the pages of dropped tensors: with the system's allocator, each new batch would have to be mapped in again page
// by page.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Trains ARR-COC's relevance head on SA-1B shards with Burn: pointed at a patch of an image, which other patches belong to
/// the same thing?
///
/// Without arguments it makes a small data set of drawn scenes, trains for about a minute and compares the result with
/// simple guesses on images it has not seen. With --shards it does the same on real shards. Weights and checkpoints are
/// those of the example with candle: each can go on where the other stopped.
#[derive(Parser)]
#[command(after_help = AFTER_HELP)]
struct BurnArgs {
    /// Let Burn's own trainer make the steps, with its metrics, and look at the held-out images after each epoch; the
    /// weights come out the same. Wants shards that have an index
    #[arg(long)]
    trainer: bool,

    #[command(flatten)]
    args: Args,
}

fn main() -> ExitCode {
    exit_code(finetune(&BurnArgs::parse()))
}

fn finetune(BurnArgs { trainer, args }: &BurnArgs) -> Result<ExitCode> {
    let settings = args.settings()?;
    let device = device(&args.device)?;
    let make = |state: &_| Trainee::new(state, &settings, &device);
    run(args, &settings, &Trainee::shapes(&settings)?, &make, &|data, model, checkpoint| match trainer {
        true => learn(data, model, args, &settings, checkpoint, &device),
        false => train(&data.train, model, args, &settings, checkpoint),
    })
}

/// `auto` and `cpu` are Flex, Burn's backend in Rust; the others are there if they were built in.
fn device(name: &str) -> Result<Device> {
    let (kind, number) = kind_and_number(name)?;
    match (kind, number) {
        ("auto" | "cpu", _) if name == kind => Ok(Device::flex()),
        #[cfg(feature = "burn-wgpu")]
        ("wgpu", _) if name == "wgpu" => Ok(Device::wgpu(burn::tensor::DeviceKind::DefaultDevice)),
        #[cfg(feature = "burn-wgpu")]
        ("wgpu", _) => Ok(Device::wgpu(burn::tensor::DeviceKind::DiscreteGpu(number))),
        #[cfg(feature = "burn-cuda")]
        ("cuda", _) => Ok(Device::cuda(number)),
        _ => Err(format!("--device {name}: it is auto, cpu, or what --features burn-wgpu or burn-cuda add").into()),
    }
}

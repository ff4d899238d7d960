//! Trains ARR-COC's relevance head on SA-1B shards with candle, from tar files to numbers and pictures.
//!
//! The task: somebody points at a place in an image; which patches of a 32 x 32 grid belong to the thing there? The
//! answer is how much of each patch the mask at that place covers, which the loader computes from the annotations;
//! `predicted_iou` says how much an answer counts.
//!
//! Comes in: shards, or nothing: then it makes some. Goes out: a table of the head against simple guesses on held-out
//! images, its weights, pictures. Fails where shards cannot be read or files not be written; ends with code 2 if the head
//! learned nothing. What knows candle is in `examples/relevance/candle`.

#[path = "../relevance/mod.rs"]
#[allow(dead_code, reason = "the head as it was published is for the tests and for who needs it")]
mod relevance;

use std::process::ExitCode;

use candle_core::Device;
use clap::Parser;

use relevance::args::{Args, kind_and_number};
use relevance::candle::model::Trainee;
use relevance::model::Result;
use relevance::run::{exit_code, run};
use relevance::train::train;

// Keeps the pages of dropped tensors: with the system's allocator, each new batch would have to be mapped in again page
// by page.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    exit_code(finetune(&Args::parse()))
}

fn finetune(args: &Args) -> Result<ExitCode> {
    let settings = args.settings()?;
    let device = device(&args.device)?;
    let make = |state: &_| Trainee::new(state, &settings, &device);
    run(args, &settings, &Trainee::shapes(&settings), &make, &|data, model, checkpoint| {
        train(&data.train, model, args, &settings, checkpoint)
    })
}

/// `auto`, `cpu`, `cuda`, `cuda:1`, `metal`. Other than the CPU only if candle was built for it:
/// `--features candle-core/cuda`.
fn device(name: &str) -> Result<Device> {
    let (kind, number) = kind_and_number(name)?;
    match kind {
        "auto" if name == kind => Ok(Device::cuda_if_available(0)?),
        "cpu" if name == kind => Ok(Device::Cpu),
        "cuda" => Ok(Device::new_cuda(number)?),
        "metal" => Ok(Device::new_metal(number)?),
        _ => Err(format!("--device {name}: it is auto, cpu, cuda or metal").into()),
    }
}

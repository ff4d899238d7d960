//! Trains ARR-COC's relevance head on SA-1B shards with candle.
//!
//! Reads shards, or generates some if none are given. Writes the weights, a checkpoint, a loss plot and a figure, and
//! prints a table of the head against simple baselines on held-out images. Exits with 2 if the head does not beat
//! them.

use std::process::ExitCode;

use candle_core::Device;
use clap::Parser;

use relevance::args::{Args, device_kind_and_index};
use relevance::candle::model::TrainState;
use relevance::result::Result;
use relevance::run::{exit_code, run};
use relevance::train::train;

// Keeps the pages of dropped tensors. The system's allocator returns them to the kernel, which maps them in again page
// by page for the next batch.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    exit_code(finetune(&Args::parse()))
}

fn finetune(args: &Args) -> Result<ExitCode> {
    let settings = args.settings()?;
    let device = device(&args.device)?;
    let build = |state: &_| TrainState::new(state, &settings, &device);
    run(args, &settings, &TrainState::shapes(&settings), &build, &|data, model, checkpoint| {
        train(&data.train, model, args, &settings, checkpoint)
    })
}

/// The device `auto`, `cpu`, `cuda`, `cuda:1` or `metal`. Devices other than the CPU need a candle that was built for
/// them: `--features candle-core/cuda`.
fn device(name: &str) -> Result<Device> {
    let (kind, index) = device_kind_and_index(name)?;
    match kind {
        "auto" if name == kind => Ok(Device::cuda_if_available(0)?),
        "cpu" if name == kind => Ok(Device::Cpu),
        "cuda" => Ok(Device::new_cuda(index)?),
        "metal" => Ok(Device::new_metal(index)?),
        _ => Err(format!("--device {name}: expected auto, cpu, cuda or metal").into()),
    }
}

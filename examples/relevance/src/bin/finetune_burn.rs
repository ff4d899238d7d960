//! Trains ARR-COC's relevance head on SA-1B shards with Burn, in a plain loop or with Burn's trainer.
//!
//! Input, output and exit code are those of `finetune`.

use std::process::ExitCode;

use burn::tensor::Device;
use clap::Parser;

use relevance::args::{AFTER_HELP, Args, device_kind_and_index};
use relevance::burn::model::TrainState;
use relevance::burn::trainer;
use relevance::result::Result;
use relevance::run::{exit_code, run};
use relevance::train::train;

// Keeps the pages of dropped tensors. The system's allocator returns them to the kernel, which maps them in again page
// by page for the next batch.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Trains ARR-COC's relevance head on SA-1B shards with Burn: given a patch of an image, which other patches belong to
/// the same object?
///
/// Without arguments it generates a small data set of drawn scenes, trains for about a minute and compares the head
/// with simple baselines on held-out images. With --shards it does the same on real shards. Weights and checkpoints
/// have the same format as those of finetune: each program can resume the other's runs.
#[derive(Parser)]
#[command(after_help = AFTER_HELP)]
struct BurnArgs {
    /// Train with Burn's trainer instead of a plain loop: it prints its metrics and validates on the held-out images
    /// after each epoch. The weights come out the same. Needs shards with an index
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
    let build = |state: &_| TrainState::new(state, &settings, &device);
    run(args, &settings, &TrainState::shapes(&settings)?, &build, &|data, model, checkpoint| {
        if *trainer {
            trainer::train(data, model, args, &settings, checkpoint, &device)
        } else {
            train(&data.train, model, args, &settings, checkpoint)
        }
    })
}

/// The device `auto` or `cpu` (Flex, Burn's CPU backend), or one of the backends that the program was built with.
fn device(name: &str) -> Result<Device> {
    let (kind, index) = device_kind_and_index(name)?;
    match (kind, index) {
        ("auto" | "cpu", _) if name == kind => Ok(Device::flex()),
        #[cfg(feature = "burn-wgpu")]
        ("wgpu", _) if name == "wgpu" => Ok(Device::wgpu(burn::tensor::DeviceKind::DefaultDevice)),
        #[cfg(feature = "burn-wgpu")]
        ("wgpu", _) => Ok(Device::wgpu(burn::tensor::DeviceKind::DiscreteGpu(index))),
        #[cfg(feature = "burn-cuda")]
        ("cuda", _) => Ok(Device::cuda(index)),
        _ => {
            let message =
                format!("--device {name}: expected auto, cpu, or a device of --features burn-wgpu or burn-cuda");
            Err(message.into())
        }
    }
}

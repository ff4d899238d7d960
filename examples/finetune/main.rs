//! Trains a small model on SA-1B shards, from tar files to numbers and pictures.
//!
//! The task: somebody points at a place in an image; which patches of a 32 x 32 grid belong to the thing there? The
//! answer is how much of each patch the mask at that place covers, which the loader computes from the annotations;
//! `predicted_iou` says how much an answer counts.
//!
//! Comes in: shards, or nothing: then it makes some. Goes out: a table of the model against simple guesses on held-out
//! images, its weights, and a picture. Fails where shards cannot be read or files not be written; ends with code 2 if
//! the model learned nothing.

mod data;
mod evaluate;
mod features;
mod metrics;
mod model;
mod picture;
mod progress;
mod queries;
mod rng;
mod train;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use candle_core::Device;
use clap::Parser;

use data::Data;
use features::GRID;
use model::Head;

// Keeps the pages of dropped tensors: with the system's allocator, each new batch would have to be mapped in again page
// by page.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Trains a patch-relevance head on SA-1B shards: pointed at a patch of an image, which other patches belong to the
/// same thing?
///
/// Without arguments it makes a small data set of drawn scenes, trains for about a minute and compares the result with
/// simple guesses on images it has not seen. With --shards it does the same on real shards.
#[derive(Parser)]
#[command(
    name = "finetune",
    after_help = "Examples:\n  finetune\n  finetune --shards 'sa1b/sa_0000*.tar' --steps 2000 --workers 8\n  \
                  finetune --shards 'sa1b/train/*.tar' --val-shards sa1b/val\n\nEnds with code 2 if the trained model does not beat the simple guesses and its untrained self."
)]
struct Args {
    /// Shards to train on: files, directories or quoted patterns. Without --val-shards the last one is held out, or of
    /// a single one every tenth image
    #[arg(long, num_args = 1.., value_name = "PATTERN")]
    shards: Vec<String>,

    /// Shards to evaluate on; never trained on, even if --shards names them too
    #[arg(long, num_args = 1.., value_name = "PATTERN", requires = "shards")]
    val_shards: Vec<String>,

    /// Where the generated shards are kept, and found again by the next run
    #[arg(long, value_name = "DIR", default_value = "target/finetune-data", conflicts_with = "shards")]
    data: PathBuf,

    /// Where the weights and the picture go
    #[arg(long, value_name = "DIR", default_value = "target/finetune")]
    out: PathBuf,

    /// Batches to train on, over as many epochs as that takes
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u64).range(1..))]
    steps: u64,

    /// Images in a batch
    #[arg(long, default_value_t = 16)]
    batch_size: usize,

    /// Masks asked for per image
    #[arg(long, default_value_t = 4)]
    queries: usize,

    /// Side of the square that images are fitted into, in pixels; a multiple of 32
    #[arg(long, default_value_t = 256)]
    image_size: u32,

    /// Learning rate of AdamW at the start; falls to nothing by the last step
    #[arg(long, default_value_t = 1e-2)]
    lr: f64,

    /// Decides the first weights, the order of samples and the queries: the same seed gives the same model
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// Threads that decode; has no influence on the result
    #[arg(long, default_value_t = std::thread::available_parallelism().map_or(1, usize::from))]
    workers: usize,
}

/// Examples in the picture.
const EXAMPLES: usize = 6;

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<ExitCode, Box<dyn Error>> {
    let start = Instant::now();
    if args.image_size == 0 || !args.image_size.is_multiple_of(GRID as u32) {
        return Err(format!("--image-size {} is not a multiple of the {GRID} patches a side", args.image_size).into());
    }
    if args.queries == 0 {
        return Err("--queries must be at least 1".into());
    }
    std::fs::create_dir_all(&args.out).map_err(|e| format!("cannot create {}: {e}", args.out.display()))?;
    println!("Pointed at one patch of an image, which of its {GRID} x {GRID} patches belong to the same thing?\n");
    // Other than the CPU only if candle was built for it: `--features candle-core/cuda`.
    let device = Device::cuda_if_available(0)?;
    let data = Data::open(args)?;

    let head = Head::new(args.seed, &device)?;
    println!(
        "  training: {} weights, {} steps of {} images with up to {} queries each, seed {}",
        head.size(),
        args.steps,
        args.batch_size,
        args.queries,
        args.seed
    );
    let report = train::train(&data.train, &head, args, &device)?;
    println!(
        "   trained: {} steps in {:.1} s, {:.0} samples/s, {:.1} % of the time waiting for data, loss {:.4}",
        report.steps,
        report.wall.as_secs_f64(),
        report.samples_per_s(),
        report.wait_percent(),
        report.loss
    );

    let held_out = data.held_out()?;
    let evaluating = Instant::now();
    let untrained = Head::new(args.seed, &device)?;
    let (table, examples) = evaluate::evaluate(&held_out, [&head, &untrained], args.queries, EXAMPLES, &device)?;
    let seconds = evaluating.elapsed().as_secs_f64();
    println!(
        " evaluated: {} queries on {} held-out images in {seconds:.1} s\n\n{table}\n",
        table.queries, table.images
    );

    let (weights, picture) = (args.out.join("weights.safetensors"), args.out.join("examples.png"));
    head.save(&weights).map_err(|e| format!("cannot write {}: {e}", weights.display()))?;
    picture::draw(&examples, &picture)?;
    println!("wrote {}", weights.display());
    println!("wrote {} (image with the point | what belongs to it | what the model says)", picture.display());
    println!("{:.1} s in all", start.elapsed().as_secs_f64());

    if table.is_success() {
        println!("success: in AUC and best IoU, the trained model is above distance, colour and where it began");
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "no success: in AUC or best IoU, the trained model is not above distance, colour and where it began; \
         try more --steps"
    );
    Ok(ExitCode::from(2))
}

//! The command line of the training examples. Comes in: arguments. Goes out: [`Args`], and [`Settings`], which decide
//! the result. Fails on values that do not fit together.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use maskstream::{Fit, TopKBy};
use serde::Serialize;

use super::model::Result;

/// Masks that are read per image, for queries to be drawn from them.
pub(crate) const MASKS_PER_IMAGE: usize = 24;

/// Trains ARR-COC's relevance head on SA-1B shards: pointed at a patch of an image, which other patches belong to the
/// same thing?
///
/// Without arguments it makes a small data set of drawn scenes, trains for about a minute and compares the result with
/// simple guesses on images it has not seen. With --shards it does the same on real shards.
#[derive(Clone, Debug, Parser)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Shards to train on: files, directories or quoted patterns. Without --val-shards the last one is held out, or of
    /// a single one every tenth image
    #[arg(long, num_args = 1.., value_name = "PATTERN")]
    pub(crate) shards: Vec<String>,

    /// Shards to evaluate on; never trained on, even if --shards names them too
    #[arg(long, num_args = 1.., value_name = "PATTERN", requires = "shards")]
    pub(crate) val_shards: Vec<String>,

    /// Where the generated shards are kept, and found again by the next run
    #[arg(long, value_name = "DIR", default_value = "target/finetune-data", conflicts_with = "shards")]
    pub(crate) data: PathBuf,

    /// Where weights, checkpoint and pictures go
    #[arg(long, value_name = "DIR", default_value = "target/finetune")]
    pub(crate) out: PathBuf,

    /// Sizes that go together: cpu is 256 pixels letterboxed, 32 x 32 patches, each seen alone, 16 images with 4 queries
    /// each; arr is ARR-COC's own 512 pixels stretched, 32 x 32 patches, each seen with its 8 neighbours, 32 images; gpu is
    /// 1024 pixels letterboxed, 64 x 64 patches with neighbours, 32 images with 8 queries each
    #[arg(long, value_enum, default_value = "cpu")]
    pub(crate) preset: Preset,

    /// What is learned: what belongs to a point, or, without a question, how to share an image's patches among up to 128 of
    /// its masks. The second is no showpiece: on photos this model does no better than taking the strongest edges
    #[arg(long, value_enum, default_value = "point")]
    pub(crate) task: Task,

    /// If an image has more than 24 masks, which 24 of them queries are drawn from in training: small, medium and large ones
    /// in turn, the most stable, the most confident, the largest or smallest, or any
    #[arg(long, value_enum, default_value = "area-stratified")]
    pub(crate) select: Select,

    /// Weights to begin with, a safetensors file: one that this program wrote (in either framework) with the same --context
    /// and --task, or any with the same names and shapes. ARR-COC's own do not fit: its queries are 2048 numbers of a
    /// language model
    #[arg(long, value_name = "FILE")]
    pub(crate) init: Option<PathBuf>,

    /// The part that keeps the weights it begins with
    #[arg(long, value_enum, default_value = "none")]
    pub(crate) freeze: Freeze,

    /// Go on from the checkpoint in --out, if there is one yet, with the same other options: same weights, optimizer and
    /// place in the data. If the shards had an index, the result in the end is the same as without the stop, to the bit
    #[arg(long)]
    pub(crate) resume: bool,

    /// Steps between two checkpoints; one is always written at the end
    #[arg(long, default_value_t = 100, value_name = "STEPS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) checkpoint_every: u64,

    /// Stop after this step with a checkpoint, for --resume to go on from, as where a job's time is limited
    #[arg(long, value_name = "STEP", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) stop_at: Option<u64>,

    /// Batches to train on, over as many epochs as that takes
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) steps: u64,

    /// Images in a batch
    #[arg(long)]
    batch_size: Option<usize>,

    /// Masks asked for per image, up to 24
    #[arg(long)]
    queries: Option<usize>,

    /// Side of the square that images are fitted into, in pixels; a multiple of the patches a side
    #[arg(long)]
    image_size: Option<u32>,

    /// Side of the window that is seen of the patches around each one: 1 is the patch alone, 3 its 8 neighbours as well,
    /// and so on up to 7. Photos gain from 3; a step takes a third longer
    #[arg(long)]
    context: Option<usize>,

    /// Learning rate of AdamW at the start, at most 0.1; falls to nothing by the last step, along a cosine. Four numbers, of
    /// how sharp the answer is, learn at ten times that
    #[arg(long, default_value_t = 3e-3)]
    lr: f64,

    /// Decides the first weights, the order of samples and the queries: the same seed gives the same model, if the
    /// shards have an index
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// Where the head is trained: cpu, or what the program was built for: with candle cuda, cuda:1 or metal, with Burn cuda,
    /// wgpu, or wgpu:1 for the second GPU that is no part of the processor. auto is the first of cuda with candle if it was
    /// built for it, and the CPU else
    #[arg(long, default_value = "auto")]
    pub(crate) device: String,

    /// Threads that decode; has no influence on the result
    #[arg(long, default_value_t = std::thread::available_parallelism().map_or(1, usize::from))]
    pub(crate) workers: usize,

    /// Write a line per step to this file: step, epoch, loss, learning rate, samples, seconds, seconds waited for data
    #[arg(long, value_name = "FILE.csv")]
    pub(crate) log: Option<PathBuf>,
}

pub(crate) const AFTER_HELP: &str = "Examples:
  finetune
  finetune --shards 'sa1b/sa_0000*.tar' --steps 2000 --workers 8 --log loss.csv
  finetune --shards 'sa1b/train/*.tar' --val-shards sa1b/val --preset arr --out target/arr
  finetune --shards 'sa1b/train/*.tar' --val-shards sa1b/val --preset arr --out target/arr --resume
  finetune --shards drawings/ --preset arr --init target/arr/weights.safetensors --freeze scorer --out target/drawings
finetune_burn takes the same, and --trainer.

Ends with code 2 if the trained head does not beat simple guesses. Those are, in AUC and best IoU, the distance to the point and the distance in colour; with --task allocate, in the share of the masks that is kept, the strongest edges.";

/// What sizes go together.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Preset {
    Cpu,
    Arr,
    Gpu,
}

/// What is learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
pub(crate) enum Task {
    /// Which patches belong to a point.
    Point,
    /// How much of its patches each mask should get, where nobody asks.
    Allocate,
}

/// Which masks come first.
#[derive(Clone, Copy, Debug, Serialize, ValueEnum)]
pub(crate) enum Select {
    AreaStratified,
    Stability,
    Confidence,
    Largest,
    Smallest,
    Random,
}

/// What keeps its weights.
#[derive(Clone, Copy, Debug, Serialize, ValueEnum)]
pub(crate) enum Freeze {
    None,
    Scorer,
    Balancer,
}

/// Everything that the trained weights depend on, but for the shards, for which the loader's cursor speaks.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Settings {
    pub(crate) task: Task,
    pub(crate) select: Select,
    pub(crate) freeze: Freeze,
    pub(crate) image_size: u32,
    pub(crate) stretch: bool,
    /// Patches a side.
    pub(crate) grid: u32,
    pub(crate) batch_size: usize,
    pub(crate) queries: usize,
    /// Side of the window of patches that is seen around each; odd.
    pub(crate) context: usize,
    pub(crate) steps: u64,
    pub(crate) lr: f64,
    pub(crate) seed: u64,
}

impl Args {
    /// The preset's sizes and what the command line has instead.
    pub(crate) fn settings(&self) -> Result<Settings> {
        let (image_size, stretch, grid, context, batch_size, queries) = match self.preset {
            Preset::Cpu => (256, false, 32, 1, 16, 4),
            Preset::Arr => (512, true, 32, 3, 32, 4),
            Preset::Gpu => (1024, false, 64, 3, 32, 8),
        };
        let settings = Settings {
            task: self.task,
            select: self.select,
            freeze: self.freeze,
            image_size: self.image_size.unwrap_or(image_size),
            stretch,
            grid,
            batch_size: self.batch_size.unwrap_or(batch_size),
            queries: self.queries.unwrap_or(queries),
            context: self.context.unwrap_or(context),
            steps: self.steps,
            lr: self.lr,
            seed: self.seed,
        };
        if settings.image_size == 0 || !settings.image_size.is_multiple_of(grid) {
            return Err(
                format!("--image-size {} is not a multiple of the {grid} patches a side", settings.image_size).into()
            );
        }
        if !(1..=MASKS_PER_IMAGE).contains(&settings.queries) {
            return Err(format!("--queries {} is not 1 to {MASKS_PER_IMAGE}", settings.queries).into());
        }
        if ![1, 3, 5, 7].contains(&settings.context) {
            return Err(format!("--context {} is not 1, 3, 5 or 7", settings.context).into());
        }
        if !(settings.lr > 0.0 && settings.lr <= 0.1) {
            return Err(format!("--lr {} is not above 0 and at most 0.1", settings.lr).into());
        }
        Ok(settings)
    }
}

/// The parts of a `--device`, as of `cuda:1`; the number is 0 if there is none.
pub(crate) fn kind_and_number(device: &str) -> Result<(&str, usize)> {
    let (kind, number) = device.split_once(':').unwrap_or((device, "0"));
    let number = number.parse().map_err(|_| format!("--device {device}: {number} is no number of a device"))?;
    Ok((kind, number))
}

impl Settings {
    pub(crate) fn fit(&self) -> Fit {
        if self.stretch { Fit::Stretch } else { Fit::Letterbox }
    }

    /// Which masks come first.
    pub(crate) fn top_k_by(&self) -> TopKBy {
        let seed = self.seed;
        match self.select {
            Select::AreaStratified => TopKBy::AreaStratified { seed },
            Select::Stability => TopKBy::StabilityScore,
            Select::Confidence => TopKBy::PredictedIou,
            Select::Largest => TopKBy::LargestArea,
            Select::Smallest => TopKBy::SmallestArea,
            Select::Random => TopKBy::Random { seed },
        }
    }

    /// Patches of an image.
    pub(crate) fn patches(&self) -> usize {
        (self.grid * self.grid) as usize
    }

    /// Falls from `lr` at the first step to nearly 0 at the last.
    pub(crate) fn learning_rate(&self, step: u64) -> f64 {
        self.lr * (0.5 + 0.5 * (std::f64::consts::PI * step as f64 / self.steps as f64).cos())
    }
}

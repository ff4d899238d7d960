//! The command line of both binaries: [`Args`], and the [`Settings`] on which the trained weights depend.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use maskstream::{Augment, Fit, TopKBy};
use serde::Serialize;

use crate::result::Result;

/// Masks that are loaded per image for the task `point`; queries are drawn from them.
pub const MASKS_PER_IMAGE: usize = 24;

/// Trains ARR-COC's relevance head on SA-1B shards: given a patch of an image, which other patches belong to the same
/// object?
///
/// Without arguments it generates a small data set of drawn scenes, trains for about a minute and compares the head
/// with simple baselines on held-out images. With --shards it does the same on real shards.
#[derive(Clone, Debug, Parser)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// Shards to train on: files, directories or quoted patterns. Without --val-shards, the last shard is held out, or
    /// every tenth image if there is only one shard
    #[arg(long, num_args = 1.., value_name = "PATTERN")]
    pub shards: Vec<String>,

    /// Shards to evaluate on. They are never trained on, even if --shards names them too
    #[arg(long, num_args = 1.., value_name = "PATTERN", requires = "shards")]
    pub val_shards: Vec<String>,

    /// Directory of the generated shards; later runs use them again
    #[arg(long, value_name = "DIR", default_value = "target/finetune-data", conflicts_with = "shards")]
    pub data: PathBuf,

    /// Output directory for the weights, the checkpoint and the pictures
    #[arg(long, value_name = "DIR", default_value = "target/finetune")]
    pub out: PathBuf,

    /// Sizes that go together. cpu: 256 pixels letterboxed, 32 x 32 patches without neighbours, 16 images with 4
    /// queries each. arr: ARR-COC's 512 pixels stretched, 32 x 32 patches with their 8 neighbours, 32 images with 4
    /// queries each. gpu: 1024 pixels letterboxed, 64 x 64 patches with their 8 neighbours, 32 images with 8 queries
    /// each
    #[arg(long, value_enum, default_value = "cpu")]
    pub preset: Preset,

    /// What to learn. point: which patches belong to the object at a point. allocate: without a point, how to divide
    /// an image's patches among up to 128 of its masks; on photos, this model does no better there than the strongest
    /// edges
    #[arg(long, value_enum, default_value = "point")]
    pub task: Task,

    /// Which 24 masks the queries are drawn from in training, if an image has more: small, medium and large ones in
    /// turn, the most stable, the most confident, the largest, the smallest, or random ones
    #[arg(long, value_enum, default_value = "area-stratified")]
    pub select: Select,

    /// How images are changed at random in training: not at all; flips and slight changes of colour, as SAM 2 is
    /// trained; large-scale jitter, the image at 0.1 to 2 times its size; or a part of 8 to 100 % of the image.
    /// Held-out images are never changed
    #[arg(long, value_enum, default_value = "none")]
    pub augment: AugmentPreset,

    /// Initial weights, a safetensors file: written by this program (in either framework) with the same --context and
    /// --task, or any file with the same names and shapes. ARR-COC's own weights do not fit: its queries are 2048
    /// numbers of a language model
    #[arg(long, value_name = "FILE")]
    pub init: Option<PathBuf>,

    /// The part whose weights are not trained
    #[arg(long, value_enum, default_value = "none")]
    pub freeze: Freeze,

    /// Resume from the checkpoint in --out if there is one: weights, optimizer and position in the data. All other
    /// options must be the same. If the shards had an index, the result is the same to the bit as without the
    /// interruption
    #[arg(long)]
    pub resume: bool,

    /// Steps between checkpoints; the last step always writes one
    #[arg(long, default_value_t = 100, value_name = "STEPS", value_parser = clap::value_parser!(u64).range(1..))]
    pub checkpoint_every: u64,

    /// Stop after this step with a checkpoint for --resume, for jobs with a time limit
    #[arg(long, value_name = "STEP", value_parser = clap::value_parser!(u64).range(1..))]
    pub stop_at: Option<u64>,

    /// Batches to train on, over as many epochs as that takes
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u64).range(1..))]
    pub steps: u64,

    /// Images per batch
    #[arg(long)]
    batch_size: Option<usize>,

    /// Queries per image, at most 24
    #[arg(long)]
    queries: Option<usize>,

    /// Side in pixels of the square that images are fitted into; a multiple of the number of patches per side
    #[arg(long)]
    image_size: Option<u32>,

    /// Side of the window of patches that the head sees around each patch: 1 (the patch alone), 3 (with its 8
    /// neighbours), 5 or 7. On photos, 3 is better than 1; a step takes a third longer
    #[arg(long)]
    context: Option<usize>,

    /// Initial learning rate of AdamW, at most 0.1; decays to 0 along a cosine. The four scalars that set how sharp
    /// the relevance is learn ten times as fast
    #[arg(long, default_value_t = 3e-3)]
    lr: f64,

    /// Seed of the initial weights, the order of the samples and the queries. If the shards have an index, the same
    /// seed gives the same model
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// Device to train on: cpu, or one that the program was built for. candle: cuda, cuda:1 or metal. Burn: cuda,
    /// wgpu, or wgpu:1 for the second discrete GPU. auto: the first cuda device if candle was built for it, else the
    /// CPU
    #[arg(long, default_value = "auto")]
    pub device: String,

    /// Decoding threads; the result does not depend on it
    #[arg(long, default_value_t = std::thread::available_parallelism().map_or(1, usize::from))]
    pub workers: usize,

    /// Write a line per step to this file: step, epoch, loss, learning rate, samples, seconds, seconds waited for data
    #[arg(long, value_name = "FILE.csv")]
    pub log: Option<PathBuf>,
}

/// The end of the help text of both binaries.
pub const AFTER_HELP: &str = "Examples:
  finetune
  finetune --shards 'sa1b/sa_0000*.tar' --steps 2000 --workers 8 --log loss.csv
  finetune --shards 'sa1b/train/*.tar' --val-shards sa1b/val --preset arr --out target/arr
  finetune --shards 'sa1b/train/*.tar' --val-shards sa1b/val --preset arr --out target/arr --resume
  finetune --shards drawings/ --preset arr --init target/arr/weights.safetensors --freeze scorer --out target/drawings
finetune_burn takes the same options, and --trainer.

Exit code 2: the trained head does not beat the baselines. With --task point, it must be above the distance to the \
point and the colour distance in AUC and in best IoU; with --task allocate, above the strongest edges in coverage. \
Above means that the 95 % interval of the difference, from resampling the held-out images, lies above 0.";

/// Sizes that go together.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Preset {
    Cpu,
    Arr,
    Gpu,
}

/// What the head learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
pub enum Task {
    /// Which patches belong to the object at a point.
    Point,
    /// Without a point: how to divide an image's patches among its masks.
    Allocate,
}

/// Which masks rank first.
#[derive(Clone, Copy, Debug, Serialize, ValueEnum)]
pub enum Select {
    AreaStratified,
    Stability,
    Confidence,
    Largest,
    Smallest,
    Random,
}

/// How training images are changed at random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum AugmentPreset {
    None,
    Sam,
    Lsj,
    ResizedCrop,
}

/// The part whose weights are not trained.
#[derive(Clone, Copy, Debug, Serialize, ValueEnum)]
pub enum Freeze {
    None,
    Scorer,
    Balancer,
}

/// All options that the trained weights depend on, except the shards, which the loader's cursor identifies.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Settings {
    pub task: Task,
    pub select: Select,
    pub augment: AugmentPreset,
    pub freeze: Freeze,
    /// Side of the canvas in pixels.
    pub image_size: u32,
    /// Whether images are stretched to the canvas instead of letterboxed.
    pub stretch: bool,
    /// Patches per side.
    pub grid: u32,
    pub batch_size: usize,
    /// Queries per image.
    pub queries: usize,
    /// Side of the window of patches that the head sees around each patch; odd.
    pub context: usize,
    pub steps: u64,
    /// Initial learning rate.
    pub lr: f64,
    pub seed: u64,
}

impl Args {
    /// The preset's sizes, overridden by the command line. Fails on values that do not fit together.
    pub fn settings(&self) -> Result<Settings> {
        let (image_size, stretch, grid, context, batch_size, queries) = match self.preset {
            Preset::Cpu => (256, false, 32, 1, 16, 4),
            Preset::Arr => (512, true, 32, 3, 32, 4),
            Preset::Gpu => (1024, false, 64, 3, 32, 8),
        };
        let settings = Settings {
            task: self.task,
            select: self.select,
            augment: self.augment,
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
            return Err(format!(
                "--image-size {} is not a multiple of the {grid} patches per side",
                settings.image_size
            )
            .into());
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

/// Splits a `--device` such as `cuda:1` into its kind and its index, which defaults to 0.
pub fn device_kind_and_index(device: &str) -> Result<(&str, usize)> {
    let (kind, index) = device.split_once(':').unwrap_or((device, "0"));
    let index = index.parse().map_err(|_| format!("--device {device}: {index} is not the index of a device"))?;
    Ok((kind, index))
}

impl Settings {
    /// How images are fitted into the canvas.
    pub fn fit(&self) -> Fit {
        if self.stretch { Fit::Stretch } else { Fit::Letterbox }
    }

    /// The ranking of masks by which the loader selects them.
    pub fn top_k_by(&self) -> TopKBy {
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

    /// How training images are changed at random.
    pub fn augment(&self) -> Augment {
        let augment = match self.augment {
            AugmentPreset::None => Augment::none(),
            AugmentPreset::Sam => Augment::sam(),
            AugmentPreset::Lsj => Augment::lsj(),
            AugmentPreset::ResizedCrop => Augment::resized_crop(),
        };
        augment.seed(self.seed)
    }

    /// Number of patches of an image.
    pub fn patches(&self) -> usize {
        (self.grid * self.grid) as usize
    }

    /// Learning rate of a step: a cosine from `lr` at step 0 to 0 at step `steps`.
    pub fn learning_rate(&self, step: u64) -> f64 {
        self.lr * (0.5 + 0.5 * (std::f64::consts::PI * step as f64 / self.steps as f64).cos())
    }
}

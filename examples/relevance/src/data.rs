//! Training and held-out data: shards of the command line or generated ones, and their loaders.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Instant;

use maskstream::index::{Entry, Indexer, ShardReport, resolve_patterns};
use maskstream::synth::{Preset, SynthOptions, write_shard};
use maskstream::{CoordFrame, Loader, LoaderBuilder, MaskFilter, ShardSet, ShardSetBuilder, TopKBy};

use crate::args::{Args, MASKS_PER_IMAGE, Settings, Task};
use crate::query::MIN_PATCHES;
use crate::result::Result;

/// Masks that are loaded per image for the task `allocate`, which uses all of them. SA-1B has about 100 per image.
pub const MAX_ALLOCATED_MASKS: usize = 128;
/// Number of generated training shards.
const TRAIN_SHARDS: u64 = 3;
/// Samples in each of them.
const TRAIN_SAMPLES: usize = 256;
/// Samples in the generated held-out shard.
const HELD_OUT_SAMPLES: usize = 96;

/// The loaders of a run.
pub struct Data {
    /// Full batches of the training samples, shuffled once all shards have an index.
    pub train: Loader,
    held_out: Split,
    held_out_builder: LoaderBuilder,
    held_out_loader: OnceLock<Loader>,
    settings: Settings,
}

impl Data {
    /// Opens the shards of the command line, or generates some if there are none. Training shards without an index are
    /// streamed at once.
    ///
    /// Fails if shards cannot be opened or generated, or if there are none to train on. Held-out shards that have no
    /// index yet are only opened by [`Data::held_out`].
    pub fn open(args: &Args, settings: Settings) -> Result<Self> {
        let (train, held_out) = if args.shards.is_empty() { generated(&args.data)? } else { from_args(args)? };
        let options = Loader::builder()
            .batch_size(settings.batch_size)
            .image_size(settings.image_size)
            .fit(settings.fit())
            .top_k(match settings.task {
                Task::Point => MASKS_PER_IMAGE,
                Task::Allocate => MAX_ALLOCATED_MASKS,
            })
            // The head needs the covered share of each patch, and no bitmaps.
            .coverage(settings.grid)
            .mask_size(None)
            // Points in the coordinates of the patches.
            .coord_frame(CoordFrame::Canvas)
            .num_workers(args.workers);
        // Independent of the seed, of --select and of the epoch, so that all runs are evaluated on the same queries.
        let held_out_builder = options.clone().top_k_by(TopKBy::FixedAreaStratified { seed: 0 });
        let shuffled = options.top_k_by(settings.top_k_by()).shuffle(settings.seed).drop_last(true);
        let shuffled = shuffled.augment(settings.augment());
        let train = shuffled.build(train.options(&settings).open_lazy(&train.paths)?)?;
        match (train.shards(), train.warning()) {
            (Some(shards), _) => describe("train", shards),
            (None, warning) => println!("{:>10}: {}", "train", warning.unwrap_or_default()),
        }
        println!("{:>10}: {}", "memory", train.memory_plan());
        let held_out_loader = OnceLock::new();
        let loader = held_out_builder.clone().build(held_out.options(&settings).open_lazy(&held_out.paths)?)?;
        if let Some(shards) = loader.shards() {
            describe("held out", shards);
            held_out_loader.get_or_init(|| loader.clone());
        }
        Ok(Self { train, held_out, held_out_builder, held_out_loader, settings })
    }

    /// The held-out samples in their order; the last batch may be padded. Indexes the shards first where that is
    /// needed, so that training does not have to wait for it.
    pub fn held_out(&self) -> Result<Loader> {
        if let Some(loader) = self.held_out_loader.get() {
            return Ok(loader.clone());
        }
        let set = self.held_out.options(&self.settings).open(&self.held_out.paths)?;
        describe("held out", &set);
        let loader = self.held_out_builder.clone().build(set)?;
        Ok(self.held_out_loader.get_or_init(|| loader).clone())
    }
}

/// Shards, and which of their samples belong to the split.
struct Split {
    paths: Vec<PathBuf>,
    contains: fn(&Entry) -> bool,
}

impl Split {
    fn all(paths: Vec<PathBuf>) -> Self {
        Self { paths, contains: |_| true }
    }

    fn options(&self, settings: &Settings) -> ShardSetBuilder {
        let filter = match settings.task {
            // A mask covers at most as many patches as its share of the image: smaller masks cannot become queries.
            Task::Point => MaskFilter::default().area_fraction(MIN_PATCHES / settings.patches() as f32, 1.0),
            Task::Allocate => MaskFilter::default(),
        };
        ShardSet::builder().filter(filter).retain(self.contains)
    }
}

/// Prints what the shards hold.
fn describe(name: &str, set: &ShardSet) {
    let sum = |count: fn(&ShardReport) -> usize| set.reports().map(count).sum::<usize>();
    println!(
        "{name:>10}: {} images with usable masks (of {} images with {} masks) in {} shards",
        set.len(),
        sum(|r| r.samples),
        sum(|r| r.annotations),
        set.reports().len(),
    );
}

/// The training and held-out shards of the command line.
fn from_args(args: &Args) -> Result<(Split, Split)> {
    let mut train = resolve_patterns(&args.shards)?;
    let held_out = if !args.val_shards.is_empty() {
        resolve_patterns(&args.val_shards)?
    } else if train.len() == 1 {
        println!("only one shard: every tenth image is held out");
        let held_out = Split { paths: train.clone(), contains: |entry| entry.image_id % 10 == 0 };
        return Ok((Split { paths: train, contains: |entry| entry.image_id % 10 != 0 }, held_out));
    } else {
        train.pop().into_iter().collect()
    };
    let before = train.len();
    let canonical = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let excluded: Vec<PathBuf> = held_out.iter().map(|path| canonical(path)).collect();
    train.retain(|path| !excluded.contains(&canonical(path)));
    if train.is_empty() {
        return Err("--val-shards holds out all shards of --shards: none are left to train on".into());
    }
    if train.len() < before {
        println!("{} shards of --shards are held out and not trained on", before - train.len());
    }
    Ok((Split::all(train), Split::all(held_out)))
}

/// The training and held-out shards in `dir`; generates those that are missing.
fn generated(dir: &Path) -> Result<(Split, Split)> {
    let options = SynthOptions::new(Preset::Small);
    let train = options.clone().seed(1).samples(TRAIN_SAMPLES);
    let held_out = options.seed(2).samples(HELD_OUT_SAMPLES);
    let shard = |folder: &str, number: u64, options: &SynthOptions| -> Result<PathBuf> {
        let folder = dir.join(folder);
        let path = folder.join(format!("sa_{number:06}.tar"));
        // Shards are written atomically: one that exists is complete.
        if !path.exists() {
            fs::create_dir_all(&folder).map_err(|e| format!("cannot create {}: {e}", folder.display()))?;
            let start = Instant::now();
            let report = write_shard(&path, number, options)?;
            // With an index, samples are shuffled from the first batch on.
            Indexer::new().index(&path)?;
            println!(
                "generated {}: {} images, {} masks, {:.1} MB, {:.1} s",
                path.display(),
                report.samples,
                report.masks,
                report.shard_bytes as f64 / 1e6,
                start.elapsed().as_secs_f64(),
            );
        }
        Ok(path)
    };
    let train = (0..TRAIN_SHARDS).map(|number| shard("train", number, &train)).collect::<Result<_>>()?;
    Ok((Split::all(train), Split::all(vec![shard("held-out", 0, &held_out)?])))
}

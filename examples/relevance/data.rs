//! Shards -> loaders. Comes in: the command line. Goes out: [`Data`]: a loader to train from, at once, and one that is
//! only looked at, after that. Makes shards if none are given. Fails where shards cannot be made or opened, or if there is
//! nothing to train on or to hold out; where held-out shards have no index yet, that shows in the end.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Instant;

use maskstream::index::{Entry, ShardReport, resolve_patterns};
use maskstream::synth::{Preset, SynthOptions, write_shard};
use maskstream::{CoordFrame, Loader, LoaderBuilder, MaskFilter, ShardSet, ShardSetBuilder, StreamLoader, TopKBy};

use super::args::{Args, MASKS_PER_IMAGE, Settings, Task};
use super::lesson::MIN_PATCHES;
use super::model::Result;

/// Masks that are read per image where nobody asks and all of them count. SA-1B has some 100 an image in the mean.
pub(crate) const MASKS_TO_SHARE: usize = 128;
/// Shards that are made for training, and the samples in each.
const TRAIN_SHARDS: u64 = 3;
const TRAIN_SAMPLES: usize = 256;
/// Samples in the one shard that is made for evaluation.
const HELD_OUT_SAMPLES: usize = 96;

/// What is trained from, and what is held out.
pub(crate) struct Data {
    /// Batches, all full: shuffled once all shards have an index.
    pub(crate) train: StreamLoader,
    held_out: Part,
    /// Its loader, once it is open.
    opened: OnceLock<Loader>,
    /// How to load it.
    whole: LoaderBuilder,
    settings: Settings,
}

impl Data {
    /// Opens the shards of the command line, or made ones.
    pub(crate) fn open(args: &Args, settings: Settings) -> Result<Self> {
        let (train, held_out) = if args.shards.is_empty() { made(&args.data)? } else { given(args)? };
        let options = Loader::builder()
            .batch_size(settings.batch_size)
            .image_size(settings.image_size)
            .fit(settings.fit())
            .top_k(match settings.task {
                Task::Point => MASKS_PER_IMAGE,
                Task::Allocate => MASKS_TO_SHARE,
            })
            // The share of each patch that a mask covers is all that is needed: no mask is drawn.
            .coverage(Some(settings.grid))
            .mask_size(None)
            // Prompt points on the canvas, where the patches are.
            .coord_frame(CoordFrame::Canvas)
            .num_workers(args.workers);
        // The same masks for every seed and selection, so that all runs answer the same questions.
        let whole = options.clone().top_k_by(TopKBy::AreaStratified { seed: 0 });
        let shuffled = options.top_k_by(settings.top_k_by()).shuffle(settings.seed).drop_last(true);
        let train_loader = shuffled.stream(train.options(&settings), &train.paths)?;
        match (train_loader.loader()?, train_loader.notice()) {
            (Some(loader), _) => describe("train", loader.shards()),
            (None, notice) => println!("{:>10}: {}", "train", notice.unwrap_or_default()),
        }
        println!("{:>10}: {}", "memory", train_loader.memory_plan());
        let opened = OnceLock::new();
        if let Some(loader) = whole.clone().stream(held_out.options(&settings), &held_out.paths)?.loader()? {
            describe("held out", loader.shards());
            opened.get_or_init(|| loader.clone());
        }
        Ok(Self { train: train_loader, held_out, opened, whole, settings })
    }

    /// The held-out samples in their order; the last batch may be padded. Shards that have no index yet are read for it
    /// first, which training need not wait for.
    pub(crate) fn held_out(&self) -> Result<Loader> {
        if let Some(loader) = self.opened.get() {
            return Ok(loader.clone());
        }
        let set = self.held_out.options(&self.settings).open(&self.held_out.paths)?;
        describe("held out", &set);
        let loader = self.whole.clone().build(set)?;
        Ok(self.opened.get_or_init(|| loader).clone())
    }
}

/// Shards, and which of their samples to take.
struct Part {
    paths: Vec<PathBuf>,
    select: fn(&Entry) -> bool,
}

impl Part {
    fn whole(paths: Vec<PathBuf>) -> Self {
        Self { paths, select: |_| true }
    }

    fn options(&self, settings: &Settings) -> ShardSetBuilder {
        let filter = match settings.task {
            // A mask covers at most as many patches as its share of the image; smaller ones need not take up a place.
            Task::Point => MaskFilter::default().area_fraction(MIN_PATCHES / settings.patches() as f32, 1.0),
            Task::Allocate => MaskFilter::default(),
        };
        ShardSet::builder().filter(filter).retain(self.select)
    }
}

/// Says what is in the shards.
fn describe(name: &str, set: &ShardSet) {
    let sum = |count: fn(&ShardReport) -> usize| set.reports().map(count).sum::<usize>();
    println!(
        "{name:>10}: {} images with masks worth asking for (of {} images, {} masks) in {} shards",
        set.len(),
        sum(|r| r.samples),
        sum(|r| r.annotations),
        set.reports().len(),
    );
}

/// The shards of the command line: to train on, held out.
fn given(args: &Args) -> Result<(Part, Part)> {
    let mut train = resolve_patterns(&args.shards)?;
    let held_out = if !args.val_shards.is_empty() {
        resolve_patterns(&args.val_shards)?
    } else if train.len() == 1 {
        println!("one shard alone: every tenth image is held out");
        let held_out = Part { paths: train.clone(), select: |entry| entry.image_id % 10 == 0 };
        return Ok((Part { paths: train, select: |entry| entry.image_id % 10 != 0 }, held_out));
    } else {
        train.pop().into_iter().collect()
    };
    let before = train.len();
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let kept_apart: Vec<PathBuf> = held_out.iter().map(|path| real(path)).collect();
    train.retain(|path| !kept_apart.contains(&real(path)));
    if train.is_empty() {
        return Err("all shards of --shards are held out by --val-shards: nothing is left to train on".into());
    }
    if train.len() < before {
        println!("{} shards of --shards are held out, not trained on", before - train.len());
    }
    Ok((Part::whole(train), Part::whole(held_out)))
}

/// Generated shards in `dir`, made where they are missing: to train on, held out.
fn made(dir: &Path) -> Result<(Part, Part)> {
    let options = SynthOptions::new(Preset::Small);
    let train = options.clone().seed(1).samples(TRAIN_SAMPLES);
    let held_out = options.seed(2).samples(HELD_OUT_SAMPLES);
    let shard = |folder: &str, number: u64, options: &SynthOptions| -> Result<PathBuf> {
        let folder = dir.join(folder);
        let path = folder.join(format!("sa_{number:06}.tar"));
        // A shard appears under its name when it is complete.
        if !path.exists() {
            fs::create_dir_all(&folder).map_err(|e| format!("cannot create {}: {e}", folder.display()))?;
            let start = Instant::now();
            let report = write_shard(&path, number, options)?;
            // So that its samples are shuffled from the first batch on.
            ShardSet::builder().index(&path)?;
            println!(
                "made {}: {} images, {} masks, {:.1} MB, {:.1} s",
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
    Ok((Part::whole(train), Part::whole(vec![shard("held-out", 0, &held_out)?])))
}

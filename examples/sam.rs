//! Trains a small promptable mask decoder in the manner of SAM: clicks and a box in, a mask out.
//!
//! ```sh
//! cargo run --release --example sam                      # generates small shards; a minute
//! cargo run --release --example sam -- --ranks 2         # two ranks, each with half of the samples
//! cargo run --release --example sam -- 'sa1b/*.tar'      # the last shard is held out
//! ```
//!
//! It shows augmentation, prompts, a held-out part, ranks, and resuming in the middle of an epoch: interrupt it and
//! start it again. The model is the least that learns: four convolutions, and a comparison of each pixel with the
//! features at the clicks.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{D, DType, Device, Tensor};
use candle_nn::{Conv2dConfig, Module, VarBuilder, VarMap};
use maskstream::synth::{Preset, SynthOptions, write_shards};
use maskstream::{
    Augment, CandleBatch, CoordFrame, Crop, Fit, Loader, LoaderBuilder, NegativeClicks, Prompts, ShardSet, TopKBy,
    index,
};

use adam::Adam;

#[path = "sam/adam.rs"]
mod adam;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

pub(crate) struct Settings {
    pub(crate) shards: Vec<String>,
    /// Side of the images. Masks have a quarter of it.
    pub(crate) side: u32,
    pub(crate) epochs: u64,
    pub(crate) ranks: usize,
    pub(crate) checkpoint: PathBuf,
    /// Steps between checkpoints.
    pub(crate) save_every: u64,
    /// Ends without a checkpoint after this many steps, as if interrupted.
    pub(crate) stop_after: u64,
}

fn main() -> Result<()> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let ranks = match args.iter().position(|arg| arg == "--ranks") {
        Some(at) => args.drain(at..).nth(1).ok_or("--ranks needs a number at the end")?.parse()?,
        None => 1,
    };
    let dir = Path::new("target/sam-example");
    let shards = if args.is_empty() { vec![generate(dir, 3, 150)?] } else { args };
    let checkpoint = dir.join(format!("checkpoint-{ranks}.safetensors"));
    let (before, after) =
        train(&Settings { shards, side: 64, epochs: 8, ranks, checkpoint, save_every: 20, stop_after: u64::MAX })?;
    println!("IoU of held-out masks: {before:.3} before, {after:.3} after");
    Ok(())
}

/// Writes shards of drawn scenes, unless they are there; returns their folder.
pub(crate) fn generate(dir: &Path, shards: usize, samples: usize) -> Result<String> {
    let data = dir.join("data");
    if !data.exists() {
        write_shards(&data, shards, &SynthOptions::new(Preset::Small).samples(samples), &|_| ())?;
    }
    Ok(data.display().to_string())
}

/// Continues from the checkpoint, if there is one; returns the IoU of held-out masks before that and at the end.
pub(crate) fn train(settings: &Settings) -> Result<(f32, f32)> {
    let mut paths = index::resolve_patterns(&settings.shards)?;
    let held_out = paths.pop().filter(|_| !paths.is_empty()).ok_or("at least two shards are needed")?;
    let options = options(settings.side);
    // As they are, and always with the masks and clicks of epoch 0.
    let evaluation = options.clone().batch_size(8).build(ShardSet::builder().open(&[held_out])?)?;
    let loaders = loaders(&options, &paths, settings.ranks)?;
    let vars = VarMap::new();
    let before = evaluate(&vars, &evaluation)?; // The first pass makes the weights.
    let mut adam = Adam::new(&vars)?;
    let mut cursor = adam.load(&settings.checkpoint)?;
    for epoch in cursor.map_or(0, |cursor| cursor.epoch())..settings.epochs {
        let begin = |loader: &Loader| match cursor {
            Some(cursor) => loader.resume_from(&cursor),
            None => loader.epoch(epoch),
        };
        let mut epochs: Vec<_> = loaders.iter().map(begin).collect::<maskstream::Result<_>>()?;
        cursor = None;
        loop {
            // One batch of each rank. In a job of many processes each has one loader, made with
            // `.distributed(&Distributed::from_env()?)`, and the mean of the losses is an all-reduce of the gradients.
            let batches: Vec<_> = epochs.iter_mut().filter_map(Iterator::next).collect::<maskstream::Result<_>>()?;
            let Some(place) = batches.first().map(|batch| batch.cursor()) else { break };
            let losses = batches.into_iter().map(|batch| loss(&vars, &batch.into_candle(&Device::Cpu)?));
            let mean = Tensor::stack(&losses.collect::<Result<Vec<_>>>()?, 0)?.mean(0)?;
            adam.step(&mean, 5e-3)?;
            if adam.steps % settings.save_every == 0 {
                println!("epoch {epoch}, step {}: loss {:.3}", adam.steps, mean.to_scalar::<f32>()?);
                adam.save(&settings.checkpoint, place)?;
            } else if adam.steps >= settings.stop_after {
                return Ok((before, evaluate(&vars, &evaluation)?));
            }
        }
    }
    Ok((before, evaluate(&vars, &evaluation)?))
}

pub(crate) fn options(side: u32) -> LoaderBuilder {
    let prompts = Prompts::none().positive(2).negative(1, NegativeClicks::InBox).box_jitter(0.1, 20.0);
    let options = Loader::builder().image_size(side).fit(Fit::Stretch).mask_size([side / 4; 2]).top_k(4);
    options.top_k_by(TopKBy::AreaStratified { seed: 0 }).prompts(prompts).coord_frame(CoordFrame::Canvas)
}

/// The loader of each rank.
pub(crate) fn loaders(options: &LoaderBuilder, paths: &[PathBuf], ranks: usize) -> Result<Vec<Loader>> {
    let crop = Crop::RandomResized { scale: [0.4, 1.0], ratio: [0.75, 4.0 / 3.0] };
    let augment = Augment::none().horizontal_flip(0.5).crop(crop).min_visible(0.2, 16).tight_boxes(true);
    let options = options.clone().augment(augment).batch_size(8 / ranks).shuffle(1).drop_last(true);
    let set = Arc::new(ShardSet::builder().open(paths)?);
    let build = |rank| options.clone().rank(rank, ranks).build(Arc::clone(&set));
    Ok((0..ranks).map(build).collect::<maskstream::Result<_>>()?)
}

/// Logits of the masks, `[B, K, S / 4, S / 4]`.
fn forward(vars: &VarMap, batch: &CandleBatch) -> candle_core::Result<Tensor> {
    let weights = VarBuilder::from_varmap(vars, DType::F32, &Device::Cpu);
    let conv = |name: &str, x: &Tensor, to: usize, stride: usize, dilation: usize| {
        let config = Conv2dConfig { padding: dilation, stride, dilation, ..Default::default() };
        candle_nn::conv2d(x.dim(1)?, to, 3, config, weights.pp(name))?.forward(x)
    };
    let mut x = ((batch.images.to_dtype(DType::F32)? / 127.5)? - 1.0)?;
    for (name, stride, dilation) in [("e0", 2, 1), ("e1", 2, 1), ("e2", 1, 2), ("e3", 1, 4)] {
        x = conv(name, &x, 32, stride, dilation)?.relu()?;
    }
    let (b, c, h, w) = x.dims4()?;
    let maps = prompt_maps(batch, h, w)?;
    let k = maps.dim(1)?;
    // The mean features at the clicks in the mask, and how like them each pixel is.
    let clicks = maps.narrow(2, 0, 1)?.reshape((b, k, h * w))?;
    let clicks = clicks.broadcast_div(&(clicks.sum_keepdim(2)? + 1e-6)?)?;
    let pixels = x.reshape((b, c, h * w))?;
    let pixels = pixels.broadcast_div(&(pixels.sqr()?.sum_keepdim(1)? + 1e-3)?.sqrt()?)?;
    let query = clicks.matmul(&pixels.transpose(1, 2)?.contiguous()?)?;
    let alike = query.matmul(&pixels)?.reshape((b, k, 1, h, w))?;
    let features = pixels.reshape((b, c, h, w))?.unsqueeze(1)?.broadcast_as((b, k, c, h, w))?.contiguous()?;
    let x = Tensor::cat(&[&features, &alike, &maps], 2)?.reshape((b * k, c + 4, h, w))?;
    let x = conv("d0", &x, 32, 1, 2)?.relu()?;
    conv("d1", &x, 1, 1, 1)?.reshape((b, k, h, w))
}

/// Prompts as three maps for each mask: spots at clicks in it, spots at clicks beside it, and the inside of the box.
fn prompt_maps(batch: &CandleBatch, h: usize, w: usize) -> candle_core::Result<Tensor> {
    let [points, labels, boxes] = [&batch.prompt_points, &batch.prompt_labels, &batch.prompt_boxes]
        .map(|field| field.as_ref().ok_or_else(|| candle_core::Error::msg("the loader has no prompts")));
    let (points, labels, boxes) = (points?, labels?, boxes?);
    let (b, k, p, _) = points.dims4()?;
    let centres = |n: usize| (Tensor::arange(0.0, n as f32, &Device::Cpu)? + 0.5)? / n as f64;
    let at = [centres(w)?.reshape((1, 1, 1, 1, w))?, centres(h)?.reshape((1, 1, 1, h, 1))?];
    let number = |of: &Tensor, i: usize, n: usize| of.narrow(D::Minus1, i, 1)?.reshape((b, k, n, 1, 1));
    let apart = |i: usize| at[i].broadcast_sub(&number(points, i, p)?)?.sqr();
    let spots = (apart(0)?.broadcast_add(&apart(1)?)? * -800.0)?.exp()?;
    let of_label = |label: i64| {
        let is_label = labels.eq(label)?.to_dtype(DType::F32)?.reshape((b, k, p, 1, 1))?;
        spots.broadcast_mul(&is_label)?.max_keepdim(2)
    };
    let within = |i: usize| {
        let (from, length) = (number(boxes, i, 1)?, number(boxes, i + 2, 1)?);
        let is_inside = (at[i].broadcast_ge(&from)? * at[i].broadcast_le(&(&from + length)?)?)?;
        is_inside.to_dtype(DType::F32)
    };
    Tensor::cat(&[of_label(1)?, of_label(0)?, within(0)?.broadcast_mul(&within(1)?)?], 2)
}

/// The sum of the IoU of the valid masks, and their number. `p` is 0 to 1; 1 - IoU is the loss.
fn iou(p: &Tensor, batch: &CandleBatch) -> Result<(Tensor, Tensor)> {
    let (target, valid) = (batch.masks_as(DType::F32)?, batch.valid.to_dtype(DType::F32)?);
    let both = (p * &target)?.sum((2, 3))?;
    let either = ((p + target)?.sum((2, 3))? - &both)?;
    Ok((((both + 1e-3)? / (either + 1e-3)?)?.mul(&valid)?.sum_all()?, valid.sum_all()?))
}

/// Cross-entropy of the valid masks, and 1 - IoU.
fn loss(vars: &VarMap, batch: &CandleBatch) -> Result<Tensor> {
    let logits = forward(vars, batch)?;
    let log = (logits.abs()?.neg()?.exp()? + 1.0)?.log()?;
    let cross_entropy = ((log + logits.relu()?)? - (&logits * batch.masks_as(DType::F32)?)?)?.mean((2, 3))?;
    let cross_entropy = (cross_entropy * batch.valid.to_dtype(DType::F32)?)?.sum_all()?;
    let (sum, count) = iou(&candle_nn::ops::sigmoid(&logits)?, batch)?;
    Ok((((cross_entropy - sum)? / (count + 1e-6)?)? + 1.0)?)
}

/// Mean IoU of the masks of epoch 0.
fn evaluate(vars: &VarMap, loader: &Loader) -> Result<f32> {
    let mut all = [0.0; 2];
    for batch in loader.epoch(0)?.candle(&Device::Cpu) {
        let batch = batch?;
        let (sum, count) = iou(&forward(vars, &batch)?.gt(0.0)?.to_dtype(DType::F32)?, &batch)?;
        all = [all[0] + sum.to_scalar::<f32>()?, all[1] + count.to_scalar::<f32>()?];
    }
    Ok(all[0] / all[1])
}

//! A training loop in candle over SA-1B shards, with a filter, top k, shuffling, two epochs and the cursor at the end.
//!
//! ```sh
//! cargo run --release --example train                     # generates a small shard
//! cargo run --release --example train -- 'sa1b/*.tar'
//! ```
//!
//! The model is a linear regression from an image's mean colour to the share of the image that its best mask covers:
//! just enough to have a loss, gradients and steps.

use std::error::Error;
use std::path::Path;

use candle_core::{DType, Device, Var};
use maskstream::synth::{Preset, SynthOptions, write_shard};
use maskstream::{Loader, MaskFilter, ShardSet, TopKBy};

// Keeps the pages of dropped tensors for the next batch.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Box<dyn Error>> {
    let mut shards: Vec<String> = std::env::args().skip(1).collect();
    if shards.is_empty() {
        let path = Path::new("target/train-example/sa_000000.tar");
        std::fs::create_dir_all("target/train-example")?;
        if !path.exists() {
            write_shard(path, 0, &SynthOptions::new(Preset::Small).samples(200))?;
        }
        shards.push(path.display().to_string());
    }

    // Images need at least one mask of good quality; the others are skipped.
    let filter = MaskFilter::default().min_predicted_iou(0.85).min_masks(1);
    let shards = ShardSet::builder().filter(filter).open(&shards)?;
    let loader = Loader::builder()
        .batch_size(16)
        .image_size(256)
        .mask_size([64, 64])
        // The masks of each image, best first; rows beyond its last mask are zero and marked in `batch.valid`.
        .top_k(4)
        .top_k_by(TopKBy::PredictedIou)
        .shuffle(42)
        .drop_last(true)
        .build(shards)?;

    let device = Device::Cpu;
    let weight = Var::zeros((3, 1), DType::F32, &device)?;
    let bias = Var::zeros(1, DType::F32, &device)?;
    let mut cursor = None;
    for epoch in 0..2 {
        for batch in loader.epoch(epoch)?.candle(&device) {
            let batch = batch?;
            // Images [B, 3, 256, 256] u8, masks [B, 4, 64, 64] u8.
            let colour = (batch.images.to_dtype(DType::F32)?.mean((2, 3))? / 255.0)?;
            let masks = batch.masks_as(DType::F32)?;
            let target = masks.narrow(1, 0, 1)?.mean((2, 3))?;
            let predicted = colour.matmul(&weight)?.broadcast_add(&bias)?;
            let loss = (predicted - target)?.sqr()?.mean_all()?;
            let gradients = loss.backward()?;
            for variable in [&weight, &bias] {
                if let Some(gradient) = gradients.get(variable) {
                    variable.set(&(variable.as_tensor() - (gradient * 0.1)?)?)?;
                }
            }
            println!("epoch {epoch}, step {}: loss {:.5}", batch.step, loss.to_scalar::<f32>()?);
            cursor = batch.cursor;
        }
    }
    // Save the cursor with the weights: `loader.resume_from(&cursor)` continues after this batch, and
    // `maskstream replay SHARDS --cursor JSON` shows what was in it.
    println!("cursor: {}", serde_json::to_string(&cursor)?);
    if let Some(verdict) = loader.stats().verdict() {
        println!("{verdict}");
    }
    Ok(())
}

//! Which 200 of an image's 32 x 32 patches does most of an object cover? As ARR-COC chooses patches, here by the
//! annotated masks: `cargo run --release --example coverage [SHARDS]`

use candle_core::{DType, Device, Tensor};
use maskstream::synth::{Preset, SynthOptions, write_shard};
use maskstream::{Fit, Loader, MaskFilter, ShardSet};

const SIDE: usize = 512;
const GRID: usize = 32;
const BEST: usize = 200;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut shards: Vec<String> = std::env::args().skip(1).collect();
    if shards.is_empty() {
        std::fs::create_dir_all("target")?;
        shards.push("target/coverage-example.tar".to_owned());
        write_shard(&shards[0], 0, &SynthOptions::new(Preset::Small).samples(16).overwrite(true))?;
    }
    // No masks are drawn: the share of a patch that a mask covers comes from the mask's runs.
    let options = Loader::builder().batch_size(8).image_size(SIDE as u32).fit(Fit::Stretch).top_k(24);
    // Objects, not the scene around them.
    let shards = ShardSet::builder().filter(MaskFilter::all().area_fraction(0.0, 0.05)).open(&shards)?;
    let loader = options.mask_size(None).coverage(GRID as u32).build(shards)?;
    let batch = loader.epoch(0)?.candle(&Device::Cpu).next().ok_or("no image")??;
    let coverage = batch.coverage.as_ref().ok_or("no coverage")?; // [B, K, 32, 32] f32
    let (union, patches, boxes) = best_patches(coverage, &batch.valid)?;
    for (row, id) in batch.image_ids.to_vec1::<i64>()?.iter().enumerate() {
        let of_row = union.get(row)?.to_vec1::<f32>()?;
        println!("image {id}: covered by {:.3} to {:.3}", of_row[0], of_row[BEST - 1]);
        println!("  patches {:?}...", patches.get(row)?.narrow(0, 0, 8)?.to_vec1::<u32>()?);
        println!("  boxes {:?}...", boxes.get(row)?.narrow(0, 0, 2)?.to_vec2::<f32>()?);
    }
    Ok(())
}

/// The 200 patches that masks cover most: the share that the best mask covers, and their indices, `[B, 200]`, and
/// boxes, `[B, 200, 4]`: left, top, right and bottom in canvas pixels.
pub fn best_patches(coverage: &Tensor, valid: &Tensor) -> candle_core::Result<(Tensor, Tensor, Tensor)> {
    let valid = valid.to_dtype(DType::F32)?.unsqueeze(2)?;
    let union = coverage.flatten_from(2)?.broadcast_mul(&valid)?.max(1)?; // [B, 1024]
    let patches = union.arg_sort_last_dim(false)?.narrow(1, 0, BEST)?.contiguous()?;
    let index = patches.to_dtype(DType::F32)?;
    let row = (&index / GRID as f64)?.floor()?;
    let column = (index - (&row * GRID as f64)?)?;
    let corners = [&column, &row, &(&column + 1.0)?, &(&row + 1.0)?];
    let boxes = (Tensor::stack(&corners, 2)? * (SIDE / GRID) as f64)?;
    Ok((union.gather(&patches, 1)?, patches, boxes))
}

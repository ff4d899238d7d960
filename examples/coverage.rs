//! From the masks of an image to its most relevant patches, as ARR-COC takes them: on a 32 x 32 grid, the K = 200
//! patches that its masks cover most.
//!
//! ```sh
//! cargo run --release --example coverage -- 'sa1b/*.tar'
//! ```

use std::error::Error;

use maskstream::{Loader, ShardSet};

const GRID: usize = 32;
const BEST: usize = 200;

fn main() -> Result<(), Box<dyn Error>> {
    let patterns: Vec<String> = std::env::args().skip(1).collect();
    if patterns.is_empty() {
        return Err("name shards; `maskstream synth DIR` makes some".into());
    }
    // No masks are drawn: the share of each patch that each mask covers is exact without them.
    let loader = Loader::builder()
        .mask_size(None)
        .coverage(GRID as u32)
        .top_k(32)
        .build(ShardSet::builder().open(&patterns)?)?;
    for batch in loader.epoch(0)? {
        let batch = batch?;
        let (k, side) = (batch.layout().top_k(), batch.layout().image_size() / GRID);
        let coverage = batch.coverage().ok_or("coverage was asked for")?; // [B, K, G, G]
        for (row, masks) in coverage.chunks_exact(k * GRID * GRID).enumerate().take(batch.valid_rows()) {
            // A patch is as relevant as the mask that covers most of it. Padding is 0.
            let mut relevance = [0.0_f32; GRID * GRID];
            for mask in masks.chunks_exact(GRID * GRID) {
                relevance.iter_mut().zip(mask).for_each(|(most, &share)| *most = most.max(share));
            }
            let mut patches: Vec<usize> = (0..GRID * GRID).collect();
            patches.sort_by(|&a, &b| relevance[b].total_cmp(&relevance[a]));
            patches.truncate(BEST);
            // Left, top, right and bottom in pixels of the canvas.
            let boxes: Vec<[usize; 4]> = patches
                .iter()
                .map(|patch| (patch % GRID * side, patch / GRID * side))
                .map(|(x, y)| [x, y, x + side, y + side])
                .collect();
            let kept: f32 = patches.iter().map(|&patch| relevance[patch]).sum();
            let all: f32 = relevance.iter().sum();
            let id = batch.image_ids()[row];
            println!(
                "image {id}: {BEST} patches hold {:.0} % of {all:.0}; the first is {:?}",
                100.0 * kept / all,
                boxes[0]
            );
        }
    }
    Ok(())
}

//! A head against simple guesses. Comes in: the held-out loader and the head before and after training. Goes out: a
//! [`Table`] and a few [`Example`]s to look at. Fails as the loader and candle do, or if there is nothing to ask.

use std::error::Error;
use std::fmt;

use candle_core::{Device, Tensor};
use candle_nn::ops::sigmoid;
use maskstream::Loader;

use crate::features::{Features, PATCHES, distance};
use crate::metrics::{LEVELS, Metrics, Tally};
use crate::model::Head;
use crate::queries::{PointAt, Queries};

/// One held-out query with its answers.
pub(crate) struct Example {
    /// [3, S, S], RGB.
    pub(crate) image: Vec<u8>,
    /// Side S of the image.
    pub(crate) side: usize,
    /// The patch pointed at.
    pub(crate) patch: usize,
    /// Which patches are image.
    pub(crate) valid: Vec<bool>,
    /// True coverage.
    pub(crate) target: Vec<f32>,
    /// Predicted, 0 to 1.
    pub(crate) predicted: Vec<f32>,
}

/// Metrics of all ways to guess, over the same queries.
pub(crate) struct Table {
    pub(crate) queries: usize,
    pub(crate) images: usize,
    rows: [(&'static str, Metrics); 4],
}

/// Asks up to `most` queries of every held-out image, at their prompt points. Keeps the first query of `examples`
/// images, evenly spaced.
pub(crate) fn evaluate(
    loader: &Loader,
    [trained, untrained]: [&Head; 2],
    most: usize,
    examples: usize,
    device: &Device,
) -> Result<(Table, Vec<Example>), Box<dyn Error>> {
    let names = ["model, trained", "model, untrained", "distance to the point", "colour distance"];
    let mut tallies = names.map(|_| Tally::new());
    let (mut queries_asked, mut images, mut kept) = (0, 0, Vec::new());
    let spacing = (loader.shards().len() as usize / examples.max(1)).max(1);
    for batch in loader.epoch(0)?.candle(device) {
        let batch = batch?;
        let queries = Queries::draw(&batch, most, PointAt::Prompt, device)?;
        let features = Features::new(&batch)?;
        let ask = |head: &Head| sigmoid(&head.forward(&features, &queries)?)?.to_vec3::<f32>();
        let (trained, untrained) = (ask(trained)?, ask(untrained)?);
        let (colors, valid) = (features.colors.to_vec3::<f32>()?, features.valid.to_vec2::<f32>()?);
        for query in queries.list {
            let valid: Vec<bool> = valid[query.row].iter().map(|&valid| valid > 0.0).collect();
            let near = |p: usize| 1.0 - distance(p, query.patch) / 2_f32.sqrt();
            let colors = &colors[query.row];
            let alike = |p: usize| 1.0 - color_distance(&colors[p], &colors[query.patch]);
            let guesses: [Vec<f32>; 4] = [
                trained[query.row][query.place].clone(),
                untrained[query.row][query.place].clone(),
                (0..PATCHES).map(near).collect(),
                (0..PATCHES).map(alike).collect(),
            ];
            for (tally, guess) in tallies.iter_mut().zip(&guesses) {
                let patches = (0..PATCHES).filter(|&p| valid[p]).map(|p| (guess[p], query.target[p]));
                tally.add(patches.collect());
            }
            queries_asked += 1;
            if query.place > 0 {
                continue;
            }
            if images % spacing == 0 && kept.len() < examples {
                let image = batch.images.get(query.row)?;
                let [predicted, ..] = guesses;
                let (patch, target) = (query.patch, query.target);
                kept.push(Example { side: image.dim(2)?, image: bytes(&image)?, patch, valid, target, predicted });
            }
            images += 1;
        }
    }
    if queries_asked == 0 {
        return Err("no mask of the held-out shards is large enough to ask for".into());
    }
    let mut metrics = tallies.iter().map(Tally::metrics);
    let rows = names.map(|name| (name, metrics.next().unwrap_or_else(|| Tally::new().metrics())));
    Ok((Table { queries: queries_asked, images, rows }, kept))
}

fn bytes(image: &Tensor) -> candle_core::Result<Vec<u8>> {
    image.flatten_all()?.to_vec1()
}

/// Between two RGB colours, as a share of the distance from black to white.
fn color_distance(a: &[f32], b: &[f32]) -> f32 {
    (a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f32>() / 3.0).sqrt()
}

impl Table {
    /// Whether the trained head is above everything else in AUC and in IoU.
    pub(crate) fn is_success(&self) -> bool {
        let [(_, trained), others @ ..] = &self.rows;
        others.iter().all(|(_, other)| trained.auc > other.auc && trained.best_iou > other.best_iou)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<22}{:>8}{:>10}{:>12}{:>9}{:>14}",
            "", "AUC", "best IoU", "(threshold)", "IoU@.5", "coverage@200"
        )?;
        for (name, Metrics { auc, best_iou, threshold, iou_at_half, coverage_at_200 }) in &self.rows {
            // A distance is no probability: a score of one half means nothing for it.
            let half = if name.starts_with("model") { format!("{iou_at_half:.3}") } else { "-".to_owned() };
            writeln!(f, "{name:<22}{auc:>8.3}{best_iou:>10.3}{threshold:>12.3}{half:>9}{coverage_at_200:>14.3}")?;
        }
        write!(
            f,
            "Positive: patches covered at least half as much as the best. Best IoU: one threshold for all queries, of {} levels.\n\
             coverage@200: share of the mask in the 200 best patches of 1024.",
            LEVELS - 1
        )
    }
}

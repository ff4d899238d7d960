//! `maskstream inspect`: prints what is in a shard.

use std::collections::BTreeMap;

use maskstream::MaskFilter;
use maskstream::index::{IndexedShard, Indexer, resolve_patterns};
use serde::Serialize;

use super::args::ShardArgs;
use super::output::{Outcome, size};
use super::progress;

/// Show what is in a shard: samples, image sizes, scores, and everything that is wrong with it
///
/// Prints the number of samples and annotations, how many of them the default filter keeps, the most frequent image
/// sizes, and a table of quartiles. Then it prints "no problems", or the number of problems of each kind ("2 x
/// duplicate member") and the first 20 of them. A shard without an index is indexed first.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    shards: ShardArgs,
    /// Print one JSON object per shard, with all problems, for programs
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  maskstream inspect sa1b/sa_000000.tar
  maskstream inspect 'sa1b/*.tar' --json | jq -r '.findings[]'

Exit status: 0, even if there are problems; 1 if a shard cannot be read;
2 if the arguments are wrong. (`maskstream index` exits with 1 if a shard is
damaged.)";

#[derive(Serialize)]
struct Summary {
    shard: String,
    shard_bytes: u64,
    samples: usize,
    annotations: usize,
    /// Samples and annotations that the default filter keeps.
    kept_samples: usize,
    kept_annotations: usize,
    image_sizes: BTreeMap<String, usize>,
    image_bytes: Option<Quantiles>,
    annotations_per_image: Option<Quantiles>,
    predicted_iou: Option<Quantiles>,
    stability_score: Option<Quantiles>,
    area_percent: Option<Quantiles>,
    finding_counts: BTreeMap<String, usize>,
    findings: Vec<String>,
}

/// Minimum, lower quartile, median, upper quartile, maximum.
#[derive(Serialize)]
struct Quantiles([f64; 5]);

/// Image sizes and findings that text output lists.
const MAX_SIZES: usize = 3;
const MAX_FINDINGS: usize = 20;

pub(super) fn run(args: &Args) -> Outcome {
    for path in resolve_patterns(&args.shards.shards)? {
        let bar = progress::bar(progress::total_bytes(std::slice::from_ref(&path)), "indexing", "bytes");
        let advance = bar.clone();
        let indexer = Indexer::new().sidecar(args.shards.sidecar()).progress(move |bytes| advance.inc(bytes));
        let summary = summarize(&indexer.index(&path)?);
        bar.finish_and_clear();
        if args.json {
            say!("{}", serde_json::to_string(&summary)?);
        } else {
            print(&summary)?;
        }
    }
    Ok(())
}

fn summarize(shard: &IndexedShard) -> Summary {
    let index = &shard.index;
    let filter = MaskFilter::default();
    let (mut kept_samples, mut kept_annotations) = (0, 0);
    let mut image_sizes = BTreeMap::new();
    let [mut bytes, mut counts, mut ious, mut stabilities, mut areas] = [const { Vec::new() }; 5];
    for (i, entry) in index.entries().iter().enumerate() {
        let scores = index.stats(i);
        let (width, height) = (entry.width, entry.height);
        kept_samples += usize::from(filter.keeps_image(scores, width, height));
        kept_annotations += scores.iter().filter(|score| filter.keeps(score, width, height)).count();
        *image_sizes.entry(format!("{width}x{height}")).or_default() += 1;
        bytes.push(f64::from(entry.image.len));
        counts.push(scores.len() as f64);
        for score in scores {
            ious.push(f64::from(score.predicted_iou));
            stabilities.push(f64::from(score.stability_score));
            areas.push(100.0 * score.area as f64 / (f64::from(width) * f64::from(height)));
        }
    }
    let mut finding_counts = BTreeMap::new();
    for finding in index.findings() {
        *finding_counts.entry(finding.kind.to_string()).or_default() += 1;
    }
    Summary {
        shard: shard.path.display().to_string(),
        shard_bytes: shard.shard_bytes,
        samples: index.entries().len(),
        annotations: index.annotations(),
        kept_samples,
        kept_annotations,
        image_sizes,
        image_bytes: Quantiles::of(bytes),
        annotations_per_image: Quantiles::of(counts),
        predicted_iou: Quantiles::of(ious),
        stability_score: Quantiles::of(stabilities),
        area_percent: Quantiles::of(areas),
        finding_counts,
        findings: index.findings().iter().map(ToString::to_string).collect(),
    }
}

impl Quantiles {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        // Scores that a file does not have.
        values.retain(|value| !value.is_nan());
        values.sort_by(f64::total_cmp);
        let last = values.len().checked_sub(1)?;
        Some(Self([0, 1, 2, 3, 4].map(|quarter| values[last * quarter / 4])))
    }
}

fn print(summary: &Summary) -> Outcome {
    let Summary { shard, shard_bytes, samples, annotations, kept_samples, kept_annotations, .. } = summary;
    say!("{shard}: {}, {samples} samples, {annotations} annotations", size(*shard_bytes));
    say!("  predicted_iou >= 0.88 (the default) keeps {kept_samples} samples, {kept_annotations} annotations");
    let mut sizes: Vec<_> = summary.image_sizes.iter().collect();
    sizes.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let others = sizes.len().saturating_sub(MAX_SIZES);
    let mut sizes: Vec<_> = sizes.iter().take(MAX_SIZES).map(|(size, count)| format!("{size} ({count})")).collect();
    if others > 0 {
        sizes.push(format!("{others} {}", if others == 1 { "other" } else { "others" }));
    }
    say!("  image sizes: {}", sizes.join(", "));
    say!("  {:21} {:>10} {:>10} {:>10} {:>10} {:>10}", "", "min", "25 %", "median", "75 %", "max");
    let rows = [
        ("image bytes", &summary.image_bytes, 0),
        ("annotations per image", &summary.annotations_per_image, 0),
        ("predicted_iou", &summary.predicted_iou, 4),
        ("stability_score", &summary.stability_score, 4),
        ("area, % of the image", &summary.area_percent, 3),
    ];
    for (name, quantiles, digits) in rows {
        let Some(Quantiles(values)) = quantiles else { continue };
        let values: Vec<_> = values.iter().map(|value| format!("{value:10.digits$}")).collect();
        say!("  {name:21} {}", values.join(" "));
    }
    if summary.findings.is_empty() {
        say!("  no problems");
    }
    for (kind, count) in &summary.finding_counts {
        say!("  {count} x {kind}");
    }
    for finding in summary.findings.iter().take(MAX_FINDINGS) {
        say!("    {finding}");
    }
    if summary.findings.len() > MAX_FINDINGS {
        say!("    ... and {} more: --json lists all", summary.findings.len() - MAX_FINDINGS);
    }
    Ok(())
}

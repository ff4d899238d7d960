//! `maskstream inspect`: prints what is in a shard.

use std::collections::BTreeMap;
use std::path::Path;

use maskstream::MaskFilter;
use maskstream::index::{IndexStatus, IndexedShard};
use serde::Serialize;

use super::advice::in_flags;
use super::args::ShardArgs;
use super::output::{Outcome, size, unbroken, wrap};
use super::progress;
use super::stores;
use super::verify::{Defect, Level, Settings, Severity, verify_one};
use super::warnings::warn_unsaved;

/// Show what is in a shard: samples, image sizes, scores, and what is wrong with it
///
/// Prints the number of samples and annotations, how many of them the default filter keeps, the most frequent image
/// sizes, how many images are derived (made smaller by `repack --longest-side`, so lossy), and a table of quartiles.
/// Then it prints "no problems", or the number of problems of each kind ("2 x duplicate member") and the first 20 of
/// them. A shard without an index is indexed first.
///
/// It checks the tar and gzip structure, that each image has a JSON member and each JSON member an image, and that the
/// JSON can be read. It does not open images and masks, unless --decode is given.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    shards: ShardArgs,
    /// Also decode every image and every mask
    ///
    /// Counts images, annotations and masks that cannot be decoded; masks without a pixel, and masks that differ from
    /// their box or area; and images that their EXIF data turns. Reads the whole file, as `verify` does, and finds what
    /// that finds. Takes about as long as an epoch.
    #[arg(long)]
    decode: bool,
    /// With --decode: largest image in pixels
    #[arg(long, default_value_t = 1 << 26, value_name = "N", requires = "decode")]
    max_image_pixels: u64,
    /// Print one JSON object per shard, with all problems, for programs
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  maskstream inspect sa1b/sa_000000.tar
  maskstream inspect 'sa1b/*.tar' --json | jq -r '.findings[]'
  maskstream inspect sa1b --decode

Exit status: 0 if no shard is damaged; 1 if one is damaged or cannot be read, or
if --decode finds a sample that cannot be decoded; 2 if the arguments are wrong.
Samples with one member, duplicates, turned images and masks unlike their box or
area are listed, but are no damage.";

#[derive(Serialize)]
struct Summary {
    shard: String,
    shard_bytes: u64,
    samples: usize,
    annotations: usize,
    /// Samples and annotations that the default filter keeps.
    kept_samples: usize,
    kept_annotations: usize,
    /// As annotated.
    image_sizes: BTreeMap<String, usize>,
    /// Images that were made from larger ones. Empty in an original shard.
    derived: Vec<DerivedImages>,
    image_bytes: Option<Quantiles>,
    annotations_per_image: Option<Quantiles>,
    predicted_iou: Option<Quantiles>,
    stability_score: Option<Quantiles>,
    area_percent: Option<Quantiles>,
    /// Whether images and masks were decoded.
    decoded: bool,
    damaged: bool,
    finding_counts: BTreeMap<String, usize>,
    findings: Vec<String>,
}

/// Images that `repack --longest-side` has made, with the same settings.
#[derive(Serialize)]
struct DerivedImages {
    longest_side: u32,
    quality: u8,
    images: usize,
}

/// Minimum, lower quartile, median, upper quartile, maximum.
#[derive(Serialize)]
struct Quantiles([f64; 5]);

/// Image sizes and findings that text output lists.
const MAX_SIZES: usize = 3;
const MAX_FINDINGS: usize = 20;

pub(super) fn run(args: &Args) -> Outcome {
    let paths = stores::resolve_patterns(&args.shards.shards)?;
    let (mut bad, mut statuses) = (0, Vec::new());
    for path in &paths {
        match look_at(path, args) {
            Ok((summary, status)) => {
                bad += usize::from(summary.damaged);
                // An empty index is not saved, wherever it would be.
                statuses.extend(Some(status).filter(|_| summary.samples > 0));
                if args.json {
                    say!("{}", serde_json::to_string(&summary)?);
                } else {
                    print(&summary)?;
                }
            }
            Err(error) => {
                bad += 1;
                tell!("maskstream: {}", in_flags(&*error));
            }
        }
    }
    warn_unsaved(statuses.iter());
    match bad {
        0 => Ok(()),
        _ => Err(format!("{bad} of {} shards are damaged or cannot be read", paths.len()).into()),
    }
}

fn look_at(path: &Path, args: &Args) -> Result<(Summary, IndexStatus), Box<dyn std::error::Error>> {
    let total = progress::total_bytes(&[path.to_owned()]);
    if args.decode {
        let bar = progress::bar(total, "decoding", "bytes");
        let (sidecar, max_pixels) = (args.shards.sidecar(), args.max_image_pixels);
        let settings = Settings { level: Level::Full, sidecar, max_pixels, md5: false, bar: bar.clone() };
        let (shard, defects) = verify_one(path, &settings)?;
        bar.finish_and_clear();
        let mut summary = summarize(&shard);
        summary.replace(&defects);
        return Ok((summary, shard.status));
    }
    let bar = progress::bar(total, "indexing", "bytes");
    let advance = bar.clone();
    let indexer = stores::indexer().sidecar(args.shards.sidecar()).progress(move |bytes| advance.inc(bytes));
    let shard = indexer.index(path)?;
    bar.finish_and_clear();
    Ok((summarize(&shard), shard.status))
}

fn summarize(shard: &IndexedShard) -> Summary {
    let index = &shard.index;
    let filter = MaskFilter::default();
    let (mut kept_samples, mut kept_annotations) = (0, 0);
    let (mut image_sizes, mut derived) = (BTreeMap::new(), BTreeMap::new());
    let [mut bytes, mut counts, mut ious, mut stabilities, mut areas] = [const { Vec::new() }; 5];
    for (i, entry) in index.entries().iter().enumerate() {
        let scores = index.stats(i);
        let (width, height) = (entry.width, entry.height);
        kept_samples += usize::from(filter.keeps_image(scores, width, height));
        kept_annotations += scores.iter().filter(|score| filter.keeps(score, width, height)).count();
        *image_sizes.entry(format!("{width}x{height}")).or_default() += 1;
        if let Some(made) = entry.derived() {
            *derived.entry((made.width.max(made.height), made.quality)).or_default() += 1;
        }
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
    let damaged = index.findings().iter().any(|finding| finding.kind.is_damage());
    Summary {
        shard: shard.path.display().to_string(),
        shard_bytes: shard.shard_bytes,
        samples: index.entries().len(),
        annotations: index.annotations(),
        kept_samples,
        kept_annotations,
        image_sizes,
        derived: derived
            .into_iter()
            .map(|((longest_side, quality), images)| DerivedImages { longest_side, quality, images })
            .collect(),
        image_bytes: Quantiles::of(bytes),
        annotations_per_image: Quantiles::of(counts),
        predicted_iou: Quantiles::of(ious),
        stability_score: Quantiles::of(stabilities),
        area_percent: Quantiles::of(areas),
        decoded: false,
        damaged,
        finding_counts,
        findings: index.findings().iter().map(ToString::to_string).collect(),
    }
}

impl Summary {
    /// Takes what decoding has found, which includes what is wrong with the structure.
    fn replace(&mut self, defects: &[Defect]) {
        self.decoded = true;
        self.damaged = defects.iter().any(|defect| defect.severity == Severity::Damage);
        self.findings = defects.iter().map(ToString::to_string).collect();
        self.finding_counts.clear();
        for defect in defects {
            *self.finding_counts.entry(defect.kind.clone()).or_default() += 1;
        }
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
    let line = format!("{}: {}, {samples} samples, {annotations} annotations", unbroken(shard), size(*shard_bytes));
    say!("{}", wrap(&line));
    say!("  predicted_iou >= 0.88 (the default) keeps {kept_samples} samples, {kept_annotations} annotations");
    let mut sizes: Vec<_> = summary.image_sizes.iter().collect();
    sizes.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let others = sizes.len().saturating_sub(MAX_SIZES);
    let mut sizes: Vec<_> = sizes.iter().take(MAX_SIZES).map(|(size, count)| format!("{size} ({count})")).collect();
    if others > 0 {
        sizes.push(format!("{others} {}", if others == 1 { "other" } else { "others" }));
    }
    say!("  image sizes: {}", sizes.join(", "));
    for DerivedImages { longest_side, quality, images } in &summary.derived {
        say!("  LOSSY: {images} images are derived, longest side {longest_side}, JPEG quality {quality}");
    }
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
    match (summary.findings.is_empty(), summary.decoded) {
        (true, true) => say!("  no problems; all images and masks can be decoded"),
        (true, false) => say!("  no problems (images and masks were not opened: --decode does)"),
        (false, _) => {}
    }
    for (kind, count) in &summary.finding_counts {
        say!("  {count} x {kind}");
    }
    for finding in summary.findings.iter().take(MAX_FINDINGS) {
        say!("{}", wrap(&format!("    {finding}")));
    }
    if summary.findings.len() > MAX_FINDINGS {
        say!("    ... and {} more: --json lists all", summary.findings.len() - MAX_FINDINGS);
    }
    Ok(())
}

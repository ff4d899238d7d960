//! The report as text, in 80 columns.

use crate::cli::output::{COLUMNS, Outcome, size, unbroken, wrap};

use super::curve::{Point, worth_showing};
use super::histogram::{Bars, Quantiles};
use super::number::{grouped, of_unit, percent, plural, score, share, short};
use super::quantity::{About, Quantity};
use super::report::{Class, Distribution, Report, Sample};

/// Columns of the bars.
const BAR: usize = 34;
/// Rows of a curve.
const CURVE_ROWS: usize = 14;

pub(super) fn print(report: &Report) -> Outcome {
    head(report)?;
    if report.masks > 0 {
        say!("");
        quantiles(&report.quantities)?;
        curves(report)?;
        for distribution in &report.quantities {
            histogram(distribution)?;
        }
    }
    match &report.sample {
        Some(sample) if sample.masks > 0 => print_sample(sample),
        _ => Ok(()),
    }
}

fn head(report: &Report) -> Outcome {
    let Report { shards, shards_named, shard_bytes, images, masks, filter, .. } = report;
    let of = if shards == shards_named { String::new() } else { format!(" of {}", grouped(*shards_named)) };
    let line = format!(
        "{}{of} {}: {}, {}, {}",
        grouped(*shards),
        if *shards_named == 1 { "shard" } else { "shards" },
        plural(*images, "image"),
        plural(*masks, "mask"),
        size(*shard_bytes)
    );
    say!("{}", wrap(&line));
    let line = format!(
        "{} keeps {} ({}) and {} ({})",
        bounds(report),
        plural(filter.images, "image"),
        percent(share(filter.images, *images)),
        plural(filter.masks, "mask"),
        percent(share(filter.masks, *masks))
    );
    say!("{}", wrap(&line));
    for line in remarks(report, |path| unbroken(path)) {
        say!("{}", wrap(&line));
    }
    Ok(())
}

/// The filter that the arguments name.
pub(super) fn bounds(report: &Report) -> String {
    let bound = |name: &str, bound: Option<f32>| bound.map(|bound| format!("{name} >= {bound}"));
    let filter = &report.filter;
    let bounds =
        [bound("predicted_iou", filter.min_predicted_iou), bound("stability_score", filter.min_stability_score)];
    let bounds: Vec<String> = bounds.into_iter().flatten().collect();
    if bounds.is_empty() { "no filter".to_owned() } else { bounds.join(" and ") }
}

/// What is odd about the data, a line for each thing; `path` says how paths are written.
pub(super) fn remarks(report: &Report, path: impl Fn(&str) -> String) -> Vec<String> {
    let mut lines = Vec::new();
    if report.derived_images > 0 {
        lines.push(format!("LOSSY: {} made smaller by `maskstream repack`", plural(report.derived_images, "image")));
    }
    if !report.left_out.text.is_empty() {
        lines.push(format!("not counted, because no loader uses them: {}", report.left_out.text));
    }
    if !report.findings.is_empty() {
        let kinds: Vec<String> = report.findings.iter().map(|(kind, count)| format!("{count} x {kind}")).collect();
        lines.push(format!("found while indexing: {} (`maskstream inspect` lists them)", kinds.join(", ")));
    }
    if let [first, others @ ..] = &report.damaged_shards[..] {
        let others = if others.is_empty() { String::new() } else { format!(" and {} more", others.len()) };
        lines.push(format!("DAMAGED: {}{others}", path(&first.shard)));
    }
    lines
}

fn quantiles(distributions: &[Distribution]) -> Outcome {
    let [min, p5, p25, p50, p75, p95, max] = Quantiles::NAMES;
    say!("{:23} {min:>7} {p5:>7} {p25:>7} {p50:>7} {p75:>7} {p95:>7} {max:>7}", "");
    for distribution in distributions {
        let Some(quantiles) = &distribution.quantiles else { continue };
        let About { title, unit, .. } = distribution.quantity.about();
        let values = quantiles.values().map(|value| format!("{:>7}", of_unit(value, unit)));
        say!("{title:23} {}", values.join(" "));
    }
    Ok(())
}

fn curves(report: &Report) -> Outcome {
    for curve in chosen_curves(report) {
        say!("\n{}", wrap(&curve.sentence));
        if let Some(nothing) = curve.nothing {
            say!("  {nothing}");
            continue;
        }
        say!("  {:>9} {:>11} {:>8} {:>13} {:>8}", "threshold", "images", "", "masks", "");
        for point in rows(curve.points, curve.chosen) {
            let is_chosen = point.threshold == curve.chosen;
            let threshold = point.threshold.map_or_else(|| "none".to_owned(), |t| score(f64::from(t)));
            let line = format!(
                "{} {threshold:>8} {:>11} {:>8} {:>13} {:>8} {}",
                if is_chosen { '>' } else { ' ' },
                grouped(point.images),
                percent(point.image_share),
                grouped(point.masks),
                percent(point.mask_share),
                bar(point.mask_share, COLUMNS - 58)
            );
            say!("  {}", line.trim_end());
        }
    }
    Ok(())
}

/// A curve with what is said about it.
pub(super) struct ChosenCurve<'a> {
    pub(super) name: &'static str,
    pub(super) sentence: String,
    pub(super) points: &'a [Point],
    pub(super) chosen: Option<f32>,
    /// Why there is nothing to show.
    pub(super) nothing: Option<&'static str>,
}

pub(super) fn chosen_curves(report: &Report) -> [ChosenCurve<'_>; 2] {
    let filter = &report.filter;
    let sentence = |name: &str, flag: &str, other: &str, bound: Option<f32>| {
        let among = bound.map_or_else(String::new, |bound| format!(", of the masks with {other} >= {bound}"));
        format!(
            "What {flag} keeps: images with at least one mask, and masks, with {name} at the threshold or above{among}"
        )
    };
    let nothing = |quantity: Quantity, points: &[Point]| {
        let has_scores = report.quantities.iter().any(|one| one.quantity == quantity && one.count > 0);
        let is_empty = points.first().is_none_or(|point| point.masks == 0);
        match has_scores {
            false => Some("No mask has this score."),
            true => is_empty.then_some("No mask passes the bound on the other score."),
        }
    };
    [
        ChosenCurve {
            name: "predicted_iou",
            sentence: sentence("predicted_iou", "--min-predicted-iou", "stability_score", filter.min_stability_score),
            points: &report.curves.predicted_iou,
            chosen: filter.min_predicted_iou,
            nothing: nothing(Quantity::PredictedIou, &report.curves.predicted_iou),
        },
        ChosenCurve {
            name: "stability_score",
            sentence: sentence("stability_score", "--min-stability-score", "predicted_iou", filter.min_predicted_iou),
            points: &report.curves.stability_score,
            chosen: filter.min_stability_score,
            nothing: nothing(Quantity::StabilityScore, &report.curves.stability_score),
        },
    ]
}

/// Points at round thresholds, few enough to read, and the chosen one.
pub(super) fn rows(points: &[Point], chosen: Option<f32>) -> Vec<Point> {
    let shown = worth_showing(points);
    let thousandths = |point: &Point| point.threshold.map_or(0, |threshold| (threshold * 1000.0).round() as u32);
    let is_round = |point: &Point, step: u32| {
        let exact = (thousandths(point) as f64 / 1000.0) as f32;
        point.threshold.is_none_or(|threshold| threshold == exact && thousandths(point).is_multiple_of(step))
    };
    let steps = [5, 10, 20, 50, 100, 200];
    let fits = |step: &u32| shown.iter().filter(|point| is_round(point, *step)).count() <= CURVE_ROWS;
    let step = steps.into_iter().find(fits).unwrap_or(200);
    let none = points.first().filter(|_| shown.first().is_some_and(|point| point.threshold.is_some()));
    let is_chosen = |point: &Point| point.threshold.is_some() && point.threshold == chosen;
    let is_row = |point: &Point| is_round(point, step) || is_chosen(point);
    // The chosen threshold may keep everything or nothing.
    let chosen_before = points.iter().filter(|point| is_chosen(point) && !shown.iter().any(is_chosen));
    let mut rows: Vec<Point> =
        none.into_iter().chain(shown.iter().filter(|point| is_row(point))).chain(chosen_before).copied().collect();
    rows.sort_by(|a, b| a.threshold.partial_cmp(&b.threshold).unwrap_or(std::cmp::Ordering::Equal));
    rows
}

fn histogram(distribution: &Distribution) -> Outcome {
    let Distribution { quantity, missing, quantiles, terminal, count, .. } = distribution;
    let About { title, unit, of, sentence, .. } = quantity.about();
    say!("\n{}", wrap(&format!("{title}: {sentence}")));
    if quantiles.is_none() {
        say!("  None of the {} has it.", of);
        return Ok(());
    }
    for line in bars(terminal, unit, *count) {
        say!("{line}");
    }
    if *missing > 0 {
        say!("  without it: {}", plural(*missing, of.trim_end_matches('s')));
    }
    Ok(())
}

/// A line for each bar.
fn bars(bars: &Bars, unit: &str, count: u64) -> Vec<String> {
    let most = bars.counts.iter().copied().max().unwrap_or(0);
    let row = |label: &str, count_here: u64| {
        let bar = bar(share(count_here, most.max(1)), BAR);
        format!("  {label:>18} {bar:BAR$} {:>13} {:>8}", grouped(count_here), percent(share(count_here, count)))
    };
    let label = |from: f64, to: f64| format!("{} to {}", of_unit(from, unit), of_unit(to, unit));
    let beyond = |text: &str, edge: Option<&f64>, count: u64| {
        let edge = edge.filter(|_| count > 0)?;
        Some(row(&format!("{text} {}", of_unit(*edge, unit)), count))
    };
    let inner = bars.edges.windows(2).zip(&bars.counts).map(|(edges, count)| row(&label(edges[0], edges[1]), *count));
    beyond("below", bars.edges.first(), bars.below)
        .into_iter()
        .chain(inner)
        .chain(beyond("from", bars.edges.last(), bars.above))
        .collect()
}

/// A bar of eighths of a column. What is not nothing can be seen.
fn bar(share: f64, columns: usize) -> String {
    let eighths = (share.clamp(0.0, 1.0) * columns as f64 * 8.0).round() as usize;
    let eighths = if share > 0.0 { eighths.max(1) } else { 0 };
    let rest = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8];
    "█".repeat(eighths / 8) + rest
}

fn print_sample(sample: &Sample) -> Outcome {
    let forms = sample.forms;
    say!("\n{}", wrap(&sample_line(sample)));
    if forms.counts_list + forms.polygons > 0 {
        let line = format!(
            "{} have RLE counts as a string; {} as a list of numbers and {} are polygons: these are not in the sizes",
            plural(forms.counts_string, "mask"),
            grouped(forms.counts_list),
            grouped(forms.polygons)
        );
        say!("{}", wrap(&line));
    }
    say!("");
    quantiles(&sample.quantities)?;
    for distribution in &sample.quantities {
        histogram(distribution)?;
    }
    let compression = &sample.compression;
    if compression.all.sizes.masks > 0 {
        for (what, classes) in [("area, pixels", &compression.by_area), ("runs", &compression.by_runs)] {
            say!("\n{}", wrap(&compression_sentence(what, &compression.all)));
            sizes(what, classes, &compression.all)?;
        }
    }
    layers(sample)
}

/// What was read.
pub(super) fn sample_line(sample: &Sample) -> String {
    let failed = match sample.failed {
        0 => String::new(),
        failed => format!("; {} could not be read", plural(failed, "json")),
    };
    format!(
        "From the jsons of {} ({}), evenly spread over the shards{failed}",
        plural(sample.images, "image"),
        plural(sample.masks, "mask")
    )
}

pub(super) fn compression_sentence(what: &str, all: &Class) -> String {
    format!(
        "Bytes of the compressed RLE counts by {what}: means, and how many times as large the bitmap is at 1 bit and \
         at 1 byte per pixel, and that of 1 bit in zlib (level 6) and as PNG ({} were compressed); above 1, the counts \
         are smaller",
        plural(all.sizes.compressed_masks, "mask")
    )
}

fn sizes(what: &str, classes: &[Class], all: &Class) -> Outcome {
    say!(
        "  {what:>14} {:>10} {:>7} {:>8} {:>7} {:>7} {:>7} {:>7}",
        "masks",
        "runs",
        "bytes",
        "1 bit",
        "1 byte",
        "zlib",
        "PNG"
    );
    let rows = classes.iter().map(|class| (class_label(class), class)).chain([("all".to_owned(), all)]);
    for (label, class) in rows {
        let [runs, bytes] = means(class).map(short);
        let ratios = class.ratios().map(|ratio| format!("{:>7}", ratio.map_or_else(|| "-".to_owned(), short)));
        say!("  {label:>14} {:>10} {runs:>7} {bytes:>8} {}", grouped(class.sizes.masks), ratios.join(" "));
    }
    Ok(())
}

/// Mean number of runs and of bytes.
pub(super) fn means(class: &Class) -> [f64; 2] {
    let masks = class.sizes.masks.max(1) as f64;
    [class.sizes.runs as f64 / masks, class.sizes.rle_bytes as f64 / masks]
}

pub(super) fn class_label(class: &Class) -> String {
    let from = short(class.from as f64);
    class.to.map_or_else(|| format!("from {from}"), |to| format!("{from} to {}", short(to as f64)))
}

pub(super) const LAYERS: &str = "\
Masks by the crop that they were found in (crop_box): smaller crops find smaller masks. Layer 0 is the whole image; a \
crop of layer n has sides from 1/2^n to 2/2^n of the image's";

fn layers(sample: &Sample) -> Outcome {
    say!("\n{}", wrap(LAYERS));
    if sample.crop_layers.is_empty() {
        say!("  No mask has a crop_box.");
        return Ok(());
    }
    say!("  {:>5} {:>12} {:>8} {:>25}", "layer", "masks", "", "median area, % of image");
    for layer in &sample.crop_layers {
        let median = layer.area_percent.map_or_else(String::new, |areas| short(areas.p50));
        let share = share(layer.masks, sample.masks);
        say!("  {:>5} {:>12} {:>8} {median:>25}", layer.layer, grouped(layer.masks), percent(share));
    }
    if sample.without_crop > 0 {
        say!("  without a crop_box: {}", plural(sample.without_crop, "mask"));
    }
    Ok(())
}

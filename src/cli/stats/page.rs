//! The report as one HTML page: no network, no script; plots are SVG, with the numbers behind each as a table.

use std::fmt::Write;

use maskstream::internals::OneLine;

use crate::cli::output::size;

use super::curve::{Point, worth_showing};
use super::histogram::{Axis, Quantiles};
use super::number::{grouped, of_unit, percent, plural, score, share, short};
use super::quantity::{About, Quantity};
use super::report::{Class, Distribution, ImageSize, Report, Sample};
use super::svg::{Bar, Line, Plot, Tick, bars, count_ticks, escaped, fits, lines, log_ticks, thinned};
use super::text::{
    ChosenCurve, LAYERS, bounds, chosen_curves, class_label, compression_sentence, means, remarks, sample_line,
};

pub(super) fn of(report: &Report) -> String {
    let mut body = head(report);
    if report.masks > 0 {
        let curves: String = chosen_curves(report).iter().map(curve).collect();
        section(&mut body, "What a threshold keeps", "", &curves);
        let plots: String = report.quantities.iter().map(|one| histogram(one, report)).collect();
        section(&mut body, "Distributions", &quantiles(&report.quantities), &(plots + &image_sizes(report)));
    }
    if let Some(sample) = report.sample.as_ref().filter(|sample| sample.masks > 0) {
        let forms = sample.forms;
        let mut intro = paragraph("", &format!("{}.", sample_line(sample)));
        if forms.counts_list + forms.polygons > 0 {
            let text = format!(
                "{} have RLE counts as a string. {} with a list of numbers and {} polygons are not in the sizes.",
                plural(forms.counts_string, "mask"),
                grouped(forms.counts_list),
                grouped(forms.polygons)
            );
            intro += &paragraph("", &text);
        }
        let mut plots: String = sample.quantities.iter().map(|one| histogram(one, report)).collect();
        plots += &compression("area, pixels", "mask area, pixels", &sample.compression.by_area, sample);
        plots += &compression("runs", "runs per mask", &sample.compression.by_runs, sample);
        plots += &layers(sample);
        section(&mut body, "Masks and their compression", &(intro + &quantiles(&sample.quantities)), &plots);
    }
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/><meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"/><title>{}</title><style>\n{}</style></head>\n<body>\n{body}\
         <footer><p>Made by maskstream {} with</p><p><code>{}</code></p></footer>\n</body></html>\n",
        escaped(&title(report)),
        include_str!("style.css"),
        escaped(report.version),
        escaped(&report.command)
    )
}

fn title(report: &Report) -> String {
    format!("{}, {}", plural(report.images, "image"), plural(report.masks, "mask"))
}

fn head(report: &Report) -> String {
    let shards = match report.shards == report.shards_named {
        true => plural(report.shards, "shard"),
        false => format!("{} of {}", grouped(report.shards), plural(report.shards_named, "shard")),
    };
    let filter = &report.filter;
    let kept = format!(
        "{} keeps {} ({}) and {} ({}).",
        bounds(report),
        plural(filter.images, "image"),
        percent(share(filter.images, report.images)),
        plural(filter.masks, "mask"),
        percent(share(filter.masks, report.masks))
    );
    let mut out = format!("<header><h1>{}</h1>", escaped(&title(report)));
    out += &paragraph("", &format!("In {shards}, {}. {kept}", size(report.shard_bytes)));
    let remarks = remarks(report, |path| OneLine(path).to_string());
    remarks.iter().for_each(|remark| out += &paragraph("warning", remark));
    out + "</header>\n"
}

fn paragraph(class: &str, text: &str) -> String {
    format!("<p class=\"{class}\">{}</p>", escaped(text)).replace(" class=\"\"", "")
}

fn section(out: &mut String, title: &str, intro: &str, plots: &str) {
    let _ = writeln!(out, "<section><h2>{}</h2>{intro}<div class=\"plots\">{plots}</div></section>", escaped(title));
}

fn figure(title: &str, sentence: &str, plot: &str, table: &str) -> String {
    let table = if table.is_empty() { String::new() } else { details("Numbers", plot.is_empty(), table) };
    format!("<figure><h3>{}</h3>{}{plot}{table}</figure>\n", escaped(&heading(title)), paragraph("", sentence))
}

/// With a capital letter, if it is no name of a field.
fn heading(title: &str) -> String {
    let mut letters = title.chars();
    match letters.next() {
        Some(first) if !title.contains('_') => first.to_uppercase().chain(letters).collect(),
        _ => title.to_owned(),
    }
}

fn details(summary: &str, is_open: bool, content: &str) -> String {
    let open = if is_open { " open=\"open\"" } else { "" };
    format!("<details{open}><summary>{summary}</summary>{content}</details>")
}

/// Ticks at some of the edges: of a linear axis, at those that are multiples of a round number.
fn edge_ticks(edges: &[f64], axis: Axis, tick: impl Fn(usize) -> Tick) -> Vec<Tick> {
    let every = |round: u32| {
        let step = (edges[1] - edges[0]) * f64::from(round);
        let is_multiple = |n: &usize| (edges[*n] / step - (edges[*n] / step).round()).abs() < 1e-6;
        (0..edges.len()).filter(is_multiple).map(&tick).collect::<Vec<_>>()
    };
    let round = [1, 2, 5, 10].into_iter().filter(|_| axis == Axis::Linear).map(every);
    round.filter(|ticks| ticks.len() > 1).find(|ticks| fits(ticks)).unwrap_or_else(|| {
        let all = (0..edges.len()).map(&tick);
        thinned(all.collect())
    })
}

/// A table whose first row is its head. Rows that begin with `>` are marked.
fn table(rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut out = "<div class=\"scroll\" tabindex=\"0\"><table>".to_owned();
    for (number, row) in rows.into_iter().enumerate() {
        let tag = if number == 0 { "th scope=\"col\"" } else { "td" };
        let is_chosen = row.first().is_some_and(|cell| cell.starts_with('>'));
        out += if is_chosen { "<tr class=\"chosen\">" } else { "<tr>" };
        for cell in row {
            let _ = write!(out, "<{tag}>{}</{}>", escaped(cell.trim_start_matches('>')), &tag[..2]);
        }
        out += "</tr>";
    }
    out + "</table></div>"
}

fn strings<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

fn quantiles(distributions: &[Distribution]) -> String {
    let head = [""].into_iter().chain(Quantiles::NAMES).map(str::to_owned).collect();
    let rows = distributions.iter().filter_map(|one| {
        let About { title, unit, .. } = one.quantity.about();
        let values = one.quantiles.as_ref()?.values().map(|value| of_unit(value, unit));
        Some([title.to_owned()].into_iter().chain(values).collect())
    });
    let rows = table([head].into_iter().chain(rows));
    details("Quantiles", true, &format!("<div class=\"names\">{rows}</div>"))
}

fn histogram(distribution: &Distribution, report: &Report) -> String {
    let Distribution { quantity, count, missing, histogram, .. } = distribution;
    let About { title, unit, of, sentence, axis, .. } = quantity.about();
    let Some(quantiles) = &distribution.quantiles else {
        return figure(title, &format!("{sentence} None of the {of} has it."), "", "");
    };
    let last = histogram.counts.len() as f64;
    let tick = |n: usize| (n as f64 / last, of_unit(histogram.edges[n], unit));
    let most = histogram.counts.iter().copied().max().unwrap_or(0) as f64;
    let (y_ticks, end) = count_ticks(most);
    let bound = match quantity {
        Quantity::PredictedIou => report.filter.min_predicted_iou,
        Quantity::StabilityScore => report.filter.min_stability_score,
        _ => None,
    };
    let edges = (histogram.edges.first().copied().unwrap_or(0.0), histogram.edges.last().copied().unwrap_or(1.0));
    let mark = bound
        .filter(|_| axis == Axis::Linear)
        .map(|bound| ((f64::from(bound) - edges.0) / (edges.1 - edges.0), format!(">= {}", score(f64::from(bound)))));
    let plot = Plot {
        label: format!("Histogram of {title}: median {}", of_unit(quantiles.p50, unit)),
        x_title: title.to_owned(),
        y_title: of.to_owned(),
        x_ticks: edge_ticks(&histogram.edges, axis, tick),
        y_ticks,
        mark,
    };
    let range = |n: usize| [histogram.edges[n], histogram.edges[n + 1]].map(|edge| of_unit(edge, unit));
    let row = |n: usize, here: u64| {
        let [from, to] = range(n);
        (from, to, grouped(here), percent(share(here, *count)))
    };
    let all: Vec<_> = histogram.counts.iter().enumerate().map(|(n, here)| row(n, *here)).collect();
    let shown: Vec<Bar> = histogram
        .counts
        .iter()
        .zip(&all)
        .map(|(here, (from, to, count, share))| Bar {
            height: *here as f64 / end,
            tip: format!("{from} to {to}: {count} {of}, {share}"),
        })
        .collect();
    let head = strings(["from", "to", of, "share"]);
    let rows = all.into_iter().map(|(from, to, count, share)| vec![from, to, count, share]);
    let mut sentence = sentence.to_owned();
    if histogram.below + histogram.above > 0 {
        sentence += &format!(" Not drawn: {} below and {} above.", grouped(histogram.below), grouped(histogram.above));
    }
    if *missing > 0 {
        sentence += &format!(" Without it: {}.", plural(*missing, of.trim_end_matches('s')));
    }
    figure(title, &sentence, &bars(&plot, &shown), &table([head].into_iter().chain(rows)))
}

fn image_sizes(report: &Report) -> String {
    let row = |size: &ImageSize| {
        let name = format!("{} x {}", size.width, size.height);
        vec![name, grouped(size.images), percent(share(size.images, report.images))]
    };
    let head = strings(["width x height", "images", "share"]);
    let rows = table([head].into_iter().chain(report.image_sizes.iter().map(row)));
    figure("most frequent image sizes", "In pixels, of the annotated images.", "", &rows)
}

fn curve(curve: &ChosenCurve<'_>) -> String {
    let all: Vec<&Point> = worth_showing(curve.points).iter().filter(|point| point.threshold.is_some()).collect();
    let threshold = |point: &Point| f64::from(point.threshold.unwrap_or(0.0));
    let (None, Some(first), Some(last)) = (curve.nothing, all.first(), all.last()) else {
        let nothing = curve.nothing.unwrap_or("No threshold keeps fewer masks than another.");
        return figure(curve.name, &format!("{}. {nothing}", curve.sentence), "", "");
    };
    let (low, high) = (threshold(first), threshold(last));
    let place = |at: f64| if high > low { (at - low) / (high - low) } else { 0.0 };
    let line = |name: &'static str, share: fn(&Point) -> f64, count: fn(&Point) -> u64| Line {
        name,
        points: all
            .iter()
            .map(|point| {
                let tip = format!(
                    "{} >= {}: {} {name}, {}",
                    curve.name,
                    score(threshold(point)),
                    grouped(count(point)),
                    percent(share(point))
                );
                (place(threshold(point)), share(point), tip)
            })
            .collect(),
    };
    let shown = [
        line("images", |point| point.image_share, |point| point.images),
        line("masks", |point| point.mask_share, |point| point.masks),
    ];
    let steps = [0.01, 0.02, 0.05, 0.1, 0.2];
    let step = steps.into_iter().find(|step| (high - low) / step <= 7.0).unwrap_or(0.2);
    let round = (low / step - 1e-4).ceil() as i64..=(high / step + 1e-4).floor() as i64;
    let plot = Plot {
        label: format!("Share of images and of masks that each threshold of {} keeps", curve.name),
        x_title: format!("{} at least", curve.name),
        y_title: "% of all".to_owned(),
        x_ticks: round.map(|n| n as f64 * step).map(|at| (place(at), score(at))).collect(),
        y_ticks: (0..=5).map(|n| (f64::from(n) / 5.0, format!("{}", 20 * n))).collect(),
        mark: curve.chosen.map(|chosen| (place(f64::from(chosen)), format!(">= {}", score(f64::from(chosen))))),
    };
    let rows = curve.points.first().into_iter().filter(|point| point.threshold.is_none()).chain(all.iter().copied());
    let row = |point: &Point| {
        let is_chosen = point.threshold.is_some() && point.threshold == curve.chosen;
        let threshold = point.threshold.map_or_else(|| "none".to_owned(), |t| score(f64::from(t)));
        vec![
            format!("{}{threshold}", if is_chosen { ">" } else { "" }),
            grouped(point.images),
            percent(point.image_share),
            grouped(point.masks),
            percent(point.mask_share),
        ]
    };
    let head = strings(["threshold", "images", "share", "masks", "share"]);
    let table = table([head].into_iter().chain(rows.map(row)));
    figure(curve.name, &format!("{}.", curve.sentence), &lines(&plot, &shown), &table)
}

fn compression(what: &str, x_title: &str, classes: &[Class], sample: &Sample) -> String {
    let names = ["1 bit", "1 byte", "zlib", "PNG"];
    if classes.is_empty() {
        return String::new();
    }
    let ratios = classes.iter().flat_map(|class| class.ratios().into_iter().flatten());
    let (y_ticks, up) = log_ticks(ratios);
    let place = |n: usize| (n as f64 + 0.5) / classes.len() as f64;
    let line = |(which, name): (usize, &'static str)| {
        let point = |(n, class): (usize, &Class)| {
            let ratio = class.ratios()[which]?;
            Some((place(n), up(ratio), format!("{name}: {} times, {what} {}", short(ratio), class_label(class))))
        };
        Line { name, points: classes.iter().enumerate().filter_map(point).collect() }
    };
    let ticks: Vec<Tick> = classes.iter().enumerate().map(|(n, class)| (place(n), class_label(class))).collect();
    let plot = Plot {
        label: format!("Size of bitmaps, zlib and PNG over that of RLE counts, by {what}"),
        x_title: x_title.to_owned(),
        y_title: "times the size of the counts".to_owned(),
        x_ticks: thinned(ticks),
        y_ticks,
        mark: None,
    };
    let shown: Vec<Line> = names.into_iter().enumerate().map(line).collect();
    let head = strings([what, "masks", "mean runs", "mean bytes", "1 bit", "1 byte", "zlib", "PNG", "compressed"]);
    let row = |label: String, class: &Class| {
        let [runs, bytes] = means(class).map(short);
        let ratios = class.ratios().map(|ratio| ratio.map_or_else(|| "-".to_owned(), short));
        let row = [label, grouped(class.sizes.masks), runs, bytes].into_iter().chain(ratios);
        row.chain([grouped(class.sizes.compressed_masks)]).collect()
    };
    let all = &sample.compression.all;
    let rows = classes.iter().map(|class| row(class_label(class), class)).chain([row("all".to_owned(), all)]);
    let sentence = format!("{}.", compression_sentence(what, all));
    figure(&format!("compression by {what}"), &sentence, &lines(&plot, &shown), &table([head].into_iter().chain(rows)))
}

fn layers(sample: &Sample) -> String {
    let most = sample.crop_layers.iter().map(|layer| layer.masks).max().unwrap_or(0);
    let (y_ticks, end) = count_ticks(most as f64);
    let count = sample.crop_layers.len().max(1) as f64;
    let median = |areas: Option<Quantiles>| areas.map_or_else(String::new, |areas| short(areas.p50));
    let (mut ticks, mut shown) = (Vec::new(), Vec::new());
    let mut rows = vec![strings(["layer", "masks", "share", "median area, % of image"])];
    for (n, layer) in sample.crop_layers.iter().enumerate() {
        let (name, masks, median) = (layer.layer.to_string(), grouped(layer.masks), median(layer.area_percent));
        let share = percent(share(layer.masks, sample.masks));
        ticks.push(((n as f64 + 0.5) / count, format!("layer {name}: {median} %")));
        let tip = format!("layer {name}: {masks} masks, {share}; median area {median} % of the image");
        shown.push(Bar { height: layer.masks as f64 / end, tip });
        rows.push(vec![name, masks, share, median]);
    }
    let plot = Plot {
        label: "Masks by the layer of the crop that they were found in".to_owned(),
        x_title: "crop layer: median mask area in % of the image".to_owned(),
        y_title: "masks".to_owned(),
        x_ticks: thinned(ticks),
        y_ticks,
        mark: None,
    };
    let without = match sample.without_crop {
        0 => String::new(),
        masks => format!(" Without a crop_box: {}.", plural(masks, "mask")),
    };
    figure("masks by crop layer", &format!("{LAYERS}.{without}"), &bars(&plot, &shown), &table(rows))
}

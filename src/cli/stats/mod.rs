//! `maskstream stats`: what is in a data set, and what a filter keeps of it.

mod compression;
mod curve;
mod histogram;
mod masks;
mod number;
mod page;
mod quantity;
mod report;
mod svg;
mod text;
mod totals;

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use maskstream::index::IndexStatus;
use maskstream::internals::{OneLine, split_query};

use super::advice::in_flags;
use super::args::{ShardArgs, lower_bound};
use super::output::{Outcome, ProgressOutput, WrongArguments};
use super::progress::ShardProgress;
use super::target::Target;
use super::warnings::warn_unsaved;
use super::{parallel, progress};
use crate::cli::stores;
use masks::{Masks, Share};
use report::{Damaged, Report};
use totals::{Bounds, Totals};

/// Show what is in a data set, and how much of it each score threshold keeps
///
/// From the indexes alone, of all images: masks per image, areas, scores, boxes, image sizes, bytes; and a table of how
/// many images and masks each threshold keeps, with the choice of --min-predicted-iou marked. From the masks of some
/// images (--masks): runs per mask, the size of RLE against bitmaps, zlib and PNG, and the crops that the masks were
/// found in. Prints tables and histograms; --html writes them as one page with plots, which needs no network.
///
/// A shard without an index is indexed first. Samples that no loader uses are counted apart. Quantiles are
/// rounded down to three significant digits, those of scores to a step of 0.0005.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    shards: ShardArgs,
    /// Images whose masks are read, evenly spread over the shards; all for all, 0 for none
    #[arg(long, default_value = "256", value_name = "N", value_parser = images)]
    masks: Images,
    /// Look at N shards only, evenly spaced among those that are named
    #[arg(long, value_name = "N")]
    sample_shards: Option<NonZeroUsize>,
    /// The threshold of predicted_iou to mark; none for no bound
    #[arg(
        long,
        default_value = "0.88",
        value_name = "IOU",
        value_parser = lower_bound,
        allow_hyphen_values = true
    )]
    min_predicted_iou: f32,
    /// The threshold of stability_score to mark; none for no bound
    #[arg(
        long,
        default_value = "none",
        value_name = "SCORE",
        value_parser = lower_bound,
        allow_hyphen_values = true
    )]
    min_stability_score: f32,
    /// Also write a page with plots to this HTML file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Overwrite the file if it exists
    #[arg(long, requires = "html")]
    force: bool,
    /// Print one JSON object, for programs
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  maskstream stats sa1b
  maskstream stats 'sa1b/*.tar' --masks 0 --min-predicted-iou 0.92
  maskstream stats sa1b --sample-shards 20 --html sa1b.html
  maskstream stats sa1b --json | jq .quantities.mask_area.quantiles

Fields of the JSON object:
  images, masks, shard_bytes, left_out, findings, damaged_shards
  filter        the bounds, and the images and masks that they keep
  quantities    by name: unit, count, missing, quantiles (min, p5, p25, p50,
                p75, p95, max), histogram (edges; counts, one less; below and
                above: numbers beyond the edges)
  curves        predicted_iou, stability_score: threshold (null for none),
                images, masks, image_share, mask_share
  image_sizes   the most frequent ones
  sample        null with --masks 0: images, masks, failed, forms, quantities,
                compression (sums of bytes: all, by_area, by_runs), crop_layers

Exit status: 0 on success; 1 if a shard is damaged or cannot be read (all others
are counted), or if the file exists or cannot be written; 2 if the arguments are
wrong.";

/// Masks whose bitmaps are compressed: each takes some milliseconds.
const COMPRESSED_MASKS: usize = 512;

/// A number of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Images {
    All,
    Some(usize),
}

fn images(text: &str) -> Result<Images, String> {
    match text {
        "all" => Ok(Images::All),
        _ => text.parse().map(Images::Some).map_err(|_| "it must be a whole number, or all".to_owned()),
    }
}

/// What one shard adds.
struct Found {
    totals: Totals,
    masks: Option<Masks>,
    status: IndexStatus,
    damage: Option<Damaged>,
}

pub(super) fn run(args: &Args) -> Outcome {
    let bounds = Bounds { predicted_iou: args.min_predicted_iou, stability_score: args.min_stability_score };
    if bounds.predicted_iou.is_nan() || bounds.stability_score.is_nan() {
        return Err(WrongArguments("a threshold cannot be NaN: give a number, or none".to_owned()).into());
    }
    let named = stores::resolve_patterns(&args.shards.shards)?;
    let target = match &args.html {
        Some(path) => {
            let indexes = named.iter().filter_map(|shard| args.shards.sidecar().path(shard));
            Some(Target::new(path, args.force, named.iter().cloned().chain(indexes).collect())?)
        }
        None => None,
    };
    let all = args.sample_shards.map_or(named.len(), NonZeroUsize::get);
    let paths: Vec<PathBuf> = masks::spread(all, named.len()).map(|at| named[at].clone()).collect();

    let mut totals = Totals::new(bounds);
    let mut masks = (args.masks != Images::Some(0)).then(Masks::new);
    let (mut damaged, mut statuses) = (Vec::new(), Vec::new());
    look_at_all(args, bounds, &paths, |found| {
        totals.merge(&found.totals);
        if let (Some(masks), Some(more)) = (&mut masks, &found.masks) {
            masks.merge(more);
        }
        if matches!(found.status, IndexStatus::Unsaved(_)) {
            statuses.push(found.status);
        }
        damaged.extend(found.damage);
    })?;
    // In the order of the names, whichever was first.
    damaged.sort_by(|a: &Damaged, b| a.shard.cmp(&b.shard));

    let report = Report {
        command: command_line(),
        shards: paths.len() as u64,
        shards_named: named.len() as u64,
        damaged_shards: damaged,
        ..Report::new(bounds, &totals, masks.as_ref())
    };
    let mut output = ProgressOutput::default();
    output.print(|| if args.json { print_json(&report) } else { text::print(&report) });
    let mut written = Ok(());
    if let (Some(target), Some(path)) = (&target, &args.html) {
        written = target.write(|out| out.write_all(page::of(&report).as_bytes()));
        if written.is_ok() && !args.json {
            output.line(format_args!("\nwrote {}", OneLine(path.display())));
        }
    }
    warn_unsaved(statuses.iter());
    output.finish(written.and_then(|()| outcome(&report, masks.as_ref())))
}

/// Hands each shard's figures to `done`.
fn look_at_all(args: &Args, bounds: Bounds, paths: &[PathBuf], mut done: impl FnMut(Found)) -> Outcome {
    let jobs = parallel::cores();
    let numbers: HashMap<&Path, usize> = paths.iter().enumerate().map(|(n, path)| (path.as_path(), n)).collect();
    let bar = progress::bar(progress::total_bytes(paths), "reading", "bytes");
    let work = |path: &Path| {
        let number = numbers.get(path).copied().unwrap_or(0);
        let images = match args.masks {
            Images::All => None,
            Images::Some(images) => Some(masks::part(images, paths.len(), number)),
        };
        let share = Share { images, compressed: masks::part(COMPRESSED_MASKS, paths.len(), number) };
        look_at(path, args, bounds, share, &bar).map_err(|error| (path.to_owned(), error))
    };
    parallel::for_each(paths, jobs, work, |found| {
        let found = found.unwrap_or_else(|(path, error)| Found {
            totals: Totals::new(bounds),
            masks: None,
            status: IndexStatus::Loaded,
            damage: Some(Damaged { shard: path.display().to_string(), reason: in_flags(&error) }),
        });
        if let Some(Damaged { reason, .. }) = &found.damage {
            bar.suspend(|| tell!("maskstream: {}", OneLine(reason)));
        }
        done(found);
    })?;
    bar.finish_and_clear();
    Ok(())
}

fn look_at(path: &Path, args: &Args, bounds: Bounds, share: Share, bar: &ProgressBar) -> maskstream::Result<Found> {
    let indexing = ShardProgress::new(bar, path);
    let indexer = stores::indexer().sidecar(args.shards.sidecar()).progress(move |bytes| indexing.advance(bytes));
    let shard = indexer.index(path)?;
    drop(indexer);
    let totals = Totals::of(&shard, bounds);
    let masks = if share.images == Some(0) { None } else { Some(Masks::read(&shard, share, bar)?) };
    let damage = shard.index.findings().iter().find(|finding| finding.kind.is_damage());
    let damage = damage.map(|finding| {
        let shard = path.display().to_string();
        Damaged { reason: format!("{shard}: {finding}"), shard }
    });
    Ok(Found { totals, masks, status: shard.status, damage })
}

fn print_json(report: &Report) -> Outcome {
    say!("{}", serde_json::to_string(report)?);
    Ok(())
}

/// A failure if something was wrong with the data.
fn outcome(report: &Report, masks: Option<&Masks>) -> Outcome {
    let mut failures = Vec::new();
    if let Some(masks) = masks.filter(|masks| masks.failed > 0) {
        masks.failures.iter().for_each(|failure| tell!("maskstream: {failure}"));
        failures.push(format!("{} could not be read", number::plural(masks.failed, "json")));
    }
    if !report.damaged_shards.is_empty() {
        let (damaged, all) = (report.damaged_shards.len(), report.shards);
        failures.push(format!(
            "{damaged} of {all} shards are damaged or cannot be read: `maskstream inspect` tells what is wrong; all \
             others are counted"
        ));
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("; ").into()) }
}

/// The command as it can be typed again.
fn command_line() -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=,@%+".contains(c);
    let quoted = |argument: String| {
        // The query of a signed address is a secret.
        let argument = OneLine(split_query(Path::new(&argument)).0.display()).to_string();
        match !argument.is_empty() && argument.chars().all(is_plain) {
            true => argument,
            false => format!("'{}'", argument.replace('\'', "'\\''")),
        }
    };
    let arguments = std::env::args_os().skip(1).map(|argument| quoted(argument.to_string_lossy().into_owned()));
    ["maskstream".to_owned()].into_iter().chain(arguments).collect::<Vec<_>>().join(" ")
}

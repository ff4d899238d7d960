//! `maskstream index`: indexes shards, saves the indexes, and prints a line for each shard. A shard that fails does not
//! keep the others from being indexed.

use std::num::NonZeroUsize;
use std::time::Instant;

use maskstream::index::{IndexStatus, IndexedShard, RowPointsReport};

use super::advice::in_flags;
use super::args::ShardArgs;
use super::output::{Outcome, ProgressOutput, counted, unbroken, wrap};
use super::progress::ShardProgress;
use super::stores;
use super::task::TaskArgs;
use super::{parallel, progress};

/// Read shards once and save an index of their samples, so that later runs start at once
///
/// Training programs build missing indexes by themselves. Indexing beforehand uses all cores, allows them to shuffle
/// from the first batch on, and shows what is wrong with a shard.
///
/// Each index is saved as SHARD.msidx as soon as it is complete, so an interrupted command can simply be run again. An
/// index that matches its shard (same size, and same modification time or same bytes at a few places) is kept. Prints
/// a line for each shard: its samples, its annotations, why it was indexed (or "up to date"); below it, what is wrong
/// with the shard.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    shards: ShardArgs,
    #[command(flatten)]
    task: TaskArgs,
    /// Index shards that are up to date as well
    #[arg(long)]
    rebuild: bool,
    /// Also save where the rows of each JPEG begin, so that crops need not decode what lies above them
    ///
    /// For training with crops: --augment resized-crop or lsj, or a crop of your own. Reads the codes of every image
    /// once, which takes about as long as loading an epoch, and saves them as SHARD.mspoints, about 600 bytes an
    /// image. A file that has all images of the shard is kept.
    #[arg(long)]
    jpeg_points: bool,
    /// Number of threads [default: one per core]
    #[arg(long, value_name = "N", value_parser = parallel::jobs)]
    jobs: Option<NonZeroUsize>,
    /// Print one JSON object per shard, for programs
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  maskstream index 'sa1b/*.tar'
  maskstream index sa1b --index-dir ~/sa1b-index
  maskstream index sa1b --jpeg-points
  maskstream index sa1b --task $SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT

Exit status: 0 if all shards are indexed and valid; 1 if a shard is damaged or
cannot be read, or an index cannot be saved (all other shards are indexed);
2 if the arguments are wrong.";

/// Findings of a shard that text output lists.
const MAX_FINDINGS: usize = 20;

pub(super) fn run(args: &Args) -> Outcome {
    let start = Instant::now();
    let (paths, task) = args.task.take(stores::resolve_patterns(&args.shards.shards)?);
    let mut output = ProgressOutput::default();
    if let (Some(task), false) = (task, args.json) {
        output.line(task);
    }
    let jobs = args.jobs.unwrap_or_else(parallel::cores);
    // The members of plain shards are read on this pool, which all shards in progress share.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(jobs.get()).build_global();
    pool.map_err(|e| parallel::no_threads(jobs, &e))?;
    let passes = if args.jpeg_points { 2 } else { 1 };
    let bar = progress::bar(passes * progress::total_bytes(&paths), "indexing", "bytes");
    let index = |path: &std::path::Path| -> maskstream::Result<_> {
        let share = || ShardProgress::new(&bar, path);
        let indexer = stores::indexer().sidecar(args.shards.sidecar()).rebuild(args.rebuild);
        let (first, second) = (share(), args.jpeg_points.then(share));
        let shard = indexer.clone().progress(move |bytes| first.advance(bytes)).index(path)?;
        // A shard whose index cannot be saved is reported for that.
        let is_saved = !matches!(shard.status, IndexStatus::Unsaved(_));
        let points = second
            .filter(|_| is_saved)
            .map(|second| indexer.progress(move |bytes| second.advance(bytes)).save_row_points(&shard));
        Ok((points, shard))
    };
    let (mut bad, mut unsaved, mut empty, mut pointless, mut damaged) = (0, 0, 0, 0, 0);
    parallel::for_each(&paths, jobs, index, |result| {
        bar.suspend(|| match result {
            Ok((points, shard)) => {
                empty += usize::from(shard.index.entries().is_empty());
                if let (IndexStatus::Unsaved(reason), false) = (&shard.status, shard.index.entries().is_empty()) {
                    tell!("maskstream: {}: its index could not be saved: {reason}", shard.path.display());
                    unsaved += 1;
                }
                bad += usize::from(shard.index.findings().iter().any(|finding| finding.kind.is_damage()));
                let points = points.and_then(|points| {
                    points
                        .inspect_err(|error| {
                            tell!("maskstream: the row points are not saved: {}", in_flags(error));
                            pointless += 1;
                        })
                        .ok()
                });
                damaged += points.as_ref().map_or(0, |points| points.damaged.len());
                output.print(|| print(&shard, points.as_ref(), args.json));
            }
            Err(error) => {
                bad += 1;
                tell!("maskstream: {}", in_flags(&error));
            }
        });
    })?;
    bar.finish_and_clear();
    if !args.json {
        output.line(format_args!("{} in {:.1} s", counted(paths.len(), "shard"), start.elapsed().as_secs_f64()));
    }
    let all = paths.len();
    let mut failures = Vec::new();
    if empty > 0 {
        failures.push(format!("{empty} of {all} files hold no samples, so they have no index"));
    }
    if bad > 0 {
        failures.push(format!(
            "{bad} of {all} shards are damaged or cannot be read: download them again, or let other commands use their \
             valid samples with --skip N"
        ));
    }
    if unsaved > 0 {
        failures.push(format!(
            "the indexes of {unsaved} of {all} shards could not be saved: choose a writable directory with --index-dir \
             DIR"
        ));
    }
    if pointless > 0 {
        failures.push(format!(
            "the row points of {pointless} of {all} shards could not be saved: choose a writable directory with \
             --index-dir DIR"
        ));
    }
    if damaged > 0 {
        failures.push(format!("{damaged} images are damaged: `maskstream verify` names them"));
    }
    output.finish(if failures.is_empty() { Ok(()) } else { Err(failures.join("; ").into()) })
}

fn print(shard: &IndexedShard, points: Option<&RowPointsReport>, json: bool) -> Outcome {
    let IndexedShard { path, status, index, .. } = shard;
    let status = match status {
        IndexStatus::Loaded => "up to date".to_owned(),
        IndexStatus::Built(reason) => format!("indexed: {reason}"),
        IndexStatus::Unsaved(_) if index.entries().is_empty() => "no index".to_owned(),
        // The reason is on standard error.
        IndexStatus::Unsaved(_) if !json => "NOT SAVED".to_owned(),
        IndexStatus::Unsaved(reason) => format!("NOT SAVED: {reason}"),
        _ => "indexed".to_owned(),
    };
    let (samples, annotations, left_out) = (index.entries().len(), index.annotations(), index.left_out());
    let derived = index.derived_samples();
    if json {
        let findings: Vec<_> = index.findings().iter().map(ToString::to_string).collect();
        let line = serde_json::json!({
            "shard": path.display().to_string(), "samples": samples, "annotations": annotations, "index": status,
            "derived": derived, "row_points": points.map(|points| points.with_points),
            "row_points_file": points.map(file_status),
            "damaged_images": points.map(|points| points.damaged.len()),
            "left_out": left_out.total(), "unverified": left_out.unverified, "findings": findings,
        });
        say!("{line}");
        return Ok(());
    }
    let path = unbroken(path.display());
    say!("{}", wrap(&format!("{path}: {samples} samples, {annotations} annotations, {status}")));
    if derived > 0 {
        say!("  LOSSY: {derived} images are derived: `maskstream inspect` tells how");
    }
    if let Some(report @ RowPointsReport { images, with_points, damaged, .. }) = points {
        say!("  row points of {with_points} of {images} images: {}", file_status(report));
        for damage in damaged.iter().take(MAX_FINDINGS) {
            say!("{}", wrap(&format!("  {damage}")));
        }
    }
    if left_out.total() > 0 {
        say!("{}", wrap(&format!("  not used: {left_out}")));
    }
    for finding in index.findings().iter().take(MAX_FINDINGS) {
        say!("{}", wrap(&format!("  {finding}")));
    }
    if index.findings().len() > MAX_FINDINGS {
        let more = index.findings().len() - MAX_FINDINGS;
        say!("  ... and {more} more: `maskstream inspect` counts them, --json lists all");
    }
    Ok(())
}

/// Whether the file of row points has just been written.
fn file_status(points: &RowPointsReport) -> &'static str {
    if points.is_kept { "up to date" } else { "saved" }
}

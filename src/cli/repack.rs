//! `maskstream repack`: writes shards as plain tar files with their indexes, on request with smaller images, and prints
//! a line for each shard. A shard that fails does not keep the others from being repacked.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Instant;

use maskstream::OnCorrupt;
use maskstream::index::{Derive, DeriveReport, IfExists, RepackReport, Sidecar};
use maskstream::internals::FileId;
use serde_json::json;

use super::advice::in_flags;
use super::args::ShardArgs;
use super::output::{Outcome, ProgressOutput, size, unbroken, wrap};
use super::progress::ShardProgress;
use super::stores;
use super::task::TaskArgs;
use super::{parallel, progress, target};

/// Rewrite shards as plain tar files in which the image and the json of each sample are neighbours
///
/// Repacked shards load faster: there is nothing to inflate, and each sample takes one read. They hold the same samples
/// and can be used instead of the originals.
///
/// Every member is checked against its checksum, and each new shard is read once more before it gets its final name.
/// Members that do not belong to a valid sample are left out and listed. A repacked shard whose index agrees with that
/// of its source is kept, so an interrupted command can simply be run again. Prints a line for each shard, and a
/// summary.
///
/// With --longest-side N, the repacked shards are LOSSY: each larger image is resized once, so that its longer side has
/// N pixels, and encoded again. That is worth its while if you train on images of N pixels for many epochs: most of the
/// time of a sample is that of its JPEG. Annotations stay byte for byte as they are, and boxes, masks and points are
/// those of the originals at every --image-size. Keep the originals: nothing can be resized back.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    shards: ShardArgs,
    /// Directory of the repacked shards, which keep their file names, and of their indexes
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    #[command(flatten)]
    task: TaskArgs,
    /// Overwrite shards of the same names in the output directory, whatever they are
    ///
    /// By default, those that are up to date are kept, and any others are an error.
    #[arg(long)]
    force: bool,
    /// Use the valid samples of a damaged shard if at most this many samples are missing
    ///
    /// By default, damaged shards are not repacked. With --longest-side, it also accepts that many images that cannot
    /// be decoded: they are kept as they are, and listed.
    #[arg(long, default_value_t = 0, value_name = "N")]
    skip: u64,
    /// LOSSY: make images smaller, so that their longer side has N pixels
    ///
    /// Take the --image-size that you train at. Images that are no larger are kept byte for byte. Images that are
    /// derived already are refused, because each time loses more.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    longest_side: Option<u16>,
    /// With --longest-side: JPEG quality, 1 to 100
    #[arg(long, default_value_t = 90, value_name = "Q", requires = "longest_side",
        value_parser = clap::value_parser!(u8).range(1..=100))]
    quality: u8,
    /// With --longest-side: largest original in pixels
    #[arg(long, default_value_t = 1 << 26, value_name = "N", requires = "longest_side")]
    max_image_pixels: u64,
    /// Number of shards to work on at a time
    ///
    /// Two keep a disk busy: one is inflated or checked while the other one is written. Try more for gzip shards on
    /// fast disks. With --longest-side, all cores work on the images of these shards.
    #[arg(long, default_value = "2", value_name = "N", value_parser = parallel::jobs)]
    jobs: NonZeroUsize,
    /// Print one JSON object per shard, for programs
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  maskstream repack 'sa1b/*.tar' -o flat
  maskstream repack sa1b -o flat --task $SLURM_ARRAY_TASK_ID/8
  maskstream repack sa1b -o sa1b-1024 --longest-side 1024 --quality 90

Exit status: 0 if all shards are repacked or up to date; 1 if a shard is
damaged, cannot be read or cannot be written (all others are repacked); 2 if the
arguments are wrong.";

/// Totals over all shards.
#[derive(Default)]
struct Totals {
    written: usize,
    failed: usize,
    source_bytes: u64,
    bytes: u64,
}

pub(super) fn run(args: &Args) -> Outcome {
    let start = Instant::now();
    let paths = stores::resolve_patterns(&args.shards.shards)?;
    check_names(&paths)?;
    check_targets(args, &paths)?;
    let (paths, task) = args.task.take(paths);
    let mut output = ProgressOutput::default();
    if let (Some(task), false) = (task, args.json) {
        output.line(task);
    }
    let existing = if args.force { IfExists::Replace } else { IfExists::Keep };
    let on_corrupt = if args.skip > 0 { OnCorrupt::skip(args.skip) } else { OnCorrupt::Stop };
    let derive = args.derive();
    let doing = if derive.is_some() { "deriving (lossy)" } else { "repacking" };
    let bar = progress::bar(progress::total_bytes(&paths), doing, "bytes");
    let repack = |path: &Path| {
        let (start, share) = (Instant::now(), ShardProgress::new(&bar, path));
        let indexer = stores::indexer().sidecar(args.shards.sidecar()).on_corrupt(on_corrupt);
        let indexer = indexer.progress(move |bytes| share.advance(bytes));
        let repacked = match &derive {
            None => indexer.repack(path, &args.output, existing).map(|report| (report, None)),
            Some(derive) => indexer
                .derive(path, &args.output, derive, existing)
                .map(|report| (report.repacked.clone(), Some(report))),
        };
        (repacked, start.elapsed().as_secs_f64())
    };
    let mut totals = Totals::default();
    parallel::for_each(&paths, args.jobs, repack, |(repacked, seconds)| {
        bar.suspend(|| match repacked {
            Ok((shard, derived)) => {
                totals.written += usize::from(shard.written.is_some());
                totals.source_bytes += shard.source.shard_bytes;
                totals.bytes += shard.shard_bytes;
                output.print(|| print(&shard, derived.as_ref(), seconds, args));
            }
            Err(error) => {
                totals.failed += 1;
                tell!("maskstream: {}", in_flags(&error));
            }
        });
    })?;
    bar.finish_and_clear();
    let Totals { written, failed, source_bytes, bytes } = totals;
    if !args.json {
        let up_to_date = paths.len() - written - failed;
        output.line(format_args!(
            "{written} shards written, {up_to_date} up to date, {failed} failed: {} -> {} in {:.1} s",
            size(source_bytes),
            size(bytes),
            start.elapsed().as_secs_f64()
        ));
        if derive.is_some() {
            output.line("LOSSY: the images were resized and encoded again; keep the originals");
        }
    }
    output.finish(match failed {
        0 => Ok(()),
        _ => Err(format!(
            "{failed} of {} shards could not be repacked: run the command again when the errors above are resolved; \
             --skip N accepts damaged shards",
            paths.len()
        )
        .into()),
    })
}

impl Args {
    /// How images are made smaller; `None` if they stay as they are.
    fn derive(&self) -> Option<Derive> {
        let derive = Derive::new(self.longest_side?.into()).quality(self.quality);
        Some(derive.max_image_pixels(self.max_image_pixels))
    }
}

/// Refuses to write what the command reads: another shard, or an index file.
fn check_targets(args: &Args, paths: &[PathBuf]) -> Outcome {
    let mut inputs = HashMap::new();
    for path in paths {
        inputs.insert(FileId::of(path), path.clone());
        inputs.extend(args.shards.sidecar().path(path).map(|sidecar| (FileId::of(&sidecar), sidecar)));
    }
    for name in paths.iter().filter_map(|path| path.file_name()) {
        let shard = args.output.join(name);
        let index = Sidecar::Beside.path(&shard);
        for written in [Some(shard), index].into_iter().flatten() {
            if let Some(input) = inputs.get(&FileId::of(&written)) {
                let needed = target::needed(&written, input);
                return Err(format!("{needed}: choose another directory, or it would overwrite itself").into());
            }
        }
    }
    Ok(())
}

/// Refuses two shards of the same file name, because the output directory cannot hold both.
fn check_names(paths: &[PathBuf]) -> Outcome {
    let mut by_name = HashMap::new();
    for path in paths {
        if let Some(other) = by_name.insert(path.file_name(), path) {
            let text = format!("{} and {} have the same file name", other.display(), path.display());
            return Err(format!("{text}: repack them into different directories").into());
        }
    }
    Ok(())
}

fn print(shard: &RepackReport, derived: Option<&DeriveReport>, seconds: f64, args: &Args) -> Outcome {
    let RepackReport { path, shard_bytes, written, source, .. } = shard;
    let outcome = match written {
        Some(reason) => format!("written: {reason}"),
        None => "up to date".to_owned(),
    };
    if args.json {
        let findings: Vec<_> = source.findings.iter().map(ToString::to_string).collect();
        let line = json!({
            "shard": source.path.display().to_string(), "repacked": path.display().to_string(), "outcome": outcome,
            "samples": source.kept_samples, "annotations": source.annotations,
            "missing_samples": source.left_out.damaged(),
            "source_bytes": source.shard_bytes, "bytes": shard_bytes, "seconds": seconds, "findings": findings,
            "lossy": derived.is_some(), "derived": derived.map(|derived| json!({
                "longest_side": args.longest_side, "quality": args.quality, "resized": derived.resized,
                "kept": derived.kept,
                "unreadable": derived.unreadable.iter().map(ToString::to_string).collect::<Vec<_>>(),
            })),
        });
        say!("{line}");
        return Ok(());
    }
    let (samples, bytes) = (source.kept_samples, size(*shard_bytes));
    say!("{}: {samples} samples, {bytes} in {seconds:.1} s, {outcome}", path.display());
    if source.left_out.damaged() > 0 {
        say!("  {} samples are missing", source.left_out.damaged());
    }
    for finding in &source.findings {
        say!("  {finding}");
    }
    if let (Some(DeriveReport { resized, kept, unreadable, .. }), Some(side)) = (derived, args.longest_side) {
        let quality = args.quality;
        say!("  LOSSY: {resized} images resized to {side} at quality {quality}, {kept} kept: no larger");
        for error in unreadable {
            say!("{}", wrap(&format!("  kept, cannot be decoded: {}", unbroken(error))));
        }
    }
    Ok(())
}

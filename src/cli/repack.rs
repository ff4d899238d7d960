//! `maskstream repack`. Comes in: shards and a directory. Goes out: plain shards in it with their sidecars, and a line
//! for each. Fails if a shard is damaged, cannot be read or cannot be written; all others are repacked nevertheless.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Instant;

use maskstream::OnCorrupt;
use maskstream::index::{IfExists, Indexer, RepackReport, resolve_patterns};
use serde_json::json;

use super::args::ShardArgs;
use super::progress::Share;
use super::task::TaskArgs;
use super::{Outcome, Words, parallel, progress};

/// Write shards anew as plain tar files in which the image and the json of each sample lie side by side
///
/// Reading then needs no inflating, and one read per sample. Every member is compared with its checksum on the way, and
/// each new shard is read once more before it gets its name. A shard that is there already, with an index that says the
/// same as that of its source, is left as it is: after an interruption, the same command goes on where it was. Members
/// that make no sound sample are left out and named.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    shards: ShardArgs,
    /// Directory for the repacked shards, which keep their file names, and for their index files
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    #[command(flatten)]
    task: TaskArgs,
    /// Write also those that are there already
    #[arg(long)]
    force: bool,
    /// Use the sound samples of damaged shards as long as not more than this many of a shard are missing
    #[arg(long, default_value_t = 0, value_name = "N")]
    skip: u64,
    /// Shards at a time. Two keep a disk busy: one is inflated or checked while the other one is written. More help
    /// where shards are gzip streams and the disks are fast
    #[arg(long, default_value = "2", value_name = "N")]
    jobs: NonZeroUsize,
    /// One JSON object per shard
    #[arg(long)]
    json: bool,
}

/// Sums over the shards.
#[derive(Default)]
struct Totals {
    written: usize,
    failed: usize,
    source_bytes: u64,
    bytes: u64,
}

pub(super) fn run(args: &Args) -> Outcome {
    let start = Instant::now();
    let paths = resolve_patterns(&args.shards.shards)?;
    check_names(&paths)?;
    let (paths, task) = args.task.take(paths);
    let mut words = Words::default();
    if let (Some(task), false) = (task, args.json) {
        words.line(task)?;
    }
    let existing = if args.force { IfExists::Replace } else { IfExists::Keep };
    let on_corrupt = if args.skip > 0 { OnCorrupt::Skip { budget: args.skip } } else { OnCorrupt::Stop };
    let bar = progress::bar(progress::total_bytes(&paths), "repacking", "bytes");
    let repack = |path: &Path| {
        let (start, share) = (Instant::now(), Share::of(&bar, path));
        let indexer = Indexer::new().sidecar(args.shards.sidecar()).on_corrupt(on_corrupt);
        let repacked = indexer.progress(move |bytes| share.advance(bytes)).repack(path, &args.output, existing);
        (repacked, start.elapsed().as_secs_f64())
    };
    let mut totals = Totals::default();
    parallel::each(&paths, args.jobs, repack, |(repacked, seconds)| {
        bar.suspend(|| match repacked {
            Ok(shard) => {
                totals.written += usize::from(shard.written.is_some());
                totals.source_bytes += shard.source.shard_bytes;
                totals.bytes += shard.shard_bytes;
                words.say(|| print(&shard, seconds, args.json))
            }
            Err(error) => {
                totals.failed += 1;
                eprintln!("maskstream: {error}");
                Ok(())
            }
        })
    })?;
    bar.finish_and_clear();
    let Totals { written, failed, source_bytes, bytes } = totals;
    if !args.json {
        let up_to_date = paths.len() - written - failed;
        words.line(format_args!(
            "{written} shards written, {up_to_date} up to date, {failed} failed: {:.1} MB -> {:.1} MB in {:.1} s",
            source_bytes as f64 / 1e6,
            bytes as f64 / 1e6,
            start.elapsed().as_secs_f64()
        ))?;
    }
    if failed > 0 {
        return Err(format!("{failed} of {} shards could not be repacked", paths.len()).into());
    }
    Ok(())
}

/// One directory cannot hold two files of the same name.
fn check_names(paths: &[PathBuf]) -> Outcome {
    let mut by_name = HashMap::new();
    for path in paths {
        if let Some(other) = by_name.insert(path.file_name(), path) {
            let text = format!("{} and {} have the same file name", other.display(), path.display());
            return Err(format!("{text}: repack them into directories of their own").into());
        }
    }
    Ok(())
}

fn print(shard: &RepackReport, seconds: f64, json: bool) -> Outcome {
    let RepackReport { path, shard_bytes, written, source, .. } = shard;
    let outcome = match written {
        Some(reason) => format!("written: {reason}"),
        None => "up to date".to_owned(),
    };
    if json {
        let findings: Vec<_> = source.findings.iter().map(ToString::to_string).collect();
        let line = json!({
            "shard": source.path.display().to_string(), "repacked": path.display().to_string(), "outcome": outcome,
            "samples": source.samples, "annotations": source.annotations, "missing_samples": source.missing_samples,
            "source_bytes": source.shard_bytes, "bytes": shard_bytes, "seconds": seconds, "findings": findings,
        });
        say!("{line}");
        return Ok(());
    }
    let (from, to) = (source.shard_bytes as f64 / 1e6, *shard_bytes as f64 / 1e6);
    say!("{}: {} samples, {from:.1} MB -> {to:.1} MB in {seconds:.1} s, {outcome}", path.display(), source.samples);
    if source.missing_samples > 0 {
        say!("  {} samples are missing", source.missing_samples);
    }
    for finding in &source.findings {
        say!("  {finding}");
    }
    Ok(())
}

//! `maskstream index`. Comes in: shards. Goes out: their sidecars, and a line for each shard. Fails if a shard cannot
//! be read or is damaged, or its sidecar cannot be written; all others are indexed nevertheless.

use std::num::NonZeroUsize;
use std::thread::available_parallelism;
use std::time::Instant;

use maskstream::index::{IndexStatus, IndexedShard, Indexer, resolve_patterns};

use super::args::ShardArgs;
use super::progress::Share;
use super::task::TaskArgs;
use super::{Outcome, Words, parallel, progress};

/// Read shards once and save where their samples lie, so that later runs start at once
///
/// An index that fits its shard (same size and modification time) is left as it is, and each index is saved as soon as
/// it is complete: after an interruption, the same command goes on where it was. Training programs build missing
/// indexes by themselves; doing it beforehand uses all cores and shows what is wrong with a shard.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    shards: ShardArgs,
    #[command(flatten)]
    task: TaskArgs,
    /// Threads; by default one per core
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// One JSON object per shard
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Outcome {
    let start = Instant::now();
    let (paths, task) = args.task.take(resolve_patterns(&args.shards.shards)?);
    let mut words = Words::default();
    if let (Some(task), false) = (task, args.json) {
        words.line(task)?;
    }
    let jobs = args.jobs.or(available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN);
    // A plain shard's members are read on this pool, by all shards under way together.
    rayon::ThreadPoolBuilder::new().num_threads(jobs.get()).build_global()?;
    let bar = progress::bar(progress::total_bytes(&paths), "indexing", "bytes");
    let index = |path: &std::path::Path| {
        let share = Share::of(&bar, path);
        let indexer = Indexer::new().sidecar(args.shards.sidecar());
        indexer.progress(move |bytes| share.advance(bytes)).index(path)
    };
    let (mut bad, mut unsaved) = (0, 0);
    parallel::each(&paths, jobs, index, |result| {
        bar.suspend(|| match result {
            Ok(shard) => {
                if let IndexStatus::Unsaved(reason) = &shard.status {
                    eprintln!("maskstream: {}: its index could not be saved: {reason}", shard.path.display());
                    unsaved += 1;
                }
                bad += usize::from(shard.index.findings().iter().any(|finding| finding.kind.is_damage()));
                words.say(|| print(&shard, args.json))
            }
            Err(error) => {
                bad += 1;
                eprintln!("maskstream: {error}");
                Ok(())
            }
        })
    })?;
    bar.finish_and_clear();
    if !args.json {
        words.line(format_args!("{} shards in {:.1} s", paths.len(), start.elapsed().as_secs_f64()))?;
    }
    match (bad, unsaved) {
        (0, 0) => Ok(()),
        (0, _) => Err(format!("the indexes of {unsaved} of {} shards could not be saved", paths.len()).into()),
        _ => Err(format!("{bad} of {} shards are damaged or cannot be read", paths.len()).into()),
    }
}

fn print(shard: &IndexedShard, json: bool) -> Outcome {
    let IndexedShard { path, status, index, .. } = shard;
    let status = match status {
        IndexStatus::Loaded => "up to date".to_owned(),
        IndexStatus::Built(reason) => format!("indexed: {reason}"),
        IndexStatus::Unsaved(reason) => format!("NOT SAVED: {reason}"),
        other => format!("{other:?}"),
    };
    let (samples, annotations) = (index.entries().len(), index.annotations());
    if json {
        let findings: Vec<_> = index.findings().iter().map(ToString::to_string).collect();
        let line = serde_json::json!({
            "shard": path.display().to_string(), "samples": samples, "annotations": annotations, "index": status, "findings": findings,
        });
        say!("{line}");
        return Ok(());
    }
    say!("{}: {samples} samples, {annotations} annotations, {status}", path.display());
    for finding in index.findings() {
        say!("  {finding}");
    }
    Ok(())
}

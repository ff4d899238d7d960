//! `maskstream index`. Comes in: shards. Goes out: their sidecars, and a line for each shard. Fails if a shard cannot
//! be read or is damaged; all others are indexed nevertheless.

use std::time::Instant;

use maskstream::ShardSet;
use maskstream::shard::{IndexedShard, Origin, expand};
use rayon::prelude::*;

use super::args::ShardArgs;
use super::{Outcome, progress};

/// Read shards once and save where their samples lie, so that later runs start at once
///
/// An index that fits its shard (same size and modification time) is left as it is. Training programs build missing
/// indexes by themselves; doing it beforehand uses all cores and shows what is wrong with a shard.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    shards: ShardArgs,
    /// Threads; by default one per core
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// One JSON object per shard
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Outcome {
    let paths = expand(&args.shards.shards)?;
    let bar = progress::bar(progress::total_bytes(&paths), "indexing", "bytes");
    let advance = bar.clone();
    let options = ShardSet::options().sidecar(args.shards.sidecar()).progress(move |bytes| advance.inc(bytes));
    let threads = rayon::ThreadPoolBuilder::new().num_threads(args.jobs.unwrap_or(0)).build()?;
    let start = Instant::now();
    let results: Vec<_> = threads.install(|| paths.par_iter().map(|path| options.index(path)).collect());
    bar.finish_and_clear();

    let mut bad = 0;
    for result in &results {
        match result {
            Ok(shard) => {
                bad += usize::from(shard.index.problems().iter().any(|problem| problem.kind.is_damage()));
                print(shard, args.json)?;
            }
            Err(error) => {
                bad += 1;
                eprintln!("maskstream: {error}");
            }
        }
    }
    if !args.json {
        say!("{} shards in {:.1} s", results.len(), start.elapsed().as_secs_f64());
    }
    if bad > 0 {
        return Err(format!("{bad} of {} shards are damaged or cannot be read", results.len()).into());
    }
    Ok(())
}

fn print(shard: &IndexedShard, json: bool) -> Outcome {
    let IndexedShard { path, origin, index, .. } = shard;
    let origin = match origin {
        Origin::Loaded => "up to date".to_owned(),
        Origin::Built(reason) => format!("indexed: {reason}"),
        Origin::Unsaved(reason) => format!("NOT SAVED: {reason}"),
        other => format!("{other:?}"),
    };
    let (samples, annotations) = (index.entries().len(), index.annotations());
    if json {
        let problems: Vec<_> = index.problems().iter().map(ToString::to_string).collect();
        let line = serde_json::json!({
            "shard": path.display().to_string(), "samples": samples, "annotations": annotations, "index": origin, "problems": problems,
        });
        say!("{line}");
        return Ok(());
    }
    say!("{}: {samples} samples, {annotations} annotations, {origin}", path.display());
    for problem in index.problems() {
        say!("  {problem}");
    }
    Ok(())
}

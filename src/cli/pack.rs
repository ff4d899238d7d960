//! `maskstream pack`: makes plain shards, with their indexes, of directories of extracted samples, and prints a line
//! for each shard. A shard that fails does not keep the others from being packed.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Instant;

use maskstream::OnCorrupt;
use maskstream::index::{IfExists, PackPlan, PackReport, Packer, Stray};
use serde_json::json;

use super::advice::in_flags;
use super::output::{Outcome, ProgressOutput, counted, size, unbroken, wrap};
use super::progress::ShardProgress;
use super::size::{parse_count, parse_size};
use super::task::TaskArgs;
use super::{parallel, progress};

/// Pack directories of extracted samples, sa_1.jpg beside sa_1.json, into shards
///
/// Training programs read tar shards, not directories: a shard of 11,000 samples is one file instead of 22,000. Packed
/// shards are plain tar files in which the image and the json of each sample are neighbours, and have indexes.
///
/// A sample is an image (.jpg, .jpeg) and a .json file of the same name in the same directory. Directories inside of
/// DIR are packed too. Samples are in the order of their names, with numbers by their value: sa_2 before sa_10. The
/// same files give the same shards, byte for byte, on every machine and with any --task and --jobs.
///
/// Each shard is read back and compared with the checksums of the bytes that were read from the files before it gets
/// its final name. A shard that has the names and lengths of its files is kept, if they have not changed since and its
/// index is there; otherwise their bytes are compared. So an interrupted command can simply be run again. No file in
/// DIR is changed.
///
/// Prints how many files there are, those that belong to no sample, a line for each shard, and a summary.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    /// Directories of extracted samples, with all directories in them
    ///
    /// Links are followed. No two samples may have the same name.
    #[arg(required = true, value_name = "DIR")]
    dirs: Vec<PathBuf>,
    /// Directory of the shards, sa_000000.tar, sa_000001.tar, ..., and of their indexes; created if necessary
    ///
    /// If it is in DIR, it is not packed itself.
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    /// Largest size of a shard: 500M, 1GB, 4GiB
    ///
    /// The default is the size of the official shards. Smaller ones are indexed and packed by more machines at a time,
    /// and less work is lost when the command is interrupted. A single sample that is larger has a shard of its own.
    #[arg(long, default_value = "11GB", value_name = "SIZE", value_parser = shard_size, conflicts_with = "samples")]
    shard_size: u64,
    /// Samples per shard, instead of a size
    ///
    /// Then the sizes of the files are not looked at beforehand, which every task would do for all files. That saves
    /// time where very many files are on a network file system.
    #[arg(long, value_name = "N", value_parser = parse_count::<1_048_576>)]
    samples: Option<usize>,
    #[command(flatten)]
    task: TaskArgs,
    /// Overwrite files of the names of the shards in OUT, whatever they are
    ///
    /// By default, shards that are up to date are kept, and any others are an error.
    #[arg(long)]
    force: bool,
    /// Leave out bad samples, if they are at most this many of a shard
    ///
    /// That is a sample with an empty or unreadable file, with json that cannot be parsed, or with an image that is no
    /// JPEG, is cut short, or is not of the size that the json says. By default, a shard with one is not packed. Bad
    /// samples do not change which samples the other shards have.
    #[arg(long, default_value_t = 0, value_name = "N")]
    skip: u64,
    /// Number of shards to write at a time
    ///
    /// Two keep a disk busy: one is read back while the other one is written.
    #[arg(long, default_value = "2", value_name = "N", value_parser = parallel::jobs)]
    jobs: NonZeroUsize,
    /// Number of threads that read files, for all shards together
    ///
    /// They mostly wait: for network file systems, more of them may be faster, and for hard disks fewer.
    #[arg(long, default_value = "16", value_name = "N", value_parser = parallel::jobs)]
    readers: NonZeroUsize,
    /// Print one JSON object per shard, and one of the totals, for programs
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  maskstream pack sa1b -o shards
  maskstream pack sa1b/sa_0000?? -o shards --shard-size 2GB
  maskstream pack sa1b -o shards --task $SLURM_ARRAY_TASK_ID/8

Exit status: 0 if all shards are packed or up to date, also if some files belong
to no sample; 1 if a shard has bad samples, cannot be written or is another file
(all others are packed), or if there is no sample; 2 if the arguments are wrong.";

/// Files and bad samples that text output names, of each kind and shard.
const MAX_NAMED: usize = 3;
const MAX_BAD: usize = 20;

/// Totals over all shards of this task.
#[derive(Default)]
struct Totals {
    written: usize,
    failed: usize,
    samples: usize,
    bad: usize,
    bytes: u64,
}

/// Reads `--shard-size`.
fn shard_size(text: &str) -> Result<u64, String> {
    match parse_size(text)? {
        0 => Err("a shard has at least one sample: give its largest size, such as 1GB".to_owned()),
        bytes => Ok(bytes),
    }
}

pub(super) fn run(args: &Args) -> Outcome {
    let start = Instant::now();
    // The files are listed, looked at and read on this pool.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(args.readers.get()).build_global();
    pool.map_err(|e| parallel::no_threads(args.readers, &e))?;
    let plan = plan(args)?;
    let paths: Vec<PathBuf> = plan.shards().iter().map(|shard| shard.path.clone()).collect();
    let number = |path: &Path| paths.binary_search_by(|other| other.as_path().cmp(path)).unwrap_or_default();
    let (own, task) = args.task.take(paths.clone());
    let mut output = ProgressOutput::default();
    output.print(|| print_plan(&plan, args));
    if let (Some(task), false) = (task, args.json) {
        output.line(task);
    }
    let numbers: Vec<usize> = own.iter().map(|path| number(path)).collect();
    plan.check_space(&numbers)?;

    let existing = if args.force { IfExists::Replace } else { IfExists::Keep };
    let all = numbers.iter().map(|&number| plan.shards()[number].samples as u64).sum();
    let bar = progress::bar(all, "packing", "samples");
    let pack = |path: &Path| {
        let (start, number) = (Instant::now(), number(path));
        let share = ShardProgress::of(&bar, plan.shards()[number].samples as u64);
        let packed = plan.write(number, existing, &|samples| share.advance(samples));
        (packed, start.elapsed().as_secs_f64())
    };
    let mut totals = Totals::default();
    parallel::for_each(&own, args.jobs, pack, |(packed, seconds)| {
        bar.suspend(|| match packed {
            Ok(shard) => {
                totals.written += usize::from(shard.written.is_some());
                totals.samples += shard.samples;
                totals.bad += shard.bad.len();
                totals.bytes += shard.shard_bytes;
                output.print(|| print(&shard, seconds, args.json));
            }
            Err(error) => {
                totals.failed += 1;
                tell!("maskstream: {}", in_flags(&error));
            }
        });
    })?;
    bar.finish_and_clear();
    let failed = totals.failed;
    output.print(|| print_totals(&totals, &plan, own.len(), start.elapsed().as_secs_f64(), args.json));
    output.finish(match failed {
        0 => Ok(()),
        _ => Err(format!(
            "{failed} of {} shards could not be packed: run the command again when the errors above are resolved; \
             --skip N leaves out bad samples",
            own.len()
        )
        .into()),
    })
}

/// Lists the files.
fn plan(args: &Args) -> Result<PackPlan, maskstream::Error> {
    let on_corrupt = if args.skip > 0 { OnCorrupt::skip(args.skip) } else { OnCorrupt::Stop };
    let packer = Packer::new().on_corrupt(on_corrupt);
    let packer = match args.samples {
        Some(samples) => packer.samples(samples),
        None => packer.shard_bytes(args.shard_size),
    };
    let bar = progress::counter("listing", "files and sizes");
    let plan = packer.plan(&args.dirs, &args.output, &|files| bar.inc(files));
    bar.finish_and_clear();
    plan
}

/// What was found, and what is not packed.
fn print_plan(plan: &PackPlan, args: &Args) -> Outcome {
    if args.json {
        return Ok(());
    }
    let (files, samples, shards) = (plan.files(), plan.samples(), plan.shards().len());
    say!(
        "{}",
        wrap(&format!(
            "{}: {} for {}",
            counted(files as usize, "file"),
            counted(samples, "sample"),
            counted(shards, "shard")
        ))
    );
    for Stray { kind, count, first, .. } in plan.strays() {
        let named: Vec<String> = first.iter().take(MAX_NAMED).map(|path| unbroken(path.display())).collect();
        let more = if *count > named.len() as u64 { ", ..." } else { "" };
        say!("{}", wrap(&format!("  not packed: {count} x {kind}: {}{more}", named.join(", "))));
    }
    Ok(())
}

fn print(shard: &PackReport, seconds: f64, as_json: bool) -> Outcome {
    let PackReport { path, samples, shard_bytes, written, bad, .. } = shard;
    let outcome = match written {
        Some(reason) => format!("written: {reason}"),
        None => "up to date".to_owned(),
    };
    if as_json {
        let bad: Vec<_> = bad.iter().map(ToString::to_string).collect();
        let line = json!({
            "shard": path.display().to_string(), "outcome": outcome, "samples": samples, "bytes": shard_bytes,
            "bad_samples": bad, "seconds": seconds,
        });
        say!("{line}");
        return Ok(());
    }
    let (path, bytes) = (unbroken(path.display()), size(*shard_bytes));
    say!("{}", wrap(&format!("{path}: {samples} samples, {bytes} in {seconds:.1} s, {outcome}")));
    for sample in bad.iter().take(MAX_BAD) {
        say!("{}", wrap(&format!("  left out: {}: {}", unbroken(sample.path.display()), sample.reason)));
    }
    if bad.len() > MAX_BAD {
        say!("  left out: ... and {} more: --json lists all", bad.len() - MAX_BAD);
    }
    Ok(())
}

fn print_totals(totals: &Totals, plan: &PackPlan, shards: usize, seconds: f64, as_json: bool) -> Outcome {
    let Totals { written, failed, samples, bad, bytes } = totals;
    let up_to_date = shards - written - failed;
    if as_json {
        let stray = |Stray { kind, count, first, .. }: &Stray| {
            let first: Vec<_> = first.iter().map(|path| path.display().to_string()).collect();
            json!({"cause": kind.to_string(), "count": count, "first": first})
        };
        let line = json!({
            "totals": {
                "files": plan.files(), "samples": samples, "bad_samples": bad, "bytes": bytes, "shards": shards,
                "written": written, "up_to_date": up_to_date, "failed": failed, "seconds": seconds,
                "not_packed": plan.strays().iter().map(stray).collect::<Vec<_>>(),
            },
        });
        say!("{line}");
        return Ok(());
    }
    let left_out = if *bad > 0 { format!(", {bad} bad ones left out") } else { String::new() };
    let line = format!(
        "{written} shards written, {up_to_date} up to date, {failed} failed: {samples} samples{left_out}, {} in \
         {seconds:.1} s",
        unbroken(size(*bytes))
    );
    say!("{}", wrap(&line));
    Ok(())
}

//! `maskstream bench`: measures the loader on this machine, stage by stage.

use std::time::{Duration, Instant};

use maskstream::{EpochReport, Loader, LoaderStats, PinState};
use serde::Serialize;

use super::args::LoaderArgs;
use super::output::{Outcome, counted, size, wrap};
use super::progress;
use super::size::parse_positive;
use super::stores::{Meter, Traffic};
use super::warnings::warn_unsaved;

/// Measure how fast the loader makes batches on this machine, and where the time goes
///
/// Runs the loader as a training program would, but drops each batch at once. Shards without an index are indexed
/// first.
///
/// For each epoch it prints samples per second, the time until the first batch, a report that accounts for every
/// sample, the milliseconds of CPU time that each step takes per sample (read, inflate, verify, json, masks, image),
/// and the peak memory. CPU time depends less on other load than wall time. The lines marked (wall)
/// are wall time; a training program that computes between batches waits less than shown.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    loader: LoaderArgs,
    /// Stop each epoch after this many batches [default: all]
    #[arg(long, value_name = "N", value_parser = parse_positive)]
    batches: Option<u64>,
    /// Number of epochs; the first one also warms up the caches
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = parse_positive)]
    epochs: u64,
    /// Start without waiting for indexes
    ///
    /// Shards without an index are then indexed during the first epoch, which is not shuffled.
    #[arg(long)]
    stream: bool,
    /// Only read the bytes of the samples, decode nothing: how fast the disk or the network is
    #[arg(long, conflicts_with = "stream")]
    read_only: bool,
    /// Print one JSON object per epoch, for programs
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  maskstream bench 'sa1b/*.tar'
  maskstream bench sa1b --batches 100 --image-size 512 --num-workers 8
  maskstream bench sa1b --json | jq .samples_per_second
  maskstream bench sa1b --read-only --shuffle

Exit status: 0 on success; 1 if a shard or a sample cannot be read (--skip N
tolerates some), or if no sample passes the filter; 2 if the arguments are
wrong.";

/// Measurements of one epoch. Times are milliseconds per sample.
#[derive(Serialize)]
struct Figures {
    epoch: u64,
    batches: u64,
    /// Samples of the whole epoch: delivered, skipped, outstanding and lost. Those dropped by `--drop-last` are not
    /// among them.
    planned: Option<u64>,
    samples: u64,
    skipped: u64,
    outstanding: u64,
    dropped: u64,
    /// Samples that the shards hold, and those of them that are selected, left out by indexing, or unverified.
    held: u64,
    selected: u64,
    left_out: u64,
    unverified: u64,
    seconds: f64,
    /// Time until the first batch was received.
    first_batch_seconds: f64,
    samples_per_second: f64,
    stages_ms: Vec<(&'static str, f64)>,
    /// Bytes per sample that the steps processed; `batches`: of what was delivered.
    stages_bytes: Vec<(&'static str, f64)>,
    /// CPU time of the whole process, including the stages above.
    process_cpu_ms: f64,
    /// `process_cpu_ms` divided by the CPU time of the step `image`.
    cpu_over_image: f64,
    wait_ms: f64,
    /// Wall time of reading: on a slow disk, much more than the CPU time of `read`.
    read_wall_ms: f64,
    batch_bytes: usize,
    pin_state: String,
    peak_memory_bytes: Option<u64>,
    /// What limits the speed, in a sentence.
    verdict: Option<String>,
    /// What has gone over the network, if anything has.
    network: Option<Traffic>,
}

/// Measurements of an epoch of which nothing was decoded.
#[derive(Serialize)]
struct ReadFigures {
    epoch: u64,
    samples: u64,
    seconds: f64,
    /// Time until the first sample was received.
    first_sample_seconds: f64,
    samples_per_second: f64,
    /// Bytes received, compressed or not.
    bytes: u64,
    process_cpu_seconds: f64,
    peak_memory_bytes: Option<u64>,
    network: Option<Traffic>,
}

pub(super) fn run(args: &Args) -> Outcome {
    let loader = if args.stream { args.loader.lazy_loader()? } else { args.loader.loader()? };
    if let Some(warning) = loader.warning() {
        tell!("maskstream: {warning}");
    }
    if !args.json {
        announce(&loader)?;
    }
    for number in 0..args.epochs {
        if args.read_only {
            read_only(args, &loader, number)?;
            continue;
        }
        let (meter, wall, cpu) = (Meter::start(), Instant::now(), process_cpu());
        let mut epoch = loader.epoch(number)?;
        let most = args.batches.into_iter().chain(epoch.steps()).min();
        let bar = progress::bar(most.unwrap_or(0), "batches", "batches");
        let (mut pin_state, mut first_batch) = (None, Duration::ZERO);
        let mut failure = None;
        for batch in epoch.by_ref().take(most.map_or(usize::MAX, |most| most as usize)) {
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            };
            if pin_state.is_none() {
                (pin_state, first_batch) = (Some(batch.pin_state().clone()), wall.elapsed());
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        if let Some(error) = failure {
            tell!("maskstream: {}", epoch.report());
            return Err(error.into());
        }
        let stats = epoch.stats();
        let seconds = wall.elapsed().as_secs_f64();
        let report = epoch.report();
        // Samples in flight when a shortened epoch ends are decoded as well; the CPU time includes them.
        drop(epoch);
        let mut figures = figures(&report, &stats, seconds, process_cpu() - cpu, pin_state, loader.layout().bytes());
        figures.first_batch_seconds = first_batch.as_secs_f64();
        figures.network = meter.read();
        if args.json {
            say!("{}", serde_json::to_string(&figures)?);
        } else {
            print(&figures, &report)?;
        }
    }
    if args.stream {
        warn_unsaved(loader.reports().iter().map(|report| &report.status));
    }
    Ok(())
}

/// What is about to be measured.
fn announce(loader: &Loader) -> Outcome {
    let (layout, plan) = (loader.layout(), loader.memory_plan());
    let (Some(set), Some(steps)) = (loader.shards(), loader.steps()) else {
        say!("{}", wrap(&format!("memory, estimated before indexing: {plan}")));
        return Ok(());
    };
    say!(
        "{} in {}, {} of {} ({} each)",
        counted(set.len() as usize, "sample"),
        counted(set.reports().len(), "shard"),
        if steps == 1 { "1 batch".to_owned() } else { format!("{steps} batches") },
        layout.batch_size(),
        size(layout.bytes() as u64)
    );
    let derived: usize = set.reports().map(|report| report.derived_samples).sum();
    if derived > 0 {
        say!("LOSSY: {derived} images of these shards are derived: `maskstream inspect` tells how");
    }
    say!("{}", wrap(&format!("memory: {plan} (limit: {})", size(plan.max_bytes))));
    Ok(())
}

fn figures(
    report: &EpochReport,
    stats: &LoaderStats,
    seconds: f64,
    cpu: Duration,
    pin_state: Option<PinState>,
    batch_bytes: usize,
) -> Figures {
    let samples = stats.decoded.max(1) as f64;
    let per_sample = |time: Duration| time.as_secs_f64() * 1e3 / samples;
    let process_cpu_ms = per_sample(cpu);
    Figures {
        epoch: report.epoch,
        batches: stats.batches,
        planned: report.planned,
        samples: report.delivered,
        skipped: report.skipped,
        outstanding: report.outstanding,
        dropped: report.dropped,
        held: report.held,
        selected: report.selected,
        left_out: report.left_out.total(),
        unverified: report.unverified,
        seconds,
        first_batch_seconds: 0.0,
        samples_per_second: stats.delivered as f64 / seconds,
        stages_ms: stats.stages.named().map(|(name, time)| (name, per_sample(time))).to_vec(),
        stages_bytes: stats.bytes.named().map(|(name, bytes)| (name, bytes as f64 / samples)).to_vec(),
        process_cpu_ms,
        cpu_over_image: process_cpu_ms / per_sample(stats.stages.image),
        wait_ms: per_sample(stats.wait),
        read_wall_ms: per_sample(stats.read_wall),
        batch_bytes,
        pin_state: pin_state.map_or_else(|| "no batch".to_owned(), |state| state.to_string()),
        peak_memory_bytes: peak_memory_bytes(),
        verdict: stats.verdict().map(|verdict| verdict.to_string()),
        network: None,
    }
}

fn print(figures: &Figures, report: &EpochReport) -> Outcome {
    let Figures { epoch, batches, samples, seconds, samples_per_second, .. } = figures;
    say!("epoch {epoch}: {batches} batches, {samples} samples in {seconds:.2} s: {samples_per_second:.1} samples/s");
    say!("  first batch after {:.2} s", figures.first_batch_seconds);
    say!("{}", wrap(&format!("  {report}")));
    let total: f64 = figures.stages_ms.iter().map(|(_, ms)| ms).sum();
    say!("  {:10} {:>12} {:>7} {:>10}", "step", "CPU ms/sample", "share", "kB/sample");
    for (name, ms) in &figures.stages_ms {
        let bytes = figures.stages_bytes.iter().find(|(step, _)| step == name);
        let bytes = bytes.map_or_else(String::new, |(_, bytes)| format!("{:.1}", bytes / 1e3));
        say!("{}", format!("  {name:10} {ms:13.3} {:6.1}% {bytes:>10}", 100.0 * ms / total).trim_end());
    }
    say!("  {:10} {total:13.3}", "all steps");
    say!("  {:10} {:13.3}   {:.2} x image", "process", figures.process_cpu_ms, figures.cpu_over_image);
    say!("  {:10} {:13.3}   (wall) waiting for the loader", "wait", figures.wait_ms);
    say!("  {:10} {:13.3}   (wall) reading the shards", "read", figures.read_wall_ms);
    say!("{}", wrap(&format!("  batches: {}, {}", size(figures.batch_bytes as u64), figures.pin_state)));
    if let Some(bytes) = figures.peak_memory_bytes {
        say!("  peak memory: {} resident", size(bytes));
    }
    if let Some(verdict) = &figures.verdict {
        say!("{}", wrap(&format!("  verdict: {verdict}")));
    }
    say_traffic(figures.network.as_ref(), *seconds)
}

fn say_traffic(network: Option<&Traffic>, seconds: f64) -> Outcome {
    for line in network.iter().flat_map(|network| network.lines(seconds)) {
        say!("{}", wrap(&line));
    }
    Ok(())
}

/// Reads an epoch and decodes nothing.
fn read_only(args: &Args, loader: &Loader, epoch: u64) -> Outcome {
    let (meter, wall, cpu) = (Meter::start(), Instant::now(), process_cpu());
    let all = loader.plan(epoch).map_or(u64::MAX, |plan| plan.samples_from(0));
    let most = args.batches.map_or(all, |batches| batches.saturating_mul(loader.layout().batch_size() as u64).min(all));
    let bar = progress::bar(most, "reading", "samples");
    let (mut samples, mut bytes, mut first) = (0, 0, Duration::ZERO);
    loader.read_only(epoch, &mut |of_sample| {
        if samples == 0 {
            first = wall.elapsed();
        }
        samples += 1;
        bytes += of_sample;
        bar.inc(1);
        samples < most
    })?;
    bar.finish_and_clear();
    let seconds = wall.elapsed().as_secs_f64();
    let figures = ReadFigures {
        epoch,
        samples,
        seconds,
        first_sample_seconds: first.as_secs_f64(),
        samples_per_second: samples as f64 / seconds,
        bytes,
        process_cpu_seconds: (process_cpu() - cpu).as_secs_f64(),
        peak_memory_bytes: peak_memory_bytes(),
        network: meter.read(),
    };
    if args.json {
        say!("{}", serde_json::to_string(&figures)?);
        return Ok(());
    }
    say!(
        "epoch {epoch}: {samples} samples, {}, read in {seconds:.2} s: {:.1} samples/s, {:.1} MB/s",
        size(bytes),
        figures.samples_per_second,
        bytes as f64 / 1e6 / seconds
    );
    say!("  first sample after {:.3} s", figures.first_sample_seconds);
    say!(
        "  CPU: {:.2} s, {:.3} s per GB",
        figures.process_cpu_seconds,
        figures.process_cpu_seconds * 1e9 / bytes as f64
    );
    if let Some(bytes) = figures.peak_memory_bytes {
        say!("  peak memory: {} resident", size(bytes));
    }
    say_traffic(figures.network.as_ref(), seconds)
}

fn process_cpu() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
}

/// Peak resident memory, on systems that report it in `/proc`.
fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

//! One measurement: the loader runs with some settings for a while.

use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use maskstream::{Loader, LoaderBuilder, LoaderStats, MemoryPlan, ScaledDecode, ShardSet};

use crate::cli::advice::misuse;

/// Settings to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) num_workers: usize,
    pub(super) prefetch_batches: usize,
    pub(super) chunk_bytes: Option<u64>,
    pub(super) scaled_decode: ScaledDecode,
}

/// What a candidate has reached so far.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    pub(super) candidate: Candidate,
    /// Samples per second of each trial.
    rates: Vec<f64>,
    /// Of the latest trial.
    pub(super) stats: LoaderStats,
    pub(super) memory: MemoryPlan,
    /// Share of the bytes that came from the device, not from the page cache, in the latest trial; `None` where the
    /// system does not tell.
    pub(super) from_device: Option<f64>,
}

impl Measured {
    /// Median of the trials.
    pub(super) fn samples_per_second(&self) -> f64 {
        let mut rates = self.rates.clone();
        rates.sort_by(f64::total_cmp);
        let middle = rates.len() / 2;
        match rates.len() % 2 {
            0 if middle > 0 => (rates[middle - 1] + rates[middle]) / 2.0,
            _ => rates.get(middle).copied().unwrap_or(0.0),
        }
    }
}

/// Runs trials on the same samples.
pub(super) struct Trials {
    builder: LoaderBuilder,
    set: Arc<ShardSet>,
    /// Time of the consumer between two batches.
    step: Duration,
    /// Counts milliseconds.
    bar: ProgressBar,
    /// A new epoch for each trial, so that shuffled trials read other samples.
    epoch: u64,
}

/// Batches of a trial that are not counted, because threads and buffers are only starting.
const WARM_UP: usize = 2;
/// Batches that are counted at least.
const LEAST: usize = 3;

impl Trials {
    pub(super) fn new(builder: LoaderBuilder, set: Arc<ShardSet>, step: Duration, bar: ProgressBar) -> Self {
        Self { builder, set, step, bar, epoch: 0 }
    }

    /// The time of a trial that is meant to take `time`: with a long step, batches take longer.
    pub(super) fn trial_time(&self, time: Duration) -> Duration {
        time.max(self.step * (WARM_UP + LEAST + 1) as u32)
    }

    /// Says how long all trials will take.
    pub(super) fn announce(&self, time: Duration, wanted: Duration) {
        self.bar.set_length(time.as_millis() as u64);
        // Shorter steps are not what takes the time.
        if time > wanted * 2 && self.step >= Duration::from_millis(20) {
            let (time, step) = (time.as_secs(), self.step.as_millis());
            tell!(
                "maskstream: this takes about {time} s, because each step takes {step} ms; lower --step-ms, or give \
                   --num-workers or --prefetch-batches, to try less"
            );
        }
    }

    /// Whether the memory budget allows a candidate.
    pub(super) fn fits(&self, candidate: Candidate) -> bool {
        self.loader(candidate).is_ok()
    }

    /// Measures candidates in turn, `rounds` times, each for about this long. Candidates that need more memory than the
    /// budget are left out.
    ///
    /// # Errors
    /// If a sample cannot be read, or if no candidate is left.
    pub(super) fn measure(
        &mut self,
        candidates: &[Candidate],
        rounds: usize,
        time: Duration,
    ) -> Result<Vec<Measured>, Box<dyn std::error::Error>> {
        let mut found: Vec<Measured> = Vec::new();
        let mut refused = None;
        for &candidate in candidates {
            match self.loader(candidate) {
                Ok(loader) => found.push(Measured {
                    candidate,
                    rates: Vec::new(),
                    stats: LoaderStats::default(),
                    memory: *loader.memory_plan(),
                    from_device: None,
                }),
                Err(error) => refused = Some(error),
            }
        }
        if let (true, Some(error)) = (found.is_empty(), refused) {
            return Err(misuse(error));
        }
        for _ in 0..rounds {
            for measured in &mut found {
                self.run(measured, time)?;
            }
        }
        Ok(found)
    }

    fn loader(&self, candidate: Candidate) -> maskstream::Result<Loader> {
        let Candidate { num_workers, prefetch_batches, chunk_bytes, scaled_decode } = candidate;
        let builder = self.builder.clone().num_workers(num_workers).prefetch_batches(prefetch_batches);
        builder.chunk_bytes(chunk_bytes).scaled_decode(scaled_decode).build(Arc::clone(&self.set))
    }

    /// Runs epochs until they have taken this long together. Whole epochs count as such, with their beginning; the last
    /// one, which is broken off, counts from the end of its warm-up.
    fn run(&mut self, measured: &mut Measured, time: Duration) -> Result<(), Box<dyn std::error::Error>> {
        let loader = self.loader(measured.candidate)?;
        let device = device_bytes();
        let (mut counted, mut samples) = (Duration::ZERO, 0);
        while counted < time {
            let begun = Instant::now();
            let (mut rows, mut last) = (0, begun);
            let (mut since, mut rows_since) = (begun, 0);
            let mut broken_off = None;
            for (number, batch) in loader.epoch(self.epoch)?.enumerate() {
                rows += batch?.valid_rows() as u64;
                let now = Instant::now();
                self.bar.inc((now - last).as_millis() as u64);
                last = now;
                if number < WARM_UP {
                    (since, rows_since) = (now, rows);
                } else if number >= WARM_UP + LEAST && counted + (now - since) >= time {
                    broken_off = Some((now - since, rows - rows_since));
                    break;
                }
                sleep(self.step);
            }
            let (took, rows) = broken_off.unwrap_or_else(|| (begun.elapsed(), rows));
            (counted, samples) = (counted + took, samples + rows);
            self.epoch += 1;
        }
        measured.rates.push(samples as f64 / counted.as_secs_f64().max(1e-9));
        measured.stats = loader.stats();
        let read = device.zip(device_bytes()).map(|(before, after)| after.saturating_sub(before));
        measured.from_device = read.map(|bytes| bytes as f64 / measured.stats.bytes.read.max(1) as f64);
        Ok(())
    }
}

/// Bytes that this process has read from devices, on systems that report them in `/proc`.
fn device_bytes() -> Option<u64> {
    let counts = std::fs::read_to_string("/proc/self/io").ok()?;
    counts.lines().find_map(|line| line.strip_prefix("read_bytes: "))?.trim().parse().ok()
}

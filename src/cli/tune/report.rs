//! What `tune` has found, as text and as JSON.

use maskstream::{Bottleneck, ScaledDecode, Verdict};
use serde::Serialize;

use super::search::{FROM_DEVICE, Found};
use super::trial::{Candidate, Measured};
use crate::cli::output::{Outcome, size, wrap};

/// The settings that were tried, the best ones, and what they reach. Rates are in samples per second.
#[derive(Serialize)]
pub(super) struct Report {
    cores: usize,
    step_ms: u64,
    is_shuffled: bool,
    /// All settings that were tried, in the order of the search.
    tried: Vec<Tried>,
    best: Tried,
    /// The best settings as flags of the command, and as calls of `LoaderBuilder`.
    flags: String,
    code: String,
    /// What decoding reaches if all cores do nothing else, and what one thread reads. `None` if too little was read.
    decoding_ceiling: Option<f64>,
    reading_ceiling: Option<f64>,
    /// What limits the speed of the best settings: `consumer`, `workers`, `source` or `prefetch`.
    limit: Option<&'static str>,
    limit_text: Option<String>,
    /// What the loader takes with the best settings.
    memory_bytes: u64,
    memory_text: String,
    /// Share of the bytes that came from the device, not from the page cache.
    from_device: Option<f64>,
}

/// Settings, and what they have reached.
#[derive(Serialize)]
struct Tried {
    /// Which setting was varied: `num_workers`, `prefetch_batches`, `chunk_bytes` or `scaled_decode`.
    varied: &'static str,
    num_workers: usize,
    prefetch_batches: usize,
    chunk_bytes: Option<u64>,
    scaled_decode: &'static str,
    samples_per_second: f64,
}

impl Report {
    pub(super) fn new(found: &Found, step_ms: u64, cores: usize, is_shuffled: bool) -> Self {
        let Found { workers, prefetch, chunks, decoding, best } = found;
        let groups = [
            ("num_workers", workers),
            ("prefetch_batches", prefetch),
            ("chunk_bytes", chunks),
            ("scaled_decode", decoding),
        ];
        let tried = groups.iter().flat_map(|(varied, all)| all.iter().map(|measured| Tried::new(varied, measured)));
        let Candidate { num_workers, prefetch_batches, chunk_bytes, .. } = best.candidate;
        let (mut flags, mut code) = (
            format!("--num-workers {num_workers} --prefetch-batches {prefetch_batches}"),
            format!(".num_workers({num_workers}).prefetch_batches({prefetch_batches})"),
        );
        if let Some(bytes) = chunk_bytes {
            flags += &format!(" --chunk-bytes {bytes}");
            code += &format!(".chunk_bytes({bytes})");
        }
        let stats = &best.stats;
        let samples = stats.decoded as f64;
        let rate = |seconds: f64| (seconds > 0.0 && samples > 0.0).then(|| samples / seconds);
        let work = stats.stages.total().saturating_sub(stats.stages.read).as_secs_f64();
        let verdict = stats.verdict();
        Self {
            cores,
            step_ms,
            is_shuffled,
            tried: tried.collect(),
            best: Tried::new("", best),
            flags,
            code,
            decoding_ceiling: rate(work).map(|rate| rate * cores as f64),
            reading_ceiling: rate(stats.read_wall.as_secs_f64()),
            limit: verdict.as_ref().map(limit),
            limit_text: verdict.as_ref().map(limit_text),
            memory_bytes: best.memory.expected_bytes(),
            memory_text: best.memory.to_string(),
            from_device: best.from_device,
        }
    }

    pub(super) fn print(&self) -> Outcome {
        let (cores, step) = (self.cores, self.step_ms);
        let loop_text = if step > 0 { format!(", for a step of {step} ms") } else { String::new() };
        say!("{cores} cores{loop_text}; medians of trials in turn");
        say!("");
        say!(
            "{:>8} {:>9} {:>10} {:>8} {:>11} {:>8}",
            "workers",
            "prefetch",
            "chunks",
            "decode",
            "samples/s",
            "of best"
        );
        let best = self.best.samples_per_second;
        let mut varied = "";
        for tried in &self.tried {
            if !varied.is_empty() && tried.varied != varied {
                say!("");
            }
            varied = tried.varied;
            let chunks = tried.chunk_bytes.map_or_else(|| "none".to_owned(), size);
            let mark = if tried.is_like(&self.best) { " <" } else { "" };
            say!(
                "{:>8} {:>9} {chunks:>10} {:>8} {:>11.1} {:>6.0} %{mark}",
                tried.num_workers,
                tried.prefetch_batches,
                tried.scaled_decode,
                tried.samples_per_second,
                100.0 * tried.samples_per_second / best
            );
        }
        say!("");
        say!("best: {best:.1} samples/s with");
        say!("  {}", self.flags);
        say!("  Loader::builder(){}", self.code);
        let at_most = |rate: Option<f64>| rate.map_or_else(|| "?".to_owned(), |rate| format!("{rate:.0} samples/s"));
        say!(
            "{}",
            wrap(&format!(
                "ceiling: decoding {} on all {cores} cores, reading {} by one thread",
                at_most(self.decoding_ceiling),
                at_most(self.reading_ceiling)
            ))
        );
        if let Some(limit) = &self.limit_text {
            say!("{}", wrap(&format!("limit: {limit}")));
        }
        say!("{}", wrap(&format!("memory: {}", self.memory_text)));
        if let Some(share) = self.from_device {
            say!("{}", wrap(&format!("disk: {}", self.disk_text(share))));
        }
        Ok(())
    }

    /// What the share of bytes that came from the device means.
    fn disk_text(&self, from_device: f64) -> String {
        if !self.is_shuffled {
            return "each trial has read the same samples, mostly from the page cache; --shuffle reads others each time"
                .to_owned();
        }
        if from_device < FROM_DEVICE {
            return "all bytes came from the page cache; if your shards are larger than memory, name more of them"
                .to_owned();
        }
        format!("{:.0} % of the bytes came from the device, the rest from the page cache", 100.0 * from_device.min(1.0))
    }
}

fn limit(verdict: &Verdict) -> &'static str {
    match verdict.bottleneck {
        Bottleneck::Consumer => "consumer",
        Bottleneck::Workers => "workers",
        Bottleneck::Source => "source",
        _ => "prefetch",
    }
}

fn limit_text(verdict: &Verdict) -> String {
    let percent = |share: f64| format!("{:.0} %", 100.0 * share);
    let (step, share) = verdict.slowest_step;
    let what = match verdict.bottleneck {
        Bottleneck::Consumer => "your step, because the loader keeps up",
        Bottleneck::Workers => "decoding",
        Bottleneck::Source => "reading the shards",
        _ => "neither decoding nor reading alone",
    };
    let mut text = format!(
        "{what}: workers are busy {} of the time, {} of that with the step {step}; reading takes {}",
        percent(verdict.workers_busy),
        percent(share),
        percent(verdict.reading)
    );
    if verdict.lacks_cores() {
        text += &format!("; workers had a core for only {} of their work", percent(verdict.on_core));
    }
    text
}

impl Tried {
    fn new(varied: &'static str, measured: &Measured) -> Self {
        let Candidate { num_workers, prefetch_batches, chunk_bytes, scaled_decode } = measured.candidate;
        let scaled_decode = match scaled_decode {
            ScaledDecode::Full => "full",
            _ => "auto",
        };
        let samples_per_second = measured.samples_per_second();
        Self { varied, num_workers, prefetch_batches, chunk_bytes, scaled_decode, samples_per_second }
    }

    fn is_like(&self, other: &Self) -> bool {
        let settings =
            |tried: &Self| (tried.num_workers, tried.prefetch_batches, tried.chunk_bytes, tried.scaled_decode);
        settings(self) == settings(other)
    }
}

//! What an epoch costs. Comes in: times of threads. Goes out: [`EpochStats`]. Cannot fail.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::sample::StageTimes;

/// Counters that all threads of an epoch add to; nothing is decided by them.
#[derive(Debug, Default)]
pub(super) struct Counters {
    samples: AtomicU64,
    read: AtomicU64,
    verify: AtomicU64,
    json: AtomicU64,
    masks: AtomicU64,
    jpeg: AtomicU64,
    resize: AtomicU64,
    planes: AtomicU64,
}

/// Figures of an epoch so far.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct EpochStats {
    /// Batches delivered.
    pub batches: u64,
    /// Rows delivered that hold a sample.
    pub delivered: u64,
    /// Rows delivered empty because their sample could not be decoded.
    pub skipped: u64,
    /// Samples decoded, delivered yet or not.
    pub decoded: u64,
    /// Time the consumer spent waiting in `next`.
    pub wait: Duration,
    /// CPU time of all decoded samples, by step.
    pub stages: StageStats,
}

/// CPU time by step of the work.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct StageStats {
    /// Getting the bytes into memory.
    pub read: Duration,
    /// Their checksums.
    pub verify: Duration,
    /// Parsing, filtering and ranking annotations.
    pub json: Duration,
    /// Decoding and drawing masks, and everything else about annotations.
    pub masks: Duration,
    /// Decoding JPEGs.
    pub jpeg: Duration,
    /// Resizing.
    pub resize: Duration,
    /// Splitting into planes and normalizing.
    pub planes: Duration,
}

impl StageStats {
    /// The sum of all steps.
    pub fn total(&self) -> Duration {
        self.named().iter().map(|(_, time)| *time).sum()
    }

    /// The steps with their names, in the order of the work.
    pub fn named(&self) -> [(&'static str, Duration); 7] {
        let Self { read, verify, json, masks, jpeg, resize, planes } = *self;
        [
            ("read", read),
            ("verify", verify),
            ("json", json),
            ("masks", masks),
            ("jpeg", jpeg),
            ("resize", resize),
            ("planes", planes),
        ]
    }
}

impl Counters {
    pub(super) fn add_read(&self, time: Duration) {
        add(&self.read, time);
    }

    pub(super) fn add_sample(&self, times: &StageTimes) {
        self.samples.fetch_add(1, Relaxed);
        add(&self.verify, times.verify);
        add(&self.json, times.json);
        add(&self.masks, times.masks);
        add(&self.jpeg, times.jpeg);
        add(&self.resize, times.resize);
        add(&self.planes, times.planes);
    }

    pub(super) fn decoded(&self) -> u64 {
        self.samples.load(Relaxed)
    }

    pub(super) fn stages(&self) -> StageStats {
        let time = |ns: &AtomicU64| Duration::from_nanos(ns.load(Relaxed));
        StageStats {
            read: time(&self.read),
            verify: time(&self.verify),
            json: time(&self.json),
            masks: time(&self.masks),
            jpeg: time(&self.jpeg),
            resize: time(&self.resize),
            planes: time(&self.planes),
        }
    }
}

fn add(ns: &AtomicU64, time: Duration) {
    ns.fetch_add(time.as_nanos() as u64, Relaxed);
}

//! What epochs cost. Comes in: times and counts of threads. Goes out: [`LoaderStats`]. Cannot fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::sample::StageTimes;

/// Counters that threads add to, of an epoch and of its loader; nothing is decided by them.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// The loader's, which gets everything the epoch gets.
    whole: Option<Arc<Counters>>,
    batches: AtomicU64,
    delivered: AtomicU64,
    skipped: AtomicU64,
    wait: AtomicU64,
    decoded: AtomicU64,
    read_wall: AtomicU64,
    read: AtomicU64,
    inflate: AtomicU64,
    verify: AtomicU64,
    json: AtomicU64,
    masks: AtomicU64,
    jpeg: AtomicU64,
    resize: AtomicU64,
    planes: AtomicU64,
}

/// Figures so far, of an epoch or of all epochs of a loader.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct LoaderStats {
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
    /// Time the feed thread spent getting bytes, waiting for the disk included.
    pub read_wall: Duration,
    /// CPU time of all decoded samples, by step.
    pub stages: StageStats,
}

/// CPU time by step of the work.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct StageStats {
    /// Getting the bytes into memory.
    pub read: Duration,
    /// Inflating those of gzip shards.
    pub inflate: Duration,
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
    pub fn named(&self) -> [(&'static str, Duration); 8] {
        let Self { read, inflate, verify, json, masks, jpeg, resize, planes } = *self;
        [
            ("read", read),
            ("inflate", inflate),
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
    /// Counters of an epoch; the loader's count along.
    pub(super) fn within(whole: &Arc<Counters>) -> Self {
        Self { whole: Some(Arc::clone(whole)), ..Self::default() }
    }

    pub(super) fn add_read(&self, cpu: Duration, wall: Duration) {
        self.each(|counters| {
            add(&counters.read, cpu);
            add(&counters.read_wall, wall);
        });
    }

    pub(super) fn add_sample(&self, times: &StageTimes) {
        self.each(|counters| {
            counters.decoded.fetch_add(1, Relaxed);
            add(&counters.inflate, times.inflate);
            add(&counters.verify, times.verify);
            add(&counters.json, times.json);
            add(&counters.masks, times.masks);
            add(&counters.jpeg, times.jpeg);
            add(&counters.resize, times.resize);
            add(&counters.planes, times.planes);
        });
    }

    pub(super) fn add_batch(&self, delivered: u64, skipped: u64) {
        self.each(|counters| {
            counters.batches.fetch_add(1, Relaxed);
            counters.delivered.fetch_add(delivered, Relaxed);
            counters.skipped.fetch_add(skipped, Relaxed);
        });
    }

    pub(super) fn add_wait(&self, time: Duration) {
        self.each(|counters| add(&counters.wait, time));
    }

    pub(super) fn stats(&self) -> LoaderStats {
        let count = |count: &AtomicU64| count.load(Relaxed);
        let time = |ns: &AtomicU64| Duration::from_nanos(ns.load(Relaxed));
        LoaderStats {
            batches: count(&self.batches),
            delivered: count(&self.delivered),
            skipped: count(&self.skipped),
            decoded: count(&self.decoded),
            wait: time(&self.wait),
            read_wall: time(&self.read_wall),
            stages: StageStats {
                read: time(&self.read),
                inflate: time(&self.inflate),
                verify: time(&self.verify),
                json: time(&self.json),
                masks: time(&self.masks),
                jpeg: time(&self.jpeg),
                resize: time(&self.resize),
                planes: time(&self.planes),
            },
        }
    }

    fn each(&self, add: impl Fn(&Counters)) {
        add(self);
        self.whole.as_deref().into_iter().for_each(add);
    }
}

fn add(ns: &AtomicU64, time: Duration) {
    ns.fetch_add(time.as_nanos() as u64, Relaxed);
}

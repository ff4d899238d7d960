//! Timings and counts. An epoch's threads add to [`Counters`]; [`LoaderStats`] is a snapshot of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::sample::StageTimes;

/// Counters of an epoch or of its loader. No decision depends on them, so relaxed atomics suffice.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// The loader's counters, if these are an epoch's: what is added here is added there as well.
    parent: Option<Arc<Counters>>,
    batches: AtomicU64,
    delivered: AtomicU64,
    skipped: AtomicU64,
    wait: AtomicU64,
    first_wait: AtomicU64,
    consumer: AtomicU64,
    decoded: AtomicU64,
    read_wall: AtomicU64,
    work_wall: AtomicU64,
    read: AtomicU64,
    inflate: AtomicU64,
    verify: AtomicU64,
    json: AtomicU64,
    masks: AtomicU64,
    image: AtomicU64,
}

/// Timings and counts so far, of an epoch ([`Epoch::stats`](crate::Epoch::stats)) or of all epochs of a loader
/// ([`Loader::stats`](crate::Loader::stats)).
///
/// ```no_run
/// # fn show(epoch: &maskstream::Epoch) {
/// let stats = epoch.stats();
/// println!("{} samples in {} batches, {} skipped", stats.delivered, stats.batches, stats.skipped);
/// println!("the training loop waited {:?} for the loader", stats.wait);
/// for (step, time) in stats.stages.named() {
///     println!("{step}: {:?} per sample", time / stats.decoded.max(1) as u32);
/// }
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct LoaderStats {
    /// Batches delivered.
    pub batches: u64,
    /// Samples delivered in valid rows.
    pub delivered: u64,
    /// Samples delivered as zeroed, invalid rows because they could not be decoded.
    pub skipped: u64,
    /// Samples decoded, whether delivered yet or not.
    pub decoded: u64,
    /// Time the consumer spent waiting in `next`.
    pub wait: Duration,
    /// The part of it for the first batch of each epoch, which has to be read and decoded first.
    pub first_wait: Duration,
    /// Time the consumer spent on batches: between two calls of `next`.
    pub consumer: Duration,
    /// Number of decoding threads.
    pub num_workers: usize,
    /// Time the feed thread spent reading, including waiting for the disk.
    pub read_wall: Duration,
    /// Time the workers spent decoding, summed over them, including waiting for a core.
    pub work_wall: Duration,
    /// CPU time by step, summed over all decoded samples.
    pub stages: StageStats,
}

/// CPU time by step of the work.
///
/// ```
/// use std::time::Duration;
///
/// use maskstream::StageStats;
///
/// let mut stages = StageStats::default(); // as in `LoaderStats::stages`
/// stages.image = Duration::from_millis(9);
/// stages.masks = Duration::from_millis(3);
/// assert_eq!(stages.total(), Duration::from_millis(12));
/// let slowest = stages.named().into_iter().max_by_key(|(_, time)| *time);
/// assert_eq!(slowest, Some(("image", Duration::from_millis(9))));
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct StageStats {
    /// Reading bytes into memory.
    pub read: Duration,
    /// Inflating members of gzip shards.
    pub inflate: Duration,
    /// Verifying checksums.
    pub verify: Duration,
    /// Parsing, filtering and ranking annotations.
    pub json: Duration,
    /// Decoding and drawing masks, and writing all other labels.
    pub masks: Duration,
    /// Decoding, resizing and normalizing images.
    pub image: Duration,
}

impl StageStats {
    /// The sum of all steps.
    pub fn total(&self) -> Duration {
        self.named().iter().map(|(_, time)| *time).sum()
    }

    /// The steps with their names, in the order of the work.
    pub fn named(&self) -> [(&'static str, Duration); 6] {
        let Self { read, inflate, verify, json, masks, image } = *self;
        [("read", read), ("inflate", inflate), ("verify", verify), ("json", json), ("masks", masks), ("image", image)]
    }
}

impl Counters {
    /// Counters of an epoch of the loader with counters `parent`.
    pub(super) fn with_parent(parent: &Arc<Counters>) -> Self {
        Self { parent: Some(Arc::clone(parent)), ..Self::default() }
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
            add(&counters.image, times.image);
        });
    }

    pub(super) fn add_work(&self, wall: Duration) {
        self.each(|counters| add(&counters.work_wall, wall));
    }

    pub(super) fn add_batch(&self, delivered: u64, skipped: u64) {
        self.each(|counters| {
            counters.batches.fetch_add(1, Relaxed);
            counters.delivered.fetch_add(delivered, Relaxed);
            counters.skipped.fetch_add(skipped, Relaxed);
        });
    }

    pub(super) fn add_wait(&self, time: Duration, is_first: bool) {
        self.each(|counters| {
            add(&counters.wait, time);
            add(&counters.first_wait, if is_first { time } else { Duration::ZERO });
        });
    }

    pub(super) fn add_consumer(&self, time: Duration) {
        self.each(|counters| add(&counters.consumer, time));
    }

    pub(super) fn stats(&self, num_workers: usize) -> LoaderStats {
        let count = |count: &AtomicU64| count.load(Relaxed);
        let time = |ns: &AtomicU64| Duration::from_nanos(ns.load(Relaxed));
        LoaderStats {
            batches: count(&self.batches),
            delivered: count(&self.delivered),
            skipped: count(&self.skipped),
            decoded: count(&self.decoded),
            wait: time(&self.wait),
            first_wait: time(&self.first_wait),
            consumer: time(&self.consumer),
            num_workers,
            read_wall: time(&self.read_wall),
            work_wall: time(&self.work_wall),
            stages: StageStats {
                read: time(&self.read),
                inflate: time(&self.inflate),
                verify: time(&self.verify),
                json: time(&self.json),
                masks: time(&self.masks),
                image: time(&self.image),
            },
        }
    }

    fn each(&self, add: impl Fn(&Counters)) {
        add(self);
        self.parent.as_deref().into_iter().for_each(add);
    }
}

fn add(ns: &AtomicU64, time: Duration) {
    ns.fetch_add(time.as_nanos() as u64, Relaxed);
}

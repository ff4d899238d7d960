//! Timings and counts. An epoch's threads add to [`Counters`]; [`LoaderStats`] is a snapshot of them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::occupancy::Occupancy;
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
    read_bytes: AtomicU64,
    inflated_bytes: AtomicU64,
    json_bytes: AtomicU64,
    image_bytes: AtomicU64,
    batch_bytes: AtomicU64,
    /// Only the consumer adds to it, once per batch.
    occupancy: Mutex<Occupancy>,
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
    /// Bytes by step, summed over all decoded samples.
    pub bytes: StageBytes,
    /// How many batches were ready whenever the consumer asked for one.
    pub occupancy: Occupancy,
}

/// Bytes by step of the work, for rates such as bytes read per second.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct StageBytes {
    /// Bytes read from the device, compressed or not.
    pub read: u64,
    /// Bytes that came out of inflating members of gzip shards.
    pub inflate: u64,
    /// Bytes of annotations parsed.
    pub json: u64,
    /// Bytes of JPEGs decoded.
    pub image: u64,
    /// Bytes of batches delivered.
    pub batches: u64,
}

impl StageBytes {
    /// The bytes with the names of the steps, in the order of the work.
    pub fn named(&self) -> [(&'static str, u64); 5] {
        let Self { read, inflate, json, image, batches } = *self;
        [("read", read), ("inflate", inflate), ("json", json), ("image", image), ("batches", batches)]
    }
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

    pub(super) fn add_read(&self, cpu: Duration, wall: Duration, bytes: u64) {
        self.each(|counters| {
            add(&counters.read, cpu);
            add(&counters.read_wall, wall);
            counters.read_bytes.fetch_add(bytes, Relaxed);
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
            counters.inflated_bytes.fetch_add(times.inflated_bytes, Relaxed);
            counters.json_bytes.fetch_add(times.json_bytes, Relaxed);
            counters.image_bytes.fetch_add(times.image_bytes, Relaxed);
        });
    }

    pub(super) fn add_work(&self, wall: Duration) {
        self.each(|counters| add(&counters.work_wall, wall));
    }

    pub(super) fn add_batch(&self, delivered: u64, skipped: u64, bytes: usize) {
        self.each(|counters| {
            counters.batches.fetch_add(1, Relaxed);
            counters.batch_bytes.fetch_add(bytes as u64, Relaxed);
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

    pub(super) fn add_ready(&self, batches: u64) {
        self.each(|counters| counters.occupancy.lock().unwrap_or_else(PoisonError::into_inner).add(batches));
    }

    pub(super) fn stats(&self, num_workers: usize, prefetch_batches: usize) -> LoaderStats {
        let occupancy = *self.occupancy.lock().unwrap_or_else(PoisonError::into_inner);
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
            bytes: StageBytes {
                read: count(&self.read_bytes),
                inflate: count(&self.inflated_bytes),
                json: count(&self.json_bytes),
                image: count(&self.image_bytes),
                batches: count(&self.batch_bytes),
            },
            occupancy: occupancy.of(prefetch_batches),
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

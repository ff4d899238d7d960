//! Who is busy with what. Comes in: threads that begin and end with a sample, or give a sign of life from a shard. Goes
//! out: the one that has been at the same thing for too long. Cannot fail.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::shard::SampleId;

/// What each thread of an epoch is busy with: the feed at place 0, the workers behind it, then the passes.
#[derive(Debug)]
pub(super) struct ActivityBoard {
    places: Vec<Mutex<Option<Busy>>>,
    /// Numbers what threads begin with.
    begun: AtomicU64,
}

/// What a thread can be busy with.
#[derive(Clone, Copy, Debug)]
pub(super) enum Task {
    Sample(SampleId),
    /// A pass over the shard of this index.
    Pass(u32),
}

#[derive(Clone, Copy, Debug)]
struct Busy {
    task: Task,
    number: u64,
}

/// The watcher's memory: for how long it has seen each place at the same task.
///
/// It counts its own looks and reads no clock: of a process that was stopped for an hour and goes on, nobody is stuck.
#[derive(Debug, Default)]
pub(super) struct StallDetector(Vec<(u64, Duration)>);

/// A thread that does not get on.
pub(super) struct Stalled {
    pub(super) task: Task,
    pub(super) place: usize,
    pub(super) time: Duration,
}

/// Ends a thread's time with a sample.
pub(super) struct ActivityGuard<'a>(&'a ActivityBoard, usize);

impl ActivityBoard {
    pub(super) fn new(threads: usize) -> Self {
        Self { places: (0..threads).map(|_| Mutex::default()).collect(), begun: AtomicU64::new(1) }
    }

    /// The thread at `place` begins with a sample; it ends when the result is dropped.
    pub(super) fn begin(&self, place: usize, sample: SampleId) -> ActivityGuard<'_> {
        self.set(place, Some(Task::Sample(sample)));
        ActivityGuard(self, place)
    }

    /// The thread at `place` gets on with a task, or has none.
    pub(super) fn set(&self, place: usize, task: Option<Task>) {
        let busy = task.map(|task| Busy { task, number: self.begun.fetch_add(1, Relaxed) });
        if let Some(place) = self.places.get(place) {
            *place.lock().unwrap_or_else(PoisonError::into_inner) = busy;
        }
    }
}

impl StallDetector {
    /// Looks once more, `after` the last time; who has been seen at one task for `limit`, longest first?
    pub(super) fn look(&mut self, watch: &ActivityBoard, after: Duration, limit: Duration) -> Option<Stalled> {
        self.0.resize(watch.places.len(), (0, Duration::ZERO));
        let mut longest: Option<Stalled> = None;
        for (place, (busy, seen)) in watch.places.iter().zip(&mut self.0).enumerate() {
            let busy = *busy.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(Busy { task, number }) = busy else { continue };
            *seen = (number, if seen.0 == number { seen.1 + after } else { Duration::ZERO });
            if seen.1 >= limit && longest.as_ref().is_none_or(|longest| longest.time < seen.1) {
                longest = Some(Stalled { task, place, time: seen.1 });
            }
        }
        longest
    }
}

impl Drop for ActivityGuard<'_> {
    fn drop(&mut self) {
        self.0.set(self.1, None);
    }
}

#[cfg(test)]
mod tests {
    use super::{ActivityBoard, StallDetector, Task};
    use crate::shard::SampleId;
    use std::time::Duration;

    const LIMIT: Duration = Duration::from_secs(3);

    fn sample(entry: u32) -> SampleId {
        SampleId { shard: 0, entry }
    }

    #[test]
    fn only_looks_count_and_only_at_the_same_task() {
        let (watch, mut patience) = (ActivityBoard::new(3), StallDetector::default());
        let mut look = || patience.look(&watch, Duration::from_secs(1), LIMIT).map(|stuck| (stuck.place, stuck.time));
        let _feed = watch.begin(0, sample(1));
        watch.set(2, Some(Task::Pass(7)));
        for _ in 0..3 {
            assert_eq!(look(), None);
            // However long it takes: nobody looks meanwhile.
            std::thread::sleep(Duration::from_millis(2));
            watch.set(2, Some(Task::Pass(7)));
        }
        assert_eq!(look(), Some((0, LIMIT)), "the pass gives signs of life, the feed gives none");
        drop(watch.begin(1, sample(1)));
        assert_eq!(look(), Some((0, Duration::from_secs(4))));
    }

    #[test]
    fn the_same_sample_begun_again_is_another_task() {
        let (watch, mut patience) = (ActivityBoard::new(1), StallDetector::default());
        for _ in 0..20 {
            let _shift = watch.begin(0, sample(1));
            assert!(patience.look(&watch, Duration::from_secs(2), LIMIT).is_none());
            assert!(patience.look(&watch, Duration::from_secs(2), LIMIT).is_none());
        }
    }
}

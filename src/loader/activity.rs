//! Detection of stalled threads. Threads post what they are doing on an [`ActivityBoard`]; while the consumer waits, a
//! [`StallDetector`] finds the thread that has been doing the same thing for too long.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::shard::SampleId;

/// The current activity of each thread of an epoch. Thread 0 is the feed; the workers follow, then the passes.
#[derive(Debug)]
pub(super) struct ActivityBoard {
    threads: Vec<Mutex<Option<Entry>>>,
    /// The next entry's serial number.
    next_serial: AtomicU64,
}

/// What a thread is doing.
#[derive(Clone, Copy, Debug)]
pub(super) enum Activity {
    /// Reading or decoding a sample.
    Sample(SampleId),
    /// Indexing the shard with this index.
    Pass(u32),
}

/// An activity as it was posted. The serial number distinguishes posts of the same activity.
#[derive(Clone, Copy, Debug)]
struct Entry {
    activity: Activity,
    serial: u64,
}

/// For each thread, the serial number of its activity and for how long it has been seen.
///
/// The time is the sum of the intervals between calls of [`StallDetector::check`], not that of a clock: a process that
/// was suspended for an hour has no stalled threads when it continues.
#[derive(Debug, Default)]
pub(super) struct StallDetector(Vec<(u64, Duration)>);

/// A thread that has been at one activity for too long.
pub(super) struct Stall {
    pub(super) activity: Activity,
    /// Index of the thread on the board.
    pub(super) thread: usize,
    pub(super) time: Duration,
}

/// Clears the activity of a thread when it is dropped.
pub(super) struct ActivityGuard<'a> {
    board: &'a ActivityBoard,
    thread: usize,
}

impl ActivityBoard {
    pub(super) fn new(threads: usize) -> Self {
        Self { threads: (0..threads).map(|_| Mutex::default()).collect(), next_serial: AtomicU64::new(1) }
    }

    /// Posts that a thread works on a sample, until the returned guard is dropped.
    pub(super) fn begin(&self, thread: usize, sample: SampleId) -> ActivityGuard<'_> {
        self.set(thread, Some(Activity::Sample(sample)));
        ActivityGuard { board: self, thread }
    }

    /// Posts what a thread is doing, which also counts as progress if it is the same as before; `None` if it is idle.
    pub(super) fn set(&self, thread: usize, activity: Option<Activity>) {
        let entry = activity.map(|activity| Entry { activity, serial: self.next_serial.fetch_add(1, Relaxed) });
        if let Some(current) = self.threads.get(thread) {
            *current.lock().unwrap_or_else(PoisonError::into_inner) = entry;
        }
    }
}

impl StallDetector {
    /// Reads the board, `interval` after the last time. Returns the thread that has been at one activity longest, if
    /// that is `limit` or more.
    pub(super) fn check(&mut self, board: &ActivityBoard, interval: Duration, limit: Duration) -> Option<Stall> {
        self.0.resize(board.threads.len(), (0, Duration::ZERO));
        let mut longest: Option<Stall> = None;
        for (thread, (current, seen)) in board.threads.iter().zip(&mut self.0).enumerate() {
            let current = *current.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(Entry { activity, serial }) = current else { continue };
            *seen = (serial, if seen.0 == serial { seen.1 + interval } else { Duration::ZERO });
            if seen.1 >= limit && longest.as_ref().is_none_or(|longest| longest.time < seen.1) {
                longest = Some(Stall { activity, thread, time: seen.1 });
            }
        }
        longest
    }
}

impl Drop for ActivityGuard<'_> {
    fn drop(&mut self) {
        self.board.set(self.thread, None);
    }
}

#[cfg(test)]
mod tests {
    use super::{Activity, ActivityBoard, StallDetector};
    use crate::shard::SampleId;
    use std::time::Duration;

    const LIMIT: Duration = Duration::from_secs(3);

    fn sample(entry: u32) -> SampleId {
        SampleId { shard: 0, entry }
    }

    #[test]
    fn only_checks_count_and_only_at_the_same_activity() {
        let (board, mut detector) = (ActivityBoard::new(3), StallDetector::default());
        let mut check =
            || detector.check(&board, Duration::from_secs(1), LIMIT).map(|stall| (stall.thread, stall.time));
        let _feed = board.begin(0, sample(1));
        board.set(2, Some(Activity::Pass(7)));
        for _ in 0..3 {
            assert_eq!(check(), None);
            // Time between checks does not count.
            std::thread::sleep(Duration::from_millis(2));
            board.set(2, Some(Activity::Pass(7)));
        }
        assert_eq!(check(), Some((0, LIMIT)), "the pass makes progress, the feed does not");
        drop(board.begin(1, sample(1)));
        assert_eq!(check(), Some((0, Duration::from_secs(4))));
    }

    #[test]
    fn the_same_sample_begun_again_is_another_activity() {
        let (board, mut detector) = (ActivityBoard::new(1), StallDetector::default());
        for _ in 0..20 {
            let _guard = board.begin(0, sample(1));
            assert!(detector.check(&board, Duration::from_secs(2), LIMIT).is_none());
            assert!(detector.check(&board, Duration::from_secs(2), LIMIT).is_none());
        }
    }
}

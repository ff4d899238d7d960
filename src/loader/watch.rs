//! Who is busy with what. Comes in: threads that begin and end with a sample. Goes out: the one that has been at it for
//! too long. Cannot fail.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::shard::SampleId;

/// What each thread of an epoch is busy with: the feed at place 0, the workers behind it.
#[derive(Debug)]
pub(super) struct Watch(Vec<Mutex<Option<Busy>>>);

#[derive(Clone, Copy, Debug)]
struct Busy {
    sample: SampleId,
    since: Instant,
}

/// A sample that a thread is stuck on.
pub(super) struct Stuck {
    pub(super) sample: SampleId,
    pub(super) place: usize,
    pub(super) time: Duration,
}

/// Ends a thread's time with a sample.
pub(super) struct Shift<'a>(&'a Mutex<Option<Busy>>);

impl Watch {
    pub(super) fn new(workers: usize) -> Self {
        Self((0..=workers).map(|_| Mutex::default()).collect())
    }

    /// The thread at `place` begins with a sample; it ends when the result is dropped.
    pub(super) fn begin(&self, place: usize, sample: SampleId) -> Shift<'_> {
        let busy = &self.0[place];
        set(busy, Some(Busy { sample, since: Instant::now() }));
        Shift(busy)
    }

    /// Who has been busy with one sample for at least `limit`, longest first.
    pub(super) fn stuck(&self, limit: Duration) -> Option<Stuck> {
        let now = Instant::now();
        let busy = |(place, busy): (usize, &Mutex<Option<Busy>>)| {
            let Busy { sample, since } = (*busy.lock().unwrap_or_else(PoisonError::into_inner))?;
            Some(Stuck { sample, place, time: now.saturating_duration_since(since) })
        };
        let longest = self.0.iter().enumerate().filter_map(busy).max_by_key(|stuck| stuck.time);
        longest.filter(|stuck| stuck.time >= limit)
    }
}

impl Drop for Shift<'_> {
    fn drop(&mut self) {
        set(self.0, None);
    }
}

fn set(place: &Mutex<Option<Busy>>, busy: Option<Busy>) {
    *place.lock().unwrap_or_else(PoisonError::into_inner) = busy;
}

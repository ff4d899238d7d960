//! How many requests an endpoint may have under way: additive increase while it answers, half as many when it says that
//! it is too much (AIMD, as TCP does for its window).

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};

/// How many requests are begun before anything is known of an endpoint: few enough that the first answers do not have
/// to share a slow link with many.
const FIRST: usize = 32;
/// Requests that were under way when the limit was halved may fail as well, for this long, without halving it again.
const ONCE_PER: Duration = Duration::from_secs(1);

/// Lets through as many requests as an endpoint bears, in the order in which they ask.
#[derive(Debug)]
pub(super) struct Gate {
    permits: Semaphore,
    limit: Mutex<Limit>,
}

/// The number of requests that may be under way.
#[derive(Debug)]
struct Limit {
    now: usize,
    max: usize,
    /// Permits that are to be taken back when their requests end.
    surplus: usize,
    /// Answers since the limit was raised.
    answers: usize,
    /// When it was last halved.
    halved: Option<Instant>,
}

/// A request under way.
pub(super) struct Pass<'a> {
    gate: &'a Gate,
    permit: Option<SemaphorePermit<'a>>,
}

impl Gate {
    /// Lets at most `max` requests through.
    pub(super) fn new(max: usize) -> Self {
        let now = max.clamp(1, FIRST);
        let limit = Limit { now, max: max.max(1), surplus: 0, answers: 0, halved: None };
        Self { permits: Semaphore::new(now), limit: Mutex::new(limit) }
    }

    /// Waits for a turn.
    pub(super) async fn enter(&self) -> Pass<'_> {
        // The semaphore is never closed.
        Pass { gate: self, permit: self.permits.acquire().await.ok() }
    }

    /// Records that a request was answered.
    pub(super) fn answered(&self) {
        let raised = self.lock().answered();
        if raised {
            self.permits.add_permits(1);
        }
    }

    /// Records that the endpoint refused a request because there are too many, or did not answer in time.
    pub(super) fn overloaded(&self) {
        self.lock().overloaded(Instant::now());
    }

    /// How many requests may be under way now.
    pub(super) fn limit(&self) -> usize {
        self.lock().now
    }

    fn lock(&self) -> MutexGuard<'_, Limit> {
        self.limit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let mut limit = self.gate.lock();
        if limit.surplus > 0 {
            limit.surplus -= 1;
            self.permit.take().into_iter().for_each(SemaphorePermit::forget);
        }
    }
}

impl Limit {
    /// Whether there is room for one more. The limit rises by one with each answer until it has been halved for the
    /// first time, and then whenever as many requests have been answered as it lets through.
    fn answered(&mut self) -> bool {
        self.answers += 1;
        let is_early = self.halved.is_some() && self.answers < self.now;
        if is_early || self.now >= self.max {
            return false;
        }
        (self.answers, self.now) = (0, self.now + 1);
        let is_new = self.surplus == 0;
        self.surplus = self.surplus.saturating_sub(1);
        is_new
    }

    fn overloaded(&mut self, at: Instant) {
        if self.halved.is_some_and(|halved| at.duration_since(halved) < ONCE_PER) {
            return;
        }
        let half = self.now.div_ceil(2);
        self.surplus += self.now - half;
        (self.now, self.answers, self.halved) = (half, 0, Some(at));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(now: usize, max: usize) -> Limit {
        Limit { now, max, surplus: 0, answers: 0, halved: None }
    }

    #[test]
    fn the_limit_rises_quickly_at_first_then_by_one_for_each_round_and_halves_at_most_once_a_second() {
        let mut limit = limit(4, 6);
        let rises = (0..2).filter(|_| limit.answered()).count();
        assert_eq!((limit.now, rises), (6, 2));
        let begin = Instant::now();
        limit.overloaded(begin);
        limit.overloaded(begin + Duration::from_millis(900));
        assert_eq!((limit.now, limit.surplus), (3, 3));
        limit.overloaded(begin + Duration::from_millis(1100));
        assert_eq!((limit.now, limit.surplus), (2, 4));
        limit.surplus = 0;
        let rises = (0..7).filter(|_| limit.answered()).count();
        assert_eq!((limit.now, rises), (4, 2), "after two answers, and three more");
        for second in 2..9 {
            limit.overloaded(begin + Duration::from_secs(second));
        }
        assert_eq!(limit.now, 1);
    }

    #[test]
    fn as_many_requests_are_under_way_as_the_limit_says() {
        let gate = Gate::new(8);
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let Ok(runtime) = runtime else { unreachable!("a runtime without I/O") };
        runtime.block_on(async {
            let mut passes = Vec::new();
            for _ in 0..8 {
                passes.push(gate.enter().await);
            }
            gate.overloaded();
            assert_eq!((gate.limit(), gate.permits.available_permits()), (4, 0));
            passes.truncate(4);
            assert_eq!(gate.permits.available_permits(), 0, "four permits were taken back");
            passes.truncate(2);
            assert_eq!(gate.permits.available_permits(), 2);
            (0..4).for_each(|_| gate.answered());
            assert_eq!((gate.limit(), gate.permits.available_permits()), (5, 3));
        });
    }
}

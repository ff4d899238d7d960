//! Counts of requests and bytes, and how long answers take.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Steps of the histogram per doubling of the time.
const STEPS: u32 = 4;
/// From 2^6 us on, 25 doublings: to half an hour.
const FIRST_LOG2: u32 = 6;
const BUCKETS: usize = 25 * STEPS as usize;
/// Answers after which it is known how long they usually take.
const LEAST_ANSWERS: u64 = 20;
/// One byte of so many may be asked for twice, and these in the beginning.
const MAX_HEDGED: u64 = 50;
const FIRST_HEDGED: u64 = 16 << 20;

/// Counters of all requests. No decision depends on them, so relaxed atomics suffice.
#[derive(Debug)]
pub(super) struct Counters {
    pub(super) requests: AtomicU64,
    pub(super) received: AtomicU64,
    pub(super) wanted: AtomicU64,
    pub(super) retries: AtomicU64,
    pub(super) overloads: AtomicU64,
    pub(super) under_way: AtomicU64,
    pub(super) most_under_way: AtomicU64,
    pub(super) hedges: AtomicU64,
    hedged: AtomicU64,
    first_byte: [AtomicU64; BUCKETS],
}

/// What has gone over the network since a [`Remote`](super::Remote) was made.
///
/// ```no_run
/// # fn show(remote: &maskstream::source::Remote) {
/// let stats = remote.stats();
/// println!("{} bytes in {} requests, {} repeated", stats.received_bytes, stats.requests, stats.retries);
/// println!("{:.3} bytes read for each byte used", stats.amplification());
/// println!("first byte after {:?} (median)", stats.first_byte(0.5));
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemoteStats {
    /// Requests sent, those repeated included.
    pub requests: u64,
    /// Bytes received of the bodies of answers, those of failed ones included.
    pub received_bytes: u64,
    /// Bytes that were asked for.
    pub wanted_bytes: u64,
    /// Requests that were sent because an earlier one had failed or ended early.
    pub retries: u64,
    /// Answers 429 and 503, and requests without an answer in time.
    pub overloads: u64,
    /// Requests that were sent beside one whose answer was late.
    pub hedges: u64,
    /// The most requests that were under way at once.
    pub most_under_way: u64,
    /// The number of requests that may be under way at once at the busiest endpoint, as far as it bears them.
    pub request_limit: u64,
    times: [u64; BUCKETS],
}

impl RemoteStats {
    /// The time from a request to the head of its answer, to a fifth of its value: the time in which this share of the
    /// requests was answered, so that 0.5 is the median. Zero without requests.
    pub fn first_byte(&self, share: f64) -> Duration {
        quantile(&self.times, share)
    }

    /// What has been added since an earlier snapshot. The most requests under way are those of all time.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            requests: self.requests - earlier.requests,
            received_bytes: self.received_bytes - earlier.received_bytes,
            wanted_bytes: self.wanted_bytes - earlier.wanted_bytes,
            retries: self.retries - earlier.retries,
            overloads: self.overloads - earlier.overloads,
            hedges: self.hedges - earlier.hedges,
            times: std::array::from_fn(|at| self.times[at] - earlier.times[at]),
            ..*self
        }
    }

    /// What limits the speed at which bytes come, in a sentence; `None` before the first answer.
    pub fn verdict(&self) -> Option<String> {
        let first = self.first_byte(0.5);
        (self.requests > 0 && !first.is_zero()).then(|| {
            let mean = self.received_bytes / self.requests;
            if self.overloads > 0 {
                return format!(
                    "the store answered {} times that it has too much to do, or not in time: {} requests at once are \
                     what it bears",
                    self.overloads, self.request_limit
                );
            }
            if self.most_under_way >= self.request_limit {
                return format!(
                    "all {} requests that may be under way were; each waits {:.0} ms for {:.1} MB: longer reads \
                     (chunk_bytes) or more requests (max_requests) bring more, unless the link is full",
                    self.request_limit,
                    first.as_secs_f64() * 1e3,
                    mean as f64 / 1e6
                );
            }
            format!(
                "at most {} of {} requests were under way: the link or the reader is the limit, not their number",
                self.most_under_way, self.request_limit
            )
        })
    }

    /// Bytes received for each byte that was asked for.
    pub fn amplification(&self) -> f64 {
        self.received_bytes as f64 / self.wanted_bytes.max(1) as f64
    }
}

impl Default for Counters {
    fn default() -> Self {
        let [requests, received, wanted, retries, overloads, under_way, most_under_way] = Default::default();
        let (hedges, hedged) = Default::default();
        let first_byte = std::array::from_fn(|_| AtomicU64::new(0));
        Self { requests, received, wanted, retries, overloads, under_way, most_under_way, hedges, hedged, first_byte }
    }
}

impl Counters {
    pub(super) fn answered(&self, after: Duration) {
        self.first_byte[bucket(after)].fetch_add(1, Relaxed);
    }

    /// How late an answer is before a second request is sent: half as much again as 95 % of the answers take. `None`
    /// before that is known.
    pub(super) fn late(&self) -> Option<Duration> {
        let times: Vec<u64> = self.first_byte.iter().map(|count| count.load(Relaxed)).collect();
        (times.iter().sum::<u64>() >= LEAST_ANSWERS).then(|| quantile(&times, 0.95).mul_f64(1.5))
    }

    /// Whether a second request for so many bytes may be sent: such requests ask for 2 % of all bytes at most, and for
    /// a few in the beginning.
    pub(super) fn may_hedge(&self, bytes: u64) -> bool {
        let (hedged, all) = (self.hedged.load(Relaxed), self.received.load(Relaxed));
        let is_allowed = (hedged + bytes).saturating_mul(MAX_HEDGED) <= all.saturating_add(FIRST_HEDGED * MAX_HEDGED);
        if is_allowed {
            self.hedged.fetch_add(bytes, Relaxed);
            self.hedges.fetch_add(1, Relaxed);
        }
        is_allowed
    }

    /// Counts a request as long as the result lives.
    pub(super) fn begin(&self) -> UnderWay<'_> {
        self.requests.fetch_add(1, Relaxed);
        let now = self.under_way.fetch_add(1, Relaxed) + 1;
        self.most_under_way.fetch_max(now, Relaxed);
        UnderWay(self)
    }

    pub(super) fn snapshot(&self, request_limit: u64) -> RemoteStats {
        let count = |count: &AtomicU64| count.load(Relaxed);
        let times = std::array::from_fn(|at| count(&self.first_byte[at]));
        RemoteStats {
            requests: count(&self.requests),
            received_bytes: count(&self.received),
            wanted_bytes: count(&self.wanted),
            retries: count(&self.retries),
            overloads: count(&self.overloads),
            hedges: count(&self.hedges),
            most_under_way: count(&self.most_under_way),
            request_limit,
            times,
        }
    }
}

/// A request under way.
pub(super) struct UnderWay<'a>(&'a Counters);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Relaxed);
    }
}

fn bucket(time: Duration) -> usize {
    let us = (time.as_micros().max(1) as f64).log2() - f64::from(FIRST_LOG2);
    ((us * f64::from(STEPS)).max(0.0) as usize).min(BUCKETS - 1)
}

/// The upper end of the bucket in which the quantile lies.
fn quantile(counts: &[u64], share: f64) -> Duration {
    let all: u64 = counts.iter().sum();
    if all == 0 {
        return Duration::ZERO;
    }
    let wanted = (all as f64 * share).ceil().max(1.0) as u64;
    let mut below = 0;
    let at = counts.iter().position(|count| {
        below += count;
        below >= wanted
    });
    let log2 = f64::from(FIRST_LOG2) + (at.unwrap_or(BUCKETS - 1) + 1) as f64 / f64::from(STEPS);
    Duration::from_secs_f64(log2.exp2() / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_fifth_of_the_times() {
        let counters = Counters::default();
        assert_eq!(counters.snapshot(8).first_byte(0.5), Duration::ZERO);
        for ms in 1..=100 {
            counters.answered(Duration::from_millis(ms));
        }
        let stats = counters.snapshot(8);
        for (share, exact) in [(0.5, 50.0), (0.95, 95.0)] {
            let found = stats.first_byte(share);
            let ratio = found.as_secs_f64() * 1000.0 / exact;
            assert!((0.98..=1.2).contains(&ratio), "{found:?} is {ratio} times {exact} ms");
        }
        counters.answered(Duration::ZERO);
        counters.answered(Duration::from_secs(1 << 40));
    }

    #[test]
    fn a_fiftieth_of_the_bytes_may_be_asked_for_twice_once_it_is_known_what_is_late() {
        let counters = Counters::default();
        (0..19).for_each(|_| counters.answered(Duration::from_millis(30)));
        assert_eq!(counters.late(), None);
        counters.answered(Duration::from_millis(30));
        let late = counters.late().unwrap_or_default();
        assert!((45..54).contains(&late.as_millis()), "{late:?}");
        assert!(counters.may_hedge(FIRST_HEDGED) && !counters.may_hedge(1));
        counters.received.fetch_add(1000, Relaxed);
        assert!(!counters.may_hedge(21) && counters.may_hedge(15) && !counters.may_hedge(6) && counters.may_hedge(5));
        assert_eq!(counters.snapshot(1).hedges, 3);
    }

    #[test]
    fn requests_under_way_are_counted_until_they_end() {
        let counters = Counters::default();
        let (a, b) = (counters.begin(), counters.begin());
        drop(a);
        let c = counters.begin();
        assert_eq!(counters.under_way.load(Relaxed), 2);
        drop((b, c));
        let stats = counters.snapshot(8);
        assert_eq!((stats.requests, stats.most_under_way, counters.under_way.load(Relaxed)), (3, 2, 0));
    }
}

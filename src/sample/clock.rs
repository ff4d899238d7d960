//! A stopwatch for the CPU time of a thread.

use std::time::Duration;

use rustix::time::ClockId;

/// Measures the CPU time of the current thread, so time that other threads and processes take is not counted.
pub(crate) struct Clock(Duration);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Self::now())
    }

    /// CPU time since the start or the last lap.
    pub(crate) fn lap(&mut self) -> Duration {
        let now = Self::now();
        now.saturating_sub(std::mem::replace(&mut self.0, now))
    }

    fn now() -> Duration {
        let now = rustix::time::clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
    }
}

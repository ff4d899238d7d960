//! How fast bodies are sent.
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::lock::locked;

/// Largest block that is written at once.
const LARGEST_BLOCK: u64 = 256 << 10;
/// How long a block takes at most, at the slower of the two rates.
const BLOCK_TIME_MS: u64 = 10;
/// How much unused time a line makes up for, such as that of a sleep that took longer than it should.
const BURST: Duration = Duration::from_millis(10);

/// The speed of the server. The default is as fast as it goes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Speed {
    /// Time from a request to the first byte of its answer.
    pub(crate) first_byte: Duration,
    /// Bytes per second of each connection; 0 sets no limit.
    pub(crate) per_connection: u64,
    /// Bytes per second of all connections together; 0 sets no limit.
    pub(crate) total: u64,
}

impl Speed {
    /// Bytes of a block.
    pub(super) fn block(&self) -> u64 {
        let slower = [self.per_connection, self.total].into_iter().filter(|&rate| rate > 0).min();
        slower.map_or(LARGEST_BLOCK, |rate| (rate * BLOCK_TIME_MS / 1000).clamp(1 << 10, LARGEST_BLOCK))
    }
}

/// A line of a certain rate, on which each block has its time: so oversleeping in one block does not add up.
#[derive(Debug, Default)]
pub(super) struct Line {
    free_at: Option<Instant>,
}

impl Line {
    /// Books so many bytes and tells when they may start.
    fn book(&mut self, now: Instant, bytes: u64, rate: u64) -> Instant {
        if rate == 0 {
            return now;
        }
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let start = self.free_at.map_or(now, |free_at| free_at.max(earliest));
        self.free_at = Some(start + Duration::from_secs_f64(bytes as f64 / rate as f64));
        start
    }
}

/// The speed, and the line that all connections share.
#[derive(Debug, Default)]
pub(super) struct Pace {
    inner: Mutex<(Speed, Line)>,
}

impl Pace {
    pub(super) fn set(&self, speed: Speed) {
        *locked(&self.inner) = (speed, Line::default());
    }

    pub(super) fn speed(&self) -> Speed {
        locked(&self.inner).0
    }

    /// Books a block on a connection's own line and on the shared one, and tells when it may start.
    pub(super) fn book(&self, own: &mut Line, bytes: u64) -> Instant {
        let mut inner = locked(&self.inner);
        let (speed, shared) = &mut *inner;
        let now = Instant::now();
        own.book(now, bytes, speed.per_connection).max(shared.book(now, bytes, speed.total))
    }
}

//! The log of requests, and the counts of requests, connections and bytes.
//!
//! What an answer counts is noted before its last bytes are handed over: a client that has them finds them in the log.
use std::sync::Mutex;

use super::lock::locked;
use super::request::Request;

#[derive(Debug, Default)]
pub(super) struct Log {
    inner: Mutex<Counts>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    /// How often the log was cleared.
    cleared: u64,
    pub(super) requests: Vec<Request>,
    pub(super) in_flight: usize,
    pub(super) max_in_flight: usize,
    pub(super) connections: usize,
    pub(super) max_connections: usize,
    pub(super) bytes_sent: u64,
}

impl Log {
    pub(super) fn read<T>(&self, read: impl FnOnce(&Counts) -> T) -> T {
        read(&locked(&self.inner))
    }

    pub(super) fn clear(&self) {
        let mut inner = locked(&self.inner);
        let Counts { cleared, in_flight, connections, .. } = *inner;
        *inner = Counts {
            cleared: cleared + 1,
            in_flight,
            connections,
            max_in_flight: in_flight,
            max_connections: connections,
            ..Counts::default()
        };
    }

    pub(super) fn connection_began(&self) {
        let mut inner = locked(&self.inner);
        inner.connections += 1;
        inner.max_connections = inner.max_connections.max(inner.connections);
    }

    pub(super) fn connection_ended(&self) {
        locked(&self.inner).connections -= 1;
    }

    /// Enters a request and gives it its number.
    pub(super) fn enter(&self, request: &mut Request) -> Entry<'_> {
        let mut inner = locked(&self.inner);
        request.number = inner.requests.len();
        inner.requests.push(request.clone());
        inner.in_flight += 1;
        inner.max_in_flight = inner.max_in_flight.max(inner.in_flight);
        Entry { log: self, cleared: inner.cleared, number: request.number, in_flight: true }
    }
}

/// A request in the log. It is in flight until it ends or is dropped.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    log: &'a Log,
    cleared: u64,
    number: usize,
    in_flight: bool,
}

impl Entry<'_> {
    pub(super) fn status(&self, status: u16) {
        self.change(|counts, number| counts.requests[number].status = status);
    }

    pub(super) fn sent(&self, bytes: u64) {
        self.change(|counts, number| {
            counts.requests[number].bytes_sent += bytes;
            counts.bytes_sent += bytes;
        });
    }

    /// Takes back bytes that were counted too early.
    pub(super) fn not_sent(&self, bytes: u64) {
        self.change(|counts, number| {
            counts.requests[number].bytes_sent -= bytes;
            counts.bytes_sent -= bytes;
        });
    }

    /// The request is not in flight any more.
    pub(super) fn end(&mut self, done: bool) {
        self.change(|counts, number| counts.requests[number].done = done);
        if std::mem::take(&mut self.in_flight) {
            locked(&self.log.inner).in_flight -= 1;
        }
    }

    /// Changes the counts, unless the log was cleared meanwhile.
    fn change(&self, change: impl FnOnce(&mut Counts, usize)) {
        let mut inner = locked(&self.log.inner);
        if inner.cleared == self.cleared {
            change(&mut inner, self.number);
        }
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        if self.in_flight {
            self.end(false);
        }
    }
}

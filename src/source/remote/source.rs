//! An object as a [`Source`].

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::object::Object;
use super::plan::{self, GAP_BYTES, MAX_REQUEST_BYTES};
use super::running::Running;
use super::shared::Shared;
use crate::source::access::{Source, bounds};
use crate::source::fetched::Fetched;
use crate::source::prefetch::{Prefetch, ReadAhead};
use crate::{Error, Result};

/// An object in a store.
pub(crate) struct RemoteSource {
    shared: Arc<Shared>,
    object: Arc<Object>,
    /// The first bytes, if they have been received already.
    start: Bytes,
}

impl RemoteSource {
    pub(super) fn new(shared: Arc<Shared>, object: Object, start: Bytes) -> Self {
        Self { shared, object: Arc::new(object), start }
    }

    /// Checks that the range is in the object.
    fn check(&self, range: &Range<u64>) -> Result<()> {
        let failed = |e: Error| e.in_shard(&self.object.target.address).at_offset(range.start);
        bounds(range, self.len()).map(drop).map_err(failed)
    }

    fn want(&self, range: &Range<u64>) {
        self.shared.counters.wanted.fetch_add(range.end - range.start, Relaxed);
    }

    /// Begins to read a range, which is in the object.
    fn begin(&self, range: &Range<u64>) -> Begun {
        let read = |range: Range<u64>| {
            let object = Arc::clone(&self.object);
            self.shared.threads.run(async move { object.read(range).await })
        };
        let parts = plan::parts(range, MAX_REQUEST_BYTES).into_iter().map(read).collect();
        Begun { start: range.start, state: Mutex::new(State::Running(parts)) }
    }
}

impl Source for RemoteSource {
    fn len(&self) -> u64 {
        self.object.stat.len
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        self.check(&range)?;
        if range.end <= self.start.len() as u64 {
            return Ok(self.start.slice(range.start as usize..range.end as usize));
        }
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        self.want(&range);
        self.begin(&range).wait(&AtomicBool::new(false))
    }

    fn prefetch(&self, ranges: &[Range<u64>]) -> Vec<Prefetch> {
        let mut begun: Vec<Prefetch> = ranges.iter().map(|_| Prefetch::default()).collect();
        // The read of a range that is not in the object, or is empty, or is here already, has not to be begun.
        let is_begun = |range: &Range<u64>| self.check(range).is_ok() && range.end > self.start.len() as u64;
        let wanted: Vec<Range<u64>> =
            ranges.iter().map(|range| if is_begun(range) { range.clone() } else { 0..0 }).collect();
        for request in plan::requests(&wanted, GAP_BYTES, MAX_REQUEST_BYTES) {
            let bytes = Arc::new(self.begin(&request.range));
            // Whoever drops the last of its ranges frees the request's bytes; each is charged its share.
            let each = (request.range.end - request.range.start).div_ceil(request.holds.len() as u64);
            for at in request.holds {
                let (range, bytes) = (wanted[at].clone(), Arc::clone(&bytes));
                self.want(&range);
                begun[at] = Prefetch::new(each, move |stop| bytes.slice(&range, stop).map(Fetched::from));
            }
        }
        begun
    }

    fn read_ahead(&self) -> ReadAhead {
        self.shared.read_ahead
    }
}

impl fmt::Debug for RemoteSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = &self.object.target.address;
        f.debug_struct("RemoteSource").field("address", &address).field("len", &self.len()).finish_non_exhaustive()
    }
}

/// A read that several may wait for.
struct Begun {
    start: u64,
    state: Mutex<State>,
}

enum State {
    Running(Vec<Running<Bytes>>),
    Done(Result<Bytes>),
}

impl Begun {
    fn wait(&self, stop: &AtomicBool) -> Result<Bytes> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Running(parts) = &*state {
            let received: Result<Vec<Bytes>> = parts.iter().map(|part| part.wait(stop)).collect();
            let joined =
                received.map(|mut parts| if parts.len() == 1 { parts.remove(0) } else { parts.concat().into() });
            *state = State::Done(joined);
        }
        match &*state {
            State::Done(result) => result.clone(),
            State::Running(_) => Err(Error::panic(&"a request has no result")),
        }
    }

    fn slice(&self, range: &Range<u64>, stop: &AtomicBool) -> Result<Bytes> {
        let bytes = self.wait(stop)?;
        let at = |offset: u64| (offset - self.start) as usize;
        Ok(bytes.slice(at(range.start)..at(range.end)))
    }
}

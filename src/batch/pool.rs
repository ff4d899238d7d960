//! Buffers go out and come back. Comes in: a layout, how many batches may be under way, how many may exist. Goes out:
//! buffers, as long as both allow. Fails with a named error when everything the budget allows is held elsewhere.
//!
//! A batch is *under way* from the moment the loader takes its buffers until the consumer gets it; then it is *outside*
//! until it is dropped. An epoch waits while enough of its batches are under way: this is what bounds memory. A
//! consumer that keeps batches makes the number grow, up to the budget, which all epochs of a loader share (one that
//! runs beside others may exceed it by one batch).

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::{BatchBuffers, BatchLayout, Memory};
use crate::{Error, Result};

/// What all epochs of a loader share: buffers that are not in use, and the count of those that are.
#[derive(Debug)]
pub(crate) struct SharedPool {
    layout: Arc<BatchLayout>,
    memory: Memory,
    max_batches: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    spares: Vec<BatchBuffers>,
    /// Batches under way or outside, of all epochs.
    in_use: usize,
    /// Batches outside, of all epochs.
    outside: usize,
}

/// The buffers of one epoch.
#[derive(Debug)]
pub(crate) struct Pool {
    stock: Arc<SharedPool>,
    prefetch_batches: usize,
    /// Changed only while the stock is locked, as is `closed`.
    under_way: AtomicUsize,
    closed: AtomicBool,
}

impl SharedPool {
    /// At most `max_batches` of this layout at any time.
    pub(crate) fn new(layout: Arc<BatchLayout>, memory: Memory, max_batches: usize) -> Self {
        let (state, changed) = Default::default();
        Self { layout, memory, max_batches, state, changed }
    }

    pub(crate) fn layout(&self) -> &Arc<BatchLayout> {
        &self.layout
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The counts are changed in single steps: a panic cannot leave them half-changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    /// A pool for at most `prefetch_batches` under way.
    pub(crate) fn new(stock: Arc<SharedPool>, prefetch_batches: usize) -> Self {
        let (under_way, closed) = Default::default();
        Self { stock, prefetch_batches, under_way, closed }
    }

    pub(crate) fn layout(&self) -> &Arc<BatchLayout> {
        self.stock.layout()
    }

    /// Waits until one more batch may be under way, and returns its buffers; `None` once the pool is closed.
    pub(crate) fn acquire(&self) -> Result<Option<BatchBuffers>> {
        let mut state = self.stock.lock();
        while !self.closed.load(Relaxed) && !self.may_take(&state) {
            state = self.stock.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if self.closed.load(Relaxed) {
            return Ok(None);
        }
        self.under_way.fetch_add(1, Relaxed);
        state.in_use += 1;
        let spare = state.spares.pop();
        drop(state);
        spare.map_or_else(|| BatchBuffers::new(self.layout(), self.stock.memory), Ok).map(Some)
    }

    /// An epoch with nothing under way may always take one batch, unless receivers hold all of the budget: otherwise
    /// two epochs of one loader could wait for each other.
    fn may_take(&self, state: &State) -> bool {
        let (under_way, most) = (self.under_way.load(Relaxed), self.stock.max_batches);
        let room = if under_way == 0 { state.outside < most } else { state.in_use < most };
        under_way < self.prefetch_batches && room
    }

    /// A batch goes to the consumer.
    pub(crate) fn deliver(&self) {
        let mut state = self.stock.lock();
        state.outside += 1;
        self.under_way.fetch_sub(1, Relaxed);
        self.stock.changed.notify_all();
    }

    /// A batch that was outside is gone. `None` if its buffers were taken over: they are the consumer's then.
    pub(crate) fn release(&self, buffers: Option<BatchBuffers>) {
        let mut state = self.stock.lock();
        state.in_use -= 1;
        state.outside -= 1;
        if let Some(buffers) = buffers
            && state.spares.len() <= self.prefetch_batches
        {
            state.spares.push(buffers);
        }
        self.stock.changed.notify_all();
    }

    /// Why the next batch will not come, if so: none is under way, and receivers hold all that the budget allows.
    pub(crate) fn starved(&self) -> Option<Error> {
        let outside = self.stock.lock().outside;
        (self.under_way.load(Relaxed) == 0 && outside >= self.stock.max_batches).then(|| {
            let bytes = self.layout().bytes();
            Error::limit(format!(
                "memory budget used up: {outside} batches of {bytes} bytes are still held by their receivers; \
                 drop batches, or raise max_memory_bytes"
            ))
        })
    }

    /// Nothing is handed out any more; whoever waits is woken.
    pub(crate) fn close(&self) {
        let _state = self.stock.lock();
        self.closed.store(true, Relaxed);
        self.stock.changed.notify_all();
    }

    /// Batches that are still under way never will be delivered: their threads have ended.
    pub(crate) fn write_off(&self) {
        let mut state = self.stock.lock();
        state.in_use -= self.under_way.swap(0, Relaxed);
        self.stock.changed.notify_all();
    }
}

//! Buffers go out and come back. Comes in: a layout, how many batches may be under way, how many bytes may exist. Goes out: buffers, as long as both allow. Fails with
//! a named error when the consumer holds everything the budget allows.
//!
//! A batch is *under way* from the moment the loader takes its buffers until the consumer gets it; then it is *outside* until it is dropped. The loader waits
//! while enough batches are under way: this is what bounds memory. A consumer that keeps batches makes the pool grow, up to the
//! budget.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::{BatchBuffers, BatchLayout, Memory};
use crate::{Error, Result};

/// Buffers that are not in use, kept over the epochs of a loader.
#[derive(Debug, Default)]
pub(crate) struct Spares(Mutex<Vec<BatchBuffers>>);

/// The buffers of one epoch.
#[derive(Debug)]
pub(crate) struct Pool {
    layout: Arc<BatchLayout>,
    memory: Memory,
    prefetch_batches: usize,
    max_batches: usize,
    spares: Arc<Spares>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    under_way: usize,
    outside: usize,
    closed: bool,
}

impl Pool {
    /// A pool for at most `prefetch_batches` under way and `max_batches` in all.
    pub(crate) fn new(
        layout: Arc<BatchLayout>,
        memory: Memory,
        prefetch_batches: usize,
        max_batches: usize,
        spares: Arc<Spares>,
    ) -> Self {
        let (state, changed) = Default::default();
        Self { layout, memory, prefetch_batches, max_batches, spares, state, changed }
    }

    pub(crate) fn layout(&self) -> &Arc<BatchLayout> {
        &self.layout
    }

    /// Waits until one more batch may be under way, and returns its buffers; `None` once the pool is closed.
    pub(crate) fn acquire(&self) -> Result<Option<BatchBuffers>> {
        let mut state = self.lock();
        while !state.closed
            && (state.under_way >= self.prefetch_batches || state.under_way + state.outside >= self.max_batches)
        {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed {
            return Ok(None);
        }
        state.under_way += 1;
        drop(state);
        let spare = self.spares.lock().pop();
        spare.map_or_else(|| BatchBuffers::new(&self.layout, self.memory), Ok).map(Some)
    }

    /// A batch goes to the consumer.
    pub(crate) fn deliver(&self) {
        let mut state = self.lock();
        state.under_way -= 1;
        state.outside += 1;
        self.changed.notify_all();
    }

    /// A batch that was outside is gone. `None` if its buffers were taken over: they are the consumer's then.
    pub(crate) fn release(&self, buffers: Option<BatchBuffers>) {
        if let Some(buffers) = buffers {
            let mut spares = self.spares.lock();
            if spares.len() <= self.prefetch_batches {
                spares.push(buffers);
            }
        }
        self.lock().outside -= 1;
        self.changed.notify_all();
    }

    /// Why the next batch will never come, if it will not: nothing is under way, and the consumer holds all that the budget allows.
    pub(crate) fn starved(&self) -> Option<Error> {
        let state = self.lock();
        (state.under_way == 0 && state.outside >= self.max_batches).then(|| {
            let bytes = self.layout.bytes();
            Error::limit(format!(
                "memory budget used up: {} batches of {bytes} bytes are still held by their receiver; drop batches, or raise max_memory_bytes",
                state.outside
            ))
        })
    }

    /// Nothing is handed out any more; whoever waits is woken.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The counts are changed in single steps: a panic cannot leave them half-changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spares {
    fn lock(&self) -> MutexGuard<'_, Vec<BatchBuffers>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

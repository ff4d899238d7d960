//! The pool of batch buffers, which bounds the loader's memory.
//!
//! A batch is *under way* from the moment the loader acquires its buffers until the consumer receives it. Then it is
//! *delivered*, until the consumer drops it. [`Pool::acquire`] waits while `prefetch_batches` batches of its epoch are
//! under way. A consumer that keeps batches makes their number grow, up to the budget, which all epochs of a loader
//! share (an epoch that runs beside others may exceed it by one batch). When delivered batches hold the whole budget,
//! [`Pool::exhausted`] returns the error that ends the epoch.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::{BatchBuffers, BatchLayout, Memory};
use crate::{Error, Result};

/// The part of a pool that all epochs of a loader share: free buffers, and counts of those in use.
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
    free: Vec<BatchBuffers>,
    /// Batches of all epochs that are under way or delivered.
    in_use: usize,
    /// Batches of all epochs that are delivered and not yet dropped.
    delivered: usize,
}

/// The buffers of one epoch.
#[derive(Debug)]
pub(crate) struct Pool {
    shared: Arc<SharedPool>,
    prefetch_batches: usize,
    /// Batches of this epoch that are under way. Written only while the shared state is locked, as is `closed`.
    under_way: AtomicUsize,
    closed: AtomicBool,
}

impl SharedPool {
    /// A pool of at most `max_batches` batches of this layout.
    pub(crate) fn new(layout: Arc<BatchLayout>, memory: Memory, max_batches: usize) -> Self {
        let (state, changed) = Default::default();
        Self { layout, memory, max_batches, state, changed }
    }

    pub(crate) fn layout(&self) -> &Arc<BatchLayout> {
        &self.layout
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs between the updates of the counts, so a poisoned state is still consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    /// The pool of an epoch with at most `prefetch_batches` batches under way.
    pub(crate) fn new(shared: Arc<SharedPool>, prefetch_batches: usize) -> Self {
        let (under_way, closed) = Default::default();
        Self { shared, prefetch_batches, under_way, closed }
    }

    pub(crate) fn layout(&self) -> &Arc<BatchLayout> {
        self.shared.layout()
    }

    /// Waits until another batch may be under way, and returns its buffers, free ones if there are any. Returns `None`
    /// once the pool is closed.
    ///
    /// # Errors
    /// If new buffers cannot be allocated.
    pub(crate) fn acquire(&self) -> Result<Option<BatchBuffers>> {
        let mut state = self.shared.lock();
        while !self.closed.load(Relaxed) && !self.can_acquire(&state) {
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if self.closed.load(Relaxed) {
            return Ok(None);
        }
        self.under_way.fetch_add(1, Relaxed);
        state.in_use += 1;
        let free = state.free.pop();
        drop(state);
        free.map_or_else(|| BatchBuffers::new(self.layout(), self.shared.memory), Ok).map(Some)
    }

    /// An epoch with no batch under way may acquire one unless delivered batches hold the whole budget. Otherwise two
    /// epochs of one loader could wait for each other.
    fn can_acquire(&self, state: &State) -> bool {
        let (under_way, max) = (self.under_way.load(Relaxed), self.shared.max_batches);
        let fits_budget = if under_way == 0 { state.delivered < max } else { state.in_use < max };
        under_way < self.prefetch_batches && fits_budget
    }

    /// Counts a batch that was under way as delivered.
    pub(crate) fn deliver(&self) {
        let mut state = self.shared.lock();
        state.delivered += 1;
        self.under_way.fetch_sub(1, Relaxed);
        self.shared.changed.notify_all();
    }

    /// Returns the buffers of a delivered batch; `None` if the consumer keeps them for good.
    pub(crate) fn release(&self, buffers: Option<BatchBuffers>) {
        let mut state = self.shared.lock();
        state.in_use -= 1;
        state.delivered -= 1;
        if let Some(buffers) = buffers
            && state.free.len() <= self.prefetch_batches
        {
            state.free.push(buffers);
        }
        self.shared.changed.notify_all();
    }

    /// The error of a used-up budget: no batch is under way, and none can be until the consumer drops one.
    pub(crate) fn exhausted(&self) -> Option<Error> {
        let delivered = self.shared.lock().delivered;
        (self.under_way.load(Relaxed) == 0 && delivered >= self.shared.max_batches).then(|| {
            let bytes = self.layout().bytes();
            Error::limit(format!(
                "memory budget used up: {delivered} batches of {bytes} bytes are still held by their receivers; \
                 drop batches, or raise max_memory_bytes"
            ))
        })
    }

    /// Makes every call of [`Pool::acquire`], waiting or to come, return `None`.
    pub(crate) fn close(&self) {
        let _state = self.shared.lock();
        self.closed.store(true, Relaxed);
        self.shared.changed.notify_all();
    }

    /// Stops counting the batches that are under way: the threads that worked on them have ended, so they will never be
    /// delivered.
    pub(crate) fn discard_under_way(&self) {
        let mut state = self.shared.lock();
        state.in_use -= self.under_way.swap(0, Relaxed);
        self.shared.changed.notify_all();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::super::layout::test_layout;
    use super::{Memory, Pool, SharedPool};

    /// A loader's pool of `max_batches` batches.
    fn shared(max_batches: usize) -> Arc<SharedPool> {
        Arc::new(SharedPool::new(Arc::new(test_layout(2, false)), Memory::Heap, max_batches))
    }

    /// Batches in use, delivered batches, and free buffers.
    fn counts(shared: &SharedPool) -> (usize, usize, usize) {
        let state = shared.lock();
        (state.in_use, state.delivered, state.free.len())
    }

    #[test]
    fn batches_are_counted_from_acquire_to_release() {
        let shared = shared(4);
        let pool = Pool::new(Arc::clone(&shared), 2);
        let mut first = pool.acquire().unwrap().unwrap();
        let second = pool.acquire().unwrap().unwrap();
        assert_eq!(counts(&shared), (2, 0, 0));
        assert!(!pool.can_acquire(&shared.lock()), "prefetch_batches are under way");

        pool.deliver();
        pool.deliver();
        assert_eq!(counts(&shared), (2, 2, 0));
        assert!(pool.can_acquire(&shared.lock()));

        first.small.bytes_mut()[0] = 7;
        pool.release(Some(first));
        assert_eq!(counts(&shared), (1, 1, 1));
        // The consumer keeps these.
        drop(second);
        pool.release(None);
        assert_eq!(counts(&shared), (0, 0, 1));

        let reused = pool.acquire().unwrap().unwrap();
        assert_eq!(reused.small.bytes()[0], 7, "free buffers are reused as they are");
        assert_eq!(counts(&shared), (1, 0, 0));
        pool.discard_under_way();
        assert_eq!(counts(&shared), (0, 0, 0));
    }

    #[test]
    fn at_most_one_buffer_more_than_prefetched_is_kept_free() {
        let shared = shared(8);
        let pool = Pool::new(Arc::clone(&shared), 1);
        let delivered: Vec<_> = (0..4)
            .map(|_| {
                let buffers = pool.acquire().unwrap();
                pool.deliver();
                buffers
            })
            .collect();
        assert_eq!(counts(&shared), (4, 4, 0));
        delivered.into_iter().for_each(|buffers| pool.release(buffers));
        assert_eq!(counts(&shared), (0, 0, 2));
    }

    #[test]
    fn a_budget_held_by_the_consumer_is_exhausted_until_a_batch_is_dropped() {
        let shared = shared(2);
        let pool = Pool::new(Arc::clone(&shared), 2);
        let held: Vec<_> = (0..2).map(|_| pool.acquire().unwrap()).collect();
        pool.deliver();
        assert!(pool.exhausted().is_none(), "a batch is under way");
        pool.deliver();
        let error = pool.exhausted().unwrap();
        assert!(error.is_limit() && error.to_string().contains("2 batches of"), "{error}");
        assert!(!pool.can_acquire(&shared.lock()));
        held.into_iter().for_each(|buffers| pool.release(buffers));
        assert!(pool.exhausted().is_none());
        assert!(pool.can_acquire(&shared.lock()));
    }

    #[test]
    fn an_epoch_beside_another_may_exceed_the_budget_by_one_batch() {
        let shared = shared(2);
        let (first, second) = (Pool::new(Arc::clone(&shared), 2), Pool::new(Arc::clone(&shared), 2));
        let held = [first.acquire().unwrap(), first.acquire().unwrap()];
        assert!(held.iter().all(Option::is_some));
        assert!(second.acquire().unwrap().is_some());
        assert_eq!(counts(&shared), (3, 0, 0));
        assert!(!second.can_acquire(&shared.lock()));
    }

    #[test]
    fn a_release_wakes_a_waiter_and_so_does_close() {
        let shared = shared(1);
        let pool = Pool::new(Arc::clone(&shared), 1);
        let buffers = pool.acquire().unwrap();
        pool.deliver();
        thread::scope(|scope| {
            let waiter = scope.spawn(|| pool.acquire().unwrap().is_some());
            pool.release(buffers);
            assert!(waiter.join().unwrap());
            let waiter = scope.spawn(|| pool.acquire().unwrap().is_none());
            // Let it wait, where the scheduler allows.
            thread::yield_now();
            pool.close();
            assert!(waiter.join().unwrap());
        });
        assert!(pool.acquire().unwrap().is_none());
        assert_eq!(counts(&shared), (1, 0, 0));
    }
}

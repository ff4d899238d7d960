//! Locks that outlive a panic.
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Takes a lock, also after a script panicked.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

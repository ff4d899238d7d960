//! The rayon pool that indexes are read and built on.

use crate::{Error, Result};

/// Starts the global pool, unless this thread is in a pool or it is running. Rayon would panic on its first use if a
/// thread cannot be started.
///
/// # Errors
/// If a thread cannot be started.
pub(super) fn start() -> Result<()> {
    if rayon::current_thread_index().is_some() {
        return Ok(());
    }
    match rayon::ThreadPoolBuilder::new().build_global() {
        // Without a cause, the pool is running already.
        Err(e) if std::error::Error::source(&e).is_some() => Err(Error::limit(format!(
            "cannot start the threads that read indexes: {e}; raise the limit on threads (`ulimit -u`, or that of the \
             container), or set RAYON_NUM_THREADS"
        ))
        .caused_by(e)),
        _ => Ok(()),
    }
}

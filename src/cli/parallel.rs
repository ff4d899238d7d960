//! Runs work on several shards at a time, and hands over each result as soon as it is complete.
//!
//! Shards are started in order, on threads of their own. On a rayon pool, a thread that waits for a part of its shard
//! would start another shard meanwhile; then nearly all shards would be in progress at once, and none done until the
//! end.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::{sync::mpsc, thread};

use super::output::Outcome;

const MAX_JOBS: usize = 1024;

/// Runs `work` on each path, `jobs` at a time, and `done` on each result, on the calling thread.
///
/// # Errors
/// If a thread cannot be started; then no further shard is started.
pub(super) fn for_each<T: Send>(
    paths: &[PathBuf],
    jobs: NonZeroUsize,
    work: impl Fn(&Path) -> T + Sync,
    done: impl FnMut(T),
) -> Outcome {
    let next = AtomicUsize::new(0);
    let (sender, outcomes) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..jobs.get().min(paths.len()) {
            let (sender, next, work) = (sender.clone(), &next, &work);
            let body = move || {
                while let Some(path) = paths.get(next.fetch_add(1, Relaxed)) {
                    // The receiver is gone if `done` panicked.
                    if sender.send(work(path)).is_err() {
                        break;
                    }
                }
            };
            if let Err(e) = thread::Builder::new().spawn_scoped(scope, body) {
                next.store(paths.len(), Relaxed);
                return Err(no_threads(jobs, &e).into());
            }
        }
        drop(sender);
        outcomes.into_iter().for_each(done);
        Ok(())
    })
}

/// Number of cores, or 1 if the system does not tell.
pub(super) fn cores() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// Reads `--jobs`. More threads than any machine has cores would only take memory.
pub(super) fn jobs(text: &str) -> Result<NonZeroUsize, String> {
    let jobs = super::size::parse_count::<MAX_JOBS>(text)?;
    NonZeroUsize::new(jobs).ok_or_else(|| "it must be at least 1".to_owned())
}

/// The message of threads that cannot be started.
pub(super) fn no_threads(jobs: NonZeroUsize, cause: &dyn std::error::Error) -> String {
    format!(
        "cannot start {jobs} threads: {cause}; lower --jobs, or raise the limit on threads (`ulimit -u`, or that of \
         the container)"
    )
}

//! Runs work on several shards at a time, and hands over each result as soon as it is complete.
//!
//! Shards are started in order, on threads of their own. On a rayon pool, a thread that waits for a part of its shard
//! would start another shard meanwhile; then nearly all shards would be in progress at once, and none done until the
//! end.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::{sync::mpsc, thread};

/// Runs `work` on each path, `jobs` at a time, and `done` on each result, on the calling thread.
pub(super) fn for_each<T: Send>(
    paths: &[PathBuf],
    jobs: NonZeroUsize,
    work: impl Fn(&Path) -> T + Sync,
    done: impl FnMut(T),
) {
    let next = AtomicUsize::new(0);
    let (sender, outcomes) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..jobs.get().min(paths.len()) {
            let (sender, next, work) = (sender.clone(), &next, &work);
            scope.spawn(move || {
                while let Some(path) = paths.get(next.fetch_add(1, Relaxed)) {
                    // The receiver is gone if `done` panicked.
                    if sender.send(work(path)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        outcomes.into_iter().for_each(done);
    });
}

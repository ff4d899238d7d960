//! Several shards at a time. Comes in: paths, and what to do with each. Goes out: each outcome as soon as it is there.
//! Fails as the receiver of the outcomes does; then no further shard is begun.
//!
//! Shards are begun in their order by threads that do nothing else. On a rayon pool, a thread that waits for a part of
//! its shard would begin another one meanwhile, and hardly any would be done before all are.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::{sync::mpsc, thread};

use super::Outcome;

/// Does `work` on each path, `jobs` at a time, and hands what comes of it to `done`, on this thread.
pub(super) fn each<T: Send>(
    paths: &[PathBuf],
    jobs: NonZeroUsize,
    work: impl Fn(&Path) -> T + Sync,
    done: impl FnMut(T) -> Outcome,
) -> Outcome {
    let next = AtomicUsize::new(0);
    let (sender, outcomes) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..jobs.get().min(paths.len()) {
            let (sender, next, work) = (sender.clone(), &next, &work);
            scope.spawn(move || {
                while let Some(path) = paths.get(next.fetch_add(1, Relaxed)) {
                    // Nobody listens any more after a failure.
                    if sender.send(work(path)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        outcomes.into_iter().try_for_each(done)
    })
}

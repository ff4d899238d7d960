//! The one runtime for asynchronous code, and how threads wait for what runs on it.

use std::future::Future;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use tokio::runtime::{Builder, Runtime};
use tokio::task::AbortHandle;

use crate::{Error, ErrorKind, Result};

/// How often a thread that waits looks whether the result is still wanted.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);
/// Threads of the runtime. Each receives about a gigabyte a second.
const MAX_THREADS: usize = 4;

/// The runtime, which starts with the first request; its threads end when it is dropped, and with them all requests.
#[derive(Debug, Default)]
pub(super) struct Threads(OnceLock<Result<Runtime>>);

impl Threads {
    fn start() -> Result<Runtime> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Builder::new_multi_thread()
            .worker_threads(cores.min(MAX_THREADS))
            .thread_name("maskstream-net")
            .enable_all()
            .build()
            .map_err(|e| Error::limit(format!("cannot start the threads for requests: {e}")).caused_by(e))
    }

    /// Runs `work`, which goes on until it is done or the result is dropped.
    pub(super) fn run<T: Send + 'static>(&self, work: impl Future<Output = Result<T>> + Send + 'static) -> Running<T> {
        let (sender, receiver) = bounded(1);
        let task = match self.0.get_or_init(Self::start) {
            Ok(runtime) => {
                // The receiver is gone if nobody wants the result any more.
                let task = runtime.spawn(async move { drop(sender.send(work.await)) });
                Some(task.abort_handle())
            }
            Err(error) => {
                let _ = sender.send(Err(error.clone()));
                None
            }
        };
        Running { receiver, task }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // Does not wait: whoever drops the last handle may itself be in asynchronous code, where waiting panics.
        self.0.take().into_iter().flatten().for_each(Runtime::shutdown_background);
    }
}

/// Work on the runtime. Dropping it ends the work.
#[derive(Debug)]
pub(super) struct Running<T> {
    receiver: Receiver<Result<T>>,
    task: Option<AbortHandle>,
}

impl<T> Running<T> {
    /// Waits for the result.
    ///
    /// # Errors
    /// Those of the work, and if `stop` becomes true meanwhile.
    pub(super) fn wait(&self, stop: &AtomicBool) -> Result<T> {
        loop {
            match self.receiver.recv_timeout(CHECK_INTERVAL) {
                Ok(result) => return result,
                Err(RecvTimeoutError::Timeout) if stop.load(Relaxed) => {
                    return Err(Error::new(ErrorKind::Io, "nobody waits for the bytes any more"));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::panic(&"a request ended without a result"));
                }
            }
        }
    }
}

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        self.task.iter().for_each(AbortHandle::abort);
    }
}

//! The feed thread: walks the plan, acquires buffers for each batch, reads the bytes of its samples, and sends them to
//! the workers in planned order, each with its slot. A sample that cannot be read is an error of its batch. If a batch
//! has no samples or buffers because of an error, that error is sent to the consumer and the feed ends.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crossbeam_channel::Sender;

use super::reader::Reader;
use super::worker::{Job, Message, PendingBatch, locate};
use crate::Error;
use crate::batch::{BatchBuffers, Pool, slots};
use crate::shard::SampleId;

/// The state of the feed thread.
pub(super) struct Feed {
    pub(super) reader: Reader,
    pub(super) pool: Arc<Pool>,
    /// The first step.
    pub(super) first: u64,
    pub(super) jobs: Sender<Job>,
    pub(super) messages: Sender<Message>,
}

impl Feed {
    /// The body of the feed thread: walks the plan to its end, or until the epoch is dropped.
    pub(super) fn run(mut self) {
        // Sending fails only if the epoch was dropped.
        match self.walk() {
            Ok(Some(steps)) => drop(self.messages.send(Message::End { steps })),
            Ok(None) => {}
            Err((step, error)) => drop(self.messages.send(Message::Failed { step, error })),
        }
    }

    /// Returns the number of steps at the end of the plan, or `None` if the epoch was dropped.
    ///
    /// # Errors
    /// The step at which there is no batch, and why.
    fn walk(&mut self) -> Result<Option<u64>, (u64, Error)> {
        for step in self.first.. {
            let samples = self.reader.batch(step).map_err(|error| (step, error))?;
            let Some(samples) = samples else { return Ok(Some(step)) };
            let Some(buffers) = self.pool.acquire().map_err(|error| (step, error))? else { return Ok(None) };
            if !self.send(step, samples, buffers) {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// Reads the samples of one batch and sends them to the workers; `false` if the epoch was dropped.
    fn send(&mut self, step: u64, samples: Vec<Option<SampleId>>, buffers: BatchBuffers) -> bool {
        let errors = Default::default();
        let pending = Arc::new(PendingBatch { step, samples, errors, messages: self.messages.clone() });
        // All jobs are created first, because dropping one finishes its slot, also on an early return below.
        let jobs: Vec<_> =
            slots(self.pool.layout(), buffers).into_iter().map(|slot| Job::new(slot, &pending)).collect();
        for mut job in jobs {
            if self.reader.stop.load(Relaxed) {
                return false;
            }
            let Some(sample) = job.sample() else {
                job.pad();
                continue;
            };
            match self.reader.read(step, sample) {
                Ok(bytes) => job.bytes = Some(bytes),
                Err(error) => {
                    job.fail(locate(&*self.reader.samples, sample, error));
                    continue;
                }
            }
            if self.jobs.send(job).is_err() {
                return false;
            }
        }
        true
    }
}

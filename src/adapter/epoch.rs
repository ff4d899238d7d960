//! Epoch -> tensors, batch by batch. Comes in: an [`Epoch`] and what makes a framework's tensors of a batch. Goes out:
//! an iterator over those. Fails as the epoch does and as the framework does; nothing follows an error.

use std::fmt;

use crate::batch::Batch;
use crate::loader::{Epoch, EpochReport, LoaderStats};
use crate::order::Cursor;
use crate::{Error, Result};

type Convert<T> = dyn Fn(Batch) -> Result<T> + Send + Sync;

/// An [`Epoch`] whose batches are tensors: `T` is the framework's batch.
pub struct TensorEpoch<T> {
    epoch: Epoch,
    convert: Box<Convert<T>>,
    /// Set by an error: nothing follows it.
    ended: bool,
}

impl<T> TensorEpoch<T> {
    pub(super) fn new(epoch: Epoch, convert: impl Fn(Batch) -> Result<T> + Send + Sync + 'static) -> Self {
        Self { epoch, convert: Box::new(convert), ended: false }
    }

    /// Figures so far.
    pub fn stats(&self) -> LoaderStats {
        self.epoch.stats()
    }

    /// What has become of its samples so far, as [`Epoch::report`].
    pub fn report(&self) -> EpochReport {
        self.epoch.report()
    }

    /// Where it stands, as [`Epoch::cursor`].
    pub fn cursor(&self) -> Option<Cursor> {
        self.epoch.cursor()
    }

    /// The epoch's number.
    pub fn number(&self) -> u64 {
        self.epoch.number()
    }

    /// Number of batches, as [`Epoch::steps`].
    pub fn steps(&self) -> Option<u64> {
        self.epoch.steps()
    }
}

impl<T> Iterator for TensorEpoch<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let batch = match self.epoch.next()? {
            Ok(batch) => (self.convert)(batch).inspect_err(|error: &Error| self.epoch.refuse(error)),
            Err(error) => Err(error),
        };
        self.ended = batch.is_err();
        Some(batch)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        if self.ended { (0, Some(0)) } else { self.epoch.size_hint() }
    }
}

impl<T> fmt::Debug for TensorEpoch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { epoch, ended, .. } = self;
        f.debug_struct("TensorEpoch").field("epoch", epoch).field("ended", ended).finish_non_exhaustive()
    }
}

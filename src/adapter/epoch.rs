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

#[cfg(all(test, feature = "synth"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use crate::synth::{Preset, SynthOptions, write_shard};
    use crate::{Error, Loader, ShardSet};

    use super::TensorEpoch;

    #[test]
    fn a_batch_that_does_not_become_tensors_ends_the_epoch_and_is_accounted_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sa_000000.tar");
        write_shard(&path, 0, &SynthOptions::new(Preset::Small).samples(9)).unwrap();
        let set = ShardSet::builder().open(&[path]).unwrap();
        let loader = Loader::builder().batch_size(2).image_size(32).build(set).unwrap();
        let convert = |batch: crate::Batch| match batch.step() {
            1 => Err(Error::limit("no memory on the device")),
            step => Ok(step),
        };
        let mut epoch = TensorEpoch::new(loader.epoch(0).unwrap(), convert);
        assert_eq!(epoch.next().unwrap().unwrap(), 0);
        let after_first = epoch.cursor().unwrap();
        assert!(epoch.next().unwrap().unwrap_err().to_string().contains("no memory on the device"));
        assert!(epoch.next().is_none());
        // The batch counts as lost with all that would have followed, and training goes on with it.
        let report = epoch.report();
        assert_eq!((report.delivered, report.lost, report.outstanding, report.planned), (2, 7, 0, Some(9)));
        assert_eq!((epoch.cursor(), loader.cursor()), (Some(after_first), after_first));
        drop(epoch);
        let steps = TensorEpoch::new(loader.resume_from(&after_first).unwrap(), |batch| Ok(batch.step()));
        assert_eq!(steps.map(Result::unwrap).collect::<Vec<_>>(), [1, 2, 3, 4]);
    }
}

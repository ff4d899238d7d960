//! A loader as Burn's trainer takes it, and how it is split over devices.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn_core::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn_core::data::dataset::DatasetError;
use burn_core::tensor::Device;

use super::BurnBatch;
use crate::{Cursor, Epoch, Error, Loader, Result};

/// Most devices of one process: a split over more is refused.
const MOST_DEVICES: usize = 64;
/// Most devices where samples are few.
const FEW_DEVICES: usize = 8;

/// A [`Loader`] as Burn's trainer takes it: a `DataLoader` of [`BurnBatch`]es.
///
/// Each `iter` runs the next epoch, from 0 or [`BurnLoader::first_epoch`] on. An epoch that cannot be started or that
/// fails yields its error as last item, and the trainer stops.
///
/// # Several devices
///
/// A trainer with several devices splits its loader: it cuts the range of items into equal parts and gives the rest to
/// the last one. Taken literally, devices would have different numbers of batches and wait for each other for ever.
/// Here a part is every n-th sample of the same order, as if the device were one more rank. So all have the same number
/// of batches, of `batch_size` samples each, and a step of n devices equals the step of one device with n times the
/// batch. Samples that do not fill the last batch of all devices are padded, or left out and counted in
/// [`EpochReport::dropped`](crate::EpochReport::dropped), as [`drop_last`](crate::LoaderBuilder::drop_last) says.
///
/// `BurnLoader` recovers the device and the number of devices from the range alone, which limits the splits:
///
/// | samples | devices that can be told apart | [`num_items`](DataLoader::num_items) |
/// |---|---|---|
/// | 266,240 or more | up to 64 | the samples |
/// | 345 or more | up to 8 | the samples |
/// | 56 or more | up to 8 | rounded down by at most an eighth |
/// | fewer | fewer than 8 | rounded down by at most an eighth |
///
/// No sample is left out by the rounding. The first item of a part that cannot be recovered is an error.
///
/// All parts share the loader's memory budget for batches. Each part has `num_workers` threads of its own, and the
/// memory plan includes those of one part: divide `num_workers` by the number of devices.
///
/// ```no_run
/// # fn with(loader: maskstream::Loader, device: burn_core::tensor::Device) -> maskstream::Result<()> {
/// use std::sync::Arc;
///
/// use burn_core::data::dataloader::DataLoader;
/// use maskstream::{BurnBatch, BurnLoader};
///
/// // For `SupervisedTraining::new`:
/// let train: Arc<dyn DataLoader<BurnBatch>> = Arc::new(BurnLoader::new(loader, &device)?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct BurnLoader {
    /// Or why there is none.
    loader: Result<Loader>,
    device: Device,
    /// What it calls the number of its samples.
    items: usize,
    /// A split over so many devices is told from the ranges of its parts.
    most_devices: usize,
    next: Arc<Mutex<Next>>,
}

/// What the next `iter` is.
#[derive(Clone, Copy, Debug)]
struct Next {
    epoch: u64,
    /// Where it begins, if not at the start.
    cursor: Option<Cursor>,
}

impl BurnLoader {
    /// Batches of `loader` on `device`, which a trainer replaces by its own.
    ///
    /// # Errors
    /// If a shard has no index: Burn asks for the number of items first.
    pub fn new(loader: Loader, device: &Device) -> Result<Self> {
        let samples = loader.planned_samples()?;
        let (items, most_devices) = clear_total(usize::try_from(samples).unwrap_or(usize::MAX));
        let next = Arc::new(Mutex::new(Next { epoch: 0, cursor: None }));
        Ok(Self { loader: Ok(loader), device: device.clone(), items, most_devices, next })
    }

    /// The number of the epoch that the first `iter` runs: after a restart, of those that are done. (Burn counts epochs
    /// from 1, so its checkpoint number n is followed by epoch number n here.) Default: 0.
    pub fn first_epoch(self, epoch: u64) -> Self {
        *self.next() = Next { epoch, cursor: None };
        self
    }

    /// Has the first `iter` run the rest of the epoch that a cursor stands in, as [`Loader::resume_from`]; whole epochs
    /// follow. Of a loader that a trainer splits, the cursor is that of a [`BurnBatch`], and devices times `batch_size`
    /// is the same as then. One that does not fit is the error that `iter` begins with.
    pub fn resume_from(self, cursor: &Cursor) -> Self {
        *self.next() = Next { epoch: cursor.epoch(), cursor: Some(*cursor) };
        self
    }

    fn next(&self) -> MutexGuard<'_, Next> {
        // It is only ever assigned as a whole.
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the epoch whose turn it is.
    fn start(&self) -> Result<Epoch<BurnBatch>> {
        let loader = self.loader.as_ref().map_err(Error::clone)?;
        let Next { epoch, cursor } = {
            let mut next = self.next();
            let now = *next;
            *next = Next { epoch: now.epoch.saturating_add(1), cursor: None };
            now
        };
        let started = match cursor {
            Some(cursor) => loader.resume_from(&cursor)?,
            None => loader.epoch(epoch)?,
        };
        Ok(started.burn(&self.device))
    }

    /// The share that a range of items stands for.
    fn part(&self, range: Range<usize>) -> Result<Loader> {
        let loader = self.loader.as_ref().map_err(Error::clone)?;
        let (items, most) = (self.items, self.most_devices);
        let Some((device, devices)) = part_of(items, most, &range) else {
            return Err(Error::config(format!(
                "items {range:?} of {items} do not identify one device: they can be split evenly over \
                 up to {most} devices"
            )));
        };
        loader.share(device, devices)
    }
}

impl DataLoader<BurnBatch> for BurnLoader {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<BurnBatch> + 'a> {
        let epoch = self.start();
        let steps_done = epoch.as_ref().map_or(0, |epoch| epoch.report().first_step);
        Box::new(Batches { epoch: Some(epoch), items: self.items, steps_done })
    }

    fn num_items(&self) -> usize {
        self.items
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<BurnBatch>> {
        let Self { items, most_devices, .. } = *self;
        let loader = self.loader.as_ref().map(Loader::clone).map_err(Error::clone);
        Arc::new(Self { loader, device: device.clone(), items, most_devices, next: Arc::clone(&self.next) })
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<BurnBatch>> {
        let items = end.saturating_sub(start);
        // Each part counts its own epochs.
        let next = Arc::new(Mutex::new(*self.next()));
        let loader = self.part(start..end);
        Arc::new(Self { loader, device: self.device.clone(), items, most_devices: self.most_devices, next })
    }
}

/// One epoch, as Burn takes it.
struct Batches {
    /// `None` behind its end; an error is yet to be yielded.
    epoch: Option<Result<Epoch<BurnBatch>>>,
    items: usize,
    steps_done: u64,
}

impl Iterator for Batches {
    type Item = Result<BurnBatch, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = match self.epoch.as_mut()? {
            Ok(epoch) => epoch.next(),
            Err(_) => self.epoch.take().and_then(Result::err).map(Err),
        };
        if let Some(Ok(batch)) = &batch {
            self.steps_done = batch.step + 1;
        }
        batch.map(|batch| batch.map_err(DatasetError::new))
    }
}

impl DataLoaderIterator<BurnBatch> for Batches {
    /// The share of its batches that have come, in items: all of them with the last batch, and not before.
    fn progress(&self) -> Progress {
        let steps = match &self.epoch {
            Some(Ok(epoch)) => epoch.steps().unwrap_or(0),
            _ => 0,
        };
        let done = u128::from(self.steps_done) * self.items as u128;
        let processed = done.checked_div(u128::from(steps)).unwrap_or(0) as usize;
        Progress::new(processed, self.items, Some("items".to_owned()))
    }
}

/// The largest number of items up to `samples` of which splits can be told apart, and over how many devices.
fn clear_total(samples: usize) -> (usize, usize) {
    // The parts of n devices have `total` / n items, the last one up to n - 1 more: fewer than any of n - 1 devices
    // have if `total` is n * n * (n + 1) or more.
    if samples >= MOST_DEVICES * MOST_DEVICES * (MOST_DEVICES + 1) {
        return (samples, MOST_DEVICES);
    }
    let is_clear = |total: usize, most: usize| {
        (1..=most).all(|devices| {
            (0..devices).all(|device| part_of(total, most, &part(total, device, devices)) == Some((device, devices)))
        })
    };
    let clear =
        |most| (samples - samples / 8..=samples).rev().find(|&total| is_clear(total, most)).map(|total| (total, most));
    (1..=FEW_DEVICES).rev().find_map(clear).unwrap_or((samples, 1))
}

/// The part of a device, as Burn cuts it.
fn part(total: usize, device: usize, devices: usize) -> Range<usize> {
    let step = total / devices;
    let end = if device + 1 == devices { total } else { (device + 1) * step };
    device * step..end
}

/// Which device of how many, up to `most`, the range is the part of; `None` if none or several are.
fn part_of(total: usize, most: usize, range: &Range<usize>) -> Option<(usize, usize)> {
    let fits = |devices: usize| {
        let device = range.start.checked_div(total / devices)?;
        (device < devices && part(total, device, devices) == *range).then_some((device, devices))
    };
    let mut found = (1..=most).filter_map(fits);
    found.next().filter(|_| found.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_told(total: usize, devices: usize, most: usize) -> bool {
        (0..devices).all(|device| part_of(total, most, &part(total, device, devices)) == Some((device, devices)))
    }

    #[test]
    fn every_split_of_many_items_is_told_apart() {
        for samples in [266_240, 266_241, 270_000, 11_185_362] {
            assert_eq!(clear_total(samples), (samples, MOST_DEVICES));
            assert!((1..=MOST_DEVICES).all(|devices| all_told(samples, devices, MOST_DEVICES)), "{samples}");
        }
    }

    #[test]
    fn few_items_are_rounded_down_by_an_eighth_at_most() {
        for samples in 0..2000 {
            let (items, most) = clear_total(samples);
            assert!(items <= samples && items >= samples - samples / 8, "{samples}");
            assert!((1..=most).all(|devices| items == 0 || all_told(items, devices, most)), "{samples}");
            assert!(samples < 56 || most == FEW_DEVICES, "{samples}");
            assert!(samples < 345 || items == samples, "{samples}");
        }
    }
}

//! [`BurnLoader`]: a loader for Burn's trainer, and its split over several devices.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn_core::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn_core::data::dataset::DatasetError;
use burn_core::tensor::Device;

use super::BurnBatch;
use crate::{Cursor, Epoch, Error, Loader, Result};

/// Largest number of devices of one process: a split over more is an error.
const MAX_DEVICES: usize = 64;
/// Largest number of devices if there are few samples.
const MAX_DEVICES_OF_FEW: usize = 8;

/// A [`Loader`] for Burn's trainer: a `DataLoader` of [`BurnBatch`]es.
///
/// Each call of `iter` starts the next epoch, beginning with 0 or [`BurnLoader::first_epoch`]. If an epoch cannot be
/// started or fails, its last item is the error, and the trainer stops.
///
/// # Several devices
///
/// A trainer with several devices splits its loader: it cuts the range of items into equal parts and adds the remainder
/// to the last one. With literal ranges, devices could have different numbers of batches and wait for each other
/// forever. `BurnLoader` gives each device every n-th sample of the same order instead, as if the device were another
/// rank. So all devices have the same number of batches of `batch_size` samples, and a step of n devices equals the
/// step of one device with n times the batch size. Samples that do not fill the last batch of all devices are padded,
/// or left out and counted in [`EpochReport::dropped`](crate::EpochReport::dropped), depending on
/// [`drop_last`](crate::LoaderBuilder::drop_last).
///
/// `BurnLoader` recovers the device and the number of devices from the range alone, which limits the splits:
///
/// | samples | devices that can be recovered | [`num_items`](DataLoader::num_items) |
/// |---|---|---|
/// | 266,240 or more | up to 64 | the samples |
/// | 345 or more | up to 8 | the samples |
/// | 56 or more | up to 8 | rounded down by at most an eighth |
/// | fewer | fewer than 8 | rounded down by at most an eighth |
///
/// The rounding affects only `num_items`: no sample is left out. If a part cannot be recovered, its first item is an
/// error.
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
    /// The loader, or the error that the first item will be.
    loader: Result<Loader>,
    device: Device,
    /// The number of samples as `num_items` reports it: rounded so that splits can be recovered.
    items: usize,
    /// Splits over up to this many devices can be recovered from the ranges of their parts.
    max_devices: usize,
    next: Arc<Mutex<Next>>,
}

/// The epoch that the next `iter` starts.
#[derive(Clone, Copy, Debug)]
struct Next {
    epoch: u64,
    /// The position to resume at; `None` for the whole epoch.
    cursor: Option<Cursor>,
}

impl BurnLoader {
    /// Batches of `loader` on `device`, which a trainer replaces by its own device.
    ///
    /// # Errors
    /// If a shard has no index: Burn needs the number of items before the first epoch.
    pub fn new(loader: Loader, device: &Device) -> Result<Self> {
        let samples = loader.planned_samples()?;
        let (items, max_devices) = recoverable_items(usize::try_from(samples).unwrap_or(usize::MAX));
        let next = Arc::new(Mutex::new(Next { epoch: 0, cursor: None }));
        Ok(Self { loader: Ok(loader), device: device.clone(), items, max_devices, next })
    }

    /// Index of the epoch that the first `iter` starts: after a restart, the number of completed epochs. (Burn counts
    /// epochs from 1, so its checkpoint number n is followed by epoch n here.) Default: 0.
    pub fn first_epoch(self, epoch: u64) -> Self {
        *self.next() = Next { epoch, cursor: None };
        self
    }

    /// Makes the first `iter` resume an epoch at a cursor, as [`Loader::resume_from`]; whole epochs follow. If the
    /// trainer splits the loader over devices, use the cursor of a [`BurnBatch`], with the same number of devices times
    /// `batch_size`. If the cursor does not fit, the first item of `iter` is the error.
    pub fn resume_from(self, cursor: &Cursor) -> Self {
        *self.next() = Next { epoch: cursor.epoch(), cursor: Some(*cursor) };
        self
    }

    fn next(&self) -> MutexGuard<'_, Next> {
        // The value is always assigned as a whole, so it is consistent after a panic.
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the next epoch.
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

    /// The part of the loader that belongs to a range of items.
    fn part(&self, range: Range<usize>) -> Result<Loader> {
        let loader = self.loader.as_ref().map_err(Error::clone)?;
        let (items, max_devices) = (self.items, self.max_devices);
        let Some((device, devices)) = part_of(items, max_devices, &range) else {
            return Err(Error::config(format!(
                "items {range:?} of {items} do not identify one device: they can be split evenly over \
                 up to {max_devices} devices"
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
        let Self { items, max_devices, .. } = *self;
        let loader = self.loader.clone();
        Arc::new(Self { loader, device: device.clone(), items, max_devices, next: Arc::clone(&self.next) })
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<BurnBatch>> {
        let items = end.saturating_sub(start);
        // Each part counts its own epochs.
        let next = Arc::new(Mutex::new(*self.next()));
        let loader = self.part(start..end);
        Arc::new(Self { loader, device: self.device.clone(), items, max_devices: self.max_devices, next })
    }
}

/// One epoch as an iterator for Burn.
struct Batches {
    /// `None` after the error has been returned.
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
    /// The share of the batches that have been returned, in items: all of them after the last batch, and not before.
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

/// The largest number of items, up to `samples`, whose splits can all be recovered, and over how many devices.
fn recoverable_items(samples: usize) -> (usize, usize) {
    // The parts of n devices have `total` / n items, the last one up to n - 1 more. If `total` is n * n * (n + 1) or
    // more, that is fewer than the items of any part of n - 1 devices, so all splits differ.
    if samples >= MAX_DEVICES * MAX_DEVICES * (MAX_DEVICES + 1) {
        return (samples, MAX_DEVICES);
    }
    let is_recoverable = |total: usize, max_devices: usize| {
        (1..=max_devices).all(|devices| {
            (0..devices)
                .all(|device| part_of(total, max_devices, &part(total, device, devices)) == Some((device, devices)))
        })
    };
    let largest = |max_devices| {
        let totals = samples - samples / 8..=samples;
        totals.rev().find(|&total| is_recoverable(total, max_devices)).map(|total| (total, max_devices))
    };
    (1..=MAX_DEVICES_OF_FEW).rev().find_map(largest).unwrap_or((samples, 1))
}

/// The range of items that Burn gives to a device.
fn part(total: usize, device: usize, devices: usize) -> Range<usize> {
    let step = total / devices;
    let end = if device + 1 == devices { total } else { (device + 1) * step };
    device * step..end
}

/// The device, and the number of devices up to `max_devices`, whose part is this range; `None` if that is ambiguous or
/// there is none.
fn part_of(total: usize, max_devices: usize, range: &Range<usize>) -> Option<(usize, usize)> {
    let fits = |devices: usize| {
        let device = range.start.checked_div(total / devices)?;
        (device < devices && part(total, device, devices) == *range).then_some((device, devices))
    };
    let mut found = (1..=max_devices).filter_map(fits);
    found.next().filter(|_| found.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_recovered(total: usize, devices: usize, most: usize) -> bool {
        (0..devices).all(|device| part_of(total, most, &part(total, device, devices)) == Some((device, devices)))
    }

    #[test]
    fn every_split_of_many_items_is_recovered() {
        for samples in [266_240, 266_241, 270_000, 11_185_362] {
            assert_eq!(recoverable_items(samples), (samples, MAX_DEVICES));
            assert!((1..=MAX_DEVICES).all(|devices| all_recovered(samples, devices, MAX_DEVICES)), "{samples}");
        }
    }

    #[test]
    fn few_items_are_rounded_down_by_an_eighth_at_most() {
        for samples in 0..2000 {
            let (items, most) = recoverable_items(samples);
            assert!(items <= samples && items >= samples - samples / 8, "{samples}");
            assert!((1..=most).all(|devices| items == 0 || all_recovered(items, devices, most)), "{samples}");
            assert!(samples < 56 || most == MAX_DEVICES_OF_FEW, "{samples}");
            assert!(samples < 345 || items == samples, "{samples}");
        }
    }
}

//! Batch -> Burn tensors. Comes in: a batch and a device. Goes out: a [`BurnBatch`]; or a [`BurnLoader`], which is what
//! Burn's trainer takes. Fails on a device that lacks a number type, and as Burn does: its panics become errors.

use std::mem::take;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn_core::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn_core::data::dataset::DatasetError;
use burn_core::tensor::kind::Basic;
use burn_core::tensor::{AllocationProperty, Bytes, DType as BurnDType, Device, Int, Tensor, TensorData};
use bytemuck::cast_slice;

use super::TensorEpoch;
use crate::batch::{Batch, BatchBuffers, BatchLayout, Buffer, FieldSpec, SampleError};
use crate::dtype::DType;
use crate::loader::{Epoch, Loader};
use crate::order::Cursor;
use crate::shard::SampleId;
use crate::{Error, Result};

/// Most devices of one process: a split over more is refused.
const MOST_DEVICES: usize = 64;
/// Most devices where samples are few.
const FEW_DEVICES: usize = 8;

/// The fields of a [`Batch`] as Burn tensors; shapes and number types as there. B is the batch size, K the masks per
/// image, S the image side, h x w the mask grid, G the coverage grid.
///
/// Burn's tensors may have any number type of their kind, and keep it when computing: cast what is u8 here
/// (`masks.float()`, or `masks.cast(..)`) before adding it up.
#[derive(Debug)]
#[non_exhaustive]
pub struct BurnBatch {
    /// `[B, 3, S, S]`, of the image type asked for.
    pub images: BurnImages,
    /// `[B, K, h, w]`, u8.
    pub masks: Option<Tensor<4, Int>>,
    /// `[B, K, G, G]`, f32.
    pub coverage: Option<Tensor<4>>,
    /// `[B, K, 4]`, f32.
    pub boxes: Tensor<3>,
    /// `[B, K]`, f32: the confidence.
    pub predicted_iou: Tensor<2>,
    /// `[B, K]`, f32.
    pub stability_score: Tensor<2>,
    /// `[B, K]`, f32: pixels of the original image.
    pub area: Tensor<2>,
    /// `[B, K, 2]`, f32.
    pub points: Tensor<3>,
    /// `[B, K]`, i64.
    pub annotation_ids: Tensor<2, Int>,
    /// `[B, K]`, u8: which of the K are real.
    pub valid: Tensor<2, Int>,
    /// `[B]`, i64.
    pub image_ids: Tensor<1, Int>,
    /// `[B, 2]`, u32: height, width.
    pub original_sizes: Tensor<2, Int>,
    /// `[B, 6]`, f32: map from original to canvas pixels.
    pub geometry: Tensor<2>,
    /// `[B]`, u8: which rows are real.
    pub image_valid: Tensor<1, Int>,
    /// `[B, G, G]`, u8: which patches are image, not padding. There if coverage is.
    pub patch_valid: Option<Tensor<3, Int>>,
    /// The epoch it belongs to.
    pub epoch: u64,
    /// Its number in the epoch.
    pub step: u64,
    /// Where training stands once this batch has been used, as [`Batch::cursor`].
    pub cursor: Option<Cursor>,
    /// The sample planned for each row.
    pub samples: Vec<Option<SampleId>>,
    /// Rows that could not be decoded.
    pub errors: Vec<SampleError>,
}

/// Images, `[B, 3, S, S]`: Burn has a type for each kind of number.
#[derive(Clone, Debug)]
pub enum BurnImages {
    /// 0 to 255, u8.
    Bytes(Tensor<4, Int>),
    /// f32, f16 or bf16, normalized.
    Floats(Tensor<4>),
}

impl BurnImages {
    /// Floats as they are; bytes as the device's default floats, 0 to 255.
    pub fn float(self) -> Tensor<4> {
        match self {
            Self::Bytes(bytes) => bytes.float(),
            Self::Floats(floats) => floats,
        }
    }
}

impl Batch {
    /// Turns the batch into tensors on `device`; the large fields are handed over, not copied: see the table at
    /// [`BurnEpoch`].
    ///
    /// # Errors
    /// If the device lacks the number type of a field (WebGPU has no u8), or Burn cannot make a tensor.
    #[allow(
        clippy::wrong_self_convention,
        reason = "moves its buffers into the tensors; named as Burn's own conversions are"
    )]
    pub fn into_burn(mut self, device: &Device) -> Result<BurnBatch> {
        let (epoch, step, cursor) = (self.epoch(), self.step(), self.cursor().copied());
        let (samples, errors) = (self.samples().to_vec(), self.take_errors());
        let layout = self.layout().clone();
        let memory = match self.take_heap_buffers() {
            Some(buffers) => BatchMemory::Own(buffers),
            None => BatchMemory::OfPool(Arc::new(self)),
        };
        let mut fields = Fields { layout: &layout, memory, device };
        Ok(BurnBatch {
            images: match layout.image_dtype {
                DType::U8 => BurnImages::Bytes(fields.always("images")?),
                _ => BurnImages::Floats(fields.always("images")?),
            },
            masks: fields.tensor("masks")?,
            coverage: fields.tensor("coverage")?,
            boxes: fields.always("boxes")?,
            predicted_iou: fields.always("predicted_iou")?,
            stability_score: fields.always("stability_score")?,
            area: fields.always("area")?,
            points: fields.always("points")?,
            annotation_ids: fields.always("annotation_ids")?,
            valid: fields.always("valid")?,
            image_ids: fields.always("image_ids")?,
            original_sizes: fields.always("original_sizes")?,
            geometry: fields.always("geometry")?,
            image_valid: fields.always("image_valid")?,
            patch_valid: fields.tensor("patch_valid")?,
            epoch,
            step,
            cursor,
            samples,
            errors,
        })
    }
}

/// A batch that is being turned into tensors.
struct Fields<'a> {
    layout: &'a BatchLayout,
    memory: BatchMemory,
    device: &'a Device,
}

enum BatchMemory {
    /// Vectors, which tensors take over.
    Own(BatchBuffers),
    /// Buffers that go back to the pool with the last tensor.
    OfPool(Arc<Batch>),
}

/// One field of a batch, which it keeps from the pool.
struct Held {
    batch: Arc<Batch>,
    spec: FieldSpec,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        self.batch.bytes_of(&self.spec)
    }
}

impl Fields<'_> {
    fn always<const D: usize, K: Basic>(&mut self, name: &str) -> Result<Tensor<D, K>> {
        self.tensor(name)?.ok_or_else(|| Error::config(format!("the batch has no field {name}")))
    }

    /// The tensor of a field, if the batch has it. Its number type is named to Burn, which would convert it otherwise.
    fn tensor<const D: usize, K: Basic>(&mut self, name: &str) -> Result<Option<Tensor<D, K>>> {
        let Some(spec) = self.layout.field(name) else { return Ok(None) };
        let dtype = match spec.dtype {
            DType::U8 => BurnDType::U8,
            DType::U32 => BurnDType::U32,
            DType::I64 => BurnDType::I64,
            DType::F16 => BurnDType::F16,
            DType::Bf16 => BurnDType::BF16,
            DType::F32 => BurnDType::F32,
        };
        let refused = |error: Error| {
            Error::new(error.kind(), format!("cannot make the tensor {name}: {}", error.message())).caused_by(error)
        };
        let make = || {
            if !self.device.supports_dtype(dtype) {
                return Err(Error::config(format!("the device {:?} has no numbers of type {dtype:?}", self.device)));
            }
            let data = TensorData::try_from_bytes(self.bytes(spec), spec.shape.clone(), dtype);
            let data = data.map_err(|e| Error::limit(e.to_string()).caused_by(e))?;
            Ok(Some(Tensor::from_data(data, (self.device, dtype))))
        };
        // Burn has no other way to say that it cannot.
        catch_unwind(AssertUnwindSafe(make)).unwrap_or_else(|payload| Err(Error::panic(&*payload))).map_err(refused)
    }

    /// All rows of a field.
    fn bytes(&mut self, spec: &FieldSpec) -> Bytes {
        match &mut self.memory {
            BatchMemory::Own(buffers) => match buffers.own_buffer(spec) {
                Some(buffer) => hand_over(buffer),
                None => copy(spec, buffers.bytes_of(spec)),
            },
            BatchMemory::OfPool(batch) if spec.is_large() => {
                let held = Held { batch: Arc::clone(batch), spec: spec.clone() };
                Bytes::from_shared(bytes::Bytes::from_owner(held), AllocationProperty::Other)
            }
            BatchMemory::OfPool(batch) => copy(spec, batch.bytes_of(spec)),
        }
    }
}

/// The vector itself. Each type on its own: Burn gives it back to the allocator with the alignment it had.
fn hand_over(buffer: &mut Buffer) -> Bytes {
    match buffer {
        Buffer::U8(v) => Bytes::from_elems(take(v)),
        Buffer::F16(v) => Bytes::from_elems(take(v)),
        Buffer::Bf16(v) => Bytes::from_elems(take(v)),
        Buffer::F32(v) => Bytes::from_elems(take(v)),
        Buffer::Mixed(v) => Bytes::from_elems(take(v)),
        // The pool keeps these.
        Buffer::Slab(map) => Bytes::from_bytes_vec(map.to_vec()),
    }
}

/// A copy of the field's bytes, aligned for its numbers.
fn copy(spec: &FieldSpec, bytes: &[u8]) -> Bytes {
    match spec.dtype.bytes() {
        1 => Bytes::from_elems(bytes.to_vec()),
        2 => Bytes::from_elems(cast_slice::<_, u16>(bytes).to_vec()),
        4 => Bytes::from_elems(cast_slice::<_, u32>(bytes).to_vec()),
        _ => Bytes::from_elems(cast_slice::<_, u64>(bytes).to_vec()),
    }
}

/// An [`Epoch`] whose batches are Burn tensors.
///
/// What it takes to hand a batch's bytes to Burn:
///
/// | | [`Memory::Heap`](crate::batch::Memory) | [`Memory::Pinned`](crate::batch::Memory) |
/// |---|---|---|
/// | images, masks, coverage | no copy: the tensor owns the vector | no copy: the tensor reads the pool's buffer |
/// | all other fields | one copy, kilobytes | one copy, kilobytes |
///
/// A backend on the CPU (Flex) computes on the bytes where they lie; one on a GPU copies them on their way to the
/// device. A tensor of a page-locked batch is copied once it is changed in place, and keeps the batch's buffers from
/// the pool as long as it lives, also in a graph: such a batch counts as held by its receiver (see
/// [`max_memory_bytes`](crate::loader::LoaderBuilder::max_memory_bytes)).
pub type BurnEpoch = TensorEpoch<BurnBatch>;

impl Epoch {
    /// The batches as tensors on `device`.
    pub fn burn(self, device: &Device) -> BurnEpoch {
        let device = device.clone();
        TensorEpoch::new(self, move |batch| batch.into_burn(&device))
    }
}

/// A [`Loader`] as Burn's trainer takes it: a `DataLoader` of [`BurnBatch`]es.
///
/// Each `iter` runs the next epoch, from number 0 or [`BurnLoader::first_epoch`] on. An epoch that cannot be started or
/// goes wrong yields its error as last item, upon which the trainer stops.
///
/// # Several devices
///
/// A trainer with several devices splits its loader: it cuts the range of items into as many parts and gives the rest
/// to the last one. Taken by the letter, devices would have different numbers of batches and wait for each other for
/// ever. Here a part is every n-th sample of the same order instead, as if the device were one more rank; so all have
/// the same number of batches, of `batch_size` samples each, and a step of n devices is the step that one device with n
/// times the batch has. Samples that do not fill the last batch of all devices are padded, or left out and counted in
/// [`EpochReport::dropped`](crate::loader::EpochReport::dropped), as
/// [`drop_last`](crate::loader::LoaderBuilder::drop_last) says.
///
/// Which device of how many a part is meant for must be told from its range alone. It can be for any split over up to
/// 64 devices if there are 266,240 samples. With fewer, up to 8 devices are told apart, and `num_items` is rounded down
/// by at most an eighth to make that so (from 345 samples on it is not, below 56 there are fewer devices); no sample is
/// left out for that. A part that cannot be told is one whose first item is an error.
///
/// All parts share the loader's memory budget for batches. Each has `num_workers` threads of its own, and the memory plan
/// has those of one part: divide `num_workers` by the number of devices.
///
/// ```no_run
/// # fn with(loader: maskstream::Loader, device: burn_core::tensor::Device) {
/// use std::sync::Arc;
///
/// use burn_core::data::dataloader::DataLoader;
/// use maskstream::adapter::{BurnBatch, BurnLoader};
///
/// // For `SupervisedTraining::new`:
/// let train: Arc<dyn DataLoader<BurnBatch>> = Arc::new(BurnLoader::new(loader, &device));
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
    pub fn new(loader: Loader, device: &Device) -> Self {
        let samples = usize::try_from(loader.plan(0).samples_from(0)).unwrap_or(usize::MAX);
        let (items, most_devices) = clear_total(samples);
        let next = Arc::new(Mutex::new(Next { epoch: 0, cursor: None }));
        Self { loader: Ok(loader), device: device.clone(), items, most_devices, next }
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
    fn start(&self) -> Result<BurnEpoch> {
        let loader = self.loader.as_ref().map_err(Error::repeat)?;
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
        let loader = self.loader.as_ref().map_err(Error::repeat)?;
        let (items, most) = (self.items, self.most_devices);
        let Some((device, devices)) = part_of(items, most, &range) else {
            return Err(Error::config(format!(
                "items {range:?} of {items} are not told to be the part of one device: so many can be split evenly over up to {most} devices"
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
        let loader = self.loader.as_ref().map(Loader::clone).map_err(Error::repeat);
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
    epoch: Option<Result<BurnEpoch>>,
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

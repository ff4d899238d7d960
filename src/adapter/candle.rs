//! Batch -> candle tensors. Comes in: a batch and a device. Goes out: a [`CandleBatch`]. On the CPU, images, masks and
//! coverage of heap batches become tensors without a copy; the small fields are copied. Fails as candle does.

use std::mem::take;

use bytemuck::cast_slice;
use candle_core::{Device, Tensor};

use super::TensorEpoch;
use crate::batch::{Batch, BatchBuffers, Buffer, FieldSpec, SampleError};
use crate::dtype::DType;
use crate::loader::Epoch;
use crate::order::Cursor;
use crate::shard::SampleId;
use crate::{Error, Result};

/// The fields of a [`Batch`] as tensors; shapes as there. B is the batch size, K the masks per image, S the image side,
/// h x w the mask grid, G the coverage grid.
#[derive(Debug)]
#[non_exhaustive]
pub struct CandleBatch {
    /// `[B, 3, S, S]`, of the image type asked for.
    pub images: Tensor,
    /// `[B, K, h, w]`, u8.
    pub masks: Option<Tensor>,
    /// `[B, K, G, G]`, f32.
    pub coverage: Option<Tensor>,
    /// `[B, K, 4]`, f32.
    pub boxes: Tensor,
    /// `[B, K]`, f32: the confidence.
    pub predicted_iou: Tensor,
    /// `[B, K]`, f32.
    pub stability_score: Tensor,
    /// `[B, K]`, f32: pixels of the original image.
    pub area: Tensor,
    /// `[B, K, 2]`, f32.
    pub points: Tensor,
    /// `[B, K]`, i64.
    pub annotation_ids: Tensor,
    /// `[B, K]`, u8: which of the K are real.
    pub valid: Tensor,
    /// `[B]`, i64.
    pub image_ids: Tensor,
    /// `[B, 2]`, u32: height, width.
    pub original_sizes: Tensor,
    /// `[B, 6]`, f32: map from original to canvas pixels.
    pub geometry: Tensor,
    /// `[B]`, u8: which rows are real.
    pub image_valid: Tensor,
    /// `[B, G, G]`, u8: which patches are image, not padding. There if coverage is.
    pub patch_valid: Option<Tensor>,
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

impl Batch {
    /// Turns the batch into tensors on `device`. On the CPU the large fields of heap batches are handed over, not
    /// copied.
    ///
    /// For CUDA, call it on the thread that computes: candle's `Device::new_cuda` has a stream for each thread, and nothing
    /// orders what two of them do, so tensors made on another thread may be used before their bytes are there. (A device
    /// of `Device::new_cuda_with_stream` has one for all.) The [`Batch`] itself may come from any thread.
    ///
    /// # Errors
    /// If candle cannot make the tensors: no memory, or a device that refuses.
    #[allow(
        clippy::wrong_self_convention,
        reason = "moves its buffers into the tensors; named as candle's own conversions are"
    )]
    pub fn into_candle(mut self, device: &Device) -> Result<CandleBatch> {
        // Only the CPU's tensors own vectors; a device copies, and the buffers go back to the pool.
        let mut own = if device.is_cpu() { self.take_heap_buffers() } else { None };
        let layout = self.layout().clone();
        let batch = &self;
        let mut make = |name: &str| -> Result<Option<Tensor>> {
            let Some(spec) = layout.field(name) else { return Ok(None) };
            let made = match &mut own {
                Some(own) => match hand_over(own, spec) {
                    Some(made) => made,
                    None => copy(spec, own.bytes_of(spec), device),
                },
                None => copy(spec, batch.bytes_of(spec), device),
            };
            let refused = |e| Error::limit(format!("cannot make the tensor {name}: {e}")).caused_by(e);
            made.map(Some).map_err(refused)
        };
        let mut always =
            |name: &str| make(name)?.ok_or_else(|| Error::config(format!("the batch has no field {name}")));
        Ok(CandleBatch {
            boxes: always("boxes")?,
            predicted_iou: always("predicted_iou")?,
            stability_score: always("stability_score")?,
            area: always("area")?,
            points: always("points")?,
            annotation_ids: always("annotation_ids")?,
            valid: always("valid")?,
            image_ids: always("image_ids")?,
            original_sizes: always("original_sizes")?,
            geometry: always("geometry")?,
            image_valid: always("image_valid")?,
            images: always("images")?,
            masks: make("masks")?,
            coverage: make("coverage")?,
            patch_valid: make("patch_valid")?,
            epoch: self.epoch(),
            step: self.step(),
            cursor: self.cursor().copied(),
            samples: self.samples().to_vec(),
            errors: self.take_errors(),
        })
    }
}

/// The field's vector as a tensor, if it has one of its own.
fn hand_over(buffers: &mut BatchBuffers, spec: &FieldSpec) -> Option<candle_core::Result<Tensor>> {
    let (shape, cpu) = (spec.shape.as_slice(), &Device::Cpu);
    Some(match buffers.own_buffer(spec)? {
        Buffer::U8(v) => Tensor::from_vec(take(v), shape, cpu),
        Buffer::F16(v) => Tensor::from_vec(take(v), shape, cpu),
        Buffer::Bf16(v) => Tensor::from_vec(take(v), shape, cpu),
        Buffer::F32(v) => Tensor::from_vec(take(v), shape, cpu),
        Buffer::Mixed(_) | Buffer::Slab(_) => return None,
    })
}

/// A copy of the field's bytes as a tensor.
fn copy(spec: &FieldSpec, bytes: &[u8], device: &Device) -> candle_core::Result<Tensor> {
    let shape = spec.shape.as_slice();
    match spec.dtype {
        DType::U8 => Tensor::from_slice(bytes, shape, device),
        DType::U32 => Tensor::from_slice(cast_slice::<_, u32>(bytes), shape, device),
        DType::I64 => Tensor::from_slice(cast_slice::<_, i64>(bytes), shape, device),
        DType::F16 => Tensor::from_slice(cast_slice::<_, half::f16>(bytes), shape, device),
        DType::Bf16 => Tensor::from_slice(cast_slice::<_, half::bf16>(bytes), shape, device),
        DType::F32 => Tensor::from_slice(cast_slice::<_, f32>(bytes), shape, device),
    }
}

/// An [`Epoch`] whose batches are candle tensors. For CUDA, iterate on the thread that computes: see [`Batch::into_candle`].
pub type CandleEpoch = TensorEpoch<CandleBatch>;

impl Epoch {
    /// The batches as tensors on `device`.
    pub fn candle(self, device: &Device) -> CandleEpoch {
        let device = device.clone();
        TensorEpoch::new(self, move |batch| batch.into_candle(&device))
    }
}

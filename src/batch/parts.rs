//! [`Batch::into_parts`]: a batch split into fields that a framework can own without a copy.

use std::fmt;
use std::mem::take;
use std::sync::Arc;

use bytemuck::pod_collect_to_vec;
use half::{bf16, f16};

use super::layout::Place;
use super::memory::Buffer;
use super::{Batch, BatchBuffers, BatchLayout, FieldSpec, SampleError};
use crate::dtype::DType;
use crate::field::Field;
use crate::order::Cursor;
use crate::shard::SampleId;

/// A [`Batch`] split into its metadata and its fields, which can be taken out one by one.
///
/// The adapters of this crate make tensors from it, and any other framework can do the same. The large fields (images,
/// masks, coverage) of a heap batch are vectors to own. Those of a page-locked batch are [`SharedBytes`], which keep
/// the batch's buffers until the last of them is dropped. All small fields are copied, a few kilobytes.
///
/// ```no_run
/// use maskstream::{Field, FieldValues};
///
/// # fn convert(batch: maskstream::Batch) {
/// let mut parts = batch.into_parts();
/// if let Some(masks) = parts.take(Field::Masks) {
///     let shape = masks.shape; // [B, K, H, W]
///     match masks.values {
///         FieldValues::U8(values) => println!("{} bytes to own, {shape:?}", values.len()),
///         FieldValues::Shared(bytes) => println!("{} bytes to read, {shape:?}", bytes.as_ref().len()),
///         _ => unreachable!("masks are u8"),
///     }
/// }
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct BatchParts {
    /// Index of the batch's epoch.
    pub epoch: u64,
    /// Index of the batch in its epoch.
    pub step: u64,
    /// The position after the batch, as in [`Batch::cursor`].
    pub cursor: Option<Cursor>,
    /// The sample planned for each row.
    pub samples: Vec<Option<SampleId>>,
    /// Samples that could not be decoded.
    pub errors: Vec<SampleError>,
    layout: BatchLayout,
    memory: PartsMemory,
    /// Fields that were taken.
    taken: Vec<Field>,
}

#[derive(Debug)]
enum PartsMemory {
    /// The vectors of a heap batch, which the caller may own.
    Owned(BatchBuffers),
    /// A batch whose buffers return to the pool with its last user.
    Pooled(Arc<Batch>),
}

/// One field that was taken out of a batch.
#[derive(Debug)]
#[non_exhaustive]
pub struct FieldData {
    /// Which field.
    pub field: Field,
    /// Its number type.
    pub dtype: DType,
    /// Its shape; the first dimension is the batch size.
    pub shape: Vec<usize>,
    /// Its values, row-major.
    pub values: FieldValues,
}

/// The values of a field: a vector to own, or bytes in the loader's memory.
#[derive(Debug)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the variants are the number types")]
pub enum FieldValues {
    U8(Vec<u8>),
    U32(Vec<u32>),
    I64(Vec<i64>),
    F16(Vec<f16>),
    Bf16(Vec<bf16>),
    F32(Vec<f32>),
    /// Bytes of a batch that keeps its buffers, of the field's number type.
    Shared(SharedBytes),
}

/// Bytes of one field of a batch that keeps its buffers. The batch's buffers return to the loader when the last
/// `SharedBytes` is dropped; until then the batch counts against `max_memory_bytes`.
#[derive(Clone)]
pub struct SharedBytes {
    batch: Arc<Batch>,
    spec: FieldSpec,
}

impl AsRef<[u8]> for SharedBytes {
    fn as_ref(&self) -> &[u8] {
        self.batch.bytes_of(&self.spec)
    }
}

impl fmt::Debug for SharedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedBytes").field("field", &self.spec.field).field("len", &self.as_ref().len()).finish()
    }
}

impl Batch {
    /// Splits the batch into fields, for a framework that owns or shares their bytes.
    pub fn into_parts(mut self) -> BatchParts {
        let owned = self.buffers.take_if(|buffers| !matches!(buffers.small, Buffer::Slab(_)));
        if owned.is_some() {
            // The caller owns the buffers now; the pool allocates others.
            self.pool.release(None);
        }
        self.split(owned)
    }

    /// Splits the batch into fields for a framework that copies them, to a device for example: the large fields of any
    /// batch are [`SharedBytes`], so that the loader gets its buffers back.
    pub fn into_shared_parts(self) -> BatchParts {
        self.split(None)
    }

    fn split(mut self, owned: Option<BatchBuffers>) -> BatchParts {
        let (epoch, step, cursor) = (self.epoch(), self.step(), self.cursor());
        let (samples, errors, layout) = (take(&mut self.samples), self.take_errors(), self.layout().clone());
        let memory = owned.map_or_else(|| PartsMemory::Pooled(Arc::new(self)), PartsMemory::Owned);
        BatchParts { epoch, step, cursor, samples, errors, layout, memory, taken: Vec::new() }
    }
}

impl BatchParts {
    /// Takes a field out; `None` if the batch does not have it, or it has been taken.
    pub fn take(&mut self, field: Field) -> Option<FieldData> {
        let spec = self.layout.spec(field).filter(|_| !self.taken.contains(&field))?;
        self.taken.push(field);
        let values = match (&mut self.memory, spec.place) {
            (PartsMemory::Owned(buffers), Place::Large(index)) => own(&mut buffers.large[index], spec.dtype),
            (PartsMemory::Owned(buffers), Place::Small(_)) => copy(spec.dtype, buffers.bytes_of(spec)),
            (PartsMemory::Pooled(batch), Place::Large(_)) => {
                FieldValues::Shared(SharedBytes { batch: Arc::clone(batch), spec: spec.clone() })
            }
            (PartsMemory::Pooled(batch), Place::Small(_)) => copy(spec.dtype, batch.bytes_of(spec)),
        };
        Some(FieldData { field, dtype: spec.dtype, shape: spec.shape.clone(), values })
    }

    /// Number types and shapes of the fields.
    pub fn layout(&self) -> &BatchLayout {
        &self.layout
    }
}

/// The buffer's vector, moved out.
fn own(buffer: &mut Buffer, dtype: DType) -> FieldValues {
    match buffer {
        Buffer::U8(v) => FieldValues::U8(take(v)),
        Buffer::F16(v) => FieldValues::F16(take(v)),
        Buffer::Bf16(v) => FieldValues::Bf16(take(v)),
        Buffer::F32(v) => FieldValues::F32(take(v)),
        Buffer::U32(v) => FieldValues::U32(take(v)),
        Buffer::I64(v) => FieldValues::I64(take(v)),
        // Large fields of heap batches are vectors of their own type.
        Buffer::Mixed(_) | Buffer::Slab(_) => copy(dtype, buffer.bytes()),
    }
}

/// A copy of a small field.
fn copy(dtype: DType, bytes: &[u8]) -> FieldValues {
    match dtype {
        DType::U8 => FieldValues::U8(bytes.to_vec()),
        DType::U32 => FieldValues::U32(pod_collect_to_vec(bytes)),
        DType::I64 => FieldValues::I64(pod_collect_to_vec(bytes)),
        DType::F16 => FieldValues::F16(pod_collect_to_vec(bytes)),
        DType::Bf16 => FieldValues::Bf16(pod_collect_to_vec(bytes)),
        DType::F32 => FieldValues::F32(pod_collect_to_vec(bytes)),
    }
}

//! Batches as candle tensors. On the CPU, images, masks and coverage of heap batches become tensors without a copy; all
//! other fields are copied, a few kilobytes.

use candle_core::{DType as CandleDType, Device, Tensor};

use super::cells_of_bytes;
use crate::field::batch_fields;
use crate::{
    Batch, BatchParts, Cursor, DType, Epoch, Error, Field, FieldData, FieldValues, Result, SampleError, SampleId,
};

/// The type of one field of a [`CandleBatch`].
macro_rules! tensor {
    (always) => {
        Tensor
    };
    (optional) => {
        Option<Tensor>
    };
}

/// The tensor of one field.
macro_rules! make {
    ($tensors:ident $variant:ident always) => {
        $tensors.required(Field::$variant)?
    };
    ($tensors:ident $variant:ident optional) => {
        $tensors.make(Field::$variant)?
    };
}

macro_rules! define_candle_batch {
    ($(
        $(#[$doc:meta])*
        $variant:ident $name:ident: $element:ident [$($dimension:tt)*] $presence:ident $storage:ident;
    )*) => {
        /// The fields of a [`Batch`] as candle tensors, of the shapes and number types that [`Field`] names.
        ///
        /// Masks, and by default images, are u8, and candle computes in the type of its operands: cast before
        /// computing, with [`CandleBatch::masks_as`] or `to_dtype`.
        #[derive(Debug)]
        #[non_exhaustive]
        pub struct CandleBatch {
            $($(#[$doc])* pub $name: tensor!($presence),)*
            /// Index of its epoch.
            pub epoch: u64,
            /// Its index in the epoch.
            pub step: u64,
            /// The position after this batch, as in [`Batch::cursor`].
            pub cursor: Option<Cursor>,
            /// The sample planned for each row.
            pub samples: Vec<Option<SampleId>>,
            /// Samples that could not be decoded.
            pub errors: Vec<SampleError>,
            /// Columns of the mask grid if masks are bits.
            packed_columns: Option<usize>,
        }

        impl Batch {
            /// Turns the batch into tensors on `device`. On the CPU, the tensors own the large fields of a heap batch
            /// without a copy.
            ///
            /// For CUDA, call it on the thread that computes: candle's `Device::new_cuda` has a stream for each thread,
            /// and the work of two streams is not ordered, so tensors made on another thread may be used before their
            /// bytes have been copied. (`Device::new_cuda_with_stream` has one stream for all threads.) The [`Batch`]
            /// itself may come from any thread.
            ///
            /// # Errors
            /// If candle cannot make the tensors: because there is no memory, or because of an error of the device.
            pub fn into_candle(self, device: &Device) -> Result<CandleBatch> {
                let mut tensors = Tensors::new(self, device);
                Ok(CandleBatch {
                    $($name: make!(tensors $variant $presence),)*
                    epoch: tensors.parts.epoch,
                    step: tensors.parts.step,
                    cursor: tensors.parts.cursor,
                    packed_columns: tensors.parts.layout().packed_columns(),
                    samples: tensors.parts.samples,
                    errors: tensors.parts.errors,
                })
            }
        }
    };
}

batch_fields!(define_candle_batch);

impl CandleBatch {
    /// The masks as another number type, `[B, K, H, W]`. Values are not scaled: 0 and 1, or 0 to 255 for masks by area.
    /// Masks of [`MaskFormat::Bits`](crate::MaskFormat) are unpacked on their device, also for u8.
    ///
    /// ```no_run
    /// # fn loss(batch: maskstream::CandleBatch) -> maskstream::Result<()> {
    /// use candle_core::DType;
    ///
    /// let masks = batch.masks_as(DType::F32)?; // [B, K, H, W] f32; 1 - mask is the background
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If masks are not drawn (`mask_size` is `None`), or candle cannot make the tensor.
    pub fn masks_as(&self, dtype: CandleDType) -> Result<Tensor> {
        let masks = self.masks.as_ref().ok_or_else(|| Error::config("the batch has no masks: mask_size is None"))?;
        let made = match self.packed_columns {
            Some(columns) => unpacked(masks, columns, dtype),
            None => masks.to_dtype(dtype),
        };
        made.map_err(|e| tensor_error(Field::Masks, e))
    }
}

impl Epoch {
    /// An epoch whose items are candle tensors on `device`: see [`Batch::into_candle`].
    ///
    /// ```no_run
    /// # fn train(loader: &maskstream::Loader) -> maskstream::Result<()> {
    /// use candle_core::Device;
    ///
    /// for batch in loader.epoch(0)?.candle(&Device::Cpu) {
    ///     let batch = batch?;
    ///     println!("{:?} {:?}", batch.images, batch.masks);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn candle(self, device: &Device) -> Epoch<CandleBatch> {
        let device = device.clone();
        self.convert_with(move |batch| batch.into_candle(&device))
    }
}

/// A batch that is being turned into tensors.
struct Tensors<'a> {
    parts: BatchParts,
    device: &'a Device,
}

impl<'a> Tensors<'a> {
    fn new(batch: Batch, device: &'a Device) -> Self {
        // Only the CPU's tensors own vectors; other devices copy, and the buffers return to the loader.
        let parts = if device.is_cpu() { batch.into_parts() } else { batch.into_shared_parts() };
        Self { parts, device }
    }

    fn required(&mut self, field: Field) -> Result<Tensor> {
        self.make(field)?.ok_or_else(|| Error::config(format!("the batch has no field {field}")))
    }

    fn make(&mut self, field: Field) -> Result<Option<Tensor>> {
        let made = self.parts.take(field).map(|data| tensor(data, self.device));
        made.transpose().map_err(|e| tensor_error(field, e))
    }
}

/// `[B, K, H, ceil(W / 8)]` bytes as `[B, K, H, W]` cells.
fn unpacked(masks: &Tensor, columns: usize, dtype: CandleDType) -> candle_core::Result<Tensor> {
    let (batch, masks_each, rows, _) = masks.dims4()?;
    let cells = Tensor::from_vec(cells_of_bytes(), (256, 8), masks.device())?.to_dtype(dtype)?;
    // As an index of type u8, 255 would mean "none".
    let bytes = masks.flatten_all()?.to_dtype(CandleDType::U32)?;
    let unpacked = cells.index_select(&bytes, 0)?.reshape((batch, masks_each, rows, ()))?;
    unpacked.narrow(3, 0, columns)?.contiguous()
}

fn tensor_error(field: Field, e: candle_core::Error) -> Error {
    Error::new(crate::ErrorKind::Other, format!("cannot make the tensor {field}: {e}")).caused_by(e)
}

/// A tensor that owns the field's vector, or a copy of its bytes.
fn tensor(data: FieldData, device: &Device) -> candle_core::Result<Tensor> {
    let shape = data.shape.as_slice();
    match data.values {
        FieldValues::U8(v) => Tensor::from_vec(v, shape, device),
        FieldValues::U32(v) => Tensor::from_vec(v, shape, device),
        FieldValues::I64(v) => Tensor::from_vec(v, shape, device),
        FieldValues::F16(v) => Tensor::from_vec(v, shape, device),
        FieldValues::Bf16(v) => Tensor::from_vec(v, shape, device),
        FieldValues::F32(v) => Tensor::from_vec(v, shape, device),
        FieldValues::Shared(bytes) => copy_bytes(data.dtype, shape, bytes.as_ref(), device),
    }
}

/// A tensor with a copy of the bytes.
fn copy_bytes(dtype: DType, shape: &[usize], bytes: &[u8], device: &Device) -> candle_core::Result<Tensor> {
    use bytemuck::cast_slice;
    match dtype {
        DType::U8 => Tensor::from_slice(bytes, shape, device),
        DType::U32 => Tensor::from_slice(cast_slice::<_, u32>(bytes), shape, device),
        DType::I64 => Tensor::from_slice(cast_slice::<_, i64>(bytes), shape, device),
        DType::F16 => Tensor::from_slice(cast_slice::<_, half::f16>(bytes), shape, device),
        DType::Bf16 => Tensor::from_slice(cast_slice::<_, half::bf16>(bytes), shape, device),
        DType::F32 => Tensor::from_slice(cast_slice::<_, f32>(bytes), shape, device),
    }
}

//! Batches as Burn tensors.

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn_core::tensor::kind::Basic;
use burn_core::tensor::{AllocationProperty, Bytes, DType as BurnDType, Device, Int, IntDType, Tensor, TensorData};

use super::cells_of_bytes;
use crate::field::batch_fields;
use crate::{
    Batch, BatchParts, Cursor, DType, Epoch, Error, Field, FieldData, FieldValues, Result, SampleError, SampleId,
};

/// Burn's tensor of a number type and a shape.
macro_rules! tensor {
    (image [$($dimension:tt)*]) => {
        BurnImages
    };
    (f32 [$a:tt]) => {
        Tensor<1>
    };
    (f32 [$a:tt $b:tt]) => {
        Tensor<2>
    };
    (f32 [$a:tt $b:tt $c:tt]) => {
        Tensor<3>
    };
    (f32 [$a:tt $b:tt $c:tt $d:tt]) => {
        Tensor<4>
    };
    ($integer:ident [$a:tt]) => {
        Tensor<1, Int>
    };
    ($integer:ident [$a:tt $b:tt]) => {
        Tensor<2, Int>
    };
    ($integer:ident [$a:tt $b:tt $c:tt]) => {
        Tensor<3, Int>
    };
    ($integer:ident [$a:tt $b:tt $c:tt $d:tt]) => {
        Tensor<4, Int>
    };
}

/// The type of one field of a [`BurnBatch`].
macro_rules! field_type {
    ($element:ident $shape:tt always) => {
        tensor!($element $shape)
    };
    ($element:ident $shape:tt optional) => {
        Option<tensor!($element $shape)>
    };
}

/// The tensor of one field.
macro_rules! make {
    ($tensors:ident $variant:ident image always) => {
        $tensors.images()?
    };
    ($tensors:ident $variant:ident $element:ident always) => {
        $tensors.required(Field::$variant)?
    };
    ($tensors:ident $variant:ident $element:ident optional) => {
        $tensors.make(Field::$variant)?
    };
}

macro_rules! define_burn_batch {
    ($(
        $(#[$doc:meta])*
        $variant:ident $name:ident: $element:ident [$($dimension:tt)*] $presence:ident $storage:ident;
    )*) => {
        /// The fields of a [`Batch`] as Burn tensors, of the shapes and number types that [`Field`] names.
        ///
        /// Burn's tensors compute in their own number type, and sums of u8 overflow: cast before computing, with
        /// [`BurnBatch::masks_float`], `float()` or `cast(..)`.
        #[derive(Debug)]
        #[non_exhaustive]
        pub struct BurnBatch {
            $($(#[$doc])* pub $name: field_type!($element [$($dimension)*] $presence),)*
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
            /// Turns the batch into tensors on `device`.
            ///
            /// | | [`Memory::Heap`](crate::Memory) | [`Memory::Pinned`](crate::Memory) |
            /// |---|---|---|
            /// | images, masks, coverage | no copy: the tensor owns the vector | no copy: the tensor reads the buffer |
            /// | all other fields | one copy, kilobytes | one copy, kilobytes |
            ///
            /// A CPU backend (Flex) computes on these bytes; a GPU backend copies them to the device. A tensor of a
            /// page-locked batch is copied when it is modified in place. Until it is dropped, also from an autodiff
            /// graph, it keeps the batch's buffers, which count against
            /// [`max_memory_bytes`](crate::LoaderBuilder::max_memory_bytes).
            ///
            /// # Errors
            /// If the device lacks the number type of a field (WebGPU has no u8), or Burn cannot make a tensor.
            pub fn into_burn(self, device: &Device) -> Result<BurnBatch> {
                let mut tensors = Tensors { parts: self.into_parts(), device };
                Ok(BurnBatch {
                    $($name: make!(tensors $variant $element $presence),)*
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

batch_fields!(define_burn_batch);

impl BurnBatch {
    /// The masks as the device's default floats, `[B, K, H, W]`. Values are not scaled: 0 and 1, or 0 to 255 for masks
    /// by area. Masks of [`MaskFormat::Bits`](crate::MaskFormat) are unpacked on their device.
    ///
    /// # Errors
    /// If masks are not drawn (`mask_size` is `None`).
    pub fn masks_float(&self) -> Result<Tensor<4>> {
        let masks = self.drawn_masks()?;
        let Some(columns) = self.packed_columns else { return Ok(masks.float()) };
        let cells = Tensor::from_data(TensorData::new(cells_of_bytes(), [256, 8]), &masks.device());
        Ok(unpacked(masks, columns, cells))
    }

    /// The masks as u8, `[B, K, H, W]`. Masks of [`MaskFormat::Bits`](crate::MaskFormat) are unpacked on their device;
    /// others are as they are.
    ///
    /// # Errors
    /// If masks are not drawn (`mask_size` is `None`).
    pub fn masks_int(&self) -> Result<Tensor<4, Int>> {
        let masks = self.drawn_masks()?;
        let Some(columns) = self.packed_columns else { return Ok(masks) };
        let cells = Tensor::from_data(TensorData::new(cells_of_bytes(), [256, 8]), (&masks.device(), BurnDType::U8));
        Ok(unpacked(masks, columns, cells))
    }

    fn drawn_masks(&self) -> Result<Tensor<4, Int>> {
        self.masks.clone().ok_or_else(|| Error::config("the batch has no masks: mask_size is None"))
    }
}

/// `[B, K, H, ceil(W / 8)]` bytes as `[B, K, H, W]` cells, by a table of the cells of each byte.
fn unpacked<K: Basic>(masks: Tensor<4, Int>, columns: usize, cells: Tensor<2, K>) -> Tensor<4, K> {
    let [batch, masks_each, rows, bytes] = masks.dims();
    let index = masks.cast(IntDType::I32).reshape([batch * masks_each * rows * bytes]);
    cells.select(0, index).reshape([batch, masks_each, rows, 8 * bytes]).narrow(3, 0, columns)
}

/// Images, `[B, 3, S, S]`. Burn has one tensor type for integers and one for floats.
#[derive(Clone, Debug)]
pub enum BurnImages {
    /// 0 to 255, u8.
    Bytes(Tensor<4, Int>),
    /// f32, f16 or bf16, normalized.
    Floats(Tensor<4>),
}

impl BurnImages {
    /// The images as floats: floats unchanged, bytes as the device's default floats from 0 to 255.
    pub fn float(self) -> Tensor<4> {
        match self {
            Self::Bytes(bytes) => bytes.float(),
            Self::Floats(floats) => floats,
        }
    }
}

impl Epoch {
    /// An epoch whose items are Burn tensors on `device`: see [`Batch::into_burn`].
    ///
    /// ```no_run
    /// # fn train(loader: &maskstream::Loader, device: &burn_core::tensor::Device) -> maskstream::Result<()> {
    /// for batch in loader.epoch(0)?.burn(device) {
    ///     let batch = batch?;
    ///     println!("{:?}", batch.boxes.dims());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn burn(self, device: &Device) -> Epoch<BurnBatch> {
        let device = device.clone();
        self.convert_with(move |batch| batch.into_burn(&device))
    }
}

/// A batch that is being turned into tensors.
struct Tensors<'a> {
    parts: BatchParts,
    device: &'a Device,
}

impl Tensors<'_> {
    fn images(&mut self) -> Result<BurnImages> {
        Ok(match self.parts.layout().spec(Field::Images).map(|spec| spec.dtype) {
            Some(DType::U8) => BurnImages::Bytes(self.required(Field::Images)?),
            _ => BurnImages::Floats(self.required(Field::Images)?),
        })
    }

    fn required<const D: usize, K: Basic>(&mut self, field: Field) -> Result<Tensor<D, K>> {
        self.make(field)?.ok_or_else(|| Error::config(format!("the batch has no field {field}")))
    }

    /// The tensor of a field, if the batch has it. The number type is passed to Burn, which would otherwise convert to
    /// its default.
    fn make<const D: usize, K: Basic>(&mut self, field: Field) -> Result<Option<Tensor<D, K>>> {
        let Some(data) = self.parts.take(field) else { return Ok(None) };
        let dtype = match data.dtype {
            DType::U8 => BurnDType::U8,
            DType::U32 => BurnDType::U32,
            DType::I64 => BurnDType::I64,
            DType::F16 => BurnDType::F16,
            DType::Bf16 => BurnDType::BF16,
            DType::F32 => BurnDType::F32,
        };
        let tensor_error = |error: Error| {
            Error::new(error.kind(), format!("cannot make the tensor {field}: {}", error.message())).caused_by(error)
        };
        let make = || {
            if !self.device.supports_dtype(dtype) {
                let (device, dtype) = (self.device, data.dtype);
                return Err(Error::config(format!("the device {device:?} does not support the number type {dtype}")));
            }
            let shape = data.shape.clone();
            let data = TensorData::try_from_bytes(bytes(data), shape, dtype);
            let data = data.map_err(|e| Error::limit(e.to_string()).caused_by(e))?;
            Ok(Some(Tensor::from_data(data, (self.device, dtype))))
        };
        // Burn reports failures by panics.
        catch_unwind(AssertUnwindSafe(make))
            .unwrap_or_else(|payload| Err(Error::panic(&*payload)))
            .map_err(tensor_error)
    }
}

/// The field's bytes without a copy. Each vector is passed as its own type, because Burn frees it with the alignment of
/// that type, and copies bytes of unknown alignment.
fn bytes(data: FieldData) -> Bytes {
    match data.values {
        FieldValues::U8(v) => Bytes::from_elems(v),
        FieldValues::U32(v) => Bytes::from_elems(v),
        FieldValues::I64(v) => Bytes::from_elems(v),
        FieldValues::F16(v) => Bytes::from_elems(v),
        FieldValues::Bf16(v) => Bytes::from_elems(v),
        FieldValues::F32(v) => Bytes::from_elems(v),
        FieldValues::Shared(shared) => Bytes::from_shared(bytes::Bytes::from_owner(shared), AllocationProperty::Other),
    }
}

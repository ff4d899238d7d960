//! Batches: pooled buffers, the slots that workers fill side by side, and the finished [`Batch`] with its fields.
//!
//! The owner of a batch's buffers at each moment:
//!
//! ```text
//! pool: free buffers
//!   | Pool::acquire
//! feed thread
//!   | slots
//! one Slot per row, on the workers
//!   | Slot::finish of the last one
//! completed batch, in the loader
//!   | Batch::new
//! Batch, at the consumer -- drop ------------------------------> back to the pool
//!   | into_parts
//!   +-- heap: vectors, which tensors own                         (the pool allocates new ones)
//!   +-- page-locked: SharedBytes, which tensors read -- drop ----> back to the pool
//! ```
//!
//! * [`Pool::acquire`] returns free buffers or allocates new ones. It waits while too many batches are under way.
//! * [`slots`] splits the buffers by row. No thread can access all of them until the last [`Slot`] has finished.
//! * [`Batch::new`] counts the batch as delivered, and its drop releases the buffers to the pool.
//! * [`Batch::into_parts`] of a heap batch gives its large vectors away, and the pool counts one batch less. Parts of a
//!   page-locked batch share it: it is released with the last of them.

mod fill;
mod layout;
mod memory;
mod parts;
mod pool;

use std::borrow::Cow;
use std::sync::Arc;

pub(crate) use fill::{Slot, slots};
pub use layout::{BatchLayout, FieldSpec};
pub(crate) use memory::BatchBuffers;
pub use memory::{Memory, PinState};
pub use parts::{BatchParts, FieldData, FieldValues, SharedBytes};
pub(crate) use pool::{Pool, SharedPool};

use self::layout::Place;
use crate::Error;
use crate::dtype::Element;
use crate::field::{Field, batch_fields};
use crate::mask::unpack_rows;
use crate::order::Cursor;
use crate::sample::Geometry;
use crate::shard::SampleId;

/// The samples of one step, field by field. Rows and masks that are not real are all zero.
///
/// The accessors return row-major slices with the shapes of [`Batch::layout`]; [`Field`] documents what each field
/// holds. `into_candle`, `into_burn` (features of the same names) and [`Batch::into_parts`] turn a batch into a
/// framework's tensors. Dropping a batch returns its buffers to the loader.
///
/// ```no_run
/// # fn train(loader: &maskstream::Loader) -> maskstream::Result<()> {
/// for batch in loader.epoch(0)? {
///     let batch = batch?;
///     let k = batch.layout().top_k();
///     for (row, &image) in batch.image_ids().iter().enumerate() {
///         let masks = batch.valid()[row * k..][..k].iter().filter(|&&valid| valid == 1).count();
///         println!("image {image}: {masks} masks");
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Batch {
    /// `None` only inside `into_parts`.
    buffers: Option<BatchBuffers>,
    pool: Arc<Pool>,
    epoch: u64,
    step: u64,
    cursor: Option<Cursor>,
    samples: Vec<Option<SampleId>>,
    errors: Vec<SampleError>,
}

/// A sample that could not be decoded: its row is zero, and its `image_valid` is 0.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SampleError {
    /// Row in the batch.
    pub row: usize,
    /// The sample planned for that row.
    pub sample: SampleId,
    /// Why it could not be decoded.
    pub error: Error,
}

/// The values of one field, borrowed from a batch.
///
/// ```no_run
/// use maskstream::{Batch, Field};
///
/// /// The mean pixel of a batch of u8 images.
/// fn mean(batch: &Batch) -> Option<f64> {
///     let images = batch.field(Field::Images)?;
///     let pixels = images.values::<u8>()?; // `None` if the images are floats
///     assert_eq!(images.spec.shape.iter().product::<usize>(), pixels.len());
///     Some(pixels.iter().map(|&pixel| f64::from(pixel)).sum::<f64>() / pixels.len() as f64)
/// }
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct FieldView<'a> {
    /// Field, number type and shape.
    pub spec: &'a FieldSpec,
    /// All values, row-major, in the machine's byte order.
    pub bytes: &'a [u8],
}

impl<'a> FieldView<'a> {
    /// The values; `None` if the field is not of type `T`.
    pub fn values<T: Element>(&self) -> Option<&'a [T]> {
        (self.spec.dtype == T::DTYPE).then(|| bytemuck::cast_slice(self.bytes))
    }
}

impl Batch {
    pub(crate) fn new(
        buffers: BatchBuffers,
        pool: Arc<Pool>,
        epoch: u64,
        step: u64,
        cursor: Option<Cursor>,
        samples: Vec<Option<SampleId>>,
        mut errors: Vec<SampleError>,
    ) -> Self {
        errors.sort_by_key(|failed| failed.row);
        pool.deliver();
        Self { buffers: Some(buffers), pool, epoch, step, cursor, samples, errors }
    }

    /// The batch's sizes and fields.
    pub fn layout(&self) -> &BatchLayout {
        self.pool.layout()
    }

    /// Index of its epoch.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Its index in the epoch, from 0.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// The position after this batch: save it with the model to resume there. `None` while shards are being indexed.
    pub fn cursor(&self) -> Option<Cursor> {
        self.cursor
    }

    /// The sample planned for each row; `None` where the epoch's last batch is padded.
    pub fn samples(&self) -> &[Option<SampleId>] {
        &self.samples
    }

    /// Number of rows that hold a sample.
    pub fn valid_rows(&self) -> usize {
        self.image_valid().iter().filter(|&&valid| valid != 0).count()
    }

    /// Samples that could not be decoded, by row; empty unless the loader skips errors.
    pub fn errors(&self) -> &[SampleError] {
        &self.errors
    }

    pub(crate) fn take_errors(&mut self) -> Vec<SampleError> {
        std::mem::take(&mut self.errors)
    }

    /// Whether the pages of its buffers are locked in memory.
    pub fn pin_state(&self) -> &PinState {
        // Never returned: a batch has no buffers only inside `into_parts`, which owns it.
        static NO_BUFFERS: PinState = PinState::Pageable(String::new());
        self.buffers.as_ref().map_or(&NO_BUFFERS, |buffers| &buffers.pin_state)
    }

    /// All fields, in the order of [`Field::ALL`].
    ///
    /// ```no_run
    /// # fn show(batch: &maskstream::Batch) {
    /// for field in batch.fields() {
    ///     println!("{}: {} bytes of {}", field.spec.name(), field.bytes.len(), field.spec.dtype);
    /// }
    /// # }
    /// ```
    pub fn fields(&self) -> impl Iterator<Item = FieldView<'_>> {
        self.layout().fields().iter().map(|spec| FieldView { spec, bytes: self.bytes_of(spec) })
    }

    /// One field; `None` if the batch does not have it.
    ///
    /// ```no_run
    /// use maskstream::Field;
    ///
    /// # fn show(batch: &maskstream::Batch) {
    /// let boxes = batch.field(Field::Boxes).and_then(|field| field.values::<f32>());
    /// assert_eq!(boxes, Some(batch.boxes()));
    /// # }
    /// ```
    pub fn field(&self, field: Field) -> Option<FieldView<'_>> {
        let spec = self.layout().spec(field)?;
        Some(FieldView { spec, bytes: self.bytes_of(spec) })
    }

    /// The masks with one byte a cell, `[B, K, H, W]`: a copy if they are stored as bits
    /// ([`MaskFormat::Bits`](crate::MaskFormat)), and otherwise those of [`Batch::masks`]. `None` if masks are not
    /// drawn.
    ///
    /// ```no_run
    /// # fn show(batch: &maskstream::Batch) {
    /// if let (Some(masks), Some([height, width])) = (batch.unpacked_masks(), batch.layout().mask_size()) {
    ///     for (k, mask) in masks.chunks(height * width).enumerate() {
    ///         println!("mask {k}: {} cells", mask.iter().filter(|&&cell| cell != 0).count());
    ///     }
    /// }
    /// # }
    /// ```
    pub fn unpacked_masks(&self) -> Option<Cow<'_, [u8]>> {
        let masks = self.masks()?;
        Some(self.layout().packed_columns().map_or(Cow::Borrowed(masks), |columns| unpack_rows(masks, columns).into()))
    }

    /// Where the image of a row is on its canvas; `None` if the row is not valid. Its inverse takes a model's points,
    /// boxes and masks back to the original image.
    ///
    /// ```no_run
    /// # fn show(batch: &maskstream::Batch) {
    /// if let Some(geometry) = batch.geometry_of(0) {
    ///     println!("the middle of the canvas shows {:?}", geometry.to_original([512.0, 512.0]));
    /// }
    /// # }
    /// ```
    pub fn geometry_of(&self, row: usize) -> Option<Geometry> {
        let side = self.layout().image_size() as u32;
        let size = self.original_sizes().as_chunks().0.get(row)?;
        let crop = self.crops().as_chunks().0.get(row)?;
        let affine = self.geometry().as_chunks().0.get(row)?;
        Geometry::of_row(*size, *crop, affine, side).ok()
    }

    fn bytes_of(&self, spec: &FieldSpec) -> &[u8] {
        self.buffers.as_ref().map_or(&[], |buffers| buffers.bytes_of(spec))
    }
}

/// The accessor of one field.
macro_rules! accessor {
    ($(#[$doc:meta])* $variant:ident $name:ident image always) => {
        $(#[$doc])*
        pub fn $name(&self) -> FieldView<'_> {
            // Images are the first field of every layout.
            let spec = &self.layout().fields()[0];
            FieldView { spec, bytes: self.bytes_of(spec) }
        }
    };
    ($(#[$doc:meta])* $variant:ident $name:ident $element:ident always) => {
        $(#[$doc])*
        pub fn $name(&self) -> &[$element] {
            self.field(Field::$variant).and_then(|view| view.values()).unwrap_or_default()
        }
    };
    ($(#[$doc:meta])* $variant:ident $name:ident $element:ident optional) => {
        $(#[$doc])*
        pub fn $name(&self) -> Option<&[$element]> {
            self.field(Field::$variant)?.values()
        }
    };
}

macro_rules! define_accessors {
    ($(
        $(#[$doc:meta])*
        $variant:ident $name:ident: $element:ident [$($dimension:tt)*] $presence:ident $storage:ident;
    )*) => {
        impl Batch {
            $(accessor!($(#[$doc])* $variant $name $element $presence);)*
        }
    };
}

batch_fields!(define_accessors);

impl BatchBuffers {
    /// All rows of one field.
    fn bytes_of(&self, spec: &FieldSpec) -> &[u8] {
        let (buffer, start) = match spec.place {
            Place::Large(index) => (&self.large[index], 0),
            Place::Small(offset) => (&self.small, offset),
        };
        &buffer.bytes()[start..start + spec.bytes()]
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if let Some(buffers) = self.buffers.take() {
            self.pool.release(Some(buffers));
        }
    }
}

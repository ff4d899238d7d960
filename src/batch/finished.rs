//! A finished batch. Comes in: filled buffers. Goes out: named fields, where each row came from, what went wrong. When
//! dropped, the buffers return to the pool. Cannot fail.

use std::sync::Arc;

use super::layout::Place;
#[cfg(any(feature = "burn", feature = "candle"))]
use super::memory::Buffer;
use super::{BatchBuffers, BatchLayout, FieldSpec, PinState, Pool};
use crate::Error;
use crate::dtype::Element;
use crate::order::Cursor;
use crate::shard::SampleId;

/// Rows of one batch, field by field. B, K, S, h, w and G are those of its [`BatchLayout`]; rows that are not real are
/// all zero.
#[derive(Debug)]
pub struct Batch {
    /// `None` only while the batch is being taken apart.
    buffers: Option<BatchBuffers>,
    pool: Arc<Pool>,
    epoch: u64,
    step: u64,
    cursor: Option<Cursor>,
    samples: Vec<Option<SampleId>>,
    errors: Vec<SampleError>,
}

/// A row that could not be decoded: it is zero, its `image_valid` is 0.
#[derive(Debug)]
#[non_exhaustive]
pub struct SampleError {
    /// Row in the batch.
    pub row: usize,
    /// The sample that was to stand there.
    pub sample: SampleId,
    /// Why it does not.
    pub error: Error,
}

/// One field's data.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    /// Name, type and shape.
    pub spec: &'a FieldSpec,
    /// All values, row-major, in the machine's byte order.
    pub bytes: &'a [u8],
}

impl<'a> Field<'a> {
    /// The values, if the field is of type `T`.
    pub fn values<T: Element>(&self) -> Option<&'a [T]> {
        (self.spec.dtype == T::DTYPE).then(|| bytemuck::cast_slice(self.bytes))
    }
}

impl Batch {
    pub(crate) fn new(
        buffers: BatchBuffers,
        pool: Arc<Pool>,
        [epoch, step]: [u64; 2],
        cursor: Option<Cursor>,
        samples: Vec<Option<SampleId>>,
        mut errors: Vec<SampleError>,
    ) -> Self {
        errors.sort_by_key(|sample_error| sample_error.row);
        pool.deliver();
        Self { buffers: Some(buffers), pool, epoch, step, cursor, samples, errors }
    }

    /// Sizes, and the list of fields.
    pub fn layout(&self) -> &BatchLayout {
        self.pool.layout()
    }

    /// Epoch it belongs to.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Its number in the epoch, from 0.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Where training stands once this batch has been used: save it to resume behind the batch. `None` in an epoch over
    /// shards that are still being indexed.
    pub fn cursor(&self) -> Option<&Cursor> {
        self.cursor.as_ref()
    }

    /// The sample planned for each row; `None` where the epoch's last batch is padded.
    pub fn samples(&self) -> &[Option<SampleId>] {
        &self.samples
    }

    /// Number of rows that hold a sample.
    pub fn valid_rows(&self) -> usize {
        self.image_valid().iter().filter(|&&valid| valid != 0).count()
    }

    /// Rows that could not be decoded, by row; empty unless the loader skips errors.
    pub fn errors(&self) -> &[SampleError] {
        &self.errors
    }

    pub(crate) fn take_errors(&mut self) -> Vec<SampleError> {
        std::mem::take(&mut self.errors)
    }

    /// Whether its pages are locked.
    pub fn pin_state(&self) -> &PinState {
        // `Pageable` of a batch that was taken apart never shows: nobody can hold a reference to one.
        static GONE: PinState = PinState::Pageable(String::new());
        self.buffers.as_ref().map_or(&GONE, |buffers| &buffers.pin_state)
    }

    /// All fields.
    pub fn fields(&self) -> impl Iterator<Item = Field<'_>> {
        self.layout().fields().iter().map(|spec| Field { spec, bytes: self.bytes_of(spec) })
    }

    /// The images: `[B, 3, S, S]`, RGB.
    pub fn images(&self) -> Field<'_> {
        // The first field of every layout.
        let spec = &self.layout().fields()[0];
        Field { spec, bytes: self.bytes_of(spec) }
    }

    /// The masks: `[B, K, h, w]`, 0 and 1, or 0 to 255 by area.
    pub fn masks(&self) -> Option<&[u8]> {
        self.values("masks")
    }

    /// Exact share of each patch that the mask covers: `[B, K, G, G]`.
    pub fn coverage(&self) -> Option<&[f32]> {
        self.values("coverage")
    }

    /// Boxes: `[B, K, 4]`, normalized.
    pub fn boxes(&self) -> &[f32] {
        self.values("boxes").unwrap_or_default()
    }

    /// The annotations' confidence: `[B, K]`.
    pub fn predicted_iou(&self) -> &[f32] {
        self.values("predicted_iou").unwrap_or_default()
    }

    /// As annotated: `[B, K]`.
    pub fn stability_score(&self) -> &[f32] {
        self.values("stability_score").unwrap_or_default()
    }

    /// Pixels of the original image: `[B, K]`.
    pub fn area(&self) -> &[f32] {
        self.values("area").unwrap_or_default()
    }

    /// First prompt point x, y: `[B, K, 2]`, normalized like the boxes.
    pub fn points(&self) -> &[f32] {
        self.values("points").unwrap_or_default()
    }

    /// Ids of the annotations: `[B, K]`.
    pub fn annotation_ids(&self) -> &[i64] {
        self.values("annotation_ids").unwrap_or_default()
    }

    /// Which of the K are real: `[B, K]`, 0 or 1.
    pub fn valid(&self) -> &[u8] {
        self.values("valid").unwrap_or_default()
    }

    /// Ids of the images: `[B]`.
    pub fn image_ids(&self) -> &[i64] {
        self.values("image_ids").unwrap_or_default()
    }

    /// Height and width of the original images in pixels: `[B, 2]`.
    pub fn original_sizes(&self) -> &[u32] {
        self.values("original_sizes").unwrap_or_default()
    }

    /// Map from original to canvas pixels: `[B, 6]`, see [`Geometry::affine`](crate::sample::Geometry::affine).
    pub fn geometry(&self) -> &[f32] {
        self.values("geometry").unwrap_or_default()
    }

    /// Which rows are real: `[B]`, 0 or 1.
    pub fn image_valid(&self) -> &[u8] {
        self.values("image_valid").unwrap_or_default()
    }

    /// Which patches have their centre in the image, not in its padding: `[B, G, G]`, 0 or 1; there if coverage is.
    pub fn patch_valid(&self) -> Option<&[u8]> {
        self.values("patch_valid")
    }

    /// Takes heap buffers out for good; the pool makes others. `None` for buffers that are used again.
    #[cfg(any(feature = "burn", feature = "candle"))]
    pub(crate) fn take_heap_buffers(&mut self) -> Option<BatchBuffers> {
        let buffers = self.buffers.take_if(|buffers| !matches!(buffers.small, Buffer::Slab(_)))?;
        self.pool.release(None);
        Some(buffers)
    }

    fn values<T: Element>(&self, name: &str) -> Option<&[T]> {
        let spec = self.layout().field(name)?;
        Field { spec, bytes: self.bytes_of(spec) }.values()
    }

    pub(crate) fn bytes_of(&self, spec: &FieldSpec) -> &[u8] {
        self.buffers.as_ref().map_or(&[], |buffers| buffers.bytes_of(spec))
    }
}

impl BatchBuffers {
    /// All rows of one field.
    pub(crate) fn bytes_of(&self, spec: &FieldSpec) -> &[u8] {
        let (buffer, start) = match spec.place {
            Place::Images => (Some(&self.images), 0),
            Place::Masks => (self.masks.as_ref(), 0),
            Place::Coverage => (self.coverage.as_ref(), 0),
            Place::Small(offset) => (Some(&self.small), offset),
        };
        buffer.map_or(&[], |buffer| &buffer.bytes()[start..start + spec.bytes()])
    }
}

#[cfg(any(feature = "burn", feature = "candle"))]
impl BatchBuffers {
    /// The buffer that holds one field and nothing else, if it has one.
    pub(crate) fn own_buffer(&mut self, spec: &FieldSpec) -> Option<&mut Buffer> {
        match spec.place {
            Place::Images => Some(&mut self.images),
            Place::Masks => self.masks.as_mut(),
            Place::Coverage => self.coverage.as_mut(),
            Place::Small(_) => None,
        }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if let Some(buffers) = self.buffers.take() {
            self.pool.release(Some(buffers));
        }
    }
}

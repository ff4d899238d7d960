//! The layout of a batch: its fields, their number types and shapes, and their positions in its buffers. Each large
//! field has a buffer of its own; all small fields share one more, one after the other.

use crate::dtype::DType;
use crate::field::{Field, MaskFormat, Sizes};
use crate::sample::SampleOptions;
use crate::{Error, Result};

/// Small fields start at multiples of this: a cache line.
const ALIGN: usize = 64;
/// Largest batch in bytes: more than any device holds.
const MAX_BYTES: usize = 1 << 42;

/// Where a field is in the buffers of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In a buffer of its own, with this index.
    Large(usize),
    /// At this offset in bytes in the buffer of small fields.
    Small(usize),
}

/// Number type and shape of one field of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FieldSpec {
    /// Which field.
    pub field: Field,
    /// Its number type.
    pub dtype: DType,
    /// Its shape; the first dimension is the batch size.
    pub shape: Vec<usize>,
    pub(super) place: Place,
}

impl FieldSpec {
    /// The field's name, which exported files use as well.
    pub fn name(&self) -> &'static str {
        self.field.name()
    }

    /// Bytes of one row.
    pub(super) fn row_bytes(&self) -> usize {
        self.shape[1..].iter().product::<usize>() * self.dtype.bytes()
    }

    /// Bytes of all rows.
    pub(super) fn bytes(&self) -> usize {
        self.shape[0] * self.row_bytes()
    }
}

/// The fields of a batch. Which fields there are depends on the loader's settings.
///
/// ```no_run
/// use maskstream::Field;
///
/// # fn show(loader: &maskstream::Loader) {
/// let layout = loader.layout();
/// for spec in layout.fields() {
///     println!("{}: {} {:?}", spec.name(), spec.dtype, spec.shape); // images: u8 [8, 3, 1024, 1024]
/// }
/// if let Some(masks) = layout.spec(Field::Masks) {
///     assert_eq!(masks.shape[..2], [layout.batch_size(), layout.top_k()]);
/// }
/// println!("{} bytes a batch", layout.bytes());
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchLayout {
    sizes: Sizes,
    fields: Vec<FieldSpec>,
    small_bytes: usize,
}

impl BatchLayout {
    /// The layout of batches of `batch_size` samples.
    ///
    /// # Errors
    /// If the batch would exceed 4 TiB.
    pub(crate) fn of(batch_size: usize, sample: &SampleOptions) -> Result<Self> {
        let sizes = Sizes {
            batch_size,
            top_k: sample.top_k,
            image_side: sample.side as usize,
            image_dtype: sample.image_dtype,
            mask_size: sample.mask_size.map(|size| size.map(|n| n as usize)),
            mask_format: sample.mask_format,
            coverage: sample.coverage.map(|g| g as usize),
            clicks: sample.prompts.map(|prompts| prompts.clicks()),
        };
        let mut layout = Self { sizes, fields: Vec::new(), small_bytes: 0 };
        for &field in Field::ALL {
            if let Some(shape) = field.shape(sizes) {
                layout.add(field, field.dtype(sizes), shape)?;
            }
        }
        Ok(layout)
    }

    /// The fields, in the order of [`Field::ALL`].
    pub fn fields(&self) -> &[FieldSpec] {
        &self.fields
    }

    /// Number type and shape of a field; `None` if the batch does not have it.
    pub fn spec(&self, field: Field) -> Option<&FieldSpec> {
        self.fields.iter().find(|spec| spec.field == field)
    }

    /// Samples per batch.
    pub fn batch_size(&self) -> usize {
        self.sizes.batch_size
    }

    /// Masks per image.
    pub fn top_k(&self) -> usize {
        self.sizes.top_k
    }

    /// Side of the square images in pixels.
    pub fn image_size(&self) -> usize {
        self.sizes.image_side
    }

    /// Height and width of the mask grid; `None` if masks are not drawn.
    pub fn mask_size(&self) -> Option<[usize; 2]> {
        self.sizes.mask_size
    }

    /// How the cells of masks are stored.
    pub fn mask_format(&self) -> MaskFormat {
        self.sizes.mask_format
    }

    /// Columns of the mask grid if masks are stored as bits.
    pub(crate) fn packed_columns(&self) -> Option<usize> {
        let [_, columns] = self.sizes.mask_size?;
        (self.sizes.mask_format == MaskFormat::Bits).then_some(columns)
    }

    /// Side of the coverage grid; `None` if coverage is not computed.
    pub fn coverage(&self) -> Option<usize> {
        self.sizes.coverage
    }

    /// Size of a batch in bytes.
    pub fn bytes(&self) -> usize {
        self.small_bytes + self.large().map(FieldSpec::bytes).sum::<usize>()
    }

    /// Size of the buffer of small fields in bytes.
    pub(super) fn small_bytes(&self) -> usize {
        self.small_bytes
    }

    /// The fields with a buffer of their own, in the order of these buffers.
    pub(super) fn large(&self) -> impl Iterator<Item = &FieldSpec> {
        self.fields.iter().filter(|spec| spec.field.is_large())
    }

    fn add(&mut self, field: Field, dtype: DType, shape: Vec<usize>) -> Result<()> {
        let bytes = shape.iter().try_fold(dtype.bytes(), |bytes, &n| bytes.checked_mul(n));
        let total = bytes.and_then(|bytes| self.bytes().checked_add(bytes)).filter(|&total| total <= MAX_BYTES);
        let (Some(bytes), Some(_)) = (bytes, total) else {
            return Err(Error::config(format!("a batch with {field} of shape {shape:?} exceeds {MAX_BYTES} bytes")));
        };
        let place = if field.is_large() { Place::Large(self.large().count()) } else { Place::Small(self.small_bytes) };
        if let Place::Small(offset) = place {
            self.small_bytes = (offset + bytes).next_multiple_of(ALIGN);
        }
        self.fields.push(FieldSpec { field, dtype, shape, place });
        Ok(())
    }
}

/// A small layout for tests: images of 4 x 4 pixels and two masks each, with grids of masks and coverage or without.
#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) fn test_layout(batch_size: usize, has_grids: bool) -> BatchLayout {
    use crate::annotation::TopKBy;
    use crate::image::{Normalization, ScaledDecode};
    use crate::sample::{BoxFormat, CoordFrame, Fit, MaskKind};

    let sample = SampleOptions {
        side: 4,
        fit: Fit::default(),
        image_dtype: DType::U8,
        normalization: Normalization::default(),
        scaled: ScaledDecode::default(),
        max_pixels: 1 << 10,
        mask_size: has_grids.then_some([3, 5]),
        keep_thin_masks: true,
        mask_kind: MaskKind::default(),
        mask_format: MaskFormat::default(),
        coverage: has_grids.then_some(2),
        top_k: 2,
        top_k_by: TopKBy::default(),
        box_format: BoxFormat::default(),
        coord_frame: CoordFrame::default(),
        augment: None,
        prompts: None,
        transform: None,
    };
    BatchLayout::of(batch_size, &sample).unwrap()
}

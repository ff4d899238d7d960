//! Which fields a batch has, and where they lie in its buffers: each large field in a buffer of its own, all small
//! fields one after the other in one more.

use crate::dtype::DType;
use crate::field::{Field, Sizes};
use crate::sample::SampleOptions;
use crate::{Error, Result};

/// Small fields start at multiples of this: a cache line.
const ALIGN: usize = 64;
/// Largest batch in bytes, far beyond any device.
const MAX_BYTES: usize = 1 << 42;

/// The place of a field in the buffers of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A buffer of its own, of this index.
    Large(usize),
    /// An offset in bytes in the buffer of small fields.
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
    /// The field's name, also in exported files.
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
/// # fn show(loader: &maskstream::Loader) {
/// for spec in loader.layout().fields() {
///     println!("{}: {:?} {:?}", spec.name(), spec.dtype, spec.shape);
/// }
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchLayout {
    sizes: Sizes,
    fields: Vec<FieldSpec>,
    small_bytes: usize,
}

impl BatchLayout {
    /// The layout of a loader's batches.
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
            coverage: sample.coverage.map(|g| g as usize),
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

    /// Height and width of the mask grid, if masks are drawn.
    pub fn mask_size(&self) -> Option<[usize; 2]> {
        self.sizes.mask_size
    }

    /// Side of the coverage grid, if coverage is computed.
    pub fn coverage(&self) -> Option<usize> {
        self.sizes.coverage
    }

    /// Bytes of a whole batch.
    pub fn bytes(&self) -> usize {
        self.small_bytes + self.large().map(FieldSpec::bytes).sum::<usize>()
    }

    /// Bytes of the buffer of small fields.
    pub(super) fn small_bytes(&self) -> usize {
        self.small_bytes
    }

    /// The fields with a buffer of their own, in the order of those.
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

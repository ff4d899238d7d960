//! What a batch holds and where. Comes in: the sizes. Goes out: every field's name, type, shape and place. Fails on
//! sizes whose product does not fit.
//!
//! A batch is up to four buffers: images, masks, coverage, and all the small fields one after the other. B is the batch
//! size, K the masks per image, S the image side, h x w the mask grid, G the coverage grid.

use crate::dtype::DType;
use crate::{Error, Result};

/// Small fields start at multiples of this: a cache line.
const ALIGN: usize = 64;
/// Largest batch in bytes, far beyond any device.
const MAX_BYTES: usize = 1 << 42;

/// The buffer a field lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Images,
    Masks,
    Coverage,
    /// Offset in bytes.
    Small(usize),
}

/// One field of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldSpec {
    /// Its name, also in exported files.
    pub name: &'static str,
    /// Its number type.
    pub dtype: DType,
    /// Its shape; the first dimension is B.
    pub shape: Vec<usize>,
    pub(crate) place: Place,
}

impl FieldSpec {
    /// Whether it has a buffer of its own.
    pub(crate) fn is_large(&self) -> bool {
        !matches!(self.place, Place::Small(_))
    }

    /// Bytes of one row.
    pub(crate) fn row_bytes(&self) -> usize {
        self.shape[1..].iter().product::<usize>() * self.dtype.bytes()
    }

    /// Bytes of all rows.
    pub(crate) fn bytes(&self) -> usize {
        self.shape[0] * self.row_bytes()
    }
}

/// The fields of a batch. Which ones there are depends on what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchLayout {
    /// B
    pub batch_size: usize,
    /// K
    pub top_k: usize,
    /// S
    pub image_side: usize,
    /// Number type of the images.
    pub image_dtype: DType,
    /// [h, w], if masks are drawn.
    pub mask_size: Option<[usize; 2]>,
    /// G, if coverage is computed.
    pub coverage: Option<usize>,
    fields: Vec<FieldSpec>,
    small_bytes: usize,
}

impl BatchLayout {
    /// Lays out a batch.
    ///
    /// # Errors
    /// If the batch would exceed 4 TiB.
    pub fn new(
        batch_size: usize,
        top_k: usize,
        image_side: usize,
        image_dtype: DType,
        mask_size: Option<[usize; 2]>,
        coverage: Option<usize>,
    ) -> Result<Self> {
        use DType::{F32, I64, U8, U32};
        let (b, k, s) = (batch_size, top_k, image_side);
        let mut layout = Self {
            batch_size,
            top_k,
            image_side,
            image_dtype,
            mask_size,
            coverage,
            fields: Vec::new(),
            small_bytes: 0,
        };
        layout.big("images", image_dtype, vec![b, 3, s, s], Place::Images)?;
        if let Some([h, w]) = mask_size {
            layout.big("masks", U8, vec![b, k, h, w], Place::Masks)?;
        }
        if let Some(g) = coverage {
            layout.big("coverage", F32, vec![b, k, g, g], Place::Coverage)?;
        }
        layout.small("boxes", F32, vec![b, k, 4])?;
        layout.small("predicted_iou", F32, vec![b, k])?;
        layout.small("stability_score", F32, vec![b, k])?;
        layout.small("area", F32, vec![b, k])?;
        layout.small("points", F32, vec![b, k, 2])?;
        layout.small("annotation_ids", I64, vec![b, k])?;
        layout.small("valid", U8, vec![b, k])?;
        layout.small("image_ids", I64, vec![b])?;
        layout.small("original_sizes", U32, vec![b, 2])?;
        layout.small("geometry", F32, vec![b, 6])?;
        layout.small("image_valid", U8, vec![b])?;
        if let Some(g) = coverage {
            layout.small("patch_valid", U8, vec![b, g, g])?;
        }
        Ok(layout)
    }

    /// The fields, in the order of the table in the README.
    pub fn fields(&self) -> &[FieldSpec] {
        &self.fields
    }

    /// Bytes of a whole batch.
    pub fn bytes(&self) -> usize {
        let large = self.fields.iter().filter(|field| field.is_large());
        self.small_bytes + large.map(FieldSpec::bytes).sum::<usize>()
    }

    /// Bytes of the buffer of small fields.
    pub(crate) fn small_bytes(&self) -> usize {
        self.small_bytes
    }

    /// The field called `name`, if the batch has it.
    pub fn field(&self, name: &str) -> Option<&FieldSpec> {
        self.fields.iter().find(|field| field.name == name)
    }

    fn big(&mut self, name: &'static str, dtype: DType, shape: Vec<usize>, place: Place) -> Result<()> {
        let bytes = shape.iter().try_fold(dtype.bytes(), |bytes, &n| bytes.checked_mul(n));
        let total = bytes.and_then(|bytes| self.bytes().checked_add(bytes)).filter(|&total| total <= MAX_BYTES);
        if total.is_none() {
            return Err(Error::config(format!("a batch with {name} of shape {shape:?} exceeds {MAX_BYTES} bytes")));
        }
        self.fields.push(FieldSpec { name, dtype, shape, place });
        Ok(())
    }

    fn small(&mut self, name: &'static str, dtype: DType, shape: Vec<usize>) -> Result<()> {
        let offset = self.small_bytes;
        self.big(name, dtype, shape, Place::Small(offset))?;
        let bytes = self.fields.last().map_or(0, FieldSpec::bytes);
        self.small_bytes = (offset + bytes).next_multiple_of(ALIGN);
        Ok(())
    }
}

//! A step of the user's own, on the workers.

use std::fmt;
use std::sync::Arc;

use super::{Geometry, RowMut};
use crate::Result;
use crate::augment::{Draws, Purpose};
use crate::dtype::Element;
use crate::field::Field;
use crate::mask::Rle;

/// A decoded sample, before it is a row of a batch: see
/// [`LoaderBuilder::transform`](crate::LoaderBuilder::transform).
///
/// ```
/// use maskstream::{Loader, Sample};
///
/// /// Sets a square in one image of two to grey, at a random place.
/// fn erase(sample: &mut Sample<'_>) -> maskstream::Result<()> {
///     if sample.draw(0) < 0.5 {
///         let (width, height) = sample.size();
///         let side = width.min(height) / 4;
///         let left = (sample.draw(1) * (width - side) as f64) as usize;
///         let top = (sample.draw(2) * (height - side) as f64) as usize;
///         for plane in sample.pixels().chunks_exact_mut(width * height) {
///             plane.chunks_exact_mut(width).skip(top).take(side).for_each(|row| row[left..left + side].fill(128));
///         }
///     }
///     Ok(())
/// }
/// let builder = Loader::builder().transform(erase);
/// ```
pub struct Sample<'a> {
    pub(crate) pixels: &'a mut [u8],
    pub(crate) geometry: Geometry,
    pub(crate) masks: &'a [Rle],
    pub(crate) draws: Draws,
    pub(crate) epoch: u64,
    pub(crate) row: RowMut<'a>,
}

impl fmt::Debug for Sample<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sample").field("geometry", &self.geometry).field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

impl Sample<'_> {
    /// The image as it will be on the canvas, without padding, before it is normalized: three planes, red, green and
    /// blue, of [`Sample::size`], row by row.
    pub fn pixels(&mut self) -> &mut [u8] {
        self.pixels
    }

    /// Width and height of the image on the canvas.
    pub fn size(&self) -> (usize, usize) {
        (self.geometry.content_width() as usize, self.geometry.content_height() as usize)
    }

    /// Where the image is on the canvas.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The masks that were chosen, at most K of them, in pixels of the original image; the others are padding.
    pub fn masks(&self) -> &[Rle] {
        self.masks
    }

    /// The values of a field in the row, without the first dimension of its shape. `None` if the batch does not have
    /// the field, if its values are not of type `T`, and for the image: see [`Sample::pixels`].
    ///
    /// ```
    /// use maskstream::{Field, Sample};
    ///
    /// /// Trusts no mask that is hardly shown.
    /// fn lower(sample: &mut Sample<'_>) -> maskstream::Result<()> {
    ///     let areas: Vec<u64> = sample.masks().iter().map(|mask| mask.area()).collect();
    ///     if let Some(scores) = sample.field_mut::<f32>(Field::StabilityScore) {
    ///         scores.iter_mut().zip(areas).filter(|(_, area)| *area < 64).for_each(|(score, _)| *score *= 0.5);
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn field_mut<T: Element>(&mut self, field: Field) -> Option<&mut [T]> {
        let (bytes, dtype) = self.row.bytes_mut(field)?;
        (dtype == T::DTYPE && !bytes.is_empty()).then(|| bytemuck::cast_slice_mut(bytes))
    }

    /// The epoch.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The `number`-th random number of this sample in this epoch, from 0 to less than 1. It is the same in every run
    /// with the same [`Augment::seed`](crate::Augment::seed), so take random numbers from here only.
    pub fn draw(&self, number: u64) -> f64 {
        self.draws.unit(Purpose::Transform, number)
    }

    /// Makes the `k`-th mask of the row padding: all of its fields become 0.
    ///
    /// # Panics
    /// If `k` is not below K.
    pub fn remove_mask(&mut self, k: usize) {
        assert!(k < self.row.valid.len(), "there is no mask {k}");
        self.row.zero_mask(k);
    }
}

/// The user's function.
#[derive(Clone)]
pub(crate) struct Transform(pub(crate) Arc<TransformFn>);

pub(crate) type TransformFn = dyn Fn(&mut Sample<'_>) -> Result<()> + Send + Sync;

impl fmt::Debug for Transform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Transform")
    }
}

//! Filling one batch from many threads. Comes in: buffers. Goes out: one [`Slot`] per row; the thread that gives up the
//! last slot gets the buffers back. Cannot fail.
//!
//! # Contract
//!
//! [`slots`] takes the buffers by value and makes exactly one [`Slot`] for each row. A slot is not `Clone`, and only a
//! slot writes, through `&mut self`, and only to the bytes of its own row of each field; rows of different slots never
//! overlap, which the layout's arithmetic guarantees. The buffers themselves are not touched while any slot exists:
//! [`Slot::finish`] gives them back through `Arc::into_inner`, which succeeds for exactly one of the slots, after all
//! others are gone, and orders their writes before.

#![allow(unsafe_code)]

use std::sync::Arc;

use super::layout::Place;
use super::{BatchBuffers, BatchLayout, FieldSpec};
use crate::sample::{LabelsMut, RowMut};

/// What the slots of a batch share.
struct Shared {
    layout: Arc<BatchLayout>,
    /// Start of each buffer; null where the batch has none.
    images: *mut u8,
    masks: *mut u8,
    coverage: *mut u8,
    small: *mut u8,
    /// Owns what the pointers point to; not touched before the last slot is gone.
    buffers: BatchBuffers,
}

// SAFETY: the pointers point into heap memory or mappings that `buffers` owns, which do not move with it. Through them
// slots write disjoint bytes (see the contract), so sharing and sending are as safe as for the buffers themselves,
// which are plain numbers.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

/// A sample's place in a batch that is being filled.
pub(crate) struct Slot {
    shared: Arc<Shared>,
    row: usize,
}

/// One slot for each row of `buffers`, which must be of `layout`.
pub(crate) fn slots(layout: &Arc<BatchLayout>, mut buffers: BatchBuffers) -> Vec<Slot> {
    let start = |buffer: Option<&mut super::memory::Buffer>| {
        buffer.map_or(std::ptr::null_mut(), |buffer| buffer.bytes_mut().as_mut_ptr())
    };
    let shared = Arc::new(Shared {
        layout: Arc::clone(layout),
        images: start(Some(&mut buffers.images)),
        masks: start(buffers.masks.as_mut()),
        coverage: start(buffers.coverage.as_mut()),
        small: start(Some(&mut buffers.small)),
        buffers,
    });
    (0..layout.batch_size).map(|row| Slot { shared: Arc::clone(&shared), row }).collect()
}

impl Slot {
    /// Index of the row.
    pub(crate) fn row(&self) -> usize {
        self.row
    }

    /// The row's bytes of every field.
    pub(crate) fn row_mut(&mut self) -> RowMut<'_> {
        // SAFETY: each field is asked for once, and the results borrow from `&mut self`.
        unsafe {
            RowMut {
                images: self.field("images"),
                labels: LabelsMut {
                    masks: self.field("masks"),
                    coverage: self.field("coverage"),
                    boxes: self.field("boxes"),
                    predicted_iou: self.field("predicted_iou"),
                    stability_score: self.field("stability_score"),
                    area: self.field("area"),
                    points: self.field("points"),
                    annotation_ids: self.field("annotation_ids"),
                    valid: self.field("valid"),
                    image_id: self.field("image_ids"),
                    original_size: self.field("original_sizes"),
                    geometry: self.field("geometry"),
                    image_valid: self.field("image_valid"),
                    patch_valid: self.field("patch_valid"),
                },
            }
        }
    }

    /// Sets the whole row to zero: an invalid row.
    pub(crate) fn zero(&mut self) {
        let RowMut { images, mut labels } = self.row_mut();
        images.fill(0);
        labels.zero();
    }

    /// Gives the slot up. The last one gets the buffers.
    pub(crate) fn finish(self) -> Option<BatchBuffers> {
        Arc::into_inner(self.shared).map(|shared| shared.buffers)
    }

    /// This row of the field called `name`; empty if the batch does not have it.
    ///
    /// # Safety
    /// No other result for the same name may be alive.
    #[allow(clippy::mut_from_ref)]
    unsafe fn field<T: bytemuck::Pod>(&self, name: &str) -> &mut [T] {
        let Some(field) = self.shared.layout.field(name) else { return &mut [] };
        let bytes = field.row_bytes();
        let start = self.shared.start(field);
        // SAFETY: `start` points to `field.bytes()` initialized bytes that `buffers` owns, and `row` is below the
        // number of rows, so these bytes lie inside. No other slot has this row, and the caller holds no other result
        // for this name.
        let row = unsafe { std::slice::from_raw_parts_mut(start.add(self.row * bytes), bytes) };
        // Fields start aligned, and a row is a whole number of values.
        bytemuck::cast_slice_mut(row)
    }
}

impl Shared {
    fn start(&self, field: &FieldSpec) -> *mut u8 {
        match field.place {
            Place::Images => self.images,
            Place::Masks => self.masks,
            Place::Coverage => self.coverage,
            // SAFETY: the layout made the offset, and the buffer is as long as the layout says.
            Place::Small(offset) => unsafe { self.small.add(offset) },
        }
    }
}

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
use super::{BatchBuffers, BatchLayout};
use crate::field::{Field, batch_fields};
use crate::sample::RowMut;

/// What the slots of a batch share.
struct Shared {
    /// Start of each field in its buffer and bytes of one row, by the order of [`Field::ALL`]; `None` where the batch
    /// does not have the field.
    fields: Vec<Option<(*mut u8, usize)>>,
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
pub(crate) fn slots(layout: &BatchLayout, mut buffers: BatchBuffers) -> Vec<Slot> {
    let large: Vec<*mut u8> = buffers.large.iter_mut().map(|buffer| buffer.bytes_mut().as_mut_ptr()).collect();
    let small = buffers.small.bytes_mut().as_mut_ptr();
    let start = |&field: &Field| {
        let spec = layout.spec(field)?;
        let start = match spec.place {
            Place::Large(index) => large[index],
            // SAFETY: the layout made the offset, and the buffer is as long as the layout says.
            Place::Small(offset) => unsafe { small.add(offset) },
        };
        Some((start, spec.row_bytes()))
    };
    let fields = Field::ALL.iter().map(start).collect();
    let shared = Arc::new(Shared { fields, buffers });
    (0..layout.batch_size()).map(|row| Slot { shared: Arc::clone(&shared), row }).collect()
}

macro_rules! define_row_mut {
    ($(
        $(#[$doc:meta])*
        $variant:ident $name:ident: $element:ident [$($dimension:tt)*] $presence:ident $storage:ident;
    )*) => {
        impl Slot {
            /// The row's numbers of every field.
            pub(crate) fn row_mut(&mut self) -> RowMut<'_> {
                // SAFETY: each field is taken once, and the results borrow from `&mut self`.
                unsafe { RowMut { $($name: self.field(Field::$variant),)* } }
            }
        }
    };
}

batch_fields!(define_row_mut);

impl Slot {
    /// Index of the row.
    pub(crate) fn row(&self) -> usize {
        self.row
    }

    /// Sets the whole row to zero: an invalid row.
    pub(crate) fn zero(&mut self) {
        self.row_mut().zero();
    }

    /// Gives the slot up. The last one gets the buffers.
    pub(crate) fn finish(self) -> Option<BatchBuffers> {
        Arc::into_inner(self.shared).map(|shared| shared.buffers)
    }

    /// This row of a field; empty if the batch does not have it.
    ///
    /// # Safety
    /// No other result for the same field may be alive.
    #[allow(clippy::mut_from_ref)]
    unsafe fn field<T: bytemuck::Pod>(&self, field: Field) -> &mut [T] {
        let Some((start, bytes)) = self.shared.fields[field as usize] else { return &mut [] };
        // SAFETY: `start` points to as many rows of `bytes` initialized bytes as there are slots, in memory that
        // `buffers` owns, so the bytes of this row lie inside. No other slot has this row, and the caller holds no
        // other result for this field.
        let row = unsafe { std::slice::from_raw_parts_mut(start.add(self.row * bytes), bytes) };
        // Fields start aligned, and a row is a whole number of values.
        bytemuck::cast_slice_mut(row)
    }
}

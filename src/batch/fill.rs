//! Filling one batch from many threads: [`slots`] splits its buffers into one [`Slot`] per row, and the last slot to
//! finish returns the buffers.
//!
//! # Contract
//!
//! [`slots`] takes the buffers by value and makes exactly one [`Slot`] for each row. A slot is not `Clone`, and only a
//! slot writes, through `&mut self`, and only to the bytes of its own row of each field; rows of different slots never
//! overlap, which the layout's arithmetic guarantees. The buffers themselves are not accessed while any slot exists:
//! [`Slot::finish`] returns them through `Arc::into_inner`, which succeeds for exactly one of the slots, after all
//! others are gone, and makes their writes visible.

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
    /// Owns the memory that the pointers point to. Not accessed before the last slot is gone.
    buffers: BatchBuffers,
}

// SAFETY: the pointers point into heap memory or mappings that `buffers` owns, which do not move with it. Through them
// slots write disjoint bytes (see the contract), so sharing and sending are as safe as for the buffers themselves,
// which hold plain numbers.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

/// One row of a batch that is being filled.
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
            // SAFETY: the offset is from the layout, and the buffer has the length that the layout gives.
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
            /// The row's values, field by field.
            pub(crate) fn row_mut(&mut self) -> RowMut<'_> {
                // SAFETY: each field is borrowed once, and the borrows hold on to `&mut self`.
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

    /// The bytes of the row's image.
    pub(crate) fn image_mut(&mut self) -> &mut [u8] {
        // SAFETY: the borrow holds on to `&mut self`.
        unsafe { self.field(Field::Images) }
    }

    /// Sets the whole row to zero, which makes it invalid.
    pub(crate) fn zero(&mut self) {
        self.row_mut().zero();
    }

    /// Ends the use of this slot. The last slot of a batch returns the buffers, all others return `None`.
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use std::thread;

    use super::super::layout::test_layout;
    use super::super::{BatchBuffers, BatchLayout, Memory};
    use super::{Slot, slots};
    use crate::field::Field;

    const ROWS: usize = 6;

    fn slots_of(layout: &BatchLayout) -> Vec<Slot> {
        slots(layout, BatchBuffers::new(layout, Memory::Heap).unwrap())
    }

    /// Writes values to a row that differ by row and field.
    fn write(slot: &mut Slot) {
        let value = slot.row() as u8 + 1;
        let row = slot.row_mut();
        row.images.fill(value);
        row.masks.fill(10 + value);
        row.coverage.fill(f32::from(20 + value));
        row.boxes.fill(f32::from(30 + value));
        row.annotation_ids.fill(i64::from(value) << 40);
        row.valid.fill(40 + value);
        row.original_sizes.fill(u32::from(value) << 20);
        row.image_valid.fill(50 + value);
    }

    /// Each row of a field of type `T`.
    fn rows<T: bytemuck::Pod>(layout: &BatchLayout, buffers: &BatchBuffers, field: Field) -> Vec<Vec<T>> {
        let bytes = buffers.bytes_of(layout.spec(field).unwrap());
        bytes.chunks(bytes.len() / ROWS).map(|row| bytemuck::cast_slice(row).to_vec()).collect()
    }

    /// Whether each row of a field consists of one value, that of `expected`.
    fn assert_rows<T>(layout: &BatchLayout, buffers: &BatchBuffers, field: Field, expected: impl Fn(u8) -> T)
    where
        T: bytemuck::Pod + PartialEq + std::fmt::Debug,
    {
        for (row, values) in rows::<T>(layout, buffers, field).into_iter().enumerate() {
            assert!(!values.is_empty(), "{field}");
            let expected = expected(row as u8 + 1);
            assert!(values.iter().all(|&value| value == expected), "{field}, row {row}: {values:?}");
        }
    }

    #[test]
    fn rows_written_by_two_threads_reach_the_buffers() {
        let layout = test_layout(ROWS, true);
        let (mut even, mut odd) = (slots_of(&layout), Vec::new());
        for row in (0..ROWS).rev().filter(|row| row % 2 == 1) {
            odd.push(even.remove(row));
        }
        let fill = |slots: Vec<Slot>| {
            let filled = slots.into_iter().filter_map(|mut slot| {
                write(&mut slot);
                slot.finish()
            });
            filled.collect::<Vec<_>>()
        };
        let returned = thread::scope(|scope| {
            let other = scope.spawn(|| fill(odd));
            let mut returned = fill(even);
            returned.extend(other.join().unwrap());
            returned
        });
        let [buffers] = &returned[..] else { panic!("the buffers were returned {} times", returned.len()) };
        assert_rows(&layout, buffers, Field::Images, |value| value);
        assert_rows(&layout, buffers, Field::Masks, |value| 10 + value);
        assert_rows(&layout, buffers, Field::Coverage, |value| f32::from(20 + value));
        assert_rows(&layout, buffers, Field::Boxes, |value| f32::from(30 + value));
        assert_rows(&layout, buffers, Field::AnnotationIds, |value| i64::from(value) << 40);
        assert_rows(&layout, buffers, Field::Valid, |value| 40 + value);
        assert_rows(&layout, buffers, Field::OriginalSizes, |value| u32::from(value) << 20);
        assert_rows(&layout, buffers, Field::ImageValid, |value| 50 + value);
        assert_rows(&layout, buffers, Field::Area, |_| 0f32);
    }

    #[test]
    fn the_last_slot_and_no_other_returns_the_buffers() {
        let layout = test_layout(ROWS, false);
        let mut slots = slots_of(&layout);
        let last = slots.remove(2);
        assert!(slots.into_iter().all(|slot| slot.finish().is_none()));
        let buffers = last.finish().unwrap();
        assert_eq!(buffers.small.bytes().len(), layout.small_bytes());
    }

    #[test]
    fn fields_that_the_batch_does_not_have_are_empty() {
        let layout = test_layout(ROWS, false);
        let mut slots = slots_of(&layout);
        let row = slots[1].row_mut();
        assert!(row.masks.is_empty() && row.coverage.is_empty() && row.patch_valid.is_empty());
        assert_eq!((row.images.len(), row.boxes.len(), row.image_valid.len()), (3 * 4 * 4, 2 * 4, 1));
    }

    #[test]
    fn zero_clears_its_row_and_no_other() {
        let layout = test_layout(ROWS, true);
        let mut slots = slots_of(&layout);
        slots.iter_mut().for_each(write);
        slots[3].zero();
        let buffers = slots.into_iter().filter_map(Slot::finish).next().unwrap();
        assert_rows(&layout, &buffers, Field::Images, |value| if value == 4 { 0 } else { value });
        assert_rows(&layout, &buffers, Field::Masks, |value| if value == 4 { 0 } else { 10 + value });
        assert_rows(&layout, &buffers, Field::Boxes, |value| if value == 4 { 0.0 } else { f32::from(30 + value) });
        assert_rows(&layout, &buffers, Field::ImageValid, |value| if value == 4 { 0 } else { 50 + value });
    }
}

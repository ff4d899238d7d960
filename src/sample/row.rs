//! One row of a batch, field by field: slices of the batch buffers.

use std::ops::Range;

use crate::dtype::{DType, Element};
use crate::field::{Field, batch_fields};

/// The Rust type that a row's numbers are written as; images are written as bytes.
macro_rules! element {
    (image) => {
        u8
    };
    ($element:ident) => {
        $element
    };
}

macro_rules! define_row {
    ($(
        $(#[$doc:meta])*
        $variant:ident $name:ident: $element:ident [$($dimension:tt)*] $presence:ident $storage:ident;
    )*) => {
        /// One row of every field; a field that the batch does not have is empty.
        pub(crate) struct RowMut<'a> {
            $(pub(crate) $name: &'a mut [element!($element)],)*
        }

        impl RowMut<'_> {
            /// Calls `f` with the bytes of every field, the images first.
            fn for_each(&mut self, mut f: impl FnMut(&mut [u8])) {
                $(f(bytemuck::cast_slice_mut(self.$name));)*
            }

            /// The values of a field other than the image, as bytes, and their type.
            pub(super) fn bytes_mut(&mut self, field: Field) -> Option<(&mut [u8], DType)> {
                if field == Field::Images {
                    return None;
                }
                Some(match field {
                    $(Field::$variant => (bytemuck::cast_slice_mut(self.$name), <element!($element)>::DTYPE),)*
                })
            }

            /// Sets every small field to zero.
            pub(crate) fn zero_small(&mut self) {
                $(if !Field::$variant.is_large() {
                    self.$name.fill(bytemuck::Zeroable::zeroed());
                })*
            }

            /// Sets every field of a mask to zero.
            pub(super) fn zero_mask(&mut self, k: usize) {
                let top_k = self.valid.len();
                $(if Field::$variant.is_per_mask() {
                    let values = self.$name.len() / top_k;
                    self.$name[k * values..(k + 1) * values].fill(bytemuck::Zeroable::zeroed());
                })*
            }

            /// Sets the large fields of these masks to zero.
            pub(crate) fn zero_masks(&mut self, masks: Range<usize>) {
                let top_k = self.valid.len();
                $(if Field::$variant.is_large() && Field::$variant != Field::Images {
                    let values = self.$name.len() / top_k;
                    self.$name[masks.start * values..masks.end * values].fill(bytemuck::Zeroable::zeroed());
                })*
            }
        }
    };
}

batch_fields!(define_row);

impl RowMut<'_> {
    /// Sets every field to zero.
    pub(crate) fn zero(&mut self) {
        self.for_each(|bytes| bytes.fill(0));
    }

    /// A copy of every field but the image.
    pub(crate) fn save_labels(&mut self) -> Box<[u8]> {
        let mut saved = Vec::new();
        self.for_each_label(|bytes| saved.extend_from_slice(bytes));
        saved.into()
    }

    /// Writes back what [`RowMut::save_labels`] copied from a row of the same layout.
    pub(crate) fn restore_labels(&mut self, mut saved: &[u8]) {
        self.for_each_label(|bytes| {
            let (head, tail) = saved.split_at(bytes.len());
            bytes.copy_from_slice(head);
            saved = tail;
        });
    }

    fn for_each_label(&mut self, mut f: impl FnMut(&mut [u8])) {
        let mut is_image = true;
        self.for_each(|bytes| {
            if !std::mem::take(&mut is_image) {
                f(bytes);
            }
        });
    }
}

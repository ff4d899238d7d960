//! The row of one sample in a batch buffer, as one slice for each field.

/// One row of every field.
pub(crate) struct RowMut<'a> {
    pub(crate) images: &'a mut [u8],
    pub(crate) labels: LabelsMut<'a>,
}

/// One row of every field but the image. A field that the batch does not have is empty.
pub(crate) struct LabelsMut<'a> {
    pub(crate) masks: &'a mut [u8],
    pub(crate) coverage: &'a mut [f32],
    pub(crate) boxes: &'a mut [f32],
    pub(crate) predicted_iou: &'a mut [f32],
    pub(crate) stability_score: &'a mut [f32],
    pub(crate) area: &'a mut [f32],
    pub(crate) points: &'a mut [f32],
    pub(crate) annotation_ids: &'a mut [i64],
    pub(crate) valid: &'a mut [u8],
    pub(crate) image_id: &'a mut [i64],
    pub(crate) original_size: &'a mut [u32],
    pub(crate) geometry: &'a mut [f32],
    pub(crate) image_valid: &'a mut [u8],
    pub(crate) patch_valid: &'a mut [u8],
}

impl LabelsMut<'_> {
    /// Sets every field to zero.
    pub(crate) fn zero(&mut self) {
        self.for_each(|bytes| bytes.fill(0));
    }

    /// A copy of every field.
    pub(crate) fn save(&mut self) -> Box<[u8]> {
        let mut saved = Vec::new();
        self.for_each(|bytes| saved.extend_from_slice(bytes));
        saved.into()
    }

    /// Restores every field from a copy that [`LabelsMut::save`] made of a row of the same layout.
    pub(crate) fn restore(&mut self, mut saved: &[u8]) {
        self.for_each(|bytes| {
            let (head, tail) = saved.split_at(bytes.len());
            bytes.copy_from_slice(head);
            saved = tail;
        });
    }

    /// Calls `f` with the bytes of every field, always in the same order.
    fn for_each(&mut self, mut f: impl FnMut(&mut [u8])) {
        f(self.masks);
        f(bytemuck::cast_slice_mut(self.coverage));
        f(bytemuck::cast_slice_mut(self.boxes));
        f(bytemuck::cast_slice_mut(self.predicted_iou));
        f(bytemuck::cast_slice_mut(self.stability_score));
        f(bytemuck::cast_slice_mut(self.area));
        f(bytemuck::cast_slice_mut(self.points));
        f(bytemuck::cast_slice_mut(self.annotation_ids));
        f(self.valid);
        f(bytemuck::cast_slice_mut(self.image_id));
        f(bytemuck::cast_slice_mut(self.original_size));
        f(bytemuck::cast_slice_mut(self.geometry));
        f(self.image_valid);
        f(self.patch_valid);
    }
}

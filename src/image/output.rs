//! The way of an image from its rows of pixels to its canvas: resized, in other colours, and changed by the user.

use super::colours::Colouring;
use super::job::ImageTask;
use super::jpeg::Rows as PictureRows;
use super::planes::Canvas;
use super::resize::{Rows, Weights};
use super::simd::Simd;
use crate::Result;

/// Memory that is used again for each image.
#[derive(Debug, Default)]
pub(super) struct Output {
    rows: Rows,
    colouring: Colouring,
}

impl Output {
    /// Begins an image whose rows have `width` pixels.
    pub(super) fn begin(&mut self, width: usize, weights: &Weights, task: &mut impl ImageTask) {
        self.rows.begin(width, weights);
        let (steps, is_turned, is_transformed) = (task.color_steps(), task.view().is_turned, task.is_transformed());
        self.colouring.begin(&steps, &task.canvas(), is_turned, is_transformed);
    }

    /// Ends an image of which all rows have been written.
    ///
    /// # Errors
    /// Those of the user's own step.
    pub(super) fn finish(&mut self, simd: Simd, task: &mut impl ImageTask) -> Result<()> {
        if let Some(pixels) = self.colouring.whole(simd) {
            task.transform(pixels)?;
        }
        self.colouring.write(simd, &mut task.canvas());
        Ok(())
    }
}

/// Takes the rows of an image.
pub(super) struct ToCanvas<'a> {
    pub(super) output: &'a mut Output,
    pub(super) weights: &'a Weights,
    pub(super) simd: Simd,
    pub(super) canvas: Canvas<'a>,
}

impl PictureRows for ToCanvas<'_> {
    fn next_row(&mut self) -> [&mut [u8]; 3] {
        self.output.rows.next_row()
    }

    fn row_written(&mut self) {
        let Self { output, weights, simd, canvas } = self;
        let Output { rows, colouring } = &mut **output;
        rows.row_written(weights, *simd, |y, rgb| colouring.take(*simd, y, rgb, canvas));
    }
}

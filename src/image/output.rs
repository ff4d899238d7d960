//! The way of an image from its rows of pixels to its canvas: resized, and in other colours.

use super::colours::Colouring;
use super::jpeg::Rows as PictureRows;
use super::planes::Canvas;
use super::resize::{Rows, Weights};
use super::simd::Simd;
use crate::augment::ColorStep;

/// Memory that is used again for each image.
#[derive(Debug, Default)]
pub(super) struct Output {
    rows: Rows,
    colouring: Colouring,
}

impl Output {
    /// Begins an image whose rows have `width` pixels and become an image of `size` on the canvas.
    pub(super) fn begin(&mut self, width: usize, weights: &Weights, steps: Vec<ColorStep>, size: (u32, u32)) {
        self.rows.begin(width, weights);
        self.colouring.begin(steps, size);
    }
}

/// Takes the rows of an image.
pub(super) struct ToCanvas<'a> {
    pub(super) output: &'a mut Output,
    pub(super) weights: &'a Weights,
    pub(super) simd: Simd,
    pub(super) canvas: Canvas<'a>,
}

impl ToCanvas<'_> {
    /// Ends the image: all of its rows have been written.
    pub(super) fn finish(&mut self) {
        self.output.colouring.finish(self.simd, &mut self.canvas);
    }
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

//! What of an image is shown, and which way round.

use std::ops::Range;

/// A rectangle of an image, in pixels from its upper left corner, and whether it is mirrored. Edges may lie within
/// pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// From the left to the right edge.
    pub x: Range<f64>,
    /// From the upper to the lower edge.
    pub y: Range<f64>,
    /// Whether left and right are exchanged.
    pub flip_x: bool,
    /// Whether top and bottom are exchanged.
    pub flip_y: bool,
    /// Whether columns then become rows.
    pub is_turned: bool,
}

impl View {
    /// The whole of an image of `size` (width, height).
    pub fn whole(size: (u32, u32)) -> Self {
        Self { x: 0.0..size.0.into(), y: 0.0..size.1.into(), flip_x: false, flip_y: false, is_turned: false }
    }

    /// A size on the canvas (width, height) by the image's directions.
    pub(super) fn ordered(&self, (width, height): (u32, u32)) -> (u32, u32) {
        if self.is_turned { (height, width) } else { (width, height) }
    }

    /// The same part of the image where it has another size.
    pub(super) fn resized(self, from: (u32, u32), to: (u32, u32)) -> Self {
        let resize = |range: &Range<f64>, from: u32, to: u32| {
            let edge = |edge: f64| (edge * f64::from(to) / f64::from(from)).clamp(0.0, to.into());
            edge(range.start)..edge(range.end)
        };
        Self { x: resize(&self.x, from.0, to.0), y: resize(&self.y, from.1, to.1), ..self }
    }

    /// The same part of the image at 1 / 2^`shift` of its size.
    pub(super) fn scaled(self, shift: u32) -> Self {
        let factor = f64::from(1 << shift);
        let scale = |range: &Range<f64>| range.start / factor..range.end / factor;
        Self { x: scale(&self.x), y: scale(&self.y), ..self }
    }
}

/// The samples that `extent` touches, of `samples`: at least one.
pub(super) fn touched(extent: &Range<f64>, samples: usize) -> Range<usize> {
    let last = samples.saturating_sub(1);
    let first = (extent.start as usize).min(last);
    first..(extent.end.ceil() as usize).clamp(first + 1, last + 1)
}

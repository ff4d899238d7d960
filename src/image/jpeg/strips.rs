//! The samples of a few rows of each component, and the rows of pixels that they make.

use super::frame::{Frame, Part};
use super::zigzag::BLOCK;
use super::{colour, dct};
use crate::image::simd::Simd;

/// Samples that are waiting to become pixels.
pub(super) struct Strips {
    strips: Vec<Strip>,
    /// The first coefficient of each component's latest block.
    before: [i16; 3],
    is_rgb: bool,
    width: usize,
    /// Rows of units that are complete, of those shown.
    unit_rows: usize,
    /// The next row of pixels.
    next: usize,
    simd: Simd,
    enlarged: [Vec<u8>; 3],
    sums: Vec<u16>,
}

/// A few rows of one component.
struct Strip {
    samples: Vec<u8>,
    stride: usize,
    /// The component's row that `samples` begin with.
    first: usize,
    /// Rows that a row of units adds.
    added: usize,
}

impl Strips {
    /// Empty strips. Takes over the memory of `former` ones.
    pub(super) fn new(frame: &Frame, is_rgb: bool, simd: Simd, former: Option<Self>) -> Self {
        let mut former = former.into_iter().flat_map(|former| former.strips).map(|strip| strip.samples);
        let strips = frame.parts.iter().map(|part| {
            let stride = frame.shown.0.len() * part.blocks.0 * part.samples;
            let added = part.blocks.1 * part.samples;
            let mut samples = former.next().unwrap_or_default();
            // One row may have to wait for the one below it, which needs the one above.
            samples.resize(stride * (added + 2), 0);
            Strip { samples, stride, first: 0, added }
        });
        let width = frame.size.0;
        Self {
            strips: strips.collect(),
            before: [0; 3],
            is_rgb,
            width,
            unit_rows: 0,
            next: frame.rows.start,
            simd,
            enlarged: std::array::from_fn(|_| vec![0; width]),
            sums: Vec::new(),
        }
    }

    /// The first coefficient of each component's latest block.
    pub(super) fn before(&self) -> [i16; 3] {
        self.before
    }

    /// Begins behind blocks with such first coefficients.
    pub(super) fn begin_after(&mut self, before: [i16; 3]) {
        self.before = before;
    }

    /// Restarts the differences.
    pub(super) fn restart(&mut self) {
        self.before = [0; 3];
    }

    /// Adds the units that begin with column `unit` of a row, and zeroes their coefficients.
    pub(super) fn add(&mut self, frame: &Frame, row: usize, unit: usize, coefficients: &mut [i16]) {
        let (columns, rows) = &frame.shown;
        for (unit, unit_blocks) in (unit..).zip(coefficients.chunks_exact(frame.blocks.len() * BLOCK)) {
            let is_shown = rows.contains(&row) && columns.contains(&unit);
            for (block, plan) in unit_blocks.as_chunks::<BLOCK>().0.iter().zip(&frame.blocks) {
                let before = &mut self.before[plan.component];
                *before = before.wrapping_add(block[0]);
                if !is_shown {
                    continue;
                }
                let dc = *before;
                let (part, strip) = (&frame.parts[plan.component], &mut self.strips[plan.component]);
                let column = ((unit - columns.start) * part.blocks.0 + plan.column) * part.samples;
                let row = self.unit_rows * strip.added - strip.first + plan.row * part.samples;
                let out = &mut strip.samples[row * strip.stride + column..];
                dct::inverse(self.simd, block, dc, &part.quantization, part.samples, out, strip.stride);
            }
        }
        coefficients.fill(0);
    }

    /// Ends a row of units that are shown.
    pub(super) fn end_units(&mut self) {
        self.unit_rows += 1;
    }

    /// Whether the next row of pixels can be made.
    pub(super) fn has_row(&self, frame: &Frame) -> bool {
        self.next < frame.rows.end
            && frame.parts.iter().zip(&self.strips).all(|(part, strip)| {
                let below = usize::from(part.is_vertically_smooth() && self.next % 2 == 1);
                let needed = (self.next / part.factors.1 + below).min(part.size.1 - 1);
                needed < self.unit_rows * strip.added
            })
    }

    /// Writes the next row of pixels: red, green and blue.
    pub(super) fn write_row(&mut self, frame: &Frame, rgb: [&mut [u8]; 3]) {
        let Self { strips, is_rgb, width, next, simd, enlarged, sums, .. } = self;
        let row = *next;
        *next += 1;
        let [red, green, blue] = rgb.map(|row| &mut row[..*width]);
        let ([first, rest @ ..], [strip, other @ ..]) = (&frame.parts[..], &strips[..]) else { return };
        let ([second, third], [second_strip, third_strip]) = (rest, other) else {
            strip.write(first, row, *simd, sums, red);
            green.copy_from_slice(red);
            blue.copy_from_slice(red);
            return;
        };
        if *is_rgb {
            strip.write(first, row, *simd, sums, red);
            second_strip.write(second, row, *simd, sums, green);
            third_strip.write(third, row, *simd, sums, blue);
            return;
        }
        let [y, cb, cr] = enlarged;
        let y = strip.pixels(first, row, *simd, sums, y);
        let cb = second_strip.pixels(second, row, *simd, sums, cb);
        let cr = third_strip.pixels(third, row, *simd, sums, cr);
        colour::to_rgb(*simd, y, cb, cr, [red, green, blue]);
    }

    /// Forgets the rows that are no longer needed.
    pub(super) fn forget_rows(&mut self, frame: &Frame) {
        for (part, strip) in frame.parts.iter().zip(&mut self.strips) {
            let above = usize::from(part.is_vertically_smooth() && self.next.is_multiple_of(2));
            let there = self.unit_rows * strip.added;
            let first = (self.next / part.factors.1).saturating_sub(above).min(there);
            let kept = there - first;
            let begin = (first - strip.first) * strip.stride;
            let end = (begin + kept * strip.stride).min(strip.samples.len());
            strip.samples.copy_within(begin.min(end)..end, 0);
            strip.first = first;
        }
    }
}

impl Part {
    fn is_vertically_smooth(&self) -> bool {
        self.is_smooth && self.factors.1 == 2
    }
}

impl Strip {
    /// A row of samples, or the nearest one that there is.
    fn row(&self, part: &Part, row: usize) -> &[u8] {
        let begin = (row.min(part.size.1 - 1) - self.first) * self.stride;
        &self.samples[begin..begin + part.size.0]
    }

    /// The component's row of pixels: a part of the strip where that has the right size, or made in `out`.
    fn pixels<'a>(&'a self, part: &Part, row: usize, simd: Simd, sums: &mut Vec<u16>, out: &'a mut [u8]) -> &'a [u8] {
        if part.factors == (1, 1) {
            return self.row(part, row);
        }
        self.write(part, row, simd, sums, out);
        out
    }

    /// Writes the component's row of pixels.
    fn write(&self, part: &Part, row: usize, simd: Simd, sums: &mut Vec<u16>, out: &mut [u8]) {
        let near = self.row(part, row / part.factors.1);
        let is_upper = row.is_multiple_of(2);
        let neighbour = if is_upper { (row / 2).saturating_sub(1) } else { row / 2 + 1 };
        match (part.is_smooth, part.factors) {
            (_, (1, 1)) => out.copy_from_slice(&near[..out.len()]),
            (true, (2, 1)) => colour::double(simd, near, out),
            (true, (1, _)) => colour::between(simd, near, self.row(part, neighbour), is_upper, out),
            (true, _) => colour::double_between(simd, near, self.row(part, neighbour), sums, out),
            (false, (across, _)) => colour::repeat(near, across, out),
        }
    }
}

//! Decodes sequential JPEGs from their codes to rows of pixels, one or several at once.

use std::ops::Range;

use super::entropy::check;
use super::frame::{BlockPlan, Frame};
use super::huffman::Tables;
use super::lanes::{self, Lane, ROOM, Steps, Stop};
use super::picture::Picture;
use super::stream::{Stream, decode_units};
use super::strips::Strips;
use super::unstuff::unstuff;
use super::zigzag::BLOCK;
use crate::image::simd::{Simd, multiversion};
use crate::{Error, Result};

/// Units that are decoded before they are transformed: their coefficients stay in the nearest cache.
const CHUNK: usize = 8;

/// Memory that is used again for each image.
pub(crate) struct Scratch {
    data: Vec<u8>,
    intervals: Vec<Range<usize>>,
    coefficients: Box<[i16; ROOM]>,
    strips: Option<Strips>,
}

impl Default for Scratch {
    fn default() -> Self {
        let (data, intervals) = Default::default();
        Self { data, intervals, coefficients: Box::new([0; ROOM]), strips: None }
    }
}

/// The Huffman tables that images have had, and the latest arrangement of blocks. SA-1B has one of each for all images.
pub(crate) struct KnownTables {
    tables: Tables,
    steps: Option<Steps>,
}

impl Default for KnownTables {
    fn default() -> Self {
        Self { tables: Tables::new(), steps: None }
    }
}

impl KnownTables {
    /// Forgets tables if those of another `pictures` pictures may not fit.
    pub(crate) fn make_room(&mut self, pictures: usize) {
        if self.tables.is_full(pictures) {
            *self = Self::default();
        }
    }

    /// The layout of `picture` at 1 / 2^`shift` of its size; `None` for forms that are decoded elsewhere.
    pub(crate) fn layout(&mut self, picture: &Picture<'_>, shift: u32) -> Option<Layout> {
        Frame::new(picture, shift, &mut self.tables).map(Layout)
    }

    fn steps(&mut self, plans: &[BlockPlan]) -> (&Tables, &Steps) {
        let steps = self.steps.take().filter(|steps| steps.are_of(plans)).unwrap_or_else(|| Steps::new(plans));
        (&self.tables, self.steps.insert(steps))
    }
}

/// The layout of a picture that [`Decoding`] can decode.
pub(crate) struct Layout(Frame);

/// What a [`Decoding`] passes its rows to.
pub(crate) trait Rows {
    /// Where the next row is to be written: red, green and blue.
    fn next_row(&mut self) -> [&mut [u8]; 3];
    /// The next row has been written.
    fn row_written(&mut self);
}

/// An image that is being decoded.
pub(crate) struct Decoding<'a, R> {
    picture: &'a Picture<'a>,
    frame: Frame,
    rows: R,
    scratch: Scratch,
    strips: Strips,
    /// How far the data is used, in bits.
    position: usize,
    /// The current interval, the units that it still has, and the unit in the current row.
    interval: usize,
    left: usize,
    unit: usize,
    unit_row: usize,
    lane: Lane,
}

impl<'a, R: Rows> Decoding<'a, R> {
    /// Prepares the decoding of `picture`, whose rows go to `rows`.
    ///
    /// # Errors
    /// If its image data has fewer intervals than it should.
    pub(crate) fn new(
        picture: &'a Picture<'a>,
        Layout(frame): Layout,
        simd: Simd,
        mut scratch: Scratch,
        rows: R,
    ) -> Result<Self> {
        let Some(scan) = picture.scans.first() else { return Err(damaged()) };
        let is_in_order = unstuff(scan.data, &mut scratch.data, &mut scratch.intervals);
        let units = frame.units.0 * frame.units.1;
        let left = if scan.restart == 0 { units } else { scan.restart as usize };
        let expected = units.div_ceil(left);
        if !is_in_order || scratch.intervals.len() != expected {
            check(picture)?;
            if scratch.intervals.len() < expected {
                return Err(damaged());
            }
        }
        // An image that failed may have left some.
        scratch.coefficients.fill(0);
        let strips = Strips::new(&frame, picture.is_rgb(), simd, scratch.strips.take());
        let position = 8 * scratch.intervals[0].start;
        let (interval, left, unit, unit_row) = (0, left.min(units), 0, 0);
        let lane = Lane::default();
        Ok(Self { picture, frame, rows, scratch, strips, position, interval, left, unit, unit_row, lane })
    }

    /// The memory, for the next image, and what got the rows.
    pub(crate) fn into_parts(mut self) -> (Scratch, R) {
        self.scratch.strips = Some(self.strips);
        (self.scratch, self.rows)
    }

    /// Decodes the whole image.
    ///
    /// # Errors
    /// If the image data is damaged.
    pub(crate) fn run(&mut self, known: &KnownTables, simd: Simd) -> Result<()> {
        while !self.is_done() {
            let units = self.next_units();
            let mut stream = Stream::new(&self.scratch.data, self.position);
            let Scratch { data, coefficients, .. } = &mut self.scratch;
            let out = &mut coefficients[..units * self.frame.blocks.len() * BLOCK];
            let is_valid = decode(simd, &mut stream, data, &known.tables, &self.frame.blocks, out);
            self.take(is_valid, stream.position(), units)?;
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.unit_row == self.frame.units.1
    }

    /// Units of the next chunk.
    fn next_units(&self) -> usize {
        let fit = ROOM / (self.frame.blocks.len() * BLOCK);
        CHUNK.min(fit).min(self.left).min(self.frame.units.0 - self.unit)
    }

    /// Takes the coefficients of a chunk that was decoded up to bit `position`.
    fn take(&mut self, is_valid: bool, position: usize, units: usize) -> Result<()> {
        self.position = position;
        self.left -= units;
        let end = 8 * self.scratch.intervals[self.interval].end;
        if !is_valid || position > end || (self.left == 0 && end - position >= 8) {
            // Read once more, by the reader that knows what is wrong and where.
            return Err(check(self.picture).err().unwrap_or_else(damaged));
        }
        let coefficients = &mut self.scratch.coefficients[..units * self.frame.blocks.len() * BLOCK];
        self.strips.add(&self.frame, self.unit, coefficients);
        self.unit += units;
        if self.unit == self.frame.units.0 {
            self.end_row();
        }
        if self.left == 0 {
            self.begin_interval();
        }
        Ok(())
    }

    fn end_row(&mut self) {
        (self.unit, self.unit_row) = (0, self.unit_row + 1);
        self.strips.end_units();
        while self.strips.has_row(&self.frame) {
            self.strips.write_row(&self.frame, self.rows.next_row());
            self.rows.row_written();
        }
        self.strips.forget_rows(&self.frame);
    }

    fn begin_interval(&mut self) {
        self.interval += 1;
        let (across, down) = self.frame.units;
        let done = self.unit_row * across + self.unit;
        self.left = (self.picture.scans[0].restart as usize).min(across * down - done);
        if let Some(interval) = self.scratch.intervals.get(self.interval) {
            self.position = 8 * interval.start;
            self.strips.restart();
        }
    }

    fn begin_chunk(&mut self, steps: &Steps) {
        self.lane = Lane::new(steps, &self.scratch.data, self.position, self.next_units());
    }

    fn parts(&mut self) -> lanes::Run<'_> {
        let Scratch { data, coefficients, .. } = &mut self.scratch;
        (&mut self.lane, data, coefficients)
    }
}

/// Decodes images at once, as many as have the same arrangement of blocks as the first of them; returns the result of
/// each.
pub(crate) fn run_together<R: Rows>(
    images: &mut [Decoding<'_, R>],
    known: &mut KnownTables,
    simd: Simd,
) -> Vec<Result<()>> {
    let mut results: Vec<Option<Result<()>>> = images.iter().map(|_| None).collect();
    let same: Vec<usize> = match images.first() {
        Some(first) => {
            let plans: Vec<_> = first.frame.tables().collect();
            (0..images.len()).filter(|&i| images[i].frame.tables().eq(plans.iter().copied())).collect()
        }
        None => Vec::new(),
    };
    if same.len() > 1 {
        let plans = std::mem::take(&mut images[same[0]].frame.blocks);
        let (tables, steps) = known.steps(&plans);
        images[same[0]].frame.blocks = plans;
        run_lanes(images, same, &mut results, tables, steps, simd);
    }
    let rest = images.iter_mut().zip(results);
    rest.map(|(image, result)| result.unwrap_or_else(|| image.run(known, simd))).collect()
}

/// Decodes the images of those numbers until one is left, and that one to the end of a chunk.
fn run_lanes<R: Rows>(
    images: &mut [Decoding<'_, R>],
    numbers: Vec<usize>,
    results: &mut [Option<Result<()>>],
    tables: &Tables,
    steps: &Steps,
    simd: Simd,
) {
    let mut waiting = numbers.into_iter();
    let mut active: Vec<(usize, &mut Decoding<'_, R>, usize)> = Vec::new();
    let mut images: Vec<Option<&mut Decoding<'_, R>>> = images.iter_mut().map(Some).collect();
    let mut begin = |number: usize| {
        let image = images[number].take()?;
        let units = image.next_units();
        image.begin_chunk(steps);
        Some((number, image, units))
    };
    active.extend(waiting.by_ref().take(3).filter_map(&mut begin));
    loop {
        let stop = match &mut active[..] {
            [] => return,
            [(_, a, _)] => lanes::one(simd, [a.parts()], tables, steps),
            [(_, a, _), (_, b, _)] => lanes::two(simd, [a.parts(), b.parts()], tables, steps),
            [(_, a, _), (_, b, _), (_, c, _), ..] => {
                lanes::three(simd, [a.parts(), b.parts(), c.parts()], tables, steps)
            }
        };
        let Stop { lane, is_valid } = stop;
        let (number, image, units) = &mut active[lane];
        let taken = image.take(is_valid, image.lane.position(), *units);
        let is_done = taken.is_err() || image.is_done();
        if is_done {
            results[*number] = Some(taken);
        }
        if !is_done && active.len() > 1 {
            let (_, image, units) = &mut active[lane];
            *units = image.next_units();
            image.begin_chunk(steps);
            continue;
        }
        // The last one goes on alone.
        active.remove(lane);
        active.extend(waiting.next().and_then(&mut begin));
    }
}

fn damaged() -> Error {
    Error::corrupt("jpeg: damaged: the image data has codes that belong to no picture")
}

multiversion! {
    fn decode(
        stream: &mut Stream,
        data: &[u8],
        tables: &Tables,
        plans: &[BlockPlan],
        coefficients: &mut [i16],
    ) -> bool = decode_units
}

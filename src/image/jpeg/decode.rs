//! Decodes sequential JPEGs from their codes to rows of pixels, one or several at once.

use std::ops::Range;

use super::entropy::check;
use super::frame::{BlockPlan, Frame};
use super::huffman::Tables;
use super::lanes::{self, Lane, ROOM, Steps, Stop};
use super::picture::Picture;
use super::points::{RowPoint, RowPoints};
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
    /// Whether the tables of another picture fit.
    pub(crate) fn has_room(&self) -> bool {
        self.tables.has_room()
    }

    /// Forgets all tables if those of another picture may not fit.
    pub(crate) fn make_room(&mut self) {
        if !self.has_room() {
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

impl Layout {
    /// Width and height at its scale, in pixels.
    pub(crate) fn size(&self) -> (usize, usize) {
        self.0.size
    }

    /// Decodes no more than `columns` and `rows` of pixels need. The rows that are passed on are `rows`, each with
    /// some pixels before those of `columns`; returns how many.
    pub(crate) fn show(&mut self, columns: Range<usize>, rows: Range<usize>) -> usize {
        self.0.show(columns, rows)
    }

    /// Decodes all codes, and makes no pixel of them.
    pub(super) fn show_nothing(&mut self) {
        let (columns, rows) = self.0.units;
        (self.0.shown, self.0.rows) = ((columns..columns, rows..rows), 0..0);
    }
}

/// What a [`Decoding`] passes its rows to.
pub(crate) trait Rows {
    /// Where the next row is to be written: red, green and blue.
    fn next_row(&mut self) -> [&mut [u8]; 3];
    /// The next row has been written.
    fn row_written(&mut self);
}

/// An image that is being decoded. It alternates between two steps: [`decode_one`] or [`decode_some`] decode the codes
/// of a chunk, and [`Decoding::take`] makes pixels of it.
pub(crate) struct Decoding {
    frame: Frame,
    /// Units between restart markers, or 0.
    restart: usize,
    scratch: Scratch,
    strips: Strips,
    /// How far the data is used, in bits.
    position: usize,
    /// The current interval, the units that it still has, and the unit in the current row.
    interval: usize,
    left: usize,
    unit: usize,
    unit_row: usize,
    /// The row of units that decoding stops before.
    rows_end: usize,
    lane: Lane,
    /// Units of the chunk that is being decoded in the lane, or 0.
    chunk: usize,
    /// Whether all codes so far are valid.
    is_valid: bool,
    /// Where the rows begin that are shown, but for the first: then what lies behind the shown columns is passed over.
    /// `None` if that is not known.
    jumps: Option<Vec<Jump>>,
}

/// The place of a row: bits of the unstuffed data, and the first coefficient of each component's latest block.
#[derive(Clone, Copy)]
struct Jump {
    position: usize,
    before: [i16; 3],
}

/// Where decoding begins.
struct Start {
    unit_row: usize,
    /// The part of the scan's data that is needed.
    data: Range<usize>,
    /// Bits of its first byte that come before.
    bit: usize,
    before: [i16; 3],
    jumps: Option<Vec<Jump>>,
}

impl Start {
    /// At the first row.
    fn first(length: usize) -> Self {
        Self { unit_row: 0, data: 0..length, bit: 0, before: [0; 3], jumps: None }
    }

    /// At the first row that is shown; `None` if the points are of another image.
    fn new(frame: &Frame, points: &RowPoints, data: &[u8]) -> Option<Self> {
        let rows = &frame.shown.1;
        if !points.is_of(frame.units.1) {
            return None;
        }
        let RowPoint { position, byte, before } = points.row(rows.start).unwrap_or_default();
        let start = usize::try_from(byte).ok()?;
        // The last row may end within the byte that the next one begins with; if that is 0xff, a zero belongs to it.
        let next = points.row(rows.end).and_then(|next| usize::try_from(next.byte).ok()).unwrap_or(data.len());
        let shared = data.get(next..).unwrap_or_default();
        let shared = shared.iter().take_while(|&&byte| byte == 0xff).count() + 1;
        let data = start..next.saturating_add(shared).min(data.len());
        let first = position / 8 * 8;
        let jump = |row: usize| {
            let RowPoint { position, before, .. } = points.row(row)?;
            Some(Jump { position: usize::try_from(position - first).ok()?, before })
        };
        let jumps = Some((rows.start + 1..rows.end).map(jump).collect::<Option<_>>()?);
        let bit = (position % 8) as usize;
        (data.start < data.end).then_some(Self { unit_row: rows.start, data, bit, before, jumps })
    }
}

/// The image data is not whole. [`verdict`] says why.
pub(crate) struct Damaged;

/// How far an image has been decoded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    InRow,
    /// A row of units is complete, and more follow.
    EndOfRow,
    Done,
}

impl Decoding {
    /// Prepares the decoding of `picture`. With its `points`, only the codes of the rows that are shown are read: an
    /// image that has points is not damaged. Without them, all codes are read, as most damage shows only where the data
    /// ends.
    ///
    /// # Errors
    /// If its image data has fewer intervals than it should.
    pub(crate) fn new(
        picture: &Picture<'_>,
        Layout(frame): Layout,
        simd: Simd,
        mut scratch: Scratch,
        points: Option<&RowPoints>,
    ) -> Result<Self> {
        let Some(scan) = picture.scans.first() else { return Err(damaged()) };
        let restart = scan.restart as usize;
        let start = points.and_then(|points| Start::new(&frame, points, scan.data));
        let rows_end = if start.is_some() { frame.shown.1.end } else { frame.units.1 };
        let Start { unit_row, data, bit, before, jumps } = start.unwrap_or_else(|| Start::first(scan.data.len()));
        // Behind a restart marker, what comes before is of no use.
        let jumps = jumps.filter(|_| restart == 0);
        // Units before it, and from it to the end of the data.
        let (units_before, units) = (unit_row * frame.units.0, (frame.units.1 - unit_row) * frame.units.0);
        let (first, left) = match restart {
            0 => (0, units),
            _ => (units_before / restart, (restart - units_before % restart).min(units)),
        };
        let is_in_order = unstuff(&scan.data[data.clone()], first, &mut scratch.data, &mut scratch.intervals);
        let is_all = data.end == scan.data.len();
        let expected = if restart == 0 { 1 } else { 1 + (units - left).div_ceil(restart) };
        if !is_in_order || (is_all && scratch.intervals.len() != expected) {
            check(picture)?;
            if scratch.intervals.len() < expected {
                return Err(damaged());
            }
        }
        // An image that failed may have left some.
        scratch.coefficients.fill(0);
        let mut strips = Strips::new(&frame, picture.is_rgb(), simd, scratch.strips.take());
        strips.begin_after(before);
        let position = 8 * scratch.intervals[0].start + bit;
        let (interval, unit, lane) = (0, 0, Lane::default());
        let (chunk, is_valid) = (0, true);
        Ok(Self {
            frame,
            restart,
            scratch,
            strips,
            position,
            interval,
            left,
            unit,
            unit_row,
            rows_end,
            lane,
            chunk,
            is_valid,
            jumps,
        })
    }

    /// The bit of the unstuffed data that follows, and the first coefficient of each component's latest block.
    pub(super) fn place(&self) -> (usize, [i16; 3]) {
        (self.position, self.strips.before())
    }

    /// The memory, for the next image.
    pub(crate) fn into_scratch(mut self) -> Scratch {
        self.scratch.strips = Some(self.strips);
        self.scratch
    }

    /// Whether [`decode_some`] can decode both at once.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        self.frame.blocks.iter().map(BlockPlan::tables).eq(other.frame.blocks.iter().map(BlockPlan::tables))
    }

    /// Whether it is in the middle of a chunk, which only [`decode_some`] can complete.
    pub(crate) fn is_in_chunk(&self) -> bool {
        self.chunk > 0
    }

    /// Units of the next chunk.
    fn next_units(&self) -> usize {
        let fit = ROOM / (self.frame.blocks.len() * BLOCK);
        CHUNK.min(fit).min(self.left).min(self.row_end() - self.unit)
    }

    /// The units of a row that are decoded.
    fn row_end(&self) -> usize {
        if self.jumps.is_some() { self.frame.shown.0.end } else { self.frame.units.0 }
    }

    fn begin_chunk(&mut self, steps: &Steps) {
        self.chunk = self.next_units();
        self.lane = Lane::new(steps, &self.scratch.data, self.position, self.chunk);
    }

    fn parts(&mut self) -> lanes::Run<'_> {
        let Scratch { data, coefficients, .. } = &mut self.scratch;
        (&mut self.lane, data, coefficients)
    }

    /// Makes pixels of the chunk that was decoded, and passes on the rows that are complete.
    ///
    /// # Errors
    /// If the chunk has invalid codes, or does not end where it should.
    pub(crate) fn take(&mut self, rows: &mut impl Rows) -> Result<Progress, Damaged> {
        let units = std::mem::take(&mut self.chunk);
        self.left -= units;
        // With points of another image, there may be fewer intervals.
        let end = 8 * self.scratch.intervals.get(self.interval).ok_or(Damaged)?.end;
        let is_short = self.position > end;
        if !self.is_valid || is_short || (self.left == 0 && end - self.position >= 8) {
            return Err(Damaged);
        }
        let coefficients = &mut self.scratch.coefficients[..units * self.frame.blocks.len() * BLOCK];
        self.strips.add(&self.frame, self.unit_row, self.unit, coefficients);
        self.unit += units;
        let has_row_ended = self.unit == self.row_end();
        if has_row_ended {
            let passed_over = self.frame.units.0 - self.unit;
            self.end_row(rows);
            if passed_over > 0 {
                self.jump(passed_over);
            }
        }
        if self.left == 0 {
            self.begin_interval();
        }
        Ok(match has_row_ended {
            true if self.unit_row == self.rows_end => Progress::Done,
            true => Progress::EndOfRow,
            false => Progress::InRow,
        })
    }

    fn end_row(&mut self, rows: &mut impl Rows) {
        let is_shown = self.frame.shown.1.contains(&self.unit_row);
        (self.unit, self.unit_row) = (0, self.unit_row + 1);
        if !is_shown {
            return;
        }
        self.strips.end_units();
        while self.strips.has_row(&self.frame) {
            self.strips.write_row(&self.frame, rows.next_row());
            rows.row_written();
        }
        self.strips.forget_rows(&self.frame);
    }

    /// Begins a row of which the one before was not read to its end.
    fn jump(&mut self, passed_over: usize) {
        self.left -= passed_over;
        let next = self.unit_row - self.frame.shown.1.start;
        let jump = next.checked_sub(1).and_then(|row| self.jumps.as_ref()?.get(row));
        if let Some(&Jump { position, before }) = jump {
            self.position = position;
            self.strips.begin_after(before);
        }
    }

    fn begin_interval(&mut self) {
        self.interval += 1;
        let (across, down) = self.frame.units;
        self.left = self.restart.min(across * down - (self.unit_row * across + self.unit));
        if let Some(interval) = self.scratch.intervals.get(self.interval) {
            self.position = 8 * interval.start;
            self.strips.restart();
        }
    }
}

/// Decodes a chunk of an image.
pub(crate) fn decode_one(image: &mut Decoding, known: &KnownTables, simd: Simd) {
    image.chunk = image.next_units();
    let mut stream = Stream::new(&image.scratch.data, image.position);
    let Scratch { data, coefficients, .. } = &mut image.scratch;
    let out = &mut coefficients[..image.chunk * image.frame.blocks.len() * BLOCK];
    image.is_valid = decode(simd, &mut stream, data, &known.tables, &image.frame.blocks, out);
    image.position = stream.position();
}

/// Images that are decoded at once where there are more: as many streams as a processor has registers for.
pub(crate) const TOGETHER: usize = 3;

/// Decodes chunks of images that are like each other, until one of them is complete; returns which.
pub(crate) fn decode_some(
    mut images: [Option<&mut Decoding>; TOGETHER],
    known: &mut KnownTables,
    simd: Simd,
) -> Option<usize> {
    let first = images.iter().flatten().next()?;
    let (tables, steps) = known.steps(&first.frame.blocks);
    images.iter_mut().flatten().filter(|image| image.chunk == 0).for_each(|image| image.begin_chunk(steps));
    let Stop { lane, is_valid } = match &mut images {
        [Some(a), Some(b), Some(c)] => lanes::three(simd, [a.parts(), b.parts(), c.parts()], tables, steps),
        [Some(a), Some(b), None] => lanes::two(simd, [a.parts(), b.parts()], tables, steps),
        [Some(a), ..] => lanes::one(simd, [a.parts()], tables, steps),
        [None, ..] => return None,
    };
    let image = images[lane].as_mut()?;
    (image.is_valid, image.position) = (is_valid, image.lane.position());
    Some(lane)
}

/// What is wrong with the image data of a JPEG: it is read once more, by the reader that knows where it is.
pub(crate) fn verdict(jpeg: &[u8]) -> Error {
    Picture::read(jpeg).and_then(|picture| check(&picture)).err().unwrap_or_else(damaged)
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

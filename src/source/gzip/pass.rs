//! The first pass over a gzip file: a reader of its inflated bytes that creates restart points on demand.
//!
//! Where the stream is corrupt the reader returns an error, after all bytes before it have been read.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::framing::{ChunkedInput, CompressedFile, GzipDecoder};
use super::inflate::{BackReferences, BitPosition, Output, Pause, WINDOW_BYTES};
use super::point::write_window;
use super::restart::{Frontier, Restarts};
use super::symbols::MAX_MATCH;
use crate::source::access::Source;
use crate::{Error, Result};

/// Bytes inflated at a time, few enough to stay in the CPU cache until they are read.
const STEP_BYTES: usize = 128 << 10;
/// Bytes kept in the buffer behind the reader: the window of a point at the last symbol boundary.
const KEEP_BYTES: usize = WINDOW_BYTES + 2 * MAX_MATCH;
const BUFFER_BYTES: usize = KEEP_BYTES + STEP_BYTES + MAX_MATCH;
/// The windows of all points may take this much, or a sixteenth of the file if that is more. Those of real files take a
/// thousandth; only a file made for the purpose needs more.
const MIN_WINDOW_BUDGET: u64 = 64 << 20;

/// Reads the inflated bytes of a gzip file from start to end.
pub(crate) struct GzipPass<'a> {
    decoder: GzipDecoder,
    chunks: ChunkedInput<'a>,
    file_bytes: u64,
    restarts: Arc<Restarts>,
    buffer: Vec<u8>,
    /// Inflated offset of the buffer's first byte.
    start: u64,
    /// Index in the buffer up to which it has been filled.
    filled: usize,
    /// Index in the buffer up to which it has been read.
    read: usize,
    /// Index in the buffer of the start of the gzip member, or 0.
    floor: usize,
    /// The last symbol boundary at or before the end of a read.
    boundary: Option<Boundary>,
    /// Inflated offset of the start of the current block.
    block_start: u64,
    /// The last point, whose window is not yet known.
    open: Option<OpenPoint>,
    /// The error that ended the stream.
    failure: Option<Error>,
    is_started: bool,
    is_ended: bool,
}

/// A symbol boundary.
#[derive(Clone, Copy)]
struct Boundary {
    /// Inflated offset.
    inflated: u64,
    position: BitPosition,
    /// The range that the symbol after it copies from, if that symbol is a match that has been decoded already.
    crossing: Option<(u64, u64)>,
}

/// A restart point whose window is not yet known.
struct OpenPoint {
    inflated: u64,
    position: BitPosition,
    /// Up to 32 KiB of data before the point.
    before: Vec<u8>,
    /// Ranges of it that later data refers to, as inflated offsets.
    ranges: Vec<(u64, u64)>,
}

impl CompressedFile for &dyn Source {
    fn len(&self) -> u64 {
        Source::len(*self)
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        Source::read(*self, range)
    }

    fn will_need(&self, range: Range<u64>) {
        Source::will_need(*self, range);
    }
}

impl<'a> GzipPass<'a> {
    pub(crate) fn new(source: &'a dyn Source) -> Self {
        Self {
            decoder: GzipDecoder::new(),
            chunks: ChunkedInput::new(source),
            file_bytes: source.len(),
            restarts: Arc::new(Restarts::growing()),
            buffer: vec![0; BUFFER_BYTES],
            start: 0,
            filled: 0,
            read: 0,
            floor: 0,
            boundary: None,
            block_start: 0,
            open: None,
            failure: None,
            is_started: false,
            is_ended: false,
        }
    }

    /// The points so far. They can be used while the pass continues.
    pub(crate) fn restarts(&self) -> &Arc<Restarts> {
        &self.restarts
    }

    /// Inflated offset up to which the data is known to be valid: the start of the current block, because all bytes of
    /// a block may be wrong if invalid data follows in it. `u64::MAX` once the stream has ended other than by such
    /// data.
    pub(crate) fn valid_until(&self) -> u64 {
        match &self.failure {
            Some(_) if !self.decoder.has_data_error() => u64::MAX,
            None if self.is_ended => u64::MAX,
            _ => self.block_start,
        }
    }

    /// Inflated offset up to which the stream's checksums vouch for the data: the end of the last gzip member whose
    /// checksum matches, or `u64::MAX` if the stream has ended without a failure.
    pub(crate) fn verified_until(&self) -> u64 {
        if self.is_ended && self.failure.is_none() { u64::MAX } else { self.decoder.verified_bytes() }
    }

    /// The first inflated bytes, as long as the pass has not moved on.
    pub(crate) fn head(&self) -> &[u8] {
        if self.start == 0 { &self.buffer[..self.filled.min(512)] } else { &[] }
    }

    /// Whether the only failure is a checksum that does not match.
    pub(crate) fn is_mismatch(&self) -> bool {
        self.decoder.is_mismatch()
    }

    /// Inflated offset of the next byte to be read.
    pub(crate) fn position(&self) -> u64 {
        self.start + self.read as u64
    }

    /// The offset in the compressed file that the pass has reached.
    pub(crate) fn file_offset(&self) -> u64 {
        self.decoder.file_offset()
    }

    /// The error that ended the stream, if there was one.
    pub(crate) fn failure(&self) -> Option<&Error> {
        self.failure.as_ref()
    }

    /// Creates a restart point for the bytes that are read next. From now on, everything before it can be read in
    /// place.
    ///
    /// # Errors
    /// If the windows take more memory than any real file needs, or a block is longer than 512 MiB.
    pub(crate) fn mark(&mut self) -> Result<()> {
        let Some(boundary) = self.boundary else { return Ok(()) };
        // At the end of a broken stream there is no new boundary.
        if self.open.as_ref().is_some_and(|open| open.inflated == boundary.inflated) {
            return Ok(());
        }
        self.close_point()?;
        self.restarts.advance(Frontier { inflated: boundary.inflated, bit: boundary.position.symbol });
        // The buffer contains more than a window before the last boundary.
        let at = boundary.inflated.saturating_sub(self.start) as usize;
        let before = self.buffer[at.saturating_sub(WINDOW_BYTES)..at].to_vec();
        let ranges = Vec::from_iter(boundary.crossing);
        self.open = Some(OpenPoint { inflated: boundary.inflated, position: boundary.position, before, ranges });
        Ok(())
    }

    /// Ends the pass here and completes the table, which then covers all data that was inflated.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.close_point()?;
        // With a few bytes to spare, because the stream may have ended within a symbol.
        let bit = 8 * (self.decoder.file_offset() + 8).min(self.file_bytes);
        self.restarts.advance(Frontier { inflated: self.start + self.filled as u64, bit });
        Ok(())
    }

    /// Adds the open point to the table.
    fn close_point(&mut self) -> Result<()> {
        let Some(OpenPoint { inflated, position, before, ranges }) = self.open.take() else { return Ok(()) };
        let start = inflated - before.len() as u64;
        // No range starts before the window, because matches reach at most 32 KiB back.
        let index = |offset: u64| (offset.min(inflated).saturating_sub(start)) as usize;
        let mut ranges: Vec<_> = ranges.into_iter().map(|(from, to)| (index(from), index(to))).collect();
        let mut window = Vec::new();
        write_window(&before, &mut ranges, &mut window);
        let budget = MIN_WINDOW_BUDGET.max(self.file_bytes / 16);
        if self.restarts.window_bytes() + window.len() as u64 > budget {
            return Err(Error::limit(format!("the windows of the restart points take more than {budget} bytes"))
                .at_offset(inflated));
        }
        self.restarts.push(inflated, position, &window)
    }

    /// Creates a point at the start of the data, so that the table covers every byte.
    fn begin(&mut self) {
        let mut output = Output { bytes: &mut self.buffer, at: 0, floor: 0, limit: 0 };
        match self.decoder.skip_headers(&mut self.chunks, &mut output) {
            Ok(_) => {
                self.open = self.decoder.position().map(|position| OpenPoint {
                    inflated: 0,
                    position,
                    before: Vec::new(),
                    ranges: Vec::new(),
                });
                self.is_ended = self.open.is_none();
            }
            Err(error) => (self.failure, self.is_ended) = (Some(error), true),
        }
        self.is_started = true;
    }

    /// Inflates up to `max_bytes` more bytes. An error is kept for the next read, after the bytes before it.
    fn fill(&mut self, max_bytes: usize) {
        self.make_room();
        let limit = self.filled + max_bytes.min(STEP_BYTES);
        let mut output = Output { bytes: &mut self.buffer, at: self.filled, floor: self.floor, limit };
        // Only data within 32 KiB of the open point can refer to bytes before it.
        let start = self.start;
        let near = self.open.as_mut().and_then(|open| {
            let boundary = usize::try_from(open.inflated.checked_sub(start)?).ok()?;
            (output.at < boundary + WINDOW_BYTES).then_some((open, boundary))
        });
        let boundary = near.as_ref().map_or(0, |(_, boundary)| *boundary);
        let mut references = BackReferences { boundary, ranges: Vec::new() };
        let mut pause = self.decoder.run(&mut self.chunks, &mut output, near.is_some().then_some(&mut references));
        if matches!(pause, Ok(Pause::OutputLimit)) && output.at == limit {
            // The next point has to be in the same block and gzip member as its data.
            pause = self.decoder.skip_headers(&mut self.chunks, &mut output);
        }
        let (inflated, position) = (start + output.at as u64, self.decoder.position());
        let mut crossing = None;
        if matches!(pause, Ok(Pause::OutputLimit)) && output.at < limit {
            let mut next = BackReferences { boundary: usize::MAX, ranges: Vec::new() };
            pause = self.decoder.step(&mut self.chunks, &mut output, Some(&mut next));
            crossing = next.ranges.first().copied();
            references.ranges.extend(crossing.filter(|(from, _)| *from < references.boundary));
        }
        let offsets = |(from, to): (usize, usize)| (start + from as u64, start + to as u64);
        if let Some((open, _)) = near {
            open.ranges.extend(references.ranges.into_iter().map(offsets));
        }
        (self.filled, self.floor) = (output.at, output.floor);
        if let Some(at) = self.decoder.take_block_start() {
            self.block_start = start + at as u64;
        }
        match pause {
            Ok(Pause::StreamEnd) => self.is_ended = true,
            Ok(_) => {
                if let Some(position) = position {
                    self.boundary = Some(Boundary { inflated, position, crossing: crossing.map(offsets) });
                }
            }
            Err(error) => (self.failure, self.is_ended) = (Some(error), true),
        }
    }

    /// Moves the bytes that must be kept to the front of the buffer if there is no room for another step.
    fn make_room(&mut self) {
        if self.filled + STEP_BYTES + MAX_MATCH > BUFFER_BYTES {
            let moved = self.filled - KEEP_BYTES;
            self.buffer.copy_within(moved..self.filled, 0);
            self.start += moved as u64;
            self.filled -= moved;
            self.read -= moved;
            self.floor = self.floor.saturating_sub(moved);
        }
    }
}

impl Read for GzipPass<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.read == self.filled && !self.is_ended && !into.is_empty() {
            if self.is_started {
                self.fill(into.len());
            } else {
                self.begin();
            }
        }
        let count = into.len().min(self.filled - self.read);
        if count == 0 && !into.is_empty() && self.failure.is_some() {
            return Err(io::Error::other("the gzip stream is corrupt"));
        }
        into[..count].copy_from_slice(&self.buffer[self.read..self.read + count]);
        self.read += count;
        Ok(count)
    }
}

//! The first pass. Comes in: a source with a gzip file. Goes out: its inflated bytes in order, as a reader, and a
//! restart point wherever the reader says that one is wanted. Fails where the stream is broken; what came before has
//! been read by then.

use std::io::{self, Read};
use std::sync::Arc;

use super::framing::{Chunks, Gunzip};
use super::inflate::{Output, Pause, Place, WINDOW_BYTES, Watch};
use super::restart::{Frontier, Restarts, write_window};
use super::symbols::MAX_MATCH;
use crate::source::Source;
use crate::{Error, Result};

/// Bytes inflated at a time: they stay in the cache until they are read.
const STEP_BYTES: usize = 128 << 10;
/// What stays in the buffer behind the reader, so that a point just passed can have its window.
const KEEP_BYTES: usize = WINDOW_BYTES + 2 * MAX_MATCH;
const BUFFER_BYTES: usize = KEEP_BYTES + STEP_BYTES + MAX_MATCH;
/// Windows of all points, at least; beyond it they must stay below a sixteenth of the file. Real ones take a
/// thousandth; only a file made for the purpose needs more.
const MIN_WINDOW_BUDGET: u64 = 64 << 20;

/// Reads a gzip file from front to back.
pub(crate) struct GzipPass<'a> {
    gunzip: Gunzip,
    chunks: Chunks<'a>,
    file_bytes: u64,
    restarts: Arc<Restarts>,
    buffer: Vec<u8>,
    /// Inflated offset of the buffer's first byte.
    start: u64,
    /// Up to here the buffer has been filled, and read.
    filled: usize,
    read: usize,
    floor: usize,
    /// The last symbol boundary at or before the end of a read.
    boundary: Option<Boundary>,
    /// Inflated offset of the start of the block that decoding is in.
    block_start: u64,
    /// The point whose window is being found out.
    open: Option<OpenPoint>,
    /// Why the stream ended, when it should not have.
    failure: Option<Error>,
    begun: bool,
    ended: bool,
}

#[derive(Clone, Copy)]
struct Boundary {
    /// Inflated offset.
    inflated: u64,
    place: Place,
    /// The stretch that the one symbol after it referred to, where it has been decoded already.
    crossing: Option<(u64, u64)>,
}

struct OpenPoint {
    inflated: u64,
    place: Place,
    /// Up to 32 KiB before the point.
    before: Vec<u8>,
    /// Stretches of it that later data refers to, as inflated offsets.
    used: Vec<(u64, u64)>,
}

impl<'a> GzipPass<'a> {
    pub(crate) fn new(source: &'a dyn Source) -> Self {
        Self {
            gunzip: Gunzip::new(),
            chunks: Chunks::new(source),
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
            begun: false,
            ended: false,
        }
    }

    /// The points marked so far: they can be used while the pass goes on.
    pub(crate) fn restarts(&self) -> &Arc<Restarts> {
        &self.restarts
    }

    /// Up to where the data is as it was written, as far as its blocks can tell: one that turns out to be broken may have
    /// yielded nonsense from its start on.
    pub(crate) fn sound_until(&self) -> u64 {
        match &self.failure {
            Some(_) if !self.gunzip.is_doubtful() => u64::MAX,
            None if self.ended => u64::MAX,
            _ => self.block_start,
        }
    }

    /// Whether what broke the stream is only that its checksum does not fit.
    pub(crate) fn is_mismatch(&self) -> bool {
        self.gunzip.is_mismatch()
    }

    /// Inflated offset of the next byte to be read.
    pub(crate) fn position(&self) -> u64 {
        self.start + self.read as u64
    }

    /// The byte of the file that the pass has come to.
    pub(crate) fn file_offset(&self) -> u64 {
        self.gunzip.file_offset()
    }

    /// What broke the stream, if anything did.
    pub(crate) fn failure(&self) -> Option<&Error> {
        self.failure.as_ref()
    }

    /// Makes a restart point for what is read next. Everything before can be read in place from now on.
    ///
    /// # Errors
    /// If the windows take more memory than any real file needs.
    pub(crate) fn mark(&mut self) -> Result<()> {
        let Some(boundary) = self.boundary else { return Ok(()) };
        // Where the stream breaks off there is no boundary after the last one.
        if self.open.as_ref().is_some_and(|open| open.inflated == boundary.inflated) {
            return Ok(());
        }
        self.close_point()?;
        self.restarts.advance(Frontier { inflated: boundary.inflated, bit: boundary.place.symbol });
        // The buffer keeps more than a window before the last boundary.
        let at = boundary.inflated.saturating_sub(self.start) as usize;
        let before = self.buffer[at.saturating_sub(WINDOW_BYTES)..at].to_vec();
        let used = Vec::from_iter(boundary.crossing);
        self.open = Some(OpenPoint { inflated: boundary.inflated, place: boundary.place, before, used });
        Ok(())
    }

    /// Ends the pass where it stands: the table is complete, and reaches as far as the data does.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.close_point()?;
        // A broken symbol may have been begun: what is before it has been read.
        let bit = 8 * (self.gunzip.file_offset() + 8).min(self.file_bytes);
        self.restarts.advance(Frontier { inflated: self.start + self.filled as u64, bit });
        Ok(())
    }

    fn close_point(&mut self) -> Result<()> {
        let Some(OpenPoint { inflated, place, before, used }) = self.open.take() else { return Ok(()) };
        let start = inflated - before.len() as u64;
        // Nothing refers to more than 32 KiB back, so nothing starts before the window.
        let index = |offset: u64| (offset.min(inflated).saturating_sub(start)) as usize;
        let mut used: Vec<_> = used.into_iter().map(|(from, to)| (index(from), index(to))).collect();
        let mut window = Vec::new();
        write_window(&before, &mut used, &mut window);
        let budget = MIN_WINDOW_BUDGET.max(self.file_bytes / 16);
        if self.restarts.window_bytes() + window.len() as u64 > budget {
            return Err(Error::limit(format!("restart points need more than {budget} bytes")).at_offset(inflated));
        }
        self.restarts.push(inflated, place, &window)
    }

    /// Makes a point at the very start, so that the table leads to every byte there is.
    fn begin(&mut self) {
        let mut output = Output { bytes: &mut self.buffer, at: 0, floor: 0, limit: 0 };
        match self.gunzip.settle(&mut self.chunks, &mut output) {
            Ok(_) => {
                self.open = self.gunzip.place().map(|place| OpenPoint {
                    inflated: 0,
                    place,
                    before: Vec::new(),
                    used: Vec::new(),
                });
                self.ended = self.open.is_none();
            }
            Err(error) => (self.failure, self.ended) = (Some(error), true),
        }
        self.begun = true;
    }

    /// Inflates up to `most` more bytes. What breaks the stream is kept for the next read: the bytes before it count.
    fn fill(&mut self, most: usize) {
        self.make_room();
        let limit = self.filled + most.min(STEP_BYTES);
        let mut output = Output { bytes: &mut self.buffer, at: self.filled, floor: self.floor, limit };
        // Later data refers to at most 32 KiB back.
        let start = self.start;
        let near = self.open.as_mut().and_then(|open| {
            let boundary = usize::try_from(open.inflated.checked_sub(start)?).ok()?;
            (output.at < boundary + WINDOW_BYTES).then_some((open, boundary))
        });
        let mut watch = Watch { boundary: near.as_ref().map_or(0, |(_, boundary)| *boundary), used: Vec::new() };
        let mut pause = self.gunzip.run(&mut self.chunks, &mut output, near.is_some().then_some(&mut watch));
        if matches!(pause, Ok(Pause::Limit)) && output.at == limit {
            // The next point is to be in the block, and in the gzip member, that its data is in.
            pause = self.gunzip.settle(&mut self.chunks, &mut output);
        }
        let (inflated, place) = (start + output.at as u64, self.gunzip.place());
        let mut crossing = None;
        if matches!(pause, Ok(Pause::Limit)) && output.at < limit {
            let mut one = Watch { boundary: usize::MAX, used: Vec::new() };
            pause = self.gunzip.step(&mut self.chunks, &mut output, Some(&mut one));
            crossing = one.used.first().copied();
            watch.used.extend(crossing.filter(|(from, _)| *from < watch.boundary));
        }
        let offsets = |(from, to): (usize, usize)| (start + from as u64, start + to as u64);
        if let Some((open, _)) = near {
            open.used.extend(watch.used.into_iter().map(offsets));
        }
        (self.filled, self.floor) = (output.at, output.floor);
        if let Some(begun) = self.gunzip.take_begun() {
            self.block_start = start + begun as u64;
        }
        match pause {
            Ok(Pause::Ended) => self.ended = true,
            Ok(_) => {
                if let Some(place) = place {
                    self.boundary = Some(Boundary { inflated, place, crossing: crossing.map(offsets) });
                }
            }
            Err(error) => (self.failure, self.ended) = (Some(error), true),
        }
    }

    /// Moves what has to be kept to the front of the buffer when its end is near.
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
        while self.read == self.filled && !self.ended && !into.is_empty() {
            if self.begun {
                self.fill(into.len());
            } else {
                self.begin();
            }
        }
        let count = into.len().min(self.filled - self.read);
        if count == 0 && !into.is_empty() && self.failure.is_some() {
            return Err(io::Error::other("the gzip stream is broken"));
        }
        into[..count].copy_from_slice(&self.buffer[self.read..self.read + count]);
        self.read += count;
        Ok(count)
    }
}

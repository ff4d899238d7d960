//! gzip files, read in place. Comes in: a source with a gzip file, and its restart points. Goes out: a [`Source`] of
//! the inflated bytes. Fails where the stream is broken, at the bytes concerned and nowhere else.
//!
//! One pass over the file finds the restart points ([`GzipPass`]). With them, reading a tar member reads the compressed
//! bytes of that member and inflates little more than the member.

mod framing;
mod huffman;
mod inflate;
mod pass;
mod restart;
mod symbols;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::memory::Part;
use super::{Fetched, Source};
use crate::{Error, Result};
use framing::{Chunks, Gunzip};
use inflate::{Output, Pause, WINDOW_BYTES};
use restart::{Located, Point};
use symbols::MAX_MATCH;

pub(crate) use pass::GzipPass;
pub(crate) use restart::{Frontier, Parts, RECORD_BYTES, Restarts};

/// Whether a source holds a gzip file. The official shards do, although they are named `.tar`.
///
/// # Errors
/// If its first bytes cannot be read.
pub(crate) fn is_gzip(source: &dyn Source) -> Result<bool> {
    Ok(source.len() >= 2 && source.read(0..2)?[..] == framing::MAGIC)
}

/// The inflated bytes of a gzip file.
#[derive(Debug)]
pub(crate) struct GzipSource {
    file: Arc<dyn Source>,
    restarts: Arc<Restarts>,
}

impl GzipSource {
    pub(crate) fn new(file: Arc<dyn Source>, restarts: Arc<Restarts>) -> Self {
        Self { file, restarts }
    }

    fn locate(&self, range: &Range<u64>) -> Result<Located> {
        super::bounds(range, self.len())?;
        self.restarts.locate(range)
    }
}

impl Source for GzipSource {
    fn len(&self) -> u64 {
        self.restarts.frontier().inflated
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        let mut unpacker = Inflater::default();
        self.fetch(range)?.unpack(&mut unpacker).map(Bytes::copy_from_slice)
    }

    fn will_need(&self, range: Range<u64>) {
        // Whatever is wrong shows again when the bytes are read.
        if let Ok(located) = self.locate(&range) {
            self.file.will_need(located.compressed);
        }
    }

    fn fetch(&self, range: Range<u64>) -> Result<Fetched> {
        let Located { compressed, points } = self.locate(&range)?;
        let start = compressed.start;
        let bytes = framing::exactly(self.file.as_ref(), compressed).map_err(|e| e.of_compressed(range.start))?;
        Ok(Fetched::packed(Packed { bytes, start, points, range }))
    }
}

/// Compressed bytes, and what it takes to inflate them.
#[derive(Debug)]
pub(super) struct Packed {
    bytes: Bytes,
    /// Where they start in the file.
    start: u64,
    points: Vec<Point>,
    range: Range<u64>,
}

/// Bytes that one compressed byte can stand for: four matches of 258 bytes, each of one bit for the length and one for
/// the distance.
const MAX_EXPANSION: u64 = 4 * MAX_MATCH as u64;

/// Memory that is kept from member to member: eight times the usual image.
const KEPT_BYTES: usize = 8 << 20;

/// Inflates what was fetched, into memory that it uses again.
pub struct Inflater {
    gunzip: Gunzip,
    buffer: Vec<u8>,
}

impl Default for Inflater {
    fn default() -> Self {
        Self { gunzip: Gunzip::new(), buffer: Vec::new() }
    }
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater").field("buffer_bytes", &self.buffer.len()).finish_non_exhaustive()
    }
}

impl Packed {
    /// Bytes that have to be inflated to get at the range.
    pub(super) fn inflated_bytes(&self) -> u64 {
        self.range.end - self.points.first().map_or(self.range.start, |point| point.inflated)
    }

    pub(super) fn unpack<'a>(&self, unpacker: &'a mut Inflater) -> Result<&'a [u8]> {
        if self.range.is_empty() {
            return Ok(&[]);
        }
        let part = Part::new(self.bytes.clone(), self.start);
        let mut chunks = Chunks::new(&part);
        let Inflater { gunzip, buffer } = unpacker;
        let first = self.points.first().map_or(self.range.start, |point| point.inflated);
        // A forged table may ask for any amount of memory.
        if (self.range.end - first) / MAX_EXPANSION > self.bytes.len() as u64 {
            return Err(restart::misfit().at_offset(self.range.start));
        }
        // The window, the bytes, and the symbol that may cross their end.
        let index = |inflated: u64| WINDOW_BYTES + inflated.saturating_sub(first) as usize;
        let end = index(self.range.end);
        if buffer.len() < end + MAX_MATCH {
            buffer.resize(end + MAX_MATCH, 0);
        }
        // A rare large member does not hold its memory for good.
        if buffer.len() > KEPT_BYTES && end < KEPT_BYTES / 2 {
            buffer.truncate(KEPT_BYTES);
            buffer.shrink_to_fit();
        }
        let mut output = Output { bytes: buffer, at: WINDOW_BYTES, floor: 0, limit: 0 };
        let mut points = self.points.iter().peekable();
        let mut step = || {
            while let Some(point) = points.next() {
                let at = index(point.inflated);
                if point.inflated == first {
                    gunzip.go_to(point.place, &mut chunks)?;
                } else if at != output.at {
                    return Err(Error::corrupt("the stream does not come by its restart point"));
                }
                restart::read_window(&point.window, &mut output.bytes[at - WINDOW_BYTES..at])?;
                output.limit = points.peek().map_or(end, |next| index(next.inflated));
                let mut pause = gunzip.run(&mut chunks, &mut output, None)?;
                if pause == Pause::Limit && output.at < output.limit && output.limit == end {
                    pause = gunzip.step(&mut chunks, &mut output, None)?;
                }
                if pause == Pause::Ended {
                    return Err(Error::corrupt("the gzip stream ends before its index says so"));
                }
            }
            Ok(())
        };
        step().map_err(|e| e.at_offset(self.range.start))?;
        Ok(&buffer[index(self.range.start)..end])
    }
}

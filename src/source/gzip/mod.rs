//! gzip files, read in place: a [`Source`] of the inflated bytes of another source.
//!
//! One pass over the file finds the restart points ([`GzipPass`]). With them, reading a tar member takes the compressed
//! bytes of that member and inflates little more than the member. Corrupt data is an error for the ranges that contain
//! it and for no others.

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

use super::memory::SourceSlice;
use super::{Fetched, Source};
use crate::{Error, Result};
use framing::{ChunkedInput, GzipDecoder};
use inflate::{Output, Pause, WINDOW_BYTES};
use restart::{Located, RestartPoint};
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
        let mut inflater = Inflater::default();
        self.fetch(range)?.inflate(&mut inflater).map(Bytes::copy_from_slice)
    }

    fn will_need(&self, range: Range<u64>) {
        // Any error will be reported by the read.
        if let Ok(located) = self.locate(&range) {
            self.file.will_need(located.compressed);
        }
    }

    fn fetch(&self, range: Range<u64>) -> Result<Fetched> {
        let Located { compressed, points } = self.locate(&range)?;
        let start = compressed.start;
        let bytes = framing::exactly(self.file.as_ref(), compressed).map_err(|e| e.of_compressed(range.start))?;
        Ok(Fetched::compressed(CompressedRange { bytes, start, points, range }))
    }
}

/// The compressed bytes that contain a range, and what is needed to inflate them.
pub(super) struct CompressedRange {
    bytes: Bytes,
    /// Offset of the bytes in the compressed file.
    start: u64,
    points: Vec<RestartPoint>,
    /// The range of inflated bytes.
    range: Range<u64>,
}

/// The most bytes that one compressed byte can encode: four matches of 258 bytes, each with one bit for the length and
/// one for the distance.
const MAX_EXPANSION: u64 = 4 * MAX_MATCH as u64;

/// Memory that an inflater keeps between members: eight times the size of a usual image.
const KEPT_BYTES: usize = 8 << 20;

/// Memory and decoding tables for [`Fetched::inflate`]. Create one per thread and reuse it: the result of a call is
/// valid until the next one.
pub struct Inflater {
    decoder: GzipDecoder,
    buffer: Vec<u8>,
}

impl Default for Inflater {
    fn default() -> Self {
        Self { decoder: GzipDecoder::new(), buffer: Vec::new() }
    }
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater").field("buffer_bytes", &self.buffer.len()).finish_non_exhaustive()
    }
}

impl CompressedRange {
    /// Number of bytes that have to be inflated to obtain the range.
    pub(super) fn inflated_bytes(&self) -> u64 {
        self.range.end - self.points.first().map_or(self.range.start, |point| point.inflated)
    }

    pub(super) fn compressed_bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn inflate<'a>(&self, inflater: &'a mut Inflater) -> Result<&'a [u8]> {
        if self.range.is_empty() {
            return Ok(&[]);
        }
        let file = SourceSlice::new(self.bytes.clone(), self.start);
        let mut chunks = ChunkedInput::new(&file);
        let Inflater { decoder, buffer } = inflater;
        let first = self.points.first().map_or(self.range.start, |point| point.inflated);
        // A forged table could ask for any amount of memory.
        if (self.range.end - first) / MAX_EXPANSION > self.bytes.len() as u64 {
            return Err(restart::invalid_table().at_offset(self.range.start));
        }
        // The buffer holds the window, the bytes, and the rest of a symbol that crosses their end.
        let index = |inflated: u64| WINDOW_BYTES + inflated.saturating_sub(first) as usize;
        let end = index(self.range.end);
        if buffer.len() < end + MAX_MATCH {
            buffer.resize(end + MAX_MATCH, 0);
        }
        // Does not keep the memory of a rare large member.
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
                    decoder.seek(point.position, &mut chunks)?;
                } else if at != output.at {
                    return Err(Error::corrupt("no symbol boundary at a restart point of the index"));
                }
                restart::read_window(&point.window, &mut output.bytes[at - WINDOW_BYTES..at])?;
                output.limit = points.peek().map_or(end, |next| index(next.inflated));
                let mut pause = decoder.run(&mut chunks, &mut output, None)?;
                if pause == Pause::OutputLimit && output.at < output.limit && output.limit == end {
                    pause = decoder.step(&mut chunks, &mut output, None)?;
                }
                if pause == Pause::StreamEnd {
                    return Err(Error::corrupt("the gzip stream ends before the range that its index names"));
                }
            }
            Ok(())
        };
        step().map_err(|e| e.at_offset(self.range.start))?;
        Ok(&buffer[index(self.range.start)..end])
    }
}

//! A range of a gzip file that has been fetched, and how it is inflated.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;

use super::framing::{ChunkedInput, CompressedFile, GzipDecoder};
use super::inflate::{Output, Pause, WINDOW_BYTES};
use super::point::{RestartPoint, invalid_table, read_window};
use super::symbols::MAX_MATCH;
use crate::{Error, Result};

/// The compressed bytes that contain a range, and what is needed to inflate them.
pub(in crate::source) struct CompressedRange {
    pub(super) bytes: Bytes,
    /// Offset of the bytes in the compressed file.
    pub(super) start: u64,
    pub(super) points: Vec<RestartPoint>,
    /// The range of inflated bytes.
    pub(super) range: Range<u64>,
}

impl CompressedFile for &CompressedRange {
    fn len(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        let index = |offset: u64| offset.checked_sub(self.start).map(|index| index as usize);
        let bytes = index(range.start).zip(index(range.end)).filter(|(start, end)| start <= end);
        let bytes = bytes.filter(|&(_, end)| end <= self.bytes.len()).map(|(start, end)| self.bytes.slice(start..end));
        bytes.ok_or_else(|| invalid_table().at_offset(self.range.start))
    }

    fn will_need(&self, _: Range<u64>) {}
}

/// The most bytes that one compressed byte can encode: four matches of 258 bytes, each with one bit for the length and
/// one for the distance.
const MAX_EXPANSION: u64 = 4 * MAX_MATCH as u64;

/// Memory that an inflater keeps between members: eight times the size of a usual image.
const KEPT_BYTES: usize = 8 << 20;

/// Memory and decoding tables for [`Fetched::inflate`](crate::source::Fetched::inflate). Create one per thread and
/// reuse it: the result of a call is valid until the next one.
pub struct Inflater {
    decoder: GzipDecoder,
    buffer: Vec<u8>,
}

impl Default for Inflater {
    fn default() -> Self {
        Self { decoder: GzipDecoder::new(), buffer: Vec::new() }
    }
}

impl Inflater {
    pub(in crate::source) fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.buffer[range]
    }
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater").field("buffer_bytes", &self.buffer.len()).finish_non_exhaustive()
    }
}

impl CompressedRange {
    /// Number of bytes that have to be inflated to obtain the range.
    pub(in crate::source) fn inflated_bytes(&self) -> u64 {
        self.range.end - self.points.first().map_or(self.range.start, |point| point.inflated)
    }

    pub(in crate::source) fn compressed_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Inflates the range. Returns where it is in the memory of `inflater`.
    pub(in crate::source) fn inflate(&self, inflater: &mut Inflater) -> Result<Range<usize>> {
        if self.range.is_empty() {
            return Ok(0..0);
        }
        let mut chunks = ChunkedInput::new(self);
        let Inflater { decoder, buffer } = inflater;
        let first = self.points.first().map_or(self.range.start, |point| point.inflated);
        // A forged table could ask for any amount of memory.
        if (self.range.end - first) / MAX_EXPANSION > self.bytes.len() as u64 {
            return Err(invalid_table().at_offset(self.range.start));
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
                if let Some(window) = &point.window {
                    read_window(window, &mut output.bytes[at - WINDOW_BYTES..at])?;
                }
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
        Ok(index(self.range.start)..end)
    }
}

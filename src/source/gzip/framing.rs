//! The gzip format (RFC 1952): inflates a file of one or more gzip members and verifies the checksum and length of
//! each.
//!
//! A file that is corrupt, truncated or followed by other data is an error that names the offset in the file.

use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;

use super::inflate::{BackReferences, BitPosition, DataError, DeflateDecoder, Input, Output, Pause};
use super::symbols::MAX_MATCH;
use crate::{Error, Result};

pub(super) const MAGIC: [u8; 2] = [0x1f, 0x8b];
/// Compressed bytes per read.
const CHUNK_BYTES: u64 = 1 << 20;
const TRAILER_BYTES: u64 = 8;
/// A chunk is replaced when fewer bytes are left in it. Enough for a few symbols, a block header with its code lengths,
/// or a gzip header with a file name of usual length.
const LOOK_AHEAD_BYTES: u64 = 512;

/// A gzip file, or the part of it that has been fetched, by the offsets of the file.
pub(super) trait CompressedFile {
    /// Where the file ends.
    fn len(&self) -> u64;
    /// The bytes of `range`.
    fn read(&self, range: Range<u64>) -> Result<Bytes>;
    /// Announces that `range` will be read soon.
    fn will_need(&self, range: Range<u64>);
}

/// Reads the compressed file in chunks and keeps the current one.
pub(super) struct ChunkedInput<'a> {
    file: Box<dyn CompressedFile + 'a>,
    chunk: Bytes,
    /// Offset of the chunk in the file.
    start: u64,
}

impl<'a> ChunkedInput<'a> {
    pub(super) fn new(file: impl CompressedFile + 'a) -> Self {
        Self { file: Box::new(file), chunk: Bytes::new(), start: 0 }
    }

    /// The chunk that contains byte `from` and, unless the file ends before, `min_bytes` bytes from there on.
    fn input_at(&mut self, from: u64, min_bytes: u64) -> Result<Input<'_>> {
        let (len, end) = (self.file.len(), self.start + self.chunk.len() as u64);
        if from < self.start || (from.saturating_add(min_bytes) > end && end < len) {
            let end = from.saturating_add(CHUNK_BYTES.max(min_bytes)).min(len);
            // The device can read the next chunk while this one is inflated. This is only a
            // hint, so a panic of the source is ignored here; if there is a fault, the read will show it.
            let next = end..end.saturating_add(CHUNK_BYTES).min(len);
            let _ = catch_unwind(AssertUnwindSafe(|| self.file.will_need(next)));
            // Dropped before the next read: a mapped chunk unmaps the page that it shares with the next one.
            self.chunk = Bytes::new();
            self.start = from.min(end);
            self.chunk = exactly(self.file.read(self.start..end)?, self.start..end)?;
        }
        Ok(Input { bytes: &self.chunk, start: self.start })
    }

    /// The bytes from `from` on, at most `max_bytes`; fewer only at the end of the file.
    fn peek(&mut self, from: u64, max_bytes: u64) -> Result<&[u8]> {
        let Input { bytes, start } = self.input_at(from, max_bytes)?;
        let bytes = bytes.get(from.saturating_sub(start) as usize..).unwrap_or_default();
        Ok(&bytes[..bytes.len().min(max_bytes as usize)])
    }
}

/// Checks that the result of a read has all bytes of `range`. With fewer, decoding could wait for the rest forever.
pub(super) fn exactly(bytes: Bytes, range: Range<u64>) -> Result<Bytes> {
    let (start, size) = (range.start, range.end.saturating_sub(range.start));
    if bytes.len() as u64 == size {
        return Ok(bytes);
    }
    let message = format!("a read of {size} bytes at byte {start} of the file returned {} bytes", bytes.len());
    Err(Error::io(message, io::ErrorKind::UnexpectedEof.into()))
}

/// The part of the gzip format that comes next in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Section {
    Header,
    Body,
    Trailer,
    End,
}

/// Inflates a gzip file from its start, or from a position inside of it.
pub(super) struct GzipDecoder {
    deflate: DeflateDecoder,
    section: Section,
    /// Offset in the file of the next header or trailer.
    next: u64,
    /// Of the current gzip member so far; `None` if decoding started inside of it.
    checksum: Option<Checksum>,
    /// Whether the current block contains invalid data, so that the bytes decoded from it before may be wrong as well.
    has_data_error: bool,
    /// Whether a checksum did not match.
    is_mismatch: bool,
    /// Inflated bytes of the gzip members so far whose checksums match, if decoding started at the first one.
    verified_bytes: u64,
}

struct Checksum {
    crc: crc32fast::Hasher,
    bytes: u64,
}

impl GzipDecoder {
    /// Starts at the beginning of the file.
    pub(super) fn new() -> Self {
        Self {
            deflate: DeflateDecoder::new(0),
            section: Section::Header,
            next: 0,
            checksum: None,
            has_data_error: false,
            is_mismatch: false,
            verified_bytes: 0,
        }
    }

    /// Moves to a symbol boundary.
    pub(super) fn seek(&mut self, position: BitPosition, chunks: &mut ChunkedInput<'_>) -> Result<()> {
        (self.section, self.checksum) = (Section::Body, None);
        let min_bytes = (position.symbol - position.block.min(position.symbol)) / 8 + LOOK_AHEAD_BYTES;
        let input = chunks.input_at(position.block / 8, min_bytes)?;
        match self.deflate.seek(position, input) {
            Ok(Pause::NeedInput) => Err(truncated(position.block / 8)),
            Ok(_) => Ok(()),
            Err(error) => Err(corrupt(error)),
        }
    }

    /// Where decoding continues, if that is inside a deflate stream.
    pub(super) fn position(&self) -> Option<BitPosition> {
        (self.section == Section::Body && !self.deflate.has_ended()).then(|| self.deflate.position())
    }

    /// Index in the output at which the current block began, if it began since the last call.
    pub(super) fn take_block_start(&mut self) -> Option<usize> {
        self.deflate.take_block_start()
    }

    /// Whether the current block contains invalid data, so that the bytes decoded from it before may be wrong as well.
    pub(super) fn has_data_error(&self) -> bool {
        self.has_data_error
    }

    /// Whether a checksum did not match.
    pub(super) fn is_mismatch(&self) -> bool {
        self.is_mismatch
    }

    /// Inflated bytes of the gzip members so far whose checksums match.
    pub(super) fn verified_bytes(&self) -> u64 {
        self.verified_bytes
    }

    /// The offset in the file that decoding has reached.
    pub(super) fn file_offset(&self) -> u64 {
        if self.section == Section::Body { self.deflate.position().symbol / 8 } else { self.next }
    }

    /// Fills `output` up to its limit or to the symbol that would cross it; less only at the end of the file.
    pub(super) fn run(
        &mut self,
        chunks: &mut ChunkedInput<'_>,
        output: &mut Output<'_>,
        mut references: Option<&mut BackReferences>,
    ) -> Result<Pause> {
        self.with_body(chunks, output, &mut |deflate, input, output| {
            deflate.run(input, output, references.as_deref_mut())
        })
    }

    /// Decodes the one symbol that would have crossed the limit; `output` needs room for it.
    pub(super) fn step(
        &mut self,
        chunks: &mut ChunkedInput<'_>,
        output: &mut Output<'_>,
        mut references: Option<&mut BackReferences>,
    ) -> Result<Pause> {
        let limit = output.limit;
        output.limit = (output.at + MAX_MATCH).min(output.bytes.len());
        let start = output.at;
        let pause = self.with_body(chunks, output, &mut |deflate, input, output| {
            if output.at > start {
                return Ok(Pause::OutputLimit);
            }
            deflate.step(input, output, references.as_deref_mut())
        });
        output.limit = limit;
        pause
    }

    /// Skips to the next symbol that yields bytes, over headers and trailers of blocks and gzip members.
    pub(super) fn skip_headers(&mut self, chunks: &mut ChunkedInput<'_>, output: &mut Output<'_>) -> Result<Pause> {
        self.with_body(chunks, output, &mut |deflate, input, output| deflate.skip_headers(input, output.at))
    }

    /// Calls `body` inside deflate streams, and reads the gzip headers and trailers between them.
    fn with_body(
        &mut self,
        chunks: &mut ChunkedInput<'_>,
        output: &mut Output<'_>,
        body: &mut dyn FnMut(&mut DeflateDecoder, Input<'_>, &mut Output<'_>) -> Result<Pause, DataError>,
    ) -> Result<Pause> {
        loop {
            match self.section {
                Section::End => return Ok(Pause::StreamEnd),
                Section::Header => self.header(chunks, output)?,
                Section::Trailer => self.trailer(chunks)?,
                Section::Body => {
                    let (from, at) = (self.deflate.position(), output.at);
                    let input = chunks.input_at(from.symbol / 8, LOOK_AHEAD_BYTES)?;
                    let end = input.start + input.bytes.len() as u64;
                    let pause = body(&mut self.deflate, input, output);
                    if let Some(checksum) = &mut self.checksum {
                        checksum.crc.update(&output.bytes[at..output.at]);
                        checksum.bytes += (output.at - at) as u64;
                    }
                    self.has_data_error = pause.is_err();
                    match pause.map_err(corrupt)? {
                        Pause::OutputLimit => return Ok(Pause::OutputLimit),
                        Pause::NeedInput if end >= chunks.file.len() => return Err(truncated(chunks.file.len())),
                        Pause::NeedInput => {}
                        Pause::StreamEnd => {
                            self.section = Section::Trailer;
                            self.next = self.deflate.position().symbol.div_ceil(8);
                        }
                    }
                }
            }
        }
    }

    /// Reads the header of the next gzip member, or checks the end of the file if there is none.
    fn header(&mut self, chunks: &mut ChunkedInput<'_>, output: &mut Output<'_>) -> Result<()> {
        let (start, file_bytes) = (self.next, chunks.file.len());
        let mut bytes = chunks.peek(start, LOOK_AHEAD_BYTES)?;
        if start > 0 && !bytes.starts_with(&MAGIC) && !(bytes.len() == 1 && bytes[0] == MAGIC[0]) {
            self.section = Section::End;
            return end_of_file(chunks, start);
        }
        // Rare, because names are short. A file of small gzip members has a header every few bytes.
        if header_bytes(bytes) == Err(None) {
            bytes = chunks.peek(start, CHUNK_BYTES)?;
        }
        let len = header_bytes(bytes).map_err(|reason| {
            let at_end = start + bytes.len() as u64 == file_bytes;
            let reason = reason.unwrap_or(if at_end { "is truncated" } else { "is longer than 1 MiB" });
            Error::corrupt(format!("the gzip header at byte {start} of the file {reason}"))
        })?;
        self.section = Section::Body;
        self.deflate.restart(8 * (start + len as u64));
        self.checksum = Some(Checksum { crc: crc32fast::Hasher::new(), bytes: 0 });
        // Matches do not refer to earlier gzip members.
        output.floor = output.at;
        Ok(())
    }

    /// Reads a trailer and compares it with the data.
    fn trailer(&mut self, chunks: &mut ChunkedInput<'_>) -> Result<()> {
        let start = self.next;
        let bytes = chunks.peek(start, TRAILER_BYTES)?;
        let Some((crc, length)) = bytes.split_first_chunk().and_then(|(crc, rest)| Some((crc, rest.first_chunk()?)))
        else {
            return Err(truncated(start + bytes.len() as u64));
        };
        let (crc, length) = (u32::from_le_bytes(*crc), u32::from_le_bytes(*length));
        if let Some(checksum) = &self.checksum {
            let found = checksum.crc.clone().finalize();
            if (found, checksum.bytes as u32) != (crc, length) {
                self.is_mismatch = true;
                return Err(Error::corrupt(format!(
                    "gzip checksum mismatch at byte {start} of the file: the trailer says CRC-32 {crc:08x} and \
                     {length} bytes, the inflated data has CRC-32 {found:08x} and {} bytes",
                    checksum.bytes as u32
                )));
            }
            self.verified_bytes += checksum.bytes;
        }
        (self.section, self.next) = (Section::Header, start + TRAILER_BYTES);
        Ok(())
    }
}

/// Length of the gzip header at the start of `bytes`, or what is wrong with it. The error `None` means that `bytes`
/// ends within the header.
fn header_bytes(bytes: &[u8]) -> Result<usize, Option<&'static str>> {
    let fixed: &[u8; 10] = bytes.first_chunk().ok_or(None)?;
    if fixed[..2] != MAGIC {
        return Err(Some("does not begin with 1f 8b"));
    }
    if fixed[2] != 8 {
        return Err(Some("has a compression method other than deflate"));
    }
    let flags = fixed[3];
    if flags & 0xe0 != 0 {
        return Err(Some("has reserved flags set"));
    }
    let mut len = fixed.len();
    if flags & 4 != 0 {
        let extra = bytes[len..].first_chunk().ok_or(None)?;
        len += 2 + usize::from(u16::from_le_bytes(*extra));
    }
    // File name and comment, both zero-terminated.
    for flag in [8, 16] {
        if flags & flag != 0 {
            let rest = bytes.get(len..).ok_or(None)?;
            len += rest.iter().position(|&byte| byte == 0).ok_or(None)? + 1;
        }
    }
    if flags & 2 != 0 {
        let header = bytes.get(..len).ok_or(None)?;
        let checksum = bytes[len..].first_chunk().ok_or(None)?;
        if u16::from_le_bytes(*checksum) != crc32fast::hash(header) as u16 {
            return Err(Some("does not match its checksum"));
        }
        len += 2;
    }
    if len > bytes.len() { Err(None) } else { Ok(len) }
}

/// Checks that only zeros follow, which are padding that tapes and some file systems leave, or a line end, which some
/// tools for uploads add.
fn end_of_file(chunks: &mut ChunkedInput<'_>, start: u64) -> Result<()> {
    if [&b"\n"[..], b"\r\n"].contains(&chunks.peek(start, 3)?) {
        return Ok(());
    }
    let mut at = start;
    while at < chunks.file.len() {
        let bytes = chunks.peek(at, CHUNK_BYTES)?;
        if let Some(index) = bytes.iter().position(|&byte| byte != 0) {
            let at = at + index as u64;
            let rest = chunks.file.len() - at;
            return Err(Error::corrupt(format!(
                "{rest} bytes of other data follow the end of the gzip stream, at byte {at} of the file"
            )));
        }
        at += bytes.len() as u64;
    }
    Ok(())
}

fn corrupt(error: DataError) -> Error {
    Error::corrupt(format!("the gzip stream is corrupt at byte {} of the file: {}", error.bit / 8, error.reason))
}

fn truncated(at: u64) -> Error {
    Error::corrupt(format!("the gzip stream is truncated: the file ends at byte {at}, inside the stream"))
}

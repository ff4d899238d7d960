//! The gzip format (RFC 1952) around deflate. Comes in: a source with a gzip file. Goes out: its inflated bytes, through
//! as many gzip members as there are, each with its checksum and length verified. Fails where the file is broken, cut,
//! or goes on as something else; the error names the offset in the file.

use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;

use super::inflate::{Fault, Inflater, Input, Output, Pause, Place, Watch};
use super::symbols::MAX_MATCH;
use crate::source::Source;
use crate::{Error, Result};

pub(super) const MAGIC: [u8; 2] = [0x1f, 0x8b];
/// Compressed bytes that are asked for at a time: one read ahead of what is needed costs little.
const CHUNK_BYTES: u64 = 1 << 20;
const TRAILER_BYTES: u64 = 8;

/// A stretch of the compressed file that is at hand, and how to get another.
pub(super) struct Chunks<'a> {
    source: &'a dyn Source,
    held: Bytes,
    start: u64,
}

impl<'a> Chunks<'a> {
    /// Takes the source a chunk at a time.
    pub(super) fn new(source: &'a dyn Source) -> Self {
        Self { source, held: Bytes::new(), start: 0 }
    }

    /// What is held from byte `from` on, and more if it ends within `least` bytes and there is more.
    fn at(&mut self, from: u64, least: u64) -> Result<Input<'_>> {
        let (len, end) = (self.source.len(), self.start + self.held.len() as u64);
        if from < self.start || (from.saturating_add(least) > end && end < len) {
            let end = from.saturating_add(CHUNK_BYTES.max(least)).min(len);
            // The device works on the next chunk while this one is inflated.
            // Advice only: a source that panics at it is heard when it reads.
            let next = end..end.saturating_add(CHUNK_BYTES).min(len);
            let _ = catch_unwind(AssertUnwindSafe(|| self.source.will_need(next)));
            // Let go first: a mapped chunk that is dropped later takes the page it shares with the next one along.
            self.held = Bytes::new();
            self.start = from.min(end);
            self.held = exactly(self.source, self.start..end)?;
        }
        Ok(Input { bytes: &self.held, start: self.start })
    }

    /// Up to `most` bytes from byte `from` on.
    fn bytes(&mut self, from: u64, most: u64) -> Result<&[u8]> {
        let Input { bytes, start } = self.at(from, most)?;
        let bytes = bytes.get(from.saturating_sub(start) as usize..).unwrap_or_default();
        Ok(&bytes[..bytes.len().min(most as usize)])
    }
}

/// These bytes of a source. One that gives fewer would make its reader wait for the rest for ever.
pub(super) fn exactly(source: &dyn Source, range: Range<u64>) -> Result<Bytes> {
    let (start, size) = (range.start, range.end.saturating_sub(range.start));
    let bytes = source.read(range)?;
    if bytes.len() as u64 == size {
        return Ok(bytes);
    }
    let message = format!("a read of {size} bytes at byte {start} of the file gave {}", bytes.len());
    Err(Error::io(message, io::ErrorKind::UnexpectedEof.into()))
}

/// What follows in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Header,
    Body,
    Trailer,
    End,
}

/// Inflates a gzip file from its start, or from a place inside of it.
pub(super) struct Gunzip {
    inflater: Inflater,
    stage: Stage,
    /// The next byte of a header or trailer.
    next: u64,
    /// Of the current gzip member so far; `None` when it was entered in the middle.
    check: Option<Check>,
    /// Whether what was decoded of the current block is in doubt: a symbol after it was nonsense.
    is_doubtful: bool,
    /// Whether a checksum did not fit.
    is_mismatch: bool,
}

struct Check {
    crc: crc32fast::Hasher,
    bytes: u64,
}

impl Gunzip {
    /// Starts at the start of the file.
    pub(super) fn new() -> Self {
        Self {
            inflater: Inflater::new(0),
            stage: Stage::Header,
            next: 0,
            check: None,
            is_doubtful: false,
            is_mismatch: false,
        }
    }

    /// Goes to a place inside of a block.
    pub(super) fn go_to(&mut self, place: Place, chunks: &mut Chunks<'_>) -> Result<()> {
        (self.stage, self.check) = (Stage::Body, None);
        let least = (place.symbol - place.block.min(place.symbol)) / 8 + MOST_HEADER_BYTES;
        let input = chunks.at(place.block / 8, least)?;
        match self.inflater.go_to(place, input) {
            Ok(Pause::Input) => Err(cut(place.block / 8)),
            Ok(_) => Ok(()),
            Err(fault) => Err(broken(fault)),
        }
    }

    /// Where decoding goes on, if that is inside of a deflate stream.
    pub(super) fn place(&self) -> Option<Place> {
        (self.stage == Stage::Body && !self.inflater.has_ended()).then(|| self.inflater.place())
    }

    /// Where in the output the current block began, if that was since the last call.
    pub(super) fn take_begun(&mut self) -> Option<usize> {
        self.inflater.take_begun()
    }

    /// Whether the current block turned out to be broken, so that what it began with may be, too.
    pub(super) fn is_doubtful(&self) -> bool {
        self.is_doubtful
    }

    /// Whether a checksum did not fit.
    pub(super) fn is_mismatch(&self) -> bool {
        self.is_mismatch
    }

    /// The byte of the file that decoding has come to.
    pub(super) fn file_offset(&self) -> u64 {
        if self.stage == Stage::Body { self.inflater.place().symbol / 8 } else { self.next }
    }

    /// Fills `output` up to its limit, or up to the symbol that would cross it; less only at the end of the file.
    pub(super) fn run(
        &mut self,
        chunks: &mut Chunks<'_>,
        output: &mut Output<'_>,
        mut watch: Option<&mut Watch>,
    ) -> Result<Pause> {
        self.with_body(chunks, output, &mut |inflater, input, output| inflater.run(input, output, watch.as_deref_mut()))
    }

    /// Decodes the one symbol that would have crossed the limit; `output` needs room for it.
    pub(super) fn step(
        &mut self,
        chunks: &mut Chunks<'_>,
        output: &mut Output<'_>,
        mut watch: Option<&mut Watch>,
    ) -> Result<Pause> {
        let limit = output.limit;
        output.limit = (output.at + MAX_MATCH).min(output.bytes.len());
        let start = output.at;
        let pause = self.with_body(chunks, output, &mut |inflater, input, output| {
            if output.at > start {
                return Ok(Pause::Limit);
            }
            inflater.step(input, output, watch.as_deref_mut())
        });
        output.limit = limit;
        pause
    }

    /// Passes the ends of blocks and gzip members up to the next symbol.
    pub(super) fn settle(&mut self, chunks: &mut Chunks<'_>, output: &mut Output<'_>) -> Result<Pause> {
        self.with_body(chunks, output, &mut |inflater, input, output| inflater.pass_headers(input, output.at))
    }

    fn with_body(
        &mut self,
        chunks: &mut Chunks<'_>,
        output: &mut Output<'_>,
        body: &mut dyn FnMut(&mut Inflater, Input<'_>, &mut Output<'_>) -> Result<Pause, Fault>,
    ) -> Result<Pause> {
        loop {
            match self.stage {
                Stage::End => return Ok(Pause::Ended),
                Stage::Header => self.header(chunks, output)?,
                Stage::Trailer => self.trailer(chunks)?,
                Stage::Body => {
                    let (from, at) = (self.inflater.place(), output.at);
                    let input = chunks.at(from.symbol / 8, LOOK_AHEAD_BYTES)?;
                    let end = input.start + input.bytes.len() as u64;
                    let pause = body(&mut self.inflater, input, output);
                    if let Some(check) = &mut self.check {
                        check.crc.update(&output.bytes[at..output.at]);
                        check.bytes += (output.at - at) as u64;
                    }
                    self.is_doubtful = pause.is_err();
                    match pause.map_err(broken)? {
                        Pause::Limit => return Ok(Pause::Limit),
                        Pause::Input if end >= chunks.source.len() => return Err(cut(chunks.source.len())),
                        Pause::Input => {}
                        Pause::Ended => {
                            self.stage = Stage::Trailer;
                            self.next = self.inflater.place().symbol.div_ceil(8);
                        }
                    }
                }
            }
        }
    }

    /// Reads the header of a gzip member, or finds the end of the file in its place.
    fn header(&mut self, chunks: &mut Chunks<'_>, output: &mut Output<'_>) -> Result<()> {
        let (start, file_bytes) = (self.next, chunks.source.len());
        let mut bytes = chunks.bytes(start, MOST_HEADER_BYTES)?;
        if start > 0 && !bytes.starts_with(&MAGIC) && !(bytes.len() == 1 && bytes[0] == MAGIC[0]) {
            self.stage = Stage::End;
            return end_of_file(chunks, start);
        }
        // Asked for as seldom as names are long: a stream of small gzip members has a header every few bytes.
        if header_bytes(bytes) == Err(None) {
            bytes = chunks.bytes(start, CHUNK_BYTES)?;
        }
        let len = header_bytes(bytes).map_err(|reason| {
            let at_end = start + bytes.len() as u64 == file_bytes;
            let reason = reason.unwrap_or(if at_end { "is cut" } else { "is far too long" });
            Error::corrupt(format!("the gzip header at byte {start} of the file {reason}"))
        })?;
        self.stage = Stage::Body;
        self.inflater.restart(8 * (start + len as u64));
        self.check = Some(Check { crc: crc32fast::Hasher::new(), bytes: 0 });
        // A gzip member refers to nothing before it.
        output.floor = output.at;
        Ok(())
    }

    fn trailer(&mut self, chunks: &mut Chunks<'_>) -> Result<()> {
        let start = self.next;
        let bytes = chunks.bytes(start, TRAILER_BYTES)?;
        let Some((crc, length)) = bytes.split_first_chunk().and_then(|(crc, rest)| Some((crc, rest.first_chunk()?)))
        else {
            return Err(cut(start + bytes.len() as u64));
        };
        let (crc, length) = (u32::from_le_bytes(*crc), u32::from_le_bytes(*length));
        if let Some(check) = &self.check {
            let found = check.crc.clone().finalize();
            if (found, check.bytes as u32) != (crc, length) {
                self.is_mismatch = true;
                return Err(Error::corrupt(format!(
                    "the gzip checksum at byte {start} of the file does not fit: crc {crc:08x} and {length} bytes there, crc {found:08x} and {} bytes inflated",
                    check.bytes as u32
                )));
            }
        }
        (self.stage, self.next) = (Stage::Header, start + TRAILER_BYTES);
        Ok(())
    }
}

/// The header of a block with its codes, and then some; or that of a gzip member, with a name of usual length.
const MOST_HEADER_BYTES: u64 = 512;
/// A chunk is replaced when less is left of it: a header of a block, or a few symbols.
const LOOK_AHEAD_BYTES: u64 = MOST_HEADER_BYTES;

/// Length of the gzip header at the start of `bytes`. `None` as the error: it does not end in them.
fn header_bytes(bytes: &[u8]) -> Result<usize, Option<&'static str>> {
    let fixed: &[u8; 10] = bytes.first_chunk().ok_or(None)?;
    if fixed[..2] != MAGIC {
        return Err(Some("does not begin with 1f 8b"));
    }
    if fixed[2] != 8 {
        return Err(Some("names a method other than deflate"));
    }
    let flags = fixed[3];
    if flags & 0xe0 != 0 {
        return Err(Some("has unknown flags"));
    }
    let mut len = fixed.len();
    if flags & 4 != 0 {
        let extra = bytes[len..].first_chunk().ok_or(None)?;
        len += 2 + usize::from(u16::from_le_bytes(*extra));
    }
    // A file name, and a comment.
    for flag in [8, 16] {
        if flags & flag != 0 {
            let rest = bytes.get(len..).ok_or(None)?;
            len += rest.iter().position(|&byte| byte == 0).ok_or(None)? + 1;
        }
    }
    if flags & 2 != 0 {
        let header = bytes.get(..len).ok_or(None)?;
        let check = bytes[len..].first_chunk().ok_or(None)?;
        if u16::from_le_bytes(*check) != crc32fast::hash(header) as u16 {
            return Err(Some("does not fit its checksum"));
        }
        len += 2;
    }
    if len > bytes.len() { Err(None) } else { Ok(len) }
}

/// Zeros up to the end of the file are padding, as tapes and some file systems leave it.
fn end_of_file(chunks: &mut Chunks<'_>, start: u64) -> Result<()> {
    let mut at = start;
    while at < chunks.source.len() {
        let bytes = chunks.bytes(at, CHUNK_BYTES)?;
        if let Some(index) = bytes.iter().position(|&byte| byte != 0) {
            let at = at + index as u64;
            let rest = chunks.source.len() - at;
            return Err(Error::corrupt(format!(
                "{rest} bytes of other data follow the end of the gzip stream, at byte {at} of the file"
            )));
        }
        at += bytes.len() as u64;
    }
    Ok(())
}

fn broken(fault: Fault) -> Error {
    Error::corrupt(format!("the gzip stream is broken at byte {} of the file: {}", fault.bit / 8, fault.what))
}

fn cut(at: u64) -> Error {
    Error::corrupt(format!("the gzip stream is cut: the file ends at byte {at} in the middle of it"))
}

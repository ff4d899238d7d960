//! A source as a `Read + Seek` stream, for the `tar` crate. Comes in: a source. Goes out: its bytes in order. Fails as
//! the source does, and when more than an allowance is read before its owner renews it, so that hostile headers cannot
//! make a reader swallow the shard.

use std::cell::Cell;
use std::io::{self, Read, Seek, SeekFrom};

use super::Source;

pub(crate) struct SourceReader<'a> {
    source: &'a dyn Source,
    position: u64,
    allowance: &'a Cell<u64>,
}

impl<'a> SourceReader<'a> {
    /// Starts at byte 0. Every read takes from `allowance`, which the caller renews.
    pub(crate) fn new(source: &'a dyn Source, allowance: &'a Cell<u64>) -> Self {
        Self { source, position: 0, allowance }
    }
}

impl Read for SourceReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = self.source.len().saturating_sub(self.position);
        let count = rest.min(buffer.len() as u64);
        if count == 0 {
            return Ok(0);
        }
        let left = self.allowance.get().checked_sub(count);
        self.allowance.set(left.ok_or_else(|| io::Error::other("header records are larger than any real name needs"))?);
        let bytes = self.source.read(self.position..self.position + count).map_err(io::Error::other)?;
        buffer[..bytes.len()].copy_from_slice(&bytes);
        self.position += count;
        Ok(bytes.len())
    }
}

impl Seek for SourceReader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(delta) => self.position.checked_add_signed(delta),
            SeekFrom::End(delta) => self.source.len().checked_add_signed(delta),
        };
        self.position = position.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.position)
    }
}

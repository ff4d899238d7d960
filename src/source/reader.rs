//! A source as a `Read + Seek` stream for the `tar` crate, and the limit on what that crate may read for one header.

use std::cell::Cell;
use std::io::{self, Read, Seek, SeekFrom};

use super::access::Source;
use crate::Error;

/// Bytes that may still be read. The owner renews it before each tar header, so that hostile header records cannot make
/// a reader load the whole shard into memory.
pub(crate) struct Allowance(Cell<u64>);

impl Allowance {
    pub(crate) fn new(bytes: u64) -> Self {
        Self(Cell::new(bytes))
    }

    pub(crate) fn set(&self, bytes: u64) {
        self.0.set(bytes);
    }

    /// Deducts `bytes`.
    ///
    /// # Errors
    /// If fewer are left.
    pub(crate) fn take(&self, bytes: u64) -> io::Result<()> {
        let left = self.0.get().checked_sub(bytes);
        let too_long = || Error::corrupt("the header records of a member (long names, PAX) are too long");
        self.0.set(left.ok_or_else(|| io::Error::other(too_long()))?);
        Ok(())
    }
}

/// Reads a source from its start, within an allowance.
pub(crate) struct SourceReader<'a> {
    source: &'a dyn Source,
    position: u64,
    allowance: &'a Allowance,
}

impl<'a> SourceReader<'a> {
    /// Starts at byte 0. Every read deducts from `allowance`.
    pub(crate) fn new(source: &'a dyn Source, allowance: &'a Allowance) -> Self {
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
        self.allowance.take(count)?;
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

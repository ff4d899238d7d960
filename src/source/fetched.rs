//! The result of a fetch: bytes in memory that may still be compressed.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;

use super::gzip::{CompressedRange, Inflater};
use crate::Result;

/// Bytes that [`Source::fetch`](super::Source::fetch) has read from the device. They may still be compressed:
/// [`inflate`](Fetched::inflate) returns the bytes of the range that was fetched, without any further I/O.
///
/// ```
/// use maskstream::source::{Inflater, MemorySource, Source};
///
/// let fetched = MemorySource::new(&b"0123456789"[..]).fetch(2..5)?;
/// assert_eq!(fetched.inflated_bytes(), 0); // not compressed
///
/// let mut inflater = Inflater::default(); // one per thread, used again and again
/// assert_eq!(fetched.inflate(&mut inflater)?, b"234");
/// # Ok::<(), maskstream::Error>(())
/// ```
pub struct Fetched(Encoding);

enum Encoding {
    Plain(Bytes),
    Gzip(CompressedRange),
}

impl Fetched {
    pub(super) fn compressed(range: CompressedRange) -> Self {
        Self(Encoding::Gzip(range))
    }

    /// The bytes of the range. Compressed bytes are inflated into the memory of `inflater`; others are returned as they
    /// are.
    ///
    /// # Errors
    /// If the gzip stream is corrupt here or does not match the restart points of the index; the error names the
    /// offset.
    pub fn inflate<'a>(&'a self, inflater: &'a mut Inflater) -> Result<&'a [u8]> {
        match &self.0 {
            Encoding::Plain(bytes) => Ok(bytes),
            Encoding::Gzip(range) => {
                let range = range.inflate(inflater)?;
                Ok(inflater.bytes(range))
            }
        }
    }

    /// The bytes of the range, in memory of their own if they were compressed.
    pub(super) fn into_bytes(self) -> Result<Bytes> {
        match self.0 {
            Encoding::Plain(bytes) => Ok(bytes),
            Encoding::Gzip(range) => {
                let mut inflater = Inflater::default();
                let range = range.inflate(&mut inflater)?;
                Ok(Bytes::copy_from_slice(inflater.bytes(range)))
            }
        }
    }

    /// [`inflate`](Fetched::inflate), with the memory of `inflater` for as long as the bytes are needed.
    pub(crate) fn into_inflated(self, mut inflater: Inflater) -> Result<Inflated> {
        let range = match &self.0 {
            Encoding::Plain(_) => 0..0,
            Encoding::Gzip(range) => range.inflate(&mut inflater)?,
        };
        Ok(Inflated { fetched: self, inflater, range })
    }

    /// Number of bytes that were read from the device, compressed or not.
    pub fn fetched_bytes(&self) -> u64 {
        match &self.0 {
            Encoding::Plain(bytes) => bytes.len() as u64,
            Encoding::Gzip(range) => range.compressed_bytes() as u64,
        }
    }

    /// Number of bytes that [`inflate`](Fetched::inflate) has to decompress: those of the range and the few between the
    /// restart point and its start. It is 0 for bytes that are not compressed.
    pub fn inflated_bytes(&self) -> u64 {
        match &self.0 {
            Encoding::Plain(_) => 0,
            Encoding::Gzip(range) => range.inflated_bytes(),
        }
    }
}

/// Bytes that were fetched and, if need be, inflated.
pub(crate) struct Inflated {
    fetched: Fetched,
    inflater: Inflater,
    /// Where the bytes are in the memory of the inflater, if they were compressed.
    range: Range<usize>,
}

impl Inflated {
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.fetched.0 {
            Encoding::Plain(bytes) => bytes,
            Encoding::Gzip(_) => self.inflater.bytes(self.range.clone()),
        }
    }

    /// The inflater, to be used again.
    pub(crate) fn into_inflater(self) -> Inflater {
        self.inflater
    }
}

impl From<Bytes> for Fetched {
    /// Bytes that are not compressed.
    fn from(bytes: Bytes) -> Self {
        Self(Encoding::Plain(bytes))
    }
}

impl fmt::Debug for Fetched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetched")
            .field("bytes", &self.fetched_bytes())
            .field("inflated_bytes", &self.inflated_bytes())
            .finish()
    }
}

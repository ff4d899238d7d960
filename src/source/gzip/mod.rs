//! gzip files, read in place: a [`Source`] of the inflated bytes of another source.
//!
//! One pass over the file finds the restart points ([`GzipPass`]). With them, reading a tar member takes the compressed
//! bytes of that member and inflates little more than the member. Corrupt data is an error for the ranges that contain
//! it and for no others.

mod compressed;
mod framing;
mod huffman;
mod inflate;
mod pass;
mod point;
mod restart;
mod symbols;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::access::{Source, bounds};
use super::fetched::Fetched;
use crate::Result;
use restart::Located;

pub(super) use compressed::CompressedRange;
pub use compressed::Inflater;
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
        bounds(range, self.len())?;
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
        let bytes = self.file.read(compressed.clone());
        let bytes =
            bytes.and_then(|bytes| framing::exactly(bytes, compressed)).map_err(|e| e.of_compressed(range.start))?;
        Ok(Fetched::compressed(CompressedRange { bytes, start, points, range }))
    }
}

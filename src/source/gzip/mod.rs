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
use super::prefetch::{Prefetch, ReadAhead};
use crate::Result;
use restart::{Located, Outline};

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
        let located = self.locate(&range)?;
        let bytes = self.file.read(located.compressed.clone());
        compressed(bytes, located, range)
    }

    fn prefetch(&self, ranges: &[Range<u64>]) -> Vec<Prefetch> {
        let outlines: Vec<_> = ranges.iter().map(|range| self.restarts.outline(range)).collect();
        let begun = |outline: &Option<Outline>| outline.as_ref().map_or(0..0, |outline| outline.compressed.clone());
        let files = self.file.prefetch(&outlines.iter().map(begun).collect::<Vec<_>>());
        let windows = |outline: &Option<Outline>| outline.as_ref().and_then(|of| of.windows.clone()).unwrap_or(0..0);
        let windows: Vec<_> = outlines.iter().map(windows).collect();
        let mut windows = self.restarts.windows().map_or_else(Vec::new, |source| source.prefetch(&windows)).into_iter();
        let join = |((file, outline), range): ((Prefetch, Option<Outline>), &Range<u64>)| {
            let window = windows.next().unwrap_or_default();
            let Some(Outline { compressed: begun, windows }) = outline else { return Prefetch::default() };
            let (restarts, range) = (Arc::clone(&self.restarts), range.clone());
            let source = Arc::clone(&self.file);
            file.and_then(move |bytes, stop| {
                let bytes = bytes.and_then(Fetched::into_bytes);
                let window = window.finish(stop).transpose()?.map(Fetched::into_bytes).transpose()?;
                let located = restarts.locate_with(&range, windows.zip(window))?;
                // A damaged window takes more than was begun.
                let bytes = match located.compressed == begun {
                    true => bytes,
                    false => source.read(located.compressed.clone()),
                };
                compressed(bytes, located, range)
            })
        };
        files.into_iter().zip(outlines).zip(ranges).map(join).collect()
    }

    fn read_ahead(&self) -> ReadAhead {
        self.file.read_ahead()
    }
}

/// The compressed bytes of a range, as they were read.
fn compressed(bytes: Result<Bytes>, located: Located, range: Range<u64>) -> Result<Fetched> {
    let Located { compressed, points } = located;
    let start = compressed.start;
    let bytes =
        bytes.and_then(|bytes| framing::exactly(bytes, compressed)).map_err(|e| e.of_compressed(range.start))?;
    Ok(Fetched::compressed(CompressedRange { bytes, start, points, range }))
}

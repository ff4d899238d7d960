//! The trait [`Source`].

use std::fmt;
use std::ops::Range;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;

use super::fetched::Fetched;
use super::prefetch::{Prefetch, ReadAhead};
use crate::{Error, Result};

/// Random access to the bytes of one shard. Any number of threads may read at once; see the
/// [module documentation](super) for which thread calls what.
///
/// [`len`](Source::len) and [`read`](Source::read) are required. The other methods have defaults that are correct for
/// every source.
///
/// ```
/// use std::io::{Error, ErrorKind};
/// use std::ops::Range;
///
/// use bytes::Bytes;
/// use maskstream::source::{Inflater, Source};
///
/// #[derive(Debug)]
/// struct VecSource(Vec<u8>);
///
/// impl Source for VecSource {
///     fn len(&self) -> u64 {
///         self.0.len() as u64
///     }
///
///     fn read(&self, range: Range<u64>) -> maskstream::Result<Bytes> {
///         let bytes = self.0.get(range.start as usize..range.end as usize);
///         let bytes = bytes.ok_or_else(|| Error::new(ErrorKind::UnexpectedEof, format!("no bytes {range:?}")))?;
///         Ok(Bytes::copy_from_slice(bytes))
///     }
/// }
///
/// let source = VecSource(b"the bytes of a shard".to_vec());
/// source.will_need(4..9); // a hint; this source ignores it
/// let fetched = source.fetch(4..9)?;
/// assert_eq!(fetched.inflate(&mut Inflater::default())?, b"bytes");
/// assert!(source.read(4..99).is_err());
/// # Ok::<(), maskstream::Error>(())
/// ```
pub trait Source: Send + Sync + fmt::Debug {
    /// Length in bytes.
    fn len(&self) -> u64;

    /// Returns exactly the bytes of `range`, waiting for the device if necessary. They are in memory when this returns
    /// and stay valid as long as the returned [`Bytes`] is held.
    ///
    /// # Errors
    /// If the range ends past [`len`](Source::len), or the read fails; the error should name the offset. A source
    /// outside of this crate converts a [`std::io::Error`] with `?` or `into()`.
    fn read(&self, range: Range<u64>) -> Result<Bytes>;

    /// Does the part of a read that waits for the device, and leaves the part that only computes to
    /// [`Fetched::inflate`], which can run on another thread. For a gzip shard, `range` is a range of the inflated
    /// stream, and this reads the compressed bytes that contain it.
    ///
    /// By default this calls [`read`](Source::read), and nothing is left to compute.
    ///
    /// # Errors
    /// As [`read`](Source::read).
    fn fetch(&self, range: Range<u64>) -> Result<Fetched> {
        self.read(range).map(Fetched::from)
    }

    /// Announces that `range` will be read soon, so that the device can start to read ahead. It returns without
    /// waiting. It is a hint: errors are not reported, any range is allowed, and ignoring it is correct. The default
    /// does nothing.
    fn will_need(&self, range: Range<u64>) {
        let _ = range;
    }

    /// Begins to read ranges that will be fetched soon, all of them planned together. Returns one [`Prefetch`] for
    /// each, in their order. It returns without waiting; errors are those of [`Prefetch::finish`].
    ///
    /// By default this announces each range ([`will_need`](Source::will_need)), and no read has begun: the ranges are
    /// fetched one by one. A source with many requests under way at once, such as an object store, begins them here.
    fn prefetch(&self, ranges: &[Range<u64>]) -> Vec<Prefetch> {
        ranges.iter().for_each(|range| self.will_need(range.clone()));
        ranges.iter().map(|_| Prefetch::default()).collect()
    }

    /// How much should be read ahead. By default only the next batch is.
    fn read_ahead(&self) -> ReadAhead {
        ReadAhead::default()
    }

    /// Whether the length is zero.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The bytes of all these ranges, which are read at once where a source can do that.
pub(crate) fn read_all(source: &dyn Source, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
    let stop = AtomicBool::new(false);
    let finish = |(read, range): (Prefetch, &Range<u64>)| finish(source, read, range.clone(), &stop)?.into_bytes();
    source.prefetch(ranges).into_iter().zip(ranges).map(finish).collect()
}

/// The bytes of a range that [`Source::prefetch`] has begun to read, or that are fetched now if it has not.
pub(crate) fn finish(source: &dyn Source, begun: Prefetch, range: Range<u64>, stop: &AtomicBool) -> Result<Fetched> {
    begun.finish(stop).unwrap_or_else(|| source.fetch(range))
}

/// Converts `range` to indices into `len` bytes; an error if it is reversed or ends past `len`.
pub(super) fn bounds(range: &Range<u64>, len: u64) -> Result<Range<usize>> {
    if range.start > range.end || range.end > len {
        return Err(Error::corrupt(format!(
            "cannot read bytes {}..{}: the shard ends at byte {len}; it is truncated or not the file that was indexed",
            range.start, range.end
        ))
        .at_offset(range.start));
    }
    // Both fit: what is in memory or mapped is at most usize::MAX long.
    Ok(range.start as usize..range.end as usize)
}

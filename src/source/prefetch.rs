//! A read that has begun before its bytes are needed.

use std::fmt;
use std::sync::atomic::AtomicBool;

use super::fetched::Fetched;
use crate::Result;

type Finish = dyn FnOnce(&AtomicBool) -> Result<Fetched> + Send;

/// A read that [`Source::prefetch`](super::Source::prefetch) has begun. Dropping it gives the read up.
///
/// The default is a read that has not begun: its bytes are to be fetched when they are needed.
#[derive(Default)]
pub struct Prefetch(Option<Begun>);

struct Begun {
    bytes: u64,
    finish: Box<Finish>,
}

impl Prefetch {
    /// A read of `bytes` bytes that has begun. `finish` waits for it. It should stop to wait, with any error, soon
    /// after its argument has become true: then nobody needs the bytes any more.
    ///
    /// ```
    /// use std::sync::atomic::AtomicBool;
    ///
    /// use bytes::Bytes;
    /// use maskstream::source::{Fetched, Inflater, Prefetch};
    ///
    /// let (sender, receiver) = std::sync::mpsc::channel();
    /// std::thread::spawn(move || sender.send(Bytes::from_static(b"bytes"))); // some request
    /// let receive = move || receiver.recv().map_err(std::io::Error::other);
    /// let prefetch = Prefetch::new(5, move |_stop| Ok(Fetched::from(receive()?)));
    ///
    /// assert_eq!(prefetch.bytes(), 5);
    /// let Some(fetched) = prefetch.finish(&AtomicBool::new(false)) else { panic!("it has begun") };
    /// assert_eq!(fetched?.inflate(&mut Inflater::default())?, b"bytes");
    /// # Ok::<(), maskstream::Error>(())
    /// ```
    pub fn new(bytes: u64, finish: impl FnOnce(&AtomicBool) -> Result<Fetched> + Send + 'static) -> Self {
        Self(Some(Begun { bytes, finish: Box::new(finish) }))
    }

    /// The number of bytes that take up memory until the read is finished or dropped.
    pub fn bytes(&self) -> u64 {
        self.0.as_ref().map_or(0, |begun| begun.bytes)
    }

    /// Waits for the bytes; `None` if the read has not begun.
    ///
    /// # Errors
    /// As [`Source::fetch`](super::Source::fetch), and if `stop` becomes true.
    pub fn finish(self, stop: &AtomicBool) -> Option<Result<Fetched>> {
        self.0.map(|begun| (begun.finish)(stop))
    }

    /// Applies `then` to the result once it is there.
    pub(super) fn and_then<F>(self, then: F) -> Self
    where
        F: FnOnce(Result<Fetched>, &AtomicBool) -> Result<Fetched> + Send + 'static,
    {
        let Some(Begun { bytes, finish }) = self.0 else { return Self(None) };
        Self::new(bytes, move |stop| then(finish(stop), stop))
    }
}

impl fmt::Debug for Prefetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.0.is_some() { "Prefetch" } else { "Prefetch::default" };
        f.debug_struct(name).field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

/// How a source wants to be read ahead.
///
/// ```
/// use maskstream::source::ReadAhead;
///
/// assert_eq!(ReadAhead::default().bytes, 0); // a disk: the next batch is announced, that is all
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadAhead {
    /// Reads are begun before they are needed as long as fewer bytes than this are waited for.
    pub bytes: u64,
    /// The length of each read where a shard is read from front to back; 0 where it does not matter.
    pub block_bytes: u64,
}

impl ReadAhead {
    /// The larger one of both numbers.
    pub(crate) fn max(self, other: Self) -> Self {
        Self { bytes: self.bytes.max(other.bytes), block_bytes: self.block_bytes.max(other.block_bytes) }
    }

    /// Reads of `block_bytes` from front to back, and `bytes` begun ahead in all.
    pub fn new(bytes: u64, block_bytes: u64) -> Self {
        Self { bytes, block_bytes }
    }
}

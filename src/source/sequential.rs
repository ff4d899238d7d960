//! A source that is read from front to back, in long blocks that are begun ahead.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

use bytes::{Bytes, BytesMut};

use super::access::{Source, bounds, finish};
use super::prefetch::Prefetch;
use crate::Result;

/// Blocks that are begun before they are needed: with the one in use, they bring four times what one connection does.
const BLOCKS_AHEAD: u64 = 4;
/// Blocks that are kept: the one in use, and the one before it, in which a long header may have begun.
const BLOCKS_KEPT: usize = 2;

/// Reads `inner` in blocks. Reads in ascending order take each block once; others read `inner` directly.
pub(crate) struct Sequential<'a> {
    inner: &'a dyn Source,
    block: u64,
    state: Mutex<Blocks>,
}

#[derive(Default)]
struct Blocks {
    /// The last blocks that were needed, by their numbers.
    kept: VecDeque<(u64, Bytes)>,
    /// The number of the first block that was begun.
    first: u64,
    begun: VecDeque<Prefetch>,
}

impl<'a> Sequential<'a> {
    /// `None` if `inner` does not ask for long reads.
    pub(crate) fn over(inner: &'a dyn Source) -> Option<Self> {
        let block = inner.read_ahead().block_bytes;
        (block > 0).then(|| Self { inner, block, state: Mutex::default() })
    }

    fn range_of(&self, block: u64) -> Range<u64> {
        let at = |block: u64| block.saturating_mul(self.block).min(self.len());
        at(block)..at(block + 1)
    }

    /// The bytes of a block; `None` if it has been passed already.
    fn block(&self, blocks: &mut Blocks, number: u64) -> Result<Option<Bytes>> {
        if let Some((_, bytes)) = blocks.kept.iter().find(|(kept, _)| *kept == number) {
            return Ok(Some(bytes.clone()));
        }
        if blocks.kept.back().is_some_and(|(last, _)| number < *last) {
            return Ok(None);
        }
        // Blocks that nobody has read are dropped, which ends their requests.
        while blocks.first < number && blocks.begun.pop_front().is_some() {
            blocks.first += 1;
        }
        if blocks.begun.is_empty() {
            blocks.first = number;
        }
        let next = blocks.first + blocks.begun.len() as u64;
        let end = (number + 1 + BLOCKS_AHEAD).min(self.len().div_ceil(self.block));
        let ranges: Vec<_> = (next..end).map(|block| self.range_of(block)).collect();
        blocks.begun.extend(self.inner.prefetch(&ranges));
        let prefetch = blocks.begun.pop_front().unwrap_or_default();
        blocks.first = number + 1;
        let range = self.range_of(number);
        let bytes = finish(self.inner, prefetch, range, &AtomicBool::new(false))?.into_bytes()?;
        if blocks.kept.len() == BLOCKS_KEPT {
            blocks.kept.pop_front();
        }
        blocks.kept.push_back((number, bytes.clone()));
        Ok(Some(bytes))
    }
}

impl Source for Sequential<'_> {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        bounds(&range, self.len())?;
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let mut blocks = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (first, last) = (range.start / self.block, (range.end - 1) / self.block);
        let mut parts = Vec::new();
        for number in first..=last {
            let Some(bytes) = self.block(&mut blocks, number)? else {
                drop(blocks);
                return self.inner.read(range);
            };
            let start = number * self.block;
            let (from, to) = (range.start.max(start), range.end.min(start + bytes.len() as u64));
            parts.push(bytes.slice((from - start) as usize..to.saturating_sub(start) as usize));
        }
        match parts.as_slice() {
            [one] => Ok(one.clone()),
            parts => {
                let mut joined = BytesMut::with_capacity((range.end - range.start) as usize);
                parts.iter().for_each(|part| joined.extend_from_slice(part));
                Ok(joined.freeze())
            }
        }
    }
}

impl fmt::Debug for Sequential<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sequential").field("inner", &self.inner).field("block", &self.block).finish_non_exhaustive()
    }
}

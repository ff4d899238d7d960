//! One restart point, and the form in which its window is stored.

use bytes::Bytes;

use super::inflate::{BitPosition, WINDOW_BYTES};
use crate::{Error, Result};

/// Ranges at most this far apart are merged.
const MERGE_BYTES: usize = 3;

/// A restart point with its window.
#[derive(Clone, Debug)]
pub(super) struct RestartPoint {
    pub(super) inflated: u64,
    pub(super) position: BitPosition,
    /// `None` if it does not match its checksum.
    pub(super) window: Option<Bytes>,
}

/// The error of restart points that do not lead to the bytes that the index names.
pub(super) fn invalid_table() -> Error {
    Error::corrupt("the restart points do not match the gzip stream: the index file is corrupt, so delete it")
}

/// Appends to `out` the window that contains these ranges of `before`, the bytes up to a point.
pub(super) fn write_window(before: &[u8], ranges: &mut [(usize, usize)], out: &mut Vec<u8>) {
    ranges.sort_unstable();
    let missing = WINDOW_BYTES - before.len().min(WINDOW_BYTES);
    // Written as if `before` were a whole window.
    let mut end = 0;
    let mut sorted = ranges.iter().copied().peekable();
    while let Some((from, mut to)) = sorted.next() {
        while let Some((_, next_to)) = sorted.next_if(|(next, _)| *next <= to + MERGE_BYTES) {
            to = to.max(next_to);
        }
        let Some(bytes) = before.get(from..to) else { continue };
        write_number(missing + from - end, out);
        write_number(to - from, out);
        out.extend_from_slice(bytes);
        end = missing + to;
    }
}

/// Copies the bytes of a window into `before`, the last 32 KiB before a point.
pub(super) fn read_window(mut window: &[u8], before: &mut [u8]) -> Result<()> {
    let missing = WINDOW_BYTES - before.len().min(WINDOW_BYTES);
    let mut at = 0;
    while !window.is_empty() {
        let (skip, length) = (read_number(&mut window)?, read_number(&mut window)?);
        at += skip;
        let (bytes, rest) = window.split_at_checked(length).ok_or_else(invalid_table)?;
        let start = at.checked_sub(missing).ok_or_else(invalid_table)?;
        before.get_mut(start..start + length).ok_or_else(invalid_table)?.copy_from_slice(bytes);
        at += length;
        window = rest;
    }
    Ok(())
}

/// Appends a number as LEB128.
fn write_number(mut number: usize, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Reads LEB128 of at most three bytes: all numbers are below 2^21.
fn read_number(bytes: &mut &[u8]) -> Result<usize> {
    let mut number = 0;
    for shift in [0, 7, 14] {
        let (&byte, rest) = bytes.split_first().ok_or_else(invalid_table)?;
        *bytes = rest;
        number |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(invalid_table())
}

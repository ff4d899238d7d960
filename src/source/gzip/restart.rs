//! Where inflating can begin. Comes in: places inside of the stream, found by the first pass. Goes out: for any range
//! of inflated bytes, the compressed bytes it takes and where to begin in them. Fails on tables that do not fit.
//!
//! # A restart point
//!
//! lies between two symbols of a block, so close before a tar member that less than one symbol lies between. To begin
//! there takes the codes of the block, whose header is read again, and of the 32 KiB before the point those bytes that
//! the data up to the next point refers to: its *window*. In JPEG data that is a few dozen bytes (rapidgzip calls such
//! windows sparse).
//!
//! # Layout
//!
//! Records of 28 bytes, little-endian: inflated offset (u64), bit of the block's header (u64), where the window ends
//! among all windows (u64), bits from that header to the point (u32). A window is a list of stretches: bytes skipped
//! since the last one (or since 32 KiB before the point), length, both LEB128, then the bytes.

use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;

use super::inflate::{Place, WINDOW_BYTES};
use crate::source::{MemorySource, Source};
use crate::{Error, Result};

pub(crate) const RECORD_BYTES: usize = 28;
/// Two numbers of up to three bytes for each stretch, and there are fewer stretches than half the bytes.
const MAX_WINDOW_BYTES: u64 = 4 * WINDOW_BYTES as u64;
/// Stretches closer together than this are written as one.
const MERGE_BYTES: usize = 3;

/// A table of restart points: one that grows, or one that is complete.
#[derive(Debug)]
pub(crate) struct Restarts(Table);

#[derive(Debug)]
enum Table {
    Growing(RwLock<Grown>),
    Complete(Parts),
}

#[derive(Debug, Default)]
struct Grown {
    records: Vec<u8>,
    windows: Vec<u8>,
    frontier: Frontier,
}

/// How far the table reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Frontier {
    /// Bytes of inflated data.
    pub(crate) inflated: u64,
    /// The bit of the file behind them.
    pub(crate) bit: u64,
}

/// A complete table: what a sidecar holds.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    pub(crate) records: Bytes,
    /// Read when they are needed.
    pub(crate) windows: Arc<dyn Source>,
    /// Where they start in that source.
    pub(crate) windows_start: u64,
    pub(crate) frontier: Frontier,
}

impl Parts {
    /// All windows, as bytes of their source.
    pub(crate) fn windows_range(&self) -> Range<u64> {
        let bytes = self.records.as_chunks().0.last().map_or(0, |last| Record::read(last).window_end);
        self.windows_start..self.windows_start.saturating_add(bytes)
    }
}

/// A restart point with its window.
#[derive(Clone, Debug)]
pub(super) struct Point {
    pub(super) inflated: u64,
    pub(super) place: Place,
    pub(super) window: Bytes,
}

/// What it takes to inflate a range.
#[derive(Debug)]
pub(super) struct Located {
    /// Bytes of the file.
    pub(super) compressed: Range<u64>,
    /// The point at or before the range, and those inside of it.
    pub(super) points: Vec<Point>,
}

#[derive(Clone, Copy)]
struct Record {
    inflated: u64,
    block: u64,
    window_end: u64,
    delta: u32,
}

impl Restarts {
    /// An empty table.
    pub(crate) fn growing() -> Self {
        Self(Table::Growing(RwLock::default()))
    }

    /// A table that was made before.
    pub(crate) fn complete(parts: Parts) -> Self {
        Self(Table::Complete(parts))
    }

    /// Bytes of inflated data that can be read.
    pub(crate) fn frontier(&self) -> Frontier {
        match &self.0 {
            Table::Growing(grown) => grown.read().unwrap_or_else(PoisonError::into_inner).frontier,
            Table::Complete(parts) => parts.frontier,
        }
    }

    /// Adds a point; `window` is what [`write_window`] made. A complete table stays as it is.
    ///
    /// # Errors
    /// If the point lies more than 512 MiB behind the start of its block. Encoders end a block when a buffer of theirs is
    /// full, after a few dozen kilobytes.
    pub(super) fn push(&self, inflated: u64, place: Place, window: &[u8]) -> Result<()> {
        let far = |_| Error::limit("a deflate block of more than 512 MiB").at_offset(inflated);
        let delta = u32::try_from(place.symbol - place.block).map_err(far)?;
        if let Table::Growing(grown) = &self.0 {
            let mut grown = grown.write().unwrap_or_else(PoisonError::into_inner);
            grown.windows.extend_from_slice(window);
            let window_end = grown.windows.len() as u64;
            for bytes in [inflated.to_le_bytes(), place.block.to_le_bytes(), window_end.to_le_bytes()] {
                grown.records.extend_from_slice(&bytes);
            }
            grown.records.extend_from_slice(&delta.to_le_bytes());
        }
        Ok(())
    }

    /// Says that everything up to here can be read with the points there are.
    pub(super) fn advance(&self, frontier: Frontier) {
        if let Table::Growing(grown) = &self.0 {
            grown.write().unwrap_or_else(PoisonError::into_inner).frontier = frontier;
        }
    }

    /// Bytes of all windows so far.
    pub(super) fn window_bytes(&self) -> u64 {
        match &self.0 {
            Table::Growing(grown) => grown.read().unwrap_or_else(PoisonError::into_inner).windows.len() as u64,
            Table::Complete(_) => 0,
        }
    }

    /// The table as it is now.
    pub(crate) fn parts(&self) -> Parts {
        match &self.0 {
            Table::Complete(parts) => parts.clone(),
            Table::Growing(grown) => {
                let grown = grown.read().unwrap_or_else(PoisonError::into_inner);
                Parts {
                    records: Bytes::copy_from_slice(&grown.records),
                    windows: Arc::new(MemorySource::new(grown.windows.clone())),
                    windows_start: 0,
                    frontier: grown.frontier,
                }
            }
        }
    }

    /// What it takes to inflate `range`.
    pub(super) fn locate(&self, range: &Range<u64>) -> Result<Located> {
        match &self.0 {
            Table::Growing(grown) => {
                let grown = grown.read().unwrap_or_else(PoisonError::into_inner);
                locate(&grown.records, grown.frontier, range, |window| {
                    let window = grown.windows.get(window.start as usize..window.end as usize);
                    Ok(Bytes::copy_from_slice(window.ok_or_else(misfit)?))
                })
            }
            Table::Complete(parts) => locate(&parts.records, parts.frontier, range, |window| {
                let start = parts.windows_start;
                parts.windows.read(start.saturating_add(window.start)..start.saturating_add(window.end))
            }),
        }
    }
}

fn locate(
    records: &[u8],
    frontier: Frontier,
    range: &Range<u64>,
    read_window: impl Fn(Range<u64>) -> Result<Bytes>,
) -> Result<Located> {
    if range.is_empty() {
        return Ok(Located { compressed: 0..0, points: Vec::new() });
    }
    let records = records.as_chunks::<RECORD_BYTES>().0;
    let past = partition_point(records, |record| record.inflated <= range.start);
    let first = past.checked_sub(1).ok_or_else(misfit)?;
    let end = partition_point(records, |record| record.inflated < range.end).max(past);
    let mut points = Vec::with_capacity(end - first);
    for index in first..end {
        let record = Record::read(&records[index]);
        let window_start = index.checked_sub(1).map_or(0, |before| Record::read(&records[before]).window_end);
        let size = record.window_end.checked_sub(window_start).filter(|&size| size <= MAX_WINDOW_BYTES);
        size.ok_or_else(misfit)?;
        let symbol = record.block.checked_add(u64::from(record.delta)).ok_or_else(misfit)?;
        points.push(Point {
            inflated: record.inflated,
            place: Place { block: record.block, symbol },
            window: read_window(window_start..record.window_end)?,
        });
    }
    // A forged table need not be in order, and everything below counts on it.
    let ordered = points.windows(2).all(|pair| pair[0].inflated < pair[1].inflated);
    let bounded = |point: &Point| point.inflated <= range.start || point.inflated < range.end;
    if !ordered || points[0].inflated > range.start || !points.iter().all(bounded) {
        return Err(misfit());
    }
    let end_bit = match records.get(end).map(Record::read) {
        Some(record) => record.block.checked_add(u64::from(record.delta)).ok_or_else(misfit)?,
        None => frontier.bit,
    };
    let start = Record::read(&records[first]).block / 8;
    Ok(Located { compressed: start..end_bit.div_ceil(8).max(start), points })
}

fn partition_point(records: &[[u8; RECORD_BYTES]], is_before: impl Fn(Record) -> bool) -> usize {
    records.partition_point(|bytes| is_before(Record::read(bytes)))
}

impl Record {
    fn read(bytes: &[u8; RECORD_BYTES]) -> Self {
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        let delta = u32::from_le_bytes(std::array::from_fn(|i| bytes[24 + i]));
        Self { inflated: word(0), block: word(8), window_end: word(16), delta }
    }
}

pub(super) fn misfit() -> Error {
    Error::corrupt("the table of restart points does not fit: its sidecar is damaged, delete it")
}

/// Writes the used stretches of `before`, the bytes up to a point. Stretches are indices in it.
pub(super) fn write_window(before: &[u8], used: &mut [(usize, usize)], out: &mut Vec<u8>) {
    used.sort_unstable();
    let missing = WINDOW_BYTES - before.len().min(WINDOW_BYTES);
    // As indices in a window that is whole.
    let mut end = 0;
    let mut stretches = used.iter().copied().peekable();
    while let Some((from, mut to)) = stretches.next() {
        while let Some((_, next_to)) = stretches.next_if(|(next, _)| *next <= to + MERGE_BYTES) {
            to = to.max(next_to);
        }
        let Some(bytes) = before.get(from..to) else { continue };
        write_number(missing + from - end, out);
        write_number(to - from, out);
        out.extend_from_slice(bytes);
        end = missing + to;
    }
}

/// Puts the bytes of a window into the last 32 KiB before a point.
pub(super) fn read_window(mut window: &[u8], before: &mut [u8]) -> Result<()> {
    let missing = WINDOW_BYTES - before.len().min(WINDOW_BYTES);
    let mut at = 0;
    while !window.is_empty() {
        let (skip, length) = (read_number(&mut window)?, read_number(&mut window)?);
        at += skip;
        let (bytes, rest) = window.split_at_checked(length).ok_or_else(misfit)?;
        let start = at.checked_sub(missing).ok_or_else(misfit)?;
        before.get_mut(start..start + length).ok_or_else(misfit)?.copy_from_slice(bytes);
        at += length;
        window = rest;
    }
    Ok(())
}

fn write_number(mut number: usize, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// At most three bytes: no number here is above 2^21.
fn read_number(bytes: &mut &[u8]) -> Result<usize> {
    let mut number = 0;
    for shift in [0, 7, 14] {
        let (&byte, rest) = bytes.split_first().ok_or_else(misfit)?;
        *bytes = rest;
        number |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(misfit())
}

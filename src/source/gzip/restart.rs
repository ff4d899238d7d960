//! The table of restart points: for any range of inflated bytes, it tells which compressed bytes contain the range and
//! where in them decoding can start. Inconsistent tables are an error.
//!
//! # Restart points
//!
//! A restart point is a symbol boundary at most one symbol before a tar member. Decoding from there needs the codes of
//! the block, whose header is read again, and a *window*: those of the 32 KiB before the point that the data up to the
//! next point refers to. In JPEG data that is a few dozen bytes (rapidgzip calls such windows sparse).
//!
//! # Layout
//!
//! A record has 32 bytes, little-endian: inflated offset (u64), bit of the block header (u64), end of the window in the
//! concatenation of all windows (u64), bits from the block header to the point (u32), CRC-32C of the window (u32). A
//! window is a list of ranges. Each is the number of bytes skipped since the previous range (or since 32 KiB before the
//! point) and its length, both LEB128, followed by its bytes.
//!
//! # Damaged windows
//!
//! A window that does not match its checksum is not used. Decoding then starts at an earlier point, far enough back to
//! decode the bytes of the window instead.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;

use super::inflate::{BitPosition, WINDOW_BYTES};
use super::point::{RestartPoint, invalid_table};
use crate::source::{MemorySource, Source};
use crate::{Error, Result};

pub(crate) const RECORD_BYTES: usize = 32;
/// Each range has two numbers of up to three bytes, and there are fewer ranges than half the bytes of a window.
const MAX_WINDOW_BYTES: u64 = 4 * WINDOW_BYTES as u64;
/// How many points a search for intact windows may go back. Members are longer than a few bytes, so a few points span
/// 32 KiB.
const MAX_STEPS_BACK: usize = 1024;

/// A table of restart points, complete or still growing. Any number of threads can read it while the pass adds points.
#[derive(Debug)]
pub(crate) struct Restarts(Table);

#[derive(Debug)]
enum Table {
    Growing(RwLock<GrowingTable>),
    Complete(Parts),
}

#[derive(Debug, Default)]
struct GrowingTable {
    records: Vec<u8>,
    windows: Vec<u8>,
    frontier: Frontier,
}

/// How far the table reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Frontier {
    /// Number of inflated bytes.
    pub(crate) inflated: u64,
    /// The bit of the compressed file at which they end.
    pub(crate) bit: u64,
}

/// A complete table, as stored in an index file.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    pub(crate) records: Bytes,
    /// The source of the windows, which are read on demand.
    pub(crate) windows: Arc<dyn Source>,
    /// Offset of the first window in that source.
    pub(crate) windows_start: u64,
    pub(crate) frontier: Frontier,
}

impl Parts {
    /// The range of all windows in their source.
    pub(crate) fn windows_range(&self) -> Range<u64> {
        let bytes = self.records.as_chunks().0.last().map_or(0, |last| PointRecord::read(last).window_end);
        self.in_source(0..bytes)
    }

    /// Where a part of the concatenated windows is in their source.
    fn in_source(&self, window: Range<u64>) -> Range<u64> {
        let at = |offset: u64| self.windows_start.saturating_add(offset);
        at(window.start)..at(window.end)
    }
}

/// What is needed to inflate a range.
#[derive(Debug)]
pub(super) struct Located {
    /// The range of the compressed file.
    pub(super) compressed: Range<u64>,
    /// The last point at or before the start of the range, then those inside of it.
    pub(super) points: Vec<RestartPoint>,
}

#[derive(Clone, Copy)]
struct PointRecord {
    inflated: u64,
    block: u64,
    window_end: u64,
    delta: u32,
    window_crc32c: u32,
}

impl Restarts {
    /// An empty table.
    pub(crate) fn growing() -> Self {
        Self(Table::Growing(RwLock::default()))
    }

    /// A table that was saved by an earlier pass.
    pub(crate) fn complete(parts: Parts) -> Self {
        Self(Table::Complete(parts))
    }

    /// How far the data can be read.
    pub(crate) fn frontier(&self) -> Frontier {
        match &self.0 {
            Table::Growing(table) => table.read().unwrap_or_else(PoisonError::into_inner).frontier,
            Table::Complete(parts) => parts.frontier,
        }
    }

    /// Adds a point; `window` is the output of [`write_window`]. Does nothing to a complete table.
    ///
    /// # Errors
    /// If the point is more than 512 MiB after the start of its block. Encoders end a block after a few dozen
    /// kilobytes, when their buffer is full.
    pub(super) fn push(&self, inflated: u64, position: BitPosition, window: &[u8]) -> Result<()> {
        let far = |_| Error::limit("a deflate block is longer than 512 MiB").at_offset(inflated);
        let delta = u32::try_from(position.symbol - position.block).map_err(far)?;
        if let Table::Growing(table) = &self.0 {
            let mut table = table.write().unwrap_or_else(PoisonError::into_inner);
            table.windows.extend_from_slice(window);
            let window_end = table.windows.len() as u64;
            for bytes in [inflated.to_le_bytes(), position.block.to_le_bytes(), window_end.to_le_bytes()] {
                table.records.extend_from_slice(&bytes);
            }
            for word in [delta, crc32c::crc32c(window)] {
                table.records.extend_from_slice(&word.to_le_bytes());
            }
        }
        Ok(())
    }

    /// Sets how far the data can be read with the points added so far.
    pub(super) fn advance(&self, frontier: Frontier) {
        if let Table::Growing(table) = &self.0 {
            table.write().unwrap_or_else(PoisonError::into_inner).frontier = frontier;
        }
    }

    /// Total size of the windows so far.
    pub(super) fn window_bytes(&self) -> u64 {
        match &self.0 {
            Table::Growing(table) => table.read().unwrap_or_else(PoisonError::into_inner).windows.len() as u64,
            Table::Complete(_) => 0,
        }
    }

    /// A copy of the table as it is now.
    pub(crate) fn parts(&self) -> Parts {
        match &self.0 {
            Table::Complete(parts) => parts.clone(),
            Table::Growing(table) => {
                let table = table.read().unwrap_or_else(PoisonError::into_inner);
                Parts {
                    records: Bytes::copy_from_slice(&table.records),
                    windows: Arc::new(MemorySource::new(table.windows.clone())),
                    windows_start: 0,
                    frontier: table.frontier,
                }
            }
        }
    }

    /// What is needed to inflate `range`.
    pub(super) fn locate(&self, range: &Range<u64>) -> Result<Located> {
        self.locate_with(range, None)
    }

    /// The same, with windows that have been read already: the bytes of a range of their source.
    pub(super) fn locate_with(&self, range: &Range<u64>, known: Option<(Range<u64>, Bytes)>) -> Result<Located> {
        match &self.0 {
            Table::Growing(table) => {
                let table = table.read().unwrap_or_else(PoisonError::into_inner);
                locate(&table.records, table.frontier, range, |window| {
                    let window = table.windows.get(window.start as usize..window.end as usize);
                    Ok(Bytes::copy_from_slice(window.ok_or_else(invalid_table)?))
                })
            }
            Table::Complete(parts) => locate(&parts.records, parts.frontier, range, |window| {
                let window = parts.in_source(window);
                match &known {
                    Some((held, bytes)) if held.start <= window.start && window.end <= held.end => {
                        let at = |offset: u64| (offset - held.start) as usize;
                        Ok(bytes.slice(at(window.start)..at(window.end)))
                    }
                    _ => parts.windows.read(window),
                }
            }),
        }
    }

    /// What has to be read to inflate `range`. It reads nothing, and is only a guess: [`locate`](Self::locate) goes
    /// further back if a window is damaged.
    pub(super) fn outline(&self, range: &Range<u64>) -> Option<Outline> {
        match &self.0 {
            Table::Growing(table) => {
                let table = table.read().unwrap_or_else(PoisonError::into_inner);
                let (compressed, _) = outline(&table.records, table.frontier, range)?;
                Some(Outline { compressed, windows: None })
            }
            Table::Complete(parts) => {
                let (compressed, windows) = outline(&parts.records, parts.frontier, range)?;
                Some(Outline { compressed, windows: Some(parts.in_source(windows)) })
            }
        }
    }

    /// The source of the windows, if they have to be read.
    pub(super) fn windows(&self) -> Option<&Arc<dyn Source>> {
        match &self.0 {
            Table::Growing(_) => None,
            Table::Complete(parts) => Some(&parts.windows),
        }
    }
}

/// What has to be read to inflate a range.
pub(super) struct Outline {
    /// The range of the compressed file.
    pub(super) compressed: Range<u64>,
    /// The range of the windows in their source, if they have to be read.
    pub(super) windows: Option<Range<u64>>,
}

/// The range of the compressed file that contains a range, and where its windows are among all windows.
fn outline(records: &[u8], frontier: Frontier, range: &Range<u64>) -> Option<(Range<u64>, Range<u64>)> {
    let records = records.as_chunks::<RECORD_BYTES>().0;
    let first = partition_point(records, |record| record.inflated <= range.start).checked_sub(1)?;
    let end = partition_point(records, |record| record.inflated < range.end).max(first + 1);
    let windows = window_start(records, first)..PointRecord::read(&records[end - 1]).window_end;
    let compressed = compressed_range(records, first, end, frontier).ok()?;
    (!range.is_empty() && windows.start <= windows.end).then_some((compressed, windows))
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
    let mut first = past.checked_sub(1).ok_or_else(invalid_table)?;
    let end = partition_point(records, |record| record.inflated < range.end).max(past);
    let read_point = |index| read_point(records, index, &read_window);
    let mut points = (first..end).map(read_point).collect::<Result<VecDeque<_>>>()?;
    let furthest = first.saturating_sub(MAX_STEPS_BACK);
    while !can_decode(&points) {
        first = first.checked_sub(1).filter(|&first| first >= furthest).ok_or_else(invalid_table)?;
        points.push_front(read_point(first)?);
    }
    let points = Vec::from(points);
    // The code below relies on the order, which a forged table may not have.
    let ordered = points.windows(2).all(|pair| pair[0].inflated < pair[1].inflated);
    let bounded = |point: &RestartPoint| point.inflated <= range.start || point.inflated < range.end;
    if !ordered || points[0].inflated > range.start || !points.iter().all(bounded) {
        return Err(invalid_table());
    }
    Ok(Located { compressed: compressed_range(records, first, end, frontier)?, points })
}

/// The bytes from the block of point `first` to point `end`, or to the frontier.
fn compressed_range(
    records: &[[u8; RECORD_BYTES]],
    first: usize,
    end: usize,
    frontier: Frontier,
) -> Result<Range<u64>> {
    let end_bit = match records.get(end).map(PointRecord::read) {
        Some(record) => record.block.checked_add(u64::from(record.delta)).ok_or_else(invalid_table)?,
        None => frontier.bit,
    };
    let start = PointRecord::read(&records[first]).block / 8;
    Ok(start..end_bit.div_ceil(8).max(start))
}

/// Where the window of a point begins: at the end of the one before.
fn window_start(records: &[[u8; RECORD_BYTES]], index: usize) -> u64 {
    index.checked_sub(1).map_or(0, |before| PointRecord::read(&records[before]).window_end)
}

/// Reads a record and its window.
fn read_point(
    records: &[[u8; RECORD_BYTES]],
    index: usize,
    read_window: &impl Fn(Range<u64>) -> Result<Bytes>,
) -> Result<RestartPoint> {
    let record = PointRecord::read(&records[index]);
    let window_start = window_start(records, index);
    let size = record.window_end.checked_sub(window_start).filter(|&size| size <= MAX_WINDOW_BYTES);
    size.ok_or_else(invalid_table)?;
    let symbol = record.block.checked_add(u64::from(record.delta)).ok_or_else(invalid_table)?;
    let window = read_window(window_start..record.window_end)?;
    Ok(RestartPoint {
        inflated: record.inflated,
        position: BitPosition { block: record.block, symbol },
        window: (crc32c::crc32c(&window) == record.window_crc32c).then_some(window),
    })
}

/// Whether decoding from the first point gives the right bytes: it has its window, and at each later point either the
/// window is there or the 32 KiB before the point have been decoded.
fn can_decode(points: &VecDeque<RestartPoint>) -> bool {
    let Some(first) = points.front() else { return true };
    let decodes = |point: &RestartPoint| {
        let is_decoded = point.inflated.saturating_sub(first.inflated) >= WINDOW_BYTES as u64 || first.inflated == 0;
        point.window.is_some() || is_decoded
    };
    first.window.is_some() && points.iter().all(decodes)
}

fn partition_point(records: &[[u8; RECORD_BYTES]], is_before: impl Fn(PointRecord) -> bool) -> usize {
    records.partition_point(|bytes| is_before(PointRecord::read(bytes)))
}

impl PointRecord {
    fn read(bytes: &[u8; RECORD_BYTES]) -> Self {
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        let half = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        Self { inflated: word(0), block: word(8), window_end: word(16), delta: half(24), window_crc32c: half(28) }
    }
}

//! Annotation statistics in an index file: one column per number.
//!
//! Most of an index is six numbers per annotation, and SA-1B has a billion annotations. Opening a set therefore reads
//! only the columns that its filter uses. A column holds little-endian numbers; the column of ids, which is seldom
//! read, holds the differences as postcard varints. Each column has a checksum; bytes that do not match it are an
//! error.

use std::ops::Range;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::annotation::{AnnotationStats, ScoreColumns};

/// Lengths and checksums of the columns of an index file, in file order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Columns {
    rows: u64,
    columns: Vec<Column>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Column {
    bytes: u64,
    crc32c: u32,
}

impl Columns {
    /// Encodes the statistics; returns the description of the columns, and their bytes.
    pub(super) fn encode(stats: &[AnnotationStats]) -> (Self, Vec<u8>) {
        let ids = stats.iter().scan(0_i64, |last, row| {
            let step = row.id.wrapping_sub(*last);
            *last = row.id;
            Some(step)
        });
        // Encoding numbers cannot fail.
        let ids = postcard::to_stdvec(&ids.collect::<Vec<_>>()).unwrap_or_default();
        let column = |number: fn(&AnnotationStats) -> [u8; 4]| stats.iter().flat_map(number).collect::<Vec<u8>>();
        let parts = [
            ids,
            column(|row| row.predicted_iou.to_le_bytes()),
            column(|row| row.stability_score.to_le_bytes()),
            // An image has fewer than 2^32 pixels, so a mask does as well.
            column(|row| (row.area as u32).to_le_bytes()),
            column(|row| row.box_width.to_le_bytes()),
            column(|row| row.box_height.to_le_bytes()),
        ];
        let describe = |part: &Vec<u8>| Column { bytes: part.len() as u64, crc32c: crc32c::crc32c(part) };
        (Self { rows: stats.len() as u64, columns: parts.iter().map(describe).collect() }, parts.concat())
    }

    /// Bytes of all columns; `None` if the sum overflows.
    pub(super) fn bytes(&self) -> Option<u64> {
        self.columns.iter().try_fold(0_u64, |sum, column| sum.checked_add(column.bytes))
    }

    /// The numbers of the wanted columns, and where they are in a file in which the first column begins at `start`.
    ///
    /// # Errors
    /// If the description is not one of such columns.
    pub(super) fn ranges(&self, start: u64, wanted: ScoreColumns) -> Result<Vec<(usize, Range<u64>)>, String> {
        let ScoreColumns { id, predicted_iou, stability_score, area, box_sides } = wanted;
        let is_wanted = [id, predicted_iou, stability_score, area, box_sides, box_sides];
        let is_full_column = |column: &Column| Some(column.bytes) == self.rows.checked_mul(4);
        let fits = self.columns.len() == is_wanted.len() && self.columns[1..].iter().all(is_full_column);
        // A varint has at least one byte, so there are no more rows than bytes.
        if !fits || self.columns[0].bytes < self.rows {
            return Err("its columns do not have the expected length".to_owned());
        }
        let mut at = start;
        let ranges = self.columns.iter().map(|column| {
            let range = at..at.saturating_add(column.bytes);
            at = range.end;
            range
        });
        let numbered: Vec<_> = ranges.enumerate().collect();
        Ok(numbered.into_iter().filter(|(number, _)| is_wanted[*number]).collect())
    }

    /// The statistics in these columns. The other numbers become 0.
    pub(super) fn decode<'a>(
        &self,
        columns: impl Iterator<Item = (usize, &'a Bytes)>,
    ) -> Result<Vec<AnnotationStats>, String> {
        let mut stats = vec![AnnotationStats::default(); self.rows as usize];
        for (number, bytes) in columns {
            if crc32c::crc32c(bytes) != self.columns[number].crc32c {
                return Err("the checksum of a column does not match".to_owned());
            }
            fill(&mut stats, number, bytes).ok_or("a column cannot be decoded")?;
        }
        Ok(stats)
    }
}

/// Sets the numbers of one column.
fn fill(stats: &mut [AnnotationStats], number: usize, bytes: &[u8]) -> Option<()> {
    if number == 0 {
        let steps: Vec<i64> = postcard::from_bytes(bytes).ok()?;
        let mut id = 0_i64;
        for (row, step) in stats.iter_mut().zip(&steps) {
            id = id.wrapping_add(*step);
            row.id = id;
        }
        return (steps.len() == stats.len()).then_some(());
    }
    let words = bytes.as_chunks().0.iter().copied();
    let set: fn(&mut AnnotationStats, [u8; 4]) = match number {
        1 => |row, word| row.predicted_iou = f32::from_le_bytes(word),
        2 => |row, word| row.stability_score = f32::from_le_bytes(word),
        3 => |row, word| row.area = u64::from(u32::from_le_bytes(word)),
        4 => |row, word| row.box_width = f32::from_le_bytes(word),
        _ => |row, word| row.box_height = f32::from_le_bytes(word),
    };
    stats.iter_mut().zip(words).for_each(|(row, word)| set(row, word));
    Some(())
}

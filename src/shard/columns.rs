//! Scores in a sidecar, one column for each number, so that opening a set reads only those its filter asks for. Comes
//! in: stats. Goes out: bytes and their place; and from these the stats again. Fails on bytes that are not what was
//! written.
//!
//! Six numbers times a billion annotations are what an index mostly is. Columns are little-endian numbers one after the
//! other; ids, which few ask for, are postcard's varints of the differences.

use std::io::{Read, Seek, SeekFrom};

use serde::{Deserialize, Serialize};

use crate::annotation::{AnnotationStats, ScoreColumns};

/// What a sidecar says of its columns, in the order in which they stand there.
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
    /// The columns of these stats, and what to say of them.
    pub(super) fn encode(stats: &[AnnotationStats]) -> (Self, Vec<u8>) {
        let ids = stats.iter().scan(0_i64, |last, score| {
            let step = score.id.wrapping_sub(*last);
            *last = score.id;
            Some(step)
        });
        // Numbers only: encoding cannot fail.
        let ids = postcard::to_stdvec(&ids.collect::<Vec<_>>()).unwrap_or_default();
        let column = |number: fn(&AnnotationStats) -> [u8; 4]| stats.iter().flat_map(number).collect::<Vec<u8>>();
        let parts = [
            ids,
            column(|score| score.predicted_iou.to_le_bytes()),
            column(|score| score.stability_score.to_le_bytes()),
            // An image has less than 2^32 pixels, and no mask more than its image.
            column(|score| (score.area as u32).to_le_bytes()),
            column(|score| score.box_width.to_le_bytes()),
            column(|score| score.box_height.to_le_bytes()),
        ];
        let say = |part: &Vec<u8>| Column { bytes: part.len() as u64, crc32c: crc32c::crc32c(part) };
        (Self { rows: stats.len() as u64, columns: parts.iter().map(say).collect() }, parts.concat())
    }

    /// Bytes of all columns; `None` if that is too many to be true.
    pub(super) fn bytes(&self) -> Option<u64> {
        self.columns.iter().try_fold(0_u64, |sum, column| sum.checked_add(column.bytes))
    }

    /// Reads the wanted columns, which begin at `start` and lie within the file. The other numbers are 0.
    pub(super) fn read(
        &self,
        file: &mut (impl Read + Seek),
        start: u64,
        wanted: ScoreColumns,
    ) -> Result<Vec<AnnotationStats>, String> {
        let ScoreColumns { id, predicted_iou, stability_score, area, box_sides } = wanted;
        let is_wanted = [id, predicted_iou, stability_score, area, box_sides, box_sides];
        let is_row_of_numbers = |column: &Column| Some(column.bytes) == self.rows.checked_mul(4);
        let fits = self.columns.len() == is_wanted.len() && self.columns[1..].iter().all(is_row_of_numbers);
        // A varint has at least a byte, so the rows are no more than the file's bytes.
        if !fits || self.columns[0].bytes < self.rows {
            return Err("its columns are not as long as they should be".to_owned());
        }
        let mut stats = vec![AnnotationStats::default(); self.rows as usize];
        let mut at = start;
        for (number, (column, is_wanted)) in self.columns.iter().zip(is_wanted).enumerate() {
            if is_wanted {
                let mut bytes = Vec::new();
                file.seek(SeekFrom::Start(at)).map_err(|e| e.to_string())?;
                Read::by_ref(file).take(column.bytes).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
                if crc32c::crc32c(&bytes) != column.crc32c {
                    return Err("the checksum of a column does not fit".to_owned());
                }
                fill(&mut stats, number, &bytes).ok_or("a column cannot be decoded")?;
            }
            at += column.bytes;
        }
        Ok(stats)
    }
}

/// Sets the numbers of one column.
fn fill(stats: &mut [AnnotationStats], number: usize, bytes: &[u8]) -> Option<()> {
    if number == 0 {
        let steps: Vec<i64> = postcard::from_bytes(bytes).ok()?;
        let mut id = 0_i64;
        for (score, step) in stats.iter_mut().zip(&steps) {
            id = id.wrapping_add(*step);
            score.id = id;
        }
        return (steps.len() == stats.len()).then_some(());
    }
    let words = bytes.as_chunks().0.iter().copied();
    let set: fn(&mut AnnotationStats, [u8; 4]) = match number {
        1 => |score, word| score.predicted_iou = f32::from_le_bytes(word),
        2 => |score, word| score.stability_score = f32::from_le_bytes(word),
        3 => |score, word| score.area = u64::from(u32::from_le_bytes(word)),
        4 => |score, word| score.box_width = f32::from_le_bytes(word),
        _ => |score, word| score.box_height = f32::from_le_bytes(word),
    };
    stats.iter_mut().zip(words).for_each(|(score, word)| set(score, word));
    Some(())
}

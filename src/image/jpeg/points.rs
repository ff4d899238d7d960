//! Where the rows of units of a sequential JPEG begin, so that decoding can start at any of them.
//!
//! A code cannot be read before those before it have been, and a first coefficient is a difference to the one before.
//! Whoever has read an image once knows, for each row of units, the bit that it begins with and the coefficients before
//! it: then a crop takes no time for what lies above it.

use serde::{Deserialize, Serialize};

/// The places where the rows of units begin in the image data of a JPEG of one sequential scan: all rows but the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowPoints(pub(super) Vec<RowPoint>);

/// The place of one row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RowPoint {
    /// Bits of the unstuffed data before it.
    pub(super) position: u64,
    /// Its first byte in the scan's data, as that is in the file.
    pub(super) byte: u64,
    /// The first coefficient of each component's latest block.
    pub(super) before: [i16; 3],
}

/// A point as it is stored: differences to the one before.
#[derive(Serialize, Deserialize)]
struct Step {
    bits: u64,
    /// Bytes in the file that are no data: those of stuffing and markers.
    stuffing: u64,
    before: [i16; 3],
}

impl RowPoints {
    /// The point of a row of units, counted from 0; `None` for the first row, and if there is no such row.
    pub(super) fn row(&self, row: usize) -> Option<RowPoint> {
        self.0.get(row.checked_sub(1)?).copied()
    }

    /// Whether there are points for an image of so many rows.
    pub(super) fn is_of(&self, rows: usize) -> bool {
        self.0.len() + 1 == rows
    }

    /// The points in few bytes: about seven each.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut last = RowPoint::default();
        let steps: Vec<Step> = self
            .0
            .iter()
            .map(|point| {
                let bits = point.position - last.position;
                let stuffing = point.byte - last.byte - (point.position / 8 - last.position / 8);
                let before = std::array::from_fn(|i| point.before[i].wrapping_sub(last.before[i]));
                last = *point;
                Step { bits, stuffing, before }
            })
            .collect();
        // Encoding numbers cannot fail.
        postcard::to_stdvec(&steps).unwrap_or_default()
    }

    /// What [`RowPoints::to_bytes`] made; `None` for bytes that it does not make.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (steps, rest): (Vec<Step>, _) = postcard::take_from_bytes(bytes).ok()?;
        let mut last = RowPoint::default();
        let points = steps.into_iter().map(|step| {
            let position = last.position.checked_add(step.bits)?;
            let bytes = (position / 8 - last.position / 8).checked_add(step.stuffing)?;
            let byte = last.byte.checked_add(bytes)?;
            let before = std::array::from_fn(|i| last.before[i].wrapping_add(step.before[i]));
            last = RowPoint { position, byte, before };
            Some(last)
        });
        let points: Option<Vec<_>> = points.collect();
        points.filter(|points| rest.is_empty() && !points.is_empty()).map(Self)
    }
}

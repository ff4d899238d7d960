//! Reads an image once to learn where its rows begin.

use super::decode::{Decoding, KnownTables, Progress, Rows, Scratch, decode_one};
use super::picture::Picture;
use super::points::{RowPoint, RowPoints};
use crate::image::simd::Simd;

impl RowPoints {
    /// Reads all codes of a JPEG. `None` if it is not of one sequential scan of one or three components, has only one
    /// row of units, or is damaged.
    pub fn of(jpeg: &[u8]) -> Option<Self> {
        let picture = Picture::read(jpeg).ok()?;
        let (mut known, simd) = (KnownTables::default(), Simd::best());
        // Nothing is shown, so the scale does not matter.
        let mut layout = known.layout(&picture, 3)?;
        layout.show_nothing();
        let mut raw = RawPosition { data: picture.scans.first()?.data, ..RawPosition::default() };
        let mut decoding = Decoding::new(&picture, layout, simd, Scratch::default(), None).ok()?;
        let mut points = Vec::new();
        loop {
            decode_one(&mut decoding, &known, simd);
            match decoding.take(&mut NoRows).ok()? {
                Progress::InRow => {}
                Progress::EndOfRow => {
                    let (position, before) = decoding.place();
                    let byte = raw.of(position / 8)? as u64;
                    points.push(RowPoint { position: position as u64, byte, before });
                }
                Progress::Done => break,
            }
        }
        (!points.is_empty()).then_some(Self(points))
    }
}

/// Takes no rows: none is shown.
struct NoRows;

impl Rows for NoRows {
    fn next_row(&mut self) -> [&mut [u8]; 3] {
        [&mut [], &mut [], &mut []]
    }

    fn row_written(&mut self) {}
}

/// Finds bytes of the unstuffed data in the scan's data, in ascending order.
#[derive(Default)]
struct RawPosition<'a> {
    data: &'a [u8],
    raw: usize,
    unstuffed: usize,
}

impl RawPosition<'_> {
    /// Where the `wanted`-th byte of the unstuffed data is.
    fn of(&mut self, wanted: usize) -> Option<usize> {
        loop {
            let rest = self.data.get(self.raw..)?;
            let fill = rest.iter().take_while(|&&byte| byte == 0xff).count();
            let (is_data, length) = match (fill, rest.get(fill)) {
                (0, Some(_)) => (true, 1),
                (_, Some(0)) => (true, fill + 1),
                // A restart marker.
                (_, Some(_)) => (false, fill + 1),
                (_, None) => return None,
            };
            if is_data {
                if self.unstuffed == wanted {
                    return Some(self.raw);
                }
                self.unstuffed += 1;
            }
            self.raw += length;
        }
    }
}

//! The orientation that a camera noted in EXIF.

use super::segments::{APP1, EOI, SOS, body, next_marker};

const ORIENTATION: u16 = 0x0112;
const SHORT: u16 = 3;

/// EXIF's orientation of a JPEG, 1 to 8: 1 is upright, 3 is turned by 180 degrees, 5 to 8 have width and height
/// swapped. Nothing where there is no such entry. Reads the header only, and no more of it than is whole.
pub fn orientation(jpeg: &[u8]) -> Option<u8> {
    let mut at = 2;
    loop {
        let next = next_marker(jpeg, at)?;
        if matches!(next.marker, SOS | EOI) {
            return None;
        }
        let body = body(jpeg, next.ends)?;
        if next.marker == APP1
            && let Some(tiff) = body.strip_prefix(b"Exif\0\0")
        {
            return in_tiff(tiff);
        }
        at = next.ends + 2 + body.len();
    }
}

fn in_tiff(tiff: &[u8]) -> Option<u8> {
    let little = match tiff.get(..4)? {
        b"II*\0" => true,
        b"MM\0*" => false,
        _ => return None,
    };
    let short = |at: usize| {
        let pair = [*tiff.get(at)?, *tiff.get(at.checked_add(1)?)?];
        Some(if little { u16::from_le_bytes(pair) } else { u16::from_be_bytes(pair) })
    };
    let (low, high) = if little { (4, 6) } else { (6, 4) };
    let directory = usize::from(short(high)?) << 16 | usize::from(short(low)?);
    let entries = usize::from(short(directory)?);
    let entry = (0..entries).map(|entry| directory + 2 + 12 * entry).find(|&at| short(at) == Some(ORIENTATION))?;
    let value = short(entry + 8).filter(|_| short(entry + 2) == Some(SHORT))?;
    u8::try_from(value).ok().filter(|value| (1..=8).contains(value))
}

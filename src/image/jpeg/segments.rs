//! The segments of a JPEG, found as libjpeg finds them.

use memchr::memchr;

use super::foreign;
use crate::{Error, Result};

/// A marker, with the bytes that belong to it.
pub(super) struct Segment<'a> {
    pub(super) marker: u8,
    /// What follows the length.
    pub(super) body: &'a [u8],
    /// Behind the start of a scan: its image data. Otherwise empty.
    pub(super) data: &'a [u8],
    /// Offset of `data` in the file.
    pub(super) data_at: usize,
}

pub(super) const DHT: u8 = 0xc4;
pub(super) const DAC: u8 = 0xcc;
pub(super) const RST0: u8 = 0xd0;
pub(super) const RST7: u8 = 0xd7;
pub(super) const SOI: u8 = 0xd8;
pub(super) const EOI: u8 = 0xd9;
pub(super) const SOS: u8 = 0xda;
pub(super) const DQT: u8 = 0xdb;
pub(super) const DRI: u8 = 0xdd;
pub(super) const APP0: u8 = 0xe0;
pub(super) const APP1: u8 = 0xe1;
pub(super) const APP14: u8 = 0xee;
pub(super) const COM: u8 = 0xfe;
pub(super) const TEM: u8 = 0x01;

/// The segments from the first to the end marker.
///
/// # Errors
/// If `jpeg` is another format, has no end marker, or has bytes behind a scan that belong to no segment.
pub(super) fn segments(jpeg: &[u8]) -> Result<Vec<Segment<'_>>> {
    foreign::refuse(jpeg)?;
    let cut = || Error::corrupt(format!("jpeg: cut short: no end marker in {} bytes", jpeg.len()));
    let mut found: Vec<Segment<'_>> = Vec::new();
    let (mut at, mut restarts, mut scans) = (2, false, 0_u32);
    loop {
        let next = next_marker(jpeg, at).ok_or_else(cut)?;
        // Stray bytes before the first scan harm nobody: what they replaced is missed if it is needed. Behind a scan,
        // they are data that should have been decoded.
        if next.begins > at && scans > 0 {
            let stray = next.begins - at;
            return Err(Error::corrupt(format!(
                "jpeg: damaged: {stray} bytes at byte {at} belong to no scan and no segment"
            )));
        }
        at = next.ends;
        match next.marker {
            EOI if scans == 0 => return Err(Error::corrupt("jpeg: it ends before any image data")),
            EOI => return Ok(found),
            // A few encoders end the last interval of a scan with a restart marker too. It means nothing there.
            TEM | RST0..=RST7 => continue,
            SOI => return Err(Error::corrupt(format!("jpeg: a second JPEG begins at byte {}", next.begins))),
            _ => {}
        }
        let body = body(jpeg, at).ok_or_else(cut)?;
        at += 2 + body.len();
        if next.marker == DRI {
            restarts = body.iter().any(|&byte| byte != 0);
        }
        let data = match next.marker {
            SOS => image_data(&jpeg[at..], restarts).ok_or_else(cut)?,
            _ => &[],
        };
        found.push(Segment { marker: next.marker, body, data, data_at: at });
        at += data.len();
        scans += u32::from(next.marker == SOS);
    }
}

/// What follows the length at `at`, or nothing if the file ends before.
pub(super) fn body(jpeg: &[u8], at: usize) -> Option<&[u8]> {
    let length = jpeg.get(at..at + 2)?;
    let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
    jpeg.get(at + 2..at + length.max(2))
}

/// A marker, and where it and its fill bytes begin and end.
pub(super) struct Marker {
    pub(super) marker: u8,
    begins: usize,
    pub(super) ends: usize,
}

/// The first marker at or behind `at`. A zero behind 0xff makes it data.
pub(super) fn next_marker(jpeg: &[u8], mut at: usize) -> Option<Marker> {
    loop {
        let begins = at + memchr(0xff, jpeg.get(at..)?)?;
        let fill = jpeg[begins..].iter().position(|&byte| byte != 0xff)?;
        at = begins + fill + 1;
        match jpeg[at - 1] {
            0 => {}
            marker => return Some(Marker { marker, begins, ends: at }),
        }
    }
}

/// The image data that `rest` begins with: all up to a marker that does not belong to it.
fn image_data(rest: &[u8], restarts: bool) -> Option<&[u8]> {
    let mut at = 0;
    loop {
        let next = next_marker(rest, at)?;
        if !(restarts && matches!(next.marker, RST0..=RST7)) {
            return Some(&rest[..next.begins]);
        }
        at = next.ends;
    }
}

//! The buffer that JPEG codecs decode into, and the check of the size they find.

use super::jpeg::{Derived, Picture, frame_size, orientation};
use crate::{Error, Result};

/// Interleaved RGB, 3 bytes a pixel, row by row.
#[derive(Default)]
pub(super) struct Pixels {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) bytes: Vec<u8>,
}

impl Pixels {
    /// Sets the size and returns the bytes to write. They hold earlier pixels.
    pub(super) fn reset(&mut self, width: u32, height: u32) -> &mut [u8] {
        (self.width, self.height) = (width, height);
        self.bytes.resize(width as usize * height as usize * 3, 0);
        &mut self.bytes
    }
}

/// Refuses a file that is no JPEG, has no end, or is not of the size that its annotations say. Its image data is not
/// decoded.
pub(crate) fn check_header(jpeg: &[u8], annotated: (u32, u32)) -> Result<()> {
    check_size(Picture::read(jpeg)?.size(), annotated, jpeg)
}

/// The (width, height) that the annotations of a JPEG should say, according to itself: that of its frame header, or
/// that of the original of a derived one. `head` are its bytes up to the frame header or more; `None` if it has none
/// there.
pub fn own_size(head: &[u8]) -> Option<(u32, u32)> {
    let size = frame_size(head)?;
    Some(Derived::read(head).map_or(size, |derived| (derived.original_width, derived.original_height)))
}

/// Checks the size of a JPEG against its annotations, without reading its image data.
///
/// # Errors
/// If the frame header is not in `head`, or says another size.
pub fn check_head(head: &[u8], annotated: (u32, u32)) -> Result<()> {
    let no_frame = || Error::corrupt("jpeg: damaged: it has no frame header, which tells its size");
    check_size(frame_size(head).ok_or_else(no_frame)?, annotated, head)
}

/// Refuses a JPEG of `found` pixels whose annotations were made for another size: unless it says of itself that it was
/// derived from an image of that size, both must be the same.
pub(super) fn check_size(found: (u32, u32), annotated: (u32, u32), jpeg: &[u8]) -> Result<()> {
    let name = |(width, height): (u32, u32)| format!("{width} x {height}");
    let Some(derived) = Derived::read(jpeg) else {
        return if found == annotated { Ok(()) } else { Err(other_size(found, annotated, jpeg)) };
    };
    let (size, original) = ((derived.width, derived.height), (derived.original_width, derived.original_height));
    if original != annotated {
        return Err(Error::corrupt(format!(
            "jpeg: the image says that it is derived from one of {}, but its annotations say {}: it is not theirs; \
             derive the shard again from the originals, or remove the comment from the JPEG if the annotations are in \
             its own pixels",
            name(original),
            name(annotated)
        )));
    }
    if size != found {
        return Err(Error::corrupt(format!(
            "jpeg: the image is {}, but says that it is {}, derived from {}: it was changed since; derive the shard \
             again from the originals",
            name(found),
            name(size),
            name(original)
        )));
    }
    Ok(())
}

/// The error of an image that is not derived. EXIF may explain it.
fn other_size(found: (u32, u32), annotated: (u32, u32), jpeg: &[u8]) -> Error {
    let ((w, h), (aw, ah)) = (found, annotated);
    let sizes = format!("jpeg: the image is {w} x {h}, but its annotations say {aw} x {ah}");
    let swapped = orientation(jpeg).filter(|orientation| *orientation >= 5 && (w, h) == (ah, aw));
    Error::corrupt(match swapped {
        Some(orientation) => format!(
            "{sizes}: its EXIF orientation, {orientation}, turns it, and EXIF is ignored here; turn its pixels \
             (`jpegtran` or `exiftran` can) or annotate the unturned image"
        ),
        None => sizes,
    })
}

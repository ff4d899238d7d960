//! The buffer that JPEG codecs decode into, and the check of the size they find.

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

/// Refuses a JPEG whose size is not the one its annotations were made for. `orientation` is asked where EXIF may
/// explain it.
pub(super) fn check_size(
    found: (u32, u32),
    annotated: (u32, u32),
    orientation: impl FnOnce() -> Option<u8>,
) -> Result<()> {
    if found == annotated {
        return Ok(());
    }
    let ((w, h), (aw, ah)) = (found, annotated);
    let sizes = format!("jpeg: the image is {w} x {h}, but its annotations say {aw} x {ah}");
    let swapped = orientation().filter(|orientation| *orientation >= 5 && (w, h) == (ah, aw));
    Err(Error::corrupt(match swapped {
        Some(orientation) => format!(
            "{sizes}: its EXIF orientation, {orientation}, turns it, and EXIF is ignored here; turn its pixels \
             (`jpegtran` or `exiftran` can) or annotate the unturned image"
        ),
        None => sizes,
    }))
}

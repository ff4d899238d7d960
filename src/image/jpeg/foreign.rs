//! Names what a member is that is not a JPEG, by its first bytes.

use crate::{Error, Result};

/// First bytes, where they are, and the format they belong to. The first that fits counts.
const FORMATS: [(usize, &[u8], &str); 21] = [
    (0, b"\x89PNG", "a PNG"),
    (8, b"WEBP", "a WebP"),
    (0, b"GIF8", "a GIF"),
    (0, b"II*\0", "a TIFF"),
    (0, b"MM\0*", "a TIFF"),
    (4, b"ftypavif", "an AVIF"),
    (4, b"ftypavis", "an AVIF"),
    (4, b"ftyphei", "a HEIC"),
    (4, b"ftyphev", "a HEIC"),
    (4, b"ftypmif1", "a HEIF"),
    (4, b"jP  ", "a JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000"),
    (4, b"JXL ", "a JPEG XL"),
    (0, b"\xff\x0a", "a JPEG XL"),
    (0, b"BM", "a BMP"),
    (0, b"\x1f\x8b", "a gzip file"),
    (0, b"PK\x03\x04", "a zip file"),
    (0, b"%PDF", "a PDF"),
    (0, b"version https://git-lfs", "a Git LFS pointer"),
    (0, b"<svg", "an SVG"),
    (0, b"<?xml", "an XML file"),
];

/// Refuses what does not begin as a JPEG does, and says what it is.
pub(super) fn refuse(member: &[u8]) -> Result<()> {
    if member.starts_with(b"\xff\xd8") {
        return Ok(());
    }
    let refused = |why: String| Err(Error::corrupt(format!("not a jpeg: {why}")));
    if member.is_empty() {
        return refused("the member is empty; get it again".to_owned());
    }
    if member.iter().all(|&byte| byte == 0) {
        return refused(format!("all of its {} bytes are zeros; get it again", member.len()));
    }
    let begins = |(at, magic, _): &&(usize, &[u8], &str)| member.get(*at..).is_some_and(|rest| rest.starts_with(magic));
    if let Some((.., name)) = FORMATS.iter().find(begins) {
        return refused(format!("it begins as {name} does; convert it to a JPEG, or get it again"));
    }
    let text = member.trim_ascii_start().get(..5).unwrap_or_default().to_ascii_lowercase();
    if matches!(text.as_slice(), b"<html" | b"<!doc") {
        return refused("it is an HTML page, perhaps the error page of a server; get it again".to_owned());
    }
    let first: Vec<String> = member.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    refused(format!("it begins with the bytes {}, where a JPEG has ff d8", first.join(" ")))
}

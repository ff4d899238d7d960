//! What a derived JPEG says of itself, in a comment: that it was made from a larger one, how, and from which one.
//!
//! The comment is in the file, so whoever copies it, packs it again or indexes it anew knows of it. It is one line:
//!
//! ```text
//! maskstream derived (lossy): 683 x 1024 from 1500 x 2250, quality 90, original crc32c 0123abcd
//! ```

use super::segments::{COM, EOI, SOS, body, next_marker};

/// What a JPEG says of the larger one that it was made from. The image is lossy: it was resized and encoded once more.
/// Its annotations are those of the original, in the pixels of the original.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Derived {
    /// Width of this JPEG in pixels.
    pub width: u32,
    /// Height of this JPEG in pixels.
    pub height: u32,
    /// Width of the original in pixels.
    pub original_width: u32,
    /// Height of the original in pixels.
    pub original_height: u32,
    /// The JPEG quality that it was encoded with, 1 to 100.
    pub quality: u8,
    /// CRC-32C of the original's bytes.
    pub original_crc32c: u32,
}

const START: &str = "maskstream derived (lossy): ";
/// The comment is looked for in that many bytes, which an index pass keeps of each image.
pub(crate) const HEAD_BYTES: usize = 1024;

impl Derived {
    /// What a JPEG says of itself, from its bytes or only the first `HEAD_BYTES` of them.
    pub(crate) fn read(jpeg: &[u8]) -> Option<Self> {
        let head = &jpeg[..jpeg.len().min(HEAD_BYTES)];
        let mut at = head.starts_with(b"\xff\xd8").then_some(2)?;
        loop {
            let next = next_marker(head, at)?;
            if matches!(next.marker, SOS | EOI) {
                return None;
            }
            let body = body(head, next.ends)?;
            if next.marker == COM
                && let Some(derived) = Self::parse(body)
            {
                return Some(derived);
            }
            at = next.ends + 2 + body.len();
        }
    }

    fn parse(comment: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(comment).ok()?;
        let mut words = text.strip_prefix(START)?.split([' ', ',']).filter(|word| !word.is_empty());
        let mut number = |at: usize| words.nth(at)?.parse::<u32>().ok();
        let (width, height) = (number(0)?, number(1)?);
        let (original_width, original_height) = (number(1)?, number(1)?);
        let quality = u8::try_from(number(1)?).ok()?;
        let original_crc32c = u32::from_str_radix(words.nth(2)?, 16).ok()?;
        let derived = Self { width, height, original_width, original_height, quality, original_crc32c };
        // Nothing else is said, and nothing in other words.
        (derived.comment() == text && derived.is_plausible()).then_some(derived)
    }

    /// Whether its numbers can be those of a derived JPEG.
    pub(crate) fn is_plausible(&self) -> bool {
        let is_side = |side: &u32| (1..=u32::from(u16::MAX)).contains(side);
        [self.width, self.height, self.original_width, self.original_height].iter().all(is_side)
            && (1..=100).contains(&self.quality)
    }

    fn comment(&self) -> String {
        let Self { width, height, original_width, original_height, quality, original_crc32c } = self;
        format!(
            "{START}{width} x {height} from {original_width} x {original_height}, quality {quality}, original crc32c \
             {original_crc32c:08x}"
        )
    }

    /// Writes the comment into a JPEG that an encoder has made: behind its first segment, which is JFIF's.
    #[cfg(feature = "derive")]
    pub(crate) fn write(&self, jpeg: &mut Vec<u8>) {
        let mut comment = Vec::new();
        super::picture::segment(COM, &[self.comment().as_bytes()], &mut comment);
        let jfif = body(jpeg, 4).filter(|_| jpeg.starts_with(b"\xff\xd8\xff\xe0"));
        let at = jfif.map_or(2, |body| 6 + body.len());
        jpeg.splice(at..at, comment);
    }
}

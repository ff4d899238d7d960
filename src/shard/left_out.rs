//! Counts of the samples that indexing leaves out, by cause.

use std::fmt;
use std::ops::AddAssign;

/// Samples that the shards hold but a set does not use, because of what indexing found. Each is counted once.
///
/// ```
/// use maskstream::index::LeftOut;
///
/// let mut left_out = LeftOut::default();
/// assert_eq!(left_out.total(), 0);
/// left_out.broken_annotations = 2;
/// left_out.images_without_annotations = 1;
/// assert_eq!(left_out.total(), 3);
/// assert_eq!(left_out.to_string(), "1 image without annotations, 2 with broken annotations");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeftOut {
    /// Images without a JSON member of their name.
    pub images_without_annotations: u64,
    /// Annotations without an image of their name.
    pub annotations_without_image: u64,
    /// Samples whose JSON member cannot be parsed.
    pub broken_annotations: u64,
    /// Samples in the part of a shard that cannot be read: estimated from its size, unless an earlier index has their
    /// number.
    pub unreadable: u64,
    /// Samples of a gzip stream that no checksum vouches for, because the stream is damaged behind them. They are used
    /// only on request: see [`ShardSetBuilder::use_unverified`](crate::ShardSetBuilder::use_unverified).
    pub unverified: u64,
}

impl LeftOut {
    /// All samples that are left out.
    pub fn total(&self) -> u64 {
        self.images_without_annotations.saturating_add(self.annotations_without_image).saturating_add(self.damaged())
    }

    /// Samples that are left out because a shard is damaged. [`OnCorrupt::Skip`](crate::OnCorrupt::Skip) limits them.
    pub fn damaged(&self) -> u64 {
        self.broken_annotations.saturating_add(self.unreadable).saturating_add(self.unverified)
    }

    fn by_cause(&self) -> [(u64, &'static str, &'static str); 5] {
        [
            (self.images_without_annotations, "image without annotations", "images without annotations"),
            (self.annotations_without_image, "without an image", "without an image"),
            (self.broken_annotations, "with broken annotations", "with broken annotations"),
            (self.unreadable, "in unreadable parts", "in unreadable parts"),
            (self.unverified, "unverified", "unverified"),
        ]
    }
}

impl AddAssign for LeftOut {
    fn add_assign(&mut self, other: Self) {
        let sum = |to: &mut u64, more: u64| *to = to.saturating_add(more);
        sum(&mut self.images_without_annotations, other.images_without_annotations);
        sum(&mut self.annotations_without_image, other.annotations_without_image);
        sum(&mut self.broken_annotations, other.broken_annotations);
        sum(&mut self.unreadable, other.unreadable);
        sum(&mut self.unverified, other.unverified);
    }
}

/// Lists the causes that occur.
impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let causes = self.by_cause().into_iter().filter(|(count, ..)| *count > 0);
        for (i, (count, one, many)) in causes.enumerate() {
            write!(f, "{}{count} {}", if i == 0 { "" } else { ", " }, if count == 1 { one } else { many })?;
        }
        Ok(())
    }
}

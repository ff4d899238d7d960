//! One row of an index. Comes in: nothing. Goes out: the types that say where a sample lies. Fails where bytes are not
//! those that were indexed.

use std::ops::Range;

use crate::source::{Inflater, Source};
use crate::{Error, Result};

/// A sample's place in a [`ShardSet`](super::ShardSet).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SampleId {
    /// Index of the shard in the set.
    pub shard: u32,
    /// Index of the entry in the shard.
    pub entry: u32,
}

/// The bytes of a member in its shard, and their checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Offset of the first byte from the start of the shard.
    pub offset: u64,
    /// Length in bytes.
    pub len: u32,
    /// crc32c of the bytes.
    pub crc32c: u32,
}

impl Extent {
    /// The bytes as a range of shard offsets.
    pub fn range(&self) -> Range<u64> {
        self.offset..self.offset + u64::from(self.len)
    }

    /// What was indexed must be what was read.
    pub(crate) fn verify(&self, bytes: &[u8]) -> Result<()> {
        let found = crc32c::crc32c(bytes);
        if bytes.len() as u64 == u64::from(self.len) && found == self.crc32c {
            return Ok(());
        }
        let text = format!(
            "{} bytes with crc32c {found:08x}, but the index says {} bytes with {:08x}: the data changed \
             since it was indexed",
            bytes.len(),
            self.len,
            self.crc32c
        );
        Err(Error::corrupt(text))
    }
}

/// One sample: an image and its annotations.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// Id of the image, from its annotations.
    pub image_id: i64,
    /// Width of the image in pixels.
    pub width: u32,
    /// Height of the image in pixels.
    pub height: u32,
    /// The JPEG.
    pub image: Extent,
    /// The json.
    pub annotations: Extent,
    /// The members' names without `.jpg` and `.json`, where they are not `./sa_<image_id>`: eleven million equal names
    /// are not kept.
    pub(super) stem: Option<Box<str>>,
    /// The image's extension, where it is not `jpg`.
    pub(super) extension: Option<Box<str>>,
}

impl Entry {
    /// Reads both members: they must be what was indexed.
    pub(crate) fn verify(&self, source: &dyn Source, inflater: &mut Inflater) -> Result<()> {
        for extent in [self.annotations, self.image] {
            extent.verify(source.fetch(extent.range())?.inflate(inflater)?)?;
        }
        Ok(())
    }

    /// The image member's name in the shard.
    pub fn image_name(&self) -> String {
        format!("{}.{}", self.stem(), self.extension.as_deref().unwrap_or("jpg"))
    }

    /// The json member's name in the shard.
    pub fn annotations_name(&self) -> String {
        format!("{}.json", self.stem())
    }

    /// Bytes of both members.
    pub(super) fn bytes(&self) -> u64 {
        u64::from(self.image.len) + u64::from(self.annotations.len)
    }

    /// Where its second member ends.
    pub(super) fn end(&self) -> u64 {
        self.image.range().end.max(self.annotations.range().end)
    }

    fn stem(&self) -> String {
        self.stem.as_deref().map_or_else(|| usual_stem(self.image_id), str::to_owned)
    }
}

/// How the official shards name the members of an image.
pub(super) fn usual_stem(image_id: i64) -> String {
    format!("./sa_{image_id}")
}

//! Index entries: the place of one sample in its shard. Bytes that do not match their entry are an error.

use std::ops::Range;

use crate::image::Derived;
use crate::source::{Inflater, Source};
use crate::{Error, Result};

/// The id of a sample in a [`ShardSet`](super::ShardSet).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SampleId {
    /// Index of the shard in the set.
    pub shard: u32,
    /// Index of the entry in the shard.
    pub entry: u32,
}

/// The byte range of a member in its shard, and the checksum of its bytes. In a gzip shard, offsets count inflated
/// bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Extent {
    /// Offset of the first byte from the start of the shard.
    pub offset: u64,
    /// Length in bytes.
    pub len: u32,
    /// CRC-32C of the bytes.
    pub crc32c: u32,
}

impl Extent {
    /// The range of shard offsets.
    pub fn range(&self) -> Range<u64> {
        self.offset..self.offset + u64::from(self.len)
    }

    /// Checks that the bytes are those that were indexed.
    pub(crate) fn verify(&self, bytes: &[u8]) -> Result<()> {
        let found = crc32c::crc32c(bytes);
        if bytes.len() as u64 == u64::from(self.len) && found == self.crc32c {
            return Ok(());
        }
        let text = format!(
            "{} bytes with crc32c {found:08x}, but the index has {} bytes with {:08x}: the data has changed since it \
             was indexed; build the index again (Indexer::rebuild)",
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
    /// Width of the image in pixels, from its annotations.
    pub width: u32,
    /// Height of the image in pixels, from its annotations.
    pub height: u32,
    /// The JPEG member.
    pub image: Extent,
    /// The JSON member.
    pub annotations: Extent,
    /// What the JPEG says of itself, if it is a derived one; in a box, because nearly all are not.
    pub(super) derived: Option<Box<Derived>>,
    /// The members' names without extension; `None` for `./sa_<image_id>`, to save the memory of eleven million names.
    pub(super) stem: Option<Box<str>>,
    /// The image's extension; `None` for `jpg`.
    pub(super) extension: Option<Box<str>>,
}

impl Entry {
    /// Reads both members and checks that they are those that were indexed.
    pub(crate) fn verify(&self, source: &dyn Source, inflater: &mut Inflater) -> Result<()> {
        for extent in [self.annotations, self.image] {
            extent.verify(source.fetch(extent.range())?.inflate(inflater)?)?;
        }
        Ok(())
    }

    /// What the JPEG says of itself if it is a derived one: smaller than the image that was annotated, and lossy.
    pub fn derived(&self) -> Option<&Derived> {
        self.derived.as_deref()
    }

    /// Width and height of the JPEG in pixels: those of the image, or the smaller ones of a derived JPEG.
    pub fn stored_size(&self) -> (u32, u32) {
        self.derived().map_or((self.width, self.height), |derived| (derived.width, derived.height))
    }

    /// Name of the image member.
    pub fn image_name(&self) -> String {
        format!("{}.{}", self.stem(), self.extension.as_deref().unwrap_or("jpg"))
    }

    /// Name of the JSON member.
    pub fn annotations_name(&self) -> String {
        format!("{}.json", self.stem())
    }

    /// Bytes of both members.
    pub(super) fn bytes(&self) -> u64 {
        u64::from(self.image.len) + u64::from(self.annotations.len)
    }

    /// Offset of the end of the second of its members.
    pub(super) fn end(&self) -> u64 {
        self.image.range().end.max(self.annotations.range().end)
    }

    fn stem(&self) -> String {
        self.stem.as_deref().map_or_else(|| usual_stem(self.image_id), str::to_owned)
    }
}

/// The member names of an image in the official shards, without extension.
pub(super) fn usual_stem(image_id: i64) -> String {
    format!("./sa_{image_id}")
}

//! How thoroughly shards are verified.

use serde::{Deserialize, Serialize};

/// Each level includes the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::cli) enum Level {
    /// Structure of the tar, pairs of image and json, what the json says, size of each JPEG: seconds per shard
    ///
    /// Reads the headers of a plain tar, its json, and the head of each JPEG. Of a gzip shard it reads the index, and
    /// compares 16 samples with it; a gzip shard without an index has to be read whole, and is indexed.
    Header,
    /// Every byte is read, and compared with all checksums there are
    ///
    /// Those of the gzip stream (CRC-32 and length), and those of the members in the index, if there is one: a plain
    /// tar without an index has checksums for its headers only.
    Crc,
    /// Every mask and every image is decoded as well, to its last code
    Full,
}

impl Level {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Crc => "crc",
            Self::Full => "full",
        }
    }
}

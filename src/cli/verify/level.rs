//! How thoroughly shards are verified.

use serde::{Deserialize, Serialize};

/// Each level includes the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::cli) enum Level {
    /// Structure, pairs of image and json, what the json says, size of each JPEG
    Header,
    /// Every byte is read, and compared with all checksums there are
    Crc,
    /// Every mask and every image is decoded, to its last code
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

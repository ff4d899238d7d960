//! What is known of one shard once it has an index.

use std::path::PathBuf;

use super::{Finding, IndexStatus};

/// What is known of one shard after opening.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ShardReport {
    /// Path or name.
    pub path: PathBuf,
    /// Length of the shard's file in bytes.
    pub shard_bytes: u64,
    /// Whether it is a gzip stream: offsets are then those of the inflated stream.
    pub is_gzip: bool,
    /// How its index came to be.
    pub status: IndexStatus,
    /// Samples found.
    pub samples: usize,
    /// Annotations found.
    pub annotations: usize,
    /// Samples that pass the filter, were selected, and are not quarantined.
    pub kept_samples: usize,
    /// Samples that would have been kept but for the quarantine list.
    pub quarantined_samples: usize,
    /// Annotations that pass the filter, in kept samples and others.
    pub kept_annotations: usize,
    /// Samples lost to damage, as far as that can be told.
    pub missing_samples: u64,
    /// Everything that did not fit.
    pub findings: Vec<Finding>,
}

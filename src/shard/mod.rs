//! Shards: tar files, plain or gzip streams, and where their samples lie. Comes in: paths or sources. Goes out: a
//! [`ShardSet`], the samples of many shards that pass a filter, each with the ranges of its image and its annotations.
//! Fails where a shard cannot be read or, unless told otherwise, is damaged.
//!
//! Members stand in any order; image and annotations of a sample may be a whole shard apart. One pass over a shard
//! finds the pairs and writes what it found to a sidecar file, so that it is made once. Samples can be had while that
//! pass goes on.

mod columns;
mod entry;
mod finding;
mod growing;
mod index;
mod indexed;
mod options;
mod paths;
mod quarantine;
mod repack;
mod salvage;
mod scan;
mod set;
mod sidecar;

pub use entry::{Entry, Extent, SampleId};
pub use finding::{Finding, FindingKind};
pub(crate) use growing::{LiveSet, Position, Samples};
pub use index::ShardIndex;
pub use indexed::IndexedShard;
pub use options::{OnCorrupt, ShardSetBuilder};
pub use paths::resolve_patterns;
pub use quarantine::Quarantine;
pub(crate) use quarantine::QuarantineLog;
pub use repack::{IfExists, RepackReport};
pub(crate) use set::MaxSampleSize;
pub use set::{ShardReport, ShardSet};
pub use sidecar::{IndexStatus, Sidecar};

//! Shards: tar files, plain or gzip streams, and where their samples lie. Comes in: paths or sources. Goes out: a
//! [`ShardSet`], the samples of many shards that pass a filter, each with the ranges of its image and its annotations.
//! Fails where a shard cannot be read or, unless told otherwise, is damaged.
//!
//! Members stand in any order; image and annotations of a sample may be a whole shard apart. One pass over a shard
//! finds the pairs and writes what it found to a sidecar file, so that it is made once. Samples can be had while that
//! pass goes on.

mod builder;
mod columns;
mod entry;
mod finding;
mod index;
mod indexed;
mod indexer;
mod lazy;
mod on_corrupt;
mod paths;
mod quarantine;
mod repack;
mod report;
mod salvage;
mod samples;
mod scan;
mod set;
mod sidecar;
mod stored;

pub use builder::ShardSetBuilder;
pub use entry::{Entry, Extent, SampleId};
pub use finding::{Finding, FindingKind};
pub(crate) use index::PassObserver;
pub use index::ShardIndex;
pub use indexed::IndexedShard;
pub(crate) use indexed::{Unindexed, catch_panic};
pub use indexer::Indexer;
pub use lazy::LazyShardSet;
pub(crate) use lazy::{Opened, PartlyIndexed, no_index};
pub use on_corrupt::OnCorrupt;
pub use paths::resolve_patterns;
pub use quarantine::Quarantine;
pub(crate) use quarantine::QuarantineLog;
pub use repack::{IfExists, RepackReport};
pub use report::ShardReport;
pub(crate) use samples::Samples;
pub use set::ShardSet;
pub(crate) use set::{MaxSampleSize, Shard};
pub use sidecar::{IndexStatus, Sidecar};

//! Shards: tar files, plain or gzip streams, and where their samples lie. Comes in: paths or sources. Goes out: a
//! [`ShardSet`], the samples of many shards that pass a filter, each with the ranges of its image and its annotations.
//! Fails where a shard cannot be read or, unless told otherwise, is damaged.
//!
//! Members stand in any order; image and annotations of a sample may be a whole shard apart. One pass over a shard
//! finds the pairs and writes what it found to a sidecar file, so that it is made once. Samples can be had while that
//! pass goes on.

mod columns;
mod entry;
mod growing;
mod index;
mod indexed;
mod options;
mod paths;
mod problem;
mod quarantine;
mod repack;
mod salvage;
mod scan;
mod set;
mod sidecar;

pub use entry::{Entry, Extent, SampleId};
pub(crate) use growing::{GrowingSet, Position, Samples};
pub use index::ShardIndex;
pub use indexed::IndexedShard;
pub use options::{OnDamage, ShardSetOptions};
pub use paths::expand;
pub use problem::{Problem, ProblemKind};
pub use quarantine::Quarantine;
pub(crate) use quarantine::QuarantineLog;
pub use repack::{Existing, Repacked};
pub(crate) use set::Largest;
pub use set::{ShardReport, ShardSet};
pub use sidecar::{Origin, Sidecar};

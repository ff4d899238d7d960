//! Shards: tar files, plain or gzip streams, and the places of their samples.
//!
//! Paths or sources become a [`ShardSet`]: the samples of many shards that pass a filter, each with the byte ranges of
//! its image and its annotations. A shard that cannot be read is an error; so is a damaged one, unless [`OnCorrupt`]
//! accepts it.
//!
//! Members may come in any order: a sample's image and annotations may be a whole shard apart. One pass over a shard
//! finds the pairs and saves them in an index file (the sidecar), so that no later run needs the pass. Samples can be
//! read while the pass is still running.

mod braces;
mod build;
mod builder;
mod columns;
mod contents;
#[cfg(feature = "derive")]
mod derive;
mod entry;
mod finding;
mod index;
mod indexed;
mod indexer;
mod lazy;
mod left_out;
mod names;
mod on_corrupt;
mod output;
mod pack;
mod pairing;
mod paths;
mod pool;
mod quarantine;
#[cfg(feature = "remote")]
mod remote_paths;
mod repack;
mod repeated;
mod report;
mod row_points;
mod salvage;
mod samples;
mod scan;
mod set;
mod sidecar;
mod sniff;
mod stored;
mod totals;
mod whole;

pub use braces::expand as expand_braces;
pub use builder::ShardSetBuilder;
#[cfg(feature = "derive")]
pub use derive::DeriveReport;
pub use entry::{Entry, Extent, SampleId};
pub use finding::{Finding, FindingKind};
pub(crate) use index::PassObserver;
pub use index::{ReadMember, ShardIndex};
pub use indexed::IndexedShard;
pub(crate) use indexed::{Unindexed, catch_panic};
pub use indexer::Indexer;
pub use lazy::LazyShardSet;
pub(crate) use lazy::{Opened, PartlyIndexed, no_index};
pub use left_out::LeftOut;
pub use on_corrupt::OnCorrupt;
pub use output::IfExists;
pub use pack::{BadSample, PackPlan, PackReport, Packer, PlannedShard, Stray, StrayKind};
pub use paths::resolve_patterns;
pub(crate) use quarantine::QuarantineLog;
pub use quarantine::{Quarantine, quarantine_line};
pub use repack::RepackReport;
pub use repeated::RepeatedImages;
pub use report::ShardReport;
pub use row_points::RowPointsReport;
pub(crate) use samples::Samples;
pub use set::ShardSet;
pub(crate) use set::{MaxSampleSize, Shard};
pub use sidecar::{IndexStatus, Sidecar};
pub(crate) use totals::ShardTotals;
pub use whole::{Renamed, WholeShard, outline, read_whole};

//! The trait [`Samples`]: what a loader needs from a set of shards, whether the shards have an index or are being
//! indexed.

use std::path::PathBuf;
use std::sync::Arc;

use super::{Entry, Extent, SampleId, ShardSet, ShardTotals};
use crate::Result;
use crate::annotation::AnnotationSelector;
use crate::image::RowPoints;
use crate::source::Source;

/// A set of samples that can be read by id.
pub(crate) trait Samples: Send + Sync + std::fmt::Debug {
    /// The index row of a sample.
    fn entry(&self, id: SampleId) -> Option<Entry>;
    /// The bytes that the index of a shard refers to.
    fn source(&self, shard: u32) -> Result<Arc<dyn Source>>;
    /// Where the rows of a JPEG begin, if that has been saved.
    fn row_points(&self, _shard: u32, _image: Extent) -> Option<RowPoints> {
        None
    }
    /// The path or name of a shard.
    fn path(&self, shard: u32) -> Option<PathBuf>;
    /// The rule that selects annotations of a shard's samples.
    fn selector(&self, shard: u32) -> Option<Arc<AnnotationSelector>>;
    /// Counts of the samples of all shards that have an index.
    fn totals(&self) -> ShardTotals;
}

impl Samples for ShardSet {
    fn entry(&self, id: SampleId) -> Option<Entry> {
        ShardSet::entry(self, id).cloned()
    }

    fn source(&self, shard: u32) -> Result<Arc<dyn Source>> {
        ShardSet::source(self, shard)
    }

    fn row_points(&self, shard: u32, image: Extent) -> Option<RowPoints> {
        ShardSet::row_points(self, shard, image)
    }

    fn path(&self, shard: u32) -> Option<PathBuf> {
        self.shard_path(SampleId { shard, entry: 0 }).map(Into::into)
    }

    fn selector(&self, shard: u32) -> Option<Arc<AnnotationSelector>> {
        ShardSet::selector(self, shard)
    }

    fn totals(&self) -> ShardTotals {
        ShardTotals::of(self.reports())
    }
}

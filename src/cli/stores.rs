//! The access to object stores, which all parts of a command share: what one has listed, the others know.

use std::path::{Path, PathBuf};

use maskstream::index::Indexer;
use maskstream::source::Source;
use maskstream::{Result, ShardSet, ShardSetBuilder};

#[cfg(feature = "remote")]
static REMOTE: std::sync::LazyLock<Option<maskstream::source::Remote>> =
    std::sync::LazyLock::new(|| maskstream::source::Remote::builder().build().ok());

/// What has gone over the network so far; `None` if nothing has.
#[cfg(feature = "remote")]
pub(super) fn traffic() -> Option<maskstream::source::RemoteStats> {
    REMOTE.as_ref().map(|remote| remote.stats()).filter(|stats| stats.requests > 0)
}

/// An indexer with default settings.
pub(super) fn indexer() -> Indexer {
    let indexer = Indexer::new();
    #[cfg(feature = "remote")]
    if let Some(remote) = &*REMOTE {
        return indexer.remote(remote.clone());
    }
    indexer
}

/// The default settings for opening shards.
pub(super) fn shard_set() -> ShardSetBuilder {
    let builder = ShardSet::builder();
    #[cfg(feature = "remote")]
    if let Some(remote) = &*REMOTE {
        return builder.remote(remote.clone());
    }
    builder
}

/// The shards that patterns stand for.
pub(super) fn resolve_patterns<P: AsRef<Path>>(patterns: &[P]) -> Result<Vec<PathBuf>> {
    indexer().resolve_patterns(patterns)
}

/// Opens the file of a shard.
pub(super) fn open(path: &Path) -> Result<std::sync::Arc<dyn Source>> {
    indexer().open(path)
}

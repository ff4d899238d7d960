//! Building and finding indexes: where they are kept, how shards are opened, and who is told of the progress.

use std::path::Path;
use std::sync::Arc;

use super::{OnCorrupt, Sidecar};
use crate::Result;
use crate::source::{self, Source};

pub(super) type Opener = dyn Fn(&Path) -> Result<Arc<dyn Source>> + Send + Sync;
pub(super) type Progress = dyn Fn(u64) + Send + Sync;

/// Indexes single shards, or repacks them: what `maskstream index`, `inspect` and `repack` do.
///
/// A [`ShardSet`](crate::ShardSet) indexes its own shards. An indexer is for programs that prepare shards, or look at
/// all that an index says.
///
/// ```no_run
/// use maskstream::index::{Indexer, Sidecar};
///
/// let shard = Indexer::new().sidecar(Sidecar::Dir("indexes".into())).index("sa1b/sa_000000.tar")?;
/// println!("{} samples, {} annotations", shard.index.entries().len(), shard.index.annotations());
/// for finding in shard.index.findings() {
///     println!("{finding}");
/// }
/// # Ok::<(), maskstream::Error>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct Indexer {
    pub(super) sidecar: Sidecar,
    pub(super) opener: Arc<Opener>,
    pub(super) progress: Arc<Progress>,
    pub(super) on_corrupt: OnCorrupt,
}

impl Default for Indexer {
    fn default() -> Self {
        Self {
            sidecar: Sidecar::default(),
            opener: Arc::new(|path: &Path| source::open(path)),
            progress: Arc::new(|_| {}),
            on_corrupt: OnCorrupt::default(),
        }
    }
}

impl Indexer {
    /// An indexer that keeps each index beside its shard, as `<shard>.msidx`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Where index files are kept. Default: [`Sidecar::Beside`].
    pub fn sidecar(mut self, sidecar: Sidecar) -> Self {
        self.sidecar = sidecar;
        self
    }

    /// Opens a shard's file in another way than by mapping it. The file must exist: its length and time are examined.
    pub fn opener(mut self, opener: impl Fn(&Path) -> Result<Arc<dyn Source>> + Send + Sync + 'static) -> Self {
        self.opener = Arc::new(opener);
        self
    }

    /// Called with the number of shard bytes that were indexed since the last call, from any thread.
    pub fn progress(mut self, progress: impl Fn(u64) + Send + Sync + 'static) -> Self {
        self.progress = Arc::new(progress);
        self
    }

    /// What [`Indexer::repack`] does about damaged shards; [`Indexer::index`] lists damage and never refuses it.
    /// Default: [`OnCorrupt::Stop`].
    pub fn on_corrupt(mut self, on_corrupt: OnCorrupt) -> Self {
        self.on_corrupt = on_corrupt;
        self
    }
}

impl std::fmt::Debug for Indexer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Indexer").field("sidecar", &self.sidecar).finish_non_exhaustive()
    }
}

//! Settings for indexing: where index files are kept, how shards are opened, and what receives the progress.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{OnCorrupt, Sidecar, paths};
use crate::Result;
#[cfg(feature = "remote")]
use crate::source::Remote;
use crate::source::{Source, Storage};

pub(super) type Opener = dyn Fn(&Path) -> Result<Arc<dyn Source>> + Send + Sync;
pub(super) type Progress = dyn Fn(u64) + Send + Sync;

/// Indexes single shards, repacks them, or derives smaller ones: what `maskstream index`, `inspect` and `repack` do.
///
/// A [`ShardSet`](crate::ShardSet) indexes its own shards. An indexer is for programs that prepare or inspect shards.
///
/// ```
/// # #[cfg(feature = "synth")] {
/// # use maskstream::synth::{Preset, SynthOptions, write_shards};
/// use maskstream::index::{IndexStatus, Indexer, Sidecar};
///
/// # let dir = tempfile::tempdir()?;
/// # write_shards(dir.path(), 1, &SynthOptions::new(Preset::Small).samples(3), &|_| ())?;
/// # let (path, indexes) = (dir.path().join("sa_000000.tar"), dir.path().join("indexes"));
/// let indexer = Indexer::new().sidecar(Sidecar::Dir(indexes));
/// let shard = indexer.index(&path)?; // reads the whole shard, and saves the index
/// assert_eq!(shard.index.entries().len(), 3);
/// assert!(shard.index.findings().is_empty()); // nothing is wrong with it
///
/// let again = indexer.index(&path)?; // reads the index file only
/// assert_eq!(again.status, IndexStatus::Loaded);
/// # }
/// # Ok::<(), maskstream::Error>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct Indexer {
    pub(super) sidecar: Sidecar,
    /// How shards are opened; `None`: from the storage.
    pub(super) custom_opener: Option<Arc<Opener>>,
    pub(super) storage: Storage,
    pub(super) progress: Arc<Progress>,
    pub(super) on_corrupt: OnCorrupt,
    pub(super) use_unverified: bool,
    /// Whether an index is of its shard only if time and path say so, whatever the bytes of a few samples say.
    pub(super) is_exact: bool,
    pub(super) rebuild: bool,
}

impl Default for Indexer {
    fn default() -> Self {
        Self {
            sidecar: Sidecar::default(),
            custom_opener: None,
            storage: Storage::default(),
            progress: Arc::new(|_| {}),
            on_corrupt: OnCorrupt::default(),
            use_unverified: false,
            is_exact: false,
            rebuild: false,
        }
    }
}

impl Indexer {
    /// Creates an indexer that keeps each index file next to its shard, as `<shard>.msidx`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets where index files are kept. Default: [`Sidecar::Beside`].
    pub fn sidecar(mut self, sidecar: Sidecar) -> Self {
        self.sidecar = sidecar;
        self
    }

    /// Sets how a shard's file is opened. Default: [`source::open`](crate::source::open). The file must exist, because
    /// its length and modification time are read.
    pub fn opener(mut self, opener: impl Fn(&Path) -> Result<Arc<dyn Source>> + Send + Sync + 'static) -> Self {
        self.custom_opener = Some(Arc::new(opener));
        self
    }

    /// Sets the access to object stores and web servers. Default: [`Remote::builder`]'s settings.
    ///
    /// [`Remote::builder`]: crate::source::Remote::builder
    #[cfg(feature = "remote")]
    pub fn remote(mut self, remote: Remote) -> Self {
        self.storage = remote.into();
        self
    }

    /// As the function [`resolve_patterns`](super::resolve_patterns), with this indexer's access to object stores.
    ///
    /// # Errors
    /// As the function.
    pub fn resolve_patterns<P: AsRef<Path>>(&self, patterns: &[P]) -> Result<Vec<PathBuf>> {
        paths::resolve(&self.storage, patterns)
    }

    /// Opens a shard's file, or the object of an address, as [`Indexer::index`] does.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Arc<dyn Source>> {
        self.shard_opener()(path.as_ref())
    }

    /// How a shard's file is opened.
    pub(super) fn shard_opener(&self) -> Arc<Opener> {
        let storage = self.storage.clone();
        self.custom_opener.clone().unwrap_or_else(|| Arc::new(move |path: &Path| storage.open(path)))
    }

    /// Whether [`Indexer::index`] builds an index that is up to date again. Default: `false`.
    pub fn rebuild(mut self, rebuild: bool) -> Self {
        self.rebuild = rebuild;
        self
    }

    /// Sets a function that is called, from any thread, with the number of shard bytes indexed since its last call.
    pub fn progress(mut self, progress: impl Fn(u64) + Send + Sync + 'static) -> Self {
        self.progress = Arc::new(progress);
        self
    }

    /// Sets what [`Indexer::repack`] does about damaged shards, and what deriving smaller ones does about images that
    /// cannot be decoded. [`Indexer::index`] accepts them and lists the damage.
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

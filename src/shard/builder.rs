//! The settings of a [`ShardSet`](super::ShardSet). `open` is in `set.rs`, `open_lazy` in `lazy.rs`.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use super::{Entry, Indexer, OnCorrupt, Quarantine, Sidecar};
use crate::annotation::{AnnotationSelector, AnnotationStats, IdList, MaskFilter};
use crate::source::{Source, max_open_files};
use crate::{Error, Result};

/// A shard, and the index of a gzip stream, whose windows are read on demand.
const FILES_PER_SHARD: u64 = 2;
const DEFAULT_OPEN_SHARDS: u64 = 128;
const MAX_OPEN_SHARDS: u64 = 1 << 16;

type Retain = dyn Fn(&Entry) -> bool + Send + Sync;

/// Settings for opening a [`ShardSet`](super::ShardSet), from [`ShardSet::builder`](super::ShardSet::builder).
///
/// ```
/// # #[cfg(feature = "synth")] {
/// # use maskstream::synth::{Preset, SynthOptions, write_shards};
/// use maskstream::index::Sidecar;
/// use maskstream::{IdList, MaskFilter, OnCorrupt, ShardSet};
///
/// # let dir = tempfile::tempdir()?;
/// # write_shards(dir.path(), 2, &SynthOptions::new(Preset::Small).samples(4), &|_| ())?;
/// # let (shards, indexes) = (dir.path(), dir.path().join("indexes"));
/// let set = ShardSet::builder()
///     .filter(MaskFilter::default().min_predicted_iou(0.5))
///     .ids(IdList::images([1, 2, 7])) // of the eight images, these three
///     .sidecar(Sidecar::Dir(indexes)) // the shards may be on a read-only disk
///     .on_corrupt(OnCorrupt::skip(100))
///     .open(&[shards])?;
/// assert_eq!(set.len(), 3);
/// # }
/// # Ok::<(), maskstream::Error>(())
/// ```
#[derive(Clone, Default)]
#[must_use]
pub struct ShardSetBuilder {
    pub(crate) indexer: Indexer,
    pub(crate) selector: Arc<AnnotationSelector>,
    /// `None`: all samples.
    pub(super) retain: Option<Arc<Retain>>,
    pub(super) quarantine: Arc<Quarantine>,
    /// `None`: the default.
    open_shards: Option<NonZeroUsize>,
}

impl ShardSetBuilder {
    /// Sets which annotations are used, and how many of them an image needs to be used. Default:
    /// [`MaskFilter::default`].
    ///
    /// ```
    /// # use maskstream::{MaskFilter, ShardSet};
    /// let builder = ShardSet::builder().filter(MaskFilter::default().min_stability_score(0.95).min_masks(4));
    /// ```
    pub fn filter(mut self, filter: MaskFilter) -> Self {
        Arc::make_mut(&mut self.selector).filter = filter;
        self
    }

    /// Uses only the images, or the annotations, of a list. Default: all. [`ShardSet::unmatched`] returns the images of
    /// the list that no shard has.
    ///
    /// [`ShardSet::unmatched`]: super::ShardSet::unmatched
    ///
    /// ```no_run
    /// # use maskstream::ShardSet;
    /// let builder = ShardSet::builder().ids(std::fs::read_to_string("validation.txt")?.parse()?);
    /// # Ok::<(), maskstream::Error>(())
    /// ```
    pub fn ids(mut self, ids: IdList) -> Self {
        Arc::make_mut(&mut self.selector).selection = Some(ids);
        self
    }

    /// Leaves out bad samples, from a list that
    /// [`LoaderBuilder::quarantine_log`](crate::LoaderBuilder::quarantine_log) has written. Default: none.
    ///
    /// Leaving out a sample changes the order, so a resumed epoch needs the list with which it began.
    ///
    /// ```no_run
    /// # use maskstream::{Quarantine, ShardSet};
    /// let set = ShardSet::builder().quarantine(Quarantine::load("bad.jsonl")?).open(&["sa1b/*.tar"])?;
    /// # Ok::<(), maskstream::Error>(())
    /// ```
    pub fn quarantine(mut self, quarantine: Quarantine) -> Self {
        self.quarantine = Arc::new(quarantine);
        self
    }

    /// Uses only the samples for which `retain` returns true, of those that pass the filter: a validation split, for
    /// example. Default: all. `retain` may be called more than once for a sample and must return the same each time.
    ///
    /// ```
    /// # use maskstream::ShardSet;
    /// let train = ShardSet::builder().retain(|entry| entry.image_id % 10 != 0);
    /// let held_out = ShardSet::builder().retain(|entry| entry.image_id % 10 == 0);
    /// ```
    pub fn retain(mut self, retain: impl Fn(&Entry) -> bool + Send + Sync + 'static) -> Self {
        self.retain = Some(Arc::new(retain));
        self
    }

    /// Sets where index files are kept. Default: [`Sidecar::Beside`], next to the shards.
    ///
    /// ```
    /// # use maskstream::{ShardSet, index::Sidecar};
    /// let builder = ShardSet::builder().sidecar(Sidecar::Dir("/local/indexes".into()));
    /// ```
    pub fn sidecar(mut self, sidecar: Sidecar) -> Self {
        self.indexer = self.indexer.sidecar(sidecar);
        self
    }

    /// Sets what to do about damaged shards. Default: [`OnCorrupt::Stop`].
    pub fn on_corrupt(mut self, on_corrupt: OnCorrupt) -> Self {
        self.indexer = self.indexer.on_corrupt(on_corrupt);
        self
    }

    /// Whether to use the samples of a damaged gzip shard that no checksum vouches for. A gzip stream has one checksum,
    /// at its end: if the stream is cut short, or the checksum does not match, any of its samples may be wrong, and it
    /// is not known which. Default: `false`, they are left out and counted in
    /// [`LeftOut::unverified`](crate::index::LeftOut::unverified). An index that was built when the shard was whole has
    /// a checksum for each member, so this concerns only shards that were damaged before they were indexed.
    ///
    /// ```
    /// # use maskstream::{OnCorrupt, ShardSet};
    /// let builder = ShardSet::builder().on_corrupt(OnCorrupt::KEEP).use_unverified(true);
    /// ```
    pub fn use_unverified(mut self, use_unverified: bool) -> Self {
        self.indexer.use_unverified = use_unverified;
        self
    }

    /// Sets how many shards are kept open; the least recently used one is closed first. Each takes one open file, or
    /// two if it is a gzip stream: opening more shards than the process may have open files (`ulimit -n`) is an error.
    /// Default: 128, or fewer where these would take more than half of the files.
    pub fn open_shards(mut self, max: usize) -> Self {
        self.open_shards = Some(NonZeroUsize::new(max).unwrap_or(NonZeroUsize::MIN));
        self
    }

    /// Sets how a shard's file is opened. Default: [`source::open`](crate::source::open). Other sources can read it in
    /// another way, or inject faults in a test.
    ///
    /// The file must exist, because its length and modification time are read. For shards that are not files, use
    /// [`from_sources`](Self::from_sources).
    ///
    /// ```no_run
    /// use std::sync::Arc;
    ///
    /// use maskstream::ShardSet;
    /// use maskstream::source::MemorySource;
    ///
    /// // Keep whole shards in memory.
    /// let builder = ShardSet::builder().opener(|path| Ok(Arc::new(MemorySource::new(std::fs::read(path)?))));
    /// let set = builder.open(&["small/*.tar"])?;
    /// # Ok::<(), maskstream::Error>(())
    /// ```
    pub fn opener(mut self, opener: impl Fn(&Path) -> Result<Arc<dyn Source>> + Send + Sync + 'static) -> Self {
        self.indexer = self.indexer.opener(opener);
        self
    }

    /// Sets the access to object stores and web servers, to change its settings or to share it among several sets.
    /// Default: [`Remote::builder`]'s settings, made when the first address is met.
    ///
    /// ```no_run
    /// use maskstream::ShardSet;
    /// use maskstream::source::Remote;
    ///
    /// let remote = Remote::builder().max_requests(32).build()?;
    /// let set = ShardSet::builder().remote(remote).open(&["s3://bucket/sa1b/"])?;
    /// # Ok::<(), maskstream::Error>(())
    /// ```
    ///
    /// [`Remote::builder`]: crate::source::Remote::builder
    #[cfg(feature = "remote")]
    pub fn remote(mut self, remote: crate::source::Remote) -> Self {
        self.indexer = self.indexer.remote(remote);
        self
    }

    /// Sets a function that is called, from any thread, with the number of shard bytes indexed since its last call.
    pub fn progress(mut self, progress: impl Fn(u64) + Send + Sync + 'static) -> Self {
        self.indexer = self.indexer.progress(progress);
        self
    }

    /// Checks the settings that have bounds.
    pub(super) fn check(&self) -> Result<()> {
        self.selector.filter.check()?;
        let Some(shards) = self.open_shards.map(|shards| shards.get() as u64) else { return Ok(()) };
        let most = max_open_files().map_or(MAX_OPEN_SHARDS, |files| MAX_OPEN_SHARDS.min(files / FILES_PER_SHARD));
        if shards <= most {
            return Ok(());
        }
        let of_files = max_open_files().map_or_else(String::new, |files| {
            format!(": each takes up to {FILES_PER_SHARD} of the {files} files that this process may have open")
        });
        Err(Error::config(format!(
            "open_shards is {shards}, more than {most}{of_files}; lower it, or raise the limit with `ulimit -n`"
        )))
    }

    /// How many shards are kept open.
    pub(crate) fn max_open(&self) -> NonZeroUsize {
        let half = max_open_files().map_or(u64::MAX, |files| files / FILES_PER_SHARD / 2);
        let default = NonZeroUsize::new(half.min(DEFAULT_OPEN_SHARDS) as usize).unwrap_or(NonZeroUsize::MIN);
        self.open_shards.unwrap_or(default)
    }

    /// The policy on damaged shards.
    pub(crate) fn damage_policy(&self) -> OnCorrupt {
        self.indexer.on_corrupt
    }

    /// Whether a valid sample with this number of matching annotations is kept, before the quarantine list is applied.
    pub(super) fn keeps(&self, entry: &Entry, annotations: usize) -> bool {
        self.selector.keeps_image(entry.image_id, annotations)
            && self.retain.as_ref().is_none_or(|retain| retain(entry))
    }

    /// Whether a valid sample of a verified part is used.
    pub(crate) fn admits(&self, entry: &Entry, stats: &[AnnotationStats]) -> bool {
        let count = self.selector.count(entry.image_id, stats, entry.width, entry.height);
        self.keeps(entry, count) && !self.quarantine.holds(entry)
    }
}

impl std::fmt::Debug for ShardSetBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { indexer, selector, open_shards, .. } = self;
        let mut debug = f.debug_struct("ShardSetBuilder");
        debug.field("indexer", indexer).field("filter", &selector.filter).field("open_shards", open_shards);
        debug.finish_non_exhaustive()
    }
}

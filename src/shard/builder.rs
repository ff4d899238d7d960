//! The settings of a [`ShardSet`](super::ShardSet). `open` is in `set.rs`, `open_lazy` in `lazy.rs`.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use super::{Entry, Indexer, OnCorrupt, Quarantine, Sidecar};
use crate::Result;
use crate::annotation::{AnnotationSelector, AnnotationStats, IdList, MaskFilter};
use crate::source::Source;

type Retain = dyn Fn(&Entry) -> bool + Send + Sync;

/// Settings of a [`ShardSet`](super::ShardSet); start with [`ShardSet::builder`](super::ShardSet::builder).
#[derive(Clone)]
#[must_use]
pub struct ShardSetBuilder {
    pub(crate) indexer: Indexer,
    pub(crate) selector: Arc<AnnotationSelector>,
    retain: Arc<Retain>,
    pub(super) quarantine: Arc<Quarantine>,
    pub(crate) open_shards: NonZeroUsize,
}

impl Default for ShardSetBuilder {
    fn default() -> Self {
        Self {
            indexer: Indexer::default(),
            selector: Arc::default(),
            retain: Arc::new(|_| true),
            quarantine: Arc::default(),
            open_shards: NonZeroUsize::MIN.saturating_add(127),
        }
    }
}

impl ShardSetBuilder {
    /// Which annotations count, and which images therefore enter the order. Default: [`MaskFilter::default`].
    pub fn filter(mut self, filter: MaskFilter) -> Self {
        Arc::make_mut(&mut self.selector).filter = filter;
        self
    }

    /// Only the images, or the annotations, of a list made elsewhere. Default: all.
    pub fn ids(mut self, selection: IdList) -> Self {
        Arc::make_mut(&mut self.selector).selection = Some(selection);
        self
    }

    /// Leaves out samples that are known to be bad, as
    /// [`LoaderBuilder::quarantine_log`](crate::LoaderBuilder::quarantine_log) lists them. An epoch that is resumed
    /// needs the list it began with: each sample that leaves the order changes it. Default: none.
    pub fn quarantine(mut self, quarantine: Quarantine) -> Self {
        self.quarantine = Arc::new(quarantine);
        self
    }

    /// Which samples may enter the order, beside what the filter says: a part to hold out, for one. Default: all. It
    /// may be asked more than once about a sample, and has to give the same answer.
    ///
    /// ```
    /// # use maskstream::ShardSet;
    /// let train = ShardSet::builder().retain(|entry| entry.image_id % 10 != 0);
    /// let held_out = ShardSet::builder().retain(|entry| entry.image_id % 10 == 0);
    /// ```
    pub fn retain(mut self, retain: impl Fn(&Entry) -> bool + Send + Sync + 'static) -> Self {
        self.retain = Arc::new(retain);
        self
    }

    /// Where sidecars live. Default: beside the shards.
    pub fn sidecar(mut self, sidecar: Sidecar) -> Self {
        self.indexer = self.indexer.sidecar(sidecar);
        self
    }

    /// What to do about damaged shards. Default: [`OnCorrupt::Stop`].
    pub fn on_corrupt(mut self, on_corrupt: OnCorrupt) -> Self {
        self.indexer = self.indexer.on_corrupt(on_corrupt);
        self
    }

    /// How many shards stay open at once, least recently used closed first. Default: 128.
    pub fn open_shards(mut self, most: NonZeroUsize) -> Self {
        self.open_shards = most;
        self
    }

    /// Opens a shard's bytes in another way than by mapping its file: with reads of its own, or with faults for a test.
    /// The file must be there, as its name, length and time are asked for; what is no file goes through
    /// [`from_sources`](Self::from_sources).
    pub fn opener(mut self, opener: impl Fn(&Path) -> Result<Arc<dyn Source>> + Send + Sync + 'static) -> Self {
        self.indexer = self.indexer.opener(opener);
        self
    }

    /// Called with the number of shard bytes that have become indexed since the last call, from any thread.
    pub fn progress(mut self, progress: impl Fn(u64) + Send + Sync + 'static) -> Self {
        self.indexer = self.indexer.progress(progress);
        self
    }

    /// What to do about damaged shards.
    pub(crate) fn damage_policy(&self) -> OnCorrupt {
        self.indexer.on_corrupt
    }

    /// Whether a valid sample with this number of matching annotations is kept, quarantine list aside.
    pub(super) fn keeps(&self, entry: &Entry, annotations: usize) -> bool {
        self.selector.keeps_image(entry.image_id, annotations) && (self.retain)(entry)
    }

    /// Whether a valid sample enters the order.
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

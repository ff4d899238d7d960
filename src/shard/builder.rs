//! How shards are opened. Comes in: settings. Goes out: a [`ShardSet`]. Fails as opening does.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use super::{Entry, Indexer, LazyShardSet, Quarantine, ShardReport, ShardSet, Sidecar};
use crate::annotation::{AnnotationSelector, AnnotationStats, IdList, MaskFilter};
use crate::source::Source;
use crate::{Error, Result};

/// What to do about shards that are damaged: that break off, or hold json members that cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnCorrupt {
    /// Refuse them, with the first finding as the error.
    #[default]
    Stop,
    /// Use the samples that are sound, as long as not more than `budget` are missing in all shards. How many are
    /// missing is known, or guessed from the bytes that cannot be read; it stands with the findings in
    /// [`ShardReport`].
    Skip {
        /// Samples that may be missing.
        budget: u64,
    },
}

impl OnCorrupt {
    /// Uses whatever is sound, however little that is.
    pub const KEEP: Self = Self::Skip { budget: u64::MAX };

    /// Whether the policy lets these shards pass.
    pub(crate) fn judge<'a>(self, shards: impl IntoIterator<Item = &'a ShardReport>) -> Result<()> {
        let mut missing = 0_u64;
        for shard in shards {
            missing = missing.saturating_add(shard.missing_samples);
            let Some(finding) = shard.findings.iter().find(|finding| finding.kind.is_damage()) else { continue };
            let advice = match self {
                Self::Skip { budget } if missing <= budget => continue,
                Self::Skip { budget } => {
                    format!("{missing} samples are missing by now, more than the budget of {budget}")
                }
                Self::Stop => "to use the sound samples, open with OnCorrupt::Skip".to_owned(),
            };
            return Err(Error::corrupt(format!("{}: {} ({advice})", finding.kind, finding.message))
                .in_shard(&shard.path)
                .in_member(&finding.member)
                .at_offset(finding.offset));
        }
        Ok(())
    }
}

type Retain = dyn Fn(&Entry) -> bool + Send + Sync;

/// Settings of a [`ShardSet`]; start with [`ShardSet::builder`].
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

    /// Opens the shards that `patterns` name: files, directories (for their `*.tar`) and shell patterns. Loads their
    /// indexes, builds those that are missing, in parallel on the current rayon pool, and keeps the samples that pass
    /// the filter.
    ///
    /// # Errors
    /// If a pattern matches nothing, a shard cannot be read or is damaged (see [`OnCorrupt`]), or no sample at all
    /// passes the filter.
    pub fn open<P: AsRef<Path>>(self, patterns: &[P]) -> Result<ShardSet> {
        self.selector.filter.check()?;
        let paths = super::resolve_patterns(patterns)?;
        ShardSet::open(self, paths)
    }

    /// Opens shards without waiting for indexes that are missing: the first epoch builds them. See [`LazyShardSet`].
    ///
    /// # Errors
    /// As [`ShardSetBuilder::open`], as far as that is known without reading the shards.
    pub fn open_lazy<P: AsRef<Path>>(self, patterns: &[P]) -> Result<LazyShardSet> {
        self.selector.filter.check()?;
        let paths = super::resolve_patterns(patterns)?;
        LazyShardSet::open(self, paths)
    }

    /// Takes shards that are open already, with a name for each. No sidecar is read or written.
    ///
    /// # Errors
    /// As [`ShardSetBuilder::open`], and if two have the same name.
    pub fn from_sources(self, sources: Vec<(String, Arc<dyn Source>)>) -> Result<ShardSet> {
        self.selector.filter.check()?;
        if sources.is_empty() {
            return Err(Error::config("no shards are given"));
        }
        ShardSet::from_sources(self, sources)
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

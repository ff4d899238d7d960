//! How shards are opened. Comes in: settings. Goes out: a [`ShardSet`]. Fails as opening does.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use super::{Entry, LiveSet, Quarantine, ShardReport, ShardSet, Sidecar};
use crate::annotation::{AnnotationSelector, IdList, MaskFilter};
use crate::source::{self, Source};
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

pub(super) type Opener = dyn Fn(&Path) -> Result<Arc<dyn Source>> + Send + Sync;
type Select = dyn Fn(&Entry) -> bool + Send + Sync;
pub(super) type Progress = dyn Fn(u64) + Send + Sync;

/// Settings of a [`ShardSet`]; start with [`ShardSet::builder`].
#[derive(Clone)]
#[must_use]
pub struct ShardSetBuilder {
    pub(super) wanted: Arc<AnnotationSelector>,
    pub(super) select: Arc<Select>,
    pub(super) quarantine: Arc<Quarantine>,
    pub(super) sidecar: Sidecar,
    pub(super) on_corrupt: OnCorrupt,
    pub(super) open_shards: NonZeroUsize,
    pub(super) opener: Arc<Opener>,
    pub(super) progress: Arc<Progress>,
}

impl Default for ShardSetBuilder {
    fn default() -> Self {
        Self {
            wanted: Arc::default(),
            select: Arc::new(|_| true),
            quarantine: Arc::default(),
            sidecar: Sidecar::default(),
            on_corrupt: OnCorrupt::default(),
            open_shards: NonZeroUsize::MIN.saturating_add(127),
            opener: Arc::new(source::open),
            progress: Arc::new(|_| {}),
        }
    }
}

impl ShardSetBuilder {
    /// Which annotations count, and which images therefore enter the order. Default: [`MaskFilter::default`].
    pub fn filter(mut self, filter: MaskFilter) -> Self {
        Arc::make_mut(&mut self.wanted).filter = filter;
        self
    }

    /// Only the images, or the annotations, of a list made elsewhere. Default: all.
    pub fn ids(mut self, selection: IdList) -> Self {
        Arc::make_mut(&mut self.wanted).selection = Some(selection);
        self
    }

    /// Leaves out samples that are known to be bad, as [`LoaderBuilder::quarantine_log`](crate::loader::LoaderBuilder::quarantine_log)
    /// lists them. An epoch that is resumed needs the list it began with: each sample that leaves the order changes it.
    /// Default: none.
    pub fn quarantine(mut self, quarantine: Quarantine) -> Self {
        self.quarantine = Arc::new(quarantine);
        self
    }

    /// Which samples may enter the order, beside what the filter says: a part to hold out, for one. Default: all. It may be asked more than once about a sample, and has to give the same answer.
    ///
    /// ```
    /// # use maskstream::ShardSet;
    /// let train = ShardSet::builder().retain(|entry| entry.image_id % 10 != 0);
    /// let held_out = ShardSet::builder().retain(|entry| entry.image_id % 10 == 0);
    /// ```
    pub fn retain(mut self, select: impl Fn(&Entry) -> bool + Send + Sync + 'static) -> Self {
        self.select = Arc::new(select);
        self
    }

    /// Where sidecars live. Default: beside the shards.
    pub fn sidecar(mut self, sidecar: Sidecar) -> Self {
        self.sidecar = sidecar;
        self
    }

    /// What to do about damaged shards. Default: [`OnCorrupt::Stop`].
    pub fn on_corrupt(mut self, on_corrupt: OnCorrupt) -> Self {
        self.on_corrupt = on_corrupt;
        self
    }

    /// How many shards stay open at once, least recently used closed first. Default: 128.
    pub fn open_shards(mut self, most: NonZeroUsize) -> Self {
        self.open_shards = most;
        self
    }

    /// Opens a shard's bytes in another way than by mapping its file: with reads of its own, or with faults for a test. The
    /// file must be there, as its name, length and time are asked for; what is no file goes through
    /// [`from_sources`](Self::from_sources).
    pub fn opener(mut self, opener: impl Fn(&Path) -> Result<Arc<dyn Source>> + Send + Sync + 'static) -> Self {
        self.opener = Arc::new(opener);
        self
    }

    /// Called with the number of shard bytes that have become indexed since the last call, from any thread.
    pub fn progress(mut self, progress: impl Fn(u64) + Send + Sync + 'static) -> Self {
        self.progress = Arc::new(progress);
        self
    }

    /// Whether a sample enters the order of which so many annotations count, if it is sound.
    pub(super) fn keeps(&self, entry: &Entry, annotations: usize) -> bool {
        self.wanted.keeps_image(entry.image_id, annotations) && (self.select)(entry)
    }

    /// Opens the shards that `patterns` name (see [`resolve_patterns`](super::resolve_patterns)): loads or builds their indexes, in
    /// parallel on the current rayon pool, and keeps the samples that pass the filter.
    ///
    /// # Errors
    /// If a pattern matches nothing, a shard cannot be read or is damaged (see [`OnCorrupt`]), or no sample at all passes
    /// the filter.
    pub fn open<P: AsRef<Path>>(self, patterns: &[P]) -> Result<ShardSet> {
        self.wanted.filter.check()?;
        let paths = super::resolve_patterns(patterns)?;
        ShardSet::open(self, paths)
    }

    /// The same without building indexes that are missing.
    pub(crate) fn open_growing<P: AsRef<Path>>(self, patterns: &[P]) -> Result<LiveSet> {
        self.wanted.filter.check()?;
        let paths = super::resolve_patterns(patterns)?;
        LiveSet::open(self, paths)
    }

    /// Takes shards that are open already, with a name for each. No sidecar is read or written.
    ///
    /// # Errors
    /// As [`ShardSetBuilder::open`], and if two have the same name.
    pub fn from_sources(self, sources: Vec<(String, Arc<dyn Source>)>) -> Result<ShardSet> {
        self.wanted.filter.check()?;
        if sources.is_empty() {
            return Err(Error::config("no shards are given"));
        }
        ShardSet::from_sources(self, sources)
    }
}

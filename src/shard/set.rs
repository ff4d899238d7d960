//! Many shards as one list of samples. Comes in: paths or sources, and options. Goes out: a [`ShardSet`]. Fails as
//! opening and indexing do, and when nothing is left to train on.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;
use rayon::prelude::*;

use super::indexed::{self, Built, Form, IndexedShard};
use super::options::Opener;
use super::{Entry, Origin, Problem, SampleId, ShardSetOptions};
use crate::annotation::MaskFilter;
use crate::source::Source;
use crate::{Error, Result};

/// The samples of many shards that pass a filter, numbered from 0 in the order of the shards.
pub struct ShardSet {
    shards: Vec<Shard>,
    /// Number of samples before each shard, and at the end their total.
    starts: Vec<u64>,
    filter: MaskFilter,
    open: Mutex<LruCache<u32, Arc<dyn Source>>>,
    opener: Arc<Opener>,
}

pub(super) struct Shard {
    entries: Vec<Entry>,
    report: ShardReport,
    form: Form,
}

/// What is known of one shard after opening.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ShardReport {
    /// Path or name.
    pub path: PathBuf,
    /// Length of the shard's file in bytes.
    pub shard_bytes: u64,
    /// Whether it is a gzip stream: offsets are then those of the inflated stream.
    pub is_gzip: bool,
    /// How its index came to be.
    pub origin: Origin,
    /// Samples found.
    pub samples: usize,
    /// Annotations found.
    pub annotations: usize,
    /// Samples that pass the filter and were selected.
    pub kept_samples: usize,
    /// Annotations that pass the filter, in kept samples and others.
    pub kept_annotations: usize,
    /// Samples lost to damage, as far as that can be told.
    pub missing_samples: u64,
    /// Everything that did not fit.
    pub problems: Vec<Problem>,
}

impl ShardReport {
    /// What is known before a filter has spoken: everything is kept.
    pub(super) fn of(shard: &IndexedShard) -> Self {
        let index = &shard.index;
        Self {
            path: shard.path.clone(),
            shard_bytes: shard.shard_bytes,
            is_gzip: shard.is_gzip(),
            origin: shard.origin.clone(),
            samples: index.entries().len(),
            annotations: index.annotations(),
            kept_samples: index.entries().len(),
            kept_annotations: index.annotations(),
            missing_samples: index.missing(),
            problems: index.problems().to_vec(),
        }
    }
}

impl ShardSet {
    /// Settings to open shards with.
    pub fn options() -> ShardSetOptions {
        ShardSetOptions::default()
    }

    pub(super) fn open(options: ShardSetOptions, paths: Vec<PathBuf>) -> Result<Self> {
        let shards = paths
            .into_par_iter()
            .map(|path| options.index(&path).and_then(|indexed| Shard::select(indexed, &options)))
            .collect::<Result<Vec<_>>>()?;
        Self::assemble(options, shards)
    }

    pub(super) fn from_sources(options: ShardSetOptions, sources: Vec<(String, Arc<dyn Source>)>) -> Result<Self> {
        let index = |(name, source): &(String, Arc<dyn Source>)| {
            let path = PathBuf::from(name);
            let Built { index, restarts } = indexed::build(source.as_ref(), &path, &*options.progress)?;
            let origin = Origin::Unsaved("the shard is not a file".to_owned());
            let form = restarts.map_or(Form::Plain, Form::Held);
            Shard::select(IndexedShard { path, shard_bytes: source.len(), origin, index, form }, &options)
        };
        let shards = sources.par_iter().map(index).collect::<Result<Vec<_>>>()?;
        let mut by_name = HashMap::new();
        for (name, source) in sources {
            if by_name.insert(PathBuf::from(&name), source).is_some() {
                return Err(Error::config(format!("two sources are named {name}")));
            }
        }
        let opener = move |path: &Path| {
            by_name.get(path).cloned().ok_or_else(|| Error::config(format!("no source named {}", path.display())))
        };
        Self::assemble(options.opener(opener), shards)
    }

    pub(super) fn assemble(options: ShardSetOptions, shards: Vec<Shard>) -> Result<Self> {
        options.on_damage.judge(shards.iter().map(|shard| &shard.report))?;
        let mut starts = vec![0];
        for shard in &shards {
            starts.push(starts.last().copied().unwrap_or(0) + shard.entries.len() as u64);
        }
        let set = Self {
            starts,
            filter: options.filter,
            open: Mutex::new(LruCache::new(options.open_shards)),
            opener: options.opener,
            shards,
        };
        if set.is_empty() {
            let samples: usize = set.reports().map(|report| report.samples).sum();
            return Err(Error::config(format!(
                "none of the {samples} samples in {} shards is selected and passes the filter {:?}",
                set.shards.len(),
                set.filter
            )));
        }
        Ok(set)
    }

    /// Number of samples that pass the filter.
    pub fn len(&self) -> u64 {
        self.starts.last().copied().unwrap_or(0)
    }

    /// Whether no sample passes the filter. Opening refuses such a set, so this is false.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The filter that the samples passed.
    pub fn filter(&self) -> &MaskFilter {
        &self.filter
    }

    /// What is known of each shard.
    pub fn reports(&self) -> impl ExactSizeIterator<Item = &ShardReport> {
        self.shards.iter().map(|shard| &shard.report)
    }

    /// The sample at `position`, which must be below [`ShardSet::len`].
    pub(crate) fn sample_at(&self, position: u64) -> SampleId {
        let shard = self.starts.partition_point(|&start| start <= position) - 1;
        SampleId { shard: shard as u32, entry: (position - self.starts[shard]) as u32 }
    }

    /// The index row of a sample; `None` if there is no such sample.
    pub fn entry(&self, id: SampleId) -> Option<&Entry> {
        self.shards.get(id.shard as usize)?.entries.get(id.entry as usize)
    }

    /// Path or name of the shard a sample lies in.
    pub fn shard_path(&self, id: SampleId) -> Option<&Path> {
        Some(&self.shards.get(id.shard as usize)?.report.path)
    }

    /// The bytes of a shard that its index speaks of, opened if they are not open yet: those of a plain file, or the
    /// inflated ones of a gzip stream.
    ///
    /// # Errors
    /// If the shard cannot be opened, or there is none of this index.
    pub fn source(&self, shard: u32) -> Result<Arc<dyn Source>> {
        // A panic elsewhere cannot leave the cache half-changed.
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.try_get_or_insert(shard, || {
            let none = || Error::config(format!("there is no shard {shard}"));
            self.shards.get(shard as usize).ok_or_else(none)?.open(&*self.opener)
        })
        .cloned()
    }
}

impl std::fmt::Debug for ShardSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShardSet")
            .field("shards", &self.shards.len())
            .field("samples", &self.len())
            .finish_non_exhaustive()
    }
}

impl Shard {
    /// Keeps the samples that pass the filter, if the policy on damage lets the shard pass.
    pub(super) fn select(indexed: IndexedShard, options: &ShardSetOptions) -> Result<Self> {
        let shard = Self::sound(indexed, options);
        options.on_damage.judge([&shard.report])?;
        Ok(shard)
    }

    /// Keeps the samples that pass the filter, whatever else is wrong with the shard.
    pub(super) fn sound(indexed: IndexedShard, options: &ShardSetOptions) -> Self {
        let mut report = ShardReport::of(&indexed);
        let IndexedShard { mut index, form, .. } = indexed;
        report.kept_annotations = 0;
        let mut keep = Vec::with_capacity(report.samples);
        for (i, entry) in index.entries().iter().enumerate() {
            let scores = index.scores(i);
            report.kept_annotations +=
                scores.iter().filter(|s| options.filter.keeps(s, entry.width, entry.height)).count();
            keep.push(options.keeps(entry, scores));
        }
        let mut entries = std::mem::take(&mut index.entries);
        let mut keep = keep.into_iter();
        entries.retain(|_| keep.next().unwrap_or(false));
        entries.shrink_to_fit();
        report.kept_samples = entries.len();
        Self { entries, report, form }
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(super) fn report(&self) -> &ShardReport {
        &self.report
    }

    /// Opens the bytes that the index speaks of.
    pub(super) fn open(&self, opener: &Opener) -> Result<Arc<dyn Source>> {
        let path = &self.report.path;
        let file = opener(path).map_err(|e| e.in_shard(path))?;
        let (then, now) = (self.report.shard_bytes, file.len());
        if now != then {
            let text = format!("the shard had {then} bytes when it was indexed and has {now} now");
            return Err(Error::corrupt(text).in_shard(path));
        }
        self.form.source(file).map_err(|e| e.in_shard(path))
    }
}

//! Many shards as one list of samples. Comes in: paths or sources, and options; or sets to be mixed. Goes out: a
//! [`ShardSet`]. Fails as opening and indexing do, and when nothing is left to train on.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;
use rayon::prelude::*;

use super::indexed::{self, Built, Encoding, IndexedShard};
use super::indexer::Opener;
use super::{Entry, IndexStatus, SampleId, ShardReport, ShardSetBuilder};
use crate::annotation::{AnnotationSelector, IdList};
use crate::order::{Identity, PrefixSums, SampleSpace};
use crate::source::Source;
use crate::{Error, Result};

/// The samples of many shards that pass a filter, numbered from 0 in the order of the shards.
pub struct ShardSet {
    shards: Vec<Shard>,
    /// Samples by shard.
    samples: PrefixSums,
    /// Number of shards of each set that is mixed; one set where nothing is.
    parts: Vec<usize>,
    population: SampleSpace,
    unmatched: Vec<i64>,
    open: Mutex<LruCache<u32, Arc<dyn Source>>>,
}

/// A shard's samples that enter the order.
pub(crate) struct Shard {
    entries: Vec<Entry>,
    report: ShardReport,
    form: Encoding,
    digests: Digests,
    /// Places in the selection of all its images.
    selected: Vec<u32>,
    selector: Arc<AnnotationSelector>,
    opener: Arc<Opener>,
}

/// What a shard was, in short.
#[derive(Clone, Copy)]
struct Digests {
    /// Of its file's name and length.
    file: u32,
    /// Of all samples.
    index: u32,
    /// Of those that enter the order.
    kept: u32,
}

/// What the largest of a set's samples needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MaxSampleSize {
    /// Bytes of image and annotations.
    pub(crate) sample_bytes: u64,
    /// Pixels of the image.
    pub(crate) pixels: u64,
}

impl ShardSetBuilder {
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

impl ShardSet {
    /// Settings to open shards with.
    pub fn builder() -> ShardSetBuilder {
        ShardSetBuilder::default()
    }

    pub(super) fn open(options: ShardSetBuilder, paths: Vec<PathBuf>) -> Result<Self> {
        let shards = paths
            .into_par_iter()
            .map(|path| {
                options
                    .indexer
                    .index_columns(&path, options.selector.columns())
                    .and_then(|indexed| Shard::select(indexed, &options))
            })
            .collect::<Result<Vec<_>>>()?;
        Self::assemble(options, shards)
    }

    pub(super) fn from_sources(options: ShardSetBuilder, sources: Vec<(String, Arc<dyn Source>)>) -> Result<Self> {
        let mut by_name = HashMap::new();
        for (name, source) in &sources {
            if by_name.insert(PathBuf::from(name), Arc::clone(source)).is_some() {
                return Err(Error::config(format!("two sources are named {name}")));
            }
        }
        let options = options.opener(move |path: &Path| {
            by_name.get(path).cloned().ok_or_else(|| Error::config(format!("no source named {}", path.display())))
        });
        let index = |(name, source): &(String, Arc<dyn Source>)| {
            let path = PathBuf::from(name);
            let Built { index, restarts } = indexed::build(source.as_ref(), &path, &*options.indexer.progress)?;
            let status = IndexStatus::Unsaved("the shard is not a file".to_owned());
            let form = restarts.map_or(Encoding::Plain, Encoding::Held);
            Shard::select(IndexedShard { path, shard_bytes: source.len(), status, index, form }, &options)
        };
        let shards = sources.par_iter().map(index).collect::<Result<Vec<_>>>()?;
        Self::assemble(options, shards)
    }

    pub(crate) fn assemble(options: ShardSetBuilder, shards: Vec<Shard>) -> Result<Self> {
        options.damage_policy().judge(shards.iter().map(|shard| &shard.report))?;
        let lengths = lengths(&shards);
        let set = Self {
            samples: PrefixSums::of(lengths.iter().copied()),
            parts: vec![shards.len()],
            population: SampleSpace::of_shards(&lengths),
            unmatched: unmatched(options.selector.selection.as_ref(), &shards),
            open: Mutex::new(LruCache::new(options.open_shards)),
            shards,
        };
        if set.is_empty() {
            let sum = |of: fn(&ShardReport) -> usize| set.reports().map(of).sum::<usize>();
            let quarantined = match sum(|report| report.quarantined_samples) {
                0 => String::new(),
                some => format!("; {some} that do are quarantined"),
            };
            return Err(Error::config(format!(
                "none of the {} samples in {} shards is selected and passes the filter {:?}{quarantined}",
                sum(|report| report.samples),
                set.shards.len(),
                options.selector.filter
            )));
        }
        Ok(set)
    }

    /// Several sets as one, each with a weight: its share of every epoch is its weight over the sum of all, whatever
    /// its size. An epoch has as many samples as all sets together, so a set with a share above its size comes round
    /// more than once, each time as a whole and shuffled anew; of one below it, an epoch has a part, and the next epoch
    /// goes on with the rest. Each set keeps its own filter.
    ///
    /// ```no_run
    /// # use maskstream::{Loader, ShardSet};
    /// let photos = ShardSet::builder().open(&["sa1b/*.tar"])?;
    /// let drawings = ShardSet::builder().open(&["own/*.tar"])?;
    /// let loader = Loader::builder().shuffle(7).build(ShardSet::interleave(vec![(0.8, photos), (0.2, drawings)])?)?;
    /// # Ok::<(), maskstream::Error>(())
    /// ```
    ///
    /// # Errors
    /// If no set is given, a weight is not positive, or its share is below 1/4093.
    pub fn interleave(sets: Vec<(f64, Self)>) -> Result<Self> {
        let (mut shards, mut unmatched) = (Vec::new(), Vec::new());
        let (mut weights, mut parts) = (Vec::new(), Vec::new());
        let mut open_shards = NonZeroUsize::MIN;
        for (weight, set) in sets {
            if set.parts.len() > 1 {
                return Err(Error::config("a set to be mixed is a mixture itself: give all sets and weights at once"));
            }
            open_shards = open_shards.max(set.lock().cap());
            weights.push(weight);
            parts.push(set.shards.len());
            unmatched.extend(set.unmatched);
            shards.extend(set.shards);
        }
        let lengths = lengths(&shards);
        let mut rest = lengths.as_slice();
        let of_part = |(weight, &count): (f64, &usize)| {
            let (own, others) = rest.split_at(count);
            rest = others;
            (weight, own)
        };
        let weighted: Vec<(f64, &[u64])> = weights.into_iter().zip(&parts).map(of_part).collect();
        let population = SampleSpace::mixed(&weighted)?;
        let samples = PrefixSums::of(lengths.iter().copied());
        let open = Mutex::new(LruCache::new(open_shards));
        Ok(Self { samples, parts, population, unmatched, open, shards })
    }

    /// Number of samples that pass the filter.
    pub fn len(&self) -> u64 {
        self.samples.total()
    }

    /// Whether no sample passes the filter. Opening refuses such a set, so this is false.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What an order ranges over.
    pub fn population(&self) -> &SampleSpace {
        &self.population
    }

    /// Images of the selection that no shard has.
    pub fn unmatched(&self) -> &[i64] {
        &self.unmatched
    }

    /// Which annotations of a shard's samples count.
    pub(crate) fn selector(&self, shard: u32) -> Option<Arc<AnnotationSelector>> {
        self.shards.get(shard as usize).map(|shard| Arc::clone(&shard.selector))
    }

    /// What a plan depends on.
    pub(crate) fn identity(&self) -> Identity {
        let fold = |of: fn(&Shard) -> u32| self.shards.iter().fold(0, |digest, shard| append(digest, of(shard)));
        let (mut filter, mut weights, mut done) = (0, 0, 0);
        for (count, share) in self.parts.iter().zip(self.population.shares()) {
            // Numbers only: encoding cannot fail.
            let bounds = self.shards.get(done).and_then(|shard| postcard::to_stdvec(&shard.selector.filter).ok());
            filter = crc32c::crc32c_append(filter, &bounds.unwrap_or_default());
            weights = crc32c::crc32c_append(weights, &share.to_le_bytes());
            weights = append(weights, *count as u32);
            done += count;
        }
        Identity {
            shards: self.shards.len() as u32,
            files: self.files_digest(self.shards.len()),
            index: fold(|shard| shard.digests.index),
            filter,
            samples: self.len(),
            selection: fold(|shard| shard.digests.kept),
            weights,
        }
    }

    /// A digest of the names and lengths of the first `count` shards.
    pub(crate) fn files_digest(&self, count: usize) -> u32 {
        self.shards.iter().take(count).fold(0, |digest, shard| append(digest, shard.digests.file))
    }

    /// What the largest sample needs.
    pub(crate) fn largest(&self) -> MaxSampleSize {
        let entries = self.shards.iter().flat_map(|shard| &shard.entries);
        entries.fold(MaxSampleSize::default(), |largest, entry| MaxSampleSize {
            sample_bytes: largest.sample_bytes.max(entry.bytes()),
            pixels: largest.pixels.max(u64::from(entry.width) * u64::from(entry.height)),
        })
    }

    /// Bytes of an average sample's members.
    pub(crate) fn mean_sample_bytes(&self) -> u64 {
        let entries = self.shards.iter().flat_map(|shard| &shard.entries);
        entries.map(Entry::bytes).sum::<u64>() / self.len().max(1)
    }

    /// What is known of each shard.
    pub fn reports(&self) -> impl ExactSizeIterator<Item = &ShardReport> {
        self.shards.iter().map(|shard| &shard.report)
    }

    /// The sample of a number, which must be below [`ShardSet::len`].
    pub(crate) fn sample_at(&self, number: u64) -> SampleId {
        let (shard, entry) = self.samples.find(number);
        SampleId { shard: shard as u32, entry: entry as u32 }
    }

    /// The number of one of its samples.
    pub(crate) fn number_of(&self, sample: SampleId) -> u64 {
        self.samples.before(sample.shard as usize) + u64::from(sample.entry)
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
        if let Some(source) = self.lock().get(&shard) {
            return Ok(Arc::clone(source));
        }
        let none = || Error::config(format!("there is no shard {shard}"));
        // Opening may take long, or for ever: nobody else waits for it.
        let source = self.shards.get(shard as usize).ok_or_else(none)?.opening()()?;
        self.lock().put(shard, Arc::clone(&source));
        Ok(source)
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<u32, Arc<dyn Source>>> {
        // A panic elsewhere cannot leave the cache half-changed.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Number of samples of each shard.
fn lengths(shards: &[Shard]) -> Vec<u64> {
    shards.iter().map(|shard| shard.entries.len() as u64).collect()
}

/// Images of the selection that are in no shard.
fn unmatched(selection: Option<&IdList>, shards: &[Shard]) -> Vec<i64> {
    let Some(selection) = selection else { return Vec::new() };
    let mut found = vec![false; selection.len()];
    shards.iter().flat_map(|shard| &shard.selected).for_each(|&place| found[place as usize] = true);
    let missing = selection.image_ids().iter().zip(found).filter(|(_, found)| !found);
    missing.map(|(id, _)| *id).collect()
}

fn append(digest: u32, next: u32) -> u32 {
    crc32c::crc32c_append(digest, &next.to_le_bytes())
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
    pub(crate) fn select(indexed: IndexedShard, options: &ShardSetBuilder) -> Result<Self> {
        let shard = Self::valid(indexed, options);
        options.damage_policy().judge([&shard.report])?;
        Ok(shard)
    }

    /// Keeps the samples that pass the filter, whatever else is wrong with the shard.
    pub(crate) fn valid(indexed: IndexedShard, options: &ShardSetBuilder) -> Self {
        let mut report = indexed.report();
        let IndexedShard { mut index, form, .. } = indexed;
        let selector = &options.selector;
        report.kept_annotations = 0;
        let mut keep = Vec::with_capacity(report.samples);
        let mut selected = Vec::new();
        let mut digests = Digests::of(&report, selector.selection.as_ref());
        for (i, entry) in index.entries().iter().enumerate() {
            let count = selector.count(entry.image_id, index.stats(i), entry.width, entry.height);
            report.kept_annotations += count;
            let place = selector.selection.as_ref().and_then(|selection| selection.index_of(entry.image_id));
            selected.extend(place.map(|place| place as u32));
            let is_in = options.keeps(entry, count);
            let is_bad = is_in && options.quarantine.holds(entry);
            report.quarantined_samples += usize::from(is_bad);
            keep.push(is_in && !is_bad);
            digests.add(entry, is_in && !is_bad);
        }
        let mut entries = std::mem::take(&mut index.entries);
        let mut keep = keep.into_iter();
        entries.retain(|_| keep.next().unwrap_or(false));
        entries.shrink_to_fit();
        report.kept_samples = entries.len();
        let (selector, opener) = (Arc::clone(selector), Arc::clone(&options.indexer.opener));
        Self { entries, report, form, digests, selected, selector, opener }
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(crate) fn report(&self) -> &ShardReport {
        &self.report
    }

    /// What opens the bytes that the index speaks of.
    pub(crate) fn opening(&self) -> impl FnOnce() -> Result<Arc<dyn Source>> + use<> {
        let (opener, path, form) = (Arc::clone(&self.opener), self.report.path.clone(), self.form.clone());
        let then = self.report.shard_bytes;
        move || {
            let file = opener(&path).map_err(|e| e.in_shard(&path))?;
            let now = file.len();
            if now != then {
                let text = format!("the shard had {then} bytes when it was indexed and has {now} now");
                return Err(Error::corrupt(text).in_shard(&path));
            }
            form.source(file).map_err(|e| e.in_shard(&path))
        }
    }
}

impl Digests {
    fn of(report: &ShardReport, selection: Option<&IdList>) -> Self {
        // The name alone: where the shards lie may change.
        let name = report.path.file_name().unwrap_or(report.path.as_os_str());
        let file = crc32c::crc32c(name.as_encoded_bytes());
        let file = crc32c::crc32c_append(file, &report.shard_bytes.to_le_bytes());
        Self { file, index: 0, kept: selection.map_or(0, IdList::digest) }
    }

    /// Adds a sample.
    fn add(&mut self, entry: &Entry, is_kept: bool) {
        self.index = crc32c::crc32c_append(self.index, &entry.image_id.to_le_bytes());
        for extent in [&entry.image, &entry.annotations] {
            self.index = crc32c::crc32c_append(self.index, &extent.offset.to_le_bytes());
            self.index = append(append(self.index, extent.len), extent.crc32c);
        }
        self.kept = crc32c::crc32c_append(self.kept, &[u8::from(is_kept)]);
    }
}

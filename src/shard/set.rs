//! Sets of shards: opening paths or sources, and interleaving sets. A set without samples is an error.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;
use rayon::prelude::*;

use super::indexed::{self, BuiltIndex, Encoding, IndexedShard};
use super::indexer::Opener;
use super::row_points::{self, RowPointsFile};
use super::{Entry, Extent, FindingKind, IndexStatus, RepeatedImages, SampleId, ShardReport, ShardSetBuilder, pool};
use crate::annotation::{AnnotationSelector, IdList, MaskFilter};
use crate::image::RowPoints;
use crate::order::{Identity, PrefixSums, SampleSpace};
use crate::source::{ReadAhead, Source};
use crate::{Error, ErrorKind, Result};

/// The samples of many shards that pass a filter, in the order of the shards.
///
/// ```
/// # #[cfg(feature = "synth")] {
/// # use maskstream::synth::{Preset, SynthOptions, write_shards};
/// use maskstream::{SampleId, ShardSet};
///
/// # let dir = tempfile::tempdir()?;
/// # write_shards(dir.path(), 2, &SynthOptions::new(Preset::Small).samples(4), &|_| ())?;
/// let set = ShardSet::builder().open(&[dir.path()])?; // all *.tar in the directory
/// assert_eq!(set.len(), 8);
///
/// for report in set.reports() {
///     println!("{}: {} findings", report.path.display(), report.findings.len());
/// }
/// if let Some(entry) = set.entry(SampleId { shard: 1, entry: 0 }) {
///     println!("{}: {} x {} pixels", entry.image_name(), entry.width, entry.height);
/// }
/// # }
/// # Ok::<(), maskstream::Error>(())
/// ```
pub struct ShardSet {
    shards: Vec<Shard>,
    /// Number of samples per shard.
    samples: PrefixSums,
    /// Number of shards of each interleaved set; a single number if no sets were interleaved.
    parts: Vec<usize>,
    population: SampleSpace,
    unmatched: Vec<i64>,
    repeated: RepeatedImages,
    open: Mutex<LruCache<u32, Arc<dyn Source>>>,
    /// How its shards want to be read ahead.
    read_ahead: ReadAhead,
    /// The files of row points of shards; `None` for those that have none.
    row_points: Mutex<LruCache<u32, Option<Arc<RowPointsFile>>>>,
}

/// The samples of a shard that are in the set.
pub(crate) struct Shard {
    entries: Vec<Entry>,
    report: ShardReport,
    encoding: Encoding,
    index_file: Option<PathBuf>,
    digests: Digests,
    /// A score that the filter bounds and no annotation of the shard has.
    missing_score: Option<&'static str>,
    /// Indices in the list of ids of all images that the shard has.
    selected: Vec<u32>,
    selector: Arc<AnnotationSelector>,
    opener: Arc<Opener>,
}

/// Checksums that identify a shard and its samples.
#[derive(Clone, Copy)]
struct Digests {
    /// Of its file's name and length.
    file: u32,
    /// Of all samples.
    index: u32,
    /// Of the choice of samples.
    kept: u32,
}

/// The sizes of the largest samples of a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MaxSampleSize {
    /// Bytes of image and annotations.
    pub(crate) sample_bytes: u64,
    /// Pixels of the image.
    pub(crate) pixels: u64,
}

impl ShardSetBuilder {
    /// Opens the shards that match `patterns`: files, directories (meaning their `*.tar`) and shell patterns. Loads
    /// their indexes, and builds missing ones in parallel on the current rayon pool.
    ///
    /// # Errors
    /// If a pattern matches nothing, a shard cannot be read or is damaged (see [`OnCorrupt`](super::OnCorrupt)), or no
    /// sample passes the filter.
    pub fn open<P: AsRef<Path>>(self, patterns: &[P]) -> Result<ShardSet> {
        self.check()?;
        let paths = super::paths::resolve(&self.indexer.storage, patterns)?;
        ShardSet::open(self, paths)
    }

    /// Opens shards that need not be files, each given as a name and a source. Builds their indexes every time: no
    /// index file is read or written.
    ///
    /// ```
    /// # #[cfg(feature = "synth")] {
    /// use std::sync::Arc;
    ///
    /// use maskstream::ShardSet;
    /// use maskstream::source::{MemorySource, Source};
    ///
    /// # let options = maskstream::synth::SynthOptions::new(maskstream::synth::Preset::Small);
    /// # let one = maskstream::synth::sample(1, &options)?;
    /// # let members = [("sa_1.jpg", &one.image[..]), ("sa_1.json", &one.annotations[..])];
    /// # let bytes = maskstream::synth::pack(members, false)?;
    /// let source: Arc<dyn Source> = Arc::new(MemorySource::new(bytes)); // or a source of your own
    /// let set = ShardSet::builder().from_sources(vec![("s3://bucket/sa_000000.tar".to_owned(), source)])?;
    /// assert_eq!(set.len(), 1);
    /// # }
    /// # Ok::<(), maskstream::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`ShardSetBuilder::open`], and if two sources have the same name.
    pub fn from_sources(self, sources: Vec<(String, Arc<dyn Source>)>) -> Result<ShardSet> {
        self.check()?;
        if sources.is_empty() {
            return Err(Error::config("no shards were given"));
        }
        ShardSet::from_sources(self, sources)
    }
}

impl ShardSet {
    /// Returns the default settings for opening shards.
    pub fn builder() -> ShardSetBuilder {
        ShardSetBuilder::default()
    }

    pub(super) fn open(options: ShardSetBuilder, paths: Vec<PathBuf>) -> Result<Self> {
        pool::start()?;
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
            let BuiltIndex { index, restarts } = indexed::build(source.as_ref(), &path, &*options.indexer.progress)?;
            let status = IndexStatus::Unsaved("the shard is not a file".to_owned());
            let encoding = restarts.map_or(Encoding::Plain, Encoding::GzipInMemory);
            Shard::select(
                IndexedShard { path, shard_bytes: source.len(), status, index, index_file: None, encoding },
                &options,
            )
        };
        pool::start()?;
        let shards = sources.par_iter().map(index).collect::<Result<Vec<_>>>()?;
        Self::assemble(options, shards)
    }

    pub(crate) fn assemble(options: ShardSetBuilder, shards: Vec<Shard>) -> Result<Self> {
        options.damage_policy().check(shards.iter().map(|shard| &shard.report))?;
        let lengths = lengths(&shards);
        let mut read_ahead = ReadAhead::default();
        for shard in &shards {
            read_ahead = read_ahead.max(options.indexer.storage.read_ahead(&shard.report.path)?);
        }
        // What is in a store takes no open file, and to open it again takes a while.
        let of_files = options.max_open();
        let max_open = if read_ahead.bytes > 0 { of_files.saturating_add(shards.len()) } else { of_files };
        let set = Self {
            read_ahead,
            samples: PrefixSums::of(lengths.iter().copied()),
            parts: vec![shards.len()],
            population: SampleSpace::of_shards(&lengths),
            unmatched: unmatched(options.selector.selection.as_ref(), &shards),
            repeated: RepeatedImages::find(&shards.iter().map(Shard::entries).collect::<Vec<_>>()),
            open: Mutex::new(LruCache::new(max_open)),
            row_points: Mutex::new(LruCache::new(options.max_open())),
            shards,
        };
        set.check_scores(&options)?;
        if set.is_empty() { Err(set.no_samples(&options)) } else { Ok(set) }
    }

    /// Refuses a bound on a score that no annotation has: no annotation could pass it.
    fn check_scores(&self, options: &ShardSetBuilder) -> Result<()> {
        let annotated = || self.shards.iter().filter(|shard| shard.report.annotations > 0);
        let Some(score) = annotated().next().and_then(|shard| shard.missing_score) else { return Ok(()) };
        if annotated().any(|shard| shard.missing_score != Some(score)) {
            return Ok(());
        }
        Err(Error::config(format!(
            "the annotations have no {score}, so none passes the filter ({}): switch its bound off, with \
             MaskFilter::all() or min_{score}(f32::NEG_INFINITY)",
            options.selector.filter
        )))
    }

    /// The error of a set without samples: which rules left them out, and what to do.
    fn no_samples(&self, options: &ShardSetBuilder) -> Error {
        let sum = |of: fn(&ShardReport) -> usize| self.reports().map(of).sum::<usize>();
        let (samples, shards) = (sum(|report| report.samples), self.shards.len());
        if samples == 0 {
            return Error::config(format!("there are no samples in {}", self.what_is_there()));
        }
        let unverified: u64 = self.reports().map(|report| report.left_out.unverified).sum();
        if unverified == samples as u64 {
            return Error::config(format!(
                "no checksum vouches for any of the {samples} samples in {shards} shards, because these are damaged \
                 gzip streams: download them again, or use the samples as they are, with use_unverified(true)"
            ));
        }
        let mut rules = Vec::new();
        if options.selector.filter != MaskFilter::all() {
            rules.push(format!("the filter ({})", options.selector.filter));
        }
        if options.selector.selection.is_some() {
            rules.push("the list of ids".to_owned());
        }
        if options.retain.is_some() {
            rules.push("`retain`".to_owned());
        }
        let advice = if rules.len() == 1 { "relax it" } else { "relax one of them" };
        let rules = rules.join(" and ");
        let reason = match sum(|report| report.quarantined_samples) {
            0 => format!("passes {rules}: {advice}"),
            count if count == samples => format!("is left: {count} are quarantined"),
            count => format!("is left: {count} are quarantined, and the others do not pass {rules}: {advice}"),
        };
        Error::config(format!("none of the {samples} samples in {shards} shards {reason}"))
    }

    /// What shards without samples hold.
    fn what_is_there(&self) -> String {
        let shards = match self.reports().collect::<Vec<_>>()[..] {
            [shard] => shard.path.display().to_string(),
            ref shards => format!("{} shards", shards.len()),
        };
        let findings = || self.reports().flat_map(|report| &report.findings);
        let mut kinds: Vec<FindingKind> = findings().map(|finding| finding.kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let example = |kind: FindingKind| {
            let mut found = findings().filter(|finding| finding.kind == kind);
            let Some(first) = found.next() else { return String::new() };
            let (message, more) = (first.message.split(';').next().unwrap_or_default(), found.count());
            let first = if kind.is_damage() { message } else { &first.member };
            if more > 0 { format!("{kind} ({first} and {more} more)") } else { format!("{kind} ({first})") }
        };
        let found = kinds.into_iter().map(example).collect::<Vec<_>>().join(", ");
        let has = if found.is_empty() { String::new() } else { format!(", but {found}") };
        format!("{shards}{has}: a sample is NAME.jpg and NAME.json, with the same NAME and directory")
    }

    /// Combines several sets into one. Each has a weight, and its share of every epoch is its weight divided by the sum
    /// of all weights, independent of its size.
    ///
    /// An epoch has as many samples as all sets together. A set whose share of that exceeds its size is repeated, and
    /// shuffled again each time. Of a set whose share is below its size, an epoch uses a part, and the next epoch
    /// continues with the rest. Each set keeps its own filter.
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
        // Sets may be mixed to repeat images.
        let repeated = RepeatedImages::default();
        let (mut weights, mut parts) = (Vec::new(), Vec::new());
        let mut open_shards = NonZeroUsize::MIN;
        let mut read_ahead = ReadAhead::default();
        for (weight, set) in sets {
            if set.parts.len() > 1 {
                return Err(Error::config("one of the sets is itself a mixture: interleave all sets in one call"));
            }
            open_shards = open_shards.max(set.lock().cap());
            read_ahead = read_ahead.max(set.read_ahead);
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
        let (open, row_points) = (Mutex::new(LruCache::new(open_shards)), Mutex::new(LruCache::new(open_shards)));
        Ok(Self { samples, parts, population, unmatched, repeated, open, read_ahead, row_points, shards })
    }

    /// Number of samples in the set.
    pub fn len(&self) -> u64 {
        self.samples.total()
    }

    /// Whether the set has no samples. This is always false, because opening such a set is an error.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The sample space: the numbers of samples by shard and set.
    pub fn population(&self) -> &SampleSpace {
        &self.population
    }

    /// Images of the list of ids that are in none of the shards.
    pub fn unmatched(&self) -> &[i64] {
        &self.unmatched
    }

    /// Images that the set has more than once. Empty for a mixture: its sets may repeat images on purpose.
    pub fn repeated_images(&self) -> &RepeatedImages {
        &self.repeated
    }

    /// The rule that selects annotations of a shard's samples.
    pub(crate) fn selector(&self, shard: u32) -> Option<Arc<AnnotationSelector>> {
        self.shards.get(shard as usize).map(|shard| Arc::clone(&shard.selector))
    }

    /// The filter; `None` for interleaved sets, each of which has its own.
    pub(crate) fn filter(&self) -> Option<&MaskFilter> {
        let [_] = self.parts.as_slice() else { return None };
        self.shards.first().map(|shard| &shard.selector.filter)
    }

    /// The identity of the set, on which a plan depends.
    pub(crate) fn identity(&self) -> Identity {
        let fold = |of: fn(&Shard) -> u32| self.shards.iter().fold(0, |digest, shard| append(digest, of(shard)));
        let (mut filter, mut weights, mut done) = (0, 0, 0);
        for (count, share) in self.parts.iter().zip(self.population.shares()) {
            // Encoding numbers cannot fail.
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

    /// The sizes of the largest samples.
    pub(crate) fn largest(&self) -> MaxSampleSize {
        let entries = self.shards.iter().flat_map(|shard| &shard.entries);
        let pixels = |(width, height): (u32, u32)| u64::from(width) * u64::from(height);
        entries.fold(MaxSampleSize::default(), |largest, entry| MaxSampleSize {
            sample_bytes: largest.sample_bytes.max(entry.bytes()),
            pixels: largest.pixels.max(pixels(entry.stored_size())),
        })
    }

    /// How the shards want to be read ahead.
    pub(crate) fn read_ahead(&self) -> ReadAhead {
        self.read_ahead
    }

    /// Mean number of bytes of a sample's members.
    pub(crate) fn mean_sample_bytes(&self) -> u64 {
        let entries = self.shards.iter().flat_map(|shard| &shard.entries);
        entries.map(Entry::bytes).sum::<u64>() / self.len().max(1)
    }

    /// Returns a report on each shard, in the order of the shards.
    pub fn reports(&self) -> impl ExactSizeIterator<Item = &ShardReport> {
        self.shards.iter().map(|shard| &shard.report)
    }

    /// The id of a sample from its number, which must be less than [`ShardSet::len`].
    pub(crate) fn sample_at(&self, number: u64) -> SampleId {
        let (shard, entry) = self.samples.find(number);
        SampleId { shard: shard as u32, entry: entry as u32 }
    }

    /// The number of a sample of the set.
    pub(crate) fn number_of(&self, sample: SampleId) -> u64 {
        self.samples.before(sample.shard as usize) + u64::from(sample.entry)
    }

    /// Returns the index entry of a sample, or `None` if there is no such sample.
    pub fn entry(&self, id: SampleId) -> Option<&Entry> {
        self.shards.get(id.shard as usize)?.entries.get(id.entry as usize)
    }

    /// Returns the path of a sample's shard, or the name of its source; `None` if there is no such shard.
    pub fn shard_path(&self, id: SampleId) -> Option<&Path> {
        Some(&self.shards.get(id.shard as usize)?.report.path)
    }

    /// Returns a source of the bytes to which a shard's index refers: those of a plain file, or the inflated ones of a
    /// gzip stream. Opens the shard if necessary.
    ///
    /// # Errors
    /// If the shard cannot be opened, or there is no shard with this index.
    pub fn source(&self, shard: u32) -> Result<Arc<dyn Source>> {
        if let Some(source) = self.lock().get(&shard) {
            return Ok(Arc::clone(source));
        }
        let none = || Error::config(format!("there is no shard {shard}"));
        // Opening may take very long, so the lock is not held meanwhile.
        let source = self.shards.get(shard as usize).ok_or_else(none)?.opening()()?;
        self.lock().put(shard, Arc::clone(&source));
        Ok(source)
    }

    /// Where the rows of a JPEG begin, if that has been saved beside the shard's index.
    pub(crate) fn row_points(&self, shard: u32, image: Extent) -> Option<RowPoints> {
        let cache = || self.row_points.lock().unwrap_or_else(PoisonError::into_inner);
        let known = cache().get(&shard).cloned();
        let file = known.unwrap_or_else(|| {
            let index = self.shards.get(shard as usize)?.index_file.as_deref()?;
            // A file that cannot be used is as none: images are then decoded from the top.
            let file = RowPointsFile::open(&row_points::path_beside(index)).ok().map(Arc::new);
            cache().put(shard, file.clone());
            file
        });
        file?.get(image)
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<u32, Arc<dyn Source>>> {
        // A panic of another thread cannot leave the cache inconsistent.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Number of samples of each shard.
fn lengths(shards: &[Shard]) -> Vec<u64> {
    shards.iter().map(|shard| shard.entries.len() as u64).collect()
}

/// Images of the list of ids that are in none of the shards.
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
    /// Keeps the samples that pass the filter. An error if the shard is more damaged than the policy accepts.
    pub(crate) fn select(indexed: IndexedShard, options: &ShardSetBuilder) -> Result<Self> {
        let shard = Self::filtered(indexed, options);
        options.damage_policy().check([&shard.report])?;
        Ok(shard)
    }

    /// Keeps the samples that pass the filter, however damaged the shard is.
    pub(crate) fn filtered(indexed: IndexedShard, options: &ShardSetBuilder) -> Self {
        let mut report = indexed.report();
        let IndexedShard { mut index, encoding, index_file, .. } = indexed;
        let selector = &options.selector;
        let missing_score = selector.filter.missing_score(&index.stats);
        report.kept_annotations = 0;
        if options.indexer.use_unverified {
            report.left_out.unverified = 0;
        }
        let mut keep = Vec::with_capacity(report.samples);
        let mut selected = Vec::new();
        let mut digests = Digests::of(&report, selector.selection.as_ref());
        for (i, entry) in index.entries().iter().enumerate() {
            let count = selector.count(entry.image_id, index.stats(i), entry.width, entry.height);
            report.kept_annotations += count;
            let place = selector.selection.as_ref().and_then(|selection| selection.index_of(entry.image_id));
            selected.extend(place.map(|place| place as u32));
            let is_verified = index.is_verified(entry);
            let is_in = (is_verified || options.indexer.use_unverified) && options.keeps(entry, count);
            let is_bad = is_in && options.quarantine.holds(entry);
            report.quarantined_samples += usize::from(is_bad);
            report.unverified_samples += usize::from(is_in && !is_bad && !is_verified);
            keep.push(is_in && !is_bad);
            digests.add(entry, is_in && !is_bad);
        }
        let mut entries = std::mem::take(&mut index.entries);
        let mut keep = keep.into_iter();
        entries.retain(|_| keep.next().unwrap_or(false));
        entries.shrink_to_fit();
        report.kept_samples = entries.len();
        let (selector, opener) = (Arc::clone(selector), options.indexer.shard_opener());
        Self { entries, report, encoding, index_file, digests, missing_score, selected, selector, opener }
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(crate) fn report(&self) -> &ShardReport {
        &self.report
    }

    /// Returns a function that opens the bytes to which the index refers.
    pub(crate) fn opening(&self) -> impl FnOnce() -> Result<Arc<dyn Source>> + use<> {
        let (opener, path, encoding) = (Arc::clone(&self.opener), self.report.path.clone(), self.encoding.clone());
        let then = self.report.shard_bytes;
        move || {
            let file = opener(&path).map_err(|e| e.in_shard(&path))?;
            let now = file.len();
            if now != then {
                let text = format!(
                    "the shard has {now} bytes now, it had {then} when it was indexed: it was truncated or replaced \
                     while in use; put the old file back, or open the set again"
                );
                return Err(Error::new(ErrorKind::Io, text).in_shard(&path));
            }
            encoding.source(file).map_err(|e| e.in_shard(&path))
        }
    }
}

impl Digests {
    fn of(report: &ShardReport, selection: Option<&IdList>) -> Self {
        // The file name only, because shards may be moved to another directory.
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

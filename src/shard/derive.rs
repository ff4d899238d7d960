//! Derived shards: repacked ones whose images are smaller than the originals, and lossy. Annotations stay as they are,
//! in the pixels of the originals.
//!
//! Each smaller image says of itself what it was made from (see [`Derived`]), so that its size is no contradiction to
//! its annotations, and a derived shard that exists already can be told from any other without decoding it.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::indexed::IndexedShard;
use super::indexer::Progress;
use super::output::{Append, Summary, summary};
use super::repack::{RepackReport, Rewrite, will_need, with_member};
use super::{Entry, IfExists, Indexer, OnCorrupt, ShardIndex, pool};
use crate::image::{Derive, Derived, Deriver};
use crate::source::{Inflater, Source};
use crate::{Error, Result};

/// The result of [`Indexer::derive`] for one shard.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DeriveReport {
    /// The report on the shard that was written, and on its original.
    pub repacked: RepackReport,
    /// Number of images that are smaller than the originals.
    pub resized: usize,
    /// Number of images that were no larger than asked for, and are the original bytes.
    pub kept: usize,
    /// Images that cannot be decoded, in the order of their places. They are the original bytes as well:
    /// [`OnCorrupt`](crate::OnCorrupt) has accepted them.
    pub unreadable: Vec<Error>,
}

/// Number of samples per thread that are in memory at a time. The members of the slowest are waited for.
const SAMPLES_PER_THREAD: usize = 8;

impl Indexer {
    /// Does the same as [`Indexer::repack`], but makes each image smaller, so that loading takes less time. **This is
    /// lossy: keep the originals.**
    ///
    /// Images that are larger than asked for are decoded, resized (bilinear with antialiasing) and encoded once more.
    /// Others are copied as they are. The annotations are copied byte for byte. A loader takes the pixels from the
    /// smaller image and the geometry from the annotations, so boxes, masks and points are those of the original at
    /// every `image_size`; above the longest side, images are blurred.
    ///
    /// Samples are worked on in parallel on the current rayon pool. An image that cannot be decoded is an error, unless
    /// [`Indexer::on_corrupt`] accepts that many bad samples; then its original bytes are kept, and a loader treats the
    /// sample as it treats the original one.
    ///
    /// ```
    /// # #[cfg(feature = "synth")] {
    /// # use maskstream::synth::{Preset, SynthOptions, write_shards};
    /// use maskstream::index::{Derive, IfExists, Indexer};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # write_shards(dir.path(), 1, &SynthOptions::new(Preset::Small).samples(2), &|_| ())?;
    /// # let (path, small) = (dir.path().join("sa_000000.tar"), dir.path().join("small"));
    /// let report = Indexer::new().derive(&path, &small, &Derive::new(128), IfExists::Keep)?;
    /// assert_eq!((report.resized, report.kept), (2, 0));
    ///
    /// let shard = Indexer::new().index(&report.repacked.path)?;
    /// let entry = &shard.index.entries()[0];
    /// assert!(entry.width.max(entry.height) > 128); // as annotated
    /// assert_eq!(entry.derived().map(|derived| derived.width.max(derived.height)), Some(128));
    /// # }
    /// # Ok::<(), maskstream::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Indexer::repack`]; and if an image of `shard` is derived already, if one cannot be decoded, or if a setting
    /// of `derive` is out of its range.
    pub fn derive(
        &self,
        shard: impl AsRef<Path>,
        dir: impl AsRef<Path>,
        derive: &Derive,
        existing: IfExists,
    ) -> Result<DeriveReport> {
        derive.check()?;
        pool::start()?;
        let deriving =
            Deriving { indexer: self, derive: *derive, workers: Mutex::default(), unreadable: Mutex::default() };
        let (repacked, originals) = self.rewrite(shard.as_ref(), dir.as_ref(), existing, &deriving)?;
        let larger = originals.entries().iter().filter(|entry| deriving.derived(entry).is_some()).count();
        let unreadable = deriving.unreadable.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(DeriveReport {
            repacked,
            resized: larger - unreadable.len(),
            kept: originals.entries().len() - larger,
            unreadable: unreadable.into_values().collect(),
        })
    }
}

struct Deriving<'a> {
    indexer: &'a Indexer,
    derive: Derive,
    /// Those that are idle.
    workers: Mutex<Vec<Worker>>,
    /// Images that cannot be decoded, by their offsets in the original.
    unreadable: Mutex<BTreeMap<u64, Error>>,
}

struct Worker {
    inflater: Inflater,
    deriver: Deriver,
}

/// The members of a sample, ready to be written.
struct Members {
    image: Vec<u8>,
    annotations: Vec<u8>,
    /// Why the image is the original, although it is larger than asked for.
    unreadable: Option<Error>,
}

impl Rewrite for Deriving<'_> {
    fn form(&self) -> String {
        let Derive { longest_side, quality, .. } = self.derive;
        format!("form of this shard with images of at most {longest_side} pixels a side at quality {quality}")
    }

    fn check(&self, source: &ShardIndex) -> Result<()> {
        let found = source.entries().iter().find_map(|entry| Some((entry, entry.derived()?)));
        let Some((entry, Derived { width, height, original_width, original_height, .. })) = found else {
            return Ok(());
        };
        let text = format!(
            "the image is derived already: it is {width} x {height}, and the original was {original_width} x \
             {original_height}; derive from the original shard, because each time loses more"
        );
        Err(Error::config(text).in_member(&entry.image_name()).at_offset(entry.image.offset))
    }

    fn copy(
        &self,
        source: &dyn Source,
        index: &ShardIndex,
        append: &mut Append<'_>,
        progress: &Progress,
    ) -> Result<Vec<Summary>> {
        let window = SAMPLES_PER_THREAD * rayon::current_num_threads();
        let mut images = Vec::with_capacity(index.entries().len());
        let mut windows = index.entries().chunks(window).peekable();
        while let Some(entries) = windows.next() {
            windows.peek().into_iter().copied().flatten().for_each(|entry| will_need(source, entry));
            let made: Vec<_> = entries.par_iter().map(|entry| self.members(source, entry)).collect();
            for (entry, members) in entries.iter().zip(made) {
                let Members { image, annotations, unreadable } = members?;
                unreadable.map_or(Ok(()), |error| self.accept(entry, error))?;
                append(&entry.image_name(), &image)?;
                append(&entry.annotations_name(), &annotations)?;
                images.push((image.len() as u32, crc32c::crc32c(&image)));
                progress(entry.bytes());
            }
        }
        Ok(images)
    }

    fn is_image_of(&self, source: &IndexedShard, original: &Entry, found: &Entry) -> Result<bool> {
        let wanted = self.derived(original);
        let is_original = summary(&original.image) == summary(&found.image);
        match (wanted, found.derived()) {
            (Some(wanted), Some(derived)) => Ok(wanted == *derived),
            (None, None) => Ok(is_original),
            (Some(_), None) if is_original => self.is_unreadable(source, original),
            _ => Ok(false),
        }
    }
}

impl Deriving<'_> {
    /// What the smaller image of a sample says of itself; nothing if the image stays as it is.
    fn derived(&self, original: &Entry) -> Option<Derived> {
        self.derive.of((original.width, original.height), original.image.crc32c)
    }

    /// Reads the members of a sample, and makes the smaller image.
    fn members(&self, source: &dyn Source, entry: &Entry) -> Result<Members> {
        let idle = self.workers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut worker =
            idle.unwrap_or_else(|| Worker { inflater: Inflater::default(), deriver: Deriver::new(&self.derive) });
        let Worker { inflater, deriver } = &mut worker;
        let annotations =
            with_member(source, &entry.annotations_name(), entry.annotations, inflater, |json| Ok(json.to_vec()))?;
        let (image, unreadable) = with_member(source, &entry.image_name(), entry.image, inflater, |jpeg| {
            let Some(derived) = self.derived(entry) else { return Ok((jpeg.to_vec(), None)) };
            // Codecs get bytes that nobody has checked.
            let made = catch_unwind(AssertUnwindSafe(|| deriver.derive(jpeg, &derived)));
            Ok(match made.unwrap_or_else(|payload| Err(Error::panic(&*payload))) {
                Ok(image) => (image, None),
                Err(error) => (jpeg.to_vec(), Some(error)),
            })
        })?;
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).push(worker);
        Ok(Members { image, annotations, unreadable })
    }

    /// Notes that an image cannot be decoded.
    ///
    /// # Errors
    /// The reason, unless the policy accepts as many as there are by now.
    fn accept(&self, entry: &Entry, error: Error) -> Result<()> {
        let mut unreadable = self.unreadable.lock().unwrap_or_else(PoisonError::into_inner);
        let error = error.in_member(&entry.image_name()).at_offset(entry.image.offset);
        unreadable.insert(entry.image.offset, error.clone());
        let count = unreadable.len() as u64;
        let advice = match self.indexer.on_corrupt {
            OnCorrupt::Skip { budget } if count <= budget => return Ok(()),
            OnCorrupt::Skip { budget } => {
                format!("{count} images cannot be decoded so far, more than the budget of {budget} (on_corrupt)")
            }
            OnCorrupt::Stop => "to keep such images as they are, set on_corrupt".to_owned(),
        };
        let text = format!("{}; {advice}", error.message());
        Err(Error::new(error.kind(), text).in_member(&entry.image_name()).at_offset(entry.image.offset))
    }

    /// Whether a larger image was kept because it cannot be decoded.
    fn is_unreadable(&self, source: &IndexedShard, original: &Entry) -> Result<bool> {
        let is_known = |at| self.unreadable.lock().unwrap_or_else(PoisonError::into_inner).contains_key(at);
        if is_known(&original.image.offset) {
            return Ok(true);
        }
        let bytes = source.source(self.indexer.open(&source.path)?)?;
        match self.members(bytes.as_ref(), original)?.unreadable {
            Some(error) => self.accept(original, error).map(|()| true),
            None => Ok(false),
        }
    }
}

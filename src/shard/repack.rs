//! Repacking: rewriting a shard, plain or gzip, as a plain one with the image and JSON of each sample next to each
//! other.
//!
//! The repacked shard has the same file name in another directory, and its index file next to it. It is read back and
//! compared with the source's index before it gets its name; on any error, a file that was there before is unchanged.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::indexed::{IndexedShard, catch_panic};
use super::indexer::Progress;
use super::output::{Append, NewShard, Summary, check_same, reason, stage_progress, summary};
use super::{Entry, Extent, IfExists, Indexer, ShardIndex, ShardReport};
use crate::annotation::ScoreColumns;
use crate::atomic::{FileId, check_target, create_dir, dir_of};
use crate::source::{Inflater, Source};
use crate::{Error, Result};

/// The result of [`Indexer::repack`] for one shard.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RepackReport {
    /// Path of the repacked shard.
    pub path: PathBuf,
    /// Length of the repacked shard in bytes.
    pub shard_bytes: u64,
    /// Why it was written; `None` if it existed already and was kept.
    pub written: Option<String>,
    /// The report on the original shard. All valid samples count as kept, but those that no checksum vouches for are
    /// not in the repacked shard.
    pub source: ShardReport,
}

/// What becomes of the samples of a shard in another one.
pub(super) trait Rewrite {
    /// What it makes, as a part of a sentence.
    fn form(&self) -> String;

    /// Refuses a shard that it is not meant for.
    fn check(&self, source: &ShardIndex) -> Result<()>;

    /// Appends the members of each sample in the order of the index, the image first, under their old names. Returns
    /// lengths and checksums of the images that it has appended.
    fn copy(
        &self,
        source: &dyn Source,
        index: &ShardIndex,
        append: &mut Append<'_>,
        progress: &Progress,
    ) -> Result<Vec<Summary>>;

    /// Whether `found` has the image that becomes of the one of `original`, a sample of `source`.
    fn is_image_of(&self, source: &IndexedShard, original: &Entry, found: &Entry) -> Result<bool>;
}

/// Copies every member as it is.
struct Unchanged;

/// Number of samples whose ranges are prefetched: in the official shards, members are scattered over the file.
const SAMPLES_AHEAD: usize = 16;

impl Indexer {
    /// Writes all valid samples of `shard` to a plain tar with the same file name in the directory `dir`, which is
    /// created if necessary. The samples are in the order of the index, each image followed by its JSON, under their
    /// old names.
    ///
    /// The file is read back after writing. It gets its name, and an index file next to it, only if its samples are
    /// those of `shard`. The policy [`OnCorrupt`](super::OnCorrupt) is applied to this shard alone. Progress is
    /// reported in bytes of `shard`, and not at all if the repacked shard is up to date.
    ///
    /// ```
    /// # #[cfg(feature = "synth")] {
    /// # use maskstream::synth::{Preset, SynthOptions, write_shards};
    /// use maskstream::index::{IfExists, Indexer};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # write_shards(dir.path(), 1, &SynthOptions::new(Preset::Small).samples(3), &|_| ())?;
    /// # let (path, flat) = (dir.path().join("sa_000000.tar"), dir.path().join("flat"));
    /// let report = Indexer::new().repack(&path, &flat, IfExists::Keep)?;
    /// assert_eq!(report.path, flat.join("sa_000000.tar"));
    /// assert_eq!(report.source.samples, 3);
    ///
    /// let again = Indexer::new().repack(&path, &flat, IfExists::Keep)?;
    /// assert!(again.written.is_none()); // it is up to date
    /// # }
    /// # Ok::<(), maskstream::Error>(())
    /// ```
    ///
    /// # Errors
    /// If `shard` cannot be read, is more damaged than the policy accepts, has no valid sample, or changes meanwhile;
    /// if it is in `dir` itself; if `dir` has a file of its name that differs and `existing` is [`IfExists::Keep`], or
    /// something of its name that is no regular file; or if the file cannot be written, or differs from `shard` when it
    /// is read back.
    pub fn repack(&self, shard: impl AsRef<Path>, dir: impl AsRef<Path>, existing: IfExists) -> Result<RepackReport> {
        self.rewrite(shard.as_ref(), dir.as_ref(), existing, &Unchanged).map(|(report, _)| report)
    }

    /// Writes what becomes of the valid samples of `shard`, as [`Indexer::repack`] does. Returns the index of `shard`
    /// as well, without unverified samples.
    pub(super) fn rewrite(
        &self,
        shard: &Path,
        dir: &Path,
        existing: IfExists,
        rewrite: &dyn Rewrite,
    ) -> Result<(RepackReport, ShardIndex)> {
        catch_panic(shard, || {
            let path = self.target(shard, dir)?;
            let (source, stages) = match self.load(shard, ScoreColumns::ALL)? {
                Ok(source) => (source, 2),
                Err(unindexed) => {
                    let progress = self.stage(unindexed.shard_bytes() / 3, unindexed.shard_bytes());
                    (self.clone().progress(progress).index(shard)?, 3)
                }
            };
            let mut report = source.report();
            self.on_corrupt.check([&report])?;
            // A plain tar has no checksums, so it would pass them on as valid.
            let source = source.verified()?;
            report.kept_samples = source.index.entries().len();
            if report.kept_samples == 0 {
                let damage = report.findings.iter().find(|finding| finding.kind.is_damage());
                let why = damage.map_or_else(|| "it holds none".to_owned(), ToString::to_string);
                return Err(Error::corrupt(format!("no sample is valid: {why}")));
            }
            rewrite.check(&source.index)?;
            let target = NewShard { path: &path, existing, name: "the repacked shard" };
            let written = reason(&path, existing);
            let shard_bytes = match written {
                Some(_) => self.write(&source, &target, source.shard_bytes / stages, rewrite)?,
                None => {
                    check_kept(&target, &source, rewrite)?;
                    fs::metadata(&path)
                        .map_err(|e| Error::io("cannot read the file's metadata", e).in_shard(&path))?
                        .len()
                }
            };
            Ok((RepackReport { path, shard_bytes, written, source: report }, source.index))
        })
    }

    /// Path of the repacked shard. Creates its directory.
    fn target(&self, shard: &Path, dir: &Path) -> Result<PathBuf> {
        let name = shard.file_name().ok_or_else(|| Error::config("this is not the path of a file"))?;
        create_dir(dir).map_err(|e| Error::io(format!("cannot create {}", dir.display()), e))?;
        let path = dir.join(name);
        if is_same(&path, shard) {
            let text =
                format!("repacked into {}, the shard would overwrite itself: choose another directory", dir.display());
            return Err(Error::config(text));
        }
        check_target(&path, true).map_err(|e| Error::config(format!("cannot write {}: {e}", path.display())))?;
        match self.sidecar.path(shard) {
            Some(sidecar) if is_same(dir_of(&sidecar), dir) => {
                let text = format!(
                    "the index files of the shard and of the repacked shard would both be {}: choose another directory \
                     for one of them",
                    sidecar.display()
                );
                Err(Error::config(text))
            }
            _ => Ok(path),
        }
    }

    /// Writes and checks the repacked shard; returns its length. Each of the two steps reports `share` bytes of
    /// progress.
    fn write(&self, source: &IndexedShard, target: &NewShard<'_>, share: u64, rewrite: &dyn Rewrite) -> Result<u64> {
        let members: u64 = source.index.entries().iter().map(Entry::bytes).sum();
        let bytes = source.source(self.open(&source.path)?)?;
        let progress = self.stage(share, members);
        let (_, len) = target.write(
            |append| rewrite.copy(bytes.as_ref(), &source.index, append, &progress),
            |len| self.stage(share, len),
            |images, found| {
                check_same(&source.index, found, |wanted, found| rewrite.is_image_of(source, wanted, found))?;
                check_images(images, found)
            },
            || check_kept(target, source, rewrite),
        )?;
        Ok(len)
    }

    /// The progress of one stage: after `all` units of work, it has reported `share` bytes.
    fn stage(&self, share: u64, all: u64) -> impl Fn(u64) + Send + Sync + 'static {
        let progress = Arc::clone(&self.progress);
        stage_progress(move |bytes| progress(bytes), share, all)
    }
}

impl Rewrite for Unchanged {
    fn form(&self) -> String {
        "repacked form of this shard".to_owned()
    }

    fn check(&self, _: &ShardIndex) -> Result<()> {
        Ok(())
    }

    fn copy(
        &self,
        source: &dyn Source,
        index: &ShardIndex,
        append: &mut Append<'_>,
        progress: &Progress,
    ) -> Result<Vec<Summary>> {
        let mut inflater = Inflater::default();
        for (i, entry) in index.entries().iter().enumerate() {
            index.entries().get(i + SAMPLES_AHEAD).into_iter().for_each(|ahead| will_need(source, ahead));
            for (name, extent) in [(entry.image_name(), entry.image), (entry.annotations_name(), entry.annotations)] {
                with_member(source, &name, extent, &mut inflater, |bytes| append(&name, bytes))?;
            }
            progress(entry.bytes());
        }
        Ok(index.entries().iter().map(|entry| summary(&entry.image)).collect())
    }

    fn is_image_of(&self, _: &IndexedShard, original: &Entry, found: &Entry) -> Result<bool> {
        Ok(summary(&original.image) == summary(&found.image))
    }
}

/// Tells the source that both members of a sample will be read.
pub(super) fn will_need(source: &dyn Source, entry: &Entry) {
    source.will_need(entry.image.range());
    source.will_need(entry.annotations.range());
}

/// Reads a member and does something with its bytes, if they are those that were indexed.
pub(super) fn with_member<T>(
    source: &dyn Source,
    name: &str,
    extent: Extent,
    inflater: &mut Inflater,
    work: impl FnOnce(&[u8]) -> Result<T>,
) -> Result<T> {
    let named = |e: Error| e.in_member(name).at_offset(extent.offset);
    let fetched = source.fetch(extent.range()).map_err(named)?;
    let bytes = fetched.inflate(inflater).map_err(named)?;
    extent.verify(bytes).map_err(named)?;
    work(bytes)
}

/// Checks that the shard which is there already is a repacked form of the source.
fn check_kept(target: &NewShard<'_>, source: &IndexedShard, rewrite: &dyn Rewrite) -> Result<()> {
    target.check_kept(target.path.display(), &rewrite.form(), |found, _| {
        check_same(&source.index, found, |wanted, found| rewrite.is_image_of(source, wanted, found))
    })
}

/// Checks that a shard has the images that were written to it.
fn check_images(written: &[Summary], found: &ShardIndex) -> Result<()> {
    let differs = |(entry, image): (&Entry, &Summary)| (summary(&entry.image) != *image).then(|| entry.clone());
    match found.entries().iter().zip(written).find_map(differs) {
        Some(entry) => Err(Error::corrupt("its bytes are not those that were written")
            .in_member(&entry.image_name())
            .at_offset(entry.image.offset)),
        None => Ok(()),
    }
}

/// Whether two paths refer to the same file or directory.
fn is_same(a: &Path, b: &Path) -> bool {
    FileId::of(a) == FileId::of(b)
}

//! The shards that repacking, deriving and packing write: plain tars with an index file beside them.
//!
//! A new shard has a temporary name until it has been read back and its index agrees with what was meant to be written.
//! On any error, a file that was there before is unchanged.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::indexed;
use super::{Entry, Extent, IndexStatus, Indexer, ShardIndex, Sidecar};
use crate::annotation::ScoreColumns;
use crate::atomic::AtomicFile;
use crate::container::TarWriter;
use crate::source;
use crate::{Error, ErrorKind, Result};

/// What [`Indexer::repack`] does if the repacked shard exists already, deriving if the derived one does, and
/// [`PackPlan::write`](crate::index::PackPlan::write) if the packed one does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum IfExists {
    /// Keep it if it has the same samples in the same order. If it differs, that is an error, because it may be a file
    /// of someone else's.
    #[default]
    Keep,
    /// Write it again, whatever it is.
    Replace,
}

/// Appends a member with a name and bytes.
pub(super) type Append<'a> = dyn FnMut(&str, &[u8]) -> Result<()> + 'a;

/// Length and checksum of a member.
pub(super) type Summary = (u32, u32);

pub(super) fn summary(extent: &Extent) -> Summary {
    (extent.len, extent.crc32c)
}

/// Why the shard at `path` has to be written; `None` if it is to be kept, once it has been checked.
pub(super) fn reason(path: &Path, existing: IfExists) -> Option<String> {
    match existing {
        _ if fs::symlink_metadata(path).is_err() => Some("it did not exist yet".to_owned()),
        IfExists::Keep => None,
        IfExists::Replace => Some("replaced on request".to_owned()),
    }
}

/// A shard that is about to be written.
pub(super) struct NewShard<'a> {
    pub(super) path: &'a Path,
    pub(super) existing: IfExists,
    /// What it is called in an error.
    pub(super) name: &'static str,
}

impl NewShard<'_> {
    /// Writes what `fill` appends, reads it back, and has `check` compare its index with what `fill` returned. Then the
    /// shard gets its name, and its index a file. If another process has written it meanwhile, `keep` checks that one.
    /// `reading` takes the length of the shard, and returns the progress of reading it back. Returns the length.
    pub(super) fn write<T, P: Fn(u64) + Send + Sync>(
        &self,
        fill: impl FnOnce(&mut Append<'_>) -> Result<T>,
        reading: impl FnOnce(u64) -> P,
        check: impl FnOnce(&T, &ShardIndex) -> Result<()>,
        keep: impl FnOnce() -> Result<()>,
    ) -> Result<(T, u64)> {
        let Self { path, existing, name } = *self;
        let failed = |e: io::Error| Error::io(format!("cannot write {name}"), e).in_shard(path);
        let mut draft = AtomicFile::of(path).map_err(failed)?;
        let mut out = BufWriter::with_capacity(1 << 20, draft.file());
        let mut tar = TarWriter::start(&mut out).map_err(failed)?;
        let mut append = |name: &str, bytes: &[u8]| tar.append(name, bytes.len() as u64, bytes).map_err(failed);
        let filled = fill(&mut append)?;
        tar.finish().and_then(|()| out.flush()).map_err(failed)?;
        drop(out);

        let written = source::open(draft.path())?;
        let built = indexed::build(written.as_ref(), path, &reading(written.len()))?;
        check(&filled, &built.index).map_err(|e| e.in_shard(path))?;
        match draft.publish(path, existing == IfExists::Replace) {
            // Another process has written the same shard meanwhile.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => keep()?,
            published => published.map_err(failed)?,
        }
        // A reader may have opened the new shard already, and built the same index.
        let status = match target_indexer().load(path, ScoreColumns::ALL)? {
            Ok(indexed) => indexed.status,
            Err(unindexed) => unindexed.finish(&written, built, &|| ())?.status,
        };
        check_saved(status, &format!("{name} was written"), path)?;
        Ok((filled, written.len()))
    }

    /// Checks that the shard which is at the path already is what was to be written, as far as `check` can tell from
    /// its index, and that it has an index file. `subject` is what an error calls it, and `form` what it should be.
    /// `check` is also told whether the index is that of when the shard was written: one that is made of the shard as
    /// it is now does not show that it was changed.
    pub(super) fn check_kept<T>(
        &self,
        subject: impl std::fmt::Display,
        form: &str,
        check: impl FnOnce(&ShardIndex, bool) -> Result<T>,
    ) -> Result<T> {
        let Self { path, name, .. } = *self;
        // That a file cannot be read says nothing about the shard.
        let differs = |reason: Error| match reason.is_io() {
            true => reason,
            false => {
                let text = format!("{subject} exists already and is no {form} ({reason})");
                Error::config(format!("{text}: move it away, or overwrite it with --force"))
            }
        };
        let sound = |index: &ShardIndex, is_original: bool| match index
            .findings()
            .iter()
            .any(|finding| finding.kind.is_damage())
        {
            // In few words, because it may be no shard at all.
            true => Err(Error::corrupt("it is damaged, or no tar file")),
            false => check(index, is_original),
        };
        let unindexed = match target_indexer().load(path, ScoreColumns::ALL)? {
            Ok(found) if found.is_gzip() => return Err(differs(Error::corrupt("it is a gzip stream"))),
            Ok(found) => return sound(&found.index, true).map_err(differs),
            Err(unindexed) => unindexed,
        };
        // A process that was killed after it had renamed the shard has left no index. Nothing is written beside a file
        // that turns out to be something else.
        let file = source::open(path)?;
        let built = indexed::build(file.as_ref(), path, &|_| ()).map_err(differs)?;
        if built.restarts.is_some() {
            return Err(differs(Error::corrupt("it is a gzip stream")));
        }
        let checked = sound(&built.index, false).map_err(differs)?;
        check_saved(unindexed.finish(&file, built, &|| ())?.status, &format!("{name} is there"), path)?;
        Ok(checked)
    }
}

/// Checks that the index of a written shard has been saved.
fn check_saved(status: IndexStatus, shard: &str, path: &Path) -> Result<()> {
    match status {
        IndexStatus::Unsaved(reason) => {
            let text = format!("{shard}, but its index could not be saved: {reason}");
            Err(Error::new(ErrorKind::Io, text).in_shard(path))
        }
        _ => Ok(()),
    }
}

/// Checks that `found` has exactly the samples of `original`, in the same order, and the two members of each side by
/// side. `is_image` compares the images of two entries.
pub(super) fn check_same(
    original: &ShardIndex,
    found: &ShardIndex,
    is_image: impl Fn(&Entry, &Entry) -> Result<bool>,
) -> Result<()> {
    let (wanted, have) = (original.entries().len(), found.entries().len());
    check_adjacent(found)?;
    if wanted != have {
        return Err(Error::corrupt(format!("it has {have} samples instead of {wanted}")));
    }
    for (i, (wanted, have)) in original.entries().iter().zip(found.entries()).enumerate() {
        let named = |text: String| Error::corrupt(text).in_member(&have.image_name()).at_offset(have.image.offset);
        if content(wanted) != content(have) || !is_image(wanted, have)? {
            return Err(named(format!("sample {i} is not that of the original, {}", wanted.image_name())));
        }
        if original.stats(i) != found.stats(i) {
            return Err(named(format!("sample {i} has different annotation statistics")));
        }
    }
    Ok(())
}

/// Checks that a shard has nothing but samples, one after the other, and the image of each before its JSON.
pub(super) fn check_adjacent(found: &ShardIndex) -> Result<()> {
    if let Some(finding) = found.findings().first() {
        return Err(Error::corrupt(finding.to_string()));
    }
    let mut end = 0;
    for (i, entry) in found.entries().iter().enumerate() {
        // There are no other members, so this order means that nothing lies between them.
        if entry.image.offset < end || entry.annotations.offset < entry.image.offset {
            let text =
                format!("the members of sample {i} are not adjacent, or not after those of the sample before it");
            return Err(Error::corrupt(text).in_member(&entry.image_name()).at_offset(entry.image.offset));
        }
        end = entry.annotations.range().end;
    }
    Ok(())
}

/// Everything in an entry except its image and the places of its members.
fn content(entry: &Entry) -> impl PartialEq {
    let size = [entry.width, entry.height];
    (entry.image_id, size, summary(&entry.annotations), entry.image_name(), entry.annotations_name())
}

/// The index file of a written shard is always next to it.
fn target_indexer() -> Indexer {
    // A changed file is read again as a whole.
    Indexer { is_exact: true, ..Indexer::new().sidecar(Sidecar::Beside) }
}

/// Scales the progress of one stage: after `all` units of work, it has reported `share` units.
pub(super) fn stage_progress<P: Fn(u64) + Send + Sync>(
    progress: P,
    share: u64,
    all: u64,
) -> impl Fn(u64) + Send + Sync {
    let done = AtomicU64::new(0);
    move |work| {
        let before = done.fetch_add(work, Relaxed);
        let due = |done: u64| (u128::from(share) * u128::from(done.min(all)) / u128::from(all.max(1))) as u64;
        progress(due(before + work) - due(before));
    }
}

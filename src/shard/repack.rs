//! Shards whose samples lie side by side. Comes in: a shard, plain or gzip. Goes out: a plain one of the same file name
//! in another directory, image and json of each sample next to each other, and its sidecar. Fails as reading, indexing
//! and writing do, and where what was written is not what was indexed; a file that was there before is as it was then.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::indexed::{self, IndexedShard, catch_panic};
use super::indexer::Progress;
use super::{Entry, IndexStatus, Indexer, ShardIndex, ShardReport, Sidecar};
use crate::annotation::ScoreColumns;
use crate::atomic::{AtomicFile, dir_of};
use crate::container::TarWriter;
use crate::source::{Inflater, MmapSource, Source};
use crate::{Error, ErrorKind, Result};

/// What to do about a repacked shard that is there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum IfExists {
    /// Leave it if it is what would be written, as far as the two indexes can tell.
    #[default]
    Keep,
    /// Write it anew.
    Replace,
}

/// What became of one shard.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RepackReport {
    /// Where the repacked shard is.
    pub path: PathBuf,
    /// Its length in bytes.
    pub shard_bytes: u64,
    /// Why it was written; `None` if it was there already.
    pub written: Option<String>,
    /// What is known of the shard it was made from. All sound samples count as kept.
    pub source: ShardReport,
}

/// Samples whose ranges the device is told of ahead: in the official shards they are scattered all over the file.
const SAMPLES_AHEAD: usize = 16;

impl Indexer {
    /// Writes the sound samples of `shard` to a plain tar of the same file name in `dir`: in the order of the index,
    /// each image followed by its json, under the names that the index has for them. Neither filter nor selection is
    /// asked. Then reads what was written once more, and only if its index says what that of `shard` says, the file
    /// gets its name, and its sidecar beside it.
    ///
    /// [`OnCorrupt`](super::OnCorrupt) is asked of this shard alone, so that whether it passes does not depend on
    /// others. The sidecar of `shard` itself is where these options say. Progress is told of the bytes of `shard` as
    /// the work on them goes on, and of nothing where there is none to do.
    ///
    /// # Errors
    /// If `shard` cannot be read, is damaged, or changes; if it lies in `dir` itself; if the file cannot be written, or
    /// is not what was to be written.
    pub fn repack(&self, shard: impl AsRef<Path>, dir: impl AsRef<Path>, existing: IfExists) -> Result<RepackReport> {
        let (shard, dir) = (shard.as_ref(), dir.as_ref());
        catch_panic(shard, || {
            let path = self.target(shard, dir)?;
            let (source, stages) = match self.load(shard, ScoreColumns::ALL)? {
                Ok(source) => (source, 2),
                Err(unindexed) => {
                    let progress = stage(self, unindexed.shard_bytes() / 3, unindexed.shard_bytes());
                    (self.clone().progress(progress).index(shard)?, 3)
                }
            };
            let report = source.report();
            self.on_corrupt.judge([&report])?;
            if let (true, Some(damage)) = (report.samples == 0, report.findings.iter().find(|p| p.kind.is_damage())) {
                return Err(Error::corrupt(format!("not one sample is sound: {damage}")));
            }
            let written = match existing {
                IfExists::Keep => why_write(&path, &source.index)?,
                IfExists::Replace => Some("to replace what may be there".to_owned()),
            };
            let shard_bytes = match written {
                Some(_) => self.write(&source, &path, source.shard_bytes / stages)?,
                None => {
                    fs::metadata(&path).map_err(|e| Error::io("cannot look at the shard", e).in_shard(&path))?.len()
                }
            };
            Ok(RepackReport { path, shard_bytes, written, source: report })
        })
    }

    /// Where the repacked shard is to be; its directory is made.
    fn target(&self, shard: &Path, dir: &Path) -> Result<PathBuf> {
        let name = shard.file_name().ok_or_else(|| Error::config("is not the path of a file"))?;
        fs::create_dir_all(dir).map_err(|e| Error::io(format!("cannot create {}", dir.display()), e))?;
        let path = dir.join(name);
        if is_same(&path, shard) {
            let text = format!("repacked into {} it would overwrite itself: choose another directory", dir.display());
            return Err(Error::config(text));
        }
        match self.sidecar.path(shard) {
            Some(sidecar) if is_same(dir_of(&sidecar), dir) => {
                let text = format!("its index and that of its repacked form would both be {}", sidecar.display());
                Err(Error::config(text))
            }
            _ => Ok(path),
        }
    }

    /// Writes and checks the repacked shard; returns its length. Each of two steps tells progress of `share` bytes.
    fn write(&self, source: &IndexedShard, path: &Path, share: u64) -> Result<u64> {
        let failed = |e: io::Error| Error::io("cannot write the repacked shard", e).in_shard(path);
        let members: u64 = source.index.entries().iter().map(Entry::bytes).sum();
        let bytes = source.source((self.opener)(&source.path)?)?;
        let mut draft = AtomicFile::of(path).map_err(failed)?;
        copy(bytes.as_ref(), &source.index, draft.file(), &failed, &stage(self, share, members))?;

        let written: Arc<dyn Source> = Arc::new(MmapSource::open(draft.path())?);
        let built = indexed::build(written.as_ref(), path, &stage(self, share, written.len()))?;
        compare(&source.index, &built.index).map_err(|e| e.in_shard(path))?;
        draft.publish(path).map_err(failed)?;
        // A reader that is faster has built the same index.
        let status = match beside().load(path, ScoreColumns::ALL)? {
            Ok(indexed) => indexed.status,
            Err(unindexed) => unindexed.finish(&written, built, &|| ())?.status,
        };
        match status {
            IndexStatus::Unsaved(reason) => {
                let text = format!("the repacked shard is there, but its index could not be saved: {reason}");
                Err(Error::new(ErrorKind::Io, text).in_shard(path))
            }
            _ => Ok(written.len()),
        }
    }
}

/// Copies the members of each sample, one at a time.
fn copy(
    source: &dyn Source,
    index: &ShardIndex,
    out: &mut File,
    failed: &dyn Fn(io::Error) -> Error,
    progress: &Progress,
) -> Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, out);
    let mut tar = TarWriter::start(&mut out).map_err(failed)?;
    let mut inflater = Inflater::default();
    for (i, entry) in index.entries().iter().enumerate() {
        if let Some(ahead) = index.entries().get(i + SAMPLES_AHEAD) {
            source.will_need(ahead.image.range());
            source.will_need(ahead.annotations.range());
        }
        for (name, extent) in [(entry.image_name(), entry.image), (entry.annotations_name(), entry.annotations)] {
            let named = |e: Error| e.in_member(&name).at_offset(extent.offset);
            let fetched = source.fetch(extent.range()).map_err(named)?;
            let bytes = fetched.inflate(&mut inflater).map_err(named)?;
            extent.verify(bytes).map_err(named)?;
            tar.append(&name, u64::from(extent.len), bytes).map_err(failed)?;
        }
        progress(entry.bytes());
    }
    tar.finish().and_then(|()| out.flush()).map_err(failed)
}

/// Why the shard at `path` is not what would be written, if it is not.
fn why_write(path: &Path, source: &ShardIndex) -> Result<Option<String>> {
    if !path.exists() {
        return Ok(Some("not there yet".to_owned()));
    }
    Ok(match beside().load(path, ScoreColumns::ALL)? {
        Err(unindexed) => Some(unindexed.reason),
        Ok(found) if found.is_gzip() => Some("what is there is a gzip stream".to_owned()),
        Ok(found) => compare(source, &found.index).err().map(|e| format!("what is there is another: {e}")),
    })
}

/// Whether `repacked` is the index of the samples of `source`, in their order and side by side, and of nothing else.
fn compare(source: &ShardIndex, repacked: &ShardIndex) -> Result<()> {
    if let Some(finding) = repacked.findings().first() {
        return Err(Error::corrupt(finding.to_string()));
    }
    let (wanted, found) = (source.entries().len(), repacked.entries().len());
    if wanted != found {
        return Err(Error::corrupt(format!("{found} samples, but {wanted} are to be there")));
    }
    let mut end = 0;
    for (i, (wanted, found)) in source.entries().iter().zip(repacked.entries()).enumerate() {
        let named = |text: String| Error::corrupt(text).in_member(&found.image_name()).at_offset(found.image.offset);
        if content(wanted) != content(found) {
            return Err(named(format!("sample {i} is to be {wanted:?}, but is {found:?}")));
        }
        if source.stats(i) != repacked.stats(i) {
            return Err(named(format!("sample {i} has other scores")));
        }
        // With no other members, this order means that nothing is between the two.
        if found.image.offset < end || found.annotations.offset < found.image.offset {
            return Err(named(format!("sample {i} does not lie side by side after the one before")));
        }
        end = found.annotations.range().end;
    }
    Ok(())
}

/// Everything in an entry but where its members lie.
fn content(entry: &Entry) -> impl PartialEq {
    let extents = [entry.image, entry.annotations].map(|extent| (extent.len, extent.crc32c));
    (entry.image_id, [entry.width, entry.height], extents, entry.image_name(), entry.annotations_name())
}

/// A repacked shard always has its sidecar beside it.
fn beside() -> Indexer {
    Indexer::new().sidecar(Sidecar::Beside)
}

/// Whether two paths lead to the same file or directory.
fn is_same(a: &Path, b: &Path) -> bool {
    fs::canonicalize(a).is_ok_and(|a| fs::canonicalize(b).is_ok_and(|b| a == b))
}

/// Progress of one stage of the work: when `all` bytes of it are done, `share` bytes will have been told.
fn stage(options: &Indexer, share: u64, all: u64) -> impl Fn(u64) + Send + Sync + 'static {
    let (progress, done) = (options.progress.clone(), AtomicU64::new(0));
    move |bytes| {
        let before = done.fetch_add(bytes, Relaxed);
        let due = |done: u64| (u128::from(share) * u128::from(done.min(all)) / u128::from(all.max(1))) as u64;
        progress(due(before + bytes) - due(before));
    }
}

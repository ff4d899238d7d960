//! Writing one shard of a plan, or keeping the one that is there.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::reading::{BadSample, Members};
use super::{PackPlan, PlannedShard};
use crate::atomic::{check_target, create_dir};
use crate::shard::indexed::catch_panic;
use crate::shard::output::{Append, NewShard, check_adjacent, check_same, reason, stage_progress, summary};
use crate::shard::{Entry, IfExists, OnCorrupt, ShardIndex};
use crate::{Error, Result};

/// Samples that are read at a time, while those before them are written. About 1 MB each.
const SAMPLES_AHEAD: usize = 32;
/// Bad samples that an error names.
const NAMED: usize = 3;

/// The result of [`PackPlan::write`] for one shard.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PackReport {
    /// Path of the shard.
    pub path: PathBuf,
    /// Number of samples in it.
    pub samples: usize,
    /// Its length in bytes.
    pub shard_bytes: u64,
    /// Why it was written; `None` if it existed already and was kept.
    pub written: Option<String>,
    /// Samples that are not in it, because they are bad: [`OnCorrupt`](crate::OnCorrupt) has accepted them.
    pub bad: Vec<BadSample>,
}

/// What has become of the samples of a shard.
#[derive(Default)]
struct Packed {
    /// The index that the shard must have, up to the places of its members.
    index: ShardIndex,
    bad: Vec<BadSample>,
}

impl PackPlan {
    /// Writes a shard of the plan: each image followed by its JSON, with neither times nor owners, so that the same
    /// files give the same bytes.
    ///
    /// Files are read in parallel on the current rayon pool, and written by this thread. The shard is read back, and
    /// compared with the checksums of the bytes that the files had. Only then it gets its name, and an index file next
    /// to it. With [`IfExists::Keep`], a shard that is there already is kept if it has the names and lengths of the
    /// planned samples in the same order, and those of its files that are not older than the shard have the same
    /// checksums. `progress` is called, from any thread, with the number of samples packed since its last call, and not
    /// at all if the shard is kept.
    ///
    /// # Errors
    /// If more samples are bad than the policy accepts, or all of them; if a file has changed or vanished since the
    /// plan was made; if there is another file of the shard's name and `existing` is [`IfExists::Keep`], or something
    /// of its name that is no regular file; or if the shard cannot be written, or differs when it is read back.
    ///
    /// # Panics
    /// If there is no such shard.
    pub fn write(
        &self,
        shard: usize,
        existing: IfExists,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<PackReport> {
        let planned = &self.shards[shard];
        let path = &planned.path;
        catch_panic(path, || {
            create_dir(&self.out).map_err(|e| Error::io(format!("cannot create {}", self.out.display()), e))?;
            check_target(path, true).map_err(|e| Error::config(format!("cannot write {}: {e}", path.display())))?;
            let target = NewShard { path, existing, name: "the packed shard" };
            let written = reason(path, existing);
            let (samples, shard_bytes, bad) = match written {
                Some(_) => {
                    let (Packed { index, bad }, bytes) = self.pack(planned, &target, progress)?;
                    (index.entries().len(), bytes, bad)
                }
                None => {
                    let (samples, bad) = self.check_kept(planned, &target)?;
                    let found = fs::metadata(path).map_err(|e| Error::io("cannot read the file's metadata", e))?;
                    (samples, found.len(), bad)
                }
            };
            Ok(PackReport { path: path.clone(), samples, shard_bytes, written, bad })
        })
    }

    fn pack(
        &self,
        planned: &PlannedShard,
        target: &NewShard<'_>,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(Packed, u64)> {
        let all = planned.samples as u64;
        let packing = stage_progress(progress, all - all / 2, all);
        target.write(
            |append| self.fill(planned, append, &packing),
            |len| stage_progress(progress, all / 2, len),
            |packed, found| check_same(&packed.index, found, same_image),
            || self.check_kept(planned, target).map(drop),
        )
    }

    /// Appends the samples. The next ones are read while those before them are written.
    fn fill(&self, planned: &PlannedShard, append: &mut Append<'_>, progress: &(dyn Fn(u64) + Sync)) -> Result<Packed> {
        let mut packed = Packed::default();
        let mut starts = planned.range.clone().step_by(SAMPLES_AHEAD);
        let mut read_next = || {
            let start = starts.next()?;
            let window = start..planned.range.end.min(start + SAMPLES_AHEAD);
            Some(window.into_par_iter().map(|at| (at, self.read(at))).collect::<Vec<_>>())
        };
        let mut next = read_next();
        while let Some(window) = next.take() {
            let mut appended = Ok(());
            let count = window.len() as u64;
            rayon::in_place_scope(|scope| {
                scope.spawn(|_| next = read_next());
                appended = window.into_iter().try_for_each(|(at, read)| self.append(at, read?, &mut packed, append));
            });
            appended?;
            progress(count);
        }
        self.accept(&packed.bad, planned)?;
        if packed.index.entries().is_empty() {
            return Err(Error::corrupt(format!("no sample is valid: {}", named(&packed.bad))));
        }
        Ok(packed)
    }

    fn read(&self, at: usize) -> Result<Result<Members, BadSample>> {
        self.listing.read_sample(at, self.lengths.as_ref().map(|lengths| lengths[at]))
    }

    fn append(
        &self,
        at: usize,
        read: Result<Members, BadSample>,
        packed: &mut Packed,
        append: &mut Append<'_>,
    ) -> Result<()> {
        match read {
            Err(bad) => packed.bad.push(bad),
            // The shard will be refused. Its other samples are only read, to count the bad ones.
            Ok(_) if packed.bad.len() as u64 > self.budget() => {}
            Ok(Members { image, json, entry, stats }) => {
                let [image_name, json_name] = self.listing.members(at);
                append(&image_name, &image)?;
                append(&json_name, &json)?;
                packed.index.push(entry, &stats)?;
            }
        }
        Ok(())
    }

    /// How many samples of a shard may be bad.
    fn budget(&self) -> u64 {
        match self.on_corrupt {
            OnCorrupt::Stop => 0,
            OnCorrupt::Skip { budget } => budget,
        }
    }

    /// # Errors
    /// If more samples are bad than the policy accepts.
    fn accept(&self, bad: &[BadSample], planned: &PlannedShard) -> Result<()> {
        let count = bad.len() as u64;
        if count <= self.budget() {
            return Ok(());
        }
        let found = format!("{count} of {} samples are bad", planned.samples);
        Err(Error::corrupt(match self.on_corrupt {
            OnCorrupt::Stop => format!("{found}: {}; to leave them out, set on_corrupt", named(bad)),
            OnCorrupt::Skip { budget } => {
                format!("{found}, more than the budget of {budget} (on_corrupt): {}", named(bad))
            }
        }))
    }

    /// Checks that the shard which is there already has the planned samples. Returns their number, and the bad ones,
    /// which it does not have.
    fn check_kept(&self, planned: &PlannedShard, target: &NewShard<'_>) -> Result<(usize, Vec<BadSample>)> {
        let made = fs::metadata(target.path).map_err(|e| Error::io("cannot read the file's metadata", e))?;
        let made = (made.mtime(), made.mtime_nsec());
        target.check_kept("it", "shard of these samples", |found, is_original| {
            // Without its own index, nothing but the files tells whether the shard is whole.
            let made = if is_original { made } else { (i64::MIN, 0) };
            check_adjacent(found)?;
            let missing = self.missing(planned, found.entries())?;
            if missing.len() as u64 > self.budget() {
                let first = self.listing.paths(missing[0])[0].display().to_string();
                return Err(Error::corrupt(format!("it lacks {} samples, such as {first}", missing.len())));
            }
            let bad = missing.par_iter().map(|&at| match self.read(at)? {
                Err(bad) => Ok(bad),
                Ok(_) => Err(Error::corrupt(format!("it lacks {}", self.listing.paths(at)[0].display()))),
            });
            let bad = bad.collect::<Result<Vec<_>>>()?;
            let present = planned.range.clone().filter(|at| missing.binary_search(at).is_err()).collect::<Vec<_>>();
            let pairs = present.par_iter().zip(found.entries());
            pairs.try_for_each(|(&at, entry)| self.check_sample(at, entry, made))?;
            Ok((present.len(), bad))
        })
    }

    /// The planned samples that a shard does not have. All others are in it, in the planned order, and nothing else.
    fn missing(&self, planned: &PlannedShard, found: &[Entry]) -> Result<Vec<usize>> {
        let mut missing = Vec::new();
        let mut found = found.iter().peekable();
        for at in planned.range.clone() {
            let [image, json] = self.listing.members(at);
            match found.next_if(|entry| entry.image_name() == image && entry.annotations_name() == json) {
                Some(_) => {}
                None => missing.push(at),
            }
        }
        match found.next() {
            Some(entry) => {
                Err(Error::corrupt(format!("{} is another sample, or at another place", entry.image_name())))
            }
            None => Ok(missing),
        }
    }

    /// Checks that a sample in a shard, which was made at a time, is that of the files.
    fn check_sample(&self, at: usize, entry: &Entry, made: (i64, i64)) -> Result<()> {
        let paths = self.listing.paths(at);
        let mut is_older = true;
        for (path, extent) in paths.iter().zip([entry.image, entry.annotations]) {
            let found = fs::metadata(path).map_err(|e| Error::io(format!("cannot look at {}", path.display()), e))?;
            if found.len() != u64::from(extent.len) {
                let text = format!("{} has {} bytes, and {} there", path.display(), found.len(), extent.len);
                return Err(Error::corrupt(text));
            }
            // Unlike the time of the last change of the bytes, nobody can set it.
            is_older &= (found.ctime(), found.ctime_nsec()) < made;
        }
        if is_older {
            return Ok(());
        }
        let differs = |path: &Path| Err(Error::corrupt(format!("{} has other bytes", path.display())));
        let wanted = match self.read(at)? {
            Ok(Members { entry, .. }) => entry,
            Err(bad) => return differs(&bad.path),
        };
        match () {
            () if !same_image(&wanted, entry)? => differs(&paths[0]),
            () if summary(&wanted.annotations) != summary(&entry.annotations) => differs(&paths[1]),
            () => Ok(()),
        }
    }
}

fn same_image(wanted: &Entry, found: &Entry) -> Result<bool> {
    Ok(summary(&wanted.image) == summary(&found.image))
}

/// The first ones of them, in words.
fn named(bad: &[BadSample]) -> String {
    let mut text = bad.iter().take(NAMED).map(ToString::to_string).collect::<Vec<_>>().join("; ");
    if bad.len() > NAMED {
        text += "; ...";
    }
    text
}

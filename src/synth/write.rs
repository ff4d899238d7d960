//! Writes shards to disk: a complete file under its final name, or none.
//!
//! Members are generated in order but written in random order. In between they are spooled to an unnamed temporary file
//! beside the target, so that memory holds a few samples whatever the size of the shard.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::container::write_tar;
use super::json::stem;
use super::photos::Photos;
use super::rng::Rng;
use super::{SynthOptions, generate};
use crate::atomic::{AtomicFile, check_target, create_dir, dir_of};
use crate::container::TarWriter;
use crate::{Error, Result};

/// A shard that [`write_shard`] has written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WrittenShard {
    /// Path of the shard.
    pub path: PathBuf,
    /// Number of samples.
    pub samples: u64,
    /// Number of masks in all samples.
    pub masks: u64,
    /// Size of the file in bytes.
    pub shard_bytes: u64,
}

/// A member in the temporary file.
struct SpooledMember {
    name: String,
    offset: u64,
    len: u64,
}

/// Writes shard number `shard` to `path`; the file appears there when it is complete. Its samples have the image ids
/// `shard * samples + 1` to `shard * samples + samples`. Members are in random order, and the image and the annotations
/// of a sample are not next to each other.
///
/// See [`SynthOptions`] for an example.
///
/// # Errors
/// If a file exists at `path` and [`SynthOptions::overwrite`] is not set, if `options` set the number of samples to 0,
/// if photos are to be used and none can be decoded, or if the file cannot be written.
pub fn write_shard(path: impl AsRef<Path>, shard: u64, options: &SynthOptions) -> Result<WrittenShard> {
    write_one(path.as_ref(), shard, options, Photos::open(options)?.as_ref(), &|_| ())
}

/// Writes shards `sa_000000.tar`, `sa_000001.tar`, ... into `dir` and returns their paths. Creates `dir` if necessary.
/// Calls `progress` with the number of samples done so far, in all shards.
///
/// ```
/// use maskstream::synth::{Preset, SynthOptions, write_shards};
///
/// let dir = tempfile::tempdir()?;
/// let options = SynthOptions::new(Preset::Small).samples(2);
/// let paths = write_shards(dir.path(), 3, &options, &|done| println!("{done} of 6 samples"))?;
/// assert!(paths[2].ends_with("sa_000002.tar"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`write_shard`], or if `dir` cannot be created. That no name is taken is checked before anything is drawn. Shards
/// that were complete before a later error stay.
pub fn write_shards(
    dir: impl AsRef<Path>,
    shards: usize,
    options: &SynthOptions,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Vec<PathBuf>> {
    let dir = dir.as_ref();
    create_dir(dir).map_err(|cause| Error::io(format!("cannot create {}", dir.display()), cause))?;
    let path = |shard: usize| dir.join(format!("sa_{shard:06}.tar"));
    (0..shards).try_for_each(|shard| check_path(&path(shard), options))?;
    let photos = Photos::open(options)?;
    let write = |shard: usize| {
        let path = path(shard);
        let before = (shard * options.samples) as u64;
        let report = write_one(&path, shard as u64, options, photos.as_ref(), &|done| progress(before + done))?;
        Ok(report.path)
    };
    (0..shards).map(write).collect()
}

/// Checks that the shard may get this name.
fn check_path(path: &Path, options: &SynthOptions) -> Result<()> {
    let refused = |e| Error::config(format!("cannot write {}: {e}", path.display()));
    check_target(path, options.overwrite).map_err(refused)
}

fn write_one(
    path: &Path,
    shard: u64,
    options: &SynthOptions,
    photos: Option<&Photos>,
    progress: &dyn Fn(u64),
) -> Result<WrittenShard> {
    if options.samples == 0 {
        return Err(Error::config("a shard needs at least one sample: set `samples` to 1 or more"));
    }
    // The last id plus one must fit in an i64, too.
    let first_id = i64::try_from(u128::from(shard) * options.samples as u128 + 1)
        .ok()
        .filter(|first_id| first_id.checked_add_unsigned(options.samples as u64).is_some())
        .ok_or_else(|| {
            Error::config("the image ids of this shard do not fit in 64 bits: lower `shard` or `samples`")
        })?;
    check_path(path, options)?;
    let failed = |cause| Error::io("cannot write the shard", cause).in_shard(path);
    let spool = tempfile::tempfile_in(dir_of(path)).map_err(failed)?;
    let (mut spool, mut members, masks) = spool_members(spool, first_id, options, photos, path, progress)?;
    shuffle_apart(&mut members, &mut Rng::new(&[options.seed, shard, 0x6f_7264_6572]));
    let copy = |tar: &mut TarWriter<'_>| {
        members.iter().try_for_each(|SpooledMember { name, offset, len }| {
            spool.seek(SeekFrom::Start(*offset))?;
            tar.append(&format!("./{name}"), *len, Read::by_ref(&mut spool))
        })
    };
    let finish = || {
        let mut draft = AtomicFile::of(path)?;
        let mut out = BufWriter::with_capacity(1 << 20, draft.file());
        write_tar(&mut out, options.gzip, copy)?;
        let target = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        let shard_bytes = target.metadata()?.len();
        draft.publish(path, options.overwrite)?;
        Ok(shard_bytes)
    };
    let shard_bytes = finish().map_err(failed)?;
    Ok(WrittenShard { path: path.to_owned(), samples: options.samples as u64, masks, shard_bytes })
}

/// Generates all members into `spool`. Also returns the total number of masks.
fn spool_members(
    spool: File,
    first_id: i64,
    options: &SynthOptions,
    photos: Option<&Photos>,
    path: &Path,
    progress: &dyn Fn(u64),
) -> Result<(File, Vec<SpooledMember>, u64)> {
    let failed = |cause| Error::io("cannot write members to a temporary file", cause).in_shard(path);
    // Several samples per thread, so that few threads are idle while the slowest sample of a chunk is made.
    let chunk = 4 * rayon::current_num_threads();
    let mut out = BufWriter::new(spool);
    let (mut members, mut offset, mut masks) = (Vec::with_capacity(2 * options.samples), 0, 0);
    for start in (0..options.samples).step_by(chunk) {
        let ids = start..(start + chunk).min(options.samples);
        let samples: Vec<_> =
            ids.into_par_iter().map(|index| generate(first_id + index as i64, options, photos)).collect();
        for sample in samples {
            let (sample, sample_masks) = sample?;
            masks += sample_masks as u64;
            for (extension, bytes) in [("jpg", &sample.image), ("json", &sample.annotations)] {
                out.write_all(bytes).map_err(failed)?;
                let len = bytes.len() as u64;
                members.push(SpooledMember { name: format!("{}.{extension}", stem(sample.image_id)), offset, len });
                offset += len;
            }
        }
        progress((start + chunk).min(options.samples) as u64);
    }
    let spool = out.into_inner().map_err(|error| failed(error.into_error()))?;
    Ok((spool, members, masks))
}

/// Shuffles members, which come in pairs, until no two members of a pair are neighbours. About two random orders of
/// three have such neighbours; a single pair always does, so the number of attempts is limited.
fn shuffle_apart(members: &mut [SpooledMember], rng: &mut Rng) {
    let stem_of = |member: &SpooledMember| member.name.split('.').next().map(str::to_owned);
    for _ in 0..100 {
        rng.shuffle(members);
        if members.windows(2).all(|pair| stem_of(&pair[0]) != stem_of(&pair[1])) {
            return;
        }
    }
}

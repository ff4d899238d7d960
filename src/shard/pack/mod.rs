//! Packing: a directory of extracted samples becomes plain shards.
//!
//! Which sample is in which shard follows from the names and lengths of the files alone, so every machine that packs a
//! part of them has the same plan. The bytes of a shard follow from those of its files.
//!
//! `folder` and `listing` find the samples, `reading` reads them, `write` makes a shard of them.

mod folder;
mod listing;
mod natural;
mod reading;
mod strays;
mod write;

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use self::listing::{Lengths, Listing, identity};
pub use self::reading::BadSample;
pub use self::strays::{Stray, StrayKind};
pub use self::write::PackReport;
use super::{OnCorrupt, pool};
use crate::container::FRAME_BYTES;
use crate::{Error, Result};

/// About the size of an official shard: then SA-1B has as many shards as there are official ones.
const DEFAULT_SHARD_BYTES: u64 = 11_000_000_000;
/// Half the members that a shard may have.
const MAX_SAMPLES: usize = 1 << 20;
/// The names of more shards would not have the same length.
const MAX_SHARDS: usize = 1_000_000;

/// Settings for packing directories of extracted samples (`sa_1.jpg` beside `sa_1.json`) into plain tar shards.
///
/// ```
/// # #[cfg(feature = "synth")] {
/// # use maskstream::synth::{Preset, SynthOptions, sample};
/// use maskstream::index::{IfExists, Packer};
///
/// # let dir = tempfile::tempdir()?;
/// # let (extracted, packed) = (dir.path().join("extracted"), dir.path().join("packed"));
/// # std::fs::create_dir(&extracted)?;
/// # for id in 1..=5 {
/// #     let sample = sample(id, &SynthOptions::new(Preset::Small))?;
/// #     std::fs::write(extracted.join(format!("sa_{id}.jpg")), sample.image)?;
/// #     std::fs::write(extracted.join(format!("sa_{id}.json")), sample.annotations)?;
/// # }
/// let plan = Packer::new().samples(2).plan(&[&extracted], &packed, &|_| ())?;
/// assert_eq!((plan.samples(), plan.shards().len()), (5, 3));
/// assert!(plan.strays().is_empty()); // nothing else is in the directory
///
/// for shard in 0..plan.shards().len() {
///     let report = plan.write(shard, IfExists::Keep, &|_| ())?;
///     println!("{}: {} samples", report.path.display(), report.samples);
/// }
/// let set = maskstream::ShardSet::builder().open(&[&packed])?; // the indexes are there as well
/// assert_eq!(set.len(), 5);
/// # }
/// # Ok::<(), maskstream::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Packer {
    size: ShardSize,
    on_corrupt: OnCorrupt,
}

#[derive(Clone, Copy, Debug)]
enum ShardSize {
    Bytes(u64),
    Samples(usize),
}

impl Default for Packer {
    fn default() -> Self {
        Self { size: ShardSize::Bytes(DEFAULT_SHARD_BYTES), on_corrupt: OnCorrupt::default() }
    }
}

impl Packer {
    /// Shards of the size of the official ones, 11 GB; bad samples are errors.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the largest size of a shard in bytes, for [`Packer::plan`]; a larger sample has a shard of its own.
    /// Default: 11 GB.
    pub fn shard_bytes(mut self, bytes: u64) -> Self {
        self.size = ShardSize::Bytes(bytes);
        self
    }

    /// Sets the number of samples in a shard, at most 2^20, instead of its size. Then [`Packer::plan`] need not look at
    /// every file, which takes long on network file systems.
    pub fn samples(mut self, samples: usize) -> Self {
        self.size = ShardSize::Samples(samples);
        self
    }

    /// Sets what to do about bad samples: files that are empty or cannot be read, JSON that cannot be parsed, images
    /// that are no JPEG, have no end, or are not of the size that their annotations say. The budget is that of each
    /// shard. Default: [`OnCorrupt::Stop`].
    pub fn on_corrupt(mut self, on_corrupt: OnCorrupt) -> Self {
        self.on_corrupt = on_corrupt;
        self
    }

    /// Lists the samples in `dirs` and all directories inside of them, and plans the shards `sa_000000.tar`,
    /// `sa_000001.tar` and so on in the directory `out`. Reads no contents and writes nothing.
    ///
    /// A sample is an image (`.jpg`, `.jpeg`) and a JSON file of the same name in the same directory. Samples are in
    /// the order of their names, in which numbers count by their value: `sa_2` comes before `sa_10`. Links are
    /// followed, but no directory is listed twice, and `out` is not listed. Files are listed in parallel on the current
    /// rayon pool. `progress` is called, from any thread, with the number of files found, and then with the number of
    /// samples looked at, since its last call.
    ///
    /// # Errors
    /// If a directory cannot be listed or is `out` itself, if there is no sample, if two samples have the same name, if
    /// there would be more than a million shards, or if `out` has shards of another packing that would stay beside
    /// these.
    pub fn plan<P: AsRef<Path>>(
        &self,
        dirs: &[P],
        out: impl AsRef<Path>,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<PackPlan> {
        pool::start()?;
        let out = out.as_ref();
        let dirs: Vec<PathBuf> = dirs.iter().map(|dir| dir.as_ref().to_owned()).collect();
        for dir in &dirs {
            let shown = dir.display();
            let found = fs::metadata(dir).map_err(|e| Error::io(format!("cannot look at {shown}"), e))?;
            if !found.is_dir() {
                return Err(Error::config(format!("{shown} is no directory: name a directory of extracted samples")));
            }
            if identity(dir) == identity(out) {
                let text = format!("the shards would be written to {shown}, which is packed: choose another directory");
                return Err(Error::config(text));
            }
        }
        let listing = Listing::read(&dirs, out, progress)?;
        let (lengths, parts) = match self.size {
            ShardSize::Samples(samples) => (None, by_count(listing.len(), samples.clamp(1, MAX_SAMPLES))),
            ShardSize::Bytes(bytes) => {
                let lengths = listing.lengths(progress)?;
                let parts = by_size(&listing, &lengths, bytes);
                (Some(lengths), parts)
            }
        };
        if parts.len() > MAX_SHARDS {
            let text = format!("there would be {} shards, more than {MAX_SHARDS}: make them larger", parts.len());
            return Err(Error::config(text));
        }
        let shard = |(number, (samples, bytes)): (usize, (Range<usize>, Option<u64>))| PlannedShard {
            path: out.join(format!("sa_{number:06}.tar")),
            samples: samples.len(),
            bytes,
            range: samples,
        };
        let shards: Vec<PlannedShard> = parts.into_iter().enumerate().map(shard).collect();
        check_surplus(out, shards.len())?;
        Ok(PackPlan { listing, lengths, shards, out: out.to_owned(), on_corrupt: self.on_corrupt })
    }
}

/// Refuses a directory that has shards of another packing: a loader would take those as well, and see samples twice.
fn check_surplus(out: &Path, shards: usize) -> Result<()> {
    let number = |name: &str| name.strip_prefix("sa_")?.strip_suffix(".tar")?.parse::<usize>().ok();
    let names =
        fs::read_dir(out).into_iter().flatten().flatten().filter_map(|entry| entry.file_name().into_string().ok());
    match names.filter(|name| number(name).is_some_and(|number| number >= shards)).min() {
        Some(name) => {
            let last = shards.saturating_sub(1);
            Err(Error::config(format!(
                "{} has {name}, which is none of the {shards} shards of these samples (the last one is \
                 sa_{last:06}.tar): it may be of another packing; move it away, or choose another directory",
                out.display()
            )))
        }
        None => Ok(()),
    }
}

/// Shards of that many samples.
fn by_count(all: usize, samples: usize) -> Vec<(Range<usize>, Option<u64>)> {
    (0..all).step_by(samples).map(|start| (start..all.min(start.saturating_add(samples)), None)).collect()
}

/// Shards of at most `most` bytes, but of at least one sample and at most as many as an index can have; and their
/// lengths.
fn by_size(listing: &Listing, lengths: &[Lengths], most: u64) -> Vec<(Range<usize>, Option<u64>)> {
    let mut parts = Vec::new();
    let (mut start, mut bytes) = (0, FRAME_BYTES);
    for (at, &lengths) in lengths.iter().enumerate() {
        let sample = listing.bytes(at, lengths);
        if at > start && (bytes + sample > most || at - start == MAX_SAMPLES) {
            parts.push((start..at, Some(bytes)));
            (start, bytes) = (at, FRAME_BYTES);
        }
        bytes += sample;
    }
    parts.push((start..lengths.len(), Some(bytes)));
    parts
}

/// What is packed into which shard, from [`Packer::plan`]. The same files and settings give the same plan on every
/// machine.
pub struct PackPlan {
    listing: Listing,
    /// Of each sample, if they were needed to make the plan.
    lengths: Option<Vec<Lengths>>,
    shards: Vec<PlannedShard>,
    out: PathBuf,
    on_corrupt: OnCorrupt,
}

/// A shard of a [`PackPlan`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PlannedShard {
    /// Its path.
    pub path: PathBuf,
    /// Number of samples.
    pub samples: usize,
    /// Its length in bytes if no sample is bad; `None` if it was planned by the number of samples.
    pub bytes: Option<u64>,
    range: Range<usize>,
}

impl PackPlan {
    /// The shards, in the order of their names.
    pub fn shards(&self) -> &[PlannedShard] {
        &self.shards
    }

    /// Number of samples in all shards.
    pub fn samples(&self) -> usize {
        self.listing.len()
    }

    /// Number of files found.
    pub fn files(&self) -> u64 {
        self.listing.files
    }

    /// Files that belong to no sample, by the reason.
    pub fn strays(&self) -> &[Stray] {
        &self.listing.strays
    }

    /// Checks that the file system of the output directory has room for those of `shards` that are not there yet. Does
    /// nothing if the plan was made by the number of samples.
    ///
    /// # Errors
    /// If it has not.
    ///
    /// # Panics
    /// If there is no shard of such a number.
    pub fn check_space(&self, shards: &[usize]) -> Result<()> {
        let missing = shards.iter().map(|&number| &self.shards[number]).filter(|shard| !shard.path.exists());
        let shard_bytes: u64 = missing.filter_map(|shard| shard.bytes).sum();
        // An index has about 0.2 % of the size of its shard.
        let needed = shard_bytes + shard_bytes / 500;
        let existing = self.out.ancestors().find(|dir| dir.exists()).filter(|dir| !dir.as_os_str().is_empty());
        let Ok(found) = rustix::fs::statvfs(existing.unwrap_or(Path::new("."))) else { return Ok(()) };
        let free = found.f_bavail.saturating_mul(found.f_frsize);
        // Some network file systems do not say.
        if found.f_blocks == 0 || needed <= free {
            return Ok(());
        }
        let gigabytes = |bytes: u64| match bytes {
            1_000_000_000.. => format!("{:.1} GB", bytes as f64 / 1e9),
            _ => format!("{:.1} MB", bytes as f64 / 1e6),
        };
        Err(Error::config(format!(
            "the shards need {}, but {} has {} left: make room, choose another directory, or pack them in parts",
            gigabytes(needed),
            self.out.display(),
            gigabytes(free)
        )))
    }
}

impl std::fmt::Debug for PackPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (samples, shards) = (self.samples(), self.shards.len());
        f.debug_struct("PackPlan").field("samples", &samples).field("shards", &shards).finish_non_exhaustive()
    }
}

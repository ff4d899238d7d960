//! The samples of all folders, in the order in which they are packed.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::folder::{Folder, Sample};
use super::natural;
use super::strays::{Stray, StrayKind, Strays, summary};
use crate::container::member_bytes;
use crate::{Error, Result};

/// The samples of some folders, sorted by name: numbers count by their value, and which folder a sample is in does not.
pub(super) struct Listing {
    folders: Vec<PathBuf>,
    names: String,
    samples: Vec<Sample>,
    pub(super) strays: Vec<Stray>,
    pub(super) files: u64,
}

/// Lengths of an image and its JSON file.
pub(super) type Lengths = [u32; 2];

impl Listing {
    /// Lists `dirs` and all directories in them, each once, but not `out`.
    ///
    /// # Errors
    /// If a directory cannot be listed, if there is no sample, or if two samples have the same name.
    pub(super) fn read(dirs: &[PathBuf], out: &Path, progress: &(dyn Fn(u64) + Sync)) -> Result<Self> {
        let mut seen = HashSet::from([identity(out)]);
        let mut listing =
            Self { folders: Vec::new(), names: String::new(), samples: Vec::new(), strays: Vec::new(), files: 0 };
        let mut strays = Strays::default();
        let mut level = dirs.to_vec();
        while !level.is_empty() {
            level.sort();
            level.retain(|dir| seen.insert(identity(dir)));
            let read = level.par_iter().map(|dir| Folder::read(dir, progress)).collect::<Result<Vec<_>>>()?;
            let mut next = Vec::new();
            for (path, mut folder) in level.into_iter().zip(read) {
                next.append(&mut folder.folders);
                strays.extend(std::mem::take(&mut folder.strays));
                listing.add(path, folder);
            }
            level = next;
        }
        listing.strays = strays.sorted();
        let Self { names, samples, .. } = &mut listing;
        samples.par_sort_unstable_by(|a, b| natural::compare(stem(names, a), stem(names, b)));
        listing.check(dirs)?;
        Ok(listing)
    }

    fn add(&mut self, path: PathBuf, folder: Folder) {
        let (number, base) = (self.folders.len() as u32, self.names.len());
        self.folders.push(path);
        self.files += folder.files;
        self.names.push_str(&folder.names);
        let placed = |sample: Sample| Sample { start: sample.start + base, folder: number, ..sample };
        self.samples.extend(folder.samples.into_iter().map(placed));
    }

    fn check(&self, dirs: &[PathBuf]) -> Result<()> {
        let Some(first) = dirs.first() else { return Err(Error::config("no directories were given")) };
        if self.samples.is_empty() {
            let names: Vec<_> = dirs.iter().map(|dir| dir.display().to_string()).collect();
            let tars = self.strays.iter().any(|stray| stray.kind == StrayKind::Tar);
            let found = match self.strays.as_slice() {
                [] => "no file at all".to_owned(),
                strays => summary(strays, first),
            };
            let advice = if tars { "; tar shards need not be packed: they are used as they are" } else { "" };
            let text = format!(
                "{} has no sample, which is an image and a json file of the same name (sa_1.jpg, sa_1.json), but \
                 {found}{advice}",
                names.join(", ")
            );
            return Err(Error::config(text));
        }
        let same = self.samples.windows(2).position(|pair| stem(&self.names, &pair[0]) == stem(&self.names, &pair[1]));
        same.map_or(Ok(()), |at| {
            let [one, other] = [at, at + 1].map(|at| self.paths(at)[0].display().to_string());
            Err(Error::config(format!(
                "{one} and {other} have the same name, and a shard can hold only one of them: pack their directories \
                 into different ones"
            )))
        })
    }

    /// Number of samples.
    pub(super) fn len(&self) -> usize {
        self.samples.len()
    }

    /// Paths of the image and the JSON file of a sample.
    pub(super) fn paths(&self, at: usize) -> [PathBuf; 2] {
        let sample = &self.samples[at];
        let folder = &self.folders[sample.folder as usize];
        let extension = String::from_utf8_lossy(&sample.json);
        [folder.join(image(&self.names, sample)), folder.join(format!("{}.{extension}", stem(&self.names, sample)))]
    }

    /// Names of the image and the JSON file of a sample in a shard.
    pub(super) fn members(&self, at: usize) -> [String; 2] {
        let sample = &self.samples[at];
        [format!("./{}", image(&self.names, sample)), format!("./{}.json", stem(&self.names, sample))]
    }

    /// The lengths of all files. `progress` is called with the number of samples since its last call.
    ///
    /// # Errors
    /// If a file has vanished, or cannot be looked at.
    pub(super) fn lengths(&self, progress: &(dyn Fn(u64) + Sync)) -> Result<Vec<Lengths>> {
        let lengths = (0..self.len()).into_par_iter().map(|at| {
            let [image, json] = self.paths(at);
            let lengths = [length(&image)?, length(&json)?];
            progress(1);
            Ok(lengths)
        });
        lengths.collect()
    }

    /// Bytes that a sample with files of these lengths takes in a shard.
    pub(super) fn bytes(&self, at: usize, lengths: Lengths) -> u64 {
        let Sample { stem, name, .. } = self.samples[at];
        let [image, json] = lengths.map(u64::from);
        let name_bytes = |len: usize| "./".len() + len;
        member_bytes(name_bytes(name.into()), image) + member_bytes(name_bytes(usize::from(stem) + ".json".len()), json)
    }
}

fn image<'a>(names: &'a str, sample: &Sample) -> &'a str {
    &names[sample.start..sample.start + usize::from(sample.name)]
}

fn stem<'a>(names: &'a str, sample: &Sample) -> &'a str {
    &names[sample.start..sample.start + usize::from(sample.stem)]
}

/// What is the same for all paths of a directory.
pub(super) fn identity(dir: &Path) -> PathBuf {
    fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned())
}

/// Length of a file; 2^32 - 1 if it is longer, which is more than a member may have.
fn length(path: &Path) -> Result<u32> {
    let cannot = |e| Error::io(format!("cannot look at {}", path.display()), e);
    let len = fs::metadata(path).map_err(cannot)?.len();
    Ok(u32::try_from(len).unwrap_or(u32::MAX))
}

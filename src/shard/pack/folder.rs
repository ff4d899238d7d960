//! The files of one folder, paired by their names.
//!
//! Eleven million samples may lie in one folder, so names are kept in one text, and nothing but the names is looked at.

use std::ffi::OsString;
use std::fs::{self, DirEntry};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::natural;
use super::strays::{StrayKind, Strays};
use crate::shard::pairing::{MemberKind, member_kind};
use crate::{Error, Result};

/// Files between two reports of progress.
const REPORTED: u64 = 1000;

/// A sample in a list of names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// Start of the image's name in the text of all names.
    pub(super) start: usize,
    /// Index of the folder.
    pub(super) folder: u32,
    /// Extension of the JSON file: some write it in capitals.
    pub(super) json: [u8; 4],
    /// Length of the name without extension.
    pub(super) stem: u8,
    /// Length of the image's name.
    pub(super) name: u8,
}

/// What is in a folder.
#[derive(Debug, Default)]
pub(super) struct Folder {
    /// The names of the images, one after the other.
    pub(super) names: String,
    pub(super) samples: Vec<Sample>,
    pub(super) strays: Strays,
    /// Folders inside of it, and links to folders.
    pub(super) folders: Vec<PathBuf>,
    /// Number of files.
    pub(super) files: u64,
}

/// A file's name in the text of all names.
#[derive(Clone, Copy)]
struct File {
    start: usize,
    /// Length of the name, and of its part before the extension.
    len: u8,
    stem: u8,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Image,
    Annotations,
    Stray(StrayKind),
}

impl Folder {
    /// Lists the folder at `path`. `progress` is called with the number of files listed since its last call.
    ///
    /// # Errors
    /// If it cannot be listed.
    pub(super) fn read(path: &Path, progress: &(dyn Fn(u64) + Sync)) -> Result<Self> {
        let cannot = |e| {
            let text = format!("cannot list the directory {}; name directories that can be read", path.display());
            Error::io(text, e)
        };
        let mut folder = Self::default();
        let (mut names, mut files, mut unnamed) = (String::new(), Vec::new(), Vec::new());
        for entry in fs::read_dir(path).map_err(cannot)? {
            let entry = entry.map_err(cannot)?;
            let Some(kind) = folder.kind(path, &entry).map_err(cannot)? else { continue };
            folder.files += 1;
            if folder.files.is_multiple_of(REPORTED) {
                progress(REPORTED);
            }
            match entry.file_name().to_str() {
                Some(name) => files.push(file(name, kind, &mut names)),
                None => unnamed.push(entry.file_name()),
            }
        }
        progress(folder.files % REPORTED);
        folder.pair(path, &names, files);
        folder.name_unnamed(path, unnamed);
        folder.folders.sort();
        Ok(folder)
    }

    /// What the type of a file says about it. A folder is noted, and is no file.
    fn kind(&mut self, path: &Path, entry: &DirEntry) -> std::io::Result<Option<Option<StrayKind>>> {
        let mut kind = entry.file_type()?;
        if kind.is_symlink() {
            match fs::metadata(entry.path()) {
                Ok(target) => kind = target.file_type(),
                Err(_) => return Ok(Some(Some(StrayKind::BrokenLink))),
            }
        }
        if kind.is_dir() {
            self.folders.push(path.join(entry.file_name()));
            return Ok(None);
        }
        Ok(Some((!kind.is_file()).then_some(StrayKind::NotRegular)))
    }

    /// Makes samples of files with the same name, and strays of all others.
    fn pair(&mut self, path: &Path, names: &str, mut files: Vec<File>) {
        let name = |file: &File| &names[file.start..file.start + usize::from(file.len)];
        let stem = |file: &File| &names[file.start..file.start + usize::from(file.stem)];
        // Of two images, the one whose extension is jpg is packed.
        let is_usual = |file: &File| [".jpg", ".json"].iter().any(|usual| name(file).ends_with(usual));
        let order = |file: &File| (file.kind, !is_usual(file));
        files.par_sort_unstable_by(|a, b| {
            let by_stem = natural::compare(stem(a), stem(b));
            by_stem.then_with(|| order(a).cmp(&order(b))).then_with(|| name(a).cmp(name(b)))
        });
        for same in files.chunk_by(|a, b| stem(a) == stem(b)) {
            let of = |kind: Kind| same.iter().find(move |file| file.kind == kind);
            let (image, json) = (of(Kind::Image), of(Kind::Annotations));
            if let (Some(image), Some(json)) = (image, json) {
                let mut extension = *b"json";
                extension.copy_from_slice(&name(json).as_bytes()[usize::from(json.stem) + 1..]);
                let start = self.names.len();
                self.names.push_str(name(image));
                self.samples.push(Sample { start, folder: 0, json: extension, stem: image.stem, name: image.len });
            }
            for file in same {
                let kind = match file.kind {
                    Kind::Stray(kind) => kind,
                    Kind::Image if json.is_none() => StrayKind::ImageWithoutAnnotations,
                    Kind::Annotations if image.is_none() => StrayKind::AnnotationsWithoutImage,
                    Kind::Image | Kind::Annotations => {
                        let packed = [image, json].into_iter().flatten().any(|packed| packed.start == file.start);
                        if packed {
                            continue;
                        }
                        StrayKind::Duplicate
                    }
                };
                self.strays.add(kind, || path.join(name(file)));
            }
        }
    }

    fn name_unnamed(&mut self, path: &Path, mut unnamed: Vec<OsString>) {
        unnamed.sort();
        for name in unnamed {
            self.strays.add(StrayKind::NotUtf8, || path.join(name));
        }
    }
}

/// Adds a name to the text of all names. `stray` is what the type of the file says.
fn file(name: &str, stray: Option<StrayKind>, names: &mut String) -> File {
    let start = names.len();
    names.push_str(name);
    // Names have at most 255 bytes on every file system of Linux.
    let len = u8::try_from(name.len()).ok();
    let found = member_kind(name).filter(|(stem, _)| !stem.is_empty());
    let (stem, kind) = match (stray, found) {
        (Some(stray), _) => (name.len(), Kind::Stray(stray)),
        (None, Some((stem, MemberKind::Image))) => (stem.len(), Kind::Image),
        (None, Some((stem, MemberKind::Annotations))) => (stem.len(), Kind::Annotations),
        (None, None) if name.ends_with(".tar") => (name.len(), Kind::Stray(StrayKind::Tar)),
        (None, None) => (name.len(), Kind::Stray(StrayKind::Other)),
    };
    match len {
        Some(len) => File { start, len, stem: stem as u8, kind },
        None => {
            let cut = name.floor_char_boundary(usize::from(u8::MAX)) as u8;
            File { start, len: cut, stem: cut, kind: Kind::Stray(StrayKind::Other) }
        }
    }
}

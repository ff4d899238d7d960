//! What a directory holds in place of shards: for the error that names no shard in it.
//!
//! It may be a directory of eleven million extracted samples, so its names are read once and not kept.

use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirEntry};
use std::io;
use std::path::Path;

use super::pairing::{MemberKind, member_kind};

/// Samples whose image and JSON are counted as a pair.
const MAX_STEMS: usize = 100_000;
/// Directories that are looked into, and files that are looked at in each of them.
const MAX_FOLDERS: usize = 16;
const MAX_NAMES_INSIDE: usize = 10_000;

/// A summary of the names in a directory.
#[derive(Default)]
pub(super) struct Contents {
    all: Counted,
    /// Archives that are shards under other names.
    tar_gz: Counted,
    tgz: Counted,
    /// Images and JSON files.
    extracted: Counted,
    /// By name without extension: the image, and whether there is a JSON file.
    stems: HashMap<String, (Option<String>, bool)>,
    /// The first of the directories.
    folders: BTreeSet<OsString>,
}

/// The number of some names, and the first of them.
#[derive(Default)]
struct Counted {
    count: u64,
    first: Option<OsString>,
}

impl Counted {
    fn add(&mut self, name: &OsStr) {
        self.count += 1;
        if self.first.as_deref().is_none_or(|first| name < first) {
            self.first = Some(name.to_owned());
        }
    }

    fn shown(&self) -> Option<String> {
        self.first.as_ref().map(|first| format!("{} such as {}", self.count, first.display()))
    }
}

impl Contents {
    pub(super) fn of(dir: &Path) -> io::Result<Self> {
        let mut contents = Self::default();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            contents.add(&entry.file_name(), &entry);
        }
        Ok(contents)
    }

    pub(super) fn add(&mut self, name: &OsStr, entry: &DirEntry) {
        self.all.add(name);
        let kind = entry.file_type().ok();
        if kind.is_some_and(|kind| kind.is_dir() || kind.is_symlink() && entry.path().is_dir()) {
            self.folders.insert(name.to_owned());
            if self.folders.len() > MAX_FOLDERS {
                self.folders.pop_last();
            }
            return;
        }
        // Of what macOS writes beside its files, nothing is meant.
        let Some(text) = name.to_str().filter(|text| !text.starts_with("._")) else { return };
        match member_kind(text) {
            Some((stem, kind)) => {
                self.extracted.add(name);
                self.add_half(stem, kind, text);
            }
            None if text.to_lowercase().ends_with(".tar.gz") => self.tar_gz.add(name),
            None if text.to_lowercase().ends_with(".tgz") => self.tgz.add(name),
            None => {}
        }
    }

    fn add_half(&mut self, stem: &str, kind: MemberKind, name: &str) {
        let is_full = self.stems.len() >= MAX_STEMS;
        let half = match self.stems.get_mut(stem) {
            Some(half) => half,
            None if is_full => return,
            None => self.stems.entry(stem.to_owned()).or_default(),
        };
        match kind {
            MemberKind::Image => half.0 = Some(name.to_owned()),
            MemberKind::Annotations => half.1 = true,
        }
    }

    /// How many pairs there are, and the first image.
    fn pairs(&self) -> Option<String> {
        let complete = || self.stems.values().filter_map(|(image, has_json)| image.as_ref().filter(|_| *has_json));
        let (count, first) = (complete().count(), complete().min_by_key(|name| (name.len(), *name))?);
        let more = if self.stems.len() >= MAX_STEMS { "at least " } else { "" };
        let noun = if count == 1 { "pair" } else { "pairs" };
        Some(format!("{more}{count} image/json {noun} ({first}{})", if count > 1 { ", ..." } else { "" }))
    }

    /// What is in `dir`, whose contents these are, as the end of a sentence that says that it has no shard.
    pub(super) fn instead(&self, dir: &Path) -> String {
        let shown = dir.display();
        if self.all.count == 0 {
            return "is empty: shards are its *.tar files".to_owned();
        }
        let found = if let Some(packed) = self.tar_gz.shown() {
            format!("but {packed}: name them as '{shown}/*.tar.gz'")
        } else if let Some(packed) = self.tgz.shown() {
            format!("but {packed}: name them as '{shown}/*.tgz'")
        } else if let Some(pairs) = self.pairs() {
            format!("but {pairs}: {}", packer(dir))
        } else if let Some(inside) = self.inside(dir, has_tar) {
            format!("but directories with some: name {}", inside.display())
        } else if let Some(inside) = self.inside(dir, has_pair) {
            format!("but directories with image/json pairs, such as {}: {}", inside.display(), packer(dir))
        } else if let Some(single) = self.extracted.shown() {
            format!("but images or json files, {single}: a sample needs both, under one name (sa_1.jpg, sa_1.json)")
        } else {
            return format!("has no *.tar file: it {}; name shards with other names one by one", self.counted());
        };
        format!("has no *.tar file, {found}")
    }

    /// The pairs in `dir`, and what to do with them; or else how many names it has.
    pub(super) fn pairs_or_count(&self, dir: &Path) -> String {
        self.pairs().map_or_else(|| self.counted(), |pairs| format!("has {pairs}: {}", packer(dir)))
    }

    /// How many names there are, and one of them.
    fn counted(&self) -> String {
        match (&self.all.first, self.all.count) {
            (None, _) => "is empty".to_owned(),
            (Some(one), 1) => format!("has only {}", one.display()),
            (Some(first), count) => format!("has {count} files, such as {}", first.display()),
        }
    }

    /// The first directory inside of `dir` for whose contents `is_such` is true.
    fn inside(&self, dir: &Path, is_such: fn(&Path) -> io::Result<bool>) -> Option<std::path::PathBuf> {
        self.folders.iter().map(|name| dir.join(name)).find(|inside| is_such(inside).unwrap_or(false))
    }
}

/// What makes shards of the samples in a directory.
fn packer(dir: &Path) -> String {
    format!("index::Packer makes shards of {} in a directory of their own", dir.display())
}

fn has_tar(dir: &Path) -> io::Result<bool> {
    let mut names = fs::read_dir(dir)?.take(MAX_NAMES_INSIDE).flatten();
    Ok(names.any(|entry| entry.file_name().as_encoded_bytes().ends_with(b".tar")))
}

fn has_pair(dir: &Path) -> io::Result<bool> {
    let mut contents = Contents::default();
    for entry in fs::read_dir(dir)?.take(MAX_NAMES_INSIDE).flatten() {
        contents.add(&entry.file_name(), &entry);
    }
    Ok(contents.pairs().is_some())
}

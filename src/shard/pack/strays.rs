//! Files of a folder that belong to no sample. They are counted and named, and never fatal.

use std::fmt;
use std::path::{Path, PathBuf};

/// Files that are named of each kind.
const NAMED: usize = 20;

/// Files of the packed folders that belong to no sample, all of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stray {
    /// Why they are not packed.
    pub kind: StrayKind,
    /// Their number.
    pub count: u64,
    /// The first ones of them, at most 20, in the order of their paths.
    pub first: Vec<PathBuf>,
}

/// Why files are not packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum StrayKind {
    /// An image without a JSON file of its name in its folder.
    ImageWithoutAnnotations,
    /// A JSON file without an image of its name in its folder.
    AnnotationsWithoutImage,
    /// Another image, or another JSON file, of a sample: `sa_1.jpeg` beside `sa_1.jpg`, which is packed.
    Duplicate,
    /// A file whose name is not UTF-8.
    NotUtf8,
    /// A link that leads nowhere, or cannot be followed.
    BrokenLink,
    /// A named pipe, a socket or a device.
    NotRegular,
    /// A tar archive: it may be a shard.
    Tar,
    /// Any other file.
    Other,
}

impl fmt::Display for StrayKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ImageWithoutAnnotations => "image without json",
            Self::AnnotationsWithoutImage => "json without image",
            Self::Duplicate => "second file of a sample",
            Self::NotUtf8 => "name that is not UTF-8",
            Self::BrokenLink => "broken link",
            Self::NotRegular => "pipe, socket or device",
            Self::Tar => "tar archive",
            Self::Other => "other file",
        })
    }
}

/// The strays of some folders.
#[derive(Debug, Default)]
pub(super) struct Strays(Vec<Stray>);

impl Strays {
    /// Adds a file. Those of one kind in a folder must come in the order of their paths.
    pub(super) fn add(&mut self, kind: StrayKind, path: impl FnOnce() -> PathBuf) {
        let stray = self.of(kind);
        stray.count += 1;
        if stray.first.len() < NAMED {
            stray.first.push(path());
        }
    }

    /// Adds those of another folder.
    pub(super) fn extend(&mut self, other: Self) {
        for Stray { kind, count, first } in other.0 {
            let stray = self.of(kind);
            stray.count += count;
            stray.first.extend(first);
            stray.first.sort();
            stray.first.truncate(NAMED);
        }
    }

    /// In the order of the kinds.
    pub(super) fn sorted(mut self) -> Vec<Stray> {
        self.0.sort_by_key(|stray| stray.kind);
        self.0
    }

    fn of(&mut self, kind: StrayKind) -> &mut Stray {
        let at = self.0.iter().position(|stray| stray.kind == kind).unwrap_or_else(|| {
            self.0.push(Stray { kind, count: 0, first: Vec::new() });
            self.0.len() - 1
        });
        &mut self.0[at]
    }
}

/// How many there are of each kind, and one of them.
pub(super) fn summary(strays: &[Stray], base: &Path) -> String {
    let shown = |stray: &Stray| {
        let first = stray.first.first().map_or(base, |path| path.strip_prefix(base).unwrap_or(path));
        format!("{} x {} such as {}", stray.count, stray.kind, first.display())
    };
    strays.iter().map(shown).collect::<Vec<_>>().join(", ")
}

//! The file that a command writes. It replaces nothing without `--force`, and never a file that the command reads.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use maskstream::internals::{AtomicFile, FileId, check_target, dir_of};

use super::output::Outcome;

#[derive(Debug)]
pub(super) struct Target<'a> {
    path: &'a Path,
    overwrite: bool,
    /// Files that the command reads, or writes by other means.
    others: Vec<PathBuf>,
}

impl<'a> Target<'a> {
    /// Checks `path`, before there is anything to write.
    pub(super) fn new(
        path: &'a Path,
        overwrite: bool,
        others: Vec<PathBuf>,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let target = Self { path, overwrite, others };
        target.check()?;
        let dir = dir_of(path);
        if !dir.is_dir() {
            return Err(format!("cannot write {}: there is no directory {}", path.display(), dir.display()).into());
        }
        Ok(target)
    }

    /// Writes the whole file, or none.
    pub(super) fn write(&self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Outcome {
        // Files that the command reads may have come into being since.
        self.check()?;
        let written = || {
            let mut draft = AtomicFile::of(self.path)?;
            let mut out = BufWriter::with_capacity(1 << 20, draft.file());
            write(&mut out)?;
            let _: &mut File = out.into_inner().map_err(io::IntoInnerError::into_error)?;
            draft.publish(self.path, self.overwrite)
        };
        written().map_err(|e| self.failed(&e).into())
    }

    fn check(&self) -> Outcome {
        refuse_same(self.path, &self.others)?;
        check_target(self.path, self.overwrite).map_err(|e| self.failed(&e).into())
    }

    fn failed(&self, error: &io::Error) -> String {
        format!("cannot write {}: {error}", self.path.display())
    }
}

/// Refuses a file that is one of the others, by whatever name or link.
pub(super) fn refuse_same(path: &Path, others: &[PathBuf]) -> Outcome {
    let id = FileId::of(path);
    // A file that does not exist yet has one name. That saves looking at thousands of shards.
    let is_new = matches!(id, FileId::Path(_));
    let mut others = others.iter().filter(|other| !is_new || other.file_name() == path.file_name());
    match others.find(|other| FileId::of(other) == id) {
        Some(other) => Err(format!("{}: choose another name", needed(path, other)).into()),
        None => Ok(()),
    }
}

/// Why `path`, which is the same file as `other`, cannot be written.
pub(super) fn needed(path: &Path, other: &Path) -> String {
    let known_as = if path == other { String::new() } else { format!(", as {}", other.display()) };
    format!("cannot write {}: this command needs it{known_as}", path.display())
}

//! Files that appear whole or not at all: a file is written under a temporary name beside its final path, then renamed.
//!
//! Errors are those of the file system; no partial file is left after one. What is there already is replaced only on
//! request, and never if it is anything but a regular file. Temporary files are locked while their process lives, so
//! those that a killed process has left can be told from those under way: the next writer of the same path removes
//! them. A list of the live ones lets a program that a signal ends remove them, see [`stop_writing`].

use std::fs::{self, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::TempPath;

const PREFIX: &str = ".maskstream_";
const SUFFIX: &str = ".tmp";
/// Bytes of the final name in a temporary one, whose length is limited to 255 bytes.
const MAX_NAME_BYTES: usize = 200;

const EXISTS: &str = "it exists already: choose another name, or overwrite it with --force";

/// Temporary files of this process. Whoever makes, renames or removes one holds the lock.
static LIVE: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Calls `write` with a temporary file beside `path`, syncs the file and renames it to `path`, replacing a regular file
/// that is there.
pub(crate) fn write_file<T>(path: &Path, write: impl FnOnce(&mut fs::File) -> io::Result<T>) -> io::Result<T> {
    check_target(path, true)?;
    let mut draft = AtomicFile::of(path)?;
    let written = write(draft.file())?;
    draft.publish(path, true)?;
    Ok(written)
}

/// Checks that nothing is at `path`, or with `overwrite` at most a regular file.
pub fn check_target(path: &Path, overwrite: bool) -> io::Result<()> {
    refuse_address(path)?;
    let found = match fs::symlink_metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        found => found?.file_type(),
    };
    let text = match kind(found) {
        None if overwrite => return Ok(()),
        None => EXISTS.to_owned(),
        Some(kind) => format!("there is {kind} of this name, which is never replaced: choose another name"),
    };
    Err(io::Error::new(ErrorKind::AlreadyExists, text))
}

/// What it is, if it is no regular file.
fn kind(found: fs::FileType) -> Option<&'static str> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if found.is_fifo() {
            return Some("a named pipe");
        }
    }
    match () {
        () if found.is_file() => None,
        () if found.is_dir() => Some("a directory"),
        () if found.is_symlink() => Some("a symbolic link"),
        () => Some("a device or socket"),
    }
}

/// A file under a temporary name, which can be checked before [`publish`](AtomicFile::publish) renames it. It is
/// deleted when dropped unpublished.
#[derive(Debug)]
pub struct AtomicFile {
    file: fs::File,
    path: PathBuf,
}

impl AtomicFile {
    /// Creates a temporary file beside `path`, with the mode and if possible the owner of a regular file that is there.
    /// Removes temporary files for the same path that a killed process has left behind, which are those without a lock.
    pub fn of(path: &Path) -> io::Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let prefix = format!("{PREFIX}{}_", &name[..name.floor_char_boundary(MAX_NAME_BYTES)]);
        remove_abandoned(dir_of(path), &prefix);
        loop {
            let draft = Self::create(dir_of(path), &prefix)?;
            match draft.file.try_lock() {
                // Another process may have taken it for abandoned before it was locked.
                Ok(()) if draft.path.exists() => {}
                Ok(()) | Err(TryLockError::WouldBlock) => continue,
                // Where the file system has no locks, no file is ever removed as abandoned either.
                Err(TryLockError::Error(_)) => {}
            }
            draft.take_mode_of(path)?;
            return Ok(draft);
        }
    }

    fn create(dir: &Path, prefix: &str) -> io::Result<Self> {
        let mut live = live();
        let (file, path) = builder(prefix).tempfile_in(dir)?.keep().map_err(|e| e.error)?;
        live.push(path.clone());
        Ok(Self { file, path })
    }

    /// What was private must stay so, also while it is written.
    #[cfg(unix)]
    fn take_mode_of(&self, path: &Path) -> io::Result<()> {
        use std::os::unix::fs::{MetadataExt, fchown};
        let Some(old) = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file) else { return Ok(()) };
        let own = self.file.metadata()?;
        if (old.uid(), old.gid()) != (own.uid(), own.gid()) {
            // Only root may give a file away, but its owner may change the group to another one of theirs.
            let _ = fchown(&self.file, None, Some(old.gid()));
            let _ = fchown(&self.file, Some(old.uid()), None);
        }
        if old.mode() == own.mode() { Ok(()) } else { self.file.set_permissions(old.permissions()) }
    }

    #[cfg(not(unix))]
    fn take_mode_of(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    /// The file, to be written.
    pub fn file(&mut self) -> &mut fs::File {
        &mut self.file
    }

    /// The temporary path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Syncs the file to disk and renames it to `path`. With `overwrite`, it replaces a regular file that is there.
    pub fn publish(self, path: &Path, overwrite: bool) -> io::Result<()> {
        self.file.sync_all()?;
        // Renaming and the removal at a signal exclude each other. The lock is released before `self` is dropped.
        let live = live();
        let renamed = self.rename(path, overwrite);
        drop(live);
        renamed
    }

    fn rename(&self, path: &Path, overwrite: bool) -> io::Result<()> {
        check_target(path, overwrite)?;
        if overwrite {
            return fs::rename(&self.path, path);
        }
        match TempPath::try_from_path(&self.path)?.persist_noclobber(path) {
            Ok(()) => Ok(()),
            Err(e) if e.error.kind() == ErrorKind::AlreadyExists => Err(io::Error::new(e.error.kind(), EXISTS)),
            // The file system has neither of the two calls that replace nothing; that nothing is there was checked.
            Err(e) => e.path.persist(path).map_err(|e| e.error),
        }
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        let mut live = live();
        // Published files are gone from here.
        let _ = fs::remove_file(&self.path);
        live.retain(|path| *path != self.path);
    }
}

fn live() -> MutexGuard<'static, Vec<PathBuf>> {
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes the temporary files of this process. It can write no file from then on: a thread that makes, renames or
/// drops one waits forever. For a program that is about to exit at a signal.
pub fn stop_writing() {
    let live = live();
    for path in live.iter() {
        let _ = fs::remove_file(path);
    }
    std::mem::forget(live);
}

/// Creates a directory that is written to, and those that it is in.
///
/// # Errors
/// If it is the address of something that is no file system.
pub(crate) fn create_dir(dir: &Path) -> io::Result<()> {
    refuse_address(dir)?;
    fs::create_dir_all(dir)
}

fn refuse_address(path: &Path) -> io::Result<()> {
    let text = "it is an address, and files are written to disks only";
    match path.to_str().is_some_and(|path| path.contains("://")) {
        true => Err(io::Error::new(io::ErrorKind::InvalidInput, text)),
        false => Ok(()),
    }
}

/// The directory that contains `path`.
pub fn dir_of(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// What makes two paths the same file, however they are spelled and linked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum FileId {
    /// Device and number on it of a file or directory that exists.
    Inode(u64, u64),
    /// The path, without links in its directory, of a file that does not exist yet.
    Path(PathBuf),
}

impl FileId {
    /// The file at `path`, or the one that a symbolic link leads to.
    pub fn of(path: &Path) -> Self {
        #[cfg(unix)]
        if let Ok(found) = fs::metadata(path) {
            use std::os::unix::fs::MetadataExt;
            return Self::Inode(found.dev(), found.ino());
        }
        let whole = fs::canonicalize(path);
        let in_dir = || Some(fs::canonicalize(dir_of(path)).ok()?.join(path.file_name()?));
        Self::Path(whole.ok().or_else(in_dir).unwrap_or_else(|| path.to_owned()))
    }
}

/// Deletes the unlocked temporary files with this prefix. Failures only leave files that take up space.
fn remove_abandoned(dir: &Path, prefix: &str) {
    for file in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = file.file_name();
        let is_temporary = name.to_str().is_some_and(|name| name.starts_with(prefix) && name.ends_with(SUFFIX));
        if is_temporary && file.file_type().is_ok_and(|found| found.is_file()) {
            // NFS locks only files that are open for writing.
            let path = file.path();
            let opened = OpenOptions::new().write(true).open(&path).or_else(|_| fs::File::open(&path));
            if let Ok(file) = opened
                && file.try_lock().is_ok()
            {
                let _ = fs::remove_file(&path);
            }
        }
    }
}

/// Creates files with the usual permissions (0666 less the umask); `tempfile` makes private ones by default.
fn builder<'a>(prefix: &'a str) -> tempfile::Builder<'a, 'static> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder.prefix(prefix).suffix(SUFFIX);
    builder
}

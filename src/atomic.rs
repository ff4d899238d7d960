//! Atomic file writes: a file is written under a temporary name beside its final path, then renamed. Errors are those
//! of the file system; no partial file is left after one.

use std::fs;
use std::io;
use std::path::Path;

use tempfile::NamedTempFile;

const PREFIX: &str = ".maskstream_";
const SUFFIX: &str = ".tmp";

/// Calls `write` with a temporary file beside `path`, syncs the file and renames it to `path`.
pub(crate) fn write_file<T>(path: &Path, write: impl FnOnce(&mut fs::File) -> io::Result<T>) -> io::Result<T> {
    let mut file = AtomicFile(builder(PREFIX).tempfile_in(dir_of(path))?);
    let written = write(file.file())?;
    file.publish(path)?;
    Ok(written)
}

/// A file under a temporary name, which can be checked before [`publish`](AtomicFile::publish) renames it. It is
/// deleted when dropped unpublished.
pub(crate) struct AtomicFile(NamedTempFile);

impl AtomicFile {
    /// Creates a temporary file beside `path`. Removes temporary files for the same path that a killed process has left
    /// behind, which are those without a lock.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let prefix = format!("{PREFIX}{}_", path.file_name().unwrap_or_default().to_string_lossy());
        remove_abandoned(dir_of(path), &prefix)?;
        let file = builder(&prefix).tempfile_in(dir_of(path))?;
        // Where the file system has no locks, no file is ever removed as abandoned either.
        let _ = file.as_file().try_lock();
        Ok(Self(file))
    }

    pub(crate) fn file(&mut self) -> &mut fs::File {
        self.0.as_file_mut()
    }

    /// The temporary path.
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Syncs the file to disk and renames it to `path`, replacing a file that is there.
    pub(crate) fn publish(self, path: &Path) -> io::Result<()> {
        self.0.as_file().sync_all()?;
        self.0.persist(path).map(drop).map_err(|e| e.error)
    }
}

/// The directory that contains `path`.
pub(crate) fn dir_of(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Deletes the unlocked temporary files with this prefix.
fn remove_abandoned(dir: &Path, prefix: &str) -> io::Result<()> {
    for file in fs::read_dir(dir)? {
        let file = file?;
        let name = file.file_name();
        let is_temporary = name.to_str().is_some_and(|name| name.starts_with(prefix) && name.ends_with(SUFFIX));
        if is_temporary && fs::File::open(file.path()).is_ok_and(|file| file.try_lock().is_ok()) {
            // Another process may have removed it first. One that stays only takes up space.
            let _ = fs::remove_file(file.path());
        }
    }
    Ok(())
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

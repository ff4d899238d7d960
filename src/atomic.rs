//! Files that appear whole or not at all. Comes in: a final path and what writes the content. Goes out: the file under
//! its name. Fails as the file system does; nothing is left then.

use std::fs;
use std::io;
use std::path::Path;

use tempfile::NamedTempFile;

const PREFIX: &str = ".maskstream_";
const SUFFIX: &str = ".tmp";

/// Has `write` fill a temporary file beside `path`, makes it durable and gives it its name.
pub(crate) fn write_file<T>(path: &Path, write: impl FnOnce(&mut fs::File) -> io::Result<T>) -> io::Result<T> {
    let mut draft = AtomicFile(builder(PREFIX).tempfile_in(dir_of(path))?);
    let written = write(draft.file())?;
    draft.publish(path)?;
    Ok(written)
}

/// A file without its final name, which can be looked at before it gets it. Dropped, it is gone.
pub(crate) struct AtomicFile(NamedTempFile);

impl AtomicFile {
    /// A draft of the file at `path`, beside it. Drafts of it that a process left behind when it was killed are removed:
    /// those that nobody holds a lock on.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let prefix = format!("{PREFIX}{}_", path.file_name().unwrap_or_default().to_string_lossy());
        remove_left(dir_of(path), &prefix)?;
        let draft = builder(&prefix).tempfile_in(dir_of(path))?;
        // A file system without locks never lets the draft be taken for one left behind.
        let _ = draft.as_file().try_lock();
        Ok(Self(draft))
    }

    pub(crate) fn file(&mut self) -> &mut fs::File {
        self.0.as_file_mut()
    }

    /// Its name until it gets the final one.
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Makes it durable and gives it its name.
    pub(crate) fn publish(self, path: &Path) -> io::Result<()> {
        self.0.as_file().sync_all()?;
        self.0.persist(path).map(drop).map_err(|e| e.error)
    }
}

/// The directory that `path` lies in.
pub(crate) fn dir_of(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn remove_left(dir: &Path, prefix: &str) -> io::Result<()> {
    for file in fs::read_dir(dir)? {
        let file = file?;
        let name = file.file_name();
        let is_draft = name.to_str().is_some_and(|name| name.starts_with(prefix) && name.ends_with(SUFFIX));
        if is_draft && fs::File::open(file.path()).is_ok_and(|file| file.try_lock().is_ok()) {
            // Someone else may have been faster; whatever stays only takes room.
            let _ = fs::remove_file(file.path());
        }
    }
    Ok(())
}

/// Temporary files are private by default; these become ordinary ones.
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

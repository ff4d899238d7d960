//! Files that appear whole or not at all. Comes in: a final path and what writes the content. Goes out: the file under
//! its name. Fails as the file system does; nothing is left then.

use std::fs;
use std::io;
use std::path::Path;

/// Has `write` fill a temporary file beside `path`, makes it durable and gives it its name.
pub(crate) fn write_file<T>(path: &Path, write: impl FnOnce(&mut fs::File) -> io::Result<T>) -> io::Result<T> {
    let mut file = builder().tempfile_in(dir_of(path))?;
    let written = write(file.as_file_mut())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    Ok(written)
}

/// The directory that `path` lies in.
pub(crate) fn dir_of(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Temporary files are private by default; these become ordinary ones.
fn builder() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder.prefix(".maskstream_").suffix(".tmp");
    builder
}

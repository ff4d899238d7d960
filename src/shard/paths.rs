//! Patterns (files, directories, shell patterns, braces) to paths of shards. A pattern that names no shard is an error
//! that says what is there instead.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind::{InvalidFilename, InvalidInput, NotADirectory, NotFound};
use std::path::{Path, PathBuf};

use glob::Pattern;

use super::contents::Contents;
use super::names::{expand, is_pattern, is_wanted};
use crate::source::{Storage, check_regular, is_remote, refuse_remote};
use crate::{Error, Result};

/// Missing shards that an error names.
const NAMED: usize = 3;

/// Returns the paths of the shards that match `patterns`: files, directories (meaning their `*.tar`), and what a shell
/// would expand: `*.tar`, `sa_{000000..000010}.tar`, `{train,val}/*.tar`, `~/sa1b`.
///
/// The paths are in the order of the patterns, and sorted by their bytes within a shell pattern or a directory. No file
/// is returned twice, even if links give it several names. Of what a pattern or a directory holds, files that begin
/// with `._` are left out: macOS writes them beside its files. A range must be complete: each of its shards must exist.
///
/// ```
/// use maskstream::index::resolve_patterns;
///
/// let dir = tempfile::tempdir()?;
/// let [a, b] = ["a0.tar", "a1.tar"].map(|name| dir.path().join(name));
/// std::fs::write(&a, "")?;
/// std::fs::write(&b, "")?;
///
/// assert_eq!(resolve_patterns(&[dir.path()])?, [a.clone(), b.clone()]);
/// assert_eq!(resolve_patterns(&[dir.path().join("a{0..1}.tar")])?, [a.clone(), b.clone()]);
/// assert_eq!(resolve_patterns(&[dir.path().join("a1*"), dir.path().join("*.tar")])?, [b, a]);
/// assert!(resolve_patterns(&[dir.path().join("*.zip")]).is_err());
/// # Ok::<(), maskstream::Error>(())
/// ```
///
/// # Errors
/// If a pattern is malformed, cannot be read or matches nothing, or if something that it matches is no regular file.
pub fn resolve_patterns<P: AsRef<Path>>(patterns: &[P]) -> Result<Vec<PathBuf>> {
    resolve(&Storage::default(), patterns)
}

/// The same, with access to what addresses lead to.
pub(super) fn resolve<P: AsRef<Path>>(storage: &Storage, patterns: &[P]) -> Result<Vec<PathBuf>> {
    let mut seen = HashSet::new();
    let mut paths = Vec::new();
    for pattern in patterns {
        for path in matches(storage, pattern.as_ref())? {
            if seen.insert(FileKey::of(&path)?) {
                paths.push(path);
            }
        }
    }
    if paths.is_empty() {
        return Err(Error::config("no shards were given"));
    }
    Ok(paths)
}

/// What two names of one file have in common.
#[derive(PartialEq, Eq, Hash)]
enum FileKey {
    Path(PathBuf),
    /// Device and inode of a file with several hard links. Some network file systems give all files one inode, but no
    /// second link.
    #[cfg(unix)]
    Inode(u64, u64),
}

impl FileKey {
    /// # Errors
    /// If it is not a regular file.
    fn of(path: &Path) -> Result<Self> {
        if is_remote(path) {
            return Ok(Self::Path(path.to_owned()));
        }
        let metadata = fs::metadata(path).map_err(|e| cannot_examine(path, e))?;
        check_regular(&metadata).map_err(|e| Error::io("cannot open the file", e).in_shard(path))?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            if metadata.nlink() > 1 {
                return Ok(Self::Inode(metadata.dev(), metadata.ino()));
            }
        }
        Ok(Self::Path(fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())))
    }
}

fn matches(storage: &Storage, pattern: &Path) -> Result<Vec<PathBuf>> {
    if is_remote(pattern) {
        refuse_remote(pattern)?;
        #[cfg(feature = "remote")]
        return super::remote_paths::matches(&storage.remote()?, pattern);
    }
    let _ = storage;
    if let Some(text) = pattern.to_str() {
        refuse_streams(text)?;
    }
    // A name may contain brackets and braces, so what exists takes precedence over a pattern.
    if let Some(found) = existing(pattern)? {
        return Ok(found);
    }
    let Some(text) = pattern.to_str() else { return Err(missing(pattern)) };
    let names = expand(text)?;
    let (mut found, mut absent) = (Vec::new(), Vec::new());
    for name in &names {
        let name = with_home(name);
        let is_pattern = is_pattern(&name.to_string_lossy());
        match existing(&name)? {
            Some(paths) => found.extend(paths),
            None if is_pattern => found.extend(expand_wildcards(&name)?),
            None => absent.push(name),
        }
    }
    match absent.as_slice() {
        [] => Ok(found),
        [one] if names.len() == 1 => Err(missing(one)),
        _ => Err(incomplete(text, names.len(), &absent)),
    }
}

/// Refuses what is no path of a file: addresses and streams.
fn refuse_streams(text: &str) -> Result<()> {
    let is_stream = ["-", "/dev/stdin"].contains(&text) || text.starts_with("/dev/fd/") || text.starts_with("pipe:");
    if is_stream {
        return Err(Error::config(format!(
            "{text} is a stream, but a shard is read at many places: write it to a file first"
        )));
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        let advice = match scheme {
            "file" => format!("name the file: {rest}"),
            _ => "addresses begin with s3://, gs://, az:// or https://".to_owned(),
        };
        let shown = text.split('?').next().unwrap_or_default();
        return Err(Error::config(format!("{shown} is an address that cannot be read: {advice}")));
    }
    Ok(())
}

/// The shards that an existing file or directory stands for; `None` if there is none of this name.
fn existing(path: &Path) -> Result<Option<Vec<PathBuf>>> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => shards_in(path).map(Some),
        Ok(_) => Ok(Some(vec![path.to_owned()])),
        Err(e) if !matches!(e.kind(), NotFound | NotADirectory | InvalidInput | InvalidFilename) => {
            Err(cannot_examine(path, e))
        }
        Err(_) => match fs::read_link(path) {
            Ok(target) => Err(broken_link(path, &target)),
            Err(_) => Ok(None),
        },
    }
}

/// `~` and `~/..` as the shell expands them.
fn with_home(name: &str) -> PathBuf {
    let rest = name.strip_prefix('~').filter(|rest| rest.is_empty() || rest.starts_with('/'));
    match (rest, std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest.trim_start_matches('/')),
        _ => PathBuf::from(name),
    }
}

/// The files that a pattern with wildcards matches.
///
/// Names that are not UTF-8 match as well: a wildcard stands for their bytes.
fn expand_wildcards(pattern: &Path) -> Result<Vec<PathBuf>> {
    let mut found = vec![PathBuf::new()];
    for component in pattern.components() {
        let name = component.as_os_str().to_string_lossy();
        if !is_pattern(&name) {
            found.iter_mut().for_each(|path| path.push(component));
            continue;
        }
        let mut next = Vec::new();
        if name == "**" {
            found.into_iter().try_for_each(|dir| add_tree(dir, &mut next))?;
        } else {
            let parsed = Pattern::new(&name)
                .map_err(|e| Error::config(format!("the pattern {}: {e}", pattern.display())).caused_by(e))?;
            for dir in found.iter().filter(|dir| is_dir_or_here(dir)) {
                let is_match = |found: &OsStr| parsed.matches(&found.to_string_lossy());
                let is_such = |found: &OsStr| {
                    is_match(found) && (is_wanted(found) || name.starts_with("._") || name.ends_with(".msidx"))
                };
                next.extend(names_in(dir, is_such)?.into_iter().map(|name| dir.join(name)));
            }
        }
        found = next;
    }
    // A link that leads nowhere is found, and is an error later.
    let (mut files, directories): (Vec<_>, Vec<_>) =
        found.into_iter().filter(|path| fs::symlink_metadata(path).is_ok()).partition(|path| !path.is_dir());
    if files.is_empty() {
        return Err(unmatched(pattern, &directories));
    }
    files.sort();
    Ok(files)
}

/// Adds a directory and all directories below it, without following links.
fn add_tree(dir: PathBuf, all: &mut Vec<PathBuf>) -> Result<()> {
    if !is_dir_or_here(&dir) {
        return Ok(());
    }
    for name in names_in(&dir, |_| true)? {
        let path = dir.join(name);
        if fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir()) {
            add_tree(path, all)?;
        }
    }
    all.push(dir);
    Ok(())
}

/// The shards in a directory, in the order of their names.
fn shards_in(dir: &Path) -> Result<Vec<PathBuf>> {
    let names = names_in(dir, |name| name.as_encoded_bytes().ends_with(b".tar") && is_wanted(name))?;
    let paths: Vec<_> = names.iter().map(|name| dir.join(name)).filter(|path| !path.is_dir()).collect();
    if paths.is_empty() {
        let contents = Contents::of(dir).map_err(|e| cannot_list(dir, e))?;
        return Err(Error::config(format!("the directory {} {}", dir.display(), contents.instead(dir))));
    }
    Ok(paths)
}

/// The names in a directory that are such, sorted by their bytes. The others are not kept: there may be very many.
fn names_in(dir: &Path, is_such: impl Fn(&OsStr) -> bool) -> Result<Vec<OsString>> {
    let real = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let cannot = |e| cannot_list(real, e);
    let mut names = Vec::new();
    for entry in fs::read_dir(real).map_err(cannot)? {
        let name = entry.map_err(cannot)?.file_name();
        if is_such(&name) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn cannot_list(dir: &Path, cause: std::io::Error) -> Error {
    Error::io(format!("cannot list the directory {}", dir.display()), cause)
}

fn is_dir_or_here(dir: &Path) -> bool {
    dir.as_os_str().is_empty() || dir.is_dir()
}

fn cannot_examine(path: &Path, cause: std::io::Error) -> Error {
    match fs::read_link(path) {
        Ok(target) if cause.kind() == NotFound => broken_link(path, &target),
        _ => Error::io(format!("cannot examine {}", path.display()), cause),
    }
}

fn broken_link(path: &Path, target: &Path) -> Error {
    Error::config(format!("{} is a link to {}, which does not exist", path.display(), target.display()))
}

/// The error of a name without a wildcard.
fn missing(path: &Path) -> Error {
    Error::config(format!("no shard matches {}: {}", path.display(), absence(path)))
}

/// Why there is nothing of this name.
fn absence(path: &Path) -> String {
    let ancestors = path.ancestors().skip(1).filter(|dir| !dir.as_os_str().is_empty());
    match ancestors.filter(|dir| !dir.is_dir()).last() {
        Some(dir) if dir.exists() => format!("{} is no directory", dir.display()),
        Some(dir) => format!("there is no directory {}; check the path, or mount its disk", dir.display()),
        None => "there is no such file or directory; check the name".to_owned(),
    }
}

/// The error of a list or range of which some shards are missing.
fn incomplete(pattern: &str, all: usize, absent: &[PathBuf]) -> Error {
    let names: Vec<_> = absent.iter().take(NAMED).map(|path| path.display().to_string()).collect();
    let more = if absent.len() > NAMED { ", ..." } else { "" };
    let reason = match absence(&absent[0]) {
        reason if reason.contains("directory ") => format!(": {reason}"),
        _ => String::new(),
    };
    Error::config(format!(
        "{} of the {all} shards of {pattern} are missing ({}{more}){reason}",
        absent.len(),
        names.join(", ")
    ))
}

/// The error of a pattern with wildcards that matches no file.
fn unmatched(pattern: &Path, directories: &[PathBuf]) -> Error {
    let reason = match directories.first() {
        Some(dir) => {
            format!("it matches directories only, such as {}; name a directory for its *.tar files", dir.display())
        }
        None => {
            let is_fixed = |path: &&Path| !is_pattern(&path.to_string_lossy());
            let base = pattern.ancestors().skip(1).find(is_fixed).unwrap_or(Path::new(""));
            let real = if base.as_os_str().is_empty() { Path::new(".") } else { base };
            match Contents::of(real) {
                Err(_) => absence(&base.join("x")),
                Ok(contents) => format!("{} {}", holder(base), contents.pairs_or_count(real)),
            }
        }
    };
    Error::config(format!("no shard matches {}: {reason}", pattern.display()))
}

fn holder(dir: &Path) -> String {
    if dir.as_os_str().is_empty() { "this directory".to_owned() } else { dir.display().to_string() }
}

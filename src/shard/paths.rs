//! Patterns (files, directories and shell patterns) to paths of shards.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Returns the paths of the shards that match `patterns`: files, directories (meaning their `*.tar`) and shell
/// patterns.
///
/// The paths are in the order of the patterns, and sorted within a pattern. No file is returned twice, even if links
/// give it several names.
///
/// ```
/// use maskstream::index::resolve_patterns;
///
/// let dir = tempfile::tempdir()?;
/// let [a, b] = ["a.tar", "b.tar"].map(|name| dir.path().join(name));
/// std::fs::write(&a, "")?;
/// std::fs::write(&b, "")?;
///
/// assert_eq!(resolve_patterns(&[dir.path()])?, [a.clone(), b.clone()]);
/// assert_eq!(resolve_patterns(&[dir.path().join("b*"), dir.path().join("*.tar")])?, [b, a]);
/// assert!(resolve_patterns(&[dir.path().join("*.zip")]).is_err());
/// # Ok::<(), maskstream::Error>(())
/// ```
///
/// # Errors
/// If a pattern is malformed, cannot be read, or matches nothing.
pub fn resolve_patterns<P: AsRef<Path>>(patterns: &[P]) -> Result<Vec<PathBuf>> {
    let mut seen = HashSet::new();
    let mut paths = Vec::new();
    for pattern in patterns {
        let pattern = pattern.as_ref();
        let found = matches(pattern)?;
        if found.is_empty() {
            return Err(Error::config(format!("no shard matches {}", pattern.display())));
        }
        // A file may have several names.
        let real = |path: &PathBuf| fs::canonicalize(path).unwrap_or_else(|_| path.clone());
        paths.extend(found.into_iter().filter(|path| seen.insert(real(path))));
    }
    if paths.is_empty() {
        return Err(Error::config("no shards were given"));
    }
    Ok(paths)
}

fn matches(pattern: &Path) -> Result<Vec<PathBuf>> {
    // A file name may contain brackets, so a file takes precedence over a pattern.
    if pattern.is_file() {
        return Ok(vec![pattern.to_owned()]);
    }
    let text = pattern.to_str().ok_or_else(|| Error::config(format!("pattern {} is not UTF-8", pattern.display())))?;
    let text = if pattern.is_dir() { format!("{}/*.tar", glob::Pattern::escape(text)) } else { text.to_owned() };
    let found = glob::glob(&text).map_err(|e| Error::config(format!("pattern {text}: {e}")).caused_by(e))?;
    // glob returns them sorted.
    found
        .map(|path| path.map_err(|e| Error::io(format!("pattern {text}"), e.into())))
        .filter(|path| path.as_ref().map_or(true, |path| !path.is_dir()))
        .collect()
}

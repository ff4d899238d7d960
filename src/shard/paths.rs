//! Patterns -> paths of shards. Comes in: files, directories and shell patterns. Goes out: paths, sorted within each
//! pattern, no file twice, also not under another name. Fails if one matches nothing.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// The shards that `patterns` name. A directory stands for its `*.tar`.
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
        // One file may have several names.
        let real = |path: &PathBuf| fs::canonicalize(path).unwrap_or_else(|_| path.clone());
        paths.extend(found.into_iter().filter(|path| seen.insert(real(path))));
    }
    if paths.is_empty() {
        return Err(Error::config("no shards are given"));
    }
    Ok(paths)
}

fn matches(pattern: &Path) -> Result<Vec<PathBuf>> {
    // A real file wins over a pattern: names may hold brackets.
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

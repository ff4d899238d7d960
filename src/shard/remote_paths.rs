//! Patterns of addresses to addresses of shards: objects, prefixes, braces and wildcards. A pattern that names no shard
//! is an error that says what is there instead.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use glob::Pattern;

use super::names::{expand, is_pattern, is_wanted};
use crate::source::Remote;
use crate::{Error, Result};

/// The addresses of the shards that a pattern stands for.
pub(super) fn matches(remote: &Remote, pattern: &Path) -> Result<Vec<PathBuf>> {
    let address = remote.name(pattern);
    let text = address.to_string_lossy();
    // A name may contain brackets and braces, so what exists takes precedence over a pattern.
    if (is_pattern(&text) || text.contains('{')) && remote.exist(std::slice::from_ref(&address))?[0] {
        return Ok(vec![address]);
    }
    let names: Vec<PathBuf> = expand(&text)?.into_iter().map(PathBuf::from).collect();
    let objects: Vec<PathBuf> = names.iter().filter(|name| is_object(name)).cloned().collect();
    let mut exists = objects.iter().zip(remote.exist(&objects)?);
    let (mut found, mut absent) = (Vec::new(), Vec::new());
    for name in &names {
        if is_pattern(&name.to_string_lossy()) {
            found.extend(expand_wildcards(remote, name)?);
        } else if is_object(name) && exists.next().is_some_and(|(_, exists)| exists) {
            found.push(name.clone());
        } else if is_object(name) && is_shard(name) {
            absent.push(name);
        } else {
            found.extend(shards_below(remote, name)?);
        }
    }
    match absent.as_slice() {
        [] => Ok(found),
        [one, ..] => {
            let many = if absent.len() > 1 { format!(" and {} more", absent.len() - 1) } else { String::new() };
            Err(Error::config(format!("no shard matches {}{many}: there is no such object", one.display())))
        }
    }
}

/// Whether it is the address of one object: not a pattern, not a prefix with a slash at its end, not a whole bucket.
fn is_object(address: &Path) -> bool {
    let text = address.to_string_lossy();
    let below_scheme = text.split_once("://").map_or("", |(_, rest)| rest);
    !is_pattern(&text) && below_scheme.contains('/') && !below_scheme.ends_with('/')
}

fn is_shard(address: &Path) -> bool {
    address.file_name().is_some_and(|name| name.as_encoded_bytes().ends_with(b".tar") && is_wanted(name))
}

/// The shards directly below a prefix.
fn shards_below(remote: &Remote, prefix: &Path) -> Result<Vec<PathBuf>> {
    let children = remote.children(prefix)?;
    let objects = children.objects.len();
    let shards: Vec<PathBuf> = children.objects.into_iter().filter(|address| is_shard(address)).collect();
    if !shards.is_empty() {
        return Ok(shards);
    }
    let prefix = prefix.display().to_string();
    let prefix = prefix.trim_end_matches('/');
    Err(Error::config(match (objects, children.prefixes.first()) {
        (0, None) => format!(
            "no shard matches {prefix}: there is no such object, and nothing below it; a prefix is whole segments, so \
             take a pattern, {prefix}*.tar, for a part of one"
        ),
        (0, Some(first)) => format!(
            "there are no shards (*.tar) directly below {prefix}/, but there are prefixes, such as {}: name one of \
             them, or {prefix}/**/*.tar",
            first.display()
        ),
        (count, _) => format!("there are {count} objects below {prefix}/, but no shards (*.tar)"),
    }))
}

/// The objects that a pattern with wildcards matches, found level by level.
fn expand_wildcards(remote: &Remote, pattern: &Path) -> Result<Vec<PathBuf>> {
    let text = pattern.to_string_lossy();
    let root = text.find("://").map_or(0, |at| at + 3);
    let mut segments = text[root..].split('/').peekable();
    let mut found = vec![PathBuf::from(format!("{}{}", &text[..root], segments.next().unwrap_or_default()))];
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        if !is_pattern(segment) {
            found.iter_mut().for_each(|address| address.push(segment));
            if is_last {
                let exist = remote.exist(&found)?;
                found =
                    found.into_iter().zip(exist).filter_map(|(address, exists)| exists.then_some(address)).collect();
            }
            continue;
        }
        let mut next = Vec::new();
        if segment == "**" {
            found.into_iter().try_for_each(|prefix| add_tree(remote, prefix, &mut next))?;
        } else {
            let parsed = Pattern::new(segment)
                .map_err(|e| Error::config(format!("the pattern {}: {e}", pattern.display())).caused_by(e))?;
            let is_match = |address: &PathBuf| {
                let name = address.file_name().unwrap_or(OsStr::new(""));
                parsed.matches(&name.to_string_lossy())
                    && (is_wanted(name) || segment.starts_with("._") || segment.ends_with(".msidx"))
            };
            for prefix in &found {
                let children = remote.children(prefix)?;
                let wanted = if is_last { children.objects } else { children.prefixes };
                next.extend(wanted.into_iter().filter(is_match));
            }
        }
        found = next;
    }
    found.sort();
    if found.is_empty() {
        return Err(Error::config(format!("no shard matches {}: no object has such a name", pattern.display())));
    }
    Ok(found)
}

/// Adds a prefix and all prefixes below it.
fn add_tree(remote: &Remote, prefix: PathBuf, all: &mut Vec<PathBuf>) -> Result<()> {
    for below in remote.children(&prefix)?.prefixes {
        add_tree(remote, below, all)?;
    }
    all.push(prefix);
    Ok(())
}

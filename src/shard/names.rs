//! What the text of a pattern says before anything is looked at.

use std::ffi::OsStr;

use super::braces::{self, MAX_NAMES};
use crate::{Error, Result};

/// What braces stand for.
pub(super) fn expand(text: &str) -> Result<Vec<String>> {
    let too_many = || Error::config(format!("{text} stands for more than {MAX_NAMES} shards: name fewer at a time"));
    braces::expand(text).ok_or_else(too_many)
}

/// Whether it has wildcards.
pub(super) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// Whether it is not one of the files in which macOS keeps attributes of another file, nor an index file.
pub(super) fn is_wanted(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    !name.starts_with(b"._") && !name.ends_with(b".msidx") && !name.ends_with(b".mspoints")
}

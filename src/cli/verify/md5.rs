//! Published MD5 checksums of shard files.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use maskstream::Result;
use maskstream::source::Source;
use md5::{Digest, Md5};

use super::defect::{Defect, Severity};
use super::report::Report;
use crate::cli::output::WrongArguments;

/// Bytes that are read at a time where nobody else reads them.
const STEP_BYTES: u64 = 4 << 20;

/// A file whose MD5 is computed as it is read from front to back. What a reader skips is read as well.
#[derive(Debug)]
pub(super) struct HashingSource {
    inner: Arc<dyn Source>,
    state: Mutex<(Md5, u64)>,
}

impl HashingSource {
    pub(super) fn new(inner: Arc<dyn Source>) -> Self {
        Self { inner, state: Mutex::default() }
    }

    /// The MD5 of the whole file.
    ///
    /// # Errors
    /// If the rest of it cannot be read.
    pub(super) fn finish(&self) -> Result<String> {
        let (md5, at) = &mut *self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.fill(md5, at, self.inner.len())?;
        Ok(md5.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    fn fill(&self, md5: &mut Md5, at: &mut u64, end: u64) -> Result<()> {
        while *at < end {
            let next = end.min(*at + STEP_BYTES);
            md5.update(self.inner.read(*at..next)?);
            *at = next;
        }
        Ok(())
    }
}

impl Source for HashingSource {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        let bytes = self.inner.read(range.clone())?;
        let (md5, at) = &mut *self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.fill(md5, at, range.start)?;
        let known = (*at - range.start.min(*at)).min(bytes.len() as u64);
        md5.update(&bytes[known as usize..]);
        *at = range.end.max(*at);
        Ok(bytes)
    }

    fn will_need(&self, range: Range<u64>) {
        self.inner.will_need(range);
    }
}

/// A list of checksums, by the names of files without their directories.
pub(super) struct Checksums {
    list: String,
    by_name: HashMap<String, String>,
    used: HashSet<String>,
    matching: usize,
    differing: usize,
    unlisted: usize,
}

impl Checksums {
    /// Reads a list: md5sum's (`HASH  NAME`, `HASH *NAME`, or of --tag), or a table with a column of names and one of
    /// checksums.
    pub(super) fn load(path: &Path) -> Result<Self, WrongArguments> {
        let wrong = |why: String| WrongArguments(format!("--md5 {}: {why}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|e| wrong(e.to_string()))?;
        let mut by_name = HashMap::new();
        for (number, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            match parse(line) {
                Some((name, md5)) => match by_name.insert(name.to_owned(), md5.clone()) {
                    Some(other) if other != md5 => {
                        return Err(wrong(format!("it has two checksums of {name}: keep that of your file")));
                    }
                    _ => {}
                },
                // A table may have a line of titles.
                None if number == 0 => {}
                None => {
                    let form = "it must hold an MD5 of 32 hexadecimal digits and a file name, as md5sum prints them";
                    return Err(wrong(format!("line {}: {form}", number + 1)));
                }
            }
        }
        if by_name.is_empty() {
            return Err(wrong("it has no checksum: each line must hold an MD5 and a file name".to_owned()));
        }
        let (used, matching, differing, unlisted) = Default::default();
        Ok(Self { list: path.display().to_string(), by_name, used, matching, differing, unlisted })
    }

    /// Compares the MD5 of a shard.
    pub(super) fn compare(&mut self, report: &mut Report) {
        let name = Path::new(&report.shard).file_name().map(|name| name.to_string_lossy().into_owned());
        let Some((name, published)) = name.and_then(|name| self.by_name.get_key_value(&name)) else {
            self.unlisted += 1;
            let text = format!("{} has no line for this file", self.list);
            report.defects.insert(0, Defect::of_shard("no published MD5", Severity::Note, text));
            return;
        };
        self.used.insert(name.clone());
        match &report.md5 {
            Some(found) if found == published => self.matching += 1,
            Some(found) => {
                self.differing += 1;
                let text = format!("it is {found}, but {} says {published}: download the shard again", self.list);
                report.defects.insert(0, Defect::of_shard("wrong MD5", Severity::Damage, text));
            }
            // It could not be read, which is a defect of its own.
            None => {}
        }
    }

    /// How many shards match, differ and have no line, and how many lines have no shard.
    pub(super) fn counts(&self) -> [(&'static str, usize); 4] {
        [
            ("matching", self.matching),
            ("differing", self.differing),
            ("without_a_line", self.unlisted),
            ("lines_without_a_shard", self.by_name.len() - self.used.len()),
        ]
    }
}

/// The file name without directories, and the checksum in lower case.
fn parse(line: &str) -> Option<(&str, String)> {
    let is_md5 = |word: &str| word.len() == 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let base = |name: &str| -> Option<usize> { Some(name.rfind(['/', '\\']).map_or(0, |last| last + 1)) };
    let named = |name, md5: &str| {
        let name: &str = name;
        let name = &name[base(name)?..];
        (!name.is_empty()).then(|| (name, md5.to_ascii_lowercase()))
    };
    let line = line.trim_end();
    if let Some((name, md5)) = line.strip_prefix("MD5 (").and_then(|rest| rest.rsplit_once(") = ")) {
        return if is_md5(md5) { named(name, md5) } else { None };
    }
    // md5sum's own form, in which a name may have spaces.
    if let (Some(md5), Some(rest)) = (line.get(..32).filter(|md5| is_md5(md5)), line.get(32..))
        && let Some(name) = rest.strip_prefix("  ").or_else(|| rest.strip_prefix(" *"))
    {
        return named(name, md5);
    }
    let mut words = line.split([' ', '\t', ',']).filter(|word| !word.is_empty());
    let md5 = words.clone().find(|word| is_md5(word))?;
    named(words.find(|word| !is_md5(word))?.trim_start_matches('*'), md5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_several_forms_name_the_same_file() {
        let md5 = "0123456789abcdef0123456789ABCDEF";
        for line in [
            format!("{md5}  sa_1.tar"),
            format!("{md5} *data/sa_1.tar"),
            format!("sa_1.tar\t{md5}"),
            format!("sa_1.tar {md5}"),
            format!("sa_1.tar,{md5}"),
            format!("{md5}\tsa_1.tar\r"),
            format!("MD5 (a/sa_1.tar) = {md5}"),
            format!("sa_1.tar\thttps://example.org/sa_1.tar?a=b\t{md5}"),
        ] {
            assert_eq!(parse(&line), Some(("sa_1.tar", md5.to_ascii_lowercase())), "{line}");
        }
        assert_eq!(parse(&format!("{md5}  sa 1.tar")), Some(("sa 1.tar", md5.to_ascii_lowercase())));
        for line in ["file_name\tmd5", "sa_1.tar 0123", md5, "MD5 (sa_1.tar) = 12", "  "] {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}

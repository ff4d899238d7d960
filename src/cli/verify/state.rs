//! The file of `--state`: a line of JSON for each shard that has been verified, so that a run that was stopped goes on.
//!
//! The first line says what the file is. A last line without an end was being written when the run was killed, and is
//! removed.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use maskstream::index::Sidecar;
use serde::{Deserialize, Serialize};

use super::report::Report;
use super::shard::Settings;
use crate::cli::output::WrongArguments;

/// The first line.
const TITLE: &str = "{\"maskstream\":\"verify\",\"version\":1}\n";

pub(super) struct State {
    path: PathBuf,
    file: File,
    known: HashMap<String, Line>,
}

/// A shard that has been verified.
#[derive(Serialize, Deserialize)]
struct Line {
    /// The absolute path.
    path: String,
    stamp: Stamp,
    /// Of the index file, on which it depends which samples a loader reads.
    index: Option<Stamp>,
    report: Report,
}

/// Size and modification time of a file.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    bytes: u64,
    modified_ns: u128,
}

impl Stamp {
    pub(super) fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        let modified = metadata.modified().ok()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        Some(Self { bytes: metadata.len(), modified_ns: modified.as_nanos() })
    }

    fn of_index(sidecar: &Sidecar, shard: &Path) -> Option<Self> {
        Self::of(&sidecar.path(shard)?)
    }
}

impl State {
    /// Opens the file of an earlier run, or a new one.
    pub(super) fn open(path: &Path) -> Result<Self, WrongArguments> {
        let wrong = |why: String| WrongArguments(format!("--state {}: {why}", path.display()));
        let foreign = || wrong("it is no file that `verify --state` has written: choose another name".to_owned());
        // Opening a named pipe would wait for its reader.
        if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            return Err(foreign());
        }
        let cannot = |e: io::Error| wrong(e.to_string());
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(path).map_err(cannot)?;
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            return Err(wrong("another process is writing it: give each task a file of its own".to_owned()));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(cannot)?;
        let is_new = TITLE.as_bytes().starts_with(&bytes);
        if !is_new && !bytes.starts_with(TITLE.as_bytes()) {
            return Err(foreign());
        }
        let mut known = HashMap::new();
        if is_new {
            file.set_len(0).and_then(|()| file.write_all(TITLE.as_bytes())).map_err(cannot)?;
        } else {
            let end = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
            for (number, line) in bytes[..end].split(|&byte| byte == b'\n').enumerate().skip(1) {
                if line.is_empty() {
                    continue;
                }
                let line: Line = serde_json::from_slice(line).map_err(|e| {
                    wrong(format!("line {} cannot be read: {e}; choose another name, and start anew", number + 1))
                })?;
                known.insert(line.path.clone(), line);
            }
            if end < bytes.len() {
                file.set_len(end as u64).map_err(cannot)?;
            }
        }
        Ok(Self { path: path.to_owned(), file, known })
    }

    /// The report of a shard that is as it was, if it was verified as thoroughly as wanted.
    pub(super) fn report(&self, shard: &Path, settings: &Settings) -> Option<Report> {
        let Line { stamp, index, report, .. } = self.known.get(&absolute(shard))?;
        let is_same = Stamp::of(shard) == Some(*stamp) && Stamp::of_index(&settings.sidecar, shard) == *index;
        let is_enough = report.level >= settings.level && (report.md5.is_some() || !settings.md5);
        (is_same && is_enough).then(|| Report { shard: shard.display().to_string(), ..report.clone() })
    }

    /// Appends a shard, which was as `stamp` says before it was read.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(super) fn add(
        &mut self,
        shard: &Path,
        stamp: Option<Stamp>,
        sidecar: &Sidecar,
        report: &Report,
    ) -> Result<(), String> {
        let Some(stamp) = stamp.filter(|stamp| Stamp::of(shard) == Some(*stamp)) else { return Ok(()) };
        let index = Stamp::of_index(sidecar, shard);
        let line = Line { path: absolute(shard), stamp, index, report: report.clone() };
        let written = serde_json::to_vec(&line).map_err(io::Error::from).and_then(|mut bytes| {
            bytes.push(b'\n');
            // A single write, so that at most the last line is incomplete.
            self.file.write_all(&bytes)?;
            self.file.sync_data()
        });
        written.map_err(|e| format!("cannot write {}: {e}", self.path.display()))
    }
}

fn absolute(shard: &Path) -> String {
    std::fs::canonicalize(shard).unwrap_or_else(|_| shard.to_owned()).display().to_string()
}

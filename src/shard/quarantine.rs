//! Lists of bad samples, as JSON lines: a loader appends the samples that it cannot decode, and later runs leave them
//! out. A line that cannot be parsed is an error.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::{Entry, Extent};
use crate::{Error, ErrorKind, Result};

/// A list of bad samples to leave out, as [`LoaderBuilder::quarantine_log`](crate::LoaderBuilder::quarantine_log)
/// writes it. Pass it to [`ShardSetBuilder::quarantine`](crate::ShardSetBuilder::quarantine).
///
/// A sample is identified by its image id and by the lengths and checksums of both members. A sample that has been
/// repaired or downloaded again is therefore used again, while one whose shard was merely repacked is still left out.
///
/// ```no_run
/// use maskstream::{Loader, OnError, Quarantine, ShardSet};
///
/// // The first run lists the samples that cannot be decoded.
/// let shards = ShardSet::builder().open(&["sa1b/*.tar"])?;
/// let loader = Loader::builder().on_error(OnError::skip(1000)).quarantine_log("bad.jsonl").build(shards)?;
/// // ... training
///
/// // The next run leaves them out.
/// let shards = ShardSet::builder().quarantine(Quarantine::load("bad.jsonl")?).open(&["sa1b/*.tar"])?;
/// # Ok::<(), maskstream::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Quarantine {
    known: HashSet<Key>,
}

/// The identity of a sample: its image id, and the lengths and checksums of its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    image_id: i64,
    image: (u32, u32),
    annotations: (u32, u32),
}

/// One line of the list.
#[derive(Debug, Deserialize, Serialize)]
struct Line {
    shard: String,
    image_id: i64,
    image: String,
    image_offset: u64,
    image_bytes: u32,
    image_crc32c: u32,
    annotations_bytes: u32,
    annotations_crc32c: u32,
    /// Where a loader came across it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    epoch: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    step: Option<u64>,
    kind: String,
    error: String,
}

impl Line {
    fn new(shard: &Path, entry: &Entry, place: Option<[u64; 2]>, kind: ErrorKind, error: String) -> Self {
        Self {
            shard: shard.display().to_string(),
            image_id: entry.image_id,
            image: entry.image_name(),
            image_offset: entry.image.offset,
            image_bytes: entry.image.len,
            image_crc32c: entry.image.crc32c,
            annotations_bytes: entry.annotations.len,
            annotations_crc32c: entry.annotations.crc32c,
            epoch: place.map(|[epoch, _]| epoch),
            step: place.map(|[_, step]| step),
            kind: format!("{kind:?}"),
            error,
        }
    }
}

/// A line of a list, without its end, for a sample that no loader came across.
///
/// # Errors
/// None: every line can be encoded.
pub fn quarantine_line(shard: &Path, entry: &Entry, kind: ErrorKind, error: &str) -> Result<String> {
    serde_json::to_string(&Line::new(shard, entry, None, kind, error.to_owned())).map_err(cannot_encode)
}

fn cannot_encode(error: serde_json::Error) -> Error {
    Error::io("cannot encode a line of the quarantine list", error.into())
}

/// How a line begins.
const LINE_START: &str = "{\"shard\":";

/// A list to which samples are appended.
#[derive(Debug)]
pub(crate) struct QuarantineLog {
    path: PathBuf,
    state: Mutex<(File, HashSet<Key>)>,
}

impl Quarantine {
    /// Reads a list from a file.
    ///
    /// # Errors
    /// If the file cannot be read, or a line is not of the form that a loader writes.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let cannot = |e| Error::io(format!("cannot read the quarantine list {}", path.display()), e);
        let text = std::fs::read_to_string(path).map_err(cannot)?;
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Self> {
        text.parse().map_err(|e: Error| Error::corrupt(format!("quarantine list {}: {}", path.display(), e.message())))
    }

    /// Number of samples in the list.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Whether a sample is in the list.
    pub fn holds(&self, entry: &Entry) -> bool {
        // Most lists are empty.
        !self.known.is_empty() && self.known.contains(&Key::of(entry))
    }
}

impl FromStr for Quarantine {
    type Err = Error;

    /// Parses a list with one JSON object per line.
    fn from_str(text: &str) -> Result<Self> {
        let mut known = HashSet::new();
        let (text, _) = split_tail(text);
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let line: Line = serde_json::from_str(line)
                .map_err(|e| Error::corrupt(format!("line {} cannot be read: {e}", number + 1)).caused_by(e))?;
            known.insert(Key {
                image_id: line.image_id,
                image: (line.image_bytes, line.image_crc32c),
                annotations: (line.annotations_bytes, line.annotations_crc32c),
            });
        }
        Ok(Self { known })
    }
}

/// Splits off an incomplete last line, which a writer that was killed has left. A complete last line without a newline
/// belongs to the first part, and so does what no writer of ours has begun: that is never cut off.
fn split_tail(text: &str) -> (&str, &str) {
    let (lines, tail) = text.split_at(text.rfind('\n').map_or(0, |last| last + 1));
    let is_ours = tail.starts_with(LINE_START) || LINE_START.starts_with(tail);
    match serde_json::from_str::<serde::de::IgnoredAny>(tail) {
        Err(e) if e.is_eof() && is_ours => (lines, tail),
        _ => (text, ""),
    }
}

/// Locks the file while `work` runs, if the file system supports locks.
fn with_lock<T>(file: &mut File, work: impl FnOnce(&mut File) -> Result<T>) -> Result<T> {
    let is_locked = file.lock().is_ok();
    let done = work(file);
    if is_locked {
        file.unlock().map_err(|e| Error::io("cannot unlock the quarantine list", e))?;
    }
    done
}

impl Key {
    fn of(entry: &Entry) -> Self {
        let of = |extent: &Extent| (extent.len, extent.crc32c);
        Self { image_id: entry.image_id, image: of(&entry.image), annotations: of(&entry.annotations) }
    }
}

impl QuarantineLog {
    /// Opens a list for appending, and creates it if it does not exist. Nothing is appended to a file of another kind.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let cannot = |e| Error::io(format!("cannot write the quarantine list {}", path.display()), e);
        let is_other = |what: &str| Error::config(format!("{} is {what}: choose another file", path.display()));
        // Opening a named pipe would wait for its reader.
        if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            return Err(is_other("no regular file, as a quarantine list must be"));
        }
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(path).map_err(cannot)?;
        // Another process must not append between the read and the truncation.
        let known = with_lock(&mut file, |file| {
            let mut start = [b'{'];
            let read = file.read(&mut start).map_err(cannot)?;
            if !start[0].is_ascii_whitespace() && start[0] != b'{' {
                return Err(is_other("no quarantine list"));
            }
            let mut text = String::from_utf8_lossy(&start[..read]).into_owned();
            file.read_to_string(&mut text).map_err(cannot)?;
            let Quarantine { known } = Quarantine::parse(path, &text)?;
            let (lines, cut_off) = split_tail(&text);
            if !cut_off.is_empty() {
                file.set_len(lines.len() as u64).map_err(cannot)?;
            } else if !text.is_empty() && !text.ends_with('\n') {
                file.write_all(b"\n").map_err(cannot)?;
            }
            Ok(known)
        })?;
        Ok(Self { path: path.to_owned(), state: Mutex::new((file, known)) })
    }

    /// Appends a sample, unless it is in the list already or may be valid: that is, if the error is an I/O error or a
    /// limit, or if the bytes have changed since they were indexed (`is_unchanged`).
    pub(crate) fn add(
        &self,
        shard: &Path,
        entry: &Entry,
        [epoch, step]: [u64; 2],
        error: &Error,
        is_unchanged: impl FnOnce() -> bool,
    ) -> Result<()> {
        let (file, known) = &mut *self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_bad = matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Panic) && !known.contains(&Key::of(entry));
        if !is_bad || !is_unchanged() {
            return Ok(());
        }
        known.insert(Key::of(entry));
        let line = Line::new(shard, entry, Some([epoch, step]), error.kind(), error.to_string());
        let mut bytes = serde_json::to_vec(&line).map_err(cannot_encode)?;
        bytes.push(b'\n');
        // A single write to the end of the file, by one process at a time.
        let cannot = |e| Error::io(format!("cannot write the quarantine list {}", self.path.display()), e);
        with_lock(file, |file| file.write_all(&bytes).map_err(cannot))
    }
}

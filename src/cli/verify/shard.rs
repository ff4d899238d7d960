//! The verification of one shard: what a pass over the file finds, against what the index says that a loader would use.
//!
//! The pass trusts no index. A sample of the index whose members the pass has not met as they were indexed is read in
//! place, as a loader does: behind a break, an index may still lead to valid samples.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use indicatif::ProgressBar;
use maskstream::index::{Entry, Extent, IndexStatus, IndexedShard, Sidecar};
use maskstream::internals::{ReadMember, Renamed, outline, own_size, quarantine_line, read_whole};
use maskstream::source::Source;
use maskstream::{ErrorKind, Result};

use super::crew::{Gathered, Key, Reading};
use super::defect::{Defect, Severity};
use super::level::Level;
use super::md5::HashingSource;
use super::member::{Checked, Checker, Member};
use super::report::Report;
use crate::cli::progress::ShardProgress;
use crate::cli::stores;

/// Bytes of a JPEG in which its frame header usually is.
const HEAD_BYTES: u64 = 4 << 10;
/// Samples of a gzip shard that are compared with its index where not all are.
const COMPARED_SAMPLES: usize = 16;

/// How shards are verified.
pub(in crate::cli) struct Settings {
    pub(in crate::cli) level: Level,
    pub(in crate::cli) sidecar: Sidecar,
    pub(in crate::cli) max_pixels: u64,
    /// Whether the MD5 of the files is computed.
    pub(in crate::cli) md5: bool,
    /// Bytes of all shards.
    pub(in crate::cli) bar: ProgressBar,
}

/// A shard that has been verified.
pub(in crate::cli) struct Verified {
    pub(in crate::cli) report: Report,
    /// The shard with its index, if it could be read and the level needs one.
    pub(in crate::cli) shard: Option<IndexedShard>,
    /// Something to tell that is no defect.
    pub(super) remark: Option<String>,
    /// Whether the same shard would give the same report again.
    pub(super) is_final: bool,
}

pub(super) fn verify(path: &Path, settings: &Settings, reading: &Reading<'_>, checker: &mut Checker) -> Verified {
    let mut pass =
        Pass { path, settings, reading, gathered: Arc::default(), report: Report::new(path, settings.level) };
    let (mut shard, mut remark) = (None, None);
    let done = match settings.level {
        Level::Header => pass.look_at_headers(checker).map(|indexed| {
            let is_new = indexed.as_ref().is_some_and(|shard| shard.status != IndexStatus::Loaded);
            let text = || format!("{}: a gzip shard without an index has to be read whole: indexed", path.display());
            (shard, remark) = (indexed, is_new.then(text));
        }),
        Level::Crc | Level::Full => pass.read_whole(checker).map(|indexed| shard = Some(indexed)),
    };
    let mut report = pass.report;
    if let Err(error) = done {
        report.defects.push(Defect::unreadable(&error));
    } else if report.samples == 0 && report.defects.iter().all(|defect| defect.severity == Severity::Note) {
        let why = "no image has annotations: it may be no shard of SA-1B".to_owned();
        report.defects.push(Defect::of_shard("shard without samples", Severity::Defect, why));
    }
    report.defects.sort_by_key(|defect| defect.offset);
    let is_final = !report.defects.iter().any(Defect::is_passing);
    Verified { report, shard, remark, is_final }
}

/// A shard that is being verified.
struct Pass<'a> {
    path: &'a Path,
    settings: &'a Settings,
    reading: &'a Reading<'a>,
    gathered: Arc<Gathered>,
    report: Report,
}

impl Pass<'_> {
    /// Reads the structure only. Returns the index of a gzip shard.
    fn look_at_headers(&mut self, checker: &mut Checker) -> Result<Option<IndexedShard>> {
        let share = ShardProgress::new(&self.settings.bar, self.path);
        let file = stores::open(self.path)?;
        self.report.bytes = file.len();
        if self.settings.md5 {
            self.report.md5 = Some(HashingSource::new(Arc::clone(&file)).finish()?);
        }
        let Some(index) = outline(self.path, file.as_ref())? else {
            let indexer = stores::indexer().sidecar(self.settings.sidecar.clone());
            let shard = indexer.progress(move |bytes| share.advance(bytes)).index(self.path)?;
            self.report.defects.extend(shard.index.findings().iter().map(Defect::of_finding));
            self.count(shard.index.entries(), shard.index.annotations());
            let source = shard.source(file)?;
            let entries = shard.index.entries();
            let places = COMPARED_SAMPLES.min(entries.len());
            let compared = (0..places).map(|place| &entries[(entries.len() - 1) * place / (places - 1).max(1)]);
            for entry in compared.clone() {
                self.check_in_place(entry, &source, checker);
            }
            self.list(compared);
            return Ok(Some(shard));
        };
        self.report.defects.extend(index.findings().iter().map(Defect::of_finding));
        self.count(index.entries(), index.annotations());
        for entry in index.entries() {
            let Extent { offset, len, .. } = entry.image;
            let end = |bytes: u64| offset + bytes.min(len.into());
            let mut head = file.read(offset..end(HEAD_BYTES))?;
            if own_size(&head).is_none() {
                head = file.read(offset..end(u64::MAX))?;
            }
            self.gathered.add(member(entry, true, head).check_quickly());
        }
        self.list(index.entries());
        Ok(None)
    }

    /// Reads everything.
    fn read_whole(&mut self, checker: &mut Checker) -> Result<IndexedShard> {
        let Self { path, settings, reading, .. } = *self;
        let share = ShardProgress::new(&settings.bar, path);
        let indexer = stores::indexer().sidecar(settings.sidecar.clone());
        let indexer = indexer.progress(move |bytes| share.advance(bytes));
        let mut file = stores::open(path)?;
        self.report.bytes = file.len();
        let hashing = settings.md5.then(|| Arc::new(HashingSource::new(Arc::clone(&file))));
        if let Some(hashing) = &hashing {
            file = Arc::clone(hashing) as Arc<dyn Source>;
        }
        let gathered = Arc::clone(&self.gathered);
        let had_index = settings.sidecar.path(path).is_some_and(|file| file.exists());
        let whole = read_whole(&indexer, path, &file, &mut |ReadMember { name, is_image, extent, bytes }| {
            let member = Member { name, is_image, extent, bytes, size: None };
            match settings.level {
                Level::Full => reading.hand_over(&gathered, member, checker),
                Level::Header | Level::Crc => gathered.add(member.check_quickly()),
            }
        });
        reading.finish(&gathered, checker);
        let whole = whole?;
        if let Some(hashing) = hashing {
            self.report.md5 = Some(hashing.finish()?);
        }
        self.report.defects.extend(whole.findings.iter().map(Defect::of_finding));
        if let (true, IndexStatus::Built(reason)) = (had_index, &whole.shard.status) {
            let why = format!(
                "the index that it had is not of this file ({reason}), and has been made anew: what has changed since \
                 and still decodes cannot be told"
            );
            self.report.defects.push(Defect::of_shard("index made anew", Severity::Note, why));
        }
        for Renamed { indexed, found, extent } in &whole.renamed {
            let why = format!(
                "the tar calls it {found}, but it was indexed as {indexed}; if it was changed on purpose, index the \
                 shard again with `maskstream index --rebuild`"
            );
            let defect = Defect::of_member("renamed member", Severity::Defect, found, extent, why);
            self.report.defects.push(defect);
        }
        let index = &whole.shard.index;
        self.count(index.entries(), index.annotations());
        let mut source = None;
        for entry in index.entries() {
            if !self.is_met(entry) {
                // The index may be damaged: then no sample can be read with it.
                let opened = stores::open(path).and_then(|file| whole.shard.source(file));
                let source = match &source {
                    Some(source) => source,
                    None => source.insert(opened?),
                };
                self.check_in_place(entry, source, checker);
            }
        }
        reading.finish(&self.gathered, checker);
        self.list(index.entries());
        Ok(whole.shard)
    }

    /// Whether the pass has met both members as they were indexed, the image in the size of its annotations.
    fn is_met(&self, entry: &Entry) -> bool {
        let members = self.gathered.lock();
        let is_met = |is_image| {
            let met = members.get(&key(entry, is_image));
            met.is_some_and(|checked| checked.extent == extent(entry, is_image))
        };
        is_met(false) && is_met(true)
    }

    /// Reads both members where the index says, and checks them.
    fn check_in_place(&self, entry: &Entry, source: &Arc<dyn Source>, checker: &mut Checker) {
        for is_image in [false, true] {
            let (name, extent) = place(entry, is_image);
            let defect = match source.read(extent.range()) {
                Err(error) => Defect::damage("member cannot be read", &name, &extent, &error),
                Ok(bytes) if crc32c::crc32c(&bytes) != extent.crc32c => changed(&name, &extent),
                Ok(bytes) => {
                    let member = member(entry, is_image, bytes);
                    if self.settings.level == Level::Full {
                        self.reading.hand_over(&self.gathered, member, checker);
                    } else {
                        self.gathered.add(member.check_quickly());
                    }
                    continue;
                }
            };
            let (_, size) = key(entry, is_image);
            self.gathered.add(Checked { extent, size, defects: vec![defect] });
        }
    }

    fn count(&mut self, entries: &[Entry], annotations: usize) {
        (self.report.samples, self.report.annotations) = (entries.len(), annotations);
    }

    /// Moves what was found of these samples to the report.
    fn list<'e>(&mut self, entries: impl IntoIterator<Item = &'e Entry>) {
        let members = self.gathered.lock();
        let mut listed = HashSet::new();
        for entry in entries {
            let mut bad = None;
            for key in [false, true].map(|is_image| key(entry, is_image)) {
                let Some(checked) = members.get(&key) else { continue };
                bad = bad.or(checked.defects.iter().find(|defect| defect.is_bad_data()));
                // Hard links are several names of one member.
                if listed.insert(key) {
                    self.report.defects.extend(checked.defects.iter().cloned());
                }
            }
            if let Some(defect) = bad {
                let kind = defect.error.unwrap_or(ErrorKind::Corrupt);
                // Every line can be encoded.
                self.report.bad.extend(quarantine_line(self.path, entry, kind, &defect.to_string()));
            }
        }
    }
}

/// Where the check of a member of a sample is found.
fn key(entry: &Entry, is_image: bool) -> Key {
    (extent(entry, is_image).offset, is_image.then_some((entry.width, entry.height)))
}

fn place(entry: &Entry, is_image: bool) -> (String, Extent) {
    let name = if is_image { entry.image_name() } else { entry.annotations_name() };
    (name, extent(entry, is_image))
}

fn extent(entry: &Entry, is_image: bool) -> Extent {
    if is_image { entry.image } else { entry.annotations }
}

fn member(entry: &Entry, is_image: bool, bytes: bytes::Bytes) -> Member {
    let (name, extent) = place(entry, is_image);
    Member { name, is_image, extent, bytes, size: Some((entry.width, entry.height)) }
}

fn changed(name: &str, extent: &Extent) -> Defect {
    let why = "its bytes are not those that were indexed; download the shard again, or index it again with `maskstream \
               index --rebuild` if it was changed on purpose";
    let defect = Defect::of_member("changed member", Severity::Damage, name, extent, why.to_owned());
    Defect { error: Some(ErrorKind::Corrupt), ..defect }
}

//! The pairing of a shard's members into samples, which gives its [`ShardIndex`].
//!
//! For each pair of image and annotations, the index has byte ranges, checksums, the image size and the annotations'
//! statistics, and it lists what is wrong with the shard. Only a source that cannot be read is an error; damaged data
//! becomes a [`Finding`].
//!
//! Samples are ordered by the end of the later of their two members. A pass that emits each sample as soon as it is
//! complete therefore has the order of the finished index.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::Read;
use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::entry::usual_stem;
use super::scan::{self, Member};
use super::{Entry, Extent, Finding, FindingKind};
use crate::annotation::{AnnotationFile, AnnotationStats};
use crate::source::{GzipPass, Restarts, Source, is_gzip};
use crate::{Error, Result};

/// The index of one shard: its samples, in the order in which a reader has both members, and its findings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ShardIndex {
    pub(super) entries: Vec<Entry>,
    /// The end of each entry's statistics in `stats`.
    pub(super) stat_ends: Vec<u32>,
    pub(super) stats: Vec<AnnotationStats>,
    pub(super) findings: Vec<Finding>,
    /// Number of samples lost to damage, estimated where it cannot be known.
    pub(super) missing: u64,
}

/// Receives the samples that a pass finds.
pub(crate) trait PassObserver {
    /// Called for each sample, in the order of the index, as soon as it can be read. If the shard is a gzip stream,
    /// `restarts` are the restart points to read it with. An error ends the pass.
    fn on_sample(&mut self, entry: &Entry, stats: &[AnnotationStats], restarts: Option<&Arc<Restarts>>) -> Result<()>;

    /// Called at each member. An error ends the pass.
    fn on_member(&self) -> Result<()>;
}

/// An observer that does nothing.
impl PassObserver for () {
    fn on_sample(&mut self, _: &Entry, _: &[AnnotationStats], _: Option<&Arc<Restarts>>) -> Result<()> {
        Ok(())
    }

    fn on_member(&self) -> Result<()> {
        Ok(())
    }
}

/// Largest image or JSON member: a hundred times the largest seen. Members are held in memory.
const MAX_MEMBER_BYTES: u32 = 256 << 20;
/// Maximum number of annotations in a shard: thirty times that of an official shard.
const MAX_ANNOTATIONS: usize = 1 << 25;
/// Shard bytes per sample: official shards have 11 GB for 11,186 samples.
const TYPICAL_SAMPLE_BYTES: u64 = 1 << 20;

/// A member that has been read.
enum IndexedMember {
    Image(Extent),
    Annotations(Extent, Box<AnnotationSummary>),
}

/// What the index keeps of a JSON member.
struct AnnotationSummary {
    image_id: i64,
    width: u32,
    height: u32,
    stats: Vec<AnnotationStats>,
}

/// The two kinds of members of a sample.
#[derive(Clone, Copy, PartialEq, Eq)]
enum MemberKind {
    Image,
    Annotations,
}

impl ShardIndex {
    /// Builds an index by reading a whole shard once: a plain one in parallel on the current rayon pool, a gzip stream
    /// from front to back. `progress` is called with the number of file bytes read since its last call.
    ///
    /// The index alone does not suffice to read a gzip shard in place; [`Indexer::index`](super::Indexer::index) keeps
    /// the restart points as well.
    ///
    /// # Errors
    /// If the source cannot be read.
    pub fn build(source: &dyn Source, progress: &(dyn Fn(u64) + Sync)) -> Result<Self> {
        match is_gzip(source)? {
            true => Self::pass_gzip(source, progress, &mut ()).map(|(index, _)| index),
            false => Self::build_plain(source, progress),
        }
    }

    /// Reads a whole plain shard once, on the current rayon pool.
    pub(super) fn build_plain(source: &dyn Source, progress: &(dyn Fn(u64) + Sync)) -> Result<Self> {
        let mut pairing = Pairing::default();
        let mut members = Vec::new();
        let findings = scan::walk(source, &mut |member| {
            members.extend(pairing.admit(&member).map(|kind| (member, kind)));
            Ok(())
        })?;
        // In file order, so that each thread reads a contiguous part of the shard.
        let read: Vec<Result<IndexedMember>> = members
            .par_iter()
            .map(|(member, kind)| {
                let result = read_member(source, member, *kind);
                progress(u64::from(member.len));
                result
            })
            .collect();
        let member_bytes: u64 = members.iter().map(|(member, _)| u64::from(member.len)).sum();
        progress(source.len().saturating_sub(member_bytes));
        for ((member, _), result) in members.into_iter().zip(read) {
            pairing.add(member, result)?;
        }
        Ok(pairing.finish(findings, None, source.len()))
    }

    /// Reads a whole plain shard once, from front to back, and emits each sample as soon as it is complete.
    pub(super) fn pass(source: &dyn Source, progress: &dyn Fn(u64), observer: &mut dyn PassObserver) -> Result<Self> {
        let (mut pairing, mut done) = (Pairing::default(), 0);
        let findings = scan::walk(source, &mut |member| {
            observer.on_member()?;
            if let Some(kind) = pairing.admit(&member) {
                let end = member.offset + u64::from(member.len);
                let result = read_member(source, &member, kind);
                pairing.add(member, result)?;
                pairing.emit(observer, None, u64::MAX)?;
                progress(end - done);
                done = end;
            }
            Ok(())
        })?;
        progress(source.len().saturating_sub(done));
        Ok(pairing.finish(findings, None, source.len()))
    }

    /// Reads a whole gzip shard once, from front to back: inflating it once gives members, checksums, annotations and
    /// restart points. Emits each sample as soon as it can be read in place.
    pub(super) fn pass_gzip(
        source: &dyn Source,
        progress: &dyn Fn(u64),
        observer: &mut dyn PassObserver,
    ) -> Result<(Self, Arc<Restarts>)> {
        let pass = RefCell::new(GzipPass::new(source));
        let restarts = Arc::clone(pass.borrow().restarts());
        let (mut pairing, mut done) = (Pairing::default(), 0);
        let (findings, valid_until) = scan::walk_gzip(&pass, &mut |member, data| {
            observer.on_member()?;
            // There is a restart point at this member, so all members before it can be read.
            pairing.emit(observer, Some(&restarts), pass.borrow().valid_until())?;
            if let Some(kind) = pairing.admit(&member) {
                let result = read_streamed_member(data, &member, kind)?;
                pairing.add(member, result)?;
            }
            let at = pass.borrow().file_offset();
            progress(at - done);
            done = at;
            Ok(())
        })?;
        pass.borrow_mut().finish()?;
        pairing.drop_after(valid_until);
        pairing.emit(observer, Some(&restarts), valid_until)?;
        progress(source.len().saturating_sub(done));
        Ok((pairing.finish(findings, Some(done), source.len()), restarts))
    }

    /// The samples.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The statistics of the annotations of entry `index`, in file order.
    ///
    /// # Panics
    /// If there is no such entry.
    pub fn stats(&self, index: usize) -> &[AnnotationStats] {
        &self.stats[self.stat_range(index)]
    }

    /// What is wrong with the shard, in the order of the offsets.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Number of samples lost to damage: those whose annotations cannot be parsed, and, if the shard is cut short or
    /// broken, an estimate of those in its unreadable part.
    pub fn missing(&self) -> u64 {
        self.missing
    }

    /// Number of annotations in all samples.
    pub fn annotations(&self) -> usize {
        self.stats.len()
    }

    fn stat_range(&self, index: usize) -> Range<usize> {
        let start = if index == 0 { 0 } else { self.stat_ends[index - 1] as usize };
        start..self.stat_ends[index] as usize
    }

    /// Whether the parts agree with each other. A matching checksum does not make an index file trustworthy.
    pub(super) fn is_consistent(&self, shard_bytes: u64) -> bool {
        let fits =
            |extent: &Extent| extent.offset.checked_add(u64::from(extent.len)).is_some_and(|end| end <= shard_bytes);
        self.entries.len() == self.stat_ends.len()
            && self.stat_ends.is_sorted()
            && self.stat_ends.last().map_or(0, |&end| end as usize) == self.stats.len()
            && self.entries.iter().all(|e| fits(&e.image) && fits(&e.annotations) && e.width > 0 && e.height > 0)
    }

    /// Keeps the first `count` samples only.
    fn truncate(&mut self, count: usize) {
        let stats = if count == 0 { 0 } else { self.stat_range(count - 1).end };
        self.entries.truncate(count);
        self.stat_ends.truncate(count);
        self.stats.truncate(stats);
    }

    pub(super) fn push(&mut self, entry: Entry, stats: &[AnnotationStats]) -> Result<()> {
        let end = self.stats.len() + stats.len();
        if end > MAX_ANNOTATIONS {
            return Err(Error::limit(format!("more than {MAX_ANNOTATIONS} annotations in one shard")));
        }
        self.stats.extend_from_slice(stats);
        self.stat_ends.push(end as u32);
        self.entries.push(entry);
        Ok(())
    }
}

/// Pairs images and annotations of the same name, in any order. A sample is added to the index when its second member
/// arrives.
#[derive(Default)]
struct Pairing {
    index: ShardIndex,
    /// By name without extension.
    pairs: HashMap<String, Pair>,
    findings: Vec<Finding>,
    /// Number of samples that the observer has received.
    emitted: usize,
    /// Samples that were complete, but may be corrupt.
    dropped: u64,
    members: u64,
}

/// The members with one name.
#[derive(Default)]
struct Pair {
    /// Offset of the first member of each kind.
    image: Option<u64>,
    annotations: Option<u64>,
    unpaired: Option<Unpaired>,
}

/// A member whose partner has not arrived.
enum Unpaired {
    Image(Member, Extent),
    Annotations(Member, Extent, Box<AnnotationSummary>),
    /// Annotations that cannot be parsed. They have a finding already, so their image gets none.
    Broken,
}

impl Pairing {
    /// Returns the kind of a member that is to be indexed: an image or JSON, the first of its name. Others become
    /// findings.
    fn admit(&mut self, member: &Member) -> Option<MemberKind> {
        let Some((stem, kind)) = member_kind(&member.name) else {
            self.findings.push(finding(FindingKind::UnknownMember, member, "neither an image nor JSON"));
            return None;
        };
        if member.len > MAX_MEMBER_BYTES {
            let message =
                format!("{} bytes, more than the {MAX_MEMBER_BYTES} that an image or JSON may have", member.len);
            self.findings.push(finding(FindingKind::UnknownMember, member, message));
            return None;
        }
        self.members += 1;
        let pair = self.pairs.entry(key(stem).to_owned()).or_default();
        let seen = if kind == MemberKind::Image { &mut pair.image } else { &mut pair.annotations };
        let first = *seen.get_or_insert(member.offset);
        if first != member.offset {
            let message = format!("the first one, at byte {first}, is used");
            self.findings.push(finding(FindingKind::Duplicate, member, message));
            return None;
        }
        Some(kind)
    }

    /// Adds a member that was admitted.
    fn add(&mut self, member: Member, result: Result<IndexedMember>) -> Result<()> {
        let stem = member_kind(&member.name).map_or("", |(stem, _)| key(stem));
        let unpaired = &mut self.pairs.entry(stem.to_owned()).or_default().unpaired;
        let pair = match (result, unpaired.take()) {
            (Err(error), _) if error.is_io() => return Err(error),
            (Err(error), _) => {
                self.findings.push(finding(FindingKind::BrokenAnnotations, &member, error.message()));
                *unpaired = Some(Unpaired::Broken);
                return Ok(());
            }
            (Ok(IndexedMember::Image(image)), Some(Unpaired::Annotations(_, annotations, summary))) => {
                (member, image, annotations, summary)
            }
            (Ok(IndexedMember::Annotations(annotations, summary)), Some(Unpaired::Image(member, image))) => {
                (member, image, annotations, summary)
            }
            (Ok(IndexedMember::Image(image)), None) => {
                *unpaired = Some(Unpaired::Image(member, image));
                return Ok(());
            }
            (Ok(IndexedMember::Annotations(annotations, summary)), None) => {
                *unpaired = Some(Unpaired::Annotations(member, annotations, summary));
                return Ok(());
            }
            (Ok(_), broken) => {
                *unpaired = broken;
                return Ok(());
            }
        };
        let (image_member, image, annotations, summary) = pair;
        let (stem, extension) = image_member.name.rsplit_once('.').unwrap_or((&image_member.name, ""));
        let entry = Entry {
            image_id: summary.image_id,
            width: summary.width,
            height: summary.height,
            image,
            annotations,
            stem: (stem != usual_stem(summary.image_id)).then(|| stem.into()),
            extension: (extension != "jpg").then(|| extension.into()),
        };
        self.index.push(entry, &summary.stats)
    }

    /// Emits the samples that have become complete since the last call and end at or before `valid_until`.
    fn emit(
        &mut self,
        observer: &mut dyn PassObserver,
        restarts: Option<&Arc<Restarts>>,
        valid_until: u64,
    ) -> Result<()> {
        while let Some(entry) = self.index.entries.get(self.emitted).filter(|entry| entry.end() <= valid_until) {
            observer.on_sample(entry, self.index.stats(self.emitted), restarts)?;
            self.emitted += 1;
        }
        Ok(())
    }

    /// Drops the samples that end after `valid_until`. They are the last ones: samples are ordered by their ends.
    fn drop_after(&mut self, valid_until: u64) {
        let kept = self.index.entries.partition_point(|entry| entry.end() <= valid_until);
        self.dropped = (self.index.entries.len() - kept) as u64;
        self.index.truncate(kept);
    }

    /// Finishes the index: members without a partner become findings. `reached` of the `shard_bytes` of a stream were
    /// read; for a plain shard it is `None`, because the finding has the offset of the break.
    fn finish(self, findings: Vec<Finding>, reached: Option<u64>, shard_bytes: u64) -> ShardIndex {
        let Self { mut index, pairs, findings: mut found, members, dropped, .. } = self;
        let mut unpaired_members = 0;
        for unpaired in pairs.into_values().filter_map(|pair| pair.unpaired) {
            let (kind, member) = match unpaired {
                Unpaired::Image(member, _) => (FindingKind::ImageWithoutAnnotations, member),
                Unpaired::Annotations(member, ..) => (FindingKind::AnnotationsWithoutImage, member),
                Unpaired::Broken => continue,
            };
            unpaired_members += 1;
            found.push(finding(kind, &member, "the sample is left out"));
        }
        let is = |finding: &&Finding, kind| finding.kind == kind;
        index.missing = found.iter().filter(|p| is(p, FindingKind::BrokenAnnotations)).count() as u64;
        found.extend(findings);
        for finding in &mut found {
            match finding.kind {
                FindingKind::BrokenShard => {}
                FindingKind::WrongChecksum => {
                    index.missing += 1;
                    finding.message += "; at least one sample may be corrupt, and it is not known which";
                    continue;
                }
                _ => continue,
            }
            let reached = reached.unwrap_or(finding.offset).min(shard_bytes);
            let left = shard_bytes - reached;
            // Assume as many members per byte as before the break, or as in official shards if there are none.
            let rest = match (members, reached) {
                (0, _) | (_, 0) => 2 * u128::from(left.div_ceil(TYPICAL_SAMPLE_BYTES)),
                _ => u128::from(members) * u128::from(left) / u128::from(reached),
            };
            let samples = index.entries.len() as u64;
            let expected = (members + rest as u64) / 2;
            let missing = expected.saturating_sub(samples + index.missing).max(unpaired_members + dropped);
            let about = if rest > 0 { "about" } else { "at least" };
            index.missing += missing;
            finding.message += &format!(
                "; {samples} samples are complete before it, {about} {missing} are missing \
                 ({unpaired_members} of them have only one member before it, {dropped} are possibly corrupt)"
            );
        }
        found.sort_by_key(|finding| finding.offset);
        index.findings = found;
        index
    }
}

fn member_kind(name: &str) -> Option<(&str, MemberKind)> {
    let (stem, extension) = name.rsplit_once('.')?;
    match extension.to_ascii_lowercase().as_str() {
        "jpg" | "jpeg" => Some((stem, MemberKind::Image)),
        "json" => Some((stem, MemberKind::Annotations)),
        _ => None,
    }
}

/// `./sa_1` and `sa_1` are the same name.
fn key(stem: &str) -> &str {
    stem.strip_prefix("./").unwrap_or(stem)
}

fn read_member(source: &dyn Source, member: &Member, kind: MemberKind) -> Result<IndexedMember> {
    let named = |e: Error| e.at_offset(member.offset).in_member(&member.name);
    let bytes = source.read(member.offset..member.offset + u64::from(member.len)).map_err(named)?;
    let extent = Extent { offset: member.offset, len: member.len, crc32c: crc32c::crc32c(&bytes) };
    if kind == MemberKind::Image {
        return Ok(IndexedMember::Image(extent));
    }
    summarize(&bytes).map(|summary| IndexedMember::Annotations(extent, summary)).map_err(named)
}

/// The same for data that can be read once only. The outer error is that of the stream.
fn read_streamed_member(data: &mut dyn Read, member: &Member, kind: MemberKind) -> Result<Result<IndexedMember>> {
    let mut extent = Extent { offset: member.offset, len: member.len, crc32c: 0 };
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 128 << 10];
    loop {
        let count = data.read(&mut buffer).map_err(Error::unwrapped)?;
        if count == 0 {
            break;
        }
        extent.crc32c = crc32c::crc32c_append(extent.crc32c, &buffer[..count]);
        // Grow with the data, because the size in a header may be wrong.
        if kind == MemberKind::Annotations {
            bytes.extend_from_slice(&buffer[..count]);
        }
    }
    if kind == MemberKind::Image {
        return Ok(Ok(IndexedMember::Image(extent)));
    }
    let summary = summarize(&bytes).map_err(|e| e.at_offset(member.offset).in_member(&member.name));
    Ok(summary.map(|summary| IndexedMember::Annotations(extent, summary)))
}

fn summarize(json: &[u8]) -> Result<Box<AnnotationSummary>> {
    let file = AnnotationFile::parse(json)?;
    Ok(Box::new(AnnotationSummary {
        image_id: file.image.image_id,
        width: file.image.width,
        height: file.image.height,
        stats: file.annotations.iter().map(|annotation| annotation.stats()).collect(),
    }))
}

fn finding(kind: FindingKind, member: &Member, message: impl Into<String>) -> Finding {
    Finding { kind, member: member.name.clone(), offset: member.offset, message: message.into() }
}

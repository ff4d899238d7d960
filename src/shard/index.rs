//! Members -> samples. Comes in: a source. Goes out: a [`ShardIndex`]: each pair of image and annotations with ranges,
//! checksums, sizes and stats, and everything that did not fit. Fails only if the source cannot be read; damaged data
//! becomes a [`Finding`].
//!
//! Samples stand in the order in which their second half comes: so a pass that hands them on as it goes has the order
//! of the finished index.

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

/// The samples of one shard, in the order in which they are complete.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ShardIndex {
    pub(super) entries: Vec<Entry>,
    /// Where each entry's stats end in `stats`.
    pub(super) stat_ends: Vec<u32>,
    pub(super) stats: Vec<AnnotationStats>,
    pub(super) findings: Vec<Finding>,
    /// Samples lost to damage, as far as that can be told.
    pub(super) missing: u64,
}

/// Sees the samples that a pass finds.
pub(crate) trait PassObserver {
    /// Called for each sample, in the order of the index, as soon as it can be read: with the restart points to read it
    /// by, if the shard is a gzip stream. An error ends the pass.
    fn found(&mut self, entry: &Entry, stats: &[AnnotationStats], restarts: Option<&Arc<Restarts>>) -> Result<()>;

    /// Called at each member; an error ends the pass.
    fn goes_on(&self) -> Result<()>;
}

/// The observer of a pass that has none.
impl PassObserver for () {
    fn found(&mut self, _: &Entry, _: &[AnnotationStats], _: Option<&Arc<Restarts>>) -> Result<()> {
        Ok(())
    }

    fn goes_on(&self) -> Result<()> {
        Ok(())
    }
}

/// Largest image or json: a hundred times the largest seen. It will be held in memory.
const MAX_MEMBER_BYTES: u32 = 256 << 20;
/// Annotations of one shard, at most: thirty times an official shard.
const MAX_ANNOTATIONS: usize = 1 << 25;
/// Official shards have 11 GB for 11,186 samples.
const TYPICAL_SAMPLE_BYTES: u64 = 1 << 20;

/// What a look at one member yields.
enum Digest {
    Image(Extent),
    Annotations(Extent, Box<Labels>),
}

/// What the index keeps of a json member.
struct Labels {
    image_id: i64,
    width: u32,
    height: u32,
    stats: Vec<AnnotationStats>,
}

/// What a member is to its sample.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Image,
    Annotations,
}

impl ShardIndex {
    /// Reads a whole shard once: a plain one on the current rayon pool, a gzip stream from front to back. `progress`
    /// gets the bytes of the file that have been read since it was called last. To read a gzip shard by its index as
    /// well, see [`ShardSetBuilder::index`](super::ShardSetBuilder::index).
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
            members.extend(pairing.admit(&member).map(|role| (member, role)));
            Ok(())
        })?;
        // In file order: each thread reads a stretch of the shard from front to back.
        let digests: Vec<Result<Digest>> = members
            .par_iter()
            .map(|(member, role)| {
                let digest = digest(source, member, *role);
                progress(u64::from(member.len));
                digest
            })
            .collect();
        let member_bytes: u64 = members.iter().map(|(member, _)| u64::from(member.len)).sum();
        progress(source.len().saturating_sub(member_bytes));
        for ((member, _), digest) in members.into_iter().zip(digests) {
            pairing.take(member, digest)?;
        }
        Ok(pairing.finish(findings, None, source.len()))
    }

    /// Reads a whole plain shard once, from front to back, and names each sample as soon as it is complete.
    pub(super) fn pass(source: &dyn Source, progress: &dyn Fn(u64), follow: &mut dyn PassObserver) -> Result<Self> {
        let (mut pairing, mut done) = (Pairing::default(), 0);
        let findings = scan::walk(source, &mut |member| {
            follow.goes_on()?;
            if let Some(role) = pairing.admit(&member) {
                let end = member.offset + u64::from(member.len);
                let digest = digest(source, &member, role);
                pairing.take(member, digest)?;
                pairing.announce(follow, None, u64::MAX)?;
                progress(end - done);
                done = end;
            }
            Ok(())
        })?;
        progress(source.len().saturating_sub(done));
        Ok(pairing.finish(findings, None, source.len()))
    }

    /// Reads a whole gzip shard once, from front to back: members, checksums, annotations and restart points in one
    /// inflation. Names each sample as soon as it can be read in place.
    pub(super) fn pass_gzip(
        source: &dyn Source,
        progress: &dyn Fn(u64),
        follow: &mut dyn PassObserver,
    ) -> Result<(Self, Arc<Restarts>)> {
        let pass = RefCell::new(GzipPass::new(source));
        let restarts = Arc::clone(pass.borrow().restarts());
        let (mut pairing, mut done) = (Pairing::default(), 0);
        let (findings, sound) = scan::walk_gzip(&pass, &mut |member, data| {
            follow.goes_on()?;
            // The members before this one are behind a restart point now.
            pairing.announce(follow, Some(&restarts), pass.borrow().sound_until())?;
            if let Some(role) = pairing.admit(&member) {
                let digest = digest_stream(data, &member, role)?;
                pairing.take(member, digest)?;
            }
            let at = pass.borrow().file_offset();
            progress(at - done);
            done = at;
            Ok(())
        })?;
        pass.borrow_mut().finish()?;
        pairing.drop_doubtful(sound);
        pairing.announce(follow, Some(&restarts), sound)?;
        progress(source.len().saturating_sub(done));
        Ok((pairing.finish(findings, Some(done), source.len()), restarts))
    }

    /// The samples.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The stats of each annotation of entry `index`, in file order.
    pub fn stats(&self, index: usize) -> &[AnnotationStats] {
        &self.stats[self.stat_range(index)]
    }

    /// Everything that did not fit.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// How many samples are lost to damage: those whose annotations cannot be read, and, where the shard breaks off, a
    /// count of what is half there or a guess at what its other bytes hold.
    pub fn missing(&self) -> u64 {
        self.missing
    }

    /// Number of annotations of all samples.
    pub fn annotations(&self) -> usize {
        self.stats.len()
    }

    fn stat_range(&self, index: usize) -> Range<usize> {
        let start = if index == 0 { 0 } else { self.stat_ends[index - 1] as usize };
        start..self.stat_ends[index] as usize
    }

    /// Whether the parts fit each other; a sidecar is data from outside, however well its checksum fits.
    pub(super) fn is_consistent(&self, shard_bytes: u64) -> bool {
        let fits =
            |extent: &Extent| extent.offset.checked_add(u64::from(extent.len)).is_some_and(|end| end <= shard_bytes);
        self.entries.len() == self.stat_ends.len()
            && self.stat_ends.is_sorted()
            && self.stat_ends.last().map_or(0, |&end| end as usize) == self.stats.len()
            && self.entries.iter().all(|e| fits(&e.image) && fits(&e.annotations) && e.width > 0 && e.height > 0)
    }

    /// Leaves out all samples but the first `count`.
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

/// Brings images and annotations of the same name together, in whatever order they come. A sample takes its place when
/// its second half comes.
#[derive(Default)]
struct Pairing {
    index: ShardIndex,
    stems: HashMap<String, Stem>,
    findings: Vec<Finding>,
    announced: usize,
    /// Samples that were complete, but are in doubt.
    retracted: u64,
    members: u64,
}

/// What has come under one name.
#[derive(Default)]
struct Stem {
    /// Offset of the first member of each role.
    image: Option<u64>,
    annotations: Option<u64>,
    half: Option<Unpaired>,
}

enum Unpaired {
    Image(Member, Extent),
    Annotations(Member, Extent, Box<Labels>),
    /// Annotations that cannot be read: named already, so that their image is not named a second time.
    Broken,
}

impl Pairing {
    /// Says what to do with a member: images and json members count, first of each name; others are named.
    fn admit(&mut self, member: &Member) -> Option<Role> {
        let Some((stem, role)) = role_of(&member.name) else {
            self.findings.push(finding(FindingKind::UnknownMember, member, "neither image nor json"));
            return None;
        };
        if member.len > MAX_MEMBER_BYTES {
            let message =
                format!("{} bytes, more than the {MAX_MEMBER_BYTES} that an image or json may have", member.len);
            self.findings.push(finding(FindingKind::UnknownMember, member, message));
            return None;
        }
        self.members += 1;
        let stem = self.stems.entry(key(stem).to_owned()).or_default();
        let seen = if role == Role::Image { &mut stem.image } else { &mut stem.annotations };
        let first = *seen.get_or_insert(member.offset);
        if first != member.offset {
            let message = format!("the first one, at byte {first}, counts");
            self.findings.push(finding(FindingKind::Duplicate, member, message));
            return None;
        }
        Some(role)
    }

    /// Takes in a member that was admitted.
    fn take(&mut self, member: Member, digest: Result<Digest>) -> Result<()> {
        let stem = role_of(&member.name).map_or("", |(stem, _)| key(stem));
        let half = &mut self.stems.entry(stem.to_owned()).or_default().half;
        let pair = match (digest, half.take()) {
            (Err(error), _) if error.is_io() => return Err(error),
            (Err(error), _) => {
                self.findings.push(finding(FindingKind::BrokenAnnotations, &member, error.message()));
                *half = Some(Unpaired::Broken);
                return Ok(());
            }
            (Ok(Digest::Image(image)), Some(Unpaired::Annotations(_, annotations, labels))) => {
                (member, image, annotations, labels)
            }
            (Ok(Digest::Annotations(annotations, labels)), Some(Unpaired::Image(member, image))) => {
                (member, image, annotations, labels)
            }
            (Ok(Digest::Image(image)), None) => {
                *half = Some(Unpaired::Image(member, image));
                return Ok(());
            }
            (Ok(Digest::Annotations(annotations, labels)), None) => {
                *half = Some(Unpaired::Annotations(member, annotations, labels));
                return Ok(());
            }
            (Ok(_), broken) => {
                *half = broken;
                return Ok(());
            }
        };
        let (image_member, image, annotations, labels) = pair;
        let (stem, extension) = image_member.name.rsplit_once('.').unwrap_or((&image_member.name, ""));
        let entry = Entry {
            image_id: labels.image_id,
            width: labels.width,
            height: labels.height,
            image,
            annotations,
            stem: (stem != usual_stem(labels.image_id)).then(|| stem.into()),
            extension: (extension != "jpg").then(|| extension.into()),
        };
        self.index.push(entry, &labels.stats)
    }

    /// Hands on the samples that have become complete since the last call and lie before `sound`.
    fn announce(&mut self, follow: &mut dyn PassObserver, restarts: Option<&Arc<Restarts>>, sound: u64) -> Result<()> {
        while let Some(entry) = self.index.entries.get(self.announced).filter(|entry| entry.end() <= sound) {
            follow.found(entry, self.index.stats(self.announced), restarts)?;
            self.announced += 1;
        }
        Ok(())
    }

    /// Leaves out the samples that reach beyond `sound`: the last ones, as samples stand in the order of their ends.
    fn drop_doubtful(&mut self, sound: u64) {
        let kept = self.index.entries.partition_point(|entry| entry.end() <= sound);
        self.retracted = (self.index.entries.len() - kept) as u64;
        self.index.truncate(kept);
    }

    /// The index, with the halves that found no other named. `reached` of `shard_bytes` have been read of a stream; of
    /// a plain shard a break says that itself.
    fn finish(self, findings: Vec<Finding>, reached: Option<u64>, shard_bytes: u64) -> ShardIndex {
        let Self { mut index, stems, findings: mut found, members, retracted, .. } = self;
        let mut halves = 0;
        for half in stems.into_values().filter_map(|stem| stem.half) {
            let (kind, member) = match half {
                Unpaired::Image(member, _) => (FindingKind::ImageWithoutAnnotations, member),
                Unpaired::Annotations(member, ..) => (FindingKind::AnnotationsWithoutImage, member),
                Unpaired::Broken => continue,
            };
            halves += 1;
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
                    finding.message += "; at least one sample may be wrong, which one cannot be told";
                    continue;
                }
                _ => continue,
            }
            let reached = reached.unwrap_or(finding.offset).min(shard_bytes);
            let left = shard_bytes - reached;
            // As many members to a byte as before the break; as in official shards where no member is.
            let rest = match (members, reached) {
                (0, _) | (_, 0) => 2 * u128::from(left.div_ceil(TYPICAL_SAMPLE_BYTES)),
                _ => u128::from(members) * u128::from(left) / u128::from(reached),
            };
            let samples = index.entries.len() as u64;
            let expected = (members + rest as u64) / 2;
            let missing = expected.saturating_sub(samples + index.missing).max(halves + retracted);
            let guess = if rest > 0 { "about" } else { "at least" };
            index.missing += missing;
            finding.message += &format!(
                "; {samples} samples are complete before it, {guess} {missing} are missing \
                 ({halves} of them were half read, {retracted} are in doubt)"
            );
        }
        found.sort_by_key(|finding| finding.offset);
        index.findings = found;
        index
    }
}

fn role_of(name: &str) -> Option<(&str, Role)> {
    let (stem, extension) = name.rsplit_once('.')?;
    match extension.to_ascii_lowercase().as_str() {
        "jpg" | "jpeg" => Some((stem, Role::Image)),
        "json" => Some((stem, Role::Annotations)),
        _ => None,
    }
}

/// `./sa_1` and `sa_1` are the same place.
fn key(stem: &str) -> &str {
    stem.strip_prefix("./").unwrap_or(stem)
}

fn digest(source: &dyn Source, member: &Member, role: Role) -> Result<Digest> {
    let named = |e: Error| e.at_offset(member.offset).in_member(&member.name);
    let bytes = source.read(member.offset..member.offset + u64::from(member.len)).map_err(named)?;
    let extent = Extent { offset: member.offset, len: member.len, crc32c: crc32c::crc32c(&bytes) };
    if role == Role::Image {
        return Ok(Digest::Image(extent));
    }
    labels(&bytes).map(|labels| Digest::Annotations(extent, labels)).map_err(named)
}

/// The same of data that comes by once. The outer error is that of the stream.
fn digest_stream(data: &mut dyn Read, member: &Member, role: Role) -> Result<Result<Digest>> {
    let mut extent = Extent { offset: member.offset, len: member.len, crc32c: 0 };
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 128 << 10];
    loop {
        let count = data.read(&mut buffer).map_err(Error::unwrapped)?;
        if count == 0 {
            break;
        }
        extent.crc32c = crc32c::crc32c_append(extent.crc32c, &buffer[..count]);
        // Grows with the data, not with what a header claims.
        if role == Role::Annotations {
            bytes.extend_from_slice(&buffer[..count]);
        }
    }
    if role == Role::Image {
        return Ok(Ok(Digest::Image(extent)));
    }
    let labels = labels(&bytes).map_err(|e| e.at_offset(member.offset).in_member(&member.name));
    Ok(labels.map(|labels| Digest::Annotations(extent, labels)))
}

fn labels(json: &[u8]) -> Result<Box<Labels>> {
    let file = AnnotationFile::parse(json)?;
    Ok(Box::new(Labels {
        image_id: file.image.image_id,
        width: file.image.width,
        height: file.image.height,
        stats: file.annotations.iter().map(|annotation| annotation.stats()).collect(),
    }))
}

fn finding(kind: FindingKind, member: &Member, message: impl Into<String>) -> Finding {
    Finding { kind, member: member.name.clone(), offset: member.offset, message: message.into() }
}

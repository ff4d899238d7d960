//! The pairing of a shard's members into samples.
//!
//! A sample is an image and a JSON member of the same name, in any order. It is added to the index when its second
//! member has been read. If several members have one name and kind, the last one counts, as it does for `tar`.
//! Members that make no sample become findings and are counted.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::entry::usual_stem;
use super::index::{PassObserver, ShardIndex};
use super::scan::Member;
use super::{Entry, Extent, Finding, FindingKind, LeftOut};
use crate::annotation::{AnnotationFile, AnnotationStats};
use crate::image::Derived;
use crate::source::Restarts;
use crate::{Error, Result};

/// Largest image or JSON member: a hundred times the largest seen. Members are held in memory.
pub(super) const MAX_MEMBER_BYTES: u32 = 256 << 20;
/// Shard bytes per sample: official shards have 11 GB for 11,186 samples.
const TYPICAL_SAMPLE_BYTES: u64 = 1 << 20;

/// The two kinds of members of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MemberKind {
    Image,
    Annotations,
}

/// A member that has been read.
pub(super) enum Content {
    Image(ImageSummary),
    Annotations(Extent, Box<AnnotationSummary>),
}

/// What the index will have of a sample that is not in a shard yet, as if both its members began at byte 0: its entry,
/// and the statistics of its annotations.
///
/// # Errors
/// If the JSON cannot be parsed.
pub(super) fn sample_of(image_name: &str, image: &[u8], json: &[u8]) -> Result<(Entry, Vec<AnnotationStats>)> {
    let extent = |bytes: &[u8]| Extent { offset: 0, len: bytes.len() as u32, crc32c: crc32c::crc32c(bytes) };
    let summary = AnnotationSummary::of(json)?;
    let entry = entry(image_name, &ImageSummary::of(extent(image), image), extent(json), &summary);
    Ok((entry, summary.stats))
}

/// What the index keeps of an image.
#[derive(Clone)]
pub(super) struct ImageSummary {
    extent: Extent,
    derived: Option<Box<Derived>>,
}

impl ImageSummary {
    /// `head` are the first [`HEAD_BYTES`](crate::image::HEAD_BYTES) of the image, or all of it.
    pub(super) fn of(extent: Extent, head: &[u8]) -> Self {
        Self { extent, derived: Derived::read(head).map(Box::new) }
    }
}

/// What the index keeps of a JSON member.
#[derive(Clone)]
pub(super) struct AnnotationSummary {
    image_id: i64,
    width: u32,
    height: u32,
    stats: Vec<AnnotationStats>,
}

impl AnnotationSummary {
    /// # Errors
    /// If `json` cannot be parsed.
    pub(super) fn of(json: &[u8]) -> Result<Box<Self>> {
        let file = AnnotationFile::parse(json)?;
        Ok(Box::new(Self {
            image_id: file.image.image_id,
            width: file.image.width,
            height: file.image.height,
            stats: file.annotations.iter().map(|annotation| annotation.stats()).collect(),
        }))
    }
}

/// A member that is to be read.
pub(super) enum Admitted {
    /// It has data of its own.
    Data(Member, MemberKind),
    /// It is a hard link; this is the member under the name of the link, at the place of its target.
    Link { member: Member, kind: MemberKind, target: String },
}

/// Pairs the members of one shard.
#[derive(Default)]
pub(super) struct Pairing {
    index: ShardIndex,
    /// By name without extension.
    pairs: HashMap<String, Pair>,
    findings: Vec<Finding>,
    /// Positions of samples in the index that are dropped at the end: a later member has replaced one of theirs, or
    /// they may be corrupt.
    dropped: HashSet<usize>,
    /// Samples that were complete, but may be corrupt.
    corrupt: u64,
    /// Number of samples of the index that have been emitted or passed over.
    emitted: usize,
    /// Positions of samples of which an earlier version has been emitted.
    passed_over: HashSet<usize>,
    members: u64,
}

/// The last members with one name.
#[derive(Default)]
struct Pair {
    image: Option<Half<ImageSummary>>,
    annotations: Option<Half<Annotations>>,
    /// Position of the sample in the index.
    sample: Option<usize>,
}

/// One of the two members of a sample.
struct Half<T> {
    member: Member,
    /// `None` until it has been read.
    content: Option<T>,
}

enum Annotations {
    Read(Extent, Box<AnnotationSummary>),
    /// The index has the summary.
    Indexed(Extent),
    /// They cannot be parsed, for this reason.
    Broken(String),
}

impl Pairing {
    /// Whether a member is to be read: an image or JSON. Others become findings, and so does an earlier member of the
    /// same name and kind.
    pub(super) fn admit(&mut self, member: Member) -> Option<Admitted> {
        let Some((stem, kind)) = member_kind(&member.name) else {
            let why = match is_apple_double(&member.name) {
                true => "file attributes that macOS adds; it is ignored",
                false => "neither an image (.jpg, .jpeg) nor .json; it is ignored",
            };
            self.findings.push(finding(FindingKind::UnknownMember, &member, why));
            return None;
        };
        if member.len > MAX_MEMBER_BYTES {
            let why = format!("{} bytes, more than the {MAX_MEMBER_BYTES} that an image or JSON may have", member.len);
            self.findings.push(finding(FindingKind::UnknownMember, &member, why));
            return None;
        }
        let target = match &member.link {
            None => None,
            Some(target) => match self.linked(target, kind) {
                Some(place) => Some((target.clone(), place)),
                None => {
                    let why = format!("a hard link to {target}, which is not before it in the shard");
                    self.findings.push(finding(FindingKind::UnknownMember, &member, why));
                    return None;
                }
            },
        };
        self.members += 1;
        let stem = key(stem).to_owned();
        self.supersede(&stem, kind, member.offset);
        let pair = self.pairs.entry(stem).or_default();
        let half = member.clone();
        match kind {
            MemberKind::Image => pair.image = Some(Half { member: half, content: None }),
            MemberKind::Annotations => pair.annotations = Some(Half { member: half, content: None }),
        }
        Some(match target {
            None => Admitted::Data(member, kind),
            Some((target, (offset, len))) => Admitted::Link { member: Member { offset, len, ..member }, kind, target },
        })
    }

    /// Whether no later member has the name and kind of this one, which was admitted at header position `at`.
    pub(super) fn is_last(&self, name: &str, kind: MemberKind, at: u64) -> bool {
        let pair = member_kind(name).and_then(|(stem, _)| self.pairs.get(key(stem)));
        let last = pair.and_then(|pair| pair.place(kind));
        last == Some(at)
    }

    /// The place of the member that a hard link refers to.
    fn linked(&self, target: &str, kind: MemberKind) -> Option<(u64, u32)> {
        let (stem, _) = member_kind(target).filter(|(_, found)| *found == kind)?;
        let pair = self.pairs.get(key(stem))?;
        let member = match kind {
            MemberKind::Image => &pair.image.as_ref()?.member,
            MemberKind::Annotations => &pair.annotations.as_ref()?.member,
        };
        // A link to a link has no place of its own.
        member.link.is_none().then_some((member.offset, member.len))
    }

    /// The content of a hard link: that of its target, if it has been read.
    pub(super) fn linked_content(&self, target: &str, kind: MemberKind) -> Option<Content> {
        let pair = self.pairs.get(key(member_kind(target)?.0))?;
        match kind {
            MemberKind::Image => pair.image.as_ref()?.content.clone().map(Content::Image),
            MemberKind::Annotations => match pair.annotations.as_ref()?.content.as_ref()? {
                Annotations::Read(extent, summary) => Some(Content::Annotations(*extent, summary.clone())),
                Annotations::Indexed(extent) => Some(Content::Annotations(*extent, summary(&self.index, pair.sample?))),
                Annotations::Broken(_) => None,
            },
        }
    }

    /// Makes room for a later member of the same name and kind.
    fn supersede(&mut self, stem: &str, kind: MemberKind, by: u64) {
        let Some(pair) = self.pairs.get_mut(stem) else { return };
        let earlier = match kind {
            MemberKind::Image => pair.image.take().map(|half| half.member),
            MemberKind::Annotations => pair.annotations.take().map(|half| half.member),
        };
        let Some(earlier) = earlier else { return };
        let why = format!("a later member of this name, at byte {by}, is used");
        self.findings.push(finding(FindingKind::Duplicate, &earlier, why));
        let Some(at) = pair.sample else { return };
        self.dropped.insert(at);
        // The JSON waits for the later image.
        if let Some(Half { content: Some(content), .. }) = &mut pair.annotations
            && let Annotations::Indexed(extent) = *content
        {
            *content = Annotations::Read(extent, summary(&self.index, at));
        }
    }

    /// Adds the content of a member that was admitted and is the last of its name.
    ///
    /// # Errors
    /// I/O errors, and more annotations than an index can hold.
    pub(super) fn add(&mut self, member: &Member, content: Result<Content>) -> Result<()> {
        let stem = member_kind(&member.name).map_or("", |(stem, _)| key(stem));
        let pair = self.pairs.entry(stem.to_owned()).or_default();
        match content {
            Err(error) if error.is_io() => return Err(error),
            Err(error) => {
                if let Some(half) = &mut pair.annotations {
                    half.content = Some(Annotations::Broken(error.message().to_owned()));
                }
            }
            Ok(Content::Image(summary)) => {
                if let Some(half) = &mut pair.image {
                    half.content = Some(summary);
                }
            }
            Ok(Content::Annotations(extent, summary)) => {
                if let Some(half) = &mut pair.annotations {
                    half.content = Some(Annotations::Read(extent, summary));
                }
            }
        }
        let (Some(Half { member: image_member, content: Some(image) }), Some(Half { content: Some(content), .. })) =
            (&pair.image, &mut pair.annotations)
        else {
            return Ok(());
        };
        let Annotations::Read(annotations, _) = *content else { return Ok(()) };
        let Annotations::Read(_, summary) = std::mem::replace(content, Annotations::Indexed(annotations)) else {
            return Ok(());
        };
        let entry = entry(&image_member.name, image, annotations, &summary);
        let at = self.index.entries.len();
        let before = pair.sample.replace(at);
        if before.is_some_and(|before| before < self.emitted || self.passed_over.contains(&before)) {
            self.passed_over.insert(at);
        }
        self.index.push(entry, &summary.stats)
    }

    /// Emits the samples that have become complete since the last call and end at or before `valid_until`.
    ///
    /// # Errors
    /// Those of the observer.
    pub(super) fn emit(
        &mut self,
        observer: &mut dyn PassObserver,
        restarts: Option<&Arc<Restarts>>,
        valid_until: u64,
    ) -> Result<()> {
        while let Some(entry) = self.index.entries.get(self.emitted).filter(|entry| entry.end() <= valid_until) {
            if !self.dropped.contains(&self.emitted) && !self.passed_over.contains(&self.emitted) {
                observer.on_sample(entry, self.index.stats(self.emitted), restarts)?;
            }
            self.emitted += 1;
        }
        Ok(())
    }

    /// Drops the samples that end after `valid_until`.
    pub(super) fn drop_after(&mut self, valid_until: u64) {
        for at in 0..self.index.entries.len() {
            if self.index.entries[at].end() > valid_until && self.dropped.insert(at) {
                self.corrupt += 1;
            }
        }
    }

    /// Finishes the index. `walked` are the findings of the walk over the members, and `reached` is the offset up to
    /// which the `shard_bytes` of a stream were read; for a plain shard it is `None`, because the finding has the
    /// offset of the break.
    ///
    /// # Errors
    /// None: the index only becomes smaller.
    pub(super) fn finish(
        self,
        walked: Vec<Finding>,
        reached: Option<u64>,
        shard_bytes: u64,
        verified_until: u64,
    ) -> Result<ShardIndex> {
        let Self { mut index, pairs, mut findings, dropped, corrupt, members, .. } = self;
        if !dropped.is_empty() {
            index = index.filtered(|at| !dropped.contains(&at))?;
        }
        index.verified_until = verified_until;
        let mut left_out = LeftOut::default();
        for pair in pairs.into_values() {
            pair.leave_out(&mut left_out, &mut findings);
        }
        findings.extend(walked);
        let broken = findings.iter_mut().find(|finding| finding.kind == FindingKind::BrokenShard);
        if let Some(finding) = broken {
            // The other halves of single members are behind the break.
            let LeftOut { images_without_annotations, annotations_without_image, broken_annotations, .. } = left_out;
            let single = images_without_annotations + annotations_without_image;
            (left_out.images_without_annotations, left_out.annotations_without_image) = (0, 0);
            let reached = reached.unwrap_or(finding.offset).min(shard_bytes);
            let rest = members_behind(members, reached, shard_bytes);
            let samples = index.entries.len() as u64;
            let expected = (members + rest) / 2;
            left_out.unreadable = expected.saturating_sub(samples + broken_annotations).max(single + corrupt);
            let about = if rest > 0 { "about" } else { "at least" };
            finding.message +=
                &format!("; {samples} samples before it are complete, {about} {} are missing", left_out.unreadable);
            if corrupt > 0 {
                finding.message += &format!(", {corrupt} of them possibly corrupt");
            }
        }
        index.left_out = left_out;
        let unverified = index.left_out().unverified;
        let is_break =
            |finding: &&mut Finding| matches!(finding.kind, FindingKind::BrokenShard | FindingKind::WrongChecksum);
        if let (Some(finding), true) = (findings.iter_mut().find(is_break), unverified > 0) {
            finding.message += &format!("; no checksum vouches for {unverified} samples before it");
        }
        findings.sort_by_key(|finding| finding.offset);
        index.findings = findings;
        Ok(index)
    }
}

/// The entry of a sample.
fn entry(image_name: &str, image: &ImageSummary, annotations: Extent, summary: &AnnotationSummary) -> Entry {
    let (stem, extension) = image_name.rsplit_once('.').unwrap_or((image_name, ""));
    Entry {
        image_id: summary.image_id,
        width: summary.width,
        height: summary.height,
        image: image.extent,
        derived: image.derived.clone(),
        annotations,
        stem: (stem != usual_stem(summary.image_id)).then(|| stem.into()),
        extension: (extension != "jpg").then(|| extension.into()),
    }
}

impl Pair {
    /// Position in the shard of the last member of a kind.
    fn place(&self, kind: MemberKind) -> Option<u64> {
        match kind {
            MemberKind::Image => self.image.as_ref().map(|half| half.member.offset),
            MemberKind::Annotations => self.annotations.as_ref().map(|half| half.member.offset),
        }
    }

    /// Counts and reports members that make no sample.
    fn leave_out(self, left_out: &mut LeftOut, findings: &mut Vec<Finding>) {
        // A member that a break has cut off is none.
        let image = self.image.filter(|half| half.content.is_some());
        let annotations = self.annotations.filter(|half| half.content.is_some());
        let (kind, member, why) = match (image, annotations) {
            (image, Some(Half { member, content: Some(Annotations::Broken(why)) })) => match image {
                Some(_) => {
                    left_out.broken_annotations += 1;
                    (FindingKind::BrokenAnnotations, member, why)
                }
                // Tools put files of their own beside the samples.
                None => (FindingKind::UnknownMember, member, format!("no image has its name, and {why}")),
            },
            (Some(image), None) => {
                left_out.images_without_annotations += 1;
                (FindingKind::ImageWithoutAnnotations, image.member, "the sample is left out".to_owned())
            }
            (None, Some(annotations)) => {
                left_out.annotations_without_image += 1;
                (FindingKind::AnnotationsWithoutImage, annotations.member, "the sample is left out".to_owned())
            }
            (Some(_), Some(_)) | (None, None) => return,
        };
        findings.push(finding(kind, &member, why));
    }
}

/// What the index has of the annotations of a sample.
fn summary(index: &ShardIndex, at: usize) -> Box<AnnotationSummary> {
    let Entry { image_id, width, height, .. } = index.entries[at];
    Box::new(AnnotationSummary { image_id, width, height, stats: index.stats(at).to_vec() })
}

/// Number of members behind a break, if there are as many per byte as before it, or as in official shards if there are
/// none before it.
fn members_behind(members: u64, reached: u64, shard_bytes: u64) -> u64 {
    let left = shard_bytes - reached;
    let behind = match (members, reached) {
        (0, _) | (_, 0) => 2 * u128::from(left.div_ceil(TYPICAL_SAMPLE_BYTES)),
        _ => u128::from(members) * u128::from(left) / u128::from(reached),
    };
    behind as u64
}

pub(super) fn member_kind(name: &str) -> Option<(&str, MemberKind)> {
    let (stem, extension) = name.rsplit_once('.').filter(|_| !is_apple_double(name))?;
    match extension.to_ascii_lowercase().as_str() {
        "jpg" | "jpeg" => Some((stem, MemberKind::Image)),
        "json" => Some((stem, MemberKind::Annotations)),
        _ => None,
    }
}

/// Whether a member is the AppleDouble companion of another one: macOS adds `._NAME` to archives, with the attributes
/// of the file NAME.
fn is_apple_double(name: &str) -> bool {
    name.rsplit('/').next().is_some_and(|name| name.starts_with("._"))
}

/// `./sa_1` and `sa_1` are the same name.
fn key(stem: &str) -> &str {
    stem.strip_prefix("./").unwrap_or(stem)
}

fn finding(kind: FindingKind, member: &Member, message: impl Into<String>) -> Finding {
    Finding { kind, member: member.name.clone(), offset: member.offset, message: message.into() }
}

/// An error with the place of a member.
pub(super) fn named(member: &Member) -> impl Fn(Error) -> Error + '_ {
    |e| e.at_offset(member.offset).in_member(&member.name)
}

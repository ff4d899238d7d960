//! Members -> samples. Comes in: a source. Goes out: a [`ShardIndex`]: each pair of image and annotations with ranges,
//! checksums, sizes and scores, and everything that did not fit. Fails only if the source cannot be read; damaged data
//! becomes a [`Problem`].

use std::collections::HashMap;
use std::ops::Range;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::entry::usual_stem;
use super::scan::{self, Member};
use super::{Entry, Extent, Problem, ProblemKind};
use crate::annotation::{AnnotationFile, Score};
use crate::source::Source;
use crate::{Error, Result};

/// The samples of one shard, in the order of their images.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ShardIndex {
    pub(super) entries: Vec<Entry>,
    /// Where each entry's scores end in `scores`.
    score_ends: Vec<u32>,
    scores: Vec<Score>,
    problems: Vec<Problem>,
}

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
    scores: Vec<Score>,
}

/// A member's name split: the part that image and json share, and the extension.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Image,
    Annotations,
}

impl ShardIndex {
    /// Reads a whole shard once, on the current rayon pool. `progress` gets the bytes of each member as it is done, and
    /// those of headers and others at the end.
    ///
    /// # Errors
    /// If the source cannot be read.
    pub fn build(source: &dyn Source, progress: &(dyn Fn(u64) + Sync)) -> Result<Self> {
        let scan::Scan { members, mut problems } = scan::scan(source)?;
        let members = with_roles(members, &mut problems);
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
        pair(members, digests, problems)
    }

    /// The samples.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The scores of each annotation of entry `index`, in file order.
    pub fn scores(&self, index: usize) -> &[Score] {
        &self.scores[self.score_range(index)]
    }

    /// Everything that did not fit.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Number of annotations of all samples.
    pub fn annotations(&self) -> usize {
        self.scores.len()
    }

    fn score_range(&self, index: usize) -> Range<usize> {
        let start = if index == 0 { 0 } else { self.score_ends[index - 1] as usize };
        start..self.score_ends[index] as usize
    }

    /// Whether the parts fit each other; a sidecar is data from outside, however well its checksum fits.
    pub(super) fn is_consistent(&self, shard_bytes: u64) -> bool {
        let fits =
            |extent: &Extent| extent.offset.checked_add(u64::from(extent.len)).is_some_and(|end| end <= shard_bytes);
        self.entries.len() == self.score_ends.len()
            && self.score_ends.is_sorted()
            && self.score_ends.last().map_or(0, |&end| end as usize) == self.scores.len()
            && self.entries.iter().all(|e| fits(&e.image) && fits(&e.annotations) && e.width > 0 && e.height > 0)
    }

    fn push(&mut self, entry: Entry, scores: &[Score]) -> Result<()> {
        self.scores.extend_from_slice(scores);
        let end =
            u32::try_from(self.scores.len()).map_err(|_| Error::limit("more than 2^32 annotations in one shard"))?;
        self.score_ends.push(end);
        self.entries.push(entry);
        Ok(())
    }
}

/// Keeps images and json members, first of each name; names the others.
fn with_roles(members: Vec<Member>, problems: &mut Vec<Problem>) -> Vec<(Member, Role)> {
    let mut seen: HashMap<(String, bool), u64> = HashMap::with_capacity(members.len());
    let mut kept = Vec::with_capacity(members.len());
    for member in members {
        let Some((stem, role)) = role_of(&member.name) else {
            problems.push(problem(ProblemKind::UnknownMember, &member, "neither image nor json"));
            continue;
        };
        let first = *seen.entry((key(stem).to_owned(), role == Role::Image)).or_insert(member.offset);
        if first == member.offset {
            kept.push((member, role));
        } else {
            let message = format!("the first one, at byte {first}, counts");
            problems.push(problem(ProblemKind::Duplicate, &member, message));
        }
    }
    kept
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
    let file = AnnotationFile::parse(&bytes).map_err(named)?;
    let labels = Labels {
        image_id: file.image.image_id,
        width: file.image.width,
        height: file.image.height,
        scores: file.annotations.iter().map(|annotation| annotation.score()).collect(),
    };
    Ok(Digest::Annotations(extent, Box::new(labels)))
}

/// Brings images and annotations of the same name together.
fn pair(members: Vec<(Member, Role)>, digests: Vec<Result<Digest>>, mut problems: Vec<Problem>) -> Result<ShardIndex> {
    let mut labels = HashMap::new();
    let mut images = Vec::new();
    for ((member, role), digest) in members.into_iter().zip(digests) {
        let found = match digest {
            Ok(Digest::Image(extent)) => {
                images.push((member, extent));
                continue;
            }
            Ok(Digest::Annotations(extent, found)) => Some((extent, found)),
            Err(error) if error.is_io() => return Err(error),
            Err(error) => {
                problems.push(problem(ProblemKind::BrokenAnnotations, &member, error.to_string()));
                None
            }
        };
        // Kept without content too, so that its image is not named a second time.
        if role == Role::Annotations {
            let stem = role_of(&member.name).map_or("", |(stem, _)| key(stem)).to_owned();
            labels.insert(stem, (member, found));
        }
    }
    let mut index = ShardIndex::default();
    images.sort_unstable_by_key(|(member, _)| member.offset);
    for (member, image) in images {
        let (stem, extension) = member.name.rsplit_once('.').unwrap_or((&member.name, ""));
        match labels.remove(key(stem)) {
            None => problems.push(problem(ProblemKind::ImageWithoutAnnotations, &member, "the sample is left out")),
            // Named above already.
            Some((_, None)) => {}
            Some((_, Some((annotations, found)))) => {
                let entry = Entry {
                    image_id: found.image_id,
                    width: found.width,
                    height: found.height,
                    image,
                    annotations,
                    stem: (stem != usual_stem(found.image_id)).then(|| stem.into()),
                    extension: (extension != "jpg").then(|| extension.into()),
                };
                index.push(entry, &found.scores)?;
            }
        }
    }
    for (member, found) in labels.into_values() {
        if found.is_some() {
            problems.push(problem(ProblemKind::AnnotationsWithoutImage, &member, "the sample is left out"));
        }
    }
    problems.sort_by_key(|problem| problem.offset);
    index.problems = problems;
    Ok(index)
}

fn problem(kind: ProblemKind, member: &Member, message: impl Into<String>) -> Problem {
    Problem { kind, member: member.name.clone(), offset: member.offset, message: message.into() }
}

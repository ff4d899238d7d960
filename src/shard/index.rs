//! The index of one shard: its samples, and what is wrong with it.
//!
//! For each pair of image and annotations, it has byte ranges, checksums, the image size and the annotations'
//! statistics. `build.rs` makes it.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::{Entry, Extent, Finding, LeftOut};
use crate::annotation::AnnotationStats;
use crate::image::Derived;
use crate::source::Restarts;
use crate::{Error, Result};

/// The index of one shard: its samples, in the order in which a reader has both members, and its findings.
#[derive(Clone, Debug, PartialEq)]
pub struct ShardIndex {
    pub(super) entries: Vec<Entry>,
    /// The end of each entry's statistics in `stats`.
    pub(super) stat_ends: Vec<u32>,
    pub(super) stats: Vec<AnnotationStats>,
    pub(super) findings: Vec<Finding>,
    /// Samples that are not in `entries`.
    pub(super) left_out: LeftOut,
    /// Samples that end after this offset are unverified: the checksum of their gzip stream is missing or wrong.
    pub(super) verified_until: u64,
}

impl Default for ShardIndex {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            stat_ends: Vec::new(),
            stats: Vec::new(),
            findings: Vec::new(),
            left_out: LeftOut::default(),
            verified_until: u64::MAX,
        }
    }
}

/// Receives the samples that a pass finds.
pub(crate) trait PassObserver {
    /// Called for each sample, in the order of the index, as soon as it can be read. If the shard is a gzip stream,
    /// `restarts` are the restart points to read it with. An error ends the pass.
    fn on_sample(&mut self, entry: &Entry, stats: &[AnnotationStats], restarts: Option<&Arc<Restarts>>) -> Result<()>;

    /// Called at each member. An error ends the pass.
    fn on_member(&self) -> Result<()>;

    /// Whether [`PassObserver::on_bytes`] is to be called.
    fn wants_bytes(&self) -> bool {
        false
    }

    /// Receives the bytes of each image and JSON member as soon as they have been read.
    fn on_bytes(&mut self, _member: ReadMember) {}
}

/// The bytes of an image or JSON member, as a pass has read them.
#[derive(Debug)]
pub struct ReadMember {
    /// Its name in the tar.
    pub name: String,
    /// Whether it is an image; otherwise it is JSON.
    pub is_image: bool,
    /// Its place, and the checksum of its bytes.
    pub extent: Extent,
    /// Its bytes.
    pub bytes: Bytes,
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

/// Maximum number of annotations in a shard: thirty times that of an official shard.
const MAX_ANNOTATIONS: usize = 1 << 25;

impl ShardIndex {
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

    /// Samples that the shard holds and the index does not have, or that are unverified, by cause.
    pub fn left_out(&self) -> LeftOut {
        let unverified = self.entries.iter().filter(|entry| !self.is_verified(entry)).count() as u64;
        LeftOut { unverified, ..self.left_out }
    }

    /// Whether a checksum vouches for the bytes of a sample, as far as its shard has checksums: gzip streams do, at
    /// their ends.
    pub fn is_verified(&self, entry: &Entry) -> bool {
        entry.end() <= self.verified_until
    }

    /// Number of annotations in all samples.
    pub fn annotations(&self) -> usize {
        self.stats.len()
    }

    /// Number of samples whose images are derived.
    pub fn derived_samples(&self) -> usize {
        self.entries.iter().filter(|entry| entry.derived().is_some()).count()
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
            && self.entries.iter().filter_map(Entry::derived).all(Derived::is_plausible)
    }

    /// A copy of the samples for which `keep` returns true when it is called with their positions.
    ///
    /// # Errors
    /// None: there are no more annotations than before.
    pub(super) fn filtered(&self, keep: impl Fn(usize) -> bool) -> Result<Self> {
        let Self { left_out, verified_until, .. } = *self;
        let mut kept = Self { findings: self.findings.clone(), left_out, verified_until, ..Self::default() };
        for at in (0..self.entries.len()).filter(|&at| keep(at)) {
            kept.push(self.entries[at].clone(), self.stats(at))?;
        }
        Ok(kept)
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

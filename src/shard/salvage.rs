//! What is left behind a break. Comes in: the index of a shard that breaks off, and an index that was made before it
//! did. Goes out: the index with every sample that can still be read. Cannot fail: what cannot be read stays missing.
//!
//! An earlier index knows each member's place and checksum, so nothing is taken on trust: a sample counts when both its
//! members are read and are what they were.

use std::collections::{HashMap, HashSet};

use rayon::prelude::*;

use super::{Entry, FindingKind, ShardIndex};
use crate::Result;
use crate::source::{Inflater, Source};

impl ShardIndex {
    /// Whether the shard is damaged in a way that an earlier index may help with.
    pub(super) fn is_broken(&self) -> bool {
        self.findings().iter().any(|finding| is_break(finding.kind))
    }

    /// Adds the samples of `earlier` that are missing here and can be read from `source`, which offers the bytes that
    /// `earlier` speaks of; leaves out those that are not what they were. Returns how many were added, `None` if the
    /// two do not speak of the same shard.
    ///
    /// # Errors
    /// If the operating system refuses to read: that is no reason to give samples up.
    pub(super) fn salvage(&mut self, earlier: &Self, source: &dyn Source) -> Result<Option<usize>> {
        let known: HashMap<u64, &Entry> = earlier.entries().iter().map(|entry| (entry.image.offset, entry)).collect();
        let is_known = |entry: &Entry| known.get(&entry.image.offset) == Some(&entry);
        let sound: Vec<usize> = (0..self.entries().len()).filter(|&at| is_known(&self.entries()[at])).collect();
        if 2 * sound.len() < self.entries().len() {
            return Ok(None);
        }
        let mut whole = Self { findings: std::mem::take(&mut self.findings), ..Self::default() };
        for at in sound {
            whole.push(self.entries()[at].clone(), self.stats(at))?;
        }
        let here: HashSet<u64> = whole.entries().iter().map(|entry| entry.image.offset).collect();
        let (before, of) = (whole.entries().len(), earlier.entries().len());
        let lost: Vec<usize> = (0..of).filter(|&at| !here.contains(&earlier.entries()[at].image.offset)).collect();
        let readable = lost.into_par_iter().map_init(Inflater::default, |inflater, at| {
            match earlier.entries()[at].verify(source, inflater) {
                Ok(()) => Ok(Some(at)),
                Err(error) if error.is_io() => Err(error),
                Err(_) => Ok(None),
            }
        });
        for at in readable.collect::<Result<Vec<_>>>()?.into_iter().flatten() {
            let entry = &earlier.entries()[at];
            let is_half = |offset| offset == entry.image.offset || offset == entry.annotations.offset;
            whole.findings.retain(|finding| !(finding.kind.is_half() && is_half(finding.offset)));
            whole.push(entry.clone(), earlier.stats(at))?;
        }
        let (after, missing) = (whole.entries().len() - before, of - whole.entries().len());
        whole.missing = earlier.missing + missing as u64;
        for finding in whole.findings.iter_mut().filter(|finding| is_break(finding.kind)) {
            finding.message = format!(
                "{}; by the index of before, {before} of {of} samples are sound before it, {after} behind it, \
                 {missing} are missing",
                finding.message.split(';').next().unwrap_or_default(),
            );
        }
        *self = whole;
        Ok(Some(after))
    }
}

fn is_break(kind: FindingKind) -> bool {
    matches!(kind, FindingKind::BrokenShard | FindingKind::WrongChecksum)
}

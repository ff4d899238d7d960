//! Recovery of the samples behind a break, with an index that was made before the shard was damaged.
//!
//! The earlier index has the place and checksum of each member. A sample is recovered only if both its members can be
//! read and have their checksums; others stay missing.

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

    /// Adds the samples of `earlier` that are missing here and can still be read; removes those that `earlier` does not
    /// have. `source` has the bytes to which `earlier` refers. Returns the number of samples added, or `None` if the
    /// two are indexes of different shards.
    ///
    /// # Errors
    /// I/O errors: a sample that could not be read for now is not lost.
    pub(super) fn salvage(&mut self, earlier: &Self, source: &dyn Source) -> Result<Option<usize>> {
        let known: HashMap<u64, &Entry> = earlier.entries().iter().map(|entry| (entry.image.offset, entry)).collect();
        let is_known = |entry: &Entry| known.get(&entry.image.offset) == Some(&entry);
        let unchanged: Vec<usize> = (0..self.entries().len()).filter(|&at| is_known(&self.entries()[at])).collect();
        if 2 * unchanged.len() < self.entries().len() {
            return Ok(None);
        }
        let findings = std::mem::take(&mut self.findings);
        // The earlier checksums vouch for the samples as far as the stream's own checksums did then.
        let verified_until = earlier.verified_until;
        let mut merged = Self { findings, verified_until, ..Self::default() };
        for at in unchanged {
            merged.push(self.entries()[at].clone(), self.stats(at))?;
        }
        let here: HashSet<u64> = merged.entries().iter().map(|entry| entry.image.offset).collect();
        let (before, total) = (merged.entries().len(), earlier.entries().len());
        let lost: Vec<usize> = (0..total).filter(|&at| !here.contains(&earlier.entries()[at].image.offset)).collect();
        let readable = lost.into_par_iter().map_init(Inflater::default, |inflater, at| {
            match earlier.entries()[at].verify(source, inflater) {
                Ok(()) => Ok(Some(at)),
                Err(error) if error.is_io() => Err(error),
                Err(_) => Ok(None),
            }
        });
        for at in readable.collect::<Result<Vec<_>>>()?.into_iter().flatten() {
            let entry = &earlier.entries()[at];
            let is_member = |offset| offset == entry.image.offset || offset == entry.annotations.offset;
            merged.findings.retain(|finding| !(finding.kind.is_unpaired() && is_member(finding.offset)));
            merged.push(entry.clone(), earlier.stats(at))?;
        }
        let (after, missing) = (merged.entries().len() - before, total - merged.entries().len());
        merged.left_out = earlier.left_out;
        merged.left_out.unreadable += missing as u64;
        for finding in merged.findings.iter_mut().filter(|finding| is_break(finding.kind)) {
            finding.message = format!(
                "{}; according to an earlier index file it had {total} samples: {before} before the damage are valid, \
                 {after} after it were recovered, {missing} are missing",
                finding.message.split(';').next().unwrap_or_default(),
            );
        }
        *self = merged;
        Ok(Some(after))
    }
}

fn is_break(kind: FindingKind) -> bool {
    matches!(kind, FindingKind::BrokenShard | FindingKind::WrongChecksum)
}

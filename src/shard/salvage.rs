//! What is left behind a break. Comes in: the index of a shard that breaks off, and an index that was made before it
//! did. Goes out: the index with every sample that can still be read. Cannot fail: what cannot be read stays missing.
//!
//! An earlier index knows each member's place and checksum, so nothing is taken on trust: a sample counts when both its
//! members are read and are what they were.

use std::collections::{HashMap, HashSet};

use rayon::prelude::*;

use super::{Entry, Extent, ProblemKind, ShardIndex};
use crate::Result;
use crate::source::{Source, Unpacker};

impl ShardIndex {
    /// Whether the shard breaks off.
    pub(super) fn breaks_off(&self) -> bool {
        self.problems().iter().any(|problem| problem.kind == ProblemKind::BrokenShard)
    }

    /// Adds the samples of `earlier` that are missing here and can be read from `source`, which offers the bytes that
    /// `earlier` speaks of. Returns whether the two speak of the same shard at all.
    pub(super) fn salvage(&mut self, earlier: &Self, source: &dyn Source) -> Result<bool> {
        let known: HashMap<u64, &Entry> = earlier.entries().iter().map(|entry| (entry.image.offset, entry)).collect();
        if !self.entries().iter().all(|entry| known.get(&entry.image.offset) == Some(&entry)) {
            return Ok(false);
        }
        let here: HashSet<u64> = self.entries().iter().map(|entry| entry.image.offset).collect();
        let (before, of) = (self.entries().len(), earlier.entries().len());
        let lost: Vec<usize> = (0..of).filter(|&at| !here.contains(&earlier.entries()[at].image.offset)).collect();
        let readable = lost.into_par_iter().map_init(Unpacker::default, |unpacker, at| {
            let entry = &earlier.entries()[at];
            let is_whole = |extent: &Extent, unpacker: &mut Unpacker| {
                let fetched = source.fetch(extent.range())?;
                extent.verify(fetched.unpack(unpacker)?)
            };
            let found = is_whole(&entry.annotations, unpacker).and_then(|()| is_whole(&entry.image, unpacker));
            found.is_ok().then_some(at)
        });
        for at in readable.flatten().collect::<Vec<_>>() {
            let entry = &earlier.entries()[at];
            let is_half = |offset| offset == entry.image.offset || offset == entry.annotations.offset;
            self.problems.retain(|problem| !(problem.kind.is_half() && is_half(problem.offset)));
            self.push(entry.clone(), earlier.scores(at))?;
        }
        let after = self.entries().len() - before;
        self.missing = earlier.missing + (of - self.entries().len()) as u64;
        for problem in self.problems.iter_mut().filter(|problem| problem.kind == ProblemKind::BrokenShard) {
            problem.message = format!(
                "{}; by the index of before, {before} of {of} samples are complete before it, {after} are sound behind it, {} are missing",
                problem.message.split(';').next().unwrap_or_default(),
                of - before - after
            );
        }
        Ok(true)
    }
}

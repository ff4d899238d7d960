//! Images that a set has more than once.

use std::collections::HashMap;

use super::{Entry, SampleId};

/// Images that occur more than once in a [`ShardSet`](crate::ShardSet), by their ids: a shard may have been copied
/// under another name, or two shards may hold the same image. Training sees these images more often than others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepeatedImages {
    /// Number of samples whose image is also in another sample before them.
    pub samples: u64,
    /// The first few of these samples, each with the sample before it.
    pub examples: Vec<[SampleId; 2]>,
}

/// Number of examples.
const EXAMPLES: usize = 20;

impl RepeatedImages {
    /// Finds them in the samples of each shard.
    pub(super) fn find(shards: &[&[Entry]]) -> Self {
        // Shards usually have ranges of ids that do not overlap, so few have to be compared.
        let mut ranges: Vec<(i64, i64, usize)> = Vec::new();
        for (shard, entries) in shards.iter().enumerate() {
            let ids = || entries.iter().map(|entry| entry.image_id);
            ranges.extend(ids().min().zip(ids().max()).map(|(min, max)| (min, max, shard)));
        }
        ranges.sort_unstable();
        let mut repeated = Self::default();
        let mut rest = &ranges[..];
        while let Some(&(first, mut last, _)) = rest.first() {
            let overlapping = rest.iter().take_while(|(min, max, _)| {
                let overlaps = *min <= last;
                last = if overlaps { last.max(*max) } else { last };
                overlaps
            });
            let group;
            (group, rest) = rest.split_at(overlapping.count());
            let mut group: Vec<usize> = group.iter().map(|(.., shard)| *shard).collect();
            group.sort_unstable();
            let ids = || group.iter().flat_map(|&shard| shards[shard].iter().map(|entry| entry.image_id));
            if has_repeated(ids, first, last) {
                repeated.add(shards, &group);
            }
        }
        repeated
    }

    fn add(&mut self, shards: &[&[Entry]], group: &[usize]) {
        let mut first = HashMap::new();
        for &shard in group {
            for (number, entry) in shards[shard].iter().enumerate() {
                let here = SampleId { shard: shard as u32, entry: number as u32 };
                let before = *first.entry(entry.image_id).or_insert(here);
                if before != here {
                    self.samples += 1;
                    if self.examples.len() < EXAMPLES {
                        self.examples.push([before, here]);
                    }
                }
            }
        }
    }
}

/// Whether an id from `first` to `last` occurs more than once.
fn has_repeated<I: Iterator<Item = i64>>(ids: impl Fn() -> I, first: i64, last: i64) -> bool {
    let count = ids().count() as u64;
    let range = last.abs_diff(first);
    if range / 64 > count {
        let mut sorted: Vec<i64> = ids().collect();
        sorted.sort_unstable();
        return sorted.windows(2).any(|pair| pair[0] == pair[1]);
    }
    // Dense ids, as the official ones: a bit for each is faster than sorting.
    let mut seen = vec![0_u64; (range / 64) as usize + 1];
    ids().any(|id| {
        let offset = id.abs_diff(first);
        let (word, bit) = (&mut seen[(offset / 64) as usize], 1 << (offset % 64));
        let is_repeated = *word & bit != 0;
        *word |= bit;
        is_repeated
    })
}

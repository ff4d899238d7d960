//! One round over one set. Comes in: a set's shards, how to shuffle, and a key. Goes out: the sample at each place of the
//! round. Cannot fail.
//!
//! # Shuffling by chunks
//!
//! A chunk is a run of consecutive samples of one shard, all chunks equally long; what a shard has beyond whole chunks
//! are single samples. Chunks are permuted, and their samples cut into [`LANES`] equal parts; so are the singles. Place p
//! of the round lies in lane p mod `LANES`: whoever draws from the round draws from all lanes in turn. A lane goes
//! through its chunks one by one, the samples of each permuted, beginning at a drawn place and with its singles spread
//! evenly between them. So at any time `LANES` chunks are in use, each until it is used up, and a batch is drawn from
//! all of them.

use std::ops::Range;

use super::population::Part;
use super::{Permutation, PrefixSums};
use crate::splitmix::mix64;

/// As many chunks are in use at a time: enough for batches of a thousand to vary little more than random ones. Divisible
/// by most world sizes in use, so that a rank reads its own lanes only: 1 to 6, 8, 10, 12, 15, 16, 20, 24, 30, 32, 40,
/// 48, 60, 64, 80, 96, 120, 160, 192, 240, 320, 480 and 960. Others get the same samples, but share chunks.
const LANES: u64 = 960;

/// What each key of a round is for.
const CHUNKS: u64 = 1;
const SINGLES: u64 = 2;
const TURN: u64 = 3;
const SPREAD: u64 = 4;
const WITHIN: u64 = 5;

/// How to find samples by their place in a round.
#[derive(Clone, Debug)]
pub(super) enum ShuffleRound {
    /// As they come.
    Sequential,
    /// Every sample for itself.
    Samples { len: u64 },
    /// In chunks of several samples.
    Chunks(Chunks),
}

#[derive(Clone, Debug)]
pub(super) struct Chunks {
    /// Samples in a whole chunk.
    chunk: u64,
    len: u64,
    /// Samples, whole chunks, and samples beyond them, by shard.
    shards: PrefixSums,
    whole: PrefixSums,
    singles: PrefixSums,
}

impl ShuffleRound {
    /// `chunk` samples to a chunk; 0 is no shuffle.
    pub(super) fn new(part: &Part, chunk: u64) -> Self {
        match chunk {
            0 => Self::Sequential,
            1 => Self::Samples { len: part.len() },
            _ => Self::Chunks(Chunks::new(part, chunk)),
        }
    }

    /// The sample at `place` of the round with this key, counted within the set.
    pub(super) fn get(&self, place: u64, key: u64) -> u64 {
        match self {
            Self::Sequential => place,
            Self::Samples { len } => Permutation::new(*len, key).get(place),
            Self::Chunks(chunks) => chunks.get(place, key),
        }
    }

    /// The chunk of a sample, both counted within the set.
    pub(super) fn chunk_of(&self, sample: u64) -> Range<u64> {
        match self {
            Self::Chunks(chunks) => chunks.chunk_of(sample),
            Self::Sequential | Self::Samples { .. } => sample..sample + 1,
        }
    }
}

impl Chunks {
    fn new(part: &Part, chunk: u64) -> Self {
        let of = |count: fn(u64, u64) -> u64| PrefixSums::of(part.shards.counts().map(|samples| count(samples, chunk)));
        let (whole, singles) = (of(|samples, chunk| samples / chunk), of(|samples, chunk| samples % chunk));
        Self { chunk, len: part.len(), shards: part.shards.clone(), whole, singles }
    }

    fn get(&self, place: u64, key: u64) -> u64 {
        let derived = |what: u64, of: u64| mix64(mix64(mix64(key) ^ what) ^ of);
        let (lane, at) = (place % LANES, place / LANES);
        // Where a lane's part of so many begins.
        let cut = |len: u64, lane: u64| lane * (len / LANES) + lane.min(len % LANES);
        let in_chunks = self.whole.total() * self.chunk;
        let (start, end) = (cut(in_chunks, lane), cut(in_chunks, lane + 1));
        let (lane_start, lane_len) = (cut(self.len, lane), cut(self.len, lane + 1) - cut(self.len, lane));
        let (own, own_singles) = (end - start, lane_len - (end - start));

        let shift = u128::from(derived(SPREAD, lane) % lane_len);
        let singles_before = |at: u64| {
            let spread = u128::from(at) * u128::from(own_singles) + shift;
            (spread / u128::from(lane_len)) as u64
        };
        let before = singles_before(at);
        if singles_before(at + 1) > before {
            let single = Permutation::new(self.singles.total(), derived(SINGLES, 0));
            return self.single(single.get(lane_start - start + before));
        }
        let at = start + (at - before + derived(TURN, lane) % own) % own;
        let chunk = at / self.chunk;
        // As far as it lies in this lane.
        let (first, end) = ((chunk * self.chunk).max(start), ((chunk + 1) * self.chunk).min(end));
        let at = first + Permutation::new(end - first, derived(WITHIN, first)).get(at - first);
        let chunk = Permutation::new(self.whole.total(), derived(CHUNKS, 0)).get(chunk);
        let (shard, within) = self.whole.find(chunk);
        self.shards.before(shard) + within * self.chunk + at % self.chunk
    }

    /// The sample of a single.
    fn single(&self, number: u64) -> u64 {
        let (shard, within) = self.singles.find(number);
        let chunks = self.whole.before(shard + 1) - self.whole.before(shard);
        self.shards.before(shard) + chunks * self.chunk + within
    }

    fn chunk_of(&self, sample: u64) -> Range<u64> {
        let (shard, within) = self.shards.find(sample);
        let chunk = within / self.chunk;
        if chunk >= self.whole.before(shard + 1) - self.whole.before(shard) {
            return sample..sample + 1;
        }
        let start = self.shards.before(shard) + chunk * self.chunk;
        start..start + self.chunk
    }
}

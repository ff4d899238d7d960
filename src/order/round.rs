//! One round over one set: the sample at each position of the round.
//!
//! # Shuffling in chunks
//!
//! A chunk is a run of consecutive samples of one shard. All chunks have the same length; the samples at the end of a
//! shard that do not fill one are remainders. The chunks are permuted, and their samples are cut into [`LANES`] parts
//! of equal length; so are the permuted remainders. Position p of the round is in lane p mod `LANES`, so consecutive
//! positions draw from all lanes in turn. A lane goes through its chunks one by one. It starts at a random place, the
//! samples of each chunk are permuted, and its remainders are spread evenly between them. So `LANES` chunks are in use
//! at any time, each until it is used up, and a batch is drawn from all of them.

use std::ops::Range;

use super::sample_space::SampleSet;
use super::{Permutation, PrefixSums};
use crate::splitmix::mix64;

/// Number of chunks in use at a time. It is large enough that batches of a thousand vary little more than random ones.
/// It is divisible by the usual world sizes, so that a rank reads only its own lanes: 1 to 6, 8, 10, 12, 15, 16, 20,
/// 24, 30, 32, 40, 48, 60, 64, 80, 96, 120, 160, 192, 240, 320, 480 and 960. With other world sizes the samples are the
/// same, but ranks share chunks.
pub(super) const LANES: u64 = 960;

// Purposes of the keys that are derived from the key of a round.
const CHUNKS: u64 = 1;
const REMAINDERS: u64 = 2;
const ROTATION: u64 = 3;
const PHASE: u64 = 4;
const WITHIN_CHUNK: u64 = 5;

/// Finds samples by their position in a round.
#[derive(Clone, Debug)]
pub(super) enum ShuffleRound {
    /// The samples in their own order.
    Sequential,
    /// All samples permuted.
    Samples { len: u64 },
    /// Shuffled in chunks of several samples.
    Chunked(ChunkedRound),
}

#[derive(Clone, Debug)]
pub(super) struct ChunkedRound {
    /// Samples in a chunk.
    chunk: u64,
    /// Samples in the set.
    len: u64,
    /// Samples by shard.
    shards: PrefixSums,
    /// Chunks by shard.
    chunks: PrefixSums,
    /// Remainders by shard.
    remainders: PrefixSums,
}

impl ShuffleRound {
    /// A round with `chunk` samples in a chunk; 0 turns shuffling off.
    pub(super) fn new(set: &SampleSet, chunk: u64) -> Self {
        match chunk {
            0 => Self::Sequential,
            1 => Self::Samples { len: set.len() },
            _ => Self::Chunked(ChunkedRound::new(set, chunk)),
        }
    }

    /// The sample at `position` of the round with this key, numbered within the set.
    pub(super) fn get(&self, position: u64, key: u64) -> u64 {
        match self {
            Self::Sequential => position,
            Self::Samples { len } => Permutation::new(*len, key).get(position),
            Self::Chunked(chunked) => chunked.get(position, key),
        }
    }

    /// The chunk that a sample is in; both are numbered within the set.
    pub(super) fn chunk_of(&self, sample: u64) -> Range<u64> {
        match self {
            Self::Chunked(chunked) => chunked.chunk_of(sample),
            Self::Sequential | Self::Samples { .. } => sample..sample + 1,
        }
    }
}

impl ChunkedRound {
    fn new(set: &SampleSet, chunk: u64) -> Self {
        let sums =
            |count: fn(u64, u64) -> u64| PrefixSums::of(set.shards.counts().map(|samples| count(samples, chunk)));
        let chunks = sums(|samples, chunk| samples / chunk);
        let remainders = sums(|samples, chunk| samples % chunk);
        Self { chunk, len: set.len(), shards: set.shards.clone(), chunks, remainders }
    }

    fn get(&self, position: u64, key: u64) -> u64 {
        let derive = |purpose: u64, index: u64| mix64(mix64(mix64(key) ^ purpose) ^ index);
        let (lane, step) = (position % LANES, position / LANES);
        // The start of a lane's part, if `len` items are cut into equal parts.
        let cut = |len: u64, lane: u64| lane * (len / LANES) + lane.min(len % LANES);
        let chunked = self.chunks.total() * self.chunk;
        let (start, end) = (cut(chunked, lane), cut(chunked, lane + 1));
        let (lane_start, lane_len) = (cut(self.len, lane), cut(self.len, lane + 1) - cut(self.len, lane));
        let (lane_chunked, lane_remainders) = (end - start, lane_len - (end - start));

        // How many of the lane's first `step` samples are remainders.
        let phase = u128::from(derive(PHASE, lane) % lane_len);
        let remainders_before = |step: u64| {
            let spread = u128::from(step) * u128::from(lane_remainders) + phase;
            (spread / u128::from(lane_len)) as u64
        };
        let before = remainders_before(step);
        if remainders_before(step + 1) > before {
            let shuffled = Permutation::new(self.remainders.total(), derive(REMAINDERS, 0));
            return self.remainder(shuffled.get(lane_start - start + before));
        }
        let at = start + (step - before + derive(ROTATION, lane) % lane_chunked) % lane_chunked;
        let chunk = at / self.chunk;
        // The part of the chunk that is in this lane.
        let (first, end) = ((chunk * self.chunk).max(start), ((chunk + 1) * self.chunk).min(end));
        let at = first + Permutation::new(end - first, derive(WITHIN_CHUNK, first)).get(at - first);
        let chunk = Permutation::new(self.chunks.total(), derive(CHUNKS, 0)).get(chunk);
        let (shard, index) = self.chunks.find(chunk);
        self.shards.before(shard) + index * self.chunk + at % self.chunk
    }

    /// The sample that is remainder `number` of the set.
    fn remainder(&self, number: u64) -> u64 {
        let (shard, index) = self.remainders.find(number);
        let chunks = self.chunks.before(shard + 1) - self.chunks.before(shard);
        self.shards.before(shard) + chunks * self.chunk + index
    }

    fn chunk_of(&self, sample: u64) -> Range<u64> {
        let (shard, index) = self.shards.find(sample);
        let chunk = index / self.chunk;
        if chunk >= self.chunks.before(shard + 1) - self.chunks.before(shard) {
            return sample..sample + 1;
        }
        let start = self.shards.before(shard) + chunk * self.chunk;
        start..start + self.chunk
    }
}

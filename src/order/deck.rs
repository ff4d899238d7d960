//! One round over one set. Comes in: a set's shards, how to shuffle, and a key. Goes out: the sample at each place of the
//! round. Cannot fail.
//!
//! # Shuffling by chunks
//!
//! A chunk is a run of consecutive samples of one shard, all chunks equally long; what a shard has beyond whole chunks
//! are chunks of one sample. Chunks are permuted, whole ones first, then the single ones: a *stream* of samples, begun
//! at a drawn place of it. The stream is cut into [`LANES`] equal parts, and place p of the round lies in lane p mod
//! `LANES`: whoever draws from the round draws from all lanes in turn. Within a lane, samples are permuted within
//! *blocks* of [`BLOCK_CHUNKS`] chunks' length, which begin at another place in each lane. So at any time about
//! `LANES` x `BLOCK_CHUNKS` chunks are in use, each until it is used up, and a batch is drawn from all of them.

use std::ops::Range;

use super::Permutation;
use super::population::Part;
use crate::mix::mix64;

/// Divisible by most world sizes in use, so that a rank reads its own lanes only: 1 to 6, 8, 10, 12, 15, 16, 20, 24,
/// 30, 40, 48, 60, 80, 120 and 240. Others get the same samples, but share chunks.
const LANES: u64 = 240;
/// With 960 chunks in use, the mean of a batch of 256 varies 1.2 times as much as that of a random one.
const BLOCK_CHUNKS: u64 = 4;

/// What each key of a round is for.
const CHUNKS: u64 = 1;
const SINGLES: u64 = 2;
const ROTATION: u64 = 3;
const PHASE: u64 = 4;
const BLOCK: u64 = 5;

/// How to find samples by their place in a round.
#[derive(Clone, Debug)]
pub(super) enum Deck {
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
    /// First sample of each shard.
    starts: Vec<u64>,
    /// Number of whole chunks, and of samples beyond them, before each shard and in all.
    whole_before: Vec<u64>,
    singles_before: Vec<u64>,
}

impl Deck {
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
        let (mut whole, mut singles) = (vec![0], vec![0]);
        let (mut whole_sum, mut singles_sum) = (0, 0);
        for shard in part.starts.windows(2) {
            let samples = shard[1] - shard[0];
            whole_sum += samples / chunk;
            singles_sum += samples % chunk;
            whole.push(whole_sum);
            singles.push(singles_sum);
        }
        Self { chunk, len: part.len(), starts: part.starts.clone(), whole_before: whole, singles_before: singles }
    }

    fn get(&self, place: u64, key: u64) -> u64 {
        let start = mix64(mix64(key) ^ ROTATION) % self.len;
        let at = u128::from(self.stream_place(place, key)) + u128::from(start);
        self.sample((at % u128::from(self.len)) as u64, key)
    }

    fn chunk_of(&self, sample: u64) -> Range<u64> {
        let (shard, within) = find(&self.starts, sample);
        let chunk = within / self.chunk;
        if chunk >= self.whole_before[shard + 1] - self.whole_before[shard] {
            return sample..sample + 1;
        }
        let start = self.starts[shard] + chunk * self.chunk;
        start..start + self.chunk
    }

    /// Lane and block: the place in the stream.
    fn stream_place(&self, place: u64, key: u64) -> u64 {
        let (lane, at) = (place % LANES, place / LANES);
        let (share, rest) = (self.len / LANES, self.len % LANES);
        let (lane_start, lane_len) = (lane * share + lane.min(rest), share + u64::from(lane < rest));
        let block_len = self.chunk.saturating_mul(BLOCK_CHUNKS);
        let lane_key = mix64(mix64(key) ^ PHASE) ^ lane;
        // The first block of a lane is a part of one.
        let phase = 1 + mix64(lane_key) % block_len;
        let (block, start) = match at.checked_sub(phase) {
            None => (0, 0),
            Some(beyond) => (1 + beyond / block_len, phase + beyond / block_len * block_len),
        };
        let end = if block == 0 { phase } else { start.saturating_add(block_len) }.min(lane_len);
        let block_key = mix64(mix64(lane_key ^ BLOCK << 32) ^ block);
        lane_start + start + Permutation::new(end - start, block_key).get(at - start)
    }

    /// The sample at a place of the stream of permuted chunks.
    fn sample(&self, at: u64, key: u64) -> u64 {
        let total = |sums: &[u64]| sums.last().copied().unwrap_or(0);
        let whole = total(&self.whole_before);
        if at < whole * self.chunk {
            let chunk = Permutation::new(whole, mix64(mix64(key) ^ CHUNKS)).get(at / self.chunk);
            let (shard, within) = find(&self.whole_before, chunk);
            return self.starts[shard] + within * self.chunk + at % self.chunk;
        }
        let singles = total(&self.singles_before);
        let single = Permutation::new(singles, mix64(mix64(key) ^ SINGLES)).get(at - whole * self.chunk);
        let (shard, within) = find(&self.singles_before, single);
        let chunks = self.whole_before[shard + 1] - self.whole_before[shard];
        self.starts[shard] + chunks * self.chunk + within
    }
}

/// The shard that thing `number` lies in, and its number there.
fn find(before: &[u64], number: u64) -> (usize, u64) {
    let shard = before.partition_point(|&start| start <= number) - 1;
    (shard, number - before[shard])
}

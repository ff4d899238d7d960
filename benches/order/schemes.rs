//! Other schemes, simulated after their documented behaviour, not with their code. Each takes the shards and a random
//! number generator and returns the order of an epoch as a list of samples.

use std::ops::Range;

use super::measures::Shards;

/// splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        // Consecutive seeds would otherwise yield shifted copies of one sequence.
        Self(Self(seed).next().wrapping_mul(0x2545_f491_4f6c_dd1d))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; its bias is far smaller than what is measured.
    fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.next()) * end as u128) >> 64) as usize
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * ((self.next() >> 11) as f64 / (1_u64 << 53) as f64)
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            items.swap(end, self.below(end + 1));
        }
    }
}

/// The ideal: all orders are equally likely.
pub(super) fn fisher_yates(samples: usize, mut random: Random) -> Vec<u32> {
    let mut order: Vec<_> = (0..samples as u32).collect();
    random.shuffle(&mut order);
    order
}

/// Shards in random order are dealt to workers in turn. A worker reads its shards from front to back through a buffer,
/// from which it yields at random.
pub(super) struct WebDataset {
    pub(super) workers: usize,
    /// Samples that a worker's buffer holds.
    pub(super) buffer: usize,
    /// Samples that a worker yields in a row: workers take turns until none has samples left.
    pub(super) run: usize,
}

/// Samples at which a buffer that is not full begins to yield: the library's default.
const INITIAL: usize = 100;

impl WebDataset {
    pub(super) fn order(&self, shards: &Shards, mut random: Random) -> Vec<u32> {
        let mut dealt: Vec<_> = shards.ranges().collect();
        random.shuffle(&mut dealt);
        let mut workers: Vec<_> = (0..self.workers)
            .map(|worker| {
                let own: Vec<_> = dealt.iter().skip(worker).step_by(self.workers).cloned().collect();
                Worker { samples: own.into_iter().flatten(), buffer: Vec::new(), size: self.buffer }
            })
            .collect();
        let mut order = Vec::with_capacity(shards.len());
        while order.len() < shards.len() {
            for worker in &mut workers {
                order.extend(std::iter::from_fn(|| worker.next(&mut random)).take(self.run));
            }
        }
        order
    }
}

struct Worker<I> {
    samples: I,
    buffer: Vec<u32>,
    size: usize,
}

impl<I: Iterator<Item = u32>> Worker<I> {
    fn next(&mut self, random: &mut Random) -> Option<u32> {
        // Two samples go in for each that comes out, until the buffer is full.
        while let Some(sample) = self.samples.next() {
            self.buffer.push(sample);
            if self.buffer.len() < self.size {
                self.buffer.extend(self.samples.next());
            }
            if self.buffer.len() >= INITIAL.min(self.size) {
                break;
            }
        }
        (!self.buffer.is_empty()).then(|| self.buffer.swap_remove(random.below(self.buffer.len())))
    }
}

/// Shards are shuffled once for the run and cut into as many equal parts as there are canonical nodes. In each part and
/// epoch, shards are shuffled, samples within their shard, and then each sample is moved by a random distance within
/// its block. Nodes take turns.
pub(super) struct Mosaic {
    /// Canonical nodes: parts of the order, independent of the number of machines.
    pub(super) nodes: usize,
    /// Samples in a shuffle block.
    pub(super) block: usize,
}

impl Mosaic {
    pub(super) fn order(&self, shards: &Shards, mut run: Random, mut epoch: Random) -> Vec<u32> {
        let mut all: Vec<_> = shards.ranges().collect();
        run.shuffle(&mut all);
        let parts: Vec<_> = self.cut(&all, shards.len()).into_iter().map(|part| self.part(part, &mut epoch)).collect();
        // Parts differ by one sample at most; the library repeats the last one of short parts, which is left out here.
        let longest = parts.iter().map(Vec::len).max().unwrap_or(0);
        (0..longest).flat_map(|row| parts.iter().filter_map(move |part| part.get(row).copied())).collect()
    }

    /// The ranges of samples that belong to each node.
    fn cut(&self, shards: &[Range<u32>], samples: usize) -> Vec<Vec<Range<u32>>> {
        let mut rest = shards.iter().cloned();
        let mut shard = rest.next();
        let (mut before, mut parts) = (0, Vec::new());
        for node in 1..=self.nodes {
            let (until, mut part) = (samples * node / self.nodes, Vec::new());
            while let Some(range) = shard.take() {
                let fits = range.len().min(until - before);
                before += fits;
                let middle = range.start + fits as u32;
                part.push(range.start..middle);
                if middle < range.end {
                    shard = Some(middle..range.end);
                    break;
                }
                shard = rest.next();
            }
            part.retain(|range| !range.is_empty());
            parts.push(part);
        }
        parts
    }

    /// The order of a node's samples.
    fn part(&self, mut stretches: Vec<Range<u32>>, random: &mut Random) -> Vec<u32> {
        random.shuffle(&mut stretches);
        let samples: usize = stretches.iter().map(Range::len).sum();
        let mut places = Vec::with_capacity(samples);
        for stretch in stretches {
            let (start, len) = (places.len(), stretch.len());
            let block = random.between(0.75 * self.block as f64, 1.25 * self.block as f64).floor();
            let reach = ((block - len as f64) / 2.0).max(0.0);
            let (back, ahead) = (reach.min(start as f64), reach.min((samples - start - len) as f64));
            let mut own: Vec<_> = stretch.collect();
            random.shuffle(&mut own);
            for (at, sample) in (start..).zip(own) {
                places.push((at as f64 + random.between(-back, ahead), sample));
            }
        }
        places.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        places.into_iter().map(|(_, sample)| sample).collect()
    }
}

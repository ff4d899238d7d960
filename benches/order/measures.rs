//! Measures of how good an order is, computed from the shards and the orders of two epochs as lists of samples. All but
//! the last are 1.0 for a random order. Panics if an order does not contain every sample exactly once.

use std::ops::Range;

/// The samples, numbered shard by shard.
pub(super) struct Shards {
    /// First sample of each shard.
    starts: Vec<usize>,
    /// The shard of each sample.
    of: Vec<u32>,
}

impl Shards {
    /// Shards whose sizes differ by one sample at most.
    pub(super) fn new(samples: usize, shards: usize) -> Self {
        let starts: Vec<_> = (0..shards).map(|shard| samples * shard / shards).collect();
        let mut of = vec![0; samples];
        for (shard, range) in (0..).zip(ranges(&starts, samples)) {
            of[range].fill(shard);
        }
        Self { starts, of }
    }

    pub(super) fn len(&self) -> usize {
        self.of.len()
    }

    pub(super) fn starts(&self) -> &[usize] {
        &self.starts
    }

    pub(super) fn ranges(&self) -> impl Iterator<Item = Range<u32>> {
        ranges(&self.starts, self.len()).map(|range| range.start as u32..range.end as u32)
    }

    pub(super) fn sizes(&self) -> Vec<u64> {
        self.ranges().map(|range| range.len() as u64).collect()
    }

    /// The position of a sample within its shard, from 0 to 1.
    fn place(&self, sample: u32) -> f64 {
        let shard = self.of[sample as usize] as usize;
        let end = self.starts.get(shard + 1).copied().unwrap_or(self.len());
        (f64::from(sample) + 0.5 - self.starts[shard] as f64) / (end - self.starts[shard]) as f64
    }
}

fn ranges(starts: &[usize], end: usize) -> impl Iterator<Item = Range<usize>> {
    let ends = starts.iter().skip(1).copied().chain([end]);
    starts.iter().copied().zip(ends).map(|(start, end)| start..end)
}

/// The measures of a scheme.
#[derive(Clone, Copy)]
pub(super) struct Figures {
    /// Design effect: the variance of a batch's mean of a quantity that differs by shard, such as where its photographs
    /// were taken, relative to that of a random order. It is the average over all such quantities: with independent
    /// values for shards the cross terms vanish, which leaves the sum over shards of the squared difference between the
    /// number of samples that a batch has of a shard and the number that it should have. So with shards of one size it
    /// is `pairs` on another scale, which shows by how much a random batch of the same variance would be smaller.
    /// Ideal: 1.0; batches below 1.0 are more even than random ones. Not a number if there is only one shard.
    pub(super) shard: f64,
    /// The same for 16 consecutive batches as if they were one: how much the mean drifts. Ideal: 1.0.
    pub(super) shard_16: f64,
    /// The same for the position within the shard, from 0 at its start to 1 at its end: a quantity that changes slowly
    /// from one sample to the next. Ideal: 1.0.
    pub(super) place: f64,
    /// Pairs of samples of a batch that are from the same shard, relative to their expected number in a random order
    /// (hypergeometric). Ideal: 1.0.
    pub(super) pairs: f64,
    /// Pairs of samples of a batch that share a batch in the next epoch as well, relative to their expected number if
    /// epochs were independent. Ideal: 1.0.
    pub(super) again: f64,
    /// Average number of samples held, if each part that is read as a whole is read when the first of its samples is
    /// due and kept until the last one has been used, or until the next one is an eighth of an epoch away. Ideal: 1.0,
    /// only the sample that is requested.
    pub(super) held: f64,
}

impl Figures {
    /// `reads` has the first sample of each part that is read as a whole.
    pub(super) fn new(shards: &Shards, batch: usize, orders: &[Vec<u32>; 2], reads: &[usize]) -> Self {
        let [places, next] = [0, 1].map(|epoch| inverse(&orders[epoch], shards.len()));
        let (shard, pairs) = by_shard(shards, batch, &orders[0]);
        let (shard_16, _) = by_shard(shards, batch * 16, &orders[0]);
        Self {
            shard,
            shard_16,
            pairs,
            place: by_place(shards, batch, &orders[0]),
            again: again(batch, &orders[0], &next),
            held: held(&places, reads),
        }
    }
}

/// The position of each sample in the order; asserts that each occurs exactly once.
fn inverse(order: &[u32], samples: usize) -> Vec<u32> {
    assert_eq!(order.len(), samples, "an epoch has all samples");
    let mut places = vec![u32::MAX; samples];
    for (place, &sample) in (0..).zip(order) {
        assert_eq!(places[sample as usize], u32::MAX, "sample {sample} occurs twice");
        places[sample as usize] = place;
    }
    places
}

/// Design effect by shard, and pairs from the same shard, both relative to the ideal. Leaves out a partial last batch.
fn by_shard(shards: &Shards, batch: usize, order: &[u32]) -> (f64, f64) {
    let sizes: Vec<_> = shards.ranges().map(|range| range.len() as f64).collect();
    let (samples, size) = (order.len() as f64, batch as f64);
    let mut counts = vec![0.0; sizes.len()];
    let (mut squares, mut pairs, mut batches) = (0.0, 0.0, 0.0);
    for rows in order.chunks_exact(batch) {
        counts.fill(0.0);
        for &sample in rows {
            counts[shards.of[sample as usize] as usize] += 1.0;
        }
        for (count, of_shard) in counts.iter().zip(&sizes) {
            let expected = size * of_shard / samples;
            squares += (count - expected) * (count - expected);
            pairs += count * (count - 1.0) / 2.0;
        }
        batches += 1.0;
    }
    let spread: f64 = sizes.iter().map(|of_shard| of_shard / samples * (1.0 - of_shard / samples)).sum();
    let alike: f64 = sizes.iter().map(|of_shard| of_shard * (of_shard - 1.0)).sum();
    let expected_squares = batches * size * (samples - size) / (samples - 1.0) * spread;
    let expected_pairs = batches * size * (size - 1.0) / 2.0 * alike / (samples * (samples - 1.0));
    (squares / expected_squares, pairs / expected_pairs)
}

/// Design effect by position within the shard.
fn by_place(shards: &Shards, batch: usize, order: &[u32]) -> f64 {
    let (samples, size) = (order.len() as f64, batch as f64);
    let mean = order.iter().map(|&sample| shards.place(sample)).sum::<f64>() / samples;
    let square = |value: f64| (value - mean) * (value - mean);
    let variance = order.iter().map(|&sample| square(shards.place(sample))).sum::<f64>() / samples;
    let of_batch = |rows: &[u32]| square(rows.iter().map(|&sample| shards.place(sample)).sum::<f64>() / size);
    let batches = order.chunks_exact(batch);
    let ideal = batches.len() as f64 * variance / size * (samples - size) / (samples - 1.0);
    batches.map(of_batch).sum::<f64>() / ideal
}

/// Pairs of a batch that share a batch again, relative to the ideal.
fn again(batch: usize, order: &[u32], next: &[u32]) -> f64 {
    let (samples, size) = (order.len() as f64, batch as f64);
    let (mut pairs, mut together) = (0.0, 0.0);
    for rows in order.chunks_exact(batch) {
        let mut batches: Vec<_> = rows.iter().map(|&sample| next[sample as usize] as usize / batch).collect();
        batches.sort_unstable();
        for group in batches.chunk_by(|a, b| a == b) {
            together += (group.len() * (group.len() - 1) / 2) as f64;
        }
        pairs += size * (size - 1.0) / 2.0;
    }
    together / (pairs * (size - 1.0) / (samples - 1.0))
}

/// Samples held on average.
fn held(places: &[u32], reads: &[usize]) -> f64 {
    let away = (places.len() / 8) as u32;
    let mut held = 0.0;
    let mut uses = Vec::new();
    for read in ranges(reads, places.len()) {
        uses.clear();
        uses.extend_from_slice(&places[read.clone()]);
        uses.sort_unstable();
        let between = |pair: &[u32]| if pair[1] - pair[0] <= away { pair[1] - pair[0] } else { 1 };
        let time = 1 + uses.windows(2).map(between).sum::<u32>();
        held += read.len() as f64 * f64::from(time);
    }
    held / places.len() as f64
}

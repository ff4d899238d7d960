//! The search: one setting after the other, each at the smallest value that is nearly as fast as the fastest.

use std::time::Duration;

use maskstream::ScaledDecode;

use super::trial::{Candidate, Measured, Trials};
use crate::cli::args::GivenSettings;

/// What is this close to the fastest counts as equally fast: trials differ by as much.
const NEARLY: f64 = 0.98;
/// Chunks make the shuffle worse, so they must gain this much.
const CHUNKS_GAIN: f64 = 1.1;
/// Below this share of bytes from the device, all come from the page cache, where chunks gain nothing.
pub(super) const FROM_DEVICE: f64 = 0.05;
/// Shares of the time, for numbers of workers, for prefetch depths, and for both ways of decoding. What is left is for
/// chunks, and for further numbers of workers.
const WORKERS_SHARE: f64 = 0.5;
const PREFETCH_SHARE: f64 = 0.35;
const DECODING_SHARE: f64 = 0.15;
/// Trials of each candidate.
const ROUNDS: usize = 3;
/// The least time of a trial.
const SHORTEST: Duration = Duration::from_millis(100);

pub(super) struct Search {
    pub(super) trials: Trials,
    /// Settings that the user has chosen.
    pub(super) given: GivenSettings,
    pub(super) cores: usize,
    /// The time that all trials take together.
    pub(super) budget: Duration,
}

/// What was measured, by setting, and the best candidate.
pub(super) struct Found {
    pub(super) workers: Vec<Measured>,
    pub(super) prefetch: Vec<Measured>,
    /// Empty if chunks were not tried.
    pub(super) chunks: Vec<Measured>,
    /// The best candidate with its own way of decoding JPEGs and with the other one.
    pub(super) decoding: Vec<Measured>,
    pub(super) best: Measured,
}

impl Search {
    pub(super) fn run(mut self) -> Result<Found, Box<dyn std::error::Error>> {
        let scaled_decode = self.given.scaled_decode.unwrap_or(ScaledDecode::Auto);
        let prefetch = self.given.prefetch_batches;
        let chunk_bytes = self.given.chunk_bytes.filter(|&bytes| bytes > 0);
        let numbers = self.given.num_workers.map_or_else(|| workers(self.cores), |given| vec![given]);
        let depths = prefetch.map_or_else(|| vec![1, 2, 3, 4, 8], |given| vec![given]);
        let mut start = Candidate { num_workers: numbers[0], prefetch_batches: depths[0], chunk_bytes, scaled_decode };
        // Enough for any number of workers, if the memory budget allows it.
        let enough = depths
            .iter()
            .rev()
            .find(|&&depth| depth <= 4 && self.trials.fits(Candidate { prefetch_batches: depth, ..start }));
        start.prefetch_batches = enough.copied().unwrap_or(start.prefetch_batches);
        let all = [(numbers.len(), WORKERS_SHARE), (depths.len(), PREFETCH_SHARE), (2, DECODING_SHARE)];
        let time = all.map(|(trials, share)| self.trial_time(trials, share) * (trials * ROUNDS) as u32).iter().sum();
        self.trials.announce(time, self.budget);
        let candidates: Vec<_> = numbers.iter().map(|&num_workers| Candidate { num_workers, ..start }).collect();
        let mut workers = self.measure(&candidates, WORKERS_SHARE)?;
        let mut best = smallest(&workers).candidate;
        while let Some(candidate) = between(&workers, best) {
            workers.extend(self.measure(&[candidate], 0.05)?);
            workers.sort_by_key(|measured| measured.candidate.num_workers);
            best = smallest(&workers).candidate;
        }

        let candidates: Vec<_> =
            depths.iter().map(|&prefetch_batches| Candidate { prefetch_batches, ..best }).collect();
        let prefetch = self.measure(&candidates, PREFETCH_SHARE)?;
        let mut best = smallest(&prefetch).clone();

        let mut chunks = Vec::new();
        let is_from_device = best.from_device.is_some_and(|share| share > FROM_DEVICE);
        if self.given.is_shuffled && self.given.chunk_bytes.is_none() && is_from_device {
            let sizes = [None, Some(1 << 20), Some(8 << 20), Some(16 << 20)];
            chunks = self.measure(&sizes.map(|chunk_bytes| Candidate { chunk_bytes, ..best.candidate }), 0.1)?;
            let (samples, chunked) = chunks.split_at(1);
            let wins =
                |measured: &&Measured| measured.samples_per_second() > CHUNKS_GAIN * samples[0].samples_per_second();
            let chunked: Vec<_> = chunked.iter().filter(wins).cloned().collect();
            best = if chunked.is_empty() { samples[0].clone() } else { smallest(&chunked).clone() };
        }

        let other = match scaled_decode {
            ScaledDecode::Full => ScaledDecode::Auto,
            _ => ScaledDecode::Full,
        };
        let both = [scaled_decode, other].map(|scaled_decode| Candidate { scaled_decode, ..best.candidate });
        let decoding = self.measure(&both, DECODING_SHARE)?;
        // Measured last, and with as many trials as the other way, to which it is compared.
        let best = decoding[0].clone();
        Ok(Found { workers, prefetch, chunks, decoding, best })
    }

    /// Measures candidates in this share of the time.
    fn measure(&mut self, candidates: &[Candidate], share: f64) -> Result<Vec<Measured>, Box<dyn std::error::Error>> {
        let time = self.trial_time(candidates.len(), share);
        self.trials.measure(candidates, ROUNDS, time)
    }

    /// The time of a trial if as many candidates take this share of the time.
    fn trial_time(&self, candidates: usize, share: f64) -> Duration {
        let time = self.budget.mul_f64(share / (candidates * ROUNDS) as f64);
        self.trials.trial_time(time.max(SHORTEST))
    }
}

/// Numbers of workers to try: powers of two, and around the number of cores.
fn workers(cores: usize) -> Vec<usize> {
    let powers = (0..).map(|power| 1 << power).take_while(|&number| number < cores);
    let mut numbers: Vec<usize> = powers.chain([cores * 3 / 4, cores, cores + cores.div_ceil(4)]).collect();
    numbers.retain(|&number| (1..=1024).contains(&number));
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// The first one that is nearly as fast as the fastest. They are in ascending order of what they take.
fn smallest(measured: &[Measured]) -> &Measured {
    let fastest = measured.iter().map(Measured::samples_per_second).fold(0.0, f64::max);
    let first = measured.iter().find(|measured| measured.samples_per_second() >= NEARLY * fastest);
    first.unwrap_or(&measured[0])
}

/// A number of workers between the best one and the next smaller one that was tried, unless they are close.
fn between(measured: &[Measured], best: Candidate) -> Option<Candidate> {
    let smaller = measured.iter().map(|measured| measured.candidate.num_workers);
    let below = smaller.filter(|&number| number < best.num_workers).max()?;
    let num_workers = (below + best.num_workers) / 2;
    (num_workers > below && best.num_workers - below > below / 8).then_some(Candidate { num_workers, ..best })
}

#[cfg(test)]
mod tests {
    use super::workers;

    #[test]
    fn the_numbers_of_workers_to_try_ascend_and_end_beyond_the_cores() {
        assert_eq!(workers(1), [1, 2]);
        assert_eq!(workers(2), [1, 2, 3]);
        assert_eq!(workers(4), [1, 2, 3, 4, 5]);
        assert_eq!(workers(16), [1, 2, 4, 8, 12, 16, 20]);
        assert_eq!(workers(64), [1, 2, 4, 8, 16, 32, 48, 64, 80]);
        assert_eq!(workers(2000).last(), Some(&1024));
    }
}

//! A histogram of fixed size: counts of fine bins, from which quantiles and bars follow. A billion numbers take no more
//! memory than one.

use serde::Serialize;

/// How fine the bins are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// Bins of 0.0005, from -0.5 to 1.5: for scores.
    Score,
    /// Three significant digits, from 0.0001 to 10 billion: exact for whole numbers below 1000.
    Decimal,
}

/// Which bars are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Axis {
    /// Bars of equal width.
    Linear,
    /// Bars of about equal ratio, at round numbers.
    Log,
}

/// Numbers, counted in fine bins.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    scale: Scale,
    /// As long as the highest bin needs.
    counts: Vec<u64>,
    total: u64,
    /// NaNs: numbers that the data does not have.
    missing: u64,
    min: f64,
    max: f64,
}

/// Minimum, maximum, and percentiles in between: the lower edges of the fine bins that they are in.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Quantiles {
    pub(super) min: f64,
    pub(super) p5: f64,
    pub(super) p25: f64,
    pub(super) p50: f64,
    pub(super) p75: f64,
    pub(super) p95: f64,
    pub(super) max: f64,
}

/// Counts between round edges. Each bar includes its lower edge.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Bars {
    pub(super) edges: Vec<f64>,
    pub(super) counts: Vec<u64>,
    /// Numbers below the first edge and from the last one on: at most a thousandth on each side, and zeros where the
    /// edges are ratios.
    pub(super) below: u64,
    pub(super) above: u64,
}

const MAX_SCORE_BIN: usize = 4000;
const DECADES: usize = 14;
const LOWEST: i32 = -4;
/// Numbers that are this close below an edge, as a share of it, count as at it.
const TOLERANCE: f64 = 1e-12;
const POWERS: [f64; DECADES] = [1e-4, 1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
/// 100 over the powers: what takes a number of a decade to its three digits.
const DIGITS: [f64; DECADES] = [1e6, 1e5, 1e4, 1e3, 1e2, 1e1, 1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7];

impl Scale {
    fn bin(self, value: f64) -> usize {
        match self {
            // Scores and edges are compared as `f32`, as thresholds are: 0.88 as `f32` is less than 0.88.
            Self::Score => {
                let bin = ((value * 2000.0 + 1000.0 + 0.01) as usize).min(MAX_SCORE_BIN);
                if (value as f32) < self.edge(bin) as f32 { bin.saturating_sub(1) } else { bin }
            }
            Self::Decimal => {
                let value = value * (1.0 + TOLERANCE);
                if value < POWERS[0] {
                    return 0;
                }
                // The decade follows from the binary exponent, or is the next one.
                let exponent = (value.to_bits() >> 52) as i32 - 1023;
                let decade = (((exponent * 1233) >> 12) - LOWEST).clamp(0, DECADES as i32 - 1) as usize;
                let decade = decade + usize::from(POWERS.get(decade + 1).is_some_and(|power| *power <= value));
                let digits = value * DIGITS[decade] * (1.0 + TOLERANCE);
                1 + decade * 900 + (digits as usize).clamp(100, 999) - 100
            }
        }
    }

    /// The lower edge of a bin.
    fn edge(self, bin: usize) -> f64 {
        match self {
            Self::Score => (bin as f64 - 1000.0) / 2000.0,
            Self::Decimal => match bin.checked_sub(1) {
                None => 0.0,
                Some(bin) => scaled(100 + (bin % 900) as i64, LOWEST - 2 + (bin / 900) as i32),
            },
        }
    }

    /// The smallest width of bars around a number, as a power of ten: what bars of equal width count is whole, if it is
    /// no score.
    fn exponent(self, value: f64) -> i32 {
        match self {
            Self::Score => -3,
            Self::Decimal => ((self.bin(value).saturating_sub(1) / 900) as i32 + LOWEST - 2).max(0),
        }
    }
}

/// `digits` x 10^`exponent`, correctly rounded.
fn scaled(digits: i64, exponent: i32) -> f64 {
    let power = 10_f64.powi(exponent.abs());
    if exponent < 0 { digits as f64 / power } else { digits as f64 * power }
}

impl Histogram {
    pub(super) fn new(scale: Scale) -> Self {
        Self { scale, counts: Vec::new(), total: 0, missing: 0, min: f64::INFINITY, max: f64::NEG_INFINITY }
    }

    pub(super) fn add(&mut self, value: f64) {
        if value.is_nan() {
            self.missing += 1;
            return;
        }
        let bin = self.scale.bin(value);
        if bin >= self.counts.len() {
            self.counts.resize(bin + 1, 0);
        }
        self.counts[bin] += 1;
        self.total += 1;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    /// Adds the numbers of a histogram of the same scale.
    pub(super) fn merge(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        self.counts.iter_mut().zip(&other.counts).for_each(|(sum, count)| *sum += count);
        self.total += other.total;
        self.missing += other.missing;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn missing(&self) -> u64 {
        self.missing
    }

    pub(super) fn quantiles(&self) -> Option<Quantiles> {
        let percentile = |percent: u64| {
            let rank = u128::from(self.total.saturating_sub(1)) * u128::from(percent) / 100;
            self.at(rank as u64)
        };
        (self.total > 0).then(|| Quantiles {
            min: self.min,
            p5: percentile(5),
            p25: percentile(25),
            p50: percentile(50),
            p75: percentile(75),
            p95: percentile(95),
            max: self.max,
        })
    }

    /// The number at a place in ascending order, rounded down to its bin.
    fn at(&self, rank: u64) -> f64 {
        let mut sum = 0;
        let bin = self.counts.iter().position(|count| {
            sum += count;
            sum > rank
        });
        bin.map_or(self.max, |bin| self.scale.edge(bin)).clamp(self.min, self.max)
    }

    /// At most `most` bars with round edges, over all numbers but the outermost thousandths.
    pub(super) fn bars(&self, axis: Axis, most: usize) -> Bars {
        if self.total == 0 {
            return Bars::default();
        }
        let tail = self.total / 1000;
        let (low, high) = (self.at(tail), self.at(self.total - 1 - tail));
        let edges = match axis {
            Axis::Linear => linear_edges(low, high, self.scale.exponent(high), most),
            Axis::Log => {
                let positive = self.counts.iter().skip(1).position(|count| *count > 0);
                let Some(lowest) = positive.map(|bin| self.scale.edge(bin + 1)) else {
                    return Bars { edges: vec![0.0, 1.0], counts: vec![self.total], below: 0, above: 0 };
                };
                log_edges(low.max(lowest), high.max(lowest), most)
            }
        };
        let bins: Vec<usize> = edges.iter().map(|edge| self.scale.bin(*edge).min(self.counts.len())).collect();
        let sum = |bins: &[u64]| bins.iter().sum::<u64>();
        let counts = bins.windows(2).map(|pair| sum(&self.counts[pair[0]..pair[1]])).collect();
        let (first, last) = (bins.first().copied().unwrap_or(0), bins.last().copied().unwrap_or(0));
        Bars { edges, counts, below: sum(&self.counts[..first]), above: sum(&self.counts[last..]) }
    }
}

/// Multiples of a round step that enclose `low` to `high`. The step is at least 10^`exponent`.
fn linear_edges(low: f64, high: f64, exponent: i32, most: usize) -> Vec<f64> {
    let mut step = (1, exponent);
    loop {
        let multiple = |value: f64| (value / scaled(step.0, step.1) + 1e-6).floor() as i64;
        let (first, last) = (multiple(low), multiple(high) + 1);
        if (last - first) as usize <= most {
            return (first..=last).map(|n| scaled(n * step.0, step.1)).collect();
        }
        step = match step.0 {
            1 => (2, step.1),
            2 => (5, step.1),
            _ => (1, step.1 + 1),
        };
    }
}

/// Digits of the edges in each decade, from fine to coarse.
const SERIES: [&[i64]; 4] = [
    &[100, 112, 125, 140, 160, 180, 200, 225, 250, 280, 315, 355, 400, 450, 500, 560, 630, 710, 800, 900],
    &[100, 125, 160, 200, 250, 315, 400, 500, 630, 800],
    &[100, 200, 500],
    &[100],
];

fn log_edges(low: f64, high: f64, most: usize) -> Vec<f64> {
    let mut found = Vec::new();
    for series in SERIES {
        let exponents = LOWEST - 2..LOWEST - 2 + DECADES as i32 + 1;
        let all: Vec<f64> = exponents.flat_map(|e| series.iter().map(move |digits| scaled(*digits, e))).collect();
        let tolerant = 1.0 + TOLERANCE;
        let first = all.partition_point(|edge| *edge <= low * tolerant).saturating_sub(1);
        let last = all.partition_point(|edge| *edge <= high * tolerant).min(all.len() - 1);
        found = all[first..=last].to_vec();
        if found.len() <= most + 1 {
            break;
        }
    }
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn each_edge_is_in_the_bin_that_it_begins() {
        for scale in [Scale::Score, Scale::Decimal] {
            for bin in 0..=if scale == Scale::Score { MAX_SCORE_BIN } else { DECADES * 900 } {
                assert_eq!(scale.bin(scale.edge(bin)), bin, "{scale:?}: {}", scale.edge(bin));
            }
        }
        for score in [0.88_f32, 0.9, 0.95, 1.02] {
            let bin = Scale::Score.bin(f64::from(score));
            assert!((Scale::Score.edge(bin) - f64::from(score)).abs() < 1e-6);
        }
    }

    #[test]
    fn quantiles_of_small_whole_numbers_are_exact_and_others_have_three_digits() {
        let values: Vec<u64> = (0..5000).map(|n| n * n * 7919 % 9_999_991).collect();
        for limit in [1000, 10_000_000] {
            let mut histogram = Histogram::new(Scale::Decimal);
            let mut sorted: Vec<u64> = values.iter().map(|value| value % limit).collect();
            sorted.iter().for_each(|value| histogram.add(*value as f64));
            sorted.sort_unstable();
            let found = histogram.quantiles().unwrap();
            for (percent, found) in [(0, found.min), (5, found.p5), (50, found.p50), (95, found.p95), (100, found.max)]
            {
                let exact = sorted[4999 * percent / 100] as f64;
                if limit == 1000 || percent % 100 == 0 {
                    assert_eq!(found, exact);
                }
                assert!(found <= exact && exact < found * 1.01 + 1.0, "{percent}: {found}, {exact}");
            }
        }
    }

    #[test]
    fn bars_have_round_edges_and_hold_every_number_once() {
        let mut histogram = Histogram::new(Scale::Decimal);
        let values: Vec<f64> = (1..4000_u32).map(|n| f64::from(n * n % 2_000_003 + 20)).collect();
        values.iter().for_each(|value| histogram.add(*value));
        for (axis, most) in [(Axis::Linear, 7), (Axis::Linear, 24), (Axis::Log, 12), (Axis::Log, 40)] {
            let Bars { edges, counts, below, above } = histogram.bars(axis, most);
            assert!(counts.len() <= most && counts.len() + 1 == edges.len() && edges.is_sorted());
            for (pair, count) in edges.windows(2).zip(&counts) {
                assert_eq!(values.iter().filter(|v| (pair[0]..pair[1]).contains(v)).count() as u64, *count);
            }
            assert_eq!(counts.iter().sum::<u64>() + below + above, 3999);
            assert!(below < 4 && above < 4);
        }
        let same = Histogram::new(Scale::Decimal).bars(Axis::Log, 9);
        assert!(same.edges.is_empty() && same.counts.is_empty());
    }

    #[test]
    fn odd_numbers_have_a_bin_too() {
        let mut histogram = Histogram::new(Scale::Score);
        [-7.0, 0.88, 99.0, f64::NAN].into_iter().for_each(|score| histogram.add(score));
        assert_eq!((histogram.total(), histogram.missing()), (3, 1));
        let found = histogram.quantiles().unwrap();
        assert_eq!((found.min, found.p50, found.max), (-7.0, 0.88, 99.0));
        assert!(histogram.bars(Axis::Linear, 10).counts.len() <= 10);
        let mut zeros = Histogram::new(Scale::Decimal);
        zeros.add(0.0);
        assert_eq!(zeros.bars(Axis::Log, 10).counts, [1]);
        assert_eq!(zeros.bars(Axis::Linear, 10).counts.iter().sum::<u64>(), 1);
    }
}

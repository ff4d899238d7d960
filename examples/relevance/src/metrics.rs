//! Metrics of a method's scores against the true coverage, averaged over queries.

use crate::allocate::TOP_K;

/// The table's global threshold is searched among `1 / LEVELS, 2 / LEVELS, ...` below 1.
pub const LEVELS: usize = 1000;

/// Sums over queries.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricSums {
    queries: f64,
    auc: f64,
    /// Queries that have both positive and negative patches.
    with_auc: f64,
    coverage: f64,
    precision: f64,
    /// For each threshold: the multiples of 1 / `iou.len()` from 0.
    iou: Vec<f64>,
}

/// Means over queries.
#[derive(Clone, Copy)]
pub struct Metrics {
    pub queries: usize,
    /// Probability that a positive patch scores above a negative one.
    pub auc: f64,
    /// Intersection over union at the one threshold that is best over all queries.
    pub best_iou: f64,
    /// That threshold.
    pub threshold: f64,
    /// Intersection over union at threshold 0.5.
    pub iou_at_half: f64,
    /// Share of the mask that the kept patches hold.
    pub coverage: f64,
    /// R-precision: with as many patches as are positive, the best ones, the share that the mask touches.
    pub precision: f64,
}

/// Number of patches kept of `patches`: the same share as ARR-COC's 200 of 1024.
pub fn kept_patches(patches: usize) -> usize {
    patches * TOP_K / 1024
}

impl MetricSums {
    /// Sums over no queries, with so many thresholds.
    pub fn new(levels: usize) -> Self {
        Self { queries: 0.0, auc: 0.0, with_auc: 0.0, coverage: 0.0, precision: 0.0, iou: vec![0.0; levels] }
    }

    /// Adds the sums over other queries, with as many thresholds.
    pub fn add_all(&mut self, other: &Self) {
        self.queries += other.queries;
        self.auc += other.auc;
        self.with_auc += other.with_auc;
        self.coverage += other.coverage;
        self.precision += other.precision;
        self.iou.iter_mut().zip(&other.iou).for_each(|(sum, more)| *sum += more);
    }

    /// Adds a query. `patches` holds the score (0 to 1) and the true coverage of each valid patch; the best `kept` of
    /// them are kept. A patch is positive if it is covered at least half as much as the most covered patch.
    pub fn add(&mut self, mut patches: Vec<(f32, f32)>, kept: usize) {
        patches.sort_by(|a, b| b.0.total_cmp(&a.0));
        let positive_from = patches.iter().fold(0.0_f32, |most, patch| most.max(patch.1)) / 2.0;
        let is_positive = |&&(_, target): &&(f32, f32)| target >= positive_from;
        let positives = patches.iter().filter(is_positive).count();
        let negatives = patches.len() - positives;

        // Best first, in groups of equal score: a tie counts half.
        let (mut hits, mut won) = (0.0, 0.0);
        for group in patches.chunk_by(|a, b| a.0 == b.0) {
            let inside = group.iter().filter(is_positive).count() as f64;
            won += (group.len() as f64 - inside) * (hits + inside / 2.0);
            hits += inside;
        }
        if positives > 0 && negatives > 0 {
            self.auc += won / (positives * negatives) as f64;
            self.with_auc += 1.0;
        }

        let (mut taken, mut hits, levels) = (0, 0, self.iou.len());
        for (level, iou) in self.iou.iter_mut().enumerate().rev() {
            let threshold = level as f32 / levels as f32;
            while taken < patches.len() && patches[taken].0 >= threshold {
                hits += usize::from(is_positive(&&patches[taken]));
                taken += 1;
            }
            *iou += hits as f64 / (positives + taken - hits).max(1) as f64;
        }

        let mass = |patches: &[(f32, f32)]| patches.iter().map(|patch| f64::from(patch.1)).sum::<f64>();
        self.coverage += mass(&patches[..kept.min(patches.len())]) / mass(&patches).max(1e-9);
        let touched = patches[..positives].iter().filter(|patch| patch.1 > 0.0).count();
        self.precision += touched as f64 / positives.max(1) as f64;
        self.queries += 1.0;
    }

    /// The means.
    pub fn metrics(&self) -> Metrics {
        let (queries, levels) = (self.queries.max(1.0), self.iou.len());
        let best = (1..levels).max_by(|&a, &b| self.iou[a].total_cmp(&self.iou[b])).unwrap_or(0);
        Metrics {
            queries: self.queries as usize,
            auc: self.auc / self.with_auc.max(1.0),
            best_iou: self.iou[best] / queries,
            threshold: best as f64 / levels as f64,
            iou_at_half: self.iou[levels / 2] / queries,
            coverage: self.coverage / queries,
            precision: self.precision / queries,
        }
    }
}

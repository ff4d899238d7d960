//! Whether the trained head beats the baselines, or may do so by chance.
//!
//! The held-out images are a sample of all images. To see how much a difference depends on which ones they are, they
//! are drawn anew many times, with replacement: the percentile bootstrap (Efron and Tibshirani, "An Introduction to the
//! Bootstrap", 1993). Whole images are drawn, as the queries of one are not independent. The head beats a baseline if
//! the interval that holds 95 % of the differences lies above 0.

use std::fmt;

use rayon::prelude::*;

use crate::metrics::{MetricSums, Metrics};
use crate::rng::Rng;

/// How many times the images are drawn.
pub const RESAMPLES: usize = 2000;
/// Thresholds of the sums that are drawn: a tenth of the table's, as each draw tries them all.
pub const LEVELS: usize = 100;
/// With fewer images, a baseline that is as good as the head would lose on all of them, or win on all, in more than
/// 5 % of all cases: 2 x 0.5^5.
pub const MIN_IMAGES: usize = 6;

/// A metric and its name.
pub type NamedMetric = (&'static str, fn(&Metrics) -> f64);

/// A method that the trained head is compared with.
#[derive(Clone, Copy, Debug)]
pub struct Baseline {
    pub name: &'static str,
    /// Whether success means to beat it.
    pub must_be_beaten: bool,
}

/// By how much the trained head is better than a baseline in a metric.
#[derive(Clone, Debug)]
pub struct Difference {
    pub baseline: Baseline,
    pub metric: &'static str,
    /// The difference on the held-out images as they are.
    pub value: f64,
    /// The interval that holds 95 % of the differences on images drawn from them.
    pub interval: [f64; 2],
}

/// The differences to all baselines in all metrics that count.
#[derive(Clone, Debug)]
pub struct Verdict {
    pub differences: Vec<Difference>,
    /// Held-out images with queries.
    pub images: usize,
}

impl Verdict {
    /// Compares methods by their sums on each image: those of the head, then those of each of the `baselines`.
    /// `values` are the differences on the images as they are, for each baseline in each metric.
    pub fn new(
        images: &[Vec<MetricSums>],
        baselines: &[Baseline],
        metrics: &[NamedMetric],
        values: impl Fn(&str, NamedMetric) -> f64,
    ) -> Self {
        let pairs = || baselines.iter().enumerate().flat_map(|pair| metrics.iter().map(move |&metric| (pair, metric)));
        let draw = |number: usize| -> Vec<f64> {
            let mut rng = Rng::new(&[number as u64]);
            let mut sums = vec![MetricSums::new(LEVELS); 1 + baselines.len()];
            for _ in 0..images.len() {
                let image = &images[rng.below(images.len())];
                sums.iter_mut().zip(image).for_each(|(sums, image)| sums.add_all(image));
            }
            let means: Vec<Metrics> = sums.iter().map(MetricSums::metrics).collect();
            pairs().map(|((at, _), (_, metric))| metric(&means[0]) - metric(&means[1 + at])).collect()
        };
        let draws: Vec<Vec<f64>> = (0..RESAMPLES).into_par_iter().map(draw).collect();
        let differences = pairs().enumerate().map(|(pair, ((_, &baseline), metric))| {
            let mut drawn: Vec<f64> = draws.iter().map(|draw| draw[pair]).collect();
            drawn.sort_by(f64::total_cmp);
            // A fortieth of them lies on either side.
            let interval = [drawn[RESAMPLES / 40], drawn[RESAMPLES - 1 - RESAMPLES / 40]];
            Difference { baseline, metric: metric.0, value: values(baseline.name, metric), interval }
        });
        Self { differences: differences.collect(), images: images.len() }
    }

    /// Whether the trained head beats the baselines.
    pub fn is_success(&self) -> bool {
        self.doubt().is_none()
    }

    /// Why it may not beat them.
    pub fn doubt(&self) -> Option<String> {
        if self.images < MIN_IMAGES {
            return Some(format!("{} held-out images are too few, {MIN_IMAGES} are the least", self.images));
        }
        let is_above = |difference: &Difference| difference.value > 0.0 && difference.interval[0] > 0.0;
        let mut decisive = self.differences.iter().filter(|difference| difference.baseline.must_be_beaten);
        let Difference { baseline: Baseline { name: baseline, .. }, metric, interval: [_, high], .. } =
            decisive.find(|difference| !is_above(difference))?;
        Some(match high {
            // More images would only show it more clearly.
            ..0.0 => format!("\"{baseline}\" is better in {metric}; try more --steps"),
            _ => format!(
                "these images do not tell it from \"{baseline}\" in {metric}; try more --steps or more held-out images"
            ),
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<26}{:<12}{:>10}   95 % interval", "head, trained, less", "metric", "difference")?;
        for Difference { baseline, metric, value, interval: [low, high] } in &self.differences {
            let baseline = baseline.name;
            writeln!(f, "{baseline:<26}{metric:<12}{value:>+10.3}   {low:+.3} to {high:+.3}")?;
        }
        write!(f, "Intervals: of {RESAMPLES} draws of the {} images, with replacement.", self.images)
    }
}

//! The table of an evaluation: a row per method.

use std::fmt;

use crate::allocate::{TOTAL_TOKENS, token_budget};
use crate::args::Task;
use crate::baselines::{COLOUR_DISTANCE, EDGES, POINT_DISTANCE, PROMPTED, TRAINED, UNPROMPTED, UNTRAINED};
use crate::metrics::{LEVELS, MetricSums, Metrics, kept_patches};
use crate::model::Predictions;
use crate::query::Query;
use crate::training_batch::TrainingBatch;
use crate::verdict::{self, Baseline, NamedMetric, Verdict};

/// A mask is small below the first share of the image, and large from the second one on.
const SIZES: [f32; 2] = [0.01, 0.1];

/// Metrics of all methods over the same queries.
pub struct Table {
    task: Task,
    /// For each image with queries: sums of the trained head and of each of the [baselines](Self::baselines).
    images: Vec<Vec<MetricSums>>,
    /// Number of patches kept per image.
    kept: usize,
    /// For each method: sums over all masks, and over the small, medium and large ones.
    rows: Vec<(&'static str, [MetricSums; 4])>,
    /// Weights of the information, edge and participatory maps in the trained head, summed over queries.
    weights: [f64; 3],
    /// Number of patches with tokens, and the share of the mask that they hold, summed over queries.
    budget: [f64; 2],
}

/// Title, width and metric of a column.
type Column = (String, usize, fn(&Metrics) -> f64);

impl Table {
    /// A table without queries.
    pub fn new(task: Task) -> Self {
        let names: &[&str] = match task {
            Task::Point => &PROMPTED,
            Task::Allocate => &UNPROMPTED,
        };
        let rows = names.iter().map(|&name| (name, [0; 4].map(|_| MetricSums::new(LEVELS)))).collect();
        Self { task, images: Vec::new(), kept: 0, rows, weights: [0.0; 3], budget: [0.0; 2] }
    }

    /// The queries that follow are those of another image.
    pub fn begin_image(&mut self) {
        self.images.push(vec![MetricSums::new(verdict::LEVELS); 1 + self.baselines().len()]);
    }

    /// Number of images.
    pub fn images(&self) -> usize {
        self.images.len()
    }

    /// Adds a query of the image: the scores of all methods, and the predictions of the trained head.
    pub fn add(&mut self, batch: &TrainingBatch, query: &Query, scores: &[Vec<f32>], trained: &Predictions) {
        let valid = batch.patch_slice(&batch.patches.valid, query.row);
        self.kept = kept_patches(valid.len());
        let coverage = batch.target(query);
        let size = 1 + SIZES.iter().filter(|&&bound| query.area_fraction >= bound).count();
        let compared: Vec<&str> = std::iter::once(TRAINED).chain(self.baselines().iter().map(|b| b.name)).collect();
        let mut of_image = self.images.last_mut();
        for ((name, sums), scores) in self.rows.iter_mut().zip(scores) {
            let patches = (0..valid.len()).filter(|&patch| valid[patch] > 0.0).map(|p| (scores[p], coverage[p]));
            let patches: Vec<(f32, f32)> = patches.collect();
            for column in [0, size] {
                sums[column].add(patches.clone(), self.kept);
            }
            let at = compared.iter().position(|compared| compared == name);
            if let Some((at, of_image)) = at.zip(of_image.as_deref_mut()) {
                of_image[at].add(patches, self.kept);
            }
        }

        let at = match self.task {
            Task::Point => query.row * batch.slots + query.slot,
            Task::Allocate => query.row,
        };
        self.weights.iter_mut().zip(&trained.weights[3 * at..]).for_each(|(sum, &weight)| *sum += f64::from(weight));
        let scored: Vec<f32> = scores[0].iter().zip(valid).map(|(score, valid)| score * valid).collect();
        let tokens = token_budget(&scored, TOTAL_TOKENS);
        let sum_over_budget = |of: &dyn Fn(usize) -> f32| -> f64 {
            (0..tokens.len()).filter(|&patch| tokens[patch] > 0).map(|patch| f64::from(of(patch))).sum()
        };
        self.budget[0] += sum_over_budget(&|_| 1.0);
        let mass: f64 = coverage.iter().zip(valid).map(|(share, valid)| f64::from(share * valid)).sum();
        self.budget[1] += sum_over_budget(&|patch| coverage[patch]) / mass.max(1e-9);
    }

    /// Number of queries.
    pub fn queries(&self) -> usize {
        self.metrics(0, 0).queries
    }

    fn metrics(&self, row: usize, size: usize) -> Metrics {
        self.rows[row].1[size].metrics()
    }

    /// What the trained head must beat: both distances for the task `point`, the strongest edges for `allocate`.
    /// The untrained head is compared as well, to show what training adds.
    fn baselines(&self) -> &'static [Baseline] {
        const fn baseline(name: &'static str, must_be_beaten: bool) -> Baseline {
            Baseline { name, must_be_beaten }
        }
        match self.task {
            Task::Point => {
                &const { [baseline(POINT_DISTANCE, true), baseline(COLOUR_DISTANCE, true), baseline(UNTRAINED, false)] }
            }
            Task::Allocate => &const { [baseline(EDGES, true), baseline(UNTRAINED, false)] },
        }
    }

    /// Whether it beats them: in AUC and best IoU for the task `point`, in coverage for `allocate`.
    pub fn verdict(&self) -> Verdict {
        let metrics: &[NamedMetric] = match self.task {
            Task::Point => &[("AUC", |m| m.auc), ("best IoU", |m| m.best_iou)],
            Task::Allocate => &[("coverage", |m| m.coverage)],
        };
        let of = |name: &str, metric: fn(&Metrics) -> f64| {
            let row = self.rows.iter().position(|row| row.0 == name);
            row.map_or(f64::NAN, |row| metric(&self.metrics(row, 0)))
        };
        Verdict::new(&self.images, self.baselines(), metrics, |name, (_, metric)| {
            of(TRAINED, metric) - of(name, metric)
        })
    }

    fn columns(&self, names: &[&str]) -> Vec<Column> {
        let kept = format!("coverage@{}", self.kept);
        let all: [Column; 6] = [
            ("AUC".to_owned(), 8, |m| m.auc),
            ("best IoU".to_owned(), 10, |m| m.best_iou),
            ("(threshold)".to_owned(), 12, |m| m.threshold),
            ("IoU@.5".to_owned(), 8, |m| m.iou_at_half),
            (kept, 14, |m| m.coverage),
            ("precision".to_owned(), 11, |m| m.precision),
        ];
        all.into_iter().filter(|(title, ..)| names.iter().any(|name| title.starts_with(name))).collect()
    }

    /// Writes a line per method, with the columns of each mask size.
    fn lines(&self, f: &mut fmt::Formatter<'_>, columns: &[Column], sizes: &[usize]) -> fmt::Result {
        let names = ["all", "small", "medium", "large"];
        let width: usize = columns.iter().map(|(_, width, _)| width).sum();
        write!(f, "{:<22}", "")?;
        for &size in sizes {
            write!(f, "{:>width$}", format!("{} ({})", names[size], self.metrics(0, size).queries))?;
        }
        write!(f, "\n{:<22}", "")?;
        for (title, width, _) in sizes.iter().flat_map(|_| columns) {
            write!(f, "{title:>width$}")?;
        }
        for (row, (name, _)) in self.rows.iter().enumerate() {
            write!(f, "\n{name:<22}")?;
            for metrics in sizes.iter().map(|&size| self.metrics(row, size)) {
                for (title, width, of) in columns {
                    // Only the heads' scores are probabilities: for a distance, 0.5 is not a natural threshold.
                    let is_meaningful = title != "IoU@.5" || name.starts_with("head");
                    if metrics.queries > 0 && is_meaningful {
                        write!(f, "{:>width$.3}", of(&metrics))?;
                    } else {
                        write!(f, "{:>width$}", "-")?;
                    }
                }
            }
        }
        writeln!(f, "\n")
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, kept) = (self.queries() as f64, self.kept);
        match self.task {
            Task::Point => {
                self.lines(f, &self.columns(&["AUC", "best", "(", "IoU", "coverage", "precision"]), &[0])?;
                self.lines(f, &self.columns(&["AUC", "best", "coverage"]), &[1, 2, 3])?;
            }
            Task::Allocate => self.lines(f, &self.columns(&["coverage"]), &[0, 1, 2, 3])?,
        }
        let [information, edges, participatory] = self.weights.map(|sum| sum / count);
        writeln!(
            f,
            "The balancer mixes {information:.2} information, {edges:.2} edges, {participatory:.2} participatory."
        )?;
        // Without a point, only the order of the scores is meaningful.
        if self.task == Task::Point {
            let [patches, held] = self.budget.map(|sum| sum / count);
            writeln!(
                f,
                "With 64 to 400 tokens per patch, {TOTAL_TOKENS} tokens pay for {patches:.0} patches, which hold \
                 {held:.3} of the mask."
            )?;
        }
        write!(
            f,
            "coverage@{kept}: share of the mask in the {kept} best patches. Small: below 1 % of the image; large: \
             10 % or more."
        )?;
        if self.task == Task::Point {
            write!(
                f,
                "\nPositive: a patch covered at least half as much as the most covered one. Best IoU: at the best of \
                 {} thresholds,\nthe same for all queries of a size. precision: of the best patches, as many as are \
                 positive, the share that the mask touches.",
                LEVELS - 1
            )?;
        }
        Ok(())
    }
}

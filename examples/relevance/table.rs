//! Figures of all ways to guess. Comes in: scores and answers. Goes out: a table for people, and the verdict. Cannot fail.

use std::fmt;

use super::allocate::{TOTAL, budget};
use super::args::Task;
use super::guesses::{ASKED, COLOUR_DISTANCE, EDGES, POINT_DISTANCE, TRAINED, UNASKED};
use super::lesson::{Lesson, Question};
use super::metrics::{LEVELS, Metrics, Tally, kept};
use super::model::Answers;

/// Below the first share of the image a mask is small, from the second one on it is large.
const SIZES: [f32; 2] = [0.01, 0.1];

/// Figures over the same queries.
pub(crate) struct Table {
    task: Task,
    pub(crate) images: usize,
    /// Patches that are kept.
    kept: usize,
    /// For each guess over all masks, and over small, medium and large ones.
    rows: Vec<(&'static str, [Tally; 4])>,
    /// Shares of information, edges and the participatory map that the trained head mixes, summed over queries.
    weights: [f64; 3],
    /// Patches that get tokens in a budget, and the share of the mask in them, summed over queries.
    budget: [f64; 2],
}

/// Title and width of a column, and what stands in it.
type Column = (String, usize, fn(&Metrics) -> f64);

impl Table {
    /// Without queries yet.
    pub(crate) fn new(task: Task) -> Self {
        let names: &[&str] = match task {
            Task::Point => &ASKED,
            Task::Allocate => &UNASKED,
        };
        let rows = names.iter().map(|&name| (name, [0; 4].map(|_| Tally::new()))).collect();
        Self { task, images: 0, kept: 0, rows, weights: [0.0; 3], budget: [0.0; 2] }
    }

    /// Adds a query: the scores of all guesses, and what the trained head said.
    pub(crate) fn add(&mut self, lesson: &Lesson, question: &Question, scores: &[Vec<f32>], trained: &Answers) {
        let valid = lesson.of_image(&lesson.seen.valid, question.row);
        self.kept = kept(valid.len());
        let coverage = lesson.answer(question);
        let size = 1 + SIZES.iter().filter(|&&least| question.area_fraction >= least).count();
        for ((_, tallies), scores) in self.rows.iter_mut().zip(scores) {
            let patches = (0..valid.len()).filter(|&patch| valid[patch] > 0.0).map(|p| (scores[p], coverage[p]));
            let patches: Vec<(f32, f32)> = patches.collect();
            for tally in [0, size] {
                tallies[tally].add(patches.clone(), self.kept);
            }
        }

        let at = match self.task {
            Task::Point => question.row * lesson.places + question.place,
            Task::Allocate => question.row,
        };
        self.weights.iter_mut().zip(&trained.weights[3 * at..]).for_each(|(sum, &weight)| *sum += f64::from(weight));
        let scored: Vec<f32> = scores[0].iter().zip(valid).map(|(score, valid)| score * valid).collect();
        let given = budget(&scored, TOTAL);
        let holding = |of: &dyn Fn(usize) -> f32| -> f64 {
            (0..given.len()).filter(|&patch| given[patch] > 0).map(|patch| f64::from(of(patch))).sum()
        };
        self.budget[0] += holding(&|_| 1.0);
        let mass: f64 = coverage.iter().zip(valid).map(|(share, valid)| f64::from(share * valid)).sum();
        self.budget[1] += holding(&|patch| coverage[patch]) / mass.max(1e-9);
    }

    /// Queries asked.
    pub(crate) fn queries(&self) -> usize {
        self.metrics(0, 0).queries
    }

    fn metrics(&self, row: usize, size: usize) -> Metrics {
        self.rows[row].1[size].metrics()
    }

    /// Whether the trained head is above the distances to the point and in colour, in AUC and in IoU; where nobody asks,
    /// whether it keeps more of the masks than the strongest edges do.
    pub(crate) fn is_success(&self) -> bool {
        match self.task {
            Task::Point => [POINT_DISTANCE, COLOUR_DISTANCE]
                .iter()
                .all(|distance| self.is_above(distance, |m| m.auc) && self.is_above(distance, |m| m.best_iou)),
            Task::Allocate => self.is_above(EDGES, |m| m.coverage),
        }
    }

    /// Whether a figure of the trained head is above that of a guess.
    fn is_above(&self, guess: &str, figure: fn(&Metrics) -> f64) -> bool {
        let figure = |of: &str| {
            (0..self.rows.len()).find(|&row| self.rows[row].0 == of).map(|row| figure(&self.metrics(row, 0)))
        };
        figure(TRAINED).zip(figure(guess)).is_some_and(|(trained, guess)| trained > guess)
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

    /// A line for each guess, with the columns of each size.
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
                    // A distance is no probability: a score of one half means nothing for it.
                    let has_meaning = title != "IoU@.5" || name.starts_with("head");
                    if metrics.queries > 0 && has_meaning {
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
        // Where nobody asks, only the order of scores means something.
        if self.task == Task::Point {
            let [patches, held] = self.budget.map(|sum| sum / count);
            writeln!(
                f,
                "With 64 to 400 tokens a patch, {TOTAL} tokens are enough for {patches:.0} patches, which hold {held:.3} of the mask."
            )?;
        }
        write!(
            f,
            "coverage@{kept}: share of the mask in the {kept} best patches of the image. Small: below 1 % of the image; large: from\n\
             10 % on."
        )?;
        if self.task == Task::Point {
            write!(
                f,
                " Positive: patches covered at least half as much as the best. Best IoU: one threshold for all queries,\n\
                 of {}. precision: of as many patches as are positive, the best ones, the share that the mask touches.",
                LEVELS - 1
            )?;
        }
        Ok(())
    }
}

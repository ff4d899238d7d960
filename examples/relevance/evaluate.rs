//! A head against simple guesses. Comes in: held-out lessons and the head before and after training. Goes out: a
//! [`Table`] and a few [`Example`]s to look at. Fails as loader and framework do, or if there is nothing to ask.

use std::fmt;

use super::allocate::{TOTAL, budget, top};
use super::args::Task;
use super::lesson::{Lesson, Question};
use super::metrics::{LEVELS, Metrics, Tally, kept};
use super::model::{Answers, Model, Result};
use super::rng::Rng;

/// Below the first share of the image a mask is small, from the second one on it is large.
const SIZES: [f32; 2] = [0.01, 0.1];

/// All ways to guess: the first is judged, and must be above those from `MUST_BEAT` on.
const GUESSES: [&str; 8] = [
    "head, trained",
    "head, before",
    "distance to the point",
    "colour distance",
    "edges",
    "information",
    "centre",
    "random",
];
/// Where nobody asks there is no point to be near to.
const UNASKED: [&str; 7] =
    ["head, trained", "head, before", "edges", "information", "centre", "random", "the shares themselves"];

/// One held-out query with its answers.
pub(crate) struct Example {
    /// `[3, side, side]`, RGB.
    pub(crate) image: Vec<u8>,
    pub(crate) side: usize,
    /// Patches a side.
    pub(crate) grid: usize,
    /// The patch pointed at.
    pub(crate) point: Option<usize>,
    /// Which patches are image.
    pub(crate) valid: Vec<bool>,
    /// What is wanted of each patch, 0 to 1.
    pub(crate) target: Vec<f32>,
    /// What the head says, 0 to 1.
    pub(crate) predicted: Vec<f32>,
    /// The patches that are kept.
    pub(crate) kept: Vec<bool>,
}

/// Figures of all ways to guess, over the same queries.
pub(crate) struct Table {
    pub(crate) task: Task,
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

/// Asks both heads and all simple guesses of every held-out image. Keeps the first query of `examples` images, evenly
/// spaced among `images`.
pub(crate) fn evaluate<M: Model>(
    lessons: impl Iterator<Item = Result<Lesson>>,
    task: Task,
    [trained, before]: [&M; 2],
    [images, examples]: [usize; 2],
) -> Result<(Table, Vec<Example>)> {
    let names: &[&str] = match task {
        Task::Point => &GUESSES,
        Task::Allocate => &UNASKED,
    };
    let rows = names.iter().map(|&name| (name, [0; 4].map(|_| Tally::new()))).collect();
    let mut table = Table { task, images: 0, kept: 0, rows, weights: [0.0; 3], budget: [0.0; 2] };
    let mut shown = Vec::new();
    let spacing = (images / examples.max(1)).max(1);
    for lesson in lessons {
        let lesson = lesson?;
        let [_, _, patches] = lesson.sizes();
        table.kept = kept(patches);
        let answers = [trained.answer(&lesson)?, before.answer(&lesson)?];
        let shares = if task == Task::Allocate { lesson.shares() } else { Vec::new() };
        for question in &lesson.questions {
            let scores = match task {
                Task::Point => asked(&lesson, question, &answers).to_vec(),
                Task::Allocate => unasked(&lesson, question, &answers, &shares).to_vec(),
            };
            table.add(&lesson, question, &scores, &answers[0]);
            if question.place == 0 {
                if table.images.is_multiple_of(spacing) && shown.len() < examples {
                    shown.push(Example::new(&lesson, question, &scores[0], &shares));
                }
                table.images += 1;
            }
        }
    }
    if table.images == 0 {
        return Err("no mask of the held-out shards is large enough to ask for".into());
    }
    Ok((table, shown))
}

/// The scores of [`GUESSES`] for a question, 0 to 1.
fn asked(lesson: &Lesson, question: &Question, answers: &[Answers; 2]) -> [Vec<f32>; 8] {
    let &Question { row, place, patch, .. } = question;
    let [_, places, patches] = lesson.sizes();
    let said = |answers: &Answers| {
        lesson.of_image(&answers.relevance, row * places + place).iter().copied().map(sigmoid).collect()
    };
    let grid = lesson.seen.grid;
    let color = |patch: usize| [0, 1, 2].map(|channel| texture(lesson, row, channel)[patch]);
    let near = |other: usize| 1.0 - distance(place_of(other, grid), place_of(patch, grid)) / 2_f32.sqrt();
    let alike = |other: usize| 1.0 - color_distance(color(other), color(patch));
    let [edges, information, centre, random] = unconditional(lesson, question);
    let each = |of: &dyn Fn(usize) -> f32| (0..patches).map(of).collect();
    [said(&answers[0]), said(&answers[1]), each(&near), each(&alike), edges, information, centre, random]
}

/// The scores of [`UNASKED`] for the image of a mask, 0 to 1.
fn unasked(lesson: &Lesson, question: &Question, answers: &[Answers; 2], shares: &[f32]) -> [Vec<f32>; 7] {
    let said =
        |answers: &Answers| lesson.of_image(&answers.relevance, question.row).iter().copied().map(sigmoid).collect();
    let [edges, information, centre, random] = unconditional(lesson, question);
    let shares = lesson.of_image(shares, question.row).to_vec();
    [said(&answers[0]), said(&answers[1]), edges, information, centre, random, shares]
}

/// Guesses that do not depend on what is asked: edges, information, nearness to the image's centre, random numbers.
fn unconditional(lesson: &Lesson, question: &Question) -> [Vec<f32>; 4] {
    let (row, grid, [_, _, patches]) = (question.row, lesson.seen.grid, lesson.sizes());
    let valid = lesson.of_image(&lesson.seen.valid, row);
    let [rows, columns] = [grid, 1].map(|step| (0..grid).filter(|index| valid[index * step] > 0.0).count());
    let middle = [rows, columns].map(|content| content as f32 / (2 * grid) as f32);
    let near = |patch: usize| 1.0 - distance(place_of(patch, grid), middle);
    let mut rng = Rng::new(&[patches as u64, row as u64, question.patch as u64]);
    let map = |map: &[f32]| to_unit(lesson.of_image(map, row));
    [
        map(&lesson.seen.edge),
        map(&lesson.seen.information),
        (0..patches).map(near).collect(),
        (0..patches).map(|_| rng.unit()).collect(),
    ]
}

/// A channel of an image's texture.
fn texture(lesson: &Lesson, row: usize, channel: usize) -> &[f32] {
    lesson.of_image(&lesson.seen.texture, row * super::texture::CHANNELS + channel)
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// To 0 to 1.
fn to_unit(numbers: &[f32]) -> Vec<f32> {
    let least = numbers.iter().copied().fold(f32::INFINITY, f32::min);
    let most = numbers.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    numbers.iter().map(|number| (number - least) / (most - least).max(1e-6)).collect()
}

/// y and x of a patch's centre, where the canvas has side 1.
fn place_of(patch: usize, grid: usize) -> [f32; 2] {
    [patch / grid, patch % grid].map(|index| (index as f32 + 0.5) / grid as f32)
}

fn distance(a: [f32; 2], b: [f32; 2]) -> f32 {
    (a[0] - b[0]).hypot(a[1] - b[1])
}

/// Between two RGB colours, as a share of the distance from black to white.
fn color_distance(a: [f32; 3], b: [f32; 3]) -> f32 {
    (a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f32>() / 3.0).sqrt()
}

impl Example {
    fn new(lesson: &Lesson, question: &Question, scores: &[f32], shares: &[f32]) -> Self {
        let valid: Vec<bool> = lesson.of_image(&lesson.seen.valid, question.row).iter().map(|&v| v > 0.0).collect();
        let possible: Vec<f32> = scores.iter().zip(&valid).map(|(&s, &valid)| if valid { s } else { -1.0 }).collect();
        let mut is_kept = vec![false; valid.len()];
        top(&possible, kept(valid.len())).into_iter().for_each(|patch| is_kept[patch] = valid[patch]);
        let bytes = 3 * lesson.side * lesson.side;
        let asked = shares.is_empty();
        Self {
            image: lesson.images[question.row * bytes..(question.row + 1) * bytes].to_vec(),
            side: lesson.side,
            grid: lesson.seen.grid,
            point: asked.then_some(question.patch),
            valid,
            // Shares are small numbers.
            target: if asked {
                lesson.answer(question).to_vec()
            } else {
                to_unit(lesson.of_image(shares, question.row))
            },
            predicted: if asked { scores.to_vec() } else { to_unit(scores) },
            kept: is_kept,
        }
    }
}

impl Table {
    fn add(&mut self, lesson: &Lesson, question: &Question, scores: &[Vec<f32>], trained: &Answers) {
        let valid = lesson.of_image(&lesson.seen.valid, question.row);
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
        let trained = self.metrics(0, 0);
        match self.task {
            Task::Point => [2, 3]
                .map(|row| self.metrics(row, 0))
                .iter()
                .all(|distance| trained.auc > distance.auc && trained.best_iou > distance.best_iou),
            Task::Allocate => trained.coverage > self.metrics(2, 0).coverage,
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.queries() as f64;
        let kept = format!("coverage@{}", self.kept);
        if self.task == Task::Point {
            writeln!(
                f,
                "{:<22}{:>7}{:>10}{:>12}{:>9}{:>14}{:>11}",
                "", "AUC", "best IoU", "(threshold)", "IoU@.5", kept, "precision"
            )?;
            for (row, (name, _)) in self.rows.iter().enumerate() {
                let Metrics { auc, best_iou, threshold, iou_at_half, coverage, precision, .. } = self.metrics(row, 0);
                // A distance is no probability: a score of one half means nothing for it.
                let half = if name.starts_with("head") { format!("{iou_at_half:.3}") } else { "-".to_owned() };
                writeln!(
                    f,
                    "{name:<22}{auc:>7.3}{best_iou:>10.3}{threshold:>12.3}{half:>9}{coverage:>14.3}{precision:>11.3}"
                )?;
            }
            writeln!(f)?;
        }

        let sizes = [1, 2, 3].map(|size| self.metrics(0, size).queries);
        let [small, medium, large] = sizes;
        let titles = [format!("small ({small})"), format!("medium ({medium})"), format!("large ({large})")];
        let columns = if self.task == Task::Point { vec!["AUC", "IoU", &kept] } else { vec![kept.as_str()] };
        let all = if self.task == Task::Point { "" } else { "all" };
        write!(f, "{:<22}", "by size of the mask")?;
        if !all.is_empty() {
            write!(f, "{all:>16}")?;
        }
        for title in titles {
            write!(f, "{title:>0$}", if self.task == Task::Point { 30 } else { 16 })?;
        }
        write!(f, "\n{:<22}", "")?;
        for _ in 0..if all.is_empty() { 3 } else { 4 } {
            match columns.as_slice() {
                [auc, iou, kept] => write!(f, "{auc:>8}{iou:>8}{kept:>14}")?,
                _ => write!(f, "{kept:>16}")?,
            }
        }
        writeln!(f)?;
        for (row, (name, _)) in self.rows.iter().enumerate() {
            write!(f, "{name:<22}")?;
            for size in if all.is_empty() { 1..4 } else { 0..4 } {
                let Metrics { queries, auc, best_iou, coverage, .. } = self.metrics(row, size);
                match (self.task, queries) {
                    (Task::Point, 0) => write!(f, "{:>8}{:>8}{:>14}", "-", "-", "-")?,
                    (Task::Point, _) => write!(f, "{auc:>8.3}{best_iou:>8.3}{coverage:>14.3}")?,
                    (Task::Allocate, 0) => write!(f, "{:>16}", "-")?,
                    (Task::Allocate, _) => write!(f, "{coverage:>16.3}")?,
                }
            }
            writeln!(f)?;
        }

        let [information, edges, participatory] = self.weights.map(|sum| sum / count);
        let [patches, held] = self.budget.map(|sum| sum / count);
        write!(
            f,
            "\nThe balancer mixes {information:.2} information, {edges:.2} edges, {participatory:.2} participatory. With 64 to 400 tokens a patch,\n\
             {TOTAL} tokens are enough for {patches:.0} patches, which hold {held:.3} of the mask.\n\
             Positive: patches covered at least half as much as the best. Best IoU: one threshold for all queries, of {}.\n\
             coverage@{}: share of the mask in the {} best patches of the image. precision: of as many patches as are positive,\n\
             the best ones, the share that the mask touches. Small: below 1 % of the image; large: from 10 % on.",
            LEVELS - 1,
            self.kept,
            self.kept
        )
    }
}

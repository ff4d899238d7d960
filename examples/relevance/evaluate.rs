//! A head against simple guesses. Comes in: held-out lessons and the head before and after training. Goes out: a
//! [`Table`] and a few [`Example`]s to look at. Fails as loader and framework do, or if there is nothing to ask.

use super::allocate::top;
use super::args::Task;
use super::guesses::{asked, to_unit, unasked};
use super::lesson::{Lesson, Question};
use super::metrics::kept;
use super::model::{Model, Result};
use super::table::Table;

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

/// Asks both heads and all simple guesses of every held-out image. Keeps the first query of `examples` images, evenly
/// spaced among `images`.
pub(crate) fn evaluate<M: Model>(
    lessons: impl Iterator<Item = Result<Lesson>>,
    task: Task,
    [trained, before]: [&M; 2],
    [images, examples]: [usize; 2],
) -> Result<(Table, Vec<Example>)> {
    let (mut table, mut shown) = (Table::new(task), Vec::new());
    let spacing = (images / examples.max(1)).max(1);
    for lesson in lessons {
        let lesson = lesson?;
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

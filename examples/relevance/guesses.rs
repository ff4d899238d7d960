//! All ways to guess. Comes in: a question, and what heads say. Goes out: a score for each patch, 0 to 1, by each guess.
//! Cannot fail.

use super::lesson::{Lesson, Question};
use super::model::Answers;
use super::rng::Rng;
use super::texture::CHANNELS;

/// The guess that is judged, and those that it is judged by: where somebody asks, the two distances; else the edges.
pub(crate) const TRAINED: &str = "head, trained";
pub(crate) const POINT_DISTANCE: &str = "distance to the point";
pub(crate) const COLOUR_DISTANCE: &str = "colour distance";
pub(crate) const EDGES: &str = "edges";

/// What is guessed where somebody asks.
pub(crate) const ASKED: [&str; 8] =
    [TRAINED, "head, before", POINT_DISTANCE, COLOUR_DISTANCE, EDGES, "information", "centre", "random"];
/// Where nobody asks there is no point to be near to.
pub(crate) const UNASKED: [&str; 7] =
    [TRAINED, "head, before", EDGES, "information", "centre", "random", "the shares themselves"];

/// The scores of [`ASKED`] for a question, 0 to 1.
pub(crate) fn asked(lesson: &Lesson, question: &Question, answers: &[Answers; 2]) -> [Vec<f32>; 8] {
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
pub(crate) fn unasked(lesson: &Lesson, question: &Question, answers: &[Answers; 2], shares: &[f32]) -> [Vec<f32>; 7] {
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
    lesson.of_image(&lesson.seen.texture, row * CHANNELS + channel)
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// To 0 to 1.
pub(crate) fn to_unit(numbers: &[f32]) -> Vec<f32> {
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

//! The curve of a score: how many images and masks each threshold keeps.

use serde::Serialize;

use super::number::share;

/// Steps of the thresholds, and the highest one, in thousandths.
const STEP: usize = 5;
const HIGHEST: usize = 1100;

/// Counts of masks and images by the highest threshold that they reach.
#[derive(Clone, Debug)]
pub(super) struct Curve {
    /// Ascending.
    thresholds: Vec<f32>,
    /// By the number of thresholds reached.
    masks: Vec<u64>,
    images: Vec<u64>,
    /// All images, those without a mask too.
    all_images: u64,
}

/// What a threshold keeps.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Point {
    /// `null`: no threshold; also keeps masks without a score.
    pub(super) threshold: Option<f32>,
    /// Images with at least one mask left.
    pub(super) images: u64,
    pub(super) masks: u64,
    /// Of all images and of all masks.
    pub(super) image_share: f64,
    pub(super) mask_share: f64,
}

impl Curve {
    /// Thresholds from 0 to 1.1 in steps of 0.005, and the one that the user has chosen.
    pub(super) fn new(chosen: f32) -> Self {
        let mut thresholds: Vec<f32> = (0..=HIGHEST).step_by(STEP).map(|n| (n as f64 / 1000.0) as f32).collect();
        thresholds.extend(Some(chosen).filter(|chosen| chosen.is_finite()));
        thresholds.sort_by(f32::total_cmp);
        thresholds.dedup();
        let counts = vec![0; thresholds.len() + 1];
        Self { thresholds, masks: counts.clone(), images: counts, all_images: 0 }
    }

    /// Adds the scores of an image's masks.
    pub(super) fn add(&mut self, scores: impl Iterator<Item = f32>) {
        self.all_images += 1;
        let mut best = None;
        for score in scores {
            let reached = self.reached(score);
            self.masks[reached] += 1;
            best = best.max(Some(reached));
        }
        if let Some(best) = best {
            self.images[best] += 1;
        }
    }

    /// The number of thresholds that a score reaches; a missing score, NaN, reaches none.
    fn reached(&self, score: f32) -> usize {
        // Near the result, because the thresholds are evenly spaced.
        let mut reached = ((score * (1000.0 / STEP as f32)) as usize).min(self.thresholds.len());
        while self.thresholds.get(reached).is_some_and(|threshold| *threshold <= score) {
            reached += 1;
        }
        while reached > 0 && self.thresholds[reached - 1] > score {
            reached -= 1;
        }
        reached
    }

    pub(super) fn merge(&mut self, other: &Self) {
        let add = |sums: &mut [u64], more: &[u64]| sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
        add(&mut self.masks, &other.masks);
        add(&mut self.images, &other.images);
        self.all_images += other.all_images;
    }

    /// No threshold first, then ascending thresholds. Shares are of `all_masks` and of all images.
    pub(super) fn points(&self, all_masks: u64) -> Vec<Point> {
        let (mut images, mut masks) = (0, 0);
        let mut points: Vec<Point> = (0..=self.thresholds.len())
            .rev()
            .map(|reached| {
                images += self.images[reached];
                masks += self.masks[reached];
                Point {
                    threshold: reached.checked_sub(1).map(|at| self.thresholds[at]),
                    images,
                    masks,
                    image_share: share(images, self.all_images),
                    mask_share: share(masks, all_masks),
                }
            })
            .collect();
        points.reverse();
        points
    }
}

/// The part of a curve that is worth showing: from the last threshold that keeps what none keeps, to the first that
/// keeps nothing.
pub(super) fn worth_showing(points: &[Point]) -> &[Point] {
    let Some(all) = points.first().map(|point| point.masks) else { return points };
    let first = points.iter().rposition(|point| point.masks == all).unwrap_or(0);
    let last = points.iter().position(|point| point.masks == 0).unwrap_or(points.len() - 1);
    // Without masks, all thresholds are alike.
    if first < last { &points[first..=last] } else { &points[..1] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_reaches_the_thresholds_that_are_not_above_it() {
        for chosen in [f32::NEG_INFINITY, -2.5, 0.88, 0.8812, 7.0] {
            let curve = Curve::new(chosen);
            let near = (0..1200_u16).map(|n| f32::from(n) / 1000.0).flat_map(|at| [at.next_down(), at, at.next_up()]);
            for score in near.chain([f32::NAN, -3.0, 8.0, f32::MAX, f32::MIN]) {
                let expected = curve.thresholds.iter().filter(|threshold| **threshold <= score).count();
                assert_eq!(curve.reached(score), expected, "{score}");
            }
        }
    }
}

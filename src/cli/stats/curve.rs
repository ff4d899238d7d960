//! The curve of a score: how many images and masks each threshold keeps.

use serde::Serialize;

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
            // A missing score, NaN, reaches none.
            let reached = self.thresholds.partition_point(|threshold| *threshold <= score);
            self.masks[reached] += 1;
            best = best.max(Some(reached));
        }
        if let Some(best) = best {
            self.images[best] += 1;
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        let add = |sums: &mut [u64], more: &[u64]| sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
        add(&mut self.masks, &other.masks);
        add(&mut self.images, &other.images);
        self.all_images += other.all_images;
    }

    /// No threshold first, then ascending thresholds. Shares are of `all_masks` and of all images.
    pub(super) fn points(&self, all_masks: u64) -> Vec<Point> {
        let share = |part: u64, all: u64| if all == 0 { 0.0 } else { part as f64 / all as f64 };
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

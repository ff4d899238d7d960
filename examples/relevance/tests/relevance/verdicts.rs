//! Verdicts: intervals of differences against those of the normal distribution, and how often chance is called success.

use relevance::metrics::{MetricSums, Metrics};
use relevance::rng::Rng;
use relevance::verdict::{Baseline, LEVELS, MIN_IMAGES, NamedMetric, Verdict};

const METRIC: NamedMetric = ("coverage", |m: &Metrics| m.coverage);

/// The verdict on a head and a baseline that have these values of coverage on each image.
fn verdict(images: &[[f64; 2]]) -> Verdict {
    // Of two patches, the better one has this share of the mask.
    let sums = |share: f64| {
        let mut sums = MetricSums::new(LEVELS);
        sums.add(vec![(0.9, share as f32), (0.1, 1.0 - share as f32)], 1);
        sums
    };
    let all: Vec<Vec<MetricSums>> = images.iter().map(|pair| pair.map(sums).to_vec()).collect();
    let mean = images.iter().map(|[head, baseline]| head - baseline).sum::<f64>() / images.len() as f64;
    let edges = Baseline { name: "edges", must_be_beaten: true };
    Verdict::new(&all, &[edges], &[METRIC], |_, _| mean)
}

/// About normal: the mean of twelve numbers, with a standard deviation of 1 / 12.
fn draw(rng: &mut Rng) -> f64 {
    (0..12).map(|_| f64::from(rng.unit())).sum::<f64>() / 12.0
}

#[test]
fn the_interval_of_many_images_is_that_of_the_normal_distribution() {
    let mut rng = Rng::new(&[1]);
    let images: Vec<[f64; 2]> = (0..300).map(|_| [0.1 + 0.5 * draw(&mut rng), 0.5 * draw(&mut rng)]).collect();
    let verdict = verdict(&images);
    let differences: Vec<f64> = images.iter().map(|[head, baseline]| head - baseline).collect();
    let mean = differences.iter().sum::<f64>() / 300.0;
    let variance = differences.iter().map(|difference| (difference - mean).powi(2)).sum::<f64>() / 299.0;
    let [low, high] = verdict.differences[0].interval;
    let reach = 1.96 * (variance / 300.0).sqrt();
    for (found, expected) in [(low, mean - reach), (high, mean + reach)] {
        assert!((found - expected).abs() < 0.1 * reach, "{low} {high}, {mean} +- {reach}");
    }
    assert!(verdict.is_success());
    assert_eq!(verdict.images, 300);
}

#[test]
fn images_differ_more_than_methods_without_harm() {
    // Both are good on the same images, and the head is a little better on each.
    let mut rng = Rng::new(&[2]);
    let images: Vec<[f64; 2]> =
        (0..20).map(|_| f64::from(rng.unit()) * 0.9).map(|share| [share + 0.01, share]).collect();
    let verdict = verdict(&images);
    assert!(verdict.is_success(), "{verdict}");
    assert!(verdict.differences[0].interval.iter().all(|end| (end - 0.01).abs() < 1e-6), "{verdict}");
}

#[test]
fn a_head_that_is_no_better_is_rarely_called_better() {
    let mut successes = 0;
    for seed in 0..100 {
        let mut rng = Rng::new(&[3, seed]);
        let images: Vec<[f64; 2]> = (0..28).map(|_| [draw(&mut rng), draw(&mut rng)]).collect();
        let verdict = verdict(&images);
        successes += usize::from(verdict.is_success());
        assert_eq!(verdict.is_success(), verdict.doubt().is_none());
        if verdict.differences[0].value < 0.0 {
            assert!(!verdict.is_success());
        }
    }
    // 2.5 % are expected: more than eight of a hundred would happen once in five hundred runs.
    assert!(successes <= 8, "{successes}");
}

#[test]
fn a_head_that_is_worse_is_called_worse_and_one_that_may_be_either_is_not() {
    let worse = verdict(&[[0.2, 0.5]; 20]).doubt().unwrap();
    assert!(worse.contains("\"edges\" is better in coverage"), "{worse}");
    let images: Vec<[f64; 2]> = (0..20).map(|i| [if i % 2 == 0 { 0.2 } else { 0.6 }, 0.4]).collect();
    let either = verdict(&images).doubt().unwrap();
    assert!(
        either.contains("do not tell it from \"edges\" in coverage") && either.contains("more held-out images"),
        "{either}"
    );
}

#[test]
fn few_images_are_no_evidence() {
    let images = |count: usize| vec![[0.9, 0.1]; count];
    let few = verdict(&images(MIN_IMAGES - 1));
    assert!(!few.is_success() && few.doubt().unwrap().contains("too few"), "{few}");
    assert!(verdict(&images(MIN_IMAGES)).is_success());
}

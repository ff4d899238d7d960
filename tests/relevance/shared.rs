//! What the examples share around the head: questions, metrics, first weights, against plain arithmetic.

use std::collections::BTreeSet;

use clap::Parser;
use maskstream::synth::{Preset, SynthOptions, write_shard};
use maskstream::{Batch, CoordFrame, Loader, LoaderBuilder, ShardSet};

use crate::relevance::args::{Args, Settings};
use crate::relevance::initial::initial;
use crate::relevance::lesson::{Ask, Fields, Lesson, MIN_PATCHES, PointAt};
use crate::relevance::metrics::{LEVELS, Tally};
use crate::relevance::rng::Rng;

pub(crate) fn settings(args: &[&str]) -> Settings {
    Args::parse_from(["finetune"].iter().chain(args)).settings().unwrap()
}

fn options(settings: &Settings) -> LoaderBuilder {
    let options = Loader::builder().batch_size(6).image_size(settings.image_size).fit(settings.fit()).top_k(20);
    options.coverage(Some(settings.grid)).mask_size(None).coord_frame(CoordFrame::Canvas)
}

fn batches(settings: &Settings) -> Vec<Batch> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sa_000000.tar");
    write_shard(&path, 0, &SynthOptions::new(Preset::Small).samples(9)).unwrap();
    let loader = options(settings).build(ShardSet::builder().open(&[path]).unwrap()).unwrap();
    loader.epoch(3).unwrap().map(Result::unwrap).collect()
}

fn fields(batch: &Batch) -> Fields {
    Fields {
        images: batch.images().values::<u8>().unwrap().to_vec(),
        coverage: batch.coverage().unwrap().to_vec(),
        valid: batch.valid().to_vec(),
        predicted_iou: batch.predicted_iou().to_vec(),
        area: batch.area().to_vec(),
        points: batch.points().to_vec(),
        image_ids: batch.image_ids().to_vec(),
        annotation_ids: batch.annotation_ids().to_vec(),
        original_sizes: batch.original_sizes().to_vec(),
        geometry: batch.geometry().to_vec(),
        samples: 0,
        epoch: batch.epoch(),
        cursor: None,
    }
}

#[test]
fn values_that_do_not_fit_together_are_refused_by_name() {
    for (name, value) in [("--image-size", "100"), ("--queries", "25"), ("--context", "2"), ("--lr", "0")] {
        let error = Args::parse_from(["finetune", name, value]).settings().err().map(|error| error.to_string());
        assert!(error.as_ref().is_some_and(|error| error.contains(&format!("{name} {value} is not"))), "{error:?}");
    }
}

#[test]
fn questions_point_into_masks_that_are_large_enough_and_ask_for_none_twice() {
    let settings = settings(&["--queries", "5"]);
    let batches = batches(&settings);
    let (mut asked, mut prompted) = (0, 0);
    for (batch, point_at) in batches.iter().flat_map(|b| [(b, PointAt::Random { seed: 1 }), (b, PointAt::Prompt)]) {
        let lesson = Lesson::new(fields(batch), &Ask { settings, point_at });
        let [images, places, patches] = lesson.sizes();
        assert_eq!((images, places, patches), (6, 5, 1024));
        // What is image is what the loader says.
        let valid: Vec<f32> = batch.patch_valid().unwrap().iter().map(|&valid| f32::from(valid)).collect();
        assert_eq!(lesson.seen.valid, valid);

        let masks = batch.valid().len() / images;
        let of = |mask: usize| &batch.coverage().unwrap()[mask * patches..(mask + 1) * patches];
        let inside = |mask: usize| -> Vec<f32> {
            of(mask).iter().zip(&valid[mask / masks * patches..]).map(|(share, valid)| share * valid).collect()
        };
        let (mut seen, mut filled) = (BTreeSet::new(), BTreeSet::new());
        for question in &lesson.questions {
            let at = question.row * places + question.place;
            let row = question.row * masks..(question.row + 1) * masks;
            let mask =
                row.clone().find(|&mask| batch.valid()[mask] == 1 && of(mask) == lesson.answer(question)).unwrap();
            assert!(seen.insert(mask) && filled.insert(at));
            let inside = inside(mask);
            let most = inside.iter().copied().fold(0.0, f32::max);
            assert!(inside.iter().sum::<f32>() >= MIN_PATCHES && inside[question.patch] >= most.min(0.5));
            assert_eq!(lesson.query_patch[at] as usize, question.patch);
            let [x, y] = [0, 1].map(|axis| (batch.points()[2 * mask + axis] * 32.0) as usize);
            if matches!(point_at, PointAt::Prompt) && inside[y * 32 + x] >= most.min(0.5) {
                assert_eq!(question.patch, y * 32 + x);
                prompted += 1;
            }
            assert_eq!(lesson.confidence[at], batch.predicted_iou()[mask].clamp(0.0, 1.0));
            let size = &batch.original_sizes()[2 * question.row..];
            let fraction = batch.area()[mask] / (size[0] * size[1]) as f32;
            assert!((question.area_fraction - fraction).abs() <= 1e-6 * fraction);
            asked += 1;
        }
        for row in 0..images {
            let masks = row * masks..(row + 1) * masks;
            let large =
                masks.filter(|&mask| batch.valid()[mask] == 1 && inside(mask).iter().sum::<f32>() >= MIN_PATCHES);
            assert_eq!(
                lesson.questions.iter().filter(|question| question.row == row).count(),
                large.count().min(places)
            );
        }
        let empty = (0..images * places).filter(|at| !filled.contains(at));
        assert!(empty.into_iter().all(|at| lesson.confidence[at] == 0.0));
    }
    // On few borders only is another patch better than that of the prompt.
    assert!(asked > 50 && 2 * prompted > asked * 8 / 10, "{asked}, {prompted}");
}

#[test]
fn an_evaluation_asks_the_same_whatever_the_seed_and_training_does_not() {
    let asked = |seed: &str, point_at| -> Vec<(usize, usize, Vec<f32>)> {
        let settings = settings(&["--seed", seed]);
        let batches = batches(&settings);
        let lesson = Lesson::new(fields(&batches[0]), &Ask { settings, point_at });
        lesson
            .questions
            .iter()
            .map(|question| (question.row, question.patch, lesson.answer(question).to_vec()))
            .collect()
    };
    assert_eq!(asked("1", PointAt::Prompt), asked("2", PointAt::Prompt));
    let random = |seed| asked("1", PointAt::Random { seed });
    assert_eq!(random(1), random(1));
    assert_ne!(random(1), random(2));
}

#[test]
fn where_nobody_asks_every_mask_brings_as_much_as_its_confidence() {
    let settings = settings(&["--task", "allocate"]);
    for batch in batches(&settings) {
        let lesson = Lesson::new(fields(&batch), &Ask { settings, point_at: PointAt::Prompt });
        let [images, _, patches] = lesson.sizes();
        let mut expected = vec![0.0_f64; images * patches];
        let masks = batch.valid().len() / images;
        for mask in (0..batch.valid().len()).filter(|&mask| batch.valid()[mask] == 1) {
            let (row, coverage) = (mask / masks, &batch.coverage().unwrap()[mask * patches..(mask + 1) * patches]);
            let is_valid = |patch: usize| batch.patch_valid().unwrap()[row * patches + patch] == 1;
            let inside: f64 = (0..patches).filter(|&p| is_valid(p)).map(|p| f64::from(coverage[p])).sum();
            let confidence = f64::from(batch.predicted_iou()[mask].clamp(0.0, 1.0));
            for patch in (0..patches).filter(|&patch| is_valid(patch) && inside > 0.0) {
                expected[row * patches + patch] += confidence * f64::from(coverage[patch]) / inside;
            }
        }
        for (found, expected) in lesson.shares().chunks_exact(patches).zip(expected.chunks_exact(patches)) {
            let sum: f64 = expected.iter().sum();
            for (found, expected) in found.iter().zip(expected) {
                let expected = expected / sum.max(1e-9);
                assert!((f64::from(*found) - expected).abs() < 1e-5 * expected.max(1e-3), "{found}, {expected}");
            }
        }
    }
}

#[test]
fn metrics_are_what_counting_pairs_and_patches_gives() {
    let mut rng = Rng::new(&[5]);
    for ties in [4.0, 1000.0] {
        let (mut tally, mut auc, mut iou, mut kept, mut touched) = (Tally::new(), 0.0, vec![0.0; LEVELS], 0.0, 0.0);
        for _ in 0..20 {
            let mut draw = || ((rng.unit() * ties).floor() / ties, (rng.unit() * 2.0 - 1.0).max(0.0));
            let patches: Vec<(f32, f32)> = (0..60).map(|_| draw()).collect();
            let most = patches.iter().map(|patch| patch.1).fold(0.0, f32::max);
            let is_inside = |patch: &&(f32, f32)| patch.1 >= most / 2.0;
            let inside: Vec<&(f32, f32)> = patches.iter().filter(is_inside).collect();
            let outside: Vec<&(f32, f32)> = patches.iter().filter(|patch| !is_inside(patch)).collect();
            let pairs = inside.iter().flat_map(|a| outside.iter().map(move |b| a.0.partial_cmp(&b.0).unwrap() as i32));
            auc += pairs.map(|order| f64::from(order + 1) / 2.0).sum::<f64>() / (inside.len() * outside.len()) as f64;
            for (level, iou) in iou.iter_mut().enumerate() {
                let above = |patch: &&&(f32, f32)| patch.0 >= level as f32 / LEVELS as f32;
                let (hits, misses) = (inside.iter().filter(above).count(), outside.iter().filter(above).count());
                *iou += hits as f64 / (inside.len() + misses) as f64;
            }
            let mut best = patches.clone();
            best.sort_by(|a, b| b.0.total_cmp(&a.0));
            let sum = |patches: &[(f32, f32)]| patches.iter().map(|patch| f64::from(patch.1)).sum::<f64>();
            kept += sum(&best[..10]) / sum(&best);
            let first = &best[..inside.len()];
            touched += first.iter().filter(|patch| patch.1 > 0.0).count() as f64 / first.len() as f64;
            tally.add(patches, 10);
        }
        let metrics = tally.metrics();
        let best = iou.iter().skip(1).copied().fold(0.0, f64::max);
        assert_eq!(metrics.queries, 20);
        let pairs = [
            (metrics.auc, auc),
            (metrics.best_iou, best),
            (metrics.iou_at_half, iou[LEVELS / 2]),
            (metrics.coverage, kept),
            (metrics.precision, touched),
        ];
        for (found, expected) in pairs {
            assert!((found - expected / 20.0).abs() < 1e-9, "{ties}: {found}, {}", expected / 20.0);
        }
        assert!((iou[(metrics.threshold * LEVELS as f64).round() as usize] - best).abs() < 1e-9);
    }
}

#[test]
fn first_weights_follow_from_the_seed_and_the_name_alone() {
    let shapes = |names: &[&str]| -> Vec<(String, Vec<usize>)> {
        names
            .iter()
            .map(|name| (name.to_string(), if name.ends_with("weight") { vec![8, 16] } else { vec![8] }))
            .collect()
    };
    let all = initial(&shapes(&["a.weight", "a.bias", "b.weight", "b.bias"]), 7);
    let fewer = initial(&shapes(&["b.weight", "b.bias"]), 7);
    assert_eq!((&all["b.weight"], &all["b.bias"]), (&fewer["b.weight"], &fewer["b.bias"]));
    assert_ne!(all, initial(&shapes(&["a.weight", "a.bias", "b.weight", "b.bias"]), 8));
    assert_ne!(all["a.weight"].values, all["b.weight"].values);
    // As PyTorch's layers: even between plus and minus one over the root of 16 inputs.
    let values: Vec<f32> = all.values().flat_map(|array| &array.values).copied().collect();
    assert!(values.iter().all(|value| value.abs() <= 0.25));
    assert!(values.iter().any(|&value| value > 0.2) && values.iter().any(|&value| value < -0.2));
    assert!((values.iter().sum::<f32>() / values.len() as f32).abs() < 0.03);
}

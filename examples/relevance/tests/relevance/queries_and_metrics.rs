//! The parts without a framework: arguments, queries, targets, metrics and initial weights, against plain arithmetic.

use std::collections::BTreeSet;

use clap::Parser;
use maskstream::synth::{Preset, SynthOptions, write_shard};
use maskstream::{Batch, CoordFrame, Loader, LoaderBuilder, ShardSet};

use relevance::args::{Args, Settings};
use relevance::init::init_weights;
use relevance::metrics::{LEVELS, MetricSums};
use relevance::query::{MIN_PATCHES, PointSampler, QuerySampler};
use relevance::rng::Rng;
use relevance::training_batch::{BatchFields, TrainingBatch};

pub(crate) fn settings(args: &[&str]) -> Settings {
    Args::parse_from(["finetune"].iter().chain(args)).settings().unwrap()
}

fn options(settings: &Settings) -> LoaderBuilder {
    let options = Loader::builder().batch_size(6).image_size(settings.image_size).fit(settings.fit()).top_k(20);
    options.coverage(settings.grid).mask_size(None).coord_frame(CoordFrame::Canvas).augment(settings.augment())
}

fn batches(settings: &Settings) -> Vec<Batch> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sa_000000.tar");
    write_shard(&path, 0, &SynthOptions::new(Preset::Small).samples(9)).unwrap();
    let loader = options(settings).build(ShardSet::builder().open(&[path]).unwrap()).unwrap();
    loader.epoch(3).unwrap().map(Result::unwrap).collect()
}

fn fields(batch: &Batch) -> BatchFields {
    BatchFields {
        images: batch.images().values::<u8>().unwrap().to_vec(),
        coverage: batch.coverage().unwrap().to_vec(),
        valid: batch.valid().to_vec(),
        predicted_iou: batch.predicted_iou().to_vec(),
        area: batch.area().to_vec(),
        points: batch.points().to_vec(),
        image_ids: batch.image_ids().to_vec(),
        annotation_ids: batch.annotation_ids().to_vec(),
        original_sizes: batch.original_sizes().to_vec(),
        crops: batch.crops().to_vec(),
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
fn queries_point_into_masks_that_are_large_enough_and_never_repeat_one() {
    for augment in ["none", "sam", "lsj", "resized-crop"] {
        check_queries(settings(&["--queries", "5", "--augment", augment]));
    }
}

fn check_queries(settings: Settings) {
    let batches = batches(&settings);
    let (mut count, mut prompted) = (0, 0);
    for (batch, points) in
        batches.iter().flat_map(|b| [(b, PointSampler::Random { seed: 1 }), (b, PointSampler::Annotated)])
    {
        let training = TrainingBatch::new(fields(batch), &QuerySampler { settings, points });
        let [images, slots, patches] = training.dims();
        assert_eq!((images, slots, patches), (6, 5, 1024));
        // Valid are the patches that the loader marks as valid.
        let valid: Vec<f32> = batch.patch_valid().unwrap().iter().map(|&valid| f32::from(valid)).collect();
        assert_eq!(training.patches.valid, valid);

        let masks = batch.valid().len() / images;
        let of = |mask: usize| &batch.coverage().unwrap()[mask * patches..(mask + 1) * patches];
        let inside = |mask: usize| -> Vec<f32> {
            of(mask).iter().zip(&valid[mask / masks * patches..]).map(|(share, valid)| share * valid).collect()
        };
        let (mut seen, mut filled) = (BTreeSet::new(), BTreeSet::new());
        for query in &training.queries {
            let at = query.row * slots + query.slot;
            let row = query.row * masks..(query.row + 1) * masks;
            let mask =
                row.clone().find(|&mask| batch.valid()[mask] == 1 && of(mask) == training.target(query)).unwrap();
            assert!(seen.insert(mask) && filled.insert(at));
            let inside = inside(mask);
            let most = inside.iter().copied().fold(0.0, f32::max);
            assert!(inside.iter().sum::<f32>() >= MIN_PATCHES && inside[query.patch] >= most.min(0.5));
            assert_eq!(training.query_patch[at] as usize, query.patch);
            let [x, y] = [0, 1].map(|axis| (batch.points()[2 * mask + axis] * 32.0) as usize);
            if matches!(points, PointSampler::Annotated) && inside[y * 32 + x] >= most.min(0.5) {
                assert_eq!(query.patch, y * 32 + x);
                prompted += 1;
            }
            assert_eq!(training.confidence[at], batch.predicted_iou()[mask].clamp(0.0, 1.0));
            let size = &batch.original_sizes()[2 * query.row..];
            let fraction = batch.area()[mask] / (size[0] * size[1]) as f32;
            assert!((query.area_fraction - fraction).abs() <= 1e-6 * fraction);
            count += 1;
        }
        for row in 0..images {
            let masks = row * masks..(row + 1) * masks;
            let large =
                masks.filter(|&mask| batch.valid()[mask] == 1 && inside(mask).iter().sum::<f32>() >= MIN_PATCHES);
            assert_eq!(training.queries.iter().filter(|query| query.row == row).count(), large.count().min(slots));
        }
        let empty = (0..images * slots).filter(|at| !filled.contains(at));
        assert!(empty.into_iter().all(|at| training.confidence[at] == 0.0));
    }
    // For most queries the annotated point lies in a patch that is clearly inside.
    assert!(count > 50 && 2 * prompted > count * 8 / 10, "{count}, {prompted}");
}

#[test]
fn evaluation_queries_do_not_depend_on_the_seed_and_training_queries_do() {
    let queries = |seed: &str, points| -> Vec<(usize, usize, Vec<f32>)> {
        let settings = settings(&["--seed", seed]);
        let batches = batches(&settings);
        let training = TrainingBatch::new(fields(&batches[0]), &QuerySampler { settings, points });
        training.queries.iter().map(|query| (query.row, query.patch, training.target(query).to_vec())).collect()
    };
    assert_eq!(queries("1", PointSampler::Annotated), queries("2", PointSampler::Annotated));
    let random = |seed| queries("1", PointSampler::Random { seed });
    assert_eq!(random(1), random(1));
    assert_ne!(random(1), random(2));
}

#[test]
fn every_mask_contributes_its_confidence_to_the_allocation_targets() {
    let settings = settings(&["--task", "allocate"]);
    for batch in batches(&settings) {
        let training = TrainingBatch::new(fields(&batch), &QuerySampler { settings, points: PointSampler::Annotated });
        let [images, _, patches] = training.dims();
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
        let targets = training.allocation_targets();
        for (found, expected) in targets.chunks_exact(patches).zip(expected.chunks_exact(patches)) {
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
        let (mut sums, mut auc, mut iou, mut kept, mut touched) =
            (MetricSums::new(LEVELS), 0.0, vec![0.0; LEVELS], 0.0, 0.0);
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
            sums.add(patches, 10);
        }
        let metrics = sums.metrics();
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
fn initial_weights_depend_on_the_seed_and_the_name_alone() {
    let shapes = |names: &[&str]| -> Vec<(String, Vec<usize>)> {
        names
            .iter()
            .map(|name| (name.to_string(), if name.ends_with("weight") { vec![8, 16] } else { vec![8] }))
            .collect()
    };
    let all = init_weights(&shapes(&["a.weight", "a.bias", "b.weight", "b.bias"]), 7);
    let fewer = init_weights(&shapes(&["b.weight", "b.bias"]), 7);
    assert_eq!((&all["b.weight"], &all["b.bias"]), (&fewer["b.weight"], &fewer["b.bias"]));
    assert_ne!(all, init_weights(&shapes(&["a.weight", "a.bias", "b.weight", "b.bias"]), 8));
    assert_ne!(all["a.weight"].values, all["b.weight"].values);
    // As in PyTorch's layers: uniform within plus and minus 1 / sqrt(16 inputs).
    let values: Vec<f32> = all.values().flat_map(|array| &array.values).copied().collect();
    assert!(values.iter().all(|value| value.abs() <= 0.25));
    assert!(values.iter().any(|&value| value > 0.2) && values.iter().any(|&value| value < -0.2));
    assert!((values.iter().sum::<f32>() / values.len() as f32).abs() < 0.03);
}

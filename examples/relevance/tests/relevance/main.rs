//! The head in candle and the parts without a framework, against PyTorch and plain arithmetic.
//!
//! Tolerances are well above the error of float32 against float64.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;
mod queries_and_metrics;
mod runs;
mod training;
mod verdicts;

use candle_core::{DType, Device, Tensor};

use crate::common::golden::{Golden, PATCHES, WIDTH};
use relevance::candle::heads::{AllocationTargets, Grounded, HeadOutput, HeadQuery, PatchFeatures, Targets, Verbatim};
use relevance::candle::weights::{Weights, array};
use relevance::state_dict::StateDict;
use relevance::{allocate, state_dict, texture};

const CPU: Device = Device::Cpu;

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn tensor(golden: &Golden, name: &str) -> Tensor {
    Tensor::from_vec(golden.values(name), golden.shape(name), &CPU).unwrap()
}

fn grounded(golden: &Golden, more: impl IntoIterator<Item = (String, Vec<usize>)>) -> Grounded {
    let shapes: Vec<_> = Grounded::shapes(WIDTH, 1).into_iter().chain(more).collect();
    Grounded::new(Weights::new(&golden.weights(&shapes), &CPU).unwrap())
}

fn gradients(head: &Grounded, loss: &Tensor) -> StateDict {
    let gradients = loss.backward().unwrap();
    let of = |(name, weight): (&str, &candle_core::Var)| {
        Some((name.to_owned(), array(gradients.get(weight.as_tensor())?).unwrap()))
    };
    head.weights().iter().filter_map(of).collect()
}

#[test]
fn textures_are_those_of_pytorch() {
    let golden = Golden::load();
    let colours = golden.values("colour.rgb");
    let lab: Vec<f32> =
        colours.chunks_exact(3).flat_map(|rgb| texture::lab([rgb[0], rgb[1], rgb[2]].map(texture::linear))).collect();
    golden.expect("colour.lab", &lab, 2e-4);
    golden.expect("texture", &golden.verbatim("images").texture, 2e-6);
    golden.expect("texture_tall", &golden.verbatim("images_tall").texture, 1e-5);

    let features = golden.grounded();
    golden.expect("grounded.texture", &features.texture, 2e-6);
    golden.expect("grounded.valid", &features.valid, 0.0);
    golden.expect("grounded.entropy", &texture::entropy(&features.texture, PATCHES), 4e-6);
    golden.expect("grounded.input", &features.input, 2e-5);
    golden.expect("grounded.information", &features.information, 5e-4);
    golden.expect("grounded.edge", &features.edge, 2e-5);
}

#[test]
fn features_of_an_image_depend_on_neither_its_batch_nor_its_padding() {
    let golden = Golden::load();
    let (canvas, together) = (golden.bytes("canvas"), golden.grounded());
    let mut image = canvas[2 * 3 * 96 * 96..].to_vec();
    // The third image is 61 pixels wide.
    for line in image.chunks_exact_mut(96) {
        line[61..].fill(201);
    }
    let alone = texture::grounded(&image, 96, &[[96, 61]], 32);
    let third = 2 * 13 * PATCHES;
    assert_eq!((&alone.texture[..], &alone.input[..]), (&together.texture[third..], &together.input[third..]));
    assert_eq!(
        (&alone.information[..], &alone.edge[..]),
        (&together.information[2 * PATCHES..], &together.edge[2 * PATCHES..])
    );
    let nothing = texture::grounded(&image, 96, &[[0, 0]], 32);
    assert!(nothing.texture.iter().chain(&nothing.valid).chain(&nothing.edge).all(|&number| number == 0.0));
    assert!(nothing.information.iter().all(|&number| number == 0.0));
}

#[test]
fn the_verbatim_head_is_that_of_pytorch() {
    let golden = Golden::load();
    let patches = golden.verbatim("images");
    golden.expect("verbatim.entropy", &texture::entropy(&patches.texture, PATCHES), 4e-6);
    let head = Verbatim::new(Weights::new(&golden.weights(&Verbatim::shapes(WIDTH)), &CPU).unwrap());
    let features = PatchFeatures::new(&patches, &CPU).unwrap();
    let output = head.forward(&features, &tensor(&golden, "query")).unwrap();
    for (name, map, tolerance) in [
        ("verbatim.information", &output.maps[0], 1e-4),
        ("verbatim.perspectival", &output.maps[1], 2e-6),
        ("verbatim.participatory", &output.maps[2], 1e-6),
        ("verbatim.statistics", &output.statistics, 5e-5),
        ("verbatim.weights", &output.weights, 1e-5),
        ("verbatim.relevance", &output.relevance, 1e-4),
    ] {
        golden.expect(name, &flat(map), tolerance);
    }
}

#[test]
fn the_verbatim_head_has_as_many_weights_as_arr_coc_really_has() {
    let count = |width| Verbatim::shapes(width).iter().map(|(_, shape)| shape.iter().product::<usize>()).sum::<usize>();
    assert_eq!((count(2048), count(1536)), (414_339, 315_523));
}

#[test]
fn patches_and_tokens_are_allocated_as_by_pytorch() {
    let golden = Golden::load();
    for (scores, name) in [("verbatim.relevance", "verbatim"), ("ties.score", "ties")] {
        let scores = golden.values(scores);
        let images = scores.chunks_exact(PATCHES);
        let top: Vec<f32> = images
            .clone()
            .flat_map(|image| allocate::top_k(image, allocate::TOP_K))
            .map(|patch| patch as f32)
            .collect();
        golden.expect(&format!("{name}.top"), &top, 0.0);
        let budget: Vec<f32> = images
            .flat_map(|image| allocate::token_budget(image, allocate::TOTAL_TOKENS))
            .map(|tokens| tokens as f32)
            .collect();
        golden.expect(&format!("{name}.budget"), &budget, 0.0);
    }
}

#[test]
fn a_budget_is_never_exceeded_and_the_best_come_first() {
    for (scores, total) in [(vec![0.0; 9], 200), (vec![1.0; 9], 1000), (vec![0.3, f32::NAN, 0.9, -1.0], 5000)] {
        let tokens = allocate::token_budget(&scores, total);
        assert!(tokens.iter().sum::<u32>() <= total);
    }
    assert_eq!(allocate::token_budget(&[0.0; 9], 200), [64, 64, 64, 0, 0, 0, 0, 0, 0]);
    assert_eq!(allocate::token_budget(&[0.0, 1.0, 0.5], 640), [0, 400, 232]);
}

#[test]
fn the_grounded_head_its_loss_and_its_gradients_are_those_of_pytorch() {
    let golden = Golden::load();
    let head = grounded(&golden, []);
    let features = PatchFeatures::new(&golden.grounded(), &CPU).unwrap();
    let at = Tensor::from_vec(golden.query_patch(), golden.shape("grounded.query_patch"), &CPU).unwrap();
    let output = head.forward(&features, &HeadQuery::Patches(at)).unwrap();
    golden.expect("grounded.embedding", &flat(&head.embed(&features).unwrap()), 5e-6);
    golden.expect("grounded.logit", &flat(&output.maps[2]), 3e-5);
    golden.expect("grounded.statistics", &flat(&output.statistics), 3e-4);
    golden.expect("grounded.weights", &flat(&output.weights), 5e-6);
    golden.expect("grounded.relevance", &flat(&output.relevance), 5e-5);
    let targets = Targets {
        coverage: tensor(&golden, "grounded.target"),
        patch_valid: tensor(&golden, "grounded.valid"),
        confidence: tensor(&golden, "grounded.predicted_iou"),
    };
    let loss = targets.loss(&output).unwrap();
    golden.expect("grounded.loss", &flat(&loss), 2e-6);
    golden.expect_gradients("grounded", &gradients(&head, &loss));
}

#[test]
fn the_head_with_a_context_window_is_that_of_pytorch() {
    let golden = Golden::load();
    let weights = state_dict::select(
        &golden.in_context(golden.weights(&Grounded::shapes(WIDTH, 1))),
        &Grounded::shapes(WIDTH, 3),
    );
    let head = Grounded::new(Weights::new(&weights.unwrap(), &CPU).unwrap());
    let features = PatchFeatures::new(&golden.grounded().with_context(3), &CPU).unwrap();
    golden.expect("context.embedding", &flat(&head.embed(&features).unwrap().get(2).unwrap()), 5e-6);

    let (alone, around) = (golden.grounded(), golden.grounded().with_context(1));
    assert!(alone.input == around.input && alone.inputs() == 13);
    assert_eq!(golden.grounded().with_context(7).inputs(), 13 * 49);
}

#[test]
fn the_learned_query_its_loss_and_its_gradients_are_those_of_pytorch() {
    let golden = Golden::load();
    let head = grounded(&golden, [Grounded::learned_query(WIDTH)]);
    let features = PatchFeatures::new(&golden.grounded(), &CPU).unwrap();
    let output = head.allocate(&features).unwrap();
    golden.expect("allocate.statistics", &flat(&output.statistics), 3e-4);
    golden.expect("allocate.weights", &flat(&output.weights), 5e-6);
    golden.expect("allocate.relevance", &flat(&output.relevance), 5e-5);
    let share = tensor(&golden, "allocate.share");
    let loss = AllocationTargets { share, patch_valid: features.valid().clone() }.loss(&output).unwrap();
    golden.expect("allocate.loss", &flat(&loss), 5e-6);
    golden.expect_gradients("allocate", &gradients(&head, &loss));
}

#[test]
fn a_vector_may_take_the_place_of_a_point() {
    let golden = Golden::load();
    let head = grounded(&golden, []);
    let features = PatchFeatures::new(&golden.grounded(), &CPU).unwrap();
    let at = Tensor::new(&[[500_u32], [40], [9]], &CPU).unwrap();
    let pointed = head.forward(&features, &HeadQuery::Patches(at.clone())).unwrap();
    let rows = at.unsqueeze(2).unwrap().broadcast_as((3, 1, WIDTH)).unwrap().contiguous().unwrap();
    let vector = (head.embed(&features).unwrap().gather(&rows, 1).unwrap() * 7.0).unwrap();
    let from_vector = head.forward(&features, &HeadQuery::Vectors(vector)).unwrap();
    // The output is the same except for the distance.
    let (pointed, from_vector) = (flat(&pointed.maps[2]), flat(&from_vector.maps[2]));
    let falloff = flat(head.weights().get("participatory_scorer.falloff").unwrap())[0];
    let place = |patch: usize| ((patch / 32) as f32 / 32.0, (patch % 32) as f32 / 32.0);
    for (image, from) in [500, 40, 9].into_iter().enumerate() {
        for patch in 0..PATCHES {
            let ((ay, ax), (by, bx)) = (place(from), place(patch));
            let (at, away) = (image * PATCHES + patch, falloff * (ay - by).hypot(ax - bx));
            assert!((from_vector[at] - away - pointed[at]).abs() < 3e-5, "{image}, {patch}");
        }
    }
}

#[test]
fn extreme_logits_and_queries_without_confidence_give_finite_losses() {
    let shape = (1, 2, PATCHES);
    let map = |value: f32| Tensor::full(value, shape, &CPU).unwrap();
    for (value, confidence) in [(1e4_f32, 1.0_f32), (-1e4, 1.0), (0.0, 0.0), (3.0, -2.0)] {
        let output = HeadOutput {
            maps: [map(0.0), map(0.0), map(value)],
            statistics: map(0.0),
            weights: map(0.0),
            relevance: map(value),
        };
        for valid in [0_f32, 1.0] {
            let targets = Targets {
                coverage: map(0.25),
                patch_valid: Tensor::full(valid, (1, PATCHES), &CPU).unwrap(),
                confidence: Tensor::full(confidence, (1, 2), &CPU).unwrap(),
            };
            let loss = targets.loss(&output).unwrap().to_scalar::<f32>().unwrap();
            assert!(
                loss.is_finite() && (loss != 0.0) == (confidence * valid > 0.0),
                "{value}, {confidence}, {valid}: {loss}"
            );
        }
    }
}

#[test]
fn images_that_are_all_padding_or_all_of_one_colour_give_finite_gradients() {
    let golden = Golden::load();
    let images = [vec![0_u8; 3 * 64 * 64], vec![90; 3 * 64 * 64]].concat();
    let features = PatchFeatures::new(&texture::grounded(&images, 64, &[[0, 0], [64, 64]], 32), &CPU).unwrap();
    for task in ["point", "allocate"] {
        let head = grounded(&golden, (task == "allocate").then(|| Grounded::learned_query(WIDTH)));
        let loss = if task == "point" {
            let output =
                head.forward(&features, &HeadQuery::Patches(Tensor::new(&[[0_u32], [77]], &CPU).unwrap())).unwrap();
            let coverage = Tensor::full(0.5_f32, (2, 1, PATCHES), &CPU).unwrap();
            let confidence = Tensor::new(&[[0_f32], [0.9]], &CPU).unwrap();
            Targets { coverage, patch_valid: features.valid().clone(), confidence }.loss(&output).unwrap()
        } else {
            let share = (features.valid() / PATCHES as f64).unwrap();
            AllocationTargets { share, patch_valid: features.valid().clone() }
                .loss(&head.allocate(&features).unwrap())
                .unwrap()
        };
        assert!(loss.to_scalar::<f32>().unwrap().is_finite(), "{task}");
        let gradients = gradients(&head, &loss);
        assert!(gradients.len() >= 14, "{task}");
        assert!(gradients.values().all(|gradient| gradient.values.iter().all(|number| number.is_finite())), "{task}");
    }
}

#[test]
fn weights_round_trip_through_a_file_and_faults_are_named() {
    let golden = Golden::load();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("head.safetensors");
    let weights = golden.weights(&Verbatim::shapes(WIDTH));
    state_dict::write(&path, &weights, Some("a note".to_owned())).unwrap();
    assert_eq!(state_dict::read(&path).unwrap(), (weights.clone(), Some("a note".to_owned())));
    assert_eq!(Weights::new(&weights, &CPU).unwrap().state_dict().unwrap(), weights);

    let error = state_dict::select(&weights, &Verbatim::shapes(64)).unwrap_err().to_string();
    assert!(error.contains("participatory_scorer.texture_proj.2.weight has the shape [32, 64, 1, 1]"), "{error}");
    let error = state_dict::select(&weights, &Grounded::shapes(WIDTH, 1)).unwrap_err().to_string();
    assert!(error.contains("the weights have no participatory_scorer.scale"), "{error}");
    let error = state_dict::read(&Golden::path()).unwrap_err().to_string();
    assert!(error.contains("not F32"), "{error}");
    std::fs::write(&path, b"no weights").unwrap();
    assert!(state_dict::read(&path).unwrap_err().to_string().contains("head.safetensors"));
}

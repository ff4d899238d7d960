//! The relevance heads of the examples against PyTorch: `tests/golden/relevance.safetensors`, written by
//! `scripts/make_relevance_vectors.py`. Tolerances stand well above what float32 loses against float64 there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../examples/relevance/allocate.rs"]
mod allocate;
#[path = "../../examples/relevance/candle/mod.rs"]
mod candle;
mod golden;
#[path = "../../examples/relevance/texture/mod.rs"]
mod texture;

use candle_core::{DType, Device, Tensor};

use crate::candle::heads::{Grounded, Query, Seen, Verbatim, Wanted};
use crate::candle::weights::Weights;
use crate::golden::{Golden, Plain, WIDTH};
use crate::texture::GRID;

const PATCHES: usize = GRID * GRID;

impl Golden {
    fn tensor(&self, name: &str) -> Tensor {
        tensor(self.plain(name))
    }

    fn weights(&self, shapes: &[(String, Vec<usize>)]) -> Weights {
        let own = self.plain_weights().iter().map(|weight| (weight.0.clone(), tensor(weight))).collect();
        Weights::take(&own, shapes).unwrap()
    }
}

fn tensor((_, shape, numbers): &Plain) -> Tensor {
    Tensor::from_slice(numbers, &shape[..], &Device::Cpu).unwrap()
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn textures_are_those_of_pytorch() {
    let golden = Golden::load();
    let colours = golden.numbers("colour.rgb");
    let lab: Vec<f32> =
        colours.chunks_exact(3).flat_map(|rgb| texture::lab([rgb[0], rgb[1], rgb[2]].map(texture::linear))).collect();
    golden.expect("colour.lab", &lab, 2e-4);
    golden.expect("texture", &golden.seen_verbatim("images").texture, 2e-6);
    golden.expect("texture_tall", &golden.seen_verbatim("images_tall").texture, 1e-5);
}

#[test]
fn the_verbatim_head_is_that_of_pytorch() {
    let golden = Golden::load();
    let patches = golden.seen_verbatim("images");
    golden.expect("verbatim.entropy", &texture::entropy(&patches.texture, PATCHES), 4e-6);
    let head = Verbatim::new(golden.weights(&Verbatim::shapes(WIDTH)));
    let seen = Seen::new(&patches, &Device::Cpu).unwrap();
    let said = head.forward(&seen, &golden.tensor("query")).unwrap();
    for (name, map, tolerance) in [
        ("verbatim.information", &said.maps[0], 1e-4),
        ("verbatim.perspectival", &said.maps[1], 2e-6),
        ("verbatim.participatory", &said.maps[2], 1e-6),
        ("verbatim.statistics", &said.statistics, 5e-5),
        ("verbatim.weights", &said.weights, 1e-5),
        ("verbatim.relevance", &said.relevance, 1e-4),
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
        let scores = golden.numbers(scores);
        let images = scores.chunks_exact(PATCHES);
        let top: Vec<f32> =
            images.clone().flat_map(|image| allocate::top(image, allocate::TOP)).map(|patch| patch as f32).collect();
        golden.expect(&format!("{name}.top"), &top, 0.0);
        let budget: Vec<f32> =
            images.flat_map(|image| allocate::budget(image, allocate::TOTAL)).map(|tokens| tokens as f32).collect();
        golden.expect(&format!("{name}.budget"), &budget, 0.0);
    }
}

#[test]
fn a_budget_is_never_exceeded_and_the_best_come_first() {
    for (scores, total) in [(vec![0.0; 9], 200), (vec![1.0; 9], 1000), (vec![0.3, f32::NAN, 0.9, -1.0], 5000)] {
        let tokens = allocate::budget(&scores, total);
        assert!(tokens.iter().sum::<u32>() <= total);
    }
    assert_eq!(allocate::budget(&[0.0; 9], 200), [64, 64, 64, 0, 0, 0, 0, 0, 0]);
    assert_eq!(allocate::budget(&[0.0, 1.0, 0.5], 640), [0, 400, 232]);
}

#[test]
fn the_grounded_head_its_loss_and_its_gradients_are_those_of_pytorch() {
    let golden = Golden::load();
    let head = Grounded::new(golden.weights(&Grounded::shapes(WIDTH)));
    let mut patches = golden.seen_verbatim("images");
    (patches.information, patches.edge) = (golden.numbers("grounded.information"), golden.numbers("grounded.edge"));
    let seen = Seen::new(&patches, &Device::Cpu).unwrap();
    let query_patch = golden.tensor("grounded.query_patch").to_dtype(DType::U32).unwrap();
    let said = head.forward(&seen, &Query::Patches(query_patch)).unwrap();
    let first_query = |map: &Tensor| flat(&map.narrow(1, 0, 1).unwrap());
    golden.expect("grounded.embedding", &flat(&head.embed(&seen).unwrap()), 5e-6);
    golden.expect("grounded.information", &first_query(&said.maps[0]), 5e-4);
    golden.expect("grounded.edge", &first_query(&said.maps[1]), 5e-5);
    golden.expect("grounded.logit", &flat(&said.maps[2]), 3e-5);
    golden.expect("grounded.statistics", &flat(&said.statistics), 2e-4);
    golden.expect("grounded.weights", &flat(&said.weights), 5e-6);
    golden.expect("grounded.relevance", &flat(&said.relevance), 5e-5);

    let wanted = Wanted {
        coverage: golden.tensor("grounded.target"),
        patch_valid: golden.tensor("grounded.patch_valid"),
        confidence: golden.tensor("grounded.predicted_iou"),
    };
    let loss = wanted.loss(&said).unwrap();
    golden.expect("grounded.loss", &flat(&loss), 2e-6);
    let gradients = loss.backward().unwrap();
    for (name, weight) in head.weights().iter() {
        let name = format!("grounded.gradient.{name}");
        let largest = golden.numbers(&name).into_iter().map(f32::abs).fold(0.0, f32::max);
        // Centring takes this bias away again: its gradient is rounding, and nothing else.
        let tolerance = if name.ends_with("texture_proj.2.bias") { 1e-6 } else { 3e-5 * largest };
        golden.expect(&name, &flat(gradients.get(weight.as_tensor()).unwrap()), tolerance);
    }
    assert_eq!(head.weights().iter().count(), 14);
}

#[test]
fn extreme_logits_and_queries_without_confidence_give_finite_losses() {
    let shape = (1, 2, PATCHES);
    let map = |value: f32| Tensor::full(value, shape, &Device::Cpu).unwrap();
    for (value, confidence) in [(1e4_f32, 1.0_f32), (-1e4, 1.0), (0.0, 0.0), (3.0, -2.0)] {
        let said = crate::candle::heads::Said {
            maps: [map(0.0), map(0.0), map(value)],
            statistics: map(0.0),
            weights: map(0.0),
            relevance: map(value),
        };
        for valid in [0_f32, 1.0] {
            let wanted = Wanted {
                coverage: map(0.25),
                patch_valid: Tensor::full(valid, (1, PATCHES), &Device::Cpu).unwrap(),
                confidence: Tensor::full(confidence, (1, 2), &Device::Cpu).unwrap(),
            };
            let loss = wanted.loss(&said).unwrap().to_scalar::<f32>().unwrap();
            assert!(
                loss.is_finite() && (loss != 0.0) == (confidence * valid > 0.0),
                "{value}, {confidence}, {valid}: {loss}"
            );
        }
    }
}

#[test]
fn weights_go_to_a_file_and_back_under_pytorchs_names_and_faults_are_named() {
    let golden = Golden::load();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("head.safetensors");
    let head = Verbatim::new(golden.weights(&Verbatim::shapes(WIDTH)));
    head.weights().save(&path).unwrap();
    let back = Weights::load(&path, &Verbatim::shapes(WIDTH), &Device::Cpu).unwrap();
    assert_eq!(back.size(), head.weights().size());
    for ((a, b), (name, var)) in head.weights().iter().zip(back.iter()) {
        assert_eq!((a, flat(b)), (name, flat(var)));
    }
    let error = Weights::load(&path, &Verbatim::shapes(64), &Device::Cpu).unwrap_err().to_string();
    assert!(error.contains("participatory_scorer.texture_proj.2.weight is of shape [32, 64, 1, 1]"), "{error}");
    let error = Weights::load(&path, &Grounded::shapes(WIDTH), &Device::Cpu).unwrap_err().to_string();
    assert!(error.contains("the weights have no participatory_scorer.scale"), "{error}");
}

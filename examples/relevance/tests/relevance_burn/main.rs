//! The head in Burn against PyTorch, and resumed runs against uninterrupted ones.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;
mod training;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Gradients, Tensor, TensorData};

use crate::common::golden::{Golden, PATCHES, WIDTH};
use relevance::burn::heads::{AllocationTargets, Grounded, HeadOutput, HeadQuery, PatchFeatures, Targets, Verbatim};
use relevance::burn::{adamw, weights};
use relevance::model::{MOMENTS, OPTIMIZER_STEPS};
use relevance::state_dict::{Array, StateDict};
use relevance::texture::{self, CHANNELS, Patches};

fn flat<const R: usize>(tensor: &Tensor<R>) -> Vec<f32> {
    tensor.try_to_vec_as().unwrap()
}

fn tensor<const R: usize>(golden: &Golden, name: &str, device: &Device) -> Tensor<R> {
    Tensor::from_data(TensorData::new(golden.values(name), golden.shape(name)), device)
}

fn loaded<M: Module>(golden: &Golden, module: M) -> M {
    let weights = golden.weights(&weights::shapes(&module).unwrap());
    weights::load(module, &weights).unwrap()
}

fn grounded(golden: &Golden, device: &Device) -> Grounded {
    loaded(golden, Grounded::new(WIDTH, 1, device))
}

/// Collects the gradients of a module's weights by name.
struct GradientVisitor<'a> {
    gradients: &'a Gradients,
    path: Vec<String>,
    found: StateDict,
}

impl ModuleVisitor for GradientVisitor<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const R: usize>(&mut self, param: &Param<Tensor<R>>) {
        if let Some(gradient) = param.val().grad(self.gradients) {
            let array = Array { shape: gradient.dims().to_vec(), values: flat(&gradient) };
            self.found.insert(self.path.join("."), array);
        }
    }
}

fn gradients<M: Module>(module: &M, loss: &Tensor<1>) -> StateDict {
    let gradients = loss.backward();
    let mut visitor = GradientVisitor { gradients: &gradients, path: Vec::new(), found: StateDict::new() };
    module.visit(&mut visitor);
    visitor.found
}

#[test]
fn the_verbatim_head_is_that_of_pytorch() {
    let (golden, device) = (Golden::load(), Device::flex());
    let head = loaded(&golden, Verbatim::new(WIDTH, &device));
    let features = PatchFeatures::new(&golden.verbatim("images"), &device);
    let output = head.forward(&features, &tensor(&golden, "query", &device));
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
    let count = |width| Verbatim::new(width, &Device::flex()).num_params();
    assert_eq!((count(2048), count(1536)), (414_339, 315_523));
}

#[test]
fn the_grounded_head_its_loss_and_its_gradients_are_those_of_pytorch() {
    let (golden, device) = (Golden::load(), Device::flex().autodiff());
    let head = grounded(&golden, &device);
    let features = PatchFeatures::new(&golden.grounded(), &device);
    let at = TensorData::new(golden.query_patch(), golden.shape("grounded.query_patch"));
    let output = head.forward(&features, &HeadQuery::Patches(Tensor::from_data(at, &device)));
    golden.expect("grounded.embedding", &flat(&head.embed(&features)), 5e-6);
    golden.expect("grounded.logit", &flat(&output.maps[2]), 3e-5);
    golden.expect("grounded.statistics", &flat(&output.statistics), 3e-4);
    golden.expect("grounded.weights", &flat(&output.weights), 5e-6);
    golden.expect("grounded.relevance", &flat(&output.relevance), 5e-5);
    let targets = Targets {
        coverage: tensor(&golden, "grounded.target", &device),
        patch_valid: tensor(&golden, "grounded.valid", &device),
        confidence: tensor(&golden, "grounded.predicted_iou", &device),
    };
    let loss = targets.loss(&output);
    golden.expect("grounded.loss", &flat(&loss), 2e-6);
    golden.expect_gradients("grounded", &gradients(&head, &loss));
}

#[test]
fn the_learned_query_its_loss_and_its_gradients_are_those_of_pytorch() {
    let (golden, device) = (Golden::load(), Device::flex().autodiff());
    let head = loaded(&golden, Grounded::new(WIDTH, 1, &device).with_learned_query(WIDTH, &device));
    let features = PatchFeatures::new(&golden.grounded(), &device);
    assert!(grounded(&golden, &device).allocate(&features).is_none());
    let output = head.allocate(&features).unwrap();
    golden.expect("allocate.statistics", &flat(&output.statistics), 3e-4);
    golden.expect("allocate.weights", &flat(&output.weights), 5e-6);
    golden.expect("allocate.relevance", &flat(&output.relevance), 5e-5);
    let share = tensor(&golden, "allocate.share", &device);
    let loss = AllocationTargets { share, patch_valid: features.valid() }.loss(&output);
    golden.expect("allocate.loss", &flat(&loss), 5e-6);
    golden.expect_gradients("allocate", &gradients(&head, &loss));
}

#[test]
fn extreme_logits_and_queries_without_confidence_give_finite_losses() {
    let device = Device::flex();
    let map = |value: f32| Tensor::<3>::full([1, 2, PATCHES], value, &device);
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
                patch_valid: Tensor::full([1, PATCHES], valid, &device),
                confidence: Tensor::full([1, 2], confidence, &device),
            };
            let loss = flat(&targets.loss(&output))[0];
            assert!(
                loss.is_finite() && (loss != 0.0) == (confidence * valid > 0.0),
                "{value}, {confidence}, {valid}: {loss}"
            );
        }
    }
}

#[test]
fn images_that_are_all_padding_or_all_of_one_colour_give_finite_gradients() {
    let (golden, device) = (Golden::load(), Device::flex().autodiff());
    let images = [vec![0_u8; 3 * 64 * 64], vec![90; 3 * 64 * 64]].concat();
    let features = PatchFeatures::new(&texture::grounded(&images, 64, &[[0, 0], [64, 64]], 32), &device);
    for task in ["point", "allocate"] {
        let mut head = Grounded::new(WIDTH, 1, &device);
        let loss = if task == "point" {
            head = loaded(&golden, head);
            let output = head.forward(&features, &HeadQuery::Patches(Tensor::from_data([[0], [77]], &device)));
            let coverage = Tensor::full([2, 1, PATCHES], 0.5, &device);
            let confidence = Tensor::from_data([[0.0], [0.9]], &device);
            Targets { coverage, patch_valid: features.valid(), confidence }.loss(&output)
        } else {
            head = loaded(&golden, head.with_learned_query(WIDTH, &device));
            let share = features.valid() / PATCHES as f64;
            AllocationTargets { share, patch_valid: features.valid() }.loss(&head.allocate(&features).unwrap())
        };
        assert!(flat(&loss)[0].is_finite(), "{task}");
        let gradients = gradients(&head, &loss);
        assert!(gradients.len() >= 14, "{task}");
        assert!(gradients.values().all(|gradient| gradient.values.iter().all(|number| number.is_finite())), "{task}");
    }
}

#[test]
fn the_head_with_a_context_window_is_that_of_pytorch() {
    let (golden, device) = (Golden::load(), Device::flex());
    let weights = golden.in_context(weights::state_dict(&grounded(&golden, &device)).unwrap());
    let head = weights::load(Grounded::new(WIDTH, 3, &device), &weights).unwrap();
    let features = PatchFeatures::new(&golden.grounded().with_context(3), &device);
    golden.expect("context.embedding", &flat(&head.embed(&features).narrow(0, 2, 1)), 5e-6);
}

#[test]
fn weights_round_trip_through_a_module_and_faults_are_named() {
    let (golden, device) = (Golden::load(), Device::flex());
    let head = grounded(&golden, &device);
    let weights = weights::state_dict(&head).unwrap();
    assert_eq!(weights, golden.weights(&weights::shapes(&head).unwrap()));
    assert_eq!(weights.values().map(|array| array.values.len()).sum::<usize>(), head.num_params());
    let verbatim = weights::state_dict(&loaded(&golden, Verbatim::new(WIDTH, &device))).unwrap();
    assert!(verbatim.len() == 10 && verbatim.iter().all(|(name, array)| weights[name] == *array));

    let error = weights::load(Verbatim::new(64, &device), &weights).unwrap_err().to_string();
    assert!(
        error.contains("weight_predictor.0.weight has the shape [128, 41], but the head needs [128, 73]"),
        "{error}"
    );
    let error = weights::load(Grounded::new(WIDTH, 1, &device), &verbatim).unwrap_err().to_string();
    assert!(error.contains("the weights have no balancer.bias"), "{error}");
}

/// Two images of 8 x 8 patches, the second one with padding, and two queries each: small enough for many steps.
fn small_batch(device: &Device) -> (PatchFeatures, HeadQuery, Targets) {
    let values =
        |count: usize, frequency: f32| (0..count).map(|at| (at as f32 * frequency).sin() * 0.5 + 0.5).collect();
    let valid = |at: usize| f32::from(u8::from(at < 100));
    let patches = Patches {
        grid: 8,
        texture: Vec::new(),
        input: values(2 * CHANNELS * 64, 0.7),
        information: values(128, 1.3),
        edge: values(128, 2.9),
        valid: (0..128).map(valid).collect(),
    };
    let features = PatchFeatures::new(&patches, device);
    let targets = Targets {
        coverage: Tensor::from_data(TensorData::new(values(256, 0.3), [2, 2, 64]), device),
        patch_valid: features.valid(),
        confidence: Tensor::from_data([[0.9, 0.5], [1.0, 0.0]], device),
    };
    (features, HeadQuery::Patches(Tensor::from_data([[9, 50], [3, 20]], device)), targets)
}

/// A head and its optimizer in training.
struct Run {
    head: Grounded,
    optimizer: ModuleOptimizer,
}

impl Run {
    /// Starts from weights, and from moments if there are any.
    fn new(state: &StateDict, device: &Device, is_trainable: impl Fn(&str) -> bool) -> Self {
        let head = weights::load(Grounded::new(WIDTH, 1, device), state).unwrap();
        let optimizer = adamw::new(&head, state).unwrap();
        Self { head: weights::freeze(head, is_trainable).unwrap(), optimizer }
    }

    fn steps(
        mut self,
        numbers: std::ops::Range<u32>,
        (features, query, targets): &(PatchFeatures, HeadQuery, Targets),
    ) -> Self {
        let lr_multipliers = adamw::lr_multipliers(&self.head).unwrap();
        for number in numbers {
            let loss = targets.loss(&self.head.forward(features, query));
            let gradients = GradientsParams::from_grads(loss.backward(), &self.head);
            let learning_rates = adamw::learning_rates(1e-2 / f64::from(number + 1), &lr_multipliers);
            self.head = self.optimizer.step(learning_rates, self.head, gradients);
        }
        self
    }

    /// The state that a checkpoint holds.
    fn state(&self) -> StateDict {
        let mut state = weights::state_dict(&self.head).unwrap();
        state.extend(adamw::state_dict(&self.optimizer, &self.head).unwrap());
        state
    }
}

const BIAS: &str = "participatory_scorer.texture_proj.2.bias";

#[test]
fn a_resumed_run_is_bit_for_bit_the_uninterrupted_one() {
    let (golden, device) = (Golden::load(), Device::flex().autodiff());
    let batch = small_batch(&device);
    let weights = weights::state_dict(&grounded(&golden, &device)).unwrap();
    let run = |state: &StateDict| Run::new(state, &device, |name| name != BIAS);
    let uninterrupted = run(&weights).steps(0..20, &batch).state();
    assert_eq!(run(&weights).steps(0..20, &batch).state(), uninterrupted);

    let half = run(&weights).steps(0..10, &batch).state();
    assert_eq!(run(&half).state(), half);
    assert_eq!(run(&half).steps(10..20, &batch).state(), uninterrupted);
    // Without the moments, the run is different.
    let without_moments: StateDict = half.iter().filter(|(name, _)| !name.starts_with("adam.")).map(owned).collect();
    assert_eq!(without_moments.len(), weights.len());
    assert_ne!(run(&without_moments).steps(10..20, &batch).state(), uninterrupted);

    assert_eq!(uninterrupted[OPTIMIZER_STEPS], Array::vector(vec![20.0]));
    // 14 weights, two moments of each except the bias, and the step count.
    assert_eq!(uninterrupted.len(), 14 + 2 * 13 + 1);
    assert_eq!(run(&weights).state()[OPTIMIZER_STEPS], Array::vector(vec![0.0]));
}

fn owned((name, array): (&String, &Array)) -> (String, Array) {
    (name.clone(), array.clone())
}

#[test]
fn moments_of_another_shape_are_named() {
    let (golden, device) = (Golden::load(), Device::flex().autodiff());
    let head = grounded(&golden, &device);
    let moment = format!("{}balancer.bias", MOMENTS[1]);
    let state = StateDict::from([(moment, Array { shape: vec![1, 1], values: vec![0.0] })]);
    let error = adamw::new(&head, &state).err().unwrap().to_string();
    assert!(error.contains("adam.v.balancer.bias has the shape [1, 1], but its weight has [1]"), "{error}");
}

#[test]
fn only_trainable_weights_change() {
    let (golden, device) = (Golden::load(), Device::flex().autodiff());
    let batch = small_batch(&device);
    let before = weights::state_dict(&grounded(&golden, &device)).unwrap();
    for part in ["", "participatory_scorer.", "balancer."] {
        let is_trainable = |name: &str| name.starts_with(part) && name != BIAS;
        let after = Run::new(&before, &device, is_trainable).steps(0..3, &batch).state();
        for name in before.keys() {
            assert_eq!(before[name] != after[name], is_trainable(name), "{name}");
            for moment in MOMENTS {
                assert_eq!(after.contains_key(&format!("{moment}{name}")), is_trainable(name), "{name}");
            }
        }
    }
}

#[test]
fn the_first_step_is_scaled_by_the_lr_multiplier() {
    let (golden, device) = (Golden::load(), Device::flex().autodiff());
    let before = weights::state_dict(&grounded(&golden, &device)).unwrap();
    let after = Run::new(&before, &device, |_| true).steps(0..1, &small_batch(&device)).state();
    for (name, lr_multiplier) in [
        ("participatory_scorer.scale", 10.0),
        ("balancer.bias", 10.0),
        ("balancer.weight_predictor.4.bias", 0.03),
        ("participatory_scorer.texture_proj.0.bias", 1.0),
    ] {
        let steps = before[name].values.iter().zip(&after[name].values).map(|(before, after)| (before - after).abs());
        let longest = f64::from(steps.fold(0.0, f32::max));
        // AdamW's first step is the learning rate in the gradient's direction, however large that is.
        assert!((longest / (lr_multiplier * 1e-2) - 1.0).abs() < 1e-2, "{name}: {longest}");
    }
}

/// Burn keeps the betas as f32 and PyTorch as f64, which bounds the tolerance.
#[test]
fn adamw_is_pytorchs() {
    #[derive(Module, Debug)]
    struct Numbers {
        numbers: Param<Tensor<1>>,
    }

    let device = Device::flex().autodiff();
    let begin = [0.5_f32, -2.0, 1e-3, 30.0];
    let gradient_at = |step: i32, at: usize| ((step * 7 + at as i32 * 3) as f64).sin() * [1.0, 1e-3, 1e3, 0.1][at];
    let mut module = Numbers { numbers: Param::from_data(begin, &device) };
    let (mut optimizer, rate) = (adamw::new(&module, &StateDict::new()).unwrap(), 1e-2);
    let mut expected = begin.map(f64::from);
    let (mut m, mut v) = ([0.0; 4], [0.0; 4]);
    for step in 1..=100 {
        let gradient: [f32; 4] = std::array::from_fn(|at| gradient_at(step, at) as f32);
        let loss = (module.numbers.val() * Tensor::from_data(gradient, &device)).sum();
        let gradients = GradientsParams::from_grads(loss.backward(), &module);
        module = optimizer.step(rate, module, gradients);
        for at in 0..4 {
            let gradient = gradient_at(step, at);
            m[at] = 0.9 * m[at] + 0.1 * gradient;
            v[at] = 0.999 * v[at] + 0.001 * gradient * gradient;
            let (first, second) = (m[at] / (1.0 - 0.9_f64.powi(step)), v[at] / (1.0 - 0.999_f64.powi(step)));
            expected[at] = expected[at] * (1.0 - rate * 1e-4) - rate * first / (second.sqrt() + 1e-8);
        }
    }
    for (found, expected) in flat(&module.numbers.val()).into_iter().zip(expected) {
        assert!((f64::from(found) - expected).abs() <= 1e-5 * expected.abs().max(1.0), "{found} {expected}");
    }
}

//! The relevance heads of the examples in Burn against PyTorch, as `tests/relevance` holds those in candle; and that a
//! run which stops and goes on is the run that does not stop.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../relevance/golden.rs"]
mod golden;
#[path = "../relevance/jobs.rs"]
mod jobs;
#[path = "../../examples/relevance/mod.rs"]
#[allow(dead_code, reason = "the examples use the rest")]
mod relevance;
mod training;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Gradients, Tensor, TensorData};

use crate::golden::{Golden, PATCHES, WIDTH};
use crate::relevance::burn::heads::{Grounded, Query, Said, Seen, Shares, Verbatim, Wanted};
use crate::relevance::burn::{adamw, weights};
use crate::relevance::model::{MOMENTS, OPTIMIZER_STEPS};
use crate::relevance::named::{Array, Named};
use crate::relevance::texture::{self, CHANNELS, Patches};

fn flat<const R: usize>(tensor: &Tensor<R>) -> Vec<f32> {
    tensor.try_to_vec_as().unwrap()
}

fn tensor<const R: usize>(golden: &Golden, name: &str, device: &Device) -> Tensor<R> {
    Tensor::from_data(TensorData::new(golden.numbers(name), golden.shape(name)), device)
}

fn loaded<M: Module>(golden: &Golden, module: M) -> M {
    let weights = golden.weights(&weights::shapes(&module).unwrap());
    weights::load(module, &weights).unwrap()
}

fn grounded(golden: &Golden, device: &Device) -> Grounded {
    loaded(golden, Grounded::new(WIDTH, 1, device))
}

/// The names of a module's weights, and their gradients.
struct Slopes<'a> {
    gradients: &'a Gradients,
    path: Vec<String>,
    found: Named,
}

impl ModuleVisitor for Slopes<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const R: usize>(&mut self, param: &Param<Tensor<R>>) {
        if let Some(slope) = param.val().grad(self.gradients) {
            let array = Array { shape: slope.dims().to_vec(), values: flat(&slope) };
            self.found.insert(self.path.join("."), array);
        }
    }
}

fn gradients<M: Module>(module: &M, loss: &Tensor<1>) -> Named {
    let gradients = loss.backward();
    let mut slopes = Slopes { gradients: &gradients, path: Vec::new(), found: Named::new() };
    module.visit(&mut slopes);
    slopes.found
}

#[test]
fn the_verbatim_head_is_that_of_pytorch() {
    let (golden, device) = (Golden::load(), Device::flex());
    let head = loaded(&golden, Verbatim::new(WIDTH, &device));
    let seen = Seen::new(&golden.verbatim("images"), &device);
    let said = head.forward(&seen, &tensor(&golden, "query", &device));
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
    let count = |width| Verbatim::new(width, &Device::flex()).num_params();
    assert_eq!((count(2048), count(1536)), (414_339, 315_523));
}

#[test]
fn the_grounded_head_its_loss_and_its_gradients_are_those_of_pytorch() {
    let (golden, device) = (Golden::load(), Device::flex().autodiff());
    let head = grounded(&golden, &device);
    let seen = Seen::new(&golden.grounded(), &device);
    let at = TensorData::new(golden.query_patch(), golden.shape("grounded.query_patch"));
    let said = head.forward(&seen, &Query::Patches(Tensor::from_data(at, &device)));
    golden.expect("grounded.embedding", &flat(&head.embed(&seen)), 5e-6);
    golden.expect("grounded.logit", &flat(&said.maps[2]), 3e-5);
    golden.expect("grounded.statistics", &flat(&said.statistics), 3e-4);
    golden.expect("grounded.weights", &flat(&said.weights), 5e-6);
    golden.expect("grounded.relevance", &flat(&said.relevance), 5e-5);
    let wanted = Wanted {
        coverage: tensor(&golden, "grounded.target", &device),
        patch_valid: tensor(&golden, "grounded.valid", &device),
        confidence: tensor(&golden, "grounded.predicted_iou", &device),
    };
    let loss = wanted.loss(&said);
    golden.expect("grounded.loss", &flat(&loss), 2e-6);
    golden.expect_gradients("grounded", &gradients(&head, &loss));
}

#[test]
fn without_a_question_head_loss_and_gradients_are_those_of_pytorch() {
    let (golden, device) = (Golden::load(), Device::flex().autodiff());
    let head = loaded(&golden, Grounded::new(WIDTH, 1, &device).with_learned_query(WIDTH, &device));
    let seen = Seen::new(&golden.grounded(), &device);
    assert!(grounded(&golden, &device).allocate(&seen).is_none());
    let said = head.allocate(&seen).unwrap();
    golden.expect("allocate.statistics", &flat(&said.statistics), 3e-4);
    golden.expect("allocate.weights", &flat(&said.weights), 5e-6);
    golden.expect("allocate.relevance", &flat(&said.relevance), 5e-5);
    let share = tensor(&golden, "allocate.share", &device);
    let loss = Shares { share, patch_valid: seen.valid() }.loss(&said);
    golden.expect("allocate.loss", &flat(&loss), 5e-6);
    golden.expect_gradients("allocate", &gradients(&head, &loss));
}

#[test]
fn extreme_logits_and_queries_without_confidence_give_finite_losses() {
    let device = Device::flex();
    let map = |value: f32| Tensor::<3>::full([1, 2, PATCHES], value, &device);
    for (value, confidence) in [(1e4_f32, 1.0_f32), (-1e4, 1.0), (0.0, 0.0), (3.0, -2.0)] {
        let said = Said {
            maps: [map(0.0), map(0.0), map(value)],
            statistics: map(0.0),
            weights: map(0.0),
            relevance: map(value),
        };
        for valid in [0_f32, 1.0] {
            let wanted = Wanted {
                coverage: map(0.25),
                patch_valid: Tensor::full([1, PATCHES], valid, &device),
                confidence: Tensor::full([1, 2], confidence, &device),
            };
            let loss = flat(&wanted.loss(&said))[0];
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
    let seen = Seen::new(&texture::grounded(&images, 64, &[[0, 0], [64, 64]], 32), &device);
    for task in ["point", "allocate"] {
        let mut head = Grounded::new(WIDTH, 1, &device);
        let loss = if task == "point" {
            head = loaded(&golden, head);
            let said = head.forward(&seen, &Query::Patches(Tensor::from_data([[0], [77]], &device)));
            let coverage = Tensor::full([2, 1, PATCHES], 0.5, &device);
            let confidence = Tensor::from_data([[0.0], [0.9]], &device);
            Wanted { coverage, patch_valid: seen.valid(), confidence }.loss(&said)
        } else {
            head = loaded(&golden, head.with_learned_query(WIDTH, &device));
            let share = seen.valid() / PATCHES as f64;
            Shares { share, patch_valid: seen.valid() }.loss(&head.allocate(&seen).unwrap())
        };
        assert!(flat(&loss)[0].is_finite(), "{task}");
        let gradients = gradients(&head, &loss);
        assert!(gradients.len() >= 14, "{task}");
        assert!(gradients.values().all(|gradient| gradient.values.iter().all(|number| number.is_finite())), "{task}");
    }
}

#[test]
fn a_head_that_sees_the_patches_around_each_one_is_that_of_pytorch() {
    let (golden, device) = (Golden::load(), Device::flex());
    let weights = golden.in_context(weights::arrays(&grounded(&golden, &device)).unwrap());
    let head = weights::load(Grounded::new(WIDTH, 3, &device), &weights).unwrap();
    let seen = Seen::new(&golden.grounded().with_context(3), &device);
    golden.expect("context.embedding", &flat(&head.embed(&seen).narrow(0, 2, 1)), 5e-6);
}

#[test]
fn weights_come_back_under_pytorchs_names_and_faults_are_named() {
    let (golden, device) = (Golden::load(), Device::flex());
    let head = grounded(&golden, &device);
    let weights = weights::arrays(&head).unwrap();
    assert_eq!(weights, golden.weights(&weights::shapes(&head).unwrap()));
    assert_eq!(weights.values().map(|array| array.values.len()).sum::<usize>(), head.num_params());
    let verbatim = weights::arrays(&loaded(&golden, Verbatim::new(WIDTH, &device))).unwrap();
    assert!(verbatim.len() == 10 && verbatim.iter().all(|(name, array)| weights[name] == *array));

    let error = weights::load(Verbatim::new(64, &device), &weights).unwrap_err().to_string();
    assert!(error.contains("weight_predictor.0.weight is of shape [128, 41], the head has [128, 73]"), "{error}");
    let error = weights::load(Grounded::new(WIDTH, 1, &device), &verbatim).unwrap_err().to_string();
    assert!(error.contains("the weights have no balancer.bias"), "{error}");
}

/// Two images of 8 x 8 patches, the second one with padding, and two queries each: quick to take many steps on.
fn small_lesson(device: &Device) -> (Seen, Query, Wanted) {
    let numbers = |count: usize, pace: f32| (0..count).map(|at| (at as f32 * pace).sin() * 0.5 + 0.5).collect();
    let valid = |at: usize| f32::from(u8::from(at < 100));
    let patches = Patches {
        grid: 8,
        texture: Vec::new(),
        input: numbers(2 * CHANNELS * 64, 0.7),
        information: numbers(128, 1.3),
        edge: numbers(128, 2.9),
        valid: (0..128).map(valid).collect(),
    };
    let seen = Seen::new(&patches, device);
    let wanted = Wanted {
        coverage: Tensor::from_data(TensorData::new(numbers(256, 0.3), [2, 2, 64]), device),
        patch_valid: seen.valid(),
        confidence: Tensor::from_data([[0.9, 0.5], [1.0, 0.0]], device),
    };
    (seen, Query::Patches(Tensor::from_data([[9, 50], [3, 20]], device)), wanted)
}

/// A head and its optimizer, as training goes on.
struct Run {
    head: Grounded,
    optimizer: ModuleOptimizer,
}

impl Run {
    /// From weights, and moments if there are any.
    fn new(state: &Named, device: &Device, learns: impl Fn(&str) -> bool) -> Self {
        let head = weights::load(Grounded::new(WIDTH, 1, device), state).unwrap();
        let optimizer = adamw::new(&head, state).unwrap();
        Self { head: weights::learning(head, learns).unwrap(), optimizer }
    }

    fn steps(mut self, numbers: std::ops::Range<u32>, (seen, query, wanted): &(Seen, Query, Wanted)) -> Self {
        let paces = adamw::paces(&self.head).unwrap();
        for number in numbers {
            let loss = wanted.loss(&self.head.forward(seen, query));
            let gradients = GradientsParams::from_grads(loss.backward(), &self.head);
            let learning_rate = adamw::paced(1e-2 / f64::from(number + 1), &paces);
            self.head = self.optimizer.step(learning_rate, self.head, gradients);
        }
        self
    }

    /// What a checkpoint keeps.
    fn state(&self) -> Named {
        let mut state = weights::arrays(&self.head).unwrap();
        state.extend(adamw::state(&self.optimizer, &self.head).unwrap());
        state
    }
}

const BIAS: &str = "participatory_scorer.texture_proj.2.bias";

#[test]
fn a_run_that_stops_and_goes_on_is_bit_for_bit_the_one_that_does_not() {
    let (golden, device) = (Golden::load(), Device::flex().autodiff());
    let lesson = small_lesson(&device);
    let weights = weights::arrays(&grounded(&golden, &device)).unwrap();
    let run = |state: &Named| Run::new(state, &device, |name| name != BIAS);
    let through = run(&weights).steps(0..20, &lesson).state();
    assert_eq!(run(&weights).steps(0..20, &lesson).state(), through);

    let half = run(&weights).steps(0..10, &lesson).state();
    assert_eq!(run(&half).state(), half);
    assert_eq!(run(&half).steps(10..20, &lesson).state(), through);
    // Without its memory it is another run.
    let forgetful: Named = half.iter().filter(|(name, _)| !name.starts_with("adam.")).map(owned).collect();
    assert_eq!(forgetful.len(), weights.len());
    assert_ne!(run(&forgetful).steps(10..20, &lesson).state(), through);

    assert_eq!(through[OPTIMIZER_STEPS], Array::list(vec![20.0]));
    // All weights but the bias, two moments of each but it, and the number of steps.
    assert_eq!(through.len(), 14 + 2 * 13 + 1);
    assert_eq!(run(&weights).state()[OPTIMIZER_STEPS], Array::list(vec![0.0]));
}

fn owned((name, array): (&String, &Array)) -> (String, Array) {
    (name.clone(), array.clone())
}

#[test]
fn moments_of_another_shape_are_named() {
    let (golden, device) = (Golden::load(), Device::flex().autodiff());
    let head = grounded(&golden, &device);
    let moment = format!("{}balancer.bias", MOMENTS[1]);
    let state = Named::from([(moment, Array { shape: vec![1, 1], values: vec![0.0] })]);
    let error = adamw::new(&head, &state).err().unwrap().to_string();
    assert!(error.contains("adam.v.balancer.bias is of shape [1, 1], its weight of [1]"), "{error}");
}

#[test]
fn only_what_shall_learn_changes() {
    let (golden, device) = (Golden::load(), Device::flex().autodiff());
    let lesson = small_lesson(&device);
    let before = weights::arrays(&grounded(&golden, &device)).unwrap();
    for part in ["", "participatory_scorer.", "balancer."] {
        let learns = |name: &str| name.starts_with(part) && name != BIAS;
        let after = Run::new(&before, &device, learns).steps(0..3, &lesson).state();
        for name in before.keys() {
            assert_eq!(before[name] != after[name], learns(name), "{name}");
            for moment in MOMENTS {
                assert_eq!(after.contains_key(&format!("{moment}{name}")), learns(name), "{name}");
            }
        }
    }
}

#[test]
fn the_first_step_is_as_long_as_the_pace_of_its_weight() {
    let (golden, device) = (Golden::load(), Device::flex().autodiff());
    let before = weights::arrays(&grounded(&golden, &device)).unwrap();
    let after = Run::new(&before, &device, |_| true).steps(0..1, &small_lesson(&device)).state();
    for (name, pace) in [
        ("participatory_scorer.scale", 10.0),
        ("balancer.bias", 10.0),
        ("balancer.weight_predictor.4.bias", 0.03),
        ("participatory_scorer.texture_proj.0.bias", 1.0),
    ] {
        let steps = before[name].values.iter().zip(&after[name].values).map(|(before, after)| (before - after).abs());
        let longest = f64::from(steps.fold(0.0, f32::max));
        // AdamW's first step is the learning rate in the gradient's direction, however large that is.
        assert!((longest / (pace * 1e-2) - 1.0).abs() < 1e-2, "{name}: {longest}");
    }
}

/// Burn has the decays as f32, PyTorch as f64: that is as far as they may be from each other.
#[test]
fn adamw_is_pytorchs() {
    #[derive(Module, Debug)]
    struct Numbers {
        numbers: Param<Tensor<1>>,
    }

    let device = Device::flex().autodiff();
    let begin = [0.5_f32, -2.0, 1e-3, 30.0];
    let slope = |step: i32, at: usize| ((step * 7 + at as i32 * 3) as f64).sin() * [1.0, 1e-3, 1e3, 0.1][at];
    let mut module = Numbers { numbers: Param::from_data(begin, &device) };
    let (mut optimizer, rate) = (adamw::new(&module, &Named::new()).unwrap(), 1e-2);
    let mut expected = begin.map(f64::from);
    let (mut m, mut v) = ([0.0; 4], [0.0; 4]);
    for step in 1..=100 {
        let slopes: [f32; 4] = std::array::from_fn(|at| slope(step, at) as f32);
        let loss = (module.numbers.val() * Tensor::from_data(slopes, &device)).sum();
        let gradients = GradientsParams::from_grads(loss.backward(), &module);
        module = optimizer.step(rate, module, gradients);
        for at in 0..4 {
            let slope = slope(step, at);
            m[at] = 0.9 * m[at] + 0.1 * slope;
            v[at] = 0.999 * v[at] + 0.001 * slope * slope;
            let (first, second) = (m[at] / (1.0 - 0.9_f64.powi(step)), v[at] / (1.0 - 0.999_f64.powi(step)));
            expected[at] = expected[at] * (1.0 - rate * 1e-4) - rate * first / (second.sqrt() + 1e-8);
        }
    }
    for (found, expected) in flat(&module.numbers.val()).into_iter().zip(expected) {
        assert!((f64::from(found) - expected).abs() <= 1e-5 * expected.abs().max(1.0), "{found} {expected}");
    }
}

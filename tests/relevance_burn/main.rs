//! The relevance heads of the examples in Burn against PyTorch, as `tests/relevance` holds those in candle; and that a
//! run which stops and goes on is the run that does not stop.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../examples/relevance/burn/mod.rs"]
mod burn_heads;
#[path = "../relevance/golden.rs"]
mod golden;
#[path = "../../examples/relevance/texture/mod.rs"]
#[allow(dead_code, unused_imports, reason = "of its two ways to see images, the heads are tested on one")]
mod texture;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Gradients, Int, Tensor, TensorData};

use crate::burn_heads::adamw::{State, adamw, restored, state};
use crate::burn_heads::heads::{Grounded, Query, Said, Seen, Shares, Verbatim, Wanted};
use crate::burn_heads::weights::{Plain, read, size, write};
use crate::golden::{Golden, WIDTH};
use crate::texture::{CHANNELS, GRID, Patches};

const PATCHES: usize = GRID * GRID;

impl Golden {
    fn tensor<const R: usize>(&self, name: &str, device: &Device) -> Tensor<R> {
        let (_, shape, numbers) = self.plain(name);
        Tensor::from_data(TensorData::new(numbers.clone(), shape.clone()), device)
    }

    fn verbatim(&self) -> Verbatim {
        write(Verbatim::new(WIDTH, &Device::flex()), &self.plain_weights()).unwrap()
    }

    fn grounded(&self, device: &Device) -> Grounded {
        write(Grounded::new(WIDTH, device), &self.plain_weights()).unwrap()
    }

    /// What the grounded head sees and is asked, and what masks say.
    fn lesson(&self, device: &Device) -> (Seen, Query, Wanted) {
        let mut patches = self.seen_verbatim("images");
        (patches.information, patches.edge) = (self.numbers("grounded.information"), self.numbers("grounded.edge"));
        let at: Tensor<2, Int> = self.tensor("grounded.query_patch", device).int();
        let wanted = Wanted {
            coverage: self.tensor("grounded.target", device),
            patch_valid: self.tensor("grounded.patch_valid", device),
            confidence: self.tensor("grounded.predicted_iou", device),
        };
        (Seen::new(&patches, device), Query::Patches(at), wanted)
    }
}

fn flat<const R: usize>(tensor: &Tensor<R>) -> Vec<f32> {
    tensor.try_to_vec_as().unwrap()
}

#[test]
fn the_verbatim_head_is_that_of_pytorch() {
    let golden = Golden::load();
    let device = Device::flex();
    let seen = Seen::new(&golden.seen_verbatim("images"), &device);
    let said = golden.verbatim().forward(&seen, &golden.tensor("query", &device));
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

/// Names and gradients of a module's weights.
struct Slopes<'a> {
    gradients: &'a Gradients,
    path: Vec<String>,
    found: Vec<(String, Option<Vec<f32>>)>,
}

impl ModuleVisitor for Slopes<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const R: usize>(&mut self, param: &Param<Tensor<R>>) {
        let slope = param.val().grad(self.gradients).map(|slope| flat(&slope));
        self.found.push((self.path.join("."), slope));
    }
}

/// The gradients of a loss by the names of the weights; `None` of one that does not learn.
fn slopes<M: Module>(loss: &Tensor<1>, module: &M) -> Vec<(String, Option<Vec<f32>>)> {
    let gradients = loss.backward();
    let mut slopes = Slopes { gradients: &gradients, path: Vec::new(), found: Vec::new() };
    module.visit(&mut slopes);
    slopes.found
}

#[test]
fn the_grounded_head_its_loss_and_its_gradients_are_those_of_pytorch() {
    let golden = Golden::load();
    let device = Device::flex().autodiff();
    let head = golden.grounded(&device);
    let (seen, query, wanted) = golden.lesson(&device);
    let said = head.forward(&seen, &query);
    let first_query = |map: &Tensor<3>| flat(&map.clone().narrow(1, 0, 1));
    golden.expect("grounded.embedding", &flat(&head.embed(&seen)), 5e-6);
    golden.expect("grounded.information", &first_query(&said.maps[0]), 5e-4);
    golden.expect("grounded.edge", &first_query(&said.maps[1]), 5e-5);
    golden.expect("grounded.logit", &flat(&said.maps[2]), 3e-5);
    golden.expect("grounded.statistics", &flat(&said.statistics), 2e-4);
    golden.expect("grounded.weights", &flat(&said.weights), 5e-6);
    golden.expect("grounded.relevance", &flat(&said.relevance), 5e-5);

    let loss = wanted.loss(&said);
    golden.expect("grounded.loss", &flat(&loss), 2e-6);
    let slopes = slopes(&loss, &head);
    assert_eq!(slopes.len(), 14);
    for (name, slope) in slopes {
        let name = format!("grounded.gradient.{name}");
        let largest = golden.numbers(&name).into_iter().map(f32::abs).fold(0.0, f32::max);
        match slope {
            Some(slope) => golden.expect(&name, &slope, 3e-5 * largest),
            // Its gradient is rounding, and nothing else.
            None => assert!(name.ends_with("texture_proj.2.bias") && largest < 1e-6, "{name}"),
        }
    }
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
fn what_matters_to_nobody_in_particular_is_learned_from_shares() {
    let golden = Golden::load();
    let device = Device::flex().autodiff();
    let (seen, ..) = golden.lesson(&device);
    assert!(golden.grounded(&device).allocate(&seen).is_none());

    let mut weights = golden.plain_weights();
    weights.push(("participatory_scorer.query".to_owned(), vec![WIDTH], vec![0.5; WIDTH]));
    let head = Grounded::new(WIDTH, &device).with_learned_query(WIDTH, &device);
    let head = write(head, &weights).unwrap();
    let said = head.allocate(&seen).unwrap();
    assert_eq!(said.relevance.dims(), [3, 1, PATCHES]);
    // The last image has no masks.
    let share = [1.0 / PATCHES as f32, 1.0 / PATCHES as f32, 0.0].map(|share| [share; PATCHES]).concat();
    let share = Tensor::from_data(TensorData::new(share, [3, PATCHES]), &device);
    let loss = Shares { share, patch_valid: seen.valid() }.loss(&said);
    assert!(flat(&loss)[0] >= (PATCHES as f32).ln() - 1e-3, "no shares are more even than these");
    for (name, slope) in slopes(&loss, &head) {
        // A learned vector has no place.
        let learns = !name.ends_with("falloff") && !name.ends_with("texture_proj.2.bias");
        let slope = slope.unwrap_or_default();
        assert!(slope.iter().all(|slope| slope.is_finite()) && slope.is_empty() != learns, "{name}");
    }
}

#[test]
fn weights_come_back_under_pytorchs_names_and_faults_are_named() {
    let golden = Golden::load();
    let weights = golden.plain_weights();
    let back = read(&golden.grounded(&Device::flex())).unwrap();
    assert_eq!(back, weights);
    assert_eq!(size(&back), golden.grounded(&Device::flex()).num_params());
    let verbatim = read(&golden.verbatim()).unwrap();
    assert_eq!(verbatim.len(), 10);
    assert!(verbatim.iter().all(|weight| weights.contains(weight)));

    let error = write(Verbatim::new(64, &Device::flex()), &weights).unwrap_err().to_string();
    assert!(error.contains("weight_predictor.0.weight is of shape [128, 41], the head has [128, 73]"), "{error}");
    let error = write(Grounded::new(WIDTH, &Device::flex()), &verbatim).unwrap_err().to_string();
    assert!(error.contains("the weights have no participatory_scorer.scale"), "{error}");
}

/// Two images of 8 x 8 patches, the second one with padding, and two queries each: quick to take many steps on.
fn small_lesson(device: &Device) -> (Seen, Query, Wanted) {
    let numbers = |count: usize, pace: f32| (0..count).map(|at| (at as f32 * pace).sin() * 0.5 + 0.5).collect();
    let valid = |at: usize| f32::from(u8::from(at < 100));
    let patches = Patches {
        grid: 8,
        texture: numbers(2 * CHANNELS * 64, 0.7),
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
    fn new(head: Grounded) -> Self {
        Self { head, optimizer: adamw() }
    }

    fn steps(mut self, numbers: std::ops::Range<u32>, (seen, query, wanted): &(Seen, Query, Wanted)) -> Self {
        for number in numbers {
            let loss = wanted.loss(&self.head.forward(seen, query));
            let gradients = GradientsParams::from_grads(loss.backward(), &self.head);
            self.head = self.optimizer.step(1e-2 / f64::from(number + 1), self.head, gradients);
        }
        self
    }

    /// What a checkpoint keeps of it.
    fn kept(&self) -> (Vec<Plain>, State) {
        (read(&self.head).unwrap(), state(&self.optimizer, &self.head).unwrap())
    }

    fn resumed(head: Grounded, (weights, state): &(Vec<Plain>, State)) -> Self {
        let head = write(head, weights).unwrap();
        let optimizer = restored(&head, state).unwrap();
        Self { head, optimizer }
    }
}

#[test]
fn a_run_that_stops_and_goes_on_is_bit_for_bit_the_one_that_does_not() {
    let golden = Golden::load();
    let device = Device::flex().autodiff();
    let lesson = small_lesson(&device);
    let new = || Run::new(golden.grounded(&device));
    let through = new().steps(0..20, &lesson).kept();
    assert_eq!(new().steps(0..20, &lesson).kept(), through);

    let half = new().steps(0..10, &lesson).kept();
    assert_ne!(half.0, through.0);
    let resumed = Run::resumed(Grounded::new(WIDTH, &device), &half);
    assert_eq!(resumed.kept(), half);
    assert_eq!(resumed.steps(10..20, &lesson).kept(), through);
    // Without its memory it is another run.
    let forgetful = Run { head: write(Grounded::new(WIDTH, &device), &half.0).unwrap(), optimizer: adamw() };
    assert_ne!(forgetful.steps(10..20, &lesson).kept().0, through.0);

    let (step, names) = (through.1.step, through.1.moments.iter().map(|(name, ..)| &**name).collect::<Vec<_>>());
    assert_eq!((step, names.len()), (20, 26));
    assert_eq!((names[0], names[25]), ("adam.m.balancer.bias", "adam.v.participatory_scorer.texture_proj.2.weight"));
    assert_eq!(new().kept().1, State { step: 0, moments: Vec::new() });
}

#[test]
fn moments_that_do_not_fit_are_named() {
    let golden = Golden::load();
    let device = Device::flex().autodiff();
    let (head, mut state) = (golden.grounded(&device), Run::new(golden.grounded(&device)));
    state = state.steps(0..1, &small_lesson(&device));
    let mut state = state.kept().1;
    state.moments[0].1 = vec![1, 1];
    let error = restored(&head, &state).err().unwrap().to_string();
    assert!(error.contains("adam.m.balancer.bias is of shape [1, 1], the weight has [1]"), "{error}");
    state.moments[0].0 = "adam.m.somebody".to_owned();
    let error = restored(&head, &state).err().unwrap().to_string();
    assert!(error.contains("the head has no weight for adam.m.somebody"), "{error}");
}

#[test]
fn only_the_parts_that_shall_learn_change() {
    let golden = Golden::load();
    let device = Device::flex().autodiff();
    let lesson = small_lesson(&device);
    for (scorer, balancer) in [(true, true), (false, true), (true, false)] {
        let run = Run::new(golden.grounded(&device).learning(scorer, balancer)).steps(0..3, &lesson);
        let (weights, state) = run.kept();
        for (before, after) in golden.plain_weights().iter().zip(&weights) {
            let name = &after.0;
            let learns = if name.starts_with("balancer") { balancer } else { scorer };
            let learns = learns && !name.ends_with("texture_proj.2.bias");
            assert_eq!(before != after, learns, "{name}");
            assert_eq!(state.moments.iter().any(|moment| moment.0 == format!("adam.m.{name}")), learns, "{name}");
        }
    }
}

/// Burn counts the corrections of its means in f32; that is as far as it may be from PyTorch's formula.
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
    let (mut optimizer, rate) = (adamw(), 1e-2);
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
        println!("{found} {expected}");
        assert!((f64::from(found) - expected).abs() <= 1e-5 * expected.abs().max(1.0), "{found} {expected}");
    }
}

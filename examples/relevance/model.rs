//! What the training loop asks of a framework.

use std::error::Error;

use maskstream::Epoch;

use super::args::{Freeze, Settings, Task};
use super::lesson::{Ask, Lesson};
use super::named::Named;

/// Anything can go wrong: shards, files, the framework.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A head with its optimizer, on its device.
pub(crate) trait Model {
    /// The lessons that an epoch's batches hold. They are taken from tensors on the CPU, as that is where textures are
    /// made; what a head needs of them goes to its device.
    fn lessons<'a>(&self, epoch: Epoch, ask: &'a Ask) -> Box<dyn Iterator<Item = Result<Lesson>> + 'a>;

    /// One step at this learning rate; goes out: the loss before it.
    fn learn(&mut self, lesson: &Lesson, learning_rate: f64) -> Result<f32>;

    /// What the head says.
    fn answer(&self, lesson: &Lesson) -> Result<Answers>;

    /// All weights, and the optimizer's moments under [`MOMENTS`].
    fn state(&self) -> Result<Named>;
}

/// What a head says of each query, or of each image where nobody asks (Q is 1).
pub(crate) struct Answers {
    /// `[B, Q, N]`: log-odds.
    pub(crate) relevance: Vec<f32>,
    /// `[B, Q, 3]`: shares of information, edges and the participatory map.
    pub(crate) weights: Vec<f32>,
}

/// Names of an optimizer's first and second moments begin so, followed by the name of the weight.
pub(crate) const MOMENTS: [&str; 2] = ["adam.m.", "adam.v."];
/// Name of the number of steps that the optimizer has made.
pub(crate) const OPTIMIZER_STEPS: &str = "adam.steps";

/// AdamW as in PyTorch: decay of the moments and of the weights, and what keeps a division finite.
pub(crate) const BETAS: [f64; 2] = [0.9, 0.999];
pub(crate) const EPSILON: f64 = 1e-8;
pub(crate) const WEIGHT_DECAY: f64 = 1e-4;

/// How fast the weight of this name learns, as a multiple of the learning rate. The four numbers have far to go, and say
/// how sharp the relevance is. Where they are too slow for that, the balancer does it, by mixing in maps that do not know
/// what is asked for.
pub(crate) fn pace(name: &str) -> f64 {
    match name {
        "participatory_scorer.scale"
        | "participatory_scorer.margin"
        | "participatory_scorer.falloff"
        | "balancer.bias" => 10.0,
        _ if name.starts_with("balancer.") => 0.03,
        _ => 1.0,
    }
}

/// Whether the grounded head learns the weight of this name.
pub(crate) fn learns(name: &str, settings: &Settings) -> bool {
    let is_frozen = match settings.freeze {
        Freeze::None => false,
        Freeze::Scorer => name.starts_with("participatory_scorer."),
        Freeze::Balancer => name.starts_with("balancer."),
    };
    // What centring, or a softmax, takes away again has rounding for a gradient, which Adam would make steps of.
    let is_moot = match settings.task {
        Task::Point => name == "participatory_scorer.texture_proj.2.bias",
        Task::Allocate => ["participatory_scorer.texture_proj.2.bias", "balancer.bias"].contains(&name),
    };
    !is_frozen && !is_moot
}

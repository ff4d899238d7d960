//! The interface between the training loop and a framework, and the optimizer's constants.

use maskstream::Epoch;

use crate::args::{Freeze, Settings, Task};
use crate::query::QuerySampler;
use crate::result::Result;
use crate::state_dict::StateDict;
use crate::training_batch::TrainingBatch;

/// A head with its optimizer, on its device.
pub trait Model {
    /// Turns the batches of an epoch into training batches. Textures are computed on the CPU, so the loader's tensors
    /// are CPU tensors; the model copies what it needs to its device.
    fn batches<'a>(
        &self,
        epoch: Epoch,
        sampler: &'a QuerySampler,
    ) -> Box<dyn Iterator<Item = Result<TrainingBatch>> + 'a>;

    /// Makes one optimizer step at this learning rate. Returns the loss before the step.
    fn train_step(&mut self, batch: &TrainingBatch, learning_rate: f64) -> Result<f32>;

    /// Runs the head without training it.
    fn predict(&self, batch: &TrainingBatch) -> Result<Predictions>;

    /// All weights, the optimizer's moments (named by [`MOMENTS`]) and its step count ([`OPTIMIZER_STEPS`]).
    fn state_dict(&self) -> Result<StateDict>;
}

/// Output of a head for B images with Q queries each, of N patches. Q is 1 for the task `allocate`.
pub struct Predictions {
    /// `[B, Q, N]`: logits.
    pub relevance: Vec<f32>,
    /// `[B, Q, 3]`: the balancer's weights of the information, edge and participatory maps.
    pub weights: Vec<f32>,
}

/// Prefixes of an optimizer's first and second moments; the name of the weight follows.
pub const MOMENTS: [&str; 2] = ["adam.m.", "adam.v."];
/// Name of the optimizer's step count.
pub const OPTIMIZER_STEPS: &str = "adam.steps";

/// Constants of AdamW, as in PyTorch.
pub const BETAS: [f64; 2] = [0.9, 0.999];
pub const EPSILON: f64 = 1e-8;
pub const WEIGHT_DECAY: f64 = 1e-4;

/// Multiplier of the learning rate for the weight of this name.
///
/// The four scalars set how sharp the relevance is and have far to go. If they learn too slowly, the balancer makes up
/// for it by mixing in maps that do not depend on the query, so it is slowed down.
pub fn lr_multiplier(name: &str) -> f64 {
    match name {
        "participatory_scorer.scale"
        | "participatory_scorer.margin"
        | "participatory_scorer.falloff"
        | "balancer.bias" => 10.0,
        _ if name.starts_with("balancer.") => 0.03,
        _ => 1.0,
    }
}

/// Whether the weight of this name is trained.
pub fn is_trainable(name: &str, settings: &Settings) -> bool {
    let is_frozen = match settings.freeze {
        Freeze::None => false,
        Freeze::Scorer => name.starts_with("participatory_scorer."),
        Freeze::Balancer => name.starts_with("balancer."),
    };
    // The centring, or the softmax, cancels these biases: their gradient is rounding noise, which Adam would amplify.
    let cancels_out = match settings.task {
        Task::Point => name == "participatory_scorer.texture_proj.2.bias",
        Task::Allocate => ["participatory_scorer.texture_proj.2.bias", "balancer.bias"].contains(&name),
    };
    !is_frozen && !cancels_out
}

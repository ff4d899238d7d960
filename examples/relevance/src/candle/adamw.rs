//! AdamW as in PyTorch, with moments that can be saved: candle's own optimizer does not expose them.

use candle_core::backprop::GradStore;
use candle_core::{Device, Result, Tensor, Var, bail};

use super::weights::{Weights, array};
use crate::model::{BETAS, EPSILON, MOMENTS, OPTIMIZER_STEPS, WEIGHT_DECAY, lr_multiplier};
use crate::state_dict::{Array, StateDict};

/// The optimizer and its state.
pub struct AdamW {
    steps: f64,
    parameters: Vec<Parameter>,
}

/// A variable with its first and second moment.
struct Parameter {
    name: String,
    /// Multiplier of the learning rate.
    lr_multiplier: f64,
    variable: Var,
    moments: [Tensor; 2],
}

impl AdamW {
    /// An optimizer of the weights whose names `is_trainable` accepts, each with its [`lr_multiplier`]. Moments and
    /// step count come from `state`, or start at zero. Fails if a moment has another shape than its weight.
    pub fn new(weights: &Weights, is_trainable: impl Fn(&str) -> bool, state: &StateDict) -> Result<Self> {
        let parameter = |(name, variable): (&str, &Var)| {
            let [first, second] = MOMENTS.map(|moment| saved_or_zero(state.get(&format!("{moment}{name}")), variable));
            let (name, lr_multiplier, variable) = (name.to_owned(), lr_multiplier(name), variable.clone());
            Ok(Parameter { name, lr_multiplier, variable, moments: [first?, second?] })
        };
        let parameters = weights.iter().filter(|(name, _)| is_trainable(name)).map(parameter).collect::<Result<_>>()?;
        let steps = state.get(OPTIMIZER_STEPS).and_then(|steps| steps.values.first()).copied().unwrap_or(0.0);
        Ok(Self { steps: f64::from(steps), parameters })
    }

    /// Makes one step.
    pub fn step(&mut self, gradients: &GradStore, learning_rate: f64) -> Result<()> {
        self.steps += 1.0;
        let [first_correction, second_correction] = BETAS.map(|beta| 1.0 - beta.powf(self.steps));
        for Parameter { variable, moments, lr_multiplier, .. } in &mut self.parameters {
            // A weight that the loss does not depend on has no gradient and is left alone.
            let Some(gradient) = gradients.get(variable.as_tensor()) else { continue };
            let first = ((&moments[0] * BETAS[0])? + (gradient * (1.0 - BETAS[0]))?)?;
            let second = ((&moments[1] * BETAS[1])? + (gradient.sqr()? * (1.0 - BETAS[1]))?)?;
            let learning_rate = learning_rate * *lr_multiplier;
            let step = ((&first / first_correction)? / ((&second / second_correction)?.sqrt()? + EPSILON)?)?;
            let decayed = (variable.as_tensor() * (1.0 - learning_rate * WEIGHT_DECAY))?;
            variable.set(&(decayed - (step * learning_rate)?)?)?;
            // Detached, or the autograd graph would grow with each step.
            *moments = [first.detach(), second.detach()];
        }
        Ok(())
    }

    /// The moments and the step count.
    pub fn state_dict(&self) -> Result<StateDict> {
        let moments = self.parameters.iter().flat_map(|Parameter { name, moments, .. }| {
            MOMENTS.iter().zip(moments).map(move |(moment, tensor)| Ok((format!("{moment}{name}"), array(tensor)?)))
        });
        let steps = Array::vector(vec![self.steps as f32]);
        moments.chain([Ok((OPTIMIZER_STEPS.to_owned(), steps))]).collect()
    }
}

/// A saved moment of a variable, or zeros.
fn saved_or_zero(saved: Option<&Array>, variable: &Var) -> Result<Tensor> {
    let device: &Device = variable.device();
    match saved {
        Some(saved) if saved.shape == variable.dims() => Tensor::from_slice(&saved.values, variable.dims(), device),
        Some(saved) => bail!("a moment has the shape {:?}, but its weight has {:?}", saved.shape, variable.dims()),
        None => variable.zeros_like(),
    }
}

//! AdamW as PyTorch has it, with moments that can be saved: candle's own keeps them to itself. Comes in: variables and
//! their gradients. Goes out: the variables changed. Fails as candle does.

use candle_core::backprop::GradStore;
use candle_core::{Device, Result, Tensor, Var, bail};

use super::super::model::{BETAS, EPSILON, MOMENTS, OPTIMIZER_STEPS, WEIGHT_DECAY, pace};
use super::super::named::{Array, Named};
use super::weights::{Weights, array};

/// The optimizer of some variables.
pub(crate) struct AdamW {
    steps: f64,
    learned: Vec<Learned>,
}

/// A variable with its first and second moment.
struct Learned {
    name: String,
    /// Multiple of the learning rate.
    pace: f64,
    variable: Var,
    moments: [Tensor; 2],
}

impl AdamW {
    /// For those of `weights` that `learns` names, each at its [`pace`], with the moments that `state` has of them, or none yet.
    pub(crate) fn new(weights: &Weights, learns: impl Fn(&str) -> bool, state: &Named) -> Result<Self> {
        let learn = |(name, variable): (&str, &Var)| {
            let moments = MOMENTS.map(|moment| moment_of(state.get(&format!("{moment}{name}")), variable));
            let [first, second] = moments;
            let (name, pace, variable) = (name.to_owned(), pace(name), variable.clone());
            Ok(Learned { name, pace, variable, moments: [first?, second?] })
        };
        let learned = weights.iter().filter(|(name, _)| learns(name)).map(learn).collect::<Result<_>>()?;
        let steps = state.get(OPTIMIZER_STEPS).and_then(|steps| steps.values.first()).copied().unwrap_or(0.0);
        Ok(Self { steps: f64::from(steps), learned })
    }

    /// One step along the gradients.
    pub(crate) fn step(&mut self, gradients: &GradStore, learning_rate: f64) -> Result<()> {
        self.steps += 1.0;
        let [first_rest, second_rest] = BETAS.map(|beta| 1.0 - beta.powf(self.steps));
        for Learned { variable, moments, pace, .. } in &mut self.learned {
            // What the loss does not depend on stays as it is.
            let Some(gradient) = gradients.get(variable.as_tensor()) else { continue };
            let first = ((&moments[0] * BETAS[0])? + (gradient * (1.0 - BETAS[0]))?)?;
            let second = ((&moments[1] * BETAS[1])? + (gradient.sqr()? * (1.0 - BETAS[1]))?)?;
            let learning_rate = learning_rate * *pace;
            let step = ((&first / first_rest)? / ((&second / second_rest)?.sqrt()? + EPSILON)?)?;
            let decayed = (variable.as_tensor() * (1.0 - learning_rate * WEIGHT_DECAY))?;
            variable.set(&(decayed - (step * learning_rate)?)?)?;
            // Cut off from the gradients' graph, which would otherwise grow with each step.
            *moments = [first.detach(), second.detach()];
        }
        Ok(())
    }

    /// Its moments, and the number of its steps.
    pub(crate) fn state(&self) -> Result<Named> {
        let moments = self.learned.iter().flat_map(|Learned { name, moments, .. }| {
            MOMENTS.iter().zip(moments).map(move |(moment, tensor)| Ok((format!("{moment}{name}"), array(tensor)?)))
        });
        let steps = Array::list(vec![self.steps as f32]);
        moments.chain([Ok((OPTIMIZER_STEPS.to_owned(), steps))]).collect()
    }
}

/// As it was, or zero.
fn moment_of(saved: Option<&Array>, variable: &Var) -> Result<Tensor> {
    let device: &Device = variable.device();
    match saved {
        Some(saved) if saved.shape == variable.dims() => Tensor::from_slice(&saved.values, variable.dims(), device),
        Some(saved) => bail!("a moment is of shape {:?}, its weight of {:?}", saved.shape, variable.dims()),
        None => variable.zeros_like(),
    }
}

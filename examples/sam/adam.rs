//! Adam, with a state that can be saved: candle's own keeps its moments to itself.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Tensor, Var, safetensors};
use candle_nn::VarMap;
use maskstream::Cursor;

use super::Result;

/// The weights by name, each with its two moments.
pub(crate) struct Adam {
    vars: Vec<(String, [Var; 3])>,
    pub(crate) steps: u64,
}

impl Adam {
    pub(crate) fn new(weights: &VarMap) -> Result<Self> {
        let weights = weights.data().lock().map_err(|_| "a thread has failed")?;
        let with_moments = |(name, var): (&String, &Var)| -> candle_core::Result<_> {
            let zeros = || Var::from_tensor(&var.zeros_like()?);
            Ok((name.clone(), [var.clone(), zeros()?, zeros()?]))
        };
        Ok(Self { vars: weights.iter().map(with_moments).collect::<candle_core::Result<_>>()?, steps: 0 })
    }

    pub(crate) fn step(&mut self, loss: &Tensor, rate: f64) -> candle_core::Result<()> {
        self.steps += 1;
        let gradients = loss.backward()?;
        let rate = rate * (1.0 - 0.999_f64.powf(self.steps as f64)).sqrt() / (1.0 - 0.9_f64.powf(self.steps as f64));
        for (_, [weight, first, second]) in &self.vars {
            let Some(gradient) = gradients.get(weight) else { continue };
            first.set(&((first.as_tensor() * 0.9)? + (gradient * 0.1)?)?)?;
            second.set(&((second.as_tensor() * 0.999)? + (gradient.sqr()? * 0.001)?)?)?;
            weight.set(&(weight.as_tensor() - ((first.as_tensor() / (second.sqrt()? + 1e-8)?)? * rate)?)?)?;
        }
        Ok(())
    }

    /// Writes weights, moments and the place in the data in one file, which appears whole.
    pub(crate) fn save(&self, path: &Path, cursor: Option<Cursor>) -> Result<()> {
        let place = serde_json::to_vec(&(self.steps, cursor))?;
        let mut tensors = HashMap::from([("place".to_owned(), Tensor::new(place, &Device::Cpu)?)]);
        for (name, vars) in &self.vars {
            tensors.extend((0..).zip(vars).map(|(i, var)| (format!("{name}.{i}"), var.as_tensor().clone())));
        }
        safetensors::save(&tensors, path.with_extension("part"))?;
        Ok(std::fs::rename(path.with_extension("part"), path)?)
    }

    /// Reads what `save` has written; returns the place in the data. Nothing happens if there is no such file.
    pub(crate) fn load(&mut self, path: &Path) -> Result<Option<Cursor>> {
        if !path.exists() {
            return Ok(None);
        }
        let tensors = safetensors::load(path, &Device::Cpu)?;
        for (name, vars) in &self.vars {
            for (i, var) in vars.iter().enumerate() {
                var.set(&tensors[&format!("{name}.{i}")])?;
            }
        }
        let (steps, cursor) = serde_json::from_slice(&tensors["place"].to_vec1::<u8>()?)?;
        self.steps = steps;
        Ok(cursor)
    }
}

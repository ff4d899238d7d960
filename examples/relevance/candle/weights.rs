//! Weights by the names that PyTorch's modules give them, so that a file of either opens in the other. Comes in: tensors
//! or a file. Goes out: variables to train, and a file. Fails as candle does, and on weights that are missing or of
//! another shape.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{Device, Result, Tensor, Var, bail};

/// Named variables.
#[derive(Debug)]
pub(crate) struct Weights(BTreeMap<String, Var>);

impl Weights {
    /// Those of `shapes`, out of a larger collection.
    pub(crate) fn take(tensors: &HashMap<String, Tensor>, shapes: &[(String, Vec<usize>)]) -> Result<Self> {
        let take = |(name, shape): &(String, Vec<usize>)| {
            let Some(tensor) = tensors.get(name) else { bail!("the weights have no {name}") };
            if tensor.dims() != shape {
                bail!("{name} is of shape {:?}, the head has {shape:?}", tensor.dims());
            }
            Ok((name.clone(), Var::from_tensor(tensor)?))
        };
        shapes.iter().map(take).collect::<Result<_>>().map(Self)
    }

    /// The same from a safetensors file.
    pub(crate) fn load(path: &Path, shapes: &[(String, Vec<usize>)], device: &Device) -> Result<Self> {
        Self::take(&candle_core::safetensors::load(path, device)?, shapes)
    }

    /// Writes a safetensors file.
    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        let tensors: HashMap<_, _> = self.0.iter().map(|(name, var)| (name, var.as_tensor().clone())).collect();
        candle_core::safetensors::save(&tensors, path)
    }

    /// The weight of this name.
    pub(crate) fn get(&self, name: &str) -> Result<&Tensor> {
        match self.0.get(name) {
            Some(var) => Ok(var.as_tensor()),
            None => bail!("the head has no weight {name}"),
        }
    }

    /// Names and variables, in the order of the names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Var)> {
        self.0.iter().map(|(name, var)| (name.as_str(), var))
    }

    /// Number of trained numbers.
    pub(crate) fn size(&self) -> usize {
        self.0.values().map(|var| var.elem_count()).sum()
    }
}

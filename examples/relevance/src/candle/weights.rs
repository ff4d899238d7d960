//! The weights of a head as candle variables, by the names of PyTorch's modules.

use std::collections::BTreeMap;

use candle_core::{Device, Result, Tensor, Var, bail};

use crate::state_dict::{Array, StateDict};

/// Variables by name.
#[derive(Debug)]
pub struct Weights(BTreeMap<String, Var>);

impl Weights {
    /// Creates a variable on `device` for each array.
    pub fn new(state: &StateDict, device: &Device) -> Result<Self> {
        let variable = |(name, array): (&String, &Array)| {
            Ok((name.clone(), Var::from_slice(&array.values, array.shape.as_slice(), device)?))
        };
        state.iter().map(variable).collect::<Result<_>>().map(Self)
    }

    /// The weights as arrays.
    pub fn state_dict(&self) -> Result<StateDict> {
        self.0.iter().map(|(name, var)| Ok((name.clone(), array(var.as_tensor())?))).collect()
    }

    /// The weight of this name. Fails if there is none.
    pub fn get(&self, name: &str) -> Result<&Tensor> {
        match self.0.get(name) {
            Some(var) => Ok(var.as_tensor()),
            None => bail!("the head has no weight {name}"),
        }
    }

    /// Names and variables, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Var)> {
        self.0.iter().map(|(name, var)| (name.as_str(), var))
    }
}

/// Copies a tensor into an array.
pub fn array(tensor: &Tensor) -> Result<Array> {
    Ok(Array { shape: tensor.dims().to_vec(), values: tensor.flatten_all()?.to_vec1()? })
}

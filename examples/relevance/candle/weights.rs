//! Weights by the names that PyTorch's modules give them. Comes in: arrays. Goes out: variables to train, and arrays.
//! Fails as candle does, and on weights that are missing.

use std::collections::BTreeMap;

use candle_core::{Device, Result, Tensor, Var, bail};

use super::super::named::{Array, Named};

/// Named variables.
#[derive(Debug)]
pub(crate) struct Weights(BTreeMap<String, Var>);

impl Weights {
    /// Those of `arrays`.
    pub(crate) fn new(arrays: &Named, device: &Device) -> Result<Self> {
        let variable = |(name, array): (&String, &Array)| {
            Ok((name.clone(), Var::from_slice(&array.values, array.shape.as_slice(), device)?))
        };
        arrays.iter().map(variable).collect::<Result<_>>().map(Self)
    }

    /// The other way.
    pub(crate) fn arrays(&self) -> Result<Named> {
        self.0.iter().map(|(name, var)| Ok((name.clone(), array(var.as_tensor())?))).collect()
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
}

/// A tensor's numbers.
pub(crate) fn array(tensor: &Tensor) -> Result<Array> {
    Ok(Array { shape: tensor.dims().to_vec(), values: tensor.flatten_all()?.to_vec1()? })
}

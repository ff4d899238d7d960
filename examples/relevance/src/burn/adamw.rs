//! Burn's AdamW, with its state under PyTorch's names of the weights.
//!
//! An optimizer that is rebuilt from its state continues bit for bit.

use std::collections::BTreeMap;

use burn::lr_scheduler::module_lr_scheduler::{ModuleLearningRate, ModuleLrScheduler};
use burn::module::{Module, ParamGroup, ParamId};
use burn::optim::{AdamWConfig, ModuleOptimizer};
use burn_pack::{Reader, Scalar, Writer};

use super::weights::{pack, unpack, weights_with_ids};
use crate::model::{BETAS, EPSILON, MOMENTS, OPTIMIZER_STEPS, WEIGHT_DECAY, lr_multiplier};
use crate::result::Result;
use crate::state_dict::{Array, StateDict};

/// Burn's names of the moments; the id of the weight precedes them.
const BURN_MOMENTS: [&str; 2] = ["momentum.moment_1", "momentum.moment_2"];
/// Burn's name of the step count, which it keeps per weight.
const BURN_STEPS: &str = "momentum.time";

/// An optimizer of the weights of `module`. Moments and step count come from `state`, or start at zero. Fails if a
/// moment has another shape than its weight.
pub fn new<M: Module>(module: &M, state: &StateDict) -> Result<ModuleOptimizer> {
    let steps = state.get(OPTIMIZER_STEPS).and_then(|steps| steps.values.first()).copied().unwrap_or(0.0);
    let (mut tensors, mut counts) = (Vec::new(), BTreeMap::new());
    for (id, name, weight) in weights_with_ids(module)? {
        for (moment, burn_name) in MOMENTS.iter().zip(BURN_MOMENTS) {
            let Some(saved) = state.get(&format!("{moment}{name}")) else { continue };
            if saved.shape != weight.shape {
                let (found, expected) = (&saved.shape, &weight.shape);
                return Err(format!("{moment}{name} has the shape {found:?}, but its weight has {expected:?}").into());
            }
            tensors.push(pack(id, format!("{id}.{burn_name}"), saved));
            counts.insert(format!("{id}.{BURN_STEPS}"), Scalar::UInt(steps as u64));
        }
    }
    let add_count = |record: Writer, (name, &steps): (&String, &Scalar)| record.with_scalar(name, steps);
    let record = counts.iter().fold(Writer::new(tensors), add_count).into_bytes()?;
    let [beta_1, beta_2] = BETAS.map(|beta| beta as f32);
    let config = AdamWConfig::new().with_beta_1(beta_1).with_beta_2(beta_2);
    let config = config.with_epsilon(EPSILON as f32).with_weight_decay(WEIGHT_DECAY as f32);
    Ok(config.init().from_bytes(record)?)
}

/// The weights of a module in groups of the same [`lr_multiplier`].
pub fn lr_multipliers<M: Module>(module: &M) -> Result<Vec<(ParamGroup, f64)>> {
    let mut groups: Vec<(Vec<ParamId>, f64)> = Vec::new();
    for (id, name, _) in weights_with_ids(module)? {
        let (id, multiplier) = (ParamId::from(id), lr_multiplier(&name));
        match groups.iter_mut().find(|(_, other)| *other == multiplier) {
            Some((ids, _)) => ids.push(id),
            None => groups.push((vec![id], multiplier)),
        }
    }
    Ok(groups.into_iter().map(|(ids, multiplier)| (ParamGroup::from_ids(ids), multiplier)).collect())
}

/// The learning rate of each group of weights.
pub fn learning_rates(learning_rate: f64, lr_multipliers: &[(ParamGroup, f64)]) -> ModuleLearningRate {
    let add = |all: ModuleLrScheduler, (group, multiplier): &(ParamGroup, f64)| {
        all.with_group(group.clone(), learning_rate * multiplier)
    };
    lr_multipliers.iter().fold(ModuleLrScheduler::new(learning_rate), add).step()
}

/// The optimizer's moments of a module's weights, and its step count.
pub fn state_dict<M: Module>(optimizer: &ModuleOptimizer, module: &M) -> Result<StateDict> {
    let record = Reader::from_bytes(optimizer.into_bytes()?)?;
    // The maximum: weights that the loss did not always depend on have made fewer steps.
    let steps = record.scalars().iter().filter(|(name, _)| name.ends_with(BURN_STEPS));
    let steps = steps.filter_map(|(_, &steps)| u64::try_from(steps).ok()).max().unwrap_or(0);
    let mut saved: StateDict = unpack(record)?.into_iter().map(|(_, name, array)| (name, array)).collect();
    let mut state = StateDict::from([(OPTIMIZER_STEPS.to_owned(), Array::vector(vec![steps as f32]))]);
    for (id, name, _) in weights_with_ids(module)? {
        for (moment, burn_name) in MOMENTS.iter().zip(BURN_MOMENTS) {
            state.extend(saved.remove(&format!("{id}.{burn_name}")).map(|array| (format!("{moment}{name}"), array)));
        }
    }
    Ok(state)
}

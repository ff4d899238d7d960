//! Burn's AdamW, with moments by PyTorch's names of the weights. Comes in: a module, and moments. Goes out: an optimizer
//! that goes on where another one stopped, bit for bit. Fails on moments of another shape.

use std::collections::BTreeMap;

use burn::lr_scheduler::module_lr_scheduler::{ModuleLearningRate, ModuleLrScheduler};
use burn::module::{Module, ParamGroup, ParamId};
use burn::optim::{AdamWConfig, ModuleOptimizer};
use burn_pack::{Reader, Scalar, Writer};

use super::super::model::{BETAS, EPSILON, MOMENTS, OPTIMIZER_STEPS, Result, WEIGHT_DECAY, pace};
use super::super::named::{Array, Named};
use super::weights::{identified, pack, unpack};

/// Burn's names for the moments, behind its number for the weight, and for the steps, which it counts by weight.
const BURNS: [&str; 2] = ["momentum.moment_1", "momentum.moment_2"];
const BURNS_STEPS: &str = "momentum.time";

/// For the weights of `module` that learn, with the moments that `state` has of them, or none yet.
pub(crate) fn new<M: Module>(module: &M, state: &Named) -> Result<ModuleOptimizer> {
    let steps = state.get(OPTIMIZER_STEPS).and_then(|steps| steps.values.first()).copied().unwrap_or(0.0);
    let (mut tensors, mut counts) = (Vec::new(), BTreeMap::new());
    for (id, name, weight) in identified(module)? {
        for (moment, burns) in MOMENTS.iter().zip(BURNS) {
            let Some(saved) = state.get(&format!("{moment}{name}")) else { continue };
            if saved.shape != weight.shape {
                let message = format!("{moment}{name} is of shape {:?}, its weight of {:?}", saved.shape, weight.shape);
                return Err(message.into());
            }
            tensors.push(pack(id, format!("{id}.{burns}"), saved));
            counts.insert(format!("{id}.{BURNS_STEPS}"), Scalar::UInt(steps as u64));
        }
    }
    let count = |record: Writer, (name, &steps): (&String, &Scalar)| record.with_scalar(name, steps);
    let record = counts.iter().fold(Writer::new(tensors), count).into_bytes()?;
    let [beta_1, beta_2] = BETAS.map(|beta| beta as f32);
    let settings = AdamWConfig::new().with_beta_1(beta_1).with_beta_2(beta_2);
    let settings = settings.with_epsilon(EPSILON as f32).with_weight_decay(WEIGHT_DECAY as f32);
    Ok(settings.init().from_bytes(record)?)
}

/// Which weights learn faster or slower than the others, as multiples of the learning rate: see [`pace`].
pub(crate) fn paces<M: Module>(module: &M) -> Result<Vec<(ParamGroup, f64)>> {
    let mut paces: Vec<(Vec<ParamId>, f64)> = Vec::new();
    for (id, name, _) in identified(module)? {
        let (id, own) = (ParamId::from(id), pace(&name));
        match paces.iter_mut().find(|(_, pace)| *pace == own) {
            Some((ids, _)) => ids.push(id),
            None => paces.push((vec![id], own)),
        }
    }
    Ok(paces.into_iter().map(|(ids, pace)| (ParamGroup::from_ids(ids), pace)).collect())
}

/// A learning rate with its multiples.
pub(crate) fn paced(learning_rate: f64, paces: &[(ParamGroup, f64)]) -> ModuleLearningRate {
    let add =
        |all: ModuleLrScheduler, (group, pace): &(ParamGroup, f64)| all.with_group(group.clone(), learning_rate * pace);
    paces.iter().fold(ModuleLrScheduler::new(learning_rate), add).step()
}

/// The optimizer's moments of a module's weights, and the number of its steps.
pub(crate) fn state<M: Module>(optimizer: &ModuleOptimizer, module: &M) -> Result<Named> {
    let record = Reader::from_bytes(optimizer.into_bytes()?)?;
    // What a loss does not depend on has been through fewer.
    let steps = record.scalars().iter().filter(|(name, _)| name.ends_with(BURNS_STEPS));
    let steps = steps.filter_map(|(_, &steps)| u64::try_from(steps).ok()).max().unwrap_or(0);
    let mut saved: Named = unpack(record)?.into_iter().map(|(_, name, array)| (name, array)).collect();
    let mut state = Named::from([(OPTIMIZER_STEPS.to_owned(), Array::list(vec![steps as f32]))]);
    for (id, name, _) in identified(module)? {
        for (moment, burns) in MOMENTS.iter().zip(BURNS) {
            state.extend(saved.remove(&format!("{id}.{burns}")).map(|array| (format!("{moment}{name}"), array)));
        }
    }
    Ok(state)
}

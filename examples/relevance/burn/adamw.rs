//! AdamW, and what it remembers, by PyTorch's names of the weights. Comes in: a module and moments. Goes out: an
//! optimizer that goes on where another one stopped, bit for bit. Fails on moments that do not fit the module.

use std::collections::BTreeMap;

use burn::module::Module;
use burn::optim::{AdamWConfig, ModuleOptimizer};
use burn::store::RecordError;
use burn::tensor::Bytes;
use burn_pack::{Reader, Scalar, Writer};

use super::weights::{Plain, identified, pack, unpack};

/// What an optimizer remembers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct State {
    /// Steps done.
    pub(crate) step: u64,
    /// The means of the gradients (`adam.m.` and the name of the weight) and of their squares (`adam.v.` and the name), of
    /// all weights that have learned so far.
    pub(crate) moments: Vec<Plain>,
}

/// Our names for the means, and Burn's.
const MEANS: [(&str, &str); 2] = [("adam.m", "momentum.moment_1"), ("adam.v", "momentum.moment_2")];
/// Burn's name for the number of steps, which it counts for each weight.
const STEP: &str = "momentum.time";

/// The optimizer as PyTorch sets it up, but for a smaller weight decay.
pub(crate) fn adamw() -> ModuleOptimizer {
    AdamWConfig::new().with_beta_1(0.9).with_beta_2(0.999).with_epsilon(1e-8).with_weight_decay(1e-4).init()
}

/// What the optimizer of `module` remembers.
pub(crate) fn state<M: Module>(optimizer: &ModuleOptimizer, module: &M) -> Result<State, RecordError> {
    let record = Reader::from_bytes(optimizer.into_bytes()?)?;
    let steps = record.scalars().iter().filter(|(name, _)| name.ends_with(STEP));
    let mut steps: Vec<u64> = steps.filter_map(|(_, &step)| step.try_into().ok()).collect();
    steps.dedup();
    let &[step] = &steps[..] else {
        if steps.is_empty() {
            return Ok(State { step: 0, moments: Vec::new() });
        }
        return Err(invalid("some weights have learned for fewer steps than others".to_owned()));
    };
    let mut means: BTreeMap<String, Plain> =
        unpack(record)?.into_iter().map(|(_, mean)| (mean.0.clone(), mean)).collect();
    let weights = identified(module)?;
    let moments = MEANS.iter().flat_map(|(ours, burns)| weights.iter().map(move |weight| (ours, burns, weight)));
    let moments = moments.filter_map(|(ours, burns, (id, (name, ..)))| {
        let (_, shape, numbers) = means.remove(&format!("{id}.{burns}"))?;
        Some((format!("{ours}.{name}"), shape, numbers))
    });
    Ok(State { step, moments: moments.collect() })
}

/// A new optimizer for `module` that remembers `state`.
pub(crate) fn restored<M: Module>(module: &M, state: &State) -> Result<ModuleOptimizer, RecordError> {
    let mut moments: BTreeMap<&str, &Plain> = state.moments.iter().map(|moment| (&*moment.0, moment)).collect();
    let (mut tensors, mut ids) = (Vec::new(), Vec::new());
    for (id, (name, shape, _)) in identified(module)? {
        for (ours, burns) in MEANS {
            let ours = format!("{ours}.{name}");
            let Some(moment) = moments.remove(&*ours) else { continue };
            if moment.1 != shape {
                return Err(invalid(format!("{ours} is of shape {:?}, the weight has {shape:?}", moment.1)));
            }
            tensors.push(pack(id, &format!("{id}.{burns}"), moment));
            ids.push(id);
        }
    }
    if let Some(name) = moments.keys().next() {
        return Err(invalid(format!("the head has no weight for {name}")));
    }
    let step = |record: Writer, id: &u64| record.with_scalar(&format!("{id}.{STEP}"), Scalar::UInt(state.step));
    let record: Bytes = ids.iter().fold(Writer::new(tensors), step).into_bytes()?;
    adamw().from_bytes(record)
}

fn invalid(message: String) -> RecordError {
    RecordError::Validation(message)
}

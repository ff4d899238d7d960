//! Initial weights: the same for every framework and machine.

use std::collections::BTreeMap;

use crate::hyperparams::{BIAS, FALLOFF, MARGIN, SCALE};
use crate::rng::Rng;
use crate::state_dict::{Array, StateDict};

/// Draws weights of these names and shapes as PyTorch's layers do: weights and biases uniformly within plus and minus
/// 1 / sqrt(inputs of the layer). The four scalars start at the values of [`crate::hyperparams`]; a learned query is
/// drawn between -1 and 1. Each array depends on the seed and on its name only.
pub fn init_weights(shapes: &[(String, Vec<usize>)], seed: u64) -> StateDict {
    let by_name: BTreeMap<&str, &[usize]> = shapes.iter().map(|(name, shape)| (name.as_str(), &shape[..])).collect();
    let inputs = |name: &str| -> usize {
        let layer = name.trim_end_matches(".bias").trim_end_matches(".weight");
        by_name.get(format!("{layer}.weight").as_str()).map_or(1, |shape| shape[1..].iter().product())
    };
    let draw = |(&name, shape): (&&str, &&[usize])| {
        let values = match name {
            "participatory_scorer.scale" => vec![SCALE],
            "participatory_scorer.margin" => vec![MARGIN],
            "participatory_scorer.falloff" => vec![FALLOFF],
            "balancer.bias" => vec![BIAS],
            _ => {
                let keys: Vec<u64> = [seed].into_iter().chain(name.bytes().map(u64::from)).collect();
                let mut rng = Rng::new(&keys);
                let limit = 1.0 / (inputs(name) as f32).sqrt();
                (0..shape.iter().product()).map(|_| rng.within(limit)).collect()
            }
        };
        (name.to_owned(), Array { shape: shape.to_vec(), values })
    };
    by_name.iter().map(draw).collect()
}

//! The weights that training begins with. Comes in: a seed. Goes out: the same weights for every framework and machine.
//! Cannot fail.

use std::collections::BTreeMap;

use super::named::{Array, Named};
use super::recipe::{BIAS, FALLOFF, MARGIN, SCALE};
use super::rng::Rng;

/// Draws weights of these names and shapes as PyTorch's layers do: evenly between plus and minus one over the root of a
/// layer's inputs, its bias as well. The four numbers begin where the recipe has them; a query is drawn between -1 and 1.
pub(crate) fn initial(shapes: &[(String, Vec<usize>)], seed: u64) -> Named {
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
                let names: Vec<u64> = [seed].into_iter().chain(name.bytes().map(u64::from)).collect();
                let mut rng = Rng::new(&names);
                let limit = 1.0 / (inputs(name) as f32).sqrt();
                (0..shape.iter().product()).map(|_| rng.within(limit)).collect()
            }
        };
        (name.to_owned(), Array { shape: shape.to_vec(), values })
    };
    by_name.iter().map(draw).collect()
}

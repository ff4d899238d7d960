//! The patch-relevance head. Comes in: features of patches and the patch pointed at. Goes out: for every patch the
//! log-odds that it belongs to what is pointed at; in training, their loss. Fails as candle does.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Result, Tensor, Var};
use candle_nn::ops::sigmoid;

use crate::features::{CHANNELS, Features, PATCHES, distance};
use crate::queries::Queries;
use crate::rng::Rng;

/// Width of the embedding.
const WIDTH: usize = 64;
/// How much more a covered patch counts than an uncovered one: most patches are uncovered.
const POSITIVE_WEIGHT: f64 = 3.0;

/// Embeds patches and compares each to the one pointed at:
/// `scale * (cosine - margin) - nearness * distance + bias`.
pub(crate) struct Head {
    parameters: [(&'static str, Var); 6],
    /// [P, P]: distance of any two patches.
    distances: Tensor,
}

impl Head {
    /// A head with weights drawn from `seed`.
    pub(crate) fn new(seed: u64, device: &Device) -> Result<Self> {
        let mut rng = Rng::new(&[seed, 0x0068_6561_6400]);
        let mut draw = |rows: usize, columns: usize| {
            let limit = (6.0 / rows as f32).sqrt();
            let values: Vec<f32> = (0..rows * columns).map(|_| rng.within(limit)).collect();
            Var::from_vec(values, (rows, columns), device)
        };
        let number = |value: f32| Var::from_vec(vec![value], (1, 1, 1), device);
        let parameters = [
            // Without biases: one feature is always 1, and centring would take the second layer's away again.
            ("embed.0.weight", draw(CHANNELS, WIDTH)?),
            ("embed.1.weight", draw(WIDTH, WIDTH)?),
            // As logarithms, the two steep ones learn as fast as the rest.
            ("log_scale", number(5_f32.ln())?),
            ("margin", number(0.3)?),
            ("log_nearness", number(12_f32.ln())?),
            ("bias", number(-2.0)?),
        ];
        let distances = (0..PATCHES * PATCHES).map(|i| distance(i / PATCHES, i % PATCHES));
        Ok(Self { parameters, distances: Tensor::from_iter(distances, device)?.reshape((PATCHES, PATCHES))? })
    }

    /// What is to be trained.
    pub(crate) fn variables(&self) -> Vec<Var> {
        self.parameters.iter().map(|(_, var)| var.clone()).collect()
    }

    /// Number of trained numbers.
    pub(crate) fn size(&self) -> usize {
        self.parameters.iter().map(|(_, var)| var.elem_count()).sum()
    }

    /// Log-odds that a patch belongs to what a query points at: [B, Q, P].
    pub(crate) fn forward(&self, features: &Features, queries: &Queries) -> Result<Tensor> {
        let [w0, w1, log_scale, margin, log_nearness, bias] =
            self.parameters.each_ref().map(|(_, var)| var.as_tensor());
        let (rows, places, _) = queries.target.dims3()?;

        let flat = features.patches.reshape((rows * PATCHES, CHANNELS))?;
        let embedded = flat.matmul(w0)?.relu()?.matmul(w1)?.reshape((rows, PATCHES, WIDTH))?;
        // Less the image's mean: what patches have in common would make every cosine 1.
        let share = features.valid.broadcast_div(&features.valid.sum_keepdim(1)?.maximum(1.0)?)?;
        let mean = share.reshape((rows, 1, PATCHES))?.matmul(&embedded)?;
        let embedded = embedded.broadcast_sub(&mean)?;

        let asked = embedded.reshape((rows * PATCHES, WIDTH))?.index_select(&queries.at, 0)?;
        let asked = asked.reshape((rows, places, WIDTH))?;
        let dot = asked.matmul(&embedded.transpose(1, 2)?)?;
        let length = |v: &Tensor| (v.sqr()?.sum_keepdim(2)? + 1e-6)?.sqrt();
        let cosine = dot.broadcast_div(&length(&asked)?)?.broadcast_div(&length(&embedded)?.transpose(1, 2)?)?;

        let away = self.distances.index_select(&queries.patch, 0)?.reshape((rows, places, PATCHES))?;
        let alike = cosine.broadcast_sub(margin)?.broadcast_mul(&log_scale.exp()?)?;
        (alike - away.broadcast_mul(&log_nearness.exp()?)?)?.broadcast_add(bias)
    }

    /// Writes all weights.
    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        let named = self.parameters.iter().map(|(name, var)| (*name, var.as_tensor().clone()));
        candle_core::safetensors::save(&named.collect::<HashMap<_, _>>(), path)
    }
}

/// Cross entropy plus Dice of `logits` [B, Q, P] over valid patches; queries count by their weight.
pub(crate) fn loss(logits: &Tensor, queries: &Queries, valid: &Tensor) -> Result<Tensor> {
    let valid = valid.unsqueeze(1)?;
    let target = queries.target.broadcast_mul(&valid)?;
    // softplus(x) without overflow; the cross entropy is (1 - t) softplus(x) + 3 t softplus(-x), and softplus(-x) =
    // softplus(x) - x.
    let softplus = (logits.relu()? + (logits.abs()?.neg()?.exp()? + 1.0)?.log()?)?;
    let entropy = (((&target * (POSITIVE_WEIGHT - 1.0))? + 1.0)? * softplus)? - (&target * logits)? * POSITIVE_WEIGHT;
    let patches = valid.sum_keepdim(2)?.maximum(1.0)?;
    let entropy = entropy?.broadcast_mul(&valid)?.sum_keepdim(2)?.broadcast_div(&patches)?.squeeze(2)?;

    let belief = sigmoid(logits)?.broadcast_mul(&valid)?;
    let shared = (&belief * &target)?.sum(2)?;
    let dice = ((shared * 2.0)? / ((belief.sum(2)? + target.sum(2)?)? + 1e-6)?)?;

    let per_query = (entropy - dice)? + 1.0;
    (per_query? * &queries.weight)?.sum_all()? / (queries.weight.sum_all()? + 1e-6)?
}

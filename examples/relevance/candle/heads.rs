//! ARR-COC's relevance head in two forms. Comes in: textures, and what is asked for. Goes out: relevance of each patch,
//! and what it is made of. Fails as candle does.
//!
//! [`Verbatim`] is the head as it was published: every map in 0 to 1, mixed as they are, the query a vector of the width
//! of a language model. It ranks; it hardly learns, and this crate trains it nowhere. [`Grounded`] has the same parts
//! under the same names, changed so that they learn from masks: embeddings less their mean, a temperature, the distance
//! to the place that is pointed at, mixing of log-odds. `scripts/make_relevance_vectors.py` has both in PyTorch.
//!
//! B images, Q queries each, N patches, D the width of an embedding.

use candle_core::{D, Device, Result, Tensor};
use candle_nn::ops::{sigmoid, softmax};

use super::weights::Weights;
use crate::texture::{CHANNELS, EDGE, GRID, PATCHES, channel, entropy, min_max, standardized};

/// Width of the projection's and the balancer's hidden layers.
const HIDDEN: usize = 64;
const BALANCER: usize = 128;
/// Mean, maximum and deviation of three maps.
const STATISTICS: usize = 9;
/// How much the balancer's answer counts beside where it begins, which is at the participatory map. With less of a leash
/// it falls for a map that does not depend on the query.
const LEASH: f64 = 0.1;
const LEAN: [f32; 3] = [0.0, 0.0, 2.0];
/// How much more a covered patch counts than an uncovered one: most patches are uncovered.
const POSITIVE_WEIGHT: f64 = 3.0;
/// Share of the loss that the participatory map has by itself.
const ALONE: f64 = 0.5;

/// Textures with what is computed of them once.
pub(crate) struct Seen {
    /// `[B, N, 13]`
    patches: Tensor,
    /// `[B, N]`: entropy, and edges.
    information: Tensor,
    edge: Tensor,
}

impl Seen {
    /// For the verbatim head: entropy scaled by the whole batch, edges as they are.
    pub(crate) fn verbatim(textures: &[f32], device: &Device) -> Result<Self> {
        Self::new(textures, min_max(entropy(textures)), channel(textures, EDGE), device)
    }

    /// For the grounded head: both of mean 0 and deviation 1 over each image.
    pub(crate) fn grounded(textures: &[f32], device: &Device) -> Result<Self> {
        Self::new(textures, standardized(entropy(textures)), standardized(channel(textures, EDGE)), device)
    }

    fn new(textures: &[f32], information: Vec<f32>, edge: Vec<f32>, device: &Device) -> Result<Self> {
        let images = textures.len() / (CHANNELS * PATCHES);
        let map = |numbers: Vec<f32>| Tensor::from_vec(numbers, (images, PATCHES), device);
        let patches = Tensor::from_slice(textures, (images, CHANNELS, PATCHES), device)?;
        let (information, edge) = (map(information)?, map(edge)?);
        Ok(Self { patches: patches.transpose(1, 2)?.contiguous()?, information, edge })
    }
}

/// What a head says. The verbatim head has one query an image, and no axis for it.
pub(crate) struct Said {
    /// The three maps, each `[B, N]` or `[B, Q, N]`.
    pub(crate) maps: [Tensor; 3],
    /// `[B, 9]` or `[B, Q, 9]`
    pub(crate) statistics: Tensor,
    /// Shares of the maps: `[B, 3]` or `[B, Q, 3]`.
    pub(crate) weights: Tensor,
    /// `[B, N]`: 0 to 1 over the batch; or `[B, Q, N]`: log-odds.
    pub(crate) relevance: Tensor,
}

/// The head as it was published.
pub(crate) struct Verbatim(Weights);

impl Verbatim {
    /// Names and shapes of its weights for queries of `width` numbers.
    pub(crate) fn shapes(width: usize) -> Vec<(String, Vec<usize>)> {
        let linear = |name: &str, inputs: usize, outputs: usize, tail: &[usize]| {
            let weight = [&[outputs, inputs][..], tail].concat();
            [(format!("{name}.weight"), weight), (format!("{name}.bias"), vec![outputs])]
        };
        let (projection, predictor) = ("participatory_scorer.texture_proj", "balancer.weight_predictor");
        [
            linear(&format!("{projection}.0"), CHANNELS, HIDDEN, &[1, 1]),
            linear(&format!("{projection}.2"), HIDDEN, width, &[1, 1]),
            linear(&format!("{predictor}.0"), STATISTICS + width, BALANCER, &[]),
            linear(&format!("{predictor}.2"), BALANCER, BALANCER, &[]),
            linear(&format!("{predictor}.4"), BALANCER, 3, &[]),
        ]
        .concat()
    }

    pub(crate) fn new(weights: Weights) -> Self {
        Self(weights)
    }

    pub(crate) fn weights(&self) -> &Weights {
        &self.0
    }

    /// Relevance for one query an image, `[B, D]`.
    pub(crate) fn forward(&self, seen: &Seen, query: &Tensor) -> Result<Said> {
        let projected = project(&self.0, &seen.patches)?;
        let dot = projected.matmul(&query.unsqueeze(2)?)?.squeeze(2)?;
        let lengths = length(&projected)?.broadcast_mul(&length(query)?.unsqueeze(1)?)?;
        let participatory = (((dot / lengths.maximum(1e-8)?)? + 1.0)? / 2.0)?;

        let maps = [seen.information.clone(), seen.edge.clone(), participatory];
        let statistics = statistics(&maps)?;
        let weights = softmax(&predict(&self.0, &statistics, query)?, D::Minus1)?;
        let balanced = mix(&weights, &maps)?;
        let all = balanced.flatten_all()?;
        let (least, most) = (all.min(0)?, all.max(0)?);
        let relevance = balanced.broadcast_sub(&least)?.broadcast_div(&((most - &least)? + 1e-8)?)?;
        Ok(Said { maps, statistics, weights, relevance })
    }
}

/// The head that learns from masks.
pub(crate) struct Grounded(Weights);

impl Grounded {
    /// Names and shapes of its weights: those of the verbatim head, and four numbers.
    pub(crate) fn shapes(width: usize) -> Vec<(String, Vec<usize>)> {
        let mut shapes = Verbatim::shapes(width);
        let scorer = ["scale", "margin", "falloff"].map(|name| format!("participatory_scorer.{name}"));
        shapes.extend(scorer.into_iter().chain(["balancer.bias".to_owned()]).map(|name| (name, vec![1])));
        shapes
    }

    pub(crate) fn new(weights: Weights) -> Self {
        Self(weights)
    }

    pub(crate) fn weights(&self) -> &Weights {
        &self.0
    }

    /// Unit vectors of the patches, less what they have in common: `[B, N, D]`.
    pub(crate) fn embed(&self, seen: &Seen) -> Result<Tensor> {
        let projected = project(&self.0, &seen.patches)?;
        let centred = projected.broadcast_sub(&projected.mean_keepdim(1)?)?;
        centred.broadcast_div(&(centred.sqr()?.sum_keepdim(2)? + 1e-12)?.sqrt()?)
    }

    /// Log-odds that a patch belongs to what lies at patch `query_patch` `[B, Q]`. Another source of queries, an embedded
    /// text for one, takes the place of the gathered vectors `[B, Q, D]`, and has no distance.
    pub(crate) fn forward(&self, seen: &Seen, query_patch: &Tensor) -> Result<Said> {
        let embedding = self.embed(seen)?;
        let (images, queries) = query_patch.dims2()?;
        let width = embedding.dim(2)?;
        let rows = query_patch.unsqueeze(2)?.broadcast_as((images, queries, width))?.contiguous()?;
        let query = embedding.gather(&rows, 1)?;
        let cosine = query.matmul(&embedding.transpose(1, 2)?.contiguous()?)?;
        let distance = distances(query_patch.device())?.index_select(&query_patch.flatten_all()?, 0)?;
        let distance = distance.reshape((images, queries, PATCHES))?;

        let number = |name: &str| self.0.get(name)?.reshape((1, 1, 1));
        let alike = cosine.broadcast_sub(&number("participatory_scorer.margin")?)?;
        let alike = alike.broadcast_mul(&number("participatory_scorer.scale")?)?;
        let participatory = (alike - distance.broadcast_mul(&number("participatory_scorer.falloff")?)?)?;

        let for_each = |map: &Tensor| map.unsqueeze(1)?.broadcast_as((images, queries, PATCHES))?.contiguous();
        let maps = [for_each(&seen.information)?, for_each(&seen.edge)?, participatory];
        let statistics = statistics(&maps)?;
        let predicted = (predict(&self.0, &statistics, &query)? * LEASH)?;
        let lean = Tensor::new(&LEAN, predicted.device())?;
        let weights = softmax(&predicted.broadcast_add(&lean)?, D::Minus1)?;
        let relevance = mix(&weights, &maps)?.broadcast_add(&number("balancer.bias")?)?;
        Ok(Said { maps, statistics, weights, relevance })
    }
}

/// What masks say of the patches, for the queries of a batch.
pub(crate) struct Wanted {
    /// `[B, Q, N]`: share of each patch that the mask covers.
    pub(crate) coverage: Tensor,
    /// `[B, N]`: 1 where a patch is image.
    pub(crate) patch_valid: Tensor,
    /// `[B, Q]`: how much each query counts, at most 1.
    pub(crate) confidence: Tensor,
}

impl Wanted {
    /// The loss of what a head says: that of the relevance, and half of that of the participatory map alone.
    pub(crate) fn loss(&self, said: &Said) -> Result<Tensor> {
        self.term(&said.relevance)? + (self.term(&said.maps[2])? * ALONE)?
    }

    /// Cross entropy plus one less the soft Dice, over valid patches; the mean over queries by their confidence.
    fn term(&self, logits: &Tensor) -> Result<Tensor> {
        let valid = self.patch_valid.unsqueeze(1)?;
        let target = self.coverage.broadcast_mul(&valid)?;
        // softplus(x) without overflow; softplus(-x) is softplus(x) - x.
        let softplus = (logits.relu()? + (logits.abs()?.neg()?.exp()? + 1.0)?.log()?)?;
        let negative = (((&target * (POSITIVE_WEIGHT - 1.0))? + 1.0)? * softplus)?;
        let entropy = (negative - (&target * logits)? * POSITIVE_WEIGHT)?.broadcast_mul(&valid)?.sum(2)?;
        let entropy = entropy.broadcast_div(&valid.sum(2)?.maximum(1.0)?)?;

        let belief = sigmoid(logits)?.broadcast_mul(&valid)?;
        let shared = ((&belief * &target)?.sum(2)? * 2.0)?;
        let dice = ((shared + 1.0)? / ((belief.sum(2)? + target.sum(2)?)? + 1.0)?)?;
        let confidence = self.confidence.clamp(0.0, 1.0)?;
        let total = ((entropy - dice)? + 1.0)?.mul(&confidence)?.sum_all()?;
        // A batch none of whose queries counts teaches nothing.
        total / confidence.sum_all()?.maximum(1e-6)?
    }
}

/// Texture to embedding: `[B, N, 13]` to `[B, N, D]`.
fn project(weights: &Weights, patches: &Tensor) -> Result<Tensor> {
    let hidden = linear(weights, "participatory_scorer.texture_proj.0", patches)?.relu()?;
    linear(weights, "participatory_scorer.texture_proj.2", &hidden)
}

/// The balancer's answer, before the softmax: `[.., 3]`.
fn predict(weights: &Weights, statistics: &Tensor, query: &Tensor) -> Result<Tensor> {
    let input = Tensor::cat(&[statistics, query], D::Minus1)?;
    let hidden = linear(weights, "balancer.weight_predictor.0", &input)?.relu()?;
    let hidden = linear(weights, "balancer.weight_predictor.2", &hidden)?.relu()?;
    linear(weights, "balancer.weight_predictor.4", &hidden)
}

/// A layer over the last axis; a convolution of one pixel is one as well.
fn linear(weights: &Weights, name: &str, input: &Tensor) -> Result<Tensor> {
    let weight = weights.get(&format!("{name}.weight"))?.flatten_from(1)?;
    let mut shape = input.dims().to_vec();
    let rows = input.elem_count() / weight.dim(1)?;
    let output = input.reshape((rows, weight.dim(1)?))?.matmul(&weight.t()?)?;
    if let Some(last) = shape.last_mut() {
        *last = weight.dim(0)?;
    }
    output.broadcast_add(weights.get(&format!("{name}.bias"))?)?.reshape(shape)
}

/// Mean, maximum and deviation (over n - 1) of each map's last axis: `[.., 9]`.
fn statistics(maps: &[Tensor; 3]) -> Result<Tensor> {
    let mut numbers = Vec::with_capacity(STATISTICS);
    for map in maps {
        let mean = map.mean_keepdim(D::Minus1)?;
        let squares = map.broadcast_sub(&mean)?.sqr()?.sum_keepdim(D::Minus1)?;
        let deviation = (squares / (PATCHES - 1) as f64)?.sqrt()?;
        numbers.extend([mean, map.max_keepdim(D::Minus1)?, deviation]);
    }
    Tensor::cat(&numbers, D::Minus1)
}

/// The maps, each by its weight.
fn mix(weights: &Tensor, maps: &[Tensor; 3]) -> Result<Tensor> {
    let part = |index: usize| maps[index].broadcast_mul(&weights.narrow(D::Minus1, index, 1)?);
    part(0)? + part(1)? + part(2)?
}

/// Length of the vectors along the last axis.
fn length(vectors: &Tensor) -> Result<Tensor> {
    vectors.sqr()?.sum(D::Minus1)?.sqrt()
}

/// Distance between the centres of any two patches, where the canvas has side 1: `[N, N]`.
fn distances(device: &Device) -> Result<Tensor> {
    let centre = |index: usize| (index as f32 + 0.5) / GRID as f32;
    let place = |patch: usize| (centre(patch / GRID), centre(patch % GRID));
    let distance = |index: usize| {
        let ((ay, ax), (by, bx)) = (place(index / PATCHES), place(index % PATCHES));
        (ay - by).hypot(ax - bx)
    };
    Tensor::from_iter((0..PATCHES * PATCHES).map(distance), device)?.reshape((PATCHES, PATCHES))
}

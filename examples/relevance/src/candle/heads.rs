//! ARR-COC's relevance head in two forms.
//!
//! [`Verbatim`] is the published head: maps in [0, 1] that are mixed as they are, and a query vector of a language
//! model's width. It ranks patches, but hardly learns, and nothing here trains it. [`Grounded`] has the same parts
//! under the same names, changed so that they learn from masks: centred embeddings, a temperature, the distance to the
//! prompted patch, and a mixture of logits. `scripts/make_relevance_vectors.py` has both in PyTorch.
//!
//! In shapes, B is the number of images, Q of queries per image, N of patches, and D the width of an embedding.

use candle_core::shape::Dim;
use candle_core::{D, Device, Result, Tensor};
use candle_nn::ops::{log_softmax, softmax};

use super::weights::Weights;
use crate::hyperparams::{
    AUX_LOSS_WEIGHT, BALANCER, BALANCER_PRIOR, BALANCER_SCALE, HIDDEN, MASKED_LOGIT, POSITIVE_WEIGHT, STATISTICS,
};
use crate::texture::{CHANNELS, Patches};

/// Features of B images, on the head's device.
pub struct PatchFeatures {
    /// `[B, N, C]`: the 13 channels of a patch, or of each patch of its context window.
    patches: Tensor,
    /// `[B, N]`: entropy.
    information: Tensor,
    /// `[B, N]`: edges.
    edge: Tensor,
    /// `[B, N]`: 1 where a patch is image.
    valid: Tensor,
    /// `[N, 2]`: y and x of the patches' centres on a canvas of side 1.
    positions: Tensor,
}

impl PatchFeatures {
    /// Copies features to a device.
    pub fn new(patches: &Patches, device: &Device) -> Result<Self> {
        let (images, grid) = (patches.images(), patches.grid);
        let map = |values: &[f32]| Tensor::from_slice(values, (images, grid * grid), device);
        let input = Tensor::from_slice(&patches.input, (images, patches.inputs(), grid * grid), device)?;
        let centre = |index: usize| (index as f32 + 0.5) / grid as f32;
        let positions = (0..grid * grid).flat_map(|patch| [centre(patch / grid), centre(patch % grid)]);
        Ok(Self {
            patches: input.transpose(1, 2)?.contiguous()?,
            information: map(&patches.information)?,
            edge: map(&patches.edge)?,
            valid: map(&patches.valid)?,
            positions: Tensor::from_iter(positions, device)?.reshape((grid * grid, 2))?,
        })
    }

    /// `[B, N]`: 1 where a patch is image.
    pub fn valid(&self) -> &Tensor {
        &self.valid
    }
}

/// The queries of a batch.
pub enum HeadQuery {
    /// `[B, Q]`, u32: what belongs to the object at these patches?
    Patches(Tensor),
    /// `[B, Q, D]`: vectors of the embedding's width, such as an embedded text or a learned vector. They have no
    /// position, so the distance has no influence.
    Vectors(Tensor),
}

/// Output of a head. The verbatim head has one query per image, and no axis for queries.
pub struct HeadOutput {
    /// The information, edge and participatory maps, each `[B, N]` or `[B, Q, N]`.
    pub maps: [Tensor; 3],
    /// `[B, 9]` or `[B, Q, 9]`: statistics of the maps.
    pub statistics: Tensor,
    /// Weights of the maps: `[B, 3]` or `[B, Q, 3]`.
    pub weights: Tensor,
    /// `[B, N]`, min-max normalized over the batch; or `[B, Q, N]`, logits.
    pub relevance: Tensor,
}

/// The published head.
pub struct Verbatim(Weights);

impl Verbatim {
    /// Names and shapes of the weights, for queries of `width` numbers.
    pub fn shapes(width: usize) -> Vec<(String, Vec<usize>)> {
        Self::shapes_in_context(width, 1)
    }

    /// Names and shapes if the scorer sees a context window of this side.
    fn shapes_in_context(width: usize, window: usize) -> Vec<(String, Vec<usize>)> {
        let linear = |name: &str, inputs: usize, outputs: usize, tail: &[usize]| {
            let weight = [&[outputs, inputs][..], tail].concat();
            [(format!("{name}.weight"), weight), (format!("{name}.bias"), vec![outputs])]
        };
        let (projection, predictor) = ("participatory_scorer.texture_proj", "balancer.weight_predictor");
        [
            linear(&format!("{projection}.0"), CHANNELS, HIDDEN, &[window, window]),
            linear(&format!("{projection}.2"), HIDDEN, width, &[1, 1]),
            linear(&format!("{predictor}.0"), STATISTICS + width, BALANCER, &[]),
            linear(&format!("{predictor}.2"), BALANCER, BALANCER, &[]),
            linear(&format!("{predictor}.4"), BALANCER, 3, &[]),
        ]
        .concat()
    }

    /// A head with these weights.
    pub fn new(weights: Weights) -> Self {
        Self(weights)
    }

    /// Its weights.
    pub fn weights(&self) -> &Weights {
        &self.0
    }

    /// Relevance for one query per image, `[B, D]`.
    pub fn forward(&self, features: &PatchFeatures, query: &Tensor) -> Result<HeadOutput> {
        let projected = project(&self.0, &features.patches)?;
        let dot = projected.matmul(&query.unsqueeze(2)?)?.squeeze(2)?;
        let norms = norm(&projected)?.broadcast_mul(&norm(query)?.unsqueeze(1)?)?;
        let participatory = (((dot / norms.maximum(1e-8)?)? + 1.0)? / 2.0)?;

        let maps = [features.information.clone(), features.edge.clone(), participatory];
        let statistics = statistics(&maps, &features.valid)?;
        let weights = softmax(&predict(&self.0, &statistics, query)?, D::Minus1)?;
        let balanced = mix(&weights, &maps)?;
        let all = balanced.flatten_all()?;
        let (min, max) = (all.min(0)?, all.max(0)?);
        let relevance = balanced.broadcast_sub(&min)?.broadcast_div(&((max - &min)? + 1e-8)?)?;
        Ok(HeadOutput { maps, statistics, weights, relevance })
    }
}

/// The head that is trained on masks.
pub struct Grounded(Weights);

impl Grounded {
    /// Names and shapes of the weights: those of the verbatim head, with a context window of side `window` in the
    /// first layer, and four scalars.
    pub fn shapes(width: usize, window: usize) -> Vec<(String, Vec<usize>)> {
        let mut shapes = Verbatim::shapes_in_context(width, window);
        let scorer = ["scale", "margin", "falloff"].map(|name| format!("participatory_scorer.{name}"));
        shapes.extend(scorer.into_iter().chain(["balancer.bias".to_owned()]).map(|name| (name, vec![1])));
        shapes
    }

    /// Name and shape of the learned query, the additional weight of a head for the task `allocate`.
    pub fn learned_query(width: usize) -> (String, Vec<usize>) {
        ("participatory_scorer.query".to_owned(), vec![width])
    }

    /// A head with these weights.
    pub fn new(weights: Weights) -> Self {
        Self(weights)
    }

    /// Its weights.
    pub fn weights(&self) -> &Weights {
        &self.0
    }

    /// Centred embeddings of the patches as unit vectors, `[B, N, D]`; 0 for padding.
    pub fn embed(&self, features: &PatchFeatures) -> Result<Tensor> {
        let valid = features.valid.unsqueeze(2)?;
        let projected = project(&self.0, &features.patches)?;
        let mean = (projected.broadcast_mul(&valid)?.sum_keepdim(1)?).broadcast_div(&count(&valid, 1, 0.0)?)?;
        let centred = projected.broadcast_sub(&mean)?.broadcast_mul(&valid)?;
        unit(&centred)
    }

    /// Logits that a patch belongs to the query's object.
    pub fn forward(&self, features: &PatchFeatures, query: &HeadQuery) -> Result<HeadOutput> {
        let embedding = self.embed(features)?;
        let (images, patches, width) = embedding.dims3()?;
        let vectors = match query {
            HeadQuery::Patches(patch) => {
                let rows = patch.unsqueeze(2)?.broadcast_as((images, patch.dim(1)?, width))?.contiguous()?;
                embedding.gather(&rows, 1)?
            }
            HeadQuery::Vectors(vectors) => unit(vectors)?,
        };
        let queries = vectors.dim(1)?;
        let scalar = |name: &str| self.0.get(name)?.reshape((1, 1, 1));
        let cosine = vectors.matmul(&embedding.transpose(1, 2)?.contiguous()?)?;
        let similarity = cosine.broadcast_sub(&scalar("participatory_scorer.margin")?)?;
        let similarity = similarity.broadcast_mul(&scalar("participatory_scorer.scale")?)?;
        let participatory = match query {
            HeadQuery::Patches(patch) => {
                let origin = features.positions.index_select(&patch.flatten_all()?, 0)?.unsqueeze(1)?;
                let distance = norm(&origin.broadcast_sub(&features.positions.unsqueeze(0)?)?)?;
                let distance = distance.reshape((images, queries, patches))?;
                (similarity - distance.broadcast_mul(&scalar("participatory_scorer.falloff")?)?)?
            }
            HeadQuery::Vectors(_) => similarity,
        };

        let for_each = |map: &Tensor| map.unsqueeze(1)?.broadcast_as((images, queries, patches))?.contiguous();
        let maps = [for_each(&features.information)?, for_each(&features.edge)?, participatory];
        let statistics = statistics(&maps, &features.valid.unsqueeze(1)?)?;
        let predicted = (predict(&self.0, &statistics, &vectors)? * BALANCER_SCALE)?;
        let prior = Tensor::new(&BALANCER_PRIOR, predicted.device())?;
        let weights = softmax(&predicted.broadcast_add(&prior)?, D::Minus1)?;
        let relevance = mix(&weights, &maps)?.broadcast_add(&scalar("balancer.bias")?)?;
        Ok(HeadOutput { maps, statistics, weights, relevance })
    }

    /// Logits for the learned query: Q is 1. Fails if the head has none.
    pub fn allocate(&self, features: &PatchFeatures) -> Result<HeadOutput> {
        let query = self.0.get(&Self::learned_query(0).0)?;
        let (images, width) = (features.valid.dim(0)?, query.dim(0)?);
        self.forward(
            features,
            &HeadQuery::Vectors(query.reshape((1, 1, width))?.broadcast_as((images, 1, width))?.contiguous()?),
        )
    }
}

/// The targets of the task `point`.
pub struct Targets {
    /// `[B, Q, N]`: the share of each patch that the mask covers.
    pub coverage: Tensor,
    /// `[B, N]`: 1 where a patch is image.
    pub patch_valid: Tensor,
    /// `[B, Q]`: weight of each query, clamped to [0, 1].
    pub confidence: Tensor,
}

impl Targets {
    /// The loss: that of the relevance, plus [`AUX_LOSS_WEIGHT`] times that of the participatory map alone.
    pub fn loss(&self, output: &HeadOutput) -> Result<Tensor> {
        self.mask_loss(&output.relevance)? + (self.mask_loss(&output.maps[2])? * AUX_LOSS_WEIGHT)?
    }

    /// Weighted cross entropy plus soft Dice loss over valid patches; the mean over queries, weighted by confidence.
    fn mask_loss(&self, logits: &Tensor) -> Result<Tensor> {
        let valid = self.patch_valid.unsqueeze(1)?;
        let target = self.coverage.broadcast_mul(&valid)?;
        // softplus(x) without overflow; softplus(-x) is softplus(x) - x.
        let softplus = (logits.relu()? + (logits.abs()?.neg()?.exp()? + 1.0)?.log()?)?;
        let negative = (((&target * (POSITIVE_WEIGHT - 1.0))? + 1.0)? * softplus)?;
        let entropy = (negative - (&target * logits)? * POSITIVE_WEIGHT)?.broadcast_mul(&valid)?.sum(2)?;
        let entropy = entropy.broadcast_div(&valid.sum(2)?.maximum(1.0)?)?;

        let probability = sigmoid(logits)?.broadcast_mul(&valid)?;
        let intersection = ((&probability * &target)?.sum(2)? * 2.0)?;
        let dice = ((intersection + 1.0)? / ((probability.sum(2)? + target.sum(2)?)? + 1.0)?)?;
        let confidence = self.confidence.clamp(0.0, 1.0)?;
        let total = ((entropy - dice)? + 1.0)?.mul(&confidence)?.sum_all()?;
        // 0 if the confidence of all queries is 0.
        total / confidence.sum_all()?.maximum(1e-6)?
    }
}

/// The targets of the task `allocate`.
pub struct AllocationTargets {
    /// `[B, N]`: the share of an image's relevance that each patch should have. Sums to 1 over valid patches; all 0
    /// for an image without masks, which is then left out of the loss.
    pub share: Tensor,
    /// `[B, N]`: 1 where a patch is image.
    pub patch_valid: Tensor,
}

impl AllocationTargets {
    /// Cross entropy between the shares and the softmax of the relevance; the mean over images.
    pub fn loss(&self, output: &HeadOutput) -> Result<Tensor> {
        let relevance = (output.relevance.squeeze(1)? + ((&self.patch_valid - 1.0)? * MASKED_LOGIT)?)?;
        let entropy = (&self.share * log_softmax(&relevance, D::Minus1)?)?.sum_all()?.neg()?;
        entropy / self.share.sum_all()?.maximum(1e-6)?
    }
}

/// The projection from features to embeddings: `[B, N, C]` to `[B, N, D]`.
fn project(weights: &Weights, patches: &Tensor) -> Result<Tensor> {
    let hidden = linear(weights, "participatory_scorer.texture_proj.0", patches)?.relu()?;
    linear(weights, "participatory_scorer.texture_proj.2", &hidden)
}

/// The balancer's output, before the softmax: `[.., 3]`.
fn predict(weights: &Weights, statistics: &Tensor, query: &Tensor) -> Result<Tensor> {
    let input = Tensor::cat(&[statistics, query], D::Minus1)?;
    let hidden = linear(weights, "balancer.weight_predictor.0", &input)?.relu()?;
    let hidden = linear(weights, "balancer.weight_predictor.2", &hidden)?.relu()?;
    linear(weights, "balancer.weight_predictor.4", &hidden)
}

/// A linear layer over the last axis, or a convolution over its unfolded input.
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

/// Mean, maximum and standard deviation (over n - 1) of each map over the valid patches: `[.., 9]`.
fn statistics(maps: &[Tensor; 3], valid: &Tensor) -> Result<Tensor> {
    let mut statistics = Vec::with_capacity(STATISTICS);
    for map in maps {
        let sum = |map: &Tensor| map.broadcast_mul(valid)?.sum_keepdim(D::Minus1);
        let mean = sum(map)?.broadcast_div(&count(valid, D::Minus1, 0.0)?)?;
        let max = map.broadcast_add(&((valid - 1.0)? * MASKED_LOGIT)?)?.max_keepdim(D::Minus1)?;
        let squares = sum(&map.broadcast_sub(&mean)?.sqr()?)?;
        // The epsilon matters for a constant map: a square root has no derivative at 0.
        let deviation = (squares.broadcast_div(&count(valid, D::Minus1, 1.0)?)? + 1e-12)?.sqrt()?;
        statistics.extend([mean, max, deviation]);
    }
    Tensor::cat(&statistics, D::Minus1)
}

/// Number of valid patches along an axis, minus `less`; at least 1.
fn count(valid: &Tensor, axis: impl Dim, less: f64) -> Result<Tensor> {
    (valid.sum_keepdim(axis)? - less)?.maximum(1.0)
}

/// The weighted sum of the maps.
fn mix(weights: &Tensor, maps: &[Tensor; 3]) -> Result<Tensor> {
    let part = |index: usize| maps[index].broadcast_mul(&weights.narrow(D::Minus1, index, 1)?);
    part(0)? + part(1)? + part(2)?
}

/// candle-nn's own sigmoid has no GPU kernel unless candle-nn is built for the GPU as well.
fn sigmoid(logits: &Tensor) -> Result<Tensor> {
    ((logits * 0.5)?.tanh()? + 1.0)? * 0.5
}

/// Norm of the vectors along the last axis.
fn norm(vectors: &Tensor) -> Result<Tensor> {
    vectors.sqr()?.sum(D::Minus1)?.sqrt()
}

/// Unit vectors along the last axis; zero stays zero.
fn unit(vectors: &Tensor) -> Result<Tensor> {
    vectors.broadcast_div(&(vectors.sqr()?.sum_keepdim(D::Minus1)? + 1e-12)?.sqrt()?)
}

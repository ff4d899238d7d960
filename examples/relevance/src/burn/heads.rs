//! ARR-COC's relevance head in two forms.
//!
//! [`Verbatim`] is the published head: maps in [0, 1] that are mixed as they are, and a query vector of a language
//! model's width. It ranks patches, but hardly learns, and nothing here trains it. [`Grounded`] has the same parts
//! under the same names, changed so that they learn from masks: centred embeddings, a temperature, the distance to the
//! prompted patch, and a mixture of logits. `scripts/make_relevance_vectors.py` has both in PyTorch.
//!
//! In shapes, B is the number of images, Q of queries per image, N of patches, and D the width of an embedding.
//!
//! Fields and positions in tuples are named and numbered as in PyTorch's modules, so that the weights have the same
//! names. New heads are all zeros; [`load`](super::weights::load) gives them their weights.

use burn::module::{Module, Param};
use burn::nn::Relu;
use burn::tensor::activation::{log_softmax, relu, sigmoid, softmax};
use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::hyperparams::{
    AUX_LOSS_WEIGHT, BALANCER, BALANCER_PRIOR, BALANCER_SCALE, HIDDEN, MASKED_LOGIT, POSITIVE_WEIGHT, STATISTICS,
};
use crate::texture::{CHANNELS, Patches};

/// Features of B images, on the head's device.
#[derive(Clone, Debug)]
pub struct PatchFeatures {
    /// `[B, N, C]`: the 13 channels of a patch, or of each patch of its context window.
    patches: Tensor<3>,
    /// `[B, N]`: entropy.
    information: Tensor<2>,
    /// `[B, N]`: edges.
    edge: Tensor<2>,
    /// `[B, N]`: 1 where a patch is image.
    valid: Tensor<2>,
    /// `[N, 2]`: y and x of the patches' centres on a canvas of side 1.
    positions: Tensor<2>,
}

impl PatchFeatures {
    /// Copies features to a device.
    pub fn new(patches: &Patches, device: &Device) -> Self {
        let (images, grid) = (patches.images(), patches.grid);
        let map = |values: &[f32]| tensor(values.to_vec(), [images, grid * grid], device);
        let input: Tensor<3> = tensor(patches.input.clone(), [images, patches.inputs(), grid * grid], device);
        let centre = |index: usize| (index as f32 + 0.5) / grid as f32;
        let positions = (0..grid * grid).flat_map(|patch| [centre(patch / grid), centre(patch % grid)]);
        Self {
            patches: input.swap_dims(1, 2),
            information: map(&patches.information),
            edge: map(&patches.edge),
            valid: map(&patches.valid),
            positions: tensor(positions.collect(), [grid * grid, 2], device),
        }
    }

    /// `[B, N]`: 1 where a patch is image.
    pub fn valid(&self) -> Tensor<2> {
        self.valid.clone()
    }
}

/// The queries of a batch.
#[derive(Clone, Debug)]
pub enum HeadQuery {
    /// `[B, Q]`: what belongs to the object at these patches?
    Patches(Tensor<2, Int>),
    /// `[B, Q, D]`: vectors of the embedding's width, such as an embedded text or a learned vector. They have no
    /// position, so the distance has no influence.
    Vectors(Tensor<3>),
}

/// Output of a head. The verbatim head has one query per image and no axis for queries, so R is 2; otherwise it is 3.
#[derive(Clone, Debug)]
pub struct HeadOutput<const R: usize> {
    /// The information, edge and participatory maps, each `[B, N]` or `[B, Q, N]`.
    pub maps: [Tensor<R>; 3],
    /// `[B, 9]` or `[B, Q, 9]`: statistics of the maps.
    pub statistics: Tensor<R>,
    /// Weights of the maps: `[B, 3]` or `[B, Q, 3]`.
    pub weights: Tensor<R>,
    /// `[B, N]`, min-max normalized over the batch; or `[B, Q, N]`, logits.
    pub relevance: Tensor<R>,
}

/// The published head.
#[derive(Module, Debug)]
pub struct Verbatim {
    participatory_scorer: VerbatimScorer,
    balancer: VerbatimBalancer,
}

#[derive(Module, Debug)]
struct VerbatimScorer {
    texture_proj: Projection,
}

#[derive(Module, Debug)]
struct VerbatimBalancer {
    weight_predictor: Predictor,
}

impl Verbatim {
    /// A head for queries of `width` numbers, all zeros.
    pub fn new(width: usize, device: &Device) -> Self {
        Self {
            participatory_scorer: VerbatimScorer { texture_proj: projection(width, 1, device) },
            balancer: VerbatimBalancer { weight_predictor: predictor(width, device) },
        }
    }

    /// Relevance for one query per image, `[B, D]`.
    pub fn forward(&self, features: &PatchFeatures, query: &Tensor<2>) -> HeadOutput<2> {
        let projected = project(&self.participatory_scorer.texture_proj, &features.patches);
        let dot = projected.clone().matmul(query.clone().unsqueeze_dim(2)).squeeze_dim(2);
        let norms: Tensor<2> = norm(projected).squeeze_dim::<2>(2) * norm(query.clone());
        let participatory = (dot / norms.clamp_min(1e-8) + 1.0) / 2.0;

        let maps = [features.information.clone(), features.edge.clone(), participatory];
        let statistics = statistics(&maps, &features.valid);
        let weights = softmax(predict(&self.balancer.weight_predictor, &statistics, query), -1);
        let balanced = mix(&weights, &maps);
        let (min, max) = (balanced.clone().min().unsqueeze(), balanced.clone().max().unsqueeze());
        let relevance = (balanced - min.clone()) / (max - min + 1e-8);
        HeadOutput { maps, statistics, weights, relevance }
    }
}

/// The head that is trained on masks.
#[derive(Module, Debug)]
pub struct Grounded {
    participatory_scorer: GroundedScorer,
    balancer: GroundedBalancer,
}

#[derive(Module, Debug)]
struct GroundedScorer {
    texture_proj: Projection,
    scale: Param<Tensor<1>>,
    margin: Param<Tensor<1>>,
    falloff: Param<Tensor<1>>,
    query: Option<Param<Tensor<1>>>,
}

#[derive(Module, Debug)]
struct GroundedBalancer {
    weight_predictor: Predictor,
    bias: Param<Tensor<1>>,
}

impl Grounded {
    /// A head with the weights of the verbatim head, with a context window of side `window` in the first layer, and
    /// four scalars; all zeros.
    pub fn new(width: usize, window: usize, device: &Device) -> Self {
        let (texture_proj, scalar) = (projection(width, window, device), || zeros([1], device));
        let (scale, margin, falloff) = (scalar(), scalar(), scalar());
        Self {
            participatory_scorer: GroundedScorer { texture_proj, scale, margin, falloff, query: None },
            balancer: GroundedBalancer { weight_predictor: predictor(width, device), bias: scalar() },
        }
    }

    /// Adds the learned query, the additional weight of a head for the task `allocate`.
    pub fn with_learned_query(mut self, width: usize, device: &Device) -> Self {
        self.participatory_scorer.query = Some(zeros([width], device));
        self
    }

    /// Centred embeddings of the patches as unit vectors, `[B, N, D]`; 0 for padding.
    pub fn embed(&self, features: &PatchFeatures) -> Tensor<3> {
        let valid: Tensor<3> = features.valid().unsqueeze_dim(2);
        let projected = project(&self.participatory_scorer.texture_proj, &features.patches);
        let mean = (projected.clone() * valid.clone()).sum_dim(1) / count(&valid, 1, 0.0);
        let centred = (projected - mean) * valid;
        unit(centred)
    }

    /// Logits that a patch belongs to the query's object.
    pub fn forward(&self, features: &PatchFeatures, query: &HeadQuery) -> HeadOutput<3> {
        let embedding = self.embed(features);
        let [images, patches, width] = embedding.dims();
        let vectors = match query {
            HeadQuery::Patches(patch) => {
                let rows = patch.clone().unsqueeze_dim::<3>(2).expand([images, patch.dims()[1], width]);
                embedding.clone().gather(1, rows)
            }
            HeadQuery::Vectors(vectors) => unit(vectors.clone()),
        };
        let queries = vectors.dims()[1];
        let scalar = |scalar: &Param<Tensor<1>>| scalar.val().unsqueeze::<3>();
        let scorer = &self.participatory_scorer;
        let cosine = vectors.clone().matmul(embedding.swap_dims(1, 2));
        let similarity = (cosine - scalar(&scorer.margin)) * scalar(&scorer.scale);
        let participatory = match query {
            HeadQuery::Patches(patch) => {
                let origin = features.positions.clone().select(0, patch.clone().flatten(0, 1)).unsqueeze_dim::<3>(1);
                let distance = norm(origin - features.positions.clone().unsqueeze());
                let distance = distance.reshape([images, queries, patches]);
                similarity - distance * scalar(&scorer.falloff)
            }
            HeadQuery::Vectors(_) => similarity,
        };

        let for_each = |map: &Tensor<2>| map.clone().unsqueeze_dim::<3>(1).expand([images, queries, patches]);
        let maps = [for_each(&features.information), for_each(&features.edge), participatory];
        let statistics = statistics(&maps, &features.valid().unsqueeze_dim(1));
        let predicted = predict(&self.balancer.weight_predictor, &statistics, &vectors) * BALANCER_SCALE;
        let prior = tensor(BALANCER_PRIOR.to_vec(), [1, 1, 3], &predicted.device());
        let weights = softmax(predicted + prior, -1);
        let relevance = mix(&weights, &maps) + scalar(&self.balancer.bias);
        HeadOutput { maps, statistics, weights, relevance }
    }

    /// Logits for the learned query: Q is 1. `None` if the head has none.
    pub fn allocate(&self, features: &PatchFeatures) -> Option<HeadOutput<3>> {
        let query = self.participatory_scorer.query.as_ref()?.val();
        let (images, width) = (features.valid.dims()[0], query.dims()[0]);
        Some(self.forward(features, &HeadQuery::Vectors(query.reshape([1, 1, width]).expand([images, 1, width]))))
    }
}

/// The targets of the task `point`.
#[derive(Clone, Debug)]
pub struct Targets {
    /// `[B, Q, N]`: the share of each patch that the mask covers.
    pub coverage: Tensor<3>,
    /// `[B, N]`: 1 where a patch is image.
    pub patch_valid: Tensor<2>,
    /// `[B, Q]`: weight of each query, clamped to [0, 1].
    pub confidence: Tensor<2>,
}

impl Targets {
    /// The loss: that of the relevance, plus [`AUX_LOSS_WEIGHT`] times that of the participatory map alone.
    pub fn loss(&self, output: &HeadOutput<3>) -> Tensor<1> {
        self.mask_loss(&output.relevance) + self.mask_loss(&output.maps[2]) * AUX_LOSS_WEIGHT
    }

    /// Weighted cross entropy plus soft Dice loss over valid patches; the mean over queries, weighted by confidence.
    fn mask_loss(&self, logits: &Tensor<3>) -> Tensor<1> {
        let valid: Tensor<3> = self.patch_valid.clone().unsqueeze_dim(1);
        let target = self.coverage.clone() * valid.clone();
        // softplus(x) without overflow; softplus(-x) is softplus(x) - x.
        let softplus = relu(logits.clone()) + (logits.clone().abs().neg().exp() + 1.0).log();
        let negative = (target.clone() * (POSITIVE_WEIGHT - 1.0) + 1.0) * softplus;
        let entropy = negative - target.clone() * logits.clone() * POSITIVE_WEIGHT;
        let entropy = (entropy * valid.clone()).sum_dim(2) / count(&valid, 2, 0.0);

        let probability = sigmoid(logits.clone()) * valid;
        let intersection = (probability.clone() * target.clone()).sum_dim(2) * 2.0;
        let dice = (intersection + 1.0) / (probability.sum_dim(2) + target.sum_dim(2) + 1.0);
        let confidence = self.confidence.clone().clamp(0.0, 1.0);
        let total = ((entropy - dice + 1.0).squeeze_dim::<2>(2) * confidence.clone()).sum();
        // 0 if the confidence of all queries is 0.
        total / confidence.sum().clamp_min(1e-6)
    }
}

/// The targets of the task `allocate`.
#[derive(Clone, Debug)]
pub struct AllocationTargets {
    /// `[B, N]`: the share of an image's relevance that each patch should have. Sums to 1 over valid patches; all 0
    /// for an image without masks, which is then left out of the loss.
    pub share: Tensor<2>,
    /// `[B, N]`: 1 where a patch is image.
    pub patch_valid: Tensor<2>,
}

impl AllocationTargets {
    /// Cross entropy between the shares and the softmax of the relevance; the mean over images.
    pub fn loss(&self, output: &HeadOutput<3>) -> Tensor<1> {
        let relevance = output.relevance.clone().squeeze_dim::<2>(1) + (self.patch_valid.clone() - 1.0) * MASKED_LOGIT;
        let entropy = (self.share.clone() * log_softmax(relevance, -1)).sum().neg();
        entropy / self.share.clone().sum().clamp_min(1e-6)
    }
}

/// The projection from features to embeddings: two convolutions, over the context window and over one patch.
type Projection = (Layer<4>, Relu, Layer<4>);

fn projection(width: usize, window: usize, device: &Device) -> Projection {
    let layer = |inputs, outputs, window| Layer::new([outputs, inputs, window, window], device);
    (layer(CHANNELS, HIDDEN, window), Relu, layer(HIDDEN, width, 1))
}

/// `[B, N, C]` to `[B, N, D]`.
fn project((first, relu, second): &Projection, patches: &Tensor<3>) -> Tensor<3> {
    let hidden = relu.forward(first.forward(patches.clone()));
    second.forward(hidden)
}

/// The layers from statistics and query to the balancer's output.
type Predictor = (Layer<2>, Relu, Layer<2>, Relu, Layer<2>);

fn predictor(width: usize, device: &Device) -> Predictor {
    let layer = |inputs, outputs| Layer::new([outputs, inputs], device);
    (layer(STATISTICS + width, BALANCER), Relu, layer(BALANCER, BALANCER), Relu, layer(BALANCER, 3))
}

/// The balancer's output, before the softmax: `[.., 3]`.
fn predict<const R: usize>(predictor: &Predictor, statistics: &Tensor<R>, query: &Tensor<R>) -> Tensor<R> {
    let (first, relu, second, _, third) = predictor;
    let input = Tensor::cat(vec![statistics.clone(), query.clone()], -1);
    let hidden = relu.forward(first.forward(input));
    let hidden = relu.forward(second.forward(hidden));
    third.forward(hidden)
}

/// A linear layer over the last axis, or a convolution over its unfolded input. R is 2, or 4 for a convolution.
#[derive(Module, Debug)]
struct Layer<const R: usize> {
    /// Outputs first as in PyTorch, unlike in Burn's own layers.
    weight: Param<Tensor<R>>,
    bias: Param<Tensor<1>>,
}

impl<const R: usize> Layer<R> {
    fn new(shape: [usize; R], device: &Device) -> Self {
        Self { weight: zeros(shape, device), bias: zeros([shape[0]], device) }
    }

    fn forward<const S: usize>(&self, input: Tensor<S>) -> Tensor<S> {
        let weight: Tensor<2> = self.weight.val().flatten(1, R - 1);
        let [outputs, inputs] = weight.dims();
        let mut shape = input.dims();
        let rows = shape.iter().product::<usize>() / inputs;
        let output = input.reshape([rows, inputs]).matmul(weight.transpose());
        shape[S - 1] = outputs;
        (output + self.bias.val().unsqueeze()).reshape(shape)
    }
}

/// Mean, maximum and standard deviation (over n - 1) of each map over the valid patches: `[.., 9]`.
fn statistics<const R: usize>(maps: &[Tensor<R>; 3], valid: &Tensor<R>) -> Tensor<R> {
    let mut statistics = Vec::with_capacity(STATISTICS);
    for map in maps {
        let sum = |map: Tensor<R>| (map * valid.clone()).sum_dim(-1);
        let mean = sum(map.clone()) / count(valid, R - 1, 0.0);
        let max = (map.clone() + (valid.clone() - 1.0) * MASKED_LOGIT).max_dim(-1);
        let squares = sum((map.clone() - mean.clone()).square());
        // The epsilon matters for a constant map: a square root has no derivative at 0.
        let deviation = (squares / count(valid, R - 1, 1.0) + 1e-12).sqrt();
        statistics.extend([mean, max, deviation]);
    }
    Tensor::cat(statistics, -1)
}

/// Number of valid patches along an axis, minus `less`; at least 1.
fn count<const R: usize>(valid: &Tensor<R>, axis: usize, less: f64) -> Tensor<R> {
    (valid.clone().sum_dim(axis) - less).clamp_min(1.0)
}

/// The weighted sum of the maps.
fn mix<const R: usize>(weights: &Tensor<R>, maps: &[Tensor<R>; 3]) -> Tensor<R> {
    let part = |index: usize| maps[index].clone() * weights.clone().narrow(-1, index, 1);
    part(0) + part(1) + part(2)
}

/// Norm of the vectors along the last axis, which becomes 1.
fn norm<const R: usize>(vectors: Tensor<R>) -> Tensor<R> {
    vectors.square().sum_dim(-1).sqrt()
}

/// Unit vectors along the last axis; zero stays zero.
fn unit<const R: usize>(vectors: Tensor<R>) -> Tensor<R> {
    let norms = (vectors.clone().square().sum_dim(-1) + 1e-12).sqrt();
    vectors / norms
}

fn tensor<const R: usize>(values: Vec<f32>, shape: [usize; R], device: &Device) -> Tensor<R> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn zeros<const R: usize>(shape: [usize; R], device: &Device) -> Param<Tensor<R>> {
    Param::from_tensor(Tensor::zeros(shape, device))
}

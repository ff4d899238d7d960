//! ARR-COC's relevance head in two forms. Comes in: textures, and what is asked for. Goes out: relevance of each patch,
//! and what it is made of. Fails as Burn does: it panics.
//!
//! [`Verbatim`] is the head as it was published: every map in 0 to 1, mixed as they are, the query a vector of the width
//! of a language model. It ranks; it hardly learns, and this crate trains it nowhere. [`Grounded`] has the same parts
//! under the same names, changed so that they learn from masks: embeddings less their mean, a temperature, the distance
//! to the place that is pointed at, mixing of log-odds. `scripts/make_relevance_vectors.py` has both in PyTorch.
//!
//! B images, Q queries each, N patches, D the width of an embedding. Fields and places in tuples are named and counted
//! as in PyTorch's modules, so that weights have the same names. Heads begin with zeros: [`load`](super::weights::load)
//! gives them their weights.

use burn::module::{Module, Param};
use burn::nn::Relu;
use burn::tensor::activation::{log_softmax, relu, sigmoid, softmax};
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::super::recipe::{ALONE, BALANCER, HIDDEN, LEAN, LEASH, NOWHERE, POSITIVE_WEIGHT, STATISTICS};
use super::super::texture::{CHANNELS, Patches};

/// What is seen of B images.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// `[B, N, C]`: 13 numbers of a patch, or of each patch around it.
    patches: Tensor<3>,
    /// `[B, N]`: entropy, and edges.
    information: Tensor<2>,
    edge: Tensor<2>,
    /// `[B, N]`: 1 where a patch is image.
    valid: Tensor<2>,
    /// `[N, 2]`: y and x of the patches' centres, where the canvas has side 1.
    places: Tensor<2>,
}

impl Seen {
    pub(crate) fn new(patches: &Patches, device: &Device) -> Self {
        let (images, grid) = (patches.images(), patches.grid);
        let map = |numbers: &[f32]| tensor(numbers.to_vec(), [images, grid * grid], device);
        let input: Tensor<3> = tensor(patches.input.clone(), [images, patches.inputs(), grid * grid], device);
        let centre = |index: usize| (index as f32 + 0.5) / grid as f32;
        let places = (0..grid * grid).flat_map(|patch| [centre(patch / grid), centre(patch % grid)]);
        Self {
            patches: input.swap_dims(1, 2),
            information: map(&patches.information),
            edge: map(&patches.edge),
            valid: map(&patches.valid),
            places: tensor(places.collect(), [grid * grid, 2], device),
        }
    }

    /// `[B, N]`: 1 where a patch is image.
    pub(crate) fn valid(&self) -> Tensor<2> {
        self.valid.clone()
    }
}

/// What is asked of each image.
#[derive(Clone, Debug)]
pub(crate) enum Query {
    /// What lies at these patches: `[B, Q]`.
    Patches(Tensor<2, Int>),
    /// What these vectors of the embedding's width stand for, `[B, Q, D]`: an embedded text, or a vector that is learned.
    /// They have no place, so no distance counts.
    Vectors(Tensor<3>),
}

/// What a head says. The verbatim head has one query an image, and no axis for it: R is 2; else it is 3.
#[derive(Clone, Debug)]
pub(crate) struct Said<const R: usize> {
    /// The three maps, each `[B, N]` or `[B, Q, N]`.
    pub(crate) maps: [Tensor<R>; 3],
    /// `[B, 9]` or `[B, Q, 9]`
    pub(crate) statistics: Tensor<R>,
    /// Shares of the maps: `[B, 3]` or `[B, Q, 3]`.
    pub(crate) weights: Tensor<R>,
    /// `[B, N]`: 0 to 1 over the batch; or `[B, Q, N]`: log-odds.
    pub(crate) relevance: Tensor<R>,
}

/// The head as it was published.
#[derive(Module, Debug)]
pub(crate) struct Verbatim {
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
    /// For queries of `width` numbers.
    pub(crate) fn new(width: usize, device: &Device) -> Self {
        Self {
            participatory_scorer: VerbatimScorer { texture_proj: projection(width, 1, device) },
            balancer: VerbatimBalancer { weight_predictor: predictor(width, device) },
        }
    }

    /// Relevance for one query an image, `[B, D]`.
    pub(crate) fn forward(&self, seen: &Seen, query: &Tensor<2>) -> Said<2> {
        let projected = project(&self.participatory_scorer.texture_proj, &seen.patches);
        let dot = projected.clone().matmul(query.clone().unsqueeze_dim(2)).squeeze_dim(2);
        let lengths: Tensor<2> = length(projected).squeeze_dim::<2>(2) * length(query.clone());
        let participatory = (dot / lengths.clamp_min(1e-8) + 1.0) / 2.0;

        let maps = [seen.information.clone(), seen.edge.clone(), participatory];
        let statistics = statistics(&maps, &seen.valid);
        let weights = softmax(predict(&self.balancer.weight_predictor, &statistics, query), -1);
        let balanced = mix(&weights, &maps);
        let (least, most) = (balanced.clone().min().unsqueeze(), balanced.clone().max().unsqueeze());
        let relevance = (balanced - least.clone()) / (most - least + 1e-8);
        Said { maps, statistics, weights, relevance }
    }
}

/// The head that learns from masks.
#[derive(Module, Debug)]
pub(crate) struct Grounded {
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
    /// The weights of the verbatim head, whose first layer sees a window of so many patches a side, and four numbers.
    pub(crate) fn new(width: usize, window: usize, device: &Device) -> Self {
        let (texture_proj, number) = (projection(width, window, device), || zeros([1], device));
        let (scale, margin, falloff) = (number(), number(), number());
        Self {
            participatory_scorer: GroundedScorer { texture_proj, scale, margin, falloff, query: None },
            balancer: GroundedBalancer { weight_predictor: predictor(width, device), bias: number() },
        }
    }

    /// With the one weight more that it has if it learns what matters to nobody in particular.
    pub(crate) fn with_learned_query(mut self, width: usize, device: &Device) -> Self {
        self.participatory_scorer.query = Some(zeros([width], device));
        self
    }

    /// Unit vectors of the patches, less what they have in common: `[B, N, D]`.
    pub(crate) fn embed(&self, seen: &Seen) -> Tensor<3> {
        let valid: Tensor<3> = seen.valid().unsqueeze_dim(2);
        let projected = project(&self.participatory_scorer.texture_proj, &seen.patches);
        let mean = (projected.clone() * valid.clone()).sum_dim(1) / count(&valid, 1, 0.0);
        let centred = (projected - mean) * valid;
        unit(centred)
    }

    /// Log-odds that a patch belongs to what is asked for.
    pub(crate) fn forward(&self, seen: &Seen, query: &Query) -> Said<3> {
        let embedding = self.embed(seen);
        let [images, patches, width] = embedding.dims();
        let vectors = match query {
            Query::Patches(at) => {
                let rows = at.clone().unsqueeze_dim::<3>(2).resolve_patterns([images, at.dims()[1], width]);
                embedding.clone().gather(1, rows)
            }
            Query::Vectors(vectors) => unit(vectors.clone()),
        };
        let queries = vectors.dims()[1];
        let number = |number: &Param<Tensor<1>>| number.val().unsqueeze::<3>();
        let scorer = &self.participatory_scorer;
        let cosine = vectors.clone().matmul(embedding.swap_dims(1, 2));
        let alike = (cosine - number(&scorer.margin)) * number(&scorer.scale);
        let participatory = match query {
            Query::Patches(at) => {
                let from = seen.places.clone().select(0, at.clone().flatten(0, 1)).unsqueeze_dim::<3>(1);
                let distance = length(from - seen.places.clone().unsqueeze());
                let distance = distance.reshape([images, queries, patches]);
                alike - distance * number(&scorer.falloff)
            }
            Query::Vectors(_) => alike,
        };

        let for_each = |map: &Tensor<2>| map.clone().unsqueeze_dim::<3>(1).resolve_patterns([images, queries, patches]);
        let maps = [for_each(&seen.information), for_each(&seen.edge), participatory];
        let statistics = statistics(&maps, &seen.valid().unsqueeze_dim(1));
        let predicted = predict(&self.balancer.weight_predictor, &statistics, &vectors) * LEASH;
        let lean = tensor(LEAN.to_vec(), [1, 1, 3], &predicted.device());
        let weights = softmax(predicted + lean, -1);
        let relevance = mix(&weights, &maps) + number(&self.balancer.bias);
        Said { maps, statistics, weights, relevance }
    }

    /// The same for what matters to nobody in particular: Q is 1. `None` if it has not learned what that is.
    pub(crate) fn allocate(&self, seen: &Seen) -> Option<Said<3>> {
        let query = self.participatory_scorer.query.as_ref()?.val();
        let (images, width) = (seen.valid.dims()[0], query.dims()[0]);
        Some(self.forward(seen, &Query::Vectors(query.reshape([1, 1, width]).resolve_patterns([images, 1, width]))))
    }
}

/// What masks say of the patches, for the queries of a batch.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// `[B, Q, N]`: share of each patch that the mask covers.
    pub(crate) coverage: Tensor<3>,
    /// `[B, N]`: 1 where a patch is image.
    pub(crate) patch_valid: Tensor<2>,
    /// `[B, Q]`: how much each query counts, at most 1.
    pub(crate) confidence: Tensor<2>,
}

impl Wanted {
    /// The loss of what a head says: that of the relevance, and half of that of the participatory map alone.
    pub(crate) fn loss(&self, said: &Said<3>) -> Tensor<1> {
        self.term(&said.relevance) + self.term(&said.maps[2]) * ALONE
    }

    /// Cross entropy plus one less the soft Dice, over valid patches; the mean over queries by their confidence.
    fn term(&self, logits: &Tensor<3>) -> Tensor<1> {
        let valid: Tensor<3> = self.patch_valid.clone().unsqueeze_dim(1);
        let target = self.coverage.clone() * valid.clone();
        // softplus(x) without overflow; softplus(-x) is softplus(x) - x.
        let softplus = relu(logits.clone()) + (logits.clone().abs().neg().exp() + 1.0).log();
        let negative = (target.clone() * (POSITIVE_WEIGHT - 1.0) + 1.0) * softplus;
        let entropy = negative - target.clone() * logits.clone() * POSITIVE_WEIGHT;
        let entropy = (entropy * valid.clone()).sum_dim(2) / count(&valid, 2, 0.0);

        let belief = sigmoid(logits.clone()) * valid;
        let shared = (belief.clone() * target.clone()).sum_dim(2) * 2.0;
        let dice = (shared + 1.0) / (belief.sum_dim(2) + target.sum_dim(2) + 1.0);
        let confidence = self.confidence.clone().clamp(0.0, 1.0);
        let total = ((entropy - dice + 1.0).squeeze_dim::<2>(2) * confidence.clone()).sum();
        // A batch none of whose queries counts teaches nothing.
        total / confidence.sum().clamp_min(1e-6)
    }
}

/// How much of an image's relevance each patch should have, where nobody asks.
#[derive(Clone, Debug)]
pub(crate) struct Shares {
    /// `[B, N]`: sum 1 over valid patches; 0 in all of an image without masks, which then does not count.
    pub(crate) share: Tensor<2>,
    /// `[B, N]`: 1 where a patch is image.
    pub(crate) patch_valid: Tensor<2>,
}

impl Shares {
    /// Cross entropy of the shares and the softmax of the relevance; the mean over images.
    pub(crate) fn loss(&self, said: &Said<3>) -> Tensor<1> {
        let relevance = said.relevance.clone().squeeze_dim::<2>(1) + (self.patch_valid.clone() - 1.0) * NOWHERE;
        let entropy = (self.share.clone() * log_softmax(relevance, -1)).sum().neg();
        entropy / self.share.clone().sum().clamp_min(1e-6)
    }
}

/// Texture to embedding: two convolutions, of a window and of one pixel.
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

/// Statistics and query to the balancer's answer.
type Predictor = (Layer<2>, Relu, Layer<2>, Relu, Layer<2>);

fn predictor(width: usize, device: &Device) -> Predictor {
    let layer = |inputs, outputs| Layer::new([outputs, inputs], device);
    (layer(STATISTICS + width, BALANCER), Relu, layer(BALANCER, BALANCER), Relu, layer(BALANCER, 3))
}

/// The answer, before the softmax: `[.., 3]`.
fn predict<const R: usize>(predictor: &Predictor, statistics: &Tensor<R>, query: &Tensor<R>) -> Tensor<R> {
    let (first, relu, second, _, third) = predictor;
    let input = Tensor::cat(vec![statistics.clone(), query.clone()], -1);
    let hidden = relu.forward(first.forward(input));
    let hidden = relu.forward(second.forward(hidden));
    third.forward(hidden)
}

/// A layer over the last axis; a convolution is one as well, over what its window holds. R is 2, or 4 for a convolution.
#[derive(Module, Debug)]
struct Layer<const R: usize> {
    /// Outputs first, as PyTorch has it, and not as Burn's own layers do.
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

/// Mean, maximum and deviation (over n - 1) of each map over the valid patches: `[.., 9]`.
fn statistics<const R: usize>(maps: &[Tensor<R>; 3], valid: &Tensor<R>) -> Tensor<R> {
    let mut numbers = Vec::with_capacity(STATISTICS);
    for map in maps {
        let sum = |map: Tensor<R>| (map * valid.clone()).sum_dim(-1);
        let mean = sum(map.clone()) / count(valid, R - 1, 0.0);
        let most = (map.clone() + (valid.clone() - 1.0) * NOWHERE).max_dim(-1);
        let squares = sum((map.clone() - mean.clone()).square());
        // A constant map's root would have no derivative.
        let deviation = (squares / count(valid, R - 1, 1.0) + 1e-12).sqrt();
        numbers.extend([mean, most, deviation]);
    }
    Tensor::cat(numbers, -1)
}

/// Valid patches along an axis, less so many; at least 1.
fn count<const R: usize>(valid: &Tensor<R>, axis: usize, less: f64) -> Tensor<R> {
    (valid.clone().sum_dim(axis) - less).clamp_min(1.0)
}

/// The maps, each by its weight.
fn mix<const R: usize>(weights: &Tensor<R>, maps: &[Tensor<R>; 3]) -> Tensor<R> {
    let part = |index: usize| maps[index].clone() * weights.clone().narrow(-1, index, 1);
    part(0) + part(1) + part(2)
}

/// Length of the vectors along the last axis, which becomes 1.
fn length<const R: usize>(vectors: Tensor<R>) -> Tensor<R> {
    vectors.square().sum_dim(-1).sqrt()
}

/// The vectors along the last axis with length 1; zero stays zero.
fn unit<const R: usize>(vectors: Tensor<R>) -> Tensor<R> {
    let lengths = (vectors.clone().square().sum_dim(-1) + 1e-12).sqrt();
    vectors / lengths
}

fn tensor<const R: usize>(numbers: Vec<f32>, shape: [usize; R], device: &Device) -> Tensor<R> {
    Tensor::from_data(TensorData::new(numbers, shape), device)
}

fn zeros<const R: usize>(shape: [usize; R], device: &Device) -> Param<Tensor<R>> {
    Param::from_tensor(Tensor::zeros(shape, device))
}

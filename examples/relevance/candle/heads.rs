//! ARR-COC's relevance head in two forms. Comes in: textures, and what is asked for. Goes out: relevance of each patch,
//! and what it is made of. Fails as candle does.
//!
//! [`Verbatim`] is the head as it was published: every map in 0 to 1, mixed as they are, the query a vector of the width
//! of a language model. It ranks; it hardly learns, and this crate trains it nowhere. [`Grounded`] has the same parts
//! under the same names, changed so that they learn from masks: embeddings less their mean, a temperature, the distance
//! to the place that is pointed at, mixing of log-odds. `scripts/make_relevance_vectors.py` has both in PyTorch.
//!
//! B images, Q queries each, N patches, D the width of an embedding.

use candle_core::shape::Dim;
use candle_core::{D, Device, Result, Tensor};
use candle_nn::ops::{log_softmax, softmax};

use super::super::recipe::{ALONE, BALANCER, HIDDEN, LEAN, LEASH, NOWHERE, POSITIVE_WEIGHT, STATISTICS};
use super::super::texture::{CHANNELS, Patches};
use super::weights::Weights;

/// What is seen of B images.
pub(crate) struct Seen {
    /// `[B, N, C]`: 13 numbers of a patch, or of each patch around it.
    patches: Tensor,
    /// `[B, N]`: entropy, and edges.
    information: Tensor,
    edge: Tensor,
    /// `[B, N]`: 1 where a patch is image.
    valid: Tensor,
    /// `[N, 2]`: y and x of the patches' centres, where the canvas has side 1.
    places: Tensor,
}

impl Seen {
    pub(crate) fn new(patches: &Patches, device: &Device) -> Result<Self> {
        let (images, grid) = (patches.images(), patches.grid);
        let map = |numbers: &[f32]| Tensor::from_slice(numbers, (images, grid * grid), device);
        let input = Tensor::from_slice(&patches.input, (images, patches.inputs(), grid * grid), device)?;
        let centre = |index: usize| (index as f32 + 0.5) / grid as f32;
        let places = (0..grid * grid).flat_map(|patch| [centre(patch / grid), centre(patch % grid)]);
        Ok(Self {
            patches: input.transpose(1, 2)?.contiguous()?,
            information: map(&patches.information)?,
            edge: map(&patches.edge)?,
            valid: map(&patches.valid)?,
            places: Tensor::from_iter(places, device)?.reshape((grid * grid, 2))?,
        })
    }

    /// `[B, N]`: 1 where a patch is image.
    pub(crate) fn valid(&self) -> &Tensor {
        &self.valid
    }
}

/// What is asked of each image.
pub(crate) enum Query {
    /// What lies at these patches: `[B, Q]`, u32.
    Patches(Tensor),
    /// What these vectors of the embedding's width stand for, `[B, Q, D]`: an embedded text, or a vector that is learned.
    /// They have no place, so no distance counts.
    Vectors(Tensor),
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
        Self::shapes_in_context(width, 1)
    }

    /// The same where the scorer sees a window of so many patches a side.
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
        let statistics = statistics(&maps, &seen.valid)?;
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
    /// Names and shapes of its weights: those of the verbatim head, whose first layer sees a window of so many patches a
    /// side, and four numbers.
    pub(crate) fn shapes(width: usize, window: usize) -> Vec<(String, Vec<usize>)> {
        let mut shapes = Verbatim::shapes_in_context(width, window);
        let scorer = ["scale", "margin", "falloff"].map(|name| format!("participatory_scorer.{name}"));
        shapes.extend(scorer.into_iter().chain(["balancer.bias".to_owned()]).map(|name| (name, vec![1])));
        shapes
    }

    /// The one more that it has if it learns what matters to nobody in particular.
    pub(crate) fn learned_query(width: usize) -> (String, Vec<usize>) {
        ("participatory_scorer.query".to_owned(), vec![width])
    }

    pub(crate) fn new(weights: Weights) -> Self {
        Self(weights)
    }

    pub(crate) fn weights(&self) -> &Weights {
        &self.0
    }

    /// Unit vectors of the patches, less what they have in common: `[B, N, D]`.
    pub(crate) fn embed(&self, seen: &Seen) -> Result<Tensor> {
        let valid = seen.valid.unsqueeze(2)?;
        let projected = project(&self.0, &seen.patches)?;
        let mean = (projected.broadcast_mul(&valid)?.sum_keepdim(1)?).broadcast_div(&count(&valid, 1, 0.0)?)?;
        let centred = projected.broadcast_sub(&mean)?.broadcast_mul(&valid)?;
        unit(&centred)
    }

    /// Log-odds that a patch belongs to what is asked for.
    pub(crate) fn forward(&self, seen: &Seen, query: &Query) -> Result<Said> {
        let embedding = self.embed(seen)?;
        let (images, patches, width) = embedding.dims3()?;
        let vectors = match query {
            Query::Patches(at) => {
                let rows = at.unsqueeze(2)?.broadcast_as((images, at.dim(1)?, width))?.contiguous()?;
                embedding.gather(&rows, 1)?
            }
            Query::Vectors(vectors) => unit(vectors)?,
        };
        let queries = vectors.dim(1)?;
        let number = |name: &str| self.0.get(name)?.reshape((1, 1, 1));
        let cosine = vectors.matmul(&embedding.transpose(1, 2)?.contiguous()?)?;
        let alike = cosine.broadcast_sub(&number("participatory_scorer.margin")?)?;
        let alike = alike.broadcast_mul(&number("participatory_scorer.scale")?)?;
        let participatory = match query {
            Query::Patches(at) => {
                let from = seen.places.index_select(&at.flatten_all()?, 0)?.unsqueeze(1)?;
                let distance = length(&from.broadcast_sub(&seen.places.unsqueeze(0)?)?)?;
                let distance = distance.reshape((images, queries, patches))?;
                (alike - distance.broadcast_mul(&number("participatory_scorer.falloff")?)?)?
            }
            Query::Vectors(_) => alike,
        };

        let for_each = |map: &Tensor| map.unsqueeze(1)?.broadcast_as((images, queries, patches))?.contiguous();
        let maps = [for_each(&seen.information)?, for_each(&seen.edge)?, participatory];
        let statistics = statistics(&maps, &seen.valid.unsqueeze(1)?)?;
        let predicted = (predict(&self.0, &statistics, &vectors)? * LEASH)?;
        let lean = Tensor::new(&LEAN, predicted.device())?;
        let weights = softmax(&predicted.broadcast_add(&lean)?, D::Minus1)?;
        let relevance = mix(&weights, &maps)?.broadcast_add(&number("balancer.bias")?)?;
        Ok(Said { maps, statistics, weights, relevance })
    }

    /// The same for what matters to nobody in particular: Q is 1.
    pub(crate) fn allocate(&self, seen: &Seen) -> Result<Said> {
        let query = self.0.get(&Self::learned_query(0).0)?;
        let (images, width) = (seen.valid.dim(0)?, query.dim(0)?);
        self.forward(
            seen,
            &Query::Vectors(query.reshape((1, 1, width))?.broadcast_as((images, 1, width))?.contiguous()?),
        )
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

/// How much of an image's relevance each patch should have, where nobody asks.
pub(crate) struct Shares {
    /// `[B, N]`: sum 1 over valid patches; 0 in all of an image without masks, which then does not count.
    pub(crate) share: Tensor,
    /// `[B, N]`: 1 where a patch is image.
    pub(crate) patch_valid: Tensor,
}

impl Shares {
    /// Cross entropy of the shares and the softmax of the relevance; the mean over images.
    pub(crate) fn loss(&self, said: &Said) -> Result<Tensor> {
        let relevance = (said.relevance.squeeze(1)? + ((&self.patch_valid - 1.0)? * NOWHERE)?)?;
        let entropy = (&self.share * log_softmax(&relevance, D::Minus1)?)?.sum_all()?.neg()?;
        entropy / self.share.sum_all()?.maximum(1e-6)?
    }
}

/// Texture to embedding: `[B, N, C]` to `[B, N, D]`.
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

/// A layer over the last axis; a convolution is one as well, over what its window holds.
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

/// Mean, maximum and deviation (over n - 1) of each map over the valid patches: `[.., 9]`.
fn statistics(maps: &[Tensor; 3], valid: &Tensor) -> Result<Tensor> {
    let mut numbers = Vec::with_capacity(STATISTICS);
    for map in maps {
        let sum = |map: &Tensor| map.broadcast_mul(valid)?.sum_keepdim(D::Minus1);
        let mean = sum(map)?.broadcast_div(&count(valid, D::Minus1, 0.0)?)?;
        let most = map.broadcast_add(&((valid - 1.0)? * NOWHERE)?)?.max_keepdim(D::Minus1)?;
        let squares = sum(&map.broadcast_sub(&mean)?.sqr()?)?;
        // A constant map's root would have no derivative.
        let deviation = (squares.broadcast_div(&count(valid, D::Minus1, 1.0)?)? + 1e-12)?.sqrt()?;
        numbers.extend([mean, most, deviation]);
    }
    Tensor::cat(&numbers, D::Minus1)
}

/// Valid patches along an axis, less so many; at least 1.
fn count(valid: &Tensor, axis: impl Dim, less: f64) -> Result<Tensor> {
    (valid.sum_keepdim(axis)? - less)?.maximum(1.0)
}

/// The maps, each by its weight.
fn mix(weights: &Tensor, maps: &[Tensor; 3]) -> Result<Tensor> {
    let part = |index: usize| maps[index].broadcast_mul(&weights.narrow(D::Minus1, index, 1)?);
    part(0)? + part(1)? + part(2)?
}

/// candle-nn's own has no kernel for a GPU unless candle-nn was built for it as well.
fn sigmoid(logits: &Tensor) -> Result<Tensor> {
    ((logits * 0.5)?.tanh()? + 1.0)? * 0.5
}

/// Length of the vectors along the last axis.
fn length(vectors: &Tensor) -> Result<Tensor> {
    vectors.sqr()?.sum(D::Minus1)?.sqrt()
}

/// The vectors along the last axis with length 1; zero stays zero.
fn unit(vectors: &Tensor) -> Result<Tensor> {
    vectors.broadcast_div(&(vectors.sqr()?.sum_keepdim(D::Minus1)? + 1e-12)?.sqrt()?)
}

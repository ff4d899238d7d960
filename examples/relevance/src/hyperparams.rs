//! Constants of the heads, for both frameworks. `scripts/make_relevance_vectors.py` has the same values.

/// Width of the embedding in training.
pub const WIDTH: usize = 64;
/// Width of the projection's hidden layer.
pub const HIDDEN: usize = 64;
/// Width of the balancer's hidden layers.
pub const BALANCER: usize = 128;
/// Inputs of the balancer besides the query: mean, maximum and standard deviation of three maps.
pub const STATISTICS: usize = 9;
/// Factor of the balancer's output, which is added to [`BALANCER_PRIOR`]. With a larger factor it learns to prefer a
/// map that does not depend on the query.
pub const BALANCER_SCALE: f64 = 0.1;
/// Initial logits of the three maps' weights: they favour the participatory map.
pub const BALANCER_PRIOR: [f32; 3] = [0.0, 0.0, 2.0];
/// Weight of a covered patch in the cross entropy, relative to an uncovered one: most patches are uncovered.
pub const POSITIVE_WEIGHT: f64 = 3.0;
/// Weight of the participatory map's own loss.
pub const AUX_LOSS_WEIGHT: f64 = 0.5;
/// Subtracted from the logit of a padded patch, so that every valid patch ranks above it.
pub const MASKED_LOGIT: f64 = 1e4;
/// Initial values of the four scalars: factor and threshold of the similarity, factor of the distance, and the bias of
/// the logits.
pub const SCALE: f32 = 5.0;
pub const MARGIN: f32 = 0.3;
pub const FALLOFF: f32 = 12.0;
pub const BIAS: f32 = -2.0;

//! The numbers of the heads, for every framework. `scripts/make_relevance_vectors.py` has the same.

/// Width of the embedding in training.
pub(crate) const WIDTH: usize = 64;
/// Width of the projection's and the balancer's hidden layers.
pub(crate) const HIDDEN: usize = 64;
pub(crate) const BALANCER: usize = 128;
/// Mean, maximum and deviation of three maps.
pub(crate) const STATISTICS: usize = 9;
/// How much the balancer's answer counts beside where it begins, which is at the participatory map. With less of a leash
/// it falls for a map that does not depend on the query.
pub(crate) const LEASH: f64 = 0.1;
pub(crate) const LEAN: [f32; 3] = [0.0, 0.0, 2.0];
/// How much more a covered patch counts than an uncovered one: most patches are uncovered.
pub(crate) const POSITIVE_WEIGHT: f64 = 3.0;
/// Share of the loss that the participatory map has by itself.
pub(crate) const ALONE: f64 = 0.5;
/// What makes a padded patch lose to any other.
pub(crate) const NOWHERE: f64 = 1e4;
/// Where the four numbers begin: a temperature and what is alike, how fast it falls with the distance, log-odds of it all.
pub(crate) const SCALE: f32 = 5.0;
pub(crate) const MARGIN: f32 = 0.3;
pub(crate) const FALLOFF: f32 = 12.0;
pub(crate) const BIAS: f32 = -2.0;

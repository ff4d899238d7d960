//! The heads in Burn. Comes in: lessons. Goes out: relevance, losses, weights. Fails where weights do not fit, else as
//! Burn does: it panics.

pub(crate) mod adamw;
pub(crate) mod heads;
pub(crate) mod learner;
pub(crate) mod metrics;
pub(crate) mod model;
pub(crate) mod weights;

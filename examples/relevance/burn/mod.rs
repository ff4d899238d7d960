//! The heads in Burn. Comes in: textures. Goes out: relevance, losses, weights, and what the optimizer remembers. Fails
//! where weights do not fit, else as Burn does: it panics.

pub(crate) mod adamw;
pub(crate) mod heads;
pub(crate) mod weights;

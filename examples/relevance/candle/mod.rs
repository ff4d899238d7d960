//! The heads in candle. Comes in: lessons. Goes out: relevance, losses, weights. Fails as candle does.

pub(crate) mod adamw;
pub(crate) mod heads;
pub(crate) mod model;
pub(crate) mod weights;

//! The heads in candle. Comes in: textures. Goes out: relevance, losses, weights. Fails as candle does.

pub(crate) mod heads;
pub(crate) mod weights;

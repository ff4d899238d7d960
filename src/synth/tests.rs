//! Properties of generated samples and shards.

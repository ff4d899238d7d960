//! What the tests of both frameworks are about: small batches that hold every field.

use maskstream::{Batch, Loader, LoaderBuilder};

use crate::fixture::{codec, made_many, set_of, shard};

/// Options for small batches that hold every field.
pub(crate) fn every_field() -> LoaderBuilder {
    Loader::builder()
        .jpeg_codec(codec())
        .batch_size(4)
        .image_size(24)
        .mask_size(Some([8, 6]))
        .coverage(Some(4))
        .top_k(5)
        .num_workers(2)
}

/// The batches of six samples; the last one is half empty.
pub(crate) fn batches(options: LoaderBuilder) -> Vec<Batch> {
    let loader = options.build(set_of(vec![shard(&made_many(6))])).unwrap();
    loader.epoch(0).unwrap().map(Result::unwrap).collect()
}

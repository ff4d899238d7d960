//! Streams [SA-1B](https://ai.meta.com/datasets/segment-anything/) tar shards into training loops: images, masks and
//! boxes in batches, without unpacking a file.
//!
//! # The journey of a sample
//!
//! A [`source`] holds the bytes of a shard and answers one question: give me these bytes. A [`shard`]'s index knows
//! where each sample's image and annotations lie and what scores its annotations carry. The [`order`] turns the number
//! of samples, seed, epoch, rank and world size into batches of sample numbers: arithmetic only. The [`loader`] pairs
//! the next planned batch with free buffers and hands its slots to workers; a worker filters and ranks the
//! [`annotation`]s, decodes the [`image`] and the chosen [`mask`]s straight into its slot of the [`batch`]. Batches
//! leave in planned order, whatever order they finish in. An adapter turns a batch into tensors; when the batch is
//! dropped, its buffers go back to the pool. That return is the only thing that moves backwards, and it is what bounds
//! memory: no free buffer, no new work.
//!
//! # Example
//!
//! ```no_run
//! # #[cfg(feature = "candle")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use candle_core::Device;
//! use maskstream::{Loader, MaskFilter, ShardSet};
//!
//! // Finds the samples (and saves where they are, for the next time).
//! let filter = MaskFilter::default().min_predicted_iou(0.9).min_masks(4);
//! let shards = ShardSet::builder().filter(filter).open(&["sa1b/*.tar"])?;
//!
//! let loader = Loader::builder().batch_size(16).image_size(512).coverage(Some(32)).shuffle(42).build(shards)?;
//! for epoch in 0..3 {
//!     for batch in loader.epoch(epoch)?.candle(&Device::Cpu) {
//!         let batch = batch?;
//!         // [16, 3, 512, 512] u8, [16, 10, 256, 256] u8, [16, 10, 4] f32
//!         println!("{:?} {:?} {:?}", batch.images, batch.masks, batch.boxes);
//!     }
//! }
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "candle"))]
//! # fn main() {}
//! ```
//!
//! # What to expect of it
//!
//! * The same settings give the same bytes in every batch, for any number of workers and any prefetch depth.
//! * A sample that cannot be decoded is an error in its place, or a zeroed, invalid and counted row, as
//!   [`loader::OnError`] says. Nothing is lost without being counted and named.
//! * The order of an epoch is computed: every rank has equal steps, and a [`Cursor`] goes on from any batch, on another
//!   number of workers or ranks as well.
//! * Memory is bounded: a set number of batches under way, a set budget beyond them.
//! * Bad data never panics, never hangs, never yields wrong numbers silently: members carry checksums, masks must add
//!   up, JPEGs must be whole.
//!
//! # Features
//!
//! | feature | default | what for |
//! |---|---|---|
//! | `candle` | yes | [`adapter`]: batches as candle tensors, without a copy on the CPU |
//! | `burn` | no | [`adapter`]: batches as Burn tensors, without a copy on the CPU, and a data loader for its trainer; `burn-flex` adds Burn's CPU backend |
//! | `cli` | yes | the `maskstream` command; a training binary needs it not |
//! | `synth` | with `cli` | [`synth`]: shards made up for tests, benches and demos |
//! | `turbojpeg` | no | libjpeg-turbo in place of zune-jpeg; needs cmake and nasm to build |
//!
//! Linux is what it is built for and measured on; other Unix systems lack its advice to the kernel, nothing else.

mod adapter;
mod annotation;
mod atomic;
mod batch;
mod container;
mod dtype;
mod error;
mod field;
mod image;
mod loader;
pub mod mask;
mod order;
mod sample;
mod shard;
pub mod source;
mod splitmix;
#[cfg(feature = "synth")]
pub mod synth;

#[cfg(feature = "candle")]
#[cfg_attr(docsrs, doc(cfg(feature = "candle")))]
pub use adapter::CandleBatch;
#[cfg(feature = "burn")]
#[cfg_attr(docsrs, doc(cfg(feature = "burn")))]
pub use adapter::{BurnBatch, BurnImages, BurnLoader};
pub use annotation::{IdList, MaskFilter, TopKBy};
pub use batch::{
    Batch, BatchLayout, BatchParts, FieldData, FieldSpec, FieldValues, FieldView, Memory, PinState, SampleError,
    SharedBytes,
};
pub use dtype::{DType, Element};
pub use error::{Error, ErrorKind, Location, Result};
pub use field::Field;
pub use image::{JpegCodec, Normalization};
pub use loader::{Budget, Epoch, EpochReport, Loader, LoaderBuilder, LoaderStats, MemoryPlan, OnError, StageStats};
pub use order::{Cursor, Distributed, Launcher};
pub use sample::{BoxFormat, CoordFrame, Fit, MaskKind};
pub use shard::{LazyShardSet, OnCorrupt, Quarantine, SampleId, ShardSet, ShardSetBuilder};

/// What an index says of a shard, and how indexes are built: for programs that prepare or inspect shards.
pub mod index {
    pub use crate::annotation::{Annotation, AnnotationFile, AnnotationStats, ImageInfo};
    pub use crate::shard::{
        Entry, Extent, Finding, FindingKind, IfExists, IndexStatus, IndexedShard, Indexer, RepackReport, ShardIndex,
        ShardReport, Sidecar, resolve_patterns,
    };
}

/// Parts that this crate's own tests, benches and fuzz targets reach. No promise is made about them.
#[doc(hidden)]
pub mod internals {
    pub use crate::image::{Decoder, Planes, to_chw};
    pub use crate::order::{Order, Permutation, Plan, SampleSpace, Shuffle};
    pub use crate::sample::Geometry;
    pub use crate::source::{Inflater, open};
}

//! A streaming data loader for [SA-1B](https://ai.meta.com/datasets/segment-anything/): reads the tar shards as Meta
//! ships them (gzip streams named `.tar`) in place, filters and ranks their masks, decodes images and masks on worker
//! threads, and yields batches as [candle](https://docs.rs/candle-core) or [Burn](https://docs.rs/burn) tensors.
//!
//! # A training loop
//!
#![cfg_attr(feature = "candle", doc = "```no_run")]
#![cfg_attr(not(feature = "candle"), doc = "```ignore")]
//! use candle_core::{DType, Device};
//! use maskstream::{Loader, MaskFilter, ShardSet};
//!
//! fn main() -> maskstream::Result<()> {
//!     let filter = MaskFilter::default().min_predicted_iou(0.9).min_masks(4);
//!     // Starts at once, and builds indexes meanwhile.
//!     let shards = ShardSet::builder().filter(filter).open_lazy(&["sa1b/*.tar"])?;
//!     let loader = Loader::builder().batch_size(16).image_size(512).top_k(8).shuffle(42).build(shards)?;
//!
//!     for epoch in 0..3 {
//!         for batch in loader.epoch(epoch)?.candle(&Device::Cpu) {
//!             let batch = batch?;
//!             let images = &batch.images; // [16, 3, 512, 512] u8
//!             let masks = batch.masks_as(DType::F32)?; // [16, 8, 256, 256], 1 inside the mask
//!             let boxes = &batch.boxes; // [16, 8, 4] f32: x, y, width, height in 0 to 1
//!             let weight = &batch.valid; // [16, 8] u8: 1, or 0 where an image has fewer masks
//!             // ... loss, optimizer.backward_step(&loss)?
//!         }
//!     }
//!     Ok(())
//! }
//! ```
//!
//! [`ShardSetBuilder::open_lazy`] does not wait for indexes: the first epoch builds those that are missing and yields
//! samples in the order of the shards. [`ShardSetBuilder::open`] builds them first; then every epoch is shuffled, and
//! the number of steps, ranks and cursors are available.
//!
//! # What you need next
//!
//! | to | use |
//! |---|---|
//! | choose masks and images | [`MaskFilter`], [`TopKBy`], [`IdList`], [`ShardSetBuilder::retain`] |
//! | know what a batch holds | [`Field`]: each field's shape, number type and meaning |
//! | shape images, masks and boxes | [`LoaderBuilder`] |
//! | train on Burn | [`Epoch::burn`](Epoch), `BurnLoader` (feature `burn`) |
//! | feed another framework | [`Batch::into_parts`], [`Epoch::convert_with`] |
//! | resume after a stop | [`Batch::cursor`], [`Loader::resume_from`] |
//! | train on several processes | [`Distributed::from_env`], [`LoaderBuilder::distributed`] |
//! | tolerate bad data | [`OnError`], [`Budget`], [`OnCorrupt`], [`Quarantine`] |
//! | see where time and memory go | [`Loader::stats`], [`Loader::memory_plan`], [`Epoch::report`] |
//! | work on COCO masks | [`mask`], a library of its own |
//! | read shards from elsewhere | [`source::Source`], [`ShardSetBuilder::opener`] |
//! | build or inspect indexes | [`index`] |
//!
//! # Resuming, on any number of ranks
//!
//! ```no_run
//! use maskstream::{Cursor, Distributed, Loader, ShardSet};
//!
//! fn train(saved: Option<Cursor>) -> maskstream::Result<()> {
//!     let shards = ShardSet::builder().open(&["sa1b/*.tar"])?;
//!     let ranks = Distributed::from_env()?; // torchrun, srun, Open MPI, MPICH, Intel MPI; or one process
//!     let loader = Loader::builder().batch_size(8).shuffle(42).distributed(&ranks).build(shards)?;
//!     let first = saved.map_or(0, |cursor| cursor.epoch());
//!     for index in first..3 {
//!         let mut epoch = match &saved {
//!             Some(cursor) if cursor.epoch() == index => loader.resume_from(cursor)?,
//!             _ => loader.epoch(index)?,
//!         };
//!         for batch in &mut epoch {
//!             let batch = batch?;
//!             // ... a training step; from time to time, save batch.cursor() with the model, in any serde format
//!         }
//!         println!("{}", epoch.report()); // delivered + skipped + lost = planned
//!     }
//!     Ok(())
//! }
//! ```
//!
//! # Guarantees
//!
//! * **Same settings, same bytes**: for any number of workers, any prefetch depth and any timing.
//! * **Nothing is lost silently**: a sample that cannot be decoded is an error that names shard, member, byte offset
//!   and value, or a row that is zeroed, marked invalid and counted; [`OnError`] decides which. [`Epoch::report`]
//!   accounts for every planned sample.
//! * **One order**: step t of all ranks together holds the same samples for every world size with the same global
//!   batch; every rank has the same number of steps; a [`Cursor`] resumes at any batch, on another number of workers or
//!   ranks.
//! * **Bounded memory**: `prefetch_batches` limits the batches that are prepared ahead, `max_memory_bytes` all memory.
//!   A consumer that keeps too many batches gets an error, not a hang.
//! * **No hang, no panic on bad data**: members have checksums, the runs of a mask must add up to its image, and JPEGs
//!   must be complete; a thread that stalls ends the epoch with an error that names its sample.
//!
//! # Features
//!
//! | feature | default | purpose |
//! |---|---|---|
//! | `candle` | yes | batches as candle tensors, without a copy on the CPU |
//! | `burn` | no | batches as Burn tensors, and a data loader for Burn's trainer; `burn-flex` adds Burn's CPU backend |
//! | `cli` | yes | the `maskstream` command; training programs do not need it |
//! | `derive` | with `cli` | shards with smaller images, `Indexer::derive` |
//! | `synth` | with `cli` | generated shards for tests, benches and demos |
//! | `tracing` | no | spans of the loader's work for a subscriber of the crate `tracing` |
//!
//! No feature changes what a batch holds. The public API contains types of candle 0.11 and Burn 0.22, so a new
//! minor version of either is a breaking change of this crate. The crate is built for and measured on Linux; on other
//! Unix systems it lacks only the advice to the kernel.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod adapter;
mod annotation;
mod atomic;
mod augment;
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
#[cfg_attr(docsrs, doc(cfg(feature = "synth")))]
pub mod synth;

#[cfg(feature = "candle")]
#[cfg_attr(docsrs, doc(cfg(feature = "candle")))]
pub use adapter::CandleBatch;
#[cfg(feature = "burn")]
#[cfg_attr(docsrs, doc(cfg(feature = "burn")))]
pub use adapter::{BurnBatch, BurnImages, BurnLoader};
pub use annotation::{IdList, MaskFilter, TopKBy};
pub use augment::{Augment, ColorJitter, ColorStep, Crop, NegativeClicks, Prompts};
pub use batch::{
    Batch, BatchLayout, BatchParts, FieldData, FieldSpec, FieldValues, FieldView, Memory, PinState, SampleError,
    SharedBytes,
};
pub use dtype::{DType, Element};
pub use error::{Error, ErrorKind, Location, Result};
pub use field::{Field, MaskFormat};
pub use image::{Normalization, ScaledDecode};
pub use loader::{
    Bottleneck, Budget, Epoch, EpochReport, Loader, LoaderBuilder, LoaderStats, MemoryPlan, Occupancy, OnError,
    StageBytes, StageStats, Verdict,
};
pub use order::{Cursor, Distributed, Launcher};
pub use sample::{BoxFormat, CoordFrame, Fit, Geometry, MaskKind, Sample};
pub use shard::{LazyShardSet, OnCorrupt, Quarantine, SampleId, ShardSet, ShardSetBuilder};

/// What an index says of a shard, and how indexes are built: for programs that prepare or inspect shards.
pub mod index {
    pub use crate::annotation::{Annotation, AnnotationFile, AnnotationStats, ImageInfo};
    #[cfg(feature = "derive")]
    #[cfg_attr(docsrs, doc(cfg(feature = "derive")))]
    pub use crate::image::Derive;
    pub use crate::image::Derived;
    #[cfg(feature = "derive")]
    #[cfg_attr(docsrs, doc(cfg(feature = "derive")))]
    pub use crate::shard::DeriveReport;
    pub use crate::shard::{
        BadSample, Entry, Extent, Finding, FindingKind, IfExists, IndexStatus, IndexedShard, Indexer, LeftOut,
        PackPlan, PackReport, Packer, PlannedShard, RepackReport, RepeatedImages, RowPointsReport, ShardIndex,
        ShardReport, Sidecar, Stray, StrayKind, resolve_patterns,
    };
}

/// Parts that this crate's own command, tests, benches and fuzz targets reach. No promise is made about them.
#[doc(hidden)]
pub mod internals {
    pub use crate::annotation::MaskMismatch;
    pub use crate::atomic::{AtomicFile, FileId, check_target, dir_of, stop_writing};
    pub use crate::augment::Placement;
    pub use crate::error::OneLine;
    pub use crate::image::{
        Canvas, Decoder, ImageJob, ImageSource, ImageTask, Planes, RowPoints, Simd, View, check_head, exif_orientation,
        own_size,
    };
    pub use crate::order::{Order, Permutation, Plan, SampleSpace, Shuffle};
    pub use crate::shard::{ReadMember, Renamed, WholeShard, expand_braces, outline, quarantine_line, read_whole};
    pub use crate::source::split_query;
}

/// The code blocks of the README and the documents are compiled as tests.
#[cfg(all(doctest, feature = "candle"))]
mod documents {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../docs/distributed.md")]
    struct Distributed;
    #[doc = include_str!("../docs/augmentation.md")]
    struct Augmentation;
}

//! Properties of the library, from outside. Each test is named by the property that it proves, and each oracle is
//! independent of the code it judges: naive arithmetic, the `tar` crate, a JPEG decoded apart, pycocotools' results.
//!
//! Where the tests of a source file are:
//!
//! | source | tests |
//! |---|---|
//! | `src/mask` | `mask/` (its `mod.rs` maps files) |
//! | `src/annotation` | `annotation.rs`; lists of ids: `selection.rs` |
//! | `src/source` | `gzip.rs`; plain files: `shard.rs`; the inflater: `src/source/gzip/tests` |
//! | `src/order` | `order.rs`; cursors: `resume.rs` |
//! | `src/shard` | `shard.rs`, `gzip.rs`; lists of bad samples: `selection.rs`; repacking: `repack.rs` |
//! | `src/image`, `src/sample`, `src/batch` | `loader.rs`, against the same work done naively |
//! | `src/loader` | `loader.rs`, `resume.rs`; failures: `faults/`; `src/loader/live`: `stream.rs` |
//! | `src/adapter`, `docs/tensors.md` | `tensors.rs`, `candle.rs`, `burn.rs`, `tensor_docs.rs`, `tensor_docs_burn.rs` |
//! | `src/synth` | `src/synth/tests.rs` |
//! | `src/cli` | `cli.rs` |
//! | all of it | `architecture/`: what the source may not contain, and the list of public names |
//!
//! `tests/processes` runs jobs of many processes that are killed and resumed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod annotation;
mod architecture;
#[cfg(feature = "burn-flex")]
mod burn;
#[cfg(feature = "candle")]
mod candle;
#[cfg(feature = "cli")]
mod cli;
mod faults;
mod fixture;
mod gzip;
mod loader;
mod mask;
mod order;
mod repack;
mod resume;
mod selection;
mod shard;
mod stream;
#[cfg(feature = "candle")]
mod tensor_docs;
#[cfg(feature = "burn-flex")]
mod tensor_docs_burn;
#[cfg(any(feature = "burn-flex", feature = "candle"))]
mod tensors;

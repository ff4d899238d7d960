//! Tests of the library through its interface. Each test is named after the property that it proves, and each oracle is
//! independent of the code under test: naive arithmetic, the `tar` crate, a JPEG decoded separately, pycocotools'
//! results.
//!
//! The tests of each room of `src`:
//!
//! | room | tests |
//! |---|---|
//! | `mask` | `mask/`: `codec`, `grid`, `ops`, `regions`, `hostile`, `golden` |
//! | `annotation` | `annotation.rs`; what is missing, draws, thin masks: `labels.rs`; lists of ids: `selection.rs` |
//! | `source` | `source.rs`, `gzip.rs`, `shard.rs`; the inflater against flate2: `src/source/gzip/tests` |
//! | `order` | `order.rs`; cursors: `resume.rs` |
//! | `container`, `shard` | `shard`, `indexing`, `gzip`, `repack`, `derived`, `pack`; quarantine: `selection.rs` |
//! | `image` | `image.rs`, `pixels/`; in a loader: `loader.rs`, `faults/` |
//! | `sample`, `field`, `batch` | `loader.rs`; damaged masks: `faults/` |
//! | `loader` | `loader.rs` (valid data), `faults/`, `resume.rs`, `verdict.rs`; `loader/live`: `stream.rs` |
//! | `adapter` | `candle.rs`, `burn.rs`, `tensors.rs`; the tables of `docs/tensors.md`: `tensor_docs*.rs` |
//! | `synth` | `src/synth/tests.rs` |
//! | `source/remote` | `remote/`: `reading`, `names`, `weather`; their server: `tests/server/tests.rs` |
//! | `cli` | a file for each of `stats`, `tune`, `verify`, `view`; all others: `cli.rs`; errors, patterns: `words.rs` |
//! | `atomic`, and what commands write, at signals too | `safety.rs` |
//! | the rooms themselves | `architecture/`: what `src` may not contain, and the list of public names |
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod annotation;
mod architecture;
mod augment;
#[cfg(feature = "burn-flex")]
mod burn;
#[cfg(feature = "candle")]
mod candle;
#[cfg(feature = "cli")]
mod cli;
#[cfg(feature = "cli")]
mod command;
mod derived;
mod documents;
mod faults;
mod fixture;
mod gzip;
mod image;
mod indexing;
mod labels;
mod loader;
mod mask;
mod order;
mod pack;
mod pixels;
mod prompts;
#[cfg(feature = "remote")]
mod remote;
mod repack;
mod resume;
#[cfg(all(feature = "cli", target_os = "linux"))]
mod safety;
#[cfg(feature = "candle")]
mod selection;
#[path = "../server/mod.rs"]
mod server;
mod shard;
mod source;
#[cfg(feature = "cli")]
mod stats;
mod stream;
#[cfg(feature = "candle")]
mod tensor_docs;
#[cfg(feature = "burn-flex")]
mod tensor_docs_burn;
#[cfg(any(feature = "burn-flex", feature = "candle"))]
mod tensors;
mod transform;
#[cfg(feature = "cli")]
mod tune;
mod verdict;
#[cfg(feature = "cli")]
mod verify;
#[cfg(feature = "cli")]
mod view;
#[cfg(feature = "cli")]
mod words;

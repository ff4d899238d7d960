//! What the training examples have in common: ARR-COC's relevance heads, and everything around them that no framework is
//! needed for. Comes in: the command line. Goes out: a trained head, a table, pictures. Fails as shards, files and
//! frameworks do.
//!
//! [`candle`] and [`burn`] hold the same head line by line; [`model::Model`] is all that the loop around it asks of them.
//!
//! To begin with it elsewhere, copy the folder and one of the two programs. Take out the folder of the framework that you do
//! not use, its line below and both `cfg`s, which ask for features of this package; `Cargo.toml` wants, at the versions
//! that this package has: maskstream (with `synth`, and `candle` or `burn-train`), clap (`derive`), indicatif, mimalloc,
//! png, rayon, safetensors, serde (`derive`), serde_json, and candle-core and candle-nn, or burn and burn-pack. candle wants
//! `CANDLE_NUM_THREADS=1` as well: see `.cargo/config.toml`.

pub(crate) mod allocate;
pub(crate) mod args;
#[cfg(feature = "burn-train")]
pub(crate) mod burn;
#[cfg(feature = "candle")]
pub(crate) mod candle;
pub(crate) mod curve;
pub(crate) mod data;
pub(crate) mod evaluate;
pub(crate) mod guesses;
pub(crate) mod initial;
pub(crate) mod lesson;
pub(crate) mod log;
pub(crate) mod metrics;
pub(crate) mod model;
pub(crate) mod named;
pub(crate) mod picture;
pub(crate) mod progress;
pub(crate) mod recipe;
pub(crate) mod rng;
pub(crate) mod run;
pub(crate) mod table;
pub(crate) mod texture;
pub(crate) mod train;

//! Trains ARR-COC's relevance head on SA-1B shards, in candle and in Burn.
//!
//! The task: given a point in an image, which patches of a 32 x 32 grid belong to the object at that point? The target
//! is the share of each patch that the object's mask covers, which the loader computes from the annotations;
//! `predicted_iou` weights each query.
//!
//! Two binaries use this library: `finetune` (candle) and `finetune_burn` (Burn). The modules `candle` and
//! `burn` hold the same head, line by line. The rest needs no framework and talks to both through the trait
//! [`model::Model`].
//!
//! * The input: [`args`] is the command line, [`data`] opens the shards. [`training_batch`] and [`query`] turn a batch
//!   of the loader into queries and targets, [`texture`] into patch features.
//! * The model: [`model`] is its interface, [`hyperparams`] has its constants, [`init`] its initial weights,
//!   [`state_dict`] its files.
//! * The run: [`run`], with its loop [`train`], [`run_state`], [`checkpoint`], [`report`], [`log`] and [`progress`].
//! * The evaluation: [`evaluate`], with [`baselines`], [`metrics`], [`allocate`], [`table`], [`verdict`],
//!   [`loss_plot`] and [`figure`].
//!
//! To start a project of your own, copy this package, replace the path of `maskstream` in `Cargo.toml` by its version,
//! and delete the folder, the binary and the dependencies of the framework that you do not use. With candle, also set
//! `CANDLE_NUM_THREADS=1`; `.cargo/config.toml` in the root of the repository says why.

pub mod allocate;
pub mod args;
pub mod baselines;
#[cfg(feature = "burn")]
pub mod burn;
pub mod candle;
pub mod checkpoint;
pub mod data;
pub mod evaluate;
pub mod figure;
pub mod hyperparams;
pub mod init;
pub mod log;
pub mod loss_plot;
pub mod metrics;
pub mod model;
pub mod progress;
pub mod query;
pub mod raster;
pub mod report;
pub mod result;
pub mod rng;
pub mod run;
pub mod run_state;
pub mod state_dict;
pub mod table;
pub mod texture;
pub mod train;
pub mod training_batch;
pub mod verdict;

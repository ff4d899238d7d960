//! The order of an epoch.
//!
//! From the number of samples in each shard, the seed, the epoch, the rank and the world size, a [`Plan`] computes the
//! sample in each row of each batch. That is arithmetic alone: no list is stored, and there is no state. Settings that
//! do not fit together are an error.
//!
//! # Guarantees
//!
//! * **G1** Every rank has the same number of steps.
//! * **G2** The rows of step t on all ranks together are the positions `[t * B, (t + 1) * B)` of one global order,
//!   where B is `batch_size * world_size`. So they are the same samples for every world size with the same B.
//! * **G3** No sample comes twice in an epoch. None is left out, except with `drop_last` the last ones that do not fill
//!   B.
//! * **G4** A [`Cursor`] of less than a hundred bytes is a place in the order, and reaching it is arithmetic. A cursor
//!   that does not fit the data or the settings is refused, and the error names what differs.
//! * **G5** Ranks need not communicate. Equal [`Cursor::digest`]s mean equal plans.
//! * **G6** A sample that cannot be decoded does not change the order: its row stays in its place.
//!
//! If several sets are mixed, an epoch has as many samples as they have together, drawn by weight. G3 then holds for
//! each round over a set: all of its samples come once before any comes again.
//!
//! # From position to sample
//!
//! By default a keyed permutation shuffles all samples. That is a perfect shuffle, and each sample is a read of its
//! own. For disks and networks that are faster with long reads, samples can be shuffled in chunks: see [`Shuffle`].

mod cursor;
mod distributed;
mod permutation;
mod plan;
mod prefix_sums;
mod round;
mod sample_space;

/// How many chunks of a shuffled set are in use at a time, by all ranks together.
pub(crate) const CHUNKS_IN_USE: u64 = round::LANES;

pub use cursor::Cursor;
pub(crate) use cursor::{Fingerprint, Identity, Settings};
pub use distributed::{Distributed, Launcher};
pub use permutation::Permutation;
pub use plan::{Order, Plan, Shuffle};
pub(crate) use prefix_sums::PrefixSums;
pub use sample_space::SampleSpace;

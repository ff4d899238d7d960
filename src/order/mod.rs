//! The order of an epoch. Comes in: how many samples there are in each shard, seed, epoch, rank and world size. Goes
//! out: a [`Plan`], which names the sample at every place of every batch by arithmetic alone: no list, no state. Building
//! one fails on settings that do not fit together.
//!
//! # Guarantees
//!
//! * **G1** Every rank has the same number of steps.
//! * **G2** The rows of step t of all ranks together are positions `[t * B, (t + 1) * B)` of one global order, where B
//!   is `batch_size * world_size`: the same samples for every world size.
//! * **G3** No sample comes twice in an epoch, and none is missed but the tail that `drop_last` leaves out, which is
//!   less than B.
//! * **G4** A [`Cursor`] of a few dozen bytes names a place in the order; to go there is arithmetic. What does not
//!   fit it is refused, and named.
//! * **G5** Ranks need not talk to each other. Equal [`Cursor::digest`]s mean equal plans.
//! * **G6** A sample that cannot be decoded never changes the order: its row stays in its place.
//!
//! Of sets that are mixed, an epoch is as many samples as they have in all, drawn by weight; G3 then holds for each
//! round over a set: none comes twice before all have come once.
//!
//! # How a position becomes a sample
//!
//! With one sample to a chunk (the default) a keyed permutation shuffles all samples: nothing is more random, and each
//! sample is a read of its own. With larger chunks, for disks and networks that want long reads, see [`Shuffle`].

mod cursor;
mod deck;
mod distributed;
mod permutation;
mod plan;
mod population;
mod sums;

pub use cursor::Cursor;
pub(crate) use cursor::{Fingerprint, Identity};
pub use distributed::{Distributed, Launcher};
pub use permutation::Permutation;
pub use plan::{Order, Plan, Shuffle};
pub use population::SampleSpace;
pub(crate) use sums::PrefixSums;

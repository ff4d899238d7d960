//! The order of an epoch. Comes in: the number of samples, seed, epoch, rank and world size. Goes out: a [`Plan`],
//! which names the sample at every place of every batch by arithmetic alone: no list, no state. Building one fails on
//! settings that do not fit together.

mod permutation;
mod plan;

pub use permutation::Permutation;
pub use plan::{Order, Plan};

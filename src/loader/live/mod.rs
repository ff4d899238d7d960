//! Epochs over shards that have no index yet. No other module of the loader deals with them.
//!
//! [`LiveSet`] is the set of shards while passes index them, a monitor that passes, the feed thread and the workers
//! share. [`LiveSteps`] takes samples from it, batch by batch. Once an epoch has run to its end, the set is finished
//! into a [`ShardSet`](crate::ShardSet), and the loader does not use this module any more.

mod set;
mod steps;

pub(super) use set::LiveSet;
pub(super) use steps::{LiveCounts, LiveSteps};

use crate::shard::MaxSampleSize;

/// What the memory plan assumes of the largest sample while shards have no index: 1500 x 2250 pixels, the common size
/// of SA-1B, and 4 MiB of image and annotations, four times the median.
pub(super) const ASSUMED_SIZE: MaxSampleSize = MaxSampleSize { sample_bytes: 4 << 20, pixels: 1500 * 2250 };

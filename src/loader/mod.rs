//! Threads, and nothing but threads. Comes in: a [`ShardSet`](crate::shard::ShardSet) and settings. Goes out:
//! [`Loader::epoch`], an iterator over the batches of one epoch in planned order. Fails, at its place in that order, on
//! whatever a sample's bytes or the system have in store.
//!
//! # Which threads there are
//!
//! * The *feed* thread walks the plan. For each batch it takes free buffers from the pool, tells the sources what the
//!   batch after it will need, reads the bytes of each sample, and hands sample by sample to the workers through a
//!   bounded channel. It alone waits for the disk.
//! * The *workers* inflate and decode, one sample each, so that all of them work on the same batch. Whoever finishes a
//!   batch's last sample sends it on.
//! * *Pass* threads, only while shards have no index ([`StreamLoader`]), find the samples of one shard each.
//! * The *consumer*, the thread that calls `next`, puts batches back in planned order.
//!
//! # What is promised
//!
//! * Success: the plan says how many batches there are, and the iterator ends after exactly so many. While shards are
//!   indexed it learns the number when the last one is; threads that end before that are an error.
//! * Failure: a sample that cannot be read or decoded, or whose decoding panics, is an error of its batch. What follows
//!   is the user's [`OnError`] policy, applied when that batch's turn comes; the batches before it have been delivered.
//!   After an error the iterator is at its end.
//! * Bounds: at most `prefetch_batches` are under way, and the samples read ahead are as many as the work channel
//!   holds.
//! * Patience: while a batch is waited for, a thread that stays at one sample, or a pass at one member, for longer than
//!   `stall_timeout` ends the epoch with an error that names it, and is left behind: it owns what it works with.
//! * Shutdown: dropping the epoch closes the pool and has passes give up, which wakes the feed; the feed's end closes the
//!   work channel, which ends the workers; then all are joined. Work that is still queued is dropped, not decoded. A
//!   thread in the middle of a sample or a read finishes it first; so does a pass that tries what lies behind a break.
//! * The same settings give the same bytes for any number of workers, any prefetch depth and any timing. Which shards
//!   have an index is one of the settings: while one has none, epochs are not shuffled.

mod cache;
mod epoch;
mod failures;
mod feed;
mod memory;
mod options;
mod planned;
mod stats;
mod steps;
mod stream;
mod watch;
mod worker;

pub use epoch::Epoch;
pub use failures::{Budget, EpochReport, OnError};
pub use memory::MemoryPlan;
pub use options::LoaderBuilder;
pub use planned::Loader;
pub use stats::{LoaderStats, StageStats};
pub use stream::StreamLoader;

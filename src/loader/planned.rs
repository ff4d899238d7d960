//! Epochs over shards that all have an index: started, resumed from a cursor, or replayed for one batch.

use std::ops::Range;
use std::sync::Arc;

use super::activity::ActivityBoard;
use super::engine::Engine;
use super::epoch::EpochSpec;
use super::reader::Reader;
use super::shared::Shared;
use super::stats::Counters;
use super::steps::Steps;
use super::worker::locate;
use super::{Budget, Epoch, OnError};
use crate::annotation::FilterBounds;
use crate::batch::Batch;
use crate::image::ScaledDecode;
use crate::order::{Cursor, Fingerprint, Order, Plan, Settings};
use crate::shard::{Samples, ShardSet};
use crate::splitmix::mix64;
use crate::{Error, Result};

/// An indexed set and the order of its epochs.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    pub(super) set: Arc<ShardSet>,
    order: Order,
    fingerprint: Fingerprint,
    pub(super) steps: u64,
}

impl Planned {
    /// # Errors
    /// If the samples do not fill a batch and `drop_last` is set.
    pub(super) fn new(shared: &Shared, set: Arc<ShardSet>) -> Result<Self> {
        let mut order = shared.order;
        // Without `chunk_bytes` a chunk is one sample, and the mean size, a sum over all samples, is not computed.
        if let (Some(shuffle), Some(bytes)) = (&mut order.shuffle, shared.chunk_bytes) {
            shuffle.chunk_samples = (bytes / set.mean_sample_bytes().max(1)).max(1);
        }
        let steps = order.plan(set.population(), 0)?.steps();
        let settings = Settings {
            filter: set.filter().map(FilterBounds::from),
            top_k: shared.sample.top_k as u64,
            top_k_by: shared.sample.top_k_by,
            scaled_decode: shared.sample.scaled == ScaledDecode::Auto,
            augment: shared.sample.augment,
            prompts: shared.sample.prompts,
            shuffle: order.shuffle,
            global_batch: order.global_batch(),
            drop_last: order.drop_last,
        };
        let fingerprint = Fingerprint { version: Fingerprint::VERSION, data: set.identity(), settings };
        Ok(Self { set, order, fingerprint, steps })
    }

    /// The plan of an epoch.
    pub(super) fn plan(&self, epoch: u64) -> Plan {
        // The settings were checked when the loader was built.
        self.order.plan_checked(self.set.population(), epoch)
    }

    pub(super) fn epoch(&self, shared: &Arc<Shared>, epoch: u64) -> Result<Epoch> {
        self.start(shared, epoch, 0..self.steps, shared.on_error, true)
    }

    pub(super) fn resume_from(&self, shared: &Arc<Shared>, cursor: &Cursor) -> Result<Epoch> {
        self.check(cursor)?;
        let first = cursor.step().min(self.steps);
        self.start(shared, cursor.epoch(), first..self.steps, shared.on_error, true)
    }

    pub(super) fn replay(&self, shared: &Arc<Shared>, cursor: &Cursor, step: u64) -> Result<Batch> {
        self.check(cursor)?;
        if step >= self.steps {
            return Err(Error::config(format!("there is no batch {step}: an epoch has {}", self.steps)));
        }
        let on_error = OnError::skip(Budget::UNLIMITED);
        let mut epoch = self.start(shared, cursor.epoch(), step..step + 1, on_error, false)?;
        epoch.next().unwrap_or_else(|| Err(Error::panic(&"an epoch of one batch was empty")))
    }

    /// Reads the samples of an epoch, and decodes none.
    pub(super) fn read_only(&self, shared: &Arc<Shared>, epoch: u64, each: &mut dyn FnMut(u64) -> bool) -> Result<()> {
        let samples = Arc::clone(&self.set) as Arc<dyn Samples>;
        let steps = Steps::planned(self.plan(epoch), Arc::clone(&self.set), self.steps);
        let (counters, board) = (Arc::new(Counters::with_parent(&shared.counters)), Arc::new(ActivityBoard::new(1)));
        let mut reader = Reader::new(shared, &samples, steps, 0, &counters, &board);
        for step in 0.. {
            let Some(batch) = reader.batch(step)? else { break };
            for sample in batch.into_iter().flatten() {
                let bytes = reader.read(step, sample).map_err(|e| locate(&*samples, sample, e))?;
                if !each(bytes.fetched_bytes()) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// A digest of everything that determines the samples of each batch of this rank.
    pub(super) fn fingerprint(&self) -> u64 {
        mix64(self.fingerprint.digest() ^ self.order.world_size as u64)
    }

    /// One of `of` parts of this rank's share: every `of`-th sample, starting at `part`. All parts have equal steps.
    #[cfg(feature = "burn")]
    pub(super) fn share(&self, part: usize, of: usize) -> Result<Self> {
        let mut share = self.clone();
        let Order { rank, world_size, .. } = self.order;
        // Rank r of w has the positions that are r modulo w. In a world `of` times as large, the same positions belong
        // to the ranks r, r + w, r + 2w, ...
        share.order.rank = part.saturating_mul(world_size).saturating_add(rank);
        share.order.world_size = of.saturating_mul(world_size);
        share.steps = share.order.plan(self.set.population(), 0)?.steps();
        share.fingerprint.settings.global_batch = share.order.global_batch();
        Ok(share)
    }

    fn start(
        &self,
        shared: &Arc<Shared>,
        epoch: u64,
        steps: Range<u64>,
        on_error: OnError,
        is_logged: bool,
    ) -> Result<Epoch> {
        let plan = self.plan(epoch);
        let samples = Arc::clone(&self.set) as Arc<dyn Samples>;
        let planned = Steps::planned(plan.clone(), Arc::clone(&self.set), steps.end);
        let first = steps.start;
        let engine = Engine::start(shared, samples, epoch, planned, steps)?;
        let plan = Some((plan, self.fingerprint));
        let spec = EpochSpec { index: epoch, first, plan, counts: Arc::default(), is_logged };
        Ok(Epoch::new(engine, spec, on_error))
    }

    /// Checks that the cursor belongs to this order.
    ///
    /// # Errors
    /// If it does not: the message names what differs.
    fn check(&self, cursor: &Cursor) -> Result<()> {
        let (saved, now) = (cursor.plan(), &self.fingerprint);
        let (then, here) = (saved.data.shards as usize, now.data.shards as usize);
        if then < here && saved.version == now.version && self.set.files_digest(then) == saved.data.files {
            let names: Vec<_> =
                self.set.reports().skip(then).take(3).map(|report| report.path.display().to_string()).collect();
            let more = if here - then > names.len() { ", ..." } else { "" };
            return Err(Error::config(format!(
                "the cursor does not fit: there are {} more shards than when it was saved ({}{more}); finish the epoch \
                 with the first {then}, then begin the next one with all",
                here - then,
                names.join(", ")
            )));
        }
        now.check(saved)?;
        cursor.check_position()
    }
}

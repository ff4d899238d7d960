//! The state that all epochs of a loader share, built from checked settings.

use std::sync::Arc;
use std::time::Duration;

use super::cache::LabelCache;
use super::memory::{MemoryPlan, MemoryRequirements};
use super::stats::{Counters, LoaderStats};
use super::{LoaderBuilder, OnError};
use crate::augment::{Augment, Prompts};
use crate::batch::{BatchLayout, SharedPool};
use crate::dtype::DType;
use crate::field::MaskFormat;
use crate::image::{Normalization, Planes};
use crate::order::{CHUNKS_IN_USE, Order};
use crate::sample::{Geometry, MaskKind, SampleOptions};
use crate::shard::{MaxSampleSize, QuarantineLog, ShardSet};
use crate::source::ReadAhead;
use crate::{Error, Result};

/// More decoding threads than the cores of any machine only take memory, until the system starts no more of them.
const MAX_WORKERS: usize = 1024;
/// More batches prepared ahead than this cannot be meant: each takes megabytes.
const MAX_PREFETCH: usize = 1024;

/// State shared by all epochs of a loader.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) sample: Arc<SampleOptions>,
    pub(super) planes: Arc<Planes>,
    /// Complete except for the length of chunks, which depends on the samples.
    pub(super) order: Order,
    pub(super) chunk_bytes: Option<u64>,
    pub(super) num_workers: usize,
    pub(super) prefetch_batches: usize,
    pub(super) on_error: OnError,
    pub(super) quarantine_log: Option<QuarantineLog>,
    pub(super) stall_timeout: Option<Duration>,
    pub(super) memory_plan: MemoryPlan,
    pub(super) pool: Arc<SharedPool>,
    pub(super) cache: Option<LabelCache>,
    pub(super) counters: Arc<Counters>,
}

/// What is known of the samples when a loader is built.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Found {
    pub(super) samples: u64,
    pub(super) largest: MaxSampleSize,
    /// Bytes of all samples.
    pub(super) bytes: u64,
    /// How the shards want to be read ahead.
    pub(super) read_ahead: ReadAhead,
}

impl Found {
    pub(super) fn of(set: &ShardSet) -> Self {
        let (samples, largest) = (set.len(), set.largest());
        Self { samples, largest, bytes: set.mean_sample_bytes() * samples, read_ahead: set.read_ahead() }
    }

    /// Bytes that are held before their samples are needed: those begun ahead, and the chunks in use.
    fn ahead(&self, order: &Order, chunk_bytes: Option<u64>) -> u64 {
        let ahead = self.read_ahead.bytes;
        let chunks = match chunk_bytes {
            Some(bytes) if ahead > 0 => bytes.saturating_mul(CHUNKS_IN_USE.div_ceil(order.world_size.max(1) as u64)),
            _ => 0,
        };
        ahead.saturating_add(chunks).min(self.bytes)
    }
}

impl Shared {
    /// Checks the settings for these samples.
    ///
    /// # Errors
    /// If a size is 0 or too large, settings do not fit together, the memory budget does not hold what is needed, or
    /// the quarantine log cannot be opened.
    pub(super) fn new(settings: LoaderBuilder, found: &Found) -> Result<Self> {
        let Found { samples, largest, .. } = *found;
        let LoaderBuilder { sample, order, num_workers, prefetch_batches, on_error, .. } = settings;
        for (name, value, max) in [
            ("top_k", sample.top_k, 1 << 16),
            ("num_workers", num_workers, MAX_WORKERS),
            ("prefetch_batches", prefetch_batches, MAX_PREFETCH),
        ] {
            if value == 0 || value > max {
                return Err(Error::config(format!("{name} is {value}, which is not between 1 and {max}")));
            }
        }
        for (name, value) in [("chunk_bytes", settings.chunk_bytes), ("mask_cache_bytes", settings.mask_cache_bytes)] {
            if value == Some(0) {
                return Err(Error::config(format!("{name} is 0: take None to switch it off")));
            }
        }
        if settings.stall_timeout.is_some_and(|limit| limit.is_zero()) {
            return Err(Error::config("stall_timeout is 0: take None to switch it off"));
        }
        check_effects(&sample, &order, settings.chunk_bytes, settings.mask_cache_bytes)?;
        check_sizes(&sample)?;
        sample.augment.iter().try_for_each(Augment::check)?;
        sample.prompts.iter().try_for_each(Prompts::check)?;
        order.check()?;
        let planes = Planes::new(sample.image_dtype, sample.normalization)?;
        let layout = BatchLayout::of(order.batch_size, &sample)?;
        if let OnError::Skip { budget } = on_error {
            budget.check()?;
        }
        let cache_bytes = settings.mask_cache_bytes.unwrap_or(0);
        let memory_plan = MemoryPlan::new(&MemoryRequirements {
            max_bytes: settings.max_memory_bytes,
            batch_bytes: layout.bytes() as u64,
            prefetch_batches: prefetch_batches as u64,
            workers: num_workers as u64,
            waiting_bytes: waiting_bytes(&sample),
            cache_bytes,
            samples,
            // Larger images are errors and are not decoded.
            largest: MaxSampleSize { pixels: largest.pixels.min(sample.max_pixels), ..largest },
            read_ahead_bytes: found.ahead(&order, settings.chunk_bytes),
        })?;
        let max_batches = usize::try_from(memory_plan.batches).unwrap_or(usize::MAX);
        Ok(Self {
            sample: Arc::new(sample),
            planes: Arc::new(planes),
            order,
            chunk_bytes: settings.chunk_bytes,
            num_workers,
            prefetch_batches,
            on_error,
            quarantine_log: settings.quarantine_log.as_deref().map(QuarantineLog::open).transpose()?,
            stall_timeout: settings.stall_timeout,
            memory_plan,
            pool: Arc::new(SharedPool::new(Arc::new(layout), settings.memory, max_batches)),
            cache: (cache_bytes > 0).then(|| LabelCache::new(cache_bytes)),
            counters: Arc::default(),
        })
    }

    /// A snapshot of the counters of an epoch or of the loader.
    pub(super) fn stats(&self, counters: &Counters) -> LoaderStats {
        counters.stats(self.num_workers, self.prefetch_batches)
    }
}

/// Bytes of an image that waits for its last row: where it is turned or its contrast changes, or for a user's own step.
fn waiting_bytes(sample: &SampleOptions) -> u64 {
    let is_turned = sample.augment.is_some_and(|augment| augment.turns());
    let changes_contrast = sample.augment.is_some_and(|augment| augment.changes_contrast());
    let image = 3 * u64::from(sample.side).pow(2);
    match () {
        // It is copied.
        () if is_turned => 2 * image,
        () if sample.transform.is_some() => image,
        // Bytes wait on the canvas.
        () if changes_contrast && sample.image_dtype != DType::U8 => image,
        () => 0,
    }
}

/// Refuses settings that have no effect with the others: whoever makes them expects one.
fn check_effects(
    sample: &SampleOptions,
    order: &Order,
    chunk_bytes: Option<u64>,
    mask_cache_bytes: Option<u64>,
) -> Result<()> {
    if sample.image_dtype == DType::U8 && sample.normalization != Normalization::UNIT {
        return Err(Error::config(
            "normalize has no effect on u8 images: set image_dtype to F32, F16 or Bf16, or normalize on the device",
        ));
    }
    if sample.mask_size.is_none() && sample.mask_kind != MaskKind::default() {
        return Err(Error::config("mask_kind has no effect without masks: set mask_size, or leave mask_kind out"));
    }
    if sample.mask_size.is_none() && sample.mask_format != MaskFormat::default() {
        return Err(Error::config("mask_format has no effect without masks: set mask_size, or leave mask_format out"));
    }
    if sample.mask_kind == MaskKind::Area && sample.mask_format == MaskFormat::Bits {
        return Err(Error::config(
            "mask_format Bits holds 0 or 1, but mask_kind Area is 0 to 255: take mask_kind Nearest, or mask_format \
             Bytes",
        ));
    }
    if sample.mask_size.is_none() && !sample.keep_thin_masks {
        return Err(Error::config(
            "keep_thin_masks has no effect without masks: set mask_size, or leave keep_thin_masks out",
        ));
    }
    if chunk_bytes.is_some() && order.shuffle.is_none() {
        return Err(Error::config("chunk_bytes has no effect without shuffle: set shuffle, or leave chunk_bytes out"));
    }
    if mask_cache_bytes.is_some() && sample.augment.is_some_and(|augment| augment.changes_labels()) {
        return Err(Error::config(
            "mask_cache_bytes has no effect with crops and flips, which give other labels in each epoch: leave \
             mask_cache_bytes or augment out",
        ));
    }
    if mask_cache_bytes.is_some() && sample.transform.is_some() {
        return Err(Error::config(
            "mask_cache_bytes has no effect with transform, which needs the masks of each sample: leave \
             mask_cache_bytes or transform out",
        ));
    }
    if mask_cache_bytes.is_some() && sample.prompts.is_some() {
        return Err(Error::config(
            "mask_cache_bytes has no effect with prompts, which differ in each epoch: leave mask_cache_bytes or \
             prompts out",
        ));
    }
    if mask_cache_bytes.is_some() && sample.top_k_by.differs_by_epoch() {
        return Err(Error::config(format!(
            "mask_cache_bytes has no effect with {:?}, which draws other masks in each epoch: take the Fixed form, or \
             leave mask_cache_bytes out",
            sample.top_k_by
        )));
    }
    Ok(())
}

/// Checks the normalization, and the geometry and grids on an image of common size.
fn check_sizes(sample: &SampleOptions) -> Result<()> {
    let geometry = Geometry::new(1500, 2250, sample.side, sample.fit)?;
    let masks = sample.mask_size.map(|size| ("mask_size", size));
    let coverage = sample.coverage.map(|g| ("coverage", [g, g]));
    for (name, [rows, columns]) in masks.into_iter().chain(coverage) {
        geometry.grid(rows, columns).map_err(|e| {
            let text = format!("{name} is {rows} x {columns}: {}; take None for none", e.message());
            Error::config(text).caused_by(e)
        })?;
    }
    let Normalization { mean, std } = sample.normalization;
    if std.iter().any(|std| !std.is_normal()) || mean.iter().any(|mean| !mean.is_finite()) {
        return Err(Error::config(format!(
            "cannot normalize by mean {mean:?} and standard deviation {std:?}: the means must be finite, and the \
             deviations finite and not 0"
        )));
    }
    Ok(())
}

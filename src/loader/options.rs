//! Settings -> a loader. Comes in: what batches shall look like and how they are made. Goes out: a [`Loader`], all
//! settings checked. Fails on settings that do not fit together.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::cache::LabelCache;
use super::memory::{MemoryPlan, MemoryRequirements};
use super::stats::Counters;
use super::{Loader, OnError, StreamLoader};
use crate::annotation::TopKBy;
use crate::batch::{BatchLayout, Memory, SharedPool};
use crate::dtype::DType;
use crate::image::{JpegCodec, Normalization, Planes};
use crate::order::{Distributed, Order, Shuffle};
use crate::sample::{BoxFormat, CoordFrame, Fit, Geometry, MaskKind, SampleOptions};
use crate::shard::{MaxSampleSize, QuarantineLog, ShardSet, ShardSetBuilder};
use crate::{Error, Result};

/// What is assumed of the largest sample while shards are not indexed: a common image, four times as large as most.
const ASSUMED: MaxSampleSize = MaxSampleSize { sample_bytes: 4 << 20, pixels: 1500 * 2250 };
/// How long a thread may be busy with one sample.
const STALL_TIMEOUT: Duration = Duration::from_secs(600);

/// Settings of a [`Loader`]; start with [`Loader::builder`].
#[derive(Clone, Debug)]
#[must_use]
pub struct LoaderBuilder {
    sample: SampleOptions,
    order: Order,
    chunk_bytes: u64,
    num_workers: usize,
    prefetch_batches: usize,
    on_error: OnError,
    quarantine: Option<PathBuf>,
    stall_timeout: Option<Duration>,
    memory: Memory,
    max_memory_bytes: Option<u64>,
    mask_cache_bytes: u64,
}

/// How batches are made, whatever of.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) sample: Arc<SampleOptions>,
    pub(super) planes: Arc<Planes>,
    /// But for the length of chunks, which depends on the samples.
    pub(super) order: Order,
    pub(super) chunk_bytes: u64,
    pub(super) num_workers: usize,
    pub(super) prefetch_batches: usize,
    pub(super) on_error: OnError,
    pub(super) quarantine: Option<QuarantineLog>,
    pub(super) stall_timeout: Option<Duration>,
    pub(super) memory_plan: MemoryPlan,
    /// Where training stands, as far as anybody has begun.
    pub(super) latest: Mutex<Latest>,
    pub(super) stock: Arc<SharedPool>,
    pub(super) cache: Option<LabelCache>,
    pub(super) counters: Arc<Counters>,
}

/// Where training stands: an epoch, and how many of its samples all ranks have received; `None` is all of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Latest {
    pub(super) epoch: u64,
    pub(super) position: Option<u64>,
}

impl Default for Latest {
    fn default() -> Self {
        Self { epoch: 0, position: Some(0) }
    }
}

impl Inner {
    pub(super) fn latest(&self) -> MutexGuard<'_, Latest> {
        // It is only ever assigned as a whole.
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for LoaderBuilder {
    fn default() -> Self {
        Self {
            sample: SampleOptions {
                side: 1024,
                fit: Fit::default(),
                image_dtype: DType::default(),
                normalization: Normalization::default(),
                codec: JpegCodec::default(),
                max_pixels: 1 << 26,
                mask_size: Some([256, 256]),
                mask_kind: MaskKind::default(),
                coverage: None,
                top_k: 10,
                top_k_by: TopKBy::default(),
                box_format: BoxFormat::default(),
                coord_frame: CoordFrame::default(),
            },
            order: Order::default(),
            chunk_bytes: 0,
            num_workers: std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            prefetch_batches: 2,
            on_error: OnError::default(),
            quarantine: None,
            stall_timeout: Some(STALL_TIMEOUT),
            memory: Memory::default(),
            max_memory_bytes: None,
            mask_cache_bytes: 0,
        }
    }
}

impl LoaderBuilder {
    /// Samples per batch on this rank. Default: 8.
    pub fn batch_size(mut self, samples: usize) -> Self {
        self.order.batch_size = samples;
        self
    }

    /// Side of the square image canvas in pixels. Default: 1024.
    pub fn image_size(mut self, side: u32) -> Self {
        self.sample.side = side;
        self
    }

    /// How images fit the canvas. Default: [`Fit::Letterbox`].
    pub fn fit(mut self, fit: Fit) -> Self {
        self.sample.fit = fit;
        self
    }

    /// Number type of images. Default: [`DType::U8`].
    pub fn image_dtype(mut self, image_dtype: DType) -> Self {
        self.sample.image_dtype = image_dtype;
        self
    }

    /// How float images are scaled; 8-bit images are not. Default: [`Normalization::UNIT`].
    pub fn normalize(mut self, normalization: Normalization) -> Self {
        self.sample.normalization = normalization;
        self
    }

    /// Which library decodes JPEGs. Default: [`JpegCodec::default`].
    pub fn jpeg_codec(mut self, codec: JpegCodec) -> Self {
        self.sample.codec = codec;
        self
    }

    /// Images of more pixels are refused. Default: 2^26 (8192 x 8192).
    pub fn max_image_pixels(mut self, most: u64) -> Self {
        self.sample.max_pixels = most;
        self
    }

    /// Height and width of the grid that masks are drawn on, over the whole canvas; `None` draws none. Default: 256 x
    /// 256.
    pub fn mask_size(mut self, size: Option<[u32; 2]>) -> Self {
        self.sample.mask_size = size;
        self
    }

    /// What a cell of a drawn mask means. Default: [`MaskKind::Nearest`].
    pub fn mask_kind(mut self, kind: MaskKind) -> Self {
        self.sample.mask_kind = kind;
        self
    }

    /// Side G of the patch grid for exact coverage; `None` computes none. Default: `None`.
    pub fn coverage(mut self, patches: Option<u32>) -> Self {
        self.sample.coverage = patches;
        self
    }

    /// Masks per image. Default: 10.
    pub fn top_k(mut self, masks: usize) -> Self {
        self.sample.top_k = masks;
        self
    }

    /// Which of the surviving annotations come first. Default: [`TopKBy::StabilityScore`].
    pub fn top_k_by(mut self, top_k_by: TopKBy) -> Self {
        self.sample.top_k_by = top_k_by;
        self
    }

    /// The four numbers of a box. Default: [`BoxFormat::Xywh`].
    pub fn box_format(mut self, format: BoxFormat) -> Self {
        self.sample.box_format = format;
        self
    }

    /// What boxes and points are relative to. Default: [`CoordFrame::Original`].
    pub fn coord_frame(mut self, frame: CoordFrame) -> Self {
        self.sample.coord_frame = frame;
        self
    }

    /// Shuffles each epoch anew with this seed. Without it, samples come in the order of the shards.
    pub fn shuffle(mut self, seed: u64) -> Self {
        self.order.shuffle = Some(Shuffle::of_samples(seed));
        self
    }

    /// Shuffles runs of about so many bytes, and the samples of about a thousand runs that are in use at a time, in
    /// place of all samples: see [`Shuffle`]. For shards on spinning disks or networks, 8 to 16 MiB; what is in use
    /// should fit the page caches of all machines together. Default: 0, which is one sample: the best shuffle, and what
    /// local flash takes.
    pub fn chunk_bytes(mut self, bytes: u64) -> Self {
        self.chunk_bytes = bytes;
        self
    }

    /// This process's share, as its launcher says.
    pub fn distributed(self, distributed: &Distributed) -> Self {
        self.rank(distributed.rank, distributed.world_size)
    }

    /// This process's share: every `world_size`-th sample of the order, starting at `rank`. Default: 0 of 1.
    pub fn rank(mut self, rank: usize, world_size: usize) -> Self {
        (self.order.rank, self.order.world_size) = (rank, world_size);
        self
    }

    /// Leaves out the samples that do not fill a batch on every rank; otherwise the last batch is padded with invalid
    /// rows. Default: padded.
    pub fn drop_last(mut self, drop_last: bool) -> Self {
        self.order.drop_last = drop_last;
        self
    }

    /// Worker threads. Default: one per core.
    pub fn num_workers(mut self, threads: usize) -> Self {
        self.num_workers = threads;
        self
    }

    /// Batches that are being made or wait to be received, at most. Default: 2.
    pub fn prefetch_batches(mut self, batches: usize) -> Self {
        self.prefetch_batches = batches;
        self
    }

    /// What happens when a sample cannot be decoded. Default: [`OnError::Stop`].
    pub fn on_error(mut self, on_error: OnError) -> Self {
        self.on_error = on_error;
        self
    }

    /// Adds every sample that cannot be decoded, the one that ends an epoch included, to this list of bad samples. Only if
    /// its bytes are to blame, and are those that were indexed: not where the operating system or a limit refuses, nor
    /// where a file has changed since, and may be restored. A later run that loads the list leaves them out of the order:
    /// see [`ShardSetBuilder::quarantine`]. Several processes may share it where files can be locked; elsewhere each has
    /// its own. Default: no list.
    pub fn quarantine_log(mut self, path: impl Into<PathBuf>) -> Self {
        self.quarantine = Some(path.into());
        self
    }

    /// While a batch is waited for, no thread may be busy with one sample for longer: then the epoch ends with an error
    /// that names the sample and what the thread is at. A thread that does not come back is left behind. `None` waits
    /// for ever. Default: 10 minutes.
    pub fn stall_timeout(mut self, limit: Option<Duration>) -> Self {
        self.stall_timeout = limit;
        self
    }

    /// Where batches live. Default: [`Memory::Heap`].
    pub fn memory(mut self, memory: Memory) -> Self {
        self.memory = memory;
        self
    }

    /// Bytes that the loader may take: batches under way and those their receiver holds, samples read ahead, what
    /// workers decode in, the mask cache and the index; see [`Loader::memory_plan`]. Tensors that took over a batch's
    /// memory do not count. Default: 8 GiB, or what is needed if that is more.
    pub fn max_memory_bytes(mut self, bytes: u64) -> Self {
        self.max_memory_bytes = Some(bytes);
        self
    }

    /// Keeps decoded masks, boxes and scores of up to this many bytes for the next epochs, so that a small data set
    /// decodes only its images again. Default: 0, none.
    pub fn mask_cache_bytes(mut self, bytes: u64) -> Self {
        self.mask_cache_bytes = bytes;
        self
    }

    /// Checks the settings and makes the loader. Starts no thread.
    ///
    /// # Errors
    /// If a size is 0 or too large, the rank is not below the world size, the memory budget does not hold what is
    /// needed, `drop_last` leaves no batch, or the quarantine list cannot be written.
    pub fn build(self, set: impl Into<Arc<ShardSet>>) -> Result<Loader> {
        let set = set.into();
        let inner = Arc::new(self.check(set.len(), set.largest())?);
        Loader::new(inner, set)
    }

    /// Opens shards to stream from at once, indexed or not: see [`StreamLoader`]. Starts no thread.
    ///
    /// # Errors
    /// As [`ShardSetBuilder::open`] and [`LoaderBuilder::build`], as far as that is known without reading the shards;
    /// and if a shard has no index although several ranks share the epoch: all must have equal steps, which only
    /// indexes tell.
    pub fn stream<P: AsRef<Path>>(self, shards: ShardSetBuilder, patterns: &[P]) -> Result<StreamLoader> {
        let growing = shards.open_growing(patterns)?;
        let unindexed = growing.unindexed();
        if unindexed == 0 {
            let loader = self.build(growing.finish()?)?;
            return Ok(StreamLoader::indexed(loader, growing));
        }
        if self.order.world_size > 1 {
            return Err(Error::config(format!(
                "{unindexed} of {} shards have no index, and {} ranks need equal steps, which only indexes tell: make them first, with `maskstream index`",
                growing.len(),
                self.order.world_size
            )));
        }
        Ok(StreamLoader::new(Arc::new(self.check(0, ASSUMED)?), growing))
    }

    fn check(self, samples: u64, largest: MaxSampleSize) -> Result<Inner> {
        let Self { sample, order, chunk_bytes, num_workers, prefetch_batches, on_error, stall_timeout, .. } = self;
        for (name, value) in
            [("top_k", sample.top_k), ("num_workers", num_workers), ("prefetch_batches", prefetch_batches)]
        {
            if value == 0 || value > 1 << 16 {
                return Err(Error::config(format!("{name} is {value}, not within 1 to {}", 1 << 16)));
            }
        }
        check_sizes(&sample)?;
        let planes = Arc::new(Planes::new(sample.image_dtype, sample.normalization)?);
        order.check()?;
        let layout = BatchLayout::new(
            order.batch_size,
            sample.top_k,
            sample.side as usize,
            sample.image_dtype,
            sample.mask_size.map(|size| size.map(|n| n as usize)),
            sample.coverage.map(|g| g as usize),
        )?;
        if let OnError::Skip { budget } = on_error {
            budget.check()?;
        }
        let memory_plan = MemoryPlan::new(&MemoryRequirements {
            max_bytes: self.max_memory_bytes,
            batch_bytes: layout.bytes() as u64,
            prefetch_batches: prefetch_batches as u64,
            workers: num_workers as u64,
            side: u64::from(sample.side),
            cache_bytes: self.mask_cache_bytes,
            samples,
            // Larger ones are refused, not decoded.
            largest: MaxSampleSize { pixels: largest.pixels.min(sample.max_pixels), ..largest },
        })?;
        let max_batches = usize::try_from(memory_plan.batches).unwrap_or(usize::MAX);
        Ok(Inner {
            sample: Arc::new(sample),
            planes,
            order,
            chunk_bytes,
            num_workers,
            prefetch_batches,
            on_error,
            quarantine: self.quarantine.as_deref().map(QuarantineLog::open).transpose()?,
            stall_timeout,
            memory_plan,
            latest: Mutex::default(),
            stock: Arc::new(SharedPool::new(Arc::new(layout), self.memory, max_batches)),
            cache: (self.mask_cache_bytes > 0).then(|| LabelCache::new(self.mask_cache_bytes)),
            counters: Arc::default(),
        })
    }
}

/// Tries the geometry and grids that every sample will need on an image of one size.
fn check_sizes(sample: &SampleOptions) -> Result<()> {
    let geometry = Geometry::new(1500, 2250, sample.side, sample.fit)?;
    for [rows, columns] in sample.mask_size.into_iter().chain(sample.coverage.map(|g| [g, g])) {
        geometry.grid(rows, columns)?;
    }
    let std = sample.normalization.std;
    if std.iter().any(|&std| !std.is_normal()) || sample.normalization.mean.iter().any(|mean| !mean.is_finite()) {
        return Err(Error::config(format!("cannot normalize by {:?}", sample.normalization)));
    }
    Ok(())
}

//! The settings of a loader. `build` is in `loader/mod.rs`, the checks are in `loader/shared.rs`.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::OnError;
use crate::annotation::TopKBy;
use crate::batch::Memory;
use crate::dtype::DType;
use crate::image::{JpegCodec, Normalization};
use crate::order::{Distributed, Order, Shuffle};
use crate::sample::{BoxFormat, CoordFrame, Fit, MaskKind, SampleOptions};

/// How long a thread may work on one sample.
const STALL_TIMEOUT: Duration = Duration::from_secs(600);

/// Settings of a [`Loader`]; start with [`Loader::builder`].
#[derive(Clone, Debug)]
#[must_use]
pub struct LoaderBuilder {
    pub(super) sample: SampleOptions,
    pub(super) order: Order,
    pub(super) chunk_bytes: Option<u64>,
    pub(super) num_workers: usize,
    pub(super) prefetch_batches: usize,
    pub(super) on_error: OnError,
    pub(super) quarantine_log: Option<PathBuf>,
    pub(super) stall_timeout: Option<Duration>,
    pub(super) memory: Memory,
    pub(super) max_memory_bytes: Option<u64>,
    pub(super) mask_cache_bytes: Option<u64>,
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
            chunk_bytes: None,
            num_workers: std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            prefetch_batches: 2,
            on_error: OnError::default(),
            quarantine_log: None,
            stall_timeout: Some(STALL_TIMEOUT),
            memory: Memory::default(),
            max_memory_bytes: None,
            mask_cache_bytes: None,
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
    pub fn mask_size(mut self, size: impl Into<Option<[u32; 2]>>) -> Self {
        self.sample.mask_size = size.into();
        self
    }

    /// What a cell of a drawn mask means. Default: [`MaskKind::Nearest`].
    pub fn mask_kind(mut self, kind: MaskKind) -> Self {
        self.sample.mask_kind = kind;
        self
    }

    /// Side G of the patch grid for exact coverage; `None` computes none. Default: `None`.
    pub fn coverage(mut self, side: impl Into<Option<u32>>) -> Self {
        self.sample.coverage = side.into();
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
    pub fn shuffle(mut self, seed: impl Into<Option<u64>>) -> Self {
        self.order.shuffle = seed.into().map(Shuffle::of_samples);
        self
    }

    /// Shuffles runs of about so many bytes, and the samples of about a thousand runs that are in use at a time, in
    /// place of all samples: see [`Shuffle`]. For shards on spinning disks or networks, 8 to 16 MiB; what is in use
    /// should fit the page caches of all machines together. Default: 0, which is one sample: the best shuffle, and what
    /// local flash takes.
    pub fn chunk_bytes(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.chunk_bytes = bytes.into();
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
    pub fn quarantine_log(mut self, path: impl AsRef<Path>) -> Self {
        self.quarantine_log = Some(path.as_ref().to_owned());
        self
    }

    /// While a batch is waited for, no thread may be busy with one sample for longer: then the epoch ends with an error
    /// that names the sample and what the thread is at. A thread that does not come back is left behind. `None` waits
    /// for ever. Default: 10 minutes.
    pub fn stall_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.stall_timeout = limit.into();
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
    pub fn max_memory_bytes(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.max_memory_bytes = bytes.into();
        self
    }

    /// Keeps decoded masks, boxes and scores of up to this many bytes for the next epochs, so that a small data set
    /// decodes only its images again. Default: 0, none.
    pub fn mask_cache_bytes(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.mask_cache_bytes = bytes.into();
        self
    }
}

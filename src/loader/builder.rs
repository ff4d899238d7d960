//! The settings of a loader. `build` is in `loader/mod.rs`; the settings are checked in `loader/shared.rs`.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::OnError;
use crate::Result;
use crate::annotation::TopKBy;
use crate::augment::{Augment, Prompts};
use crate::batch::Memory;
use crate::dtype::DType;
use crate::field::MaskFormat;
use crate::image::{Normalization, ScaledDecode};
use crate::order::{Cursor, Distributed, Order, Settings, Shuffle};
use crate::sample::{BoxFormat, CoordFrame, Fit, MaskKind, Sample, SampleOptions, Transform};

/// The default of `stall_timeout`.
const STALL_TIMEOUT: Duration = Duration::from_secs(600);

/// Settings of a [`Loader`](crate::Loader); start with [`Loader::builder`](crate::Loader::builder), end with
/// [`build`](LoaderBuilder::build).
///
/// Each setting has a default. A setting that can be switched off takes a value or `None`. The command `maskstream
/// bench` has a flag of the same name for most of them (`--batch-size`, `--image-size`, `--top-k`, ...).
///
/// * Images: [`image_size`](Self::image_size), [`fit`](Self::fit), [`image_dtype`](Self::image_dtype),
///   [`normalize`](Self::normalize), [`scaled_decode`](Self::scaled_decode),
///   [`max_image_pixels`](Self::max_image_pixels)
/// * Masks and labels: [`top_k`](Self::top_k), [`top_k_by`](Self::top_k_by), [`mask_size`](Self::mask_size),
///   [`mask_kind`](Self::mask_kind), [`mask_format`](Self::mask_format), [`keep_thin_masks`](Self::keep_thin_masks),
///   [`coverage`](Self::coverage), [`box_format`](Self::box_format), [`coord_frame`](Self::coord_frame)
/// * Both: [`augment`](Self::augment)
/// * Prompts and more: [`prompts`](Self::prompts), [`transform`](Self::transform)
/// * Order: [`batch_size`](Self::batch_size), [`shuffle`](Self::shuffle), [`chunk_bytes`](Self::chunk_bytes),
///   [`distributed`](Self::distributed), [`rank`](Self::rank), [`drop_last`](Self::drop_last)
/// * Threads and memory: [`num_workers`](Self::num_workers), [`prefetch_batches`](Self::prefetch_batches),
///   [`memory`](Self::memory), [`max_memory_bytes`](Self::max_memory_bytes),
///   [`mask_cache_bytes`](Self::mask_cache_bytes)
/// * Failures: [`on_error`](Self::on_error), [`quarantine_log`](Self::quarantine_log),
///   [`stall_timeout`](Self::stall_timeout)
///
/// ```
/// use maskstream::{DType, Loader, Normalization, TopKBy};
///
/// let settings = Loader::builder()
///     .batch_size(16)
///     .image_size(512)
///     .image_dtype(DType::F32)
///     .normalize(Normalization::IMAGENET)
///     .top_k(24)
///     .top_k_by(TopKBy::AreaStratified { seed: 1 })
///     .mask_size(None)
///     .coverage(32)
///     .shuffle(42);
/// ```
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
                scaled: ScaledDecode::default(),
                max_pixels: 1 << 26,
                mask_size: Some([256, 256]),
                mask_kind: MaskKind::default(),
                mask_format: MaskFormat::default(),
                keep_thin_masks: true,
                coverage: None,
                top_k: 10,
                top_k_by: TopKBy::default(),
                box_format: BoxFormat::default(),
                coord_frame: CoordFrame::default(),
                augment: None,
                prompts: None,
                transform: None,
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
    /// The settings that the order of a cursor's run depends on: `top_k`, `top_k_by`, `scaled_decode`, `augment`,
    /// `prompts`, the shuffle and its chunks, `drop_last`, and `batch_size` x `world_size` as the batch of one rank.
    /// All other settings stay as they are. Its filter: [`Cursor::filter`], with an example.
    ///
    /// # Errors
    /// If the cursor is of another version of the order.
    pub fn settings_of(mut self, cursor: &Cursor) -> Result<Self> {
        let Settings { filter: _, top_k, top_k_by, scaled_decode, augment, prompts, shuffle, global_batch, drop_last } =
            *cursor.settings()?;
        let scaled = if scaled_decode { ScaledDecode::Auto } else { ScaledDecode::Full };
        let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        (self.sample.top_k, self.sample.top_k_by, self.sample.scaled) = (size(top_k), top_k_by, scaled);
        (self.sample.augment, self.sample.prompts) = (augment, prompts);
        self.order = Order { batch_size: size(global_batch), shuffle, rank: 0, world_size: 1, drop_last };
        self.chunk_bytes = None;
        Ok(self)
    }

    /// Samples per batch on this rank (B). Default: 8.
    pub fn batch_size(mut self, samples: usize) -> Self {
        self.order.batch_size = samples;
        self
    }

    /// Side of the square image canvas in pixels (S). Default: 1024.
    pub fn image_size(mut self, side: u32) -> Self {
        self.sample.side = side;
        self
    }

    /// How an image fits the square canvas. Default: [`Fit::Letterbox`].
    pub fn fit(mut self, fit: Fit) -> Self {
        self.sample.fit = fit;
        self
    }

    /// Number type of the images: [`DType::U8`] as decoded, or normalized floats (`F32`, `F16`, `Bf16`). Default:
    /// [`DType::U8`], a quarter of the bytes of f32.
    pub fn image_dtype(mut self, image_dtype: DType) -> Self {
        self.sample.image_dtype = image_dtype;
        self
    }

    /// How float images are scaled; u8 images are not, so another normalization than the default is an error with
    /// them. Default: [`Normalization::UNIT`], 0 to 1.
    pub fn normalize(mut self, normalization: Normalization) -> Self {
        self.sample.normalization = normalization;
        self
    }

    /// Whether a JPEG may be decoded at a half, a quarter or an eighth of its size where that is enough. The pixels
    /// differ slightly, so a [`Cursor`](crate::Cursor) that was saved with the other setting is an error. Default:
    /// [`ScaledDecode::Auto`].
    pub fn scaled_decode(mut self, scaled: ScaledDecode) -> Self {
        self.sample.scaled = scaled;
        self
    }

    /// Largest image in pixels; larger ones are errors. Default: 2^26 (8192 x 8192).
    pub fn max_image_pixels(mut self, most: u64) -> Self {
        self.sample.max_pixels = most;
        self
    }

    /// Height and width of the grid on which masks are drawn, over the whole canvas (H x W); `None` draws none.
    /// Default: 256 x 256.
    ///
    /// ```
    /// # use maskstream::Loader;
    /// let settings = Loader::builder().mask_size([128, 128]);
    /// let no_masks = Loader::builder().mask_size(None).coverage(32);
    /// ```
    pub fn mask_size(mut self, size: impl Into<Option<[u32; 2]>>) -> Self {
        self.sample.mask_size = size.into();
        self
    }

    /// What a cell of a drawn mask means. Default: [`MaskKind::Nearest`], 0 or 1.
    pub fn mask_kind(mut self, kind: MaskKind) -> Self {
        self.sample.mask_kind = kind;
        self
    }

    /// How the cells of drawn masks are stored: [`MaskFormat::Bits`] takes an eighth of the memory, for masks of
    /// [`MaskKind::Nearest`] only. Default: [`MaskFormat::Bytes`].
    pub fn mask_format(mut self, format: MaskFormat) -> Self {
        self.sample.mask_format = format;
        self
    }

    /// Keeps a mask that is so thin or small that no cell of the grid would show it: the cell that it covers most is 1.
    /// Without this, such a mask is a plane of zeros with [`Field::Valid`](crate::Field::Valid) 1, as nearest-neighbour
    /// resizing of its bitmap gives. In generated shards that is 2 % of all masks at 256 x 256 and 19 % at 64 x 64, and
    /// 22 % of the smallest ten of each image at 256 x 256. Default: `true`.
    pub fn keep_thin_masks(mut self, keep: bool) -> Self {
        self.sample.keep_thin_masks = keep;
        self
    }

    /// Side of the patch grid (G) for the exact share of each patch that a mask covers; `None` computes none. A patch
    /// of a vision transformer of patch size P is `S / P`. Default: `None`.
    pub fn coverage(mut self, side: impl Into<Option<u32>>) -> Self {
        self.sample.coverage = side.into();
        self
    }

    /// Masks per image (K). An image with fewer is padded: see [`Field::Valid`](crate::Field::Valid). Default: 10.
    pub fn top_k(mut self, masks: usize) -> Self {
        self.sample.top_k = masks;
        self
    }

    /// How the annotations that pass the filter are ranked; the first K become masks. Default:
    /// [`TopKBy::StabilityScore`].
    pub fn top_k_by(mut self, top_k_by: TopKBy) -> Self {
        self.sample.top_k_by = top_k_by;
        self
    }

    /// The four numbers of a box. Default: [`BoxFormat::Xywh`].
    pub fn box_format(mut self, format: BoxFormat) -> Self {
        self.sample.box_format = format;
        self
    }

    /// What boxes and points are normalized by. Default: [`CoordFrame::Original`].
    pub fn coord_frame(mut self, frame: CoordFrame) -> Self {
        self.sample.coord_frame = frame;
        self
    }

    /// What happens to each sample at random: crops, flips and scales, in another way in each epoch. `None` leaves all
    /// samples as they are. Default: `None`.
    ///
    /// ```
    /// use maskstream::{Augment, Loader};
    ///
    /// let settings = Loader::builder().augment(Augment::lsj().seed(1));
    /// ```
    pub fn augment(mut self, augment: impl Into<Option<Augment>>) -> Self {
        self.sample.augment = augment.into();
        self
    }

    /// Clicks and boxes that prompt a model for each mask; `None` draws none. Default: `None`.
    ///
    /// ```
    /// use maskstream::{Loader, Prompts};
    ///
    /// let settings = Loader::builder().prompts(Prompts::none().positive(1).box_jitter(0.1, 20.0));
    /// ```
    pub fn prompts(mut self, prompts: impl Into<Option<Prompts>>) -> Self {
        self.sample.prompts = prompts.into();
        self
    }

    /// A step of your own, for what is not offered here. It is called on the worker threads for each sample, after
    /// augmentation and before the image is normalized and written. It may change the pixels and all fields. An error
    /// or a panic in it is an error of that sample, with its shard and member; `std::io::Error::other("why").into()`
    /// makes one.
    ///
    /// A cursor does not know of it: continue and replay a run with the same function. Take random numbers from
    /// [`Sample::draw`] only, and all runs stay the same. Default: none.
    ///
    /// ```
    /// use maskstream::{Loader, Sample};
    ///
    /// // Every pixel in negative.
    /// let settings = Loader::builder().transform(|sample: &mut Sample<'_>| {
    ///     sample.pixels().iter_mut().for_each(|value| *value = 255 - *value);
    ///     Ok(())
    /// });
    /// ```
    pub fn transform(mut self, step: impl Fn(&mut Sample<'_>) -> Result<()> + Send + Sync + 'static) -> Self {
        self.sample.transform = Some(Transform(Arc::new(step)));
        self
    }

    /// Shuffles each epoch with this seed; `None` keeps the order of the shards. The order is a function of seed and
    /// epoch, the same on every machine. Default: `None`.
    pub fn shuffle(mut self, seed: impl Into<Option<u64>>) -> Self {
        let chunk_samples = self.order.shuffle.map_or(1, |shuffle| shuffle.chunk_samples);
        self.order.shuffle = seed.into().map(|seed| Shuffle { seed, chunk_samples });
        self
    }

    /// Shuffles runs of about this many bytes instead of single samples, for spinning disks and networks that need long
    /// reads: 8 to 16 MiB. The samples of about a thousand runs in use are shuffled among themselves; these runs should
    /// fit into the page caches of all machines together. `None` shuffles single samples, which is the best shuffle and
    /// suits local flash. Needs [`shuffle`](Self::shuffle). Default: `None`.
    pub fn chunk_bytes(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.chunk_bytes = bytes.into();
        self
    }

    /// The share of this process, from the environment variables of its launcher.
    ///
    /// ```no_run
    /// # use maskstream::{Distributed, Loader};
    /// let settings = Loader::builder().distributed(&Distributed::from_env()?).batch_size(16); // 16 on each rank
    /// # Ok::<(), maskstream::Error>(())
    /// ```
    pub fn distributed(self, distributed: &Distributed) -> Self {
        self.rank(distributed.rank, distributed.world_size)
    }

    /// The share of this process: every `world_size`-th sample of the order, starting at `rank`. Default: 0 of 1.
    pub fn rank(mut self, rank: usize, world_size: usize) -> Self {
        (self.order.rank, self.order.world_size) = (rank, world_size);
        self
    }

    /// Leaves out the samples that do not fill a batch on every rank. Otherwise the last batch is padded with invalid
    /// rows. Default: `false`, padded.
    pub fn drop_last(mut self, drop_last: bool) -> Self {
        self.order.drop_last = drop_last;
        self
    }

    /// Number of threads that decode, from 1 to 1024. Default: one per core.
    pub fn num_workers(mut self, threads: usize) -> Self {
        self.num_workers = threads;
        self
    }

    /// Largest number of batches that are being decoded or wait for the consumer, from 1 to 1024. Default: 2.
    pub fn prefetch_batches(mut self, batches: usize) -> Self {
        self.prefetch_batches = batches;
        self
    }

    /// What happens when a sample cannot be decoded. Default: [`OnError::Stop`].
    ///
    /// ```
    /// use maskstream::{Budget, Loader, OnError};
    ///
    /// // Zeroed, invalid rows for up to one sample in a thousand, but never twenty in a row.
    /// let on_error = OnError::skip(Budget::UNLIMITED.rate(0.001).consecutive(20));
    /// let settings = Loader::builder().on_error(on_error);
    /// ```
    pub fn on_error(mut self, on_error: OnError) -> Self {
        self.on_error = on_error;
        self
    }

    /// Appends every sample whose bytes are corrupt to this file, also the one that ends an epoch. Samples that failed
    /// because of the system or a limit are not recorded, nor are samples of a file that has changed since it was
    /// indexed. A later run excludes the recorded samples with
    /// [`ShardSetBuilder::quarantine`](crate::ShardSetBuilder::quarantine). Several processes may share the file where
    /// files can be locked. Default: no log.
    pub fn quarantine_log(mut self, path: impl AsRef<Path>) -> Self {
        self.quarantine_log = Some(path.as_ref().to_owned());
        self
    }

    /// Longest time that a thread may work on one sample while the consumer waits for a batch. After that the epoch
    /// ends with an error that names the sample, and the thread is left running. `None` waits forever. Default: 10
    /// minutes.
    pub fn stall_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.stall_timeout = limit.into();
        self
    }

    /// Where batches are allocated. Default: [`Memory::Heap`].
    pub fn memory(mut self, memory: Memory) -> Self {
        self.memory = memory;
        self
    }

    /// Memory budget in bytes for batches under way or held by the consumer, samples read ahead, buffers of the
    /// workers, the mask cache and the index; see [`Loader::memory_plan`](crate::Loader::memory_plan). Tensors that own
    /// a heap batch's memory do not count. `None` is 8 GiB, on every machine. If more is needed,
    /// [`build`](Self::build) returns an error that shows the sum. Default: `None`.
    pub fn max_memory_bytes(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.max_memory_bytes = bytes.into();
        self
    }

    /// Caches up to this many bytes of decoded masks, boxes and scores for later epochs, in which a small data set then
    /// decodes only its images. It has no use, and is an error, with a ranking that draws other masks in each epoch:
    /// take [`TopKBy::FixedRandom`] or [`TopKBy::FixedAreaStratified`]. Nor has it with crops and flips. Default:
    /// `None`.
    pub fn mask_cache_bytes(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.mask_cache_bytes = bytes.into();
        self
    }
}

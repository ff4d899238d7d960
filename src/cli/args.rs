//! Arguments that `bench`, `export` and `replay` share: which shards to read, and the settings of the loader.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use maskstream::index::{IndexStatus, Sidecar, resolve_patterns};
use maskstream::{
    BoxFormat, CoordFrame, Cursor, DType, ErrorKind, Fit, IdList, Loader, LoaderBuilder, MaskFilter, MaskFormat,
    MaskKind, Memory, Normalization, OnCorrupt, OnError, Quarantine, ScaledDecode, ShardSet, ShardSetBuilder, TopKBy,
};

use super::advice::in_flags;
use super::augment_args::AugmentArgs;
use super::output::WrongArguments;
use super::progress;
use super::size::{parse_count, parse_size, parse_whole};
use super::target::refuse_same;

/// Which shards to read, and where their index files are.
#[derive(Args)]
pub(super) struct ShardArgs {
    /// Shards: files, directories, or quoted patterns such as 'sa1b/*.tar'
    ///
    /// A directory means all *.tar files in it. Ranges and lists such as 'sa_{000000..000010}.tar' and '{a,b}/*.tar'
    /// are expanded as in bash, and so is ~. Shards may be gzip streams, as SA-1B's official files are, or plain tar
    /// files.
    #[arg(required = true, value_name = "SHARD")]
    pub(super) shards: Vec<PathBuf>,
    /// Directory of the index files [default: beside each shard, as SHARD.msidx]
    ///
    /// Give it if the shards are on a read-only disk, and give it to every command.
    #[arg(long, value_name = "DIR")]
    pub(super) index_dir: Option<PathBuf>,
}

impl ShardArgs {
    pub(super) fn sidecar(&self) -> Sidecar {
        self.index_dir.clone().map_or(Sidecar::Beside, Sidecar::Dir)
    }
}

/// Samples per batch, as in the library.
const DEFAULT_BATCH: usize = 8;
const IMAGES: &str = "Images, masks and boxes";
const SELECTION: &str = "Which images and masks";
const ORDER: &str = "Order and batches";
const RESOURCES: &str = "Threads, memory and bad samples";

/// The settings of a loader.
#[derive(Args)]
pub(super) struct LoaderArgs {
    #[command(flatten)]
    pub(super) shards: ShardArgs,
    /// Side of the square images in pixels
    #[arg(long, default_value_t = 1024, value_name = "S", value_parser = parse_whole::<u32>, help_heading = IMAGES)]
    image_size: u32,
    /// How an image is fitted to the square
    #[arg(long, value_enum, default_value = "letterbox", help_heading = IMAGES)]
    fit: FitArg,
    /// Number type of the images: u8 in 0 to 255, or floats in 0 to 1
    #[arg(long, value_enum, default_value = "u8", value_name = "DTYPE", help_heading = IMAGES)]
    image_dtype: ImageTypeArg,
    /// Normalize float images with ImageNet's mean and standard deviation
    ///
    /// SAM and torchvision's models expect this. Needs a float --image-dtype.
    #[arg(long, help_heading = IMAGES)]
    imagenet: bool,
    /// Whether a JPEG may be decoded at a part of its size [default: auto]
    #[arg(long, value_enum, value_name = "WHEN", help_heading = IMAGES)]
    scaled_decode: Option<ScaledDecodeArg>,
    /// Largest image in pixels; larger ones are bad samples [default: 67108864, 8192 x 8192]
    #[arg(long, value_name = "N", help_heading = IMAGES)]
    max_image_pixels: Option<u64>,
    /// Side of the square grid on which each mask is drawn; 0 for no masks
    ///
    /// The grid covers the whole image square, padding included.
    #[arg(long, default_value_t = 256, value_name = "SIDE", value_parser = parse_whole::<u32>, help_heading = IMAGES)]
    mask_size: u32,
    /// Value of a cell of the mask grid
    #[arg(long, value_enum, default_value = "nearest", value_name = "KIND", help_heading = IMAGES)]
    mask_kind: MaskKindArg,
    /// How the cells of the mask grid are stored
    #[arg(long, value_enum, default_value = "bytes", value_name = "FORMAT", help_heading = IMAGES)]
    mask_format: MaskFormatArg,
    /// Leave a mask empty that covers no cell's centre, because it is thin or small
    ///
    /// By default, it keeps the cell that it covers most.
    #[arg(long, help_heading = IMAGES)]
    no_keep_thin_masks: bool,
    /// Also compute which share of each patch of a G x G grid each mask covers; 0 for none
    #[arg(long, default_value_t = 0, value_name = "G", value_parser = parse_whole::<u32>, help_heading = IMAGES)]
    coverage: u32,
    /// The four numbers of a box
    #[arg(long, value_enum, default_value = "xywh", value_name = "FORMAT", help_heading = IMAGES)]
    box_format: BoxesArg,
    /// What the coordinates of boxes and points are relative to
    #[arg(long, value_enum, default_value = "original", value_name = "FRAME", help_heading = IMAGES)]
    coord_frame: FrameArg,
    #[command(flatten)]
    augment: AugmentArgs,
    /// Maximum number of masks per image [default: 10]
    #[arg(long, value_name = "K", value_parser = parse_count::<65_536>, help_heading = SELECTION)]
    top_k: Option<usize>,
    /// Which masks are taken first if an image has more than --top-k [default: stability-score]
    #[arg(long, alias = "rank-by", value_enum, value_name = "ORDER", help_heading = SELECTION)]
    top_k_by: Option<RankByArg>,
    /// Use only masks with at least this predicted_iou; none for no bound [default: 0.88]
    #[arg(
        long,
        value_name = "IOU",
        value_parser = lower_bound,
        allow_hyphen_values = true,
        help_heading = SELECTION
    )]
    min_predicted_iou: Option<f32>,
    /// Use only masks with at least this stability_score; none for no bound [default: none]
    #[arg(
        long,
        value_name = "SCORE",
        value_parser = lower_bound,
        allow_hyphen_values = true,
        help_heading = SELECTION
    )]
    min_stability_score: Option<f32>,
    /// Use only images with at least this many such masks [default: 1]
    #[arg(long, value_name = "N", help_heading = SELECTION)]
    min_masks: Option<usize>,
    /// Use only the images, or the annotations, listed in this file
    ///
    /// Each line holds IMAGE_ID or IMAGE_ID,ANNOTATION_ID, the same form on all lines. An image may also be given by
    /// name, as sa_1 or sa_1.jpg. Empty lines and lines that begin with # are ignored.
    #[arg(long, value_name = "FILE", help_heading = SELECTION)]
    ids: Option<PathBuf>,
    /// Leave out the bad samples listed in this file, which --quarantine-log or `verify --quarantine` wrote
    #[arg(long, value_name = "FILE", help_heading = SELECTION)]
    quarantine: Option<PathBuf>,
    /// Samples per batch [default: 8]
    #[arg(long, value_name = "B", value_parser = parse_count::<1_048_576>, help_heading = ORDER)]
    batch_size: Option<usize>,
    /// Shuffle the samples of all shards [default: the order of the files]
    #[arg(long, help_heading = ORDER)]
    shuffle: bool,
    /// Seed of --shuffle, of the random orders of --top-k-by, of --augment and of prompts [default: 0]
    #[arg(long, help_heading = ORDER)]
    seed: Option<u64>,
    /// Shuffle chunks of about this size instead of single samples [default: 0, single samples]
    ///
    /// For spinning disks and network file systems, which need long reads: try 8MiB to 16MiB there. Sizes are bytes, or
    /// have a unit: 8M is 8 x 1000^2 bytes, 8MiB is 8 x 1024^2.
    #[arg(long, value_name = "SIZE", value_parser = parse_size, help_heading = ORDER)]
    chunk_bytes: Option<u64>,
    /// Load the share of this rank, from 0 to W - 1; needs --world-size
    #[arg(long, value_name = "R", requires = "world_size", help_heading = ORDER)]
    rank: Option<usize>,
    /// Number of ranks (processes) that share each epoch; needs --rank
    #[arg(long, value_name = "W", requires = "rank", help_heading = ORDER)]
    world_size: Option<usize>,
    /// Drop the last samples that do not fill a batch on every rank
    ///
    /// By default, the last batch is padded with zeroed, invalid rows.
    #[arg(long, help_heading = ORDER)]
    drop_last: bool,
    /// Number of decoding threads [default: one per core]
    #[arg(long, value_name = "N", value_parser = parse_count::<1024>, help_heading = RESOURCES)]
    num_workers: Option<usize>,
    /// Maximum number of batches prepared ahead [default: 2]
    #[arg(long, value_name = "N", value_parser = parse_count::<1024>, help_heading = RESOURCES)]
    prefetch_batches: Option<usize>,
    /// Append each sample that cannot be decoded to this file, as a line of JSON
    #[arg(long, value_name = "FILE", help_heading = RESOURCES)]
    quarantine_log: Option<PathBuf>,
    /// Memory limit of the loader, such as 16G [default: 8GiB]
    ///
    /// A loader that needs more does not start: the error shows what it needs. 8G is 8 x 1000^3 bytes, 8GiB is 8 x
    /// 1024^3.
    #[arg(long, value_name = "SIZE", value_parser = parse_size, help_heading = RESOURCES)]
    max_memory_bytes: Option<u64>,
    /// Keep batches in page-locked memory, for uploads to a GPU
    #[arg(long, help_heading = RESOURCES)]
    pinned: bool,
    /// Also use the samples of a damaged gzip shard that no checksum vouches for
    ///
    /// The checksum of a gzip stream is at its end. If the stream is cut short, or the checksum does not match, any of
    /// its samples may be wrong, and --skip leaves them all out.
    #[arg(long, help_heading = RESOURCES)]
    unverified: bool,
    /// Tolerate up to this many bad samples
    ///
    /// A sample that cannot be decoded becomes a zeroed, invalid row, and the valid samples of damaged shards are used.
    /// The command fails if more than N samples cannot be decoded, or if more than N are missing from damaged shards.
    /// By default, it fails at the first bad sample.
    #[arg(long, default_value_t = 0, value_name = "N", help_heading = RESOURCES)]
    skip: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum FitArg {
    /// Keep the aspect ratio; pad with zeros on the right or below, as SAM does
    Letterbox,
    /// Fill the whole square
    Stretch,
}

#[derive(Clone, Copy, ValueEnum)]
enum FrameArg {
    /// The image, or the part of it that is shown: 0 to 1
    Original,
    /// The canvas, padding included: 0 to 1
    Canvas,
    /// The canvas in pixels, as SAM has them
    CanvasPixels,
}

#[derive(Clone, Copy, ValueEnum)]
enum ImageTypeArg {
    U8,
    F32,
    F16,
    Bf16,
}

#[derive(Clone, Copy, ValueEnum)]
enum ScaledDecodeArg {
    /// At a half, a quarter or an eighth where that is large enough: faster
    Auto,
    /// Never: pixels as Pillow decodes and resizes them
    Full,
}

impl ScaledDecodeArg {
    fn in_library(self) -> ScaledDecode {
        match self {
            Self::Auto => ScaledDecode::Auto,
            Self::Full => ScaledDecode::Full,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum MaskKindArg {
    /// 1 if the centre of the cell is in the mask, else 0
    Nearest,
    /// 0 to 255: the exact share of the cell that the mask covers
    Area,
}

#[derive(Clone, Copy, ValueEnum)]
enum MaskFormatArg {
    /// One byte a cell
    Bytes,
    /// One bit a cell, the first of a byte in its highest bit; not with --mask-kind area
    Bits,
}

#[derive(Clone, Copy, ValueEnum)]
enum RankByArg {
    /// Highest stability_score first
    #[value(alias = "stability")]
    StabilityScore,
    /// Highest predicted_iou first
    #[value(alias = "confidence")]
    PredictedIou,
    /// Largest area first
    #[value(alias = "largest")]
    LargestArea,
    /// Smallest area first
    #[value(alias = "smallest")]
    SmallestArea,
    /// Random order, another one in each epoch
    Random,
    /// Small, medium and large masks in turn, in random order within each, another one in each epoch
    #[value(alias = "stratified")]
    AreaStratified,
    /// Random order, the same in every epoch
    FixedRandom,
    /// As area-stratified, the same in every epoch
    FixedAreaStratified,
}

impl RankByArg {
    fn with_seed(self, seed: u64) -> TopKBy {
        match self {
            Self::StabilityScore => TopKBy::StabilityScore,
            Self::PredictedIou => TopKBy::PredictedIou,
            Self::LargestArea => TopKBy::LargestArea,
            Self::SmallestArea => TopKBy::SmallestArea,
            Self::Random => TopKBy::Random { seed },
            Self::AreaStratified => TopKBy::AreaStratified { seed },
            Self::FixedRandom => TopKBy::FixedRandom { seed },
            Self::FixedAreaStratified => TopKBy::FixedAreaStratified { seed },
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum BoxesArg {
    /// Left, top, width, height
    Xywh,
    /// Left, top, right, bottom
    Xyxy,
    /// Centre x, centre y, width, height
    Cxcywh,
}

/// Settings of the loader's speed that flags give.
pub(super) struct GivenSettings {
    pub(super) num_workers: Option<usize>,
    pub(super) prefetch_batches: Option<usize>,
    /// 0 means samples, not chunks.
    pub(super) chunk_bytes: Option<u64>,
    pub(super) scaled_decode: Option<ScaledDecode>,
    pub(super) is_shuffled: bool,
}

impl LoaderArgs {
    /// The settings of the loader's speed that flags give.
    pub(super) fn given(&self) -> GivenSettings {
        GivenSettings {
            num_workers: self.num_workers,
            prefetch_batches: self.prefetch_batches,
            chunk_bytes: self.chunk_bytes,
            scaled_decode: self.scaled_decode.map(ScaledDecodeArg::in_library),
            is_shuffled: self.shuffle,
        }
    }

    /// Opens the shards, indexes those that have no index yet, and builds the loader.
    pub(super) fn loader(&self) -> Result<Loader, Box<dyn std::error::Error>> {
        self.loader_like(None)
    }

    /// The same, with the settings of the run that saved a cursor, changed where a flag is given. If a flag contradicts
    /// the cursor, the loader refuses it.
    pub(super) fn loader_like(&self, cursor: Option<&Cursor>) -> Result<Loader, Box<dyn std::error::Error>> {
        self.check(cursor, false)?;
        let settings = self.loader_settings(cursor)?;
        let set = self.open(self.shard_settings(cursor)?)?;
        settings.build(set).map_err(misuse)
    }

    /// Opens the shards with these settings, indexes those that have no index yet, and says what is left out.
    pub(super) fn open(&self, settings: ShardSetBuilder) -> Result<ShardSet, Box<dyn std::error::Error>> {
        self.open_some(settings, &resolve_patterns(&self.shards.shards)?)
    }

    /// Opens some of the shards.
    pub(super) fn open_some(
        &self,
        settings: ShardSetBuilder,
        paths: &[PathBuf],
    ) -> Result<ShardSet, Box<dyn std::error::Error>> {
        let bar = progress::bar(progress::total_bytes(paths), "indexing", "bytes");
        let advance = bar.clone();
        let set = settings.progress(move |bytes| advance.inc(bytes)).open(paths)?;
        bar.finish_and_clear();
        let quarantined: usize = set.reports().map(|report| report.quarantined_samples).sum();
        if quarantined > 0 {
            tell!("maskstream: {quarantined} samples are left out because they are on the quarantine list");
        }
        if !set.unmatched().is_empty() {
            tell!("maskstream: {} of the listed images are in none of the shards", set.unmatched().len());
        }
        warn_repeated(&set);
        warn_unsaved(set.reports().filter(|report| report.samples > 0).map(|report| &report.status));
        Ok(set)
    }

    /// Builds the loader without waiting for indexes.
    pub(super) fn lazy_loader(&self) -> Result<Loader, Box<dyn std::error::Error>> {
        self.check(None, false)?;
        let shards = self.shard_settings(None)?.open_lazy(&self.shards.shards)?;
        self.loader_settings(None)?.build(shards).map_err(misuse)
    }

    /// Refuses arguments that have no effect with the others, in the words of the command. A seed alone is only
    /// remarked on: a script may always pass it. `uses_seed`: the command itself draws something.
    pub(super) fn check(&self, cursor: Option<&Cursor>, uses_seed: bool) -> Result<(), WrongArguments> {
        let refused = [
            (
                self.imagenet && matches!(self.image_dtype, ImageTypeArg::U8),
                "--imagenet has no effect on u8 images: add --image-dtype f32, f16 or bf16",
            ),
            (
                self.mask_size == 0 && matches!(self.mask_kind, MaskKindArg::Area),
                "--mask-kind has no effect with --mask-size 0: leave one of them out",
            ),
            (
                self.mask_size == 0 && matches!(self.mask_format, MaskFormatArg::Bits),
                "--mask-format has no effect with --mask-size 0: leave one of them out",
            ),
            (
                matches!((self.mask_kind, self.mask_format), (MaskKindArg::Area, MaskFormatArg::Bits)),
                "--mask-format bits holds 0 or 1, but --mask-kind area is 0 to 255: leave one of them out",
            ),
            (
                self.mask_size == 0 && self.no_keep_thin_masks,
                "--no-keep-thin-masks has no effect with --mask-size 0: leave one of them out",
            ),
            (
                self.chunk_bytes.is_some_and(|bytes| bytes > 0) && !self.shuffle && cursor.is_none(),
                "--chunk-bytes has no effect without --shuffle: add it, or leave --chunk-bytes out",
            ),
        ];
        if let Some((_, why)) = refused.into_iter().find(|(is_refused, _)| *is_refused) {
            return Err(WrongArguments(why.to_owned()));
        }
        let is_random = self.top_k_by.is_some_and(|order| order.with_seed(0) != order.with_seed(1));
        let is_random = is_random || self.augment.is_random() || uses_seed;
        if self.seed.is_some() && !self.shuffle && !is_random && cursor.is_none() {
            tell!("maskstream: --seed has no effect without --shuffle, a random --top-k-by, --augment or prompts");
        }
        Ok(())
    }

    /// The files that the command reads, and its quarantine log.
    pub(super) fn files(&self) -> Result<Vec<PathBuf>, Box<dyn std::error::Error>> {
        let mut files = self.shards_and_ids()?;
        files.extend([&self.quarantine, &self.quarantine_log].into_iter().flatten().cloned());
        Ok(files)
    }

    /// The shards, their index files and the list of ids.
    fn shards_and_ids(&self) -> Result<Vec<PathBuf>, Box<dyn std::error::Error>> {
        let shards = resolve_patterns(&self.shards.shards)?;
        let sidecar = self.shards.sidecar();
        let indexes = shards.iter().filter_map(|shard| sidecar.path(shard));
        Ok(shards.iter().cloned().chain(indexes).chain(self.ids.clone()).collect())
    }

    /// Refuses a log that would be appended to a file that is read. The list of earlier runs may be continued.
    fn check_log(&self) -> Result<(), Box<dyn std::error::Error>> {
        match &self.quarantine_log {
            Some(log) => refuse_same(log, &self.shards_and_ids()?),
            None => Ok(()),
        }
    }

    /// The filter of the cursor, changed where a flag is given. What is not asked for stays as the library has it.
    pub(super) fn filter(&self, cursor: Option<&Cursor>) -> maskstream::Result<MaskFilter> {
        let mut filter = cursor.map_or_else(|| Ok(MaskFilter::default()), Cursor::filter)?;
        if let Some(least) = self.min_predicted_iou {
            filter = filter.min_predicted_iou(least);
        }
        if let Some(least) = self.min_stability_score {
            filter = filter.min_stability_score(least);
        }
        if let Some(least) = self.min_masks {
            filter = filter.min_masks(least);
        }
        Ok(filter)
    }

    /// Samples per batch.
    pub(super) fn samples_per_batch(&self) -> usize {
        self.batch_size.unwrap_or(DEFAULT_BATCH)
    }

    /// The seed of what is random.
    pub(super) fn seed(&self) -> u64 {
        self.seed.unwrap_or(0)
    }

    /// The settings of the shards that the flags and the cursor name.
    pub(super) fn shard_settings(
        &self,
        cursor: Option<&Cursor>,
    ) -> Result<ShardSetBuilder, Box<dyn std::error::Error>> {
        self.check_log()?;
        let filter = self.filter(cursor)?;
        let on_corrupt = if self.skip > 0 { OnCorrupt::skip(self.skip) } else { OnCorrupt::Stop };
        let mut options = ShardSet::builder().filter(filter).sidecar(self.shards.sidecar()).on_corrupt(on_corrupt);
        options = options.use_unverified(self.unverified);
        if let Some(list) = &self.ids {
            options = options.ids(read_ids(list)?);
        }
        if let Some(list) = &self.quarantine {
            options = options.quarantine(Quarantine::load(list)?);
        }
        Ok(options)
    }

    /// The settings of the loader that the flags and the cursor name.
    pub(super) fn loader_settings(&self, cursor: Option<&Cursor>) -> Result<LoaderBuilder, Box<dyn std::error::Error>> {
        let some = |side: u32| (side > 0).then_some(side);
        let options = Loader::builder()
            .image_size(self.image_size)
            .fit(match self.fit {
                FitArg::Letterbox => Fit::Letterbox,
                FitArg::Stretch => Fit::Stretch,
            })
            .image_dtype(match self.image_dtype {
                ImageTypeArg::U8 => DType::U8,
                ImageTypeArg::F32 => DType::F32,
                ImageTypeArg::F16 => DType::F16,
                ImageTypeArg::Bf16 => DType::Bf16,
            })
            .normalize(if self.imagenet { Normalization::IMAGENET } else { Normalization::UNIT })
            .mask_size(some(self.mask_size).map(|side| [side, side]))
            .mask_kind(match self.mask_kind {
                MaskKindArg::Nearest => MaskKind::Nearest,
                MaskKindArg::Area => MaskKind::Area,
            })
            .mask_format(match self.mask_format {
                MaskFormatArg::Bytes => MaskFormat::Bytes,
                MaskFormatArg::Bits => MaskFormat::Bits,
            })
            .keep_thin_masks(!self.no_keep_thin_masks)
            .coverage(some(self.coverage))
            .box_format(match self.box_format {
                BoxesArg::Xywh => BoxFormat::Xywh,
                BoxesArg::Xyxy => BoxFormat::Xyxy,
                BoxesArg::Cxcywh => BoxFormat::CxCyWh,
            })
            .coord_frame(match self.coord_frame {
                FrameArg::Original => CoordFrame::Original,
                FrameArg::Canvas => CoordFrame::Canvas,
                FrameArg::CanvasPixels => CoordFrame::CanvasPixels,
            })
            .memory(if self.pinned { Memory::Pinned } else { Memory::Heap })
            .on_error(if self.skip > 0 { OnError::skip(self.skip) } else { OnError::Stop });
        let mut options = self.order_settings(options, cursor)?;
        if let Some(most) = self.max_image_pixels {
            options = options.max_image_pixels(most);
        }
        if let Some(workers) = self.num_workers {
            options = options.num_workers(workers);
        }
        if let Some(batches) = self.prefetch_batches {
            options = options.prefetch_batches(batches);
        }
        if let Some(bytes) = self.max_memory_bytes {
            options = options.max_memory_bytes(bytes);
        }
        if let Some(list) = &self.quarantine_log {
            options = options.quarantine_log(list);
        }
        Ok(options)
    }

    /// The settings that a cursor holds: those of the cursor, changed where a flag is given.
    fn order_settings(
        &self,
        mut options: LoaderBuilder,
        cursor: Option<&Cursor>,
    ) -> Result<LoaderBuilder, Box<dyn std::error::Error>> {
        let world_size = self.world_size.unwrap_or(1);
        if let Some(cursor) = cursor {
            options = options.settings_of(cursor)?;
            let all = cursor.global_batch();
            if self.batch_size.is_none() && all % world_size.max(1) as u64 != 0 {
                return Err(
                    format!("{all} samples a step, as in the cursor, cannot be shared by {world_size} ranks").into()
                );
            }
            options = options.batch_size((all / world_size.max(1) as u64) as usize);
        }
        options = options.rank(self.rank.unwrap_or(0), world_size);
        let seed = self.seed.or_else(|| cursor?.shuffle_seed()).unwrap_or(0);
        // A seed alone is that of what the run has drawn.
        if self.shuffle || self.seed.is_some() && cursor.is_some_and(|cursor| cursor.shuffle_seed().is_some()) {
            options = options.shuffle(seed);
        }
        if let Some(samples) = self.batch_size {
            options = options.batch_size(samples);
        }
        if let Some(bytes) = self.chunk_bytes {
            options = options.chunk_bytes((bytes > 0).then_some(bytes));
        }
        if self.drop_last {
            options = options.drop_last(true);
        }
        if let Some(scaled) = self.scaled_decode {
            options = options.scaled_decode(scaled.in_library());
        }
        if let Some(masks) = self.top_k {
            options = options.top_k(masks);
        }
        if let Some(order) = self.top_k_by {
            options = options.top_k_by(order.with_seed(seed));
        }
        Ok(self.augment.apply(options, self.seed, cursor)?)
    }
}

/// Settings that a loader refuses are wrong arguments.
pub(super) fn misuse(error: maskstream::Error) -> Box<dyn std::error::Error> {
    match error.kind() {
        ErrorKind::Config => WrongArguments(in_flags(&error)).into(),
        _ => error.into(),
    }
}

/// Says if images come more than once: a shard may have been copied under another name.
fn warn_repeated(set: &ShardSet) {
    let repeated = set.repeated_images();
    let place = |id| {
        let shard = set.shard_path(id).map_or_else(String::new, |path| path.display().to_string());
        set.entry(id).map_or(shard.clone(), |entry| format!("{} in {shard}", entry.image_name()))
    };
    if let Some([first, second]) = repeated.examples.first() {
        let image = set.entry(*first).map_or(0, |entry| entry.image_id);
        tell!(
            "maskstream: {} samples have the image id of another one, such as {image}: {} and {}",
            repeated.samples,
            place(*first),
            place(*second)
        );
    }
}

/// Says, in one line, if indexes could not be saved. Otherwise nobody learns why each command takes so long.
pub(super) fn warn_unsaved<'a>(statuses: impl Iterator<Item = &'a IndexStatus>) {
    let reasons: Vec<&str> = statuses
        .filter_map(|status| match status {
            IndexStatus::Unsaved(reason) => Some(reason.as_str()),
            _ => None,
        })
        .collect();
    if let [first, others @ ..] = reasons.as_slice() {
        let others = match others.len() {
            0 => String::new(),
            more => format!(", and {more} more like it"),
        };
        tell!(
            "maskstream: an index could not be saved and is built anew by every command: {first}{others}; choose a \
             directory for indexes with --index-dir DIR"
        );
    }
}

/// A lower bound of a score. `none`: minus infinity, which [`MaskFilter`] takes for no bound.
pub(super) fn lower_bound(text: &str) -> Result<f32, String> {
    match text {
        "none" => Ok(f32::NEG_INFINITY),
        _ => text.parse().map_err(|_| "it must be a number, or none".to_owned()),
    }
}

fn read_ids(path: &Path) -> Result<IdList, String> {
    let text =
        std::fs::read_to_string(path).map_err(|e| format!("cannot read the list of ids {}: {e}", path.display()))?;
    text.parse().map_err(|e| format!("{}: {e}", path.display()))
}

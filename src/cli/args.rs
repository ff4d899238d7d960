//! Arguments that `bench`, `export` and `replay` share: which shards to read, and the settings of the loader.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use maskstream::index::{Sidecar, resolve_patterns};
use maskstream::{
    BoxFormat, DType, Fit, IdList, JpegCodec, Loader, LoaderBuilder, MaskFilter, MaskKind, Memory, Normalization,
    OnCorrupt, OnError, Quarantine, ShardSet, ShardSetBuilder, TopKBy,
};

use super::progress;
use super::target::refuse_same;

/// Which shards to read, and where their index files are.
#[derive(Args)]
pub(super) struct ShardArgs {
    /// Shards: files, directories, or quoted patterns such as 'sa1b/*.tar'
    ///
    /// A directory means all *.tar files in it. Shards may be gzip streams, as SA-1B's official files are, or
    /// plain tar files.
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
    #[arg(long, default_value_t = 1024, value_name = "S", help_heading = IMAGES)]
    image_size: u32,
    /// How an image is fitted to the square
    #[arg(long, value_enum, default_value = "letterbox", help_heading = IMAGES)]
    fit: FitArg,
    /// Number type of the images: u8 in 0 to 255, or floats in 0 to 1
    #[arg(long, value_enum, default_value = "u8", value_name = "DTYPE", help_heading = IMAGES)]
    image_dtype: ImageTypeArg,
    /// Normalize float images with ImageNet's mean and standard deviation
    ///
    /// SAM and torchvision's models expect this. It has no effect on u8 images.
    #[arg(long, help_heading = IMAGES)]
    imagenet: bool,
    /// Library that decodes JPEGs; another one gives slightly other pixels
    #[arg(long, value_enum, default_value = "zune", value_name = "CODEC", help_heading = IMAGES)]
    jpeg_codec: JpegCodecArg,
    /// Side of the square grid on which each mask is drawn; 0 for no masks
    ///
    /// The grid covers the whole image square, padding included.
    #[arg(long, default_value_t = 256, value_name = "SIDE", help_heading = IMAGES)]
    mask_size: u32,
    /// Value of a cell of the mask grid
    #[arg(long, value_enum, default_value = "nearest", value_name = "KIND", help_heading = IMAGES)]
    mask_kind: MaskKindArg,
    /// Also compute which share of each patch of a G x G grid each mask covers; 0 for none
    #[arg(long, default_value_t = 0, value_name = "G", help_heading = IMAGES)]
    coverage: u32,
    /// The four numbers of a box, divided by the width and height of the original image
    #[arg(long, value_enum, default_value = "xywh", value_name = "FORMAT", help_heading = IMAGES)]
    box_format: BoxesArg,
    /// Maximum number of masks per image
    #[arg(long, default_value_t = 10, value_name = "K", help_heading = SELECTION)]
    top_k: usize,
    /// Which masks are taken first if an image has more than --top-k
    #[arg(
        long,
        alias = "rank-by",
        value_enum,
        default_value = "stability",
        value_name = "ORDER",
        help_heading = SELECTION
    )]
    top_k_by: RankByArg,
    /// Use only masks with at least this predicted_iou
    #[arg(long, default_value_t = 0.88, value_name = "IOU", help_heading = SELECTION)]
    min_predicted_iou: f32,
    /// Use only masks with at least this stability_score
    #[arg(long, value_name = "SCORE", help_heading = SELECTION)]
    min_stability_score: Option<f32>,
    /// Use only images with at least this many such masks
    #[arg(long, default_value_t = 1, value_name = "N", help_heading = SELECTION)]
    min_masks: usize,
    /// Use only the images, or the annotations, listed in this file
    ///
    /// Each line holds IMAGE_ID or IMAGE_ID,ANNOTATION_ID, the same form on all lines. Empty lines and lines that begin
    /// with # are ignored.
    #[arg(long, value_name = "FILE", help_heading = SELECTION)]
    ids: Option<PathBuf>,
    /// Leave out the bad samples listed in this file, which --quarantine-log wrote
    #[arg(long, value_name = "FILE", help_heading = SELECTION)]
    quarantine: Option<PathBuf>,
    /// Samples per batch
    #[arg(long, default_value_t = 8, value_name = "B", help_heading = ORDER)]
    batch_size: usize,
    /// Shuffle the samples of all shards [default: the order of the files]
    #[arg(long, help_heading = ORDER)]
    shuffle: bool,
    /// Seed of --shuffle and of the random orders of --top-k-by
    #[arg(long, default_value_t = 0, help_heading = ORDER)]
    seed: u64,
    /// Shuffle chunks of about this many bytes instead of single samples; 0 for samples
    ///
    /// For spinning disks and network file systems, which need long reads: try 8388608 to 16777216 (8 to 16 MiB) there.
    #[arg(long, default_value_t = 0, value_name = "BYTES", help_heading = ORDER)]
    chunk_bytes: u64,
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
    #[arg(long, value_name = "N", help_heading = RESOURCES)]
    num_workers: Option<usize>,
    /// Maximum number of batches prepared ahead
    #[arg(long, default_value_t = 2, value_name = "N", help_heading = RESOURCES)]
    prefetch_batches: usize,
    /// Append each sample that cannot be decoded to this file, as a line of JSON
    #[arg(long, value_name = "FILE", help_heading = RESOURCES)]
    quarantine_log: Option<PathBuf>,
    /// Memory limit of the loader in bytes [default: 8 GiB, or more if necessary]
    #[arg(long, value_name = "BYTES", help_heading = RESOURCES)]
    max_memory_bytes: Option<u64>,
    /// Keep batches in page-locked memory, for uploads to a GPU
    #[arg(long, help_heading = RESOURCES)]
    pinned: bool,
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
enum ImageTypeArg {
    U8,
    F32,
    F16,
    Bf16,
}

#[derive(Clone, Copy, ValueEnum)]
enum JpegCodecArg {
    /// zune-jpeg, in Rust
    Zune,
    /// libjpeg-turbo, which decodes at a smaller scale where that is large enough
    #[cfg(feature = "turbojpeg")]
    Turbo,
}

#[derive(Clone, Copy, ValueEnum)]
enum MaskKindArg {
    /// 1 if the centre of the cell is in the mask, else 0
    Nearest,
    /// 0 to 255: the exact share of the cell that the mask covers
    Area,
}

#[derive(Clone, Copy, ValueEnum)]
enum RankByArg {
    /// Highest stability_score first
    Stability,
    /// Highest predicted_iou first
    Confidence,
    /// Largest area first
    Largest,
    /// Smallest area first
    Smallest,
    /// Random order
    Random,
    /// Small, medium and large masks in turn, in random order within each
    Stratified,
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

impl LoaderArgs {
    /// Opens the shards, indexes those that have no index yet, and builds the loader.
    pub(super) fn loader(&self) -> Result<Loader, Box<dyn std::error::Error>> {
        let paths = resolve_patterns(&self.shards.shards)?;
        let bar = progress::bar(progress::total_bytes(&paths), "indexing", "bytes");
        let advance = bar.clone();
        let set = self.shard_settings()?.progress(move |bytes| advance.inc(bytes)).open(&paths)?;
        bar.finish_and_clear();
        let quarantined: usize = set.reports().map(|report| report.quarantined_samples).sum();
        if quarantined > 0 {
            tell!("maskstream: {quarantined} samples are left out because they are on the quarantine list");
        }
        if !set.unmatched().is_empty() {
            tell!("maskstream: {} of the listed images are in none of the shards", set.unmatched().len());
        }
        Ok(self.loader_settings().build(set)?)
    }

    /// Builds the loader without waiting for indexes.
    pub(super) fn lazy_loader(&self) -> Result<Loader, Box<dyn std::error::Error>> {
        let shards = self.shard_settings()?.open_lazy(&self.shards.shards)?;
        Ok(self.loader_settings().build(shards)?)
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

    fn shard_settings(&self) -> Result<ShardSetBuilder, Box<dyn std::error::Error>> {
        self.check_log()?;
        // What is not asked for stays as the library has it: a cursor depends on it.
        let mut filter = MaskFilter::default().min_predicted_iou(self.min_predicted_iou).min_masks(self.min_masks);
        if let Some(least) = self.min_stability_score {
            filter = filter.min_stability_score(least);
        }
        let on_corrupt = if self.skip > 0 { OnCorrupt::skip(self.skip) } else { OnCorrupt::Stop };
        let mut options = ShardSet::builder().filter(filter).sidecar(self.shards.sidecar()).on_corrupt(on_corrupt);
        if let Some(list) = &self.ids {
            options = options.ids(read_ids(list)?);
        }
        if let Some(list) = &self.quarantine {
            options = options.quarantine(Quarantine::load(list)?);
        }
        Ok(options)
    }

    fn loader_settings(&self) -> LoaderBuilder {
        let some = |side: u32| (side > 0).then_some(side);
        let options = Loader::builder()
            .batch_size(self.batch_size)
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
            .jpeg_codec(match self.jpeg_codec {
                JpegCodecArg::Zune => JpegCodec::Zune,
                #[cfg(feature = "turbojpeg")]
                JpegCodecArg::Turbo => JpegCodec::Turbo,
            })
            .mask_size(some(self.mask_size).map(|side| [side, side]))
            .mask_kind(match self.mask_kind {
                MaskKindArg::Nearest => MaskKind::Nearest,
                MaskKindArg::Area => MaskKind::Area,
            })
            .coverage(some(self.coverage))
            .box_format(match self.box_format {
                BoxesArg::Xywh => BoxFormat::Xywh,
                BoxesArg::Xyxy => BoxFormat::Xyxy,
                BoxesArg::Cxcywh => BoxFormat::CxCyWh,
            })
            .top_k(self.top_k)
            .top_k_by(match self.top_k_by {
                RankByArg::Stability => TopKBy::StabilityScore,
                RankByArg::Confidence => TopKBy::PredictedIou,
                RankByArg::Largest => TopKBy::LargestArea,
                RankByArg::Smallest => TopKBy::SmallestArea,
                RankByArg::Random => TopKBy::Random { seed: self.seed },
                RankByArg::Stratified => TopKBy::AreaStratified { seed: self.seed },
            })
            .prefetch_batches(self.prefetch_batches)
            .memory(if self.pinned { Memory::Pinned } else { Memory::Heap })
            .on_error(if self.skip > 0 { OnError::skip(self.skip) } else { OnError::Stop });
        let mut options = options
            .chunk_bytes((self.chunk_bytes > 0).then_some(self.chunk_bytes))
            .rank(self.rank.unwrap_or(0), self.world_size.unwrap_or(1))
            .drop_last(self.drop_last);
        if self.shuffle {
            options = options.shuffle(self.seed);
        }
        if let Some(workers) = self.num_workers {
            options = options.num_workers(workers);
        }
        if let Some(bytes) = self.max_memory_bytes {
            options = options.max_memory_bytes(bytes);
        }
        if let Some(list) = &self.quarantine_log {
            options = options.quarantine_log(list);
        }
        options
    }
}

fn read_ids(path: &Path) -> Result<IdList, String> {
    let text =
        std::fs::read_to_string(path).map_err(|e| format!("cannot read the list of ids {}: {e}", path.display()))?;
    text.parse().map_err(|e| format!("{}: {e}", path.display()))
}

//! Arguments that commands share: which shards to read, and the settings of the loader.

mod open;
mod settings;
mod values;

use std::path::PathBuf;

use clap::Args;
use maskstream::index::Sidecar;

use super::augment_args::AugmentArgs;
use super::size::{parse_count, parse_size, parse_whole};
pub(super) use settings::GivenSettings;
pub(super) use values::lower_bound;
use values::{BoxesArg, FitArg, FrameArg, ImageTypeArg, MaskFormatArg, MaskKindArg, RankByArg, ScaledDecodeArg};

/// Which shards to read, and where their index files are.
#[derive(Args)]
pub(super) struct ShardArgs {
    /// Shards: files, directories, or quoted patterns such as 'sa1b/*.tar'
    ///
    /// A directory means all *.tar files in it. Ranges and lists such as 'sa_{000000..000010}.tar' and '{a,b}/*.tar'
    /// are expanded as in bash, and so is ~. Shards may be gzip streams, as SA-1B's official files are, or plain tar
    /// files.
    ///
    /// A build with the feature `remote` also takes addresses, prefixes and patterns of them: s3://BUCKET/KEY,
    /// gs://BUCKET/KEY, az://CONTAINER/KEY, https://HOST/PATH. Credentials and endpoints are those of each cloud's own
    /// tools: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL;
    /// GOOGLE_APPLICATION_CREDENTIALS; AZURE_STORAGE_ACCOUNT, AZURE_STORAGE_KEY, AZURE_STORAGE_SAS_TOKEN; or those of
    /// the instance. For public buckets, set AWS_SKIP_SIGNATURE=true or GOOGLE_SKIP_SIGNATURE=true.
    #[arg(required = true, value_name = "SHARD")]
    pub(super) shards: Vec<PathBuf>,
    /// Directory of the index files [default: beside each shard, as SHARD.msidx]
    ///
    /// Give it if the shards are on a read-only disk, and give it to every command. For shards in an object store, it
    /// may also be a prefix of the store.
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

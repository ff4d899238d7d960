//! Arguments that `bench`, `export` and `replay` share: which shards, and what batches. Comes in: the command line.
//! Goes out: a loader. Fails as opening shards and building the loader do.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use maskstream::index::{Sidecar, resolve_patterns};
use maskstream::{
    BoxFormat, DType, Fit, IdList, Loader, LoaderBuilder, MaskFilter, MaskKind, Memory, Normalization, OnCorrupt,
    OnError, Quarantine, ShardSet, ShardSetBuilder, TopKBy,
};

use super::progress;

/// Which shards to read, and where their sidecars are.
#[derive(Args)]
pub(super) struct ShardArgs {
    /// Shards: files, directories (for their *.tar), or quoted patterns such as 'sa1b/*.tar'
    #[arg(required = true, value_name = "SHARD")]
    pub(super) shards: Vec<PathBuf>,
    /// Directory for the index files; by default each lies beside its shard as SHARD.msidx
    #[arg(long, value_name = "DIR")]
    pub(super) index_dir: Option<PathBuf>,
}

impl ShardArgs {
    pub(super) fn sidecar(&self) -> Sidecar {
        self.index_dir.clone().map_or(Sidecar::Beside, Sidecar::Dir)
    }
}

/// What a batch looks like and how it is made.
#[derive(Args)]
pub(super) struct LoaderArgs {
    #[command(flatten)]
    pub(super) shards: ShardArgs,
    /// Samples per batch
    #[arg(long, default_value_t = 8, value_name = "B")]
    batch_size: usize,
    /// Side of the square images, in pixels
    #[arg(long, default_value_t = 1024, value_name = "S")]
    image_size: u32,
    /// How an image fits the square: letterbox keeps its aspect and pads with zeros, stretch does not
    #[arg(long, value_enum, default_value = "letterbox")]
    fit: FitArg,
    /// Number type of the images: bytes as decoded, or floats in 0 to 1
    #[arg(long, value_enum, default_value = "u8")]
    image_dtype: ImageTypeArg,
    /// Float images are normalized with ImageNet's mean and deviation, as SAM's are
    #[arg(long)]
    imagenet: bool,
    /// Side of the grid that masks are drawn on, over the whole square; 0 draws none
    #[arg(long, default_value_t = 256, value_name = "SIDE")]
    mask_size: u32,
    /// A mask's cell: 1 if its centre lies in the mask (nearest), or 0 to 255 by the share that the mask covers (area)
    #[arg(long, value_enum, default_value = "nearest")]
    mask_kind: MaskKindArg,
    /// Also the exact share of each patch of a G x G grid that each mask covers; 0 for none
    #[arg(long, default_value_t = 0, value_name = "G")]
    coverage: u32,
    /// The four numbers of a box, normalized by the original image's width and height
    #[arg(long, value_enum, default_value = "xywh")]
    box_format: BoxesArg,
    /// Masks per image
    #[arg(long, default_value_t = 10, value_name = "K")]
    top_k: usize,
    /// Which masks come first: the most stable, the most confident, the largest or smallest, a random draw, or small,
    /// medium and large ones in turn; draws are seeded by --seed
    #[arg(long, alias = "rank-by", value_enum, default_value = "stability")]
    top_k_by: RankByArg,
    /// Only masks with at least this predicted_iou
    #[arg(long, default_value_t = 0.88, value_name = "IOU")]
    min_predicted_iou: f32,
    /// Only masks with at least this stability_score
    #[arg(long, value_name = "SCORE")]
    min_stability_score: Option<f32>,
    /// Only images with at least this many such masks
    #[arg(long, default_value_t = 1, value_name = "N")]
    min_masks: usize,
    /// Decoding threads; by default one per core
    #[arg(long, value_name = "N")]
    num_workers: Option<usize>,
    /// Batches made ahead
    #[arg(long, default_value_t = 2, value_name = "N")]
    prefetch_batches: usize,
    /// Shuffle the samples of all shards; otherwise they come in file order
    #[arg(long)]
    shuffle: bool,
    /// Seed of the shuffle, and of draws of masks
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Shuffle runs of about so many bytes in place of single samples, for disks and networks that want long reads: 8
    /// to 16 MiB there
    #[arg(long, default_value_t = 0, value_name = "BYTES")]
    chunk_bytes: u64,
    /// This process's share of each epoch, if it is one of several
    #[arg(long, value_name = "R", requires = "world_size")]
    rank: Option<usize>,
    /// Number of processes that share each epoch
    #[arg(long, value_name = "W", requires = "rank")]
    world_size: Option<usize>,
    /// Leave out the samples that do not fill a batch on every rank, in place of padding the last one
    #[arg(long)]
    drop_last: bool,
    /// Only the images, or annotations, that this file lists: a line for each, IMAGE_ID or IMAGE_ID,ANNOTATION_ID
    #[arg(long, value_name = "FILE")]
    ids: Option<PathBuf>,
    /// Leave out the bad samples that this file lists, as --quarantine-log writes it
    #[arg(long, value_name = "FILE")]
    quarantine: Option<PathBuf>,
    /// Add each sample that cannot be decoded to this file, one JSON object a line
    #[arg(long, value_name = "FILE")]
    quarantine_log: Option<PathBuf>,
    /// Bytes of memory that the loader may take; by default 8 GiB, or what it needs
    #[arg(long, value_name = "BYTES")]
    max_memory_bytes: Option<u64>,
    /// Page-locked batches, as for uploads to a device, in place of heap memory
    #[arg(long)]
    pinned: bool,
    /// Go on after this many samples that cannot be decoded, whose rows are zero; and use the sound samples of damaged
    /// shards as long as not more than this many are missing
    #[arg(long, default_value_t = 0, value_name = "N")]
    skip: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum FitArg {
    Letterbox,
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
enum MaskKindArg {
    Nearest,
    Area,
}

#[derive(Clone, Copy, ValueEnum)]
enum RankByArg {
    Stability,
    Confidence,
    Largest,
    Smallest,
    Random,
    Stratified,
}

#[derive(Clone, Copy, ValueEnum)]
enum BoxesArg {
    Xywh,
    Xyxy,
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
            eprintln!("maskstream: {quarantined} samples are left out because they are on the quarantine list");
        }
        if !set.unmatched().is_empty() {
            eprintln!("maskstream: {} of the listed images are in none of the shards", set.unmatched().len());
        }
        Ok(self.loader_settings().build(set)?)
    }

    /// Builds the loader without waiting for indexes.
    pub(super) fn lazy_loader(&self) -> Result<Loader, Box<dyn std::error::Error>> {
        let shards = self.shard_settings()?.open_lazy(&self.shards.shards)?;
        Ok(self.loader_settings().build(shards)?)
    }

    fn shard_settings(&self) -> Result<ShardSetBuilder, Box<dyn std::error::Error>> {
        // What is not asked for stays as the library has it: a cursor depends on it.
        let mut filter = MaskFilter::default().min_predicted_iou(self.min_predicted_iou).min_masks(self.min_masks);
        if let Some(least) = self.min_stability_score {
            filter = filter.min_stability_score(least);
        }
        let on_corrupt = if self.skip > 0 { OnCorrupt::Skip { budget: self.skip } } else { OnCorrupt::Stop };
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
            .chunk_bytes(self.chunk_bytes)
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
    let text = std::fs::read_to_string(path).map_err(|e| format!("cannot read the list {}: {e}", path.display()))?;
    text.parse().map_err(|e| format!("{}: {e}", path.display()))
}

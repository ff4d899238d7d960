//! What the arguments are as settings of the library, and which of them do not fit together.

use std::path::{Path, PathBuf};

use maskstream::{
    Cursor, IdList, Loader, LoaderBuilder, MaskFilter, Memory, Normalization, OnCorrupt, OnError, Quarantine,
    ScaledDecode, ShardSetBuilder,
};

use super::LoaderArgs;
use super::values::{ImageTypeArg, MaskFormatArg, MaskKindArg, ScaledDecodeArg};
use crate::cli::output::WrongArguments;
use crate::cli::stores;
use crate::cli::target::refuse_same;

/// Samples per batch, as in the library.
const DEFAULT_BATCH: usize = 8;

/// Settings of the loader's speed that flags give.
pub(in crate::cli) struct GivenSettings {
    pub(in crate::cli) num_workers: Option<usize>,
    pub(in crate::cli) prefetch_batches: Option<usize>,
    /// 0 means samples, not chunks.
    pub(in crate::cli) chunk_bytes: Option<u64>,
    pub(in crate::cli) scaled_decode: Option<ScaledDecode>,
    pub(in crate::cli) is_shuffled: bool,
}

impl LoaderArgs {
    /// The settings of the loader's speed that flags give.
    pub(in crate::cli) fn given(&self) -> GivenSettings {
        GivenSettings {
            num_workers: self.num_workers,
            prefetch_batches: self.prefetch_batches,
            chunk_bytes: self.chunk_bytes,
            scaled_decode: self.scaled_decode.map(ScaledDecodeArg::in_library),
            is_shuffled: self.shuffle,
        }
    }

    /// Refuses arguments that have no effect with the others, in the words of the command. A seed alone is only
    /// remarked on: a script may always pass it. `uses_seed`: the command itself draws something.
    pub(in crate::cli) fn check(&self, cursor: Option<&Cursor>, uses_seed: bool) -> Result<(), WrongArguments> {
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
    pub(in crate::cli) fn files(&self) -> Result<Vec<PathBuf>, Box<dyn std::error::Error>> {
        let mut files = self.shards_and_ids()?;
        files.extend([&self.quarantine, &self.quarantine_log].into_iter().flatten().cloned());
        Ok(files)
    }

    /// The shards, their index files and the list of ids.
    fn shards_and_ids(&self) -> Result<Vec<PathBuf>, Box<dyn std::error::Error>> {
        let shards = stores::resolve_patterns(&self.shards.shards)?;
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
    pub(in crate::cli) fn filter(&self, cursor: Option<&Cursor>) -> maskstream::Result<MaskFilter> {
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
    pub(in crate::cli) fn samples_per_batch(&self) -> usize {
        self.batch_size.unwrap_or(DEFAULT_BATCH)
    }

    /// The seed of what is random.
    pub(in crate::cli) fn seed(&self) -> u64 {
        self.seed.unwrap_or(0)
    }

    /// The settings of the shards that the flags and the cursor name.
    pub(in crate::cli) fn shard_settings(
        &self,
        cursor: Option<&Cursor>,
    ) -> Result<ShardSetBuilder, Box<dyn std::error::Error>> {
        self.check_log()?;
        let filter = self.filter(cursor)?;
        let on_corrupt = if self.skip > 0 { OnCorrupt::skip(self.skip) } else { OnCorrupt::Stop };
        let mut options = stores::shard_set().filter(filter).sidecar(self.shards.sidecar()).on_corrupt(on_corrupt);
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
    pub(in crate::cli) fn loader_settings(
        &self,
        cursor: Option<&Cursor>,
    ) -> Result<LoaderBuilder, Box<dyn std::error::Error>> {
        let some = |side: u32| (side > 0).then_some(side);
        let options = Loader::builder()
            .image_size(self.image_size)
            .fit(self.fit.in_library())
            .image_dtype(self.image_dtype.in_library())
            .normalize(if self.imagenet { Normalization::IMAGENET } else { Normalization::UNIT })
            .mask_size(some(self.mask_size).map(|side| [side, side]))
            .mask_kind(self.mask_kind.in_library())
            .mask_format(self.mask_format.in_library())
            .keep_thin_masks(!self.no_keep_thin_masks)
            .coverage(some(self.coverage))
            .box_format(self.box_format.in_library())
            .coord_frame(self.coord_frame.in_library())
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

fn read_ids(path: &Path) -> Result<IdList, String> {
    let text =
        std::fs::read_to_string(path).map_err(|e| format!("cannot read the list of ids {}: {e}", path.display()))?;
    text.parse().map_err(|e| format!("{}: {e}", path.display()))
}

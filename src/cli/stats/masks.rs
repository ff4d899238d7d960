//! What only the json members have, from a sample of them: the runs of masks, what they compress to, and their crops.

use std::sync::Arc;

use indicatif::ProgressBar;
use maskstream::index::{Annotation, AnnotationFile, Entry, IndexedShard};
use maskstream::internals::OneLine;
use maskstream::mask::{Counts, Rle, Segmentation};
use maskstream::source::Source;
use rayon::prelude::*;
use serde::Serialize;

use super::compression::{Classes, Sizes, compress};
use super::histogram::Histogram;
use super::quantity::{Histograms, OF_MASKS, Quantity};
use crate::cli::stores;

/// Crop layers that are told apart; deeper ones count as the last.
const LAYERS: usize = 6;
/// A crop of this share of the image's sides is the whole image.
const WHOLE: f64 = 0.99;
const AREAS: [u64; 8] = [0, 10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000];
const RUNS: [u64; 12] = [0, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000];
/// Failures that are kept with their texts.
const MAX_FAILURES: usize = 20;

/// Forms of COCO's `segmentation`.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Forms {
    /// RLE whose counts are a compressed string, as in SA-1B.
    pub(super) counts_string: u64,
    /// RLE whose counts are a list of numbers.
    pub(super) counts_list: u64,
    pub(super) polygons: u64,
}

/// What the masks of the images that were read have.
#[derive(Clone, Debug)]
pub(super) struct Masks {
    pub(super) images: u64,
    pub(super) masks: u64,
    pub(super) forms: Forms,
    pub(super) histograms: Histograms<2>,
    /// Masks whose counts are a string: all of them, by area, and by runs.
    pub(super) all: Sizes,
    pub(super) by_area: Classes<8>,
    pub(super) by_runs: Classes<12>,
    /// Shares of the image in percent, by the crop layer of their masks.
    pub(super) layers: [Histogram; LAYERS],
    pub(super) without_crop: u64,
    /// Jsons and masks that cannot be read.
    pub(super) failed: u64,
    pub(super) failures: Vec<String>,
}

/// How much is read of a shard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    /// Images whose masks are read; `None` for all.
    pub(super) images: Option<usize>,
    /// Masks whose bitmaps are compressed.
    pub(super) compressed: usize,
}

/// Part `number` of `total` things that are shared among `parts` as evenly as can be.
pub(super) fn part(total: usize, parts: usize, number: usize) -> usize {
    let until = |number: usize| total as u128 * number as u128 / parts.max(1) as u128;
    (until(number + 1) - until(number)) as usize
}

/// `count` places, evenly spaced among `all`; all of them if there are fewer.
pub(super) fn spread(count: usize, all: usize) -> impl ExactSizeIterator<Item = usize> {
    let count = count.min(all);
    (0..count).map(move |n| (2 * n + 1) * all / (2 * count))
}

impl Masks {
    pub(super) fn new() -> Self {
        Self {
            images: 0,
            masks: 0,
            forms: Forms::default(),
            histograms: Histograms::new(OF_MASKS),
            all: Sizes::default(),
            by_area: Classes::new(AREAS),
            by_runs: Classes::new(RUNS),
            layers: [(); LAYERS].map(|()| Quantity::MaskAreaPercent.histogram()),
            without_crop: 0,
            failed: 0,
            failures: Vec::new(),
        }
    }

    /// Reads a share of a shard's jsons, on all cores.
    ///
    /// # Errors
    /// If the shard cannot be opened.
    pub(super) fn read(shard: &IndexedShard, share: Share, bar: &ProgressBar) -> maskstream::Result<Self> {
        let index = &shard.index;
        let entries: Vec<&Entry> = index.entries().iter().filter(|entry| index.is_verified(entry)).collect();
        let chosen: Vec<&Entry> =
            spread(share.images.unwrap_or(usize::MAX), entries.len()).map(|at| entries[at]).collect();
        bar.inc_length(chosen.iter().map(|entry| u64::from(entry.annotations.len)).sum());
        let source = shard.source(stores::open(&shard.path)?)?;
        let read = |mut masks: Self, (number, entry): (usize, &&Entry)| {
            let compressed = part(share.compressed, chosen.len(), number);
            if let Err(text) = masks.add(entry, &source, compressed) {
                let (member, offset) = (entry.annotations_name(), entry.annotations.offset);
                masks.fail(format!("{}: member {member}, byte {offset}: {text}", shard.path.display()));
            }
            bar.inc(u64::from(entry.annotations.len));
            masks
        };
        let merge = |mut sum: Self, more: Self| {
            sum.merge(&more);
            sum
        };
        Ok(chosen.par_iter().enumerate().with_min_len(8).fold(Self::new, read).reduce(Self::new, merge))
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.images += other.images;
        self.masks += other.masks;
        self.forms.counts_string += other.forms.counts_string;
        self.forms.counts_list += other.forms.counts_list;
        self.forms.polygons += other.forms.polygons;
        self.histograms.merge(&other.histograms);
        self.all.merge(&other.all);
        self.by_area.merge(&other.by_area);
        self.by_runs.merge(&other.by_runs);
        self.layers.iter_mut().zip(&other.layers).for_each(|(sum, more)| sum.merge(more));
        self.without_crop += other.without_crop;
        self.failed += other.failed;
        self.failures.extend(other.failures.iter().cloned());
        self.failures.truncate(MAX_FAILURES);
    }

    /// Adds the masks of a sample, and compresses some of them.
    fn add(&mut self, entry: &Entry, source: &Arc<dyn Source>, compressed: usize) -> Result<(), String> {
        let json = source.read(entry.annotations.range()).map_err(|e| e.to_string())?;
        if crc32c::crc32c(&json) != entry.annotations.crc32c {
            return Err("its bytes are not those that were indexed: build the index again with `maskstream index \
                        --rebuild`"
                .to_owned());
        }
        let file = AnnotationFile::parse(&json).map_err(|e| e.to_string())?;
        self.images += 1;
        let mut compressed = spread(compressed, file.annotations.len()).peekable();
        let mut rle = Rle::default();
        for (at, annotation) in file.annotations.iter().enumerate() {
            let is_compressed = compressed.next_if_eq(&at).is_some();
            self.add_mask(annotation, entry, is_compressed, &mut rle).map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    fn add_mask(
        &mut self,
        annotation: &Annotation<'_>,
        entry: &Entry,
        is_compressed: bool,
        rle: &mut Rle,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let (width, height) = (entry.width, entry.height);
        let segmentation = annotation.segmentation()?;
        let wrong = |e| format!("annotation {}: segmentation: {e}", annotation.id);
        segmentation.read_into(height, width, rle).map_err(wrong)?;
        self.masks += 1;
        let pixels = f64::from(width) * f64::from(height);
        match annotation.crop_box {
            Some([_, _, crop_width, crop_height]) => {
                let layer = crop_layer(crop_width * crop_height / pixels);
                self.layers[layer].add(100.0 * rle.area() as f64 / pixels);
            }
            None => self.without_crop += 1,
        }
        let rle_bytes = match segmentation {
            Segmentation::Polygons(_) => {
                self.forms.polygons += 1;
                None
            }
            Segmentation::Rle { counts: Counts::Runs(_), .. } => {
                self.forms.counts_list += 1;
                None
            }
            Segmentation::Rle { counts: Counts::String(counts), .. } => {
                self.forms.counts_string += 1;
                Some(counts.len())
            }
        };
        let runs = rle.runs().len() as u64;
        let mut ratio = f64::NAN;
        if let Some(rle_bytes) = rle_bytes {
            let compressed = if is_compressed { compress(rle)? } else { None };
            let sizes = Sizes::of(rle, rle_bytes, compressed);
            self.all.merge(&sizes);
            self.by_area.add(rle.area(), &sizes);
            self.by_runs.add(runs, &sizes);
            ratio = sizes.ratios()[0].unwrap_or(f64::NAN);
        }
        self.histograms.add(Quantity::RunsPerMask, [runs as f64, ratio]);
        Ok(())
    }

    fn fail(&mut self, text: String) {
        self.failed += 1;
        if self.failures.len() < MAX_FAILURES {
            self.failures.push(OneLine(&text).to_string());
        }
    }
}

/// The layer of a crop with this share of the image's area: 0 is the whole image; the sides of layer n are from
/// 1 / 2^n of the image's sides to twice that. SA-1B's crops overlap, so they are larger than a part of a grid.
fn crop_layer(area: f64) -> usize {
    let side = area.sqrt();
    if side >= WHOLE {
        return 0;
    }
    let halvings = (-(side + 1e-9).log2()).ceil();
    (halvings as usize).clamp(1, LAYERS - 1)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_crops_of_sams_mask_generator_are_in_their_layers() {
        // segment_anything.utils.amg.generate_crop_boxes for 1500 x 2250, overlap 512 / 1500.
        let crops = [(2250, 1500, 0), (1381, 1006, 1), (1380, 1006, 1), (755, 567, 2), (692, 567, 2)];
        for (width, height, layer) in crops {
            assert_eq!(crop_layer(f64::from(width * height) / (2250.0 * 1500.0)), layer, "{width} x {height}");
        }
        assert_eq!([1.0, 0.25, 0.0625, 0.0].map(crop_layer), [0, 1, 2, LAYERS - 1]);
    }

    #[test]
    fn shares_add_up_and_places_are_spread() {
        for (total, parts) in [(7, 3), (3, 7), (256, 1), (0, 4), (256, 1000)] {
            let parts: Vec<usize> = (0..parts).map(|number| part(total, parts, number)).collect();
            assert_eq!(parts.iter().sum::<usize>(), total);
            assert!(parts.iter().max().unwrap() - parts.iter().min().unwrap() <= 1);
        }
        assert_eq!(spread(3, 9).collect::<Vec<_>>(), [1, 4, 7]);
        assert_eq!(spread(9, 3).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(spread(3, 0).len(), 0);
    }
}

//! The report: every figure once, for JSON, text and HTML alike.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::compression::{Classes, Sizes};
use super::curve::Point;
use super::histogram::{Bars, Histogram, Quantiles};
use super::masks::{Forms, Masks};
use super::quantity::{About, Quantity};
use super::totals::{Bounds, Totals};

/// Bars of a histogram in JSON and HTML, and in the terminal.
const BARS: usize = 32;
const TERMINAL_BARS: usize = 16;
/// Image sizes that are listed.
const IMAGE_SIZES: usize = 8;

#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Of maskstream.
    pub(super) version: &'static str,
    pub(super) command: String,
    /// Shards that were looked at, and those that the arguments name.
    pub(super) shards: u64,
    pub(super) shards_named: u64,
    pub(super) shard_bytes: u64,
    pub(super) images: u64,
    pub(super) masks: u64,
    pub(super) derived_images: u64,
    /// Samples that the shards hold and no loader uses, by cause.
    pub(super) left_out: LeftOut,
    /// What indexing found wrong: counts by kind.
    pub(super) findings: BTreeMap<String, u64>,
    /// Shards that are damaged or cannot be read.
    pub(super) damaged_shards: Vec<Damaged>,
    pub(super) filter: Filter,
    /// By name.
    #[serde(serialize_with = "by_name")]
    pub(super) quantities: Vec<Distribution>,
    /// The most frequent ones.
    pub(super) image_sizes: Vec<ImageSize>,
    pub(super) curves: Curves,
    /// `null`: no json was read.
    pub(super) sample: Option<Sample>,
}

#[derive(Debug, Serialize)]
pub(super) struct LeftOut {
    pub(super) images_without_annotations: u64,
    pub(super) annotations_without_image: u64,
    pub(super) broken_annotations: u64,
    pub(super) unreadable: u64,
    pub(super) unverified: u64,
    /// The causes that occur, in words.
    #[serde(skip)]
    pub(super) text: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Damaged {
    pub(super) shard: String,
    pub(super) reason: String,
}

/// The bounds that the arguments name, and what they keep.
#[derive(Debug, Serialize)]
pub(super) struct Filter {
    /// `null`: no bound.
    pub(super) min_predicted_iou: Option<f32>,
    pub(super) min_stability_score: Option<f32>,
    pub(super) images: u64,
    pub(super) masks: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Distribution {
    #[serde(skip)]
    pub(super) quantity: Quantity,
    pub(super) unit: &'static str,
    /// Numbers counted, and those that the data does not have.
    pub(super) count: u64,
    pub(super) missing: u64,
    /// `null`: there are no numbers.
    pub(super) quantiles: Option<Quantiles>,
    pub(super) histogram: Bars,
    #[serde(skip)]
    pub(super) terminal: Bars,
}

#[derive(Debug, Serialize)]
pub(super) struct ImageSize {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) images: u64,
}

/// Each among the masks that pass the filter's bound on the other score.
#[derive(Debug, Serialize)]
pub(super) struct Curves {
    pub(super) predicted_iou: Vec<Point>,
    pub(super) stability_score: Vec<Point>,
}

/// Figures of the masks whose jsons were read.
#[derive(Debug, Serialize)]
pub(super) struct Sample {
    pub(super) images: u64,
    pub(super) masks: u64,
    /// Jsons that cannot be read.
    pub(super) failed: u64,
    pub(super) forms: Forms,
    #[serde(serialize_with = "by_name")]
    pub(super) quantities: Vec<Distribution>,
    pub(super) compression: Compression,
    pub(super) crop_layers: Vec<Layer>,
    /// Masks whose json has no crop_box.
    pub(super) without_crop: u64,
}

/// Sums over the masks whose counts are a string.
#[derive(Debug, Serialize)]
pub(super) struct Compression {
    pub(super) all: Class,
    pub(super) by_area: Vec<Class>,
    pub(super) by_runs: Vec<Class>,
}

/// Masks whose area in pixels, or number of runs, is at least `from` and less than `to`.
#[derive(Debug, Serialize)]
pub(super) struct Class {
    pub(super) from: u64,
    pub(super) to: Option<u64>,
    #[serde(flatten)]
    pub(super) sizes: Sizes,
    /// How many times as large as the RLE counts each form is.
    pub(super) bitmap_bit_over_rle: Option<f64>,
    pub(super) bitmap_byte_over_rle: Option<f64>,
    pub(super) zlib_over_rle: Option<f64>,
    pub(super) png_over_rle: Option<f64>,
}

#[derive(Debug, Serialize)]
pub(super) struct Layer {
    pub(super) layer: usize,
    pub(super) masks: u64,
    /// Of the image, in percent.
    pub(super) area_percent: Option<Quantiles>,
}

impl Report {
    pub(super) fn new(bounds: Bounds, totals: &Totals, masks: Option<&Masks>) -> Self {
        let left_out = totals.left_out;
        let bound = |bound: f32| Some(bound).filter(|bound| bound.is_finite());
        let mut image_sizes: Vec<ImageSize> =
            totals.image_sizes.iter().map(|(&(width, height), &images)| ImageSize { width, height, images }).collect();
        image_sizes.sort_by_key(|size| std::cmp::Reverse(size.images));
        image_sizes.truncate(IMAGE_SIZES);
        Self {
            version: env!("CARGO_PKG_VERSION"),
            command: String::new(),
            shards: 0,
            shards_named: 0,
            shard_bytes: totals.shard_bytes,
            images: totals.images,
            masks: totals.masks,
            derived_images: totals.derived_images,
            left_out: LeftOut {
                images_without_annotations: left_out.images_without_annotations,
                annotations_without_image: left_out.annotations_without_image,
                broken_annotations: left_out.broken_annotations,
                unreadable: left_out.unreadable,
                unverified: left_out.unverified,
                text: left_out.to_string(),
            },
            findings: totals.findings.clone(),
            damaged_shards: Vec::new(),
            filter: Filter {
                min_predicted_iou: bound(bounds.predicted_iou),
                min_stability_score: bound(bounds.stability_score),
                images: totals.kept_images,
                masks: totals.kept_masks,
            },
            quantities: totals.histograms().map(distribution).collect(),
            image_sizes,
            curves: Curves {
                predicted_iou: totals.predicted_iou.points(totals.masks),
                stability_score: totals.stability_score.points(totals.masks),
            },
            sample: masks.map(Sample::new),
        }
    }
}

impl Sample {
    fn new(masks: &Masks) -> Self {
        let layers = masks.layers.iter().enumerate().filter(|(_, areas)| areas.total() > 0);
        Self {
            images: masks.images,
            masks: masks.masks,
            failed: masks.failed,
            forms: masks.forms,
            quantities: masks.histograms.iter().map(distribution).collect(),
            compression: Compression {
                all: Class::new((0, None, &masks.all)),
                by_area: classes(&masks.by_area),
                by_runs: classes(&masks.by_runs),
            },
            crop_layers: layers
                .map(|(layer, areas)| Layer { layer, masks: areas.total(), area_percent: areas.quantiles() })
                .collect(),
            without_crop: masks.without_crop,
        }
    }
}

impl Class {
    fn new((from, to, sizes): (u64, Option<u64>, &Sizes)) -> Self {
        let [bitmap_bit_over_rle, bitmap_byte_over_rle, zlib_over_rle, png_over_rle] = sizes.ratios();
        Self { from, to, sizes: *sizes, bitmap_bit_over_rle, bitmap_byte_over_rle, zlib_over_rle, png_over_rle }
    }

    /// In the order of the fields.
    pub(super) fn ratios(&self) -> [Option<f64>; 4] {
        [self.bitmap_bit_over_rle, self.bitmap_byte_over_rle, self.zlib_over_rle, self.png_over_rle]
    }
}

fn classes<const N: usize>(classes: &Classes<N>) -> Vec<Class> {
    classes.iter().map(Class::new).collect()
}

fn distribution((quantity, histogram): (Quantity, &Histogram)) -> Distribution {
    let About { unit, axis, .. } = quantity.about();
    Distribution {
        quantity,
        unit,
        count: histogram.total(),
        missing: histogram.missing(),
        quantiles: histogram.quantiles(),
        histogram: histogram.bars(axis, BARS),
        terminal: histogram.bars(axis, TERMINAL_BARS),
    }
}

fn by_name<S: Serializer>(distributions: &[Distribution], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(distributions.iter().map(|one| (one.quantity.about().name, one)))
}

impl Quantiles {
    pub(super) const NAMES: [&str; 7] = ["min", "5 %", "25 %", "median", "75 %", "95 %", "max"];

    pub(super) fn values(&self) -> [f64; 7] {
        [self.min, self.p5, self.p25, self.p50, self.p75, self.p95, self.max]
    }
}

//! The quantities that are counted: their names, units and meanings.

use super::histogram::{Axis, Histogram, Scale};

/// Something that is counted for each image or each mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quantity {
    MasksPerImage,
    PredictedIou,
    StabilityScore,
    MaskArea,
    MaskAreaPercent,
    BoxWidth,
    BoxHeight,
    BoxAspect,
    ImageWidth,
    ImageHeight,
    JpegBytes,
    JsonBytes,
    RunsPerMask,
    BitmapOverRle,
}

use Quantity::*;

/// What an index has.
pub(super) const OF_INDEX: [Quantity; 12] = [
    MasksPerImage,
    PredictedIou,
    StabilityScore,
    MaskArea,
    MaskAreaPercent,
    BoxWidth,
    BoxHeight,
    BoxAspect,
    ImageWidth,
    ImageHeight,
    JpegBytes,
    JsonBytes,
];

/// What only the masks have.
pub(super) const OF_MASKS: [Quantity; 2] = [RunsPerMask, BitmapOverRle];

/// Words about a quantity.
pub(super) struct About {
    /// The field of the JSON output.
    pub(super) name: &'static str,
    /// With its unit, for people.
    pub(super) title: &'static str,
    pub(super) unit: &'static str,
    /// Of what each number is one.
    pub(super) of: &'static str,
    pub(super) sentence: &'static str,
    pub(super) scale: Scale,
    pub(super) axis: Axis,
}

impl Quantity {
    pub(super) fn histogram(self) -> Histogram {
        Histogram::new(self.about().scale)
    }

    pub(super) fn about(self) -> About {
        use Axis::{Linear, Log};
        let about = |name, title, unit, of, sentence, axis| {
            let scale = if unit == "score" { Scale::Score } else { Scale::Decimal };
            About { name, title, unit, of, sentence, scale, axis }
        };
        match self {
            MasksPerImage => about(
                "masks_per_image",
                "masks per image",
                "masks",
                "images",
                "All masks that are annotated, whatever their scores; --top-k takes some of them.",
                Linear,
            ),
            PredictedIou => about(
                "predicted_iou",
                "predicted_iou",
                "score",
                "masks",
                "The mask model's own estimate of a mask's IoU. It can exceed 1.",
                Linear,
            ),
            StabilityScore => about(
                "stability_score",
                "stability_score",
                "score",
                "masks",
                "The IoU of a mask cut at a higher and at a lower threshold: 1 means a sharp edge.",
                Linear,
            ),
            MaskArea => about(
                "mask_area",
                "mask area, pixels",
                "pixels",
                "masks",
                "As annotated, in pixels of the annotated image.",
                Log,
            ),
            MaskAreaPercent => about(
                "mask_area_percent",
                "mask area, % of image",
                "percent",
                "masks",
                "On a mask grid of 256 x 256, a cell is 0.0015 % of the square.",
                Log,
            ),
            BoxWidth => about(
                "box_width",
                "box width, pixels",
                "pixels",
                "masks",
                "As annotated: SA-1B's widths are max - min, one less than the number of pixels.",
                Log,
            ),
            BoxHeight => {
                about("box_height", "box height, pixels", "pixels", "masks", "As annotated, like the width.", Log)
            }
            BoxAspect => about(
                "box_aspect",
                "box width / height",
                "ratio",
                "masks",
                "Above 1: wider than high. Boxes with a side of 0 have none.",
                Log,
            ),
            ImageWidth => about(
                "image_width",
                "image width, pixels",
                "pixels",
                "images",
                "Of the annotated image; a derived JPEG is smaller.",
                Linear,
            ),
            ImageHeight => about(
                "image_height",
                "image height, pixels",
                "pixels",
                "images",
                "Of the annotated image; a derived JPEG is smaller.",
                Linear,
            ),
            JpegBytes => {
                about("jpeg_bytes", "JPEG size, bytes", "bytes", "images", "What is read from disk for an image.", Log)
            }
            JsonBytes => about(
                "json_bytes",
                "JSON size, bytes",
                "bytes",
                "images",
                "What is read for all masks of an image.",
                Log,
            ),
            RunsPerMask => about(
                "runs_per_mask",
                "runs per mask",
                "runs",
                "masks",
                "Runs of background and of mask, column by column: about two for each column of the box.",
                Log,
            ),
            BitmapOverRle => about(
                "bitmap_over_rle",
                "1-bit bitmap / RLE",
                "ratio",
                "masks",
                "How many times as large a bitmap of 1 bit per pixel is as the compressed RLE counts.",
                Log,
            ),
        }
    }
}

/// One histogram for each quantity of a list.
#[derive(Clone, Debug)]
pub(super) struct Histograms<const N: usize> {
    quantities: [Quantity; N],
    histograms: [Histogram; N],
}

impl<const N: usize> Histograms<N> {
    pub(super) fn new(quantities: [Quantity; N]) -> Self {
        Self { quantities, histograms: quantities.map(Quantity::histogram) }
    }

    /// Adds one number of each quantity of a part of the list, which begins at `first`.
    pub(super) fn add<const M: usize>(&mut self, first: Quantity, values: [f64; M]) {
        let at = self.quantities.iter().position(|quantity| *quantity == first).unwrap_or(N);
        self.histograms.iter_mut().skip(at).zip(values).for_each(|(histogram, value)| histogram.add(value));
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.histograms.iter_mut().zip(&other.histograms).for_each(|(sum, more)| sum.merge(more));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Quantity, &Histogram)> {
        self.quantities.into_iter().zip(&self.histograms)
    }
}

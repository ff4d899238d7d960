//! Values of arguments, and what they are in the library.

use clap::ValueEnum;
use maskstream::{BoxFormat, CoordFrame, DType, Fit, MaskFormat, MaskKind, ScaledDecode, TopKBy};

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum FitArg {
    /// Keep the aspect ratio; pad with zeros on the right or below, as SAM does
    Letterbox,
    /// Fill the whole square
    Stretch,
}

impl FitArg {
    pub(super) fn in_library(self) -> Fit {
        match self {
            Self::Letterbox => Fit::Letterbox,
            Self::Stretch => Fit::Stretch,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum FrameArg {
    /// The image, or the part of it that is shown: 0 to 1
    Original,
    /// The canvas, padding included: 0 to 1
    Canvas,
    /// The canvas in pixels, as SAM has them
    CanvasPixels,
}

impl FrameArg {
    pub(super) fn in_library(self) -> CoordFrame {
        match self {
            Self::Original => CoordFrame::Original,
            Self::Canvas => CoordFrame::Canvas,
            Self::CanvasPixels => CoordFrame::CanvasPixels,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum ImageTypeArg {
    U8,
    F32,
    F16,
    Bf16,
}

impl ImageTypeArg {
    pub(super) fn in_library(self) -> DType {
        match self {
            Self::U8 => DType::U8,
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
            Self::Bf16 => DType::Bf16,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum ScaledDecodeArg {
    /// At a half, a quarter or an eighth where that is large enough: faster
    Auto,
    /// Never: pixels as Pillow decodes and resizes them
    Full,
}

impl ScaledDecodeArg {
    pub(super) fn in_library(self) -> ScaledDecode {
        match self {
            Self::Auto => ScaledDecode::Auto,
            Self::Full => ScaledDecode::Full,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum MaskKindArg {
    /// 1 if the centre of the cell is in the mask, else 0
    Nearest,
    /// 0 to 255: the exact share of the cell that the mask covers
    Area,
}

impl MaskKindArg {
    pub(super) fn in_library(self) -> MaskKind {
        match self {
            Self::Nearest => MaskKind::Nearest,
            Self::Area => MaskKind::Area,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum MaskFormatArg {
    /// One byte a cell
    Bytes,
    /// One bit a cell, the first of a byte in its highest bit; not with --mask-kind area
    Bits,
}

impl MaskFormatArg {
    pub(super) fn in_library(self) -> MaskFormat {
        match self {
            Self::Bytes => MaskFormat::Bytes,
            Self::Bits => MaskFormat::Bits,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum RankByArg {
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
    pub(super) fn with_seed(self, seed: u64) -> TopKBy {
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
pub(super) enum BoxesArg {
    /// Left, top, width, height
    Xywh,
    /// Left, top, right, bottom
    Xyxy,
    /// Centre x, centre y, width, height
    Cxcywh,
}

impl BoxesArg {
    pub(super) fn in_library(self) -> BoxFormat {
        match self {
            Self::Xywh => BoxFormat::Xywh,
            Self::Xyxy => BoxFormat::Xyxy,
            Self::Cxcywh => BoxFormat::CxCyWh,
        }
    }
}

/// A lower bound of a score. `none`: minus infinity, which [`MaskFilter`] takes for no bound.
pub(in crate::cli) fn lower_bound(text: &str) -> Result<f32, String> {
    match text {
        "none" => Ok(f32::NEG_INFINITY),
        _ => text.parse().map_err(|_| "it must be a number, or none".to_owned()),
    }
}

//! Settings of decoding.

use super::{BoxFormat, CoordFrame, Fit, Geometry, Transform};
use crate::Result;
use crate::annotation::TopKBy;
use crate::augment::{Augment, Prompts};
use crate::dtype::DType;
use crate::field::MaskFormat;
use crate::image::{Normalization, ScaledDecode};
use crate::shard::Entry;

/// What a cell of a drawn mask holds.
///
/// A mask that this would leave without a cell, because it is thin or small, keeps one: see
/// [`LoaderBuilder::keep_thin_masks`](crate::LoaderBuilder::keep_thin_masks).
///
/// ```
/// use maskstream::{Loader, MaskKind};
///
/// // Soft targets on a coarse grid: 255 is a cell that the mask covers, 128 one that it covers by half.
/// let builder = Loader::builder().mask_size(Some([64, 64])).mask_kind(MaskKind::Area);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum MaskKind {
    /// 1 if the centre of the cell lies in the mask, else 0.
    #[default]
    Nearest,
    /// The share of the cell that the mask covers, from 0 to 255, rounded.
    Area,
}

/// Settings of decoding.
#[derive(Clone, Debug)]
pub(crate) struct SampleOptions {
    pub(crate) side: u32,
    pub(crate) fit: Fit,
    pub(crate) image_dtype: DType,
    pub(crate) normalization: Normalization,
    pub(crate) scaled: ScaledDecode,
    pub(crate) max_pixels: u64,
    pub(crate) mask_size: Option<[u32; 2]>,
    pub(crate) mask_kind: MaskKind,
    pub(crate) mask_format: MaskFormat,
    pub(crate) keep_thin_masks: bool,
    pub(crate) coverage: Option<u32>,
    pub(crate) top_k: usize,
    pub(crate) top_k_by: TopKBy,
    pub(crate) box_format: BoxFormat,
    pub(crate) coord_frame: CoordFrame,
    pub(crate) augment: Option<Augment>,
    pub(crate) prompts: Option<Prompts>,
    pub(crate) transform: Option<Transform>,
}

impl SampleOptions {
    pub(super) fn geometry(&self, entry: &Entry) -> Result<Geometry> {
        Geometry::new(entry.width, entry.height, self.side, self.fit)
    }
}

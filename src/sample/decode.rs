//! Decodes the labels of one sample and writes every field of its row but the image.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;

use super::boxes::NormalizedLine;
use super::{BoxFormat, Clock, CoordFrame, Fit, Geometry, RowMut};
use crate::annotation::{Annotation, AnnotationFile, AnnotationSelector, TopKBy};
use crate::augment::{Augment, Draws, Frame, Purpose};
use crate::dtype::DType;
use crate::field::MaskFormat;
use crate::image::{Normalization, ScaledDecode};
use crate::mask::{Grid, GridScratch, Rle};
use crate::shard::Entry;
use crate::{Error, Result};

/// Number of image sizes whose grids are cached: SA-1B has a few common sizes.
const GRID_CACHE_SIZE: NonZeroUsize = NonZeroUsize::MIN.saturating_add(7);

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
}

impl SampleOptions {
    fn geometry(&self, entry: &Entry) -> Result<Geometry> {
        Geometry::new(entry.width, entry.height, self.side, self.fit)
    }
}

/// CPU time that each step of a sample took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StageTimes {
    pub(crate) inflate: Duration,
    pub(crate) verify: Duration,
    pub(crate) json: Duration,
    pub(crate) masks: Duration,
    pub(crate) image: Duration,
}

/// Where the fields other than the image come from.
pub(crate) enum LabelSource<'a> {
    /// The bytes of the JSON member, the selection of its annotations, and the epoch, on which random rankings depend.
    Json { json: &'a [u8], selector: &'a AnnotationSelector, epoch: u64 },
    /// A row of the same sample that was saved.
    Saved(&'a [u8]),
}

/// Decodes the labels of one sample after the other, reusing its buffers. Each worker has one.
pub(crate) struct LabelDecoder {
    options: Arc<SampleOptions>,
    rle: Rle,
    scratch: GridScratch,
    grids: LruCache<Geometry, Grids>,
}

/// The grids for images of one geometry.
#[derive(Clone)]
struct Grids {
    masks: Option<Arc<Grid>>,
    coverage: Option<Arc<Grid>>,
}

impl LabelDecoder {
    pub(crate) fn new(options: Arc<SampleOptions>) -> Self {
        Self { options, rle: Rle::default(), scratch: GridScratch::default(), grids: LruCache::new(GRID_CACHE_SIZE) }
    }

    /// Writes every field of the sample of `entry` but the image to `row`; returns where the image goes. Errors name
    /// the member and its offset.
    pub(crate) fn decode(
        &mut self,
        entry: &Entry,
        labels: LabelSource<'_>,
        mut row: RowMut<'_>,
        times: &mut StageTimes,
    ) -> Result<Geometry> {
        match labels {
            // Labels are saved only where no augmentation changes them.
            LabelSource::Saved(saved) => {
                row.restore_labels(saved);
                self.options.geometry(entry)
            }
            LabelSource::Json { json, selector, epoch } => self
                .decode_labels(entry, (json, selector, epoch), &mut row, times)
                .map_err(|e| e.in_member(&entry.annotations_name()).at_offset(entry.annotations.offset)),
        }
    }

    fn decode_labels(
        &mut self,
        entry: &Entry,
        (json, selector, epoch): (&[u8], &AnnotationSelector, u64),
        out: &mut RowMut<'_>,
        times: &mut StageTimes,
    ) -> Result<Geometry> {
        let mut clock = Clock::start();
        let whole = self.options.geometry(entry)?;
        entry.annotations.verify(json)?;
        times.verify += clock.lap();
        let file = AnnotationFile::parse(json)?;
        let candidates = selector.select(&file);
        times.json += clock.lap();
        let draws = Draws::new(self.options.augment.map_or(0, |augment| augment.seed), epoch, entry.image_id);
        let (geometry, candidates) = self.place(&file, candidates, whole, draws)?;
        times.masks += clock.lap();
        let chosen = self.options.top_k_by.top_k_of(&file, candidates, self.options.top_k, epoch);
        times.json += clock.lap();

        // Zeroes what the previous batch left here, but for the masks that are drawn over.
        out.zero_small();
        out.zero_masks(chosen.len()..self.options.top_k);
        write_image_fields(entry, &geometry, self.options.coverage, out);
        let grids = self.grids(&geometry)?;
        let lines = self.options.coord_frame.lines(&geometry);
        for (k, &index) in chosen.iter().enumerate() {
            let annotation = &file.annotations[index];
            if grids.masks.is_some() || grids.coverage.is_some() || geometry.is_cropped() {
                annotation.read_mask(entry.height, entry.width, &mut self.rle)?;
                if self.rle.area() == 0 {
                    // It has no pixel to learn from: its slot is zero, as padding is.
                    out.zero_masks(k..k + 1);
                    continue;
                }
                self.draw(&grids, k, out)
                    .map_err(|e| Error::config(format!("cannot draw a mask: {e}")).caused_by(e))?;
            }
            let Shown { bbox, area, point } = self.shown(annotation, &geometry, &lines, draws);
            out.boxes[4 * k..4 * k + 4].copy_from_slice(&self.options.box_format.normalize(bbox, &lines));
            out.predicted_iou[k] = or_zero(annotation.predicted_iou);
            out.stability_score[k] = or_zero(annotation.stability_score);
            out.area[k] = area as f32;
            if let Some([x, y]) = point {
                out.points[2 * k] = lines[0].point(x) as f32;
                out.points[2 * k + 1] = lines[1].point(y) as f32;
            }
            out.annotation_ids[k] = annotation.id;
            out.valid[k] = 1;
        }
        times.masks += clock.lap();
        Ok(geometry)
    }

    /// Where the image goes, and which of the candidates are shown there: crops are drawn until one shows a mask.
    fn place(
        &mut self,
        file: &AnnotationFile<'_>,
        candidates: Vec<usize>,
        whole: Geometry,
        draws: Draws,
    ) -> Result<(Geometry, Vec<usize>)> {
        let Some(augment) = self.options.augment else { return Ok((whole, candidates)) };
        let (fit, side) = (self.options.fit, self.options.side);
        let frame =
            Frame { size: (whole.width(), whole.height()), side, fit: &|width, height| fit.size(width, height, side) };
        let edges = |&index: &usize| {
            let [x, y, width, height] = file.annotations[index].bbox;
            [x, y, x + width, y + height]
        };
        let boxes: Vec<_> = candidates.iter().map(edges).collect();
        for attempt in 0..augment.crop_attempts {
            let geometry = whole.placed(augment.place(draws, attempt.into(), &frame, &boxes))?;
            if !geometry.is_cropped() || candidates.is_empty() {
                return Ok((geometry, candidates));
            }
            let mut shown = Vec::new();
            for &index in &candidates {
                if self.is_shown(&file.annotations[index], &geometry, augment)? {
                    shown.push(index);
                }
            }
            if !shown.is_empty() {
                return Ok((geometry, shown));
            }
        }
        Ok((whole.placed(augment.whole(draws, &frame))?, candidates))
    }

    /// Whether a crop shows enough of a mask.
    fn is_shown(&mut self, annotation: &Annotation<'_>, geometry: &Geometry, augment: Augment) -> Result<bool> {
        annotation.read_mask(geometry.height(), geometry.width(), &mut self.rle)?;
        let (visible, pixels) = (self.rle.window(geometry.window()).area, self.rle.area());
        Ok(visible == pixels || augment.is_enough(visible, pixels))
    }

    /// What a crop shows of the annotation whose mask is in `self.rle`, in pixels of the original image.
    fn shown(
        &self,
        annotation: &Annotation<'_>,
        geometry: &Geometry,
        lines: &[NormalizedLine; 2],
        draws: Draws,
    ) -> Shown {
        let point = annotation.point_coords.first().copied();
        let annotated = Shown { bbox: annotation.bbox, area: annotation.area, point };
        let Some(augment) = self.options.augment.filter(|_| geometry.is_cropped()) else { return annotated };
        let part = self.rle.window(geometry.window());
        let is_cut = part.area < self.rle.area();
        let mut shown = annotated;
        if is_cut && augment.tight_boxes {
            // Sides are one less than pixels, as SA-1B has them.
            let [x, y, width, height] = part.bbox.map(f64::from);
            shown.bbox = [x, y, width - 1.0, height - 1.0];
        }
        if is_cut && augment.visible_area {
            shown.area = part.area;
        }
        let leaves = |[x, y]: [f64; 2]| !lines[0].shows(x) || !lines[1].shows(y);
        if shown.point.is_some_and(leaves) {
            let number = draws.below(Purpose::Point, annotation.id as u64, part.area);
            shown.point = self.rle.pixel_in(geometry.window(), number).map(|pixel| pixel.map(|at| f64::from(at) + 0.5));
        }
        shown
    }

    /// Draws the mask in `self.rle` as the `k`-th mask of the row.
    fn draw(&mut self, grids: &Grids, k: usize, out: &mut RowMut<'_>) -> Result<(), crate::mask::RleError> {
        if let Some(grid) = &grids.masks {
            let bytes = out.masks.len() / self.options.top_k;
            let out = &mut out.masks[k * bytes..(k + 1) * bytes];
            let (rle, scratch) = (&self.rle, &mut self.scratch);
            match (self.options.mask_kind, self.options.mask_format, self.options.keep_thin_masks) {
                (MaskKind::Nearest, MaskFormat::Bytes, true) => grid.nearest_or_best(rle, scratch, out)?,
                (MaskKind::Nearest, MaskFormat::Bytes, false) => grid.nearest(rle, scratch, out)?,
                (MaskKind::Nearest, MaskFormat::Bits, true) => grid.nearest_or_best_packed(rle, scratch, out)?,
                (MaskKind::Nearest, MaskFormat::Bits, false) => grid.nearest_packed(rle, scratch, out)?,
                // A share does not fit a bit: the loader refuses the two together.
                (MaskKind::Area, _, true) => grid.area_or_best(rle, scratch, out)?,
                (MaskKind::Area, _, false) => grid.area(rle, scratch, out)?,
            }
        }
        if let Some(grid) = &grids.coverage {
            let cells = grid.rows() * grid.columns();
            grid.coverage(&self.rle, &mut self.scratch, &mut out.coverage[k * cells..(k + 1) * cells])?;
        }
        Ok(())
    }

    /// The grids for images of this size, from the cache if they are there.
    fn grids(&mut self, geometry: &Geometry) -> Result<Grids> {
        let options = &self.options;
        let make = || -> Result<Grids> {
            let grid = |size: Option<[u32; 2]>| {
                size.map(|[rows, columns]| geometry.grid(rows, columns).map(Arc::new)).transpose()
            };
            Ok(Grids { masks: grid(options.mask_size)?, coverage: grid(options.coverage.map(|g| [g, g]))? })
        };
        self.grids.try_get_or_insert(*geometry, make).cloned()
    }
}

/// What is shown of an annotation, in pixels of the original image.
struct Shown {
    bbox: [f64; 4],
    area: u64,
    point: Option<[f64; 2]>,
}

/// A score, or 0 where the file has none: NaN would spread to every sum.
fn or_zero(score: f32) -> f32 {
    if score.is_nan() { 0.0 } else { score }
}

/// Writes the fields that describe the image rather than its annotations.
fn write_image_fields(entry: &Entry, geometry: &Geometry, coverage: Option<u32>, out: &mut RowMut<'_>) {
    out.image_ids.copy_from_slice(&[entry.image_id]);
    out.original_sizes.copy_from_slice(&[entry.height, entry.width]);
    out.geometry.copy_from_slice(&geometry.affine());
    out.image_valid.copy_from_slice(&[1]);
    if let Some(cells) = coverage {
        let (rows, columns) = geometry.content_cells(cells);
        for row in out.patch_valid.chunks_exact_mut(cells as usize).take(rows as usize) {
            row[..columns as usize].fill(1);
        }
    }
}

//! Decodes the labels of one sample and writes every field of its row but the image.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;

use super::place::{Augmenter, Shown};
use super::prompts::PromptPainter;
use super::turned::Turned;
use super::{Clock, Geometry, MaskKind, RowMut, SampleOptions};
use crate::annotation::{AnnotationFile, AnnotationSelector};
use crate::augment::Draws;
use crate::field::MaskFormat;
use crate::mask::{Grid, GridScratch, Rle, RleError};
use crate::shard::Entry;
use crate::{Error, Result};

/// Number of image sizes whose grids are cached: SA-1B has a few common sizes.
const GRID_CACHE_SIZE: NonZeroUsize = NonZeroUsize::MIN.saturating_add(7);

/// CPU time that each step of a sample took, and the bytes that it processed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StageTimes {
    pub(crate) inflate: Duration,
    pub(crate) verify: Duration,
    pub(crate) json: Duration,
    pub(crate) masks: Duration,
    pub(crate) image: Duration,
    pub(crate) inflated_bytes: u64,
    pub(crate) json_bytes: u64,
    pub(crate) image_bytes: u64,
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
    /// A mask that is looked at only.
    rle: Rle,
    /// The masks of the row: the first `chosen`.
    masks: Vec<Rle>,
    chosen: usize,
    turned: Turned,
    scratch: GridScratch,
    grids: LruCache<Geometry, Grids>,
}

/// The grids for images of one geometry.
#[derive(Clone)]
struct Grids {
    masks: Option<Arc<Grid>>,
    coverage: Option<Arc<Grid>>,
    /// Whether their rows are the columns of the batch.
    is_turned: bool,
}

impl LabelDecoder {
    pub(crate) fn new(options: Arc<SampleOptions>) -> Self {
        let (rle, masks, chosen, turned, scratch) = Default::default();
        Self { options, rle, masks, chosen, turned, scratch, grids: LruCache::new(GRID_CACHE_SIZE) }
    }

    /// Takes the masks of the row that was decoded last.
    pub(crate) fn take_masks(&mut self) -> Vec<Rle> {
        self.masks.truncate(self.chosen);
        std::mem::take(&mut self.masks)
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
        let draws = |seed: u64| Draws::new(seed, epoch, entry.image_id);
        let augmenter = self.options.augment.map(|augment| Augmenter { augment, draws: draws(augment.seed) });
        let (geometry, candidates) = match &augmenter {
            Some(augmenter) => augmenter.place(&self.options, &file, candidates, whole, &mut self.rle)?,
            None => (whole, candidates),
        };
        times.masks += clock.lap();
        let chosen = self.options.top_k_by.top_k_of(&file, candidates, self.options.top_k, epoch);
        times.json += clock.lap();

        // Zeroes what the previous batch left here, but for the masks that are drawn over.
        out.zero_small();
        out.zero_masks(chosen.len()..self.options.top_k);
        write_image_fields(entry, &geometry, self.options.coverage, out);
        let grids = self.grids(&geometry)?;
        let lines = self.options.coord_frame.lines(&geometry);
        let is_drawn = grids.masks.is_some() || grids.coverage.is_some();
        let has_clicks = self.options.prompts.is_some_and(|prompts| prompts.clicks() > 0);
        let has_masks = is_drawn || geometry.is_cropped() || has_clicks || self.options.transform.is_some();
        self.chosen = chosen.len();
        if has_masks {
            self.masks.resize_with(self.masks.len().max(chosen.len()), Rle::default);
            for (mask, &index) in self.masks.iter_mut().zip(&chosen) {
                file.annotations[index].read_mask(entry.height, entry.width, mask)?;
            }
        }
        let failed = |e: RleError| Error::config(format!("cannot draw a mask: {e}")).caused_by(e);
        for (k, &index) in chosen.iter().enumerate() {
            let annotation = &file.annotations[index];
            if has_masks {
                if self.masks[k].area() == 0 {
                    // It has no pixel to learn from: its slot is zero, as padding is.
                    out.zero_masks(k..k + 1);
                    continue;
                }
                self.draw(&grids, k, out).map_err(failed)?;
            }
            let shown = match &augmenter {
                Some(augmenter) if geometry.is_cropped() => {
                    augmenter.shown(annotation, &self.masks[k], &geometry, &lines)
                }
                _ => Shown::annotated(annotation),
            };
            let Shown { bbox, area, point } = shown;
            out.boxes[4 * k..4 * k + 4].copy_from_slice(&self.options.box_format.normalize(bbox, &lines));
            out.predicted_iou[k] = or_zero(annotation.predicted_iou);
            out.stability_score[k] = or_zero(annotation.stability_score);
            out.area[k] = area as f32;
            if let Some(point) = point {
                out.points[2 * k..2 * k + 2].copy_from_slice(&lines.point(point));
            }
            if let Some(prompts) = self.options.prompts {
                let masks = if has_masks { &self.masks[..chosen.len()] } else { &[] };
                let painter = PromptPainter {
                    prompts,
                    draws: draws(prompts.seed),
                    geometry: &geometry,
                    lines: &lines,
                    box_format: self.options.box_format,
                    masks,
                };
                painter.paint(k, annotation.id, bbox, out).map_err(failed)?;
            }
            out.annotation_ids[k] = annotation.id;
            out.valid[k] = 1;
        }
        times.masks += clock.lap();
        Ok(geometry)
    }

    /// Draws the `k`-th mask of the row.
    fn draw(&mut self, grids: &Grids, k: usize, out: &mut RowMut<'_>) -> Result<(), RleError> {
        let Self { options, masks, scratch, turned, .. } = self;
        let mask = &masks[k];
        if let Some(grid) = &grids.masks {
            let bytes = out.masks.len() / options.top_k;
            let out = &mut out.masks[k * bytes..(k + 1) * bytes];
            let format = if grids.is_turned { MaskFormat::Bytes } else { options.mask_format };
            let cells = if grids.is_turned { turned.cells(grid) } else { &mut *out };
            match (options.mask_kind, format, options.keep_thin_masks) {
                (MaskKind::Nearest, MaskFormat::Bytes, true) => grid.nearest_or_best(mask, scratch, cells)?,
                (MaskKind::Nearest, MaskFormat::Bytes, false) => grid.nearest(mask, scratch, cells)?,
                (MaskKind::Nearest, MaskFormat::Bits, true) => grid.nearest_or_best_packed(mask, scratch, cells)?,
                (MaskKind::Nearest, MaskFormat::Bits, false) => grid.nearest_packed(mask, scratch, cells)?,
                // A share does not fit a bit: the loader refuses the two together.
                (MaskKind::Area, _, true) => grid.area_or_best(mask, scratch, cells)?,
                (MaskKind::Area, _, false) => grid.area(mask, scratch, cells)?,
            }
            if grids.is_turned {
                turned.write_cells(grid, options.mask_format, out);
            }
        }
        if let Some(grid) = &grids.coverage {
            let cells = grid.rows() * grid.columns();
            let out = &mut out.coverage[k * cells..(k + 1) * cells];
            if grids.is_turned {
                grid.coverage(mask, scratch, turned.shares(grid))?;
                turned.write_shares(grid, out);
            } else {
                grid.coverage(mask, scratch, out)?;
            }
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
            Ok(Grids {
                masks: grid(options.mask_size)?,
                coverage: grid(options.coverage.map(|g| [g, g]))?,
                is_turned: geometry.is_turned(),
            })
        };
        self.grids.try_get_or_insert(*geometry, make).cloned()
    }
}

/// A score, or 0 where the file has none: NaN would spread to every sum.
fn or_zero(score: f32) -> f32 {
    if score.is_nan() { 0.0 } else { score }
}

/// Writes the fields that describe the image rather than its annotations.
fn write_image_fields(entry: &Entry, geometry: &Geometry, coverage: Option<u32>, out: &mut RowMut<'_>) {
    out.image_ids.copy_from_slice(&[entry.image_id]);
    out.original_sizes.copy_from_slice(&[entry.height, entry.width]);
    out.crops.copy_from_slice(&geometry.window());
    out.geometry.copy_from_slice(&geometry.affine());
    out.image_valid.copy_from_slice(&[1]);
    if let Some(cells) = coverage {
        let (rows, columns) = geometry.content_cells(cells);
        for row in out.patch_valid.chunks_exact_mut(cells as usize).take(rows as usize) {
            row[..columns as usize].fill(1);
        }
    }
}

//! The one place that turns a sample's bytes into tensor rows. Comes in: an entry, its bytes, a row. Goes out: every
//! number of that row. Fails as the rooms it calls.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;
use rustix::time::ClockId;

use super::{BoxFormat, CoordFrame, Fit, Geometry, RowMut};
use crate::annotation::{AnnotationFile, AnnotationSelector, TopKBy};
use crate::dtype::DType;
use crate::image::{Decoder, JpegCodec, Normalization, Planes, to_chw};
use crate::mask::{Grid, GridScratch, Rle};
use crate::shard::Entry;
use crate::{Error, Result};

/// Image sizes whose grids are kept: SA-1B has a few common ones.
const KEPT_GRIDS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(7);

/// What a cell of a drawn mask means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MaskKind {
    /// 1 where the cell's centre lies in the mask, else 0.
    #[default]
    Nearest,
    /// The share of the cell that the mask covers, 0 to 255, rounded.
    Area,
}

/// How a sample becomes a row.
#[derive(Clone, Debug)]
pub(crate) struct SampleOptions {
    pub(crate) side: u32,
    pub(crate) fit: Fit,
    pub(crate) image_dtype: DType,
    pub(crate) normalization: Normalization,
    pub(crate) codec: JpegCodec,
    pub(crate) max_pixels: u64,
    pub(crate) mask_size: Option<[u32; 2]>,
    pub(crate) mask_kind: MaskKind,
    pub(crate) coverage: Option<u32>,
    pub(crate) top_k: usize,
    pub(crate) top_k_by: TopKBy,
    pub(crate) box_format: BoxFormat,
    pub(crate) coord_frame: CoordFrame,
}

/// CPU time of each step of one sample.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StageTimes {
    pub(crate) inflate: Duration,
    pub(crate) verify: Duration,
    pub(crate) json: Duration,
    pub(crate) masks: Duration,
    pub(crate) jpeg: Duration,
    pub(crate) resize: Duration,
    pub(crate) planes: Duration,
}

/// Where everything but the image comes from.
pub(crate) enum LabelSource<'a> {
    /// The bytes of the json member, and which annotations count.
    Json(&'a [u8], &'a AnnotationSelector),
    /// A row of the same sample, saved before.
    Saved(&'a [u8]),
}

/// Decodes samples one after the other, in memory that is used again. Each worker has one.
pub(crate) struct SampleDecoder {
    options: Arc<SampleOptions>,
    planes: Arc<Planes>,
    decoder: Decoder,
    rle: Rle,
    scratch: GridScratch,
    grids: LruCache<(u32, u32), Grids>,
}

/// The grids for images of one size.
#[derive(Clone)]
struct Grids {
    masks: Option<Arc<Grid>>,
    coverage: Option<Arc<Grid>>,
}

impl SampleDecoder {
    pub(crate) fn new(options: Arc<SampleOptions>, planes: Arc<Planes>) -> Self {
        let (rle, scratch) = Default::default();
        let decoder = Decoder::new(options.codec, options.max_pixels);
        Self { options, planes, decoder, rle, scratch, grids: LruCache::new(KEPT_GRIDS) }
    }

    /// Fills `row` with the sample of `entry`. Errors name member and offset.
    pub(crate) fn decode(
        &mut self,
        entry: &Entry,
        image: &[u8],
        labels: LabelSource<'_>,
        mut row: RowMut<'_>,
        times: &mut StageTimes,
    ) -> Result<()> {
        let geometry = Geometry::new(entry.width, entry.height, self.options.side, self.options.fit)?;
        match labels {
            LabelSource::Saved(saved) => row.restore_labels(saved),
            LabelSource::Json(json, wanted) => self
                .decode_labels(entry, &geometry, json, wanted, &mut row, times)
                .map_err(|e| e.in_member(&entry.annotations_name()).at_offset(entry.annotations.offset))?,
        }
        self.decode_image(entry, &geometry, image, row.images, times)
            .map_err(|e| e.in_member(&entry.image_name()).at_offset(entry.image.offset))
    }

    fn decode_image(
        &mut self,
        entry: &Entry,
        geometry: &Geometry,
        jpeg: &[u8],
        out: &mut [u8],
        times: &mut StageTimes,
    ) -> Result<()> {
        let mut clock = Clock::start();
        entry.image.verify(jpeg)?;
        times.verify += clock.lap();
        let wanted = (geometry.content_width, geometry.content_height);
        self.decoder.decode(jpeg, (entry.width, entry.height), wanted)?;
        times.jpeg += clock.lap();
        let pixels = self.decoder.resize(wanted)?;
        times.resize += clock.lap();
        to_chw(&self.planes, pixels, wanted.0 as usize, geometry.side as usize, out);
        times.planes += clock.lap();
        Ok(())
    }

    fn decode_labels(
        &mut self,
        entry: &Entry,
        geometry: &Geometry,
        json: &[u8],
        wanted: &AnnotationSelector,
        out: &mut RowMut<'_>,
        times: &mut StageTimes,
    ) -> Result<()> {
        let mut clock = Clock::start();
        entry.annotations.verify(json)?;
        times.verify += clock.lap();
        let file = AnnotationFile::parse(json)?;
        let chosen = self.options.top_k_by.top_k_wanted(&file, wanted, self.options.top_k);
        times.json += clock.lap();

        // Rows that no annotation fills, and everything the previous batch left here, are zero.
        out.zero_labels();
        write_image_fields(entry, geometry, self.options.coverage, out);
        let grids = self.grids(geometry)?;
        let factors = self.options.coord_frame.factors(geometry);
        for (k, &index) in chosen.iter().enumerate() {
            let annotation = &file.annotations[index];
            let bbox = self.options.box_format.normalize(annotation.bbox, factors);
            out.boxes[4 * k..4 * k + 4].copy_from_slice(&bbox);
            out.predicted_iou[k] = annotation.predicted_iou;
            out.stability_score[k] = annotation.stability_score;
            out.area[k] = annotation.area as f32;
            if let Some([x, y]) = annotation.point_coords.first() {
                out.points[2 * k] = (x * factors.0) as f32;
                out.points[2 * k + 1] = (y * factors.1) as f32;
            }
            out.annotation_ids[k] = annotation.id;
            out.valid[k] = 1;
            if grids.masks.is_none() && grids.coverage.is_none() {
                continue;
            }
            annotation.read_mask(entry.height, entry.width, &mut self.rle)?;
            self.draw(&grids, k, out).map_err(|e| Error::config(format!("cannot draw a mask: {e}")).caused_by(e))?;
        }
        times.masks += clock.lap();
        Ok(())
    }

    /// Draws the mask read last as the `k`-th of its row.
    fn draw(&mut self, grids: &Grids, k: usize, out: &mut RowMut<'_>) -> Result<(), crate::mask::RleError> {
        if let Some(grid) = &grids.masks {
            let cells = grid.rows() * grid.columns();
            let out = &mut out.masks[k * cells..(k + 1) * cells];
            match self.options.mask_kind {
                MaskKind::Nearest => grid.nearest(&self.rle, out)?,
                MaskKind::Area => grid.area(&self.rle, &mut self.scratch, out)?,
            }
        }
        if let Some(grid) = &grids.coverage {
            let cells = grid.rows() * grid.columns();
            grid.coverage(&self.rle, &mut self.scratch, &mut out.coverage[k * cells..(k + 1) * cells])?;
        }
        Ok(())
    }

    fn grids(&mut self, geometry: &Geometry) -> Result<Grids> {
        let options = &self.options;
        let make = || -> Result<Grids> {
            let grid = |size: Option<[u32; 2]>| {
                size.map(|[rows, columns]| geometry.grid(rows, columns).map(Arc::new)).transpose()
            };
            Ok(Grids { masks: grid(options.mask_size)?, coverage: grid(options.coverage.map(|g| [g, g]))? })
        };
        self.grids.try_get_or_insert((geometry.width, geometry.height), make).cloned()
    }
}

/// The fields that describe the image, not its annotations.
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

/// CPU time of this thread: what a busy machine does meanwhile does not count.
pub(crate) struct Clock(Duration);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Self::now())
    }

    /// Time since the start or the last lap.
    pub(crate) fn lap(&mut self) -> Duration {
        let now = Self::now();
        now.saturating_sub(std::mem::replace(&mut self.0, now))
    }

    fn now() -> Duration {
        let now = rustix::time::clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
    }
}

//! Annotations -> questions with known answers. Comes in: a batch with coverage. Goes out: [`Queries`]: for some masks
//! of each image a patch that is pointed at, and how much of every patch belongs to the mask. Fails as candle does, or
//! if the batch holds no coverage.

use candle_core::{Device, Result, Tensor, bail};
use maskstream::adapter::CandleBatch;

use crate::features::{GRID, PATCHES};
use crate::rng::Rng;

/// A mask counts if it covers as much as this many whole patches; smaller ones leave hardly a patch to be right about.
pub(crate) const MIN_PATCHES: f32 = 4.0;

/// Which patch of a mask is pointed at.
#[derive(Clone, Copy)]
pub(crate) enum PointAt {
    /// One drawn among those that are clearly inside; what is drawn follows from the seed and the epoch.
    Random { seed: u64 },
    /// The one of the annotated prompt point.
    Prompt,
}

/// One question: what belongs to the region at this patch?
pub(crate) struct Query {
    /// Row in the batch.
    pub(crate) row: usize,
    /// Place among the row's queries.
    pub(crate) place: usize,
    /// The patch that is pointed at, row by row over the grid.
    pub(crate) patch: usize,
    /// Coverage of each patch by the mask.
    pub(crate) target: Vec<f32>,
}

/// The questions of a batch, Q places per image, of which some may be empty. B is the batch size, P the patches of an
/// image.
pub(crate) struct Queries {
    /// [B, Q, P]: the answer.
    pub(crate) target: Tensor,
    /// [B, Q]: how much the answer counts, from `predicted_iou`; 0 in an empty place.
    pub(crate) weight: Tensor,
    /// [B * Q], u32: the patch pointed at, counted over all images of the batch.
    pub(crate) at: Tensor,
    /// [B * Q], u32: the same, counted within its image.
    pub(crate) patch: Tensor,
    /// The places that are not empty.
    pub(crate) list: Vec<Query>,
}

impl Queries {
    /// Draws up to `most` masks of each image, and a patch in each.
    pub(crate) fn draw(batch: &CandleBatch, most: usize, point_at: PointAt, device: &Device) -> Result<Self> {
        let Some(coverage) = &batch.coverage else { bail!("the loader was not asked for coverage") };
        let (rows, masks, _, _) = coverage.dims4()?;
        let coverage = coverage.reshape((rows * masks, PATCHES))?;
        let patches_covered = coverage.sum(1)?.reshape((rows, masks))?.to_vec2::<f32>()?;
        let predicted_iou = batch.predicted_iou.to_vec2::<f32>()?;
        let valid = batch.valid.to_vec2::<u8>()?;
        let image_ids = batch.image_ids.to_vec1::<i64>()?;
        let annotation_ids = batch.annotation_ids.to_vec2::<i64>()?;
        let points = batch.points.to_vec3::<f32>()?;

        // Only the coverage of the chosen masks leaves the device.
        let (mut chosen, mut weight) = (vec![0; rows * most], vec![0.0; rows * most]);
        for row in 0..rows {
            let counts = |&k: &usize| valid[row][k] != 0 && patches_covered[row][k] >= MIN_PATCHES;
            let mut eligible: Vec<usize> = (0..masks).filter(counts).collect();
            // The order of annotations is by stability: without the draw, the same few would be asked for in every
            // epoch.
            point_at.rng(batch.epoch, image_ids[row]).shuffle(&mut eligible);
            for (place, k) in eligible.into_iter().take(most).enumerate() {
                chosen[row * most + place] = (row * masks + k) as u32;
                weight[row * most + place] = predicted_iou[row][k].clamp(0.0, 1.0);
            }
        }
        let target = coverage.index_select(&Tensor::new(chosen.as_slice(), device)?, 0)?;

        let (mut at, mut patches, mut list) = (Vec::new(), Vec::new(), Vec::new());
        for (i, target) in target.to_vec2::<f32>()?.into_iter().enumerate() {
            let (row, place) = (i / most, i % most);
            let mut patch = 0;
            if weight[i] > 0.0 {
                let k = chosen[i] as usize % masks;
                patch = point_at.patch(&target, &points[row][k], batch.epoch, annotation_ids[row][k]);
                list.push(Query { row, place, patch, target });
            }
            at.push((row * PATCHES + patch) as u32);
            patches.push(patch as u32);
        }
        Ok(Self {
            target: target.reshape((rows, most, PATCHES))?,
            weight: Tensor::from_vec(weight, (rows, most), device)?,
            at: Tensor::new(at, device)?,
            patch: Tensor::new(patches, device)?,
            list,
        })
    }
}

impl PointAt {
    fn rng(self, epoch: u64, name: i64) -> Rng {
        match self {
            Self::Random { seed } => Rng::new(&[seed, epoch, name as u64]),
            // The same questions in every evaluation, whatever the seed.
            Self::Prompt => Rng::new(&[name as u64]),
        }
    }

    /// A patch that is at least half inside the mask, or as much as any patch is.
    fn patch(self, target: &[f32], point: &[f32], epoch: u64, name: i64) -> usize {
        let most = target.iter().copied().fold(0.0, f32::max);
        let inside: Vec<usize> = (0..target.len()).filter(|&p| target[p] >= most.min(0.5)).collect();
        match self {
            Self::Random { .. } => inside[self.rng(epoch, name).below(inside.len())],
            Self::Prompt => {
                let cell = |v: f32| ((v * GRID as f32) as usize).min(GRID - 1);
                let prompt = cell(point[1]) * GRID + cell(point[0]);
                let best = (0..target.len()).max_by(|&a, &b| target[a].total_cmp(&target[b])).unwrap_or(0);
                if inside.contains(&prompt) { prompt } else { best }
            }
        }
    }
}

//! Queries: which masks of an image are queried, and the patch that prompts each of them.

use crate::args::Settings;
use crate::rng::Rng;

/// A mask becomes a query if it covers at least as much as this many whole patches. Smaller masks have hardly a patch
/// to predict.
pub const MIN_PATCHES: f32 = 4.0;

/// How queries are made.
#[derive(Clone, Copy)]
pub struct QuerySampler {
    pub settings: Settings,
    pub points: PointSampler,
}

/// How the masks of an image and the patch of each are chosen.
#[derive(Clone, Copy)]
pub enum PointSampler {
    /// A random patch among those clearly inside the mask. The draw depends on the seed, the epoch and the ids.
    Random { seed: u64 },
    /// The patch of the annotated prompt point.
    Annotated,
}

/// One query: which patches belong to the same object as this patch?
#[derive(Clone, Copy)]
pub struct Query {
    /// Row in the batch.
    pub row: usize,
    /// Slot among the row's queries.
    pub slot: usize,
    /// Index of the prompted patch, row by row over the grid.
    pub patch: usize,
    /// Share of the image that the mask covers.
    pub area_fraction: f32,
}

/// One mask on the grid of patches.
pub struct MaskPatches<'a> {
    /// `[N]`: the share of each patch that the mask covers.
    pub coverage: &'a [f32],
    /// `[N]`: 1 where a patch is image, 0 where it is padding.
    pub valid: &'a [f32],
    /// Patches per side.
    pub grid: usize,
}

impl PointSampler {
    /// Random numbers for the image or annotation `id`.
    pub fn rng(self, epoch: u64, id: i64) -> Rng {
        match self {
            Self::Random { seed } => Rng::new(&[seed, epoch, id as u64]),
            // Evaluations make the same queries for every seed.
            Self::Annotated => Rng::new(&[id as u64]),
        }
    }

    /// A patch of which the mask covers at least half, or as much as of any patch. `point` is the annotated prompt
    /// point: x and y on the canvas, 0 to 1.
    pub fn patch(self, mask: &MaskPatches<'_>, point: [f32; 2], epoch: u64, annotation_id: i64) -> usize {
        let covered = |patch: usize| mask.coverage[patch] * mask.valid[patch];
        let best = (0..mask.valid.len()).max_by(|&a, &b| covered(a).total_cmp(&covered(b))).unwrap_or(0);
        let is_inside = |patch: &usize| covered(*patch) >= covered(best).min(0.5);
        match self {
            Self::Random { .. } => {
                let inside: Vec<usize> = (0..mask.valid.len()).filter(is_inside).collect();
                inside[self.rng(epoch, annotation_id).below(inside.len())]
            }
            Self::Annotated => {
                let cell = |v: f32| ((v * mask.grid as f32) as usize).min(mask.grid - 1);
                let prompt = cell(point[1]) * mask.grid + cell(point[0]);
                if is_inside(&prompt) { prompt } else { best }
            }
        }
    }
}

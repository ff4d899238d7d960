//! Training batches: the patch features of a batch's images, queries, and the targets of both tasks.

use maskstream::Cursor;

use crate::args::{Settings, Task};
use crate::query::{MIN_PATCHES, MaskPatches, Query, QuerySampler};
use crate::texture::{Patches, grounded};

/// The fields of a batch as plain vectors: B images with K masks each. Shapes as in [`maskstream::Batch`].
pub struct BatchFields {
    pub images: Vec<u8>,
    pub coverage: Vec<f32>,
    pub valid: Vec<u8>,
    pub predicted_iou: Vec<f32>,
    pub area: Vec<f32>,
    pub points: Vec<f32>,
    pub image_ids: Vec<i64>,
    pub annotation_ids: Vec<i64>,
    pub original_sizes: Vec<u32>,
    pub crops: Vec<u32>,
    pub geometry: Vec<f32>,
    /// Number of samples in the batch, without padding.
    pub samples: usize,
    pub epoch: u64,
    pub cursor: Option<Cursor>,
}

/// Features, queries and targets of B images of N patches, with Q query slots each; some slots may be empty.
pub struct TrainingBatch {
    /// What the head sees of the images.
    pub patches: Patches,
    /// Q: `--queries` for the task `point`, all masks for the task `allocate`.
    pub slots: usize,
    /// `[B, Q, N]`: the share of each patch that the query's mask covers.
    pub coverage: Vec<f32>,
    /// `[B, Q]`: weight of a query, from `predicted_iou`; 0 in an empty slot.
    pub confidence: Vec<f32>,
    /// `[B, Q]`: index of the prompted patch.
    pub query_patch: Vec<u32>,
    /// The slots that are not empty.
    pub queries: Vec<Query>,
    /// Number of samples in the batch, without padding.
    pub samples: usize,
    pub epoch: u64,
    pub cursor: Option<Cursor>,
    /// `[B, 3, side, side]`, RGB.
    pub images: Vec<u8>,
    /// Side of the images in pixels.
    pub side: usize,
}

impl TrainingBatch {
    /// Draws masks of each image, and a patch in each; takes all masks for the task `allocate`.
    pub fn new(fields: BatchFields, sampler: &QuerySampler) -> Self {
        let Settings { task, queries, grid, image_size, context, .. } = sampler.settings;
        let (grid, side, count) = (grid as usize, image_size as usize, sampler.settings.patches());
        let rows = fields.image_ids.len();
        let masks = fields.valid.len() / rows.max(1);
        let content: Vec<[usize; 2]> = (0..rows).map(|row| fields.content(row)).collect();
        let patches = grounded(&fields.images, side, &content, grid).with_context(context);

        let (slots, min_covered) = match task {
            Task::Point => (queries, MIN_PATCHES),
            Task::Allocate => (masks, f32::MIN_POSITIVE),
        };
        let mut batch = Self {
            patches,
            slots,
            coverage: vec![0.0; rows * slots * count],
            confidence: vec![0.0; rows * slots],
            query_patch: vec![0; rows * slots],
            queries: Vec::new(),
            samples: fields.samples,
            epoch: fields.epoch,
            cursor: fields.cursor,
            images: Vec::new(),
            side,
        };
        for row in 0..rows {
            let valid = &batch.patches.valid[row * count..(row + 1) * count];
            let coverage = |k: usize| &fields.coverage[(row * masks + k) * count..(row * masks + k + 1) * count];
            let covered = |k: usize| coverage(k).iter().zip(valid).map(|(share, valid)| share * valid).sum::<f32>();
            let is_eligible = |&k: &usize| fields.valid[row * masks + k] != 0 && covered(k) >= min_covered;
            let mut eligible: Vec<usize> = (0..masks).filter(is_eligible).collect();
            // Annotations are ranked: without the shuffle, every epoch would query the same few masks.
            sampler.points.rng(fields.epoch, fields.image_ids[row]).shuffle(&mut eligible);
            for (slot, k) in eligible.into_iter().take(slots).enumerate() {
                let (at, mask) = (row * slots + slot, row * masks + k);
                let point = [fields.points[2 * mask], fields.points[2 * mask + 1]];
                let on_grid = MaskPatches { coverage: coverage(k), valid, grid };
                let patch = sampler.points.patch(&on_grid, point, fields.epoch, fields.annotation_ids[mask]);
                batch.coverage[at * count..(at + 1) * count].copy_from_slice(coverage(k));
                batch.confidence[at] = fields.predicted_iou[mask].clamp(0.0, 1.0);
                batch.query_patch[at] = patch as u32;
                let pixels = fields.original_sizes[2 * row] as f32 * fields.original_sizes[2 * row + 1] as f32;
                let area_fraction = fields.area[mask] / pixels.max(1.0);
                batch.queries.push(Query { row, slot, patch, area_fraction });
            }
        }
        batch.images = fields.images;
        batch
    }

    /// `[B, Q, N]`: the number of images, query slots and patches.
    pub fn dims(&self) -> [usize; 3] {
        [self.patches.images(), self.slots, self.patches.grid * self.patches.grid]
    }

    /// The `[N]` slice at `index` of a map `[.., N]`.
    pub fn patch_slice<'a>(&self, map: &'a [f32], index: usize) -> &'a [f32] {
        let [_, _, patches] = self.dims();
        &map[index * patches..(index + 1) * patches]
    }

    /// `[N]`: the share of each patch that the query's mask covers.
    pub fn target(&self, query: &Query) -> &[f32] {
        self.patch_slice(&self.coverage, query.row * self.slots + query.slot)
    }

    /// `[B, N]`: the target of the task `allocate`, the share of an image's relevance that each patch should have. Each
    /// mask contributes mass in proportion to its confidence, regardless of its size. Sums to 1 over an image, or is
    /// all 0 if the image has no mask.
    pub fn allocation_targets(&self) -> Vec<f32> {
        let [images, _, patches] = self.dims();
        let mut shares = vec![0.0; images * patches];
        for query in &self.queries {
            let valid = self.patch_slice(&self.patches.valid, query.row);
            let covered = || self.target(query).iter().zip(valid).map(|(share, valid)| share * valid);
            let mass = self.confidence[query.row * self.slots + query.slot] / covered().sum::<f32>();
            let image = &mut shares[query.row * patches..(query.row + 1) * patches];
            image.iter_mut().zip(covered()).for_each(|(share, covered)| *share += mass * covered);
        }
        for image in shares.chunks_exact_mut(patches) {
            let sum = image.iter().sum::<f32>();
            if sum > 0.0 {
                image.iter_mut().for_each(|share| *share /= sum);
            }
        }
        shares
    }
}

impl BatchFields {
    /// Height and width of the part of the canvas that is image.
    fn content(&self, row: usize) -> [usize; 2] {
        // What is shown of the image, times its scale, which is negative where it is mirrored.
        let pixels = |size: u32, scale: f32| (f64::from(size) * f64::from(scale.abs())).round() as usize;
        let crop = &self.crops[4 * row..4 * row + 4];
        let [scale_x, scale_y] = [0, 4].map(|index| self.geometry[6 * row + index]);
        [pixels(crop[3] - crop[1], scale_y), pixels(crop[2] - crop[0], scale_x)]
    }
}

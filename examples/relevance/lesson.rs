//! Annotations -> questions with known answers. Comes in: what a batch holds. Goes out: [`Lesson`]: what is seen of each
//! image; for some of its masks, a patch that is pointed at and how much of every patch belongs to the mask; or, where
//! nobody asks, how much of the relevance each patch should have. Cannot fail.

use maskstream::Cursor;

use super::args::{Settings, Task};
use super::rng::Rng;
use super::texture::{Patches, grounded};

/// A mask is asked for if it covers as much as this many whole patches; smaller ones leave hardly a patch to be right
/// about.
pub(crate) const MIN_PATCHES: f32 = 4.0;

/// What the fields of a batch hold: B images of `side` pixels, K masks each. Shapes as in [`maskstream::Batch`].
pub(crate) struct Fields {
    pub(crate) images: Vec<u8>,
    pub(crate) coverage: Vec<f32>,
    pub(crate) valid: Vec<u8>,
    pub(crate) predicted_iou: Vec<f32>,
    pub(crate) area: Vec<f32>,
    pub(crate) points: Vec<f32>,
    pub(crate) image_ids: Vec<i64>,
    pub(crate) annotation_ids: Vec<i64>,
    pub(crate) original_sizes: Vec<u32>,
    pub(crate) geometry: Vec<f32>,
    /// Samples in it.
    pub(crate) samples: usize,
    pub(crate) epoch: u64,
    pub(crate) cursor: Option<Cursor>,
}

/// How to ask.
#[derive(Clone, Copy)]
pub(crate) struct Ask {
    pub(crate) settings: Settings,
    pub(crate) point_at: PointAt,
}

/// Which masks are asked for, and which patch of each is pointed at.
#[derive(Clone, Copy)]
pub(crate) enum PointAt {
    /// A patch drawn among those that are clearly inside; what is drawn follows from the seed and the epoch.
    Random { seed: u64 },
    /// The one of the annotated prompt point.
    Prompt,
}

/// One question: what belongs to the region at this patch?
#[derive(Clone, Copy)]
pub(crate) struct Question {
    /// Row in the batch.
    pub(crate) row: usize,
    /// Place among the row's queries.
    pub(crate) place: usize,
    /// The patch that is pointed at, row by row over the grid.
    pub(crate) patch: usize,
    /// Share of the image that the mask covers.
    pub(crate) area_fraction: f32,
}

/// What there is to learn from a batch of B images of N patches. Q places for queries, of which some may be empty.
pub(crate) struct Lesson {
    pub(crate) seen: Patches,
    /// Places per image: as many as queries are asked for; all masks where nobody asks.
    pub(crate) places: usize,
    /// `[B, Q, N]`: how much of each patch the mask covers.
    pub(crate) coverage: Vec<f32>,
    /// `[B, Q]`: how much a query counts, from `predicted_iou`; 0 in an empty place.
    pub(crate) confidence: Vec<f32>,
    /// `[B, Q]`: the patch pointed at.
    pub(crate) query_patch: Vec<u32>,
    /// The places that are not empty.
    pub(crate) questions: Vec<Question>,
    pub(crate) samples: usize,
    pub(crate) epoch: u64,
    pub(crate) cursor: Option<Cursor>,
    /// `[B, 3, side, side]`
    pub(crate) images: Vec<u8>,
    pub(crate) side: usize,
}

impl Lesson {
    /// Draws masks of each image, and a patch in each; where nobody asks, takes all masks.
    pub(crate) fn new(fields: Fields, ask: &Ask) -> Self {
        let Settings { task, queries, grid, image_size, context, .. } = ask.settings;
        let (grid, side, patches) = (grid as usize, image_size as usize, ask.settings.patches());
        let rows = fields.image_ids.len();
        let masks = fields.valid.len() / rows.max(1);
        let content: Vec<[usize; 2]> = (0..rows).map(|row| fields.content(row)).collect();
        let seen = grounded(&fields.images, side, &content, grid).with_context(context);

        let (places, least) = match task {
            Task::Point => (queries, MIN_PATCHES),
            Task::Allocate => (masks, f32::MIN_POSITIVE),
        };
        let mut lesson = Self {
            places,
            coverage: vec![0.0; rows * places * patches],
            confidence: vec![0.0; rows * places],
            query_patch: vec![0; rows * places],
            questions: Vec::new(),
            samples: fields.samples,
            epoch: fields.epoch,
            cursor: fields.cursor,
            images: Vec::new(),
            side,
            seen,
        };
        for row in 0..rows {
            let valid = &lesson.seen.valid[row * patches..(row + 1) * patches];
            let coverage = |k: usize| &fields.coverage[(row * masks + k) * patches..(row * masks + k + 1) * patches];
            let covered = |k: usize| coverage(k).iter().zip(valid).map(|(share, valid)| share * valid).sum::<f32>();
            let counts = |&k: &usize| fields.valid[row * masks + k] != 0 && covered(k) >= least;
            let mut eligible: Vec<usize> = (0..masks).filter(counts).collect();
            // Annotations come ranked: without the draw, the same few would be asked for in every epoch.
            ask.point_at.rng(fields.epoch, fields.image_ids[row]).shuffle(&mut eligible);
            for (place, k) in eligible.into_iter().take(places).enumerate() {
                let (at, mask) = (row * places + place, row * masks + k);
                let inside = Inside { coverage: coverage(k), valid, grid };
                let point = [fields.points[2 * mask], fields.points[2 * mask + 1]];
                let patch = ask.point_at.patch(&inside, point, fields.epoch, fields.annotation_ids[mask]);
                lesson.coverage[at * patches..(at + 1) * patches].copy_from_slice(coverage(k));
                lesson.confidence[at] = fields.predicted_iou[mask].clamp(0.0, 1.0);
                lesson.query_patch[at] = patch as u32;
                let pixels = fields.original_sizes[2 * row] as f32 * fields.original_sizes[2 * row + 1] as f32;
                let area_fraction = fields.area[mask] / pixels.max(1.0);
                lesson.questions.push(Question { row, place, patch, area_fraction });
            }
        }
        lesson.images = fields.images;
        lesson
    }

    /// Number of images, of places, of patches.
    pub(crate) fn sizes(&self) -> [usize; 3] {
        [self.seen.images(), self.places, self.seen.grid * self.seen.grid]
    }

    /// What an image's `[N]` part of a map over all images is.
    pub(crate) fn of_image<'a>(&self, map: &'a [f32], row: usize) -> &'a [f32] {
        let [_, _, patches] = self.sizes();
        &map[row * patches..(row + 1) * patches]
    }

    /// How much of each patch the mask of a question covers.
    pub(crate) fn answer(&self, question: &Question) -> &[f32] {
        self.of_image(&self.coverage, question.row * self.places + question.place)
    }

    /// `[B, N]`: how much of an image's relevance each patch should have where nobody asks. Each mask brings equal mass, by
    /// its confidence, so that small ones count as much as large ones; sum 1, or all 0 without a mask.
    pub(crate) fn shares(&self) -> Vec<f32> {
        let [images, _, patches] = self.sizes();
        let mut shares = vec![0.0; images * patches];
        for question in &self.questions {
            let valid = self.of_image(&self.seen.valid, question.row);
            let inside = || self.answer(question).iter().zip(valid).map(|(share, valid)| share * valid);
            let mass = self.confidence[question.row * self.places + question.place] / inside().sum::<f32>();
            let image = &mut shares[question.row * patches..(question.row + 1) * patches];
            image.iter_mut().zip(inside()).for_each(|(share, covered)| *share += mass * covered);
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

impl Fields {
    /// Rows and columns of the canvas that are image.
    fn content(&self, row: usize) -> [usize; 2] {
        let pixels = |size: u32, scale: f32| (f64::from(size) * f64::from(scale)).round() as usize;
        let [height, width] = [0, 1].map(|axis| self.original_sizes[2 * row + axis]);
        let [across, down] = [0, 4].map(|number| self.geometry[6 * row + number]);
        [pixels(height, down), pixels(width, across)]
    }
}

/// Which patches a mask can be pointed at.
struct Inside<'a> {
    coverage: &'a [f32],
    valid: &'a [f32],
    grid: usize,
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
    fn patch(self, mask: &Inside<'_>, point: [f32; 2], epoch: u64, name: i64) -> usize {
        let covered = |patch: usize| mask.coverage[patch] * mask.valid[patch];
        let best = (0..mask.valid.len()).max_by(|&a, &b| covered(a).total_cmp(&covered(b))).unwrap_or(0);
        let is_inside = |patch: &usize| covered(*patch) >= covered(best).min(0.5);
        match self {
            Self::Random { .. } => {
                let inside: Vec<usize> = (0..mask.valid.len()).filter(is_inside).collect();
                inside[self.rng(epoch, name).below(inside.len())]
            }
            Self::Prompt => {
                let cell = |v: f32| ((v * mask.grid as f32) as usize).min(mask.grid - 1);
                let prompt = cell(point[1]) * mask.grid + cell(point[0]);
                if is_inside(&prompt) { prompt } else { best }
            }
        }
    }
}

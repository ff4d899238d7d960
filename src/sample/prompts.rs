//! Draws the prompts of a mask from its runs: clicks in it and beside it, and its box, moved a little.

use super::boxes::Lines;
use super::{BoxFormat, Geometry, RowMut};
use crate::augment::{Draws, NegativeClicks, Prompts, Purpose};
use crate::mask::{Rle, RleError};

/// Labels of clicks, as SAM has them.
const POSITIVE: i64 = 1;
const NEGATIVE: i64 = 0;
const NONE: i64 = -1;
/// How often another mask is tried that may lie within this one.
const TRIES: u64 = 16;

/// What the prompts of the masks of a row depend on.
pub(super) struct PromptPainter<'a> {
    pub(super) prompts: Prompts,
    pub(super) draws: Draws,
    pub(super) geometry: &'a Geometry,
    pub(super) lines: &'a Lines,
    pub(super) box_format: BoxFormat,
    /// The masks of the row.
    pub(super) masks: &'a [Rle],
}

impl PromptPainter<'_> {
    /// Writes the prompts of the `k`-th mask, which has the `id` and is shown with the box `bbox`.
    pub(super) fn paint(&self, k: usize, id: i64, bbox: [f64; 4], out: &mut RowMut<'_>) -> Result<(), RleError> {
        let draws = self.draws.about(id);
        let bbox = self.box_format.normalize(self.jittered(bbox, draws), self.lines);
        out.prompt_boxes[4 * k..4 * k + 4].copy_from_slice(&bbox);
        let clicks = self.prompts.clicks();
        if clicks == 0 {
            return Ok(());
        }
        let points = &mut out.prompt_points[2 * clicks * k..2 * clicks * (k + 1)];
        let labels = &mut out.prompt_labels[clicks * k..clicks * (k + 1)];
        let mut places = points.as_chunks_mut::<2>().0.iter_mut().zip(labels);
        let mut put = |pixel: Option<[u32; 2]>, label: i64| {
            let Some((point, place)) = places.next() else { return };
            *place = if pixel.is_some() { label } else { NONE };
            if let Some([x, y]) = pixel {
                // The centre of the pixel.
                *point = self.lines.point([f64::from(x) + 0.5, f64::from(y) + 0.5]);
            }
        };
        let (mask, window) = (&self.masks[k], self.geometry.window());
        if self.prompts.deepest {
            put(mask.deepest_pixel(window)?, POSITIVE);
        }
        let part = mask.window(window);
        for number in 0..self.prompts.positive as u64 {
            put(mask.pixel_in(window, draws.below(Purpose::Positive, number, part.area)), POSITIVE);
        }
        let [x, y, width, height] = part.bbox;
        let around = match self.prompts.negative_clicks {
            NegativeClicks::InBox => [x, y, x + width, y + height],
            NegativeClicks::InOtherMasks | NegativeClicks::Anywhere => window,
        };
        for number in 0..self.prompts.negative as u64 {
            let pixel = match self.prompts.negative_clicks {
                NegativeClicks::InOtherMasks => self.in_another(k, window, draws, number),
                NegativeClicks::InBox | NegativeClicks::Anywhere => {
                    let [left, top, right, bottom] = around.map(u64::from);
                    let beside = (right - left) * (bottom - top) - part.area;
                    mask.background_pixel_in(around, draws.below(Purpose::Negative, number, beside))
                }
            };
            put(pixel, NEGATIVE);
        }
        Ok(())
    }

    /// A pixel of another mask that is not in the `k`-th one.
    fn in_another(&self, k: usize, window: [u32; 4], draws: Draws, number: u64) -> Option<[u32; 2]> {
        let others = self.masks.len().checked_sub(1).filter(|&others| others > 0)?;
        (0..TRIES).find_map(|attempt| {
            let number = 2 * (number * TRIES + attempt);
            let other = draws.below(Purpose::Negative, number, others as u64) as usize;
            let other = &self.masks[if other < k { other } else { other + 1 }];
            let area = other.window(window).area;
            let pixel = other.pixel_in(window, draws.below(Purpose::Negative, number + 1, area))?;
            (!self.masks[k].contains(pixel)).then_some(pixel)
        })
    }

    /// A box of left, top, width and height with each edge moved, within what is shown.
    fn jittered(&self, [x, y, width, height]: [f64; 4], draws: Draws) -> [f64; 4] {
        let Prompts { box_jitter, box_jitter_pixels, .. } = self.prompts;
        if box_jitter == 0.0 {
            return [x, y, width, height];
        }
        let [left, top, right, bottom] = self.geometry.window().map(f64::from);
        let scale = self.geometry.scale();
        let moved = |number: u64, from: f64, length: f64, shown: [f64; 2], scale: f64| {
            // Only the shown part of a box is moved.
            let ends = [from, from + length].map(|end| end.clamp(shown[0], shown[1]));
            let most = (box_jitter * (ends[1] - ends[0])).min(box_jitter_pixels / scale);
            let [a, b] = [0, 1].map(|end| {
                let by = draws.within(Purpose::Box, number + end as u64, [-most, most]);
                (ends[end] + by).clamp(shown[0], shown[1])
            });
            (a.min(b), (b - a).abs())
        };
        let (x, width) = moved(0, x, width, [left, right], scale[0]);
        let (y, height) = moved(2, y, height, [top, bottom], scale[1]);
        [x, y, width, height]
    }
}

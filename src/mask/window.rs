//! What a rectangle of an image shows of a mask.

use super::{Rle, RleError};

/// A part of a mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Number of pixels.
    pub(crate) area: u64,
    /// Left, top, width and height in pixels; all four are 0 if there is no pixel.
    pub(crate) bbox: [u32; 4],
}

impl Rle {
    /// The part of the mask within the left, top, right and bottom edges of `window`.
    pub(crate) fn window(&self, window: [u32; 4]) -> Part {
        let mut area = 0;
        let [mut left, mut top, mut right, mut bottom] = [u32::MAX, u32::MAX, 0, 0];
        self.for_each_segment_in(window, |x, from, to| {
            area += u64::from(to - from);
            (left, right) = (left.min(x), right.max(x + 1));
            (top, bottom) = (top.min(from), bottom.max(to));
        });
        let bbox = if area == 0 { [0; 4] } else { [left, top, right - left, bottom - top] };
        Part { area, bbox }
    }

    /// The `number`-th pixel of that part, counted down each column from the left: x and y.
    pub(crate) fn pixel_in(&self, window: [u32; 4], number: u64) -> Option<[u32; 2]> {
        let (mut before, mut found) = (0, None);
        self.for_each_segment_in(window, |x, from, to| {
            let behind = before + u64::from(to - from);
            if (before..behind).contains(&number) {
                found = Some([x, from + (number - before) as u32]);
            }
            before = behind;
        });
        found
    }

    /// The `number`-th pixel of the window that is not in the mask, counted in the same way.
    pub(crate) fn background_pixel_in(&self, window: [u32; 4], number: u64) -> Option<[u32; 2]> {
        let [left, top, right, bottom] = window;
        // The next pixel that has not been counted, and how many have.
        let (mut x, mut y, mut counted, mut found) = (left, top, 0, None);
        let mut count = |x: u32, from: u32, to: u32| {
            let behind = counted + u64::from(to - from);
            if (counted..behind).contains(&number) {
                found = Some([x, from + (number - counted) as u32]);
            }
            counted = behind;
        };
        self.for_each_segment_in(window, |column, from, to| {
            while x < column {
                count(x, y, bottom);
                (x, y) = (x + 1, top);
            }
            count(x, y, from);
            y = to;
        });
        while x < right {
            count(x, y, bottom);
            (x, y) = (x + 1, top);
        }
        found
    }

    /// Whether a pixel, given as x and y, is in the mask.
    pub(crate) fn contains(&self, [x, y]: [u32; 2]) -> bool {
        let at = u64::from(x) * u64::from(self.height()) + u64::from(y);
        let mut is_inside = false;
        self.for_each_span(|from, to| is_inside |= (from..to).contains(&at));
        is_inside
    }

    /// The pixel deepest inside the part of the mask that the window shows: the middle one of those whose largest
    /// square within it is largest.
    ///
    /// # Errors
    /// Those of [`Rle::erode`].
    pub(crate) fn deepest_pixel(&self, window: [u32; 4]) -> Result<Option<[u32; 2]>, RleError> {
        let [left, top, right, bottom] = window;
        let part = self.crop(left, top, right - left, bottom - top)?;
        let [x, y, width, height] = part.bbox();
        // What is beside the box counts as outside.
        let mut core = part.crop(x, y, width, height)?;
        let (mut least, mut most) = (0, width.min(height).saturating_sub(1) / 2);
        let whole = core.clone();
        while least < most {
            let radius = (least + most).div_ceil(2);
            let eroded = whole.erode(radius)?;
            if eroded.area() > 0 {
                (least, core) = (radius, eroded);
            } else {
                most = radius - 1;
            }
        }
        let all = [0, 0, width, height];
        let pixel = core.pixel_in(all, core.area() / 2);
        Ok(pixel.map(|pixel| [pixel[0] + x + left, pixel[1] + y + top]))
    }

    #[inline]
    fn for_each_segment_in(&self, [left, top, right, bottom]: [u32; 4], mut f: impl FnMut(u32, u32, u32)) {
        self.for_each_segment(|x, from, to| {
            let (from, to) = (from.max(top), to.min(bottom));
            if (left..right).contains(&x) && from < to {
                f(x, from, to);
            }
        });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_part_has_the_pixels_that_the_bitmap_has_there() {
        for seed in 0..300 {
            let draw = |number: u64, end: u64| (hash(hash(seed) ^ number) % end) as u32;
            let (width, height) = (1 + draw(0, 12), 1 + draw(1, 12));
            let pixels: Vec<bool> = (0..width * height).map(|i| draw(9 + u64::from(i), 3) == 0).collect();
            let bitmap: Vec<u8> = pixels.iter().map(|&is_mask| is_mask.into()).collect();
            // Column-major, as the runs are.
            let mask = Rle::from_runs(runs_of(&bitmap), height, width).unwrap();
            let (left, top) = (draw(2, width.into()), draw(3, height.into()));
            let (right, bottom) = (left + 1 + draw(4, (width - left).into()), top + 1 + draw(5, (height - top).into()));
            let window = [left, top, right, bottom];
            let mut inside = Vec::new();
            for x in left..right {
                inside.extend((top..bottom).filter(|y| pixels[(x * height + y) as usize]).map(|y| [x, y]));
            }
            let part = mask.window(window);
            assert_eq!(part.area, inside.len() as u64);
            let least = |i: usize| inside.iter().map(|pixel| pixel[i]).min();
            let sides = |i: usize| Some(inside.iter().map(|pixel| pixel[i]).max()? + 1 - least(i)?);
            let bbox = [least(0), least(1), sides(0), sides(1)].map(Option::unwrap_or_default);
            assert_eq!(part.bbox, bbox);
            for (number, pixel) in (0..).zip(&inside) {
                assert_eq!(mask.pixel_in(window, number).as_ref(), Some(pixel));
            }
            assert_eq!(mask.pixel_in(window, part.area), None);
            let mut number = 0;
            for x in left..right {
                for y in (top..bottom).filter(|y| !pixels[(x * height + y) as usize]) {
                    assert_eq!(mask.background_pixel_in(window, number), Some([x, y]));
                    number += 1;
                }
            }
            assert_eq!(mask.background_pixel_in(window, number), None);
            for (at, &is_mask) in (0..).zip(&pixels) {
                assert_eq!(mask.contains([at / height, at % height]), is_mask);
            }
            // The largest square around each pixel that lies within the part.
            let depth = |[x, y]: [u32; 2]| {
                let is_inside = |r: i64| {
                    let sides = |at: u32, r: i64| i64::from(at) - r..=i64::from(at) + r;
                    sides(x, r).all(|x| sides(y, r).all(|y| inside.contains(&[x, y].map(|at| at.max(-1) as u32))))
                };
                (0..).take_while(|&r| is_inside(r)).count()
            };
            let deepest = mask.deepest_pixel(window).unwrap();
            assert_eq!(deepest.map(depth), inside.iter().copied().map(depth).max());
        }
    }

    fn hash(value: u64) -> u64 {
        let mixed = (value ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 29)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 20
    }

    fn runs_of(bitmap: &[u8]) -> Vec<u32> {
        let mut runs = vec![0];
        let mut value = 0;
        for &pixel in bitmap {
            if pixel != value {
                runs.push(0);
                value = pixel;
            }
            *runs.last_mut().unwrap() += 1;
        }
        runs
    }
}

//! Which part of an image is shown, at which size.

use super::{Augment, Crop, Draws, Purpose};

/// How many times a crop is drawn whose shape does not fit the image, as torchvision does.
const SHAPES: u64 = 10;
/// Numbers that one try of one attempt may draw.
const NUMBERS: u64 = 8;

/// Where an image goes on its canvas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Left, top, right and bottom edge of what is shown, in pixels of the image.
    pub window: [u32; 4],
    /// Width and height of what is shown, in pixels of the canvas.
    pub content: (u32, u32),
    /// Whether the image's left and right, and top and bottom, are exchanged.
    pub flip: [bool; 2],
    /// Whether its columns then become rows.
    pub is_turned: bool,
}

/// An image and the canvas that it goes to.
pub(crate) struct Frame<'a> {
    /// Width and height of the image.
    pub(crate) size: (u32, u32),
    /// Side of the canvas.
    pub(crate) side: u32,
    /// Width and height on the canvas of a part of the image with this width and height.
    pub(crate) fit: &'a dyn Fn(u32, u32) -> (u32, u32),
}

impl Frame<'_> {
    /// Width and height on the canvas of a part of the image, turned or not.
    fn fitted(&self, width: u32, height: u32, is_turned: bool) -> (u32, u32) {
        let (width, height) = turned((width, height), is_turned);
        (self.fit)(width, height)
    }
}

/// The same size with columns and rows exchanged, or not.
fn turned((width, height): (u32, u32), is_turned: bool) -> (u32, u32) {
    if is_turned { (height, width) } else { (width, height) }
}

impl Augment {
    /// The whole image, mirrored or not.
    pub(crate) fn whole(&self, draws: Draws, frame: &Frame<'_>) -> Placement {
        let (width, height) = frame.size;
        let is_turn = draws.unit(Purpose::Turn, 0) < self.quarter_turns;
        // By one quarter clockwise, two or three. A turn is a change of columns and rows, and a flip.
        let (is_turned, mut flip) = match is_turn.then(|| draws.below(Purpose::Turn, 1, 3)) {
            None => (false, [false, false]),
            Some(0) => (true, [false, true]),
            Some(1) => (false, [true, true]),
            Some(_) => (true, [true, false]),
        };
        // What is exchanged on the canvas are the image's rows where it is turned.
        flip[usize::from(is_turned)] ^= draws.unit(Purpose::FlipX, 0) < self.horizontal_flip;
        flip[usize::from(!is_turned)] ^= draws.unit(Purpose::FlipY, 0) < self.vertical_flip;
        let content = frame.fitted(width, height, is_turned);
        Placement { window: [0, 0, width, height], content, flip, is_turned }
    }

    /// The crop of an attempt. `boxes` are the left, top, right and bottom edges of the masks that one may be around.
    pub(crate) fn place(&self, draws: Draws, attempt: u64, frame: &Frame<'_>, boxes: &[[f64; 4]]) -> Placement {
        let whole = self.whole(draws, frame);
        let draw = Attempt { draws, first: attempt * SHAPES * NUMBERS };
        let window = match self.crop {
            None => return whole,
            Some(Crop::ScaleJitter { scale }) => return draw.scale_jitter(scale, frame, whole),
            Some(Crop::RandomResized { scale, ratio }) => draw.random_resized(scale, ratio, frame.size),
            Some(Crop::AroundMask { margin }) => draw.around(margin, frame.size, boxes),
        };
        let [left, top, right, bottom] = window;
        Placement { window, content: frame.fitted(right - left, bottom - top, whole.is_turned), ..whole }
    }
}

/// The numbers of one attempt at a crop.
struct Attempt {
    draws: Draws,
    first: u64,
}

impl Attempt {
    fn within(&self, number: u64, range: [f64; 2]) -> f64 {
        self.draws.within(Purpose::Crop, self.first + number, range)
    }

    fn below(&self, number: u64, end: u32) -> u32 {
        self.draws.below(Purpose::Crop, self.first + number, end.into()) as u32
    }

    /// As torchvision's `RandomResizedCrop.get_params`.
    fn random_resized(&self, scale: [f64; 2], ratio: [f64; 2], (width, height): (u32, u32)) -> [u32; 4] {
        let pixels = f64::from(width) * f64::from(height);
        for number in (0..SHAPES).map(|shape| shape * NUMBERS) {
            let area = pixels * self.within(number, scale);
            let ratio = self.within(number + 1, ratio.map(f64::ln)).exp();
            let (across, down) = ((area * ratio).sqrt().round() as u32, (area / ratio).sqrt().round() as u32);
            if (1..=width).contains(&across) && (1..=height).contains(&down) {
                let left = self.below(number + 2, width - across + 1);
                let top = self.below(number + 3, height - down + 1);
                return [left, top, left + across, top + down];
            }
        }
        // No shape fits: as much of the image as the ratio that is nearest to its own allows, in the middle.
        let own = f64::from(width) / f64::from(height);
        let (mut across, mut down) = (width, height);
        if own < ratio[0] {
            down = ((f64::from(width) / ratio[0]).round() as u32).clamp(1, height);
        } else if own > ratio[1] {
            across = ((f64::from(height) * ratio[1]).round() as u32).clamp(1, width);
        }
        let (left, top) = ((width - across) / 2, (height - down) / 2);
        [left, top, left + across, top + down]
    }

    /// As torchvision's `ScaleJitter`, and then a crop of the canvas's size, or padding. A crop shows whole pixels.
    fn scale_jitter(&self, scale: [f64; 2], frame: &Frame<'_>, whole: Placement) -> Placement {
        let factor = self.within(0, scale);
        let cut = |number: u64, pixels: u32, content: u32| {
            let scaled = (f64::from(content) * factor).round().max(1.0);
            if scaled <= f64::from(frame.side) {
                return (0, pixels, scaled as u32);
            }
            let shown = f64::from(pixels) * f64::from(frame.side) / scaled;
            let shown = (shown.round() as u32).clamp(1, pixels);
            let start = self.below(number, pixels - shown + 1);
            (start, start + shown, frame.side)
        };
        let content = turned(whole.content, whole.is_turned);
        let (left, right, across) = cut(1, frame.size.0, content.0);
        let (top, bottom, down) = cut(2, frame.size.1, content.1);
        let content = turned((across, down), whole.is_turned);
        Placement { window: [left, top, right, bottom], content, ..whole }
    }

    /// A window of one of the boxes and what is around it, which is `margin` times as long as the box's longer side.
    fn around(&self, margin: [f64; 2], (width, height): (u32, u32), boxes: &[[f64; 4]]) -> [u32; 4] {
        let Some([left, top, right, bottom]) = boxes.get(self.below(0, boxes.len() as u32) as usize) else {
            return [0, 0, width, height];
        };
        let length = (right - left).max(bottom - top).max(1.0) * self.within(1, margin);
        let cut = |number: u64, pixels: u32, from: f64, to: f64| {
            let shown = (length.round() as u32).clamp(1, pixels);
            let (from, to) = (from.max(0.0) as u32, to.ceil().max(0.0) as u32);
            let first = to.saturating_sub(shown).min(pixels - shown);
            let last = from.min(pixels - shown).max(first);
            let start = first + self.below(number, last - first + 1);
            (start, start + shown)
        };
        let (x0, x1) = cut(2, width, *left, *right);
        let (y0, y1) = cut(3, height, *top, *bottom);
        [x0, y0, x1, y1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Draws for images of all shapes; calls `check` with each placement, its frame's size and side, and its boxes.
    fn for_each_placement(crop: Crop, mut check: impl FnMut(Placement, (u32, u32), u32, &[[f64; 4]])) {
        let augment = Augment::none().crop(crop).horizontal_flip(0.5).vertical_flip(0.25).quarter_turns(0.5);
        let sides = [1, 2, 3, 7, 64, 999, 1500, 2250, 65_535];
        let mut number = 0;
        for width in sides {
            for height in sides {
                for side in [1, 5, 224, 1024, 16_384] {
                    number += 1;
                    let draws = Draws::new(7, number, 3);
                    let fit = |width: u32, height: u32| {
                        let longest = width.max(height);
                        let part = |pixels: u32| (u64::from(pixels) * u64::from(side) / u64::from(longest)) as u32;
                        if number % 2 == 0 { (side, side) } else { (part(width).max(1), part(height).max(1)) }
                    };
                    let frame = Frame { size: (width, height), side, fit: &fit };
                    let (w, h) = (f64::from(width), f64::from(height));
                    // Boxes as annotations have them: also of one pixel, and partly beside the image.
                    let boxes =
                        [[0.0, 0.0, 0.0, 0.0], [w / 3.0, h / 4.0, w / 2.0, h / 3.0], [-5.0, h - 1.0, w + 9.0, h]];
                    for attempt in 0..12 {
                        check(augment.place(draws, attempt, &frame, &boxes), (width, height), side, &boxes);
                        check(augment.place(draws, attempt, &frame, &[]), (width, height), side, &[]);
                    }
                }
            }
        }
    }

    #[test]
    fn every_crop_is_a_part_of_its_image_and_fits_the_canvas() {
        for crop in [
            Crop::RandomResized { scale: [f64::MIN_POSITIVE, 1.0], ratio: [0.01, 100.0] },
            Crop::RandomResized { scale: [1.0, 1.0], ratio: [2.0, 2.0] },
            Crop::ScaleJitter { scale: [0.01, 100.0] },
            Crop::AroundMask { margin: [1.0, 100.0] },
        ] {
            for_each_placement(crop, |placement, (width, height), side, _| {
                let Placement { window: [left, top, right, bottom], content, .. } = placement;
                assert!(left < right && right <= width && top < bottom && bottom <= height, "{crop:?} {placement:?}");
                let fits = (1..=side).contains(&content.0) && (1..=side).contains(&content.1);
                assert!(fits, "{crop:?} {placement:?} on {side}");
            });
        }
    }

    #[test]
    fn a_crop_around_a_mask_shows_its_box_and_moves_about_it() {
        let mut starts = std::collections::BTreeSet::new();
        for epoch in 0..500 {
            let augment = Augment::none().crop(Crop::AroundMask { margin: [2.0, 3.0] });
            let frame = Frame { size: (1500, 1000), side: 64, fit: &|_, _| (64, 64) };
            let bbox = [600.5, 400.0, 700.0, 480.25];
            let Placement { window: [left, top, right, bottom], .. } =
                augment.place(Draws::new(0, epoch, 5), 0, &frame, &[bbox]);
            assert!(left <= 600 && right >= 700 && top <= 400 && bottom >= 481);
            let (width, height) = (right - left, bottom - top);
            assert!(width == height && (199..=299).contains(&width), "{width} x {height}");
            starts.insert((left, top));
        }
        assert!(starts.len() > 400, "{}", starts.len());
    }

    #[test]
    fn resized_crops_have_shares_and_shapes_that_are_spread_as_asked() {
        let (mut shares, mut ratios, mut flips) = (Vec::new(), Vec::new(), 0);
        for epoch in 0..4000 {
            let augment = Augment::resized_crop();
            let frame = Frame { size: (2000, 2000), side: 64, fit: &|_, _| (64, 64) };
            let Placement { window: [left, top, right, bottom], flip, .. } =
                augment.place(Draws::new(1, epoch, 9), 0, &frame, &[]);
            let (width, height) = (f64::from(right - left), f64::from(bottom - top));
            shares.push(width * height / 4e6);
            ratios.push((width / height).ln() / (4.0_f64 / 3.0).ln());
            flips += u32::from(flip[0]);
        }
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        // Large crops of extreme shapes do not fit and are drawn again, so the mean share is below 0.54.
        assert!((0.48..0.54).contains(&mean(&shares)), "{}", mean(&shares));
        assert!(mean(&ratios).abs() < 0.05 && ratios.iter().all(|ratio| ratio.abs() < 1.01));
        assert!(shares.iter().all(|share| (0.079..=1.001).contains(share)));
        assert!((1850..2150).contains(&flips), "{flips}");
    }
}

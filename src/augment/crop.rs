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
    /// Whether it is mirrored: left and right, top and bottom.
    pub flip: [bool; 2],
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

impl Augment {
    /// The whole image, mirrored or not.
    pub(crate) fn whole(&self, draws: Draws, frame: &Frame<'_>) -> Placement {
        let (width, height) = frame.size;
        let flip_x = draws.unit(Purpose::FlipX, 0) < self.horizontal_flip;
        let flip_y = draws.unit(Purpose::FlipY, 0) < self.vertical_flip;
        Placement { window: [0, 0, width, height], content: (frame.fit)(width, height), flip: [flip_x, flip_y] }
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
        Placement { window, content: (frame.fit)(right - left, bottom - top), ..whole }
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
        let (left, right, across) = cut(1, frame.size.0, whole.content.0);
        let (top, bottom, down) = cut(2, frame.size.1, whole.content.1);
        Placement { window: [left, top, right, bottom], content: (across, down), ..whole }
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

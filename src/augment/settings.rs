//! The settings of augmentation.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{ColorJitter, ColorStep, Draws, Purpose};
use crate::{Error, Result};

/// Most attempts at a crop: each may read all of an image's masks.
const MOST_ATTEMPTS: u32 = 100;
/// Largest factor of a range: more is an error of units.
const MOST: f64 = 100.0;

/// What may happen to a sample before it is in a batch: image, masks, boxes and points in step.
///
/// A sample looks different in each epoch. What happens to it is drawn from the seed, the epoch and the id of the image
/// alone, so it does not depend on workers, ranks or where an epoch was resumed, and
/// [`Loader::replay`](crate::Loader::replay) draws the same again.
///
/// Masks are never augmented as bitmaps: crops, flips and scales are other numbers in the map from pixels to cells.
///
/// ```
/// use maskstream::{Augment, Crop, Fit, Loader};
///
/// // As torchvision's RandomResizedCrop and RandomHorizontalFlip.
/// let augment = Augment::none()
///     .seed(7)
///     .horizontal_flip(0.5)
///     .crop(Crop::RandomResized { scale: [0.08, 1.0], ratio: [3.0 / 4.0, 4.0 / 3.0] });
/// let builder = Loader::builder().augment(augment).fit(Fit::Stretch);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct Augment {
    pub(crate) seed: u64,
    pub(super) horizontal_flip: f64,
    pub(super) vertical_flip: f64,
    pub(super) quarter_turns: f64,
    pub(super) crop: Option<Crop>,
    pub(crate) crop_attempts: u32,
    pub(super) min_visible: f64,
    pub(super) min_visible_pixels: u64,
    pub(crate) tight_boxes: bool,
    pub(crate) visible_area: bool,
    pub(super) color_jitter: ColorJitter,
    pub(super) grayscale: f64,
}

/// Which part of an image is shown, and how large.
///
/// ```
/// use maskstream::{Augment, Crop};
///
/// // A mask and two to four times as much around it.
/// let augment = Augment::none().crop(Crop::AroundMask { margin: [2.0, 4.0] });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Crop {
    /// A random part of the image, as torchvision's `RandomResizedCrop`. With [`Fit::Stretch`](crate::Fit::Stretch) it
    /// fills the canvas, as there; with [`Fit::Letterbox`](crate::Fit::Letterbox) it keeps its shape.
    RandomResized {
        /// Least and largest share of the image's area, from more than 0 to 1. torchvision has 0.08 to 1.
        scale: [f64; 2],
        /// Least and largest width over height. torchvision has 3/4 to 4/3.
        ratio: [f64; 2],
    },
    /// Large-scale jitter: the image is made larger or smaller than the canvas by a random factor; of a larger one, a
    /// random part is shown, and a smaller one is padded on the right and below. As torchvision's `ScaleJitter`,
    /// followed by a crop of fixed size.
    ScaleJitter {
        /// Least and largest factor; 1 is the size without jitter.
        scale: [f64; 2],
    },
    /// One of the image's masks, drawn at random, and what is around it.
    AroundMask {
        /// Least and largest length of the crop, in lengths of the longer side of the mask's box, from 1. The crop is
        /// square unless the image ends before.
        margin: [f64; 2],
    },
}

impl Default for Augment {
    fn default() -> Self {
        Self::none()
    }
}

impl fmt::Display for Augment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, horizontal_flip, vertical_flip, quarter_turns, crop, crop_attempts, .. } = *self;
        let Self { min_visible, min_visible_pixels, tight_boxes, visible_area, color_jitter, grayscale, .. } = *self;
        write!(f, "seed {seed}, flips {horizontal_flip} and {vertical_flip}, ")?;
        match crop {
            None => f.write_str("no crop"),
            Some(Crop::RandomResized { scale: [least, most], ratio: [flat, tall] }) => {
                write!(f, "RandomResized scale {least} to {most} ratio {flat} to {tall}")
            }
            Some(Crop::ScaleJitter { scale: [least, most] }) => write!(f, "ScaleJitter scale {least} to {most}"),
            Some(Crop::AroundMask { margin: [least, most] }) => write!(f, "AroundMask margin {least} to {most}"),
        }?;
        if crop.is_some() {
            write!(f, " in {crop_attempts} attempts, min_visible {min_visible} and {min_visible_pixels} pixels")?;
            write!(f, ", tight_boxes {tight_boxes}, visible_area {visible_area}")?;
        }
        for (name, value) in
            color_jitter.named().into_iter().chain([("grayscale", grayscale), ("quarter_turns", quarter_turns)])
        {
            if value != 0.0 {
                write!(f, ", {name} {value}")?;
            }
        }
        Ok(())
    }
}

impl Augment {
    /// Nothing happens: batches are those without augmentation, byte for byte. Start from it for settings of your own.
    pub const fn none() -> Self {
        Self {
            seed: 0,
            horizontal_flip: 0.0,
            vertical_flip: 0.0,
            quarter_turns: 0.0,
            crop: None,
            crop_attempts: 10,
            min_visible: 0.0,
            min_visible_pixels: 1,
            tight_boxes: false,
            visible_area: true,
            color_jitter: ColorJitter::NONE,
            grayscale: 0.0,
        }
    }

    /// Large-scale jitter as detectors are trained with: scales of 0.1 to 2, and flips (Ghiasi and others, "Simple
    /// Copy-Paste is a Strong Data Augmentation Method for Instance Segmentation", 2021).
    pub const fn lsj() -> Self {
        Self { horizontal_flip: 0.5, crop: Some(Crop::ScaleJitter { scale: [0.1, 2.0] }), ..Self::none() }
    }

    /// A random part of the image, of 8 to 100 % of its area and a shape of 3:4 to 4:3, and flips: as torchvision's
    /// `RandomResizedCrop` and `RandomHorizontalFlip`, with their defaults. There, the part fills the canvas: set
    /// [`Fit::Stretch`](crate::Fit::Stretch) as well.
    pub const fn resized_crop() -> Self {
        let crop = Crop::RandomResized { scale: [0.08, 1.0], ratio: [3.0 / 4.0, 4.0 / 3.0] };
        Self { horizontal_flip: 0.5, crop: Some(crop), ..Self::none() }
    }

    /// Flips, and the colours, of SAM 2's training: brightness by 0.1, contrast and saturation by 0.03, and one image
    /// in twenty in grey. SAM 2 stretches images to a square, so set [`Fit::Stretch`](crate::Fit::Stretch) as well. Its
    /// training also rotates and shears, which is not offered here, and changes the colours of each frame of a video a
    /// second time (configuration `sam2.1_hiera_b+_MOSE_finetune`).
    pub const fn sam() -> Self {
        Self {
            horizontal_flip: 0.5,
            color_jitter: ColorJitter { brightness: 0.1, contrast: 0.03, saturation: 0.03, hue: 0.0 },
            grayscale: 0.05,
            ..Self::none()
        }
    }

    /// Sets the seed of all numbers that are drawn. Default: 0.
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets the probability that left and right are exchanged. Default: 0.
    pub const fn horizontal_flip(mut self, probability: f64) -> Self {
        self.horizontal_flip = probability;
        self
    }

    /// Sets the probability that top and bottom are exchanged. Default: 0.
    pub const fn vertical_flip(mut self, probability: f64) -> Self {
        self.vertical_flip = probability;
        self
    }

    /// Sets the probability that an image is turned: by 90, 180 or 270 degrees, each as often as the others. Default:
    /// 0.
    pub const fn quarter_turns(mut self, probability: f64) -> Self {
        self.quarter_turns = probability;
        self
    }

    /// Sets which part of an image is shown; `None` shows the whole image. Default: `None`.
    pub fn crop(mut self, crop: impl Into<Option<Crop>>) -> Self {
        self.crop = crop.into();
        self
    }

    /// Sets how many crops are drawn until one shows a mask. If none does, the whole image is shown. Default: 10.
    pub const fn crop_attempts(mut self, attempts: u32) -> Self {
        self.crop_attempts = attempts;
        self
    }

    /// Leaves out masks that a crop shows too little of: less than `share` of their pixels, or fewer than `pixels`
    /// pixels of the image. They are left out before the K masks of an image are chosen. Masks that a crop does not cut
    /// stay. Default: 0 and 1, which leaves out masks of which nothing is shown.
    pub const fn min_visible(mut self, share: f64, pixels: u64) -> Self {
        self.min_visible = share;
        self.min_visible_pixels = pixels;
        self
    }

    /// Whether the box of a mask that a crop cuts is made anew, from the pixels that are shown; otherwise the annotated
    /// box is cut. Default: `false`.
    pub const fn tight_boxes(mut self, tight: bool) -> Self {
        self.tight_boxes = tight;
        self
    }

    /// Whether [`Field::Area`](crate::Field::Area) of a mask that a crop cuts counts the pixels that are shown;
    /// otherwise it is the annotated area. Default: `true`.
    pub const fn visible_area(mut self, visible: bool) -> Self {
        self.visible_area = visible;
        self
    }

    /// Sets by how much the colours of an image may change. Default: not at all.
    pub const fn color_jitter(mut self, jitter: ColorJitter) -> Self {
        self.color_jitter = jitter;
        self
    }

    /// Sets the probability that an image becomes grey, after its colours have changed otherwise. Default: 0.
    pub const fn grayscale(mut self, probability: f64) -> Self {
        self.grayscale = probability;
        self
    }

    /// The changes of an image's colours in an epoch, in the order in which they are made.
    ///
    /// ```
    /// use maskstream::Augment;
    ///
    /// let steps = Augment::sam().color_steps(0, 226381);
    /// assert_eq!(steps, Augment::sam().color_steps(0, 226381));
    /// assert_ne!(steps, Augment::sam().color_steps(1, 226381));
    /// ```
    pub fn color_steps(&self, epoch: u64, image_id: i64) -> Vec<ColorStep> {
        let draws = Draws::new(self.seed, epoch, image_id);
        let is_grey = draws.unit(Purpose::Grayscale, 0) < self.grayscale;
        self.color_jitter.draw(draws).chain(is_grey.then_some(ColorStep::Grayscale)).collect()
    }

    /// Whether a crop that shows `visible` of a mask's `pixels` shows enough of it.
    pub(crate) fn is_enough(&self, visible: u64, pixels: u64) -> bool {
        visible >= self.min_visible_pixels.max(1) && visible as f64 >= self.min_visible * pixels as f64
    }

    /// Whether labels may differ from those of the whole, unmirrored image.
    pub(crate) fn changes_labels(&self) -> bool {
        self.crop.is_some() || self.horizontal_flip > 0.0 || self.vertical_flip > 0.0 || self.quarter_turns > 0.0
    }
    /// Whether images may be turned, for which they have to be complete.
    pub(crate) fn turns(&self) -> bool {
        self.quarter_turns > 0.0
    }

    /// Whether the contrast may change, for which the mean of the complete image is needed.
    pub(crate) fn changes_contrast(&self) -> bool {
        self.color_jitter.contrast > 0.0
    }

    /// Checks that ranges are ranges and probabilities are probabilities.
    pub(crate) fn check(&self) -> Result<()> {
        let refuse = |name: &str, value: &dyn fmt::Debug, rule: &str| {
            Err(Error::config(format!("augment: {name} is {value:?}, but must be {rule}")))
        };
        for (name, probability) in [
            ("horizontal_flip", self.horizontal_flip),
            ("vertical_flip", self.vertical_flip),
            ("quarter_turns", self.quarter_turns),
            ("grayscale", self.grayscale),
            ("min_visible's share", self.min_visible),
        ] {
            if !(0.0..=1.0).contains(&probability) {
                return refuse(name, &probability, "0 to 1");
            }
        }
        for (name, value) in self.color_jitter.named() {
            let most = if name == "hue" { 0.5 } else { MOST };
            if !(0.0..=most).contains(&value) {
                return refuse(name, &value, if name == "hue" { "0 to 0.5" } else { "0 to 100" });
            }
        }
        if !(1..=MOST_ATTEMPTS).contains(&self.crop_attempts) {
            return refuse("crop_attempts", &self.crop_attempts, "1 to 100");
        }
        let is_range = |[least, most]: [f64; 2], from: f64, to: f64| from <= least && least <= most && most <= to;
        match self.crop {
            Some(Crop::RandomResized { scale, .. }) if !is_range(scale, f64::MIN_POSITIVE, 1.0) => {
                refuse("the scale of RandomResized", &scale, "a range above 0 and up to 1, the lower end first")
            }
            Some(Crop::RandomResized { ratio, .. }) if !is_range(ratio, 1.0 / MOST, MOST) => {
                refuse("the ratio of RandomResized", &ratio, "a range within 0.01 to 100, the lower end first")
            }
            Some(Crop::ScaleJitter { scale }) if !is_range(scale, 1.0 / MOST, MOST) => {
                refuse("the scale of ScaleJitter", &scale, "a range within 0.01 to 100, the lower end first")
            }
            Some(Crop::AroundMask { margin }) if !is_range(margin, 1.0, MOST) => {
                refuse("the margin of AroundMask", &margin, "a range within 1 to 100, the lower end first")
            }
            _ => Ok(()),
        }
    }
}

//! The settings of prompts: clicks and boxes, as a person would give them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Most clicks per mask.
const MOST_CLICKS: usize = 64;

/// Clicks and a box for each mask, drawn anew in each epoch, to train a model that is prompted by them.
///
/// They are drawn from the runs of the mask: no bitmap is needed. Of a cropped image, only what is shown counts. The
/// fields are [`Field::PromptPoints`](crate::Field::PromptPoints), [`Field::PromptLabels`](crate::Field::PromptLabels)
/// and [`Field::PromptBoxes`](crate::Field::PromptBoxes); P is the number of clicks.
///
/// ```
/// use maskstream::{CoordFrame, Loader, NegativeClicks, Prompts};
///
/// // Two clicks in each mask and one beside it, but within its box; and boxes as SAM 2 is trained with.
/// let prompts = Prompts::none().positive(2).negative(1, NegativeClicks::InBox).box_jitter(0.1, 20.0);
/// let builder = Loader::builder().prompts(prompts.seed(1)).coord_frame(CoordFrame::CanvasPixels);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct Prompts {
    pub(crate) seed: u64,
    pub(crate) deepest: bool,
    pub(crate) positive: usize,
    pub(crate) negative: usize,
    pub(crate) negative_clicks: NegativeClicks,
    pub(crate) box_jitter: f64,
    pub(crate) box_jitter_pixels: f64,
}

/// Where clicks that are not in a mask are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum NegativeClicks {
    /// Within the box of the mask: a pixel that is not in the mask, all with the same probability. Clicks are the
    /// middles of pixels, so one at the edge may lie up to half a pixel outside a box whose edges are within pixels.
    #[default]
    InBox,
    /// In another mask of the row, all with the same probability, and there in a pixel that is not in this mask.
    InOtherMasks,
    /// Anywhere in the image: a pixel that is not in the mask, all with the same probability.
    Anywhere,
}

impl Default for Prompts {
    fn default() -> Self {
        Self::none()
    }
}

impl fmt::Display for Prompts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, deepest, positive, negative, negative_clicks, box_jitter, box_jitter_pixels } = self;
        write!(
            f,
            "seed {seed}, deepest {deepest}, {positive} positive, {negative} negative {negative_clicks:?}, box_jitter \
             {box_jitter} up to {box_jitter_pixels} pixels"
        )
    }
}

impl Prompts {
    /// No clicks, and boxes without jitter. Start from it.
    pub const fn none() -> Self {
        Self {
            seed: 0,
            deepest: false,
            positive: 0,
            negative: 0,
            negative_clicks: NegativeClicks::InBox,
            box_jitter: 0.0,
            box_jitter_pixels: 0.0,
        }
    }

    /// Sets the seed of all numbers that are drawn. Default: 0.
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Whether the first click is the pixel deepest inside the mask: the middle one of those whose largest square
    /// within the mask is largest. Default: `false`.
    pub const fn deepest(mut self, deepest: bool) -> Self {
        self.deepest = deepest;
        self
    }

    /// Sets the number of clicks in the mask: pixels of it, all with the same probability. Default: 0.
    pub const fn positive(mut self, clicks: usize) -> Self {
        self.positive = clicks;
        self
    }

    /// Sets the number of clicks that are not in the mask, and where they are. Default: 0.
    pub const fn negative(mut self, clicks: usize, place: NegativeClicks) -> Self {
        self.negative = clicks;
        self.negative_clicks = place;
        self
    }

    /// Moves each edge of a box by up to `share` of the box's width or height, but by no more than `pixels` of the
    /// canvas, either way with the same probability. Boxes stay within the image. SAM 2 is trained with 0.1 and 20.
    /// Default: 0 and 0.
    pub const fn box_jitter(mut self, share: f64, pixels: f64) -> Self {
        self.box_jitter = share;
        self.box_jitter_pixels = pixels;
        self
    }

    /// Number of clicks per mask, P.
    pub const fn clicks(&self) -> usize {
        self.deepest as usize + self.positive + self.negative
    }

    /// Checks that numbers are in range.
    pub(crate) fn check(&self) -> Result<()> {
        let (share, pixels) = (self.box_jitter, self.box_jitter_pixels);
        if self.positive.max(self.negative) > MOST_CLICKS || self.clicks() > MOST_CLICKS {
            return Err(Error::config(format!(
                "prompts: {} positive and {} negative clicks are more than {MOST_CLICKS}",
                self.positive, self.negative
            )));
        }
        if !(0.0..=1.0).contains(&share) {
            return Err(Error::config(format!("prompts: box_jitter's share is {share:?}, but must be 0 to 1")));
        }
        if !(0.0..=f64::from(u16::MAX)).contains(&pixels) {
            return Err(Error::config(format!("prompts: box_jitter's pixels are {pixels:?}, but must be 0 to 65535")));
        }
        if (share > 0.0) != (pixels > 0.0) {
            return Err(Error::config(format!(
                "prompts: box_jitter by a share of {share:?}, but by no more than {pixels:?} pixels, moves nothing: \
                 set both, or leave it out"
            )));
        }
        Ok(())
    }
}

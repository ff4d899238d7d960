//! Changes of an image's colours: settings, and what is drawn for one image.

use serde::{Deserialize, Serialize};

use super::{Draws, Purpose};

/// By how much brightness, contrast, saturation and hue of an image may change, as torchvision's `ColorJitter`. The
/// four changes come in random order.
///
/// The formulas are those of torchvision 0.24's `transforms.v2` for images of type uint8, each change rounded down to
/// bytes as there.
///
/// ```
/// use maskstream::{Augment, ColorJitter};
///
/// let jitter = ColorJitter { brightness: 0.2, contrast: 0.2, saturation: 0.2, hue: 0.05 };
/// let augment = Augment::none().color_jitter(jitter);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ColorJitter {
    /// The factor is drawn from 1 - `brightness`, but at least 0, to 1 + `brightness`.
    pub brightness: f64,
    /// The factor is drawn from 1 - `contrast`, but at least 0, to 1 + `contrast`.
    pub contrast: f64,
    /// The factor is drawn from 1 - `saturation`, but at least 0, to 1 + `saturation`.
    pub saturation: f64,
    /// The shift, in turns of the colour circle, is drawn from -`hue` to `hue`; at most 0.5.
    pub hue: f64,
}

/// A change of all pixels of an image, from [`Augment::color_steps`](crate::Augment::color_steps).
///
/// ```
/// use maskstream::{Augment, ColorStep};
///
/// assert_eq!(Augment::none().grayscale(1.0).color_steps(0, 1), [ColorStep::Grayscale]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum ColorStep {
    /// Times a factor.
    Brightness(f32),
    /// Times a factor, the mean of the image's grey values staying where it is.
    Contrast(f32),
    /// Times a factor, the grey value of the pixel staying where it is.
    Saturation(f32),
    /// Around the colour circle, by turns.
    Hue(f32),
    /// The grey value of the pixel in all three channels.
    Grayscale,
}

impl ColorJitter {
    /// No change.
    pub const NONE: Self = Self { brightness: 0.0, contrast: 0.0, saturation: 0.0, hue: 0.0 };

    /// The settings with their names.
    pub(super) fn named(&self) -> [(&'static str, f64); 4] {
        let Self { brightness, contrast, saturation, hue } = *self;
        [("brightness", brightness), ("contrast", contrast), ("saturation", saturation), ("hue", hue)]
    }

    /// The changes of one image, in the order in which they are made.
    pub(super) fn draw(&self, draws: Draws) -> impl Iterator<Item = ColorStep> {
        let mut order = [0, 1, 2, 3];
        for i in (1..order.len()).rev() {
            order.swap(i, draws.below(Purpose::ColorOrder, i as u64, i as u64 + 1) as usize);
        }
        let settings = self.named().map(|(_, most)| most);
        order.into_iter().filter(move |&kind| settings[kind] > 0.0).map(move |kind| {
            let most = settings[kind];
            let middle = if kind == 3 { 0.0 } else { 1.0 };
            let least = if kind == 3 { -most } else { (1.0 - most).max(0.0) };
            let number = draws.within(Purpose::Color, kind as u64, [least, middle + most]) as f32;
            match kind {
                0 => ColorStep::Brightness(number),
                1 => ColorStep::Contrast(number),
                2 => ColorStep::Saturation(number),
                _ => ColorStep::Hue(number),
            }
        })
    }
}

//! Flags for augmentation and prompts.

use clap::ValueEnum;
use maskstream::{Augment, Cursor, LoaderBuilder, NegativeClicks, Prompts};

const AUGMENT: &str = "Augmentation and prompts";
/// The largest shift of `--box-jitter` in pixels, as in SAM 2's training.
const BOX_JITTER_PIXELS: f64 = 20.0;

#[derive(clap::Args)]
pub(super) struct AugmentArgs {
    /// Change each sample at random, in another way in each epoch [default: none]
    #[arg(long, value_enum, value_name = "PRESET", help_heading = AUGMENT)]
    augment: Option<Preset>,
    /// Draw this many clicks in each mask, for models that are prompted by them [default: 0]
    ///
    /// At most 64 with --negative-clicks. Adds the fields prompt_points and prompt_labels.
    #[arg(long, value_name = "N", value_parser = clicks, allow_hyphen_values = true, help_heading = AUGMENT)]
    clicks: Option<usize>,
    /// Draw this many clicks beside each mask, within its box [default: 0]
    #[arg(long, value_name = "N", value_parser = clicks, allow_hyphen_values = true, help_heading = AUGMENT)]
    negative_clicks: Option<usize>,
    /// Also give each box with its edges moved by up to this share of its sides, but at most 20 pixels of the canvas
    ///
    /// From 0 to 1. Adds the field prompt_boxes; the field boxes stays as it is.
    #[arg(long, value_name = "SHARE", value_parser = share, allow_hyphen_values = true, help_heading = AUGMENT)]
    box_jitter: Option<f64>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Preset {
    /// Samples as they are
    None,
    /// Flips and slight changes of colour, as SAM 2 is trained; take --fit stretch with it
    Sam,
    /// Large-scale jitter: the image at 0.1 to 2 times the size of the canvas, and flips
    Lsj,
    /// A part of 8 to 100 % of the image, as torchvision's RandomResizedCrop, and flips
    ResizedCrop,
}

impl Preset {
    fn with_seed(self, seed: u64) -> Option<Augment> {
        let preset = match self {
            Self::None => return None,
            Self::Sam => Augment::sam(),
            Self::Lsj => Augment::lsj(),
            Self::ResizedCrop => Augment::resized_crop(),
        };
        Some(preset.seed(seed))
    }
}

fn clicks(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&clicks| clicks <= 64).ok_or_else(|| "it must be a number from 0 to 64".to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "it must be a number from 0 to 1".to_owned())
}

impl AugmentArgs {
    /// Whether `--seed` has a meaning for them.
    pub(super) fn is_random(&self) -> bool {
        self.augment.is_some_and(|preset| preset.with_seed(0).is_some()) || self.has_prompts()
    }

    /// Whether one of them is not its default.
    fn has_prompts(&self) -> bool {
        let clicks = self.clicks.unwrap_or(0) + self.negative_clicks.unwrap_or(0);
        clicks > 0 || self.box_jitter.is_some_and(|share| share > 0.0)
    }

    /// Changes the settings where a flag is given. With a cursor, the others stay as it has them.
    pub(super) fn apply(
        &self,
        mut options: LoaderBuilder,
        seed: Option<u64>,
        cursor: Option<&Cursor>,
    ) -> maskstream::Result<LoaderBuilder> {
        let augment = cursor.map_or(Ok(None), Cursor::augment)?;
        let changed = self.augment.map_or(augment, |preset| {
            // The preset of the cursor keeps its seed.
            let is_same = augment.map(|augment| augment.seed(0)) == preset.with_seed(0);
            let seed = cursor.and_then(Cursor::shuffle_seed).unwrap_or(0);
            if is_same { augment } else { preset.with_seed(seed) }
        });
        // Where the cursor has a shuffle, a seed without one of these flags is that of the shuffle alone.
        let is_for_all = cursor.and_then(Cursor::shuffle_seed).is_none();
        let seed_of = |is_given: bool| seed.filter(|_| is_given || is_for_all);
        let augment_seed = seed_of(self.augment.is_some());
        options = options.augment(changed.map(|augment| augment_seed.map_or(augment, |seed| augment.seed(seed))));

        let before = cursor.map_or(Ok(None), Cursor::prompts)?.unwrap_or(Prompts::none());
        let mut changed = before;
        let is_given = self.clicks.is_some() || self.negative_clicks.is_some() || self.box_jitter.is_some();
        if let Some(seed) = seed_of(is_given) {
            changed = changed.seed(seed);
        }
        if let Some(clicks) = self.clicks {
            changed = changed.positive(clicks);
        }
        if let Some(clicks) = self.negative_clicks {
            changed = changed.negative(clicks, NegativeClicks::InBox);
        }
        if let Some(share) = self.box_jitter {
            changed = changed.box_jitter(share, if share > 0.0 { BOX_JITTER_PIXELS } else { 0.0 });
        }
        // What no flag changes stays as it is, also if it draws nothing.
        if changed != before {
            options = options.prompts(Some(changed).filter(|prompts| prompts.seed(0) != Prompts::none()));
        }
        Ok(options)
    }
}

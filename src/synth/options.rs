//! Settings of the generator, and the sizes, counts and qualities of each preset.

use std::path::{Path, PathBuf};

use super::rng::Rng;

/// Size of the samples: pixels, and number of masks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Preset {
    /// Like SA-1B: shorter side 1500 pixels, about 100 masks, JPEGs of about 1 MB.
    Full,
    /// For tests and demos: about 384x256 pixels, 20 to 40 masks, JPEGs of 15 to 40 KB.
    Small,
}

/// Settings of the generator; the defaults are at [`SynthOptions::new`].
///
/// ```
/// use maskstream::synth::{Preset, SynthOptions, write_shard};
///
/// let dir = tempfile::tempdir()?;
/// let options = SynthOptions::new(Preset::Small).seed(7).samples(4).gzip(true);
/// let shard = write_shard(dir.path().join("sa_000000.tar"), 0, &options)?;
/// assert_eq!(shard.samples, 4);
/// assert!(shard.masks > 4);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct SynthOptions {
    pub(super) preset: Preset,
    pub(super) seed: u64,
    pub(super) samples: usize,
    pub(super) gzip: bool,
    pub(super) photos: Option<PathBuf>,
    pub(super) overwrite: bool,
}

impl SynthOptions {
    /// Drawn scenes with seed 0, 64 samples a shard, plain tar files.
    pub fn new(preset: Preset) -> Self {
        Self { preset, seed: 0, samples: 64, gzip: false, photos: None, overwrite: false }
    }

    /// Seed of everything random: the same seed gives the same bytes. Default: 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Number of samples in each shard. Default: 64.
    pub fn samples(mut self, samples: usize) -> Self {
        self.samples = samples;
        self
    }

    /// Whether shards are gzip streams (still named `.tar`, as the official files are) or plain tar files. Default:
    /// plain.
    pub fn gzip(mut self, gzip: bool) -> Self {
        self.gzip = gzip;
        self
    }

    /// Makes the images from the JPEG and PNG files in `dir` (not in its subdirectories), cropped and scaled to the
    /// preset's sizes. Their masks come from a segmentation by colour. Default: drawn scenes.
    pub fn photos(mut self, dir: impl AsRef<Path>) -> Self {
        self.photos = Some(dir.as_ref().to_owned());
        self
    }

    /// Whether a shard replaces a regular file that has its name. Default: no; such a file is an error.
    pub fn overwrite(mut self, overwrite: bool) -> Self {
        self.overwrite = overwrite;
        self
    }

    pub(super) fn photo_dir(&self) -> Option<&Path> {
        self.photos.as_deref()
    }
}

impl Preset {
    /// A random `[width, height]` in pixels.
    pub(super) fn size(self, rng: &mut Rng) -> [u32; 2] {
        let sizes = match self {
            Self::Full => [[2250, 1500], [2250, 1500], [2000, 1500], [2650, 1500]],
            Self::Small => [[384, 256], [384, 256], [342, 256], [448, 256]],
        };
        let [long, short] = sizes[rng.between(0, sizes.len() - 1)];
        if rng.chance(0.25) { [short, long] } else { [long, short] }
    }

    /// A random JPEG quality: 95 for three images of four.
    pub(super) fn quality(self, rng: &mut Rng) -> u8 {
        match self {
            Self::Full if rng.chance(0.25) => 75,
            Self::Full => 95,
            Self::Small => 90,
        }
    }

    /// Minimum and maximum number of objects in a scene.
    pub(super) fn objects(self) -> [usize; 2] {
        match self {
            Self::Full => [30, 50],
            Self::Small => [9, 12],
        }
    }

    /// Radius of the smallest objects as a share of the shorter side.
    pub(super) fn smallest_radius(self) -> f32 {
        match self {
            Self::Full => 0.014,
            Self::Small => 0.035,
        }
    }

    /// Random strengths of the surfaces' grain and of the camera's noise, in levels of 255.
    pub(super) fn roughness(self, rng: &mut Rng) -> [f32; 2] {
        let grain = rng.range(4.0, 14.0);
        match self {
            Self::Full => [grain, rng.range(8.0, 20.0)],
            Self::Small => [grain, rng.range(4.0, 14.0)],
        }
    }

    /// Maximum number of fine regions in a photo: each has at least 1 / `max_regions` of the pixels.
    pub(super) fn max_regions(self) -> usize {
        match self {
            Self::Full => 1500,
            Self::Small => 300,
        }
    }

    /// Minimum area of a mask in pixels; smaller regions have no annotation.
    pub(super) fn min_area(self) -> u64 {
        20
    }
}

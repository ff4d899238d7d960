//! Generated shards in the container form of SA-1B, for tests, benches and demos.
//!
//! A sample is a JPEG and its annotations: a mask for each object in the image, with the quirks of the real files. The
//! images are drawn scenes, or crops of photos in a folder of yours. Shards are plain tar files, or gzip streams named
//! `.tar`; they begin with a `./` entry and hold their members in random order, as the official ones do.
//!
//! A sample depends on the seed, the preset, the photos and the image id alone. It is the same on every machine (with
//! photos: on machines with the same resizing instructions) and for any number of threads. Image ids count up over the
//! shards: sample `i` of shard `s` has the id `s * samples + i + 1`.
//!
//! ```
//! use maskstream::synth::{Preset, SynthOptions, write_shards};
//! use maskstream::ShardSet;
//!
//! let dir = tempfile::tempdir()?;
//! let options = SynthOptions::new(Preset::Small).seed(7).samples(4);
//! write_shards(dir.path(), 2, &options, &|_| ())?;
//!
//! let set = ShardSet::builder().open(&[dir.path()])?;
//! assert_eq!(set.len(), 8);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # How a sample is made
//!
//! A scene is a stack of outlines with surfaces, drawn back to front. Each outline is filled into a label map, which
//! holds for every pixel the region that is visible there. A region may be a part of another one. One pass over the
//! label map paints the pixels; another one collects the runs of all masks at once, each run for its region and for all
//! regions that this one is a part of. Therefore masks cover what is visible, and parts lie inside their wholes. For
//! photos, the label map comes from a segmentation by colour.

#![forbid(unsafe_code)]

mod canvas;
mod container;
mod json;
mod labels;
mod objects;
mod options;
mod outline;
mod paint;
mod photos;
mod regions;
mod rng;
mod scene;
mod segment;
#[cfg(test)]
mod tests;
mod texture;
mod write;

pub use container::pack;
pub use options::{Preset, SynthOptions};
pub use write::{WrittenShard, write_shard, write_shards};

use jpeg_encoder::{ChromaSubsamplingMethod, ColorType, Encoder, SamplingFactor};

use crate::{Error, Result};
use photos::Photos;
use rng::Rng;
use scene::LabeledImage;

/// One image and its annotations, as the members of a shard hold them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sample {
    /// The id in the members' names and in the annotations.
    pub image_id: i64,
    /// A baseline JPEG with 4:2:0 chroma subsampling.
    pub image: Vec<u8>,
    /// The annotation file: one line of JSON.
    pub annotations: Vec<u8>,
}

/// Generates the sample with this id. The same id and options always give the same bytes.
///
/// ```
/// use maskstream::synth::{Preset, SynthOptions, sample};
///
/// let options = SynthOptions::new(Preset::Small).seed(7);
/// let one = sample(1, &options)?;
/// assert!(one.image.starts_with(&[0xff, 0xd8])); // JPEG
/// assert!(one.annotations.starts_with(br#"{"image": {"image_id": 1, "width": "#));
/// # Ok::<(), maskstream::Error>(())
/// ```
///
/// # Errors
/// Only with [`SynthOptions::photos`]: if the folder cannot be read, or none of its photos can be decoded.
pub fn sample(image_id: i64, options: &SynthOptions) -> Result<Sample> {
    Ok(generate(image_id, options, Photos::open(options)?.as_ref())?.0)
}

/// The sample and its number of masks.
fn generate(image_id: i64, options: &SynthOptions, photos: Option<&Photos>) -> Result<(Sample, usize)> {
    let preset = options.preset;
    let mut rng = Rng::new(&[options.seed, preset as u64, image_id as u64]);
    let LabeledImage { rgb, map } = match photos {
        None => scene::draw(preset, &mut rng),
        Some(photos) => photos.image(preset, &mut rng)?,
    };
    let image = encode_jpeg(&rgb, [map.width, map.height], preset.quality(&mut rng))?;
    let (annotations, masks) = regions::annotate(&map, image_id, preset.min_area(), &mut rng)?;
    Ok((Sample { image_id, image, annotations }, masks))
}

fn encode_jpeg(rgb: &[u8], [width, height]: [u32; 2], quality: u8) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(rgb.len() / 8);
    let mut encoder = Encoder::new(&mut out, quality);
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    encoder.set_chroma_subsampling_method(ChromaSubsamplingMethod::Average);
    encoder
        .encode(rgb, width as u16, height as u16, ColorType::Rgb)
        .map_err(|cause| Error::config("cannot encode the image as JPEG").caused_by(cause))?;
    // The encoder writes JFIF 1.02; the real files have 1.01.
    if let Some(header) = out.get_mut(6..13)
        && header.starts_with(b"JFIF\0")
    {
        header[6] = 1;
    }
    Ok(out)
}

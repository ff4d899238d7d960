//! Generated shards in the true container form of SA-1B, for tests, benches and demos.
//!
//! Comes in: a preset, a seed and an image id, or a folder of photos. Goes out: a JPEG whose masks outline what is in
//! it, its annotations with the real files' quirks, and shards of them: plain, or gzip streams named `.tar`, a `./`
//! entry first, members in random order. Fails where a file cannot be written or no photo be read.
//!
//! A sample is a function of seed, preset, photos and image id: the same on every machine (photos: on machines with the
//! same resizing instructions), whatever the number of threads. Image ids count up over the shards: sample `i` of shard
//! `s` is `s * samples + i + 1`.
//!
//! # The journey
//!
//! A scene is a stack of outlines with surfaces, drawn back to front. Each outline is filled into a label map, which
//! says for every pixel which region shows there; each region may be a part of another. One pass over the map's pixels
//! paints them, another collects the runs of all masks at once: those of a region and of whatever it is a part of. So
//! masks are what is visible, and parts lie inside their wholes. Photos get their label map from a segmentation by
//! colour instead.
//!
//! ```
//! use maskstream::synth::{Preset, SynthOptions, sample};
//!
//! let options = SynthOptions::new(Preset::Small).seed(7);
//! let one = sample(1, &options)?;
//! assert!(one.image.starts_with(&[0xff, 0xd8]));
//! assert!(one.annotations.starts_with(br#"{"image": {"image_id": 1, "width": "#));
//! # Ok::<(), maskstream::Error>(())
//! ```

#![forbid(unsafe_code)]

mod canvas;
mod container;
mod json;
mod labels;
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
mod things;
mod write;

pub use container::pack;
pub use options::{Preset, SynthOptions};
pub use write::{ShardReport, write_shard, write_shards};

use jpeg_encoder::{ChromaSubsamplingMethod, ColorType, Encoder, SamplingFactor};

use crate::{Error, Result};
use photos::Photos;
use rng::Rng;
use scene::Picture;

/// One image and its annotations, as the members of a shard hold them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sample {
    /// The number in the members' names and in the annotations.
    pub image_id: i64,
    /// A baseline JPEG, 4:2:0.
    pub image: Vec<u8>,
    /// One line of JSON.
    pub annotations: Vec<u8>,
}

/// Generates the sample with this id: always the same for the same id and options.
///
/// # Errors
/// Only with [`SynthOptions::photos`]: if the folder cannot be read, or no photo in it.
pub fn sample(image_id: i64, options: &SynthOptions) -> Result<Sample> {
    Ok(generate(image_id, options, Photos::open(options)?.as_ref())?.0)
}

/// The sample and its number of masks.
fn generate(image_id: i64, options: &SynthOptions, photos: Option<&Photos>) -> Result<(Sample, usize)> {
    let preset = options.preset;
    let mut rng = Rng::new(&[options.seed, preset as u64, image_id as u64]);
    let Picture { rgb, map } = match photos {
        None => scene::draw(preset, &mut rng),
        Some(photos) => photos.picture(preset, &mut rng)?,
    };
    let image = encode_jpeg(&rgb, [map.width, map.height], preset.quality(&mut rng))?;
    let (annotations, masks) = regions::annotate(&map, image_id, preset.min_area(), &mut rng)?;
    Ok((Sample { image_id, image, annotations }, masks))
}

/// Name of the members of an image, without extension.
fn stem(image_id: i64) -> String {
    format!("sa_{image_id}")
}

fn encode_jpeg(rgb: &[u8], [width, height]: [u32; 2], quality: u8) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(rgb.len() / 8);
    let mut encoder = Encoder::new(&mut out, quality);
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    encoder.set_chroma_subsampling_method(ChromaSubsamplingMethod::Average);
    encoder
        .encode(rgb, width as u16, height as u16, ColorType::Rgb)
        .map_err(|cause| Error::config("cannot encode the image as JPEG").caused_by(cause))?;
    // The encoder says JFIF 1.02; the real files say 1.01.
    if let Some(header) = out.get_mut(6..13)
        && header.starts_with(b"JFIF\0")
    {
        header[6] = 1;
    }
    Ok(out)
}

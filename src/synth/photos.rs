//! Photos in place of drawn scenes: random crops of the JPEG and PNG files in a folder, and their label maps.

use std::fs;
use std::path::{Path, PathBuf};

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{PixelType, ResizeOptions, Resizer};
use png::{ColorType, Transformations};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::labels::LabelMap;
use super::rng::Rng;
use super::scene::LabeledImage;
use super::segment::{Segments, segment};
use super::{Preset, SynthOptions};
use crate::{Error, Result};

/// Pixels of the reduced copy on which the segmentation runs.
const SEGMENT_PIXELS: f32 = 300_000.0;

/// Most fine regions: labels have 16 bits, and both levels of regions need labels.
const MAX_REGIONS: usize = 1 << 14;

/// The photos of one folder, sorted by name.
pub(super) struct Photos {
    dir: PathBuf,
    paths: Vec<PathBuf>,
}

/// Row-major RGB, 3 bytes a pixel.
struct RgbImage {
    width: u32,
    height: u32,
    pixels: Vec<u8>,
}

impl Photos {
    /// Lists the photos in the folder of the options; `None` if the options have no folder.
    ///
    /// # Errors
    /// If the folder cannot be read, or has no `.jpg`, `.jpeg` or `.png` file.
    pub(super) fn open(options: &SynthOptions) -> Result<Option<Self>> {
        let Some(dir) = options.photo_dir() else { return Ok(None) };
        let failed = |cause| Error::io(format!("cannot list photos in {}", dir.display()), cause);
        let mut paths = Vec::new();
        for entry in fs::read_dir(dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let extension = path.extension().and_then(|extension| extension.to_str()).map(str::to_ascii_lowercase);
            if matches!(extension.as_deref(), Some("jpg" | "jpeg" | "png")) {
                paths.push(path);
            }
        }
        if paths.is_empty() {
            return Err(Error::config(format!("{} holds no .jpg, .jpeg or .png file", dir.display())));
        }
        paths.sort();
        Ok(Some(Self { dir: dir.to_owned(), paths }))
    }

    /// A random crop of a random photo, with its label map.
    ///
    /// # Errors
    /// If no photo can be decoded.
    pub(super) fn image(&self, preset: Preset, rng: &mut Rng) -> Result<LabeledImage> {
        let size = preset.size(rng);
        let photo = self.random_photo(rng)?;
        let crop = random_crop(&photo, size, rng)?;
        let map = label_map(&crop, preset)?;
        Ok(LabeledImage { rgb: crop.pixels, map })
    }

    /// A random photo; if it cannot be decoded, the next one that can.
    fn random_photo(&self, rng: &mut Rng) -> Result<RgbImage> {
        let start = rng.between(0, self.paths.len() - 1);
        let mut reason = Error::config(format!("no photo in {}", self.dir.display()));
        for path in self.paths[start..].iter().chain(&self.paths[..start]) {
            match decode(path) {
                Ok(photo) => return Ok(photo),
                Err(error) => reason = error,
            }
        }
        Err(Error::config(format!(
            "none of {} photos in {} can be read; the last error is: {reason}",
            self.paths.len(),
            self.dir.display()
        )))
    }
}

/// Decodes a PNG or JPEG file, recognized by its first bytes.
fn decode(path: &Path) -> Result<RgbImage> {
    let bytes = fs::read(path).map_err(|cause| Error::io(format!("cannot read {}", path.display()), cause))?;
    let decoded = if bytes.starts_with(b"\x89PNG") { decode_png(&bytes) } else { decode_jpeg(&bytes) };
    decoded.map_err(|reason| Error::corrupt(format!("cannot decode {}: {reason}", path.display())))
}

fn decode_jpeg(bytes: &[u8]) -> Result<RgbImage, String> {
    let options = DecoderOptions::default().jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    let pixels = decoder.decode().map_err(|error| error.to_string())?;
    let info = decoder.info().ok_or("it has no header")?;
    RgbImage::new(u32::from(info.width), u32::from(info.height), pixels)
}

fn decode_png(bytes: &[u8]) -> Result<RgbImage, String> {
    let mut decoder = png::Decoder::new(std::io::Cursor::new(bytes));
    decoder.set_transformations(Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().map_err(|error| error.to_string())?;
    let mut buffer = vec![0; reader.output_buffer_size().ok_or("it is too large")?];
    let info = reader.next_frame(&mut buffer).map_err(|error| error.to_string())?;
    buffer.truncate(info.buffer_size());
    let pixels = match info.color_type {
        ColorType::Rgb => buffer,
        ColorType::Rgba => buffer.chunks_exact(4).flat_map(|p| [p[0], p[1], p[2]]).collect(),
        ColorType::Grayscale => buffer.iter().flat_map(|&level| [level; 3]).collect(),
        ColorType::GrayscaleAlpha => buffer.chunks_exact(2).flat_map(|p| [p[0]; 3]).collect(),
        ColorType::Indexed => return Err("its palette was not resolved".to_owned()),
    };
    RgbImage::new(info.width, info.height, pixels)
}

impl RgbImage {
    fn new(width: u32, height: u32, pixels: Vec<u8>) -> Result<Self, String> {
        let expected = 3 * width as usize * height as usize;
        if expected > 0 && pixels.len() == expected {
            Ok(Self { width, height, pixels })
        } else {
            Err(format!("{width}x{height} pixels are not {} bytes", pixels.len()))
        }
    }
}

/// A random crop of `photo` with the aspect ratio of `size`, resized to `size`. Its sides are at least 0.7 of the
/// longest ones that fit.
fn random_crop(photo: &RgbImage, size: [u32; 2], rng: &mut Rng) -> Result<RgbImage> {
    let [width, height] = [f64::from(photo.width), f64::from(photo.height)];
    let fit = (width / f64::from(size[0])).min(height / f64::from(size[1])) * f64::from(rng.range(0.7, 1.0));
    let (crop_width, crop_height) = (fit * f64::from(size[0]), fit * f64::from(size[1]));
    let left = (width - crop_width) * f64::from(rng.unit());
    let top = (height - crop_height) * f64::from(rng.unit());
    resize(photo, size, &ResizeOptions::new().crop(left, top, crop_width, crop_height))
}

fn resize(image: &RgbImage, [width, height]: [u32; 2], options: &ResizeOptions) -> Result<RgbImage> {
    let failed = |reason: String| Error::config(format!("cannot resize a photo: {reason}"));
    let source = ImageRef::new(image.width, image.height, &image.pixels, PixelType::U8x3)
        .map_err(|error| failed(error.to_string()))?;
    let mut target = Image::new(width, height, PixelType::U8x3);
    Resizer::new().resize(&source, &mut target, options).map_err(|error| failed(error.to_string()))?;
    Ok(RgbImage { width, height, pixels: target.into_vec() })
}

/// The label map of an image, found on a reduced copy.
fn label_map(image: &RgbImage, preset: Preset) -> Result<LabelMap> {
    let (width, height) = (image.width, image.height);
    let reduction = (SEGMENT_PIXELS / (width as f32 * height as f32)).sqrt().min(1.0);
    let small_size = [width, height].map(|side| ((side as f32 * reduction) as u32).max(1));
    let small = resize(image, small_size, &ResizeOptions::new())?;
    let pixels = small.pixels.len() / 3;
    let min_pixels = (pixels / preset.max_regions()).max(pixels / MAX_REGIONS);
    let Segments { fine, coarse } = segment(&small.pixels, small_size[0] as usize, [120.0, 700.0], min_pixels);
    // Coarse regions take the first labels, fine ones the next.
    let coarse_len = coarse.iter().max().map_or(0, |&last| last + 1);
    let mut parents = vec![None; coarse_len as usize];
    parents.extend(coarse.iter().map(|&region| Some(region as u16)));
    let mut labels = Vec::with_capacity(width as usize * height as usize);
    let scaled = |at: u32, from: u32, to: u32| ((2 * at + 1) * to / (2 * from)) as usize;
    let rows: Vec<usize> = (0..height).map(|y| scaled(y, height, small_size[1]) * small_size[0] as usize).collect();
    for x in 0..width {
        let column = scaled(x, width, small_size[0]);
        labels.extend(rows.iter().map(|row| (coarse_len + fine[row + column]) as u16));
    }
    Ok(LabelMap::from_labels(width, height, labels, parents))
}

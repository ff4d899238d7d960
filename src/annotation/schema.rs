//! The JSON of one image. Comes in: bytes. Goes out: typed fields under SA-1B's own names. Fails on missing fields,
//! wrong types and numbers that are not finite or not possible.
//!
//! What real files do, and is accepted: keys in any order, unknown keys, numbers as int or float in the same file,
//! `predicted_iou` above 1. `segmentation` stays unparsed text until a mask is chosen: most annotations of a file never
//! are.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::AnnotationStats;
use crate::mask::{Rle, Segmentation};
use crate::{Error, Result};

/// Sides of an image, at most: what JPEG can hold.
pub(crate) const MAX_SIDE: u32 = 65_535;
/// Coordinates beyond this are no pixels; up to here `f32` holds every whole number.
const MAX_COORDINATE: f64 = 16_777_216.0;

/// One json member: an image and its annotations.
#[derive(Debug, Deserialize)]
pub struct AnnotationFile<'a> {
    /// The image that the annotations belong to.
    #[serde(borrow)]
    pub image: ImageInfo<'a>,
    /// Its annotations, in file order.
    #[serde(borrow)]
    pub annotations: Vec<Annotation<'a>>,
}

/// The `image` object.
#[derive(Debug, Deserialize)]
pub struct ImageInfo<'a> {
    /// Id of the image, unique in the data set.
    pub image_id: i64,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Name of the image file.
    #[serde(borrow)]
    pub file_name: Cow<'a, str>,
}

/// One annotated mask.
#[derive(Debug, Deserialize)]
pub struct Annotation<'a> {
    /// Id of the annotation.
    pub id: i64,
    /// Box in pixels: x, y, width, height. SA-1B's width and height are max - min, one less than the count of pixels.
    pub bbox: [f64; 4],
    /// Pixels in the mask.
    #[serde(deserialize_with = "whole_number")]
    pub area: u64,
    /// The mask model's estimate of its own IoU: the annotation's confidence. Can exceed 1.
    pub predicted_iou: f32,
    /// How little the mask changes with the threshold it was cut at.
    pub stability_score: f32,
    /// Prompt points in pixels: x, y; at least one.
    pub point_coords: Vec<[f64; 2]>,
    /// The crop the mask was found in: x, y, width, height in pixels.
    pub crop_box: [f64; 4],
    /// The mask, as the JSON has it.
    #[serde(borrow)]
    segmentation: &'a RawValue,
}

impl<'a> AnnotationFile<'a> {
    /// Parses the bytes of a json member.
    ///
    /// # Errors
    /// For JSON that is broken, misses a field, or holds a value that cannot be: an image of 0 x 0 or beyond 65535 a
    /// side, a score that is not finite, an area beyond the image, a coordinate beyond 2^24, no prompt point. The
    /// message names the value and its byte.
    pub fn parse(json: &'a [u8]) -> Result<Self> {
        let file: Self = serde_json::from_slice(json).map_err(|e| describe(json, &e))?;
        let ImageInfo { width, height, .. } = file.image;
        if width == 0 || height == 0 || width > MAX_SIDE || height > MAX_SIDE {
            return Err(Error::corrupt(format!(
                "json: image is {width} x {height}, not within 1 to {MAX_SIDE} a side"
            )));
        }
        for annotation in &file.annotations {
            annotation.check(width, height)?;
        }
        Ok(file)
    }
}

impl Annotation<'_> {
    /// What a filter decides on.
    pub fn score(&self) -> AnnotationStats {
        AnnotationStats {
            id: self.id,
            predicted_iou: self.predicted_iou,
            stability_score: self.stability_score,
            area: self.area,
            box_width: self.bbox[2] as f32,
            box_height: self.bbox[3] as f32,
        }
    }

    /// Reads the mask into `rle`, whose memory is used again, from any of COCO's forms: a counts string, a list of runs,
    /// or polygons.
    ///
    /// # Errors
    /// If the segmentation does not parse, is of another size than the image's `height` x `width`, or its runs do not
    /// add up.
    pub fn read_mask(&self, height: u32, width: u32, rle: &mut Rle) -> Result<()> {
        let mut read = || -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
            Ok(serde_json::from_str::<Segmentation<'_>>(self.segmentation.get())?.read_into(height, width, rle)?)
        };
        read()
            .map_err(|cause| Error::corrupt(format!("annotation {}: segmentation: {cause}", self.id)).caused_by(cause))
    }

    fn check(&self, width: u32, height: u32) -> Result<()> {
        if self.point_coords.is_empty() {
            return Err(Error::corrupt(format!(
                "json: annotation {} has no prompt point: point_coords is []",
                self.id
            )));
        }
        let pixels = u64::from(width) * u64::from(height);
        if self.area > pixels {
            let Self { id, area, .. } = self;
            return Err(Error::corrupt(format!(
                "json: annotation {id}: area is {area}, but the image has {pixels} pixels"
            )));
        }
        let [_, _, box_width, box_height] = self.bbox;
        let coordinates = self.bbox.iter().chain(&self.crop_box).chain(self.point_coords.iter().flatten());
        // False for NaN as well.
        let possible = self.predicted_iou.is_finite()
            && self.stability_score.is_finite()
            && coordinates.into_iter().all(|v| v.abs() <= MAX_COORDINATE)
            && box_width >= 0.0
            && box_height >= 0.0;
        if possible {
            return Ok(());
        }
        Err(Error::corrupt(format!(
            "json: annotation {} holds a number that is not finite or not possible: predicted_iou {}, stability_score {}, bbox {:?}, point_coords {:?}, crop_box {:?}",
            self.id, self.predicted_iou, self.stability_score, self.bbox, self.point_coords, self.crop_box
        )))
    }
}

/// A pixel count, also where a re-pack wrote it as a float.
fn whole_number<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    struct Visitor;
    impl serde::de::Visitor<'_> for Visitor {
        type Value = u64;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a whole number of pixels")
        }

        fn visit_u64<E>(self, value: u64) -> Result<u64, E> {
            Ok(value)
        }

        fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<u64, E> {
            // Whole and below 2^53, so the cast is exact.
            if (0.0..9.0e15).contains(&value) && value.fract() == 0.0 {
                Ok(value as u64)
            } else {
                Err(E::invalid_value(serde::de::Unexpected::Float(value), &self))
            }
        }
    }
    deserializer.deserialize_any(Visitor)
}

/// serde_json's message, with the text at fault: SA-1B's files are one line, so the column is the byte.
fn describe(json: &[u8], e: &serde_json::Error) -> Error {
    let start: usize = json.split_inclusive(|&b| b == b'\n').take(e.line().saturating_sub(1)).map(<[u8]>::len).sum();
    let at = (start + e.column()).min(json.len());
    let near = &json[at.saturating_sub(24)..(at + 8).min(json.len())];
    Error::corrupt(format!("json: {e}, near {:?}", String::from_utf8_lossy(near)))
        .caused_by(std::io::Error::other(e.to_string()))
}

//! The JSON schema of one image's annotations, with SA-1B's field names.
//!
//! Keys may come in any order, unknown keys are skipped, numbers may be ints or floats within one file, and
//! `predicted_iou` may exceed 1: real files do all of that. `segmentation` stays unparsed until its mask is read, as
//! most masks of a file never are. Missing fields, wrong types and impossible numbers are errors.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::AnnotationStats;
use crate::mask::{Rle, Segmentation};
use crate::{Error, Result};

/// Largest side of an image: the limit of JPEG.
pub(crate) const MAX_SIDE: u32 = 65_535;
/// Largest coordinate: `f32` holds every integer up to here.
const MAX_COORDINATE: f64 = 16_777_216.0;

/// One JSON member: an image and its annotations.
#[derive(Debug, Deserialize)]
#[non_exhaustive]
pub struct AnnotationFile<'a> {
    /// The image.
    #[serde(borrow)]
    pub image: ImageInfo<'a>,
    /// Its annotations, in file order.
    #[serde(borrow)]
    pub annotations: Vec<Annotation<'a>>,
}

/// The `image` object.
#[derive(Debug, Deserialize)]
#[non_exhaustive]
pub struct ImageInfo<'a> {
    /// Id of the image, unique within the data set.
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
    /// Box in pixels: x, y, width, height. SA-1B's width and height are max - min: one less than the number of pixels.
    pub bbox: [f64; 4],
    /// Number of pixels in the mask.
    #[serde(deserialize_with = "whole_number")]
    pub area: u64,
    /// The mask model's estimate of the mask's IoU: its confidence. Can exceed 1.
    pub predicted_iou: f32,
    /// How little the mask changes with the threshold it was cut at.
    pub stability_score: f32,
    /// Prompt points in pixels: x, y. At least one.
    pub point_coords: Vec<[f64; 2]>,
    /// The crop of the image that the mask was found in, in pixels: x, y, width, height.
    pub crop_box: [f64; 4],
    /// The mask, as unparsed JSON.
    #[serde(borrow)]
    segmentation: &'a RawValue,
}

impl<'a> AnnotationFile<'a> {
    /// Parses the bytes of a JSON member.
    ///
    /// ```
    /// use maskstream::index::AnnotationFile;
    /// use maskstream::mask::Rle;
    ///
    /// let json = br#"{
    ///     "image": {"image_id": 7, "width": 6, "height": 4, "file_name": "sa_7.jpg"},
    ///     "annotations": [{
    ///         "id": 70, "bbox": [2, 1, 1, 1], "area": 4, "predicted_iou": 0.95, "stability_score": 0.97,
    ///         "point_coords": [[2.5, 1.5]], "crop_box": [0, 0, 6, 4],
    ///         "segmentation": {"size": [4, 6], "counts": "92207"}
    ///     }]
    /// }"#;
    /// let file = AnnotationFile::parse(json)?;
    /// assert_eq!((file.image.image_id, file.annotations.len()), (7, 1));
    ///
    /// let mut mask = Rle::default();
    /// file.annotations[0].read_mask(file.image.height, file.image.width, &mut mask)?;
    /// assert_eq!(mask.area(), file.annotations[0].area);
    /// # Ok::<(), maskstream::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the JSON is malformed, a field is missing, or a value is impossible: an image side of 0 or above 65535, a
    /// score that is not finite, an area larger than the image, a coordinate beyond 2^24, or an annotation without a
    /// prompt point. The message names the value, and the byte where the JSON is at fault.
    pub fn parse(json: &'a [u8]) -> Result<Self> {
        let file: Self = serde_json::from_slice(json).map_err(|e| describe(json, &e))?;
        let ImageInfo { width, height, .. } = file.image;
        if width == 0 || height == 0 || width > MAX_SIDE || height > MAX_SIDE {
            return Err(Error::corrupt(format!(
                "json: the image is {width} x {height}, but each side must be 1 to {MAX_SIDE}"
            )));
        }
        for annotation in &file.annotations {
            annotation.check(width, height)?;
        }
        Ok(file)
    }
}

impl Annotation<'_> {
    /// The numbers that a filter reads.
    pub fn stats(&self) -> AnnotationStats {
        AnnotationStats {
            id: self.id,
            predicted_iou: self.predicted_iou,
            stability_score: self.stability_score,
            area: self.area,
            box_width: self.bbox[2] as f32,
            box_height: self.bbox[3] as f32,
        }
    }

    /// Reads the mask into `rle`, reusing its memory. All of COCO's forms are read: a counts string, a list of runs,
    /// and polygons. `height` and `width` are the image's.
    ///
    /// # Errors
    /// If the segmentation cannot be parsed, its size is not `height` x `width`, or its runs do not add up to that
    /// size.
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
                "json: annotation {id}: the area is {area}, but the image has {pixels} pixels"
            )));
        }
        let [_, _, box_width, box_height] = self.bbox;
        let coordinates = self.bbox.iter().chain(&self.crop_box).chain(self.point_coords.iter().flatten());
        // NaN fails each of these comparisons.
        let possible = self.predicted_iou.is_finite()
            && self.stability_score.is_finite()
            && coordinates.into_iter().all(|v| v.abs() <= MAX_COORDINATE)
            && box_width >= 0.0
            && box_height >= 0.0;
        if possible {
            return Ok(());
        }
        Err(Error::corrupt(format!(
            "json: annotation {} has a number that is not finite or out of range: predicted_iou {}, stability_score \
             {}, bbox {:?}, point_coords {:?}, crop_box {:?}",
            self.id, self.predicted_iou, self.stability_score, self.bbox, self.point_coords, self.crop_box
        )))
    }
}

/// A pixel count. Some tools write it as a float.
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

/// serde_json's message and the text near the fault. SA-1B's files are one line, so the column is the byte.
fn describe(json: &[u8], e: &serde_json::Error) -> Error {
    let start: usize = json.split_inclusive(|&b| b == b'\n').take(e.line().saturating_sub(1)).map(<[u8]>::len).sum();
    let at = (start + e.column()).min(json.len());
    let near = &json[at.saturating_sub(24)..(at + 8).min(json.len())];
    Error::corrupt(format!("json: {e}, near {:?}", String::from_utf8_lossy(near)))
        .caused_by(std::io::Error::other(e.to_string()))
}

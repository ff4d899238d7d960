//! The annotations of one image, with SA-1B's field names.
//!
//! Keys may come in any order, unknown keys are skipped, numbers may be ints or floats within one file, and
//! `predicted_iou` may exceed 1: real files do all of that. `segmentation` stays unparsed until its mask is read, as
//! most masks of a file never are. What is missing is computed where it can be, and otherwise marked as missing. Wrong
//! types and impossible numbers are errors.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::AnnotationStats;
use super::fault::describe;
use super::json::{AnnotationJson, FileJson, ImageJson, Numbers, PixelCount, Points, Whole};
use crate::mask::{Rle, RleError, Segmentation};
use crate::{Error, Result};

/// Largest side of an image: the limit of JPEG.
pub(crate) const MAX_SIDE: u32 = 65_535;
/// Largest coordinate: `f32` holds every integer up to here.
const MAX_COORDINATE: f64 = 16_777_216.0;

/// What UTF-8 text may begin with.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// One JSON member: an image and its annotations.
#[derive(Debug)]
#[non_exhaustive]
pub struct AnnotationFile<'a> {
    /// The image.
    pub image: ImageInfo<'a>,
    /// Its annotations, in file order.
    pub annotations: Vec<Annotation<'a>>,
}

/// The `image` object.
#[derive(Debug)]
#[non_exhaustive]
pub struct ImageInfo<'a> {
    /// Id of the image, unique within the data set: `image_id`, or `id` where that is missing, as in COCO.
    pub image_id: i64,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Name of the image file, if the file has it.
    pub file_name: Option<Cow<'a, str>>,
}

/// One annotated mask.
#[derive(Debug)]
pub struct Annotation<'a> {
    /// Id of the annotation. Where the file has none: its position in the file, from 0.
    pub id: i64,
    /// Box in pixels: x, y, width, height. SA-1B's width and height are max - min: one less than the number of pixels.
    /// Where the file has none: the box of the mask, in SA-1B's form.
    pub bbox: [f64; 4],
    /// Number of pixels in the mask, rounded. Where the file has none: counted.
    pub area: u64,
    /// The mask model's estimate of the mask's IoU: its confidence. Can exceed 1. NaN: the file has none.
    pub predicted_iou: f32,
    /// How little the mask changes with the threshold it was cut at. NaN: the file has none.
    pub stability_score: f32,
    /// Prompt points in pixels: x, y. Empty: the file has none.
    pub point_coords: Vec<[f64; 2]>,
    /// The crop of the image that the mask was found in, in pixels: x, y, width, height. Batches do not hold it.
    pub crop_box: Option<[f64; 4]>,
    /// The mask, as unparsed JSON.
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
    /// An annotation needs a `segmentation` only: the fields of [`Annotation`] say what they are where the file has
    /// none. Missing means that the key is not there, or its value is `null` or an empty list.
    ///
    /// # Errors
    /// If the JSON is malformed, the image's id, its size, the list of annotations or a segmentation is missing, or a
    /// value is impossible: an image side of 0 or above 65535, a score that is not finite, an area larger than the
    /// image, or a coordinate beyond 2^24. The message names the value, and the byte where the JSON is at fault. If a
    /// mask cannot be read that an area or a box must be computed from.
    pub fn parse(json: &'a [u8]) -> Result<Self> {
        let json = json.strip_prefix(BYTE_ORDER_MARK).unwrap_or(json);
        let FileJson { image, annotations } = serde_json::from_slice(json).map_err(|e| describe(json, &e))?;
        let image = ImageInfo::new(image)?;
        let complete = |(position, annotation)| Annotation::new(annotation, position, &image);
        let annotations = annotations.into_iter().enumerate().map(complete).collect::<Result<_>>()?;
        Ok(Self { image, annotations })
    }
}

impl<'a> ImageInfo<'a> {
    fn new(json: ImageJson<'a>) -> Result<Self> {
        let ImageJson { image_id, id, width: Whole(width), height: Whole(height), file_name } = json;
        let side = |length: i64| u32::try_from(length).ok().filter(|side| (1..=MAX_SIDE).contains(side));
        let (Some(width), Some(height)) = (side(width), side(height)) else {
            return Err(Error::corrupt(format!(
                "json: the image is {width} x {height}, but each side must be 1 to {MAX_SIDE}"
            )));
        };
        let image_id = match (image_id, id) {
            (Some(Whole(id)), _) => id,
            (None, Some(id)) => serde_json::from_str::<Whole>(id.get()).map(|Whole(id)| id).map_err(|_| {
                Error::corrupt(format!("json: the image has no image_id, and its id is {id}, not a whole number"))
            })?,
            (None, None) => return Err(Error::corrupt("json: the image has neither image_id nor id")),
        };
        Ok(Self { image_id, width, height, file_name })
    }
}

impl<'a> Annotation<'a> {
    /// Completes the annotation at `position` in its file.
    fn new(json: AnnotationJson<'a>, position: usize, image: &ImageInfo<'_>) -> Result<Self> {
        let bbox = json.bbox.and_then(|Numbers(numbers)| numbers);
        let (has_scores, lacks_box, lacks_area) =
            ([json.predicted_iou, json.stability_score], bbox.is_none(), json.area.is_none());
        let mut annotation = Self {
            id: json.id.map_or(position as i64, |Whole(id)| id),
            bbox: bbox.unwrap_or_default(),
            area: json.area.map_or(0, |PixelCount(area)| area),
            predicted_iou: json.predicted_iou.unwrap_or(f32::NAN),
            stability_score: json.stability_score.unwrap_or(f32::NAN),
            point_coords: json.point_coords.map_or_else(Vec::new, |Points(points)| points),
            crop_box: json.crop_box.and_then(|Numbers(numbers)| numbers),
            segmentation: json.segmentation,
        };
        if lacks_box || lacks_area {
            let mut mask = Rle::default();
            annotation.read_mask(image.height, image.width, &mut mask)?;
            if lacks_area {
                annotation.area = mask.area();
            }
            if lacks_box {
                annotation.bbox = sa1b_box(&mask);
            }
        }
        annotation.check(has_scores, image)?;
        Ok(annotation)
    }
}

/// The box of a mask with SA-1B's width and height, which are max - min.
pub(super) fn sa1b_box(mask: &Rle) -> [f64; 4] {
    let [x, y, width, height] = mask.bbox();
    [x, y, width.saturating_sub(1), height.saturating_sub(1)].map(f64::from)
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
        self.segmentation()?.read_into(height, width, rle).map_err(|e| match &e {
            RleError::Sizes { found, .. } => self.bad_segmentation(&wrong_size(*found, [height, width]), e.into()),
            _ => self.bad_segmentation(&e.to_string(), e.into()),
        })
    }

    /// The mask in the form that the file has: polygons, a list of runs, or a counts string.
    ///
    /// ```
    /// use maskstream::index::AnnotationFile;
    /// use maskstream::mask::Segmentation;
    ///
    /// let json = br#"{"image": {"image_id": 7, "width": 6, "height": 4},
    ///     "annotations": [{"segmentation": [[2, 1, 4, 1, 4, 3, 2, 3]]}]}"#;
    /// let file = AnnotationFile::parse(json)?;
    /// let segmentation = file.annotations[0].segmentation()?;
    /// assert!(matches!(segmentation, Segmentation::Polygons(polygons) if polygons.len() == 1));
    /// # Ok::<(), maskstream::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the segmentation cannot be parsed.
    pub fn segmentation(&self) -> Result<Segmentation<'_>> {
        serde_json::from_str(self.segmentation.get()).map_err(|e| self.bad_segmentation(&e.to_string(), e.into()))
    }

    fn bad_segmentation(&self, text: &str, cause: Box<dyn std::error::Error + Send + Sync>) -> Error {
        Error::corrupt(format!("annotation {}: segmentation: {text}", self.id)).caused_by(cause)
    }

    fn check(&self, has_scores: [Option<f32>; 2], image: &ImageInfo<'_>) -> Result<()> {
        let ImageInfo { width, height, .. } = *image;
        let pixels = u64::from(width) * u64::from(height);
        if self.area > pixels {
            let Self { id, area, .. } = self;
            return Err(Error::corrupt(format!(
                "json: annotation {id}: the area is {area}, but the image has {pixels} pixels"
            )));
        }
        let [_, _, box_width, box_height] = self.bbox;
        let coordinates =
            self.bbox.iter().chain(self.crop_box.iter().flatten()).chain(self.point_coords.iter().flatten());
        // NaN fails each of these comparisons.
        let possible = has_scores.into_iter().flatten().all(f32::is_finite)
            && coordinates.into_iter().all(|v| v.abs() <= MAX_COORDINATE)
            && box_width >= 0.0
            && box_height >= 0.0;
        if possible {
            return Ok(());
        }
        Err(Error::corrupt(format!(
            "json: annotation {} has a number that is not finite or out of range: predicted_iou {}, stability_score \
             {}, bbox {:?}, point_coords {:?}, crop_box {:?}",
            self.id,
            self.predicted_iou,
            self.stability_score,
            self.bbox,
            self.point_coords,
            self.crop_box.unwrap_or_default()
        )))
    }
}

/// Both sizes, and the likely mistake.
fn wrong_size(found: [u32; 2], [height, width]: [u32; 2]) -> String {
    let swapped = if found == [width, height] { ": are they swapped?" } else { "" };
    format!("size is {found:?}, but the image is {height} x {width} (height x width){swapped}")
}

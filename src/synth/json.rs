//! The schema of an annotation file, and its encoding as in the real files: one line of JSON with Python's separators
//! and the same order of keys.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

use crate::{Error, Result};

#[derive(Serialize)]
pub(super) struct Document {
    pub(super) image: Image,
    pub(super) annotations: Vec<Annotation>,
}

#[derive(Serialize)]
pub(super) struct Image {
    pub(super) image_id: i64,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) file_name: String,
}

#[derive(Serialize)]
pub(super) struct Annotation {
    /// `[x, y, width, height]` in pixels. As in the real files, width and height are one less than the number of
    /// pixels.
    pub(super) bbox: [Number; 4],
    pub(super) area: u64,
    pub(super) segmentation: Segmentation,
    pub(super) predicted_iou: f64,
    pub(super) point_coords: [[f64; 2]; 1],
    pub(super) crop_box: [Number; 4],
    pub(super) id: i64,
    pub(super) stability_score: f64,
}

#[derive(Serialize)]
pub(super) struct Segmentation {
    /// `[height, width]`.
    pub(super) size: [u32; 2],
    pub(super) counts: String,
}

/// A whole number, written as `12.0` or `12`: real files have both.
#[derive(Clone, Copy, Serialize)]
#[serde(untagged)]
pub(super) enum Number {
    Float(f64),
    Int(u32),
}

/// The bytes of one JSON member.
pub(super) fn encode(document: &Document) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    document
        .serialize(&mut Serializer::with_formatter(&mut out, PythonFormatter))
        .map_err(|cause| Error::corrupt("cannot encode annotations").caused_by(cause))?;
    Ok(out)
}

/// The separators of Python's `json.dump`: `", "` and `": "`.
struct PythonFormatter;

impl Formatter for PythonFormatter {
    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

/// Name of the members of an image, without extension.
pub(super) fn stem(image_id: i64) -> String {
    format!("sa_{image_id}")
}

//! `inspect --decode`: decodes every image and every mask of a shard, and lists what fails or looks wrong.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use indicatif::ProgressBar;
use maskstream::JpegCodec;
use maskstream::index::{Annotation, AnnotationFile, Entry, Extent, IndexedShard};
use maskstream::internals::{Decoder, OneLine};
use maskstream::mask::Rle;
use maskstream::source::{self, Source};
use rayon::prelude::*;

/// Pixels by which an edge of a box may differ from the mask's: SA-1B's boxes are one pixel smaller than COCO's.
const EDGE_TOLERANCE: f64 = 2.0;
/// Share of a side by which an edge may differ as well, and of the area: polygons are drawn in more than one way.
const SHARE_TOLERANCE: f64 = 0.02;

/// Something wrong with a member.
pub(super) struct Problem {
    pub(super) kind: &'static str,
    /// Whether the sample cannot be decoded.
    pub(super) is_damage: bool,
    text: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.kind, OneLine(&self.text))
    }
}

/// Decodes all samples of a shard, on all cores. The problems come in the order of the samples.
///
/// # Errors
/// If the shard cannot be opened.
pub(super) fn decode(shard: &IndexedShard, max_pixels: u64, bar: &ProgressBar) -> maskstream::Result<Vec<Problem>> {
    let source = shard.source(source::open(&shard.path)?)?;
    let buffers = || (Decoder::new(JpegCodec::default(), max_pixels), Rle::default());
    let found = shard.index.entries().par_iter().map_init(buffers, |(decoder, rle), entry| {
        let mut sample = Sample { entry, source: &source, found: Vec::new() };
        // Codecs get bytes that nobody has checked.
        if catch_unwind(AssertUnwindSafe(|| sample.check(decoder, rle))).is_err() {
            sample.damage("panic", &entry.image_name(), &entry.image, "its decoding panicked");
        }
        bar.inc(1);
        sample.found
    });
    Ok(found.collect::<Vec<_>>().into_iter().flatten().collect())
}

/// A sample, and what was found wrong with it.
struct Sample<'a> {
    entry: &'a Entry,
    source: &'a Arc<dyn Source>,
    found: Vec<Problem>,
}

impl Sample<'_> {
    fn check(&mut self, decoder: &mut Decoder, rle: &mut Rle) {
        self.check_annotations(rle);
        self.check_image(decoder);
    }

    fn check_annotations(&mut self, rle: &mut Rle) {
        let (name, extent) = (self.entry.annotations_name(), self.entry.annotations);
        let Some(json) = self.read(&name, &extent) else { return };
        let file = match AnnotationFile::parse(&json) {
            Ok(file) => file,
            Err(error) => return self.damage("annotations cannot be read", &name, &extent, &error.to_string()),
        };
        for annotation in &file.annotations {
            if let Err(error) = annotation.read_mask(self.entry.height, self.entry.width, rle) {
                self.damage("mask cannot be read", &name, &extent, &error.to_string());
            } else if let Some((kind, text)) = unlike(annotation, rle) {
                self.note(kind, &name, &extent, &format!("annotation {}: {text}", annotation.id));
            }
        }
    }

    fn check_image(&mut self, decoder: &mut Decoder) {
        let (name, extent) = (self.entry.image_name(), self.entry.image);
        let Some(jpeg) = self.read(&name, &extent) else { return };
        if let Some(turn) = orientation(&jpeg).filter(|turn| (2..=8).contains(turn)) {
            let text = format!("EXIF orientation {turn} is ignored, so masks drawn on the upright picture do not fit");
            self.note("image turned by EXIF", &name, &extent, &text);
        }
        let size = (self.entry.width, self.entry.height);
        // A codec that can scale makes the smallest image that it can.
        if let Err(error) = decoder.decode(&jpeg, size, (1, 1)) {
            self.damage("image cannot be decoded", &name, &extent, &error.to_string());
        }
    }

    /// The bytes of a member, if they are still those that were indexed.
    fn read(&mut self, name: &str, extent: &Extent) -> Option<bytes::Bytes> {
        match self.source.read(extent.range()) {
            Err(error) => self.damage("member cannot be read", name, extent, &error.to_string()),
            Ok(bytes) if crc32c::crc32c(&bytes) == extent.crc32c => return Some(bytes),
            Ok(_) => self.damage("changed member", name, extent, "its bytes are not those that were indexed"),
        }
        None
    }

    fn damage(&mut self, kind: &'static str, name: &str, extent: &Extent, text: &str) {
        self.note(kind, name, extent, text);
        self.found.iter_mut().next_back().into_iter().for_each(|problem| problem.is_damage = true);
    }

    fn note(&mut self, kind: &'static str, name: &str, extent: &Extent, text: &str) {
        let text = format!("member {name}, byte {}: {text}", extent.offset);
        self.found.push(Problem { kind, is_damage: false, text });
    }
}

/// How a mask differs from what its annotation says of it.
fn unlike(annotation: &Annotation<'_>, mask: &Rle) -> Option<(&'static str, String)> {
    let area = mask.area();
    if area == 0 {
        return Some(("mask without a pixel", "its mask is empty".to_owned()));
    }
    let [x, y, width, height] = annotation.bbox;
    let said = [x, y, x + width, y + height];
    let [left, top, columns, rows] = mask.bbox().map(f64::from);
    let drawn = [left, top, left + columns, top + rows];
    let tolerance = EDGE_TOLERANCE + SHARE_TOLERANCE * columns.max(rows);
    if said.iter().zip(drawn).any(|(said, drawn)| (said - drawn).abs() > tolerance) {
        let text = format!("its box is {:?}, but that of its mask is {:?}", annotation.bbox, mask.bbox());
        return Some(("mask unlike its box", text));
    }
    let perimeter = 2.0 * (columns + rows);
    if (annotation.area as f64 - area as f64).abs() > perimeter + SHARE_TOLERANCE * area as f64 {
        return Some((
            "mask unlike its area",
            format!("its area is {}, but its mask has {area} pixels", annotation.area),
        ));
    }
    None
}

/// The orientation in a JPEG's EXIF data: 1 is upright.
fn orientation(jpeg: &[u8]) -> Option<u16> {
    let mut at = 2;
    loop {
        let &[0xff, marker, high, low] = jpeg.get(at..at + 4)? else { return None };
        let segment = jpeg.get(at + 4..at + 2 + usize::from(u16::from_be_bytes([high, low])))?;
        match (marker, segment.strip_prefix(b"Exif\0\0")) {
            (0xe1, Some(tiff)) => return tiff_orientation(tiff),
            // The scan: no segment follows that could hold it.
            (0xda, _) => return None,
            _ => at += 4 + segment.len(),
        }
    }
}

fn tiff_orientation(tiff: &[u8]) -> Option<u16> {
    let is_little = tiff.starts_with(b"II");
    let number = |at: usize| {
        let bytes = [*tiff.get(at)?, *tiff.get(at + 1)?];
        Some(if is_little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    };
    let (first, second) = (usize::from(number(4)?), usize::from(number(6)?));
    let directory = if is_little { second << 16 | first } else { first << 16 | second };
    let mut tags = (0..usize::from(number(directory)?)).map(|tag| directory + 2 + 12 * tag);
    number(tags.find(|&tag| number(tag) == Some(0x112))? + 8)
}

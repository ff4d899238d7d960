//! `inspect --decode`: decodes every image and every mask of a shard, and lists what fails or looks wrong.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use indicatif::ProgressBar;
use maskstream::ScaledDecode;
use maskstream::index::{AnnotationFile, Entry, Extent, IndexedShard};
use maskstream::internals::{Canvas, Decoder, ImageJob, MaskMismatch, OneLine, Planes, exif_orientation};
use maskstream::mask::Rle;
use maskstream::source::{self, Source};
use rayon::prelude::*;

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
    let buffers = || (Decoder::new(ScaledDecode::Auto, max_pixels), Rle::default());
    let found = shard.index.entries().par_iter().map_init(buffers, |(decoder, rle), entry| {
        let mut sample = Sample { entry, source: &source, found: Vec::new() };
        // The decoders get bytes that nobody has checked.
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
            match MaskMismatch::of(annotation, self.entry.height, self.entry.width, rle) {
                Err(error) => self.damage("mask cannot be read", &name, &extent, &error.to_string()),
                Ok(_) if rle.area() == 0 => {
                    self.note("mask without a pixel", &name, &extent, &format!("annotation {}", annotation.id));
                }
                Ok(Some(mismatch)) => {
                    let kind = if mismatch.bbox.is_some() { "mask unlike its box" } else { "mask unlike its area" };
                    self.note(kind, &name, &extent, &mismatch.to_string());
                }
                Ok(None) => {}
            }
        }
    }

    fn check_image(&mut self, decoder: &mut Decoder) {
        let (name, extent) = (self.entry.image_name(), self.entry.image);
        let Some(jpeg) = self.read(&name, &extent) else { return };
        if let Some(turn) = exif_orientation(&jpeg).filter(|turn| (2..=8).contains(turn)) {
            let text = format!("EXIF orientation {turn} is ignored, so masks drawn on the upright picture do not fit");
            self.note("image turned by EXIF", &name, &extent, &text);
        }
        let size = (self.entry.width, self.entry.height);
        // Decoded as small as can be: only errors matter.
        let mut pixel = [0; 3];
        let canvas = Canvas::new(&Planes::U8, (1, 1), 1, &mut pixel);
        if let Err(error) = decoder.decode(ImageJob::new(&jpeg, size, canvas)) {
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

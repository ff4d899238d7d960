//! The check of one member: every mask of a JSON member, or every code of a JPEG.

use bytes::Bytes;
use maskstream::index::{AnnotationFile, Extent};
use maskstream::internals::{
    Canvas, Decoder, ImageSource, ImageTask, MaskMismatch, Planes, check_head, exif_orientation, own_size,
};
use maskstream::mask::Rle;
use maskstream::{Error, Result, ScaledDecode};

use super::defect::{Defect, Severity};
use super::level::Level;

/// A member that is to be checked.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) is_image: bool,
    pub(super) extent: Extent,
    pub(super) bytes: Bytes,
    /// Width and height of an image, if its annotations are known.
    pub(super) size: Option<(u32, u32)>,
}

/// What the check of a member has found.
#[derive(Clone, Debug)]
pub(super) struct Checked {
    pub(super) extent: Extent,
    /// The size that the image was checked for; `None` if that could not be told from the image alone.
    pub(super) size: Option<(u32, u32)>,
    pub(super) defects: Vec<Defect>,
}

/// The text of a decoder that panicked.
pub(super) const PANICKED: &str = "its decoding panicked";

impl Member {
    /// The size that an image is checked for: that of its annotations, or what it says itself.
    fn expected_size(&self) -> Option<(u32, u32)> {
        self.size.or_else(|| own_size(&self.bytes))
    }

    fn checked(&self, size: Option<(u32, u32)>, defects: Vec<Defect>) -> Checked {
        Checked { extent: self.extent, size, defects }
    }

    /// What is found without decoding anything: of an image, whether its size is that of its annotations.
    pub(super) fn check_quickly(&self) -> Checked {
        let size = if self.is_image { self.expected_size() } else { None };
        let found = match self.size.filter(|_| self.is_image) {
            Some(size) => check_head(&self.bytes, size),
            None => Ok(()),
        };
        self.checked(size, self.undecodable(found).into_iter().collect())
    }

    fn undecodable(&self, found: Result<()>) -> Option<Defect> {
        found.err().map(|error| Defect::damage("image cannot be decoded", &self.name, &self.extent, &error))
    }

    fn check_annotations(&self, rle: &mut Rle) -> Checked {
        let (name, extent) = (&self.name, &self.extent);
        let file = match AnnotationFile::parse(&self.bytes) {
            Ok(file) => file,
            Err(error) => {
                return self.checked(None, vec![Defect::damage("annotations cannot be read", name, extent, &error)]);
            }
        };
        let mut defects = Vec::new();
        let defect = |kind, reason| Defect::of_member(kind, Severity::Defect, name, extent, reason);
        for annotation in &file.annotations {
            match MaskMismatch::of(annotation, file.image.height, file.image.width, rle) {
                Err(error) => defects.push(Defect::damage("mask cannot be read", name, extent, &error)),
                Ok(_) if rle.area() == 0 => {
                    defects.push(defect("mask without a pixel", format!("annotation {}", annotation.id)));
                }
                Ok(Some(mismatch)) => {
                    let kind = if mismatch.bbox.is_some() { "mask unlike its box" } else { "mask unlike its area" };
                    defects.push(defect(kind, mismatch.to_string()));
                }
                Ok(None) => {}
            }
        }
        self.checked(None, defects)
    }

    fn check_exif(&self) -> Option<Defect> {
        let turn = exif_orientation(&self.bytes).filter(|turn| (2..=8).contains(turn))?;
        let text = format!("EXIF orientation {turn} is ignored, so masks drawn on the upright picture do not fit");
        Some(Defect::of_member("image turned by EXIF", Severity::Note, &self.name, &self.extent, text))
    }
}

/// Checks members, several images at a time.
pub(super) struct Checker {
    level: Level,
    decoder: Decoder,
    rle: Rle,
    max_pixels: u64,
}

/// Where members come from, and where the results go.
pub(super) trait Members {
    /// The handle of a member, which is given back.
    type Handle;
    /// The next member, if there is one now.
    fn next(&mut self) -> Option<(Self::Handle, Member)>;
    fn done(&mut self, handle: Self::Handle, checked: Checked);
}

impl Checker {
    pub(super) fn new(level: Level, max_pixels: u64) -> Self {
        // As small as can be: only errors matter.
        Self { level, decoder: Decoder::new(ScaledDecode::Auto, max_pixels), rle: Rle::default(), max_pixels }
    }

    /// Memory that is not that of an earlier member, after a panic.
    pub(super) fn renew(&mut self) {
        *self = Self::new(self.level, self.max_pixels);
    }

    pub(super) fn run(&mut self, members: &mut impl Members) {
        let Self { level, decoder, rle, .. } = self;
        if *level == Level::Full {
            decoder.run(&mut Images { members, rle });
            return;
        }
        while let Some((handle, member)) = members.next() {
            members.done(handle, member.check_quickly());
        }
    }
}

/// The images among the members. The others are checked when it is their turn.
struct Images<'a, M> {
    members: &'a mut M,
    rle: &'a mut Rle,
}

struct Image<H> {
    handle: H,
    member: Member,
    size: Option<(u32, u32)>,
    pixel: [u8; 3],
}

impl<H> ImageTask for Image<H> {
    fn jpeg(&self) -> &[u8] {
        &self.member.bytes
    }

    fn size(&self) -> (u32, u32) {
        self.size.unwrap_or_default()
    }

    fn canvas(&mut self) -> Canvas<'_> {
        Canvas::new(&Planes::U8, (1, 1), 1, &mut self.pixel)
    }
}

impl<M: Members> ImageSource for Images<'_, M> {
    type Task = Image<M::Handle>;

    fn next(&mut self, _under_way: usize) -> Option<Self::Task> {
        loop {
            let (handle, member) = self.members.next()?;
            if !member.is_image {
                let checked = member.check_annotations(self.rle);
                self.members.done(handle, checked);
                continue;
            }
            let size = member.expected_size();
            if size.is_some() {
                return Some(Image { handle, size, member, pixel: [0; 3] });
            }
            // It is checked again when the size in its annotations is known.
            self.members.done(handle, member.checked(None, Vec::new()));
        }
    }

    fn done(&mut self, image: Self::Task, result: Result<(), Error>) {
        let Image { handle, member, size, .. } = image;
        let defects = [member.check_exif(), member.undecodable(result)].into_iter().flatten().collect();
        self.members.done(handle, member.checked(size, defects));
    }
}

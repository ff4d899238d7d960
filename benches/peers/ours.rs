//! This crate's implementation of the operations. The name of an operation is that of the peers' method in `masks.py`.
//! If one of ours returns an error, the bench ends.

use std::cell::LazyCell;
use std::slice::from_ref;

use About::{Kin, Near, Same};
use maskstream::mask::{Connectivity, Grid, GridScratch, Merge, Rle, RleError, box_iou, iou, merge, nms};

use super::cases::Image;
use super::digest::Digest;
use super::sure;

/// Number of masks in a merge of many.
pub(super) const GROUP: usize = 16;
/// Whole bitmaps are slow to handle, so only every n-th mask is used.
const FEW: usize = 8;
/// Overlap beyond which nms drops a mask.
const THRESHOLD: f64 = 0.5;
/// Width of boundaries as a fraction of the image's diagonal: 2 %, as in Boundary IoU.
const THICKNESS: u32 = 54;

/// An operation to compare.
pub(super) struct Operation<'a> {
    pub(super) name: &'static str,
    pub(super) about: About,
    /// Only every n-th mask is used.
    pub(super) step: usize,
    /// A pass over all inputs, which the first pass creates. Returns the number of results.
    pub(super) run: Box<dyn FnMut(&mut Digest) -> usize + 'a>,
}

/// How closely results agree.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum About {
    /// They are the same.
    Same,
    /// They differ by rounding or at the image's edge; their sums agree to 2 %.
    Near,
    /// The peer uses another definition.
    Kin,
}

impl About {
    /// Its mark in the table.
    pub(super) fn sign(self) -> &'static str {
        match self {
            Self::Same => "",
            Self::Near => " ~",
            Self::Kin => " ?",
        }
    }

    pub(super) fn agree(self, ours: f64, other: f64) -> bool {
        let tolerance = match self {
            Self::Same => 1e-6,
            Self::Near => 2e-2,
            Self::Kin => f64::INFINITY,
        };
        (ours - other).abs() <= tolerance * ours.abs()
    }
}

/// A mask of the cases.
struct Case<'a> {
    /// Number of its image.
    image: usize,
    height: u32,
    width: u32,
    counts: &'a str,
    mask: Rle,
}

impl Case<'_> {
    fn parse(&self) -> Rle {
        sure(Rle::from_counts(self.counts.as_bytes(), self.height, self.width))
    }

    fn encode_columns(&self, bitmap: &[u8]) -> Rle {
        sure(Rle::from_column_major(bitmap, self.height, self.width))
    }

    fn encode_rows(&self, bitmap: &[u8]) -> Rle {
        sure(Rle::from_row_major(bitmap, self.height, self.width))
    }
}

/// The cases in the forms that the operations need.
pub(super) struct Cases<'a> {
    images: &'a [Image],
    masks: Vec<Vec<Case<'a>>>,
}

impl<'a> Cases<'a> {
    pub(super) fn new(images: &'a [Image]) -> Self {
        let masks = |(index, image): (usize, &'a Image)| {
            let case = |counts: &'a String| {
                let (height, width) = (image.height, image.width);
                let mask = sure(Rle::from_counts(counts.as_bytes(), height, width));
                Case { image: index, height, width, counts, mask }
            };
            image.counts.iter().map(case).collect()
        };
        Self { images, masks: images.iter().enumerate().map(masks).collect() }
    }

    fn masks(&self) -> impl Iterator<Item = &Case<'a>> {
        self.masks.iter().flatten()
    }

    /// Each mask with the next one of its image.
    fn pairs(&self) -> impl Iterator<Item = [&Case<'a>; 2]> {
        self.masks.iter().flat_map(|image| image.iter().zip(image.iter().cycle().skip(1)).map(|(a, b)| [a, b]))
    }

    /// Sixteen masks of an image each.
    fn groups(&self) -> impl Iterator<Item = &[Case<'a>]> {
        self.masks.iter().flat_map(|image| image.chunks_exact(GROUP))
    }

    /// Polygons, each with height and width of its image.
    fn polygons(&self) -> impl Iterator<Item = (&'a [f64], [u32; 2])> {
        self.images.iter().flat_map(|image| image.polygons.iter().map(|p| (p.as_slice(), [image.height, image.width])))
    }

    /// A grid for each image.
    fn grids(&self, [rows, columns]: [u32; 2]) -> Vec<Grid> {
        self.images.iter().map(|image| sure(Grid::stretch(image.height, image.width, rows, columns))).collect()
    }
}

/// All operations.
pub(super) fn all<'a>(cases: &'a Cases<'a>) -> Vec<Operation<'a>> {
    let rooms = [strings(cases), bitmaps(cases), grids(cases), sets(cases), shapes(cases), regions(cases)];
    rooms.into_iter().flatten().collect()
}

/// Counts strings, and the properties of a mask.
fn strings<'a>(cases: &'a Cases<'a>) -> Vec<Operation<'a>> {
    let masks = || cases.masks().collect();
    vec![
        each("parse", Same, masks, |case, out| out.mask(&case.parse())),
        each("to string", Same, masks, |case, out| out.bytes(case.mask.to_counts().as_bytes())),
        each("area of string", Same, masks, |case, out| out.number(case.parse().area() as f64)),
        each("box of string", Same, masks, |case, out| out.numbers(&case.parse().bbox().map(f64::from))),
        each("area", Same, masks, |case, out| out.number(case.mask.area() as f64)),
        each("box", Same, masks, |case, out| out.numbers(&case.mask.bbox().map(f64::from))),
        each("centroid", Near, masks, |case, out| out.numbers(&case.mask.centroid().unwrap_or_default())),
    ]
}

/// Full bitmaps.
fn bitmaps<'a>(cases: &'a Cases<'a>) -> Vec<Operation<'a>> {
    let few = || cases.masks().step_by(FEW).collect();
    let columns = || cases.masks().step_by(FEW).map(|case| (case, sure(case.mask.to_column_major()))).collect();
    let rows = || cases.masks().step_by(FEW).map(|case| (case, sure(case.mask.to_row_major()))).collect();
    let into_buffer = |name, len: fn(&Rle) -> usize, write: fn(&Rle, &mut [u8]) -> Result<(), RleError>| {
        let mut buffer = Vec::new();
        each_of_few(name, Same, few, move |case, out| {
            let mask = case.parse();
            buffer.resize(len(&mask), 0);
            sure(write(&mask, &mut buffer));
            out.bytes(&buffer);
        })
    };
    vec![
        each_of_few("decode string to bitmap", Same, few, |case, out| out.bytes(&sure(case.parse().to_column_major()))),
        into_buffer("decode string to buffer", pixels, Rle::write_column_major),
        each_of_few("decode string to row-major bitmap", Same, few, |case, out| {
            out.bytes(&sure(case.parse().to_row_major()));
        }),
        into_buffer("decode string to row-major buffer", pixels, Rle::write_row_major),
        into_buffer("decode string to packed buffer", packed_bytes, Rle::write_packed),
        each_of_few("encode bitmap", Same, columns, |(case, bitmap), out| out.mask(&case.encode_columns(bitmap))),
        each_of_few("encode bitmap to string", Same, columns, |(case, bitmap), out| {
            out.bytes(case.encode_columns(bitmap).to_counts().as_bytes());
        }),
        each_of_few("encode row-major bitmap", Same, rows, |(case, bitmap), out| out.mask(&case.encode_rows(bitmap))),
        each_of_few("encode row-major bitmap to string", Same, rows, |(case, bitmap), out| {
            out.bytes(case.encode_rows(bitmap).to_counts().as_bytes());
        }),
    ]
}

/// Masks drawn on a grid.
fn grids<'a>(cases: &'a Cases<'a>) -> Vec<Operation<'a>> {
    let few = || cases.masks().step_by(FEW).collect();
    let nearest = |name, size: [u32; 2]| {
        let (grids, mut cells) = (cases.grids(size), vec![0; (size[0] * size[1]) as usize]);
        let mut scratch = GridScratch::default();
        each_of_few(name, Near, few, move |case, out| {
            sure(grids[case.image].nearest(&case.parse(), &mut scratch, &mut cells));
            out.bytes(&cells);
        })
    };
    let area = |name, size: [u32; 2]| {
        let (grids, mut cells) = (cases.grids(size), vec![0; (size[0] * size[1]) as usize]);
        let mut scratch = GridScratch::default();
        each_of_few(name, Near, few, move |case, out| {
            sure(grids[case.image].area(&case.parse(), &mut scratch, &mut cells));
            out.bytes(&cells);
        })
    };
    vec![
        nearest("nearest 64x64 of string", [64, 64]),
        nearest("nearest 256x256 of string", [256, 256]),
        nearest("nearest 683x1024 of string", [683, 1024]),
        area("area 64x64 of string", [64, 64]),
        area("area 256x256 of string", [256, 256]),
        area("area 683x1024 of string", [683, 1024]),
    ]
}

/// Several masks at once.
fn sets<'a>(cases: &'a Cases<'a>) -> Vec<Operation<'a>> {
    let images = || cases.masks.iter().collect();
    let pairs = || cases.pairs().collect();
    let groups = || cases.groups().collect();
    let lists = || cases.masks.iter().map(|image| masks_of(image)).collect();
    let lists_of_16 = || cases.groups().map(masks_of).collect();
    let pair = |name, merge: fn(&Rle, &Rle) -> Result<Rle, RleError>| {
        each(name, Same, pairs, move |[a, b], out| out.mask(&sure(merge(&a.mask, &b.mask))))
    };
    let pair_of_strings = |name, merge: fn(&Rle, &Rle) -> Result<Rle, RleError>| {
        each(name, Same, pairs, move |[a, b], out| {
            out.bytes(sure(merge(&a.parse(), &b.parse())).to_counts().as_bytes());
        })
    };
    let boxes = || {
        let boxes =
            |image: &Vec<Case<'_>>| image.iter().map(|case| case.mask.bbox().map(f64::from)).collect::<Vec<_>>();
        cases.masks.iter().map(boxes).collect()
    };
    // Descending, so that the masks are already sorted.
    let scores = |count: usize| (0..count).map(|index| -(index as f32)).collect::<Vec<_>>();
    vec![
        pair_of_strings("union of 2 strings", Rle::union),
        pair_of_strings("intersection of 2 strings", Rle::intersection),
        each("union of 16 strings", Same, groups, |group, out| {
            let masks: Vec<_> = group.iter().map(Case::parse).collect();
            out.bytes(sure(merge(&masks, Merge::Union)).to_counts().as_bytes());
        }),
        pair("union of 2", Rle::union),
        pair("intersection of 2", Rle::intersection),
        pair("difference of 2", Rle::difference),
        pair("xor of 2", Rle::xor),
        each("union of 16", Same, lists_of_16, |masks, out| out.mask(&sure(merge(masks, Merge::Union)))),
        each("iou of 2 strings", Same, pairs, |[a, b], out| out.numbers(&sure(iou(&[a.parse()], &[b.parse()], None)))),
        each("iou of 2", Same, pairs, |[a, b], out| {
            out.numbers(&sure(iou(from_ref(&a.mask), from_ref(&b.mask), None)));
        }),
        each("iou matrix of strings", Same, images, |image, out| {
            let masks: Vec<_> = image.iter().map(Case::parse).collect();
            out.numbers(&sure(iou(&masks, &masks, None)));
        }),
        each("iou matrix", Same, lists, |masks, out| out.numbers(&sure(iou(masks, masks, None)))),
        each("iou matrix of boxes", Same, boxes, |boxes, out| out.numbers(&sure(box_iou(boxes, boxes, None)))),
        each("nms of strings", Same, images, move |image, out| {
            let masks: Vec<_> = image.iter().map(Case::parse).collect();
            let kept = sure(nms(&masks, &scores(masks.len()), THRESHOLD));
            kept.iter().for_each(|&index| out.number(index as f64));
        }),
    ]
}

/// Masks from outlines and from other masks.
fn shapes<'a>(cases: &'a Cases<'a>) -> Vec<Operation<'a>> {
    let masks = || cases.masks().collect();
    let polygons = || cases.polygons().collect();
    let boxed = || cases.masks().map(|case| (case, case.mask.bbox())).collect();
    let resize = |name, [rows, columns]: [u32; 2]| {
        each(name, Near, masks, move |case, out| out.mask(&sure(case.mask.resize(rows, columns))))
    };
    // With one grid for all masks of an image.
    let resample = |name, size| {
        let grids = cases.grids(size);
        each(name, Near, masks, move |case, out| out.mask(&sure(grids[case.image].resample(&case.mask))))
    };
    vec![
        each("polygon to string", Same, polygons, |(points, [height, width]), out| {
            out.bytes(sure(Rle::from_polygon(points, *height, *width)).to_counts().as_bytes());
        }),
        each("polygon", Same, polygons, |(points, [height, width]), out| {
            out.mask(&sure(Rle::from_polygon(points, *height, *width)));
        }),
        each("crop to box", Same, boxed, |(case, [x, y, width, height]), out| {
            out.mask(&sure(case.mask.crop(*x, *y, *width, *height)));
        }),
        each("pad", Same, masks, |case, out| out.mask(&sure(case.mask.pad(8, 8, 8, 8)))),
        each("flip horizontal", Same, masks, |case, out| out.mask(&case.mask.flip_horizontal())),
        each("flip vertical", Same, masks, |case, out| out.mask(&case.mask.flip_vertical())),
        each("transpose", Same, masks, |case, out| out.mask(&sure(case.mask.transpose()))),
        resize("resize 256x256", [256, 256]),
        resize("resize 683x1024", [683, 1024]),
        resample("resample 256x256", [256, 256]),
        resample("resample 683x1024", [683, 1024]),
        each("complement", Same, masks, |case, out| out.mask(&case.mask.complement())),
    ]
}

/// Operations that depend on a pixel's neighbours.
fn regions<'a>(cases: &'a Cases<'a>) -> Vec<Operation<'a>> {
    let masks = || cases.masks().collect();
    let few = || cases.masks().step_by(FEW).collect();
    let components = |name, connectivity| {
        each(name, Same, masks, move |case, out| out.number(sure(case.mask.components(connectivity)).len() as f64))
    };
    let outlines = |name, tolerance| {
        each_of_few(name, Kin, few, move |case, out| {
            let polygons = sure(case.parse().to_polygons(tolerance)).polygons;
            out.number(polygons.iter().map(|polygon| 1 + polygon.holes.len()).sum::<usize>() as f64);
        })
    };
    vec![
        components("components 4", Connectivity::Four),
        components("components 8", Connectivity::Eight),
        each_of_few("components of string", Same, few, |case, out| {
            out.number(sure(case.parse().components(Connectivity::Eight)).len() as f64);
        }),
        each("fill holes", Near, masks, |case, out| out.mask(&case.mask.fill_holes())),
        outlines("outlines of string", 0.0),
        outlines("outlines within 1 pixel of string", 1.0),
        each("erode 1", Near, masks, |case, out| out.mask(&sure(case.mask.erode(1)))),
        each("erode 5", Near, masks, |case, out| out.mask(&sure(case.mask.erode(5)))),
        each("dilate 1", Near, masks, |case, out| out.mask(&case.mask.dilate(1))),
        each("dilate 5", Near, masks, |case, out| out.mask(&case.mask.dilate(5))),
        each("boundary", Same, masks, |case, out| out.mask(&sure(case.mask.boundary(THICKNESS)))),
        each_of_few("boundary of string", Same, few, |case, out| {
            out.bytes(sure(case.parse().boundary(THICKNESS)).to_counts().as_bytes());
        }),
    ]
}

fn pixels(mask: &Rle) -> usize {
    mask.height() as usize * mask.width() as usize
}

fn packed_bytes(mask: &Rle) -> usize {
    mask.height() as usize * (mask.width() as usize).div_ceil(8)
}

fn masks_of(cases: &[Case<'_>]) -> Vec<Rle> {
    cases.iter().map(|case| case.mask.clone()).collect()
}

/// An operation that calls `call` on each input.
fn each<'a, T: 'a>(
    name: &'static str,
    about: About,
    inputs: impl FnOnce() -> Vec<T> + 'a,
    mut call: impl FnMut(&T, &mut Digest) + 'a,
) -> Operation<'a> {
    let inputs = LazyCell::new(inputs);
    let run = move |digest: &mut Digest| {
        inputs.iter().for_each(|input| call(input, digest));
        inputs.len()
    };
    Operation { name, about, step: 1, run: Box::new(run) }
}

/// [`each`] on a part of the inputs.
fn each_of_few<'a, T: 'a>(
    name: &'static str,
    about: About,
    inputs: impl FnOnce() -> Vec<T> + 'a,
    call: impl FnMut(&T, &mut Digest) + 'a,
) -> Operation<'a> {
    Operation { step: FEW, ..each(name, about, inputs, call) }
}

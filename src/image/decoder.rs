//! Decodes a JPEG to the planes of a batch, in buffers that are reused from image to image.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;
use serde::Serialize;

use super::jpeg::{
    Decoding, KnownTables, Picture, Rows as PictureRows, Scratch, check, interleave, refuse_holes, run_together,
};
use super::pixels::{Pixels, check_size};
use super::planes::Canvas;
use super::resize::{Axis, Rows, Weights};
use super::simd::Simd;
use crate::{Error, Result};

/// Sizes whose weights are kept: SA-1B has a few common sizes.
const KEPT_WEIGHTS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(7);

/// Whether a JPEG may be decoded at a part of its size.
///
/// ```
/// use maskstream::{Loader, ScaledDecode};
///
/// // As Pillow decodes and resizes, for comparisons with other pipelines.
/// let builder = Loader::builder().scaled_decode(ScaledDecode::Full);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum ScaledDecode {
    /// At a half, a quarter or an eighth of its size while that is at least its size on the canvas: a sample is then
    /// the mean of the pixels that it stands for. Faster. The default.
    #[default]
    Auto,
    /// At its full size; the resized image equals that of Pillow's `BILINEAR`.
    Full,
}

impl ScaledDecode {
    /// The k of the scale 1 / 2^k for an image of `size` that becomes `target`.
    fn shift(self, size: (u32, u32), target: (u32, u32)) -> u32 {
        match self {
            Self::Full => 0,
            Self::Auto => (1..=3).rev().find(|k| size.0 >= target.0 << k && size.1 >= target.1 << k).unwrap_or(0),
        }
    }
}

/// Decodes images, one or a few at a time, reusing its buffers. Each worker has one.
pub struct Decoder {
    scaled: ScaledDecode,
    max_pixels: u64,
    simd: Simd,
    tables: KnownTables,
    weights: LruCache<Sizes, Arc<Weights>>,
    /// Memory that was used and is free.
    free: Vec<(Scratch, Rows)>,
    /// A JPEG as zune-jpeg gets it, and what it makes of it.
    jpeg: Vec<u8>,
    pixels: Pixels,
}

/// Sizes that weights depend on: that of the image, its scale, and that on the canvas.
type Sizes = ((u32, u32), u32, (u32, u32));

/// An image to decode.
#[derive(Debug)]
pub struct ImageJob<'a> {
    /// The JPEG.
    pub jpeg: &'a [u8],
    /// The (width, height) that its annotations say: that of the JPEG unless it is a derived one.
    pub size: (u32, u32),
    /// Where it goes, resized to the canvas's image. Every byte of it is written, except where there is an error.
    pub canvas: Canvas<'a>,
}

impl Decoder {
    /// A decoder that refuses images of more than `max_pixels` pixels.
    pub fn new(scaled: ScaledDecode, max_pixels: u64) -> Self {
        Self {
            scaled,
            max_pixels,
            simd: Simd::best(),
            tables: KnownTables::default(),
            weights: LruCache::new(KEPT_WEIGHTS),
            free: Vec::new(),
            jpeg: Vec::new(),
            pixels: Pixels::default(),
        }
    }

    /// Uses only the instructions that `simd` allows. The pixels are the same.
    pub fn simd(mut self, simd: Simd) -> Self {
        self.simd = simd;
        self
    }

    /// Decodes an image.
    ///
    /// # Errors
    /// If it is no JPEG, is damaged or cut short, is not of the size that its annotations say, or has more pixels than
    /// allowed.
    pub fn decode(&mut self, job: ImageJob<'_>) -> Result<()> {
        self.decode_all(&mut [job]).pop().unwrap_or(Ok(()))
    }

    /// Decodes images at once, which takes less time than one after the other. Each has a result of its own, and the
    /// same pixels as alone.
    pub fn decode_all(&mut self, jobs: &mut [ImageJob<'_>]) -> Vec<Result<()>> {
        let pictures: Vec<_> = jobs.iter().map(|job| self.read(job)).collect();
        self.tables.make_room(jobs.len());
        let (mut results, mut decodings, mut places) = (Vec::new(), Vec::new(), Vec::new());
        for (place, (picture, job)) in pictures.iter().zip(jobs.iter_mut()).enumerate() {
            let Ok(picture) = picture else {
                results.push(Ok(()));
                continue;
            };
            results.push(self.prepare(picture, &mut job.canvas).map(|prepared| {
                places.extend(prepared.is_some().then_some(place));
                decodings.extend(prepared);
            }));
        }
        let decoded = run_together(&mut decodings, &mut self.tables, self.simd);
        for (place, result) in places.into_iter().zip(decoded) {
            results[place] = result;
        }
        self.free.extend(decodings.into_iter().map(|decoding| {
            let (scratch, to_canvas) = decoding.into_parts();
            (scratch, to_canvas.rows)
        }));
        for job in jobs {
            job.canvas.pad();
        }
        pictures.into_iter().zip(results).map(|(picture, result)| picture.and(result)).collect()
    }

    fn read<'a>(&self, job: &ImageJob<'a>) -> Result<Picture<'a>> {
        let picture = Picture::read(job.jpeg)?;
        check_size(picture.size(), job.size, job.jpeg)?;
        let (width, height) = picture.size();
        if u64::from(width) * u64::from(height) > self.max_pixels {
            let max = self.max_pixels;
            return Err(Error::limit(format!(
                "the image has {width} x {height} pixels, more than max_image_pixels, {max}"
            )));
        }
        refuse_holes(&picture)?;
        Ok(picture)
    }

    /// Prepares the decoding of a picture. Other forms than the usual one are decoded at once.
    fn prepare<'a, 'b>(
        &mut self,
        picture: &'a Picture<'a>,
        canvas: &'a mut Canvas<'b>,
    ) -> Result<Option<Decoding<'a, ToCanvas<'a, 'b>>>> {
        if picture.is_sequential() && !picture.has_one_scan() {
            let mut one_scan = Vec::new();
            interleave(picture, &mut one_scan)?;
            let picture = Picture::read(&one_scan)?;
            let Some(mut decoding) = self.prepare_one_scan(&picture, canvas)? else { return Ok(None) };
            return decoding.run(&self.tables, self.simd).map(|()| None);
        }
        self.prepare_one_scan(picture, canvas)
    }

    fn prepare_one_scan<'a, 'b>(
        &mut self,
        picture: &'a Picture<'a>,
        canvas: &'a mut Canvas<'b>,
    ) -> Result<Option<Decoding<'a, ToCanvas<'a, 'b>>>> {
        let (size, target) = (picture.size(), canvas.size());
        let shift = self.scaled.shift(size, target);
        let Some(layout) = self.tables.layout(picture, shift) else {
            return self.decode_elsewhere(picture, canvas).map(|()| None);
        };
        let (scratch, rows) = self.free.pop().unwrap_or_default();
        let to_canvas = self.to_canvas(rows, size, shift, canvas);
        Decoding::new(picture, layout, self.simd, scratch, to_canvas).map(Some)
    }

    fn to_canvas<'a, 'b>(
        &mut self,
        mut rows: Rows,
        size: (u32, u32),
        shift: u32,
        canvas: &'a mut Canvas<'b>,
    ) -> ToCanvas<'a, 'b> {
        let target = canvas.size();
        let make = || Arc::new(weights_of(size, shift, target));
        let weights = Arc::clone(self.weights.get_or_insert((size, shift, target), make));
        rows.begin(size.0.div_ceil(1 << shift) as usize, &weights);
        ToCanvas { rows, weights, simd: self.simd, canvas }
    }

    /// Decodes progressive pictures, and those of four components.
    fn decode_elsewhere(&mut self, picture: &Picture<'_>, canvas: &mut Canvas<'_>) -> Result<()> {
        if picture.is_sequential() || picture.is_progressive() {
            check(picture)?;
        }
        super::zune::decode(picture, &mut self.jpeg, &mut self.pixels)?;
        let size = picture.size();
        let mut to_canvas = self.to_canvas(Rows::default(), size, 0, canvas);
        for row in self.pixels.bytes.chunks_exact(3 * size.0 as usize) {
            let [red, green, blue] = to_canvas.next_row();
            for (i, pixel) in row.as_chunks::<3>().0.iter().enumerate() {
                (red[i], green[i], blue[i]) = (pixel[0], pixel[1], pixel[2]);
            }
            to_canvas.row_written();
        }
        Ok(())
    }
}

fn weights_of(size: (u32, u32), shift: u32, target: (u32, u32)) -> Weights {
    let axis = |size: u32, target: u32| {
        let samples = size.div_ceil(1 << shift);
        Axis::new(samples as usize, f64::from(size) / f64::from(1 << shift), target as usize)
    };
    Weights::new(axis(size.0, target.0), axis(size.1, target.1))
}

/// Rows of an image that are resized and written to a canvas.
struct ToCanvas<'a, 'b> {
    rows: Rows,
    weights: Arc<Weights>,
    simd: Simd,
    canvas: &'a mut Canvas<'b>,
}

impl PictureRows for ToCanvas<'_, '_> {
    fn next_row(&mut self) -> [&mut [u8]; 3] {
        self.rows.next_row()
    }

    fn row_written(&mut self) {
        self.rows.row_written(&self.weights, self.simd, |y, rgb| self.canvas.write_row(y, rgb));
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scaled, max_pixels, simd, .. } = self;
        f.debug_struct("Decoder")
            .field("scaled", scaled)
            .field("max_pixels", max_pixels)
            .field("simd", simd)
            .finish_non_exhaustive()
    }
}

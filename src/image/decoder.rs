//! Decodes a JPEG to the planes of a batch, in buffers that are reused from image to image.

use std::fmt;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use lru::LruCache;
use serde::Serialize;

use super::job::{ImageJob, ImageSource, ImageTask, Jobs};
use super::jpeg::{
    Damaged, Decoding, KnownTables, Picture, Progress, Rows as PictureRows, Scratch, TOGETHER, check, decode_one,
    decode_some, interleave, refuse_holes, verdict,
};
use super::output::{Output, ToCanvas};
use super::pixels::{Pixels, check_size};
use super::resize::{Axis, Weights};
use super::simd::Simd;
use super::view::{View, touched};
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
    /// The k of the scale 1 / 2^k for a part of an image that becomes `target`.
    fn shift(self, view: &View, target: (u32, u32)) -> u32 {
        let is_enough = |extent: &Range<f64>, target: u32, k: u32| {
            extent.end - extent.start >= f64::from(target) * f64::from(1 << k)
        };
        let is_enough = |k: &u32| is_enough(&view.x, target.0, *k) && is_enough(&view.y, target.1, *k);
        match self {
            Self::Full => 0,
            Self::Auto => (1..=3).rev().find(is_enough).unwrap_or(0),
        }
    }
}

/// Decodes images, one or a few at a time, reusing its buffers. Each worker has one.
pub struct Decoder {
    scaled: ScaledDecode,
    max_pixels: u64,
    simd: Simd,
    tables: KnownTables,
    weights: LruCache<(Span, Span, [bool; 2]), Arc<Weights>>,
    /// Memory that was used and is free.
    free: Vec<(Scratch, Output)>,
    /// A JPEG as zune-jpeg gets it, and what it makes of it.
    jpeg: Vec<u8>,
    pixels: Pixels,
}

/// What weights of one direction depend on.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Span {
    /// The samples that are weighed, and the edges of what they show, as bits.
    inputs: Range<usize>,
    edges: [u64; 2],
    outputs: usize,
}

impl Span {
    /// Of the samples `touched` by `extent`, which come after `before` others, to `outputs` pixels.
    fn new(extent: &Range<f64>, touched: &Range<usize>, before: usize, outputs: u32) -> Self {
        let edge = |edge: f64| (edge - touched.start as f64 + before as f64).to_bits();
        let edges = [edge(extent.start), edge(extent.end)];
        Self { inputs: before..before + touched.len(), edges, outputs: outputs as usize }
    }

    fn axis(&self) -> Axis {
        let [start, end] = self.edges.map(f64::from_bits);
        Axis::new(self.inputs.clone(), start..end, self.outputs)
    }
}

/// An image between its codes and its canvas.
struct InProgress<T> {
    task: T,
    decoding: Decoding,
    output: Output,
    weights: Arc<Weights>,
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
        let mut jobs = Jobs::new(jobs);
        self.run(&mut jobs);
        jobs.results
    }

    /// Decodes images until there is none to be begun, a few at once while there are as many.
    pub fn run<S: ImageSource>(&mut self, source: &mut S) {
        let mut active: Vec<InProgress<S::Task>> = Vec::new();
        loop {
            while active.len() < TOGETHER {
                // The tables of images that are under way have to stay.
                if active.is_empty() {
                    self.tables.make_room();
                } else if !self.tables.has_room() {
                    break;
                }
                let Some(task) = source.next(active.len()) else { break };
                match self.begin(task) {
                    Ok(image) if active.first().is_none_or(|first| first.decoding.is_like(&image.decoding)) => {
                        active.push(image);
                    }
                    Ok(image) => {
                        let (task, result) = self.finish_alone(image);
                        source.done(task, result);
                    }
                    Err((task, result)) => source.done(task, result),
                }
            }
            if active.is_empty() {
                return;
            }
            if let Some((number, result)) = self.advance(&mut active) {
                let (task, result) = self.end(active.remove(number), result);
                source.done(task, result);
            }
        }
    }

    /// Begins an image. One that is decoded elsewhere, or cannot be decoded, is done at once.
    fn begin<T: ImageTask>(&mut self, mut task: T) -> Result<InProgress<T>, (T, Result<()>)> {
        // Foreign code gets bytes that nobody has checked.
        let prepared = catch_unwind(AssertUnwindSafe(|| self.prepare(&mut task)));
        match prepared.unwrap_or_else(|payload| Err(Error::panic(&*payload))) {
            Ok(Some((decoding, output, weights))) => Ok(InProgress { task, decoding, output, weights }),
            Ok(None) => Err((task, Ok(()))),
            Err(error) => Err((task, Err(error))),
        }
    }

    /// Decodes on until a row of blocks is complete, or an image is done; returns which one, and its result.
    fn advance<T: ImageTask>(&mut self, active: &mut [InProgress<T>]) -> Option<(usize, Result<()>)> {
        loop {
            let number = match active {
                [image] if !image.decoding.is_in_chunk() => {
                    decode_one(&mut image.decoding, &self.tables, self.simd);
                    0
                }
                _ => {
                    let mut rest = active.iter_mut().map(|image| &mut image.decoding);
                    decode_some(std::array::from_fn(|_| rest.next()), &mut self.tables, self.simd)?
                }
            };
            let image = active.get_mut(number)?;
            match catch_unwind(AssertUnwindSafe(|| image.take(self.simd))) {
                Ok(Ok(Progress::InRow)) => {}
                Ok(Ok(Progress::EndOfRow)) => return None,
                Ok(Ok(Progress::Done)) => return Some((number, Ok(()))),
                Ok(Err(Failure::Damaged)) => return Some((number, Err(verdict(image.task.jpeg())))),
                Ok(Err(Failure::Other(error))) => return Some((number, Err(error))),
                Err(payload) => return Some((number, Err(Error::panic(&*payload)))),
            }
        }
    }

    fn finish_alone<T: ImageTask>(&mut self, image: InProgress<T>) -> (T, Result<()>) {
        let mut alone = [image];
        let result = loop {
            if let Some((_, result)) = self.advance(&mut alone) {
                break result;
            }
        };
        let [image] = alone;
        self.end(image, result)
    }

    fn end<T: ImageTask>(&mut self, image: InProgress<T>, result: Result<()>) -> (T, Result<()>) {
        let InProgress { mut task, decoding, output, .. } = image;
        task.canvas().pad();
        self.free.push((decoding.into_scratch(), output));
        (task, result)
    }

    fn read<'a>(&self, jpeg: &'a [u8], size: (u32, u32)) -> Result<Picture<'a>> {
        let picture = Picture::read(jpeg)?;
        check_size(picture.size(), size, jpeg)?;
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

    /// Prepares the decoding of an image. Other forms than the usual one are decoded at once.
    fn prepare(&mut self, task: &mut impl ImageTask) -> Result<Option<(Decoding, Output, Arc<Weights>)>> {
        let (size, canvas) = (task.size(), task.canvas().size());
        let picture = self.read(task.jpeg(), size)?;
        let view = task.view().resized(size, picture.size());
        let target = view.ordered(canvas);
        if picture.is_sequential() && !picture.has_one_scan() {
            let mut jpeg = Vec::new();
            interleave(&picture, &mut jpeg)?;
            let (size, color_steps) = (picture.size(), task.color_steps());
            return match self.begin(ImageJob { view, color_steps, ..ImageJob::new(&jpeg, size, task.canvas()) }) {
                Ok(image) => self.finish_alone(image).1.map(|()| None),
                Err((_, result)) => result.map(|()| None),
            };
        }
        let shift = self.scaled.shift(&view, target);
        let Some(mut layout) = self.tables.layout(&picture, shift) else {
            self.decode_to_pixels(&picture)?;
            self.draw_pixels(picture.size(), &view, task)?;
            return Ok(None);
        };
        let (scratch, mut output) = self.free.pop().unwrap_or_default();
        let view = view.scaled(shift);
        let (columns, lines) = (touched(&view.x, layout.size().0), touched(&view.y, layout.size().1));
        let before = layout.show(columns.clone(), lines.clone());
        let weights = self.weights(&view, (&columns, &lines), before, target);
        let width = layout.size().0;
        let decoding = Decoding::new(&picture, layout, self.simd, scratch, task.row_points())?;
        output.begin(width, &weights, task);
        Ok(Some((decoding, output, weights)))
    }

    /// The weights with which the samples `touched` by a view become `target`. Rows begin with `before` samples that
    /// are not part of it.
    fn weights(
        &mut self,
        view: &View,
        touched: (&Range<usize>, &Range<usize>),
        before: usize,
        target: (u32, u32),
    ) -> Arc<Weights> {
        let across = Span::new(&view.x, touched.0, before, target.0);
        let down = Span::new(&view.y, touched.1, 0, target.1);
        let key = (across, down, [view.flip_x, view.flip_y]);
        Arc::clone(self.weights.get_or_insert_ref(&key, || {
            let (across, down, [flip_x, flip_y]) = &key;
            let across = if *flip_x { across.axis().flipped() } else { across.axis() };
            Arc::new(Weights::new(across, down.axis(), *flip_y))
        }))
    }

    /// Decodes progressive pictures, and those of four components.
    fn decode_to_pixels(&mut self, picture: &Picture<'_>) -> Result<()> {
        if picture.is_sequential() || picture.is_progressive() {
            check(picture)?;
        }
        super::zune::decode(picture, &mut self.jpeg, &mut self.pixels)
    }

    fn draw_pixels(&mut self, size: (u32, u32), view: &View, task: &mut impl ImageTask) -> Result<()> {
        let (width, height) = (size.0 as usize, size.1 as usize);
        let (columns, lines) = (touched(&view.x, width), touched(&view.y, height));
        let weights = self.weights(view, (&columns, &lines), 0, view.ordered(task.canvas().size()));
        let mut output = Output::default();
        output.begin(columns.len(), &weights, task);
        let (simd, canvas) = (self.simd, task.canvas());
        let mut to_canvas = ToCanvas { output: &mut output, weights: &weights, simd, canvas };
        for row in self.pixels.bytes.chunks_exact(3 * width).skip(lines.start).take(lines.len()) {
            let [red, green, blue] = to_canvas.next_row();
            for (i, pixel) in row.as_chunks::<3>().0[columns.clone()].iter().enumerate() {
                (red[i], green[i], blue[i]) = (pixel[0], pixel[1], pixel[2]);
            }
            to_canvas.row_written();
        }
        output.finish(simd, task)?;
        task.canvas().pad();
        Ok(())
    }
}

/// Why an image cannot be decoded.
enum Failure {
    Damaged,
    Other(Error),
}

impl<T: ImageTask> InProgress<T> {
    /// Makes pixels of the chunk that was decoded.
    fn take(&mut self, simd: Simd) -> Result<Progress, Failure> {
        let Self { task, decoding, output, weights } = self;
        let progress = decoding.take(&mut ToCanvas { output, weights, simd, canvas: task.canvas() });
        let progress = progress.map_err(|Damaged| Failure::Damaged)?;
        if progress == Progress::Done {
            output.finish(simd, task).map_err(Failure::Other)?;
        }
        Ok(progress)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Canvas, Planes};

    /// Small enough for Miri, which the other tests of this room are not.
    #[test]
    fn a_jpeg_has_the_same_pixels_alone_and_beside_others_with_any_instructions() {
        const JPEG: &[u8] = include_bytes!("../../tests/golden/sequential.jpg");
        const SIZE: (u32, u32) = (45, 37);
        let cut = [&JPEG[..JPEG.len() - 40], &[0xff, 0xd9]].concat();
        for target in [(45, 37), (22, 18), (11, 9), (5, 4)] {
            let decode = |simd: Simd, jpegs: &[&[u8]]| {
                let mut outs = vec![vec![1; 3 * 45 * 45]; jpegs.len()];
                let canvases = outs.iter_mut().map(|out| Canvas::new(&Planes::U8, target, 45, out));
                let jobs = canvases.zip(jpegs).map(|(canvas, jpeg)| ImageJob::new(jpeg, SIZE, canvas));
                let mut decoder = Decoder::new(ScaledDecode::Auto, 1 << 20).simd(simd);
                let results = decoder.decode_all(&mut jobs.collect::<Vec<_>>());
                let is_ok: Vec<_> = results.iter().map(Result::is_ok).collect();
                (is_ok, outs)
            };
            let (is_ok, alone) = decode(Simd::PORTABLE, &[JPEG]);
            assert_eq!(is_ok, [true]);
            let (is_ok, together) = decode(Simd::best(), &[JPEG, &cut, JPEG]);
            assert_eq!(is_ok, [true, false, true]);
            assert!(together[0] == alone[0] && together[2] == alone[0]);
        }
    }
}

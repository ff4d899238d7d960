//! Images to decode, and where they come from.

use super::jpeg::RowPoints;
use super::planes::Canvas;
use super::view::View;
use crate::Result;
use crate::augment::ColorStep;

/// An image to decode.
pub trait ImageTask {
    /// The JPEG.
    fn jpeg(&self) -> &[u8];
    /// The (width, height) that its annotations say: that of the JPEG unless it is a derived one.
    fn size(&self) -> (u32, u32);
    /// The part of it that is wanted, in pixels of `size`: all of it unless the image is cropped.
    fn view(&self) -> View {
        View::whole(self.size())
    }
    /// Where the rows of the JPEG begin, if that is known.
    fn row_points(&self) -> Option<&RowPoints> {
        None
    }
    /// The changes of its colours.
    fn color_steps(&self) -> Vec<ColorStep> {
        Vec::new()
    }
    /// Whether [`ImageTask::transform`] is to be called.
    fn is_transformed(&self) -> bool {
        false
    }
    /// Changes the image as it will be on the canvas, without padding: three planes of bytes.
    fn transform(&mut self, _pixels: &mut [u8]) -> Result<()> {
        Ok(())
    }
    /// Where it goes, resized to the canvas's image. Every byte of it is written, except where there is an error.
    fn canvas(&mut self) -> Canvas<'_>;
}

/// Where images come from, and where they go.
pub trait ImageSource {
    /// The type of the images.
    type Task: ImageTask;
    /// The next image, if there is one to begin while `under_way` others are being decoded. Is asked again where a few
    /// rows have been decoded since.
    fn next(&mut self, under_way: usize) -> Option<Self::Task>;
    /// Takes an image back.
    fn done(&mut self, task: Self::Task, result: Result<()>);
}

/// An image for [`Decoder::decode`](super::Decoder::decode).
#[derive(Debug)]
pub struct ImageJob<'a> {
    /// The JPEG.
    pub jpeg: &'a [u8],
    /// The (width, height) that its annotations say: that of the JPEG unless it is a derived one.
    pub size: (u32, u32),
    /// The part of it that is wanted, in pixels of `size`.
    pub view: View,
    /// Where the rows of the JPEG begin, if that is known.
    pub row_points: Option<&'a RowPoints>,
    /// The changes of its colours.
    pub color_steps: Vec<ColorStep>,
    /// Where it goes, resized to the canvas's image. Every byte of it is written, except where there is an error.
    pub canvas: Canvas<'a>,
}

impl<'a> ImageJob<'a> {
    /// The whole image, in its own colours.
    pub fn new(jpeg: &'a [u8], size: (u32, u32), canvas: Canvas<'a>) -> Self {
        Self { jpeg, size, view: View::whole(size), row_points: None, color_steps: Vec::new(), canvas }
    }
}

impl ImageTask for ImageJob<'_> {
    fn jpeg(&self) -> &[u8] {
        self.jpeg
    }

    fn size(&self) -> (u32, u32) {
        self.size
    }

    fn view(&self) -> View {
        self.view.clone()
    }

    fn row_points(&self) -> Option<&RowPoints> {
        self.row_points
    }

    fn color_steps(&self) -> Vec<ColorStep> {
        self.color_steps.clone()
    }

    fn canvas(&mut self) -> Canvas<'_> {
        self.canvas.reborrow()
    }
}

/// Images in a slice, and their results.
pub(super) struct Jobs<'a, 'b> {
    jobs: std::iter::Enumerate<std::slice::IterMut<'a, ImageJob<'b>>>,
    pub(super) results: Vec<Result<()>>,
}

impl<'a, 'b> Jobs<'a, 'b> {
    pub(super) fn new(jobs: &'a mut [ImageJob<'b>]) -> Self {
        let results = jobs.iter().map(|_| Ok(())).collect();
        Self { jobs: jobs.iter_mut().enumerate(), results }
    }
}

/// A job with its number.
pub(super) struct Numbered<'a, 'b>(usize, &'a mut ImageJob<'b>);

impl ImageTask for Numbered<'_, '_> {
    fn jpeg(&self) -> &[u8] {
        self.1.jpeg()
    }

    fn size(&self) -> (u32, u32) {
        self.1.size()
    }

    fn view(&self) -> View {
        self.1.view()
    }

    fn row_points(&self) -> Option<&RowPoints> {
        self.1.row_points()
    }

    fn color_steps(&self) -> Vec<ColorStep> {
        self.1.color_steps()
    }

    fn canvas(&mut self) -> Canvas<'_> {
        self.1.canvas()
    }
}

impl<'a, 'b> ImageSource for Jobs<'a, 'b> {
    type Task = Numbered<'a, 'b>;

    fn next(&mut self, _under_way: usize) -> Option<Self::Task> {
        self.jobs.next().map(|(number, job)| Numbered(number, job))
    }

    fn done(&mut self, task: Self::Task, result: Result<()>) {
        self.results[task.0] = result;
    }
}

//! Writes rows of pixels to three planes of a square canvas, as numbers of the batch's type.

use bytemuck::Pod;
use half::{bf16, f16};

use crate::dtype::DType;
use crate::{Error, Result};

/// How float images are normalized: `(v / 255 - mean) / std` for each channel, R, G, B. Padding is 0 after that.
/// Images of type `u8` are not normalized.
///
/// ```
/// use maskstream::{DType, Loader, Normalization};
///
/// let builder = Loader::builder().image_dtype(DType::F32).normalize(Normalization::IMAGENET);
///
/// // To -1 to 1, by a mean and deviation of your own:
/// let centred = Normalization { mean: [0.5; 3], std: [0.5; 3] };
/// let builder = builder.normalize(centred);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalization {
    /// Mean of each channel, on the scale 0 to 1.
    pub mean: [f32; 3],
    /// Standard deviation of each channel, on the scale 0 to 1.
    pub std: [f32; 3],
}

impl Normalization {
    /// Mean 0 and deviation 1: values are 0 to 1.
    pub const UNIT: Self = Self { mean: [0.0; 3], std: [1.0; 3] };
    /// ImageNet's mean and deviation, as torchvision and SAM use them.
    pub const IMAGENET: Self = Self { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
}

impl Default for Normalization {
    fn default() -> Self {
        Self::UNIT
    }
}

/// Look-up tables from the byte values of each channel to normalized numbers of the batch's type.
#[derive(Debug)]
pub struct Planes(Lut);

#[derive(Debug)]
enum Lut {
    U8,
    F32(Box<[[f32; 256]; 3]>),
    F16(Box<[[f16; 256]; 3]>),
    Bf16(Box<[[bf16; 256]; 3]>),
}

impl Planes {
    /// For images of type `u8`, which are not normalized.
    pub const U8: Self = Self(Lut::U8);

    /// Tables for images of type `image_dtype`.
    ///
    /// # Errors
    /// If `image_dtype` is not U8, F32, F16 or Bf16.
    pub fn new(image_dtype: DType, normalization: Normalization) -> Result<Self> {
        let Normalization { mean, std } = normalization;
        let value = |channel: usize, v: usize| (v as f32 / 255.0 - mean[channel]) / std[channel];
        Ok(Self(match image_dtype {
            DType::U8 => Lut::U8,
            DType::F32 => Lut::F32(lut(value)),
            DType::F16 => Lut::F16(lut(|c, v| f16::from_f32(value(c, v)))),
            DType::Bf16 => Lut::Bf16(lut(|c, v| bf16::from_f32(value(c, v)))),
            DType::U32 | DType::I64 => {
                return Err(Error::config(format!("image_dtype is {image_dtype:?}, but must be U8, F32, F16 or Bf16")));
            }
        }))
    }
}

impl Planes {
    /// The number type of the images.
    fn dtype(&self) -> DType {
        match self.0 {
            Lut::U8 => DType::U8,
            Lut::F32(_) => DType::F32,
            Lut::F16(_) => DType::F16,
            Lut::Bf16(_) => DType::Bf16,
        }
    }
}

fn lut<T: Copy>(value: impl Fn(usize, usize) -> T) -> Box<[[T; 256]; 3]> {
    Box::new([0, 1, 2].map(|channel| std::array::from_fn(|v| value(channel, v))))
}

/// Where an image is written: three planes of a square canvas, with the image in the upper left corner and zeros
/// elsewhere.
#[derive(Debug)]
pub struct Canvas<'a> {
    planes: &'a Planes,
    width: usize,
    height: usize,
    side: usize,
    out: &'a mut [u8],
}

impl<'a> Canvas<'a> {
    /// A canvas of `side` x `side` pixels for an image of `size` (width, height), in the memory `out`.
    ///
    /// # Panics
    /// If the image does not fit the canvas, or if `out` does not hold exactly three planes of it, of the type that
    /// `planes` was made for and aligned for it.
    pub fn new(planes: &'a Planes, size: (u32, u32), side: u32, out: &'a mut [u8]) -> Self {
        let (width, height, side) = (size.0 as usize, size.1 as usize, side as usize);
        assert!(width <= side && height <= side && out.len() == 3 * side * side * planes.dtype().bytes());
        Self { planes, width, height, side, out }
    }

    /// The same canvas for a while.
    pub(super) fn reborrow(&mut self) -> Canvas<'_> {
        let &mut Self { planes, width, height, side, ref mut out } = self;
        Canvas { planes, width, height, side, out }
    }

    /// Width and height of the image.
    pub(super) fn size(&self) -> (u32, u32) {
        (self.width as u32, self.height as u32)
    }

    /// Writes row `y` of the image, and the padding to its right.
    pub(super) fn write_row(&mut self, y: usize, rgb: [&[u8]; 3]) {
        match &self.planes.0 {
            Lut::U8 => {
                for (plane, bytes) in rgb.into_iter().enumerate() {
                    let row = (plane * self.side + y) * self.side;
                    let (image, padding) = self.out[row..row + self.side].split_at_mut(self.width);
                    image.copy_from_slice(&bytes[..image.len()]);
                    padding.fill(0);
                }
            }
            Lut::F32(lut) => self.convert_row(y, rgb, lut),
            Lut::F16(lut) => self.convert_row(y, rgb, lut),
            Lut::Bf16(lut) => self.convert_row(y, rgb, lut),
        }
    }

    /// Whether its numbers are bytes.
    pub(super) fn has_bytes(&self) -> bool {
        matches!(self.planes.0, Lut::U8)
    }

    /// Row `y` of the image, of a canvas of bytes: its three planes.
    pub(super) fn row_of_bytes(&mut self, y: usize) -> [&mut [u8]; 3] {
        let (side, width) = (self.side, self.width);
        let (red, others) = self.out.split_at_mut(side * side);
        let (green, blue) = others.split_at_mut(side * side);
        [red, green, blue].map(|plane| &mut plane[side * y..side * y + width])
    }

    fn convert_row<T: Pod>(&mut self, y: usize, rgb: [&[u8]; 3], lut: &[[T; 256]; 3]) {
        let out: &mut [T] = bytemuck::cast_slice_mut(self.out);
        for (plane, (bytes, lut)) in rgb.into_iter().zip(lut).enumerate() {
            let row = (plane * self.side + y) * self.side;
            let (image, padding) = out[row..row + self.side].split_at_mut(self.width);
            image.iter_mut().zip(bytes).for_each(|(out, &byte)| *out = lut[usize::from(byte)]);
            padding.fill(T::zeroed());
        }
    }

    /// Writes the padding below the image.
    pub(super) fn pad(&mut self) {
        let row = self.side * self.planes.dtype().bytes();
        for plane in self.out.chunks_exact_mut(row * self.side) {
            // All of the number types have zero bytes where they are 0.
            plane[self.height * row..].fill(0);
        }
    }
}

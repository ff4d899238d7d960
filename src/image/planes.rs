//! Writes interleaved RGB pixels as three planes of a square canvas: the image in the upper left corner, zeros
//! elsewhere.

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

fn lut<T: Copy>(value: impl Fn(usize, usize) -> T) -> Box<[[T; 256]; 3]> {
    Box::new([0, 1, 2].map(|channel| std::array::from_fn(|v| value(channel, v))))
}

/// Writes `pixels` (interleaved RGB, rows of `width` pixels) as three planes of `side` x `side` numbers. Every byte of
/// `out` is written.
///
/// # Panics
/// If `pixels` do not fit `side` x `side`, or if `out` does not hold exactly three such planes, of the type that
/// `planes` was made for and aligned for it.
pub fn to_chw(planes: &Planes, pixels: &[u8], width: usize, side: usize, out: &mut [u8]) {
    match &planes.0 {
        Lut::U8 => fill(pixels, width, side, out, |_, v| v),
        Lut::F32(lut) => fill(pixels, width, side, bytemuck::cast_slice_mut(out), |c, v| lut[c][usize::from(v)]),
        Lut::F16(lut) => fill(pixels, width, side, bytemuck::cast_slice_mut(out), |c, v| lut[c][usize::from(v)]),
        Lut::Bf16(lut) => fill(pixels, width, side, bytemuck::cast_slice_mut(out), |c, v| lut[c][usize::from(v)]),
    }
}

#[inline]
fn fill<T: Pod>(pixels: &[u8], width: usize, side: usize, out: &mut [T], convert: impl Fn(usize, u8) -> T) {
    let plane = side * side;
    assert!(width <= side && pixels.len() <= width * side * 3 && out.len() == 3 * plane);
    let (red, rest) = out.split_at_mut(plane);
    let (green, blue) = rest.split_at_mut(plane);
    let mut rows = red.chunks_exact_mut(side).zip(green.chunks_exact_mut(side)).zip(blue.chunks_exact_mut(side));
    for row in pixels.chunks_exact(width * 3) {
        let Some(((red, green), blue)) = rows.next() else { break };
        let targets = red[..width].iter_mut().zip(&mut green[..width]).zip(&mut blue[..width]);
        for (((red, green), blue), pixel) in targets.zip(row.as_chunks::<3>().0) {
            *red = convert(0, pixel[0]);
            *green = convert(1, pixel[1]);
            *blue = convert(2, pixel[2]);
        }
        red[width..].fill(T::zeroed());
        green[width..].fill(T::zeroed());
        blue[width..].fill(T::zeroed());
    }
    for ((red, green), blue) in rows {
        red.fill(T::zeroed());
        green.fill(T::zeroed());
        blue.fill(T::zeroed());
    }
}

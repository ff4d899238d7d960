//! Interleaved pixels -> planes. Comes in: RGB pixels of the image's size. Goes out: three planes of a square canvas,
//! the image in its upper left corner and zeros elsewhere. Cannot fail.

use bytemuck::Pod;
use half::{bf16, f16};

use crate::dtype::DType;
use crate::{Error, Result};

/// How float images are scaled: `(v / 255 - mean) / std`, per channel R, G, B. Padding is 0 after this.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalization {
    /// Mean of each channel, in 0 to 1.
    pub mean: [f32; 3],
    /// Standard deviation of each channel, in 0 to 1.
    pub std: [f32; 3],
}

impl Normalization {
    /// Values stay in 0 to 1.
    pub const UNIT: Self = Self { mean: [0.0; 3], std: [1.0; 3] };
    /// The mean and deviation of ImageNet that torchvision and SAM use.
    pub const IMAGENET: Self = Self { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
}

impl Default for Normalization {
    fn default() -> Self {
        Self::UNIT
    }
}

/// What becomes of each of the 256 values of each channel, in the number type of the batch.
#[derive(Debug)]
pub struct Planes(Table);

#[derive(Debug)]
enum Table {
    U8,
    F32(Box<[[f32; 256]; 3]>),
    F16(Box<[[f16; 256]; 3]>),
    Bf16(Box<[[bf16; 256]; 3]>),
}

impl Planes {
    /// The conversion to `image_dtype`.
    ///
    /// # Errors
    /// If images cannot have that type: they are u8, f32, f16 or bf16.
    pub fn new(image_dtype: DType, normalization: Normalization) -> Result<Self> {
        let Normalization { mean, std } = normalization;
        let value = |channel: usize, v: usize| (v as f32 / 255.0 - mean[channel]) / std[channel];
        Ok(Self(match image_dtype {
            DType::U8 => Table::U8,
            DType::F32 => Table::F32(table(value)),
            DType::F16 => Table::F16(table(|c, v| f16::from_f32(value(c, v)))),
            DType::Bf16 => Table::Bf16(table(|c, v| bf16::from_f32(value(c, v)))),
            DType::U32 | DType::I64 => {
                return Err(Error::config(format!("image_dtype is {image_dtype:?}, not U8, F32, F16 or Bf16")));
            }
        }))
    }
}

fn table<T: Copy>(value: impl Fn(usize, usize) -> T) -> Box<[[T; 256]; 3]> {
    Box::new([0, 1, 2].map(|channel| std::array::from_fn(|v| value(channel, v))))
}

/// Writes `pixels` (interleaved RGB, `width` a row) as three planes of `side` x `side` numbers into `out`, every byte
/// of which is written.
///
/// # Panics
/// If `pixels` do not fit `side` x `side`, or `out` is not three such planes of the type that `planes` was made for,
/// aligned for it.
pub fn to_chw(planes: &Planes, pixels: &[u8], width: usize, side: usize, out: &mut [u8]) {
    match &planes.0 {
        Table::U8 => fill(pixels, width, side, out, |_, v| v),
        Table::F32(table) => fill(pixels, width, side, bytemuck::cast_slice_mut(out), |c, v| table[c][usize::from(v)]),
        Table::F16(table) => fill(pixels, width, side, bytemuck::cast_slice_mut(out), |c, v| table[c][usize::from(v)]),
        Table::Bf16(table) => fill(pixels, width, side, bytemuck::cast_slice_mut(out), |c, v| table[c][usize::from(v)]),
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

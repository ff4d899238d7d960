//! The transforms to a part of the size, for any processor. Eight numbers are computed side by side, so that compilers
//! can vectorize them.

use crate::image::jpeg::zigzag::BLOCK;

pub(super) const ROOT_HALF: f32 = std::f32::consts::FRAC_1_SQRT_2;
/// What a sample of 0 is as a byte, and a little more: halves, which flat blocks often have, are rounded up, as libjpeg
/// rounds them.
pub(super) const MIDDLE: f32 = 128.0 + 1.0 / 2048.0;
/// cos(pi / 8) and cos(3 pi / 8).
pub(super) const COS: f32 = 0.923_879_5;
pub(super) const SIN: f32 = 0.382_683_43;

/// Eight numbers that are computed side by side.
type Lanes = [f32; 8];

/// The nearest byte.
#[inline(always)]
pub(super) fn byte(value: f32) -> u8 {
    // Adding 3 * 2^22 leaves no bits behind the point, and those before it at the end.
    const ROUND: f32 = 12_582_912.0;
    let value = if value > 0.0 { value } else { 0.0 };
    let value = if value < 255.0 { value } else { 255.0 };
    (value + ROUND).to_bits() as u8
}

#[inline(always)]
fn load(block: &[i16; BLOCK], dc: i16, factors: &[f32; 64]) -> [Lanes; 8] {
    let mut rows = [[0.0; 8]; 8];
    let (blocks, factors) = (block.as_chunks::<8>().0, factors.as_chunks::<8>().0);
    for ((row, block), factors) in rows.iter_mut().zip(blocks).zip(factors) {
        for lane in 0..8 {
            row[lane] = f32::from(block[lane]) * factors[lane];
        }
    }
    rows[0][0] = f32::from(dc) * factors[0][0];
    rows
}

#[inline(always)]
fn add(a: Lanes, b: Lanes) -> Lanes {
    std::array::from_fn(|lane| a[lane] + b[lane])
}

#[inline(always)]
fn sub(a: Lanes, b: Lanes) -> Lanes {
    std::array::from_fn(|lane| a[lane] - b[lane])
}

#[inline(always)]
fn mul(a: Lanes, factor: f32) -> Lanes {
    std::array::from_fn(|lane| a[lane] * factor)
}

/// Of eight frequencies, four numbers, in eight lanes.
#[inline(always)]
fn halved(x: [Lanes; 8]) -> [Lanes; 4] {
    let (one, two, three) = (sub(x[1], x[7]), sub(x[2], x[6]), sub(x[3], x[5]));
    let half_wave = mul(two, ROOT_HALF);
    let (outer, inner) = (add(x[0], half_wave), sub(x[0], half_wave));
    let outer_odd = add(mul(one, COS), mul(three, SIN));
    let inner_odd = sub(mul(one, SIN), mul(three, COS));
    [add(outer, outer_odd), add(inner, inner_odd), sub(inner, inner_odd), sub(outer, outer_odd)]
}

#[inline(always)]
pub(super) fn four(block: &[i16; BLOCK], dc: i16, factors: &[f32; 64], out: &mut [u8], stride: usize) {
    let rows = halved(load(block, dc, factors));
    let mut turned = [[0.0; 8]; 8];
    for (y, row) in rows.iter().enumerate() {
        for (frequency, &value) in row.iter().enumerate() {
            turned[frequency][y] = value;
        }
    }
    let columns = halved(turned);
    for (y, out) in out.chunks_mut(stride).take(4).enumerate() {
        let Some(out) = out.first_chunk_mut::<4>() else { return };
        for (out, column) in out.iter_mut().zip(&columns) {
            *out = byte(column[y] + MIDDLE);
        }
    }
}

/// Of eight frequencies, the even and the odd part of two numbers. Only 0 and the odd frequencies have any.
#[inline(always)]
fn quartered(x: [f32; 8]) -> [f32; 2] {
    // The signs of cos(k pi / 4); the factors have those of the folds.
    let odd = ((x[1] + x[7]) - (x[3] + x[5])) * ROOT_HALF;
    [x[0] + odd, x[0] - odd]
}

#[inline(always)]
pub(super) fn two(block: &[i16; BLOCK], dc: i16, factors: &[f32; 64], out: &mut [u8], stride: usize) {
    let rows = load(block, dc, factors);
    let mut halves = [[0.0; 8]; 2];
    for frequency in 0..8 {
        let [upper, lower] = quartered(std::array::from_fn(|k| rows[k][frequency]));
        (halves[0][frequency], halves[1][frequency]) = (upper, lower);
    }
    for (half, out) in halves.into_iter().zip(out.chunks_mut(stride)) {
        let Some(out) = out.first_chunk_mut::<2>() else { return };
        *out = quartered(half).map(|value| byte(value + MIDDLE));
    }
}

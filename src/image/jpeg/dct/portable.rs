//! The transforms for any processor. Eight numbers are computed side by side, so that compilers can vectorize them.

use crate::image::jpeg::zigzag::BLOCK;

pub(super) const ROOT_2: f32 = std::f32::consts::SQRT_2;
pub(super) const ROOT_HALF: f32 = std::f32::consts::FRAC_1_SQRT_2;
/// What a sample of 0 is as a byte, and a little more: halves, which flat blocks often have, are rounded up, as libjpeg
/// rounds them.
pub(super) const MIDDLE: f32 = 128.0 + 1.0 / 2048.0;
/// 2 cos(pi / 8), and what it makes with the other frequencies.
pub(super) const A: f32 = 1.847_759_1;
pub(super) const B: f32 = 1.082_392_2;
pub(super) const C: f32 = 2.613_125_9;
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
fn load(block: &[i16; BLOCK], factors: &[f32; 64]) -> [Lanes; 8] {
    let mut rows = [[0.0; 8]; 8];
    let (blocks, factors) = (block.as_chunks::<8>().0, factors.as_chunks::<8>().0);
    for ((row, block), factors) in rows.iter_mut().zip(blocks).zip(factors) {
        for lane in 0..8 {
            row[lane] = f32::from(block[lane]) * factors[lane];
        }
    }
    rows
}

#[inline(always)]
pub(super) fn eight(block: &[i16; BLOCK], factors: &[f32; 64], out: &mut [u8], stride: usize) {
    let rows = transposed(transform(load(block, factors)));
    let rows = transform(rows);
    for (row, out) in rows.iter().zip(out.chunks_mut(stride)) {
        let Some(out) = out.first_chunk_mut::<8>() else { return };
        for lane in 0..8 {
            out[lane] = byte(row[lane] + MIDDLE);
        }
    }
}

#[inline(always)]
fn transposed(rows: [Lanes; 8]) -> [Lanes; 8] {
    let mut turned = [[0.0; 8]; 8];
    for (i, row) in rows.iter().enumerate() {
        for (j, &value) in row.iter().enumerate() {
            turned[j][i] = value;
        }
    }
    turned
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

/// Eight transforms side by side.
#[inline(always)]
fn transform(x: [Lanes; 8]) -> [Lanes; 8] {
    let (sum04, difference04) = (add(x[0], x[4]), sub(x[0], x[4]));
    let sum26 = add(x[2], x[6]);
    let difference26 = sub(mul(sub(x[2], x[6]), ROOT_2), sum26);
    let even = [add(sum04, sum26), add(difference04, difference26), sub(difference04, difference26), sub(sum04, sum26)];
    let (sum53, difference53) = (add(x[5], x[3]), sub(x[5], x[3]));
    let (sum17, difference17) = (add(x[1], x[7]), sub(x[1], x[7]));
    let odd0 = add(sum17, sum53);
    let middle = mul(sub(sum17, sum53), ROOT_2);
    let common = mul(add(difference53, difference17), A);
    let odd1 = sub(sub(common, mul(difference53, C)), odd0);
    let odd2 = sub(middle, odd1);
    let odd3 = sub(sub(common, mul(difference17, B)), odd2);
    [
        add(even[0], odd0),
        add(even[1], odd1),
        add(even[2], odd2),
        add(even[3], odd3),
        sub(even[3], odd3),
        sub(even[2], odd2),
        sub(even[1], odd1),
        sub(even[0], odd0),
    ]
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
pub(super) fn four(block: &[i16; BLOCK], factors: &[f32; 64], out: &mut [u8], stride: usize) {
    let columns = halved(load(block, factors));
    let mut turned = [[0.0; 8]; 8];
    for (x, column) in columns.iter().enumerate() {
        for (frequency, &value) in column.iter().enumerate() {
            turned[frequency][x] = value;
        }
    }
    let rows = halved(turned);
    for (row, out) in rows.iter().zip(out.chunks_mut(stride)) {
        let Some(out) = out.first_chunk_mut::<4>() else { return };
        for lane in 0..4 {
            out[lane] = byte(row[lane] + MIDDLE);
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
pub(super) fn two(block: &[i16; BLOCK], factors: &[f32; 64], out: &mut [u8], stride: usize) {
    let columns = load(block, factors);
    let mut turned = [[0.0; 8]; 2];
    for frequency in 0..8 {
        let [left, right] = quartered(std::array::from_fn(|k| columns[k][frequency]));
        (turned[0][frequency], turned[1][frequency]) = (left, right);
    }
    let [left, right] = turned.map(quartered);
    for (row, out) in out.chunks_mut(stride).take(2).enumerate() {
        let Some(out) = out.first_chunk_mut::<2>() else { return };
        *out = [byte(left[row] + MIDDLE), byte(right[row] + MIDDLE)];
    }
}

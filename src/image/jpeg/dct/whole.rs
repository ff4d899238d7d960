//! The transform at full size, for any processor: that of libjpeg (`jidctint`) to the last bit.
//!
//! Loeffler, Ligtenberg and Moschytz's algorithm in integers of 13 fractional bits: columns first, to two fractional
//! bits, then rows. Where numbers are larger than in any picture, they wrap and saturate as in libjpeg-turbo's vectors.

use crate::image::jpeg::zigzag::BLOCK;

/// Fractional bits of the factors, and of what is between the directions.
const FRACTION: u32 = 13;
const BETWEEN: u32 = 2;
/// Bits that are rounded off behind the columns, and behind the rows.
pub(super) const COLUMNS: i32 = (FRACTION - BETWEEN) as i32;
pub(super) const ROWS: i32 = (FRACTION + BETWEEN + 3) as i32;

/// Pairs of numbers, and their factors in the two sums that they are part of.
///
/// | of | numbers | sums |
/// |---|---|---|
/// | `ENDS` | 0, 4 | sum and difference |
/// | `SIXTHS` | 2, 6 | |
/// | `COMMON` | 7 + 3, 5 + 1 | parts of the following four |
/// | `OUTER` | 7, 1 | |
/// | `INNER` | 5, 3 | |
pub(super) const ENDS: [[i16; 2]; 2] = [[8192, 8192], [8192, -8192]];
pub(super) const SIXTHS: [[i16; 2]; 2] = [[4433, 4433 - 15_137], [4433 + 6270, 4433]];
pub(super) const COMMON: [[i16; 2]; 2] = [[9633 - 16_069, 9633], [9633, 9633 - 3196]];
pub(super) const OUTER: [[i16; 2]; 2] = [[2446 - 7373, -7373], [-7373, 12_299 - 7373]];
pub(super) const INNER: [[i16; 2]; 2] = [[16_819 - 20_995, -20_995], [-20_995, 25_172 - 20_995]];

/// Eight numbers that are computed side by side.
type Lanes = [i16; 8];
type Wide = [i32; 8];

/// Transforms `block`, whose first coefficient is `dc`, to 8 x 8 bytes, in rows of `stride` bytes.
#[inline(always)]
pub(super) fn eight(block: &[i16; BLOCK], dc: i16, table: &[i16; BLOCK], out: &mut [u8], stride: usize) {
    let mut rows = [[0; 8]; 8];
    for ((row, numbers), steps) in rows.iter_mut().zip(block.as_chunks::<8>().0).zip(table.as_chunks::<8>().0) {
        for ((value, number), step) in row.iter_mut().zip(numbers).zip(steps) {
            *value = number.wrapping_mul(*step);
        }
    }
    rows[0][0] = dc.wrapping_mul(table[0]);
    let columns = transform::<ROWS>(transposed(transform::<COLUMNS>(rows)));
    for (row, out) in transposed(columns).iter().zip(out.chunks_mut(stride)) {
        let Some(out) = out.first_chunk_mut::<8>() else { return };
        for lane in 0..8 {
            out[lane] = (row[lane].clamp(-128, 127) + 128) as u8;
        }
    }
}

#[inline(always)]
fn transposed(rows: [Lanes; 8]) -> [Lanes; 8] {
    let mut turned = [[0; 8]; 8];
    for (i, row) in rows.iter().enumerate() {
        for (j, &value) in row.iter().enumerate() {
            turned[j][i] = value;
        }
    }
    turned
}

#[inline(always)]
fn sums(a: Lanes, b: Lanes, factors: [[i16; 2]; 2]) -> [Wide; 2] {
    factors.map(|[of_a, of_b]| {
        std::array::from_fn(|lane| i32::from(a[lane]) * i32::from(of_a) + i32::from(b[lane]) * i32::from(of_b))
    })
}

#[inline(always)]
fn add(a: Wide, b: Wide) -> Wide {
    std::array::from_fn(|lane| a[lane].wrapping_add(b[lane]))
}

#[inline(always)]
fn sub(a: Wide, b: Wide) -> Wide {
    std::array::from_fn(|lane| a[lane].wrapping_sub(b[lane]))
}

/// Eight transforms side by side, of which `SHIFT` bits are rounded off.
#[inline(always)]
fn transform<const SHIFT: i32>(x: [Lanes; 8]) -> [Lanes; 8] {
    let sum = |a: Lanes, b: Lanes| std::array::from_fn(|lane| a[lane].wrapping_add(b[lane]));
    let [sum04, difference04] = sums(x[0], x[4], ENDS).map(|wide| add(wide, [1 << (SHIFT - 1); 8]));
    let [difference26, sum26] = sums(x[2], x[6], SIXTHS);
    let even = [add(sum04, sum26), add(difference04, difference26), sub(difference04, difference26), sub(sum04, sum26)];
    let [common73, common51] = sums(sum(x[7], x[3]), sum(x[5], x[1]), COMMON);
    let [outer7, outer1] = sums(x[7], x[1], OUTER);
    let [inner5, inner3] = sums(x[5], x[3], INNER);
    let odd = [add(outer1, common51), add(inner3, common73), add(inner5, common51), add(outer7, common73)];
    let narrow = |wide: Wide| wide.map(|value| (value >> SHIFT).clamp(i16::MIN.into(), i16::MAX.into()) as i16);
    [
        narrow(add(even[0], odd[0])),
        narrow(add(even[1], odd[1])),
        narrow(add(even[2], odd[2])),
        narrow(add(even[3], odd[3])),
        narrow(sub(even[3], odd[3])),
        narrow(sub(even[2], odd[2])),
        narrow(sub(even[1], odd[1])),
        narrow(sub(even[0], odd[0])),
    ]
}

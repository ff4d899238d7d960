//! The transforms in AVX2: the same operations in the same order, so the same results.
//!
//! # Safety
//!
//! The only `unsafe` code is the calls of safe functions that require AVX2, made only if a [`Simd`] says that the
//! processor has it.

use std::arch::x86_64::*;

use super::{portable, whole};
use crate::image::jpeg::zigzag::BLOCK;
use crate::image::simd::Simd;

/// Transforms `block`, whose first coefficient is `dc`, to 8 x 8 bytes, in rows of `stride` bytes.
#[inline]
pub(super) fn eight(simd: Simd, block: &[i16; BLOCK], dc: i16, table: &[i16; BLOCK], out: &mut [u8], stride: usize) {
    assert!(simd.is_avx2());
    // SAFETY: checked above.
    #[allow(unsafe_code)]
    let rows = unsafe { eight_avx2(block, dc, table) };
    for (number, row) in rows.iter().enumerate() {
        out[number * stride..][..8].copy_from_slice(row);
    }
}

/// Transforms `block`, whose first coefficient is `dc`, to 4 x 4 bytes, in rows of `stride` bytes.
#[inline]
pub(super) fn four(simd: Simd, block: &[i16; BLOCK], dc: i16, factors: &[f32; 64], out: &mut [u8], stride: usize) {
    assert!(simd.is_avx2());
    // SAFETY: checked above.
    #[allow(unsafe_code)]
    let rows = unsafe { four_avx2(block, dc, factors) };
    for (number, row) in rows.iter().enumerate() {
        out[number * stride..][..4].copy_from_slice(row);
    }
}

#[target_feature(enable = "avx2")]
fn eight_avx2(block: &[i16; BLOCK], dc: i16, table: &[i16; BLOCK]) -> [[u8; 8]; 8] {
    let (numbers, steps) = (block.as_chunks::<8>().0, table.as_chunks::<8>().0);
    let rows: [__m128i; 8] = std::array::from_fn(|row| {
        let words: __m128i = bytemuck::cast(numbers[row]);
        let words = if row == 0 { _mm_insert_epi16::<0>(words, dc.into()) } else { words };
        _mm_mullo_epi16(words, bytemuck::cast(steps[row]))
    });
    let rows = transform::<{ whole::COLUMNS }>(rows);
    let columns = transform::<{ whole::ROWS }>(transposed(rows));
    // Columns become bytes, two columns of pairs, four of pairs of pairs, and rows.
    let bytes = [(0, 4), (1, 5), (2, 6), (3, 7)]
        .map(|(a, b)| _mm_add_epi8(_mm_packs_epi16(columns[a], columns[b]), _mm_set1_epi8(-128)));
    let (a, b) = (_mm_unpacklo_epi8(bytes[0], bytes[1]), _mm_unpacklo_epi8(bytes[2], bytes[3]));
    let (c, d) = (_mm_unpackhi_epi8(bytes[0], bytes[1]), _mm_unpackhi_epi8(bytes[2], bytes[3]));
    let (upper_left, upper_right) = (_mm_unpacklo_epi16(a, b), _mm_unpacklo_epi16(c, d));
    let (lower_left, lower_right) = (_mm_unpackhi_epi16(a, b), _mm_unpackhi_epi16(c, d));
    bytemuck::cast([
        _mm_unpacklo_epi32(upper_left, upper_right),
        _mm_unpackhi_epi32(upper_left, upper_right),
        _mm_unpacklo_epi32(lower_left, lower_right),
        _mm_unpackhi_epi32(lower_left, lower_right),
    ])
}

#[target_feature(enable = "avx2")]
#[inline]
fn transposed(x: [__m128i; 8]) -> [__m128i; 8] {
    let [a, b, c, d] = [0, 2, 4, 6].map(|i| (_mm_unpacklo_epi16(x[i], x[i + 1]), _mm_unpackhi_epi16(x[i], x[i + 1])));
    let fours = |a, b| (_mm_unpacklo_epi32(a, b), _mm_unpackhi_epi32(a, b));
    let (left, right) = ([fours(a.0, b.0), fours(a.1, b.1)], [fours(c.0, d.0), fours(c.1, d.1)]);
    let rows = |a, b| [_mm_unpacklo_epi64(a, b), _mm_unpackhi_epi64(a, b)];
    let [first, third] = [0, 1].map(|i| rows(left[i].0, right[i].0));
    let [second, fourth] = [0, 1].map(|i| rows(left[i].1, right[i].1));
    [first[0], first[1], second[0], second[1], third[0], third[1], fourth[0], fourth[1]]
}

/// As `whole::transform`.
#[target_feature(enable = "avx2")]
#[inline]
fn transform<const SHIFT: i32>(x: [__m128i; 8]) -> [__m128i; 8] {
    let half = _mm256_set1_epi32(1 << (SHIFT - 1));
    let [sum04, difference04] = sums(x[0], x[4], whole::ENDS).map(|wide| _mm256_add_epi32(wide, half));
    let [difference26, sum26] = sums(x[2], x[6], whole::SIXTHS);
    let even = [
        _mm256_add_epi32(sum04, sum26),
        _mm256_add_epi32(difference04, difference26),
        _mm256_sub_epi32(difference04, difference26),
        _mm256_sub_epi32(sum04, sum26),
    ];
    let [common73, common51] = sums(_mm_add_epi16(x[7], x[3]), _mm_add_epi16(x[5], x[1]), whole::COMMON);
    let [outer7, outer1] = sums(x[7], x[1], whole::OUTER);
    let [inner5, inner3] = sums(x[5], x[3], whole::INNER);
    let odd = [
        _mm256_add_epi32(outer1, common51),
        _mm256_add_epi32(inner3, common73),
        _mm256_add_epi32(inner5, common51),
        _mm256_add_epi32(outer7, common73),
    ];
    let mut out = x;
    for i in 0..4 {
        let upper = _mm256_srai_epi32::<SHIFT>(_mm256_add_epi32(even[i], odd[i]));
        let lower = _mm256_srai_epi32::<SHIFT>(_mm256_sub_epi32(even[i], odd[i]));
        let both = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(upper, lower));
        (out[i], out[7 - i]) = (_mm256_castsi256_si128(both), _mm256_extracti128_si256::<1>(both));
    }
    out
}

#[target_feature(enable = "avx2")]
#[inline]
fn sums(a: __m128i, b: __m128i, factors: [[i16; 2]; 2]) -> [__m256i; 2] {
    let pairs = _mm256_set_m128i(_mm_unpackhi_epi16(a, b), _mm_unpacklo_epi16(a, b));
    factors.map(|factors| _mm256_madd_epi16(pairs, _mm256_set1_epi32(bytemuck::cast(factors))))
}

#[target_feature(enable = "avx2")]
#[inline]
fn load(block: &[i16; BLOCK], dc: i16, factors: &[f32; 64]) -> [__m256; 8] {
    let (blocks, factors) = (block.as_chunks::<8>().0, factors.as_chunks::<8>().0);
    std::array::from_fn(|row| {
        let words: __m128i = bytemuck::cast(blocks[row]);
        let words = if row == 0 { _mm_insert_epi16::<0>(words, dc.into()) } else { words };
        _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(words)), bytemuck::cast(factors[row]))
    })
}

/// As `portable::halved`, in one direction, eight lanes.
#[target_feature(enable = "avx2")]
#[inline]
fn halved(x: [__m256; 8]) -> [__m256; 4] {
    let [cos, sin, half] = [portable::COS, portable::SIN, portable::ROOT_HALF].map(|factor| _mm256_set1_ps(factor));
    let one = _mm256_sub_ps(x[1], x[7]);
    let two = _mm256_sub_ps(x[2], x[6]);
    let three = _mm256_sub_ps(x[3], x[5]);
    let half_wave = _mm256_mul_ps(two, half);
    let (outer, inner) = (_mm256_add_ps(x[0], half_wave), _mm256_sub_ps(x[0], half_wave));
    let outer_odd = _mm256_add_ps(_mm256_mul_ps(one, cos), _mm256_mul_ps(three, sin));
    let inner_odd = _mm256_sub_ps(_mm256_mul_ps(one, sin), _mm256_mul_ps(three, cos));
    [
        _mm256_add_ps(outer, outer_odd),
        _mm256_add_ps(inner, inner_odd),
        _mm256_sub_ps(inner, inner_odd),
        _mm256_sub_ps(outer, outer_odd),
    ]
}

/// The same with four lanes.
#[target_feature(enable = "avx2")]
#[inline]
fn halved_narrow(x: [__m128; 8]) -> [__m128; 4] {
    let [cos, sin, half] = [portable::COS, portable::SIN, portable::ROOT_HALF].map(|factor| _mm_set1_ps(factor));
    let (one, two, three) = (_mm_sub_ps(x[1], x[7]), _mm_sub_ps(x[2], x[6]), _mm_sub_ps(x[3], x[5]));
    let half_wave = _mm_mul_ps(two, half);
    let (outer, inner) = (_mm_add_ps(x[0], half_wave), _mm_sub_ps(x[0], half_wave));
    let outer_odd = _mm_add_ps(_mm_mul_ps(one, cos), _mm_mul_ps(three, sin));
    let inner_odd = _mm_sub_ps(_mm_mul_ps(one, sin), _mm_mul_ps(three, cos));
    [
        _mm_add_ps(outer, outer_odd),
        _mm_add_ps(inner, inner_odd),
        _mm_sub_ps(inner, inner_odd),
        _mm_sub_ps(outer, outer_odd),
    ]
}

#[target_feature(enable = "avx2")]
fn four_avx2(block: &[i16; BLOCK], dc: i16, factors: &[f32; 64]) -> [[u8; 4]; 4] {
    let rows = halved(load(block, dc, factors));
    let lower = transposed_narrow(rows.map(|row| _mm256_castps256_ps128(row)));
    let upper = transposed_narrow(rows.map(|row| _mm256_extractf128_ps::<1>(row)));
    let columns = halved_narrow([lower[0], lower[1], lower[2], lower[3], upper[0], upper[1], upper[2], upper[3]]);
    let [a, b, c, d] = columns.map(|column| {
        let value = _mm_add_ps(column, _mm_set1_ps(portable::MIDDLE));
        _mm_cvtps_epi32(_mm_min_ps(value, _mm_set1_ps(255.0)))
    });
    let columns = _mm_packus_epi16(_mm_packs_epi32(a, b), _mm_packs_epi32(c, d));
    let rows = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    bytemuck::cast(_mm_shuffle_epi8(columns, rows))
}

#[target_feature(enable = "avx2")]
#[inline]
fn transposed_narrow([a, b, c, d]: [__m128; 4]) -> [__m128; 4] {
    let (ab, cd) = (_mm_unpacklo_ps(a, b), _mm_unpacklo_ps(c, d));
    let (ab_high, cd_high) = (_mm_unpackhi_ps(a, b), _mm_unpackhi_ps(c, d));
    [_mm_movelh_ps(ab, cd), _mm_movehl_ps(cd, ab), _mm_movelh_ps(ab_high, cd_high), _mm_movehl_ps(cd_high, ab_high)]
}

//! The transforms in AVX2: the same operations in the same order, so the same results.
//!
//! # Safety
//!
//! The only `unsafe` code is the calls of safe functions that require AVX2, made only if a [`Simd`] says that the
//! processor has it.

use std::arch::x86_64::*;

use super::portable;
use crate::image::jpeg::zigzag::BLOCK;
use crate::image::simd::Simd;

/// Transforms `block` to 8 x 8 bytes, in rows of `stride` bytes.
#[inline]
pub(super) fn eight(simd: Simd, block: &[i16; BLOCK], factors: &[f32; 64], out: &mut [u8], stride: usize) {
    assert!(simd.is_avx2());
    // SAFETY: checked above.
    #[allow(unsafe_code)]
    unsafe {
        eight_avx2(block, factors, out, stride);
    }
}

/// Transforms `block` to 4 x 4 bytes, in rows of `stride` bytes.
#[inline]
pub(super) fn four(simd: Simd, block: &[i16; BLOCK], factors: &[f32; 64], out: &mut [u8], stride: usize) {
    assert!(simd.is_avx2());
    // SAFETY: checked above.
    #[allow(unsafe_code)]
    unsafe {
        four_avx2(block, factors, out, stride);
    }
}

#[target_feature(enable = "avx2")]
fn eight_avx2(block: &[i16; BLOCK], factors: &[f32; 64], out: &mut [u8], stride: usize) {
    let rows = transform(transposed(transform(load(block, factors))));
    // Two rows of each pair of words are 32 bytes of which 16 are needed.
    for (pair, out) in rows.as_chunks::<2>().0.iter().zip(out.chunks_mut(2 * stride)) {
        let [upper, lower] = pair.map(|row| rounded(row));
        let words = _mm256_packs_epi32(upper, lower);
        let bytes = _mm256_packus_epi16(words, words);
        let halves = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 0, 0, 0, 0));
        let both = _mm256_castsi256_si128(halves);
        if let Some(out) = out.first_chunk_mut::<8>() {
            *out = _mm_cvtsi128_si64(both).to_le_bytes();
        }
        if let Some(out) = out.get_mut(stride..).and_then(|out| out.first_chunk_mut::<8>()) {
            *out = _mm_extract_epi64::<1>(both).to_le_bytes();
        }
    }
}

#[target_feature(enable = "avx2")]
#[inline]
fn load(block: &[i16; BLOCK], factors: &[f32; 64]) -> [__m256; 8] {
    let (blocks, factors) = (block.as_chunks::<8>().0, factors.as_chunks::<8>().0);
    std::array::from_fn(|row| {
        let words = _mm256_cvtepi16_epi32(bytemuck::cast(blocks[row]));
        _mm256_mul_ps(_mm256_cvtepi32_ps(words), bytemuck::cast(factors[row]))
    })
}

/// Adds the middle, and rounds to whole numbers of at most 255.
#[target_feature(enable = "avx2")]
#[inline]
fn rounded(row: __m256) -> __m256i {
    let value = _mm256_add_ps(row, _mm256_set1_ps(portable::MIDDLE));
    _mm256_cvtps_epi32(_mm256_min_ps(value, _mm256_set1_ps(255.0)))
}

#[target_feature(enable = "avx2")]
#[inline]
fn transposed(x: [__m256; 8]) -> [__m256; 8] {
    let mut pairs = x;
    for i in 0..4 {
        pairs[2 * i] = _mm256_unpacklo_ps(x[2 * i], x[2 * i + 1]);
        pairs[2 * i + 1] = _mm256_unpackhi_ps(x[2 * i], x[2 * i + 1]);
    }
    let mut fours = x;
    for i in 0..2 {
        let [a, b, c, d] = [pairs[4 * i], pairs[4 * i + 1], pairs[4 * i + 2], pairs[4 * i + 3]];
        fours[4 * i] = _mm256_shuffle_ps::<0x44>(a, c);
        fours[4 * i + 1] = _mm256_shuffle_ps::<0xee>(a, c);
        fours[4 * i + 2] = _mm256_shuffle_ps::<0x44>(b, d);
        fours[4 * i + 3] = _mm256_shuffle_ps::<0xee>(b, d);
    }
    let mut out = x;
    for i in 0..4 {
        out[i] = _mm256_permute2f128_ps::<0x20>(fours[i], fours[i + 4]);
        out[i + 4] = _mm256_permute2f128_ps::<0x31>(fours[i], fours[i + 4]);
    }
    out
}

/// As `portable::transform`.
#[target_feature(enable = "avx2")]
#[inline]
fn transform(x: [__m256; 8]) -> [__m256; 8] {
    let [a, b, c, root] =
        [portable::A, portable::B, portable::C, portable::ROOT_2].map(|factor| _mm256_set1_ps(factor));
    let (sum04, difference04) = (_mm256_add_ps(x[0], x[4]), _mm256_sub_ps(x[0], x[4]));
    let sum26 = _mm256_add_ps(x[2], x[6]);
    let difference26 = _mm256_sub_ps(_mm256_mul_ps(_mm256_sub_ps(x[2], x[6]), root), sum26);
    let even = [
        _mm256_add_ps(sum04, sum26),
        _mm256_add_ps(difference04, difference26),
        _mm256_sub_ps(difference04, difference26),
        _mm256_sub_ps(sum04, sum26),
    ];
    let (sum53, difference53) = (_mm256_add_ps(x[5], x[3]), _mm256_sub_ps(x[5], x[3]));
    let (sum17, difference17) = (_mm256_add_ps(x[1], x[7]), _mm256_sub_ps(x[1], x[7]));
    let odd0 = _mm256_add_ps(sum17, sum53);
    let middle = _mm256_mul_ps(_mm256_sub_ps(sum17, sum53), root);
    let common = _mm256_mul_ps(_mm256_add_ps(difference53, difference17), a);
    let odd1 = _mm256_sub_ps(_mm256_sub_ps(common, _mm256_mul_ps(difference53, c)), odd0);
    let odd2 = _mm256_sub_ps(middle, odd1);
    let odd3 = _mm256_sub_ps(_mm256_sub_ps(common, _mm256_mul_ps(difference17, b)), odd2);
    [
        _mm256_add_ps(even[0], odd0),
        _mm256_add_ps(even[1], odd1),
        _mm256_add_ps(even[2], odd2),
        _mm256_add_ps(even[3], odd3),
        _mm256_sub_ps(even[3], odd3),
        _mm256_sub_ps(even[2], odd2),
        _mm256_sub_ps(even[1], odd1),
        _mm256_sub_ps(even[0], odd0),
    ]
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
fn four_avx2(block: &[i16; BLOCK], factors: &[f32; 64], out: &mut [u8], stride: usize) {
    let columns = halved(load(block, factors));
    let lower = transposed_narrow(columns.map(|column| _mm256_castps256_ps128(column)));
    let upper = transposed_narrow(columns.map(|column| _mm256_extractf128_ps::<1>(column)));
    let rows = halved_narrow([lower[0], lower[1], lower[2], lower[3], upper[0], upper[1], upper[2], upper[3]]);
    let [a, b, c, d] = rows.map(|row| {
        let value = _mm_add_ps(row, _mm_set1_ps(portable::MIDDLE));
        _mm_cvtps_epi32(_mm_min_ps(value, _mm_set1_ps(255.0)))
    });
    let bytes: [[u8; 4]; 4] = bytemuck::cast(_mm_packus_epi16(_mm_packs_epi32(a, b), _mm_packs_epi32(c, d)));
    for (row, out) in bytes.into_iter().zip(out.chunks_mut(stride)) {
        if let Some(out) = out.first_chunk_mut::<4>() {
            *out = row;
        }
    }
}

#[target_feature(enable = "avx2")]
#[inline]
fn transposed_narrow([a, b, c, d]: [__m128; 4]) -> [__m128; 4] {
    let (ab, cd) = (_mm_unpacklo_ps(a, b), _mm_unpacklo_ps(c, d));
    let (ab_high, cd_high) = (_mm_unpackhi_ps(a, b), _mm_unpackhi_ps(c, d));
    [_mm_movelh_ps(ab, cd), _mm_movehl_ps(cd, ab), _mm_movelh_ps(ab_high, cd_high), _mm_movehl_ps(cd_high, ab_high)]
}

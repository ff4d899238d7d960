//! Weighs rows, and the pixels of a row, with AVX2.
//!
//! # Safety
//!
//! The only `unsafe` code is the calls of safe functions that require AVX2, made only if a [`Simd`] says that the
//! processor has it.

use std::arch::x86_64::*;

use super::axis::ONE;
use super::columns::{COLUMNS, half, widened};
use super::windows::{Step, Windows};
use crate::image::simd::Simd;

/// Weighs rows of `ring`, which begin at `rows`, as [`super::columns::weighed_rows`] does.
pub(super) fn weigh_rows(simd: Simd, ring: &[u8], rows: &[usize], weights: &[i16], out: &mut [u8]) {
    assert!(simd.is_avx2());
    // SAFETY: checked above.
    #[allow(unsafe_code)]
    unsafe {
        weigh_columns(ring, rows, weights, out)
    }
}

#[target_feature(enable = "avx2")]
fn weigh_columns(ring: &[u8], rows: &[usize], weights: &[i16], out: &mut [u8]) {
    for (block, out) in out.as_chunks_mut::<COLUMNS>().0.iter_mut().enumerate() {
        let mut sums = [_mm256_set1_epi16(half(rows.len()) as i16); 2];
        for (&row, &weight) in rows.iter().zip(weights) {
            let Some(row) = ring[row + block * COLUMNS..].first_chunk::<COLUMNS>() else { return };
            let (row, weight) = (bytemuck::cast(*row), _mm256_set1_epi16(widened(weight) as i16));
            // Bytes as the upper halves of words.
            let zero = _mm256_setzero_si256();
            let words = [_mm256_unpacklo_epi8(zero, row), _mm256_unpackhi_epi8(zero, row)];
            for (sum, words) in sums.iter_mut().zip(words) {
                *sum = _mm256_add_epi16(*sum, _mm256_mulhi_epu16(words, weight));
            }
        }
        let [lower, upper] = sums.map(|sum| _mm256_srli_epi16::<8>(sum));
        *out = bytemuck::cast(_mm256_packus_epi16(lower, upper));
    }
}

/// Weighs the pixels of a row in windows of 16 inputs: shuffles bring the inputs of four outputs together.
pub(super) fn weigh_pixels(simd: Simd, row: &[u8], windows: &Windows, out: &mut [u8]) {
    assert!(simd.is_avx2());
    // SAFETY: checked above.
    #[allow(unsafe_code)]
    unsafe {
        weigh(row, windows, out)
    }
}

#[target_feature(enable = "avx2")]
fn weigh(row: &[u8], windows: &Windows, out: &mut [u8]) {
    let groups = out.as_chunks_mut::<8>().0.iter_mut().zip(&windows.begins);
    for ((out, begins), steps) in groups.zip(windows.steps.chunks_exact(windows.pairs)) {
        let [lower, upper] = begins.map(|begin| row[begin..].first_chunk::<16>());
        let (Some(lower), Some(upper)) = (lower, upper) else { return };
        let inputs = _mm256_set_m128i(bytemuck::cast(*upper), bytemuck::cast(*lower));
        let mut sums = _mm256_set1_epi32(ONE / 2);
        for Step { places, weights } in steps {
            let pairs = _mm256_shuffle_epi8(inputs, bytemuck::cast(*places));
            sums = _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, bytemuck::cast(*weights)));
        }
        let words = _mm256_packs_epi32(_mm256_srai_epi32::<14>(sums), _mm256_setzero_si256());
        let bytes = _mm256_packus_epi16(words, words);
        let halves = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 0, 0, 0, 0, 0, 0));
        *out = _mm_cvtsi128_si64(_mm256_castsi256_si128(halves)).to_le_bytes();
    }
}

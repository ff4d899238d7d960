//! The inverse DCT, at full, half, quarter and eighth size.
//!
//! At the smaller sizes, a sample is the mean of the samples that it stands for, as in libjpeg's reduced transforms.
//! The mean of two neighbours of a cosine is a cosine of half the size, of the same frequency k or, beyond half of the
//! frequencies, of 8 - k with its sign changed. So a block is folded first, and the smaller transform follows.
//!
//! They are computed in f32, without fused operations, and the full size in integers: all processors give the same
//! result.

use std::f64::consts::PI;

use super::zigzag::{BLOCK, place};
use crate::image::simd::Simd;

#[cfg(target_arch = "x86_64")]
mod avx2;
mod portable;
mod whole;

/// What each coefficient of a block is multiplied with, in the order in which blocks are stored: row after row.
pub(super) enum Factors {
    /// The quantization table, for 8 x 8 samples.
    Whole([i16; BLOCK]),
    /// The table times parts of the transform, for fewer samples.
    Part([f32; BLOCK]),
}

/// The factors of blocks of `samples` x `samples`. `table` is in the order of a JPEG (zigzag).
pub(super) fn factors(table: &[u16; BLOCK], samples: usize) -> Factors {
    if samples == 8 {
        let mut steps = [0; BLOCK];
        (0..BLOCK).for_each(|k| steps[place(k)] = table[k] as i16);
        return Factors::Whole(steps);
    }
    let mut factors = [0.0; BLOCK];
    for (k, &step) in table.iter().enumerate() {
        let place = place(k);
        let axis = |frequency| axis_factor(frequency, samples);
        factors[place] = (f64::from(step) * axis(place / 8) * axis(place % 8)) as f32;
    }
    Factors::Part(factors)
}

/// The part of one direction.
fn axis_factor(frequency: usize, samples: usize) -> f64 {
    let k = frequency as f64;
    let scale = if frequency == 0 { 1.0 / 8.0_f64.sqrt() } else { 0.5 };
    // The mean of neighbours 2^-n of a wave apart.
    let mean = |n: f64| (k * PI / n).cos();
    match samples {
        4 => scale * mean(16.0),
        2 => scale * mean(16.0) * mean(8.0),
        _ => scale * mean(16.0) * mean(8.0) * mean(4.0),
    }
}

/// Transforms `block` to `samples` x `samples` bytes, in rows of `stride` bytes. `dc` takes the place of its first
/// coefficient: reading what has just been written to a part of a block would cost a delay.
pub(super) fn inverse(
    simd: Simd,
    block: &[i16; BLOCK],
    dc: i16,
    factors: &Factors,
    samples: usize,
    out: &mut [u8],
    stride: usize,
) {
    match (factors, samples) {
        #[cfg(target_arch = "x86_64")]
        (Factors::Whole(table), _) if simd.is_avx2() => avx2::eight(simd, block, dc, table, out, stride),
        (Factors::Whole(table), _) => whole::eight(block, dc, table, out, stride),
        #[cfg(target_arch = "x86_64")]
        (Factors::Part(factors), 4) if simd.is_avx2() => avx2::four(simd, block, dc, factors, out, stride),
        (Factors::Part(factors), 4) => portable::four(block, dc, factors, out, stride),
        (Factors::Part(factors), 2) => portable::two(block, dc, factors, out, stride),
        (Factors::Part(factors), _) => {
            if let Some(out) = out.first_mut() {
                *out = portable::byte(f32::from(dc) * factors[0] + portable::MIDDLE);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::PI;

    use super::*;
    use crate::splitmix::mix64;

    /// The definition (Annex A.3.3 of the standard), then means of squares.
    fn naive(coefficients: &[i16; 64], table: &[u16; 64], samples: usize) -> Vec<f64> {
        let mut full = [[0.0; 8]; 8];
        for (y, row) in full.iter_mut().enumerate() {
            for (x, sample) in row.iter_mut().enumerate() {
                for (k, &step) in table.iter().enumerate() {
                    let place = place(k);
                    let (u, v) = (place % 8, place / 8);
                    let c = |f: usize| if f == 0 { 0.5_f64.sqrt() } else { 1.0 };
                    let wave = |at: usize, f: usize| ((2 * at + 1) as f64 * f as f64 * PI / 16.0).cos();
                    let value = f64::from(coefficients[place]) * f64::from(step);
                    *sample += 0.25 * c(u) * c(v) * value * wave(x, u) * wave(y, v);
                }
            }
        }
        let n = 8 / samples;
        let mean = |row: usize, column: usize| {
            let sum: f64 = (0..n * n).map(|i| full[row * n + i / n][column * n + i % n]).sum();
            sum / (n * n) as f64 + 128.0
        };
        (0..samples * samples).map(|i| mean(i / samples, i % samples)).collect()
    }

    #[test]
    fn the_transforms_are_means_of_the_definition() {
        let mut state = 1;
        let mut next = |n: i64| {
            state = mix64(state + 1);
            (state % (2 * n as u64 + 1)) as i64 - n
        };
        for round in if cfg!(miri) { 9..12 } else { 0..400 } {
            let table: [u16; 64] = std::array::from_fn(|_| 1 + next(8).unsigned_abs() as u16);
            let mut coefficients = [0; 64];
            coefficients[0] = next(60) as i16;
            for _ in 0..round % 40 {
                coefficients[next(31) as usize % 64] = next(9) as i16;
                coefficients[(next(32) + 32) as usize % 64] = next(9) as i16;
            }
            for (samples, simd) in [1, 2, 4, 8].map(|n| [(n, Simd::PORTABLE), (n, Simd::best())]).concat() {
                let mut out = vec![0; 8 * 10];
                let dc = std::mem::replace(&mut coefficients[0], -999);
                inverse(simd, &coefficients, dc, &factors(&table, samples), samples, &mut out, 10);
                coefficients[0] = dc;
                for (i, exact) in naive(&coefficients, &table, samples).into_iter().enumerate() {
                    let found = f64::from(out[i / samples * 10 + i % samples]);
                    // libjpeg rounds between the directions, and its factors have 13 bits.
                    let bound = if samples == 8 { 0.75 } else { 0.501 };
                    assert!((found - exact.clamp(0.0, 255.0)).abs() < bound, "{samples}: {found} {exact}");
                }
            }
        }
    }

    #[test]
    fn any_numbers_have_the_same_transforms_on_all_processors() {
        let mut state = 2;
        let mut next = || {
            state = mix64(state + 1);
            state
        };
        for round in 0..2000 {
            // Beyond the numbers of any picture, too.
            let bits = round % 17;
            let table: [u16; 64] = std::array::from_fn(|_| if round % 3 == 0 { next() as u16 } else { 1 });
            let coefficients = std::array::from_fn(|_| ((next() as i64) >> (64 - bits.max(1))) as i16);
            let dc = next() as i16;
            for samples in [1, 2, 4, 8] {
                let [portable, best] = [Simd::PORTABLE, Simd::best()].map(|simd| {
                    let mut out = vec![7; 8 * 10];
                    inverse(simd, &coefficients, dc, &factors(&table, samples), samples, &mut out, 10);
                    out
                });
                assert_eq!(portable, best, "{samples}");
            }
        }
    }
}

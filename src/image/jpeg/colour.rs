//! From rows of samples to rows of red, green and blue, as libjpeg computes them to the last bit.

use crate::image::simd::multiversion;

multiversion! {
    /// Writes a row of twice as many samples: each lies a quarter of the way to its neighbour.
    pub(super) fn double(samples: &[u8], out: &mut [u8]) = double_row
}

multiversion! {
    /// Writes the row a quarter of the way from `near` to `far`. `is_upper`: it lies above `near`.
    pub(super) fn between(near: &[u8], far: &[u8], is_upper: bool, out: &mut [u8]) = between_rows
}

multiversion! {
    /// Does both at once, rounded once. `sums` is scratch memory.
    pub(super) fn double_between(near: &[u8], far: &[u8], sums: &mut Vec<u16>, out: &mut [u8]) = double_between_rows
}

multiversion! {
    /// Converts a row of YCbCr (JFIF: full range, BT.601).
    pub(super) fn to_rgb(y: &[u8], cb: &[u8], cr: &[u8], rgb: [&mut [u8]; 3]) = row_to_rgb
}

/// Writes a row in which each sample is repeated `factor` times.
pub(super) fn repeat(samples: &[u8], factor: usize, out: &mut [u8]) {
    for (out, &sample) in out.chunks_mut(factor).zip(samples) {
        out.fill(sample);
    }
}

#[inline(always)]
fn double_row(samples: &[u8], out: &mut [u8]) {
    doubled(samples, out, |near, far, is_left| {
        let sum = 3 * u16::from(near) + u16::from(far);
        ((sum + if is_left { 1 } else { 2 }) >> 2) as u8
    });
}

#[inline(always)]
fn between_rows(near: &[u8], far: &[u8], is_upper: bool, out: &mut [u8]) {
    let bias = if is_upper { 1 } else { 2 };
    for ((out, &near), &far) in out.iter_mut().zip(near).zip(far) {
        *out = ((3 * u16::from(near) + u16::from(far) + bias) >> 2) as u8;
    }
}

#[inline(always)]
fn double_between_rows(near: &[u8], far: &[u8], sums: &mut Vec<u16>, out: &mut [u8]) {
    sums.clear();
    sums.extend(near.iter().zip(far).map(|(&near, &far)| 3 * u16::from(near) + u16::from(far)));
    doubled(sums, out, |near, far, is_left| ((3 * near + far + if is_left { 8 } else { 7 }) >> 4) as u8);
}

/// Calls `mix` with each sample and its neighbour on the left, or itself at the edge, then with the one on the right.
#[inline(always)]
fn doubled<T: Copy>(samples: &[T], out: &mut [u8], mix: impl Fn(T, T, bool) -> u8) {
    let n = samples.len();
    let (Some(&first), Some(&last)) = (samples.first(), samples.last()) else { return };
    let is_odd = out.len() % 2 == 1;
    let pairs = out.as_chunks_mut::<2>().0;
    let inner = pairs.len().min(n - 1);
    if inner > 1 {
        let neighbours = samples[..inner - 1].iter().zip(&samples[1..inner]).zip(&samples[2..=inner]);
        for (pair, ((&left, &here), &right)) in pairs[1..inner].iter_mut().zip(neighbours) {
            *pair = [mix(here, left, true), mix(here, right, false)];
        }
    }
    let second = samples.get(1).copied().unwrap_or(first);
    let last_but_one = samples.get(n.wrapping_sub(2)).copied().unwrap_or(last);
    if let Some(pair) = pairs.first_mut() {
        *pair = [mix(first, first, true), mix(first, second, false)];
    }
    if let Some(pair) = pairs.get_mut(n - 1).filter(|_| n > 1) {
        *pair = [mix(last, last_but_one, true), mix(last, last, false)];
    }
    if let Some(end) = out.last_mut().filter(|_| is_odd) {
        *end = mix(last, last_but_one, true);
    }
}

/// The standard's numbers, of 2^16, less what is added as a whole: 1.402 - 1, -0.344136, 1 - 0.714136, 1.772 - 2.
const RED_OF_CR: i32 = 26_345;
const GREEN_OF_CB: i32 = -22_554;
const GREEN_OF_CR: i32 = 18_734;
const BLUE_OF_CB: i32 = -14_942;

/// `value` times `factor`, of 2^16, rounded. All in 16 bits but for the product, whose upper half is one instruction.
#[inline(always)]
fn scaled(value: i16, factor: i32) -> i16 {
    ((((i32::from(2 * value) * factor) >> 16) as i16) + 1) >> 1
}

#[inline(always)]
fn row_to_rgb(y: &[u8], cb: &[u8], cr: &[u8], [red, green, blue]: [&mut [u8]; 3]) {
    let n = y.len().min(cb.len()).min(cr.len()).min(red.len()).min(green.len()).min(blue.len());
    let (y, cb, cr) = (&y[..n], &cb[..n], &cr[..n]);
    let (red, green, blue) = (&mut red[..n], &mut green[..n], &mut blue[..n]);
    for i in 0..n {
        let (y, cb, cr) = (i16::from(y[i]), i16::from(cb[i]) - 128, i16::from(cr[i]) - 128);
        let both = (i32::from(cb) * GREEN_OF_CB + i32::from(cr) * GREEN_OF_CR + 0x8000) >> 16;
        red[i] = (y + cr + scaled(cr, RED_OF_CR)).clamp(0, 255) as u8;
        green[i] = (y - cr + both as i16).clamp(0, 255) as u8;
        blue[i] = (y + 2 * cb + scaled(cb, BLUE_OF_CB)).clamp(0, 255) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::to_rgb;
    use crate::image::simd::Simd;

    #[test]
    fn colours_are_those_of_the_standard_rounded_once() {
        for simd in [Simd::PORTABLE, Simd::best()] {
            for cb in 0..=255_u8 {
                let row: Vec<u8> = (0..=255).collect();
                for y in [0, 1, 97, 128, 254, 255_u8] {
                    let mut rgb = [[0; 256]; 3];
                    to_rgb(simd, &[y; 256], &[cb; 256], &row, rgb.each_mut().map(|row| &mut row[..]));
                    for (cr, found) in row.iter().map(|&cr| (cr, [0, 1, 2].map(|c| rgb[c][usize::from(cr)]))) {
                        let (luma, blue, red) = (f64::from(y), f64::from(cb) - 128.0, f64::from(cr) - 128.0);
                        let exact =
                            [luma + 1.402 * red, luma - 0.344_136 * blue - 0.714_136 * red, luma + 1.772 * blue];
                        for (found, exact) in found.into_iter().zip(exact) {
                            assert!((f64::from(found) - exact.clamp(0.0, 255.0)).abs() < 0.503, "{y} {cb} {cr}");
                        }
                    }
                }
            }
        }
    }
}

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

/// Of 2^16: the standard's numbers.
const RED_OF_CR: i32 = 91_881;
const GREEN_OF_CB: i32 = -22_554;
const GREEN_OF_CR: i32 = -46_802;
const BLUE_OF_CB: i32 = 116_130;

#[inline(always)]
fn row_to_rgb(y: &[u8], cb: &[u8], cr: &[u8], [red, green, blue]: [&mut [u8]; 3]) {
    let n = y.len().min(cb.len()).min(cr.len()).min(red.len()).min(green.len()).min(blue.len());
    let (y, cb, cr) = (&y[..n], &cb[..n], &cr[..n]);
    let (red, green, blue) = (&mut red[..n], &mut green[..n], &mut blue[..n]);
    for i in 0..n {
        let (y, cb, cr) = (i32::from(y[i]), i32::from(cb[i]) - 128, i32::from(cr[i]) - 128);
        let add = |part: i32| (y + ((part + 0x8000) >> 16)).clamp(0, 255) as u8;
        red[i] = add(RED_OF_CR * cr);
        green[i] = add(GREEN_OF_CB * cb + GREEN_OF_CR * cr);
        blue[i] = add(BLUE_OF_CB * cb);
    }
}

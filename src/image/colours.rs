//! Changes the colours of rows of pixels: brightness, contrast, saturation, hue and grey, as torchvision 0.24's
//! `transforms.v2` changes uint8 images, to within one value for each change. All numbers are integers, so
//! all processors give the same bytes.

use super::planes::Canvas;
use super::simd::{Simd, multiversion};
use super::turn::turn;
use crate::augment::ColorStep;

/// An image whose colours change on its way to the canvas, row by row. Contrast needs the mean of the whole image, and
/// a user's own step the whole image, so from there on the rows wait for the last one.
#[derive(Debug, Default)]
pub(super) struct Colouring {
    steps: Vec<ColorStep>,
    /// How many steps are made row by row, before the rows wait; `None` if they do not.
    waits_at: Option<usize>,
    /// Sum of the grey values, rounded down.
    grey: u64,
    /// Width and height.
    size: (usize, usize),
    row: [Vec<u8>; 3],
    /// Whether columns become rows.
    is_turned: bool,
    /// The rows that wait: three planes.
    waiting: Vec<u8>,
    turned: Vec<u8>,
}

impl Colouring {
    /// Begins an image of `size` (width, height) on its canvas, before it is turned. `is_whole` makes all of it wait.
    pub(super) fn begin(&mut self, steps: Vec<ColorStep>, size: (u32, u32), is_turned: bool, is_whole: bool) {
        let contrast = steps.iter().position(|step| matches!(step, ColorStep::Contrast(_)));
        self.waits_at = contrast.or((is_turned || is_whole).then_some(steps.len()));
        self.is_turned = is_turned;
        self.steps = steps;
        self.grey = 0;
        self.size = (size.0 as usize, size.1 as usize);
        let waiting = if self.waits_at.is_some() { 3 * self.size.0 * self.size.1 } else { 0 };
        self.waiting.resize(waiting, 0);
    }

    /// Takes the next row of the image, the `y`-th of the canvas.
    pub(super) fn take(&mut self, simd: Simd, y: usize, rgb: [&[u8]; 3], canvas: &mut Canvas<'_>) {
        if self.steps.is_empty() && self.waits_at.is_none() {
            return canvas.write_row(y, rgb);
        }
        for (row, channel) in self.row.iter_mut().zip(rgb) {
            row.clear();
            row.extend_from_slice(channel);
        }
        let at_once = self.waits_at.unwrap_or(self.steps.len());
        let [red, green, blue] = &mut self.row;
        change(simd, &self.steps[..at_once], 0.0, [red, green, blue]);
        if self.waits_at.is_none() {
            return canvas.write_row(y, [red, green, blue]);
        }
        if at_once < self.steps.len() {
            self.grey += grey_sum(simd, [red, green, blue]);
        }
        let (width, height) = self.size;
        for (plane, row) in self.waiting.chunks_exact_mut(width * height).zip(&self.row) {
            plane[width * y..width * (y + 1)].copy_from_slice(row);
        }
    }

    /// The whole image, three planes, once all rows have been taken; `None` if no row has waited. It is then to be
    /// written by [`Colouring::write`].
    pub(super) fn whole(&mut self, simd: Simd) -> Option<&mut [u8]> {
        let first = self.waits_at?;
        let (width, height) = self.size;
        let mean = self.grey as f64 / (width * height).max(1) as f64;
        let rest = &self.steps[first..];
        if !rest.is_empty() {
            let (red, others) = self.waiting.split_at_mut(width * height);
            let (green, blue) = others.split_at_mut(width * height);
            let rows = red.chunks_exact_mut(width).zip(green.chunks_exact_mut(width)).zip(blue.chunks_exact_mut(width));
            rows.for_each(|((red, green), blue)| change(simd, rest, mean, [red, green, blue]));
        }
        if self.is_turned {
            self.turn();
        }
        Some(&mut self.waiting)
    }

    /// Makes rows of the columns.
    fn turn(&mut self) {
        let (width, height) = self.size;
        self.turned.resize(self.waiting.len(), 0);
        let planes = self.waiting.chunks_exact(width * height).zip(self.turned.chunks_exact_mut(width * height));
        planes.for_each(|(plane, turned)| turn(plane, width, turned));
        std::mem::swap(&mut self.waiting, &mut self.turned);
        self.size = (height, width);
    }

    /// Writes the rows that have waited.
    pub(super) fn write(&self, canvas: &mut Canvas<'_>) {
        let (width, height) = self.size;
        if self.waits_at.is_some() {
            let row = |plane: usize, y: usize| &self.waiting[(plane * height + y) * width..][..width];
            (0..height).for_each(|y| canvas.write_row(y, [row(0, y), row(1, y), row(2, y)]));
        }
    }
}

/// Makes changes one after the other. `mean` is that of the image's grey values before the contrast changes.
fn change(simd: Simd, steps: &[ColorStep], mean: f64, rgb: [&mut [u8]; 3]) {
    let [red, green, blue] = rgb;
    for step in steps {
        match *step {
            ColorStep::Brightness(factor) => {
                [&mut *red, &mut *green, &mut *blue].into_iter().for_each(|row| blend(simd, row, parts(factor), 0));
            }
            ColorStep::Contrast(factor) => {
                let rest = parts((mean * (1.0 - f64::from(factor))) as f32);
                [&mut *red, &mut *green, &mut *blue].into_iter().for_each(|row| blend(simd, row, parts(factor), rest));
            }
            ColorStep::Saturation(factor) => {
                saturate(simd, parts(factor), parts(1.0 - factor), [&mut *red, &mut *green, &mut *blue]);
            }
            ColorStep::Hue(turns) => {
                let channels = [5.0, 3.0, 1.0].map(|offset| sixths(6.0 * turns + offset));
                rotate(simd, channels, [&mut *red, &mut *green, &mut *blue]);
            }
            ColorStep::Grayscale => saturate(simd, 0, ONE, [&mut *red, &mut *green, &mut *blue]),
        }
    }
}

multiversion! {
    fn blend(row: &mut [u8], factor: i32, rest: i32) = blended
}

multiversion! {
    fn saturate(factor: i32, rest: i32, rgb: [&mut [u8]; 3]) = saturated
}

multiversion! {
    fn rotate(channels: [i32; 3], rgb: [&mut [u8]; 3]) = rotated
}

multiversion! {
    fn grey_sum(rgb: [&[u8]; 3]) -> u64 = summed
}

/// Factors are parts of 2^16. The largest, 101, times a byte fits 32 bits.
const ONE: i32 = 1 << 16;

/// Rounded up, so that a product that is a whole number is not rounded down to the one below.
fn parts(factor: f32) -> i32 {
    (f64::from(factor) * f64::from(ONE)).ceil() as i32
}

/// A place on the colour circle, modulo six sixths, in parts of 2^12 of a sixth.
fn sixths(place: f32) -> i32 {
    (place.rem_euclid(6.0) * 4096.0).round() as i32
}

fn to_byte(value: i32) -> u8 {
    (value >> 16).clamp(0, 255) as u8
}

#[inline(always)]
fn blended(row: &mut [u8], factor: i32, rest: i32) {
    for value in row {
        *value = to_byte(i32::from(*value) * factor + rest);
    }
}

/// The grey value of a pixel, rounded down: 0.2989 of red, 0.587 of green and 0.114 of blue, in parts of 2^22.
#[inline(always)]
fn grey(red: u8, green: u8, blue: u8) -> i32 {
    (i32::from(red) * 1_253_678 + i32::from(green) * 2_462_057 + i32::from(blue) * 478_151) >> 22
}

#[inline(always)]
fn summed([red, green, blue]: [&[u8]; 3]) -> u64 {
    let pixels = red.iter().zip(green).zip(blue);
    // A row has fewer than 2^23 pixels.
    pixels.map(|((&red, &green), &blue)| grey(red, green, blue)).sum::<i32>() as u64
}

#[inline(always)]
fn saturated(factor: i32, rest: i32, [red, green, blue]: [&mut [u8]; 3]) {
    for ((red, green), blue) in red.iter_mut().zip(green).zip(blue) {
        let grey = grey(*red, *green, *blue) * rest;
        *red = to_byte(i32::from(*red) * factor + grey);
        *green = to_byte(i32::from(*green) * factor + grey);
        *blue = to_byte(i32::from(*blue) * factor + grey);
    }
}

/// Turns the hue. With the largest channel `v`, the difference `c` to the smallest one and the hue in sixths of a turn,
/// a channel is `v - c * max(0, min(k, 4 - k, 1))`, where `k` is the hue plus 5 for red, 3 for green and 1 for blue,
/// modulo 6: the formula of HSV without its six cases. `c` times the hue is a difference of two channels, and some `c`,
/// so nothing is divided. `channels` are the turn plus 5, 3 and 1.
#[inline(always)]
fn rotated(channels: [i32; 3], [red, green, blue]: [&mut [u8]; 3]) {
    // 15 bits, which the compiler makes quicker products of.
    let channels = channels.map(|channel| channel & 0x7fff);
    for ((red, green), blue) in red.iter_mut().zip(green).zip(blue) {
        let (r, g, b) = (i32::from(*red), i32::from(*green), i32::from(*blue));
        let most = r.max(g).max(b);
        let range = most - r.min(g).min(b);
        let hue = match most {
            _ if most == r => g - b,
            _ if most == g => b - r + 2 * range,
            _ => r - g + 4 * range,
        };
        let (one, four, six) = (range << 12, range << 14, (6 * range) << 12);
        let changed = |channel: i32| {
            let k = (hue << 12) + channel * range;
            let k = if k >= six { k - six } else { k };
            let value = (most << 12) - k.min(four - k).clamp(0, one);
            // torchvision makes bytes of 0 to 1 by a factor of 255.999.
            ((value + (value >> 8)) >> 12) as u8
        };
        *red = changed(channels[0]);
        *green = changed(channels[1]);
        *blue = changed(channels[2]);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::image::Planes;

    fn bytes(digits: &str) -> Vec<u8> {
        let pairs = digits.as_bytes().as_chunks::<2>().0;
        pairs.iter().map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }

    /// Sends an image of three planes on its way; returns what arrives on a canvas of its width.
    fn coloured(simd: Simd, steps: &[ColorStep], planes: &[u8], size: (usize, usize), is_whole: bool) -> Vec<u8> {
        let (width, height) = size;
        let has_contrast = steps.iter().any(|step| matches!(step, ColorStep::Contrast(_)));
        let side = width.max(height);
        let mut out = vec![1; 3 * side * side];
        let size = (width as u32, height as u32);
        let mut canvas = Canvas::new(&Planes::U8, size, side as u32, &mut out);
        let mut colouring = Colouring::default();
        // Twice, so that what one image leaves behind would show in the next.
        for _ in 0..2 {
            colouring.begin(steps.to_vec(), size, false, is_whole);
            for y in 0..height {
                let row = |plane: usize| &planes[(plane * height + y) * width..][..width];
                colouring.take(simd, y, [row(0), row(1), row(2)], &mut canvas);
            }
            assert_eq!(colouring.whole(simd).is_some(), is_whole || has_contrast);
            colouring.write(&mut canvas);
        }
        let rows = |plane: usize| (0..height).map(move |y| (plane * side + y) * side);
        (0..3).flat_map(rows).flat_map(|at| out[at..at + width].to_vec()).collect()
    }

    #[test]
    fn colours_change_as_torchvision_changes_them() {
        let mut lines = include_str!("../../tests/golden/colors.jsonl").lines();
        let first: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
        let (width, height) = (first["width"].as_u64().unwrap() as usize, first["height"].as_u64().unwrap() as usize);
        let pixels = bytes(first["pixels"].as_str().unwrap());
        let mut lists = 0;
        for line in lines.map(|line| serde_json::from_str::<Value>(line).unwrap()) {
            let steps: Vec<ColorStep> = line["changes"].as_array().unwrap().iter().map(step).collect();
            let expected = bytes(line["pixels"].as_str().unwrap());
            let found = coloured(Simd::best(), &steps, &pixels, (width, height), false);
            assert_eq!(coloured(Simd::PORTABLE, &steps, &pixels, (width, height), true), found, "{steps:?}");
            let differing = found.iter().zip(&expected).filter(|(found, expected)| found != expected).count();
            let largest = found.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            // What lies between two bytes may go to either, once for each change.
            assert!(usize::from(largest) <= steps.len(), "{steps:?}: {largest}");
            assert!(differing <= steps.len() * found.len() / 50, "{steps:?}: {differing} of {}", found.len());
            lists += 1;
        }
        assert_eq!(lists, 26);
    }

    fn step(change: &Value) -> ColorStep {
        let number = change[1].as_f64().unwrap() as f32;
        match change[0].as_str().unwrap() {
            "brightness" => ColorStep::Brightness(number),
            "contrast" => ColorStep::Contrast(number),
            "saturation" => ColorStep::Saturation(number),
            "hue" => ColorStep::Hue(number),
            _ => ColorStep::Grayscale,
        }
    }
}

//! Changes the colours of rows of pixels: brightness, contrast, saturation, hue and grey, as torchvision 0.24's
//! `transforms.v2` changes uint8 images, to within one value for each change. All numbers are integers, so
//! all processors give the same bytes.

use super::planes::Canvas;
use super::simd::{Simd, multiversion};
use super::turn::turn;
use crate::augment::ColorStep;

/// An image whose colours change on its way to the canvas, row by row. Contrast needs the mean of the whole image, and
/// a turn or a user's own step the whole image, so from there on the rows wait for the last one: on the canvas itself
/// where it has bytes and the image is not turned or transformed.
#[derive(Debug, Default)]
pub(super) struct Colouring {
    changes: Vec<Change>,
    /// How many changes are made row by row, before the rows wait; `None` if they do not.
    waits_at: Option<usize>,
    /// Sum of the grey values, rounded down.
    grey: u64,
    /// Width and height.
    size: (usize, usize),
    /// Whether columns become rows.
    is_turned: bool,
    /// Whether the whole image is needed before any row is written.
    is_whole: bool,
    /// Whether rows change on the canvas.
    is_in_place: bool,
    /// The rows that wait, or one row: three planes.
    rows: Vec<u8>,
    turned: Vec<u8>,
}

impl Colouring {
    /// Begins an image on its canvas. `is_turned`: what is taken are its columns. `is_transformed`: the user changes
    /// the whole image.
    pub(super) fn begin(&mut self, steps: &[ColorStep], canvas: &Canvas<'_>, is_turned: bool, is_transformed: bool) {
        let contrast = steps.iter().position(|step| matches!(step, ColorStep::Contrast(_)));
        self.is_whole = is_turned || is_transformed;
        self.waits_at = contrast.or(self.is_whole.then_some(steps.len()));
        self.is_in_place = canvas.has_bytes() && !self.is_whole;
        self.is_turned = is_turned;
        self.changes.clear();
        self.changes.extend(steps.iter().map(Change::new));
        self.grey = 0;
        let (width, height) = canvas.size();
        let (width, height) = if is_turned { (height, width) } else { (width, height) };
        self.size = (width as usize, height as usize);
        let rows = if self.waits_at.is_some() { self.size.1 } else { 1 };
        self.rows.resize(if self.is_in_place { 0 } else { 3 * self.size.0 * rows }, 0);
    }

    /// Takes the next row of the image, the `y`-th of the canvas.
    pub(super) fn take(&mut self, simd: Simd, y: usize, rgb: [&[u8]; 3], canvas: &mut Canvas<'_>) {
        let is_at_once = self.waits_at.is_none();
        if is_at_once && self.changes.is_empty() {
            return canvas.write_row(y, rgb);
        }
        let (before, after) = self.changes.split_at(self.waits_at.unwrap_or(self.changes.len()));
        let (size, at) = if is_at_once { ((self.size.0, 1), 0) } else { (self.size, y) };
        let row = if self.is_in_place {
            canvas.write_row(y, rgb);
            change(simd, before, canvas.row_of_bytes(y))
        } else {
            let row = row_of(&mut self.rows, size, at);
            row.into_iter().zip(rgb).for_each(|(row, channel)| row.copy_from_slice(channel));
            change(simd, before, row_of(&mut self.rows, size, at))
        };
        if !after.is_empty() {
            self.grey += grey_sum(simd, row);
        }
        if is_at_once && !self.is_in_place {
            canvas.write_row(y, row_of(&mut self.rows, size, at).map(|row| &*row));
        }
    }

    /// The whole image, three planes, once all rows have been taken; `None` if it need not be whole. It is then to be
    /// written by [`Colouring::write`].
    pub(super) fn whole(&mut self, simd: Simd) -> Option<&mut [u8]> {
        if !self.is_whole {
            return None;
        }
        let changes = self.changes_after_mean();
        for y in 0..self.size.1 {
            change(simd, &changes, row_of(&mut self.rows, self.size, y));
        }
        self.changes.clear();
        if self.is_turned {
            self.turn();
        }
        Some(&mut self.rows)
    }

    /// The changes that have waited.
    fn changes_after_mean(&self) -> Vec<Change> {
        let mean = self.grey as f64 / (self.size.0 * self.size.1).max(1) as f64;
        let changes = self.changes.iter().skip(self.waits_at.unwrap_or(usize::MAX));
        changes.map(|change| change.around(mean)).collect()
    }

    /// Makes rows of the columns.
    fn turn(&mut self) {
        let (width, height) = self.size;
        self.turned.resize(self.rows.len(), 0);
        let planes = self.rows.chunks_exact(width * height).zip(self.turned.chunks_exact_mut(width * height));
        planes.for_each(|(plane, turned)| turn(plane, width, turned));
        std::mem::swap(&mut self.rows, &mut self.turned);
        self.size = (height, width);
    }

    /// Writes the rows that have waited.
    pub(super) fn write(&mut self, simd: Simd, canvas: &mut Canvas<'_>) {
        if self.waits_at.is_none() {
            return;
        }
        let changes = self.changes_after_mean();
        // One by one, so that a row is still in the cache when it is written.
        for y in 0..self.size.1 {
            if self.is_in_place {
                change(simd, &changes, canvas.row_of_bytes(y));
            } else {
                canvas.write_row(y, change(simd, &changes, row_of(&mut self.rows, self.size, y)));
            }
        }
    }
}

/// A row of three planes of `width` x `height`.
fn row_of(planes: &mut [u8], (width, height): (usize, usize), y: usize) -> [&mut [u8]; 3] {
    let (red, others) = planes.split_at_mut(width * height);
    let (green, blue) = others.split_at_mut(width * height);
    [red, green, blue].map(|plane| &mut plane[width * y..width * (y + 1)])
}

/// A step, prepared for integers.
#[derive(Clone, Copy, Debug)]
enum Change {
    /// Each value times a factor, plus a number.
    Blend { factor: Factor, rest: i32 },
    /// Each value times a factor, plus the mean of the image's grey values times the rest to 1.
    BlendWithMean { factor: Factor, rest: f64 },
    /// Each value times a factor, plus the grey value of the pixel times another one.
    BlendWithGrey { factor: Factor, rest: i32 },
    /// The turn of the hue, for each channel.
    Rotate([u16; 3]),
}

impl Change {
    fn new(step: &ColorStep) -> Self {
        let with_grey = |number: f32| {
            let factor = Factor::new(number);
            Self::BlendWithGrey { factor, rest: factor.like(1.0 - number) }
        };
        match *step {
            ColorStep::Brightness(number) => Self::Blend { factor: Factor::new(number), rest: 0 },
            ColorStep::Contrast(number) => {
                Self::BlendWithMean { factor: Factor::new(number), rest: 1.0 - f64::from(number) }
            }
            ColorStep::Saturation(number) => with_grey(number),
            ColorStep::Grayscale => with_grey(0.0),
            ColorStep::Hue(turns) => Self::Rotate([5.0, 3.0, 1.0].map(|offset| sixths(6.0 * turns + offset))),
        }
    }

    /// The same change, now that the mean is known.
    fn around(self, mean: f64) -> Self {
        match self {
            Self::BlendWithMean { factor, rest } => Self::Blend { factor, rest: factor.shifted(mean * rest) },
            other => other,
        }
    }
}

/// Makes changes one after the other; returns the row.
fn change<'a>(simd: Simd, changes: &[Change], rgb: [&'a mut [u8]; 3]) -> [&'a [u8]; 3] {
    let [red, green, blue] = rgb;
    for change in changes {
        match *change {
            Change::Blend { factor, rest } => {
                blend(simd, red, factor, rest);
                blend(simd, green, factor, rest);
                blend(simd, blue, factor, rest);
            }
            Change::BlendWithGrey { factor, rest } => saturate(simd, factor, rest, [&mut *red, green, blue]),
            Change::Rotate(channels) => rotate(simd, channels, [&mut *red, green, blue]),
            // Its mean is known before it is its turn.
            Change::BlendWithMean { .. } => {}
        }
    }
    [red, green, blue]
}

multiversion! {
    fn blend(row: &mut [u8], factor: Factor, rest: i32) = blended
}

multiversion! {
    fn saturate(factor: Factor, rest: i32, rgb: [&mut [u8]; 3]) = saturated
}

multiversion! {
    fn rotate(channels: [u16; 3], rgb: [&mut [u8]; 3]) = rotated
}

multiversion! {
    fn grey_sum(rgb: [&[u8]; 3]) -> u64 = summed
}

/// A factor of bytes, whose products are 16 bits: then an instruction makes twice as many of them as of 32 bits.
#[derive(Clone, Copy, Debug)]
struct Factor {
    /// The factor in parts of 2^(8 + `shift`).
    mantissa: u16,
    /// Bits of a product after the point: at most 7, one less for each power of two that the factor has.
    shift: u32,
}

impl Factor {
    fn new(factor: f32) -> Self {
        // A factor is at most 101.
        let shift = 7 - (factor.max(1.0).log2() as u32).min(6);
        let mut new = Self { mantissa: 0, shift };
        new.mantissa = new.like(factor) as u16;
        new
    }

    /// Another factor in the same parts. Rounded up, so that a product that is a whole number is not rounded down to
    /// the one below.
    fn like(self, factor: f32) -> i32 {
        let parts = f64::from(factor.abs()) * f64::from(1 << (8 + self.shift));
        parts.ceil().min(65535.0) as i32 * factor.signum() as i32
    }

    /// A value as one of the products.
    fn shifted(self, value: f64) -> i32 {
        (value * f64::from(1 << self.shift)).round() as i32
    }
}

/// A byte times a factor of parts of 2^(8 + n), in parts of 2^n. Two products of 16 bits are faster than one of 32.
#[inline(always)]
fn times(value: u8, mantissa: u16) -> u16 {
    let value = u16::from(value);
    value * (mantissa >> 8) + ((value * (mantissa & 0xff)) >> 8)
}

/// A product plus another one, which may be below 0.
#[inline(always)]
fn plus(product: u16, is_less: bool, other: u16) -> u16 {
    if is_less { product.saturating_sub(other) } else { product.saturating_add(other) }
}

#[inline(always)]
fn blended(row: &mut [u8], Factor { mantissa, shift }: Factor, rest: i32) {
    let (is_less, rest) = (rest < 0, rest.unsigned_abs() as u16);
    for value in row {
        *value = (plus(times(*value, mantissa), is_less, rest) >> shift).min(255) as u8;
    }
}

/// The grey value of a pixel, rounded down: 0.2989 of red, 0.587 of green and 0.114 of blue, in parts of 2^22.
#[inline(always)]
fn grey(red: u8, green: u8, blue: u8) -> u8 {
    ((u32::from(red) * 1_253_678 + u32::from(green) * 2_462_057 + u32::from(blue) * 478_151) >> 22) as u8
}

#[inline(always)]
fn summed([red, green, blue]: [&[u8]; 3]) -> u64 {
    let pixels = red.iter().zip(green).zip(blue);
    // A row has fewer than 2^24 pixels.
    pixels.map(|((&red, &green), &blue)| u32::from(grey(red, green, blue))).sum::<u32>().into()
}

#[inline(always)]
fn saturated(Factor { mantissa, shift }: Factor, rest: i32, [red, green, blue]: [&mut [u8]; 3]) {
    let (is_less, rest) = (rest < 0, rest.unsigned_abs() as u16);
    for ((red, green), blue) in red.iter_mut().zip(green).zip(blue) {
        // A sum that is a whole number has lost one part in its two products, or none.
        let grey = times(grey(*red, *green, *blue), rest) + u16::from(!is_less);
        for value in [red, green, blue] {
            *value = (plus(times(*value, mantissa), is_less, grey) >> shift).min(255) as u8;
        }
    }
}

/// A place on the colour circle, modulo six sixths, in parts of 2^13 of a sixth.
fn sixths(place: f32) -> u16 {
    (place.rem_euclid(6.0) * 8192.0).round() as u16
}

/// Turns the hue. With the largest channel `v`, the difference `c` to the smallest one and the hue in sixths of a turn,
/// a channel is `v - c * max(0, min(k, 4 - k, 1))`, where `k` is the hue plus 5 for red, 3 for green and 1 for blue,
/// modulo 6: the formula of HSV without its six cases. `c` times the hue is a difference of two channels, and some `c`,
/// so nothing is divided. `channels` are the turn plus 5, 3 and 1. All products have 5 bits after the point.
#[inline(always)]
fn rotated(channels: [u16; 3], [red, green, blue]: [&mut [u8]; 3]) {
    for ((red, green), blue) in red.iter_mut().zip(green).zip(blue) {
        let (r, g, b) = (u16::from(*red), u16::from(*green), u16::from(*blue));
        let most = r.max(g).max(b);
        let range = most - r.min(g).min(b);
        // From 0 to 6 times the range.
        let hue = match most {
            _ if most == r && g >= b => g - b,
            _ if most == r => 6 * range + g - b,
            _ if most == g => 2 * range + b - r,
            _ => 4 * range + r - g,
        };
        let (one, four, six) = (range << 5, range << 7, (6 * range) << 5);
        let changed = |channel: u16| {
            let (hue, turn) = (hue << 5, times(range as u8, channel));
            let k = if hue >= six - turn { hue - (six - turn) } else { hue + turn };
            let value = (most << 5) - k.min(four.saturating_sub(k)).min(one);
            // torchvision makes bytes of 0 to 1 by a factor of 255.999.
            ((value + (value >> 8)) >> 5) as u8
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
        let side = width.max(height);
        let mut out = vec![1; 3 * side * side];
        let size = (width as u32, height as u32);
        let mut canvas = Canvas::new(&Planes::U8, size, side as u32, &mut out);
        let mut colouring = Colouring::default();
        // Twice, so that what one image leaves behind would show in the next.
        for _ in 0..2 {
            colouring.begin(steps, &canvas, false, is_whole);
            for y in 0..height {
                let row = |plane: usize| &planes[(plane * height + y) * width..][..width];
                colouring.take(simd, y, [row(0), row(1), row(2)], &mut canvas);
            }
            assert_eq!(colouring.whole(simd).is_some(), is_whole);
            colouring.write(simd, &mut canvas);
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

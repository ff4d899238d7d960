//! A picture of RGB pixels: shapes and text on it, a grid of several, and its PNG.

use std::convert::Infallible;
use std::io::{self, Write};

use embedded_graphics::mono_font::MonoTextStyle;
use embedded_graphics::mono_font::ascii::FONT_7X13_BOLD;
use embedded_graphics::pixelcolor::{Rgb888, raw::RawU24};
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::{Circle, Line, PrimitiveStyle, Rectangle};
use embedded_graphics::text::{Baseline, Text};

/// Red, green and blue.
pub(super) type Rgb = [u8; 3];

const BLACK: Rgb = [0; 3];
/// Width and height of a character.
const CHARACTER: (u32, u32) = (7, 13);
/// Pixels between the samples of a grid.
const GAP: usize = 6;
const PAPER: Rgb = [32; 3];

#[derive(Clone, Debug)]
pub(in crate::cli) struct Picture {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) pixels: Vec<Rgb>,
}

impl Picture {
    pub(super) fn new(width: usize, height: usize, color: Rgb) -> Self {
        Self { width, height, pixels: vec![color; width * height] }
    }

    /// Pictures of equal size side by side and below each other. By default, as many columns as make it about square.
    pub(super) fn grid(tiles: &[Self], columns: Option<usize>) -> Self {
        let columns = columns.unwrap_or((tiles.len() as f64).sqrt().ceil() as usize).clamp(1, tiles.len().max(1));
        let lines = tiles.len().div_ceil(columns);
        let (width, height) = tiles.iter().fold((1, 1), |(w, h), tile| (tile.width.max(w), tile.height.max(h)));
        let mut grid = Self::new(columns * (width + GAP) - GAP, (lines * (height + GAP)).max(1 + GAP) - GAP, PAPER);
        for (at, tile) in tiles.iter().enumerate() {
            grid.paste(tile, at % columns * (width + GAP), at / columns * (height + GAP));
        }
        grid
    }

    /// Puts a picture with its upper left corner at a place where it has room.
    pub(super) fn paste(&mut self, other: &Self, left: usize, top: usize) {
        for (y, row) in other.pixels.chunks_exact(other.width).enumerate() {
            let start = (top + y) * self.width + left;
            self.pixels[start..start + other.width].copy_from_slice(row);
        }
    }

    /// The upper left part of this size.
    pub(super) fn cut(&self, width: usize, height: usize) -> Self {
        let rows = self.pixels.chunks_exact(self.width).take(height);
        Self { width, height, pixels: rows.flat_map(|row| &row[..width]).copied().collect() }
    }

    pub(super) fn rectangle(&mut self, [left, top, right, bottom]: [f32; 4], color: Rgb) {
        let corner = |x: f32, y: f32| Point::new(x.round() as i32, y.round() as i32);
        // The edges of a box lie between pixels.
        let area = Rectangle::with_corners(corner(left, top), corner(right - 1.0, bottom - 1.0));
        let _ = area.into_styled(PrimitiveStyle::with_stroke(rgb888(color), 1)).draw(self);
    }

    /// A filled disc with a black rim.
    pub(super) fn disc(&mut self, center: [f32; 2], radius: u32, color: Rgb) {
        for (radius, color) in [(radius + 1, BLACK), (radius, color)] {
            let circle = Circle::with_center(place(center), 2 * radius + 1);
            let _ = circle.into_styled(PrimitiveStyle::with_fill(rgb888(color))).draw(self);
        }
    }

    /// A cross of two diagonals with a black rim.
    pub(super) fn cross(&mut self, center: [f32; 2], radius: i32, color: Rgb) {
        self.lines(center, color, [[-radius, -radius, radius, radius], [-radius, radius, radius, -radius]]);
    }

    /// A square on its corner, with a black rim.
    pub(super) fn diamond(&mut self, center: [f32; 2], radius: i32, color: Rgb) {
        let corners =
            [[-radius, 0, 0, -radius], [0, -radius, radius, 0], [radius, 0, 0, radius], [0, radius, -radius, 0]];
        self.lines(center, color, corners);
    }

    fn lines<const N: usize>(&mut self, center: [f32; 2], color: Rgb, lines: [[i32; 4]; N]) {
        for (width, color) in [(4, BLACK), (2, color)] {
            for [from_x, from_y, to_x, to_y] in lines {
                let from = place(center) + Point::new(from_x, from_y);
                let line = Line::new(from, place(center) + Point::new(to_x, to_y));
                let _ = line.into_styled(PrimitiveStyle::with_stroke(rgb888(color), width)).draw(self);
            }
        }
    }

    /// Text on a dark ground, its upper left corner as near to a place as it can be without leaving the picture.
    pub(super) fn label(&mut self, [x, y]: [f32; 2], text: &str, color: Rgb) {
        let size = Size::new(text.chars().count() as u32 * CHARACTER.0 + 2, CHARACTER.1);
        let most = |length: usize, size: u32| (length as i32 - size as i32).max(0);
        let left = (x.round() as i32).clamp(0, most(self.width, size.width));
        let top = (y.round() as i32).clamp(0, most(self.height, size.height));
        let ground = Rectangle::new(Point::new(left, top), size);
        let _ = ground.into_styled(PrimitiveStyle::with_fill(rgb888([24; 3]))).draw(self);
        let style = MonoTextStyle::new(&FONT_7X13_BOLD, rgb888(color));
        let _ = Text::with_baseline(text, Point::new(left + 1, top), style, Baseline::Top).draw(self);
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.pixels.as_flattened()
    }

    pub(in crate::cli) fn write_png(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut encoder = png::Encoder::new(out, self.width as u32, self.height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.write_header()?.write_image_data(self.bytes())?;
        Ok(())
    }
}

/// Where pixels and shapes beside the picture are left out.
impl DrawTarget for Picture {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        for Pixel(Point { x, y }, color) in pixels {
            if let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y))
                && x < self.width
                && y < self.height
            {
                let [_, r, g, b] = RawU24::from(color).into_inner().to_be_bytes();
                self.pixels[y * self.width + x] = [r, g, b];
            }
        }
        Ok(())
    }
}

impl OriginDimensions for Picture {
    fn size(&self) -> Size {
        Size::new(self.width as u32, self.height as u32)
    }
}

fn rgb888([r, g, b]: Rgb) -> Rgb888 {
    Rgb888::new(r, g, b)
}

/// The pixel that a place is in.
fn place([x, y]: [f32; 2]) -> Point {
    Point::new(x.floor() as i32, y.floor() as i32)
}

//! Something to look at. Comes in: [`Example`]s. Goes out: a PNG in which each is four tiles: the image with the point,
//! what belongs to it, what the head says, the patches that it keeps. Fails where the file cannot be written.

use std::cmp::Reverse;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use super::evaluate::Example;
use super::model::Result;

/// Height of a tile in pixels.
const HEIGHT: usize = 160;
/// Tiles of an example.
const TILES: usize = 4;
/// Between the tiles of an example, and between examples.
const THIN: usize = 4;
const WIDE: usize = 20;
pub(crate) const BACKGROUND: [u8; 3] = [24, 24, 27];
/// From no to full relevance; evenly spaced, brighter all the way.
const HEAT: [[f32; 3]; 6] = [
    [16.0, 12.0, 40.0],
    [72.0, 24.0, 112.0],
    [156.0, 44.0, 106.0],
    [226.0, 92.0, 60.0],
    [250.0, 172.0, 44.0],
    [255.0, 250.0, 184.0],
];

/// Draws `examples` into the file at `path`, two a row: the wide ones on the left, the narrow ones on the right.
pub(crate) fn draw(examples: &[Example], path: &Path) -> Result<()> {
    let mut examples: Vec<&Example> = examples.iter().collect();
    examples.sort_by_key(|example| Reverse(example.width()));
    let count = examples.len();
    let rows = || (0..count.div_ceil(2)).map(|i| if 2 * i + 1 < count { vec![i, count - 1 - i] } else { vec![i] });
    let width_of = |example: &Example| TILES * example.width() + (TILES - 1) * THIN;
    let widest =
        |place: usize| rows().filter_map(|row| row.get(place).map(|&i| width_of(examples[i]))).max().unwrap_or(0);
    // Two columns, each as wide as its widest.
    let second = WIDE + widest(0) + WIDE;
    let width = second + widest(1) + WIDE;
    let height = rows().count() * (HEIGHT + WIDE) + WIDE;

    let mut sheet = Sheet { width, rgb: BACKGROUND.repeat(width * height) };
    for (number, row) in rows().enumerate() {
        for (place, i) in row.into_iter().enumerate() {
            let example = examples[i];
            let left = if place == 0 { WIDE } else { second };
            let tiles: [&dyn Fn(f32, f32) -> [u8; 3]; TILES] = [
                &|x, y| example.pixel(x, y).map(|v| v as u8),
                &|x, y| example.heat(&example.target, x, y),
                &|x, y| example.heat(&example.predicted, x, y),
                &|x, y| example.kept(x, y),
            ];
            for (tile, color) in tiles.into_iter().enumerate() {
                let left = left + tile * (example.width() + THIN);
                sheet.tile(left, WIDE + number * (HEIGHT + WIDE), example, color);
            }
        }
    }
    sheet.write(path)
}

/// A picture as it grows.
pub(crate) struct Sheet {
    pub(crate) width: usize,
    pub(crate) rgb: Vec<u8>,
}

impl Sheet {
    /// Colours a pixel, if there is one.
    pub(crate) fn set(&mut self, x: usize, y: usize, color: [u8; 3]) {
        let start = 3 * (y * self.width + x);
        if x < self.width
            && let Some(pixel) = self.rgb.get_mut(start..start + 3)
        {
            pixel.copy_from_slice(&color);
        }
    }

    /// Writes it as a PNG.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let file = File::create(path).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
        let height = self.rgb.len() / (3 * self.width);
        let mut encoder = png::Encoder::new(BufWriter::new(file), self.width as u32, height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.write_header()?.write_image_data(&self.rgb)?;
        Ok(())
    }

    /// Draws a tile: the image's part of the canvas, coloured by `color` of a place on it, and a ring at the point.
    fn tile(&mut self, left: usize, top: usize, example: &Example, color: &dyn Fn(f32, f32) -> [u8; 3]) {
        let (scale, grid) = (example.scale(), example.grid);
        let centre = |index: usize| (index as f32 + 0.5) / grid as f32 / scale;
        let point = example.point.map(|patch| [patch % grid, patch / grid].map(centre));
        for y in 0..HEIGHT {
            for x in 0..example.width() {
                let [px, py] = [x, y].map(|v| v as f32 + 0.5);
                let color = match point.map_or(f32::INFINITY, |point| (px - point[0]).hypot(py - point[1])) {
                    4.0..6.5 => [255; 3],
                    2.5..8.0 => [0; 3],
                    _ => color(px * scale, py * scale),
                };
                self.set(left + x, top + y, color);
            }
        }
    }
}

/// Places are x and y on the canvas, 0 to 1.
impl Example {
    /// Patches across and down that are image, not padding.
    fn content(&self) -> [usize; 2] {
        let rows = (0..self.grid).filter(|row| self.valid[row * self.grid]).count();
        let columns = (0..self.grid).filter(|&column| self.valid[column]).count();
        [columns, rows].map(|patches| patches.max(1))
    }

    /// Width of its tiles in pixels.
    fn width(&self) -> usize {
        let [columns, rows] = self.content();
        columns * HEIGHT / rows
    }

    /// Share of the canvas that a pixel of a tile shows.
    fn scale(&self) -> f32 {
        self.content()[1] as f32 / (self.grid * HEIGHT) as f32
    }

    /// The image's colour at a place, between its pixels.
    fn pixel(&self, x: f32, y: f32) -> [f32; 3] {
        let most = (self.side - 1) as f32;
        let [x, y] = [x, y].map(|v| (v * self.side as f32 - 0.5).clamp(0.0, most));
        let (left, top) = (x as usize, y as usize);
        let (right, below) = ((left + 1).min(self.side - 1), (top + 1).min(self.side - 1));
        [0, 1, 2].map(|channel| {
            let at = |x: usize, y: usize| f32::from(self.image[(channel * self.side + y) * self.side + x]);
            let mix = |a: f32, b: f32, share: f32| a + (b - a) * share;
            let upper = mix(at(left, top), at(right, top), x.fract());
            mix(upper, mix(at(left, below), at(right, below), x.fract()), y.fract())
        })
    }

    /// The patch at a place.
    fn patch(&self, x: f32, y: f32) -> usize {
        let [column, row] = [x, y].map(|v| ((v * self.grid as f32) as usize).min(self.grid - 1));
        row * self.grid + column
    }

    /// The image where its patch is kept, else a shade of it.
    fn kept(&self, x: f32, y: f32) -> [u8; 3] {
        let light = if self.kept[self.patch(x, y)] { 1.0 } else { 0.2 };
        self.pixel(x, y).map(|v| (v * light) as u8)
    }

    /// The heat of the patch at a place, with a trace of the image.
    fn heat(&self, values: &[f32], x: f32, y: f32) -> [u8; 3] {
        let value = values[self.patch(x, y)].clamp(0.0, 1.0);
        let [r, g, b] = self.pixel(x, y);
        let gray = 0.3 * r + 0.6 * g + 0.1 * b;
        let scaled = value * (HEAT.len() - 1) as f32;
        let from = (scaled as usize).min(HEAT.len() - 2);
        let share = scaled - from as f32;
        [0, 1, 2].map(|i| {
            let heat = HEAT[from][i] * (1.0 - share) + HEAT[from + 1][i] * share;
            (0.75 * heat + 0.25 * gray) as u8
        })
    }
}

//! Something to look at. Comes in: [`Example`]s. Goes out: a PNG in which each is three tiles: the image with the
//! point, what belongs to it, what the model says. Fails where the file cannot be written.

use std::error::Error;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use crate::evaluate::Example;
use crate::features::{GRID, centre};

/// Side of the canvas in pixels; what is padding is cut off.
const TILE: usize = 288;
/// Tiles of an example.
const TILES: usize = 3;
/// Between the tiles of an example, and between examples.
const THIN: usize = 4;
const WIDE: usize = 20;
/// Examples side by side.
const COLUMNS: usize = 2;
const BACKGROUND: [u8; 3] = [24, 24, 27];
/// From no to full relevance; evenly spaced, brighter all the way.
const HEAT: [[f32; 3]; 6] = [
    [13.0, 8.0, 35.0],
    [66.0, 10.0, 104.0],
    [147.0, 38.0, 103.0],
    [221.0, 81.0, 58.0],
    [252.0, 165.0, 10.0],
    [252.0, 255.0, 164.0],
];

/// Draws `examples` into the file at `path`: a few side by side, wide images above tall ones.
pub(crate) fn draw(examples: &[Example], path: &Path) -> Result<(), Box<dyn Error>> {
    let mut examples: Vec<&Example> = examples.iter().collect();
    examples.sort_by_key(|example| example.content()[1]);
    let width_of = |example: &Example| TILES * example.content()[0] + (TILES - 1) * THIN;
    let rows = || examples.chunks(COLUMNS);
    let height_of = |row: &[&Example]| row.iter().map(|example| example.content()[1]).max().unwrap_or(0) + WIDE;
    let width = rows().map(|row| row.iter().map(|e| width_of(e) + WIDE).sum::<usize>()).max().unwrap_or(0) + WIDE;
    let height = rows().map(height_of).sum::<usize>() + WIDE;

    let mut sheet = Sheet { width, rgb: BACKGROUND.repeat(width * height) };
    let mut top = WIDE;
    for row in rows() {
        // What a row leaves free goes between and beside its examples.
        let gap = (width - row.iter().map(|e| width_of(e)).sum::<usize>()) / (row.len() + 1);
        let mut left = gap;
        for example in row {
            let tiles: [&dyn Fn(usize, usize) -> [u8; 3]; TILES] =
                [&|x, y| example.pixel(x, y).map(|v| v as u8), &|x, y| example.heat(&example.target, x, y), &|x, y| {
                    example.heat(&example.predicted, x, y)
                }];
            for (tile, color) in tiles.into_iter().enumerate() {
                sheet.tile(left + tile * (example.content()[0] + THIN), top, example, color);
            }
            left += width_of(example) + gap;
        }
        top += height_of(row);
    }

    let file = File::create(path).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    let mut encoder = png::Encoder::new(BufWriter::new(file), width as u32, height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.write_header()?.write_image_data(&sheet.rgb)?;
    Ok(())
}

/// The picture as it grows.
struct Sheet {
    width: usize,
    rgb: Vec<u8>,
}

impl Sheet {
    /// Draws a tile: the image's part of the canvas, coloured by `color`, and a ring at the point.
    fn tile(&mut self, left: usize, top: usize, example: &Example, color: &dyn Fn(usize, usize) -> [u8; 3]) {
        let [content_width, content_height] = example.content();
        let point = [example.patch % GRID, example.patch / GRID].map(|i| centre(i) * TILE as f32);
        for y in 0..content_height {
            for x in 0..content_width {
                let away = (x as f32 + 0.5 - point[0]).hypot(y as f32 + 0.5 - point[1]);
                let color = match away {
                    4.0..6.5 => [255; 3],
                    2.5..8.0 => [0; 3],
                    _ => color(x, y),
                };
                let start = 3 * ((top + y) * self.width + left + x);
                self.rgb[start..start + 3].copy_from_slice(&color);
            }
        }
    }
}

impl Example {
    /// Width and height of the image's part of a tile.
    fn content(&self) -> [usize; 2] {
        let rows = (0..GRID).filter(|row| self.valid[row * GRID]).count();
        let columns = (0..GRID).filter(|&column| self.valid[column]).count();
        [columns, rows].map(|patches| patches * TILE / GRID)
    }

    /// The image's colour at a place in the tile.
    fn pixel(&self, x: usize, y: usize) -> [f32; 3] {
        let at = |v: usize| v * self.side / TILE;
        [0, 1, 2].map(|channel| f32::from(self.image[(channel * self.side + at(y)) * self.side + at(x)]))
    }

    /// The heat of the patch at a place in the tile, with a trace of the image.
    fn heat(&self, values: &[f32], x: usize, y: usize) -> [u8; 3] {
        let value = values[y * GRID / TILE * GRID + x * GRID / TILE].clamp(0.0, 1.0);
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

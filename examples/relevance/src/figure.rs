//! The figure of examples: a PNG with four tiles per example: the image with the point, the target, the prediction,
//! and the kept patches.

use std::cmp::Reverse;
use std::path::Path;

use crate::evaluate::Example;
use crate::raster::Raster;
use crate::result::Result;

/// Height of a tile in pixels.
const HEIGHT: usize = 160;
/// Tiles per example.
const TILES: usize = 4;
/// Gap between the tiles of an example.
const TILE_GAP: usize = 4;
/// Gap between examples.
const GAP: usize = 20;
/// Colour map of relevance 0 to 1: evenly spaced, of increasing brightness.
const COLOR_MAP: [[f32; 3]; 6] = [
    [16.0, 12.0, 40.0],
    [72.0, 24.0, 112.0],
    [156.0, 44.0, 106.0],
    [226.0, 92.0, 60.0],
    [250.0, 172.0, 44.0],
    [255.0, 250.0, 184.0],
];

/// Draws `examples` into the file at `path`, two per row: wide ones on the left, narrow ones on the right.
pub fn draw(examples: &[Example], path: &Path) -> Result<()> {
    let mut examples: Vec<&Example> = examples.iter().collect();
    examples.sort_by_key(|example| Reverse(example.width()));
    let count = examples.len();
    let rows = || (0..count.div_ceil(2)).map(|i| if 2 * i + 1 < count { vec![i, count - 1 - i] } else { vec![i] });
    let width_of = |example: &Example| TILES * example.width() + (TILES - 1) * TILE_GAP;
    let widest =
        |column: usize| rows().filter_map(|row| row.get(column).map(|&i| width_of(examples[i]))).max().unwrap_or(0);
    // Two columns, each as wide as its widest example.
    let second = GAP + widest(0) + GAP;
    let width = second + widest(1) + GAP;
    let height = rows().count() * (HEIGHT + GAP) + GAP;

    let mut raster = Raster::new(width, height);
    for (row_index, row) in rows().enumerate() {
        for (column, i) in row.into_iter().enumerate() {
            let example = examples[i];
            let left = if column == 0 { GAP } else { second };
            let tiles: [&dyn Fn(f32, f32) -> [u8; 3]; TILES] = [
                &|x, y| example.pixel(x, y).map(|v| v as u8),
                &|x, y| example.heat(&example.target, x, y),
                &|x, y| example.heat(&example.predicted, x, y),
                &|x, y| example.kept(x, y),
            ];
            for (tile, color) in tiles.into_iter().enumerate() {
                let left = left + tile * (example.width() + TILE_GAP);
                draw_tile(&mut raster, left, GAP + row_index * (HEIGHT + GAP), example, color);
            }
        }
    }
    raster.write(path)
}

/// Draws a tile: the part of the canvas that is image, in the colours that `color` gives for x and y on the canvas,
/// with a ring around the point.
fn draw_tile(raster: &mut Raster, left: usize, top: usize, example: &Example, color: &dyn Fn(f32, f32) -> [u8; 3]) {
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
            raster.set(left + x, top + y, color);
        }
    }
}

/// Positions x and y are on the canvas, 0 to 1.
impl Example {
    /// Number of patches across and down that are image, not padding.
    fn content(&self) -> [usize; 2] {
        let rows = (0..self.grid).filter(|row| self.valid[row * self.grid]).count();
        let columns = (0..self.grid).filter(|&column| self.valid[column]).count();
        [columns, rows].map(|patches| patches.max(1))
    }

    /// Width of a tile in pixels.
    fn width(&self) -> usize {
        let [columns, rows] = self.content();
        columns * HEIGHT / rows
    }

    /// Size of a tile's pixel on the canvas.
    fn scale(&self) -> f32 {
        self.content()[1] as f32 / (self.grid * HEIGHT) as f32
    }

    /// The image's colour at a position, by bilinear interpolation.
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

    /// The patch at a position.
    fn patch(&self, x: f32, y: f32) -> usize {
        let [column, row] = [x, y].map(|v| ((v * self.grid as f32) as usize).min(self.grid - 1));
        row * self.grid + column
    }

    /// The image where the patch is kept, and darkened elsewhere.
    fn kept(&self, x: f32, y: f32) -> [u8; 3] {
        let light = if self.kept[self.patch(x, y)] { 1.0 } else { 0.2 };
        self.pixel(x, y).map(|v| (v * light) as u8)
    }

    /// The colour of the patch's value at a position, blended with the image's brightness.
    fn heat(&self, values: &[f32], x: f32, y: f32) -> [u8; 3] {
        let value = values[self.patch(x, y)].clamp(0.0, 1.0);
        let [r, g, b] = self.pixel(x, y);
        let gray = 0.3 * r + 0.6 * g + 0.1 * b;
        let scaled = value * (COLOR_MAP.len() - 1) as f32;
        let from = (scaled as usize).min(COLOR_MAP.len() - 2);
        let share = scaled - from as f32;
        [0, 1, 2].map(|i| {
            let heat = COLOR_MAP[from][i] * (1.0 - share) + COLOR_MAP[from + 1][i] * share;
            (0.75 * heat + 0.25 * gray) as u8
        })
    }
}

//! The loss plot: a PNG with a faint dot per step, the running mean as a line, and numbers on the axes.

use std::path::Path;

use crate::raster::Raster;
use crate::result::Result;

/// Width and height.
const SIZE: [usize; 2] = [720, 320];
/// Margins for the numbers: left, top, right, bottom.
const MARGINS: [usize; 4] = [52, 16, 20, 28];
const AXIS: [u8; 3] = [82, 82, 91];
const DOT: [u8; 3] = [70, 92, 128];
const LINE: [u8; 3] = [250, 172, 44];
const TEXT: [u8; 3] = [212, 212, 216];
/// Digits and the decimal point: 3 x 5 dots each, in rows from the top.
const GLYPHS: [(char, [u8; 5]); 11] = [
    ('0', [0b111, 0b101, 0b101, 0b101, 0b111]),
    ('1', [0b010, 0b110, 0b010, 0b010, 0b111]),
    ('2', [0b111, 0b001, 0b111, 0b100, 0b111]),
    ('3', [0b111, 0b001, 0b111, 0b001, 0b111]),
    ('4', [0b101, 0b101, 0b111, 0b001, 0b001]),
    ('5', [0b111, 0b100, 0b111, 0b001, 0b111]),
    ('6', [0b111, 0b100, 0b111, 0b101, 0b111]),
    ('7', [0b111, 0b001, 0b010, 0b010, 0b010]),
    ('8', [0b111, 0b101, 0b111, 0b101, 0b111]),
    ('9', [0b111, 0b101, 0b111, 0b001, 0b111]),
    ('.', [0b000, 0b000, 0b000, 0b000, 0b010]),
];
/// Side of a glyph's dot in pixels.
const DOT_SIDE: usize = 2;
/// Distance from one glyph to the next.
const ADVANCE: usize = 4 * DOT_SIDE;

/// Draws the loss of each step into the file at `path`.
pub fn draw(losses: &[f32], path: &Path) -> Result<()> {
    let [width, height] = SIZE;
    let [left, top, right, bottom] = MARGINS;
    let (plot_width, plot_height) = (width - left - right, height - top - bottom);
    let mut raster = Raster::new(width, height);
    // The range ends at the 99th percentile, so that an outlier does not flatten the curve.
    let mut sorted: Vec<f32> = losses.iter().copied().filter(|loss| loss.is_finite()).collect();
    sorted.sort_by(f32::total_cmp);
    let quantile =
        |share: f32| sorted.get((share * sorted.len() as f32) as usize).or(sorted.last()).copied().unwrap_or(1.0);
    let (least, most) = (0.95 * quantile(0.0), 1.05 * quantile(0.99));
    let last = losses.len().saturating_sub(1).max(1) as f32;
    let x = |step: f32| left as f32 + step / last * plot_width as f32;
    let y = |loss: f32| top as f32 + ((most - loss) / (most - least).max(1e-6)).clamp(0.0, 1.0) * plot_height as f32;

    for tick in 0..=4 {
        let share = tick as f32 / 4.0;
        let (loss, step) = (least + share * (most - least), (share * last).round());
        let (line, column) = (y(loss) as usize, x(step) as usize);
        (left..width - right).for_each(|x| raster.set(x, line, AXIS));
        draw_text(&mut raster, left - 8 - 4 * ADVANCE, line.saturating_sub(5), &format!("{loss:.2}"));
        (height - bottom..height - bottom + 5).for_each(|y| raster.set(column, y, AXIS));
        let label = format!("{:.0}", step + 1.0);
        draw_text(&mut raster, column.saturating_sub(label.len() * ADVANCE / 2), height - bottom + 10, &label);
    }
    for (step, &loss) in losses.iter().enumerate().filter(|(_, loss)| loss.is_finite()) {
        let (x, y) = (x(step as f32) as usize, y(loss) as usize);
        (0..4).for_each(|i| raster.set(x + i % 2, y + i / 2, DOT));
    }
    // The running mean is centred and spans a tenth of the run.
    let reach = (losses.len() / 20).max(2);
    let mean = |step: usize| {
        let near = &losses[step.saturating_sub(reach)..losses.len().min(step + reach + 1)];
        near.iter().sum::<f32>() / near.len() as f32
    };
    let means: Vec<f32> = (0..losses.len()).map(mean).collect();
    for column in 0..plot_width {
        let step = column as f32 / plot_width as f32 * last;
        let (before, share) = (step as usize, step.fract());
        if let (Some(a), Some(b)) = (means.get(before), means.get(before + 1)) {
            let line = y(a + (b - a) * share) as usize;
            (0..3).for_each(|i| raster.set(left + column, line + i, LINE));
        }
    }
    raster.write(path)
}

/// Draws digits with their upper left corner at `left` and `top`.
fn draw_text(raster: &mut Raster, left: usize, top: usize, text: &str) {
    for (index, letter) in text.chars().enumerate() {
        let Some((_, rows)) = GLYPHS.iter().find(|(glyph, _)| *glyph == letter) else { continue };
        for (dot_y, row) in rows.iter().enumerate() {
            for dot_x in (0..3).filter(|dot| row >> (2 - dot) & 1 == 1) {
                let (x, y) = (left + index * ADVANCE + dot_x * DOT_SIDE, top + dot_y * DOT_SIDE);
                (0..DOT_SIDE * DOT_SIDE).for_each(|i| raster.set(x + i % DOT_SIDE, y + i / DOT_SIDE, TEXT));
            }
        }
    }
}

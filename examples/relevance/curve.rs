//! The losses of a run as a picture. Comes in: a loss for each step. Goes out: a PNG: every step as a faint dot, their
//! running mean as a line, numbers at the axes. Fails where the file cannot be written.

use std::path::Path;

use super::model::Result;
use super::picture::{BACKGROUND, Sheet};

const SIZE: [usize; 2] = [720, 320];
/// Room for the numbers: left, top, right, below.
const ROOM: [usize; 4] = [52, 16, 20, 28];
const AXIS: [u8; 3] = [82, 82, 91];
const DOT: [u8; 3] = [70, 92, 128];
const LINE: [u8; 3] = [250, 172, 44];
const TEXT: [u8; 3] = [212, 212, 216];
/// Digits and a point, 3 x 5 dots each, row by row from the top.
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
/// Side of a glyph's dot, and from one glyph to the next.
const DOT_SIDE: usize = 2;
const ADVANCE: usize = 4 * DOT_SIDE;

/// Draws into the file at `path`.
pub(crate) fn draw(losses: &[f32], path: &Path) -> Result<()> {
    let [width, height] = SIZE;
    let [left, top, right, below] = ROOM;
    let (plot_width, plot_height) = (width - left - right, height - top - below);
    let mut sheet = Sheet { width, rgb: BACKGROUND.repeat(width * height) };
    // One wild step must not flatten all others.
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
        (left..width - right).for_each(|x| sheet.set(x, line, AXIS));
        write(&mut sheet, left - 8 - 4 * ADVANCE, line.saturating_sub(5), &format!("{loss:.2}"));
        (height - below..height - below + 5).for_each(|y| sheet.set(column, y, AXIS));
        let label = format!("{:.0}", step + 1.0);
        write(&mut sheet, column.saturating_sub(label.len() * ADVANCE / 2), height - below + 10, &label);
    }
    for (step, &loss) in losses.iter().enumerate().filter(|(_, loss)| loss.is_finite()) {
        let (x, y) = (x(step as f32) as usize, y(loss) as usize);
        (0..4).for_each(|i| sheet.set(x + i % 2, y + i / 2, DOT));
    }
    // As many steps as a tenth of the run, on either side half.
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
            (0..3).for_each(|i| sheet.set(left + column, line + i, LINE));
        }
    }
    sheet.write(path)
}

/// Digits with their upper left corner at a place.
fn write(sheet: &mut Sheet, left: usize, top: usize, text: &str) {
    for (place, letter) in text.chars().enumerate() {
        let Some((_, rows)) = GLYPHS.iter().find(|(glyph, _)| *glyph == letter) else { continue };
        for (dot_y, row) in rows.iter().enumerate() {
            for dot_x in (0..3).filter(|dot| row >> (2 - dot) & 1 == 1) {
                let (x, y) = (left + place * ADVANCE + dot_x * DOT_SIDE, top + dot_y * DOT_SIDE);
                (0..DOT_SIDE * DOT_SIDE).for_each(|i| sheet.set(x + i % DOT_SIDE, y + i / DOT_SIDE, TEXT));
            }
        }
    }
}

//! Drawing on grids: every cell equals the sum over its pixels in exact arithmetic.

use maskstream::Fit;
use maskstream::Geometry;
use maskstream::mask::{Axis, Grid, GridScratch, Rle, unpack_rows};
use proptest::prelude::*;

use super::codec::{bitmap_of, random_mask};
use crate::fixture::Dice;

/// One axis in exact numbers: a pixel is `num` parts long, a cell `den` parts.
#[derive(Clone, Copy)]
struct Parts {
    num: u64,
    den: u64,
}

impl Parts {
    fn overlap(self, pixel: u64, cell: u64) -> u128 {
        let from = (pixel * self.num).max(cell * self.den);
        let to = ((pixel + 1) * self.num).min((cell + 1) * self.den);
        u128::from(to.saturating_sub(from))
    }

    /// The pixel that contains the centre of `cell`.
    fn centre(self, cell: u64) -> u64 {
        (2 * cell + 1) * self.den / (2 * self.num)
    }
}

/// The axes across and down of a geometry's grid, in exact parts.
fn parts_of(g: &Geometry, rows: u32, columns: u32) -> (Parts, Parts) {
    let parts = |pixels: u32, content: u32, cells: u32| Parts {
        num: u64::from(content) * u64::from(cells),
        den: u64::from(pixels) * u64::from(g.side()),
    };
    (parts(g.width(), g.content_width(), columns), parts(g.height(), g.content_height(), rows))
}

/// Compares all three ways of drawing with brute force.
fn check_grid(grid: &Grid, (x, y): (Parts, Parts), mask: &Rle, scratch: &mut GridScratch, case: &str) {
    let (rows, columns) = (grid.rows(), grid.columns());
    let (height, width) = (u64::from(mask.height()), u64::from(mask.width()));
    let bitmap = bitmap_of(mask);
    let pixel = |px: u64, py: u64| px < width && py < height && bitmap[(px * height + py) as usize] == 1;
    let mut nearest = vec![9; rows * columns];
    let mut area = vec![9; rows * columns];
    let mut coverage = vec![9.0; rows * columns];
    grid.nearest(mask, scratch, &mut nearest).unwrap();
    grid.area(mask, scratch, &mut area).unwrap();
    grid.coverage(mask, scratch, &mut coverage).unwrap();
    let full = u128::from(x.den) * u128::from(y.den);
    let mut total = 0.0;
    for row in 0..rows as u64 {
        for column in 0..columns as u64 {
            let cell = row as usize * columns + column as usize;
            let here = || format!("{case}, cell ({row}, {column})");
            assert_eq!(nearest[cell], u8::from(pixel(x.centre(column), y.centre(row))), "nearest: {}", here());
            let mut sum = 0;
            for px in column * x.den / x.num..((column + 1) * x.den).div_ceil(x.num) {
                for py in row * y.den / y.num..((row + 1) * y.den).div_ceil(y.num) {
                    sum += u128::from(pixel(px, py)) * x.overlap(px, column) * y.overlap(py, row);
                }
            }
            let share = sum as f64 / full as f64;
            assert!(
                (f64::from(coverage[cell]) - share).abs() < 1e-6,
                "coverage {} for {share}: {}",
                coverage[cell],
                here()
            );
            let (rounded, rest) = ((510 * sum + full) / (2 * full), (510 * sum + full) % (2 * full));
            let found = u128::from(area[cell]);
            let fits = found == rounded || (rest == 0 && found + 1 == rounded);
            assert!(fits, "area {found} for {share}: {}", here());
            total += f64::from(coverage[cell]);
        }
    }
    // A letterbox crops nothing, so all cells together hold the whole mask.
    let pixels = total * full as f64 / (x.num as f64 * y.num as f64);
    let expected = mask.area() as f64;
    assert!((pixels - expected).abs() <= 1e-4 * (1.0 + expected), "{case}: cells hold {pixels} of {expected} pixels");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn grids_equal_exact_sums_for_random_letterboxes(
        seed: u64, width in 1_u32..28, height in 1_u32..28, side in 1_u32..40,
        rows in 1_u32..18, columns in 1_u32..18, stretch: bool,
    ) {
        let fit = if stretch { Fit::Stretch } else { Fit::Letterbox };
        let geometry = Geometry::new(width, height, side, fit).unwrap();
        let mut dice = Dice(seed);
        let mut scratch = GridScratch::default();
        let grid = geometry.grid(rows, columns).unwrap();
        for _ in 0..3 {
            let mask = random_mask(&mut dice, height, width);
            let case = format!("{geometry:?} {rows}x{columns}");
            check_grid(&grid, parts_of(&geometry, rows, columns), &mask, &mut scratch, &case);
        }
    }
}

#[test]
fn grids_equal_exact_sums_for_chosen_letterboxes() {
    let sizes = [(1, 1), (1, 50), (50, 1), (48, 32), (45, 30), (31, 47), (64, 64)];
    let mut scratch = GridScratch::default();
    let mut dice = Dice(1);
    for (width, height) in sizes {
        // Smaller than the image, of the same size, and larger; a single cell, and cells finer than pixels.
        for (side, cells) in [(16, 4), (16, 16), (64, 64), (100, 7), (7, 100), (1, 1), (1, 3), (3, 1)] {
            for fit in [Fit::Letterbox, Fit::Stretch] {
                let geometry = Geometry::new(width, height, side, fit).unwrap();
                let grid = geometry.grid(cells, cells).unwrap();
                let empty = Rle::from_runs(vec![width * height], height, width).unwrap();
                let full = Rle::from_runs(vec![0, width * height], height, width).unwrap();
                for mask in [random_mask(&mut dice, height, width), empty, full, random_mask(&mut dice, height, width)]
                {
                    let case = format!("{geometry:?}, {cells} cells");
                    check_grid(&grid, parts_of(&geometry, cells, cells), &mask, &mut scratch, &case);
                }
            }
        }
    }
}

#[test]
fn a_grid_of_the_images_size_is_the_bitmap() {
    let mask = random_mask(&mut Dice(4), 13, 9);
    let grid = Grid::stretch(13, 9, 13, 9).unwrap();
    let bitmap = bitmap_of(&mask);
    let expected: Vec<u8> = (0..13 * 9).map(|i| bitmap[i % 9 * 13 + i / 9]).collect();
    let mut out = vec![9; 13 * 9];
    let mut scratch = GridScratch::default();
    grid.nearest(&mask, &mut scratch, &mut out).unwrap();
    assert_eq!(out, expected);
    grid.area(&mask, &mut scratch, &mut out).unwrap();
    assert_eq!(out, expected.iter().map(|v| v * 255).collect::<Vec<_>>());
}

#[test]
fn a_cropping_grid_draws_only_what_lies_on_it() {
    // Two cells per pixel across, one down; the grid has only the first five columns and three rows.
    let (x, y) = (Axis::new(8, 5, 2, 1).unwrap(), Axis::new(6, 3, 1, 1).unwrap());
    let grid = Grid::new(x, y);
    let mut scratch = GridScratch::default();
    for seed in 0..40 {
        let mask = random_mask(&mut Dice(seed), 6, 8);
        let bitmap = bitmap_of(&mask);
        let expected: Vec<u8> = (0..15).map(|i| bitmap[i % 5 / 2 * 6 + i / 5]).collect();
        let (mut out, mut share) = (vec![9; 15], vec![9.0; 15]);
        grid.nearest(&mask, &mut scratch, &mut out).unwrap();
        assert_eq!(out, expected, "seed {seed}");
        grid.coverage(&mask, &mut scratch, &mut share).unwrap();
        assert_eq!(share, expected.iter().map(|&v| f32::from(v)).collect::<Vec<_>>(), "seed {seed}");
    }
}

#[test]
fn geometry_grids_hold_for_the_largest_sizes() {
    // 65535 pixels on a canvas of side 16381, with numbers that share no factor: exact, without overflow.
    let geometry = Geometry::new(65_535, 3, 16_381, Fit::Letterbox).unwrap();
    let grid = geometry.grid(3, 127).unwrap();
    let full = Rle::from_runs(vec![0, 65_535 * 3], 3, 65_535).unwrap();
    let mut share = vec![0.0; 3 * 127];
    grid.coverage(&full, &mut GridScratch::default(), &mut share).unwrap();
    let expected = f64::from(geometry.content_height()) * 3.0 / 16_381.0;
    for (column, &share) in share[..127].iter().enumerate() {
        assert!((f64::from(share) - expected).abs() < 1e-6, "column {column}: {share}");
    }
    assert!(share[127..].iter().all(|&share| share == 0.0));
    assert!(Geometry::new(65_536, 3, 16, Fit::Letterbox).is_err());
    assert!(Geometry::new(0, 3, 16, Fit::Letterbox).is_err());
    assert!(Geometry::new(3, 3, 16_385, Fit::Letterbox).is_err());
    assert!(geometry.grid(0, 4).is_err() && geometry.grid(4, 16_385).is_err());
}

/// Masks for which words of 64 cells matter: thin and long, in the last row or column, full columns, and noise.
fn masks_at_edges(dice: &mut Dice, height: u32, width: u32) -> Vec<Rle> {
    let (x, y) = (dice.below(u64::from(width)) as u32, dice.below(u64::from(height)) as u32);
    let rectangle = |x: u32, y: u32, w: u32, h: u32| Rle::from_box([x, y, w, h].map(f64::from), height, width).unwrap();
    vec![
        random_mask(dice, height, width),
        rectangle(x, 0, 1, height),
        rectangle(0, y, width, 1),
        rectangle(width - 1, 0, 1, height),
        rectangle(0, height - 1, width, 1),
        rectangle(width - 1, height - 1, 1, 1),
        rectangle(x, y, width - x, height - y),
        rectangle(0, 0, width, height),
        Rle::from_runs(vec![height * width], height, width).unwrap(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(192) })]

    #[test]
    fn cells_are_the_pixels_at_their_centres_where_words_begin_and_end(
        seed: u64, width in 1_u32..300, height in 1_u32..12, words in 0_u32..4, columns in 0_u32..3, rows in 1_u32..12,
    ) {
        // One column less than whole words, whole words, one more; the scratch comes from grids of other sizes.
        let columns = (64 * words + columns).saturating_sub(1).max(1);
        let mut dice = Dice(seed);
        let mut scratch = GridScratch::default();
        for [rows, columns] in [[rows, columns], [2, 200], [rows, columns]] {
            let grid = Grid::stretch(height, width, rows, columns).unwrap();
            for mask in masks_at_edges(&mut dice, height, width) {
                let bitmap = bitmap_of(&mask);
                let centre = |cell: u32, cells: u32, pixels: u32| (2 * cell + 1) * pixels / (2 * cells);
                let pixel = |row: u32, column: u32| {
                    bitmap[(centre(column, columns, width) * height + centre(row, rows, height)) as usize]
                };
                let expected: Vec<u8> =
                    (0..rows).flat_map(|row| (0..columns).map(move |column| pixel(row, column))).collect();
                let mut out = vec![9; expected.len()];
                grid.nearest(&mask, &mut scratch, &mut out).unwrap();
                prop_assert_eq!(&out, &expected);

                let mut bits = vec![9; rows as usize * columns.div_ceil(8) as usize];
                grid.nearest_packed(&mask, &mut scratch, &mut bits).unwrap();
                prop_assert_eq!(&bits, &packed(&expected, columns as usize));
                prop_assert_eq!(&unpack_rows(&bits, columns as usize), &expected);

                out.fill(9);
                bits.fill(9);
                grid.nearest_or_best(&mask, &mut scratch, &mut out).unwrap();
                grid.nearest_or_best_packed(&mask, &mut scratch, &mut bits).unwrap();
                prop_assert_eq!(&bits, &packed(&out, columns as usize));
                prop_assert_eq!(out.contains(&1), mask.area() > 0);
                if expected.contains(&1) {
                    prop_assert_eq!(&out, &expected);
                } else {
                    prop_assert!(out.iter().map(|&cell| usize::from(cell)).sum::<usize>() <= 1);
                }
            }
        }
    }
}

/// Rows of 0 and 1, eight cells to a byte, the first in its highest bit.
fn packed(cells: &[u8], columns: usize) -> Vec<u8> {
    let byte = |cells: &[u8]| cells.iter().zip([128, 64, 32, 16, 8, 4, 2, 1]).map(|(cell, bit)| cell * bit).sum();
    cells.chunks(columns).flat_map(|row| row.chunks(8).map(byte).collect::<Vec<u8>>()).collect()
}

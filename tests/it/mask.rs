//! Masks: counts, runs, bitmaps and grids against pixel-by-pixel references in exact arithmetic.

use maskstream::mask::{Axis, Grid, GridScratch, Rle, RleError};
use maskstream::sample::{Fit, Geometry};
use proptest::prelude::*;

use crate::fixture::Dice;

/// Reads counts the slow way, straight from the description of the format. `None` for anything odd.
fn naive_counts(counts: &[u8]) -> Option<Vec<u32>> {
    let mut numbers: Vec<i128> = Vec::new();
    let mut groups: Vec<u8> = Vec::new();
    for &byte in counts {
        let group = byte.checked_sub(48).filter(|&group| group < 64)?;
        groups.push(group);
        if groups.len() > 7 {
            return None;
        }
        if group & 0x20 == 0 {
            let weight = |i: usize| 1_i128 << (5 * i);
            let mut value: i128 = groups.iter().enumerate().map(|(i, &g)| i128::from(g & 0x1f) * weight(i)).sum();
            if group & 0x10 != 0 {
                value -= weight(groups.len());
            }
            if numbers.len() > 2 {
                value += numbers[numbers.len() - 2];
            }
            numbers.push(value);
            groups.clear();
        }
    }
    if !groups.is_empty() {
        return None;
    }
    numbers.into_iter().map(|number| u32::try_from(number).ok()).collect()
}

fn naive_bitmap(runs: &[u32]) -> Vec<u8> {
    runs.iter().enumerate().flat_map(|(i, &run)| vec![(i % 2) as u8; run as usize]).collect()
}

/// Writes one number the way the format says, in as few groups as hold it.
fn number(mut value: i64) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let group = (value & 0x1f) as u8;
        value >>= 5;
        let done = (value == 0 && group & 0x10 == 0) || (value == -1 && group & 0x10 != 0);
        out.push(48 + group + if done { 0 } else { 0x20 });
        if done {
            return out;
        }
    }
}

/// Random runs that fill `height` x `width`, blobs rather than noise; some runs are empty.
fn random_mask(dice: &mut Dice, height: u32, width: u32) -> Rle {
    let mut left = height * width;
    let mut runs = Vec::new();
    let longest = 1 + dice.below(u64::from(height) * 2 + 2);
    while left > 0 {
        let run = (dice.below(longest + 1) as u32).min(left);
        runs.push(run);
        left -= run;
    }
    Rle::from_runs(runs, height, width).unwrap()
}

fn bitmap_of(mask: &Rle) -> Vec<u8> {
    naive_bitmap(mask.runs())
}

/// One axis as exact numbers: a pixel is `num` parts long, a cell `den` parts.
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

    /// The pixel in which the centre of `cell` lies.
    fn centre(self, cell: u64) -> u64 {
        (2 * cell + 1) * self.den / (2 * self.num)
    }
}

/// The canvas grid of a geometry, in exact parts: across and down.
fn parts_of(g: &Geometry, rows: u32, columns: u32) -> (Parts, Parts) {
    let parts = |pixels: u32, content: u32, cells: u32| Parts {
        num: u64::from(content) * u64::from(cells),
        den: u64::from(pixels) * u64::from(g.side()),
    };
    (parts(g.width(), g.content_width(), columns), parts(g.height(), g.content_height(), rows))
}

/// Compares all three kinds of drawing with brute force.
fn check_grid(grid: &Grid, (x, y): (Parts, Parts), mask: &Rle, scratch: &mut GridScratch, case: &str) {
    let (rows, columns) = (grid.rows(), grid.columns());
    let (height, width) = (u64::from(mask.height()), u64::from(mask.width()));
    let bitmap = bitmap_of(mask);
    let pixel = |px: u64, py: u64| px < width && py < height && bitmap[(px * height + py) as usize] == 1;
    let mut nearest = vec![9; rows * columns];
    let mut area = vec![9; rows * columns];
    let mut coverage = vec![9.0; rows * columns];
    grid.nearest(mask, &mut nearest).unwrap();
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
    // A letterbox crops nothing: what the cells hold together is the mask.
    let pixels = total * full as f64 / (x.num as f64 * y.num as f64);
    let expected = mask.area() as f64;
    assert!((pixels - expected).abs() <= 1e-4 * (1.0 + expected), "{case}: cells hold {pixels} of {expected} pixels");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn counts_and_runs_round_trip(runs in prop::collection::vec(prop_oneof![0_u32..4, 0_u32..2000, 0_u32..(1 << 26)], 0..60)) {
        let width: u32 = runs.iter().sum();
        let mask = Rle::from_runs(runs.clone(), 1, width).unwrap();
        let counts = mask.to_counts();
        prop_assert_eq!(naive_counts(counts.as_bytes()), Some(runs.clone()));
        let back = Rle::from_counts(counts.as_bytes(), 1, width).unwrap();
        prop_assert_eq!(back.runs(), &runs[..]);
        prop_assert_eq!(back, mask);
    }

    #[test]
    fn shrinking_runs_round_trip(start in 1_u32..(1 << 20), count in 4_usize..40) {
        // Every difference from the fourth on is negative.
        let runs: Vec<u32> = (0..count as u32).map(|i| start.saturating_sub(i * (start / 40 + 1))).collect();
        let width: u32 = runs.iter().sum();
        let counts = Rle::from_runs(runs.clone(), 1, width).unwrap().to_counts();
        prop_assert_eq!(naive_counts(counts.as_bytes()), Some(runs.clone()));
        let back = Rle::from_counts(counts.as_bytes(), 1, width).unwrap();
        prop_assert_eq!(back.runs(), &runs[..]);
    }

    #[test]
    fn bitmap_area_and_box_equal_the_naive_ones(seed: u64, height in 1_u32..24, width in 1_u32..24) {
        let mask = random_mask(&mut Dice(seed), height, width);
        let expected = naive_bitmap(mask.runs());
        let mut bitmap = vec![7; expected.len()];
        mask.write_column_major(&mut bitmap).unwrap();
        prop_assert_eq!(&bitmap, &expected);
        prop_assert_eq!(mask.area(), expected.iter().map(|&v| u64::from(v)).sum::<u64>());

        let set: Vec<(u32, u32)> = (0..width * height).filter(|&i| expected[i as usize] == 1).map(|i| (i / height, i % height)).collect();
        let span = |values: Vec<u32>| values.iter().min().map_or((0, 0), |&min| (min, values.iter().max().unwrap() - min + 1));
        let ((x, w), (y, h)) = (span(set.iter().map(|p| p.0).collect()), span(set.iter().map(|p| p.1).collect()));
        prop_assert_eq!(mask.bbox(), [x, y, w, h]);

        let again = Rle::from_column_major(&bitmap, height, width).unwrap();
        let mut second = vec![7; expected.len()];
        again.write_column_major(&mut second).unwrap();
        prop_assert_eq!(&second, &expected);
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_what_is_accepted_adds_up(
        bytes in prop_oneof![prop::collection::vec(any::<u8>(), 0..24), prop::collection::vec(48_u8..112, 0..24)],
        height in 0_u32..70, width in 0_u32..70,
    ) {
        if let Ok(mask) = Rle::from_counts(&bytes, height, width) {
            let sum: u64 = mask.runs().iter().map(|&run| u64::from(run)).sum();
            prop_assert_eq!(sum, u64::from(height) * u64::from(width));
            prop_assert_eq!(naive_counts(&bytes).unwrap(), mask.runs());
        }
        // The size that these bytes do describe, if they describe one.
        if let Some(runs) = naive_counts(&bytes) {
            let sum: u64 = runs.iter().map(|&run| u64::from(run)).sum();
            if let Ok(width) = u32::try_from(sum) {
                let mask = Rle::from_counts(&bytes, 1, width).unwrap();
                prop_assert_eq!(mask.runs(), &runs[..]);
            }
        }
    }

    #[test]
    fn grids_equal_exact_sums_for_random_letterboxes(
        seed: u64, width in 1_u32..28, height in 1_u32..28, side in 1_u32..40, rows in 1_u32..18, columns in 1_u32..18, stretch: bool,
    ) {
        let fit = if stretch { Fit::Stretch } else { Fit::Letterbox };
        let geometry = Geometry::new(width, height, side, fit).unwrap();
        let mut dice = Dice(seed);
        let mut scratch = GridScratch::default();
        let grid = geometry.grid(rows, columns).unwrap();
        for _ in 0..3 {
            let mask = random_mask(&mut dice, height, width);
            check_grid(&grid, parts_of(&geometry, rows, columns), &mask, &mut scratch, &format!("{geometry:?} {rows}x{columns}"));
        }
    }
}

#[test]
fn grids_equal_exact_sums_for_chosen_letterboxes() {
    let sizes = [(1, 1), (1, 50), (50, 1), (48, 32), (45, 30), (31, 47), (64, 64)];
    let mut scratch = GridScratch::default();
    let mut dice = Dice(1);
    for (width, height) in sizes {
        // Smaller than the image, the same, larger; one cell, cells finer than pixels.
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
    grid.nearest(&mask, &mut out).unwrap();
    assert_eq!(out, expected);
    grid.area(&mask, &mut GridScratch::default(), &mut out).unwrap();
    assert_eq!(out, expected.iter().map(|v| v * 255).collect::<Vec<_>>());
}

#[test]
fn a_cropping_grid_draws_only_what_lies_on_it() {
    // Two cells a pixel across, one down; only the first five columns and three rows of cells are there.
    let (x, y) = (Axis::new(8, 5, 2, 1).unwrap(), Axis::new(6, 3, 1, 1).unwrap());
    let grid = Grid::new(x, y);
    let mut scratch = GridScratch::default();
    for seed in 0..40 {
        let mask = random_mask(&mut Dice(seed), 6, 8);
        let bitmap = bitmap_of(&mask);
        let expected: Vec<u8> = (0..15).map(|i| bitmap[i % 5 / 2 * 6 + i / 5]).collect();
        let (mut out, mut share) = (vec![9; 15], vec![9.0; 15]);
        grid.nearest(&mask, &mut out).unwrap();
        assert_eq!(out, expected, "seed {seed}");
        grid.coverage(&mask, &mut scratch, &mut share).unwrap();
        assert_eq!(share, expected.iter().map(|&v| f32::from(v)).collect::<Vec<_>>(), "seed {seed}");
    }
}

#[test]
fn known_counts_are_read_as_the_format_says() {
    // 24 is 0b11000: its sign bit is set, so a second group follows.
    assert_eq!(Rle::from_counts(b"h0", 4, 6).unwrap().runs(), [24]);
    assert_eq!(Rle::from_runs(vec![24], 4, 6).unwrap().to_counts(), "h0");
    // 9, 2, 2, then 2 - 2 and 9 - 2.
    assert_eq!(Rle::from_counts(b"92207", 4, 6).unwrap().runs(), [9, 2, 2, 2, 9]);
}

#[test]
fn hostile_counts_give_the_error_that_names_the_fault() {
    let error = |counts: &[u8]| Rle::from_counts(counts, 4, 6).unwrap_err();
    for byte in [0, 47, 112, 0x80, 0xff] {
        assert_eq!(error(&[b'9', byte]), RleError::Character { index: 1, byte });
    }
    assert_eq!(error(b"o"), RleError::Truncated);
    assert_eq!(error(b"92o"), RleError::Truncated);
    assert_eq!(error(b"O"), RleError::Run { index: 0, value: -1 });
    // 9, 2, 2, then 2 - 3.
    assert_eq!(error(&[b"922".to_vec(), number(-3)].concat()), RleError::Run { index: 3, value: -1 });
    assert_eq!(error(b""), RleError::Sum { sum: 0, pixels: 24 });
    assert_eq!(error(b"9"), RleError::Sum { sum: 9, pixels: 24 });
    assert_eq!(error(&number(25)), RleError::Sum { sum: 25, pixels: 24 });
    assert_eq!(error(&[number(20), number(10), number(10)].concat()), RleError::Sum { sum: 30, pixels: 24 });
    let large = 1 << 33;
    assert_eq!(error(&number(large)), RleError::Run { index: 0, value: large });
    assert!(Rle::from_counts(b"", 0, 0).is_ok());
}

#[test]
fn a_number_of_too_many_groups_names_its_run() {
    for before in [&b""[..], b"0", b"00"] {
        let counts = [before, &[b'o'; 8], b"0"].concat();
        let error = Rle::from_counts(&counts, 4, 6).unwrap_err();
        assert!(
            matches!(error, RleError::Run { index, .. } if index == before.len()),
            "{error:?} after {} runs",
            before.len()
        );
    }
}

#[test]
fn a_failed_read_leaves_an_empty_mask() {
    let mut mask = Rle::from_counts(b"h0", 4, 6).unwrap();
    mask.read_counts(b"99", 4, 6).unwrap_err();
    assert_eq!((mask.height(), mask.width(), mask.runs().len(), mask.area()), (0, 0, 0, 0));
    mask.read_counts(b"92207", 4, 6).unwrap();
    assert_eq!(mask.area(), 4);
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    let mask = Rle::from_runs(vec![24], 4, 6).unwrap();
    let size = |result: Result<(), RleError>| matches!(result, Err(RleError::Size { .. }));
    assert!(size(mask.write_column_major(&mut [0; 23])));
    assert!(size(Rle::from_column_major(&[0; 25], 4, 6).map(drop)));
    assert_eq!(
        Rle::from_runs(vec![3, u32::MAX], 4, 6),
        Err(RleError::Sum { sum: 3 + u64::from(u32::MAX), pixels: 24 })
    );
    let grid = Grid::stretch(4, 6, 2, 2).unwrap();
    let mut scratch = GridScratch::default();
    assert!(size(grid.nearest(&mask, &mut [0; 5])));
    let turned = Rle::from_runs(vec![24], 6, 4).unwrap();
    assert!(size(grid.nearest(&turned, &mut [0; 4])));
    assert!(size(grid.area(&turned, &mut scratch, &mut [0; 4])));
    assert!(size(grid.coverage(&mask, &mut scratch, &mut [0.0; 3])));
    for [height, width, rows, columns] in [[0, 6, 2, 2], [4, 0, 2, 2], [4, 6, 0, 2], [4, 6, 2, 0]] {
        assert!(matches!(Grid::stretch(height, width, rows, columns), Err(RleError::Axis)));
    }
    for (num, den) in [(0, 1), (1, 0), (1 << 31, 1), (1, 1 << 31), (u64::MAX, u64::MAX - 1)] {
        assert!(matches!(Axis::new(4, 2, num, den), Err(RleError::Axis)), "{num}/{den}");
    }
}

#[test]
fn geometry_grids_hold_for_the_largest_sizes() {
    // 65535 pixels on a canvas of 16384 with cells that share no factor: exact, and no overflow.
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

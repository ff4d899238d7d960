//! Counts strings, runs and bitmaps against a direct implementation of the format.

use maskstream::mask::{Axis, Grid, GridScratch, Rle, RleError};
use proptest::prelude::*;

use crate::fixture::Dice;

/// Decodes counts directly from the description of the format. `None` for an invalid string.
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

/// Encodes one number as the format says, in as few groups as possible.
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

/// Random runs that fill `height` x `width`: blobs rather than noise, with some empty runs.
pub(super) fn random_mask(dice: &mut Dice, height: u32, width: u32) -> Rle {
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

pub(super) fn bitmap_of(mask: &Rle) -> Vec<u8> {
    naive_bitmap(mask.runs())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn counts_and_runs_round_trip(
        runs in prop::collection::vec(prop_oneof![0_u32..4, 0_u32..2000, 0_u32..(1 << 26)], 0..60),
    ) {
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

        let set = (0..width * height).filter(|&i| expected[i as usize] == 1);
        let set: Vec<(u32, u32)> = set.map(|i| (i / height, i % height)).collect();
        let span = |values: Vec<u32>| {
            values.iter().min().map_or((0, 0), |&min| (min, values.iter().max().unwrap() - min + 1))
        };
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
        // The size that these bytes describe, if they are valid.
        if let Some(runs) = naive_counts(&bytes) {
            let sum: u64 = runs.iter().map(|&run| u64::from(run)).sum();
            if let Ok(width) = u32::try_from(sum) {
                let mask = Rle::from_counts(&bytes, 1, width).unwrap();
                prop_assert_eq!(mask.runs(), &runs[..]);
            }
        }
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

/// The example in the documentation of `counts/shuffle.rs`.
#[test]
fn eight_bytes_hold_the_six_differences_that_the_documentation_shows() {
    let runs = vec![0, 100, 60, 103, 58, 143, 65, 43, 70];
    let counts = [number(0), number(100), number(60), b"3NX17lL5".to_vec()].concat();
    let width = runs.iter().sum();
    assert_eq!(Rle::from_counts(&counts, 1, width).unwrap().runs(), runs);
    assert_eq!(Rle::from_runs(runs, 1, width).unwrap().to_counts().as_bytes(), counts);
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
    assert!(size(grid.nearest(&mask, &mut scratch, &mut [0; 5])));
    let turned = Rle::from_runs(vec![24], 6, 4).unwrap();
    assert!(size(grid.nearest(&turned, &mut scratch, &mut [0; 4])));
    assert!(size(grid.nearest_packed(&turned, &mut scratch, &mut [0; 2])));
    assert!(size(grid.nearest_or_best_packed(&mask, &mut scratch, &mut [0; 4])));
    assert!(size(grid.area(&turned, &mut scratch, &mut [0; 4])));
    assert!(size(grid.coverage(&mask, &mut scratch, &mut [0.0; 3])));
    for [height, width, rows, columns] in [[0, 6, 2, 2], [4, 0, 2, 2], [4, 6, 0, 2], [4, 6, 2, 0]] {
        assert!(matches!(Grid::stretch(height, width, rows, columns), Err(RleError::Axis)));
    }
    for (num, den) in [(0, 1), (1, 0), (1 << 31, 1), (1, 1 << 31), (u64::MAX, u64::MAX - 1)] {
        assert!(matches!(Axis::new(4, 2, num, den), Err(RleError::Axis)), "{num}/{den}");
    }
}

//! Counts strings: no panic, the verdict that the format's description gives, and what is accepted adds up and survives
//! every round trip.
#![no_main]

use libfuzzer_sys::fuzz_target;
use maskstream::mask::{Grid, Rle, RleError, Segmentation};

fuzz_target!(|input: (&[u8], u8, u8, bool)| {
    let (counts, height, mut width) = (input.0, u32::from(input.1), u32::from(input.2));
    let expected = described(counts);
    // Half of the sizes are those that the string is of, if it is of one.
    let height = if input.3 { 1 } else { height };
    if let (true, Ok(runs)) = (input.3, &expected) {
        width = runs.iter().map(|&run| u64::from(run)).sum::<u64>().try_into().unwrap_or(width);
    }
    let pixels = u64::from(height) * u64::from(width);
    let read = Rle::from_counts(counts, height, width);
    let json = serde_json::json!({ "size": [height, width], "counts": String::from_utf8_lossy(counts) }).to_string();
    let segmentation: Segmentation = serde_json::from_str(&json).unwrap();
    if std::str::from_utf8(counts).is_ok() {
        assert_eq!(segmentation.to_rle(height, width), read);
    }
    match (&read, expected) {
        (Ok(rle), Ok(runs)) => {
            assert_eq!(rle.runs(), runs);
            assert_eq!(sum(&runs), pixels);
        }
        (Err(RleError::Sum { sum: found, pixels: image }), Ok(runs)) => {
            assert_ne!(sum(&runs), pixels);
            assert!(*found == sum(&runs) || (*found > pixels && *found <= sum(&runs)));
            assert_eq!(*image, pixels);
        }
        // The first fault from the left; a sum that is too large may come before it.
        (Err(RleError::Sum { sum, .. }), Err(_)) => assert!(*sum > pixels),
        (Err(RleError::Character { index, byte }), Err(_)) => {
            assert_eq!(counts[*index], *byte);
            assert!(!(48..112).contains(byte));
        }
        (Err(RleError::Truncated), Err(_)) => assert!(counts.last().is_some_and(|byte| (byte - 48) & 0x20 != 0)),
        (Err(RleError::Run { .. }), Err(_)) => {}
        (read, expected) => panic!("{read:?} here, {expected:?} as described"),
    }
    let Ok(rle) = read else { return };
    assert_eq!(Rle::from_counts(rle.to_counts().as_bytes(), height, width), Ok(rle.clone()));
    assert_eq!(Rle::from_runs(rle.runs().to_vec(), height, width), Ok(rle.clone()));
    let canonical = rle.canonical();
    assert_eq!((canonical.area(), canonical.bbox()), (rle.area(), rle.bbox()));
    assert!(canonical.runs().len() <= rle.runs().len().max(1));
    assert_eq!(rle.xor(&canonical).unwrap().area(), 0);
    if pixels > 1 << 16 {
        return;
    }
    if let Ok(grid) = Grid::stretch(height, width, 7, 5) {
        let mut cells = [0.0; 35];
        grid.coverage(&rle, &mut Default::default(), &mut cells).unwrap();
        let covered = cells.iter().map(|&cell| f64::from(cell)).sum::<f64>() / 35.0;
        assert!((covered - rle.area() as f64 / f64::from(height * width)).abs() < 1e-5);
    }
});

fn sum(runs: &[u32]) -> u64 {
    runs.iter().map(|&run| u64::from(run)).sum()
}

/// The runs, straight from the description of the format.
fn described(counts: &[u8]) -> Result<Vec<u32>, &'static str> {
    let mut runs: Vec<i128> = Vec::new();
    for number in counts.split_inclusive(|byte| byte.wrapping_sub(48) & 0x20 == 0) {
        let groups: Vec<u8> = number.iter().map(|byte| byte.wrapping_sub(48)).collect();
        if groups.iter().any(|&group| group >= 64) {
            return Err("character");
        }
        if groups.last().is_none_or(|group| group & 0x20 != 0) {
            return Err("truncated");
        }
        if groups.len() > 7 {
            return Err("long");
        }
        let mut value = groups.iter().rev().fold(0, |value, &group| value << 5 | i128::from(group & 0x1f));
        if groups.last().is_some_and(|group| group & 0x10 != 0) {
            value -= 1 << (5 * groups.len());
        }
        if runs.len() > 2 {
            value += runs[runs.len() - 2];
        }
        runs.push(value);
    }
    runs.into_iter().map(|run| u32::try_from(run).map_err(|_| "run")).collect()
}

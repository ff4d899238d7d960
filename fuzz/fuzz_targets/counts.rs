//! Counts strings: no panic, and what is accepted adds up and survives a round trip.
#![no_main]

use libfuzzer_sys::fuzz_target;
use maskstream::mask::{Grid, Rle};

fuzz_target!(|input: (&[u8], u8, u8)| {
    let (counts, height, width) = (input.0, u32::from(input.1), u32::from(input.2));
    let Ok(rle) = Rle::from_counts(counts, height, width) else { return };
    assert_eq!(rle.runs().iter().map(|&run| u64::from(run)).sum::<u64>(), u64::from(height) * u64::from(width));
    assert_eq!(Rle::from_counts(rle.to_counts().as_bytes(), height, width), Ok(rle.clone()));
    if let Ok(grid) = Grid::stretch(height, width, 7, 5) {
        let mut cells = [0.0; 35];
        grid.coverage(&rle, &mut Default::default(), &mut cells).unwrap();
        let covered = cells.iter().map(|&cell| f64::from(cell)).sum::<f64>() / 35.0;
        assert!((covered - rle.area() as f64 / f64::from(height * width)).abs() < 1e-5);
    }
});

//! Invalid and extreme masks, polygons and boxes. Each gives the error that names the invalid value, or the correct
//! result, and none takes more memory than in proportion to its length. The inputs include every one for which
//! pycocotools 2.0.11 crashes, accesses memory out of bounds or returns a wrong result.

use std::process::Command;
use std::slice;

use maskstream::mask::{
    Connectivity, Merge, Rle, RleError, Segmentation, Strides, box_iou, decode, encode, iou, merge, nms,
};

use super::naive::{Naive, random_mask};
use crate::fixture::Dice;

const BIG: u32 = u32::MAX;
/// The longest side of an image for which runs are computed.
const SIDE: u32 = 1 << 22;

fn rle(runs: &[u32], height: u32, width: u32) -> Rle {
    Rle::from_runs(runs.to_vec(), height, width).unwrap()
}

fn read(counts: &[u8], height: u32, width: u32) -> RleError {
    Rle::from_counts(counts, height, width).unwrap_err()
}

fn segmentation(json: &str, height: u32, width: u32) -> Result<Rle, RleError> {
    serde_json::from_str::<Segmentation>(json).unwrap().to_rle(height, width)
}

/// Intersection over union of two masks.
fn share(a: &Rle, b: &Rle) -> f64 {
    iou(slice::from_ref(a), slice::from_ref(b), None).unwrap()[0]
}

/// Encodes a number in exactly `count` groups.
fn groups(value: i64, count: usize) -> Vec<u8> {
    let more = |i: usize| if i + 1 < count { 0x20 } else { 0 };
    (0..count).map(|i| 48 + ((value >> (5 * i).min(63)) & 0x1f) as u8 + more(i)).collect()
}

/// A mask of more than 2^32 pixels: `pieces` columns of the tallest possible image, all of them mask.
fn giant(pieces: u32) -> Rle {
    let runs = (0..pieces).flat_map(|_| [0, BIG]).collect();
    Rle::from_runs(runs, BIG, pieces).unwrap()
}

// Counts strings

#[test]
fn runs_that_fall_short_are_refused() {
    assert_eq!(read(b"", 4, 4), RleError::Sum { sum: 0, pixels: 16 });
    assert_eq!(read(b"5", 4, 4), RleError::Sum { sum: 5, pixels: 16 });
    assert_eq!(Rle::from_runs(vec![], 4, 4), Err(RleError::Sum { sum: 0, pixels: 16 }));
    assert_eq!(Rle::from_runs(vec![3, 5], 4, 4), Err(RleError::Sum { sum: 8, pixels: 16 }));
    assert_eq!(segmentation(r#"{"size":[4,4],"counts":""}"#, 4, 4), Err(RleError::Sum { sum: 0, pixels: 16 }));
    assert_eq!(segmentation(r#"{"size":[4,4],"counts":[]}"#, 4, 4), Err(RleError::Sum { sum: 0, pixels: 16 }));
}

#[test]
fn runs_that_go_too_far_are_refused() {
    assert_eq!(read(b"990", 4, 4), RleError::Sum { sum: 18, pixels: 16 });
    assert_eq!(Rle::from_runs(vec![9, 9], 4, 4), Err(RleError::Sum { sum: 18, pixels: 16 }));
    // The sum must not wrap: in 32 bits, these runs add up to 16.
    let runs = vec![BIG, 17];
    assert_eq!(Rle::from_runs(runs, 4, 4), Err(RleError::Sum { sum: (1 << 32) + 16, pixels: 16 }));
    assert_eq!(
        segmentation(r#"{"size":[4,4],"counts":[4294967295,17]}"#, 4, 4),
        Err(RleError::Sum { sum: (1 << 32) + 16, pixels: 16 })
    );
}

#[test]
fn a_list_in_which_one_mask_is_too_long_and_the_next_too_short_has_no_masks() {
    // pycocotools checks only the total.
    let long_and_short = [b"11".as_slice(), b"0@"];
    assert!(long_and_short.iter().all(|counts| Rle::from_counts(counts, 4, 4).is_err()));
}

#[test]
fn strings_that_end_inside_a_number_are_refused() {
    for counts in [&b"P"[..], b"`", b"o", b"5P", b"55`", b"555o", b"0PPPPPP"] {
        assert_eq!(read(counts, 4, 4), RleError::Truncated, "{counts:?}");
    }
}

#[test]
fn every_character_outside_of_the_alphabet_is_refused_wherever_it_stands() {
    for byte in (0..48).chain(112..=255) {
        for index in 0..4 {
            let mut counts = b"4444".to_vec();
            counts[index] = byte;
            assert_eq!(read(&counts, 4, 4), RleError::Character { index, byte });
            // After groups that continue.
            counts[..index].fill(b'P');
            assert_eq!(read(&counts, 4, 4), RleError::Character { index, byte });
        }
    }
    for byte in 48..112 {
        assert!(!matches!(Rle::from_counts(&[byte], 4, 4), Err(RleError::Character { .. })), "{byte}");
    }
}

#[test]
fn a_nul_does_not_end_the_string() {
    let counts = rle(&[16], 4, 4).to_counts();
    let cut = [counts.as_bytes(), b"\0garbage"].concat();
    assert_eq!(read(&cut, 4, 4), RleError::Character { index: counts.len(), byte: 0 });
    assert_eq!(
        segmentation(r#"{"size":[4,4],"counts":"\u0000"}"#, 4, 4),
        Err(RleError::Character { index: 0, byte: 0 })
    );
}

#[test]
fn negative_runs_are_refused() {
    assert_eq!(read(&groups(-1, 1), 4, 4), RleError::Run { index: 0, value: -1 });
    assert_eq!(read(&[&b"4"[..], &groups(-16, 1)].concat(), 4, 4), RleError::Run { index: 1, value: -16 });
    // A negative difference: 4, 4, 4, then 4 - 5.
    assert_eq!(read(&[&b"444"[..], &groups(-5, 1)].concat(), 4, 4), RleError::Run { index: 3, value: -1 });
    // A later run cannot compensate: 20 - 4 is 16.
    let counts = [groups(20, 2), groups(-4, 1)].concat();
    assert!(matches!(read(&counts, 4, 4), RleError::Sum { .. } | RleError::Run { .. }));
    assert!(matches!(read(&[groups(-4, 1), groups(20, 2)].concat(), 4, 4), RleError::Run { index: 0, value: -4 }));
    // Numbers in JSON that are not run lengths.
    for counts in ["[-1,17]", "[16.5]", "[4294967296]", "[1e300]", "[null]", "[\"16\"]", "[[16]]", "[NaN]"] {
        let json = format!(r#"{{"size":[4,4],"counts":{counts}}}"#);
        assert!(serde_json::from_str::<Segmentation>(&json).is_err(), "{counts}");
    }
}

#[test]
fn long_numbers_are_read_and_longer_ones_refused() {
    // Seven groups hold 32 bits and a sign; pycocotools writes such numbers past the end of its buffer.
    for value in [1 << 29, (1 << 29) - 1, 1 << 30, 1 << 31, BIG - 1, BIG] {
        let mask = rle(&[value], value, 1);
        assert!(mask.to_counts().len() >= 6);
        assert_eq!(Rle::from_counts(mask.to_counts().as_bytes(), value, 1), Ok(mask));
        // The largest positive and negative differences.
        let runs = [0, 0, 0, value, 0, 0, 0, value];
        let wide = rle(&runs, value, 2);
        assert_eq!(Rle::from_counts(wide.to_counts().as_bytes(), value, 2), Ok(wide));
    }
    // Extra groups of zeros encode the same number.
    for count in 2..=7 {
        assert_eq!(Rle::from_counts(&groups(16, count), 4, 4).unwrap().runs(), [16], "{count} groups");
        assert_eq!(read(&groups(-1, count), 4, 4), RleError::Run { index: 0, value: -1 });
    }
    for count in [8, 9, 13, 14, 100] {
        assert!(matches!(read(&groups(16, count), 4, 4), RleError::Run { index: 0, .. }), "{count} groups");
        let second = [&b"4"[..], &groups(12, count)].concat();
        assert!(matches!(read(&second, 4, 4), RleError::Run { index: 1, .. }), "{count} groups");
    }
    for value in [1 << 32, 1 << 33, (1 << 34) - 1, -1 << 34] {
        assert_eq!(read(&groups(value, 7), 4, 4), RleError::Run { index: 0, value });
    }
    assert_eq!(read(&[b'o'; 1 << 20], 4, 4), read(&[b'o'; 8], 4, 4));
}

#[test]
fn sizes_that_the_runs_do_not_fill_fail_before_anything_is_allocated() {
    let pixels = u64::from(BIG) * u64::from(BIG);
    for counts in [&b""[..], b"0", b"00000000", b"55"] {
        let sum: u64 = counts.iter().map(|byte| u64::from(byte - 48)).sum();
        assert_eq!(read(counts, BIG, BIG), RleError::Sum { sum, pixels });
        assert_eq!(read(counts, 100_000, 100_000), RleError::Sum { sum, pixels: 10_000_000_000 });
    }
    // 2^32 x 2^32 wraps to 0 in 64 bits; a size must fit 32 bits.
    for size in ["[4294967296,4294967296]", "[-1,4]", "[4]", "[4,4,1]", "[4.5,4]", "[]", "null", "[\"4\",4]"] {
        let json = format!(r#"{{"size":{size},"counts":""}}"#);
        assert!(serde_json::from_str::<Segmentation>(&json).is_err(), "{size}");
    }
    assert_eq!(Rle::from_runs(vec![16], BIG, BIG), Err(RleError::Sum { sum: 16, pixels }));
}

#[test]
fn segmentations_of_another_size_than_the_image_are_refused() {
    for counts in ["\"@0\"", "[16]"] {
        for (size, found) in [("[2,8]", [2, 8]), ("[8,2]", [8, 2]), ("[4294967295,4294967295]", [BIG, BIG])] {
            let json = format!(r#"{{"size":{size},"counts":{counts}}}"#);
            assert!(matches!(
                segmentation(&json, 4, 4),
                Err(RleError::Sizes { expected: [4, 4], found: other, .. }) if other == found
            ));
        }
    }
}

#[test]
fn buffers_of_another_size_than_the_image_are_refused() {
    // For 100,000 x 100,000 pixels pycocotools writes out of bounds.
    let large = Rle::empty(100_000, 100_000).unwrap();
    let expected = 10_000_000_000;
    assert_eq!(large.write_column_major(&mut [0; 8]), Err(RleError::Size { expected, found: 8 }));
    assert_eq!(large.write_row_major(&mut [0; 8]), Err(RleError::Size { expected, found: 8 }));
    assert_eq!(large.write_packed(&mut [0; 8]), Err(RleError::Size { expected: expected / 8, found: 8 }));
    assert!(large.write_strided(&mut [0; 8], Strides { row: 1, column: 100_000 }).is_err());
    assert!(decode(&[large.clone(), large.clone()], &mut [0; 8]).is_err());
    assert_eq!(Rle::from_column_major(&[0; 8], BIG, BIG).map(drop).unwrap_err(), size_error(BIG, 8));
    assert_eq!(Rle::from_row_major(&[0; 8], BIG, BIG).map(drop).unwrap_err(), size_error(BIG, 8));
    assert!(encode(&[0; 8], 2, BIG, BIG).is_err());
    // Count x height x width would wrap to 0.
    assert!(encode(&[], 1 << 32, 1 << 16, 1 << 16).is_err());
    assert!(encode(&[], usize::MAX, BIG, BIG).is_err());
    // Strides that wrap, and strides whose rows overlap or end past the buffer.
    let small = rle(&[1, 2, 1], 2, 2);
    for strides in [
        Strides { row: usize::MAX, column: 1 },
        Strides { row: 1, column: usize::MAX },
        Strides { row: usize::MAX, column: usize::MAX },
        Strides { row: 3, column: 1 },
    ] {
        assert!(small.write_strided(&mut [7; 4], strides).is_err(), "{strides:?}");
    }
}

fn size_error(side: u32, found: u64) -> RleError {
    RleError::Size { expected: u64::from(side) * u64::from(side), found }
}

// Lists

#[test]
fn an_empty_list_decodes_to_nothing_and_merges_to_the_empty_mask() {
    assert_eq!(decode(&[], &mut []), Ok(()));
    assert!(decode(&[], &mut [0]).is_err());
    assert_eq!(encode(&[], 0, 4, 4), Ok(vec![]));
    for how in [Merge::Union, Merge::Intersection, Merge::Difference, Merge::Xor] {
        let none = merge(&[], how).unwrap();
        assert_eq!((none.height(), none.width(), none.area()), (0, 0, 0));
    }
    let masks = [rle(&[4, 12], 4, 4)];
    assert_eq!(iou(&[], &masks, None), Ok(vec![]));
    assert_eq!(iou(&masks, &[], Some(&[])), Ok(vec![]));
    assert_eq!(box_iou(&[], &[[0.0; 4]], None), Ok(vec![]));
    assert_eq!(nms(&[], &[], 0.5), Ok(vec![]));
}

#[test]
fn masks_of_several_sizes_do_not_go_together() {
    let (tall, wide) = (rle(&[3, 3], 3, 2), rle(&[3, 3], 2, 3));
    let fault = |index| RleError::Sizes { expected: [3, 2], found: [2, 3], index };
    let mixed = [tall.clone(), tall.clone(), wide.clone()];
    for how in [Merge::Union, Merge::Intersection, Merge::Difference, Merge::Xor] {
        assert_eq!(merge(&mixed, how), Err(fault(2)));
    }
    assert_eq!(decode(&mixed, &mut [0; 18]), Err(fault(2)));
    assert_eq!(nms(&mixed, &[0.5; 3], 0.5), Err(fault(2)));
    for pair in [tall.union(&wide), tall.intersection(&wide), tall.difference(&wide), tall.xor(&wide)] {
        assert_eq!(pair, Err(fault(1)));
    }
    assert_eq!(tall.intersection_area(&wide), Err(fault(1)));
    assert!(matches!(
        iou(&mixed[..2], &mixed[2..], None),
        Err(RleError::Sizes { expected: [3, 2], found: [2, 3], .. })
    ));
    // Also if the bounding boxes do not intersect, and if the images have equally many pixels.
    let (left, right) = (rle(&[0, 1, 5], 3, 2), rle(&[5, 1], 2, 3));
    assert!(matches!(iou(&[left], &[right], None), Err(RleError::Sizes { .. })));
}

#[test]
fn lists_of_another_length_are_refused() {
    let masks = [rle(&[4, 12], 4, 4), rle(&[8, 8], 4, 4)];
    assert!(matches!(iou(&masks, &masks, Some(&[true])), Err(RleError::Size { expected: 2, found: 1 })));
    assert!(matches!(box_iou(&[[0.0; 4]], &[[0.0; 4]], Some(&[])), Err(RleError::Size { expected: 1, found: 0 })));
    assert!(matches!(nms(&masks, &[0.5], 0.5), Err(RleError::Size { expected: 2, found: 1 })));
}

#[test]
fn more_than_255_masks_are_a_list_as_any_other() {
    let mut dice = Dice(3);
    let masks: Vec<Rle> = (0..1000).map(|_| random_mask(|end| dice.below(end), 5, 7)).collect();
    let naive: Vec<Naive> = masks.iter().map(Naive::of).collect();
    assert!(masks.iter().zip(&naive).all(|(mask, naive)| mask.area() == naive.area() && mask.bbox() == naive.bbox()));
    let union = Naive::made(5, 7, |x, y| naive.iter().any(|mask| mask.at(x.into(), y.into())));
    union.assert_is(&merge(&masks, Merge::Union).unwrap(), "1000 masks");
    let mut stack = vec![7; 35_000];
    decode(&masks, &mut stack).unwrap();
    assert_eq!(stack, naive.iter().flat_map(Naive::column_major).collect::<Vec<_>>());
    let matrix = iou(&masks, &masks[..300], None).unwrap();
    assert_eq!(matrix.len(), 300_000);
    assert!((0..300).all(|i| matrix[i * 300 + i] == f64::from(u8::from(masks[i].area() > 0))));
}

// Empty runs, empty masks, images without pixels

#[test]
fn empty_runs_change_nothing() {
    // In pycocotools: an IoU of 0 with itself, a union of 88 pixels in an image of 16, a box of 2^32.
    let lists: [&[u32]; 9] = [
        &[0, 0, 0, 16],
        &[2, 3, 0, 3, 8],
        &[0, 0, 16],
        &[16, 0],
        &[16, 0, 0],
        &[0, 16, 0, 0],
        &[4, 0, 0, 4, 0, 0, 8],
        &[0, 1, 0, 1, 0, 1, 13],
        &[0, 0, 0, 0, 0, 0, 0, 3, 13],
    ];
    let masks = lists.map(|runs| rle(runs, 4, 4));
    for a in &masks {
        let p = Naive::of(a);
        let full = f64::from(u8::from(p.area() > 0));
        assert_eq!((a.area(), a.bbox()), (p.area(), p.bbox()), "{a:?}");
        assert_eq!(share(a, a), full, "{a:?}");
        assert_eq!(Rle::from_counts(a.to_counts().as_bytes(), 4, 4).as_ref(), Ok(a));
        p.assert_is(&a.canonical(), &format!("{a:?}"));
        for b in &masks {
            let q = Naive::of(b);
            let both = |keep: fn(bool, bool) -> bool| {
                Naive::made(4, 4, |x, y| keep(p.at(x.into(), y.into()), q.at(x.into(), y.into())))
            };
            let case = format!("{a:?} and {b:?}");
            both(|p, q| p | q).assert_is(&a.union(b).unwrap(), &case);
            both(|p, q| p & q).assert_is(&a.intersection(b).unwrap(), &case);
            let common = both(|p, q| p & q).area() as f64;
            let whole = both(|p, q| p | q).area() as f64;
            let expected = if common == 0.0 { 0.0 } else { common / whole };
            assert_eq!(share(a, b), expected, "{case}");
        }
    }
    assert_eq!(rle(&[4, 0], 2, 2).bbox(), [0; 4]);
}

#[test]
fn far_more_runs_than_pixels_are_merged_as_any_others() {
    // pycocotools allocates only height x width + 1 runs.
    let mut runs = vec![0; 100_000];
    runs.extend([3, 5, 8]);
    let many = rle(&runs, 4, 4);
    let few = rle(&[5, 6, 5], 4, 4);
    assert_eq!(many.union(&few).unwrap().runs(), [3, 8, 5]);
    assert_eq!(few.intersection(&many).unwrap().runs(), [5, 3, 8]);
    assert_eq!(merge(&[many.clone(), few.clone(), many.clone()], Merge::Union).unwrap().runs(), [3, 8, 5]);
    assert_eq!(share(&many, &few), 3.0 / 8.0);
}

#[test]
fn empty_masks_overlap_nothing() {
    let (empty, full) = (rle(&[16], 4, 4), rle(&[0, 16], 4, 4));
    assert_eq!((empty.area(), empty.bbox()), (0, [0; 4]));
    for crowd in [[false; 2], [true; 2]] {
        let masks = [empty.clone(), full.clone()];
        assert_eq!(iou(&masks, &masks, Some(&crowd)), Ok(vec![0.0, 0.0, 0.0, 1.0]));
    }
    assert_eq!(empty.complement(), full);
    assert_eq!(full.complement(), empty);
    assert_eq!(nms(&[empty.clone(), empty], &[0.5, 0.25], 0.0), Ok(vec![0, 1]));
}

#[test]
fn images_without_pixels_are_images() {
    for (height, width) in [(0, 0), (0, 5), (5, 0), (0, SIDE), (SIDE, 0)] {
        let case = format!("{height} x {width}");
        let empty = Rle::from_counts(b"", height, width).unwrap();
        for mask in [
            Rle::empty(height, width).unwrap(),
            Rle::from_row_major(&[], height, width).unwrap(),
            Rle::from_polygon(&[0.0, 0.0, 9.0, 0.0, 9.0, 9.0], height, width).unwrap(),
            Rle::from_box([0.0, 0.0, 9.0, 9.0], height, width).unwrap(),
            empty.flip_horizontal(),
            empty.flip_vertical(),
            empty.transpose().unwrap().transpose().unwrap(),
            empty.crop(0, 0, width, height).unwrap(),
            empty.pad(0, 0, 0, 0).unwrap(),
        ] {
            without_pixels(&mask, height, width);
            assert_eq!(mask.to_counts(), "0", "{case}");
            assert_eq!(mask.to_column_major(), Ok(vec![]), "{case}");
            assert_eq!(mask.to_row_major(), Ok(vec![]), "{case}");
        }
        assert_eq!(empty.resize(3, 3), Err(RleError::Axis), "{case}");
    }
    for (height, width) in [(0, 0), (0, 5), (5, 0), (0, BIG), (BIG, 0)] {
        assert_eq!(read(b"1", height, width), RleError::Sum { sum: 1, pixels: 0 });
        let empty = Rle::from_counts(b"", height, width).unwrap();
        let read = [empty.clone(), Rle::from_counts(b"0", height, width).unwrap(), rle(&[0; 4], height, width)];
        read.iter().for_each(|mask| without_pixels(mask, height, width));
        for mask in [
            Rle::from_column_major(&[], height, width).unwrap(),
            empty.complement(),
            empty.union(&empty).unwrap(),
            empty.canonical(),
            merge(&read, Merge::Xor).unwrap(),
            merge(&read, Merge::Difference).unwrap(),
        ] {
            without_pixels(&mask, height, width);
            // pycocotools also writes a single empty run for such an image.
            assert_eq!(mask.to_counts(), "0");
        }
        assert_eq!(encode(&[], 3, height, width).unwrap().len(), 3);
    }
}

fn without_pixels(mask: &Rle, height: u32, width: u32) {
    let case = format!("{mask:?}");
    assert_eq!((mask.height(), mask.width(), mask.area(), mask.bbox()), (height, width, 0, [0; 4]), "{case}");
    assert_eq!(mask.write_column_major(&mut []), Ok(()), "{case}");
    assert_eq!(mask.write_row_major(&mut []), Ok(()), "{case}");
    let row_bytes = width.div_ceil(8) as usize;
    assert_eq!(mask.write_packed(&mut vec![7; row_bytes * height as usize]), Ok(()), "{case}");
    assert_eq!(mask.write_strided(&mut [], Strides { row: 9, column: 1 }), Ok(()), "{case}");
    assert_eq!(decode(&[mask.clone(), mask.clone()], &mut []), Ok(()), "{case}");
    assert_eq!(share(mask, mask), 0.0, "{case}");
    assert_eq!(nms(&[mask.clone(), mask.clone()], &[0.5; 2], 0.5), Ok(vec![0, 1]), "{case}");
    assert_eq!((mask.centroid(), mask.stats().bitmap_bytes), (None, 0), "{case}");
    assert_eq!(mask.canonical().to_counts(), "0", "{case}");
}

// Large images

#[test]
fn areas_beyond_32_bits_are_counted() {
    let mask = giant(300);
    let pixels = 300 * u64::from(BIG);
    assert!(pixels > 1 << 40);
    assert_eq!(mask.area(), pixels);
    assert_eq!(mask.bbox(), [0, 0, 300, BIG]);
    assert_eq!(Rle::from_counts(mask.to_counts().as_bytes(), BIG, 300).as_ref(), Ok(&mask));
    assert_eq!(mask.union(&mask).unwrap().area(), pixels);
    assert_eq!(mask.xor(&mask).unwrap().area(), 0);
    assert_eq!(mask.complement().area(), 0);
    assert_eq!(mask.complement().complement().area(), pixels);
    assert_eq!(mask.canonical().area(), pixels);
    assert_eq!(mask.intersection_area(&mask), Ok(pixels));
    assert_eq!(share(&mask, &mask), 1.0);
    assert_eq!(share(&mask, &mask.complement()), 0.0);
    // One pixel at a position far beyond 2^32.
    let mut runs = vec![BIG, 0, BIG, 0, 7, 1, BIG - 8];
    let one = Rle::from_runs(std::mem::take(&mut runs), BIG, 3).unwrap();
    assert_eq!((one.area(), one.bbox()), (1, [2, 7, 1, 1]));
    assert_eq!(giant(3).difference(&one).unwrap().area(), 3 * u64::from(BIG) - 1);
    assert_eq!(share(&one, &giant(3)), 1.0 / (3.0 * f64::from(BIG)));
}

#[test]
fn no_runs_are_made_for_images_with_sides_beyond_reason() {
    for (height, width) in [(BIG, BIG), (1, BIG), (BIG, 1), (0, BIG), (1, SIDE + 1), (SIDE + 1, 1)] {
        let image = |made: Result<Rle, RleError>| assert_eq!(made, Err(RleError::Image { height, width }));
        let triangle = [0.0, 0.0, 9.0, 0.0, 9.0, 9.0];
        image(Rle::empty(height, width));
        image(Rle::from_polygon(&triangle, height, width));
        image(Rle::from_polygons(&[triangle, triangle], height, width));
        image(Rle::from_polygons::<Vec<f64>>(&[], height, width));
        image(Rle::from_box([0.0, 0.0, 9.0, 9.0], height, width));
        image(segmentation("[[0,0,9,0,9,9]]", height, width));
        image(segmentation("[]", height, width));
    }
    for (height, width) in [(SIDE, SIDE), (1, SIDE), (SIDE, 1)] {
        let empty = Rle::empty(height, width).unwrap();
        assert_eq!((empty.area(), empty.bbox()), (0, [0; 4]));
        assert_eq!(empty.complement().area(), u64::from(height) * u64::from(width));
        assert_eq!(empty.complement().bbox(), [0, 0, width, height]);
        let drawn = |height, width| Rle::from_polygon(&[0.0, 0.0, 9.0, 0.0, 9.0, 9.0], height, width).unwrap();
        let (large, small) = (drawn(height, width), drawn(height.min(12), width.min(12)));
        assert_eq!((large.area(), large.bbox()), (small.area(), small.bbox()));
    }
}

#[test]
fn masks_of_the_longest_sides_cost_their_runs_and_not_their_pixels() {
    // Each has about a dozen bytes of counts.
    for (height, width) in [(1, BIG), (BIG, 1), (BIG, 3), (3, BIG), (15, BIG / 15), (BIG / 15, 15)] {
        let pixels = u64::from(height) * u64::from(width);
        let pieces = (pixels / u64::from(BIG)) as u32;
        let full = Rle::from_runs((0..pieces).flat_map(|_| [0, BIG]).collect(), height, width).unwrap();
        let ends = Rle::from_runs([vec![0, 1, BIG - 1], [0, BIG].repeat(pieces as usize - 1)].concat(), height, width)
            .unwrap();
        let case = format!("{height} x {width}");
        assert_eq!((full.area(), full.bbox()), (pixels, [0, 0, width, height]), "{case}");
        assert_eq!(full.union(&ends).unwrap().canonical().area(), pixels, "{case}");
        assert_eq!(full.xor(&ends).unwrap(), full.difference(&ends).unwrap(), "{case}");
        assert_eq!(full.intersection_area(&ends), Ok(ends.area()), "{case}");
        let part = ends.area() as f64 / pixels as f64;
        assert_eq!((share(&full, &full), share(&ends, &full)), (1.0, part), "{case}");
        assert_eq!(
            nms(&[ends.clone(), full.clone()], &[0.5, 0.75], 0.9),
            Ok(if part > 0.9 { vec![1] } else { vec![1, 0] })
        );
        // Operations that would need a table of all columns are refused.
        for made in [full.transpose(), full.pad(1, 1, 1, 1), full.erode(1), ends.boundary(BIG)] {
            assert!(matches!(made, Err(RleError::Image { .. })), "{case}");
        }
        assert_eq!((full.flip_horizontal().area(), full.flip_vertical().area()), (pixels, pixels), "{case}");
        assert_eq!(ends.flip_horizontal().flip_horizontal(), ends.canonical(), "{case}");
        assert_eq!(ends.flip_vertical().flip_vertical(), ends.canonical(), "{case}");
        assert_eq!(ends.dilate(BIG), full.canonical(), "{case}");
        assert_eq!(full.components(Connectivity::Four).unwrap(), [full.canonical()], "{case}");
        assert_eq!(full.fill_holes(), full.canonical(), "{case}");
        assert!(ends.complement().holes(Connectivity::Eight).unwrap().is_empty(), "{case}");
        assert_eq!(full.to_polygons(0.0).unwrap().polygons.len(), 1, "{case}");
        let corner = full.difference(&ends.flip_horizontal().flip_vertical()).unwrap();
        assert_eq!(corner.area(), pixels - ends.area(), "{case}");
        assert_eq!(full.resize(3, 3), Err(RleError::Axis), "{case}");
        assert!(full.to_column_major().is_err() && full.to_row_major().is_err(), "{case}");
        assert!(full.write_row_major(&mut [0; 9]).is_err() && full.write_packed(&mut [0; 9]).is_err(), "{case}");
    }
}

#[test]
fn windows_that_leave_the_image_are_refused() {
    let mask = rle(&[3, 5, 4], 4, 3);
    for window in [
        [0, 0, 4, 4],
        [0, 0, 3, 5],
        [4, 0, 0, 1],
        [0, 5, 1, 0],
        [3, 0, 1, 1],
        [BIG, 0, 1, 1],
        [1, 0, BIG, 1],
        [0, BIG, 1, BIG],
        [BIG, BIG, BIG, BIG],
    ] {
        let [x, y, width, height] = window;
        assert_eq!(mask.crop(x, y, width, height), Err(RleError::Window { window, size: [4, 3] }));
    }
    for [left, top, right, bottom] in [
        [BIG, 0, 0, 0],
        [0, BIG, 0, 0],
        [0, 0, BIG, 0],
        [1 << 31, 0, 1 << 31, 0],
        [BIG; 4],
        [SIDE, 0, 0, 0],
        [0, 0, 0, SIDE],
    ] {
        assert!(
            matches!(mask.pad(left, top, right, bottom), Err(RleError::Image { .. })),
            "{left} {top} {right} {bottom}"
        );
    }
    for (height, width) in [(0, 3), (3, 0), (BIG, BIG), (SIDE + 1, 3)] {
        assert!(mask.resize(height, width).is_err(), "{height} x {width}");
    }
}

#[test]
fn polygons_in_large_images_are_where_they_would_be_in_small_ones() {
    let points = [2.0, 3.0, 8.0, 3.5, 6.0, 9.0, 1.5, 7.0];
    let small = Naive::of(&Rle::from_polygon(&points, 12, 12).unwrap());
    // In pycocotools, positions beyond 2^32 wrap.
    let moved: Vec<f64> = points.iter().enumerate().map(|(i, v)| v + [65_536.0, 65_500.0][i % 2]).collect();
    let large = Rle::from_polygon(&moved, 65_600, 65_600).unwrap();
    let [x, y, w, h] = small.bbox();
    assert_eq!((large.area(), large.bbox()), (small.area(), [x + 65_536, y + 65_500, w, h]));
}

// Polygons and boxes

#[test]
fn polygons_of_too_few_points_or_of_half_a_point_are_refused() {
    for numbers in [0, 1, 2, 3, 4, 5, 7, 9, 101] {
        let points = vec![1.0; numbers];
        assert_eq!(Rle::from_polygon(&points, 9, 9), Err(RleError::Points { numbers }));
        assert_eq!(
            Rle::from_polygons(&[&points[..numbers.min(5)]], 9, 9),
            Err(RleError::Points { numbers: numbers.min(5) })
        );
    }
    // Four numbers in a nested list are not a box.
    assert_eq!(segmentation("[[1,2,3,4]]", 9, 9), Err(RleError::Points { numbers: 4 }));
}

#[test]
fn coordinates_that_are_no_places_are_refused() {
    let sound = [1.0, 1.0, 5.0, 1.0, 5.0, 5.0];
    for value in [f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e9, -1e9, 1e300, -1e300, f64::MAX] {
        for index in 0..6 {
            let mut points = sound;
            points[index] = value;
            let fault = |error: RleError| match error {
                RleError::Coordinate { index: at, value: found } => {
                    assert_eq!((at, found.to_bits()), (index, value.to_bits()));
                }
                other => panic!("{value} at {index}: {other:?}"),
            };
            fault(Rle::from_polygon(&points, 9, 9).unwrap_err());
            fault(Rle::from_polygons(&[&sound, &points], 9, 9).unwrap_err());
        }
        for index in 0..4 {
            let mut numbers = [1.0, 1.0, 5.0, 5.0];
            numbers[index] = value;
            match Rle::from_box(numbers, 9, 9).unwrap_err() {
                RleError::Coordinate { index: at, value: found } => {
                    assert_eq!((at, found.to_bits()), (index, value.to_bits()));
                }
                other => panic!("{value} at {index}: {other:?}"),
            }
        }
    }
    // Each value of the box is in range, but its far side is not.
    let far = |index| Err(RleError::Coordinate { index, value: 4e6 });
    assert_eq!(Rle::from_box([4e6, 0.0, 4e6, 5.0], 9, 9), far(2));
    assert_eq!(Rle::from_box([0.0, 4e6, 5.0, 4e6], 9, 9), far(3));
    // In JSON too: values that are not numbers, or too large for f64.
    for list in ["[[0,0,9,0,9,null]]", "[[0,0,9,0,9,\"9\"]]", "[[0,0,9,0,9,NaN]]", "[[0,0,9,0,9,[9]]]", "[0,0,9,0,9,9]"]
    {
        assert!(serde_json::from_str::<Segmentation>(list).is_err(), "{list}");
    }
    let huge = serde_json::from_str::<Segmentation>("[[0,0,9,0,9,1e999]]");
    assert!(huge.is_err() || huge.is_ok_and(|s| matches!(s.to_rle(9, 9), Err(RleError::Coordinate { index: 5, .. }))));
}

#[test]
fn polygons_far_larger_than_the_image_cost_no_more_than_it() {
    // Every edge crosses the image; walking along all lattice points would take 10^10 steps.
    let far = 4e6;
    let points: Vec<f64> =
        (0..500).flat_map(|i| [if i % 2 == 0 { -far } else { far }, f64::from(i) / 10.0 - 20.0]).collect();
    let mask = Rle::from_polygon(&points, 50, 50).unwrap();
    assert_eq!((mask.height(), mask.width()), (50, 50));
    let around = Rle::from_polygon(&[-far, -far, far, -far, far, far, -far, far], 50, 50).unwrap();
    assert_eq!(around.runs(), [0, 2500]);
    let beside = Rle::from_polygon(&[far, 0.0, far, 9.0, far - 9.0, 4.0], 50, 50).unwrap();
    assert_eq!(beside.runs(), [2500]);
}

#[test]
fn degenerate_polygons_are_empty_or_as_without_what_is_too_much() {
    // All points equal, and all points on one line.
    assert_eq!(Rle::from_polygon(&[3.0; 8], 9, 9).unwrap().area(), 0);
    assert_eq!(Rle::from_polygon(&[1.0, 1.0, 5.0, 5.0, 3.0, 3.0], 9, 9).unwrap().area(), 0);
    assert_eq!(Rle::from_polygon(&[-5.0, -5.0, -1.0, -5.0, -1.0, -1.0], 9, 9).unwrap().area(), 0);
    // Repeated vertices: pycocotools computes 0 / 0 and casts it to an integer.
    let once = Rle::from_polygon(&[1.0, 1.0, 7.0, 2.0, 5.0, 8.0], 9, 9).unwrap();
    let twice =
        Rle::from_polygon(&[1.0, 1.0, 1.0, 1.0, 7.0, 2.0, 7.0, 2.0, 7.0, 2.0, 5.0, 8.0, 1.0, 1.0], 9, 9).unwrap();
    assert_eq!(once, twice);
    assert!(once.area() > 10);
    // Several rounds along the same outline: the even-odd rule applies.
    let [a, b, c] = [[1.0, 1.0], [7.0, 2.0], [5.0, 8.0]];
    assert_eq!(Rle::from_polygon(&[a, b, c, a, b, c].concat(), 9, 9).unwrap().area(), 0);
    assert_eq!(Rle::from_polygon(&[a, b, c, a, b, c, a, b, c].concat(), 9, 9).unwrap(), once);
}

#[test]
fn one_box_overlaps_itself() {
    // pycocotools fails on a list of one box.
    assert_eq!(box_iou(&[[1.0, 2.0, 3.0, 4.0]], &[[1.0, 2.0, 3.0, 4.0]], None), Ok(vec![1.0]));
    assert_eq!(box_iou(&[[1.0, 2.0, 3.0, 4.0]], &[[2.0, 2.0, 3.0, 4.0]], Some(&[true])), Ok(vec![2.0 / 3.0]));
}

#[test]
fn boxes_that_are_no_places_are_refused() {
    let sound = [1.0, 1.0, 4.0, 4.0];
    for value in [f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, -1e300] {
        for index in 0..4 {
            let mut odd = sound;
            odd[index] = value;
            let fault = |list: Result<Vec<f64>, RleError>, place: usize| match list.unwrap_err() {
                RleError::Coordinate { index, value: found } => {
                    assert_eq!((index, found.to_bits()), (place, value.to_bits()));
                }
                other => panic!("{value} at {index}: {other:?}"),
            };
            for crowd in [[false; 2], [true; 2]] {
                fault(box_iou(&[sound, odd], &[sound, sound], Some(&crowd)), 4 + index);
                fault(box_iou(&[sound], &[sound, odd], Some(&crowd)), 8 + index);
            }
        }
    }
}

#[test]
fn boxes_without_area_overlap_nothing() {
    let sound = [1.0, 1.0, 4.0, 4.0];
    for odd in [[1.0, 1.0, 0.0, 4.0], [1.0, 1.0, -2.0, 4.0], [3.0, 3.0, -2.0, -2.0], [5.0, 5.0, 0.0, 0.0], [0.0; 4]] {
        assert_eq!(box_iou(&[odd], &[sound], None), Ok(vec![0.0]), "{odd:?}");
        assert_eq!(box_iou(&[sound], &[odd], Some(&[true])), Ok(vec![0.0]), "{odd:?}");
        assert_eq!(box_iou(&[odd], &[odd], None), Ok(vec![0.0]), "{odd:?}");
    }
    // With the largest and the smallest values, the IoU still is between 0 and 1.
    let values = [0.0, 1.0, -1.0, 1e100, -1e100, f64::MIN_POSITIVE, 1e-160];
    let boxes: Vec<[f64; 4]> =
        (0..7_usize.pow(4)).map(|i| [i, i / 7, i / 49, i / 343].map(|i| values[i % 7])).collect();
    let matrix = box_iou(&boxes, &[sound, [0.0, 0.0, 1.0, 1.0]], None).unwrap();
    for (one, shares) in boxes.iter().zip(matrix.chunks(2)) {
        assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)), "{one:?}: {shares:?}");
    }
}

#[test]
fn scores_that_are_no_numbers_are_refused() {
    let masks = [rle(&[4, 12], 4, 4), rle(&[12, 4], 4, 4)];
    assert_eq!(nms(&masks, &[0.5, f32::NAN], 0.5), Err(RleError::Score { index: 1 }));
    assert_eq!(nms(&masks, &[f32::NEG_INFINITY, f32::INFINITY], 0.5), Ok(vec![1, 0]));
    assert_eq!(nms(&masks, &[-0.0, 0.0], 0.0), Ok(vec![0]));
}

// Bitmaps

#[test]
fn every_value_but_0_is_mask() {
    // pycocotools starts a new run at every change of value: [1, 0, 1, 0].
    assert_eq!(Rle::from_column_major(&[1, 2, 1, 0], 4, 1).unwrap().runs(), [0, 3, 1]);
    assert_eq!(Rle::from_row_major(&[1, 2, 1, 0], 1, 4).unwrap().runs(), [0, 3, 1]);
    assert_eq!(encode(&[1, 2, 1, 0, 255, 128], 2, 3, 1).unwrap().iter().map(Rle::area).collect::<Vec<_>>(), [3, 2]);
    for value in 1..=255 {
        assert_eq!(Rle::from_column_major(&[value; 100], 10, 10).unwrap().runs(), [0, 100]);
        assert_eq!(Rle::from_row_major(&[value; 100], 10, 10).unwrap().runs(), [0, 100]);
    }
}

#[test]
fn rows_and_columns_are_told_apart() {
    // pycocotools supports column-major bitmaps only.
    let bitmap = [1, 1, 1, 0, 0, 0];
    assert_eq!(Rle::from_row_major(&bitmap, 2, 3).unwrap().runs(), [0, 1, 1, 1, 1, 1, 1]);
    assert_eq!(Rle::from_column_major(&bitmap, 2, 3).unwrap().runs(), [0, 3, 3]);
}

// Memory

/// Runs all of the above again with a limit of 1 GiB of memory: allocating by an unchecked size would abort the
/// process.
#[cfg(target_os = "linux")]
#[test]
fn all_of_this_needs_little_memory() {
    const INSIDE: &str = "MASKSTREAM_TEST_LITTLE_MEMORY";
    if std::env::var_os(INSIDE).is_some() {
        return;
    }
    let limited = "ulimit -v 1048576 && exec \"$0\" mask::hostile:: --test-threads=1";
    let program = std::env::current_exe().unwrap();
    let output = Command::new("sh").args(["-c", limited]).arg(program).env(INSIDE, "1").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}:\n{text}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("test result: ok") && !text.contains("running 0 tests"), "{text}");
}

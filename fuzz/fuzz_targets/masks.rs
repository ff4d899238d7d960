//! Several masks of one size, of any runs, many of them empty: whatever is made of them is what the same change makes
//! of their pixels one by one, and is canonical.
#![no_main]
#![allow(dead_code)]

#[path = "../../tests/it/mask/naive.rs"]
mod naive;

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use maskstream::mask::{Connectivity, Merge, Rle, Strides, decode, encode, iou, merge, nms};
use naive::Naive;

fuzz_target!(|input: &[u8]| {
    let mut input = Unstructured::new(input);
    let _ = compare(&mut input);
});

fn compare(input: &mut Unstructured) -> Result<()> {
    // Now and then wider than the 64 columns that are drawn at once.
    let (height, width) = match input.int_in_range(0..=9)? {
        0 => (input.int_in_range(1..=3)?, input.int_in_range(1..=200)?),
        1 => (input.int_in_range(1..=200)?, input.int_in_range(1..=3)?),
        _ => (input.int_in_range(1..=40)?, input.int_in_range(1..=40)?),
    };
    let count = input.int_in_range(1..=5)?;
    let mut numbers = Vec::new();
    for _ in 0..4 {
        numbers.push(input.arbitrary::<u32>()?);
    }
    let crowd: Vec<bool> = (0..count).map(|_| input.arbitrary().unwrap_or(false)).collect();
    let scores: Vec<f32> = (0..count).map(|_| f32::from(input.arbitrary::<u8>().unwrap_or(0) / 64)).collect();
    let threshold = f64::from(input.arbitrary::<u8>()?) / 255.0;
    let masks: Vec<Rle> = (0..count).map(|_| runs(input, height, width)).collect();
    let naive: Vec<Naive> = masks.iter().map(Naive::of).collect();
    for (mask, naive) in masks.iter().zip(&naive) {
        bitmaps(mask, naive);
        transforms(mask, naive, &numbers);
        regions(mask, naive, &numbers);
    }
    stacks(&masks, &naive);
    merges(&masks, &naive);
    overlaps(&masks, &naive, &crowd);
    suppression(&masks, &scores, threshold);
    Ok(())
}

/// A byte or two a run until the image is full.
fn runs(input: &mut Unstructured, height: u32, width: u32) -> Rle {
    let mut left = height * width;
    let mut runs = Vec::new();
    while left > 0 {
        let run = match input.arbitrary::<u8>().unwrap_or(255) {
            byte @ 0..=199 => u32::from(byte) / 4,
            byte @ 200..=229 => u32::from(byte - 200) * height,
            _ => u32::from(input.arbitrary::<u16>().unwrap_or(u16::MAX)),
        };
        // Nothing but empty runs is no mask.
        let run = if input.is_empty() { left } else { run.min(left) };
        runs.push(run);
        left -= run;
    }
    let more = input.int_in_range(0..=3).unwrap_or(0);
    runs.extend(vec![0; more]);
    Rle::from_runs(runs, height, width).unwrap()
}

fn bitmaps(mask: &Rle, naive: &Naive) {
    let case = format!("{mask:?}");
    let (height, width) = (mask.height(), mask.width());
    assert_eq!((mask.area(), mask.bbox()), (naive.area(), naive.bbox()), "{case}");
    assert_eq!(mask.is_canonical(), mask.runs() == naive.runs(), "{case}");
    naive.assert_is(&mask.canonical(), &case);
    assert_eq!(Rle::from_counts(mask.to_counts().as_bytes(), height, width).as_ref(), Ok(mask));

    let mut out = vec![7; (height * width) as usize];
    mask.write_column_major(&mut out).unwrap();
    assert_eq!(out, naive.column_major(), "{case}");
    assert_eq!(mask.to_column_major().as_ref(), Ok(&out));
    naive.assert_is(&Rle::from_column_major(&out, height, width).unwrap(), &case);
    out.fill(7);
    mask.write_row_major(&mut out).unwrap();
    assert_eq!(out, naive.row_major(), "{case}");
    assert_eq!(mask.to_row_major().as_ref(), Ok(&out));
    naive.assert_is(&Rle::from_row_major(&out, height, width).unwrap(), &case);
    let mut bits = vec![7; naive.packed().len()];
    mask.write_packed(&mut bits).unwrap();
    assert_eq!(bits, naive.packed(), "{case}");

    // A view into the middle of a larger image, by rows and turned.
    let (h, w) = (height as usize, width as usize);
    for strides in
        [Strides { row: w + 3, column: 1 }, Strides { row: 1, column: h + 2 }, Strides { row: 2, column: 2 * h }]
    {
        let mut out = vec![7; (h - 1) * strides.row + (w - 1) * strides.column + 1];
        let mut expected = out.clone();
        for (x, y) in (0..w).flat_map(|x| (0..h).map(move |y| (x, y))) {
            expected[x * strides.column + y * strides.row] = u8::from(naive.at(x as i64, y as i64));
        }
        mask.write_strided(&mut out, strides).unwrap();
        assert_eq!(out, expected, "{strides:?}: {case}");
    }
}

fn transforms(mask: &Rle, naive: &Naive, numbers: &[u32]) {
    let (height, width) = (mask.height(), mask.width());
    let at = |x: u32, y: u32| naive.at(x.into(), y.into());
    let case = format!("{numbers:?}: {mask:?}");
    Naive::made(height, width, |x, y| !at(x, y)).assert_is(&mask.complement(), &case);
    Naive::made(height, width, |x, y| at(width - 1 - x, y)).assert_is(&mask.flip_horizontal(), &case);
    Naive::made(height, width, |x, y| at(x, height - 1 - y)).assert_is(&mask.flip_vertical(), &case);
    Naive::made(width, height, |x, y| at(y, x)).assert_is(&mask.transpose().unwrap(), &case);

    let &[a, b, c, d] = numbers else { return };
    let (left, top) = (a % (width + 1), b % (height + 1));
    let (w, h) = (c % (width - left + 1), d % (height - top + 1));
    let part = mask.crop(left, top, w, h).unwrap();
    Naive::made(h, w, |x, y| at(x + left, y + top)).assert_is(&part, &case);
    assert!(mask.crop(left, top, width - left + 1, h).is_err() && mask.crop(left, top, w, u32::MAX).is_err());

    let [left, top, right, bottom] = [a, b, c, d].map(|number| number % 20);
    let padded = mask.pad(left, top, right, bottom).unwrap();
    let moved = |x: u32, y: u32| naive.at(i64::from(x) - i64::from(left), i64::from(y) - i64::from(top));
    Naive::made(height + top + bottom, width + left + right, moved).assert_is(&padded, &case);
    assert_eq!(padded.crop(left, top, width, height), Ok(mask.canonical()));
    // Any numbers at all: a mask or an error, and the mask adds up.
    if let Ok(mask) = mask.pad(a, b, c, d) {
        assert_eq!(mask.area(), naive.area());
        assert_eq!(u64::from(mask.width()), u64::from(width) + u64::from(a) + u64::from(c));
    }

    let (h, w) = (1 + c % 50, 1 + d % 50);
    let centre = |place: u32, new: u32, old: u32| (2 * place + 1) * old / (2 * new);
    let resized = Naive::made(h, w, |x, y| at(centre(x, w, width), centre(y, h, height)));
    resized.assert_is(&mask.resize(h, w).unwrap(), &case);
}

fn regions(mask: &Rle, naive: &Naive, numbers: &[u32]) {
    let (height, width) = (mask.height(), mask.width());
    let &[a, b, ..] = numbers else { return };
    let (canonical, empty) = (mask.canonical(), Rle::empty(height, width).unwrap());
    let radius = i64::from(a % 5);
    let around = |x: u32, y: u32, wanted: bool| {
        let mut square = (-radius..=radius).flat_map(|dx| (-radius..=radius).map(move |dy| (dx, dy)));
        square.any(|(dx, dy)| naive.at(i64::from(x) + dx, i64::from(y) + dy) == wanted)
    };
    let eroded = mask.erode(a % 5).unwrap();
    Naive::made(height, width, |x, y| !around(x, y, false)).assert_is(&eroded, &format!("{radius}: {mask:?}"));
    Naive::made(height, width, |x, y| around(x, y, true))
        .assert_is(&mask.dilate(a % 5), &format!("{radius}: {mask:?}"));
    assert_eq!(mask.boundary(a % 5).unwrap(), mask.difference(&eroded).unwrap());
    assert_eq!(mask.erode(a.max(200)).unwrap(), empty);

    for connectivity in [Connectivity::Four, Connectivity::Eight] {
        let parts = mask.components(connectivity).unwrap();
        assert_eq!(parts.iter().map(Rle::area).sum::<u64>(), mask.area());
        let all = parts.iter().fold(empty.clone(), |all, part| all.union(part).unwrap());
        assert_eq!(all, canonical);
        for part in &parts {
            assert_eq!(part.components(connectivity).unwrap().as_slice(), [part.clone()]);
        }
        let background = mask.complement();
        for hole in mask.holes(connectivity).unwrap() {
            let [x, y, w, h] = hole.bbox();
            assert!(x > 0 && y > 0 && x + w < width && y + h < height, "{hole:?} of {mask:?}");
            assert_eq!(hole.difference(&background), Ok(empty.clone()));
        }
    }
    assert!(mask.fill_holes().holes(Connectivity::Four).unwrap().is_empty());
    assert_eq!(mask.difference(&mask.fill_holes()), Ok(empty));
    assert_eq!(mask.to_polygons(0.0).unwrap().to_rle(), Ok(canonical));
    assert!(mask.to_polygons(f64::from(b % 64) / 8.0).unwrap().to_rle().is_ok());
}

fn stacks(masks: &[Rle], naive: &[Naive]) {
    let expected: Vec<u8> = naive.iter().flat_map(Naive::column_major).collect();
    let mut out = vec![7; expected.len()];
    decode(masks, &mut out).unwrap();
    assert_eq!(out, expected);
    let encoded = encode(&out, masks.len(), masks[0].height(), masks[0].width()).unwrap();
    assert_eq!(encoded, masks.iter().map(Rle::canonical).collect::<Vec<_>>());
}

fn merges(masks: &[Rle], naive: &[Naive]) {
    let first = &masks[0];
    let check = |how: Merge, keep: &dyn Fn(usize, bool) -> bool| {
        let merged = merge(masks, how).unwrap();
        if masks.len() == 1 {
            assert_eq!(merged, *first);
            return;
        }
        let expected = Naive::made(first.height(), first.width(), |x, y| {
            let at = |mask: &Naive| mask.at(x.into(), y.into());
            keep(naive.iter().filter(|mask| at(mask)).count(), at(&naive[0]))
        });
        expected.assert_is(&merged, &format!("{how:?} of {masks:?}"));
    };
    check(Merge::Union, &|held, _| held > 0);
    check(Merge::Intersection, &|held, _| held == naive.len());
    check(Merge::Difference, &|held, first| first && held == 1);
    check(Merge::Xor, &|held, _| held % 2 == 1);
    for pair in masks.windows(2) {
        let [a, b] = pair else { return };
        assert_eq!(a.union(b), merge(pair, Merge::Union));
        assert_eq!(a.intersection(b), merge(pair, Merge::Intersection));
        assert_eq!(a.difference(b), merge(pair, Merge::Difference));
        assert_eq!(a.xor(b), merge(pair, Merge::Xor));
    }
}

fn overlaps(masks: &[Rle], naive: &[Naive], crowd: &[bool]) {
    let matrix = iou(masks, masks, Some(crowd)).unwrap();
    let mut matrix = matrix.iter();
    for (a, p) in masks.iter().zip(naive) {
        for ((b, q), &crowd) in masks.iter().zip(naive).zip(crowd) {
            let common = p.points().iter().filter(|&&(x, y)| q.at(x.into(), y.into())).count() as u64;
            assert_eq!(a.intersection_area(b), Ok(common), "{a:?} and {b:?}");
            let whole = if crowd { p.area() } else { p.area() + q.area() - common };
            let expected = if common == 0 { 0.0 } else { common as f64 / whole as f64 };
            assert_eq!(matrix.next(), Some(&expected), "{a:?} and {b:?}");
        }
    }
    assert_eq!(matrix.next(), None);
}

fn suppression(masks: &[Rle], scores: &[f32], threshold: f64) {
    let mut order: Vec<usize> = (0..masks.len()).collect();
    order.sort_by(|&a, &b| scores[b].partial_cmp(&scores[a]).unwrap());
    let mut kept: Vec<usize> = Vec::new();
    for index in order {
        let overlap = |other: usize| iou(&masks[other..=other], &masks[index..=index], None).unwrap()[0];
        if kept.iter().all(|&other| overlap(other) <= threshold) {
            kept.push(index);
        }
    }
    assert_eq!(nms(masks, scores, threshold).unwrap(), kept);
}

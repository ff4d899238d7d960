//! Bitmap layouts, set operations, overlaps and transforms: each operation against its definition, pixel by pixel.
//! Inputs often contain empty runs; results must be canonical.

use maskstream::mask::{
    Axis, Grid, GridScratch, Merge, Rle, RleError, Strides, box_iou, decode, encode, iou, merge, nms,
};
use proptest::prelude::*;

use super::naive::{Naive, random_mask};
use crate::fixture::Dice;

fn mask_of(dice: &mut Dice, height: u32, width: u32) -> Rle {
    random_mask(|end| dice.below(end), height, width)
}

fn masks(dice: &mut Dice, count: usize, height: u32, width: u32) -> Vec<Rle> {
    (0..count).map(|_| mask_of(dice, height, width)).collect()
}

fn case(masks: &[&Rle]) -> String {
    format!("{} x {}: {:?}", masks[0].height(), masks[0].width(), masks.iter().map(|m| m.runs()).collect::<Vec<_>>())
}

fn check_overlaps(dice: &mut Dice, dt: usize, gt: usize, height: u32, width: u32) {
    let (dt, gt) = (masks(dice, dt, height, width), masks(dice, gt, height, width));
    let crowd: Vec<bool> = gt.iter().map(|_| dice.below(2) == 1).collect();
    for crowd in [None, Some(&crowd[..])] {
        let mut expected = Vec::new();
        for d in dt.iter().map(Naive::of) {
            for (index, g) in gt.iter().map(Naive::of).enumerate() {
                let common = d.points().iter().filter(|&&(x, y)| g.at(x.into(), y.into())).count() as u64;
                let is_crowd = crowd.is_some_and(|crowd| crowd[index]);
                let whole = if is_crowd { d.area() } else { d.area() + g.area() - common };
                expected.push(if common == 0 { 0.0 } else { common as f64 / whole as f64 });
            }
        }
        assert_eq!(iou(&dt, &gt, crowd).unwrap(), expected, "{dt:?} and {gt:?}");
    }
}

/// The pixels `crop` of one axis, mapped to the cells `place` of another, possibly mirrored.
#[derive(Clone, Debug)]
struct Window {
    pixels: u32,
    crop: std::ops::Range<u32>,
    cells: u32,
    place: std::ops::Range<u32>,
    flip: bool,
}

impl Window {
    fn random(dice: &mut Dice) -> Self {
        let mut part = |most: u64| {
            let whole = 1 + dice.below(most) as u32;
            let start = dice.below(whole.into()) as u32;
            (whole, start..start + 1 + dice.below((whole - start).into()) as u32)
        };
        let ((pixels, crop), (cells, place)) = (part(24), part(30));
        Self { pixels, crop, cells, place, flip: dice.below(2) == 1 }
    }

    fn axis(&self) -> Result<Axis, RleError> {
        Axis::window(self.pixels, self.crop.clone(), self.cells, self.place.clone(), self.flip)
    }

    /// For each pixel, the length of its overlap with the cell. A cell is `crop.len()` long.
    fn shares(&self, cell: u32) -> Vec<u64> {
        let (from, to) = (u64::from(self.place.start), u64::from(self.place.end));
        let (pixels, cells) = (self.crop.len() as u64, to - from);
        let cell = u64::from(cell);
        if !(from..to).contains(&cell) {
            return vec![0; self.pixels as usize];
        }
        let cell = cell - from;
        let share = |pixel: u32| {
            if !self.crop.contains(&pixel) {
                return 0;
            }
            let place = u64::from(if self.flip { self.crop.end - 1 - pixel } else { pixel - self.crop.start });
            let (low, high) = (place * cells, (place + 1) * cells);
            high.min((cell + 1) * pixels).saturating_sub(low.max(cell * pixels))
        };
        (0..self.pixels).map(share).collect()
    }

    /// The pixel that contains the centre of the cell.
    fn centre(&self, cell: u32) -> Option<u32> {
        let place = self.place.contains(&cell).then(|| cell - self.place.start)?;
        let pixel = (2 * place + 1) * self.crop.len() as u32 / (2 * self.place.len() as u32);
        Some(if self.flip {
            // If the centre lies between two pixels, the later one on the grid counts.
            self.crop.end - 1 - pixel
        } else {
            self.crop.start + pixel
        })
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn bitmaps_of_every_form_hold_the_same_pixels(seed: u64, height in 1_u32..40, width in 1_u32..40) {
        let mask = mask_of(&mut Dice(seed), height, width);
        let naive = Naive::of(&mask);
        let case = case(&[&mask]);
        let pixels = (height * width) as usize;
        let mut out = vec![7; pixels];
        mask.write_column_major(&mut out).unwrap();
        prop_assert_eq!(&out, &naive.column_major(), "{}", &case);
        naive.assert_is(&Rle::from_column_major(&out, height, width).unwrap(), &case);
        out.fill(7);
        mask.write_row_major(&mut out).unwrap();
        prop_assert_eq!(&out, &naive.row_major(), "{}", &case);
        naive.assert_is(&Rle::from_row_major(&out, height, width).unwrap(), &case);
        let mut bits = vec![7; naive.packed().len()];
        mask.write_packed(&mut bits).unwrap();
        prop_assert_eq!(&bits, &naive.packed(), "{}", &case);
    }

    #[test]
    fn every_byte_but_zero_is_mask(bytes in prop::collection::vec(any::<u8>(), 1..200), height in 1_u32..20) {
        let width = bytes.len() as u32 / height;
        let bytes = &bytes[..(height * width) as usize];
        let columns = Naive::made(height, width, |x, y| bytes[(x * height + y) as usize] != 0);
        columns.assert_is(&Rle::from_column_major(bytes, height, width).unwrap(), "column-major");
        let rows = Naive::made(height, width, |x, y| bytes[(y * width + x) as usize] != 0);
        rows.assert_is(&Rle::from_row_major(bytes, height, width).unwrap(), "row-major");
    }

    #[test]
    fn strides_place_every_pixel_and_touch_nothing_else(
        seed: u64, height in 1_u32..20, width in 1_u32..20, by_rows: bool, step in 1_usize..4, gap in 0_usize..4,
    ) {
        let mask = mask_of(&mut Dice(seed), height, width);
        let naive = Naive::of(&mask);
        let (h, w) = (height as usize, width as usize);
        let strides = if by_rows {
            Strides { row: w * step + gap, column: step }
        } else {
            Strides { row: step, column: h * step + gap }
        };
        let place = |x: usize, y: usize| y * strides.row + x * strides.column;
        let mut out = vec![7; place(w - 1, h - 1) + 1];
        let mut expected = out.clone();
        for y in 0..h {
            for x in 0..w {
                expected[place(x, y)] = u8::from(naive.at(x as i64, y as i64));
            }
        }
        mask.write_strided(&mut out, strides).unwrap();
        prop_assert_eq!(out, expected, "{:?} {}", strides, case(&[&mask]));
    }

    #[test]
    fn stacks_are_bitmaps_one_after_the_other(seed: u64, count in 0_usize..6, height in 1_u32..16, width in 1_u32..16) {
        let masks = masks(&mut Dice(seed), count, height, width);
        let expected: Vec<u8> = masks.iter().flat_map(|mask| Naive::of(mask).column_major()).collect();
        let mut stack = vec![7; expected.len()];
        decode(&masks, &mut stack).unwrap();
        prop_assert_eq!(&stack, &expected);
        let encoded = encode(&stack, count, height, width).unwrap();
        prop_assert_eq!(encoded.len(), count);
        for (mask, encoded) in masks.iter().zip(&encoded) {
            Naive::of(mask).assert_is(encoded, "one of a stack");
        }
    }

    #[test]
    fn canonical_form_keeps_the_pixels(seed: u64, height in 1_u32..20, width in 1_u32..20) {
        let mask = mask_of(&mut Dice(seed), height, width);
        let naive = Naive::of(&mask);
        naive.assert_is(&mask.canonical(), &case(&[&mask]));
        prop_assert_eq!(mask.is_canonical(), mask.runs() == naive.runs());
        prop_assert_eq!(mask.area(), naive.area());
        prop_assert_eq!(mask.bbox(), naive.bbox());
    }

    #[test]
    fn two_masks_merge_pixel_by_pixel(seed: u64, height in 1_u32..24, width in 1_u32..24) {
        let mut dice = Dice(seed);
        let (a, b) = (mask_of(&mut dice, height, width), mask_of(&mut dice, height, width));
        let (p, q) = (Naive::of(&a), Naive::of(&b));
        let both = |keep: fn(bool, bool) -> bool| {
            Naive::made(height, width, |x, y| keep(p.at(x.into(), y.into()), q.at(x.into(), y.into())))
        };
        let case = case(&[&a, &b]);
        both(|p, q| p | q).assert_is(&a.union(&b).unwrap(), &case);
        both(|p, q| p & q).assert_is(&a.intersection(&b).unwrap(), &case);
        both(|p, q| p & !q).assert_is(&a.difference(&b).unwrap(), &case);
        both(|p, q| p ^ q).assert_is(&a.xor(&b).unwrap(), &case);
        both(|p, _| !p).assert_is(&a.complement(), &case);
        prop_assert_eq!(a.intersection_area(&b), Ok(both(|p, q| p & q).area()));
    }

    #[test]
    fn many_masks_merge_pixel_by_pixel(seed: u64, count in 2_usize..12, height in 1_u32..16, width in 1_u32..16) {
        let masks = masks(&mut Dice(seed), count, height, width);
        let naive: Vec<Naive> = masks.iter().map(Naive::of).collect();
        let all = |keep: fn(usize, bool, usize) -> bool| {
            Naive::made(height, width, |x, y| {
                let held = naive.iter().filter(|mask| mask.at(x.into(), y.into())).count();
                keep(held, naive[0].at(x.into(), y.into()), naive.len())
            })
        };
        let case = case(&masks.iter().collect::<Vec<_>>());
        all(|held, _, _| held > 0).assert_is(&merge(&masks, Merge::Union).unwrap(), &case);
        all(|held, _, count| held == count).assert_is(&merge(&masks, Merge::Intersection).unwrap(), &case);
        all(|held, first, _| first && held == 1).assert_is(&merge(&masks, Merge::Difference).unwrap(), &case);
        all(|held, _, _| held % 2 == 1).assert_is(&merge(&masks, Merge::Xor).unwrap(), &case);
    }

    #[test]
    fn overlaps_are_shares_of_pixels(
        seed: u64, dt in 0_usize..5, gt in 0_usize..5, height in 1_u32..16, width in 1_u32..16,
    ) {
        let mut dice = Dice(seed);
        check_overlaps(&mut dice, dt, gt, height, width);
    }

    #[test]
    fn overlaps_of_many_segments_a_column_are_shares_of_pixels(seed: u64, height in 60_u32..300, width in 1_u32..20) {
        check_overlaps(&mut Dice(seed), 2, 2, height, width);
    }

    #[test]
    fn overlaps_of_boxes_are_shares_of_area(
        boxes in prop::collection::vec((-9_i32..9, -9_i32..9, 0_i32..9, 0_i32..9), 0..12),
        split in 0_usize..12, flags: u16,
    ) {
        // Multiples of 1/4: every product is exact, so the order of operations does not matter.
        let boxes: Vec<[f64; 4]> = boxes.iter().map(|&(x, y, w, h)| [x, y, w, h].map(|v| f64::from(v) / 4.0)).collect();
        let (dt, gt) = boxes.split_at(split.min(boxes.len()));
        let crowd: Vec<bool> = (0..gt.len()).map(|bit| flags >> bit & 1 == 1).collect();
        for crowd in [None, Some(&crowd[..])] {
            let mut expected = Vec::new();
            for d in dt {
                for (index, g) in gt.iter().enumerate() {
                    let side = |i: usize| ((d[i] + d[i + 2]).min(g[i] + g[i + 2]) - d[i].max(g[i])).max(0.0);
                    let (common, d_area, g_area) = (side(0) * side(1), d[2] * d[3], g[2] * g[3]);
                    let whole = if crowd.is_some_and(|crowd| crowd[index]) { d_area } else { d_area + g_area - common };
                    expected.push(if common == 0.0 { 0.0 } else { common / whole });
                }
            }
            prop_assert_eq!(box_iou(dt, gt, crowd).unwrap(), expected);
        }
    }

    #[test]
    fn suppression_keeps_the_best_of_those_that_overlap(
        seed: u64, count in 0_usize..9, height in 1_u32..9, width in 1_u32..9, threshold in 0.0_f64..1.0,
    ) {
        let mut dice = Dice(seed);
        let masks = masks(&mut dice, count, height, width);
        // Few distinct scores, so that there are ties, which the earlier mask wins.
        let scores: Vec<f32> = masks.iter().map(|_| dice.below(4) as f32 / 4.0).collect();
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by(|&a, &b| scores[b].partial_cmp(&scores[a]).unwrap());
        let mut kept: Vec<usize> = Vec::new();
        for index in order {
            let iou = |&other: &usize| iou(&masks[other..=other], &masks[index..=index], None).unwrap()[0];
            if !kept.iter().any(|other| iou(other) > threshold) {
                kept.push(index);
            }
        }
        prop_assert_eq!(nms(&masks, &scores, threshold).unwrap(), kept);
    }

    #[test]
    fn transforms_move_every_pixel(seed: u64, height in 1_u32..24, width in 1_u32..24) {
        let mut dice = Dice(seed);
        let mask = mask_of(&mut dice, height, width);
        let naive = Naive::of(&mask);
        let at = |x: u32, y: u32| naive.at(x.into(), y.into());
        let case = case(&[&mask]);
        Naive::made(height, width, |x, y| at(width - 1 - x, y)).assert_is(&mask.flip_horizontal(), &case);
        Naive::made(height, width, |x, y| at(x, height - 1 - y)).assert_is(&mask.flip_vertical(), &case);
        Naive::made(width, height, |x, y| at(y, x)).assert_is(&mask.transpose().unwrap(), &case);

        let (left, top) = (dice.below(u64::from(width) + 1) as u32, dice.below(u64::from(height) + 1) as u32);
        let (w, h) = (dice.below(u64::from(width - left) + 1) as u32, dice.below(u64::from(height - top) + 1) as u32);
        let part = mask.crop(left, top, w, h).unwrap();
        Naive::made(h, w, |x, y| at(x + left, y + top)).assert_is(&part, &format!("{left} {top} {w} {h} of {case}"));

        let [left, top, right, bottom] = [0; 4].map(|_| dice.below(8) as u32);
        let moved = |x: u32, y: u32| naive.at(i64::from(x) - i64::from(left), i64::from(y) - i64::from(top));
        let padded = mask.pad(left, top, right, bottom).unwrap();
        Naive::made(height + top + bottom, width + left + right, moved)
            .assert_is(&padded, &format!("{left} {top} {right} {bottom} around {case}"));

        let (h, w) = (1 + dice.below(40) as u32, 1 + dice.below(40) as u32);
        let centre = |place: u32, new: u32, old: u32| (2 * place + 1) * old / (2 * new);
        Naive::made(h, w, |x, y| at(centre(x, w, width), centre(y, h, height)))
            .assert_is(&mask.resize(h, w).unwrap(), &format!("to {h} x {w}: {case}"));
    }

    #[test]
    fn windows_crop_mirror_and_place_in_one(seed: u64) {
        let mut dice = Dice(seed);
        let (x, y) = (Window::random(&mut dice), Window::random(&mut dice));
        let mask = mask_of(&mut dice, y.pixels, x.pixels);
        let naive = Naive::of(&mask);
        let case = format!("{x:?} {y:?} {}", case(&[&mask]));
        let grid = Grid::new(x.axis().unwrap(), y.axis().unwrap());

        let expected = Naive::made(y.cells, x.cells, |column, row| {
            x.centre(column).zip(y.centre(row)).is_some_and(|(x, y)| naive.at(x.into(), y.into()))
        });
        expected.assert_is(&grid.resample(&mask).unwrap(), &case);
        let cells = (x.cells * y.cells) as usize;
        let mut nearest = vec![7; cells];
        let mut scratch = GridScratch::default();
        grid.nearest(&mask, &mut scratch, &mut nearest).unwrap();
        prop_assert_eq!(&nearest, &expected.row_major(), "{}", &case);

        let (mut share, mut area) = (vec![7.0; cells], vec![7; cells]);
        grid.coverage(&mask, &mut scratch, &mut share).unwrap();
        grid.area(&mask, &mut scratch, &mut area).unwrap();
        let full = x.crop.len() as u64 * y.crop.len() as u64;
        for row in 0..y.cells {
            let down = y.shares(row);
            for column in 0..x.cells {
                let across = x.shares(column);
                let sum: u64 =
                    naive.points().iter().map(|&(x, y)| across[x as usize] * down[y as usize]).sum();
                let cell = (row * x.cells + column) as usize;
                let expected = sum as f64 / full as f64;
                prop_assert!((f64::from(share[cell]) - expected).abs() < 1e-6, "cell {row}, {column}: {case}");
                let difference = (f64::from(area[cell]) - 255.0 * expected).abs();
                prop_assert!(difference <= 0.5 + 1e-9, "cell {row}, {column}: {case}");
            }
        }
    }

    #[test]
    fn centroids_are_means(seed: u64, height in 1_u32..24, width in 1_u32..24) {
        let mask = mask_of(&mut Dice(seed), height, width);
        let points = Naive::of(&mask).points();
        let mean = |sum: u32| f64::from(sum) / points.len() as f64;
        let expected = [points.iter().map(|point| point.0).sum(), points.iter().map(|point| point.1).sum()].map(mean);
        prop_assert_eq!(mask.centroid(), (!points.is_empty()).then_some(expected), "{}", case(&[&mask]));
        let stats = mask.stats();
        prop_assert_eq!((stats.runs, stats.counts_bytes), (mask.runs().len(), mask.to_counts().len()));
        prop_assert_eq!((stats.runs_bytes, stats.bitmap_bytes), (4 * mask.runs().len(), u64::from(height * width)));
    }
}

#[test]
fn windows_that_are_empty_or_leave_their_axis_are_refused() {
    #[allow(clippy::reversed_empty_ranges)]
    for (crop, place) in
        [(0..0, 0..3), (0..4, 2..2), (3..2, 0..3), (0..5, 0..3), (0..4, 0..4), (4..5, 0..1), (0..1, 3..4)]
    {
        assert!(
            matches!(Axis::window(4, crop.clone(), 3, place.clone(), false), Err(RleError::Axis)),
            "{crop:?} {place:?}"
        );
    }
    assert!(matches!(Axis::window(u32::MAX, 0..4, 3, 0..3, false), Err(RleError::Axis)));
    assert!(Axis::window(4, 0..4, 3, 0..3, true).is_ok());
}

#[test]
fn overlaps_of_very_wide_and_very_tall_masks_are_shares_of_pixels() {
    // Wider than the number of runs, and too high for 16 bits.
    for (height, width) in [(1, 70_000), (2, 50_000), (70_000, 1), (40_000, 2), (32_767, 3), (32_768, 3)] {
        let mut dice = Dice(7);
        let mut few = || {
            let mut ends: Vec<u32> = (0..6).map(|_| dice.below(u64::from(height * width)) as u32).collect();
            ends.extend([0, height * width]);
            ends.sort_unstable();
            rle(ends.windows(2).map(|pair| pair[1] - pair[0]).collect(), height, width)
        };
        let masks = [few(), few(), few(), rle(vec![0, 1, height * width - 2, 1], height, width)];
        let naive: Vec<Vec<u8>> = masks.iter().map(|mask| Naive::of(mask).column_major()).collect();
        let matrix = iou(&masks, &masks, None).unwrap();
        for (i, a) in naive.iter().enumerate() {
            for (j, b) in naive.iter().enumerate() {
                let count = |keep: fn(u8, u8) -> u8| a.iter().zip(b).filter(|&(&a, &b)| keep(a, b) == 1).count() as f64;
                assert_eq!(
                    matrix[i * 4 + j],
                    count(|a, b| a & b) / count(|a, b| a | b),
                    "{height} x {width}: {i}, {j}"
                );
            }
        }
    }
}

fn rle(runs: Vec<u32>, height: u32, width: u32) -> Rle {
    Rle::from_runs(runs, height, width).unwrap()
}

//! Prompts: clicks lie where they should, all places with the same probability, and boxes move by no more than asked.

use std::collections::BTreeMap;

use maskstream::mask::Rle;
use maskstream::{Augment, Batch, BoxFormat, CoordFrame, Crop, Loader, LoaderBuilder, NegativeClicks, Prompts};

use crate::fixture::{Dice, Made, annotation, document, jpeg, rectangle, set_of, shard};

const SIDE: u32 = 64;
const WIDTH: u32 = 32;
const HEIGHT: u32 = 24;

/// One image with these masks; its canvas has two pixels for each of its own.
fn sample(masks: &[Rle]) -> Vec<Made> {
    let annotations: Vec<_> = (1..).zip(masks).map(|(id, mask)| annotation(id, mask, 0.9, 0.9)).collect();
    let json = document(1, WIDTH, HEIGHT, &annotations);
    vec![Made { id: 1, width: WIDTH, height: HEIGHT, image: jpeg(WIDTH, HEIGHT, 1), json }]
}

fn options(masks: usize) -> LoaderBuilder {
    let options = Loader::builder().batch_size(1).image_size(SIDE).mask_size(None).top_k(masks).num_workers(1);
    options.coord_frame(CoordFrame::CanvasPixels).box_format(BoxFormat::Xyxy)
}

fn batch(options: LoaderBuilder, samples: &[Made], epoch: u64) -> Batch {
    options.build(set_of(vec![shard(samples)])).unwrap().epoch(epoch).unwrap().next().unwrap().unwrap()
}

/// Each click of the `k`-th mask as an original pixel, with its label.
fn clicks(batch: &Batch, k: usize) -> Vec<([u32; 2], i64)> {
    let labels = batch.prompt_labels().unwrap();
    let n = labels.len() / batch.valid().len();
    let [sx, _, ox, _, sy, oy] = std::array::from_fn(|i| batch.geometry()[i]);
    let points = &batch.prompt_points().unwrap()[2 * n * k..2 * n * (k + 1)];
    let pixel = |[u, v]: [f32; 2]| [((u - ox) / sx) as u32, ((v - oy) / sy) as u32];
    points.as_chunks::<2>().0.iter().copied().map(pixel).zip(labels[n * k..n * (k + 1)].iter().copied()).collect()
}

/// A mask of random spans, which is neither empty nor full.
fn ragged(seed: u64) -> (Vec<u8>, Rle) {
    let mut dice = Dice(seed);
    let mut value = 0;
    let bitmap: Vec<u8> = (0..WIDTH * HEIGHT)
        .map(|_| {
            value ^= u8::from(dice.below(5) == 0);
            value
        })
        .collect();
    let mask = Rle::from_column_major(&bitmap, HEIGHT, WIDTH).unwrap();
    (bitmap, mask)
}

fn is_in(bitmap: &[u8], [x, y]: [u32; 2]) -> bool {
    bitmap[(x * HEIGHT + y) as usize] == 1
}

/// The chi-square statistic of counts that should be equal, in standard deviations from its mean.
fn unevenness(counts: &[u64]) -> f64 {
    let mean = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
    let chi_square: f64 = counts.iter().map(|&count| (count as f64 - mean).powi(2) / mean).sum();
    let freedom = (counts.len() - 1) as f64;
    (chi_square - freedom) / (2.0 * freedom).sqrt()
}

#[test]
fn clicks_are_in_the_mask_or_beside_it_and_all_pixels_are_equally_probable() {
    let (bitmap, mask) = ragged(1);
    let samples = sample(&[mask]);
    let prompts = Prompts::none().positive(32).negative(32, NegativeClicks::Anywhere);
    let loader = options(1).prompts(prompts).build(set_of(vec![shard(&samples)])).unwrap();
    let (mut inside, mut beside) = (BTreeMap::new(), BTreeMap::new());
    for (pixel, &value) in (0..).zip(&bitmap) {
        if value == 1 { &mut inside } else { &mut beside }.insert([pixel / HEIGHT, pixel % HEIGHT], 0);
    }
    for epoch in 0..600 {
        let batch = loader.epoch(epoch).unwrap().next().unwrap().unwrap();
        for (number, (pixel, label)) in clicks(&batch, 0).into_iter().enumerate() {
            assert_eq!(label, i64::from(number < 32));
            let counts = if label == 1 { &mut inside } else { &mut beside };
            *counts.get_mut(&pixel).unwrap() += 1;
        }
    }
    // 19200 clicks each on some 380 pixels. Five standard deviations are a chance of one in a million.
    for counts in [inside, beside] {
        let counts: Vec<u64> = counts.into_values().collect();
        assert!(unevenness(&counts).abs() < 5.0, "{} over {} pixels", unevenness(&counts), counts.len());
    }
}

#[test]
fn negative_clicks_are_where_they_were_asked_for() {
    let masks = [[4, 3, 9, 8], [10, 6, 12, 10], [20, 2, 3, 20]].map(|mask| rectangle(WIDTH, HEIGHT, mask));
    let samples = sample(&masks);
    let bitmaps: Vec<Vec<u8>> = masks.iter().map(column_major).collect();
    for place in [NegativeClicks::InBox, NegativeClicks::InOtherMasks, NegativeClicks::Anywhere] {
        for epoch in 0..50 {
            let batch = batch(options(3).prompts(Prompts::none().negative(8, place)), &samples, epoch);
            for k in 0..3 {
                let id = batch.annotation_ids()[k] as usize - 1;
                for (pixel, label) in clicks(&batch, k) {
                    if place == NegativeClicks::InBox {
                        // A rectangle has no pixel in its box that is not in it.
                        assert_eq!(label, -1);
                        continue;
                    }
                    assert!(label == 0 && !is_in(&bitmaps[id], pixel), "{place:?}");
                    if place == NegativeClicks::InOtherMasks {
                        assert!((0..3).any(|other| other != id && is_in(&bitmaps[other], pixel)));
                    }
                }
            }
        }
    }
}

fn column_major(mask: &Rle) -> Vec<u8> {
    let mut bitmap = vec![0; (WIDTH * HEIGHT) as usize];
    mask.write_column_major(&mut bitmap).unwrap();
    bitmap
}

#[test]
fn negative_clicks_in_a_box_are_in_the_box() {
    let (bitmap, mask) = ragged(2);
    let samples = sample(&[mask.crop(5, 4, 20, 11).unwrap().pad(5, 4, 7, 9).unwrap()]);
    for epoch in 0..100 {
        let batch = batch(options(1).prompts(Prompts::none().negative(8, NegativeClicks::InBox)), &samples, epoch);
        for (pixel, label) in clicks(&batch, 0) {
            assert!(label == 0 && !is_in(&bitmap, pixel));
            assert!((5..25).contains(&pixel[0]) && (4..15).contains(&pixel[1]), "{pixel:?}");
        }
    }
}

#[test]
fn a_mask_without_others_and_an_image_that_it_fills_have_no_negative_clicks() {
    let samples = sample(&[rectangle(WIDTH, HEIGHT, [0, 0, WIDTH, HEIGHT])]);
    for place in [NegativeClicks::InBox, NegativeClicks::InOtherMasks, NegativeClicks::Anywhere] {
        let prompts = Prompts::none().positive(1).negative(2, place);
        let batch = batch(options(2).prompts(prompts), &samples, 0);
        assert_eq!(batch.prompt_labels().unwrap(), [1, -1, -1, 0, 0, 0]);
        assert_eq!(batch.prompt_points().unwrap()[2..], [0.0; 10], "{place:?}");
    }
}

#[test]
fn the_deepest_click_is_first_and_in_the_middle() {
    // A square of 9 pixels with a tail.
    let mut bitmap = column_major(&rectangle(WIDTH, HEIGHT, [3, 5, 9, 9]));
    (0..20).for_each(|x| bitmap[((12 + x % 20) * HEIGHT + 9) as usize] = 1);
    let samples = sample(&[Rle::from_column_major(&bitmap, HEIGHT, WIDTH).unwrap()]);
    let batch = batch(options(1).prompts(Prompts::none().deepest(true).positive(2)), &samples, 0);
    assert_eq!(clicks(&batch, 0)[0], ([7, 9], 1));
    assert_eq!(batch.prompt_labels().unwrap(), [1, 1, 1]);
}

#[test]
fn edges_of_boxes_move_by_a_share_of_the_side_up_to_a_number_of_pixels_and_stay_in_the_image() {
    let masks = [[4, 3, 11, 5], [0, 0, WIDTH, HEIGHT]].map(|mask| rectangle(WIDTH, HEIGHT, mask));
    let samples = sample(&masks);
    let plain = batch(options(2), &samples, 0).boxes().to_vec();
    let still = batch(options(2).prompts(Prompts::none()), &samples, 0);
    assert_eq!(still.prompt_boxes().unwrap(), plain);
    assert!(still.prompt_points().is_none() && still.prompt_labels().is_none());
    let mut spread = [(f32::MAX, f32::MIN); 4];
    for epoch in 0..400 {
        let batch = batch(options(2).prompts(Prompts::none().box_jitter(0.1, 1.5)), &samples, epoch);
        let boxes = batch.prompt_boxes().unwrap();
        for k in 0..2 {
            let (found, from) = (&boxes[4 * k..4 * k + 4], &plain[4 * k..4 * k + 4]);
            let sides = [from[2] - from[0], from[3] - from[1]];
            for i in 0..4 {
                let most = (0.1 * sides[i % 2]).min(1.5);
                let by = found[i] - from[i];
                assert!(by.abs() < most + 1e-4, "{by} of {most}");
                assert!((0.0..=[64.0, 48.0][i % 2]).contains(&found[i]));
                if batch.annotation_ids()[k] == 1 {
                    spread[i] = (spread[i].0.min(by / most), spread[i].1.max(by / most));
                }
            }
        }
    }
    assert!(spread.iter().all(|&(least, most)| least < -0.9 && most > 0.9), "{spread:?}");
}

#[test]
fn prompts_follow_crops_and_flips() {
    let (bitmap, mask) = ragged(3);
    let samples = sample(&[mask]);
    let crop = Crop::RandomResized { scale: [0.05, 0.6], ratio: [0.5, 2.0] };
    let augment = Augment::none().crop(crop).horizontal_flip(0.5).vertical_flip(0.5).tight_boxes(true);
    for epoch in 0..300 {
        let prompts = Prompts::none().deepest(true).positive(3).negative(3, NegativeClicks::InBox).box_jitter(0.2, 5.0);
        let batch = batch(options(1).augment(augment).prompts(prompts), &samples, epoch);
        let points = batch.prompt_points().unwrap();
        for (number, (pixel, label)) in clicks(&batch, 0).into_iter().enumerate() {
            if label == -1 {
                continue;
            }
            assert_eq!(is_in(&bitmap, pixel), number < 4);
            let [u, v] = [points[2 * number], points[2 * number + 1]];
            assert!((0.0..=64.0).contains(&u) && (0.0..=64.0).contains(&v), "{u} {v}");
        }
        assert!(batch.prompt_boxes().unwrap().iter().all(|edge| (0.0..=64.0).contains(edge)));
    }
}

#[test]
fn prompts_are_the_same_in_all_runs_of_an_epoch() {
    let samples = sample(&[ragged(4).1, ragged(5).1]);
    let prompts = Prompts::none().positive(3).negative(2, NegativeClicks::InOtherMasks).box_jitter(0.1, 20.0);
    let with = |prompts: Prompts, epoch: u64, workers: usize| {
        let batch = batch(options(2).num_workers(workers).prompts(prompts), &samples, epoch);
        (batch.prompt_points().unwrap().to_vec(), batch.prompt_boxes().unwrap().to_vec())
    };
    let expected = with(prompts, 1, 1);
    assert_eq!(with(prompts, 1, 3), expected);
    let (points, boxes) = with(prompts, 2, 1);
    assert!(points != expected.0 && boxes != expected.1);
    let (points, boxes) = with(prompts.seed(1), 1, 1);
    assert!(points != expected.0 && boxes != expected.1);
}

#[test]
fn settings_of_prompts_that_cannot_be_meant_are_named() {
    let samples = sample(&[ragged(6).1]);
    for (prompts, name) in [
        (Prompts::none().positive(65), "65 positive"),
        (Prompts::none().positive(60).negative(5, NegativeClicks::InBox), "60 positive and 5 negative"),
        (Prompts::none().box_jitter(1.5, 20.0), "share is 1.5"),
        (Prompts::none().box_jitter(f64::NAN, 20.0), "share is NaN"),
        (Prompts::none().box_jitter(0.1, -1.0), "pixels are -1.0"),
        (Prompts::none().box_jitter(0.1, 0.0), "moves nothing"),
    ] {
        let error = options(1).prompts(prompts).build(set_of(vec![shard(&samples)])).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
    let cached = options(1).prompts(Prompts::none().positive(1)).mask_cache_bytes(1 << 20);
    let error = cached.build(set_of(vec![shard(&samples)])).unwrap_err().to_string();
    assert!(error.contains("mask_cache_bytes has no effect with prompts"), "{error}");
}

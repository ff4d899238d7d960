//! Pixels of JPEGs: by definition, as libjpeg-turbo's, the same in every way of decoding, and resized.

use maskstream::ScaledDecode::{self, Auto, Full};
use maskstream::internals::{Canvas, Decoder, ImageJob, Planes, Simd, View};

use crate::fixture::Dice;

mod coded;
mod golden;
mod reference;
mod views;

use coded::{Coded, FORMS, LAYOUTS};

/// Usual samplings, and others that the decoder reads itself.
const SAMPLINGS: [&[(usize, usize)]; 14] = [
    &[(1, 1)],
    &[(1, 1), (1, 1), (1, 1)],
    &[(2, 1), (1, 1), (1, 1)],
    &[(2, 2), (1, 1), (1, 1)],
    &[(1, 2), (1, 1), (1, 1)],
    &[(4, 1), (1, 1), (1, 1)],
    &[(1, 4), (1, 1), (1, 1)],
    &[(4, 2), (1, 1), (1, 1)],
    &[(2, 4), (1, 1), (1, 1)],
    // The same in another way, components of different sizes, and colours that are finer than lightness.
    &[(2, 2), (1, 2), (1, 2)],
    &[(2, 2), (2, 1), (1, 2)],
    &[(2, 2), (1, 1), (2, 2)],
    &[(1, 1), (2, 1), (1, 1)],
    &[(1, 2), (2, 2), (2, 1)],
];

/// A JPEG, its size, and the size that it is resized to.
type Image<'a> = (&'a [u8], (usize, usize), (usize, usize));

/// Decodes images at once, each to its target; pixels are interleaved.
fn decode_all(decoder: &mut Decoder, images: &[Image<'_>]) -> Vec<maskstream::Result<Vec<u8>>> {
    let whole = images.iter().map(|&image| (image, View::whole((image.1.0 as u32, image.1.1 as u32))));
    decode_views(decoder, &whole.collect::<Vec<_>>())
}

/// The same for parts of images.
fn decode_views(decoder: &mut Decoder, images: &[(Image<'_>, View)]) -> Vec<maskstream::Result<Vec<u8>>> {
    let narrow = |(width, height): (usize, usize)| (width as u32, height as u32);
    let side = |(width, height): (usize, usize)| width.max(height);
    let mut outs: Vec<Vec<u8>> = images.iter().map(|image| vec![0xa5; 3 * side(image.0.2) * side(image.0.2)]).collect();
    let jobs = images.iter().zip(&mut outs).map(|(&((jpeg, size, target), ref view), out)| {
        let canvas = Canvas::new(&Planes::U8, narrow(target), side(target) as u32, out);
        ImageJob { view: view.clone(), ..ImageJob::new(jpeg, narrow(size), canvas) }
    });
    let results = decoder.decode_all(&mut jobs.collect::<Vec<_>>());
    let interleaved = |out: &[u8], target: (usize, usize)| {
        let (side, plane) = (side(target), side(target) * side(target));
        let places = (0..target.1).flat_map(|y| (0..target.0).map(move |x| y * side + x));
        places.flat_map(|at| [out[at], out[plane + at], out[2 * plane + at]]).collect()
    };
    let images = results.into_iter().zip(outs).zip(images);
    images.map(|((result, out), image)| result.map(|()| interleaved(&out, image.0.2))).collect()
}

fn decoder(scaled: ScaledDecode, simd: Simd) -> Decoder {
    Decoder::new(scaled, 1 << 26).simd(simd)
}

/// Decodes an image to `target`. All processors' instructions give the same.
fn decode(scaled: ScaledDecode, jpeg: &[u8], size: (usize, usize), target: (usize, usize)) -> Vec<u8> {
    let decode = |simd| decode_all(&mut decoder(scaled, simd), &[(jpeg, size, target)]).remove(0).unwrap();
    let found = decode(Simd::best());
    assert!(found == decode(Simd::PORTABLE), "{size:?} to {target:?}");
    found
}

/// The largest difference, the mean of the differences, and that of their squares.
fn differences(found: &[u8], expected: &[f64]) -> (f64, f64, f64) {
    assert_eq!(found.len(), expected.len());
    let each = || found.iter().zip(expected).map(|(&found, expected)| f64::from(found) - expected);
    let n = found.len() as f64;
    let largest = each().fold(0.0, |largest: f64, difference| largest.max(difference.abs()));
    (largest, each().sum::<f64>() / n, each().map(|difference| difference * difference).sum::<f64>() / n)
}

fn random_size(dice: &mut Dice, most: u64) -> (usize, usize) {
    (1 + dice.below(most) as usize, 1 + dice.below(most) as usize)
}

#[test]
fn pixels_are_those_of_the_definition_in_all_samplings_and_sizes() {
    let mut dice = Dice(1);
    for sampling in SAMPLINGS {
        let (mut bias, mut squares, mut pixels) = (0.0, 0.0, 0.0);
        for round in 0..40 {
            let size = random_size(&mut dice, 40);
            let mut coded = Coded::random(&mut dice, size, sampling, 1 + round / 10);
            coded.form = FORMS[round as usize % 4];
            let found = decode(Full, &coded.jpeg(), size, size);
            let (largest, mean, square) = differences(&found, &reference::pixels(&coded, 0));
            // Interpolated values are rounded, and colours, of which blue has 1.77 parts of one. A few samples are
            // rounded to the other side.
            assert!(largest < 3.5, "{sampling:?} {size:?}: {largest}");
            let n = found.len() as f64;
            (bias, squares, pixels) = (bias + mean * n, squares + square * n, pixels + n);
        }
        assert!((bias / pixels).abs() < 0.05 && squares / pixels < 0.4, "{sampling:?}: {bias} {squares} of {pixels}");
    }
}

#[test]
fn pixels_at_a_part_of_the_size_are_means_of_the_definition() {
    let mut dice = Dice(2);
    for sampling in SAMPLINGS {
        for shift in 1..=3 {
            let (mut bias, mut squares, mut pixels) = (0.0, 0.0, 0.0);
            for round in 0..12 {
                let (width, height) = random_size(&mut dice, 9);
                let size = (8 * width, 8 * height);
                let coded = Coded::random(&mut dice, size, sampling, 1 + round / 3);
                let found = decode(Auto, &coded.jpeg(), size, (size.0 >> shift, size.1 >> shift));
                let (largest, mean, square) = differences(&found, &reference::pixels(&coded, shift));
                assert!(largest < 3.5, "{sampling:?} {size:?} 1/{}: {largest}", 1 << shift);
                let n = found.len() as f64;
                (bias, squares, pixels) = (bias + mean * n, squares + square * n, pixels + n);
            }
            let (bias, square) = (bias / pixels, squares / pixels);
            assert!(bias.abs() < 0.05 && square < 0.4, "{sampling:?} 1/{}: {bias} {square}", 1 << shift);
        }
    }
}

#[test]
fn resized_pixels_are_those_of_the_triangle_filter() {
    let mut dice = Dice(3);
    let mut cases: Vec<[(usize, usize); 2]> =
        (0..120).map(|_| [random_size(&mut dice, 90), random_size(&mut dice, 90)]).collect();
    cases.extend([
        [(1, 1), (1, 1)],
        [(1, 1), (40, 7)],
        [(1, 70), (1, 3)],
        [(90, 1), (4, 1)],
        [(2, 3), (60, 60)],
        [(400, 300), (20, 15)],
        [(397, 311), (20, 16)],
        [(2249, 9), (1024, 4)],
    ]);
    for [size, target] in cases {
        let jpeg = Coded::random(&mut dice, size, &[(1, 1); 3], 3).jpeg();
        let pixels = decode(Full, &jpeg, size, size);
        let found = decode(Full, &jpeg, size, target);
        let expected = reference::resized(&pixels, size, [0.0..size.0 as f64, 0.0..size.1 as f64], target);
        let (largest, mean, square) = differences(&found, &expected);
        // Both directions round.
        assert!(largest < 1.3 && square < 0.4, "{size:?} to {target:?}: {largest} {square}");
        assert!(found.len() < 3000 || mean.abs() < 0.1, "{size:?} to {target:?}: {mean}");
    }
}

#[test]
fn the_last_samples_of_odd_sides_count_for_what_they_cover() {
    let mut dice = Dice(4);
    let mut cases = vec![((2249, 11), (1024, 5), 1), ((2249, 9), (1124, 4), 1)];
    for _ in 0..60 {
        let (width, height) = random_size(&mut dice, 120);
        let (size, shift) = ((width + 16, height + 16), 1 + dice.below(3) as usize);
        // As large as this scale serves, or smaller, but not as small as the next one does.
        let target =
            |side: usize| (side >> shift).saturating_sub(dice.below(3) as usize).max((side >> (shift + 1)) + 1);
        let target = [size.0, size.1].map(target);
        cases.push((size, (target[0].min(size.0 >> shift), target[1].min(size.1 >> shift)), shift));
    }
    for (size, target, shift) in cases {
        for sampling in [&[(1, 1); 3][..], &[(2, 2), (1, 1), (1, 1)]] {
            let coded = Coded::random(&mut dice, size, sampling, 3);
            // The same blocks, as an image that covers all of the last samples: these are its pixels.
            let samples = (size.0.div_ceil(1 << shift), size.1.div_ceil(1 << shift));
            let whole = Coded { size: (samples.0 << shift, samples.1 << shift), ..coded.clone() };
            assert_eq!(whole.units(), coded.units());
            let pixels = decode(Auto, &whole.jpeg(), whole.size, samples);
            let found = decode(Auto, &coded.jpeg(), size, target);
            let part = f64::from(1 << shift);
            let extents = [0.0..size.0 as f64 / part, 0.0..size.1 as f64 / part];
            let (largest, _, square) = differences(&found, &reference::resized(&pixels, samples, extents, target));
            assert!(largest < 1.3 && square < 0.4, "{size:?} to {target:?}: {largest} {square}");
        }
    }
}

#[test]
fn images_decoded_at_once_have_the_pixels_that_they_have_alone() {
    let mut dice = Dice(5);
    for simd in [Simd::PORTABLE, Simd::best()] {
        for count in [1, 2, 3, 5, 8] {
            for round in 0..6 {
                let coded: Vec<Coded> = (0..count)
                    .map(|number| {
                        let size = random_size(&mut dice, 130);
                        let sampling = SAMPLINGS[if round % 2 == 0 { 3 } else { dice.below(14) as usize }];
                        let mut coded = Coded::random(&mut dice, size, sampling, 2);
                        coded.form = FORMS[if round % 3 == 0 { 1 } else { number % 4 }];
                        coded.has_own_tables = round % 4 == 3;
                        coded.restart = [0, 0, 1, 7][dice.below(4) as usize];
                        coded
                    })
                    .collect();
                let jpegs: Vec<Vec<u8>> = coded.iter().map(Coded::jpeg).collect();
                let targets: Vec<_> = (0..count).map(|_| random_size(&mut dice, 90)).collect();
                let alone = |i: usize| {
                    decode_all(&mut decoder(Auto, Simd::PORTABLE), &[(&jpegs[i], coded[i].size, targets[i])])
                        .remove(0)
                        .unwrap()
                };
                let expected: Vec<Vec<u8>> = (0..count).map(alone).collect();
                // Each of them damaged in turn, and at last none.
                let mut together = decoder(Auto, simd);
                for damaged in 0..=count {
                    let mut broken = jpegs.clone();
                    if let Some(jpeg) = broken.get_mut(damaged) {
                        // Its data ends early, at a place that may be the first of all.
                        let begins = jpeg.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap();
                        let begins = begins + 2 + usize::from(jpeg[begins + 3]);
                        let room = (jpeg.len() - 2 - begins) as u64;
                        jpeg.truncate(begins + (dice.below(room) / 2) as usize);
                        jpeg.extend([0xff, 0xd9]);
                    }
                    let images: Vec<_> = (0..count).map(|i| (&broken[i][..], coded[i].size, targets[i])).collect();
                    for (i, found) in decode_all(&mut together, &images).into_iter().enumerate() {
                        match found {
                            Ok(found) => assert!(i != damaged && found == expected[i], "{simd:?} {i} of {count}"),
                            Err(e) => assert!(i == damaged && e.is_corrupt(), "{i} of {count}: {e}"),
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn restart_intervals_of_any_length_change_no_pixel() {
    let mut dice = Dice(6);
    for sampling in [SAMPLINGS[0], SAMPLINGS[1], SAMPLINGS[3], SAMPLINGS[5]] {
        let size = (75, 52);
        let mut coded = Coded::random(&mut dice, size, sampling, 2);
        let expected = decode(Full, &coded.jpeg(), size, size);
        let (across, down) = coded.units();
        for restart in 1..=across * down + 1 {
            coded.restart = restart as u16;
            assert!(decode(Full, &coded.jpeg(), size, size) == expected, "{sampling:?} {restart}");
        }
    }
}

#[test]
fn tables_of_any_form_and_arrangement_give_the_same_pixels() {
    let mut dice = Dice(7);
    for sampling in [SAMPLINGS[0], SAMPLINGS[1], SAMPLINGS[3]] {
        for wide in [false, true] {
            let size = random_size(&mut dice, 60);
            let mut coded = Coded::random(&mut dice, size, sampling, 2);
            if wide {
                // Steps of 16 bits; the coefficients become as much smaller.
                coded.steps.iter_mut().flatten().for_each(|step| *step = 200 + *step * 9);
                coded.blocks.iter_mut().flatten().flatten().for_each(|value| *value /= 100);
            }
            let expected = decode(Full, &coded.jpeg(), size, size);
            let (largest, ..) = differences(&expected, &reference::pixels(&coded, 0));
            assert!(largest < 3.5, "{largest}");
            for form in FORMS {
                for layout in LAYOUTS {
                    for has_own_tables in [false, true] {
                        let other = Coded { form, layout, has_own_tables, ..coded.clone() };
                        let found = decode(Full, &other.jpeg(), size, size);
                        assert!(found == expected, "{form:?} {layout:?} {has_own_tables}");
                    }
                }
            }
        }
    }
}

#[test]
fn images_without_coefficients_are_grey() {
    for sampling in SAMPLINGS {
        for size in [(1, 1), (17, 9), (64, 33)] {
            for form in FORMS {
                let jpeg = Coded { form, ..Coded::grey(size, sampling) }.jpeg();
                for target in [size, (1, 1), (50, 3)] {
                    let found = decode(Auto, &jpeg, size, target);
                    assert!(found.iter().all(|&value| value == 128), "{sampling:?} {size:?} {form:?}");
                }
            }
        }
    }
}

#[test]
fn the_largest_coefficients_are_those_of_the_definition() {
    let mut dice = Dice(8);
    for form in FORMS {
        // One coefficient of each block is as large as eight bits a sample allow; its first one goes to either end.
        let mut coded = Coded { form, ..Coded::grey((64, 64), &[(1, 1)]) };
        for (number, block) in coded.blocks[0].iter_mut().enumerate() {
            block[0] = if dice.below(2) == 0 { -1024 } else { 1023 };
            if number > 0 {
                block[number] = if dice.below(2) == 0 { -1023 } else { 1023 };
            }
        }
        let found = decode(Full, &coded.jpeg(), coded.size, coded.size);
        let (largest, _, square) = differences(&found, &reference::pixels(&coded, 0));
        assert!(largest <= 1.0 && square < 0.1, "{largest} {square}");
        for shift in 1..=3 {
            let found = decode(Auto, &coded.jpeg(), coded.size, (64 >> shift, 64 >> shift));
            let (largest, ..) = differences(&found, &reference::pixels(&coded, shift));
            assert!(largest < 0.51, "{largest}");
        }
    }
}

//! Parts of images: no other pixels than those of the whole image, resized.

use std::ops::Range;

use maskstream::ScaledDecode::{self, Auto, Full};
use maskstream::internals::{Canvas, ImageJob, Planes, RowPoints, Simd, View};

use super::coded::{Coded, FORMS};
use super::{SAMPLINGS, decode, decode_views, decoder, differences, random_size, reference};
use crate::fixture::Dice;

/// Decodes a part of an image to `target`. All processors' instructions give the same.
fn decode_view(
    scaled: ScaledDecode,
    jpeg: &[u8],
    size: (usize, usize),
    view: &View,
    target: (usize, usize),
) -> Vec<u8> {
    let decode =
        |simd| decode_views(&mut decoder(scaled, simd), &[((jpeg, size, target), view.clone())]).remove(0).unwrap();
    let found = decode(Simd::best());
    assert!(found == decode(Simd::PORTABLE), "{size:?} {view:?} to {target:?}");
    found
}

/// A part of `length`, of at least `least` pixels.
fn part(dice: &mut Dice, length: usize, least: usize) -> Range<usize> {
    let n = least + dice.below((length - least + 1) as u64) as usize;
    let start = dice.below((length - n + 1) as u64) as usize;
    start..start + n
}

fn view(x: &Range<usize>, y: &Range<usize>) -> View {
    let edges = |range: &Range<usize>| range.start as f64..range.end as f64;
    View { x: edges(x), y: edges(y), ..View::whole((1, 1)) }
}

fn cropped(pixels: &[u8], width: usize, x: &Range<usize>, y: &Range<usize>) -> Vec<u8> {
    y.clone().flat_map(|row| &pixels[3 * (row * width + x.start)..3 * (row * width + x.end)]).copied().collect()
}

#[test]
fn a_window_shows_the_pixels_that_the_whole_image_has_there() {
    let mut dice = Dice(21);
    for sampling in SAMPLINGS {
        for round in 0..60 {
            let size = random_size(&mut dice, 90);
            let mut coded = Coded::random(&mut dice, size, sampling, 3);
            coded.form = FORMS[round % 4];
            coded.restart = [0, 0, 1, 3][dice.below(4) as usize];
            let jpeg = coded.jpeg();
            let (x, y) = (part(&mut dice, size.0, 1), part(&mut dice, size.1, 1));
            let found = decode_view(Full, &jpeg, size, &view(&x, &y), (x.len(), y.len()));
            let expected = cropped(&decode(Full, &jpeg, size, size), size.0, &x, &y);
            assert!(found == expected, "{sampling:?} {size:?} {x:?} {y:?}");
        }
    }
}

#[test]
fn a_window_at_a_part_of_the_size_shows_the_pixels_that_the_whole_image_has_there() {
    let mut dice = Dice(22);
    for sampling in SAMPLINGS {
        for shift in 1..=3 {
            for _ in 0..20 {
                let (width, height) = random_size(&mut dice, 12);
                let (samples, size) = ((width << (3 - shift), height << (3 - shift)), (8 * width, 8 * height));
                let jpeg = Coded::random(&mut dice, size, sampling, 3).jpeg();
                let (x, y) = (part(&mut dice, samples.0, 1), part(&mut dice, samples.1, 1));
                let enlarged = |range: &Range<usize>| range.start << shift..range.end << shift;
                let shown = view(&enlarged(&x), &enlarged(&y));
                let found = decode_view(Auto, &jpeg, size, &shown, (x.len(), y.len()));
                let expected = cropped(&decode(Auto, &jpeg, size, samples), samples.0, &x, &y);
                assert!(found == expected, "{sampling:?} {size:?} 1/{} {x:?} {y:?}", 1 << shift);
            }
        }
    }
}

#[test]
fn a_window_is_resized_as_an_image_of_its_own() {
    let mut dice = Dice(23);
    for round in 0..300 {
        let (size, target) = (random_size(&mut dice, 90), random_size(&mut dice, 60));
        let jpeg = Coded::random(&mut dice, size, SAMPLINGS[round % 4], 3).jpeg();
        let (x, y) = (part(&mut dice, size.0, 1), part(&mut dice, size.1, 1));
        let pixels = cropped(&decode(Full, &jpeg, size, size), size.0, &x, &y);
        let found = decode_view(Full, &jpeg, size, &view(&x, &y), target);
        let extents = [0.0..x.len() as f64, 0.0..y.len() as f64];
        let expected = reference::resized(&pixels, (x.len(), y.len()), extents, target);
        let (largest, _, square) = differences(&found, &expected);
        assert!(largest < 1.3 && square < 0.4, "{size:?} {x:?} {y:?} to {target:?}: {largest} {square}");
    }
}

#[test]
fn edges_of_a_window_may_lie_within_pixels() {
    let mut dice = Dice(24);
    for round in 0..300 {
        let (size, target) = (random_size(&mut dice, 90), random_size(&mut dice, 60));
        let jpeg = Coded::random(&mut dice, size, SAMPLINGS[round % 4], 3).jpeg();
        let mut edges = |length: usize| {
            let [a, b] = [0, 1].map(|_| dice.below(1000 * length as u64) as f64 / 1000.0);
            a.min(b)..a.max(b).max(a.min(b) + 0.001)
        };
        let (x, y) = (edges(size.0), edges(size.1));
        let touched = |edges: &Range<f64>| edges.start as usize..edges.end.ceil() as usize;
        let (columns, rows) = (touched(&x), touched(&y));
        let pixels = cropped(&decode(Full, &jpeg, size, size), size.0, &columns, &rows);
        let moved = |edges: &Range<f64>, by: usize| edges.start - by as f64..edges.end - by as f64;
        let extents = [moved(&x, columns.start), moved(&y, rows.start)];
        let found = decode_view(Full, &jpeg, size, &View { x: x.clone(), y: y.clone(), ..View::whole((1, 1)) }, target);
        let expected = reference::resized(&pixels, (columns.len(), rows.len()), extents, target);
        let (largest, _, square) = differences(&found, &expected);
        assert!(largest < 1.3 && square < 0.4, "{size:?} {x:?} {y:?} to {target:?}: {largest} {square}");
    }
}

#[test]
fn windows_of_progressive_images_show_the_pixels_that_the_whole_image_has_there() {
    let mut encoded = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut encoded, 90);
    encoder.set_progressive(true);
    let size = (61, 47);
    let pixels: Vec<u8> = (0..3 * size.0 * size.1).map(|i| (i * 7 % 251) as u8).collect();
    encoder.encode(&pixels, size.0 as u16, size.1 as u16, jpeg_encoder::ColorType::Rgb).unwrap();
    let whole = decode(Full, &encoded, size, size);
    let mut dice = Dice(25);
    for _ in 0..40 {
        let (x, y) = (part(&mut dice, size.0, 1), part(&mut dice, size.1, 1));
        let found = decode_view(Full, &encoded, size, &view(&x, &y), (x.len(), y.len()));
        assert!(found == cropped(&whole, size.0, &x, &y), "{x:?} {y:?}");
    }
}

#[test]
fn a_flipped_view_is_the_view_mirrored() {
    let mut dice = Dice(26);
    for round in 0..200 {
        let (size, target) = (random_size(&mut dice, 90), random_size(&mut dice, 60));
        let jpeg = Coded::random(&mut dice, size, SAMPLINGS[round % 4], 3).jpeg();
        let (x, y) = (part(&mut dice, size.0, 1), part(&mut dice, size.1, 1));
        for scaled in [Full, Auto] {
            let shown = view(&x, &y);
            let plain = decode_view(scaled, &jpeg, size, &shown, target);
            for (flip_x, flip_y) in [(true, false), (false, true), (true, true)] {
                let found = decode_view(scaled, &jpeg, size, &View { flip_x, flip_y, ..shown.clone() }, target);
                let mut pixels = found.as_chunks::<3>().0.iter();
                for row in 0..target.1 {
                    for column in 0..target.0 {
                        let from = |at: usize, of: usize, flip: bool| if flip { of - 1 - at } else { at };
                        let at = from(row, target.1, flip_y) * target.0 + from(column, target.0, flip_x);
                        assert_eq!(pixels.next().unwrap()[..], plain[3 * at..3 * at + 3], "{size:?} to {target:?}");
                    }
                }
            }
        }
    }
}

/// Decodes a view with the points of the rows.
fn decode_from(
    points: &RowPoints,
    jpeg: &[u8],
    (width, height): (usize, usize),
    view: &View,
    target: (usize, usize),
) -> maskstream::Result<Vec<u8>> {
    let side = target.0.max(target.1);
    let mut out = vec![1; 3 * side * side];
    let canvas = Canvas::new(&Planes::U8, (target.0 as u32, target.1 as u32), side as u32, &mut out);
    let job = ImageJob::new(jpeg, (width as u32, height as u32), canvas);
    decoder(Full, Simd::best()).decode(ImageJob { view: view.clone(), row_points: Some(points), ..job })?;
    let places = (0..target.1).flat_map(|y| (0..target.0).map(move |x| y * side + x));
    Ok(places.flat_map(|at| [0, 1, 2].map(|plane| out[plane * side * side + at])).collect())
}

#[test]
fn views_are_the_same_from_the_points_of_their_rows() {
    let mut dice = Dice(27);
    let mut with_points = 0;
    for sampling in SAMPLINGS {
        for round in 0..40 {
            let size = random_size(&mut dice, 90);
            let mut coded = Coded::random(&mut dice, size, sampling, 3);
            coded.form = FORMS[round % 4];
            coded.restart = [0, 0, 1, 3, 7][dice.below(5) as usize];
            let jpeg = coded.jpeg();
            let Some(points) = RowPoints::of(&jpeg) else {
                assert_eq!(coded.units().1, 1, "{sampling:?} {size:?}");
                continue;
            };
            let bytes = points.to_bytes();
            assert_eq!(RowPoints::from_bytes(&bytes).as_ref(), Some(&points));
            for cut in 0..bytes.len() {
                assert_ne!(RowPoints::from_bytes(&bytes[..cut]), Some(points.clone()));
            }
            with_points += 1;
            for _ in 0..4 {
                let (x, y) = (part(&mut dice, size.0, 1), part(&mut dice, size.1, 1));
                let (shown, target) = (view(&x, &y), (x.len(), y.len()));
                let expected = decode_view(Full, &jpeg, size, &shown, target);
                let found = decode_from(&points, &jpeg, size, &shown, target).unwrap();
                assert!(found == expected, "{sampling:?} {size:?} {x:?} {y:?} restart {}", coded.restart);
            }
        }
    }
    assert!(with_points > 300, "{with_points}");
}

#[test]
fn views_that_end_where_a_stuffed_byte_is_shared_by_two_rows_are_the_same() {
    let mut dice = Dice(30);
    let mut shared = 0;
    for _ in 0..60 {
        // Coefficients of large sizes have many ones in their codes.
        let size = (40, 80);
        let mut coded = Coded::random(&mut dice, size, SAMPLINGS[1], 6);
        coded.restart = [0, 0, 5, 2][dice.below(4) as usize];
        let jpeg = coded.jpeg();
        let points = RowPoints::of(&jpeg).unwrap();
        let begins = jpeg.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap();
        let begins = begins + 2 + usize::from(jpeg[begins + 3]);
        shared += jpeg[begins..].windows(2).filter(|pair| pair == &[0xff, 0]).count();
        for row in 1..10 {
            let shown = view(&(0..40), &(8 * (row - 1)..8 * row));
            let expected = decode_view(Full, &jpeg, size, &shown, (40, 8));
            assert!(decode_from(&points, &jpeg, size, &shown, (40, 8)).unwrap() == expected, "row {row}");
        }
    }
    assert!(shared > 100, "{shared}");
}

#[test]
fn what_lies_above_a_view_is_not_read_from_the_points_of_its_rows() {
    let mut dice = Dice(28);
    let size = (64, 96);
    let coded = Coded::random(&mut dice, size, SAMPLINGS[3], 3);
    let jpeg = coded.jpeg();
    let points = RowPoints::of(&jpeg).unwrap();
    // Ones are no valid code; the first rows of the image are full of them.
    let begins = jpeg.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap();
    let begins = begins + 2 + usize::from(jpeg[begins + 3]);
    let mut damaged = jpeg.clone();
    damaged[begins..begins + 20].fill(0xfe);
    let (below, above) = (view(&(0..64), &(50..96)), view(&(0..64), &(0..46)));
    let expected = decode_view(Full, &jpeg, size, &below, (64, 46));
    assert!(decode_from(&points, &damaged, size, &below, (64, 46)).unwrap() == expected);
    assert!(decode_from(&points, &damaged, size, &above, (64, 46)).is_err());
}

#[test]
fn a_view_is_an_error_where_the_whole_image_is_one() {
    let mut dice = Dice(31);
    let (mut damaged, mut whole) = (0, 0);
    for round in 0..600 {
        let size = random_size(&mut dice, 90);
        let mut coded = Coded::random(&mut dice, size, SAMPLINGS[round % 14], 3);
        coded.restart = [0, 0, 1, 3][round % 4];
        let mut jpeg = coded.jpeg();
        let begins = jpeg.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap();
        let begins = begins + 2 + usize::from(jpeg[begins + 3]);
        match round % 3 {
            0 => {
                let at = begins + dice.below((jpeg.len() - begins) as u64) as usize;
                jpeg[at] ^= 1 << dice.below(8);
            }
            // Some of it is missing, or there twice.
            1 => drop(jpeg.drain(jpeg.len() - 2 - (jpeg.len() - 2 - begins) / 3..jpeg.len() - 2)),
            _ => {
                let again = jpeg[begins..begins + (jpeg.len() - 2 - begins) / 2].to_vec();
                jpeg.splice(begins..begins, again);
            }
        }
        // The first row of pixels, which is the farthest from the end.
        let shown = view(&(0..size.0), &(0..1));
        let decode = |view: &View, target| {
            decode_views(&mut decoder(Full, Simd::best()), &[((&jpeg[..], size, target), view.clone())]).remove(0)
        };
        let expected = decode(&View::whole((size.0 as u32, size.1 as u32)), size).map_err(|e| e.to_string());
        let found = decode(&shown, (size.0, 1)).map_err(|e| e.to_string());
        assert_eq!(found.err(), expected.clone().err(), "round {round}");
        assert!(RowPoints::of(&jpeg).is_none() || expected.is_ok(), "round {round}");
        *(if expected.is_err() { &mut damaged } else { &mut whole }) += 1;
    }
    assert!(damaged > 300 && whole > 20, "{damaged} {whole}");
}

#[test]
fn points_of_another_image_give_an_error_or_some_pixels_but_no_panic() {
    let mut dice = Dice(29);
    for round in 0..400 {
        let sampling = SAMPLINGS[round % 14];
        let mut make = |size| {
            let mut coded = Coded::random(&mut dice, size, sampling, 3);
            coded.restart = [0, 1, 3][round % 3];
            coded.jpeg()
        };
        let (jpeg, other) = (make((40, 70)), make((40, 70)));
        let Some(mut points) = RowPoints::of(&other) else { continue };
        if round % 2 == 0 {
            let mut bytes = points.to_bytes();
            let at = dice.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << dice.below(8);
            let Some(changed) = RowPoints::from_bytes(&bytes) else { continue };
            points = changed;
        }
        let y = part(&mut dice, 70, 1);
        let _ = decode_from(&points, &jpeg, (40, 70), &view(&(0..40), &y), (40, y.len()));
    }
}

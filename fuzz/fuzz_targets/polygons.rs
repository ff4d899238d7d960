//! Polygons: any numbers at all give a mask or an error; small ones give the mask that a walk along every point of the
//! outline gives.
#![no_main]

use libfuzzer_sys::arbitrary::{Arbitrary, Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use maskstream::mask::{Rle, RleError};

/// Beyond this an image is refused.
const LONGEST_SIDE: u32 = 1 << 22;
/// Beyond this a coordinate may be refused although it is finite.
const SOUND: f64 = 1e6;

fuzz_target!(|input: &[u8]| {
    let mut input = Unstructured::new(input);
    let _ = if input.arbitrary().unwrap_or(false) { any(&mut input) } else { small(&mut input) };
});

/// Any numbers in an image of any size.
fn any(input: &mut Unstructured) -> Result<()> {
    // Tall images have few columns, so that the walk stays short.
    let (height, width) = if input.arbitrary()? {
        (u32::arbitrary(input)? % (2 * LONGEST_SIDE), u32::from(u8::arbitrary(input)?))
    } else {
        (u32::from(u16::arbitrary(input)?), u32::from(u16::arbitrary(input)?))
    };
    let mut points = Vec::new();
    while !input.is_empty() && points.len() < 100 {
        points.push(match input.int_in_range(0..=3)? {
            0 => f64::arbitrary(input)?,
            1 => f64::from(f32::arbitrary(input)?),
            2 => f64::from(i32::arbitrary(input)?),
            _ => f64::from(i16::arbitrary(input)?) / 10.0,
        });
    }
    match Rle::from_polygon(&points, height, width) {
        Ok(mask) => {
            assert_eq!(total(&mask), u64::from(height) * u64::from(width));
            // In a larger image empty runs cut those that are too long for the format.
            assert!(mask.is_canonical() || total(&mask) > u64::from(u32::MAX));
            assert!(points.len() >= 6 && points.len() % 2 == 0);
        }
        Err(RleError::Points { numbers }) => {
            assert_eq!(numbers, points.len());
            assert!(numbers < 6 || numbers % 2 == 1);
        }
        Err(RleError::Coordinate { index, value }) => {
            assert_eq!(value.to_bits(), points[index].to_bits());
            assert!(!(value.abs() < SOUND));
        }
        Err(RleError::Image { .. }) => assert!(height.max(width) > LONGEST_SIDE),
        Err(other) => panic!("{other:?}"),
    }
    if let [x, y, w, h, ..] = points[..] {
        let _ = Rle::from_box([x, y, w, h], height, width);
    }
    Ok(())
}

/// Points in and around a small image.
fn small(input: &mut Unstructured) -> Result<()> {
    let (height, width) = (input.int_in_range(1..=48)?, input.int_in_range(1..=48)?);
    let scale = *input.choose(&[1.0, 2.0, 5.0, 8.0, 10.0, 100.0, 177.3])?;
    let mut polygons: Vec<Vec<f64>> = vec![Vec::new()];
    while !input.is_empty() && polygons.len() < 4 {
        let points = &mut polygons[0];
        match input.int_in_range(0..=9)? {
            // Points and edges that are there twice.
            0 if points.len() >= 2 => points.extend_from_within(points.len() - 2..),
            1 if points.len() >= 4 => points.extend_from_within(..2),
            2 if points.len() >= 6 => polygons.insert(0, Vec::new()),
            3 => {
                let near = f64::from(i16::arbitrary(input)?.clamp(-999, 999)) / 10.0;
                points.extend([f64::from_bits(near.to_bits() + 1), f64::from_bits(near.to_bits().saturating_sub(1))]);
            }
            _ => points.extend([0; 2].map(|_| f64::from(i16::arbitrary(input).unwrap_or(0) % 2000) / scale)),
        }
    }
    polygons.retain(|points| points.len() >= 6);
    let mut union = vec![0; (height * width) as usize];
    for points in &polygons {
        let expected = walked(points, height, width);
        assert_eq!(
            bitmap(&Rle::from_polygon(points, height, width).unwrap()),
            expected,
            "{height} x {width}: {points:?}"
        );
        union.iter_mut().zip(&expected).for_each(|(all, &one)| *all |= one);
    }
    assert_eq!(bitmap(&Rle::from_polygons(&polygons, height, width).unwrap()), union);
    if let Some([x, y, w, h, ..]) = polygons.first().map(Vec::as_slice) {
        let outline = [*x, *y, *x, y + h, x + w, y + h, x + w, *y];
        let drawn = Rle::from_box([*x, *y, *w, *h], height, width).unwrap();
        assert_eq!(bitmap(&drawn), walked(&outline, height, width), "box {x} {y} {w} {h}");
    }
    Ok(())
}

/// The definition, point by point: the outline on a lattice five times as fine as the pixels; where it steps over the
/// middle of a pixel column, that column changes from there on.
fn walked(points: &[f64], height: u32, width: u32) -> Vec<u8> {
    let vertices: Vec<[i64; 2]> =
        points.chunks(2).map(|point| [point[0], point[1]].map(|value| (5.0 * value + 0.5) as i64)).collect();
    let mut outline = Vec::new();
    for (index, &from) in vertices.iter().enumerate() {
        let to = vertices[(index + 1) % vertices.len()];
        let long = if (to[0] - from[0]).abs() >= (to[1] - from[1]).abs() { 0 } else { 1 };
        let (low, high) = if from[long] <= to[long] { (from, to) } else { (to, from) };
        let steps = high[long] - low[long];
        let slope = (high[1 - long] - low[1 - long]) as f64 / steps as f64;
        let mut edge: Vec<[i64; 2]> = (0..=steps)
            .map(|step| {
                let across = (low[1 - long] as f64 + slope * step as f64 + 0.5) as i64;
                if long == 0 { [low[0] + step, across] } else { [across, low[1] + step] }
            })
            .collect();
        if steps == 0 {
            edge = vec![from];
        }
        if low != from {
            edge.reverse();
        }
        outline.extend(edge);
    }
    let mut changes = vec![0_u8; (height * width + 1) as usize];
    for step in outline.windows(2) {
        let ([x0, y0], [x1, y1]) = (step[0], step[1]);
        if x0 == x1 {
            continue;
        }
        let left = if x1 < x0 { x1 } else { x1 - 1 };
        let column = (left as f64 + 0.5) / 5.0 - 0.5;
        if column.floor() != column || column < 0.0 || column > f64::from(width) - 1.0 {
            continue;
        }
        let row = ((y0.min(y1) as f64 + 0.5) / 5.0 - 0.5).clamp(0.0, f64::from(height)).ceil();
        changes[column as usize * height as usize + row as usize] ^= 1;
    }
    changes.pop();
    changes
        .iter()
        .scan(0, |inside, change| {
            *inside ^= change;
            Some(*inside)
        })
        .collect()
}

fn bitmap(mask: &Rle) -> Vec<u8> {
    let mut bitmap = vec![7; total(mask) as usize];
    mask.write_column_major(&mut bitmap).unwrap();
    bitmap
}

fn total(mask: &Rle) -> u64 {
    mask.runs().iter().map(|&run| u64::from(run)).sum()
}

//! Pixels recorded from libjpeg-turbo (`scripts/make_image_vectors.py`, which describes the file's form).

use super::{Auto, Full, decode, differences};

const VECTORS: &[u8] = include_bytes!("../../golden/images.bin");

struct Vector {
    jpeg: &'static [u8],
    size: (usize, usize),
    crc32: u32,
    /// At a half, a quarter and an eighth, where the sides are multiples of eight.
    parts: Vec<&'static [u8]>,
}

fn vectors() -> Vec<Vector> {
    let mut rest = VECTORS;
    let mut take = |count: usize| {
        let (taken, behind) = rest.split_at_checked(count)?;
        rest = behind;
        Some(taken)
    };
    let mut found = Vec::new();
    while let Some(head) = take(12) {
        let short = |at: usize| usize::from(u16::from_le_bytes([head[at], head[at + 1]]));
        let long = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().unwrap());
        let size @ (width, height) = (short(0), short(2));
        let shifts = if width % 8 == 0 && height % 8 == 0 { 1..4 } else { 1..1 };
        let jpeg = take(long(8) as usize).unwrap();
        let parts = shifts.map(|shift: usize| take(3 * (width >> shift) * (height >> shift)).unwrap()).collect();
        found.push(Vector { jpeg, size, crc32: long(4), parts });
    }
    found
}

/// The checksum of gzip and PNG.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[test]
fn pixels_at_full_size_are_those_of_libjpeg_turbo() {
    let vectors = vectors();
    assert!(vectors.len() >= 40);
    for (number, Vector { jpeg, size, crc32: expected, .. }) in vectors.into_iter().enumerate() {
        assert_eq!(crc32(&decode(Full, jpeg, size, size)), expected, "image {number}, {size:?}");
    }
}

#[test]
fn pixels_at_a_part_of_the_size_are_near_those_of_libjpeg_turbo() {
    let mut compared = 0;
    for (number, Vector { jpeg, size, parts, .. }) in vectors().into_iter().enumerate() {
        for (shift, expected) in (1..).zip(parts) {
            let found = decode(Auto, jpeg, size, (size.0 >> shift, size.1 >> shift));
            let expected: Vec<f64> = expected.iter().map(|&byte| byte.into()).collect();
            let (_, _, square) = differences(&found, &expected);
            let decibels = 10.0 * (255.0 * 255.0 / square.max(1e-9)).log10();
            assert!(decibels > 45.0, "image {number}, {size:?}, 1/{}: {decibels:.1} dB", 1 << shift);
            compared += 1;
        }
    }
    assert!(compared >= 40);
}

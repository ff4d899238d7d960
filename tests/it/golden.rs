//! pycocotools as the judge: what it says of generated masks (`scripts/make_mask_vectors.py`), we say.

use maskstream::mask::{Grid, Rle};
use serde::Deserialize;

#[derive(Deserialize)]
struct Vector {
    height: u32,
    width: u32,
    counts: String,
    area: u64,
    bbox: [u32; 4],
    crc32: u32,
}

/// CRC-32 as zlib has it, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 })
    })
}

#[test]
fn masks_read_and_write_as_in_pycocotools() {
    let vectors: Vec<Vector> = serde_json::from_str(include_str!("../golden/masks.json")).unwrap();
    assert!(vectors.len() > 100);
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    for Vector { height, width, counts, area, bbox, crc32: expected } in vectors {
        let mask = Rle::from_counts(counts.as_bytes(), height, width).unwrap();
        assert_eq!((mask.area(), mask.bbox()), (area, bbox), "{height} x {width}: {counts}");
        let mut bitmap = vec![7; (height * width) as usize];
        mask.write_column_major(&mut bitmap).unwrap();
        assert_eq!(crc32(&bitmap), expected, "{height} x {width}: {counts}");
        assert_eq!(mask.to_counts(), counts);
        assert_eq!(Rle::from_column_major(&bitmap, height, width).unwrap().to_counts(), counts);

        // The row-major bitmap is the nearest grid of the image's own size.
        let mut rows = vec![7; bitmap.len()];
        Grid::stretch(height, width, height, width).unwrap().nearest(&mask, &mut rows).unwrap();
        let transposed = (0..width).flat_map(|x| (0..height).map(move |y| (y * width + x) as usize));
        assert!(transposed.map(|i| rows[i]).eq(bitmap), "{height} x {width}: {counts}");
    }
}

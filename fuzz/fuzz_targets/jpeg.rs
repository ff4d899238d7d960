//! JPEGs: no panic, no memory beyond the size that was announced, and the same result with any instructions, alone or
//! beside other images.
#![no_main]

use libfuzzer_sys::fuzz_target;
use maskstream::ScaledDecode;
use maskstream::internals::{Canvas, Decoder, ImageJob, Planes, RowPoints, Simd, View};

const SIDE: u32 = 40;

// Four bytes of sizes, then the JPEG, so that small real images serve as a corpus.
fuzz_target!(|input: &[u8]| {
    let [width, height, across, down, jpeg @ ..] = input else { return };
    let size = (u32::from(*width) + 1, u32::from(*height) + 1);
    // From larger than the image to an eighth of it and less.
    let target = (u32::from(*across) % SIDE + 1, u32::from(*down) % SIDE + 1);
    let scaled = if *across < 200 { ScaledDecode::Auto } else { ScaledDecode::Full };
    let decode = |simd: Simd, jpegs: &[&[u8]]| {
        let mut outs = vec![vec![0; 3 * (SIDE * SIDE) as usize]; jpegs.len()];
        let canvases = outs.iter_mut().map(|out| Canvas::new(&Planes::U8, target, SIDE, out));
        let mut jobs: Vec<_> = canvases.zip(jpegs).map(|(canvas, jpeg)| ImageJob::new(jpeg, size, canvas)).collect();
        let mut decoder = Decoder::new(scaled, 1 << 16).simd(simd);
        let results = decoder.decode_all(&mut jobs);
        results.into_iter().map(|result| result.map_err(|e| e.to_string())).zip(outs).collect::<Vec<_>>()
    };
    let alone = decode(Simd::PORTABLE, &[jpeg]);
    let mut damaged = jpeg.to_vec();
    let middle = damaged.len() / 2;
    damaged.truncate(middle);
    damaged.extend([0xff, 0xd9]);
    // One more than are decoded at a time.
    let together = decode(Simd::best(), &[jpeg, &damaged, jpeg, jpeg]);
    for found in [&together[0], &together[2], &together[3]] {
        assert_eq!(found.0, alone[0].0);
        assert!(found.0.is_err() || found.1 == alone[0].1);
    }
    // A part of it, with the points of its rows and without them; and with points that belong to another image.
    let part = |pixels: u32, from: u8, to: u8| {
        let ends = [from, to].map(|end| f64::from(u32::from(end) * pixels) / 255.0);
        ends[0].min(ends[1])..ends[0].max(ends[1]).max(ends[0].min(ends[1]) + 0.01)
    };
    let (x, y) = (part(size.0, *across, *height), part(size.1, *down, *width));
    let view = View { x, y, flip_x: across % 2 == 1, flip_y: down % 2 == 1, is_turned: across % 3 == 1 };
    let decode_view = |jpeg: &[u8], row_points: Option<&RowPoints>| {
        let mut out = vec![0; 3 * (SIDE * SIDE) as usize];
        let job = ImageJob::new(jpeg, size, Canvas::new(&Planes::U8, target, SIDE, &mut out));
        let result = Decoder::new(scaled, 1 << 16).decode(ImageJob { view: view.clone(), row_points, ..job });
        (result.map_err(|e| e.to_string()), out)
    };
    if let Some(points) = RowPoints::of(jpeg) {
        assert_eq!(RowPoints::from_bytes(&points.to_bytes()).as_ref(), Some(&points));
        // A size that is not that of the annotations is an error either way.
        assert!(decode_view(jpeg, Some(&points)) == decode_view(jpeg, None));
        decode_view(&damaged, Some(&points)).0.ok();
    }
    if let Some(points) = RowPoints::from_bytes(jpeg).or_else(|| RowPoints::from_bytes(input)) {
        decode_view(jpeg, Some(&points)).0.ok();
    }
});

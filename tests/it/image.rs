//! JPEGs: what libjpeg decodes without a warning is decoded, and what it warns of is an error.
//!
//! `golden/sequential.jpg` is a drawing of our own, encoded by cjpeg; `golden/progressive.jpg` has the same
//! coefficients (jpegtran), in ten scans of all four kinds.

use maskstream::ScaledDecode;
use maskstream::internals::{Canvas, Decoder, ImageJob, Planes, Simd, exif_orientation};

use crate::fixture::Dice;

const SEQUENTIAL: &[u8] = include_bytes!("../golden/sequential.jpg");
const PROGRESSIVE: &[u8] = include_bytes!("../golden/progressive.jpg");
const GOLDEN: (u32, u32) = (45, 37);

/// With which instructions an image is decoded, and how many copies of it at once.
type Way = (Simd, usize);

fn ways() -> [Way; 3] {
    [(Simd::PORTABLE, 1), (Simd::best(), 1), (Simd::best(), 4)]
}

/// The pixels, interleaved.
fn decode_with((simd, copies): Way, jpeg: &[u8], size: (u32, u32)) -> maskstream::Result<Vec<u8>> {
    let mut decoder = Decoder::new(ScaledDecode::Full, 1 << 24).simd(simd);
    let side = size.0.max(size.1) as usize;
    let mut outs = vec![vec![0; 3 * side * side]; copies];
    let jobs = outs.iter_mut().map(|out| ImageJob::new(jpeg, size, Canvas::new(&Planes::U8, size, side as u32, out)));
    let results = decoder.decode_all(&mut jobs.collect::<Vec<_>>());
    assert_eq!(results.len(), copies);
    let texts: Vec<_> = results.iter().map(|result| result.as_ref().err().map(ToString::to_string)).collect();
    assert!(texts.iter().all(|text| *text == texts[0]), "{texts:?}");
    results.into_iter().collect::<maskstream::Result<Vec<()>>>()?;
    assert!(outs.iter().all(|out| *out == outs[0]));
    let pixels = (0..size.1 as usize).flat_map(|y| (0..size.0 as usize).map(move |x| y * side + x));
    Ok(pixels.flat_map(|at| [0, 1, 2].map(|plane| outs[0][plane * side * side + at])).collect())
}

fn decode(jpeg: &[u8], size: (u32, u32)) -> Vec<u8> {
    decode_with((Simd::best(), 1), jpeg, size).unwrap()
}

/// The message with which `jpeg` is refused, in each way.
fn refusals(jpeg: &[u8], size: (u32, u32)) -> Vec<String> {
    let refuse = |way: Way| match decode_with(way, jpeg, size) {
        Ok(_) => panic!("{way:?} accepts it"),
        Err(e) => {
            assert!(e.is_corrupt(), "{e}");
            e.to_string()
        }
    };
    ways().into_iter().map(refuse).collect()
}

/// `jpeg` is decoded to what is made of `same`, in each way.
fn decodes_as(jpeg: &[u8], same: &[u8], size: (u32, u32)) {
    for way in ways() {
        let found = decode_with(way, jpeg, size).unwrap();
        assert!(found == decode_with(way, same, size).unwrap(), "{way:?}");
    }
}

/// A picture with detail everywhere.
fn photo(width: u16, height: u16, setting: impl FnOnce(&mut jpeg_encoder::Encoder<&mut Vec<u8>>)) -> Vec<u8> {
    let mut dice = Dice(u64::from(width) * 7 + u64::from(height));
    let (w, h) = (usize::from(width), usize::from(height));
    let mut pixels: Vec<u8> = (0..w * h * 3).map(|_| dice.below(64) as u8).collect();
    for (place, pixel) in pixels.chunks_exact_mut(3).enumerate() {
        let (x, y) = (place % w, place / w);
        pixel[0] += (x * 190 / w) as u8;
        pixel[1] += (y * 190 / h) as u8;
        pixel[2] += if (x / 32 + y / 32) % 2 == 0 { 150 } else { 20 };
    }
    let mut out = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut out, 90);
    encoder.set_sampling_factor(jpeg_encoder::SamplingFactor::F_2_2);
    setting(&mut encoder);
    encoder.encode(&pixels, width, height, jpeg_encoder::ColorType::Rgb).unwrap();
    out
}

fn position(bytes: &[u8], marker: u8) -> usize {
    bytes.windows(2).position(|pair| pair == [0xff, marker]).unwrap()
}

fn insert(bytes: &[u8], at: usize, new: &[u8]) -> Vec<u8> {
    [&bytes[..at], new, &bytes[at..]].concat()
}

#[test]
fn a_hole_of_zeros_or_an_error_page_in_the_image_data_is_an_error() {
    let whole = photo(640, 480, |_| ());
    let page = b"<html><h1>503 Service Unavailable</h1></html>\r\n".repeat(1000);
    let begins = position(&whole, 0xda) + 14;
    let mut dice = Dice(3);
    for size in [4096, 16_384, 40_000] {
        for fill in [&vec![0; size], &page[..size]] {
            for _ in 0..6 {
                let mut damaged = whole.clone();
                let at = begins + dice.below((whole.len() - 2 - begins - size) as u64) as usize;
                damaged[at..at + size].copy_from_slice(fill);
                refusals(&damaged, (640, 480));
            }
        }
    }
}

#[test]
fn a_hole_that_leaves_the_number_of_blocks_right_is_an_error() {
    // In the tables of the standard, zeros are a coefficient of luma: 97 bytes of them are a unit of 4:2:0, which may
    // be just what they replaced. So the zeros themselves are named, whatever follows from them.
    let whole = photo(640, 480, |_| ());
    let begins = position(&whole, 0xda) + 14;
    let middle = begins + (whole.len() - begins) / 2;
    for size in [1024, 4096] {
        let mut damaged = whole.clone();
        damaged[middle..middle + size].fill(0);
        for text in refusals(&damaged, (640, 480)) {
            assert!(text.contains("bytes of the image data, from byte") && text.contains("are zeros"), "{text}");
        }
    }
}

#[test]
fn long_runs_of_zeros_are_no_hole_where_they_end_blocks() {
    // The only code of the coefficients, zeros, ends a block; sizes of 0 have the code of zeros too.
    let flat =
        Flat { size: (800, 800), sampling: &[(1, 1)], ids: &[1], scans: &[&[0]], restart: 0, value: &|_, _, _| 0 }
            .jpeg();
    assert!(flat.windows(4096).any(|run| run.iter().all(|&byte| byte == 0)));
    for way in ways() {
        assert!(decode_with(way, &flat, (800, 800)).unwrap().iter().all(|&value| value == 128));
    }
}

#[test]
fn image_data_that_ends_some_bytes_early_or_late_is_an_error() {
    let whole = photo(320, 240, |_| ());
    let end = whole.len() - 2;
    let begins = position(&whole, 0xda) + 14;
    decode(&whole, (320, 240));
    for lost in [8, 20, 500, 5000] {
        refusals(&[&whole[..end - lost], &[0xff, 0xd9][..]].concat(), (320, 240));
    }
    for lost in [500, 5000] {
        // The same where the end is intact: what follows the gap moves forward.
        refusals(&[&whole[..begins], &whole[begins + lost..]].concat(), (320, 240));
    }
    let left_over = |count: usize| insert(&whole, end, &vec![0x5a; count]);
    for count in [9, 20, 500] {
        for text in refusals(&left_over(count), (320, 240)) {
            assert!(text.contains("left over") || text.contains("extraneous"), "{text}");
        }
    }
}

#[test]
fn a_progressive_jpeg_has_the_pixels_of_its_sequential_twin() {
    // Two decoders, which round differently.
    let near = |a: Vec<u8>, b: Vec<u8>| {
        let squares: u64 = a.iter().zip(&b).map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2)).sum();
        a.len() == b.len() && (squares as f64) < 3.0 * a.len() as f64
    };
    assert!(near(decode(PROGRESSIVE, GOLDEN), decode(SEQUENTIAL, GOLDEN)));
    let (progressive, sequential) = (photo(150, 90, |encoder| encoder.set_progressive(true)), photo(150, 90, |_| ()));
    assert!(near(decode(&progressive, (150, 90)), decode(&sequential, (150, 90))));
}

#[test]
fn a_progressive_jpeg_cut_anywhere_inside_of_a_scan_is_an_error() {
    // Where a scan has ended: a table or the next scan begins there.
    let first = position(PROGRESSIVE, 0xda);
    let starts = |at: usize| PROGRESSIVE[at] == 0xff && matches!(PROGRESSIVE[at + 1], 0xc4 | 0xda | 0xd9);
    const PLACES: i32 = 17;
    let mut whole_scans = 0;
    for keep in first + 2..PROGRESSIVE.len() - 2 {
        let cut = [&PROGRESSIVE[..keep], &[0xff, 0xd9]].concat();
        if starts(keep) || starts(keep - 1) {
            // Known to be missed, and documented: no decoder can tell that scans are missing. A lone 0xff is a fill
            // byte.
            whole_scans += 1;
            assert_eq!(decode(&cut, GOLDEN).len(), 45 * 37 * 3);
        } else {
            refusals(&cut, GOLDEN);
        }
    }
    assert_eq!(whole_scans, 2 * PLACES, "before each table and each scan but the first");
}

#[test]
fn restart_intervals_that_are_cut_swapped_or_lost_are_an_error() {
    let whole = photo(320, 96, |encoder| encoder.set_restart_interval(10));
    decodes_as(&whole, &photo(320, 96, |_| ()), (320, 96));
    let marker = |number: u8| position(&whole, 0xd0 + number);
    let lost = [&whole[..marker(1)], &whole[marker(2)..]].concat();
    let cut = [&whole[..marker(1) - 30], &whole[marker(1)..]].concat();
    let longer = insert(&whole, marker(1), &[0x5a; 30]);
    let mut swapped = whole.clone();
    swapped[marker(1) + 1] = 0xd4;
    for damaged in [lost, cut, longer, swapped] {
        refusals(&damaged, (320, 96));
    }
}

#[test]
fn stray_and_fill_bytes_between_the_segments_of_the_header_are_passed_over() {
    let whole = photo(64, 48, |_| ());
    for marker in [0xdb, 0xc0, 0xc4, 0xda] {
        for stray in [&[0, 0][..], &[0; 300], &[0xff], &[0xff; 7], b"stray", &[0xff, 0, 0xff, 0]] {
            decodes_as(&insert(&whole, position(&whole, marker), stray), &whole, (64, 48));
        }
    }
}

#[test]
fn segments_behind_the_scan_and_bytes_behind_the_end_are_no_damage() {
    let whole = photo(64, 48, |_| ());
    let end = whole.len() - 2;
    for behind in [&b"\xff\xfe\0\x09n\xff\xd9ote\0"[..], b"\xff\xef\0\x02", b"\xff\xff\xff"] {
        decodes_as(&insert(&whole, end, behind), &whole, (64, 48));
    }
    for trailing in [&b"\0\0\0"[..], b"ICC", &[0xff, 0xd9], &whole] {
        decodes_as(&[&whole, trailing].concat(), &whole, (64, 48));
    }
    for text in refusals(&insert(&whole, end, b"\xff\xfe\0\x04ab and more"), (64, 48)) {
        assert!(text.contains("9 bytes at byte") && text.contains("belong to no scan"), "{text}");
    }
}

#[test]
fn motion_jpeg_frames_without_huffman_tables_use_those_of_the_standard() {
    let whole = photo(64, 48, |_| ());
    let mut bare = whole.clone();
    while let Some(at) = bare.windows(2).position(|pair| pair == [0xff, 0xc4]) {
        let length = usize::from(u16::from_be_bytes([bare[at + 2], bare[at + 3]]));
        bare.drain(at..at + 2 + length);
    }
    assert!(bare.len() < whole.len() - 400);
    decodes_as(&bare, &whole, (64, 48));
}

/// Encodes flat blocks of 8 x 8 pixels: each scan has its components, one or several.
struct Flat<'a> {
    size: (u16, u16),
    sampling: &'a [(u16, u16)],
    ids: &'a [u8],
    scans: &'a [&'a [usize]],
    restart: u16,
    /// The value of a block, -127 to 127, of that component, column and row.
    value: &'a dyn Fn(usize, u16, u16) -> i32,
}

#[derive(Default)]
struct BitString(Vec<bool>);

impl BitString {
    fn put(&mut self, value: u32, bits: u32) {
        self.0.extend((0..bits).rev().map(|bit| value >> bit & 1 == 1));
    }

    /// The bytes, padded with ones, with a zero behind each 0xff.
    fn bytes(&mut self) -> Vec<u8> {
        self.0.resize(self.0.len().next_multiple_of(8), true);
        let bytes = self.0.chunks(8).map(|bits| bits.iter().fold(0, |byte, &bit| byte << 1 | u8::from(bit)));
        let bytes = bytes.flat_map(|byte| if byte == 0xff { vec![0xff, 0] } else { vec![byte] }).collect();
        self.0.clear();
        bytes
    }
}

impl Flat<'_> {
    fn jpeg(&self) -> Vec<u8> {
        let segment = |marker: u8, body: &[u8]| [&[0xff, marker, 0, body.len() as u8 + 2], body].concat();
        let (width, height) = self.size;
        let mut out = vec![0xff, 0xd8];
        // Values are multiples of the step 8, which is one level of a flat block.
        out.extend(segment(0xdb, &[&[0][..], &[8; 64]].concat()));
        let mut frame = [&[8][..], &height.to_be_bytes(), &width.to_be_bytes(), &[self.ids.len() as u8]].concat();
        for (id, (h, v)) in self.ids.iter().zip(self.sampling) {
            frame.extend([*id, (h << 4 | v) as u8, 0]);
        }
        out.extend(segment(0xc0, &frame));
        // Sizes 0 to 8 have codes of four bits. The only code of the other coefficients, of two bits, ends the block.
        let counts = |length: usize, count: u8| (1..=16).map(|bits| if bits == length { count } else { 0 }).collect();
        let (dc, ac): (Vec<u8>, Vec<u8>) = (counts(4, 9), counts(2, 1));
        out.extend(segment(0xc4, &[&[0][..], &dc, &[0, 1, 2, 3, 4, 5, 6, 7, 8]].concat()));
        out.extend(segment(0xc4, &[&[0x10][..], &ac, &[0]].concat()));
        if self.restart > 0 {
            out.extend(segment(0xdd, &self.restart.to_be_bytes()));
        }
        for scan in self.scans {
            let members: Vec<u8> = scan.iter().flat_map(|&component| [self.ids[component], 0]).collect();
            out.extend(segment(0xda, &[&[scan.len() as u8][..], &members, &[0, 63, 0]].concat()));
            out.extend(self.data(scan));
        }
        out.extend([0xff, 0xd9]);
        out
    }

    fn data(&self, scan: &[usize]) -> Vec<u8> {
        let largest = |of: fn(&(u16, u16)) -> u16| self.sampling.iter().map(of).max().unwrap();
        let (h_max, v_max) = (largest(|s| s.0), largest(|s| s.1));
        let (width, height) = self.size;
        let mut units: Vec<Vec<(usize, u16, u16)>> = Vec::new();
        if let [component] = scan {
            let (h, v) = self.sampling[*component];
            for row in 0..(height * v).div_ceil(8 * v_max) {
                units.extend((0..(width * h).div_ceil(8 * h_max)).map(|column| vec![(*component, column, row)]));
            }
        } else {
            for row in 0..height.div_ceil(8 * v_max) {
                for column in 0..width.div_ceil(8 * h_max) {
                    let blocks = scan.iter().flat_map(|&component| {
                        let (h, v) = self.sampling[component];
                        (0..v).flat_map(move |y| (0..h).map(move |x| (component, column * h + x, row * v + y)))
                    });
                    units.push(blocks.collect());
                }
            }
        }
        let (mut out, mut bits, mut before) = (Vec::new(), BitString::default(), [0; 4]);
        for (number, unit) in units.into_iter().enumerate() {
            if self.restart > 0 && number > 0 && number % usize::from(self.restart) == 0 {
                out.extend(bits.bytes());
                out.extend([0xff, 0xd0 + ((number / usize::from(self.restart) - 1) % 8) as u8]);
                before = [0; 4];
            }
            for (component, column, row) in unit {
                let value = (self.value)(component, column, row);
                let difference = value - std::mem::replace(&mut before[component], value);
                let size = 32 - difference.unsigned_abs().leading_zeros();
                bits.put(size, 4);
                let value = if difference < 0 { difference - 1 } else { difference };
                bits.put(value as u32 & ((1 << size) - 1), size);
                bits.put(0, 2);
            }
        }
        out.extend(bits.bytes());
        out
    }
}

#[test]
fn a_jpeg_with_several_sequential_scans_has_the_pixels_of_one_with_one() {
    let value = |component: usize, column: u16, row: u16| {
        (usize::from(column) * 37 + usize::from(row) * 101 + component * 59) as i32 % 255 - 127
    };
    let orders: [&[&[usize]]; 5] =
        [&[&[0], &[1], &[2]], &[&[2], &[0], &[1]], &[&[0], &[1, 2]], &[&[0, 1], &[2]], &[&[0, 2], &[1]]];
    let mut cases = 0;
    for size in [(8, 8), (40, 24), (43, 29), (100, 61)] {
        for luma in [(1, 1), (2, 1), (2, 2), (1, 2), (4, 1)] {
            for restart in [0, 3] {
                let sampling = [luma, (1, 1), (1, 1)];
                let flat = |scans| Flat { size, sampling: &sampling, ids: &[1, 2, 3], scans, restart, value: &value };
                let expected = flat(&[&[0, 1, 2]]).jpeg();
                for scans in orders {
                    decodes_as(&flat(scans).jpeg(), &expected, (size.0.into(), size.1.into()));
                    cases += 1;
                }
            }
        }
    }
    assert_eq!(cases, 200);
}

#[test]
fn components_of_scans_of_their_own_may_all_have_large_sampling_factors() {
    let value = |component: usize, column: u16, row: u16| i32::from(column * 9 + row * 5) + component as i32 * 7 - 60;
    let flat = |sampling| {
        let scans: &[&[usize]] = &[&[0], &[1], &[2]];
        Flat { size: (43, 29), sampling, ids: &[1, 2, 3], scans, restart: 0, value: &value }.jpeg()
    };
    decodes_as(&flat(&[(2, 2); 3]), &flat(&[(1, 1); 3]), (43, 29));
    for text in refusals(&flat(&[(3, 1), (2, 1), (1, 1)]), (43, 29)) {
        assert!(text.contains("sampling factors"), "{text}");
    }
}

#[test]
fn blocks_of_several_scans_have_the_values_that_were_encoded() {
    let value = |component: usize, column: u16, row: u16| match component {
        0 => i32::from(column * 50 + row * 20) - 120,
        _ => 0,
    };
    let sampling = [(1, 1); 3];
    let scans: &[&[usize]] = &[&[0], &[1], &[2]];
    let flat = Flat { size: (30, 20), sampling: &sampling, ids: &[1, 2, 3], scans, restart: 0, value: &value };
    for way in ways() {
        let pixels = decode_with(way, &flat.jpeg(), (30, 20)).unwrap();
        for (place, pixel) in pixels.chunks_exact(3).enumerate() {
            let (x, y) = (place as u16 % 30, place as u16 / 30);
            let expected = (value(0, x / 8, y / 8) + 128) as u8;
            assert_eq!(pixel, [expected; 3], "{way:?}, {x}, {y}");
        }
    }
    // Its second and its last scan are missing, and its second is there twice.
    let whole = flat.jpeg();
    let scan = |number: usize| whole.windows(2).enumerate().filter(|(_, pair)| pair == &[0xff, 0xda]).nth(number);
    let (second, third) = (scan(1).unwrap().0, scan(2).unwrap().0);
    for damaged in [
        [&whole[..second], &whole[third..]].concat(),
        [&whole[..third], &[0xff, 0xd9]].concat(),
        [&whole[..third], &whole[second..]].concat(),
        [&whole[..third - 4], &whole[third..]].concat(),
    ] {
        assert!(decode_with(ways()[1], &damaged, (30, 20)).is_err());
    }
}

#[test]
fn components_named_r_g_b_are_colours_and_others_are_ycbcr() {
    let value = |component: usize, _: u16, _: u16| [100, -60, 20][component];
    let flat = |ids| {
        let sampling = [(1, 1); 3];
        Flat { size: (16, 16), sampling: &sampling, ids, scans: &[&[0, 1, 2]], restart: 0, value: &value }.jpeg()
    };
    for way in ways() {
        let rgb = decode_with(way, &flat(b"RGB"), (16, 16)).unwrap();
        assert_eq!(rgb[..3], [228, 68, 148]);
        // An Adobe segment says the same of other names; JFIF says that they are YCbCr, whatever their names.
        let adobe = insert(&flat(&[1, 2, 3]), 2, b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0");
        assert_eq!(decode_with(way, &adobe, (16, 16)).unwrap(), rgb);
        let jfif = insert(&flat(b"RGB"), 2, b"\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0");
        let ycbcr = decode_with(way, &flat(&[1, 2, 3]), (16, 16)).unwrap();
        assert_ne!(ycbcr, rgb);
        assert_eq!(decode_with(way, &jfif, (16, 16)).unwrap(), ycbcr);
        assert_eq!(decode_with(way, &flat(&[0, 1, 2]), (16, 16)).unwrap(), ycbcr);
    }
}

#[test]
fn other_formats_are_named_by_their_first_bytes() {
    let cases: [(&[u8], &str); 14] = [
        (b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR", "a PNG"),
        (b"RIFF\x24\0\0\0WEBPVP8 ", "a WebP"),
        (b"GIF89a", "a GIF"),
        (b"II*\0\x08\0\0\0", "a TIFF"),
        (b"\0\0\0\x20ftypavif\0\0", "an AVIF"),
        (b"\0\0\0\x18ftypheic\0\0", "a HEIC"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000"),
        (b"BM\x36\0\0\0", "a BMP"),
        (b"\x1f\x8b\x08\0", "a gzip file"),
        (b"<!DOCTYPE html><html>", "an HTML page"),
        (b"\r\n<html lang=en>", "an HTML page"),
        (b"", "is empty"),
        (&[0; 4096], "4096 bytes are zeros"),
        (b"ab", "begins with the bytes 61 62"),
    ];
    for (bytes, words) in cases {
        // Whole or cut short, and also where an end marker happens to be in it.
        for member in [bytes.to_vec(), if bytes.len() < 20 { bytes.to_vec() } else { [bytes, b"\xff\xd9"].concat() }] {
            if words.contains("zeros") && member.len() > 4096 {
                continue;
            }
            for text in refusals(&member, (40, 30)) {
                assert!(text.contains("not a jpeg") && text.contains(words), "{text}");
                assert!(!text.contains("cut short"), "{text}");
            }
        }
    }
    let whole = photo(40, 30, |_| ());
    for text in refusals(&whole[..whole.len() / 2], (40, 30)) {
        assert!(text.contains("cut short") && !text.contains("not a jpeg"), "{text}");
    }
}

/// An APP1 segment whose only entry is the orientation.
fn exif(orientation: u8, big: bool) -> Vec<u8> {
    let tiff: &[u8] = if big {
        &[b'M', b'M', 0, 42, 0, 0, 0, 8, 0, 1, 1, 0x12, 0, 3, 0, 0, 0, 1, 0, orientation, 0, 0, 0, 0, 0, 0]
    } else {
        &[b'I', b'I', 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 1, 3, 0, 1, 0, 0, 0, orientation, 0, 0, 0, 0, 0, 0, 0]
    };
    [&[0xff, 0xe1, 0, 8 + tiff.len() as u8][..], b"Exif\0\0", tiff].concat()
}

#[test]
fn exif_is_named_where_it_explains_that_the_sizes_disagree() {
    let whole = photo(48, 32, |_| ());
    assert_eq!(exif_orientation(&whole), None);
    for orientation in 1..=8 {
        for big in [true, false] {
            let turned = insert(&whole, 2, &exif(orientation, big));
            assert_eq!(exif_orientation(&turned), Some(orientation));
            assert_eq!(exif_orientation(&turned[..turned.len() / 2]), Some(orientation), "of a JPEG that was cut");
            decodes_as(&turned, &whole, (48, 32));
            for text in refusals(&turned, (32, 48)) {
                assert_eq!(text.contains(&format!("EXIF orientation, {orientation}")), orientation >= 5, "{text}");
            }
            assert!(refusals(&turned, (31, 48)).iter().all(|text| !text.contains("EXIF")));
        }
    }
    for invalid in [0, 9, 255] {
        assert_eq!(exif_orientation(&insert(&whole, 2, &exif(invalid, true))), None);
    }
    let broken = exif(6, true);
    for keep in 0..broken.len() {
        assert_eq!(exif_orientation(&[&whole[..2], &broken[..keep]].concat()), None);
    }
}

#[test]
fn forms_that_are_not_decoded_are_named() {
    let whole = photo(40, 30, |_| ());
    let frame = position(&whole, 0xc0);
    let with = |at: usize, value: u8| {
        let mut changed = whole.clone();
        changed[at] = value;
        decode_with(ways()[1], &changed, (40, 30)).unwrap_err().to_string()
    };
    assert!(with(frame + 1, 0xc9).contains("arithmetic sequential form"));
    assert!(with(frame + 1, 0xc3).contains("lossless form"));
    assert!(with(frame + 4, 12).contains("12 bits a sample"));
}

#[test]
fn any_flipped_bit_gives_pixels_or_a_message_in_plain_words() {
    let wholes = [
        (photo(64, 48, |_| ()), (64, 48)),
        (photo(64, 48, |encoder| encoder.set_restart_interval(2)), (64, 48)),
        (PROGRESSIVE.to_vec(), GOLDEN),
        (SEQUENTIAL.to_vec(), GOLDEN),
    ];
    let mut refused = 0;
    for (whole, size) in wholes {
        for at in 2..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << (at % 8);
            for way in ways() {
                if let Err(e) = decode_with(way, &flipped, size) {
                    let text = e.to_string();
                    let debug = ["\"", "Some(", "None", "Err(", "Format(", "\n", "{"];
                    assert!(debug.iter().all(|form| !text.contains(form)) && text.contains("jpeg: "), "{text}");
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 500, "{refused}");
}

/// The three planes of a canvas that the image fills.
fn decode_to(scaled: ScaledDecode, simd: Simd, jpeg: &[u8], size: (u32, u32), target: (u32, u32)) -> Vec<u8> {
    let side = target.0.max(target.1) as usize;
    let mut out = vec![0; 3 * side * side];
    let canvas = Canvas::new(&Planes::U8, target, side as u32, &mut out);
    Decoder::new(scaled, u64::MAX).simd(simd).decode(ImageJob::new(jpeg, size, canvas)).unwrap();
    out
}

#[test]
fn any_number_of_images_with_tables_of_their_own_are_decoded_at_once() {
    let size = (40, 24);
    let photos: Vec<_> = (0..24_u8)
        .map(|number| {
            let pixels: Vec<u8> = (0..3 * 40 * 24_usize)
                .map(|at| ((at as u8).wrapping_mul(number) / (1 + number)) ^ (at / 120) as u8)
                .collect();
            let mut jpeg = Vec::new();
            let mut encoder = jpeg_encoder::Encoder::new(&mut jpeg, 60 + number);
            encoder.set_optimized_huffman_tables(true);
            encoder.encode(&pixels, 40, 24, jpeg_encoder::ColorType::Rgb).unwrap();
            jpeg
        })
        .collect();
    let mut outs = vec![vec![0; 3 * 40 * 40]; photos.len()];
    let jobs = outs
        .iter_mut()
        .zip(&photos)
        .map(|(out, jpeg)| ImageJob::new(jpeg, size, Canvas::new(&Planes::U8, size, 40, out)));
    let mut decoder = Decoder::new(ScaledDecode::Full, 1 << 24);
    for (number, result) in decoder.decode_all(&mut jobs.collect::<Vec<_>>()).into_iter().enumerate() {
        result.unwrap_or_else(|e| panic!("image {number}: {e}"));
    }
    for (out, jpeg) in outs.iter().zip(&photos) {
        assert!(*out == decode_to(ScaledDecode::Full, Simd::best(), jpeg, size, size));
    }
}

#[test]
fn images_of_extreme_shapes_keep_their_colour() {
    const COLOUR: i32 = 100;
    let value = |component: usize, _: u16, _: u16| if component == 0 { COLOUR } else { 0 };
    let sampling = &[(2, 2), (1, 1), (1, 1)];
    let mut cases = 0;
    for size in [(65_535, 1), (1, 65_535), (17, 40_000)] {
        let jpeg = Flat { size, sampling, ids: &[1, 2, 3], scans: &[&[0, 1, 2]], restart: 1, value: &value }.jpeg();
        let size = (u32::from(size.0), u32::from(size.1));
        for longest in [1, 2, 64, 1024] {
            let of = |side: u32| (side * longest).div_ceil(size.0.max(size.1));
            let target = (of(size.0), of(size.1));
            for scaled in [ScaledDecode::Auto, ScaledDecode::Full] {
                let planes = decode_to(scaled, Simd::best(), &jpeg, size, target);
                assert!(planes == decode_to(scaled, Simd::PORTABLE, &jpeg, size, target));
                let side = longest as usize;
                for (at, &found) in planes.iter().enumerate() {
                    let (x, y) = (at % side, at / side % side);
                    let expected = if x < target.0 as usize && y < target.1 as usize { COLOUR + 128 } else { 0 };
                    assert!((i32::from(found) - expected).abs() <= 1, "{size:?} {target:?} {scaled:?}: {found}");
                }
                cases += 1;
            }
        }
    }
    assert_eq!(cases, 24);
}

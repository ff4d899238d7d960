//! Compares our JPEG decoder with others: from the JPEG to three planes of a square canvas, and the decoding alone.
//!
//!     cargo run --release --manifest-path benches/peers/jpeg/Cargo.toml -- [--side N] [--rounds N] [FOLDER]
//!
//! Without a folder of JPEGs, generated ones of 2250 x 1500 pixels are decoded. Times are CPU milliseconds of this
//! thread per image, medians of interleaved rounds; ratios are medians of the rounds' ratios.

use std::error::Error;
use std::hint::black_box;
use std::path::PathBuf;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use maskstream::internals::{Canvas, Decoder, ImageJob, Planes, RowPoints, Simd, View};
use maskstream::synth::{Preset, SynthOptions, sample};
use maskstream::{Fit, Geometry, ScaledDecode};
use rustix::time::{ClockId, clock_gettime};
use turbojpeg::{Decompressor, PixelFormat, ScalingFactor};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

struct Jpeg {
    bytes: Vec<u8>,
    size: (u32, u32),
}

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let (mut side, mut rounds, mut folder) = (1024, 9, None);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--side" => side = args.next().ok_or("--side needs a number")?.parse()?,
            "--rounds" => rounds = args.next().ok_or("--rounds needs a number")?.parse()?,
            _ => folder = Some(PathBuf::from(arg)),
        }
    }
    let jpegs = match folder {
        Some(folder) => read(folder)?,
        None => generate()?,
    };
    let bytes: usize = jpegs.iter().map(|jpeg| jpeg.bytes.len()).sum();
    println!(
        "{} images, {:.2} MB each, to planes of {side} x {side}",
        jpegs.len(),
        bytes as f64 / 1e6 / jpegs.len() as f64
    );
    let mut cases = cases(&jpegs, side);
    let mut times = vec![Vec::new(); cases.len()];
    for round in 0..rounds {
        for turn in 0..cases.len() {
            let case = (turn + round) % cases.len();
            let start = now();
            (cases[case].2)()?;
            times[case].push(now() - start);
        }
    }
    println!("{:44} {:>8} {:>22}", "", "ms", "ratio to the first 3");
    for (case, (name, passes, _)) in cases.iter().enumerate() {
        let ratio =
            |base: usize| median(times[case].iter().zip(&times[base]).map(|(time, base)| time / base).collect());
        let passes = *passes as f64;
        let ms = median(times[case].clone()) / jpegs.len() as f64 / passes;
        println!("{name:44} {ms:8.2} {:7.2}{:7.2}{:7.2}", ratio(0) / passes, ratio(1) / passes, ratio(2) / passes);
    }
    Ok(())
}

fn read(folder: PathBuf) -> Result<Vec<Jpeg>> {
    let mut paths: Vec<_> = std::fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::result::Result<_, _>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "jpg"));
    paths.sort();
    let read = |path: PathBuf| {
        let bytes = std::fs::read(path)?;
        let header = turbojpeg::read_header(&bytes)?;
        Ok(Jpeg { bytes, size: (header.width as u32, header.height as u32) })
    };
    paths.into_iter().map(read).collect()
}

fn generate() -> Result<Vec<Jpeg>> {
    let options = SynthOptions::new(Preset::Full).seed(1);
    (1..=8)
        .map(|id| {
            let bytes = sample(id, &options)?.image;
            let header = turbojpeg::read_header(&bytes)?;
            Ok(Jpeg { size: (header.width as u32, header.height as u32), bytes })
        })
        .collect()
}

/// CPU time of this thread in milliseconds.
fn now() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 * 1e3 + now.tv_nsec as f64 / 1e6
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// A name, how often each image is decoded, and the work.
type Case<'a> = (String, usize, Box<dyn FnMut() -> Result<()> + 'a>);

fn cases(jpegs: &[Jpeg], side: u32) -> Vec<Case<'_>> {
    let half = move |jpeg: &Jpeg, pixels: &mut Vec<u8>| {
        let target = target(jpeg, side)?;
        let is_enough = jpeg.size.0 >= 2 * target.0 && jpeg.size.1 >= 2 * target.1;
        decode_with_turbo(jpeg, if is_enough { 2 } else { 1 }, pixels)
    };
    let turbo = |denominator| move |jpeg: &Jpeg, pixels: &mut Vec<u8>| decode_with_turbo(jpeg, denominator, pixels);
    let mut cases = vec![
        alone(jpegs, "libjpeg-turbo 1/8", turbo(8)),
        resized(jpegs, side, "libjpeg-turbo 1/2", half),
        resized(jpegs, side, "zune-jpeg", decode_with_zune),
        alone(jpegs, "libjpeg-turbo 1/2", turbo(2)),
        alone(jpegs, "libjpeg-turbo full size", turbo(1)),
        alone(jpegs, "zune-jpeg", decode_with_zune),
    ];
    for (name, scaled, simd, together) in [
        ("ours, auto, all together", ScaledDecode::Auto, Simd::best(), usize::MAX),
        ("ours, auto, one by one", ScaledDecode::Auto, Simd::best(), 1),
        ("ours, full, all together", ScaledDecode::Full, Simd::best(), usize::MAX),
        ("ours, full, one by one", ScaledDecode::Full, Simd::best(), 1),
        ("ours, auto, one by one, without AVX2", ScaledDecode::Auto, Simd::PORTABLE, 1),
    ] {
        cases.push((
            name.to_owned(),
            1,
            Box::new(ours(jpegs, side, Decoder::new(scaled, u64::MAX).simd(simd), together)),
        ));
    }
    let decoder = Decoder::new(ScaledDecode::Auto, u64::MAX);
    cases.push(("ours, 1/8, to 64 x 64, all together".to_owned(), 1, Box::new(ours(jpegs, 64, decoder, usize::MAX))));
    let decoder = Decoder::new(ScaledDecode::Auto, u64::MAX);
    cases.push(("ours, 1/8, to 64 x 64, one by one".to_owned(), 1, Box::new(ours(jpegs, 64, decoder, 1))));
    for (name, share, together, has_points) in [
        ("ours, auto, stretched, all together", [1.0, 1.0], usize::MAX, false),
        ("ours, auto, crops of 8 to 100 %, all together", [0.08, 1.0], usize::MAX, false),
        ("... from the points of their rows", [0.08, 1.0], usize::MAX, true),
        ("ours, auto, crops of 8 to 30 %, all together", [0.08, 0.3], usize::MAX, false),
        ("... from the points of their rows", [0.08, 0.3], usize::MAX, true),
        ("ours, auto, stretched, one by one", [1.0, 1.0], 1, false),
        ("ours, auto, crops of 8 to 100 %, one by one", [0.08, 1.0], 1, false),
        ("... from the points of their rows", [0.08, 1.0], 1, true),
    ] {
        cases.push((name.to_owned(), CROPS, Box::new(cropped(jpegs, side, share, together, has_points))));
    }
    cases
}

/// Crops of each image.
const CROPS: usize = 8;

/// Parts of the images, of shares of their areas that are spread evenly, each in one of many places.
fn cropped(
    jpegs: &[Jpeg],
    side: u32,
    share: [f64; 2],
    together: usize,
    has_points: bool,
) -> impl FnMut() -> Result<()> + '_ {
    let points: Vec<Option<RowPoints>> =
        jpegs.iter().map(|jpeg| RowPoints::of(&jpeg.bytes).filter(|_| has_points)).collect();
    let mut decoder = Decoder::new(ScaledDecode::Auto, u64::MAX);
    let plane = side as usize * side as usize;
    let mut outs = vec![vec![0; 3 * plane]; jpegs.len().min(together)];
    let crops: Vec<Vec<View>> = (0..CROPS)
        .map(|turn| {
            let crop = |(i, jpeg)| crop(jpeg, share, turn * jpegs.len() + i + 1);
            jpegs.iter().enumerate().map(crop).collect()
        })
        .collect();
    move || {
        for crops in &crops {
            let images: Vec<_> = jpegs.iter().zip(crops).zip(&points).collect();
            for images in images.chunks(outs.len()) {
                let jobs = images.iter().zip(&mut outs).map(|(&((jpeg, view), points), out)| {
                    let canvas = Canvas::new(&Planes::U8, (side, side), side, out);
                    ImageJob {
                        view: view.clone(),
                        row_points: points.as_ref(),
                        ..ImageJob::new(&jpeg.bytes, jpeg.size, canvas)
                    }
                });
                decoder
                    .decode_all(&mut jobs.collect::<Vec<_>>())
                    .into_iter()
                    .collect::<maskstream::Result<Vec<()>>>()?;
            }
        }
        black_box(&outs);
        Ok(())
    }
}

/// A crop as torchvision's `RandomResizedCrop` draws them, from numbers of low discrepancy, so that it is the same in
/// each case and round.
fn crop(jpeg: &Jpeg, [least, most]: [f64; 2], number: usize) -> View {
    let draw = |k: i32| (number as f64 * 0.754_877_666_f64.powi(k)).fract();
    let area = least + (most - least) * draw(1);
    let aspect = if area < 1.0 { (4.0_f64 / 3.0).powf(2.0 * draw(2) - 1.0) } else { 1.0 };
    let part = |side: f64, at: f64, pixels: u32| {
        let length = (side.min(1.0) * f64::from(pixels)).round();
        let start = ((f64::from(pixels) - length) * at).round();
        start..start + length
    };
    View {
        x: part((area * aspect).sqrt(), draw(3), jpeg.size.0),
        y: part((area / aspect).sqrt(), draw(4), jpeg.size.1),
        ..View::whole(jpeg.size)
    }
}

/// Decoding alone. `decode` returns the size of what it has decoded.
fn alone<'a>(
    jpegs: &'a [Jpeg],
    name: &str,
    decode: impl Fn(&Jpeg, &mut Vec<u8>) -> Result<(u32, u32)> + 'a,
) -> Case<'a> {
    let mut pixels = Vec::new();
    let run = move || {
        for jpeg in jpegs {
            decode(jpeg, &mut pixels)?;
            black_box(&pixels);
        }
        Ok(())
    };
    (format!("{name}, decoding alone"), 1, Box::new(run))
}

/// Decoding, resizing and planes.
fn resized<'a>(
    jpegs: &'a [Jpeg],
    side: u32,
    name: &str,
    decode: impl Fn(&Jpeg, &mut Vec<u8>) -> Result<(u32, u32)> + 'a,
) -> Case<'a> {
    let (mut pixels, mut planes) = (Vec::new(), ResizedPlanes::new(side));
    let run = move || {
        for jpeg in jpegs {
            let size = decode(jpeg, &mut pixels)?;
            planes.fill(&pixels, size, target(jpeg, side)?)?;
        }
        Ok(())
    };
    (format!("{name} + fast_image_resize"), 1, Box::new(run))
}

fn ours(jpegs: &[Jpeg], side: u32, mut decoder: Decoder, together: usize) -> impl FnMut() -> Result<()> + '_ {
    let plane = side as usize * side as usize;
    let mut outs = vec![vec![0; 3 * plane]; jpegs.len().min(together)];
    move || {
        for jpegs in jpegs.chunks(outs.len()) {
            let mut jobs = Vec::new();
            for (jpeg, out) in jpegs.iter().zip(&mut outs) {
                let canvas = Canvas::new(&Planes::U8, target(jpeg, side)?, side, out);
                jobs.push(ImageJob::new(&jpeg.bytes, jpeg.size, canvas));
            }
            decoder.decode_all(&mut jobs).into_iter().collect::<maskstream::Result<Vec<()>>>()?;
        }
        black_box(&outs);
        Ok(())
    }
}

/// Size of a letterboxed image.
fn target(jpeg: &Jpeg, side: u32) -> Result<(u32, u32)> {
    let geometry = Geometry::new(jpeg.size.0, jpeg.size.1, side, Fit::Letterbox)?;
    Ok((geometry.content_width(), geometry.content_height()))
}

fn decode_with_turbo(jpeg: &Jpeg, denominator: usize, pixels: &mut Vec<u8>) -> Result<(u32, u32)> {
    let mut decompressor = Decompressor::new()?;
    let header = decompressor.read_header(&jpeg.bytes)?;
    let scale = ScalingFactor::new(1, denominator);
    decompressor.set_scaling_factor(scale)?;
    let scaled = header.scaled(scale);
    let (width, height) = (scaled.width, scaled.height);
    pixels.resize(3 * width * height, 0);
    let image = turbojpeg::Image { pixels: &mut pixels[..], width, pitch: 3 * width, height, format: PixelFormat::RGB };
    decompressor.decompress(&jpeg.bytes, image)?;
    Ok((width as u32, height as u32))
}

fn decode_with_zune(jpeg: &Jpeg, pixels: &mut Vec<u8>) -> Result<(u32, u32)> {
    let options = DecoderOptions::new_fast().jpeg_set_out_colorspace(ColorSpace::RGB);
    pixels.resize(3 * jpeg.size.0 as usize * jpeg.size.1 as usize, 0);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(&jpeg.bytes[..]), options);
    decoder.decode_into(pixels).map_err(|error| format!("zune-jpeg: {error:?}"))?;
    Ok(jpeg.size)
}

/// Three planes of a canvas, by way of interleaved pixels.
struct ResizedPlanes {
    side: usize,
    resizer: Resizer,
    resized: Vec<u8>,
    planes: Vec<u8>,
}

impl ResizedPlanes {
    fn new(side: u32) -> Self {
        let side = side as usize;
        Self { side, resizer: Resizer::new(), resized: Vec::new(), planes: vec![0; 3 * side * side] }
    }

    fn fill(&mut self, pixels: &[u8], size: (u32, u32), (width, height): (u32, u32)) -> Result<()> {
        let Self { side, resizer, resized, planes } = self;
        resized.resize(3 * width as usize * height as usize, 0);
        let source = ImageRef::new(size.0, size.1, pixels, PixelType::U8x3)?;
        let mut image = Image::from_slice_u8(width, height, resized, PixelType::U8x3)?;
        let bilinear = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
        resizer.resize(&source, &mut image, &bilinear)?;
        let (width, plane) = (width as usize, *side * *side);
        let (red, rest) = planes.split_at_mut(plane);
        let (green, blue) = rest.split_at_mut(plane);
        let rows = red.chunks_exact_mut(*side).zip(green.chunks_exact_mut(*side)).zip(blue.chunks_exact_mut(*side));
        let mut pixels = resized.chunks_exact(3 * width);
        for ((red, green), blue) in rows {
            let row = pixels.next().unwrap_or_default().as_chunks::<3>().0;
            let outs = red.iter_mut().zip(green.iter_mut()).zip(blue.iter_mut());
            for (((red, green), blue), pixel) in outs.zip(row) {
                (*red, *green, *blue) = (pixel[0], pixel[1], pixel[2]);
            }
            for plane in [red, green, blue] {
                plane[row.len()..].fill(0);
            }
        }
        black_box(&planes);
        Ok(())
    }
}

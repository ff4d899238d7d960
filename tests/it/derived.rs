//! Derived shards: smaller images with the labels of the originals, which say of themselves what they are; anything
//! that contradicts itself is refused, and nothing is lost unasked.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use maskstream::index::{Derive, DeriveReport, Entry, IfExists, IndexStatus, Indexer, ShardIndex, Sidecar};
use maskstream::internals::{Canvas, Decoder, ImageJob, Planes};
use maskstream::synth::{Preset, SynthOptions, write_shard};
use maskstream::{Batch, BoxFormat, Fit, Loader, MaskFilter, OnCorrupt, Result, ScaledDecode, ShardSet};

use crate::fixture::{content, jpeg, lenient, made, members, pack, read_with_tar};

/// Longest side of the derived images of most tests; the originals are 384 x 256 and the like.
const LONGEST: u32 = 200;

/// A directory with an original shard, and another one for what is derived from it.
struct Place {
    _dir: tempfile::TempDir,
    original: PathBuf,
    out: PathBuf,
}

/// Decodes a JPEG for annotations of that size.
fn decode(jpeg: &[u8], size: (u32, u32)) -> Result<()> {
    let mut out = vec![0; 3 * 40 * 40];
    let canvas = Canvas::new(&Planes::U8, (40, 30), 40, &mut out);
    Decoder::new(ScaledDecode::Full, 1 << 20).decode(ImageJob::new(jpeg, size, canvas))
}

impl Place {
    fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (original, out) = (dir.path().join("in/sa_000000.tar"), dir.path().join("out"));
        fs::create_dir(dir.path().join("in")).unwrap();
        Self { _dir: dir, original, out }
    }

    fn with(shard: &[u8]) -> Self {
        let place = Self::empty();
        fs::write(&place.original, shard).unwrap();
        place
    }

    /// Drawn scenes: photo-like pixels in both orientations.
    fn drawn(gzip: bool) -> Self {
        let place = Self::empty();
        let options = SynthOptions::new(Preset::Small).samples(8).seed(3).gzip(gzip);
        write_shard(&place.original, 0, &options).unwrap();
        place
    }

    fn derive(&self, derive: Derive) -> Result<DeriveReport> {
        Indexer::new().derive(&self.original, &self.out, &derive, IfExists::Keep)
    }

    fn derived(&self) -> PathBuf {
        self.out.join("sa_000000.tar")
    }
}

fn index(path: &Path) -> ShardIndex {
    Indexer::new().index(path).unwrap().index
}

fn is_derived(index: &ShardIndex) -> Vec<bool> {
    index.entries().iter().map(|entry| entry.derived().is_some()).collect()
}

fn stem(entry: &Entry) -> String {
    entry.image_name().trim_start_matches("./").trim_end_matches(".jpg").to_owned()
}

/// The only batch of a shard at an image size.
fn batch(path: &Path, image_size: u32, fit: Fit) -> Batch {
    let set = ShardSet::builder().filter(MaskFilter::all()).open(&[path]).unwrap();
    let loader = Loader::builder().batch_size(8).image_size(image_size).fit(fit).mask_size(Some([96, 80]));
    let loader = loader.coverage(Some(16)).top_k(12).box_format(BoxFormat::Xyxy).num_workers(2).build(set).unwrap();
    let mut epoch = loader.epoch(0).unwrap();
    let batch = epoch.next().unwrap().unwrap();
    assert!(epoch.next().is_none());
    batch
}

fn psnr(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    let squares: f64 = a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum();
    10.0 * (255.0 * 255.0 * a.len() as f64 / squares).log10()
}

/// The pixels of a JPEG as zune-jpeg decodes them, interleaved, and its size.
fn decoded(jpeg: &[u8]) -> (Vec<u8>, usize, usize) {
    use zune_jpeg::zune_core::{bytestream::ZCursor, colorspace::ColorSpace, options::DecoderOptions};
    let options = DecoderOptions::default().jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = zune_jpeg::JpegDecoder::new_with_options(ZCursor::new(jpeg), options);
    let pixels = decoder.decode().unwrap();
    let (width, height) = decoder.dimensions().unwrap();
    (pixels, width, height)
}

#[test]
fn labels_are_those_of_the_original_at_every_size_and_pixels_are_near() {
    let place = Place::drawn(false);
    let report = place.derive(Derive::new(LONGEST)).unwrap();
    assert_eq!((report.resized, report.kept, report.unreadable.len()), (8, 0, 0));
    for fit in [Fit::Letterbox, Fit::Stretch] {
        // At the size that it was made for, below it, and above it, where detail is gone.
        for (image_size, least) in [(LONGEST, 35.0), (96, 35.0), (320, 20.0)] {
            let [original, derived] = [&place.original, &place.derived()].map(|path| batch(path, image_size, fit));
            let [mut a, mut b]: [BTreeMap<String, Vec<u8>>; 2] = [&original, &derived].map(content);
            let (a_pixels, b_pixels) = (a.remove("images").unwrap(), b.remove("images").unwrap());
            assert!(a["masks"].contains(&1) && a["coverage"].iter().any(|&byte| byte != 0));
            for (name, bytes) in &a {
                assert!(b[name] == *bytes, "{name} differs at {image_size}, {fit:?}");
            }
            let near = psnr(&a_pixels, &b_pixels);
            assert!(near >= least, "{near:.1} dB at {image_size}, {fit:?}");
        }
    }
}

#[test]
fn at_the_longest_side_the_pixels_of_a_batch_are_those_of_the_stored_jpeg() {
    // Nothing is resized twice: the rounding of the size is that of the loader.
    let place = Place::drawn(false);
    place.derive(Derive::new(LONGEST)).unwrap();
    let batch = batch(&place.derived(), LONGEST, Fit::Letterbox);
    let files = read_with_tar(&fs::read(place.derived()).unwrap());
    let side = LONGEST as usize;
    for (row, id) in batch.image_ids().iter().enumerate() {
        let (pixels, width, height) = decoded(&files[&format!("sa_{id}.jpg")].1);
        assert_eq!(width.max(height), side);
        let planes = &batch.images().bytes[row * 3 * side * side..][..3 * side * side];
        for (at, pixel) in pixels.chunks_exact(3).enumerate() {
            let (x, y) = (at % width, at / width);
            let found = [0, 1, 2].map(|channel| planes[(channel * side + y) * side + x]);
            // Not resized once more: only the rounding of two decoders differs.
            let is_near = found.iter().zip(pixel).all(|(found, stored)| found.abs_diff(*stored) <= 3);
            assert!(is_near, "image {id}, pixel {x}, {y}: {found:?} {pixel:?}");
        }
    }
}

#[test]
fn members_keep_their_names_and_order_and_annotations_their_bytes() {
    for gzip in [false, true] {
        let place = Place::drawn(gzip);
        let report = place.derive(Derive::new(LONGEST).quality(80)).unwrap();
        assert_eq!((report.repacked.source.is_gzip, report.resized), (gzip, 8));
        assert_eq!(report.repacked.shard_bytes, fs::metadata(place.derived()).unwrap().len());
        let (original, derived) = (index(&place.original), index(&place.derived()));
        assert_eq!(derived.findings(), &[]);
        let mut end = 0;
        for (a, b) in original.entries().iter().zip(derived.entries()) {
            assert_eq!((stem(a), a.width, a.height), (stem(b), b.width, b.height));
            assert_eq!((a.annotations.len, a.annotations.crc32c), (b.annotations.len, b.annotations.crc32c));
            assert!(end < b.image.offset && b.image.offset < b.annotations.offset);
            end = b.annotations.offset;
            let said = b.derived().unwrap();
            assert_eq!((said.original_width, said.original_height, said.quality), (a.width, a.height, 80));
            assert_eq!((said.original_crc32c, a.derived()), (a.image.crc32c, None));
            assert_eq!((b.stored_size(), a.stored_size()), ((said.width, said.height), (a.width, a.height)));
            // As SAM rounds: the longer side is exact.
            let scaled =
                |side: u32| (f64::from(side * LONGEST) / f64::from(a.width.max(a.height)) + 0.5).floor() as u32;
            assert_eq!((said.width, said.height), (scaled(a.width), scaled(a.height)));
            assert!(b.image.len < a.image.len);
        }
        assert_eq!(original.entries().len(), derived.entries().len());
    }
}

#[test]
fn a_gzip_original_gives_the_same_bytes() {
    let [plain, gzip] = [false, true].map(|gzip| {
        let place = Place::drawn(gzip);
        place.derive(Derive::new(LONGEST)).unwrap();
        fs::read(place.derived()).unwrap()
    });
    assert!(plain == gzip);
}

#[test]
fn images_say_of_themselves_what_they_are_so_an_index_can_be_built_again_from_any_copy() {
    let place = Place::drawn(false);
    place.derive(Derive::new(LONGEST)).unwrap();
    let saved = Indexer::new().index(place.derived()).unwrap();
    assert_eq!((&saved.status, is_derived(&saved.index)), (&IndexStatus::Loaded, vec![true; 8]));
    let built = Indexer::new().sidecar(Sidecar::Off).index(place.derived()).unwrap();
    assert!(built.index == saved.index);

    // In plain words, in a comment behind JFIF's segment, where image viewers show it.
    let files = read_with_tar(&fs::read(place.derived()).unwrap());
    let entry = &saved.index.entries()[0];
    let (said, image) = (entry.derived().unwrap(), &files[&format!("{}.jpg", stem(entry))].1);
    let text = format!(
        "maskstream derived (lossy): {} x {} from {} x {}, quality 90, original crc32c {:08x}",
        said.width, said.height, entry.width, entry.height, said.original_crc32c
    );
    let comment = [&[0xff, 0xfe, 0, 2 + text.len() as u8], text.as_bytes()].concat();
    assert_eq!((&image[..4], &image[20..20 + comment.len()]), (&b"\xff\xd8\xff\xe0"[..], &comment[..]));

    // Packed again by another program, as a gzip stream; and repacked.
    let again = maskstream::synth::pack(files.iter().map(|(name, (_, bytes))| (name.as_str(), &bytes[..])), true);
    let copy = Place::with(&again.unwrap());
    assert_eq!(is_derived(&index(&copy.original)), [true; 8]);
    Indexer::new().repack(&copy.original, &copy.out, IfExists::Keep).unwrap();
    assert_eq!(is_derived(&index(&copy.derived())), [true; 8]);
    let pixels = |path: &Path| -> BTreeMap<i64, Vec<u8>> {
        let batch = batch(path, 64, Fit::Letterbox);
        let images = batch.images().bytes.chunks(3 * 64 * 64).map(<[u8]>::to_vec);
        batch.image_ids().iter().copied().zip(images).collect()
    };
    assert!(pixels(&copy.derived()) == pixels(&place.derived()));
}

#[test]
fn images_that_are_no_larger_are_kept_byte_for_byte() {
    let samples = [made(1, 90, 60, 3), made(2, 64, 64, 3), made(3, 40, 64, 3), made(4, 65, 10, 3), made(5, 8, 300, 3)];
    let place = Place::with(&pack(&members(&samples)));
    let report = place.derive(Derive::new(64)).unwrap();
    assert_eq!((report.resized, report.kept), (3, 2));
    let files = read_with_tar(&fs::read(place.derived()).unwrap());
    let derived = index(&place.derived());
    let sizes: Vec<_> = derived.entries().iter().map(Entry::stored_size).collect();
    assert_eq!(sizes, [(64, 43), (64, 64), (40, 64), (64, 10), (2, 64)]);
    assert_eq!(is_derived(&derived), [true, false, false, true, true]);
    for sample in &samples {
        assert_eq!(files[&sample.image_name()].1 == sample.image, matches!(sample.id, 2 | 3));
        assert!(files[&sample.json_name()].1 == sample.json);
    }
    assert!(place.derive(Derive::new(64)).unwrap().repacked.written.is_none());
}

fn refusal(jpeg: &[u8], annotated: (u32, u32)) -> String {
    let error = decode(jpeg, annotated).unwrap_err();
    assert!(error.is_corrupt(), "{error}");
    error.to_string()
}

/// A JPEG with a comment behind its first segment.
fn commented(jpeg: &[u8], text: &str) -> Vec<u8> {
    let comment = [&[0xff, 0xfe, 0, 2 + text.len() as u8], text.as_bytes()].concat();
    [&jpeg[..20], &comment, &jpeg[20..]].concat()
}

#[test]
fn a_jpeg_of_another_size_than_its_annotations_say_is_refused_unless_it_is_derived_from_that_size() {
    let small = jpeg(40, 30, 1);
    let said = |text: &str| commented(&small, &format!("maskstream derived (lossy): {text}"));
    let derived = said("40 x 30 from 80 x 60, quality 90, original crc32c 00c0ffee");
    assert!(decode(&derived, (80, 60)).is_ok());

    // It says nothing of itself, or nothing that can be understood.
    for image in [
        small.clone(),
        said("40 x 30"),
        said("40 x 30 from 80 x 60, quality 0, original crc32c 00c0ffee"),
        said("40 x 30 from 80 x 60, quality 90, original crc32c c0ffee"),
        said("40 x 30 from 80 x 60, quality 90, original crc32c 00c0ffee, and more"),
        said("40 x 30 from 080 x 60, quality 90, original crc32c 00c0ffee"),
        said("40 x 30 from 80 x 66000, quality 90, original crc32c 00c0ffee"),
        commented(&small, "derived: 40 x 30 from 80 x 60"),
    ] {
        let text = refusal(&image, (80, 60));
        assert!(text.contains("the image is 40 x 30, but its annotations say 80 x 60"), "{text}");
    }
    // The annotations of another image, or made for the small one.
    for annotated in [(90, 60), (40, 30)] {
        let (text, (w, h)) = (refusal(&derived, annotated), annotated);
        assert!(text.contains(&format!("derived from one of 80 x 60, but its annotations say {w} x {h}")), "{text}");
    }
    // A tool that cut the derived image has kept the comment.
    let cut = commented(
        &jpeg(32, 30, 1),
        "maskstream derived (lossy): 40 x 30 from 80 x 60, quality 90, original crc32c 00c0ffee",
    );
    let text = refusal(&cut, (80, 60));
    assert!(text.contains("the image is 32 x 30, but says that it is 40 x 30, derived from 80 x 60"), "{text}");
}

#[test]
fn a_loader_names_the_shard_and_the_member_whose_annotations_are_of_another_image() {
    let place = Place::with(&pack(&members(&[made(1, 90, 60, 3), made(2, 80, 60, 3)])));
    place.derive(Derive::new(40)).unwrap();
    let mut files: Vec<_> = read_with_tar(&fs::read(place.derived()).unwrap())
        .into_iter()
        .map(|(name, (_, bytes))| (name, bytes))
        .collect();
    // The images change places.
    let [a, b] = ["sa_1.jpg", "sa_2.jpg"].map(|wanted| files.iter().position(|(name, _)| name == wanted).unwrap());
    let image = std::mem::take(&mut files[a].1);
    files[a].1 = std::mem::replace(&mut files[b].1, image);
    fs::write(place.derived(), pack(&files)).unwrap();
    let set = lenient().open(&[place.derived()]).unwrap();
    let loader = Loader::builder().batch_size(2).image_size(32).build(set).unwrap();
    let error = loader.epoch(0).unwrap().next().unwrap().unwrap_err();
    assert!(error.is_corrupt() && error.to_string().contains("sa_000000.tar"), "{error}");
    assert!(error.location().member.is_some() && error.to_string().contains("90 x 60"), "{error}");
    assert!(error.to_string().contains("80 x 60"), "{error}");
}

#[test]
fn a_derived_shard_is_left_alone_and_any_other_file_is_replaced_on_request_only() {
    let place = Place::drawn(false);
    assert!(place.derive(Derive::new(LONGEST)).unwrap().repacked.written.is_some());
    let (path, bytes) = (place.derived(), fs::read(place.derived()).unwrap());
    for remove_index in [false, true] {
        if remove_index {
            fs::remove_file(path.with_extension("tar.msidx")).unwrap();
        }
        let again = place.derive(Derive::new(LONGEST)).unwrap();
        assert_eq!((again.repacked.written, again.resized, again.kept), (None, 8, 0));
        assert!(fs::read(&path).unwrap() == bytes);
    }
    let repacked = |from: &Path| {
        let dir = tempfile::tempdir().unwrap();
        let made = Indexer::new().repack(from, dir.path(), IfExists::Keep).unwrap().path;
        fs::read(made).unwrap()
    };
    let others = Place::drawn(false);
    write_shard(&others.original, 0, &SynthOptions::new(Preset::Small).samples(8).seed(4).overwrite(true)).unwrap();
    others.derive(Derive::new(LONGEST)).unwrap();
    let files = [
        ("of full size", repacked(&place.original), Derive::new(LONGEST)),
        ("of another quality", bytes.clone(), Derive::new(LONGEST).quality(80)),
        ("of another side", bytes.clone(), Derive::new(LONGEST - 1)),
        ("of another shard", fs::read(others.derived()).unwrap(), Derive::new(LONGEST)),
        ("no shard", b"notes of mine".repeat(99), Derive::new(LONGEST)),
    ];
    for (what, file, derive) in files {
        fs::write(&path, &file).unwrap();
        for policy in [OnCorrupt::Stop, OnCorrupt::KEEP] {
            let indexer = Indexer::new().on_corrupt(policy);
            let error = indexer.derive(&place.original, &place.out, &derive, IfExists::Keep).unwrap_err().to_string();
            assert!(error.contains("exists already and is no form of this shard with images"), "{what}: {error}");
            assert!(error.contains("--force") && fs::read(&path).unwrap() == file, "{what}: {error}");
        }
        Indexer::new().derive(&place.original, &place.out, &derive, IfExists::Replace).unwrap();
        assert!(place.derive(derive).unwrap().repacked.written.is_none(), "{what}");
    }
    // And the other way round: a derived shard is no repacked one.
    let error = Indexer::new().repack(&place.original, &place.out, IfExists::Keep).unwrap_err().to_string();
    assert!(error.contains("is no repacked form of this shard"), "{error}");
    let dir = place.original.parent().unwrap();
    let error = Indexer::new().derive(&place.original, dir, &Derive::new(64), IfExists::Replace).unwrap_err();
    assert!(error.to_string().contains("overwrite itself"), "{error}");
}

#[test]
fn nothing_is_derived_from_what_is_derived() {
    let place = Place::drawn(false);
    place.derive(Derive::new(LONGEST)).unwrap();
    let (from, out) = (place.derived(), place.out.join("again"));
    for longest in [64, LONGEST, 400] {
        let error = Indexer::new().derive(&from, &out, &Derive::new(longest), IfExists::Keep).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("derived already") && text.contains("from the original shard"), "{text}");
        assert!(error.location().member.is_some() && fs::read_dir(&out).unwrap().next().is_none(), "{text}");
    }
}

#[test]
fn settings_out_of_range_are_refused() {
    let place = Place::drawn(false);
    for derive in [Derive::new(0), Derive::new(65_536), Derive::new(9).quality(0), Derive::new(9).quality(101)] {
        let error = place.derive(derive).unwrap_err().to_string();
        assert!(error.contains("must be 1 to"), "{error}");
    }
    assert!(!place.out.exists());
}

#[test]
fn an_image_that_cannot_be_decoded_is_an_error_or_kept_and_counted() {
    let mut samples = [made(1, 90, 60, 3), made(2, 90, 60, 3), made(3, 90, 60, 3)];
    let half = samples[1].image.len() / 2;
    samples[1].image.truncate(half);
    let place = Place::with(&pack(&members(&samples)));
    let derive = |policy| {
        let indexer = Indexer::new().on_corrupt(policy);
        indexer.derive(&place.original, &place.out, &Derive::new(64), IfExists::Keep)
    };
    let refused = |policy| {
        let error = derive(policy).unwrap_err();
        assert!(error.is_corrupt() && error.location().member.as_deref() == Some("./sa_2.jpg"), "{error}");
        assert!(error.to_string().contains("cut short") && error.to_string().contains("on_corrupt"), "{error}");
    };
    refused(OnCorrupt::Stop);
    refused(OnCorrupt::skip(0));
    assert!(fs::read_dir(&place.out).unwrap().next().is_none());
    for is_new in [true, false] {
        let report = derive(OnCorrupt::skip(1)).unwrap();
        assert_eq!((report.repacked.written.is_some(), report.resized, report.kept), (is_new, 2, 0));
        assert!(matches!(&report.unreadable[..], [error] if error.to_string().contains("sa_2.jpg")));
    }
    assert!(read_with_tar(&fs::read(place.derived()).unwrap())["sa_2.jpg"].1 == samples[1].image);
    assert_eq!(is_derived(&index(&place.derived())), [true, false, true]);
    // Whoever does not accept it is not told that all is well.
    assert!(derive(OnCorrupt::Stop).unwrap_err().to_string().contains("cut short"));

    let large = Derive::new(64).max_image_pixels(90 * 60 - 1);
    let error = Place::with(&pack(&members(&samples[..1]))).derive(large).unwrap_err();
    assert!(error.is_limit() && error.to_string().contains("max_image_pixels"), "{error}");
}

#[test]
fn a_derived_shard_is_another_data_set_to_a_cursor_and_takes_less_memory() {
    let place = Place::drawn(false);
    place.derive(Derive::new(LONGEST)).unwrap();
    let loader = |path: &Path| {
        let set = Arc::new(lenient().open(&[path]).unwrap());
        assert_eq!(set.len(), 8);
        Loader::builder().batch_size(2).image_size(64).shuffle(1).build(set).unwrap()
    };
    let (original, derived) = (loader(&place.original), loader(&place.derived()));
    let cursor = original.epoch(0).unwrap().next().unwrap().unwrap().cursor().unwrap();
    assert!(original.resume_from(&cursor).is_ok());
    let error = derived.resume_from(&cursor).unwrap_err().to_string();
    assert!(error.contains("shards"), "{error}");
    assert!(derived.memory_plan().fixed_bytes() < original.memory_plan().fixed_bytes());
    let reports = |loader: &Loader| loader.reports().iter().map(|report| report.derived_samples).sum::<usize>();
    assert_eq!((reports(&original), reports(&derived)), (0, 8));
}

#[cfg(feature = "cli")]
mod command {
    use std::process::Command;

    use serde_json::Value;

    use super::*;
    use crate::fixture::Made;

    fn run(dir: &Path, args: &str) -> (bool, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_maskstream"))
            .current_dir(dir)
            .args(args.split_whitespace())
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.success(), text(output.stdout), text(output.stderr))
    }

    fn succeeds(dir: &Path, args: &str) -> String {
        let (success, out, error) = run(dir, args);
        assert!(success, "{args}: {error}");
        let is_json = out.starts_with('{');
        assert!(is_json || out.lines().all(|line| line.chars().count() <= 80), "{args}: {out}");
        out
    }

    #[test]
    fn every_command_that_reads_or_writes_derived_shards_calls_them_lossy() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        succeeds(dir, "synth data --shards 2 --samples 4 --preset small");
        let derive = "repack data -o small --longest-side 200 --quality 85";
        for outcome in ["2 shards written, 0 up to date", "0 shards written, 2 up to date"] {
            let out = succeeds(dir, derive);
            assert!(out.contains(outcome), "{out}");
            assert!(out.contains("LOSSY: 4 images resized to 200 at quality 85, 0 kept: no larger"), "{out}");
            assert!(out.contains("keep the originals"), "{out}");
        }
        for line in succeeds(dir, &format!("{derive} --json")).lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            assert_eq!((&line["lossy"], &line["derived"]["resized"]), (&Value::Bool(true), &Value::from(4)));
            assert_eq!((&line["derived"]["longest_side"], &line["derived"]["quality"]), (&200.into(), &85.into()));
        }
        let inspected = succeeds(dir, "inspect small --decode");
        let text = "  LOSSY: 4 images are derived, longest side 200, JPEG quality 85\n";
        assert_eq!(inspected.matches(text).count(), 2, "{inspected}");
        assert!(inspected.contains("all images and masks can be decoded"), "{inspected}");
        for line in succeeds(dir, "inspect small --json").lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            assert_eq!(line["derived"][0], serde_json::json!({"longest_side": 200, "quality": 85, "images": 4}));
        }
        assert!(succeeds(dir, "index small").contains("LOSSY: 4 images are derived"));
        assert!(succeeds(dir, "bench small --image-size 64 --batch-size 4").contains("LOSSY: 8 images"));

        // Without the flag, nothing of this is said.
        for args in ["repack data -o flat", "inspect data", "index data", "bench data --image-size 64 --batch-size 4"] {
            assert!(!succeeds(dir, args).contains("LOSSY"), "{args}");
        }
        let line: Value =
            serde_json::from_str(succeeds(dir, "repack data/sa_000000.tar -o flat --json").trim()).unwrap();
        assert_eq!((&line["lossy"], &line["derived"]), (&Value::Bool(false), &Value::Null));
    }

    #[test]
    fn wrong_flags_and_bad_images_are_refused_in_the_words_of_the_command() {
        let dir = tempfile::tempdir().unwrap();
        let mut samples = [made(1, 90, 60, 3), made(2, 90, 60, 3)];
        let half = samples[1].image.len() / 2;
        samples[1].image.truncate(half);
        let write = |name: &str, samples: &[Made]| fs::write(dir.path().join(name), pack(&members(samples))).unwrap();
        write("s.tar", &samples);
        let refused = |args: &str| {
            let (success, _, error) = run(dir.path(), args);
            assert!(!success, "{args}");
            error
        };
        for args in ["--quality 80", "--longest-side 0", "--longest-side 64 --quality 101", "--max-image-pixels 9"] {
            let error = refused(&format!("repack s.tar -o out {args}"));
            assert!(error.contains("--longest-side") || error.contains("--quality"), "{error}");
        }
        let error = refused("repack s.tar -o out --longest-side 64");
        assert!(error.contains("s.tar") && error.contains("sa_2.jpg") && error.contains("set --skip N"), "{error}");
        let out = succeeds(dir.path(), "repack s.tar -o out --longest-side 64 --skip 1");
        assert!(out.contains("LOSSY: 1 images resized to 64 at quality 90, 0 kept"), "{out}");
        assert!(out.contains("kept, cannot be decoded:") && out.contains("sa_2.jpg"), "{out}");
        let error = refused("repack out/s.tar -o again --longest-side 32");
        assert!(error.contains("derived already"), "{error}");
    }
}

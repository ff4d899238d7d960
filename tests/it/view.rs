//! `maskstream view`: pictures against the batch that they show, and the choice of samples against the annotations.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use maskstream::index::{AnnotationFile, Indexer};
use maskstream::{Augment, Batch, Fit, Loader, MaskFilter, ShardSet, TopKBy};
use serde_json::Value;

use crate::command::run;

fn succeeds(dir: &Path, args: &str) -> String {
    let output = run(dir, args);
    assert!(output.status.success(), "{args}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn fails(dir: &Path, status: i32, args: &str) -> String {
    let output = run(dir, args);
    assert_eq!(output.status.code(), Some(status), "{args}");
    String::from_utf8(output.stderr).unwrap()
}

/// A picture: its width, and its pixels row by row.
struct Png(usize, Vec<[u8; 3]>);

impl Png {
    fn read(path: &Path) -> Self {
        let mut reader = png::Decoder::new(BufReader::new(File::open(path).unwrap())).read_info().unwrap();
        let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut bytes).unwrap();
        assert_eq!(info.color_type, png::ColorType::Rgb);
        Self(info.width as usize, bytes.as_chunks::<3>().0.to_vec())
    }

    fn height(&self) -> usize {
        self.1.len() / self.0
    }

    /// The pixels of a tile's image, of a side of `side`; the title is above it.
    fn image(&self, column: usize, line: usize, side: usize) -> Vec<[u8; 3]> {
        let (left, top) = (column * (side + GAP), line * (side + TITLE + GAP) + TITLE);
        let rows = (0..side).map(|y| &self.1[(top + y) * self.0 + left..][..side]);
        rows.flatten().copied().collect()
    }
}

/// Pixels above an image, and between two of them.
const TITLE: usize = 15;
const GAP: usize = 6;
const SIDE: usize = 96;

fn shards(dir: &Path) {
    succeeds(dir, "synth data --shards 2 --samples 5 --preset small --seed 7");
    succeeds(dir, "index data");
}

fn image_of(batch: &Batch, row: usize) -> Vec<[u8; 3]> {
    let (plane, values) = (SIDE * SIDE, batch.images().values::<u8>().unwrap());
    let values = &values[3 * row * plane..];
    (0..plane).map(|at| [values[at], values[plane + at], values[2 * plane + at]]).collect()
}

#[test]
fn a_picture_shows_the_images_that_the_model_gets() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    shards(dir);
    let look = format!("--image-size {SIDE} --tile {SIDE} --plain --columns 2 --force");
    succeeds(dir, &format!("view data {look} --batch-size 3 --augment resized-crop --fit stretch --epoch 2 -o a.png"));
    let picture = Png::read(&dir.join("a.png"));
    assert_eq!((picture.0, picture.height()), (2 * SIDE + GAP, 2 * (SIDE + TITLE) + GAP));
    let set = ShardSet::builder().open(&[dir.join("data")]).unwrap();
    let options = Loader::builder().image_size(SIDE as u32).fit(Fit::Stretch).batch_size(3);
    let loader = options.augment(Augment::resized_crop()).build(set).unwrap();
    let batch = loader.epoch(2).unwrap().next().unwrap().unwrap();
    for (row, (column, line)) in [(0, 0), (1, 0), (0, 1)].into_iter().enumerate() {
        assert!(picture.image(column, line, SIDE) == image_of(&batch, row), "row {row}");
    }
}

#[test]
fn a_mask_is_tinted_within_and_nothing_changes_far_from_it() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    shards(dir);
    let settings =
        format!("--image-size {SIDE} --mask-size {SIDE} --top-k 1 --batch-size 1 --tile {SIDE} --top-k-by largest");
    succeeds(dir, &format!("view data {settings} -o a.png"));
    let found = Png::read(&dir.join("a.png")).image(0, 0, SIDE);
    let set = ShardSet::builder().open(&[dir.join("data")]).unwrap();
    let options = Loader::builder().image_size(SIDE as u32).mask_size([SIDE as u32; 2]).batch_size(1).top_k(1);
    let loader = options.top_k_by(TopKBy::LargestArea).build(set).unwrap();
    let batch = loader.epoch(0).unwrap().next().unwrap().unwrap();
    let (image, mask) = (image_of(&batch, 0), batch.masks().unwrap());
    let around = |at: usize, reach: usize| {
        let (x, y) = (at % SIDE, at / SIDE);
        let near = move |center: usize| center.saturating_sub(reach)..(center + reach + 1).min(SIDE);
        near(y).flat_map(move |y| near(x).map(move |x| y * SIDE + x)).map(|at| mask[at]).collect::<Vec<_>>()
    };
    // Of all pixels well within the mask, the colours differ from the image's by the same share of one colour.
    let within: Vec<usize> = (0..SIDE * SIDE).filter(|&at| around(at, 1).iter().all(|&cell| cell == 1)).collect();
    let color = |at: usize| [0, 1, 2].map(|c| (f32::from(found[at][c]) - 0.7 * f32::from(image[at][c])) / 0.3);
    let mut colors: Vec<[i32; 3]> =
        within.iter().map(|&at| color(at).map(|value| (value / 8.0).round() as i32)).collect();
    colors.sort_unstable();
    let common =
        colors.chunk_by(|a, b| a.iter().zip(b).all(|(a, b)| a.abs_diff(*b) <= 1)).map(<[_]>::len).max().unwrap();
    // The number and the point hide a few.
    assert!(within.len() > 400 && common > within.len() / 2, "{common} of {}", within.len());
    let far = (0..SIDE * SIDE).filter(|&at| around(at, 1).iter().all(|&cell| cell == 0));
    let (same, all) = far.fold((0, 0), |(same, all), at| (same + usize::from(found[at] == image[at]), all + 1));
    assert!(all > 400 && same > all * 8 / 10, "{same} of {all}");
}

#[test]
fn samples_are_chosen_by_id_by_place_at_random_and_by_their_lowest_scores() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    shards(dir);
    let shown = |args: &str| -> Vec<(i64, Vec<i64>)> {
        let json: Value =
            serde_json::from_str(&succeeds(dir, &format!("view data --image-size 32 --json {args}"))).unwrap();
        let mask = |mask: &Value| mask["annotation_id"].as_i64().unwrap();
        let row = |row: &Value| {
            (row["image_id"].as_i64().unwrap(), row["masks"].as_array().unwrap().iter().map(mask).collect())
        };
        json["rows"].as_array().unwrap().iter().map(row).collect()
    };
    let ids = |args: &str| shown(args).into_iter().map(|row| row.0).collect::<Vec<_>>();
    let all = ids("--batch-size 16");
    assert_eq!(all.len(), 10);
    assert_eq!(ids("--batch-size 3"), all[..3]);
    let mut two = vec![all[7], all[1]];
    two.sort_unstable();
    let mut found = ids(&format!("--id {} sa_{}", all[7], all[1]));
    found.sort_unstable();
    assert_eq!(found, two);
    assert_eq!(ids("--index 6"), [all[6]]);
    let random = ids("--random --batch-size 4 --seed 1");
    assert!(random.len() == 4 && random.iter().all(|id| all.contains(id)));
    assert_ne!(random, ids("--random --batch-size 4 --seed 2"));

    // The lowest scores of all annotations that pass the filter, as the json members have them.
    let mut scores: Vec<(f32, i64, i64)> = Vec::new();
    for number in 0..2 {
        let shard = Indexer::new().index(dir.join(format!("data/sa_{number:06}.tar"))).unwrap();
        let source = shard.source(maskstream::source::open(&shard.path).unwrap()).unwrap();
        for entry in shard.index.entries() {
            let json = source.read(entry.annotations.range()).unwrap();
            let file = AnnotationFile::parse(&json).unwrap();
            let kept = file.annotations.iter().filter(|annotation| annotation.predicted_iou >= 0.88);
            scores.extend(kept.map(|annotation| (annotation.stability_score, entry.image_id, annotation.id)));
        }
    }
    scores.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut expected: Vec<(i64, i64)> = scores[..4].iter().map(|&(_, image, annotation)| (image, annotation)).collect();
    expected.sort_unstable();
    let worst = shown("--worst stability-score --batch-size 4");
    let mut found: Vec<(i64, i64)> =
        worst.into_iter().flat_map(|(id, masks)| masks.into_iter().map(move |mask| (id, mask))).collect();
    found.sort_unstable();
    assert_eq!(found, expected);
    let one = shown(&format!("--id {},{}", expected[0].0, expected[0].1));
    assert_eq!(one, [(expected[0].0, vec![expected[0].1])]);

    assert!(fails(dir, 2, "view data --index 10 --json").contains("there are 10 samples, counted from 0"));
    assert!(fails(dir, 2, "view data --id sa_x --json").contains("--id sa_x: it must be an id"));
    assert!(fails(dir, 2, "view data").contains("name a file for the picture with -o FILE.png"));
}

#[test]
fn originals_have_their_own_size_and_all_masks_that_pass_the_filter() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    shards(dir);
    let json: Value =
        serde_json::from_str(&succeeds(dir, "view data --index 3 --original --tile 8192 --json -o a.png")).unwrap();
    let row = &json["rows"][0];
    let (width, height) = (row["width"].as_u64().unwrap() as usize, row["height"].as_u64().unwrap() as usize);
    let picture = Png::read(&dir.join("a.png"));
    assert_eq!((picture.0, picture.height()), (width, height + TITLE));
    let set = ShardSet::builder().filter(MaskFilter::default()).open(&[dir.join("data")]).unwrap();
    let loader = Loader::builder().top_k(256).mask_size(None).batch_size(10).image_size(8).build(set).unwrap();
    let batch = loader.epoch(0).unwrap().next().unwrap().unwrap();
    let valid = batch.valid()[3 * 256..4 * 256].iter().filter(|&&valid| valid == 1).count();
    assert_eq!(row["masks"].as_array().unwrap().len(), valid);
}

#[test]
fn a_replayed_batch_has_the_picture_of_the_batch() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    shards(dir);
    let drawn = "--image-size 64 --mask-size 64 --batch-size 4 --augment resized-crop --clicks 2 --box-jitter 0.1";
    succeeds(dir, &format!("export data {drawn} -o batch --save-cursor cursor.json"));
    succeeds(dir, &format!("view data {drawn} -o seen.png"));
    succeeds(dir, "replay data --image-size 64 --mask-size 64 --cursor cursor.json --view again.png");
    let [seen, again] = ["seen.png", "again.png"].map(|name| std::fs::read(dir.join(name)).unwrap());
    assert!(seen == again && seen.len() > 1000);
    // Nothing is overwritten unasked.
    let error = fails(dir, 1, &format!("view data {drawn} -o seen.png"));
    assert!(error.contains("cannot write seen.png"), "{error}");
}

#[test]
fn the_worst_masks_are_all_shown_however_many_an_image_has() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    succeeds(dir, "synth data --samples 1 --preset small --seed 2");
    let shown = |args: &str| -> Vec<(i64, f64)> {
        let found: Value = serde_json::from_str(&succeeds(dir, &format!("view data --json {args}"))).unwrap();
        let masks = found["rows"][0]["masks"].as_array().unwrap().clone();
        let mask = |mask: &Value| (mask["annotation_id"].as_i64().unwrap(), mask["stability_score"].as_f64().unwrap());
        masks.iter().map(mask).collect()
    };
    let mut all = shown("--top-k 1000");
    assert!(all.len() > 14, "{} masks", all.len());
    all.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mut worst = shown("--worst stability-score --batch-size 14");
    worst.sort_by(|a, b| a.1.total_cmp(&b.1));
    let scores = |masks: &[(i64, f64)]| masks.iter().map(|(_, score)| *score).collect::<Vec<_>>();
    assert_eq!(scores(&worst), scores(&all[..14]));
}

#[test]
fn annotations_that_are_not_there_and_files_that_are_no_png_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    succeeds(dir, "synth data --samples 2 --preset small");
    let found: Value = serde_json::from_str(&succeeds(dir, "view data --json --batch-size 1")).unwrap();
    let (image, known) = (&found["rows"][0]["image_id"], &found["rows"][0]["masks"][0]["annotation_id"]);
    let output = run(dir, &format!("view data --json --id {image},{known} {image},1"));
    assert!(output.status.success());
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(error, format!("maskstream: image {image} has no annotation 1 that passes the filter\n"));
    for name in ["picture.jpg", "-"] {
        assert!(fails(dir, 2, &format!("view data -o {name}")).contains("the picture is a PNG"), "{name}");
    }
}

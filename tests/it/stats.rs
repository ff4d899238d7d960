//! `maskstream stats`: its figures against the json members themselves, and the form of its text, JSON and HTML.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::path::Path;

use flate2::read::GzDecoder;
use flate2::write::ZlibEncoder;
use serde_json::{Value, json};

use crate::command::run;
use crate::fixture::{Made, annotation, document, jpeg, made_many, pack, read_with_tar, rectangle, shard};

fn succeeds(dir: &Path, args: &str) -> String {
    let output = run(dir, args);
    assert!(output.status.success(), "{args}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn stats(dir: &Path, args: &str) -> Value {
    serde_json::from_str(&succeeds(dir, &format!("stats {args} --json"))).unwrap()
}

/// Two gzip shards, and a plain one.
fn shards(dir: &Path) {
    succeeds(dir, "synth data --shards 2 --samples 9 --preset small --seed 5 --gzip");
    succeeds(dir, "synth plain --samples 6 --preset small --seed 6");
    fs::rename(dir.join("plain/sa_000000.tar"), dir.join("data/sa_000009.tar")).unwrap();
}

/// The members of a shard as the `tar` crate reads them: each json, and the lengths of its json and its JPEG.
fn jsons(path: &Path) -> Vec<(Value, usize, usize)> {
    let mut bytes = fs::read(path).unwrap();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let packed = std::mem::take(&mut bytes);
        GzDecoder::new(&packed[..]).read_to_end(&mut bytes).unwrap();
    }
    let members = read_with_tar(&bytes);
    let json = |(name, (_, json)): (&String, &(u64, Vec<u8>))| {
        let image = &members[&format!("{}.jpg", name.strip_suffix(".json")?)];
        Some((serde_json::from_slice(json).unwrap(), json.len(), image.1.len()))
    };
    members.iter().filter_map(json).collect()
}

fn all_jsons(dir: &Path) -> Vec<(Value, usize, usize)> {
    ["sa_000000", "sa_000001", "sa_000009"].iter().flat_map(|n| jsons(&dir.join(format!("data/{n}.tar")))).collect()
}

fn annotations(json: &Value) -> &[Value] {
    json["annotations"].as_array().unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// Checks the figures of a quantity against its numbers. A score is exact to `f32`.
fn check(figures: &Value, mut numbers: Vec<f64>, is_score: bool) {
    numbers.sort_by(f64::total_cmp);
    let (count, last) = (numbers.len(), numbers.len() - 1);
    assert_eq!(figures["count"], count);
    let percentiles = [(0, "min"), (5, "p5"), (25, "p25"), (50, "p50"), (75, "p75"), (95, "p95"), (100, "max")];
    for (percent, name) in percentiles {
        let (found, exact) = (number(&figures["quantiles"][name]), numbers[last * percent / 100]);
        let width = match (percent % 100, is_score) {
            (0, _) => 1e-6,
            (_, true) => 0.000_501,
            (_, false) => found * 0.01,
        };
        assert!(found <= exact + 1e-6 && exact <= found + width, "{name}: {found}, but {exact}");
    }
    let histogram = &figures["histogram"];
    let edges: Vec<f64> = histogram["edges"].as_array().unwrap().iter().map(number).collect();
    let counts: Vec<u64> = histogram["counts"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect();
    assert!(edges.is_sorted() && edges.len() == counts.len() + 1 && counts.len() > 1, "{histogram}");
    let is_below = |number: f64, edge: f64| if is_score { (number as f32) < edge as f32 } else { number < edge };
    let below = |edge: f64| numbers.iter().filter(|number| is_below(**number, edge)).count() as u64;
    for (pair, found) in edges.windows(2).zip(&counts) {
        assert_eq!(*found, below(pair[1]) - below(pair[0]), "{pair:?} of {histogram}");
    }
    assert_eq!(histogram["below"], below(edges[0]));
    assert_eq!(histogram["above"], count as u64 - below(edges[edges.len() - 1]));
}

#[test]
fn quantities_are_those_of_every_json_member() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    shards(dir);
    let report = stats(dir, "data --masks 0");
    let jsons = all_jsons(dir);
    let masks: Vec<(&Value, &Value)> = jsons
        .iter()
        .flat_map(|(json, ..)| annotations(json).iter().map(move |annotation| (annotation, &json["image"])))
        .collect();
    assert_eq!((&report["shards"], &report["images"], &report["masks"]), (&3.into(), &24.into(), &masks.len().into()));
    assert_eq!(report["sample"], Value::Null);
    let of_images = |value: &dyn Fn(&(Value, usize, usize)) -> f64| jsons.iter().map(value).collect::<Vec<_>>();
    let of_masks = |value: &dyn Fn(&Value, &Value) -> f64| masks.iter().map(|(a, i)| value(a, i)).collect::<Vec<_>>();
    let side = |at: usize| of_masks(&|a, _| number(&a["bbox"][at]));
    let quantities = &report["quantities"];
    let aspects: Vec<f64> = side(2).into_iter().zip(side(3)).filter(|(w, h)| w * h > 0.0).map(|(w, h)| w / h).collect();
    assert_eq!(quantities["box_aspect"]["missing"], masks.len() - aspects.len());
    let expected = [
        ("masks_per_image", of_images(&|(json, ..)| annotations(json).len() as f64)),
        ("predicted_iou", of_masks(&|a, _| number(&a["predicted_iou"]))),
        ("stability_score", of_masks(&|a, _| number(&a["stability_score"]))),
        ("mask_area", of_masks(&|a, _| number(&a["area"]))),
        (
            "mask_area_percent",
            of_masks(&|a, image| 100.0 * number(&a["area"]) / (number(&image["width"]) * number(&image["height"]))),
        ),
        ("box_width", side(2)),
        ("box_height", side(3)),
        ("box_aspect", aspects),
        ("image_width", of_images(&|(json, ..)| number(&json["image"]["width"]))),
        ("image_height", of_images(&|(json, ..)| number(&json["image"]["height"]))),
        ("json_bytes", of_images(&|(_, json, _)| *json as f64)),
        ("jpeg_bytes", of_images(&|(_, _, jpeg)| *jpeg as f64)),
    ];
    assert_eq!(quantities.as_object().unwrap().len(), expected.len());
    for (name, numbers) in expected {
        check(&quantities[name], numbers, name.contains("iou") || name.contains("score"));
    }
    let sizes: BTreeSet<(u64, u64)> = jsons
        .iter()
        .map(|(json, ..)| (json["image"]["width"].as_u64().unwrap(), json["image"]["height"].as_u64().unwrap()))
        .collect();
    assert_eq!(report["image_sizes"].as_array().unwrap().len(), sizes.len());
}

#[test]
fn curves_are_what_the_thresholds_keep_of_every_json_member() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    shards(dir);
    let jsons = all_jsons(dir);
    // Scores are f32 in the loader.
    let scores = |json: &Value| -> Vec<(f32, f32)> {
        let score = |annotation: &Value, name: &str| number(&annotation[name]) as f32;
        annotations(json).iter().map(|a| (score(a, "predicted_iou"), score(a, "stability_score"))).collect()
    };
    let kept = |keeps: &dyn Fn(f32, f32) -> bool| -> (usize, usize) {
        let counts = jsons.iter().map(|(json, ..)| scores(json).iter().filter(|(p, s)| keeps(*p, *s)).count());
        let counts: Vec<usize> = counts.collect();
        (counts.iter().filter(|count| **count > 0).count(), counts.iter().sum())
    };
    let report = stats(dir, "data --masks 0 --min-predicted-iou 0.973 --min-stability-score 0.9611");
    let found = |point: &Value| (point["images"].as_u64().unwrap() as usize, point["masks"].as_u64().unwrap() as usize);
    assert_eq!(found(&report["filter"]), kept(&|p, s| p >= 0.973 && s >= 0.9611));
    for (name, chosen) in [("predicted_iou", 0.973), ("stability_score", 0.9611)] {
        let curve = report["curves"][name].as_array().unwrap();
        // Every 0.005 from 0 to 1.1, none, and the chosen one.
        assert_eq!(curve.len(), 223);
        assert!(curve.iter().any(|point| point["threshold"] == chosen));
        for point in curve {
            let threshold = point["threshold"].as_f64().map_or(f32::NEG_INFINITY, |threshold| threshold as f32);
            let expected = kept(&|p, s| match name {
                "predicted_iou" => p >= threshold && s >= 0.9611,
                _ => s >= threshold && p >= 0.973,
            });
            assert_eq!(found(point), expected, "{name} {threshold}");
            let share = number(&point["mask_share"]) * number(&report["masks"]);
            assert!((share - expected.1 as f64).abs() < 1e-6);
        }
    }
    // The default is the loader's, and none is no bound.
    let report = stats(dir, "data --masks 0");
    assert_eq!(found(&report["filter"]), kept(&|p, _| p >= 0.88));
    let report = stats(dir, "data --masks 0 --min-predicted-iou none");
    assert_eq!(found(&report["filter"]), kept(&|_, _| true));
    assert_eq!(report["filter"]["min_predicted_iou"], Value::Null);
}

/// The runs of a counts string, as COCO's maskApi reads them.
fn naive_runs(counts: &str) -> Vec<i64> {
    let mut runs: Vec<i64> = Vec::new();
    let mut bytes = counts.bytes().map(|byte| i64::from(byte) - 48).peekable();
    while bytes.peek().is_some() {
        let (mut value, mut shift) = (0, 0);
        loop {
            let group = bytes.next().unwrap();
            value |= (group & 0x1f) << shift;
            shift += 5;
            if group & 0x20 == 0 {
                value |= if group & 0x10 != 0 { -1 << shift } else { 0 };
                break;
            }
        }
        let before = if runs.len() > 2 { runs[runs.len() - 2] } else { 0 };
        runs.push(value + before);
    }
    runs
}

/// The bitmap of runs, row by row, one bit per pixel.
fn naive_bits(runs: &[i64], height: usize, width: usize) -> Vec<u8> {
    let pixels: Vec<u8> = runs.iter().enumerate().flat_map(|(n, run)| vec![(n % 2) as u8; *run as usize]).collect();
    assert_eq!(pixels.len(), height * width);
    let mut bits = vec![0; height * width.div_ceil(8)];
    for (at, pixel) in pixels.into_iter().enumerate() {
        let (x, y) = (at / height, at % height);
        bits[y * width.div_ceil(8) + x / 8] |= pixel << (7 - x % 8);
    }
    bits
}

fn zlib_and_png(bits: &[u8], height: usize, width: usize) -> [usize; 2] {
    let mut zlib = ZlibEncoder::new(Vec::new(), flate2::Compression::new(6));
    zlib.write_all(bits).unwrap();
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width as u32, height as u32);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::One);
    encoder.set_filter(png::Filter::NoFilter);
    encoder.write_header().unwrap().write_image_data(bits).unwrap();
    [zlib.finish().unwrap().len(), file.len()]
}

#[test]
fn sizes_of_masks_are_those_of_their_strings_bitmaps_zlib_and_png() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    succeeds(dir, "synth data --samples 5 --preset small --seed 8");
    let report = stats(dir, "data --masks all");
    let sample = &report["sample"];
    let (mut runs, mut ratios, mut sums) = (Vec::new(), Vec::new(), [0; 7]);
    for (json, ..) in jsons(&dir.join("data/sa_000000.tar")) {
        let [width, height] = ["width", "height"].map(|side| json["image"][side].as_u64().unwrap() as usize);
        for annotation in annotations(&json) {
            let counts = annotation["segmentation"]["counts"].as_str().unwrap();
            let mask = naive_runs(counts);
            let bits = naive_bits(&mask, height, width);
            let [zlib, png] = zlib_and_png(&bits, height, width);
            let sizes = [1, mask.len(), counts.len(), bits.len(), height * width, zlib, png];
            sums.iter_mut().zip(sizes).for_each(|(sum, size)| *sum += size);
            runs.push(mask.len() as f64);
            ratios.push(bits.len() as f64 / counts.len() as f64);
        }
    }
    // Few enough for all to be compressed.
    assert!(sums[0] < 512);
    let names = ["masks", "runs", "rle_bytes", "bitmap_bit_bytes", "bitmap_byte_bytes", "zlib_bytes", "png_bytes"];
    let all = &sample["compression"]["all"];
    for (name, sum) in names.into_iter().zip(sums) {
        assert_eq!(all[name], sum, "{name}");
        for classes in ["by_area", "by_runs"] {
            let parts = sample["compression"][classes].as_array().unwrap();
            assert!(parts.len() > 2);
            assert_eq!(parts.iter().map(|class| class[name].as_u64().unwrap()).sum::<u64>(), sum as u64, "{classes}");
        }
    }
    assert_eq!((&all["compressed_masks"], &all["compressed_rle_bytes"]), (&sums[0].into(), &sums[2].into()));
    for (name, size) in [("bitmap_bit", 3), ("bitmap_byte", 4), ("zlib", 5), ("png", 6)] {
        let expected = sums[size] as f64 / sums[2] as f64;
        assert!((number(&all[format!("{name}_over_rle")]) - expected).abs() < 1e-9, "{name}");
    }
    check(&sample["quantities"]["runs_per_mask"], runs, false);
    check(&sample["quantities"]["bitmap_over_rle"], ratios, false);
    assert_eq!((&sample["images"], &sample["failed"]), (&5.into(), &0.into()));
}

/// A sample of 100 x 80 pixels with these annotations.
fn sample(id: i64, annotations: &[Value]) -> Made {
    let (width, height) = (100, 80);
    Made { id, width, height, image: jpeg(width, height, 1), json: document(id, width, height, annotations) }
}

/// Masks of all forms, layers and odd values.
fn odd_shard() -> Vec<u8> {
    let mask = |n: u32| rectangle(100, 80, [n, n, 10 + n, 20]);
    let with = |id: i64, change: &dyn Fn(&mut Value)| {
        let mut made = annotation(id, &mask(id as u32), 0.9, 0.95);
        change(&mut made);
        made
    };
    let list: Vec<u32> = mask(4).runs().to_vec();
    let annotations = [
        with(1, &|a| a["crop_box"] = json!([0, 0, 60, 48])),
        with(2, &|a| a["crop_box"] = json!([50, 40, 35.0, 28])),
        with(3, &|a| {
            a["segmentation"] = json!([[1, 1, 30, 1, 30, 30]]);
            a.as_object_mut().unwrap().remove("crop_box");
        }),
        with(4, &|a| a["segmentation"]["counts"] = json!(list)),
        with(5, &|a| {
            a.as_object_mut().unwrap().remove("predicted_iou");
            a.as_object_mut().unwrap().remove("stability_score");
        }),
        with(6, &|a| a["predicted_iou"] = json!(1e30)),
        with(7, &|a| a["predicted_iou"] = json!(-3)),
        with(8, &|a| a["bbox"] = json!([5, 5, 0, 9])),
        with(9, &|a| a["stability_score"] = json!(0)),
    ];
    shard(&[sample(1, &annotations), sample(2, &[])])
}

#[test]
fn forms_crops_and_missing_scores_are_counted_apart() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fs::write(dir.join("odd.tar"), odd_shard()).unwrap();
    let report = stats(dir, "odd.tar");
    assert_eq!((&report["images"], &report["masks"]), (&2.into(), &9.into()));
    let quantities = &report["quantities"];
    for (name, missing) in [("predicted_iou", 1), ("stability_score", 1), ("box_aspect", 1), ("mask_area", 0)] {
        let counts = (&quantities[name]["missing"], &quantities[name]["count"]);
        assert_eq!(counts, (&missing.into(), &(9 - missing).into()), "{name}");
    }
    assert_eq!(quantities["predicted_iou"]["quantiles"]["min"], -3.0);
    assert!(number(&quantities["predicted_iou"]["quantiles"]["max"]) > 9e29);
    // A missing score passes no bound; an image without masks is kept by none.
    let kept: Vec<&Value> = report["curves"]["predicted_iou"].as_array().unwrap().iter().take(2).collect();
    assert_eq!((&kept[0]["masks"], &kept[1]["masks"]), (&9.into(), &7.into()));
    assert_eq!((&kept[0]["images"], &kept[0]["image_share"]), (&1.into(), &0.5.into()));
    let sample = &report["sample"];
    assert_eq!(sample["forms"], json!({"counts_string": 7, "counts_list": 1, "polygons": 1}));
    assert_eq!((&sample["compression"]["all"]["masks"], &sample["without_crop"]), (&7.into(), &1.into()));
    let layers: Vec<(u64, u64)> = sample["crop_layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|layer| (layer["layer"].as_u64().unwrap(), layer["masks"].as_u64().unwrap()))
        .collect();
    assert_eq!(layers, [(0, 6), (1, 1), (2, 1)]);
    // The mask of layer 1 has 11 x 20 of 8000 pixels.
    assert_eq!(sample["crop_layers"][1]["area_percent"]["p50"], 2.75);
}

#[test]
fn a_sample_of_images_and_of_shards_is_evenly_spread() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    shards(dir);
    for (masks, images) in [("4", 4), ("1", 1), ("24", 21), ("1000", 24), ("all", 24)] {
        // Of 24 images, a third is asked of each shard, and the last one has only 6.
        let images = if masks == "24" { 8 + 8 + 6 } else { images };
        assert_eq!(stats(dir, &format!("data --masks {masks}"))["sample"]["images"], images, "--masks {masks}");
    }
    let report = stats(dir, "data --sample-shards 1");
    assert_eq!((&report["shards"], &report["shards_named"], &report["images"]), (&1.into(), &3.into(), &9.into()));
    assert!(succeeds(dir, "stats data --sample-shards 2").starts_with("2 of 3 shards: 15 images, "));
    assert_eq!(stats(dir, "data --sample-shards 9")["shards"], 3);
    // The same figures, whichever shard is done first.
    let all = succeeds(dir, "stats data --json");
    assert!((0..3).all(|_| succeeds(dir, "stats data --json") == all));
}

/// The paths of all fields of an object, with `*` for the places of a list.
fn fields(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            object.iter().for_each(|(name, value)| fields(value, &format!("{path}.{name}"), found))
        }
        Value::Array(list) => list.iter().for_each(|value| fields(value, &format!("{path}*"), found)),
        _ => {
            found.insert(path.trim_start_matches('.').to_owned());
        }
    }
}

#[test]
fn the_fields_of_the_json_object_are_these() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    shards(dir);
    let mut found = BTreeSet::new();
    fields(&stats(dir, "data"), "", &mut found);
    let mut expected: BTreeSet<String> = [
        "command",
        "derived_images",
        "filter.images",
        "filter.masks",
        "filter.min_predicted_iou",
        "filter.min_stability_score",
        "image_sizes*.height",
        "image_sizes*.images",
        "image_sizes*.width",
        "images",
        "left_out.annotations_without_image",
        "left_out.broken_annotations",
        "left_out.images_without_annotations",
        "left_out.unreadable",
        "left_out.unverified",
        "masks",
        "sample.failed",
        "sample.forms.counts_list",
        "sample.forms.counts_string",
        "sample.forms.polygons",
        "sample.images",
        "sample.masks",
        "sample.without_crop",
        "sample.crop_layers*.layer",
        "sample.crop_layers*.masks",
        "shard_bytes",
        "shards",
        "shards_named",
        "version",
    ]
    .map(str::to_owned)
    .into();
    let mut add = |path: &str, names: &[&str]| expected.extend(names.iter().map(|name| format!("{path}.{name}")));
    let quantiles = ["min", "p5", "p25", "p50", "p75", "p95", "max"];
    let point = ["threshold", "images", "masks", "image_share", "mask_share"];
    add("curves.predicted_iou*", &point);
    add("curves.stability_score*", &point);
    add("sample.crop_layers*.area_percent", &quantiles);
    let of_index = [
        "masks_per_image",
        "predicted_iou",
        "stability_score",
        "mask_area",
        "mask_area_percent",
        "box_width",
        "box_height",
        "box_aspect",
        "image_width",
        "image_height",
        "jpeg_bytes",
        "json_bytes",
    ]
    .map(|name| format!("quantities.{name}"));
    let of_masks = ["runs_per_mask", "bitmap_over_rle"].map(|name| format!("sample.quantities.{name}"));
    for path in of_index.iter().chain(&of_masks) {
        add(path, &["unit", "count", "missing"]);
        add(&format!("{path}.quantiles"), &quantiles);
        add(&format!("{path}.histogram"), &["edges*", "counts*", "below", "above"]);
    }
    for class in ["all", "by_area*", "by_runs*"] {
        let names = [
            "from",
            "to",
            "masks",
            "runs",
            "rle_bytes",
            "bitmap_bit_bytes",
            "bitmap_byte_bytes",
            "compressed_masks",
            "compressed_rle_bytes",
            "zlib_bytes",
            "png_bytes",
            "bitmap_bit_over_rle",
            "bitmap_byte_over_rle",
            "zlib_over_rle",
            "png_over_rle",
        ];
        add(&format!("sample.compression.{class}"), &names);
    }
    assert_eq!(found, expected);
}

/// The elements of a page in order, after a check that each is closed and properly nested.
fn elements(page: &str) -> Vec<String> {
    let (mut open, mut found) = (Vec::new(), Vec::new());
    let body = page.strip_prefix("<!DOCTYPE html>").unwrap();
    for part in body.split('<').skip(1) {
        let (tag, text) = part.split_once('>').unwrap_or_else(|| panic!("<{part} is not closed"));
        assert!(!text.contains('>') && tag.matches('"').count().is_multiple_of(2), "{part}");
        let entities = text.split('&').skip(1).chain(tag.split('&').skip(1));
        for entity in entities {
            assert!(["amp;", "lt;", "gt;", "quot;", "#39;"].iter().any(|known| entity.starts_with(known)), "&{entity}");
        }
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name.to_owned()), "</{name}>");
            continue;
        }
        let name = tag.split(' ').next().unwrap().to_owned();
        found.push(tag.to_owned());
        if !tag.ends_with('/') {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?}");
    found
}

#[test]
fn the_page_is_whole_needs_nothing_else_and_shows_every_quantity() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    shards(dir);
    let folder = "<b>&\"x";
    fs::rename(dir.join("data"), dir.join(folder)).unwrap();
    assert!(succeeds(dir, &format!("stats {folder} --html a.html")).ends_with("\nwrote a.html\n"));
    let page = fs::read_to_string(dir.join("a.html")).unwrap();
    for outside in ["http", "url(", "src=", "href", "@import", "<script", "<link", folder] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.contains("prefers-color-scheme: dark") && page.contains("name=\"viewport\""));
    assert!(page.contains(&format!("<code>maskstream stats {} ", "&#39;&lt;b&gt;&amp;&quot;x&#39;")));
    assert!(page.contains(env!("CARGO_PKG_VERSION")));
    let found = elements(&page);
    let plots: Vec<&String> = found.iter().filter(|tag| tag.starts_with("svg ")).collect();
    let labels = [
        "masks per image: median",
        "Histogram of predicted_iou: median",
        "Histogram of stability_score: median",
        "mask area, pixels: median",
        "mask area, % of image: median",
        "box width, pixels: median",
        "box height, pixels: median",
        "box width / height: median",
        "image width, pixels: median",
        "image height, pixels: median",
        "JPEG size, bytes: median",
        "JSON size, bytes: median",
        "runs per mask: median",
        "1-bit bitmap / RLE: median",
        "each threshold of predicted_iou keeps",
        "each threshold of stability_score keeps",
        "RLE counts, by area, pixels",
        "RLE counts, by runs",
        "the layer of the crop",
    ];
    assert_eq!(plots.len(), labels.len());
    for label in labels {
        let is_this = |tag: &&&String| tag.contains("role=\"img\"") && tag.contains(label);
        assert_eq!(plots.iter().filter(is_this).count(), 1, "{label}");
    }
    // The numbers behind each plot, and the image sizes.
    assert_eq!(page.matches("<summary>Numbers</summary>").count(), plots.len() + 1);

    let error = run(dir, &format!("stats {folder} --html a.html"));
    assert_eq!(error.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&error.stderr).contains("cannot write a.html"));
    succeeds(dir, &format!("stats {folder} --masks 0 --html a.html --force --json"));
    let found = elements(&fs::read_to_string(dir.join("a.html")).unwrap());
    assert_eq!(found.iter().filter(|tag| tag.starts_with("svg ")).count(), 14);
}

#[test]
fn text_and_page_fit_whatever_the_shards_hold() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    shards(dir);
    fs::write(dir.join("odd.tar"), odd_shard()).unwrap();
    fs::write(dir.join("one.tar"), shard(&made_many(1))).unwrap();
    fs::write(dir.join("none.tar"), shard(&[sample(1, &[])])).unwrap();
    fs::write(dir.join("empty.tar"), pack(&[])).unwrap();
    let mut bare = annotation(1, &rectangle(100, 80, [0, 0, 1, 1]), 0.0, 0.0);
    ["predicted_iou", "stability_score", "crop_box"].iter().for_each(|name| {
        bare.as_object_mut().unwrap().remove(*name);
    });
    fs::write(dir.join("bare.tar"), shard(&[sample(1, &[bare])])).unwrap();
    let cases = ["data", "data --masks 0", "odd.tar", "one.tar", "none.tar", "empty.tar", "bare.tar"];
    for (args, bounds) in cases.iter().flat_map(|args| {
        ["", " --min-predicted-iou none", " --min-predicted-iou 7 --min-stability-score -2.12345"]
            .map(|bounds| (args, bounds))
    }) {
        let shown = succeeds(dir, &format!("stats {args}{bounds} --html a.html --force"));
        assert!(shown.lines().count() > 2, "{shown}");
        for line in shown.lines() {
            assert!(line.chars().count() <= 80 && !line.contains("NaN") && !line.contains("inf"), "{line}");
        }
        let page = fs::read_to_string(dir.join("a.html")).unwrap();
        elements(&page);
        assert!(!page.contains("NaN") && !page.contains("inf\""), "{args}");
    }
    assert!(succeeds(dir, "stats bare.tar").contains("No mask has this score."));
    assert!(succeeds(dir, "stats data --min-predicted-iou 7").contains("No mask passes the bound on the other score."));
    assert!(succeeds(dir, "stats data").contains("\n  >     0.88 "));
}

#[test]
fn a_damaged_shard_is_named_and_the_others_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    shards(dir);
    let whole = stats(dir, "data/sa_000000.tar data/sa_000009.tar --masks 0");
    let bytes = fs::read(dir.join("data/sa_000001.tar")).unwrap();
    fs::write(dir.join("data/sa_000001.tar"), &bytes[..600]).unwrap();
    fs::write(dir.join("data/sa_000002.tar"), [7; 4096]).unwrap();
    let output = run(dir, "stats data --masks 0 --json");
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    for name in ["data/sa_000001.tar: ", "data/sa_000002.tar: ", "2 of 4 shards are damaged or cannot be read"] {
        assert!(error.contains(name), "{name}: {error}");
    }
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let names: Vec<&Value> =
        report["damaged_shards"].as_array().unwrap().iter().map(|damaged| &damaged["shard"]).collect();
    assert_eq!(names, ["data/sa_000001.tar", "data/sa_000002.tar"]);
    for same in ["images", "masks", "quantities", "curves"] {
        assert_eq!(report[same], whole[same], "{same}");
    }
    let shown = String::from_utf8(run(dir, "stats data --masks 0").stdout).unwrap();
    assert!(shown.contains("DAMAGED: data/sa_000001.tar and 1 more"), "{shown}");
    assert!(shown.contains("broken shard"), "{shown}");

    // Jsons that cannot be read as masks are named as well.
    let mut made = made_many(3);
    let text = String::from_utf8(made[1].json.clone()).unwrap();
    made[1].json = text.replacen("\"counts\":\"", "\"counts\":\"~", 1).into_bytes();
    fs::write(dir.join("bad.tar"), shard(&made)).unwrap();
    let output = run(dir, "stats bad.tar");
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(
        error.contains("bad.tar: member ./sa_2.json, byte ") && error.contains("1 json could not be read"),
        "{error}"
    );
    assert!(String::from_utf8_lossy(&output.stdout).contains("3 images"));
}

#[test]
fn wrong_arguments_are_said() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    succeeds(dir, "synth data --samples 1 --preset small");
    for (args, words) in [
        ("--masks some", "it must be a whole number, or all"),
        ("--masks=-1", "it must be a whole number, or all"),
        ("--min-predicted-iou NaN", "a threshold cannot be NaN"),
        ("--sample-shards 0", "--sample-shards"),
        ("--force", "--html"),
    ] {
        let output = run(dir, &format!("stats data {args}"));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && error.contains(words), "{args}: {error}");
    }
    let output = run(dir, "stats data --html data/sa_000000.tar --force");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("this command needs it"));
}

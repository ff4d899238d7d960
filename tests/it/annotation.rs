//! Annotations: the quirks of real files are accepted, errors name the value, and top-k equals a naive sort.

use std::cmp::Ordering;

use maskstream::index::{AnnotationFile, AnnotationStats, ShardIndex};
use maskstream::mask::Rle;
use maskstream::{ErrorKind, MaskFilter, TopKBy};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::fixture::{self, Dice};

const GOOD: &str = r#"{"image": {"image_id": 7, "width": 6, "height": 4, "file_name": "sa_7.jpg"}, "annotations": [{
"bbox": [2, 1, 1, 1], "area": 4, "segmentation": {"size": [4, 6], "counts": "92207"}, "predicted_iou": 0.95,
"point_coords": [[2.5, 1.5]], "crop_box": [0, 0, 6, 4], "id": 70, "stability_score": 0.97}]}"#;

fn parse(text: &str) -> AnnotationFile<'_> {
    AnnotationFile::parse(text.as_bytes()).unwrap()
}

/// Checks that `GOOD` with one part replaced is refused, and that the message contains all of `named`.
fn refused(from: &str, to: &str, named: &[&str]) {
    assert!(GOOD.contains(from), "{from} is not in the sample");
    let text = GOOD.replacen(from, to, 1);
    let error = AnnotationFile::parse(text.as_bytes()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{to}");
    for part in named {
        assert!(error.to_string().contains(part), "{to}: {error} does not name {part}");
    }
}

fn mask_of(file: &AnnotationFile<'_>, index: usize) -> maskstream::Result<Rle> {
    let mut mask = Rle::default();
    file.annotations[index].read_mask(file.image.height, file.image.width, &mut mask)?;
    Ok(mask)
}

#[test]
fn the_plain_form_is_read_field_by_field() {
    let file = parse(GOOD);
    assert_eq!((file.image.image_id, file.image.width, file.image.height), (7, 6, 4));
    assert_eq!(file.image.file_name.as_deref(), Some("sa_7.jpg"));
    let one = &file.annotations[0];
    assert_eq!((one.id, one.area, one.bbox), (70, 4, [2.0, 1.0, 1.0, 1.0]));
    assert_eq!(one.crop_box, Some([0.0, 0.0, 6.0, 4.0]));
    assert_eq!((one.predicted_iou, one.stability_score, &one.point_coords[..]), (0.95, 0.97, &[[2.5, 1.5]][..]));
    let expected = AnnotationStats {
        id: 70,
        predicted_iou: 0.95,
        stability_score: 0.97,
        area: 4,
        box_width: 1.0,
        box_height: 1.0,
    };
    assert_eq!(one.stats(), expected);
    assert_eq!(mask_of(&file, 0).unwrap().runs(), [9, 2, 2, 2, 9]);
}

#[test]
fn keys_come_in_any_order_and_unknown_keys_are_skipped() {
    let text = r#"{"extra": {"deep": [1, {"counts": "x"}]}, "annotations": [{
        "stability_score": 0.97, "note": null, "id": 70, "segmentation": {"counts": "92207", "more": 1, "size": [4, 6]},
        "crop_box": [0, 0, 6, 4], "point_coords": [[2.5, 1.5]], "area": 4, "predicted_iou": 0.95, "bbox": [2, 1, 1, 1]
        }], "image": {"file_name": "sa_7.jpg", "license": 3, "height": 4, "image_id": 7, "width": 6}}"#;
    let (turned, plain) = (parse(text), parse(GOOD));
    assert_eq!((turned.image.image_id, turned.image.width, turned.image.height), (7, 6, 4));
    assert_eq!(turned.annotations[0].stats(), plain.annotations[0].stats());
    assert_eq!(mask_of(&turned, 0).unwrap(), mask_of(&plain, 0).unwrap());
}

#[test]
fn ints_and_floats_mix() {
    let text = GOOD
        .replace("[2, 1, 1, 1]", "[2.0, 1, 1.0, 1]")
        .replace("0.95", "1")
        .replace("[0, 0, 6, 4]", "[0.0, 0, 6, 4.0]")
        .replace("[[2.5, 1.5]]", "[[2, 1.5]]")
        .replace("\"area\": 4", "\"area\": 4.0");
    let file = parse(&text);
    let one = &file.annotations[0];
    assert_eq!((one.area, one.bbox, one.predicted_iou), (4, [2.0, 1.0, 1.0, 1.0], 1.0));
    assert_eq!(one.point_coords, [[2.0, 1.5]]);
}

#[test]
fn a_confidence_above_one_is_accepted() {
    assert_eq!(parse(&GOOD.replace("0.95", "1.0202")).annotations[0].predicted_iou, 1.0202);
}

#[test]
fn an_escaped_backslash_in_counts_is_one_backslash() {
    // A backslash is 92, which is 44 above 48: the low five bits are 12, and another character follows.
    let mask = Rle::from_runs(vec![44, 6], 5, 10).unwrap();
    let counts = mask.to_counts();
    assert!(counts.contains('\\'), "{counts}");
    let escaped = counts.replace('\\', "\\\\");
    let text = GOOD
        .replace("92207", &escaped)
        .replace("[4, 6]", "[5, 10]")
        .replace("\"width\": 6, \"height\": 4", "\"width\": 10, \"height\": 5");
    assert_eq!(mask_of(&parse(&text), 0).unwrap(), mask);
    let unicode = counts.replace('\\', "\\u005c");
    assert_eq!(mask_of(&parse(&text.replace(&escaped, &unicode)), 0).unwrap(), mask);
}

#[test]
fn counts_may_be_a_list_of_runs() {
    let text = GOOD.replace("\"92207\"", "[9, 2, 2, 2, 9]");
    assert_eq!(mask_of(&parse(&text), 0).unwrap(), mask_of(&parse(GOOD), 0).unwrap());
}

#[test]
fn every_missing_field_that_nothing_stands_in_for_is_named() {
    let whole: Value = serde_json::from_str(GOOD).unwrap();
    let paths = ["/annotations/0 segmentation", "/image image_id", "/image width", "/image height", " image"];
    for path in paths.into_iter().chain([" annotations"]) {
        let (object, field) = path.split_once(' ').unwrap();
        let mut cut = whole.clone();
        cut.pointer_mut(object).unwrap().as_object_mut().unwrap().remove(field).unwrap();
        let error = AnnotationFile::parse(cut.to_string().as_bytes()).unwrap_err();
        assert!(error.is_corrupt() && error.to_string().contains(field), "{field}: {error}");
    }
}

#[test]
fn impossible_values_are_named() {
    refused("0.95", "NaN", &["NaN"]);
    refused("0.95", "1e999", &["1e999"]);
    refused("0.95", "1e39", &["out of range", "predicted_iou", "1e39"]);
    refused("0.97", "-1e39", &["out of range", "stability_score", "-1e39"]);
    refused("\"area\": 4", "\"area\": -4", &["-4"]);
    refused("\"area\": 4", "\"area\": -0.5", &["-0.5"]);
    refused("\"id\": 70", "\"id\": 70.5", &["70.5", "whole number"]);
    refused("[[2.5, 1.5]]", "[[2.5]]", &["array of length 2"]);
    refused("\"area\": 4", "\"area\": \"4\"", &["\"4\"", "pixels"]);
    refused("\"width\": 6", "\"width\": 0", &["0 x 4"]);
    refused("\"height\": 4", "\"height\": 0", &["6 x 0"]);
    refused("\"width\": 6, \"height\": 4", "\"width\": 100000, \"height\": 100000", &["100000 x 100000"]);
    refused("\"width\": 6", "\"width\": -6", &["-6"]);
    refused("[2, 1, 1, 1]", "[2, 1, 1]", &["array of length 4"]);
    refused("[2, 1, 1, 1]", "[1e300, 1, 1, 1]", &["annotation 70", "1e300"]);
    refused("[2, 1, 1, 1]", "[2, 1, -1, 1]", &["annotation 70", "-1"]);
    refused("\"area\": 4", "\"area\": 25", &["annotation 70", "25", "24 pixels"]);
    refused("\"image_id\": 7", "\"id\": \"seven\"", &["no image_id", "\"seven\""]);
    refused("\"file_name\": \"sa_7.jpg\"}", "\"file_name\": \"sa_7.jpg\"", &["json"]);
}

#[test]
fn broken_text_never_panics() {
    for end in 0..GOOD.len() {
        assert!(AnnotationFile::parse(&GOOD.as_bytes()[..end]).is_err(), "cut at {end}");
    }
    assert!(AnnotationFile::parse(&[0xff; 100]).is_err());
    assert!(AnnotationFile::parse("[".repeat(100_000).as_bytes()).is_err());
}

#[test]
fn a_broken_mask_names_its_annotation_and_the_fault() {
    let error = |from: &str, to: &str| mask_of(&parse(&GOOD.replacen(from, to, 1)), 0).unwrap_err();
    let cases = [
        (
            "\"size\": [4, 6]",
            "\"size\": [6, 4]",
            "size is [6, 4], but the image is 4 x 6 (height x width): are they swapped?",
        ),
        ("\"size\": [4, 6]", "\"size\": [4, 7]", "size is [4, 7], but the image is 4 x 6 (height x width)"),
        ("\"size\": [4, 6]", "\"size\": [4.5, 6]", "4.5"),
        ("92207", "9220", "24 pixels"),
        ("92207", "922~7", "126"),
        ("92207", "9220o", "ends inside"),
        ("\"92207\"", "[9, 2, 2, 2, 8]", "add up to 23"),
        ("\"92207\"", "[9, -2, 2, 2, 9]", "-2"),
        ("\"92207\"", "null", "null"),
        ("\"size\"", "\"sighs\"", "`size`"),
    ];
    for (from, to, named) in cases {
        let error = error(from, to);
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let text = error.to_string();
        assert!(text.contains("annotation 70") && text.contains(named), "{to}: {text}");
    }
}

#[test]
fn the_filter_decides_the_same_on_the_index_and_on_the_json() {
    let samples = fixture::made_many(12);
    let source = fixture::memory(fixture::shard(&samples));
    let index = ShardIndex::build(source.as_ref(), &|_| {}).unwrap();
    let filters = [
        MaskFilter::default(),
        MaskFilter::all(),
        MaskFilter::all().min_stability_score(0.95),
        MaskFilter::all().area(50, 300),
        MaskFilter::all().area_fraction(0.1, 0.5),
        MaskFilter::all().box_side(5.0, 20.0),
        MaskFilter::default().min_masks(3),
    ];
    assert_eq!(index.entries().len(), samples.len());
    let mut decisions = [0, 0];
    for filter in &filters {
        for (i, entry) in index.entries().iter().enumerate() {
            let sample = samples.iter().find(|s| s.id == entry.image_id).unwrap();
            let file = AnnotationFile::parse(&sample.json).unwrap();
            let expected: Vec<AnnotationStats> = file.annotations.iter().map(|a| a.stats()).collect();
            assert_eq!(index.stats(i), expected);
            for (a, b) in index.stats(i).iter().zip(&expected) {
                let keeps = filter.keeps(a, entry.width, entry.height);
                assert_eq!(keeps, filter.keeps(b, file.image.width, file.image.height));
                decisions[usize::from(keeps)] += 1;
            }
            let kept = TopKBy::default().top_k(&file, filter, usize::MAX, 0);
            let naive = expected.iter().filter(|s| filter.keeps(s, entry.width, entry.height)).count();
            assert_eq!(kept.len(), naive);
        }
    }
    assert!(decisions.iter().all(|&n| n > 20), "{decisions:?}");
}

#[test]
fn filter_bounds_are_inclusive() {
    let score = AnnotationStats {
        id: 1,
        predicted_iou: 0.88,
        stability_score: 0.95,
        area: 24,
        box_width: 3.0,
        box_height: 8.0,
    };
    let all = MaskFilter::all;
    let next = |v: f32| f32::from_bits(v.to_bits() + 1);
    let keeps = |filter: MaskFilter| filter.keeps(&score, 12, 4);
    assert!(keeps(MaskFilter::default()));
    assert!(keeps(all().min_predicted_iou(0.88)) && !keeps(all().min_predicted_iou(next(0.88))));
    assert!(keeps(all().min_stability_score(0.95)) && !keeps(all().min_stability_score(next(0.95))));
    assert!(keeps(all().area(24, 24)) && !keeps(all().area(25, 99)) && !keeps(all().area(0, 23)));
    assert!(
        keeps(all().area_fraction(0.5, 0.5))
            && !keeps(all().area_fraction(0.51, 1.0))
            && !keeps(all().area_fraction(0.0, 0.49))
    );
    assert!(keeps(all().box_side(3.0, 8.0)) && !keeps(all().box_side(3.1, 8.0)) && !keeps(all().box_side(3.0, 7.9)));
    assert!(all().keeps_image(&[], 4, 4) && !all().min_masks(1).keeps_image(&[], 4, 4));
    assert!(
        all().min_masks(2).keeps_image(&[score, score], 12, 4)
            && !all().min_masks(3).keeps_image(&[score, score], 12, 4)
    );
}

/// An image of `count` annotations with repeated scores and areas, and shuffled ids.
fn crowd(seed: u64, count: usize) -> String {
    let mut dice = Dice(seed);
    let annotations: Vec<Value> = (0..count)
        .map(|n| {
            json!({"bbox": [0, 0, 3, 3], "area": 1 + dice.below(4), "segmentation": {"size": [8, 8], "counts": "P2"},
                "predicted_iou": 0.8 + dice.below(4) as f64 * 0.05, "point_coords": [[1, 2]], "crop_box": [0, 0, 8, 8],
                "id": ((n as i64 * 7919) % 1009) - 300, "stability_score": 0.9 + dice.below(3) as f64 * 0.03})
        })
        .collect();
    json!({"image": {"image_id": 1, "width": 8, "height": 8, "file_name": "a"}, "annotations": annotations}).to_string()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn top_k_equals_a_naive_sort(seed: u64, count in 0_usize..60, k in 0_usize..70, least in 0.75_f32..1.0) {
        let text = crowd(seed, count);
        let file = parse(&text);
        let filter = MaskFilter::all().min_predicted_iou(least);
        let all = &file.annotations;
        let down = |a: f32, b: f32| b.partial_cmp(&a).unwrap();
        type Compare<'a> = Box<dyn Fn(usize, usize) -> Ordering + 'a>;
        let rankings: [(TopKBy, Compare<'_>); 4] = [
            (TopKBy::StabilityScore, Box::new(|a, b| down(all[a].stability_score, all[b].stability_score))),
            (TopKBy::PredictedIou, Box::new(|a, b| down(all[a].predicted_iou, all[b].predicted_iou))),
            (TopKBy::LargestArea, Box::new(|a, b| all[b].area.cmp(&all[a].area))),
            (TopKBy::SmallestArea, Box::new(|a, b| all[a].area.cmp(&all[b].area))),
        ];
        for (top_k_by, compare) in rankings {
            let mut expected: Vec<usize> = (0..count).filter(|&i| all[i].predicted_iou >= least).collect();
            expected.sort_by(|&a, &b| {
                compare(a, b).then(down(all[a].predicted_iou, all[b].predicted_iou)).then(all[a].id.cmp(&all[b].id))
            });
            expected.truncate(k);
            prop_assert_eq!(top_k_by.top_k(&file, &filter, k, 0), expected, "{:?}", top_k_by);
        }
    }

    #[test]
    fn the_choice_does_not_depend_on_the_order_in_the_file(seed: u64, k in 1_usize..20) {
        let text = crowd(seed, 40);
        let mut turned: Value = serde_json::from_str(&text).unwrap();
        turned["annotations"].as_array_mut().unwrap().reverse();
        let turned = turned.to_string();
        let ids = |text: &str, top_k_by: TopKBy| -> Vec<i64> {
            let file = AnnotationFile::parse(text.as_bytes()).unwrap();
            top_k_by.top_k(&file, &MaskFilter::all(), k, 0).into_iter().map(|i| file.annotations[i].id).collect()
        };
        let fixed = [TopKBy::StabilityScore, TopKBy::PredictedIou, TopKBy::LargestArea, TopKBy::SmallestArea];
        for top_k_by in fixed.into_iter().chain([TopKBy::Random { seed }, TopKBy::AreaStratified { seed }]) {
            prop_assert_eq!(ids(&text, top_k_by), ids(&turned, top_k_by), "{:?}", top_k_by);
        }
    }
}

#[test]
fn sizes_take_turns_in_a_stratified_draw_and_each_draw_is_even() {
    // An image of 10,000 pixels with 40 small, 9 medium and 2 large masks, at the bounds of their classes.
    let area = |n: usize| match n {
        0..40 => [1, 99][n % 2],
        40..49 => [100, 999][n % 2],
        _ => [1000, 10_000][n % 2],
    };
    let class = |area: u64| usize::from(area >= 100) + usize::from(area >= 1000);
    let annotations: Vec<Value> = (0..51)
        .map(|n| {
            json!({"bbox": [0, 0, 3, 3], "area": area(n), "segmentation": {"size": [100, 100], "counts": "P2"},
                "predicted_iou": 0.9, "stability_score": 0.95, "point_coords": [[1, 2]],
                "crop_box": [0, 0, 8, 8], "id": n})
        })
        .collect();
    let image = json!({"image_id": 1, "width": 100, "height": 100, "file_name": "a"});
    let text = json!({"image": image, "annotations": annotations}).to_string();
    let file = parse(&text);
    let mut hits = [0; 51];
    for seed in 0..200 {
        let chosen = TopKBy::AreaStratified { seed }.top_k(&file, &MaskFilter::all(), 12, 0);
        let classes: Vec<usize> = chosen.iter().map(|&i| class(file.annotations[i].area)).collect();
        assert_eq!(classes, [0, 1, 2, 0, 1, 2, 0, 1, 0, 1, 0, 1]);
        chosen.into_iter().for_each(|i| hits[i] += 1);
        let all = TopKBy::AreaStratified { seed }.top_k(&file, &MaskFilter::all(), 99, 0);
        assert_eq!(all.iter().collect::<std::collections::BTreeSet<_>>().len(), 51);
    }
    // Each of 200 draws takes 5 of the 40 small masks, 5 of the 9 medium ones and both large ones.
    assert!(hits[..40].iter().all(|n| (8..50).contains(n)), "{hits:?}");
    assert!(hits[40..49].iter().all(|n| (85..140).contains(n)), "{hits:?}");
    assert_eq!(hits[49..], [200, 200]);
}

#[test]
fn a_random_draw_is_even_and_depends_on_its_seed() {
    let text = crowd(3, 40);
    let file = parse(&text);
    let draw = |seed| TopKBy::Random { seed }.top_k(&file, &MaskFilter::all(), 10, 0);
    assert_eq!(draw(1), draw(1));
    let mut hits = vec![0; 40];
    for seed in 0..400 {
        let chosen = draw(seed);
        assert_eq!(chosen.len(), 10);
        chosen.into_iter().for_each(|i| hits[i] += 1);
    }
    // Each is expected 100 times, with a deviation of about 9.
    assert!(hits.iter().all(|&n| (50..150).contains(&n)), "{hits:?}");
}

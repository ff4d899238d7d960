//! Labels as tools write them: what is missing costs its field alone, random draws are new in each epoch, and no mask
//! that has a pixel is lost on the grid.

use std::collections::{BTreeMap, BTreeSet};

use maskstream::Geometry;
use maskstream::index::{Annotation, AnnotationFile, AnnotationStats, ShardIndex};
use maskstream::internals::MaskMismatch;
use maskstream::mask::{Grid, GridScratch, Rle, Segmentation};
use maskstream::{
    Batch, Fit, Loader, LoaderBuilder, MaskFilter, MaskFormat, MaskKind, Memory, OnError, ShardSet, TopKBy,
};
use serde_json::{Value, json};

use crate::fixture::{
    Dice, Made, annotation, content, document, jpeg, lenient, made_many, members, memory, pack, rectangle, set_of,
    shard, within,
};

const WIDTH: u32 = 40;
const HEIGHT: u32 = 28;
const K: usize = 4;

fn options() -> LoaderBuilder {
    Loader::builder().batch_size(4).image_size(24).mask_size([8, 8]).top_k(K).num_workers(2)
}

fn sample(id: i64, json: Vec<u8>) -> Made {
    Made { id, width: WIDTH, height: HEIGHT, image: jpeg(WIDTH, HEIGHT, id as u64), json }
}

/// Three annotations of one image, changed.
fn changed(id: i64, change: impl Fn(usize, &mut Value)) -> Vec<u8> {
    let boxes = [[3, 2, 10, 9], [20, 5, 12, 20], [1, 15, 30, 6]];
    let annotations: Vec<Value> = (0..)
        .zip(boxes)
        .map(|(n, place)| {
            let scores = [0.9 + n as f64 * 0.02, 0.97 - n as f64 * 0.01];
            let mut one = annotation(500 + n as i64, &rectangle(WIDTH, HEIGHT, place), scores[0], scores[1]);
            change(n, &mut one);
            one
        })
        .collect();
    document(id, WIDTH, HEIGHT, &annotations)
}

/// The only batch of an epoch over these samples.
fn batch(options: LoaderBuilder, samples: &[Made]) -> Batch {
    let batches: Vec<Batch> =
        options.build(set_of(vec![shard(samples)])).unwrap().epoch(0).unwrap().map(Result::unwrap).collect();
    assert_eq!(batches.len(), 1);
    batches.into_iter().next().unwrap()
}

/// Every number of an annotation but one field; missing scores are `None`.
fn numbers_but(field: &str, one: &Annotation<'_>) -> BTreeMap<&'static str, String> {
    let mut numbers = BTreeMap::from([
        ("id", one.id.to_string()),
        ("bbox", format!("{:?}", one.bbox)),
        ("area", one.area.to_string()),
        ("predicted_iou", one.predicted_iou.to_string()),
        ("stability_score", one.stability_score.to_string()),
        ("point_coords", format!("{:?}", one.point_coords)),
        ("crop_box", format!("{:?}", one.crop_box)),
    ]);
    numbers.remove(field).unwrap();
    numbers
}

#[test]
fn a_field_that_is_missing_costs_that_field_alone() {
    let whole = changed(7, |_, _| {});
    let whole = AnnotationFile::parse(&whole).unwrap();
    let forms: [(&str, &[Value]); 7] = [
        ("id", &[Value::Null]),
        ("bbox", &[Value::Null, json!([])]),
        ("area", &[Value::Null]),
        ("predicted_iou", &[Value::Null]),
        ("stability_score", &[Value::Null]),
        ("point_coords", &[Value::Null, json!([]), json!([[]])]),
        ("crop_box", &[Value::Null, json!([])]),
    ];
    for (field, forms) in forms {
        for form in [None].into_iter().chain(forms.iter().map(Some)) {
            let bytes = changed(7, |_, one| {
                let object = one.as_object_mut().unwrap();
                object.remove(field).unwrap();
                object.extend(form.map(|form| (field.to_owned(), form.clone())));
            });
            let file = AnnotationFile::parse(&bytes).unwrap();
            for (n, (one, complete)) in file.annotations.iter().zip(&whole.annotations).enumerate() {
                assert_eq!(numbers_but(field, one), numbers_but(field, complete), "{field}: {form:?}");
                match field {
                    "id" => assert_eq!(one.id, n as i64),
                    // They are those of the mask, which the fixture made them from.
                    "bbox" => assert_eq!(one.bbox, complete.bbox),
                    "area" => assert_eq!(one.area, complete.area),
                    "predicted_iou" => assert!(one.predicted_iou.is_nan()),
                    "stability_score" => assert!(one.stability_score.is_nan()),
                    "point_coords" => assert!(one.point_coords.is_empty()),
                    _ => assert_eq!(one.crop_box, None),
                }
            }
            // In the batch, all other fields keep their values.
            let batches = [whole_batch(), batch(options(), &[sample(7, bytes)])];
            let [complete, cut] = batches.each_ref().map(content);
            let differing: Vec<&str> =
                complete.iter().filter(|(name, bytes)| cut[*name] != **bytes).map(|(name, _)| name.as_str()).collect();
            match field {
                "id" => {
                    assert_eq!(differing, ["annotation_ids"]);
                    assert_eq!(batches[1].annotation_ids()[..3], [0, 1, 2]);
                }
                "predicted_iou" => {
                    assert_eq!(differing, ["predicted_iou"]);
                    assert_eq!(batches[1].predicted_iou()[..3], [0.0; 3]);
                }
                // It is what the default ranking goes by: without it, predicted_iou does, in the other order.
                "stability_score" => assert_eq!(batches[1].annotation_ids()[..3], [502, 501, 500]),
                "point_coords" => {
                    assert_eq!(differing, ["points"]);
                    assert_eq!(batches[1].points()[..6], [0.0; 6]);
                }
                _ => assert!(differing.is_empty(), "{field}: {differing:?}"),
            }
            assert_eq!(batches[1].valid()[..K], [1, 1, 1, 0], "{field}");
        }
    }
}

fn whole_batch() -> Batch {
    batch(options(), &[sample(7, changed(7, |_, _| {}))])
}

#[test]
fn images_are_named_as_in_sa_1b_or_as_in_coco() {
    let mut json: Value = serde_json::from_slice(&changed(7, |_, _| {})).unwrap();
    let image = |json: &Value| {
        let text = json.to_string();
        let file = AnnotationFile::parse(text.as_bytes()).unwrap();
        (file.image.image_id, file.image.width, file.image.height, file.image.file_name.map(|name| name.into_owned()))
    };
    let name = Some("sa_7.jpg".to_owned());
    // `id` is what it is in other formats: it is not read where image_id is.
    json["image"] = json!({"image_id": 7, "id": "x", "width": 40, "height": 28, "file_name": "sa_7.jpg"});
    assert_eq!(image(&json), (7, 40, 28, name.clone()));
    json["image"] = json!({"id": 8, "width": 40.0, "height": 28, "file_name": "sa_7.jpg"});
    assert_eq!(image(&json), (8, 40, 28, name));
    json["image"] = json!({"image_id": 9.0, "width": 40, "height": 28, "file_name": null});
    assert_eq!(image(&json), (9, 40, 28, None));
}

#[test]
fn a_byte_order_mark_fractions_and_floats_for_sizes_change_nothing() {
    let plain = changed(7, |_, _| {});
    let marked = [b"\xef\xbb\xbf", &plain[..]].concat();
    let floats = changed(7, |n, one| {
        one["segmentation"]["size"] = json!([28.0, 40.0]);
        one["area"] = json!(one["area"].as_f64().unwrap() + [0.4, -0.5, 0.0][n]);
    });
    let expected = content(&whole_batch());
    assert!(content(&batch(options(), &[sample(7, marked)])) == expected);
    assert!(content(&batch(options(), &[sample(7, floats)])) == expected);
}

#[test]
fn numbers_that_are_not_finite_are_named_with_annotation_and_field() {
    let text = String::from_utf8(changed(7, |_, one| one["note"] = json!("NaN: not \\\" Infinity"))).unwrap();
    let error = |text: &str| AnnotationFile::parse(text.as_bytes()).unwrap_err().to_string();
    let cases = [
        ("\"predicted_iou\":0.92", "predicted_iou", "NaN", "annotation 501: "),
        ("\"stability_score\":0.97", "stability_score", "Infinity", "annotation 500: "),
        ("\"area\":180", "area", "-Infinity", "annotation 502: "),
        ("\"image_id\":7", "image_id", "NaN", "json: image_id"),
    ];
    for (from, field, literal, place) in cases {
        assert!(text.contains(from), "{from}");
        let bad = text.replacen(from, &format!("\"{field}\": {literal}"), 1);
        let message = error(&bad);
        assert!(message.contains(place) && message.contains(&format!("{field} is {literal}, ")), "{message}");
        assert!(message.contains("leave the field out"), "{message}");
    }
    let boxed = text.replacen("\"bbox\":[20", "\"bbox\":[NaN", 1);
    assert!(error(&boxed).contains("annotation 501: bbox is NaN"), "{}", error(&boxed));
    let two = text.replace("\"predicted_iou\":0.92", "\"predicted_iou\":NaN").replace("\"id\":501", "\"id\":NaN");
    assert!(error(&two).contains("annotation 1 (from 0): "), "{}", error(&two));
    // Another fault is not blamed on a number.
    let broken = text.replacen(':', ";", 1).replace("0.92", "NaN");
    assert!(!error(&broken).contains("NaN"), "{}", error(&broken));
}

#[test]
fn without_scores_no_bound_is_passed_and_all_else_works() {
    let bytes = changed(7, |n, one| {
        let object = one.as_object_mut().unwrap();
        object.remove("predicted_iou");
        if n != 2 {
            object.remove("stability_score");
        }
    });
    let file = AnnotationFile::parse(&bytes).unwrap();
    let stats: Vec<AnnotationStats> = file.annotations.iter().map(Annotation::stats).collect();
    let kept = |filter: MaskFilter| stats.iter().filter(|one| filter.keeps(one, WIDTH, HEIGHT)).count();
    assert_eq!([kept(MaskFilter::all()), kept(MaskFilter::all().area(100, 1000))], [3, 2]);
    assert_eq!(kept(MaskFilter::all().min_predicted_iou(f32::MIN)), 0);
    assert_eq!(kept(MaskFilter::all().min_stability_score(0.1)), 1);
    assert_eq!(kept(MaskFilter::all().min_predicted_iou(0.5).min_predicted_iou(f32::NEG_INFINITY)), 3);
    assert_eq!(MaskFilter::default().missing_score(&stats), Some("predicted_iou"));
    assert_eq!(MaskFilter::all().min_stability_score(0.1).missing_score(&stats), None, "one has it");
    assert_eq!(MaskFilter::all().min_stability_score(0.1).missing_score(&stats[..2]), Some("stability_score"));
    assert_eq!(MaskFilter::default().missing_score(&[]), None);
    // What is missing ranks last; without any score, ids decide.
    let chosen = |top_k_by: TopKBy| top_k_by.top_k(&file, &MaskFilter::all(), 3, 0);
    assert_eq!(chosen(TopKBy::StabilityScore), [2, 0, 1]);
    assert_eq!(chosen(TopKBy::PredictedIou), [0, 1, 2]);
    // The index holds what the json does, and a second index of the same bytes is equal.
    let source = memory(pack(&members(&[sample(7, bytes)])));
    let [index, again] = [(); 2].map(|()| ShardIndex::build(source.as_ref(), &|_| {}).unwrap());
    assert_eq!((index.stats(0), index.stats(0)), (&stats[..], again.stats(0)));
}

#[test]
fn annotations_that_are_equal_in_all_else_keep_their_order_in_the_file() {
    let bytes = changed(7, |_, one| {
        one["id"] = json!(5);
        one["predicted_iou"] = json!(0.9);
        one["stability_score"] = json!(0.9);
        one["area"] = json!(100);
    });
    let file = AnnotationFile::parse(&bytes).unwrap();
    for top_k_by in [TopKBy::StabilityScore, TopKBy::PredictedIou, TopKBy::LargestArea, TopKBy::SmallestArea] {
        for k in 1..=3 {
            assert_eq!(top_k_by.top_k(&file, &MaskFilter::all(), k, 0), [0, 1, 2][..k], "{top_k_by:?}");
        }
    }
}

// Polygons

#[test]
fn rings_that_enclose_nothing_leave_the_others_as_they_are() {
    let read = |json: &str| serde_json::from_str::<Segmentation>(json).unwrap().to_rle(20, 30);
    let square = "[2,1,8,1,8,6,2,6]";
    let whole = read(&format!("[{square}]")).unwrap();
    assert_eq!((whole.area(), whole.bbox()), (30, [2, 1, 6, 5]));
    // Results of pycocotools 2.0.
    for short in ["[1,1,25,15]", "[1,1]", "[]", "[1]", "[1,1,25,15,3]"] {
        assert_eq!(read(&format!("[{square},{short}]")).unwrap(), whole, "{short}");
        assert_eq!(read(&format!("[{short},{square}]")).unwrap(), whole, "{short}");
    }
    let cut = read("[[2,1,8,1,8,6,2]]").unwrap();
    assert_eq!((cut.area(), cut.bbox()), (15, [3, 1, 5, 5]), "half a point at the end is left out");
    assert_eq!(read("[]").unwrap().area(), 0);
    assert!(read("[[1,1,25,15]]").is_err() && read("[[],[1,1]]").is_err(), "nothing is left to draw");
}

// Draws

/// Images of 20 annotations whose ids count from 0 in each.
fn local(images: i64) -> Vec<Made> {
    let mask = rectangle(WIDTH, HEIGHT, [3, 2, 10, 9]);
    let annotations: Vec<Value> = (0..20).map(|id| annotation(id, &mask, 0.9, 0.95)).collect();
    (1..=images).map(|id| sample(id, document(id, WIDTH, HEIGHT, &annotations))).collect()
}

/// Annotations drawn for each image in an epoch.
fn draws(loader: &Loader, epoch: u64) -> BTreeMap<i64, Vec<i64>> {
    let mut draws = BTreeMap::new();
    for batch in loader.epoch(epoch).unwrap() {
        let batch = batch.unwrap();
        for (row, &image) in batch.image_ids().iter().enumerate().filter(|(row, _)| batch.image_valid()[*row] == 1) {
            draws.insert(image, batch.annotation_ids()[K * row..][..K].to_vec());
        }
    }
    draws
}

fn all_random() -> [(TopKBy, TopKBy); 2] {
    [
        (TopKBy::Random { seed: 3 }, TopKBy::FixedRandom { seed: 3 }),
        (TopKBy::AreaStratified { seed: 3 }, TopKBy::FixedAreaStratified { seed: 3 }),
    ]
}

#[test]
fn each_epoch_and_each_image_has_a_draw_of_its_own_and_the_fixed_form_has_one() {
    within(|| {
        let images = local(12);
        for (anew, fixed) in all_random() {
            let loader = |top_k_by| {
                let options = options().mask_size(None).top_k_by(top_k_by).shuffle(1);
                options.build(set_of(vec![shard(&images)])).unwrap()
            };
            let epochs: Vec<_> = (0..24).map(|epoch| draws(&loader(anew), epoch)).collect();
            let mut hits = [0; 20];
            for image in 1..=12 {
                let seen: BTreeSet<i64> = epochs.iter().flat_map(|epoch| epoch[&image].iter().copied()).collect();
                // 24 epochs of 4 of 20 annotations leave one out with a probability of 0.5 %.
                assert!(seen.len() >= 18, "image {image} has shown {seen:?} in 24 epochs");
                epochs.iter().for_each(|epoch| epoch[&image].iter().for_each(|&id| hits[id as usize] += 1));
            }
            // Each is expected 58 times, with a deviation of 7.
            assert!(hits.iter().all(|hits| (30..90).contains(hits)), "{hits:?}");
            let different: BTreeSet<_> = epochs.iter().flat_map(|epoch| epoch.values()).collect();
            assert!(different.len() > 270, "{} different draws of 12 images in 24 epochs", different.len());

            let always = loader(fixed);
            let first = draws(&always, 0);
            assert!((1..4).all(|epoch| draws(&always, epoch) == first), "{fixed:?}");
            assert_eq!(first, epochs[0]);
            assert!(first.values().collect::<BTreeSet<_>>().len() > 9, "images draw on their own");
        }
    });
}

#[test]
fn a_draw_depends_on_the_number_of_its_epoch_and_on_no_history() {
    within(|| {
        let images = local(12);
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.tar"), shard(&images)).unwrap();
        for (anew, _) in all_random() {
            let options = || options().top_k_by(anew);
            let set = || set_of(vec![shard(&images)]);
            let loader = options().build(set()).unwrap();
            let whole: Vec<Batch> = loader.epoch(5).unwrap().map(Result::unwrap).collect();
            let expected: Vec<_> = whole.iter().map(content).collect();
            // Another loader, with another number of threads, that has run no other epoch.
            let other = options().num_workers(5).build(set()).unwrap();
            let cursor = whole[0].cursor().unwrap();
            let resumed: Vec<_> = other.resume_from(&cursor).unwrap().map(|batch| content(&batch.unwrap())).collect();
            assert!(resumed == expected[1..]);
            for (step, batch) in (0..).zip(&expected) {
                assert!(content(&loader.replay(&cursor, step).unwrap()) == *batch);
            }
            // While shards are being indexed, the same epoch has the same draws.
            let unindexed = ShardSet::builder().filter(MaskFilter::all());
            let unindexed = unindexed.sidecar(maskstream::index::Sidecar::Off).open_lazy(&[dir.path()]).unwrap();
            assert_eq!(draws(&options().build(unindexed).unwrap(), 5), draws(&loader, 5));
            assert_ne!(draws(&loader, 4), draws(&loader, 5));
        }
    });
}

#[test]
fn annotations_whose_ids_repeat_are_drawn_evenly() {
    let bytes = changed(7, |_, one| one["id"] = json!(0));
    let file = AnnotationFile::parse(&bytes).unwrap();
    for top_k_by in [TopKBy::Random { seed: 1 }, TopKBy::AreaStratified { seed: 1 }] {
        let mut hits = [0; 3];
        let filter = MaskFilter::all();
        (0..300).for_each(|epoch| hits[top_k_by.top_k(&file, &filter, 1, epoch)[0]] += 1);
        let drawn: Vec<i32> = hits.into_iter().filter(|&hits| hits > 0).collect();
        // The three masks may be of several classes, of which the smallest comes first.
        assert!(drawn.iter().all(|&hits| (300 / drawn.len() as i32 - hits).abs() < 40), "{top_k_by:?}: {drawn:?}");
        assert_eq!(drawn.iter().sum::<i32>(), 300);
    }
    let mut hits = [0; 3];
    (0..300).for_each(|seed| hits[TopKBy::Random { seed }.top_k(&file, &MaskFilter::all(), 1, 0)[0]] += 1);
    assert!(hits.iter().all(|hits| (60..140).contains(hits)), "{hits:?}");
}

// Masks on the grid

/// Thin and small masks, one without a pixel, and one that many cells show.
fn thin() -> (Made, Vec<Rle>) {
    let mut dice = Dice(4);
    let mut masks = vec![rectangle(WIDTH, HEIGHT, [2, 3, 30, 20]), Rle::empty(HEIGHT, WIDTH).unwrap()];
    for n in 0..60 {
        let (w, h) = [(1, 1), (30, 1), (1, 20), (2, 2), (3, 1)][n % 5];
        let (x, y) = (dice.below(u64::from(WIDTH - w)) as u32, dice.below(u64::from(HEIGHT - h)) as u32);
        masks.push(rectangle(WIDTH, HEIGHT, [x, y, w, h]));
    }
    let annotations: Vec<Value> =
        (0..).zip(&masks).map(|(id, mask)| annotation(id, mask, 0.9, 1.0 - id as f64 * 0.001)).collect();
    (sample(3, document(3, WIDTH, HEIGHT, &annotations)), masks)
}

/// The share of each cell that a mask covers, pixel by pixel. The image is 24 x 17 on a canvas of 24 x 24.
fn naive_shares(mask: &Rle, cells: usize) -> Vec<f64> {
    let bitmap = mask.to_column_major().unwrap();
    let scale = |content: f64, pixels: u32| content / 24.0 * cells as f64 / f64::from(pixels);
    let (sx, sy) = (scale(24.0, WIDTH), scale(17.0, HEIGHT));
    let overlap = |cell: usize, from: f64, to: f64| (to.min(cell as f64 + 1.0) - from.max(cell as f64)).max(0.0);
    let mut shares = vec![0.0; cells * cells];
    for (at, _) in bitmap.iter().enumerate().filter(|(_, value)| **value == 1) {
        let (x, y) = ((at / HEIGHT as usize) as f64, (at % HEIGHT as usize) as f64);
        for (cell, share) in shares.iter_mut().enumerate() {
            let (row, column) = (cell / cells, cell % cells);
            *share += overlap(column, x * sx, (x + 1.0) * sx) * overlap(row, y * sy, (y + 1.0) * sy);
        }
    }
    shares
}

#[test]
fn a_mask_that_no_cell_would_show_keeps_the_cell_that_it_covers_most() {
    let (made, masks) = thin();
    let geometry = Geometry::new(WIDTH, HEIGHT, 24, Fit::Letterbox).unwrap();
    for cells in [5_usize, 2] {
        let options = |kind| options().batch_size(1).top_k(masks.len()).mask_size([cells as u32; 2]).mask_kind(kind);
        let grid: Grid = geometry.grid(cells as u32, cells as u32).unwrap();
        for kind in [MaskKind::Nearest, MaskKind::Area] {
            let kept = batch(options(kind), std::slice::from_ref(&made));
            let bare = batch(options(kind).keep_thin_masks(false), std::slice::from_ref(&made));
            let (mut lost, mut scratch) = (0, GridScratch::default());
            for (k, mask) in masks.iter().enumerate() {
                let mut drawn = vec![9; cells * cells];
                match kind {
                    MaskKind::Nearest => grid.nearest(mask, &mut scratch, &mut drawn).unwrap(),
                    _ => grid.area(mask, &mut scratch, &mut drawn).unwrap(),
                }
                let plane = |batch: &Batch| batch.masks().unwrap()[k * cells * cells..][..cells * cells].to_vec();
                assert_eq!(plane(&bare), drawn, "without the option nothing changes");
                if mask.area() > 0 && drawn.iter().all(|&cell| cell == 0) {
                    lost += 1;
                    let shares = naive_shares(mask, cells);
                    let most = shares.iter().copied().fold(0.0, f64::max);
                    let best = shares.iter().position(|share| *share > most - 1e-9).unwrap();
                    drawn[best] = 1;
                }
                assert_eq!(plane(&kept), drawn, "{kind:?}, mask {k} on {cells} x {cells} cells");
                assert_eq!(kept.valid()[k] == 1, drawn.iter().any(|&cell| cell > 0));
            }
            assert!(lost > 20 || kind == MaskKind::Area, "{kind:?}: {lost} of {}", masks.len());
        }
    }
}

#[test]
fn a_share_that_rounds_to_nothing_is_kept_as_one() {
    // One pixel of 40 x 28 in a cell of the whole image, and a grid of 24 x 24 pixels of canvas: 1 / 1581 of it.
    let mask = rectangle(WIDTH, HEIGHT, [7, 9, 1, 1]);
    let grid = Geometry::new(WIDTH, HEIGHT, 24, Fit::Letterbox).unwrap().grid(1, 1).unwrap();
    let (mut scratch, mut cells) = (GridScratch::default(), [9]);
    grid.area(&mask, &mut scratch, &mut cells).unwrap();
    assert_eq!(cells, [0]);
    for _ in 0..2 {
        grid.area_or_best(&mask, &mut scratch, &mut cells).unwrap();
        assert_eq!(cells, [1], "and the scratch is clean");
    }
    grid.area_or_best(&Rle::empty(HEIGHT, WIDTH).unwrap(), &mut scratch, &mut cells).unwrap();
    assert_eq!(cells, [0]);
}

#[test]
fn a_mask_without_a_pixel_is_no_mask() {
    let (made, masks) = thin();
    let made = std::slice::from_ref(&made);
    let zero = |batch: &Batch| {
        let at = masks.len() + 1;
        // Of two masks, the second has no pixel.
        assert_eq!(batch.image_valid(), [1]);
        let fields = [batch.area()[1], batch.predicted_iou()[1], batch.stability_score()[1]];
        assert_eq!((fields, batch.annotation_ids()[1]), ([0.0; 3], 0));
        assert!(batch.boxes()[4..8].iter().chain(&batch.points()[2..4]).all(|&value| value == 0.0));
        assert_eq!((batch.valid()[0], batch.valid()[1], batch.valid()[2], at > 3), (1, 0, 1, true));
    };
    let options = || options().batch_size(1).top_k(3);
    zero(&batch(options(), made));
    zero(&batch(options().keep_thin_masks(false), made));
    zero(&batch(options().mask_size(None).coverage(4), made));
    // Where masks are not drawn, they are not read.
    let unread = batch(options().mask_size(None), made);
    assert_eq!((unread.valid(), unread.annotation_ids()), (&[1, 1, 1][..], &[0, 1, 2][..]));
}

/// Rows of cells of 0 and 1, eight to a byte, the first in its highest bit.
fn packed(cells: &[u8], columns: usize) -> Vec<u8> {
    let byte = |cells: &[u8]| cells.iter().rev().fold(0, |byte, cell| (byte >> 1) | (cell << 7));
    cells.chunks(columns).flat_map(|row| row.chunks(8).map(byte).collect::<Vec<u8>>()).collect()
}

#[test]
fn masks_of_bits_are_those_of_bytes_packed() {
    let (thin, _) = thin();
    let mut samples = made_many(6);
    samples.push(Made { id: 7, ..thin });
    for [rows, columns] in [[8, 8], [5, 7], [3, 9], [24, 64], [9, 65], [1, 1], [24, 130]] {
        for (memory, keep) in [(Memory::Heap, true), (Memory::Pinned, false)] {
            let batches = |format: MaskFormat, cache: Option<u64>| {
                let options = options().mask_size([rows, columns]).coverage(3).memory(memory).keep_thin_masks(keep);
                let options = options.mask_format(format).mask_cache_bytes(cache).prefetch_batches(1);
                let loader = options.build(set_of(vec![shard(&samples)])).unwrap();
                assert_eq!(loader.layout().mask_format(), format);
                // The second epoch writes over the buffers of the first, or comes from the cache.
                let epochs = (0..2).flat_map(|epoch| loader.epoch(epoch).unwrap());
                epochs.map(|batch| batch.map(|batch| (content(&batch), unpacked(&batch))).unwrap()).collect::<Vec<_>>()
            };
            let bytes = batches(MaskFormat::Bytes, None);
            for cache in [None, Some(1 << 20)] {
                let bits = batches(MaskFormat::Bits, cache);
                assert_eq!(bits.len(), bytes.len());
                for ((mut bits, unpacked), (mut bytes, cells)) in bits.into_iter().zip(bytes.clone()) {
                    assert!(cells.contains(&1) && cells == bytes["masks"] && unpacked == cells);
                    let cells = bytes.remove("masks").unwrap();
                    assert_eq!(bits.remove("masks").unwrap(), packed(&cells, columns as usize), "{rows} x {columns}");
                    assert!(bits == bytes, "all other fields are the same");
                }
            }
        }
    }
}

fn unpacked(batch: &Batch) -> Vec<u8> {
    batch.unpacked_masks().unwrap().into_owned()
}

#[test]
fn what_is_not_drawn_is_zero_in_reused_buffers() {
    let full = |id: i64, masks: usize| {
        let mask = rectangle(WIDTH, HEIGHT, [0, 0, WIDTH, HEIGHT]);
        let annotations: Vec<Value> = (0..masks as i64).map(|n| annotation(n + 1, &mask, 0.9, 0.99)).collect();
        sample(id, document(id, WIDTH, HEIGHT, &annotations))
    };
    let with_counts = |id: i64, at: usize, counts: Value| {
        let mut whole: Value = serde_json::from_slice(&full(id, K).json).unwrap();
        whole["annotations"][at]["segmentation"]["counts"] = counts;
        sample(id, serde_json::to_vec(&whole).unwrap())
    };
    let samples = [
        full(1, K),
        full(2, 1),
        full(3, K),
        with_counts(4, 2, json!([WIDTH * HEIGHT])),
        full(5, K),
        // Two masks have been drawn when the third turns out to be damaged.
        with_counts(6, 2, json!([1, 2, 3])),
        full(7, 2),
    ];
    let real = |id: i64| match id {
        2 => [1, 0, 0, 0],
        4 => [1, 1, 0, 1],
        6 => [0; K],
        7 => [1, 1, 0, 0],
        _ => [1; K],
    };
    for (memory, format) in
        [(Memory::Heap, MaskFormat::Bytes), (Memory::Pinned, MaskFormat::Bytes), (Memory::Pinned, MaskFormat::Bits)]
    {
        let options = options().batch_size(1).coverage(4).memory(memory).mask_format(format);
        let options = options.num_workers(1).prefetch_batches(1).on_error(OnError::skip(9));
        let loader = options.build(set_of(vec![shard(&samples)])).unwrap();
        for epoch in 0..3 {
            let batches: Vec<i64> = loader
                .epoch(epoch)
                .unwrap()
                .zip(1..)
                .map(|(batch, id)| {
                    let batch = batch.unwrap();
                    let planes =
                        [unpacked(&batch), batch.coverage().unwrap().iter().map(|&v| u8::from(v > 0.0)).collect()];
                    for plane in planes {
                        let drawn: Vec<u8> =
                            plane.chunks(plane.len() / K).map(|mask| *mask.iter().max().unwrap()).collect();
                        assert_eq!(drawn, real(id), "image {id}, {memory:?}, {format:?}, epoch {epoch}");
                    }
                    assert_eq!(batch.valid(), real(id));
                    if id == 6 {
                        assert!(batch.fields().all(|field| field.bytes.iter().all(|&byte| byte == 0)));
                    }
                    id
                })
                .collect();
            assert_eq!(batches.len(), samples.len());
        }
    }
}

#[test]
fn a_mask_that_area_or_box_do_not_describe_is_told() {
    let (mut mask, made) = (Rle::default(), made_many(12));
    for made in &made {
        let file = AnnotationFile::parse(&made.json).unwrap();
        for one in &file.annotations {
            assert_eq!(MaskMismatch::of(one, made.height, made.width, &mut mask).unwrap(), None);
        }
    }
    let mismatch = |change: &dyn Fn(&mut Value)| {
        let bytes = changed(7, |_, one| change(one));
        let file = AnnotationFile::parse(&bytes).unwrap();
        MaskMismatch::of(&file.annotations[0], HEIGHT, WIDTH, &mut Rle::default()).unwrap()
    };
    // COCO's box, one wider than SA-1B's, and an area of the polygon.
    assert_eq!(mismatch(&|one| (one["bbox"], one["area"]) = (json!([2.6, 2, 10, 9]), json!(80.4))), None);
    // The runs of the box [3, 2, 10, 9] row by row instead of column by column: as many pixels, in another place.
    let bitmap: Vec<u8> = (0..WIDTH * HEIGHT)
        .map(|at| (at % WIDTH, at / WIDTH))
        .map(|(x, y)| u8::from((3..13).contains(&x) && (2..11).contains(&y)))
        .collect();
    let turned = Rle::from_column_major(&bitmap, HEIGHT, WIDTH).unwrap();
    let found = mismatch(&|one| one["segmentation"]["counts"] = json!(turned.to_counts())).unwrap();
    assert_eq!((found.id, found.area), (500, None));
    assert!(found.to_string().starts_with("annotation 500: bbox is [3.0, 2.0, 9.0, 8.0], but that of the mask is ["));
    let empty = mismatch(&|one| one["segmentation"]["counts"] = json!([WIDTH * HEIGHT])).unwrap();
    assert_eq!(empty.area, Some([90, 0]));
    assert!(empty.to_string().contains("area is 90, but the mask has 0 pixels; bbox is"), "{empty}");
}

#[test]
fn the_mask_cache_serves_the_fixed_draw() {
    within(|| {
        let images = local(6);
        let top_k_by = TopKBy::FixedRandom { seed: 8 };
        let build = |options: LoaderBuilder| {
            let sources = vec![("a".to_owned(), memory(shard(&images)))];
            options.top_k_by(top_k_by).build(lenient().from_sources(sources).unwrap()).unwrap()
        };
        let (plain, cached) = (build(options()), build(options().mask_cache_bytes(1 << 20)));
        for epoch in 0..3 {
            assert_eq!(draws(&cached, epoch), draws(&plain, epoch));
        }
    });
}

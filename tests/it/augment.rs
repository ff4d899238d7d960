//! Augmentation: image, masks, boxes and points of a sample follow one map, which is the same in every run.

use std::collections::BTreeMap;

use maskstream::index::{AnnotationFile, Indexer, Sidecar};
use maskstream::internals::{Canvas, Decoder, ImageJob, Placement, Planes, View};
use maskstream::mask::{GridScratch, Rle};
use maskstream::{
    Augment, Batch, BoxFormat, ColorJitter, CoordFrame, Crop, DType, Fit, Geometry, Loader, LoaderBuilder, MaskFilter,
    MaskFormat, NegativeClicks, Prompts, ScaledDecode, ShardSet,
};

use crate::fixture::{Dice, Made, annotation, content, document, gzip, jpeg, made_many, rectangle, set_of, shard};

const SIDE: u32 = 48;
const K: usize = 6;
const GRID: [usize; 2] = [24, 31];
const CELLS: usize = GRID[0] * GRID[1];

const CROPS: [Option<Crop>; 4] = [
    None,
    Some(Crop::RandomResized { scale: [0.08, 1.0], ratio: [0.75, 4.0 / 3.0] }),
    Some(Crop::ScaleJitter { scale: [0.1, 2.0] }),
    Some(Crop::AroundMask { margin: [1.0, 3.0] }),
];

fn options() -> LoaderBuilder {
    Loader::builder()
        .batch_size(4)
        .image_size(SIDE)
        .mask_size(GRID.map(|side| side as u32))
        .coverage(6)
        .top_k(K)
        .num_workers(2)
}

fn flips(crop: Option<Crop>) -> Augment {
    Augment::none().seed(3).horizontal_flip(0.5).vertical_flip(0.5).crop(crop)
}

fn batches(builder: LoaderBuilder, samples: &[Made], epoch: u64) -> Vec<Batch> {
    let loader = builder.build(set_of(vec![shard(samples)])).unwrap();
    loader.epoch(epoch).unwrap().map(Result::unwrap).collect()
}

fn contents(batches: &[Batch]) -> Vec<BTreeMap<String, Vec<u8>>> {
    batches.iter().map(content).collect()
}

/// A random geometry of an image of this size.
fn placed(dice: &mut Dice, width: u32, height: u32, side: u32) -> Geometry {
    let mut part = |length: u32| {
        let n = 1 + dice.below(length.into()) as u32;
        let start = dice.below(u64::from(length - n) + 1) as u32;
        (start, start + n)
    };
    let ((left, right), (top, bottom)) = (part(width), part(height));
    let content = (1 + dice.below(side.into()) as u32, 1 + dice.below(side.into()) as u32);
    let (flip, is_turned) = ([dice.below(2) == 0, dice.below(2) == 0], dice.below(2) == 0);
    let whole = Geometry::new(width, height, side, Fit::Letterbox).unwrap();
    whole.placed(Placement { window: [left, top, right, bottom], content, flip, is_turned }).unwrap()
}

/// The original pixel that a point of the canvas shows in one of the original's directions; `None` for padding. The
/// point is at `at / of` canvas pixels, in the direction of the canvas that shows that of the original.
fn pixel_at(geometry: &Geometry, direction: usize, at: u64, of: u64) -> Option<u32> {
    let on_canvas = if geometry.is_turned() { 1 - direction } else { direction };
    let content = u64::from([geometry.content_width(), geometry.content_height()][on_canvas]);
    let (start, end) = (geometry.window()[direction], geometry.window()[direction + 2]);
    let length = u64::from(end - start);
    if at >= content * of {
        return None;
    }
    // A point between two pixels belongs to the one after it, as the runs see it before they are mirrored.
    let pixel = match geometry.flips()[direction] {
        false => at * length / (content * of),
        true => ((content * of - at) * length).div_ceil(content * of) - 1,
    };
    Some(start + pixel as u32)
}

fn random_mask(dice: &mut Dice, width: u32, height: u32) -> (Vec<u8>, Rle) {
    let mut bitmap = vec![0; (width * height) as usize];
    let mut value = 0;
    for pixel in &mut bitmap {
        if dice.below(4) == 0 {
            value ^= 1;
        }
        *pixel = value;
    }
    let mask = Rle::from_column_major(&bitmap, height, width).unwrap();
    (bitmap, mask)
}

#[test]
fn masks_of_any_map_equal_a_reference_by_pixels() {
    let mut dice = Dice(1);
    let mut scratch = GridScratch::default();
    for round in 0..10_000 {
        let (width, height) = (1 + dice.below(24) as u32, 1 + dice.below(24) as u32);
        let side = 1 + dice.below(40) as u32;
        let (rows, columns) = (1 + dice.below(20) as u32, 1 + dice.below(20) as u32);
        let geometry = placed(&mut dice, width, height, side);
        let (bitmap, mask) = random_mask(&mut dice, width, height);
        let grid = geometry.grid(rows, columns).unwrap();
        let mut found = vec![9; (rows * columns) as usize];
        grid.nearest(&mask, &mut scratch, &mut found).unwrap();
        let place = |row: u32, column: u32| {
            (if geometry.is_turned() { column * rows + row } else { row * columns + column }) as usize
        };
        let centre = |cell: u32, cells: u32| (u64::from(2 * cell + 1) * u64::from(side), 2 * u64::from(cells));
        for row in 0..rows {
            for column in 0..columns {
                let (down, across) = (centre(row, rows), centre(column, columns));
                let (for_x, for_y) = if geometry.is_turned() { (down, across) } else { (across, down) };
                let x = pixel_at(&geometry, 0, for_x.0, for_x.1);
                let y = pixel_at(&geometry, 1, for_y.0, for_y.1);
                let expected = x.zip(y).map_or(0, |(x, y)| bitmap[(x * height + y) as usize]);
                assert_eq!(found[place(row, column)], expected, "{round}: {geometry:?} {row} {column}");
            }
        }
        // Shares of cells: each pixel covers a rectangle of the canvas.
        let mut shares = vec![9.0; (rows * columns) as usize];
        grid.coverage(&mask, &mut scratch, &mut shares).unwrap();
        let mut expected = vec![0.0; (rows * columns) as usize];
        let [left, top, right, bottom] = geometry.window();
        for x in left..right {
            for y in (top..bottom).filter(|y| bitmap[(x * height + y) as usize] == 1) {
                let corners = [[x, y], [x + 1, y + 1]].map(|corner| geometry.to_canvas(corner.map(f64::from)));
                let span = |i: usize, cells: u32| {
                    let scale = f64::from(cells) / f64::from(side);
                    let ends = [corners[0][i], corners[1][i]].map(|end| end * scale);
                    (ends[0].min(ends[1]), ends[0].max(ends[1]))
                };
                let (across, down) = (span(0, columns), span(1, rows));
                let overlap = |cell: u32, (from, to): (f64, f64)| {
                    (to.min(f64::from(cell + 1)) - from.max(f64::from(cell))).max(0.0)
                };
                for row in 0..rows {
                    for column in 0..columns {
                        expected[place(row, column)] += overlap(row, down) * overlap(column, across);
                    }
                }
            }
        }
        for (found, expected) in shares.iter().zip(expected) {
            assert!((f64::from(*found) - expected).abs() < 1e-5, "{round}: {geometry:?}: {found} for {expected}");
        }
    }
}

#[test]
fn points_of_the_canvas_lead_back_to_the_original() {
    let mut dice = Dice(2);
    for _ in 0..1000 {
        let width = 1 + dice.below(3000) as u32;
        let geometry = placed(&mut dice, width, 777, 1024);
        let [left, top, right, bottom] = geometry.window().map(f64::from);
        let (width, height) = (f64::from(geometry.content_width()), f64::from(geometry.content_height()));
        let mirrored = |flip: bool, length: f64| if flip { [length, 0.0] } else { [0.0, length] };
        let turn = |[x, y]: [f64; 2]| if geometry.is_turned() { [y, x] } else { [x, y] };
        let [width, height] = turn([width, height]);
        let (x, y) = (mirrored(geometry.flips()[0], width), mirrored(geometry.flips()[1], height));
        // The corners of what is shown are the corners of the image on the canvas.
        for (found, expected) in [
            (geometry.to_canvas([left, top]), turn([x[0], y[0]])),
            (geometry.to_canvas([right, bottom]), turn([x[1], y[1]])),
        ] {
            assert!((found[0] - expected[0]).abs() < 1e-9 && (found[1] - expected[1]).abs() < 1e-9);
        }
        let point = [dice.below(1000) as f64 / 7.0, dice.below(1000) as f64 / 7.0];
        let back = geometry.to_original(geometry.to_canvas(point));
        assert!((back[0] - point[0]).abs() < 1e-7 && (back[1] - point[1]).abs() < 1e-7);
        let affine = geometry.affine().map(f64::from);
        let [u, v] = geometry.to_canvas(point);
        assert!((affine[0] * point[0] + affine[1] * point[1] + affine[2] - u).abs() < 1e-3 * (1.0 + u.abs()));
        assert!((affine[3] * point[0] + affine[4] * point[1] + affine[5] - v).abs() < 1e-3 * (1.0 + v.abs()));
    }
}

#[test]
fn no_augmentation_is_the_batches_without_it() {
    let samples = made_many(11);
    let plain = contents(&batches(options().shuffle(5), &samples, 2));
    assert_eq!(contents(&batches(options().shuffle(5).augment(Augment::none().seed(9)), &samples, 2)), plain);
}

/// Images of several sizes. The first annotation covers all of the image, so its mask says what is shown.
fn scenes(count: i64) -> Vec<Made> {
    let mut dice = Dice(77);
    let scene = |id: i64| {
        let (width, height) = [(40, 28), (28, 40), (33, 33), (56, 24)][id as usize % 4];
        let mut whole = annotation(id * 100, &rectangle(width, height, [0, 0, width, height]), 0.99, 0.999);
        whole["bbox"] = serde_json::json!([0, 0, width, height]);
        let parts = (1..8).map(|n| {
            let (x, y) = (dice.below(width.into()) as u32, dice.below(height.into()) as u32);
            let (w, h) = (1 + dice.below((width - x).into()) as u32, 1 + dice.below((height - y).into()) as u32);
            annotation(id * 100 + n, &rectangle(width, height, [x, y, w, h]), 0.9, 0.9)
        });
        let annotations: Vec<_> = std::iter::once(whole).chain(parts).collect();
        let json = document(id, width, height, &annotations);
        Made { id, width, height, image: jpeg(width, height, id as u64), json }
    };
    (1..=count).map(scene).collect()
}

#[test]
fn labels_follow_the_map_of_their_batch() {
    let samples = scenes(24);
    let by_id: BTreeMap<i64, &Made> = samples.iter().map(|made| (made.id, made)).collect();
    let (mut cut, mut mirrored, mut masks, mut moved) = (0, 0, 0, 0);
    for (crop, fit) in CROPS.into_iter().flat_map(|crop| [(crop, Fit::Letterbox), (crop, Fit::Stretch)]) {
        let options = options().fit(fit).augment(flips(crop)).keep_thin_masks(false);
        let options = options.coord_frame(CoordFrame::Canvas).box_format(BoxFormat::Xyxy);
        for batch in (0..3).flat_map(|epoch| batches(options.clone(), &samples, epoch)) {
            for row in (0..4).filter(|&row| batch.image_valid()[row] == 1) {
                let made = by_id[&batch.image_ids()[row]];
                let file = AnnotationFile::parse(&made.json).unwrap();
                let [sx, _, ox, _, sy, oy] = std::array::from_fn(|i| f64::from(batch.geometry()[6 * row + i]));
                let at = |k: usize| row * K + k;
                mirrored += usize::from(sx < 0.0) + usize::from(sy < 0.0);
                // The mask of the whole image says what is shown.
                assert_eq!(batch.annotation_ids()[at(0)], made.id * 100);
                let shown = &batch.masks().unwrap()[at(0) * CELLS..][..CELLS];
                let box_of =
                    |k: usize| std::array::from_fn(|i| f64::from(batch.boxes()[4 * at(k) + i]) * f64::from(SIDE));
                let [left, top, width, height]: [f64; 4] = box_of(0);
                assert!(left.abs() < 1e-3 && top.abs() < 1e-3, "{crop:?} {fit:?}: {left} {top}");
                let edges = |scale: f64, offset: f64, content: f64| {
                    let ends = [-offset / scale, (content - offset) / scale];
                    (ends[0].min(ends[1]), ends[0].max(ends[1]))
                };
                let (x_edges, y_edges) = (edges(sx, ox, width), edges(sy, oy, height));
                for k in (0..K).filter(|&k| batch.valid()[at(k)] == 1) {
                    masks += 1;
                    let id = batch.annotation_ids()[at(k)];
                    let annotation = file.annotations.iter().find(|annotation| annotation.id == id).unwrap();
                    let mut rle = Rle::default();
                    annotation.read_mask(made.height, made.width, &mut rle).unwrap();
                    let mut bitmap = vec![0; (made.width * made.height) as usize];
                    rle.write_column_major(&mut bitmap).unwrap();
                    // A cell has the value of the pixel below its centre.
                    let cells = &batch.masks().unwrap()[at(k) * CELLS..][..CELLS];
                    for (cell, &value) in cells.iter().enumerate() {
                        let u = ((cell % GRID[1]) as f64 + 0.5) * f64::from(SIDE) / GRID[1] as f64;
                        let v = ((cell / GRID[1]) as f64 + 0.5) * f64::from(SIDE) / GRID[0] as f64;
                        let (x, y) = ((u - ox) / sx, (v - oy) / sy);
                        let is_clear = |at: f64| (at - at.round()).abs() > 1e-3;
                        if is_clear(x) && is_clear(y) {
                            let is_mask = || bitmap[(x as u32 * made.height + y as u32) as usize] == 1;
                            let expected = u8::from(shown[cell] == 1 && is_mask());
                            assert_eq!(value, expected, "{crop:?} {fit:?} {cell}");
                        }
                    }
                    // Its area is that of the pixels shown.
                    let inside = |x: u32, y: u32| {
                        let (x, y) = (f64::from(x) + 0.5, f64::from(y) + 0.5);
                        x > x_edges.0 && x < x_edges.1 && y > y_edges.0 && y < y_edges.1
                    };
                    let pixels = (0..made.width).flat_map(|x| (0..made.height).map(move |y| (x, y)));
                    let visible =
                        pixels.filter(|&(x, y)| bitmap[(x * made.height + y) as usize] == 1 && inside(x, y)).count();
                    assert_eq!(f64::from(batch.area()[at(k)]), visible as f64);
                    cut += usize::from((visible as u64) < rle.area());
                    // Its box is the annotated one, cut.
                    let [x, y, w, h] = annotation.bbox;
                    let clamp = |at: f64, edges: (f64, f64)| at.clamp(edges.0, edges.1);
                    let ends = |from: f64, to: f64, edges, scale: f64, offset: f64| {
                        let ends = [from, to].map(|at| scale * clamp(at, edges) + offset);
                        [ends[0].min(ends[1]), ends[0].max(ends[1])]
                    };
                    let ([x0, x1], [y0, y1]) = (ends(x, x + w, x_edges, sx, ox), ends(y, y + h, y_edges, sy, oy));
                    for (found, expected) in box_of(k).into_iter().zip([x0, y0, x1, y1]) {
                        assert!((found - expected).abs() < 1e-3, "{crop:?} {fit:?}: {found} for {expected}");
                    }
                    // Its point is the annotated one, or, where that is not shown, another one of the mask.
                    let point: [f64; 2] = std::array::from_fn(|i| f64::from(batch.points()[2 * at(k) + i]));
                    let [x, y] = [(point[0] * f64::from(SIDE) - ox) / sx, (point[1] * f64::from(SIDE) - oy) / sy];
                    let [px, py] = annotation.point_coords[0];
                    if (x - px).abs() > 1e-3 || (y - py).abs() > 1e-3 {
                        moved += 1;
                        assert!(px < x_edges.0 || px > x_edges.1 || py < y_edges.0 || py > y_edges.1);
                        assert_eq!(bitmap[(x as u32 * made.height + y as u32) as usize], 1);
                        assert!(inside(x as u32, y as u32));
                    }
                }
            }
        }
    }
    assert!(cut > 300 && mirrored > 300 && masks > 2000 && moved > 100, "{cut} {mirrored} {masks} {moved}");
}

fn bytes_of<'a>(batch: &'a Batch, name: &str) -> &'a [u8] {
    batch.fields().find(|field| field.spec.name() == name).unwrap().bytes
}

/// The bytes of each field in the row of each image.
fn rows_by_id(batches: &[Batch]) -> BTreeMap<i64, Vec<Vec<u8>>> {
    let mut rows = BTreeMap::new();
    for batch in batches {
        let size = batch.image_ids().len();
        for row in (0..size).filter(|&row| batch.image_valid()[row] == 1) {
            let fields = batch.fields().map(|field| {
                let bytes = field.bytes.len() / size;
                field.bytes[row * bytes..(row + 1) * bytes].to_vec()
            });
            rows.insert(batch.image_ids()[row], fields.collect());
        }
    }
    rows
}

#[test]
fn a_sample_looks_the_same_in_all_runs_of_an_epoch_and_differs_between_epochs() {
    let samples = scenes(23);
    for crop in CROPS {
        let options = || options().shuffle(4).augment(flips(crop));
        let expected = rows_by_id(&batches(options(), &samples, 1));
        assert_eq!(expected.len(), 23);
        for workers in [1, 3] {
            let batches = batches(options().num_workers(workers).prefetch_batches(workers + 1), &samples, 1);
            assert!(rows_by_id(&batches) == expected, "{crop:?} with {workers} workers");
        }
        // On two ranks, of other batches, one of them resumed in the middle of the epoch.
        let mut found = BTreeMap::new();
        for rank in 0..2 {
            let loader = options().batch_size(2).rank(rank, 2).build(set_of(vec![shard(&samples)])).unwrap();
            let first: Vec<Batch> = loader.epoch(1).unwrap().take(3).map(Result::unwrap).collect();
            let cursor = first.last().unwrap().cursor().unwrap();
            found.extend(rows_by_id(&first));
            let rest: Vec<Batch> = loader.resume_from(&cursor).unwrap().map(Result::unwrap).collect();
            found.extend(rows_by_id(&rest));
            let replayed = loader.replay(&cursor, 1).unwrap();
            assert_eq!(content(&replayed), content(&first[1]));
        }
        assert!(found == expected, "{crop:?} on two ranks");
        let next = rows_by_id(&batches(options(), &samples, 2));
        let changed = next.iter().filter(|(id, fields)| expected[id] != **fields).count();
        assert!(changed > 12, "{crop:?}: {changed} of 23 differ from the epoch before");
    }
}

#[test]
fn colours_change_in_each_epoch_and_labels_do_not() {
    let samples = scenes(9);
    let jitter = ColorJitter { brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1 };
    let augment = Augment::none().color_jitter(jitter).grayscale(0.3);
    let run = |options: LoaderBuilder, epoch: u64| rows_by_id(&batches(options.shuffle(1), &samples, epoch));
    let plain = run(options(), 3);
    let jittered = run(options().augment(augment), 3);
    // The image is the first field.
    let mut grey = 0;
    for (id, fields) in &jittered {
        assert!(fields[0] != plain[id][0] && fields[1..] == plain[id][1..], "image {id}");
        let (red, rest) = fields[0].split_at(fields[0].len() / 3);
        grey += usize::from(red == &rest[..red.len()]);
    }
    assert!((1..8).contains(&grey), "{grey} of 9 are grey");
    assert!(run(options().augment(augment).num_workers(1).batch_size(1), 3) == jittered);
    assert!(run(options().augment(augment), 4).iter().all(|(id, fields)| fields[0] != jittered[id][0]));
    // Labels do not change, so they may be cached; and floats are of the same bytes.
    let cached = options().augment(augment).mask_cache_bytes(1 << 20);
    let loader = cached.shuffle(1).build(set_of(vec![shard(&samples)])).unwrap();
    let epochs: Vec<Vec<Batch>> = [2, 3].map(|epoch| loader.epoch(epoch).unwrap().map(Result::unwrap).collect()).into();
    assert!(rows_by_id(&epochs[1]) == jittered);
    let floats = run(options().augment(augment).image_dtype(DType::F32), 3);
    for (id, fields) in floats {
        let found: Vec<f32> = bytemuck::pod_collect_to_vec(&fields[0]);
        assert!(found.iter().zip(&jittered[&id][0]).all(|(&found, &byte)| found == f32::from(byte) / 255.0));
    }
}

#[test]
fn a_cursor_of_other_augmentation_is_refused_and_its_own_is_taken_from_it() {
    let samples = scenes(8);
    let set = || set_of(vec![shard(&samples)]);
    let loader = options().augment(flips(CROPS[1])).build(set()).unwrap();
    let batch = loader.epoch(0).unwrap().next().unwrap().unwrap();
    let saved = serde_json::to_string(&batch.cursor()).unwrap();
    let cursor = serde_json::from_str(&saved).unwrap();
    for (other, name) in [(None, "off"), (Some(flips(CROPS[1]).seed(4)), "seed 4")] {
        let error = options().augment(other).build(set()).unwrap().resume_from(&cursor).unwrap_err().to_string();
        assert!(error.contains("augment was seed 3") && error.contains(&format!("is now {name}")), "{error}");
    }
    let same = options().settings_of(&cursor).unwrap().build(set()).unwrap();
    assert_eq!(content(&same.replay(&cursor, 0).unwrap()), content(&batch));
}

#[test]
fn images_are_crops_resized_by_the_map_of_their_batch() {
    let samples = scenes(24);
    let by_id: BTreeMap<i64, &Made> = samples.iter().map(|made| (made.id, made)).collect();
    let (mut squares, mut pixels) = (0.0, 0.0);
    for crop in CROPS {
        let options = options().augment(flips(crop)).scaled_decode(ScaledDecode::Full).coord_frame(CoordFrame::Canvas);
        for batch in batches(options, &samples, 0) {
            for row in (0..4).filter(|&row| batch.image_valid()[row] == 1) {
                let made = by_id[&batch.image_ids()[row]];
                let [sx, _, ox, _, sy, oy] = std::array::from_fn(|i| f64::from(batch.geometry()[6 * row + i]));
                let [_, _, width, height]: [f64; 4] =
                    std::array::from_fn(|i| f64::from(batch.boxes()[4 * row * K + i]) * f64::from(SIDE));
                let (width, height) = (width.round() as usize, height.round() as usize);
                let planes = &bytes_of(&batch, "images")[row * 3 * (SIDE * SIDE) as usize..];
                let whole = decoded(made);
                let mean = |plane: usize, u: usize, v: usize| {
                    // The triangle filter, by its definition, on the part of the image that is shown.
                    let window = |at: usize, scale: f64, offset: f64, content: usize| {
                        let ends = [0.0, content as f64].map(|end| (end - offset) / scale);
                        let (from, to) = (ends[0].min(ends[1]).round(), ends[0].max(ends[1]).round());
                        let centre = (at as f64 + 0.5 - offset) / scale;
                        let reach = (1.0 / scale.abs()).max(1.0);
                        let inputs = (from as usize..to as usize)
                            .map(move |input| (input, (1.0 - ((input as f64 + 0.5 - centre) / reach).abs()).max(0.0)));
                        inputs.filter(|input| input.1 > 0.0).collect::<Vec<_>>()
                    };
                    let (across, down) = (window(u, sx, ox, width), window(v, sy, oy, height));
                    let (mut sum, mut weights) = (0.0, 0.0);
                    for &(y, down) in &down {
                        for &(x, across) in &across {
                            let value =
                                whole[plane * (made.width * made.height) as usize + y * made.width as usize + x];
                            sum += across * down * f64::from(value);
                            weights += across * down;
                        }
                    }
                    sum / weights
                };
                for plane in 0..3 {
                    for v in 0..SIDE as usize {
                        for u in 0..SIDE as usize {
                            let found = f64::from(planes[(plane * SIDE as usize + v) * SIDE as usize + u]);
                            if u >= width || v >= height {
                                assert_eq!(found, 0.0);
                                continue;
                            }
                            let difference = found - mean(plane, u, v);
                            assert!(difference.abs() < 1.5, "{crop:?} {difference}");
                            (squares, pixels) = (squares + difference * difference, pixels + 1.0);
                        }
                    }
                }
            }
        }
    }
    let psnr = 10.0 * (255.0 * 255.0 * pixels / squares).log10();
    assert!(psnr > 50.0, "{psnr} dB over {pixels} values");
}

/// The pixels of an image at its own size: three planes.
fn decoded(made: &Made) -> Vec<u8> {
    let (size, side) = ((made.width, made.height), made.width.max(made.height));
    let mut out = vec![0; 3 * (side * side) as usize];
    let canvas = Canvas::new(&Planes::U8, size, side, &mut out);
    Decoder::new(ScaledDecode::Full, 1 << 20).decode(ImageJob::new(&made.image, size, canvas)).unwrap();
    let rows = out.chunks_exact(side as usize).enumerate();
    let rows = rows.filter(|(row, _)| row % (side as usize) < made.height as usize);
    rows.flat_map(|(_, row)| &row[..made.width as usize]).copied().collect()
}

/// One image of 40 x 40 pixels with these masks.
fn one(masks: &[[u32; 4]]) -> Vec<Made> {
    let annotations: Vec<_> =
        (0..).zip(masks).map(|(id, &mask)| annotation(id, &rectangle(40, 40, mask), 0.9, 0.9)).collect();
    let json = document(1, 40, 40, &annotations);
    vec![Made { id: 1, width: 40, height: 40, image: jpeg(40, 40, 1), json }]
}

#[test]
fn masks_that_a_crop_shows_too_little_of_are_left_out_before_the_best_are_chosen() {
    // Ten masks in a row; a crop of a tenth of the image shows a few of them.
    let masks: Vec<[u32; 4]> = (0..10).map(|n| [4 * n, 0, 4, 40]).collect();
    let samples = one(&masks);
    let crop = Crop::RandomResized { scale: [0.1, 0.1], ratio: [1.0, 1.0] };
    for epoch in 0..40 {
        let shown = |augment: Augment| {
            let batch = batches(options().top_k(10).augment(augment.crop(crop)), &samples, epoch).remove(0);
            let valid = batch.valid()[..10].iter().map(|&valid| usize::from(valid)).sum::<usize>();
            let left = (0.0 - f64::from(batch.geometry()[2])) / f64::from(batch.geometry()[0]);
            (batch.annotation_ids()[..valid].to_vec(), left.round() as i64)
        };
        // The crop has 13 columns: it shows parts of four or five masks, in order of their ids.
        let (ids, left) = shown(Augment::none());
        let visible = |id: i64| ((4 * id + 4).min(left + 13) - (4 * id).max(left)).max(0);
        assert_eq!(ids, (0..10).filter(|&id| visible(id) > 0).collect::<Vec<_>>());
        let (ids, _) = shown(Augment::none().min_visible(0.2, 1));
        // Of a mask's 160 pixels, 13 rows of some columns are shown.
        assert_eq!(ids, (0..10).filter(|&id| 13 * visible(id) >= 32).collect::<Vec<_>>());
        let (ids, _) = shown(Augment::none().min_visible(0.0, 40));
        assert_eq!(ids, (0..10).filter(|&id| 13 * visible(id) >= 40).collect::<Vec<_>>());
    }
}

#[test]
fn another_crop_is_drawn_until_one_shows_a_mask_and_at_last_the_whole_image_is_shown() {
    let crop = Crop::RandomResized { scale: [0.05, 0.05], ratio: [1.0, 1.0] };
    let (mut cropped, mut whole) = (0, 0);
    for epoch in 0..200 {
        let augment = Augment::none().crop(crop).crop_attempts(3);
        let batch = batches(options().augment(augment), &one(&[[0, 0, 4, 4]]), epoch).remove(0);
        assert_eq!(batch.valid()[..2], [1, 0], "a row without a mask");
        if batch.geometry()[0] > 1.3 { cropped += 1 } else { whole += 1 }
    }
    // A crop of 9 x 9 pixels shows the corner in one of about 64 attempts.
    assert!((2..40).contains(&cropped), "{cropped} crops and {whole} whole images");
    // An image without masks has no crop to look for: the first one is taken.
    let batch = batches(options().augment(Augment::none().crop(crop)), &one(&[]), 0).remove(0);
    assert!(batch.geometry()[0] > 1.3 && batch.image_valid()[0] == 1);
}

#[test]
fn tight_boxes_are_those_of_the_pixels_that_are_shown() {
    // An L: its box is the whole image, but most crops show a bar of it.
    let mut bitmap = vec![0; 1600];
    for at in 0..40 {
        bitmap[at] = 1;
        bitmap[at * 40 + 39] = 1;
    }
    let mask = Rle::from_column_major(&bitmap, 40, 40).unwrap();
    let json = document(1, 40, 40, &[annotation(5, &mask, 0.9, 0.9)]);
    let samples = [Made { id: 1, width: 40, height: 40, image: jpeg(40, 40, 1), json }];
    let mut bars = 0;
    for epoch in 0..60 {
        let augment = Augment::none().tight_boxes(true).visible_area(false).crop(CROPS[1]).horizontal_flip(0.5);
        let batch = batches(options().coord_frame(CoordFrame::Canvas).augment(augment), &samples, epoch).remove(0);
        let [sx, _, ox, _, sy, oy] = std::array::from_fn(|i| f64::from(batch.geometry()[i]));
        let [x, y, w, h]: [f64; 4] = std::array::from_fn(|i| f64::from(batch.boxes()[i]) * f64::from(SIDE));
        let xs = [(x - ox) / sx, (x + w - ox) / sx];
        let (left, right) = (xs[0].min(xs[1]).round() as usize, xs[0].max(xs[1]).round() as usize);
        let (top, bottom) = (((y - oy) / sy).round() as usize, ((y + h - oy) / sy).round() as usize);
        let is_mask = |x: usize, y: usize| bitmap[x * 40 + y] == 1;
        // Each edge of the box has a pixel of the mask, and, as annotated, sides are one less than pixels.
        assert!((top..=bottom).any(|y| is_mask(left, y)) && (top..=bottom).any(|y| is_mask(right, y)));
        assert!((left..=right).any(|x| is_mask(x, top)) && (left..=right).any(|x| is_mask(x, bottom)));
        bars += usize::from(right == left || top == bottom);
        assert_eq!(batch.area()[0], 79.0, "the annotated area was asked for");
    }
    assert!(bars > 5, "{bars}");
}

#[test]
fn settings_that_are_no_ranges_or_probabilities_are_named() {
    let samples = one(&[[0, 0, 4, 4]]);
    let ratio = [1.0, 1.0];
    for (augment, name) in [
        (Augment::none().horizontal_flip(1.5), "horizontal_flip is 1.5"),
        (Augment::none().vertical_flip(f64::NAN), "vertical_flip is NaN"),
        (Augment::none().min_visible(-0.1, 0), "min_visible's share is -0.1"),
        (Augment::none().grayscale(2.0), "grayscale is 2.0"),
        (Augment::none().quarter_turns(-1.0), "quarter_turns is -1.0"),
        (Augment::none().color_jitter(ColorJitter { hue: 0.6, ..ColorJitter::NONE }), "hue is 0.6"),
        (Augment::none().color_jitter(ColorJitter { contrast: f64::NAN, ..ColorJitter::NONE }), "contrast is NaN"),
        (Augment::none().crop_attempts(0), "crop_attempts is 0"),
        (Augment::none().crop(Crop::RandomResized { scale: [0.0, 1.0], ratio }), "RandomResized is [0.0, 1.0]"),
        (Augment::none().crop(Crop::RandomResized { scale: [0.5, 0.4], ratio }), "RandomResized is [0.5, 0.4]"),
        (Augment::none().crop(Crop::RandomResized { scale: [0.5, 1.1], ratio }), "RandomResized is [0.5, 1.1]"),
        (Augment::none().crop(Crop::RandomResized { scale: [0.5, 1.0], ratio: [f64::NAN, 1.0] }), "ratio of Random"),
        (Augment::none().crop(Crop::ScaleJitter { scale: [0.1, f64::INFINITY] }), "ScaleJitter is [0.1, inf]"),
        (Augment::none().crop(Crop::ScaleJitter { scale: [0.0, 1.0] }), "ScaleJitter is [0.0, 1.0]"),
        (Augment::none().crop(Crop::AroundMask { margin: [0.5, 1.0] }), "AroundMask is [0.5, 1.0]"),
    ] {
        let error = options().augment(augment).build(set_of(vec![shard(&samples)])).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
    let cached = options().augment(Augment::lsj()).mask_cache_bytes(1 << 20);
    let error = cached.build(set_of(vec![shard(&samples)])).unwrap_err().to_string();
    assert!(error.contains("mask_cache_bytes has no effect with crops and flips"), "{error}");
    assert!(options().augment(Augment::none()).mask_cache_bytes(1 << 20).build(set_of(vec![shard(&samples)])).is_ok());
}

#[test]
fn batches_are_the_same_with_points_of_rows_without_them_and_with_bad_ones() {
    let dir = tempfile::tempdir().unwrap();
    for is_gzip in [false, true] {
        let samples = scenes(12);
        let path = dir.path().join(format!("sa_{}.tar", u8::from(is_gzip)));
        let bytes = shard(&samples);
        std::fs::write(&path, if is_gzip { gzip(&bytes, 6) } else { bytes }).unwrap();
        let run = || {
            let set = ShardSet::builder().filter(MaskFilter::all()).open(&[&path]).unwrap();
            let loader = options().shuffle(3).augment(flips(CROPS[1])).build(set).unwrap();
            let batches: Vec<Batch> = loader.epoch(0).unwrap().map(Result::unwrap).collect();
            rows_by_id(&batches)
        };
        let expected = run();
        let indexer = Indexer::new();
        let report = indexer.save_row_points(&indexer.index(&path).unwrap()).unwrap();
        assert_eq!((report.images, report.with_points, report.is_kept), (12, 12, false));
        assert!(run() == expected);
        let again = indexer.save_row_points(&indexer.index(&path).unwrap()).unwrap();
        assert_eq!((again.images, again.with_points, again.is_kept), (12, 12, true));
        let points = std::fs::read(&report.path).unwrap();
        // Cut anywhere, or with any byte changed, the file is as none, or has fewer points; and it is made anew.
        let mut dice = Dice(31);
        for round in 0..40 {
            let mut bad = points.clone();
            let at = dice.below(bad.len() as u64) as usize;
            if round % 2 == 0 {
                bad.truncate(at)
            } else {
                bad[at] ^= 1 << dice.below(8)
            }
            std::fs::write(&report.path, bad).unwrap();
            assert!(run() == expected, "round {round}");
        }
        let mended = indexer.save_row_points(&indexer.index(&path).unwrap()).unwrap();
        assert_eq!((mended.is_kept, mended.with_points), (false, 12));
        assert_eq!(std::fs::read(&report.path).unwrap(), points);
        // Those of another shard are of no use, and do no harm.
        let other = dir.path().join("sa_9.tar");
        std::fs::write(&other, shard(&scenes(20))).unwrap();
        let others = indexer.save_row_points(&indexer.index(&other).unwrap()).unwrap();
        std::fs::copy(&others.path, &report.path).unwrap();
        assert!(run() == expected);
        std::fs::remove_file(&report.path).unwrap();
    }
    let shard = Indexer::new().sidecar(Sidecar::Off).index(dir.path().join("sa_0.tar")).unwrap();
    let error = Indexer::new().save_row_points(&shard).unwrap_err().to_string();
    assert!(error.contains("the shard has none") && error.contains("sa_0.tar"), "{error}");
}

#[test]
fn turned_samples_are_those_with_the_same_crop_and_flips_with_rows_and_columns_exchanged() {
    let samples = scenes(24);
    let by_id: BTreeMap<i64, &Made> = samples.iter().map(|made| (made.id, made)).collect();
    let mut turns = BTreeMap::new();
    for (crop, format) in CROPS.into_iter().flat_map(|crop| [(crop, MaskFormat::Bytes), (crop, MaskFormat::Bits)]) {
        let prompts = Prompts::none().positive(2).negative(1, NegativeClicks::Anywhere);
        let options = options().augment(flips(crop).quarter_turns(0.75)).prompts(prompts).mask_format(format);
        let options = options.coord_frame(CoordFrame::CanvasPixels).box_format(BoxFormat::Xyxy);
        let options = options.scaled_decode(ScaledDecode::Full).keep_thin_masks(false);
        for batch in (0..3).flat_map(|epoch| batches(options.clone(), &samples, epoch)) {
            for row in (0..4).filter(|&row| batch.image_valid()[row] == 1) {
                let made = by_id[&batch.image_ids()[row]];
                let geometry = batch.geometry_of(row).unwrap();
                *turns.entry((geometry.is_turned(), geometry.flips())).or_insert(0) += 1;
                let (width, height) = (geometry.content_width(), geometry.content_height());
                let turned = geometry.is_turned();
                let swap = |(a, b): (u32, u32)| if turned { (b, a) } else { (a, b) };
                // The image before it is turned.
                let (across, down) = swap((width, height));
                let [left, top, right, bottom] = geometry.window().map(f64::from);
                let [flip_x, flip_y] = geometry.flips();
                let view = View { x: left..right, y: top..bottom, flip_x, flip_y, is_turned: false };
                let mut straight = vec![0; 3 * (SIDE * SIDE) as usize];
                let canvas = Canvas::new(&Planes::U8, (across, down), SIDE, &mut straight);
                let job = ImageJob::new(&made.image, (made.width, made.height), canvas);
                Decoder::new(ScaledDecode::Full, 1 << 20).decode(ImageJob { view, ..job }).unwrap();
                let plane = (SIDE * SIDE) as usize;
                let image = &bytes_of(&batch, "images")[row * 3 * plane..(row + 1) * 3 * plane];
                for (at, &value) in image.iter().enumerate() {
                    let (y, x) = ((at % plane) as u32 / SIDE, (at % plane) as u32 % SIDE);
                    let (x, y) = swap((x, y));
                    assert_eq!(value, straight[at / plane * plane + (y * SIDE + x) as usize], "{geometry:?}");
                }
                let file = AnnotationFile::parse(&made.json).unwrap();
                let masks = batch.unpacked_masks().unwrap();
                let window = geometry.window();
                let placement = Placement { window, content: (across, down), flip: geometry.flips(), is_turned: false };
                let plain = Geometry::new(made.width, made.height, SIDE, Fit::Letterbox).unwrap();
                let plain = plain.placed(placement).unwrap();
                let (rows, columns) = swap((GRID[0] as u32, GRID[1] as u32));
                for k in (0..K).filter(|&k| batch.valid()[row * K + k] == 1) {
                    let id = batch.annotation_ids()[row * K + k];
                    let annotation = file.annotations.iter().find(|annotation| annotation.id == id).unwrap();
                    let mut rle = Rle::default();
                    annotation.read_mask(made.height, made.width, &mut rle).unwrap();
                    let mut scratch = GridScratch::default();
                    let mut cells = vec![0; CELLS];
                    plain.grid(rows, columns).unwrap().nearest(&rle, &mut scratch, &mut cells).unwrap();
                    let mut shares = vec![0.0; 36];
                    plain.grid(6, 6).unwrap().coverage(&rle, &mut scratch, &mut shares).unwrap();
                    for (at, &cell) in masks[(row * K + k) * CELLS..][..CELLS].iter().enumerate() {
                        let (x, y) = swap(((at % GRID[1]) as u32, (at / GRID[1]) as u32));
                        assert_eq!(cell, cells[(y * columns + x) as usize], "{geometry:?}");
                    }
                    for (at, &share) in batch.coverage().unwrap()[(row * K + k) * 36..][..36].iter().enumerate() {
                        let (x, y) = swap(((at % 6) as u32, (at / 6) as u32));
                        assert_eq!(share, shares[(y * 6 + x) as usize]);
                    }
                    let bbox: [f64; 4] = std::array::from_fn(|i| f64::from(batch.boxes()[4 * (row * K + k) + i]));
                    let [x, y, w, h] = annotation.bbox;
                    let clip = |at: f64, from: f64, to: f64| at.clamp(from, to);
                    let expected = [
                        clip(x, left, right),
                        clip(y, top, bottom),
                        clip(x + w, left, right),
                        clip(y + h, top, bottom),
                    ];
                    for (found, expected) in geometry.box_to_original(bbox).into_iter().zip(expected) {
                        assert!((found - expected).abs() < 1e-3, "{geometry:?}: {found} for {expected}");
                    }
                    let at = 3 * (row * K + k);
                    for (point, label) in batch.prompt_points().unwrap().as_chunks::<2>().0[at..at + 3]
                        .iter()
                        .zip(&batch.prompt_labels().unwrap()[at..at + 3])
                        .filter(|(_, label)| **label >= 0)
                    {
                        let [x, y] = geometry.to_original(point.map(f64::from));
                        let mut bitmap = vec![0; (made.width * made.height) as usize];
                        rle.write_column_major(&mut bitmap).unwrap();
                        assert_eq!(i64::from(bitmap[(x as u32 * made.height + y as u32) as usize]), *label);
                    }
                    // And back: a mask at the size of the canvas is that part of the original which is shown.
                    let mut fine = vec![0; (SIDE * SIDE) as usize * 16];
                    let grid = geometry.grid(4 * SIDE, 4 * SIDE).unwrap();
                    grid.nearest(&rle, &mut scratch, &mut fine).unwrap();
                    let side = 4 * SIDE as usize;
                    let fine: Vec<u8> = (0..side * side)
                        .map(|at| if turned { fine[at % side * side + at / side] } else { fine[at] })
                        .collect();
                    if across >= right as u32 - left as u32 && down >= bottom as u32 - top as u32 {
                        let part =
                            rle.crop(window[0], window[1], window[2] - window[0], window[3] - window[1]).unwrap();
                        let expected =
                            part.pad(window[0], window[1], made.width - window[2], made.height - window[3]).unwrap();
                        assert_eq!(geometry.mask_to_original(&fine, side, side).unwrap(), expected);
                    }
                }
            }
        }
    }
    assert_eq!(turns.len(), 8, "{turns:?}");
}

#[test]
fn images_that_are_damaged_are_listed_where_row_points_are_saved() {
    let dir = tempfile::tempdir().unwrap();
    let mut samples = scenes(5);
    // Its data ends early.
    let end = samples[2].image.len() - 60;
    samples[2].image.truncate(end);
    samples[2].image.extend([0xff, 0xd9]);
    let path = dir.path().join("sa_0.tar");
    std::fs::write(&path, shard(&samples)).unwrap();
    let shard = Indexer::new().index(&path).unwrap();
    let report = Indexer::new().save_row_points(&shard).unwrap();
    assert_eq!((report.images, report.with_points, report.damaged.len()), (5, 4, 1));
    let entry = shard.index.entries().iter().find(|entry| entry.image_id == 3).unwrap();
    let damage = report.damaged[0].to_string();
    assert!(damage.contains("jpeg") && damage.contains(&entry.image.offset.to_string()), "{damage}");
}

#[test]
fn the_memory_plan_counts_images_that_wait_only_where_they_do() {
    let bytes = shard(&made_many(2));
    let plan = |options: LoaderBuilder| {
        options.image_size(64).num_workers(1).build(set_of(vec![bytes.clone()])).unwrap().memory_plan().worker_bytes
    };
    let plain = plan(Loader::builder());
    let contrast = Augment::none().color_jitter(ColorJitter { contrast: 0.5, ..ColorJitter::NONE });
    let image = (plan(Loader::builder().transform(|_| Ok(()))) - plain) / (3 * 64 * 64);
    assert!(image > 0, "a user's step has the whole image, of a few samples at once");
    for (options, images) in [
        (Loader::builder().augment(Augment::none().horizontal_flip(0.5)), 0),
        // Bytes wait on the canvas, floats in a buffer.
        (Loader::builder().augment(contrast), 0),
        (Loader::builder().augment(contrast).image_dtype(DType::F32), 1),
        // Turned images are copied.
        (Loader::builder().augment(Augment::none().quarter_turns(0.5)), 2),
    ] {
        assert_eq!(plan(options) - plain, images * image * 3 * 64 * 64, "{images}");
    }
}

//! The loader on valid data: every byte of every batch equals that of an independent implementation, for any timing of
//! the threads.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use half::{bf16, f16};
use maskstream::Geometry;
use maskstream::index::AnnotationFile;
use maskstream::mask::{GridScratch, Rle};
use maskstream::{
    Batch, BoxFormat, CoordFrame, DType, ErrorKind, Field, FieldValues, Fit, Loader, LoaderBuilder, MaskFilter,
    MaskFormat, MaskKind, Memory, Normalization, OnError, PinState, ScaledDecode, ShardSet, TopKBy,
};

use crate::fixture::{
    Faulty, Made, budget, content, lenient, made, made_many, memory, read_error, read_with_tar, set_of, set_of_sources,
    shard, within,
};

const SIDE: u32 = 32;
const GRID: [u32; 2] = [12, 18];
const PATCHES: u32 = 7;
const K: usize = 5;

fn options() -> LoaderBuilder {
    Loader::builder()
        .batch_size(4)
        .image_size(SIDE)
        .mask_size(Some(GRID))
        .coverage(Some(PATCHES))
        .top_k(K)
        .num_workers(2)
}

fn two_shards(samples: &[Made]) -> ShardSet {
    let middle = samples.len() / 2;
    set_of(vec![shard(&samples[..middle]), shard(&samples[middle..])])
}

fn batches(loader: &Loader, epoch: u64) -> Vec<Batch> {
    loader.epoch(epoch).unwrap().collect::<Result<_, _>>().unwrap()
}

/// The content of each batch, which is dropped before the next one is taken.
fn contents(loader: &Loader, epoch: u64) -> Vec<BTreeMap<String, Vec<u8>>> {
    loader.epoch(epoch).unwrap().map(|batch| content(&batch.unwrap())).collect()
}

/// One row of a field.
fn row<'a>(batch: &'a Batch, name: &str, index: usize) -> &'a [u8] {
    let field = batch.fields().find(|field| field.spec.name() == name).unwrap();
    let bytes = field.bytes.len() / field.spec.shape[0];
    &field.bytes[index * bytes..(index + 1) * bytes]
}

/// Each row that holds a sample, with the sample it must hold.
fn rows<'a>(batches: &'a [Batch], samples: &'a [Made]) -> Vec<(&'a Batch, usize, &'a Made)> {
    let mut found = Vec::new();
    for batch in batches {
        for (index, sample) in batch.samples().iter().enumerate() {
            if sample.is_some() {
                let made = samples.iter().find(|made| made.id == batch.image_ids()[index]).unwrap();
                found.push((batch, index, made));
            }
        }
    }
    assert!(!found.is_empty());
    found
}

#[test]
fn workers_prefetch_and_memory_do_not_change_a_byte() {
    within(|| {
        let set = Arc::new(two_shards(&made_many(10)));
        let epochs = |loader: &Loader| [0, 1].map(|epoch| contents(loader, epoch));
        let options = || options().shuffle(11).image_dtype(DType::F32).normalize(Normalization::IMAGENET);
        let expected = epochs(&options().num_workers(1).prefetch_batches(1).build(Arc::clone(&set)).unwrap());
        assert_eq!((expected[0].len(), expected[0][0].len()), (3, 18));
        assert_ne!(expected[0], expected[1]);
        for memory in [Memory::Heap, Memory::Pinned] {
            for workers in [1, 2, 3, 8] {
                for prefetch in [1, 2, 8] {
                    let options = options().num_workers(workers).prefetch_batches(prefetch).memory(memory);
                    let found = epochs(&options.build(Arc::clone(&set)).unwrap());
                    assert!(found == expected, "{memory:?}, {workers} workers, {prefetch} batches ahead");
                }
            }
        }
    });
}

#[test]
fn every_field_has_the_shape_and_type_of_the_table() {
    let loader = options().image_dtype(DType::Bf16).build(two_shards(&made_many(4))).unwrap();
    let (g, [h, w], s) = (PATCHES as usize, GRID.map(|n| n as usize), SIDE as usize);
    let expected = [
        ("images", DType::Bf16, vec![4, 3, s, s]),
        ("masks", DType::U8, vec![4, K, h, w]),
        ("coverage", DType::F32, vec![4, K, g, g]),
        ("boxes", DType::F32, vec![4, K, 4]),
        ("predicted_iou", DType::F32, vec![4, K]),
        ("stability_score", DType::F32, vec![4, K]),
        ("area", DType::F32, vec![4, K]),
        ("points", DType::F32, vec![4, K, 2]),
        ("annotation_ids", DType::I64, vec![4, K]),
        ("valid", DType::U8, vec![4, K]),
        ("image_ids", DType::I64, vec![4]),
        ("original_sizes", DType::U32, vec![4, 2]),
        ("crops", DType::U32, vec![4, 4]),
        ("geometry", DType::F32, vec![4, 6]),
        ("image_valid", DType::U8, vec![4]),
        ("patch_valid", DType::U8, vec![4, g, g]),
    ];
    let batch = batches(&loader, 0).remove(0);
    let found: Vec<_> = batch.fields().map(|f| (f.spec.name(), f.spec.dtype, f.spec.shape.clone())).collect();
    assert_eq!(found, expected);
    for field in batch.fields() {
        assert_eq!(field.bytes.len(), field.spec.shape.iter().product::<usize>() * field.spec.dtype.bytes());
        assert_eq!(field.bytes.as_ptr() as usize % field.spec.dtype.bytes(), 0, "{} is aligned", field.spec.name());
    }
    let without = options().mask_size(None).coverage(None).build(two_shards(&made_many(4))).unwrap();
    let batch = batches(&without, 0).remove(0);
    assert!(batch.masks().is_none() && batch.coverage().is_none() && batch.patch_valid().is_none());
    assert_eq!((batch.boxes().len(), batch.valid_rows()), (4 * K * 4, 4));
}

#[test]
fn what_is_not_real_is_zero_also_in_recycled_buffers() {
    within(|| {
        // Six samples in batches of four: two padded rows; nine places for three to seven masks.
        let samples = made_many(6);
        let counts: BTreeMap<i64, usize> =
            samples.iter().map(|s| (s.id, AnnotationFile::parse(&s.json).unwrap().annotations.len())).collect();
        let per_mask = [
            "masks",
            "coverage",
            "boxes",
            "predicted_iou",
            "stability_score",
            "area",
            "points",
            "annotation_ids",
            "valid",
        ];
        for memory in [Memory::Pinned, Memory::Heap] {
            let loader = options().top_k(9).shuffle(1).memory(memory).build(two_shards(&samples)).unwrap();
            let (mut padded, mut unused) = (0, 0);
            for epoch in 0..6 {
                for batch in loader.epoch(epoch).unwrap() {
                    let batch = batch.unwrap();
                    for (index, sample) in batch.samples().iter().enumerate() {
                        for field in batch.fields() {
                            let row = row(&batch, field.spec.name(), index);
                            if sample.is_none() {
                                padded += 1;
                                assert!(row.iter().all(|&byte| byte == 0), "padding of {}", field.spec.name());
                            } else if per_mask.contains(&field.spec.name()) {
                                let used = counts[&batch.image_ids()[index]];
                                let rest = &row[row.len() / 9 * used..];
                                unused += rest.len();
                                assert!(rest.iter().all(|&byte| byte == 0), "unused masks of {}", field.spec.name());
                            }
                        }
                        let used = sample.map_or(0, |_| counts[&batch.image_ids()[index]]);
                        let valid: Vec<u8> = (0..9).map(|k| u8::from(k < used)).collect();
                        assert_eq!(row(&batch, "valid", index), valid);
                        assert_eq!(batch.image_valid()[index], u8::from(sample.is_some()));
                    }
                }
            }
            assert!(padded == 6 * 2 * 16 && unused > 1000);
        }
    });
}

/// The canvas by an independent implementation: decoded at full size, resized, placed; `None` is padding.
fn canvas(made: &Made, side: u32) -> Vec<[Option<u8>; 3]> {
    let mut decoder = zune_jpeg::JpegDecoder::new(zune_jpeg::zune_core::bytestream::ZCursor::new(&made.image));
    let full = decoder.decode().unwrap();
    assert_eq!(full.len(), (made.width * made.height * 3) as usize);
    let longest = made.width.max(made.height);
    let scaled = |length: u32| (f64::from(length) * f64::from(side) / f64::from(longest)).round().max(1.0) as u32;
    let (width, height) = (scaled(made.width), scaled(made.height));
    let pixels = if (width, height) == (made.width, made.height) {
        full
    } else {
        let source = ImageRef::new(made.width, made.height, &full, PixelType::U8x3).unwrap();
        let mut target = Image::new(width, height, PixelType::U8x3);
        let bilinear = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
        Resizer::new().resize(&source, &mut target, &bilinear).unwrap();
        target.into_vec()
    };
    let at = |x: u32, y: u32, c: usize| (x < width && y < height).then(|| pixels[((y * width + x) * 3) as usize + c]);
    (0..side * side).map(|i| [0, 1, 2].map(|c| at(i % side, i / side, c))).collect()
}

/// Whether planes are those of the canvas, but for the rounding of another decoder: padding is zero, a few pixels at
/// edges of colours differ by more than one or two.
fn assert_near(planes: &[u8], canvas: &[[Option<u8>; 3]], what: &str) {
    let mut squares = 0;
    for (c, plane) in planes.chunks(canvas.len()).enumerate() {
        for (&found, pixel) in plane.iter().zip(canvas) {
            match pixel[c] {
                Some(wanted) => squares += u64::from(found.abs_diff(wanted)).pow(2),
                None => assert_eq!(found, 0, "{what}: padding"),
            }
        }
    }
    let mean = squares as f64 / planes.len() as f64;
    assert!(mean < 1.5, "{what}: the mean square of the differences is {mean}");
}

#[test]
fn images_are_those_of_an_independent_decode_and_padding_is_zero_in_every_type() {
    let samples = made_many(4);
    let plane = |side: u32| (side * side) as usize;
    // As u8, which is the first type.
    let mut decoded: HashMap<(u32, i64), Vec<u8>> = HashMap::new();
    // Smaller than the images, the size of the first, and larger.
    for side in [SIDE, 40, 70] {
        for normalization in [Normalization::UNIT, Normalization::IMAGENET] {
            let expected = |v: Option<u8>, c: usize| {
                v.map_or(0.0, |v| (f32::from(v) / 255.0 - normalization.mean[c]) / normalization.std[c])
            };
            for image_dtype in [DType::U8, DType::F32, DType::F16, DType::Bf16] {
                if (image_dtype, normalization) == (DType::U8, Normalization::IMAGENET) {
                    continue;
                }
                let options = options().image_size(side).image_dtype(image_dtype).normalize(normalization);
                let options = options.scaled_decode(ScaledDecode::Full);
                let loader = options.build(two_shards(&samples)).unwrap();
                let batches = batches(&loader, 0);
                for (batch, index, made) in rows(&batches, &samples) {
                    let bytes = row(batch, "images", index);
                    let canvas = canvas(made, side);
                    assert!(canvas.iter().any(|pixel| pixel[0].is_none()) || made.width == made.height);
                    let decoded = decoded.entry((side, made.id)).or_insert_with(|| bytes.to_vec());
                    assert_near(decoded, &canvas, &format!("image {}, side {side}", made.id));
                    let found = decoded.chunks(plane(side)).zip(bytes.chunks(bytes.len() / 3));
                    for (c, (decoded, values)) in found.enumerate() {
                        // Padding is 0 in every type, whatever the normalization makes of it.
                        let valid = canvas.iter().zip(decoded).map(|(pixel, &v)| pixel[c].map(|_| v));
                        let equal = match image_dtype {
                            DType::U8 => values == decoded,
                            DType::F32 => {
                                let close = |(found, v): (&f32, Option<u8>)| (found - expected(v, c)).abs() < 1e-6;
                                bytemuck::cast_slice::<_, f32>(values).iter().zip(valid).all(close)
                            }
                            DType::F16 => bytemuck::cast_slice::<_, f16>(values)
                                .iter()
                                .copied()
                                .eq(valid.map(|v| f16::from_f32(expected(v, c)))),
                            _ => bytemuck::cast_slice::<_, bf16>(values)
                                .iter()
                                .copied()
                                .eq(valid.map(|v| bf16::from_f32(expected(v, c)))),
                        };
                        assert!(equal, "image {}, side {side}, {image_dtype:?}, channel {c}", made.id);
                        assert_eq!(values.len(), plane(side) * image_dtype.bytes());
                    }
                }
            }
        }
    }
}

#[test]
fn a_stretched_image_fills_the_canvas() {
    let samples = made_many(4);
    let loader = options().fit(Fit::Stretch).scaled_decode(ScaledDecode::Full).build(two_shards(&samples)).unwrap();
    let batches = batches(&loader, 0);
    for (batch, index, made) in rows(&batches, &samples) {
        let full =
            zune_jpeg::JpegDecoder::new(zune_jpeg::zune_core::bytestream::ZCursor::new(&made.image)).decode().unwrap();
        let source = ImageRef::new(made.width, made.height, &full, PixelType::U8x3).unwrap();
        let mut target = Image::new(SIDE, SIDE, PixelType::U8x3);
        let bilinear = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
        Resizer::new().resize(&source, &mut target, &bilinear).unwrap();
        let canvas: Vec<_> = target.buffer().as_chunks::<3>().0.iter().map(|pixel| pixel.map(Some)).collect();
        assert_near(row(batch, "images", index), &canvas, &format!("image {}", made.id));
        assert!(row(batch, "patch_valid", index).iter().all(|&valid| valid == 1));
    }
}

#[test]
fn boxes_and_points_follow_their_format_and_frame() {
    let samples = made_many(8);
    for fit in [Fit::Letterbox, Fit::Stretch] {
        for frame in [CoordFrame::Original, CoordFrame::Canvas] {
            for format in [BoxFormat::Xywh, BoxFormat::Xyxy, BoxFormat::CxCyWh] {
                let options = options().fit(fit).coord_frame(frame).box_format(format);
                let loader = options.build(two_shards(&samples)).unwrap();
                let batches = batches(&loader, 0);
                for (batch, index, made) in rows(&batches, &samples) {
                    let (w, h) = (f64::from(made.width), f64::from(made.height));
                    let content = |length: f64| (length * f64::from(SIDE) / w.max(h)).round() / f64::from(SIDE);
                    let (sx, sy) = match (fit, frame) {
                        (Fit::Letterbox, CoordFrame::Canvas) => (content(w) / w, content(h) / h),
                        _ => (1.0 / w, 1.0 / h),
                    };
                    let file = AnnotationFile::parse(&made.json).unwrap();
                    let chosen = TopKBy::default().top_k(&file, &MaskFilter::all(), K, 0);
                    let boxes: &[f32] = bytemuck::cast_slice(row(batch, "boxes", index));
                    let points: &[f32] = bytemuck::cast_slice(row(batch, "points", index));
                    for (k, &i) in chosen.iter().enumerate() {
                        let [x, y, bw, bh] = file.annotations[i].bbox;
                        let (x, y, bw, bh) = (x * sx, y * sy, bw * sx, bh * sy);
                        let expected = match format {
                            BoxFormat::Xywh => [x, y, bw, bh],
                            BoxFormat::Xyxy => [x, y, x + bw, y + bh],
                            BoxFormat::CxCyWh => [x + bw / 2.0, y + bh / 2.0, bw, bh],
                            _ => unreachable!("{format:?}"),
                        };
                        let [px, py] = file.annotations[i].point_coords[0];
                        let found = boxes[4 * k..4 * k + 4].iter().chain(&points[2 * k..2 * k + 2]);
                        for (found, expected) in found.zip(expected.into_iter().chain([px * sx, py * sy])) {
                            let case = format!("{fit:?}, {frame:?}, {format:?}, image {}", made.id);
                            assert!((f64::from(*found) - expected).abs() < 1e-6, "{found} for {expected}: {case}");
                            assert!((0.0..=1.0).contains(found), "{found}: {case}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn labels_equal_the_rooms_they_come_from() {
    let samples = made_many(10);
    let filter = MaskFilter::all().min_predicted_iou(0.88);
    for (kind, top_k_by) in [(MaskKind::Nearest, TopKBy::StabilityScore), (MaskKind::Area, TopKBy::LargestArea)] {
        let sources = vec![("s".to_owned(), memory(shard(&samples)))];
        let set = lenient().filter(filter.clone()).from_sources(sources).unwrap();
        let loader = options().mask_kind(kind).top_k_by(top_k_by).build(set).unwrap();
        let batches = batches(&loader, 0);
        let mut masks = 0;
        for (batch, index, made) in rows(&batches, &samples) {
            let file = AnnotationFile::parse(&made.json).unwrap();
            let chosen = top_k_by.top_k(&file, &filter, K, 0);
            let geometry = Geometry::new(made.width, made.height, SIDE, Fit::Letterbox).unwrap();
            let (grid, patches) = (geometry.grid(GRID[0], GRID[1]).unwrap(), geometry.grid(PATCHES, PATCHES).unwrap());
            let (cells, patch_cells) = ((GRID[0] * GRID[1]) as usize, (PATCHES * PATCHES) as usize);
            let (mut rle, mut scratch) = (Rle::default(), GridScratch::default());
            let coverage: &[f32] = bytemuck::cast_slice(row(batch, "coverage", index));
            for (k, &i) in chosen.iter().enumerate() {
                let annotation = &file.annotations[i];
                annotation.read_mask(made.height, made.width, &mut rle).unwrap();
                let mut drawn = vec![0; cells];
                match kind {
                    MaskKind::Nearest => grid.nearest_or_best(&rle, &mut scratch, &mut drawn).unwrap(),
                    MaskKind::Area => grid.area_or_best(&rle, &mut scratch, &mut drawn).unwrap(),
                    _ => unreachable!("{kind:?}"),
                }
                assert_eq!(row(batch, "masks", index)[k * cells..(k + 1) * cells], drawn);
                let mut share = vec![0.0; patch_cells];
                patches.coverage(&rle, &mut scratch, &mut share).unwrap();
                assert_eq!(coverage[k * patch_cells..(k + 1) * patch_cells], share);
                let at = index * K + k;
                assert_eq!(batch.predicted_iou()[at], annotation.predicted_iou);
                assert_eq!(batch.stability_score()[at], annotation.stability_score);
                assert_eq!(batch.area()[at], rle.area() as f32);
                assert_eq!((batch.annotation_ids()[at], batch.valid()[at]), (annotation.id, 1));
                assert!(annotation.predicted_iou >= 0.88);
                masks += 1;
            }
            assert!(batch.valid()[index * K + chosen.len()..(index + 1) * K].iter().all(|&valid| valid == 0));
            assert_eq!(batch.original_sizes()[2 * index..2 * index + 2], [made.height, made.width]);
            let scale = |content: u32, pixels: u32| content as f32 / pixels as f32;
            let (sx, sy) = (scale(geometry.content_width(), made.width), scale(geometry.content_height(), made.height));
            assert_eq!(batch.geometry()[6 * index..6 * index + 6], [sx, 0.0, 0.0, 0.0, sy, 0.0]);
            // A patch is image where its centre, in canvas pixels, lies before the end of the content.
            let inside =
                |n: u32, content: u32| (f64::from(n) + 0.5) * f64::from(SIDE) / f64::from(PATCHES) < f64::from(content);
            let expected: Vec<u8> = (0..PATCHES * PATCHES)
                .map(|i| {
                    inside(i / PATCHES, geometry.content_height()) && inside(i % PATCHES, geometry.content_width())
                })
                .map(u8::from)
                .collect();
            assert_eq!(row(batch, "patch_valid", index), expected);
        }
        assert!(masks > 20);
    }
}

#[test]
fn a_set_without_masks_is_still_a_set_of_images() {
    let samples = [made(1, 20, 20, 0), made(2, 20, 20, 2)];
    let batches = batches(&options().build(set_of(vec![shard(&samples)])).unwrap(), 0);
    assert_eq!(batches[0].image_valid(), [1, 1, 0, 0]);
    assert_eq!(batches[0].valid()[..K], [0; K]);
    assert_eq!(batches[0].valid_rows(), 2);
}

#[test]
fn the_mask_cache_changes_no_byte_and_saves_what_it_has_room_for() {
    let samples = made_many(8);
    let bytes = shard(&samples);
    let found = read_with_tar(&bytes);
    let jsons: HashSet<u64> = samples.iter().map(|s| found[&s.json_name()].0).collect();
    // Reads of json members in each of three epochs, with a cache of this size.
    let run = |cache_bytes: u64| {
        let reads = Arc::new(AtomicUsize::new(0));
        let (counter, jsons) = (Arc::clone(&reads), jsons.clone());
        let source = Faulty::new(bytes.clone(), move |range, bytes| {
            counter.fetch_add(usize::from(jsons.contains(&range.start)), SeqCst);
            Ok(bytes)
        });
        let set = set_of_sources(vec![source.clone()]);
        source.arm();
        let loader = options().mask_cache_bytes((cache_bytes > 0).then_some(cache_bytes)).build(set).unwrap();
        let epochs: Vec<_> = (0..3).map(|epoch| (contents(&loader, epoch), reads.swap(0, SeqCst))).collect();
        epochs.into_iter().unzip::<_, _, Vec<_>, Vec<_>>()
    };
    let (expected, reads) = run(0);
    assert_eq!(reads, [8, 8, 8]);
    let (cached, reads) = run(1 << 30);
    assert!(cached == expected);
    assert_eq!(reads, [8, 0, 0]);
    // Too small for a single row.
    let (cached, reads) = run(1);
    assert!(cached == expected);
    assert_eq!(reads, [8, 8, 8]);
    // Room for half of the rows: the least recently used is dropped first, so a pass in sequence finds none of them,
    // and no byte differs.
    let row_bytes = options().batch_size(1).build(set_of(vec![bytes.clone()])).unwrap().layout().bytes() as u64;
    let (cached, reads) = run(row_bytes * 4);
    assert!(cached == expected);
    assert_eq!(reads[0], 8);
}

#[test]
fn an_epoch_holds_every_sample_once_and_shuffles_anew() {
    let samples = made_many(11);
    let set = Arc::new(two_shards(&samples));
    let ids = |loader: &Loader, epoch| -> Vec<i64> {
        batches(loader, epoch).iter().flat_map(|batch| batch.image_ids().to_vec()).filter(|&id| id != 0).collect()
    };
    let plain = options().build(Arc::clone(&set)).unwrap();
    assert_eq!(ids(&plain, 0), (1..=11).collect::<Vec<_>>());
    assert_eq!(ids(&plain, 1), ids(&plain, 0));
    let loader = options().shuffle(4).build(Arc::clone(&set)).unwrap();
    let orders: Vec<_> = (0..4).map(|epoch| ids(&loader, epoch)).collect();
    for order in &orders {
        assert_eq!(order.iter().copied().collect::<BTreeSet<_>>(), (1..=11).collect());
        assert_eq!(order.len(), 11);
    }
    assert_eq!(orders.iter().collect::<HashSet<_>>().len(), 4);
    assert_eq!(ids(&loader, 2), orders[2]);
    assert_ne!(ids(&options().shuffle(5).build(set).unwrap(), 0), orders[0]);
}

#[test]
fn ranks_share_an_epoch_without_overlap() {
    let samples = made_many(11);
    let set = Arc::new(two_shards(&samples));
    for drop_last in [false, true] {
        let mut all = Vec::new();
        for rank in 0..3 {
            let options = options().batch_size(2).shuffle(4).rank(rank, 3).drop_last(drop_last);
            let loader = options.build(Arc::clone(&set)).unwrap();
            assert_eq!(loader.steps(), Some(if drop_last { 1 } else { 2 }));
            let batches = batches(&loader, 0);
            assert_eq!(Some(batches.len() as u64), loader.steps());
            all.extend(batches.iter().flat_map(|batch| batch.image_ids().to_vec()).filter(|&id| id != 0));
        }
        let unique: BTreeSet<i64> = all.iter().copied().collect();
        assert_eq!((all.len(), unique.len()), if drop_last { (6, 6) } else { (11, 11) });
    }
}

#[test]
fn figures_of_an_epoch_add_up() {
    let loader = options().build(two_shards(&made_many(6))).unwrap();
    let mut epoch = loader.epoch(5).unwrap();
    assert_eq!((epoch.index(), epoch.steps(), epoch.size_hint()), (5, Some(2), (1, Some(2))));
    let first = epoch.next().unwrap().unwrap();
    assert_eq!((first.epoch(), first.step(), first.valid_rows()), (5, 0, 4));
    let second = epoch.next().unwrap().unwrap();
    assert_eq!((second.step(), second.valid_rows(), second.errors().len()), (1, 2, 0));
    assert!(epoch.next().is_none() && epoch.next().is_none());
    assert_eq!(epoch.size_hint(), (0, Some(0)));
    let stats = epoch.stats();
    assert_eq!((stats.batches, stats.delivered, stats.skipped, stats.decoded), (2, 6, 0, 6));
    assert!(stats.stages.total() > std::time::Duration::ZERO);
    // Batches outlive their epoch and their loader.
    drop((epoch, loader));
    assert_eq!(first.image_ids(), [1, 2, 3, 4]);
}

#[test]
fn memory_says_whether_it_is_locked() {
    let state =
        |memory| batches(&options().memory(memory).build(two_shards(&made_many(2))).unwrap(), 0)[0].pin_state().clone();
    assert!(matches!(state(Memory::Heap), PinState::Pageable(reason) if reason.contains("heap")));
    match state(Memory::Pinned) {
        PinState::Locked => {}
        PinState::Pageable(reason) => assert!(reason.contains("mlock"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn settings_that_do_not_fit_are_refused_before_a_thread_starts() {
    let set = Arc::new(two_shards(&made_many(5)));
    let nan = Normalization { mean: [f32::NAN; 3], std: [1.0; 3] };
    let flat = Normalization { mean: [0.0; 3], std: [1.0, 0.0, 1.0] };
    let bad = [
        ("batch_size", options().batch_size(0)),
        ("image_size", options().image_size(0)),
        ("image_size", options().image_size(16_385)),
        ("mask_size is 0 x 4", options().mask_size(Some([0, 4]))),
        ("mask_size is 4 x 16385", options().mask_size(Some([4, 16_385]))),
        ("coverage is 0 x 0", options().coverage(Some(0))),
        ("top_k", options().top_k(0)),
        ("num_workers", options().num_workers(0)),
        ("num_workers", options().num_workers(1 << 20)),
        ("prefetch_batches", options().prefetch_batches(0)),
        ("rank", options().rank(2, 2)),
        ("world_size", options().rank(0, 0)),
        ("drop_last", options().batch_size(6).drop_last(true)),
        ("normalize", options().image_dtype(DType::F32).normalize(nan)),
        ("normalize", options().image_dtype(DType::F32).normalize(flat)),
        ("normalize has no effect on u8 images", options().normalize(Normalization::IMAGENET)),
        ("mask_kind has no effect without masks", options().mask_size(None).mask_kind(MaskKind::Area)),
        ("mask_format has no effect without masks", options().mask_size(None).mask_format(MaskFormat::Bits)),
        ("take mask_kind Nearest", options().mask_kind(MaskKind::Area).mask_format(MaskFormat::Bits)),
        ("keep_thin_masks has no effect without masks", options().mask_size(None).keep_thin_masks(false)),
        ("chunk_bytes has no effect without shuffle", options().chunk_bytes(1 << 20)),
        ("Random { seed: 4 }, which draws", options().mask_cache_bytes(1).top_k_by(TopKBy::Random { seed: 4 })),
        ("mask_cache_bytes has no effect", options().mask_cache_bytes(1).top_k_by(TopKBy::AreaStratified { seed: 4 })),
        ("stall_timeout is 0: take None", options().stall_timeout(std::time::Duration::ZERO)),
        ("max_memory_bytes", options().max_memory_bytes(1000)),
        ("exceeds", options().batch_size(1 << 20).top_k(1 << 16).mask_size(Some([16_384, 16_384]))),
    ];
    for (named, options) in bad {
        let error = options.build(Arc::clone(&set)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{named}: {error}");
        assert!(error.to_string().contains(named), "{error} does not name {named}");
    }
    // Exactly what two batches under way and one in use need.
    let bytes = budget(options(), &set, 3);
    let error = options().max_memory_bytes(bytes - 1).build(Arc::clone(&set)).unwrap_err().to_string();
    assert!(error.contains(&(bytes - 1).to_string()) && error.contains("3 batches x"), "{error}");
    assert!(options().max_memory_bytes(bytes).build(set).is_ok());
}

#[test]
fn images_of_too_many_pixels_are_refused_by_name() {
    let samples = made_many(3);
    let loader = options().max_image_pixels(33 * 33).on_error(OnError::skip(9)).build(two_shards(&samples)).unwrap();
    let batch = batches(&loader, 0).remove(0);
    // 28 x 40, 33 x 33, 56 x 24: the second alone is small enough.
    assert_eq!(batch.image_valid(), [0, 1, 0, 0]);
    assert_eq!(batch.errors().len(), 2);
    for issue in batch.errors() {
        assert!(issue.error.is_limit() && issue.error.to_string().contains("1089"), "{}", issue.error);
    }
}

#[test]
fn a_batch_that_cannot_be_converted_ends_the_epoch_and_counts_as_lost() {
    let loader = options().batch_size(2).build(set_of(vec![shard(&made_many(9))])).unwrap();
    let convert = |batch: Batch| match batch.step() {
        1 => Err(read_error(77)),
        step => Ok(step),
    };
    let mut epoch = loader.epoch(0).unwrap().convert_with(convert);
    assert_eq!(epoch.next().unwrap().unwrap(), 0);
    let after_first = epoch.cursor().unwrap();
    assert_eq!(epoch.next().unwrap().unwrap_err().location().offset, Some(77));
    assert!(epoch.next().is_none());
    assert_eq!(epoch.size_hint(), (0, Some(0)));
    // The batch counts as lost, with all that would have followed, in the statistics as well. Training can resume at
    // it.
    let report = epoch.report();
    assert_eq!((report.delivered, report.lost, report.outstanding, report.planned), (2, 7, 0, Some(9)));
    assert_eq!((epoch.stats().batches, epoch.stats().delivered), (1, 2));
    assert_eq!((loader.stats().batches, loader.stats().delivered), (1, 2));
    assert_eq!(epoch.cursor(), Some(after_first));
    let steps = loader.resume_from(&after_first).unwrap().convert_with(|batch| Ok(batch.step()));
    assert_eq!(steps.map(Result::unwrap).collect::<Vec<_>>(), [1, 2, 3, 4]);
}

#[test]
fn what_threads_share_is_send_and_sync() {
    fn check<T: Send + Sync>() {}
    check::<Loader>();
    check::<LoaderBuilder>();
    check::<ShardSet>();
    check::<maskstream::ShardSetBuilder>();
    check::<maskstream::LazyShardSet>();
    check::<maskstream::Epoch>();
    check::<maskstream::Epoch<u64>>();
    check::<Batch>();
    check::<maskstream::BatchParts>();
    check::<maskstream::Error>();
    check::<maskstream::Cursor>();
}

#[test]
fn a_converter_that_panics_ends_the_epoch_with_an_error() {
    within(|| {
        let loader = options().batch_size(2).build(set_of(vec![shard(&made_many(9))])).unwrap();
        let mut calls = 0;
        let mut epoch = loader.epoch(0).unwrap().convert_with(move |batch| {
            calls += 1;
            assert!(calls < 3, "the converter fails");
            Ok(batch.step())
        });
        assert_eq!(epoch.by_ref().take(2).map(Result::unwrap).collect::<Vec<_>>(), [0, 1]);
        let error = epoch.next().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Panic);
        assert!(error.to_string().contains("the converter fails"), "{error}");
        assert!(epoch.next().is_none());
        let report = epoch.report();
        assert_eq!((report.delivered, report.lost, report.planned), (4, 5, Some(9)));
    });
}

#[test]
fn each_field_of_a_batch_is_taken_once() {
    for memory in [Memory::Heap, Memory::Pinned] {
        let loader = options().memory(memory).build(set_of(vec![shard(&made_many(4))])).unwrap();
        let mut parts = loader.epoch(0).unwrap().next().unwrap().unwrap().into_parts();
        let mut shared = loader.epoch(0).unwrap().next().unwrap().unwrap().into_shared_parts();
        let masks = loader.epoch(0).unwrap().next().unwrap().unwrap().masks().unwrap().to_vec();
        let FieldValues::Shared(bytes) = shared.take(Field::Masks).unwrap().values else { panic!("an owned field") };
        assert_eq!(bytes.as_ref(), masks);
        for &field in Field::ALL {
            assert_eq!(parts.take(field).is_some(), parts.layout().spec(field).is_some(), "{field}");
            assert!(parts.take(field).is_none(), "{field} was taken before");
        }
    }
}

#[test]
fn a_number_is_never_off_and_no_memory_is_endless() {
    let refused = |options: LoaderBuilder| {
        let error = options.build(set_of(vec![shard(&made_many(2))])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        error.to_string()
    };
    assert!(refused(options().chunk_bytes(0)).contains("chunk_bytes is 0: take None"));
    assert!(refused(options().mask_cache_bytes(0)).contains("mask_cache_bytes is 0: take None"));
    assert!(refused(options().mask_cache_bytes(u64::MAX)).contains("lower mask_cache_bytes"));
    assert!(refused(options().mask_size([0, 10])).contains("mask_size is 0 x 10: each side must be at least 1"));
    assert!(refused(options().coverage(0)).contains("coverage is 0 x 0: each side must be at least 1"));
    assert!(
        refused(options().image_dtype(DType::I64)).contains("image_dtype is I64, but must be U8, F32, F16 or Bf16")
    );
}

//! Burn: large fields become tensors without a copy, every tensor holds what the batch held, and a loader that Burn
//! splits gives each device the same number of batches of one order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use burn_core::data::dataloader::DataLoader;
use burn_core::data::dataloader::split::split_dataloader;
use burn_core::tensor::kind::Basic;
use burn_core::tensor::{DType, Device, Tensor};
use maskstream::{
    BurnBatch, BurnImages, BurnLoader, DType as FieldDType, ErrorKind, Loader, LoaderBuilder, MaskFormat, Memory,
    Normalization, OnError,
};

use crate::fixture::{Faulty, budget, content, made_many, read_error, set_of, set_of_sources, shard, within};
use crate::tensors::{batches, every_field};

const TYPES: [(FieldDType, DType); 4] = [
    (FieldDType::U8, DType::U8),
    (FieldDType::F32, DType::F32),
    (FieldDType::F16, DType::F16),
    (FieldDType::Bf16, DType::BF16),
];

/// The kind of a tensor, and the address of its numbers.
#[derive(Debug)]
struct Seen {
    place: usize,
    bytes: Vec<u8>,
    dtype: DType,
    shape: Vec<usize>,
}

/// Burn returns the storage itself if no other tensor shares it.
fn seen<const D: usize, K: Basic>(tensor: Tensor<D, K>) -> Seen {
    let data = tensor.into_data();
    let (place, bytes) = (data.bytes().as_ptr() as usize, data.bytes().to_vec());
    Seen { place, bytes, dtype: data.dtype(), shape: data.shape().to_vec() }
}

fn all_seen(batch: BurnBatch) -> BTreeMap<&'static str, Seen> {
    let images = match batch.images {
        BurnImages::Bytes(images) => seen(images),
        BurnImages::Floats(images) => seen(images),
    };
    let always = [
        ("images", images),
        ("boxes", seen(batch.boxes)),
        ("predicted_iou", seen(batch.predicted_iou)),
        ("stability_score", seen(batch.stability_score)),
        ("area", seen(batch.area)),
        ("points", seen(batch.points)),
        ("annotation_ids", seen(batch.annotation_ids)),
        ("valid", seen(batch.valid)),
        ("image_ids", seen(batch.image_ids)),
        ("original_sizes", seen(batch.original_sizes)),
        ("crops", seen(batch.crops)),
        ("geometry", seen(batch.geometry)),
        ("image_valid", seen(batch.image_valid)),
    ];
    let optional = [
        ("masks", batch.masks.map(seen)),
        ("coverage", batch.coverage.map(seen)),
        ("patch_valid", batch.patch_valid.map(seen)),
        ("prompt_points", batch.prompt_points.map(seen)),
        ("prompt_labels", batch.prompt_labels.map(seen)),
        ("prompt_boxes", batch.prompt_boxes.map(seen)),
    ];
    always.into_iter().chain(optional.into_iter().filter_map(|(name, seen)| Some((name, seen?)))).collect()
}

fn ids(batch: &BurnBatch) -> Vec<i64> {
    batch.image_ids.clone().into_data().try_to_vec::<i64>().unwrap()
}

#[test]
fn large_fields_are_not_copied() {
    for memory in [Memory::Heap, Memory::Pinned] {
        for (image_dtype, _) in TYPES {
            for batch in batches(every_field().image_dtype(image_dtype).memory(memory)) {
                let images = batch.images().bytes.as_ptr() as usize;
                let masks = batch.masks().unwrap().as_ptr() as usize;
                let coverage = batch.coverage().unwrap().as_ptr() as usize;
                let taken = all_seen(batch.into_burn(&Device::flex()).unwrap());
                assert_eq!(taken["images"].place, images, "{image_dtype:?}, {memory:?}");
                assert_eq!(taken["masks"].place, masks, "{memory:?}");
                assert_eq!(taken["coverage"].place, coverage, "{memory:?}");
            }
        }
    }
}

#[test]
fn tensors_hold_what_the_batch_held_in_every_type_and_memory() {
    for memory in [Memory::Heap, Memory::Pinned] {
        for (image_dtype, dtype) in TYPES {
            let by = if image_dtype == FieldDType::U8 { Normalization::UNIT } else { Normalization::IMAGENET };
            let options = every_field().image_dtype(image_dtype).normalize(by).memory(memory);
            for batch in batches(options) {
                let expected = content(&batch);
                let shapes: BTreeMap<&str, Vec<usize>> =
                    batch.fields().map(|field| (field.spec.name(), field.spec.shape.clone())).collect();
                let (epoch, step, samples) = (batch.epoch(), batch.step(), batch.samples().to_vec());
                let cursor = batch.cursor();
                let taken = batch.into_burn(&Device::flex()).unwrap();
                assert_eq!((taken.epoch, taken.step, taken.cursor, &taken.samples), (epoch, step, cursor, &samples));
                let tensors = all_seen(taken);
                assert_eq!(tensors.len(), shapes.len());
                for (name, tensor) in tensors {
                    assert_eq!(tensor.shape, shapes[name], "{name}");
                    assert!(tensor.bytes == expected[name], "{name}, {image_dtype:?}, {memory:?}");
                    let wanted = match name {
                        "images" => dtype,
                        "masks" | "valid" | "image_valid" | "patch_valid" => DType::U8,
                        "annotation_ids" | "image_ids" | "prompt_labels" => DType::I64,
                        "original_sizes" | "crops" => DType::U32,
                        _ => DType::F32,
                    };
                    assert_eq!(tensor.dtype, wanted, "{name}");
                }
            }
        }
    }
}

#[test]
fn padded_rows_are_zero_in_every_tensor() {
    let last = batches(every_field().image_dtype(FieldDType::F32)).pop().unwrap().into_burn(&Device::flex()).unwrap();
    let tensors = all_seen(last);
    assert_eq!(tensors["image_valid"].bytes, [1, 1, 0, 0]);
    for (name, Seen { bytes, .. }) in &tensors {
        assert!(bytes[bytes.len() / 2..].iter().all(|&byte| byte == 0), "{name}");
    }
    assert!(tensors["images"].bytes.iter().any(|&byte| byte != 0));
}

#[test]
fn images_of_either_kind_become_floats() {
    let bytes = batches(every_field()).remove(0);
    let expected: Vec<f32> = bytes.images().bytes.iter().map(|&byte| f32::from(byte)).collect();
    let floats = bytes.into_burn(&Device::flex()).unwrap().images.float();
    assert_eq!(floats.into_data().try_to_vec::<f32>().unwrap(), expected);
    let floats = batches(every_field().image_dtype(FieldDType::F32)).remove(0);
    let expected = floats.images().values::<f32>().unwrap().to_vec();
    let floats = floats.into_burn(&Device::flex()).unwrap().images.float();
    assert_eq!(floats.into_data().try_to_vec::<f32>().unwrap(), expected);
}

#[test]
fn fields_that_were_not_asked_for_are_not_there() {
    let batch = batches(every_field().mask_size(None).coverage(None).prompts(None))
        .remove(0)
        .into_burn(&Device::flex())
        .unwrap();
    assert!(batch.masks.is_none() && batch.coverage.is_none() && batch.patch_valid.is_none());
    assert!(batch.prompt_points.is_none() && batch.prompt_labels.is_none() && batch.prompt_boxes.is_none());
    assert_eq!(all_seen(batch).len(), 13);
}

#[test]
fn an_epoch_of_tensors_may_be_kept_whole() {
    within(|| {
        // Tensors of heap batches own their memory: they do not count against the budget of batches.
        let set = Arc::new(set_of(vec![shard(&made_many(12))]));
        let options = || every_field().batch_size(1).prefetch_batches(1).on_error(OnError::skip(0));
        let loader = options().max_memory_bytes(budget(options(), &set, 2)).build(set).unwrap();
        let epoch = loader.epoch(0).unwrap().burn(&Device::flex());
        assert_eq!((epoch.index(), epoch.steps(), epoch.size_hint()), (0, Some(12), (1, Some(12))));
        let kept: Vec<BurnBatch> = epoch.map(Result::unwrap).collect();
        assert_eq!(kept.iter().flat_map(ids).collect::<Vec<_>>(), (1..=12).collect::<Vec<_>>());
        assert!(kept.iter().all(|batch| batch.errors.is_empty()));
    });
}

#[test]
fn page_locked_buffers_are_used_again_once_the_last_tensor_is_gone() {
    within(|| {
        let set = set_of(vec![shard(&made_many(12))]);
        let loader = every_field().batch_size(2).memory(Memory::Pinned).prefetch_batches(2).build(set).unwrap();
        let mut places = BTreeSet::new();
        for number in 0..3 {
            for batch in loader.epoch(number).unwrap().burn(&Device::flex()) {
                let BurnBatch { images: BurnImages::Bytes(images), .. } = batch.unwrap() else { panic!("not bytes") };
                places.insert(seen(images).place);
            }
        }
        assert!(places.len() <= 4, "18 batches lay in {} places, not in those of the pool", places.len());
    });
}

#[test]
fn a_tensor_keeps_its_page_locked_buffers_and_a_change_is_its_own() {
    within(|| {
        let set = Arc::new(set_of(vec![shard(&made_many(12))]));
        let options =
            || every_field().batch_size(1).memory(Memory::Pinned).image_dtype(FieldDType::F32).prefetch_batches(1);
        let loader = options().max_memory_bytes(budget(options(), &set, 2)).build(set).unwrap();
        let mut epoch = loader.epoch(0).unwrap().burn(&Device::flex());
        let kept: Vec<_> = epoch.by_ref().take(2).map(|batch| batch.unwrap().images.float()).collect();
        let before = kept[0].clone().into_data();
        // Both batches that the budget allows are held by one tensor each.
        assert_eq!(epoch.next().unwrap().unwrap_err().kind(), ErrorKind::Limit);
        assert!(epoch.next().is_none());
        let changed = kept.into_iter().next().unwrap() + 1.0;
        let of_one: Vec<f32> = before.try_to_vec::<f32>().unwrap().iter().map(|value| value + 1.0).collect();
        assert_eq!(changed.into_data().try_to_vec::<f32>().unwrap(), of_one);
        // All are back in the pool.
        assert_eq!(loader.epoch(0).unwrap().burn(&Device::flex()).map(Result::unwrap).count(), 12);
    });
}

#[test]
fn an_error_is_the_last_item() {
    within(|| {
        let source =
            Faulty::new(
                shard(&made_many(12)),
                |range, bytes| {
                    if range.start > 0 { Err(read_error(range.start)) } else { Ok(bytes) }
                },
            );
        let loader = every_field().build(set_of_sources(vec![source.clone()])).unwrap();
        source.arm();
        let mut epoch = loader.epoch(0).unwrap().burn(&Device::flex());
        assert!(epoch.next().unwrap().is_err());
        assert!(epoch.next().is_none());
        assert_eq!(epoch.size_hint(), (0, Some(0)));

        let loader = BurnLoader::new(loader, &Device::flex()).unwrap();
        let mut batches = loader.iter();
        let error = batches.next().unwrap().unwrap_err();
        assert!(std::error::Error::source(&error).unwrap().downcast_ref::<maskstream::Error>().is_some());
        assert!(batches.next().is_none() && batches.next().is_none());
        assert_eq!(batches.progress().items_processed, 0);
    });
}

fn burn_loader(options: LoaderBuilder, samples: i64) -> (Loader, BurnLoader) {
    let loader = options.build(set_of(vec![shard(&made_many(samples))])).unwrap();
    (loader.clone(), BurnLoader::new(loader, &Device::flex()).unwrap())
}

/// The ids of one `iter`, batch by batch.
fn run(loader: &dyn DataLoader<BurnBatch>) -> Vec<Vec<i64>> {
    loader.iter().map(|batch| ids(&batch.unwrap())).collect()
}

fn epoch_of(loader: &Loader, number: u64) -> Vec<Vec<i64>> {
    loader.epoch(number).unwrap().map(|batch| batch.unwrap().image_ids().to_vec()).collect()
}

#[test]
fn each_iter_is_the_next_epoch() {
    within(|| {
        let (plain, loader) = burn_loader(every_field().shuffle(7), 13);
        assert_ne!(epoch_of(&plain, 0), epoch_of(&plain, 1));
        for number in 0..3 {
            assert_eq!(run(&loader), epoch_of(&plain, number));
        }
        // An epoch that is dropped at once counts, too.
        drop(loader.iter());
        // A trainer moves it to its device once and keeps the result.
        let moved = loader.to_device(&Device::flex());
        assert_eq!(run(&*moved), epoch_of(&plain, 4));
        assert_eq!(run(&loader), epoch_of(&plain, 5));
        assert_eq!(run(&BurnLoader::new(plain.clone(), &Device::flex()).unwrap().first_epoch(9)), epoch_of(&plain, 9));
    });
}

#[test]
fn progress_ends_with_the_last_batch_and_not_before() {
    within(|| {
        let (_, loader) = burn_loader(every_field(), 13);
        assert_eq!(loader.num_items(), 13);
        let mut batches = loader.iter();
        let mut seen = vec![batches.progress().items_processed];
        while let Some(batch) = batches.next() {
            batch.unwrap();
            let progress = batches.progress();
            assert_eq!((progress.items_total, progress.unit.as_deref()), (13, Some("items")));
            seen.push(progress.items_processed);
        }
        assert_eq!(seen, [0, 3, 6, 9, 13]);
        assert!(batches.progress().is_completed());
    });
}

#[test]
fn training_goes_on_from_a_cursor() {
    within(|| {
        let (plain, loader) = burn_loader(every_field().shuffle(7), 13);
        let loader = loader.first_epoch(2);
        let mut batches = loader.iter();
        let cursor = batches.by_ref().nth(1).unwrap().unwrap().cursor.unwrap();
        let resumed = BurnLoader::new(plain.clone(), &Device::flex()).unwrap().resume_from(&cursor);
        let mut rest = resumed.iter();
        assert_eq!(rest.progress().items_processed, 6);
        let rest: Vec<_> = rest.by_ref().map(|batch| ids(&batch.unwrap())).collect();
        assert_eq!(rest, epoch_of(&plain, 2)[2..]);
        assert_eq!(run(&resumed), epoch_of(&plain, 3));
        // A cursor of another order makes the epoch begin with an error.
        let (_, other) = burn_loader(every_field().shuffle(8), 13);
        let other = other.resume_from(&cursor);
        let mut batches = other.iter();
        assert!(batches.next().unwrap().unwrap_err().to_string().contains("does not fit"));
        assert!(batches.next().is_none());
    });
}

/// The samples that each of `devices` devices gets in one epoch, batch by batch.
fn split(loader: &BurnLoader, devices: usize) -> Vec<Vec<Vec<i64>>> {
    let whole: Arc<dyn DataLoader<BurnBatch>> = loader.to_device(&Device::flex());
    let parts = split_dataloader(whole, &vec![Device::flex(); devices]);
    assert_eq!(parts.iter().map(|part| part.num_items()).sum::<usize>(), loader.num_items());
    parts.iter().map(|part| run(&**part)).collect()
}

#[test]
fn a_split_gives_every_device_as_many_batches_of_the_same_order() {
    let small = || every_field().batch_size(3).mask_size(None).coverage(None).top_k(1).shuffle(5);
    for samples in [59, 61, 77, 101] {
        for (rank, world) in [(0, 1), (1, 2)] {
            for drop_last in [false, true] {
                let options = small().rank(rank, world).drop_last(drop_last);
                let (plain, _) = burn_loader(options.clone(), samples);
                let order: Vec<i64> = epoch_of(&plain, 0).concat();
                let own = plain.plan(0).unwrap().samples_from(0);
                let known = if world == 1 { 8 } else { 4 };
                for devices in 1..=known {
                    let parts = within({
                        let plain = plain.clone();
                        move || split(&BurnLoader::new(plain, &Device::flex()).unwrap(), devices)
                    });
                    let steps = parts[0].len();
                    assert!(steps > 0 && parts.iter().all(|part| part.len() == steps), "{samples} over {devices}");
                    // A step of all devices together has the next samples that a single device would get.
                    let merged: Vec<i64> = (0..steps * 3)
                        .flat_map(|row| parts.iter().map(move |part| part[row / 3][row % 3]))
                        .filter(|&id| id != 0)
                        .collect();
                    let whole: Vec<i64> = order.iter().copied().filter(|&id| id != 0).collect();
                    assert_eq!(merged, whole[..merged.len()], "{samples} over {devices}, rank {rank} of {world}");
                    assert_eq!(merged.iter().collect::<BTreeSet<_>>().len(), merged.len());
                    if drop_last {
                        assert_eq!(merged.len(), steps * 3 * devices);
                    } else {
                        assert_eq!(merged.len() as u64, own);
                    }
                }
            }
        }
    }
}

#[test]
fn what_a_split_leaves_out_is_counted() {
    within(|| {
        // 61 samples are 6 steps of 3 devices with 3 each; one device alone has 20.
        let (plain, loader) = burn_loader(every_field().batch_size(3).drop_last(true), 61);
        assert_eq!(plain.plan(0).unwrap().dropped(), 1);
        let parts = split(&loader, 3);
        assert_eq!(parts.iter().flatten().flatten().count(), 54);
        assert_eq!(plain.stats().delivered, 54);
    });
}

#[test]
fn a_range_that_is_no_devices_part_is_refused() {
    within(|| {
        let (_, loader) = burn_loader(every_field(), 61);
        for (start, end) in [(0, 1), (5, 17), (10, 10), (60, 70), (9, 3)] {
            let part = loader.slice(start, end).to_device(&Device::flex());
            let mut batches = part.iter();
            let error = batches.next().unwrap().unwrap_err().to_string();
            assert!(error.contains("do not identify one device"), "{error}");
            assert!(batches.next().is_none());
        }
        // A split that is too fine is never mistaken for another: at least one part is an error.
        for devices in 9..=61 {
            let parts = split_dataloader(loader.to_device(&Device::flex()), &vec![Device::flex(); devices]);
            assert!(parts.iter().any(|part| part.iter().next().unwrap().is_err()), "{devices}");
        }
    });
}

#[test]
fn parts_count_their_epochs_each_and_resume_together() {
    within(|| {
        let (plain, loader) = burn_loader(every_field().shuffle(3), 64);
        let two = |loader: &BurnLoader| {
            split_dataloader(loader.to_device(&Device::flex()), &[Device::flex(), Device::flex()])
        };
        let parts = two(&loader.first_epoch(4));
        let first: Vec<_> = parts.iter().map(|part| part.iter().next().unwrap().unwrap()).collect();
        assert_eq!((first[0].epoch, first[1].epoch), (4, 4));
        assert_eq!(first[0].cursor, first[1].cursor);
        assert_eq!(parts[1].iter().next().unwrap().unwrap().epoch, 5);
        let cursor = first[0].cursor.unwrap();
        let resumed = two(&BurnLoader::new(plain, &Device::flex()).unwrap().resume_from(&cursor));
        let again =
            two(&BurnLoader::new(burn_loader(every_field().shuffle(3), 64).0, &Device::flex()).unwrap().first_epoch(4));
        for (resumed, again) in resumed.iter().zip(&again) {
            assert_eq!(run(&**resumed), run(&**again)[1..]);
        }
    });
}

#[test]
fn masks_as_floats_have_the_same_values() {
    let batch = batches(every_field()).remove(0).into_burn(&Device::flex()).unwrap();
    let bytes = batch.masks.clone().unwrap().into_data().convert::<f32>().try_to_vec::<f32>().unwrap();
    let floats = batch.masks_float().unwrap().into_data().try_to_vec::<f32>().unwrap();
    assert!(floats == bytes && floats.contains(&1.0));
    let none = batches(every_field().mask_size(None)).remove(0).into_burn(&Device::flex()).unwrap();
    assert!(none.masks_float().is_err());
}

#[test]
fn masks_of_bits_are_unpacked_on_the_device() {
    for columns in [6, 8, 13] {
        let options = || every_field().mask_size([8, columns]);
        let bits = batches(options().mask_format(MaskFormat::Bits));
        for (bits, bytes) in bits.into_iter().zip(batches(options())) {
            let expected = bytes.masks().unwrap().to_vec();
            let [bits, bytes] = [bits, bytes].map(|batch| batch.into_burn(&Device::flex()).unwrap());
            assert_eq!(bits.masks.as_ref().unwrap().dims(), [4, 5, 8, columns.div_ceil(8) as usize]);
            for batch in [bits, bytes] {
                let (masks, floats) = (batch.masks_int().unwrap(), batch.masks_float().unwrap());
                assert_eq!((masks.dims(), floats.dims()), ([4, 5, 8, columns as usize], masks.dims()));
                assert_eq!(masks.into_data().try_to_vec::<u8>().unwrap(), expected);
                let floats = floats.into_data().try_to_vec::<f32>().unwrap();
                assert!(floats.iter().zip(&expected).all(|(float, byte)| *float == f32::from(*byte)));
            }
        }
    }
}

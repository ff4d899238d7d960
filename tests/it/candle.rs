//! candle: large fields become tensors without a copy, and every tensor holds what the batch held.

use std::collections::BTreeMap;

use candle_core::{CpuStorage, DType, Device, Storage, Tensor};
use maskstream::{CandleBatch, DType as FieldDType, MaskFormat, Memory, Normalization, OnError};

use crate::fixture::{budget, content, made_many, set_of, shard, within};
use crate::tensors::{batches, every_field};

const TYPES: [(FieldDType, DType); 4] = [
    (FieldDType::U8, DType::U8),
    (FieldDType::F32, DType::F32),
    (FieldDType::F16, DType::F16),
    (FieldDType::Bf16, DType::BF16),
];

/// Address and bytes of a tensor's storage, which must start at its first number.
fn storage(tensor: &Tensor) -> (usize, Vec<u8>) {
    let (storage, layout) = tensor.storage_and_layout();
    assert_eq!((layout.start_offset(), layout.is_contiguous()), (0, true));
    let Storage::Cpu(storage) = &*storage else { panic!("not on the CPU") };
    fn bytes<T: bytemuck::Pod>(values: &[T]) -> (usize, Vec<u8>) {
        (values.as_ptr() as usize, bytemuck::cast_slice(values).to_vec())
    }
    match storage {
        CpuStorage::U8(v) => bytes(v),
        CpuStorage::U32(v) => bytes(v),
        CpuStorage::I64(v) => bytes(v),
        CpuStorage::F16(v) => bytes(v),
        CpuStorage::BF16(v) => bytes(v),
        CpuStorage::F32(v) => bytes(v),
        _ => panic!("an unexpected type"),
    }
}

fn tensors(batch: &CandleBatch) -> Vec<(&'static str, &Tensor)> {
    let always = [
        ("images", &batch.images),
        ("boxes", &batch.boxes),
        ("predicted_iou", &batch.predicted_iou),
        ("stability_score", &batch.stability_score),
        ("area", &batch.area),
        ("points", &batch.points),
        ("annotation_ids", &batch.annotation_ids),
        ("valid", &batch.valid),
        ("image_ids", &batch.image_ids),
        ("original_sizes", &batch.original_sizes),
        ("crops", &batch.crops),
        ("geometry", &batch.geometry),
        ("image_valid", &batch.image_valid),
    ];
    let optional = [
        ("masks", &batch.masks),
        ("coverage", &batch.coverage),
        ("patch_valid", &batch.patch_valid),
        ("prompt_points", &batch.prompt_points),
        ("prompt_labels", &batch.prompt_labels),
        ("prompt_boxes", &batch.prompt_boxes),
    ];
    always.into_iter().chain(optional.into_iter().filter_map(|(name, tensor)| Some((name, tensor.as_ref()?)))).collect()
}

#[test]
fn large_fields_of_heap_batches_are_not_copied() {
    for (image_dtype, _) in TYPES {
        for batch in batches(every_field().image_dtype(image_dtype)) {
            let images = batch.images().bytes.as_ptr() as usize;
            let masks = batch.masks().unwrap().as_ptr() as usize;
            let coverage = batch.coverage().unwrap().as_ptr() as usize;
            let taken = batch.into_candle(&Device::Cpu).unwrap();
            assert_eq!(storage(&taken.images).0, images, "{image_dtype:?}");
            assert_eq!(storage(taken.masks.as_ref().unwrap()).0, masks);
            assert_eq!(storage(taken.coverage.as_ref().unwrap()).0, coverage);
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
                let taken = batch.into_candle(&Device::Cpu).unwrap();
                assert_eq!((taken.epoch, taken.step, &taken.samples), (epoch, step, &samples));
                let tensors = tensors(&taken);
                assert_eq!(tensors.len(), shapes.len());
                for (name, tensor) in tensors {
                    assert_eq!(tensor.dims(), shapes[name], "{name}");
                    assert!(storage(tensor).1 == expected[name], "{name}, {image_dtype:?}, {memory:?}");
                    let wanted = match name {
                        "images" => dtype,
                        "masks" | "valid" | "image_valid" | "patch_valid" => DType::U8,
                        "annotation_ids" | "image_ids" | "prompt_labels" => DType::I64,
                        "original_sizes" | "crops" => DType::U32,
                        _ => DType::F32,
                    };
                    assert_eq!(tensor.dtype(), wanted, "{name}");
                }
            }
        }
    }
}

#[test]
fn padded_rows_are_zero_in_every_tensor() {
    let last = batches(every_field().image_dtype(FieldDType::F32)).pop().unwrap().into_candle(&Device::Cpu).unwrap();
    assert_eq!(last.image_valid.to_vec1::<u8>().unwrap(), [1, 1, 0, 0]);
    for (name, tensor) in tensors(&last) {
        let (_, bytes) = storage(tensor);
        assert!(bytes[bytes.len() / 2..].iter().all(|&byte| byte == 0), "{name}");
    }
    assert!(last.images.get(0).unwrap().abs().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap() > 0.0);
}

#[test]
fn fields_that_were_not_asked_for_are_not_there() {
    let batch = batches(every_field().mask_size(None).coverage(None).prompts(None))
        .remove(0)
        .into_candle(&Device::Cpu)
        .unwrap();
    assert!(batch.masks.is_none() && batch.coverage.is_none() && batch.patch_valid.is_none());
    assert!(batch.prompt_points.is_none() && batch.prompt_labels.is_none() && batch.prompt_boxes.is_none());
    assert_eq!(tensors(&batch).len(), 13);
}

#[test]
fn an_epoch_of_tensors_may_be_kept_whole() {
    within(|| {
        // Tensors own their memory: they do not count against the budget of batches.
        let set = std::sync::Arc::new(set_of(vec![shard(&made_many(12))]));
        let options = || every_field().batch_size(1).prefetch_batches(1).on_error(OnError::skip(0));
        let loader = options().max_memory_bytes(budget(options(), &set, 2)).build(set).unwrap();
        let epoch = loader.epoch(0).unwrap().candle(&Device::Cpu);
        assert_eq!((epoch.steps(), epoch.size_hint()), (Some(12), (1, Some(12))));
        let kept: Vec<CandleBatch> = epoch.map(Result::unwrap).collect();
        let ids: Vec<i64> = kept.iter().flat_map(|batch| batch.image_ids.to_vec1::<i64>().unwrap()).collect();
        assert_eq!(ids, (1..=12).collect::<Vec<_>>());
        assert!(kept.iter().all(|batch| batch.errors.is_empty()));
    });
}

#[test]
fn page_locked_buffers_are_copied_and_used_again() {
    within(|| {
        let set = set_of(vec![shard(&made_many(12))]);
        let loader = every_field().batch_size(2).memory(Memory::Pinned).prefetch_batches(2).build(set).unwrap();
        let mut places = std::collections::BTreeSet::new();
        for number in 0..3 {
            for batch in loader.epoch(number).unwrap() {
                let batch = batch.unwrap();
                let (place, images) = (batch.images().bytes.as_ptr() as usize, batch.images().bytes.to_vec());
                places.insert(place);
                let (copy, copied) = storage(&batch.into_candle(&Device::Cpu).unwrap().images);
                assert!(copy != place && copied == images);
            }
        }
        assert!(places.len() <= 4, "18 batches lay in {} places, not in those of the pool", places.len());
    });
}

#[test]
fn masks_in_another_type_have_the_same_values() {
    for batch in batches(every_field()) {
        let batch = batch.into_candle(&Device::Cpu).unwrap();
        let bytes = batch.masks.as_ref().unwrap().flatten_all().unwrap().to_vec1::<u8>().unwrap();
        let masks = batch.masks_as(DType::F32).unwrap();
        assert_eq!(masks.dims(), batch.masks.as_ref().unwrap().dims());
        let floats = masks.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(floats.iter().zip(&bytes).all(|(float, byte)| *float == f32::from(*byte)));
        assert!(bytes.contains(&1));
    }
    let none = batches(every_field().mask_size(None)).remove(0).into_candle(&Device::Cpu).unwrap();
    assert!(none.masks_as(DType::F32).unwrap_err().to_string().contains("mask_size is None"));
}

#[test]
fn masks_of_bits_are_unpacked_by_masks_as() {
    for columns in [6, 8, 13] {
        let options = || every_field().mask_size([8, columns]).memory(Memory::Pinned);
        let bits = batches(options().mask_format(MaskFormat::Bits));
        for (bits, bytes) in bits.into_iter().zip(batches(options())) {
            let unpacked = bits.unpacked_masks().unwrap().into_owned();
            let [bits, bytes] = [bits, bytes].map(|batch| batch.into_candle(&Device::Cpu).unwrap());
            assert_eq!(bits.masks.as_ref().unwrap().dims(), [4, 5, 8, columns.div_ceil(8) as usize]);
            for dtype in [DType::U8, DType::F32, DType::BF16] {
                let (masks, expected) = (bits.masks_as(dtype).unwrap(), bytes.masks_as(dtype).unwrap());
                assert_eq!((masks.dims(), masks.dtype()), (expected.dims(), dtype));
                assert!(storage(&masks).1 == storage(&expected).1, "{columns} columns, {dtype:?}");
            }
            assert!(storage(bytes.masks.as_ref().unwrap()).1 == unpacked);
        }
    }
}

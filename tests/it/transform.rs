//! A step of the user's own: what it sees, what it may change, and what becomes of its errors.

use std::collections::BTreeMap;
use std::sync::Mutex;

use maskstream::index::AnnotationFile;
use maskstream::mask::Rle;
use maskstream::{
    Augment, Batch, Budget, ColorJitter, DType, Error, Field, Loader, LoaderBuilder, MaskFilter, OnError, Sample,
    TopKBy,
};

use crate::fixture::{Made, made_many, set_of, shard, within};

const K: usize = 4;

fn options() -> LoaderBuilder {
    Loader::builder().batch_size(3).image_size(40).mask_size([10, 12]).coverage(5).top_k(K).num_workers(2)
}

fn batches(options: LoaderBuilder, samples: &[Made]) -> Vec<Batch> {
    let loader = options.build(set_of(vec![shard(samples)])).unwrap();
    loader.epoch(1).unwrap().map(Result::unwrap).collect()
}

fn bytes(batches: &[Batch]) -> Vec<Vec<u8>> {
    batches.iter().flat_map(|batch| batch.fields().map(|field| field.bytes.to_vec()).collect::<Vec<_>>()).collect()
}

#[test]
fn a_step_that_does_nothing_changes_no_byte() {
    let samples = made_many(8);
    let jitter = ColorJitter { brightness: 0.3, contrast: 0.3, saturation: 0.3, hue: 0.1 };
    let progressive = |mut samples: Vec<Made>| {
        for made in &mut samples {
            let (width, height) = (made.width as u16, made.height as u16);
            let pixels: Vec<u8> = (0..3 * u32::from(width) * u32::from(height)).map(|i| (i * 5 % 256) as u8).collect();
            made.image.clear();
            let mut encoder = jpeg_encoder::Encoder::new(&mut made.image, 90);
            encoder.set_progressive(true);
            encoder.encode(&pixels, width, height, jpeg_encoder::ColorType::Rgb).unwrap();
        }
        samples
    };
    for samples in [samples.clone(), progressive(samples)] {
        for augment in [Augment::none(), Augment::resized_crop().color_jitter(jitter)] {
            let plain = bytes(&batches(options().augment(augment), &samples));
            let with = bytes(&batches(options().augment(augment).transform(|_| Ok(())), &samples));
            assert!(with == plain, "{augment}");
        }
    }
}

#[test]
fn a_step_sees_the_image_as_it_is_written_and_the_masks_as_they_were_chosen() {
    let samples = made_many(8);
    let seen = std::sync::Arc::new(Mutex::new(BTreeMap::new()));
    let recorder = std::sync::Arc::clone(&seen);
    let record = move |sample: &mut Sample<'_>| {
        let id = sample.field_mut::<i64>(Field::ImageIds).unwrap()[0];
        assert_eq!(sample.epoch(), 1);
        assert_eq!(sample.field_mut::<u8>(Field::Images), None, "the image is in pixels");
        assert_eq!(sample.field_mut::<f32>(Field::ImageIds), None, "ids are whole numbers");
        assert_eq!(sample.field_mut::<i64>(Field::PromptLabels), None, "there are no prompts");
        let boxes = sample.field_mut::<f32>(Field::Boxes).unwrap().to_vec();
        let size = sample.size();
        assert_eq!(
            (size.0 as u32, size.1 as u32),
            (sample.geometry().content_width(), sample.geometry().content_height())
        );
        recorder.lock().unwrap().insert(id, (sample.pixels().to_vec(), size, sample.masks().to_vec(), boxes));
        Ok(())
    };
    let batches = batches(options().augment(Augment::sam()).transform(record), &samples);
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 8);
    for batch in &batches {
        let images = batch.images().values::<u8>().unwrap();
        for (row, id) in batch.image_ids().iter().enumerate().filter(|&(row, _)| batch.image_valid()[row] == 1) {
            let (pixels, (width, height), masks, boxes) = &seen[id];
            let image = &images[row * 3 * 1600..(row + 1) * 3 * 1600];
            for (at, &value) in image.iter().enumerate() {
                let (plane, y, x) = (at / 1600, at / 40 % 40, at % 40);
                let inside = x < *width && y < *height;
                assert_eq!(value, if inside { pixels[(plane * height + y) * width + x] } else { 0 });
            }
            assert_eq!(batch.boxes()[row * 4 * K..(row + 1) * 4 * K], *boxes);
            let made = samples.iter().find(|made| made.id == *id).unwrap();
            let file = AnnotationFile::parse(&made.json).unwrap();
            let chosen = TopKBy::default().top_k(&file, &MaskFilter::all(), K, 1);
            let expected: Vec<Rle> = chosen
                .iter()
                .map(|&index| {
                    let mut mask = Rle::default();
                    file.annotations[index].read_mask(made.height, made.width, &mut mask).unwrap();
                    mask
                })
                .collect();
            assert_eq!(*masks, expected);
        }
    }
}

#[test]
fn what_a_step_changes_is_in_the_batch() {
    let samples = made_many(8);
    let change = |sample: &mut Sample<'_>| {
        sample.pixels().iter_mut().for_each(|value| *value = 255 - *value);
        let shift = sample.draw(0) as f32;
        assert!((0.0..1.0).contains(&sample.draw(0)) && sample.draw(0) != sample.draw(1));
        sample.field_mut::<f32>(Field::Boxes).unwrap()[0] += shift;
        sample.field_mut::<u8>(Field::Masks).unwrap()[0] = 7;
        sample.remove_mask(1);
        Ok(())
    };
    let options = || options().image_dtype(DType::F32);
    let (plain, changed) = (batches(options(), &samples), batches(options().transform(change), &samples));
    let again = batches(options().transform(change).num_workers(1).batch_size(3), &samples);
    assert!(bytes(&again) == bytes(&changed), "the same in every run");
    for (plain, changed) in plain.iter().zip(&changed) {
        for row in (0..3).filter(|&row| plain.image_valid()[row] == 1) {
            let values = |batch: &Batch| batch.images().values::<f32>().unwrap()[row * 4800..(row + 1) * 4800].to_vec();
            let content = plain.geometry_of(row).unwrap();
            for (at, (before, after)) in values(plain).into_iter().zip(values(changed)).enumerate() {
                let inside =
                    (at % 40) < content.content_width() as usize && (at / 40 % 40) < content.content_height() as usize;
                assert!(if inside { (before + after - 1.0).abs() < 1e-6 } else { after == 0.0 });
            }
            let boxes = |batch: &Batch| batch.boxes()[row * 4 * K..(row + 1) * 4 * K].to_vec();
            assert!(boxes(changed)[0] > boxes(plain)[0] && boxes(changed)[1..4] == boxes(plain)[1..4]);
            assert_eq!(boxes(changed)[4..8], [0.0; 4], "a mask that was removed is padding");
            assert_eq!((changed.valid()[row * K + 1], changed.annotation_ids()[row * K + 1]), (0, 0));
            assert!(changed.masks().unwrap()[(row * K + 1) * 120..][..120].iter().all(|&cell| cell == 0));
            assert!(changed.coverage().unwrap()[(row * K + 1) * 25..][..25].iter().all(|&share| share == 0.0));
            assert_eq!(changed.masks().unwrap()[row * K * 120], 7);
            assert_eq!(boxes(changed)[8..], boxes(plain)[8..]);
        }
    }
}

#[test]
fn errors_and_panics_in_a_step_are_those_of_its_sample() {
    within(|| {
        let samples = made_many(9);
        for is_panic in [false, true] {
            let step = move |sample: &mut Sample<'_>| {
                let id = sample.field_mut::<i64>(Field::ImageIds).unwrap()[0];
                match id {
                    4 if is_panic => panic!("the step cannot bear image 4"),
                    4 => Err(Error::from(std::io::Error::other("the step cannot bear image 4"))),
                    _ => Ok(()),
                }
            };
            let error = options().transform(step).build(set_of(vec![shard(&samples)])).unwrap();
            let error = error.epoch(0).unwrap().find_map(Result::err).unwrap().to_string();
            assert!(error.contains("cannot bear image 4") && error.contains("sa_4.jpg"), "{error}");
            let skipping = options().transform(step).on_error(OnError::skip(Budget::UNLIMITED));
            let batches = batches(skipping, &samples);
            let errors: Vec<_> = batches.iter().flat_map(Batch::errors).collect();
            assert!(errors.len() == 1 && errors[0].error.to_string().contains("cannot bear image 4"));
            let ids: Vec<i64> =
                batches.iter().flat_map(|batch| batch.image_ids().to_vec()).filter(|&id| id > 0).collect();
            assert_eq!(ids, [1, 2, 3, 5, 6, 7, 8, 9]);
        }
    });
}

#[test]
fn a_step_and_cached_labels_are_refused_together() {
    let options = options().transform(|_| Ok(())).mask_cache_bytes(1 << 20);
    let error = options.build(set_of(vec![shard(&made_many(2))])).unwrap_err().to_string();
    assert!(error.contains("mask_cache_bytes has no effect with transform"), "{error}");
}

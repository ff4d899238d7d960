//! Properties of generated samples and shards.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;

use serde_json::Value;

use super::*;
use crate::mask::Rle;

fn small() -> SynthOptions {
    SynthOptions::new(Preset::Small).seed(3).samples(6).gzip(false)
}

fn annotations(sample: &Sample) -> (Value, Vec<(Value, Rle)>) {
    let mut document: Value = serde_json::from_slice(&sample.annotations).unwrap();
    let list: Vec<Value> = serde_json::from_value(document["annotations"].take()).unwrap();
    let mask = |annotation: &Value| {
        let [height, width]: [u32; 2] = serde_json::from_value(annotation["segmentation"]["size"].clone()).unwrap();
        let counts = annotation["segmentation"]["counts"].as_str().unwrap().to_owned();
        Rle::from_counts(counts.as_bytes(), height, width).unwrap()
    };
    let list = list.into_iter().map(|annotation| (annotation.clone(), mask(&annotation))).collect();
    (document["image"].take(), list)
}

/// Members by name, and their names in order.
fn read_shard(bytes: &[u8]) -> (BTreeMap<String, Vec<u8>>, Vec<String>) {
    let mut plain = Vec::new();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain).unwrap();
    } else {
        plain = bytes.to_vec();
    }
    let (mut members, mut names) = (BTreeMap::new(), Vec::new());
    for entry in tar::Archive::new(&plain[..]).entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        names.push(name.clone());
        assert!(members.insert(name, content).is_none());
    }
    (members, names)
}

#[test]
fn same_options_and_id_give_the_same_bytes() {
    let one = sample(5, &small()).unwrap();
    assert_eq!(one, sample(5, &small()).unwrap());
    assert_ne!(one.image, sample(6, &small()).unwrap().image);
    assert_ne!(one.image, sample(5, &small().seed(4)).unwrap().image);
}

#[test]
fn annotations_describe_their_masks() {
    for id in 1..=8 {
        let (image, list) = annotations(&sample(id, &small()).unwrap());
        assert!((15..=60).contains(&list.len()), "{} masks", list.len());
        for (annotation, mask) in list {
            assert_eq!([&image["height"], &image["width"]], [mask.height(), mask.width()]);
            assert_eq!(annotation["area"], mask.area());
            assert!(mask.area() >= 20);
            let [x, y, width, height] = mask.bbox().map(f64::from);
            let bbox: [f64; 4] = serde_json::from_value(annotation["bbox"].clone()).unwrap();
            assert_eq!(bbox, [x, y, width - 1.0, height - 1.0]);
            let mut bitmap = vec![0; (mask.height() * mask.width()) as usize];
            mask.write_column_major(&mut bitmap).unwrap();
            let [[x, y]]: [[f64; 2]; 1] = serde_json::from_value(annotation["point_coords"].clone()).unwrap();
            assert_eq!(bitmap[x as usize * mask.height() as usize + y as usize], 1);
            assert!((0.86..=1.03).contains(&annotation["predicted_iou"].as_f64().unwrap()));
            assert!((0.93..=1.0).contains(&annotation["stability_score"].as_f64().unwrap()));
        }
    }
}

#[test]
fn boxes_are_floats_first_and_ints_last() {
    let (_, list) = annotations(&sample(1, &small()).unwrap());
    let float = |key: &str, (annotation, _): &(Value, Rle)| annotation[key][2].is_f64();
    for key in ["bbox", "crop_box"] {
        assert!(float(key, &list[0]) && !float(key, &list[list.len() - 1]));
        assert!(list.is_sorted_by_key(|annotation| !float(key, annotation)));
    }
}

#[test]
fn masks_are_nested_or_apart() {
    // Every pixel has one region and that region's wholes: two masks share all of the smaller one's pixels, or none.
    let (_, list) = annotations(&sample(2, &small()).unwrap());
    let bitmap = |mask: &Rle| {
        let mut bitmap = vec![0; (mask.height() * mask.width()) as usize];
        mask.write_column_major(&mut bitmap).unwrap();
        bitmap
    };
    let bitmaps: Vec<_> = list.iter().map(|(_, mask)| bitmap(mask)).collect();
    let mut nested = 0;
    for (index, a) in bitmaps.iter().enumerate() {
        for (other, b) in bitmaps.iter().enumerate().skip(index + 1) {
            let shared = a.iter().zip(b).filter(|(a, b)| **a + **b == 2).count() as u64;
            let smaller = list[index].1.area().min(list[other].1.area());
            assert!(shared == 0 || shared == smaller, "{shared} of {smaller}");
            nested += u64::from(shared > 0);
        }
    }
    assert!(nested > 0);
}

#[test]
fn images_are_baseline_with_halved_chroma() {
    let jpeg = sample(1, &small()).unwrap().image;
    let at = |marker: u8| jpeg.windows(2).position(|pair| pair == [0xff, marker]);
    let frame = &jpeg[at(0xc0).unwrap()..];
    assert_eq!((frame[9], frame[11], frame[14], frame[17]), (3, 0x22, 0x11, 0x11));
    assert_eq!((&jpeg[6..11], &jpeg[11..13]), (&b"JFIF\0"[..], &[1, 1][..]));
    assert_eq!(at(0xdd), None, "restart interval");
}

#[test]
fn members_are_shuffled_and_pairs_apart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sa_000002.tar");
    let report = write_shard(&path, 2, &small()).unwrap();
    let bytes = fs::read(&path).unwrap();
    assert_eq!((report.samples, report.shard_bytes), (6, bytes.len() as u64));
    let (members, names) = read_shard(&bytes);
    assert_eq!(names[0], "./");
    assert!(!names[1..].is_sorted());
    let stem = |name: &str| name.trim_start_matches("./").split('.').next().map(str::to_owned);
    assert!(names[1..].windows(2).all(|pair| stem(&pair[0]) != stem(&pair[1])));
    // Ids follow those of the two shards before.
    for id in 13..=18 {
        let sample = sample(id, &small()).unwrap();
        assert_eq!(members[&format!("./sa_{id}.jpg")], sample.image);
        assert_eq!(members[&format!("./sa_{id}.json")], sample.annotations);
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing temporary is left");
}

#[test]
fn gzip_and_plain_hold_the_same_members() {
    let dir = tempfile::tempdir().unwrap();
    let [plain, gzip] = [false, true].map(|gzip| {
        let path = dir.path().join(format!("{gzip}.tar"));
        write_shard(&path, 0, &small().gzip(gzip)).unwrap();
        fs::read(path).unwrap()
    });
    assert_eq!(gzip[..2], [0x1f, 0x8b]);
    assert_eq!(read_shard(&plain), read_shard(&gzip));
}

#[test]
fn threads_do_not_change_a_shard() {
    let dir = tempfile::tempdir().unwrap();
    let [one, many] = [1, 5].map(|threads| {
        let path = dir.path().join(format!("{threads}.tar"));
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| write_shard(&path, 0, &small())).unwrap();
        fs::read(path).unwrap()
    });
    assert!(one == many);
}

#[test]
fn progress_counts_all_shards() {
    let dir = tempfile::tempdir().unwrap();
    let last = std::sync::atomic::AtomicU64::new(0);
    let progress = |done| last.store(done, std::sync::atomic::Ordering::Relaxed);
    let paths = write_shards(dir.path().join("new"), 2, &small(), &progress).unwrap();
    assert_eq!(last.into_inner(), 12);
    assert!(paths[1].ends_with("new/sa_000001.tar") && paths[1].exists());
}

#[test]
fn packed_members_keep_order_and_name() {
    let long = format!("{}.json", "n".repeat(150));
    let (_, names) = read_shard(&pack([("b.jpg", &b"12"[..]), (&long, b"{}"), ("a", b"")], true).unwrap());
    assert_eq!(names, ["./", "./b.jpg", &format!("./{long}"), "./a"]);
}

#[test]
fn photos_become_samples() {
    let dir = tempfile::tempdir().unwrap();
    let options = small().photos(dir.path());
    assert!(sample(1, &options).is_err(), "an empty folder");
    fs::write(dir.path().join("a.png"), b"no picture").unwrap();
    let error = sample(1, &options).unwrap_err().to_string();
    assert!(error.contains("none of 1 photos"), "{error}");
    fs::write(dir.path().join("b.JPG"), sample(9, &small()).unwrap().image).unwrap();
    let one = sample(1, &options).unwrap();
    assert_eq!(one, sample(1, &options).unwrap());
    let (_, list) = annotations(&one);
    assert!(list.len() > 5, "{} masks", list.len());
    assert!(list.iter().all(|(annotation, mask)| annotation["area"] == mask.area()));
}

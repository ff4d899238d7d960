//! Which samples take part: lists of ids, and samples that are known to be bad.

use std::collections::BTreeSet;
use std::sync::Arc;

use maskstream::index::AnnotationFile;
use maskstream::{
    Batch, ErrorKind, IdList, Loader, LoaderBuilder, MaskFilter, OnError, Quarantine, ShardSet, ShardSetBuilder,
};

use crate::fixture::{
    Faulty, Made, lenient, made_many, memory, read_error, read_with_tar, set_of_sources, shard, within,
};

fn options() -> LoaderBuilder {
    Loader::builder().batch_size(4).image_size(24).mask_size(None).top_k(8).num_workers(2)
}

fn open(options: ShardSetBuilder, samples: &[Made]) -> maskstream::Result<ShardSet> {
    let half = samples.len() / 2;
    let sources = [("a", &samples[..half]), ("b", &samples[half..])];
    options.from_sources(sources.map(|(name, samples)| (name.to_owned(), memory(shard(samples)))).to_vec())
}

/// Images and annotations of an epoch.
fn delivered(set: ShardSet) -> BTreeSet<(i64, Vec<i64>)> {
    let batches: Vec<Batch> = options().build(set).unwrap().epoch(0).unwrap().map(Result::unwrap).collect();
    let mut all = BTreeSet::new();
    for batch in &batches {
        for row in (0..4).filter(|&row| batch.image_valid()[row] == 1) {
            let ids = batch.annotation_ids()[8 * row..][..8].iter().zip(&batch.valid()[8 * row..][..8]);
            let mut ids: Vec<i64> = ids.filter(|(_, valid)| **valid == 1).map(|(id, _)| *id).collect();
            ids.sort_unstable();
            assert!(all.insert((batch.image_ids()[row], ids)));
        }
    }
    all
}

#[test]
fn a_list_of_images_lets_them_alone_in_and_names_those_that_are_nowhere() {
    within(|| {
        let samples = made_many(12);
        let set = open(lenient().ids(IdList::images([3, 11, 99, 3, -4])), &samples).unwrap();
        assert_eq!((set.len(), set.unmatched()), (2, &[-4, 99][..]));
        let ids: Vec<i64> = delivered(set).into_iter().map(|(image, _)| image).collect();
        assert_eq!(ids, [3, 11]);
    });
}

#[test]
fn a_list_of_annotations_decides_on_the_index_and_in_the_batch() {
    within(|| {
        let samples = made_many(12);
        let filter = MaskFilter::all().min_predicted_iou(0.9);
        // Every second annotation of every image, found by parsing the json; those that pass the filter count.
        let (mut chosen, mut expected) = (Vec::new(), BTreeSet::new());
        for made in &samples {
            let file = AnnotationFile::parse(&made.json).unwrap();
            let own: Vec<_> = file.annotations.iter().step_by(2).collect();
            chosen.extend(own.iter().map(|annotation| (made.id, annotation.id)));
            let mut kept: Vec<i64> = own.iter().filter(|one| one.predicted_iou >= 0.9).map(|one| one.id).collect();
            kept.sort_unstable();
            if kept.len() >= 2 {
                expected.insert((made.id, kept));
            }
        }
        assert!(expected.len() > 2 && expected.len() < 12, "{}", expected.len());
        let shards = lenient().filter(filter.min_masks(2)).ids(IdList::annotations(chosen));
        let set = open(shards, &samples).unwrap();
        assert_eq!(set.len(), expected.len() as u64, "the length is known from the index");
        assert_eq!(delivered(set), expected);
    });
}

#[test]
fn a_list_is_read_from_text_and_its_faults_are_named_by_line() {
    let images: IdList = "# some\n4\n\n 7 \n-1\r\n".parse().unwrap();
    assert_eq!(images, IdList::images([7, 4, -1]));
    let annotations: IdList = "4,40\n4\t41\n7 70\n".parse().unwrap();
    assert_eq!(annotations, IdList::annotations([(4, 40), (4, 41), (7, 70)]));
    assert!(annotations.contains(4, 41) && !annotations.contains(7, 41) && !annotations.is_empty());
    // By the names of files, as listings have them; a byte order mark; indented comments.
    let named = "\u{feff}sa_4.jpg\r\n./sa_7.json\r\n  # more\n  sa_9\nsa_000001/sa_10.JPG\nsa_11.jpeg\n12\n";
    assert_eq!(named.parse::<IdList>().unwrap(), IdList::images([4, 7, 9, 10, 11, 12]));
    assert_eq!("sa_4.jpg 40\n4,41".parse::<IdList>().unwrap(), IdList::annotations([(4, 40), (4, 41)]));
    for text in ["sa_4.png", "sa_.jpg", "4.jpg", "sa_4;40", "img_4", "1,sa_40", "sa_4.jpg.jpg", "1e3"] {
        let error = text.parse::<IdList>().unwrap_err().to_string();
        assert!(error.contains(&format!("line 1 is {text:?}")), "{error}");
    }
    for (text, line) in [("1\nx\n", 2), ("1\n1,2\n", 2), ("1,2\n3\n", 2), ("1,2,3", 1), ("1\n9223372036854775808", 2)] {
        let error = text.parse::<IdList>().unwrap_err();
        assert!(error.to_string().contains(&format!("line {line} ")), "{text:?}: {error}");
    }
}

/// These samples with images that end too early.
fn cut(mut samples: Vec<Made>, bad: &[i64]) -> Vec<Made> {
    for made in samples.iter_mut().filter(|made| bad.contains(&made.id)) {
        made.image.truncate(made.image.len() / 2);
    }
    samples
}

/// What happens to bytes after they were indexed.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Disk,
    Bytes,
    Read,
}

/// Valid samples; once armed, reads of these images return something else or fail.
fn struck(samples: &[Made], bad: &'static [i64], fault: Fault) -> (Arc<Faulty>, ShardSet) {
    let bytes = shard(samples);
    let found = read_with_tar(&bytes);
    let offsets: Vec<u64> = bad.iter().map(|id| found[&format!("sa_{id}.jpg")].0).collect();
    let source = Faulty::new(bytes, move |range, bytes| match (offsets.contains(&range.start), fault) {
        (true, Fault::Disk) => Err(std::io::Error::other("the disk is gone").into()),
        (true, Fault::Bytes) => Ok(bytes.iter().map(|byte| !byte).collect::<Vec<u8>>().into()),
        (true, Fault::Read) => Err(read_error(range.start)),
        (false, _) => Ok(bytes),
    });
    let set = set_of_sources(vec![source.clone()]);
    source.arm();
    (source, set)
}

#[test]
fn what_cannot_be_decoded_is_listed_once_and_left_out_of_later_runs() {
    within(|| {
        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join("bad.jsonl");
        let samples = cut(made_many(12), &[2, 7]);
        for _ in 0..2 {
            let set = set_of_sources(vec![memory(shard(&samples))]);
            let loader = options().on_error(OnError::skip(5)).quarantine_log(&list).build(set).unwrap();
            for index in 0..3 {
                let mut epoch = loader.epoch(index).unwrap();
                assert_eq!(epoch.by_ref().map(|batch| batch.unwrap().errors().len()).sum::<usize>(), 2);
                loader.replay(&epoch.cursor().unwrap(), 0).unwrap();
            }
        }
        let text = std::fs::read_to_string(&list).unwrap();
        assert_eq!(text.lines().count(), 2, "once each: {text}");
        let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!((&line["image_id"], &line["image"], &line["shard"]), (&2.into(), &"./sa_2.jpg".into(), &"a".into()));
        assert!(line["error"].as_str().unwrap().contains("sa_2.jpg") && line["kind"] == "Corrupt");

        let bad = Quarantine::load(&list).unwrap();
        assert_eq!(bad.len(), 2);
        let set = open(lenient().quarantine(bad.clone()), &samples).unwrap();
        assert_eq!(set.reports().map(|report| report.quarantined_samples).collect::<Vec<_>>(), [1, 1]);
        let ids: Vec<i64> = delivered(set).into_iter().map(|(image, _)| image).collect();
        assert_eq!(ids, [1, 3, 4, 5, 6, 8, 9, 10, 11, 12]);
        // A repaired sample has other bytes, so it takes part again.
        let mended = cut(made_many(12), &[7]);
        assert_eq!(open(lenient().quarantine(bad.clone()), &mended).unwrap().len(), 11);
        let all_bad = open(lenient().quarantine(bad).ids(IdList::images([2, 7])), &samples).unwrap_err();
        assert!(all_bad.to_string().contains("2 are quarantined"), "{all_bad}");
    });
}

#[test]
fn the_sample_that_ends_an_epoch_is_listed_unless_it_may_be_sound() {
    within(|| {
        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join("bad.jsonl");
        let samples = made_many(12);
        let ends = |options: LoaderBuilder, set: ShardSet| -> (ErrorKind, usize) {
            let loader = options.quarantine_log(&list).build(set).unwrap();
            let error = loader.epoch(0).unwrap().find_map(Result::err).unwrap();
            (error.kind(), Quarantine::load(&list).unwrap().len())
        };
        // An I/O error, bytes that have changed and may be restored, and a limit that may be raised.
        for (fault, kind) in
            [(Fault::Disk, ErrorKind::Io), (Fault::Bytes, ErrorKind::Corrupt), (Fault::Read, ErrorKind::Corrupt)]
        {
            let (_source, set) = struck(&samples, &[5], fault);
            assert_eq!(ends(options(), set), (kind, 0), "{fault:?}");
        }
        let set = set_of_sources(vec![memory(shard(&samples))]);
        assert_eq!(ends(options().max_image_pixels(1), set), (ErrorKind::Limit, 0));
        let set = set_of_sources(vec![memory(shard(&cut(samples, &[5])))]);
        assert_eq!(ends(options(), set), (ErrorKind::Corrupt, 1));
    });
}

#[test]
fn a_list_that_cannot_be_read_or_written_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("bad.jsonl");
    assert_eq!(Quarantine::load(&list).unwrap_err().kind(), ErrorKind::Io);
    std::fs::write(&list, "{\"image_id\": 1}\n").unwrap();
    let error = Quarantine::load(&list).unwrap_err();
    assert!(error.is_corrupt() && error.to_string().contains("line 1 "), "{error}");
    // A write was cut off: complete lines count, and writing continues after them.
    std::fs::write(&list, "\n{\"shard\":\"a.tar\",\"im").unwrap();
    assert!(Quarantine::load(&list).unwrap().is_empty());
    let add = |bad: i64| {
        let set = set_of_sources(vec![memory(shard(&cut(made_many(4), &[bad])))]);
        options().on_error(OnError::skip(1)).quarantine_log(&list).build(set).unwrap().epoch(0).unwrap().for_each(drop);
        Quarantine::load(&list).unwrap().len()
    };
    assert_eq!(add(2), 1);
    // An edited list without a newline at its end: its last line counts, and the next one is written after it.
    let text = std::fs::read_to_string(&list).unwrap();
    std::fs::write(&list, text.trim()).unwrap();
    assert_eq!(text.trim().parse::<Quarantine>().unwrap().len(), 1);
    assert_eq!(add(3), 2);
    std::fs::write(&list, "{\"image_id\": 1}\n").unwrap();
    let set = || open(lenient(), &made_many(4)).unwrap();
    assert!(options().quarantine_log(&list).build(set()).is_err());
    assert!(options().quarantine_log(dir.path()).build(set()).is_err());
}

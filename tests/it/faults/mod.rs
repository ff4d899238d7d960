//! The loader on bad data and bad consumers: an error in the right place or a zeroed row, but never a hang, a lost
//! batch or a leaked thread.

mod table;

use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};

use bytes::Bytes;
use maskstream::source::{self, MemorySource};
use maskstream::{Batch, Error, ErrorKind, Loader, LoaderBuilder, Memory, OnError, Result, ShardSet};

use crate::fixture::{
    BadAdvice, Bomb, Faulty, Made, budget, content, lenient, made_many, members, pack, read_error, read_with_tar,
    set_of, set_of_sources, shard, within,
};

fn options() -> LoaderBuilder {
    Loader::builder().batch_size(2).image_size(24).mask_size(Some([8, 8])).coverage(Some(4)).top_k(4).num_workers(2)
}

/// Batches until the first error, and that error; nothing may follow it.
fn run(loader: &Loader, epoch: u64) -> (Vec<Batch>, Option<Error>) {
    let mut epoch = loader.epoch(epoch).unwrap();
    let mut batches = Vec::new();
    let error = loop {
        match epoch.next() {
            Some(Ok(batch)) => batches.push(batch),
            Some(Err(error)) => break Some(error),
            None => break None,
        }
    };
    assert!(epoch.next().is_none(), "something follows the end");
    if error.is_none() {
        assert_eq!(Some(batches.len() as u64), epoch.steps(), "a short epoch without an error");
    }
    (batches, error)
}

fn is_zero_row(batch: &Batch, row: usize) -> bool {
    batch.fields().all(|field| {
        let bytes = field.bytes.len() / field.spec.shape[0];
        field.bytes[row * bytes..(row + 1) * bytes].iter().all(|&byte| byte == 0)
    })
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Error,
    Short,
    Empty,
    Long,
    Flip,
    Panic,
    Bomb,
}

impl Kind {
    const ALL: [Self; 7] = [Self::Error, Self::Short, Self::Empty, Self::Long, Self::Flip, Self::Panic, Self::Bomb];

    fn strike(self, range: Range<u64>, bytes: Bytes) -> Result<Bytes> {
        match self {
            Self::Error => Err(read_error(range.start)),
            Self::Short => Ok(bytes.slice(..bytes.len() - 1)),
            Self::Empty => Ok(Bytes::new()),
            Self::Long => Ok([&bytes[..], b"x"].concat().into()),
            Self::Flip => {
                let mut bytes = bytes.to_vec();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 4;
                Ok(bytes.into())
            }
            Self::Panic => panic!("the source gave way"),
            Self::Bomb => Ok(Bytes::from_owner(Bomb(bytes))),
        }
    }

    fn expected(self) -> ErrorKind {
        if matches!(self, Self::Panic | Self::Bomb) { ErrorKind::Panic } else { ErrorKind::Corrupt }
    }
}

/// Samples 1 to 12 in order; once armed, reads of these members fail in one way.
fn struck(kind: Kind, at: &[String]) -> (Arc<Faulty>, Vec<u64>, ShardSet) {
    let bytes = shard(&made_many(12));
    let found = read_with_tar(&bytes);
    let offsets: Vec<u64> = at.iter().map(|name| found[name].0).collect();
    let targets = offsets.clone();
    let source = Faulty::new(
        bytes,
        move |range, bytes| {
            if targets.contains(&range.start) { kind.strike(range, bytes) } else { Ok(bytes) }
        },
    );
    let set = set_of_sources(vec![source.clone()]);
    source.arm();
    (source, offsets, set)
}

#[test]
fn stop_delivers_what_comes_before_and_then_the_error_with_its_place() {
    within(|| {
        let reference = run(&options().build(set_of(vec![shard(&made_many(12))])).unwrap(), 0).0;
        for kind in Kind::ALL {
            for member in ["sa_7.jpg", "sa_7.json"] {
                for (workers, prefetch, memory) in [(1, 1, Memory::Heap), (3, 4, Memory::Pinned)] {
                    let (_, offsets, set) = struck(kind, &[member.to_owned()]);
                    let options = options().num_workers(workers).prefetch_batches(prefetch).memory(memory);
                    let (batches, error) = run(&options.build(set).unwrap(), 0);
                    let case = format!("{kind:?} of {member}, {workers} workers");
                    assert_eq!(batches.len(), 3, "{case}: sample 7 is in the fourth batch");
                    for (batch, expected) in batches.iter().zip(&reference) {
                        assert_eq!(content(batch), content(expected), "{case}");
                    }
                    let error = error.expect("an error");
                    assert_eq!(error.kind(), kind.expected(), "{case}: {error}");
                    assert_eq!(error.location().shard.as_deref(), Some(Path::new("a")), "{case}: {error}");
                    let named = error.location().member.as_deref().unwrap();
                    if kind.expected() == ErrorKind::Panic {
                        assert!(named.starts_with("./sa_7."), "{case}: {error}");
                        assert!(
                            error.to_string().contains("gave way") || error.to_string().contains("bomb"),
                            "{error}"
                        );
                    } else {
                        assert_eq!(named, format!("./{member}"), "{case}: {error}");
                        assert_eq!(error.location().offset, Some(offsets[0]), "{case}: {error}");
                    }
                }
            }
        }
    });
}

#[test]
fn skip_leaves_a_zeroed_row_records_it_and_touches_no_other() {
    within(|| {
        let reference = run(&options().build(set_of(vec![shard(&made_many(12))])).unwrap(), 0).0;
        for kind in Kind::ALL {
            for member in ["sa_7.jpg", "sa_7.json"] {
                for memory in [Memory::Heap, Memory::Pinned] {
                    let (_, _, set) = struck(kind, &[member.to_owned()]);
                    let options = options().memory(memory).on_error(OnError::skip(3));
                    let loader = options.build(set).unwrap();
                    // More than one epoch, so that buffers are reused; each with fewer faults than the budget.
                    for epoch in 0..3 {
                        let mut batches = loader.epoch(epoch).unwrap();
                        for (step, expected) in reference.iter().enumerate() {
                            let case = format!("{kind:?} of {member}, epoch {epoch}, step {step}");
                            let batch = batches.next().unwrap().unwrap();
                            if step != 3 {
                                assert!(batch.errors().is_empty() && content(&batch) == content(expected), "{case}");
                                continue;
                            }
                            assert_eq!(batch.image_valid(), [0, 1], "{case}");
                            assert!(is_zero_row(&batch, 0), "{case}");
                            for (found, expected) in batch.fields().zip(expected.fields()) {
                                let half = found.bytes.len() / 2;
                                assert_eq!(
                                    found.bytes[half..],
                                    expected.bytes[half..],
                                    "{case}: {}",
                                    found.spec.name()
                                );
                            }
                            assert_eq!(batch.errors().len(), 1);
                            let issue = &batch.errors()[0];
                            assert_eq!((issue.row, Some(issue.sample)), (0, batch.samples()[0]), "{case}");
                            assert_eq!(issue.error.kind(), kind.expected(), "{case}: {}", issue.error);
                        }
                        assert!(batches.next().is_none());
                        let stats = batches.stats();
                        assert_eq!((stats.batches, stats.delivered, stats.skipped), (6, 11, 1), "{kind:?}");
                    }
                }
            }
        }
    });
}

#[test]
fn the_budget_of_skipped_samples_is_enforced() {
    within(|| {
        // Bad samples 2, 5, 6 and 11: in batches 0, 2, 2 and 5.
        let bad: Vec<String> = [2, 5, 6, 11].map(|id| format!("sa_{id}.jpg")).to_vec();
        for (budget, delivered) in [(0, 0), (1, 2), (2, 2), (3, 5), (4, 6), (u64::MAX, 6)] {
            let (_, _, set) = struck(Kind::Flip, &bad);
            let (batches, error) = run(&options().on_error(OnError::skip(budget)).build(set).unwrap(), 0);
            assert_eq!(batches.len(), delivered, "budget {budget}");
            match error {
                None => assert_eq!(delivered, 6),
                Some(error) => {
                    assert!(error.is_limit() && error.to_string().contains(&format!("budget of {budget}")), "{error}");
                    assert!(error.to_string().contains(".jpg"), "the last one is named: {error}");
                }
            }
        }
    });
}

#[test]
fn of_two_errors_in_a_batch_the_same_one_is_reported_whatever_the_threads_do() {
    within(|| {
        let bad: Vec<String> = (1..=8).map(|id| format!("sa_{id}.jpg")).collect();
        let report = |workers| {
            let (_, _, set) = struck(Kind::Flip, &bad);
            run(&options().batch_size(8).num_workers(workers).build(set).unwrap(), 0).1.unwrap().to_string()
        };
        let expected = report(1);
        (0..20).for_each(|_| assert_eq!(report(4), expected));
    });
}

/// The 12 samples with one member replaced before the shard is made; the error of its epoch, after the batches before
/// it.
fn error_of_replaced(name: &str, change: impl Fn(&Made) -> Vec<u8>) -> Error {
    let samples = made_many(12);
    let mut all = members(&samples);
    let seventh = &samples[6];
    let index = all.iter().position(|(member, _)| member == name).unwrap();
    all[index].1 = change(seventh);
    let bytes = pack(&all);
    let (offset, _) = read_with_tar(&bytes)[name].clone();
    let set = set_of(vec![bytes]);
    assert_eq!(set.len(), 12, "the index has no reason to leave it out");
    let name = format!("./{name}");
    within(move || {
        let (batches, error) = run(&options().build(set).unwrap(), 0);
        assert_eq!(batches.len(), 3);
        let error = error.expect("damage is an error");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert_eq!((error.location().member.as_deref(), error.location().offset), (Some(name.as_str()), Some(offset)));
        error
    })
}

#[test]
fn a_jpeg_cut_anywhere_is_an_error() {
    let len = made_many(12)[6].image.len();
    for keep in [0, 1, 2, 10, 100, 300, len / 2, len * 3 / 4, len - 10, len - 2, len - 1] {
        error_of_replaced("sa_7.jpg", |made| made.image[..keep].to_vec());
    }
}

#[test]
fn a_jpeg_cut_and_closed_again_is_an_error() {
    // Half of the pixels are missing, but the end of the file is intact.
    let len = made_many(12)[6].image.len();
    for keep in [len / 2, len * 2 / 3, len * 3 / 4] {
        error_of_replaced("sa_7.jpg", |made| [&made.image[..keep], &[0xff, 0xd9]].concat());
    }
}

#[test]
fn bytes_that_are_no_jpeg_are_an_error() {
    let mut dice = crate::fixture::Dice(8);
    let noise: Vec<u8> = (0..3000).map(|_| dice.next() as u8).collect();
    let png = b"\x89PNG\r\n\x1a\n and so on \xff\xd9".to_vec();
    let framed = [&[0xff, 0xd8, 0xff, 0xe0][..], &noise, &[0xff, 0xd9]].concat();
    for bytes in [noise, png, framed, vec![0xff, 0xd8, 0xff, 0xd9], vec![0xff; 1000], vec![0; 1000]] {
        let error = error_of_replaced("sa_7.jpg", |_| bytes.clone());
        assert!(error.to_string().contains("jpeg"), "{error}");
    }
}

#[test]
fn a_jpeg_of_another_size_than_annotated_is_an_error() {
    for (width, height) in [(56, 25), (57, 24), (24, 56), (8, 8), (400, 300)] {
        let error = error_of_replaced("sa_7.jpg", |made| {
            assert_eq!((made.width, made.height), (56, 24));
            crate::fixture::jpeg(width, height, 1)
        });
        let text = error.to_string();
        assert!(text.contains(&format!("{width} x {height}")) && text.contains("56 x 24"), "{text}");
    }
}

#[test]
fn masks_that_do_not_fit_are_an_error_that_names_the_annotation() {
    let change = |key: &'static str, value: serde_json::Value| {
        let error = error_of_replaced("sa_7.json", |made| {
            let mut json: serde_json::Value = serde_json::from_slice(&made.json).unwrap();
            for annotation in json["annotations"].as_array_mut().unwrap() {
                annotation["segmentation"][key] = value.clone();
            }
            serde_json::to_vec(&json).unwrap()
        });
        assert!(error.to_string().contains("annotation 70"), "{error}");
    };
    change("counts", "0".into());
    change("counts", "~".into());
    change("counts", "o".into());
    change("counts", "".into());
    change("counts", "oooooooooooooooooooo0".into());
    change("counts", vec![u32::MAX; 4].into());
    change("counts", serde_json::Value::Null);
    change("size", vec![56, 24].into());
    change("size", vec![u32::MAX, u32::MAX].into());
}

#[test]
fn an_error_without_an_offset_is_not_given_another_members_offset() {
    within(|| {
        let bytes = shard(&made_many(4));
        let found = read_with_tar(&bytes);
        let (json, image) = (found["sa_3.json"].0, found["sa_3.jpg"].0);
        let fault = move |range: Range<u64>, bytes| {
            if range.start == json { source::open(Path::new("/does/not/exist")).map(|_| bytes) } else { Ok(bytes) }
        };
        let source = Faulty::new(bytes, fault);
        let set = set_of_sources(vec![source.clone()]);
        source.arm();
        let (batches, error) = run(&options().build(set).unwrap(), 0);
        let error = error.unwrap();
        assert_eq!((batches.len(), error.kind()), (1, ErrorKind::Io));
        assert_eq!(error.location().member.as_deref(), Some("./sa_3.json"));
        assert_ne!(error.location().offset, Some(image), "the image's offset beside the json's name: {error}");
    });
}

#[test]
fn a_shard_that_vanished_is_an_error_at_its_turn() {
    within(|| {
        let dir = tempfile::tempdir().unwrap();
        let samples = made_many(8);
        let paths = [dir.path().join("a.tar"), dir.path().join("b.tar")];
        std::fs::write(&paths[0], shard(&samples[..4])).unwrap();
        std::fs::write(&paths[1], shard(&samples[4..])).unwrap();
        let set = Arc::new(lenient().open(&paths).unwrap());
        std::fs::remove_file(&paths[1]).unwrap();
        let (batches, error) = run(&options().build(Arc::clone(&set)).unwrap(), 0);
        let error = error.unwrap();
        assert_eq!((batches.len(), error.kind()), (2, ErrorKind::Io), "{error}");
        assert_eq!(error.location().shard.as_deref(), Some(paths[1].as_path()));
        let loader = options().on_error(OnError::skip(4)).build(set).unwrap();
        let (batches, error) = run(&loader, 0);
        assert!(error.is_none());
        assert_eq!(batches.iter().map(Batch::valid_rows).collect::<Vec<_>>(), [2, 2, 0, 0]);
    });
}

#[test]
fn a_panic_of_the_opener_is_the_error_of_its_own_samples() {
    within(|| {
        let samples = made_many(8);
        let shards = [shard(&samples[..4]), shard(&samples[4..])];
        let dir = tempfile::tempdir().unwrap();
        let paths = [dir.path().join("a.tar"), dir.path().join("b.tar")];
        paths.iter().zip(&shards).for_each(|(path, bytes)| std::fs::write(path, bytes).unwrap());
        let armed = Arc::new(AtomicBool::new(false));
        let gives_way = Arc::clone(&armed);
        let opener = move |path: &Path| {
            assert!(!(gives_way.load(SeqCst) && path.ends_with("b.tar")), "the opener gave way");
            source::open(path)
        };
        let set = lenient().opener(opener).open(&paths).unwrap();
        armed.store(true, SeqCst);
        let (batches, error) = run(&options().build(set).unwrap(), 0);
        let error = error.unwrap();
        assert_eq!(
            (batches.len(), error.kind()),
            (2, ErrorKind::Panic),
            "the first shard's batches come first: {error}"
        );
        assert_eq!(error.location().shard.as_deref(), Some(paths[1].as_path()), "{error}");
    });
}

#[test]
fn a_panic_in_mere_advice_costs_no_sample() {
    within(|| {
        let set = set_of_sources(vec![Arc::new(BadAdvice(MemorySource::new(shard(&made_many(8)))))]);
        let (batches, error) = run(&options().on_error(OnError::skip(8)).build(set).unwrap(), 0);
        assert!(error.is_none(), "after {} batches: {}", batches.len(), error.unwrap());
        assert_eq!(batches.iter().map(Batch::valid_rows).sum::<usize>(), 8);
    });
}

/// The kernel's id of this thread.
fn this_task() -> String {
    std::fs::read_link("/proc/thread-self").unwrap().to_str().unwrap().to_owned()
}

/// Records which thread drops its bytes.
struct Tracer {
    bytes: Bytes,
    tasks: Arc<Mutex<Vec<String>>>,
}

impl AsRef<[u8]> for Tracer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        self.tasks.lock().unwrap().push(this_task());
    }
}

#[test]
#[cfg(target_os = "linux")]
fn dropping_an_epoch_at_any_point_ends_its_threads_and_frees_its_shards() {
    within(|| {
        for (workers, prefetch) in [(1, 1), (2, 2), (4, 8)] {
            for taken in 0..=6 {
                let tasks = Arc::new(Mutex::new(Vec::new()));
                let seen = Arc::clone(&tasks);
                let source = Faulty::new(shard(&made_many(12)), move |_, bytes| {
                    seen.lock().unwrap().push(this_task());
                    Ok(Bytes::from_owner(Tracer { bytes, tasks: Arc::clone(&seen) }))
                });
                let set = set_of_sources(vec![source.clone()]);
                source.arm();
                let loader = options().num_workers(workers).prefetch_batches(prefetch).build(set).unwrap();
                let mut epoch = loader.epoch(0).unwrap();
                let kept: Vec<Batch> = epoch.by_ref().take(taken).map(Result::unwrap).collect();
                drop((epoch, loader));
                assert_eq!(Arc::strong_count(&source), 1, "{taken} taken: the shard is still held");
                // A joined thread's entry may outlive the join by an instant.
                for task in std::mem::take(&mut *tasks.lock().unwrap()) {
                    let entry = Path::new("/proc").join(&task);
                    while entry.exists() {
                        std::thread::yield_now();
                    }
                }
                // Batches outlive everything else.
                assert!(kept.iter().all(|batch| batch.valid_rows() == 2));
                assert_eq!(kept.len(), taken);
            }
        }
    });
}

#[test]
fn dropping_an_epoch_waits_for_the_read_under_way() {
    within(|| {
        let (entered_in, entered) = mpsc::channel();
        let (gate_in, gate) = mpsc::channel::<()>();
        let (gate, finished) = (Mutex::new(gate), Arc::new(AtomicBool::new(false)));
        let done = Arc::clone(&finished);
        let source = Faulty::new(shard(&made_many(12)), move |_, bytes| {
            let _ = entered_in.send(());
            let _ = gate.lock().unwrap().recv();
            done.store(true, SeqCst);
            Ok(bytes)
        });
        let set = set_of_sources(vec![source.clone()]);
        source.arm();
        let epoch = options().build(set).unwrap().epoch(0).unwrap();
        entered.recv().unwrap();
        let dropping = std::thread::spawn(move || {
            drop(epoch);
            assert!(finished.load(SeqCst), "dropped while a thread was reading");
        });
        // Opens the gate for this read and all that may follow.
        drop(gate_in);
        dropping.join().unwrap();
        assert_eq!(Arc::strong_count(&source), 1);
    });
}

#[test]
fn a_consumer_that_keeps_batches_gets_an_error_not_a_hang() {
    within(|| {
        let set = Arc::new(set_of(vec![shard(&made_many(12))]));
        for memory in [Memory::Heap, Memory::Pinned] {
            for held in 2..=5_u64 {
                let options = || options().memory(memory).prefetch_batches(1);
                let bytes = budget(options(), &set, held);
                let loader = options().max_memory_bytes(bytes).build(Arc::clone(&set)).unwrap();
                let (batches, error) = run(&loader, 0);
                let error = error.unwrap();
                assert_eq!((batches.len() as u64, error.kind()), (held, ErrorKind::Limit), "{error}");
                assert!(error.to_string().contains("max_memory_bytes"), "{error}");
                drop(batches);
                // A consumer that drops its batches in time gets through any number of epochs.
                for epoch in 0..3 {
                    assert_eq!(
                        loader.epoch(epoch).unwrap().map(|batch| batch.unwrap().valid_rows()).sum::<usize>(),
                        12
                    );
                }
            }
        }
    });
}

#[test]
fn batches_kept_from_earlier_epochs_count_against_the_budget() {
    within(|| {
        let set = Arc::new(set_of(vec![shard(&made_many(12))]));
        let options = || options().prefetch_batches(1);
        let loader = options().max_memory_bytes(budget(options(), &set, 4)).build(set).unwrap();
        let mut kept = Vec::new();
        let mut error = None;
        for number in 0..4 {
            for batch in loader.epoch(number).unwrap().take(2) {
                match batch {
                    Ok(batch) => kept.push(batch),
                    Err(limit) => error = Some(limit),
                }
            }
        }
        assert!(kept.len() <= 4, "{} batches are held, the budget is 4", kept.len());
        assert_eq!(error.unwrap().kind(), ErrorKind::Limit);
    });
}

#[test]
fn two_epochs_under_the_tightest_budget_never_wait_for_each_other() {
    within(|| {
        let set = Arc::new(set_of(vec![shard(&made_many(12))]));
        let options = || options().prefetch_batches(2);
        let loader = options().max_memory_bytes(budget(options(), &set, 3)).build(set).unwrap();
        for _ in 0..20 {
            let pairs = loader.epoch(0).unwrap().zip(loader.epoch(1).unwrap());
            assert_eq!(pairs.map(|(a, b)| (a.unwrap().step(), b.unwrap().step())).filter(|(a, b)| a == b).count(), 6);
        }
    });
}

#[test]
fn two_epochs_of_a_loader_run_side_by_side() {
    within(|| {
        let loader = options().shuffle(2).memory(Memory::Pinned).build(set_of(vec![shard(&made_many(12))])).unwrap();
        let [first, second] = [0, 1].map(|epoch| run(&loader, epoch).0.iter().map(content).collect::<Vec<_>>());
        let (mut a, mut b) = (loader.epoch(0).unwrap(), loader.epoch(1).unwrap());
        for step in 0..6 {
            assert_eq!(content(&a.next().unwrap().unwrap()), first[step]);
            assert_eq!(content(&b.next().unwrap().unwrap()), second[step]);
        }
        assert!(a.next().is_none() && b.next().is_none());
    });
}

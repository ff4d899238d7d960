//! A table with a row for each thing that can go wrong, with faulty sources and on real files: how many of twelve
//! planned samples are delivered, skipped and lost, and what is reported. The sum always equals the number of planned
//! samples, and nothing hangs.
//!
//! `cargo test --test it faults::table -- --nocapture` shows the table.

use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use bytes::Bytes;
use maskstream::{Budget, EpochReport, ErrorKind, Loader, LoaderBuilder, OnCorrupt, OnError, ShardSet, source};

use crate::fixture::{
    Bomb, Faulty, Made, annotation, document, jpeg, lenient, made_many, members, pack, read_error, read_with_tar,
    rectangle, set_of, set_of_sources, shard, within,
};

fn options() -> LoaderBuilder {
    let on_error = OnError::skip(Budget::UNLIMITED);
    Loader::builder().batch_size(2).image_size(24).mask_size(Some([8, 8])).num_workers(2).on_error(on_error)
}

/// The outcome of an epoch: a row of the table.
#[derive(Debug, PartialEq)]
struct Outcome {
    planned: u64,
    delivered: u64,
    skipped: Vec<(ErrorKind, u64)>,
    lost: u64,
    by: Option<ErrorKind>,
    /// Samples that are missing according to the index.
    missing: u64,
}

impl Outcome {
    fn delivered(samples: u64) -> Self {
        Self { planned: samples, delivered: samples, skipped: Vec::new(), lost: 0, by: None, missing: 0 }
    }

    fn skipped(kind: ErrorKind, samples: u64) -> Self {
        Self { delivered: 12 - samples, skipped: vec![(kind, samples)], ..Self::delivered(12) }
    }

    fn lost(kind: ErrorKind, samples: u64) -> Self {
        Self { delivered: 12 - samples, lost: samples, by: Some(kind), ..Self::delivered(12) }
    }

    /// The outcome for a shard in which indexing finds fewer than twelve samples.
    fn indexed(planned: u64, missing: u64) -> Self {
        Self { missing, ..Self::delivered(planned) }
    }
}

/// Runs an epoch to its end, shows the row and compares it.
fn row(fault: &str, seam: &str, loader: &Loader, expected: &Outcome) {
    let mut epoch = loader.epoch(0).unwrap();
    let mut held = Vec::new();
    epoch.by_ref().for_each(|batch| held.extend(batch.ok().filter(|_| fault.contains("keeps"))));
    assert!(epoch.next().is_none());
    check(fault, seam, loader, &epoch.report(), expected);
}

fn check(fault: &str, seam: &str, loader: &Loader, report: &EpochReport, expected: &Outcome) {
    let found = Outcome {
        planned: report.planned.unwrap(),
        delivered: report.delivered,
        skipped: report.skipped_by.clone(),
        lost: report.lost + report.outstanding,
        by: report.lost_by.as_ref().map(|(kind, _)| *kind),
        missing: loader.reports().iter().map(|report| report.left_out.damaged()).sum(),
    };
    println!("{fault:44} {seam:7} {report}; {} missing in the index", found.missing);
    assert_eq!(found, *expected, "{fault} ({seam}): {report:?}");
    let by_kind: u64 = report.skipped_by.iter().map(|(_, count)| count).sum();
    assert_eq!(report.skipped, by_kind, "{fault}");
    assert_eq!(report.delivered + report.skipped + found.lost, found.planned, "{fault} ({seam})");
    let stats = loader.stats();
    assert_eq!((stats.delivered, stats.skipped), (report.delivered, report.skipped), "{fault} ({seam})");
}

/// Samples 1 to 12; once armed, reads of this member go through `fault`.
fn struck(
    member: &str,
    fault: impl Fn(Bytes) -> maskstream::Result<Bytes> + Send + Sync + 'static,
) -> (Arc<Faulty>, ShardSet) {
    let bytes = shard(&made_many(12));
    let offset = read_with_tar(&bytes)[member].0;
    let source = Faulty::new(bytes, move |range, bytes| if range.start == offset { fault(bytes) } else { Ok(bytes) });
    let set = set_of_sources(vec![source.clone()]);
    source.arm();
    (source, set)
}

fn flipped(bytes: &[u8]) -> Bytes {
    let mut bytes = bytes.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    bytes.into()
}

#[test]
fn reads_that_fail_cost_their_sample_and_no_other() {
    within(|| {
        use ErrorKind::{Corrupt, Io, Panic};
        let seam = |fault: &str, member: &str, strike: fn(Bytes) -> maskstream::Result<Bytes>, kind| {
            let (_source, set) = struck(member, strike);
            row(fault, "source", &options().build(set).unwrap(), &Outcome::skipped(kind, 1));
        };
        seam("a read is refused", "sa_7.jpg", |_| Err(std::io::Error::other("the disk is gone").into()), Io);
        seam("a range is not there", "sa_7.json", |_| Err(read_error(7)), Corrupt);
        seam("a read is cut short", "sa_7.jpg", |bytes| Ok(bytes.slice(..bytes.len() / 2)), Corrupt);
        seam("a bit flips in a jpeg", "sa_7.jpg", |bytes| Ok(flipped(&bytes)), Corrupt);
        seam("a bit flips in a json", "sa_7.json", |bytes| Ok(flipped(&bytes)), Corrupt);
        seam("the source panics", "sa_7.jpg", |_| panic!("the source gave way"), Panic);
        seam("a worker panics", "sa_7.jpg", |bytes| Ok(Bytes::from_owner(Bomb(bytes))), Panic);
        let (_source, set) = struck("sa_7.jpg", |bytes| {
            std::thread::sleep(Duration::from_millis(300));
            Ok(bytes)
        });
        row("a slow disk", "source", &options().build(set).unwrap(), &Outcome::delivered(12));
    });
}

/// The twelve samples with the seventh changed before the shard is made.
fn changed(change: impl Fn(&mut Made)) -> Vec<Made> {
    let mut samples = made_many(12);
    change(&mut samples[6]);
    samples
}

#[test]
fn what_was_wrong_before_indexing_is_found_when_it_is_decoded_or_indexed() {
    within(|| {
        use ErrorKind::{Corrupt, Limit};
        let seam = |fault: &str, samples: &[Made], expected| {
            row(fault, "source", &options().build(set_of(vec![shard(samples)])).unwrap(), &expected);
        };
        let cut = changed(|made| made.image.truncate(made.image.len() / 2));
        seam("a jpeg was cut", &cut, Outcome::skipped(Corrupt, 1));
        let counts = changed(|made| {
            let text = String::from_utf8(made.json.clone()).unwrap();
            let at = text.find("\"counts\":\"").unwrap() + 10;
            made.json[at] ^= 1;
        });
        seam("a bit flipped in counts", &counts, Outcome::skipped(Corrupt, 1));
        let json = changed(|made| made.json[0] ^= 4);
        seam("a bit flipped in a json", &json, Outcome::indexed(11, 1));
        // A genuine image that needs too much memory, and a header that only claims such a size.
        let huge = |made: &mut Made, image: Vec<u8>| {
            let mask = annotation(7, &rectangle(60_000, 60_000, [0, 0, 1, 1]), 0.9, 0.9);
            *made = Made { image, json: document(7, 60_000, 60_000, &[mask]), ..made.clone() };
        };
        let claims = changed(|made| {
            let mut image = jpeg(16, 16, 1);
            let frame = image.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
            image[frame + 5..frame + 9].copy_from_slice(&[0xea, 0x60, 0xea, 0x60]);
            huge(made, image);
        });
        seam("an image claims 3.6 gigapixels", &claims, Outcome::skipped(Limit, 1));

        let all = members(&made_many(12));
        let without: Vec<_> = all.iter().filter(|(name, _)| name != "sa_7.json").cloned().collect();
        let set = set_of(vec![pack(&without)]);
        assert_eq!(set.reports().next().unwrap().findings.len(), 1, "the half that is left is named");
        row("a member is missing", "source", &options().build(set).unwrap(), &Outcome::indexed(11, 0));
        // The header before the ninth image: all that follows cannot be found.
        let mut bytes = pack(&all);
        let header = read_with_tar(&bytes)["sa_9.jpg"].0 as usize - 512;
        bytes[header + 20] ^= 1;
        let set = set_of(vec![bytes]);
        row("a bit flipped in a header", "source", &options().build(set).unwrap(), &Outcome::indexed(8, 4));
        let cut = pack(&all);
        let set = set_of(vec![cut[..read_with_tar(&cut)["sa_9.jpg"].0 as usize + 5].to_vec()]);
        row("a shard was cut", "source", &options().build(set).unwrap(), &Outcome::indexed(8, 4));
        let refused = lenient().on_corrupt(OnCorrupt::Stop);
        let sources = vec![("a".to_owned(), crate::fixture::memory(cut[..cut.len() / 2].to_vec()))];
        assert!(refused.from_sources(sources).is_err(), "unless that is allowed");
    });
}

#[test]
fn budgets_end_an_epoch_by_count_rate_and_run_and_everything_is_accounted_for() {
    within(|| {
        let bad = |bad: &'static [i64], on_error: OnError| {
            let bytes = shard(&made_many(12));
            let found = read_with_tar(&bytes);
            let offsets: Vec<u64> = bad.iter().map(|id| found[&format!("sa_{id}.jpg")].0).collect();
            let source =
                Faulty::new(
                    bytes,
                    move |range, bytes| {
                        if offsets.contains(&range.start) { Ok(flipped(&bytes)) } else { Ok(bytes) }
                    },
                );
            let set = set_of_sources(vec![source.clone()]);
            source.arm();
            (source, options().on_error(on_error).build(set).unwrap())
        };
        let (_source, loader) = bad(&[7], OnError::Stop);
        row("a bad sample, OnError::Stop", "source", &loader, &Outcome::lost(ErrorKind::Corrupt, 6));
        let (_source, loader) = bad(&[3, 7, 9], OnError::skip(2));
        let expected = |skipped, lost| Outcome {
            delivered: 12 - skipped - lost,
            skipped: vec![(ErrorKind::Corrupt, skipped)],
            ..Outcome::lost(ErrorKind::Limit, lost)
        };
        row("three bad samples, a budget of two", "source", &loader, &expected(2, 4));
        let (_source, loader) = bad(&[1, 3, 6, 7, 8, 12], OnError::skip(Budget::UNLIMITED.consecutive(2)));
        row("three in a row, a run of two allowed", "source", &loader, &expected(3, 6));
        // Fewer than a thousand rows count as a thousand.
        let (_source, loader) = bad(&[3, 7, 9], OnError::skip(Budget::UNLIMITED.rate(0.002)));
        row("three bad samples, a rate of 0.002", "source", &loader, &expected(2, 4));
        let (_source, loader) = bad(&[3, 7, 9], OnError::skip(Budget::UNLIMITED.rate(0.003).consecutive(1)));
        row("the same, a rate of 0.003", "source", &loader, &Outcome::skipped(ErrorKind::Corrupt, 3));
        for rate in [-0.1, 1.1, f64::NAN] {
            let options = options().on_error(OnError::skip(Budget::UNLIMITED.rate(rate)));
            assert_eq!(options.build(set_of(vec![shard(&made_many(2))])).unwrap_err().kind(), ErrorKind::Config);
        }
    });
}

#[test]
fn a_thread_that_is_stuck_is_named_and_left_behind() {
    within(|| {
        let (gate_in, gate) = mpsc::channel::<()>();
        let gate = Mutex::new(gate);
        let (source, set) = struck("sa_7.jpg", move |bytes| {
            let _ = gate.lock().unwrap().recv();
            Ok(bytes)
        });
        let loader = options().stall_timeout(Some(Duration::from_millis(150))).build(set).unwrap();
        let mut epoch = loader.epoch(0).unwrap();
        let error = epoch.find_map(Result::err).unwrap();
        assert_eq!(error.kind(), ErrorKind::Limit);
        assert_eq!(error.location().member.as_deref(), Some("./sa_7.jpg"), "{error}");
        assert!(error.to_string().contains("the feed thread has been reading one sample for 0."), "{error}");
        check("a read never returns", "source", &loader, &epoch.report(), &Outcome::lost(ErrorKind::Limit, 6));
        // Neither this nor the next epoch waits for the thread.
        drop(epoch);
        drop(gate_in);
        drop(loader);
        while Arc::strong_count(&source) > 1 {
            std::thread::yield_now();
        }

        // In a worker: the bytes are there, but dropping them never returns.
        struct Slow(Bytes, Arc<Mutex<mpsc::Receiver<()>>>);
        impl AsRef<[u8]> for Slow {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        impl Drop for Slow {
            fn drop(&mut self) {
                let _ = self.1.lock().unwrap().recv();
            }
        }
        let (gate_in, gate) = mpsc::channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        let (_source, set) = struck("sa_7.jpg", move |bytes| Ok(Bytes::from_owner(Slow(bytes, Arc::clone(&gate)))));
        let loader = options().stall_timeout(Some(Duration::from_millis(150))).build(set).unwrap();
        let mut epoch = loader.epoch(0).unwrap();
        let error = epoch.find_map(Result::err).unwrap();
        assert!(error.to_string().contains("has been decoding one sample for"), "{error}");
        assert_eq!(error.location().member.as_deref(), Some("./sa_7.jpg"), "{error}");
        check("a worker never returns", "source", &loader, &epoch.report(), &Outcome::lost(ErrorKind::Limit, 6));
        drop(epoch);
        drop(gate_in);

        // Opening a shard, which the feed does when it first announces a range of it.
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.tar");
        fs::write(&path, shard(&made_many(12))).unwrap();
        let (gate_in, gate) = mpsc::channel::<()>();
        let (gate, is_armed) = (Mutex::new(gate), Arc::new(AtomicBool::new(false)));
        let armed = Arc::clone(&is_armed);
        let shards = lenient().opener(move |path| {
            if armed.load(SeqCst) {
                let _ = gate.lock().unwrap().recv();
            }
            source::open(path)
        });
        let set = shards.open(&[&path]).unwrap();
        is_armed.store(true, SeqCst);
        let loader = options().stall_timeout(Some(Duration::from_millis(150))).build(set).unwrap();
        let mut epoch = loader.epoch(0).unwrap();
        let error = epoch.find_map(Result::err).unwrap();
        assert_eq!(error.location().member.as_deref(), Some("./sa_1.jpg"), "{error}");
        check("a shard never opens", "file", &loader, &epoch.report(), &Outcome::lost(ErrorKind::Limit, 12));
        drop(epoch);
        drop(gate_in);
    });
}

#[test]
fn consumers_that_stall_hoard_or_leave_lose_nothing_in_silence() {
    within(|| {
        let set = || set_of(vec![shard(&made_many(12))]);
        let loader = options().stall_timeout(Some(Duration::from_millis(50))).prefetch_batches(1).build(set()).unwrap();
        let mut epoch = loader.epoch(0).unwrap();
        for batch in epoch.by_ref() {
            drop(batch.unwrap());
            std::thread::sleep(Duration::from_millis(120));
        }
        check("a consumer that stalls", "source", &loader, &epoch.report(), &Outcome::delivered(12));

        let set = Arc::new(set());
        let options = || options().prefetch_batches(1);
        let bytes = crate::fixture::budget(options(), &set, 4);
        let loader = options().max_memory_bytes(bytes).build(Arc::clone(&set)).unwrap();
        row("a consumer that keeps all batches", "source", &loader, &Outcome::lost(ErrorKind::Limit, 4));

        let loader = options().prefetch_batches(8).build(set).unwrap();
        let mut epoch = loader.epoch(0).unwrap();
        drop(epoch.next());
        let report = epoch.report();
        drop(epoch);
        let expected = Outcome { by: None, ..Outcome::lost(ErrorKind::Panic, 10) };
        check("an early drop, everything under way", "source", &loader, &report, &expected);
    });
}

/// A shard on disk, opened.
struct OnDisk {
    path: PathBuf,
    bytes: Vec<u8>,
    loader: Loader,
    _dir: tempfile::TempDir,
}

fn on_disk(bytes: Vec<u8>) -> OnDisk {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.tar");
    fs::write(&path, &bytes).unwrap();
    let loader = options().build(lenient().open(&[&path]).unwrap()).unwrap();
    OnDisk { path, bytes, loader, _dir: dir }
}

#[test]
#[cfg(target_os = "linux")]
fn real_files_that_change_or_go_away_are_noticed() {
    within(|| {
        use ErrorKind::{Corrupt, Io};
        let whole = || on_disk(shard(&made_many(12)));
        let place = whole();
        row("nothing", "file", &place.loader, &Outcome::delivered(12));

        // Indexed, but not opened for its samples before the epoch.
        let at = |place: &OnDisk, member: &str| read_with_tar(&place.bytes)[member].0;
        for (fault, member) in [("a bit flips in a jpeg", "sa_7.jpg"), ("a bit flips in a json", "sa_7.json")] {
            let place = whole();
            let offset = at(&place, member) + 40;
            let mut file = OpenOptions::new().write(true).open(&place.path).unwrap();
            file.seek(SeekFrom::Start(offset)).unwrap();
            file.write_all(&[place.bytes[offset as usize] ^ 4]).unwrap();
            row(fault, "file", &place.loader, &Outcome::skipped(Corrupt, 1));
        }
        // The images come last and in order: those from the tenth on are gone.
        let place = whole();
        let file = OpenOptions::new().write(true).open(&place.path).unwrap();
        file.set_len(at(&place, "sa_10.jpg")).unwrap();
        row("a shard is cut before it is opened", "file", &place.loader, &Outcome::skipped(Io, 12));
        let place = whole();
        fs::remove_file(&place.path).unwrap();
        row("a shard goes away before it is opened", "file", &place.loader, &Outcome::skipped(Io, 12));
        let place = whole();
        fs::remove_file(&place.path).unwrap();
        fs::create_dir(&place.path).unwrap();
        row("a shard cannot be read", "file", &place.loader, &Outcome::skipped(Io, 12));
        let place = whole();
        fs::write(&place.path, shard(&made_many(24)[12..])).unwrap();
        let report = {
            let mut epoch = place.loader.epoch(0).unwrap();
            epoch.by_ref().for_each(drop);
            epoch.report()
        };
        check("a shard is replaced by another", "file", &place.loader, &report, &Outcome::skipped(Io, 12));

        // While it is open and half of the epoch is still to come.
        let place = on_disk(shard(&padded(12)));
        let mut epoch = place.loader.epoch(0).unwrap();
        drop(epoch.next().unwrap().unwrap());
        let file = OpenOptions::new().write(true).open(&place.path).unwrap();
        file.set_len(at(&place, "sa_9.jpg")).unwrap();
        epoch.by_ref().for_each(drop);
        check("a shard is cut while it is open", "file", &place.loader, &epoch.report(), &Outcome::skipped(Io, 4));
        drop(epoch);

        // Another file gets its name; the open one stays in use.
        let place = on_disk(shard(&padded(12)));
        let mut epoch = place.loader.epoch(0).unwrap();
        drop(epoch.next().unwrap().unwrap());
        let other = place.path.with_extension("new");
        fs::write(&other, b"nothing").unwrap();
        fs::rename(&other, &place.path).unwrap();
        epoch.by_ref().for_each(drop);
        check(
            "a file takes its place while it is open",
            "file",
            &place.loader,
            &epoch.report(),
            &Outcome::delivered(12),
        );
        drop(epoch);

        let bytes = shard(&made_many(12));
        let end = read_with_tar(&bytes)["sa_9.jpg"].0 as usize + 5;
        row("a shard was cut", "file", &on_disk(bytes[..end].to_vec()).loader, &Outcome::indexed(8, 4));
    });
}

/// Samples whose images are longer than a page.
fn padded(count: i64) -> Vec<Made> {
    let mut samples = made_many(count);
    for made in &mut samples {
        // A comment before the image's data.
        let comment = [&[0xff, 0xfe, 0x40, 0x02][..], &[b'.'; 0x4000]].concat();
        made.image.splice(2..2, comment);
    }
    samples
}

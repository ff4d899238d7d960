//! Epochs over shards that have no index yet: which samples come in which order, which files remain, and the effect of
//! damage.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use maskstream::index::{Indexer, Sidecar};
use maskstream::source::{self, Source};
use maskstream::{
    Batch, Epoch, Error, ErrorKind, Loader, LoaderBuilder, MaskFilter, OnCorrupt, OnError, Result, ShardSet,
    ShardSetBuilder,
};

use crate::fixture::{Dice, Faulty, Made, content, gzip, made_many, members, pack, within};

const SAMPLES: usize = 22;

/// Shards of random member order: gzip, plain, gzip in several gzip members.
struct Shards {
    dir: tempfile::TempDir,
    samples: Vec<Made>,
}

impl Shards {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let samples = made_many(SAMPLES as i64);
        for (number, part) in [&samples[..8], &samples[8..13], &samples[13..]].into_iter().enumerate() {
            let tar = tar(part, number as u64);
            let bytes = match number {
                0 => gzip(&tar, 6),
                1 => tar,
                _ => tar.chunks(20_000).flat_map(|part| gzip(part, 6)).collect(),
            };
            fs::write(dir.path().join(format!("sa_{number:06}.tar")), bytes).unwrap();
        }
        Self { dir, samples }
    }

    fn path(&self, number: usize) -> PathBuf {
        self.dir.path().join(format!("sa_{number:06}.tar"))
    }

    fn stream(&self, options: LoaderBuilder) -> Loader {
        options.build(shards().open_lazy(&[self.dir.path()]).unwrap()).unwrap()
    }

    fn indexes(&self) -> usize {
        fs::read_dir(self.dir.path()).unwrap().filter(|f| is_index(&f.as_ref().unwrap().path())).count()
    }

    fn delete_indexes(&self) {
        for number in 0..3 {
            let _ = fs::remove_file(self.path(number).with_extension("tar.msidx"));
        }
        assert_eq!(self.indexes(), 0);
    }
}

fn is_index(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "msidx")
}

fn tar(samples: &[Made], seed: u64) -> Vec<u8> {
    let mut members = members(samples);
    let mut dice = Dice(seed);
    for at in (1..members.len()).rev() {
        members.swap(at, dice.below(at as u64 + 1) as usize);
    }
    pack(&members)
}

fn shards() -> ShardSetBuilder {
    ShardSet::builder().filter(MaskFilter::all())
}

fn options() -> LoaderBuilder {
    Loader::builder().batch_size(4).image_size(32).mask_size(Some([12, 12])).top_k(5).num_workers(3)
}

fn contents(epoch: Epoch) -> Vec<BTreeMap<String, Vec<u8>>> {
    epoch.map(|batch| content(&batch.unwrap())).collect()
}

/// The batches up to the first error, and the error.
fn run(epoch: impl Iterator<Item = Result<Batch>>) -> (Vec<Batch>, Option<Error>) {
    let (mut batches, mut error) = (Vec::new(), None);
    for batch in epoch {
        match batch {
            Ok(batch) => batches.push(batch),
            Err(e) => error = Some(e),
        }
    }
    (batches, error)
}

fn ids(batches: &[Batch]) -> Vec<i64> {
    let rows = |batch: &Batch| batch.image_ids()[..batch.valid_rows()].to_vec();
    batches.iter().flat_map(rows).collect()
}

#[test]
fn unshuffled_batches_are_the_same_with_and_without_indexes() {
    within(|| {
        let shards_dir = Shards::new();
        for workers in [1, 3, 9] {
            shards_dir.delete_indexes();
            let loader = shards_dir.stream(options().num_workers(workers));
            assert!(loader.shards().is_none() && loader.warning().is_some());
            let first = contents(loader.epoch(0).unwrap());
            assert_eq!(shards_dir.indexes(), 3, "indexes are saved");

            let indexed = options().build(shards().open(&[shards_dir.dir.path()]).unwrap()).unwrap();
            assert_eq!(first, contents(indexed.epoch(0).unwrap()), "{workers} workers");
            assert_eq!(Some(first.len() as u64), indexed.steps());
        }
    });
}

#[test]
fn later_epochs_are_shuffled_like_those_of_an_indexed_loader() {
    within(|| {
        let shards_dir = Shards::new();
        let loader = shards_dir.stream(options().shuffle(3));
        let warning = loader.warning().unwrap();
        assert!(warning.contains("3 of 3 shards have no index") && warning.contains("is not shuffled"), "{warning}");
        assert!(loader.steps().is_none() && loader.fingerprint().is_none());
        let mut epoch = loader.epoch(0).unwrap();
        let (batches, error) = run(epoch.by_ref());
        assert!(error.is_none() && epoch.cursor().is_none() && batches.iter().all(|batch| batch.cursor().is_none()));
        let mut first = ids(&batches);
        assert!(loader.warning().is_none());
        let cursor = loader.epoch(1).unwrap().last().unwrap().unwrap().cursor().unwrap();
        assert_eq!((cursor.epoch(), Some(cursor.step())), (1, loader.steps()), "epoch 1 is done");
        assert!(loader.resume_from(&cursor).unwrap().next().is_none());

        let indexed = options().shuffle(3).build(shards().open(&[shards_dir.dir.path()]).unwrap()).unwrap();
        assert_eq!(contents(loader.epoch(1).unwrap()), contents(indexed.epoch(1).unwrap()));
        assert!(loader.shards().is_some());
        // If indexes exist already, so are all epochs from the first one on.
        let again = shards_dir.stream(options().shuffle(3));
        assert_eq!(contents(again.epoch(0).unwrap()), contents(indexed.epoch(0).unwrap()));

        first.sort_unstable();
        assert_eq!(first, shards_dir.samples.iter().map(|made| made.id).collect::<Vec<_>>(), "each sample once");
    });
}

#[test]
fn shards_that_have_an_index_keep_their_place_among_those_that_have_none() {
    within(|| {
        let shards_dir = Shards::new();
        let all = contents(shards_dir.stream(options()).epoch(0).unwrap());
        for kept in 0..3 {
            shards_dir.delete_indexes();
            Indexer::new().index(shards_dir.path(kept)).unwrap();
            assert_eq!(contents(shards_dir.stream(options()).epoch(0).unwrap()), all, "shard {kept} is indexed");
        }
    });
}

#[test]
fn the_number_of_steps_is_known_with_the_last_shard() {
    within(|| {
        let shards_dir = Shards::new();
        for (drop_last, steps) in [(false, 6), (true, 5)] {
            shards_dir.delete_indexes();
            let loader = shards_dir.stream(options().drop_last(drop_last));
            let mut epoch = loader.epoch(7).unwrap();
            assert_eq!((epoch.index(), epoch.size_hint().0), (7, 0));
            assert_eq!(epoch.by_ref().map(Result::unwrap).count(), steps);
            assert_eq!((epoch.steps(), epoch.size_hint()), (Some(steps as u64), (0, Some(0))));
            assert!(epoch.next().is_none(), "it stays at its end");
            assert_eq!(epoch.stats().delivered, if drop_last { 20 } else { 22 });
            let report = epoch.report();
            assert_eq!((report.planned, report.dropped), if drop_last { (Some(20), 2) } else { (Some(22), 0) });
            // The same as for these shards with their indexes.
            let mut indexed = shards_dir.stream(options().drop_last(drop_last)).epoch(7).unwrap();
            indexed.by_ref().for_each(drop);
            assert_eq!((indexed.report().planned, indexed.report().dropped), (report.planned, report.dropped));
        }
    });
}

#[test]
fn an_epoch_dropped_at_any_point_can_begin_again() {
    within(|| {
        let shards_dir = Shards::new();
        let all = contents(shards_dir.stream(options()).epoch(0).unwrap());
        for taken in 0..=6 {
            shards_dir.delete_indexes();
            let loader = shards_dir.stream(options().num_workers(1).prefetch_batches(1));
            let mut epoch = loader.epoch(0).unwrap();
            assert_eq!(epoch.by_ref().take(taken).map(Result::unwrap).count(), taken);
            let error = loader.shards().is_none().then(|| loader.epoch(0).unwrap_err().to_string());
            assert!(error.as_deref().is_none_or(|e| e.contains("under way")), "{error:?}");
            drop(epoch);
            assert_eq!(contents(loader.epoch(0).unwrap()), all, "after {taken} batches");
        }
    });
}

#[test]
fn of_a_broken_stream_all_complete_samples_come_before_the_error() {
    within(|| {
        for cut in [0.2, 0.5, 0.9] {
            let shards_dir = Shards::new();
            let bytes = fs::read(shards_dir.path(0)).unwrap();
            fs::write(shards_dir.path(0), &bytes[..(bytes.len() as f64 * cut) as usize]).unwrap();
            let sound = Indexer::new().on_corrupt(OnCorrupt::KEEP).index(shards_dir.path(0)).unwrap();
            let whole: Vec<i64> = sound.index.entries().iter().map(|entry| entry.image_id).collect();
            assert!(whole.len() < 8 && sound.index.left_out().damaged() > 0);
            shards_dir.delete_indexes();

            // All of them in one batch, so that the broken-off batch is padded.
            let loader = shards_dir.stream(options().batch_size(8).drop_last(true));
            let (batches, error) = run(loader.epoch(0).unwrap());
            assert_eq!(ids(&batches), whole, "cut at {cut}");
            let error = error.unwrap();
            assert!(error.is_corrupt() && error.location().shard.as_deref() == Some(&*shards_dir.path(0)), "{error}");
            let text = error.to_string();
            assert!(text.contains("gzip") && text.contains("is truncated"), "{text}");

            // With a budget the other shards follow; without enough of one they do not.
            let skip = |budget| shards().use_unverified(true).on_corrupt(OnCorrupt::Skip { budget });
            shards_dir.delete_indexes();
            let loader = options()
                .build(skip(sound.index.left_out().unreadable).open_lazy(&[shards_dir.dir.path()]).unwrap())
                .unwrap();
            let (batches, error) = run(loader.epoch(0).unwrap());
            assert!(error.is_none());
            assert_eq!(ids(&batches).len(), whole.len() + SAMPLES - 8);
            assert_eq!(loader.shards().unwrap().len() as usize, whole.len() + SAMPLES - 8);
            shards_dir.delete_indexes();
            let loader = options()
                .build(skip(sound.index.left_out().unreadable - 1).open_lazy(&[shards_dir.dir.path()]).unwrap())
                .unwrap();
            let (batches, error) = run(loader.epoch(0).unwrap());
            assert_eq!(ids(&batches), whole);
            assert!(error.unwrap().to_string().contains("more than the budget"));
        }
    });
}

#[test]
fn what_no_checksum_vouches_for_is_counted_while_it_is_indexed_and_left_out_from_then_on() {
    within(|| {
        let shards_dir = Shards::new();
        let mut bytes = fs::read(shards_dir.path(0)).unwrap();
        // The checksum of the stream, at its end.
        let trailer = bytes.len() - 8;
        bytes[trailer] ^= 1;
        fs::write(shards_dir.path(0), bytes).unwrap();
        let keep = || shards().on_corrupt(OnCorrupt::KEEP).open_lazy(&[shards_dir.dir.path()]).unwrap();
        for _ in 0..4 {
            shards_dir.delete_indexes();
            let loader = options().build(keep()).unwrap();
            let mut epoch = loader.epoch(0).unwrap();
            let delivered: Vec<Batch> = epoch.by_ref().map(Result::unwrap).collect();
            let report = epoch.report();
            drop(epoch);
            // They are delivered before the end of the stream shows what they are, and counted then.
            assert_eq!((ids(&delivered).len(), report.unverified), (SAMPLES, 8), "{report}");
            assert!(report.to_string().contains("8 of them unverified"), "{report}");
            // What was delivered is not left out as well.
            assert_eq!((report.held, report.selected), (SAMPLES as u64, SAMPLES as u64), "{report}");
            assert_eq!((report.planned, report.left_out.total()), (Some(SAMPLES as u64), 0), "{report}");

            // From the index, none is delivered.
            let second = loader.epoch(1).unwrap();
            assert_eq!(ids(&second.map(Result::unwrap).collect::<Vec<_>>()).len(), SAMPLES - 8);
        }
    });
}

#[test]
fn behind_a_break_what_an_earlier_index_knows_is_delivered() {
    within(|| {
        let shards_dir = Shards::new();
        let path = shards_dir.path(0);
        let before = Indexer::new().index(&path).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle..middle + 40].fill(0x55);
        fs::write(&path, &bytes).unwrap();
        fs::File::open(&path).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();

        let after = Indexer::new().index(&path).unwrap();
        let fresh = Indexer::new().sidecar(Sidecar::Off).index(&path).unwrap();
        assert!(after.index.entries().len() > fresh.index.entries().len(), "more than without the earlier index");
        assert_eq!(after.index.entries().len() as u64 + after.index.left_out().damaged(), 8);
        assert!(
            after.index.left_out().damaged() > 0
                && after.index.entries().iter().all(|e| before.index.entries().contains(e))
        );
        let report = after.index.findings().iter().map(ToString::to_string).collect::<String>();
        assert!(report.contains("according to an earlier index file"), "{report}");

        let keep = shards().on_corrupt(OnCorrupt::Skip { budget: 8 });
        let loader = options().build(keep.open_lazy(&[&path]).unwrap()).unwrap();
        let (batches, error) = run(loader.epoch(0).unwrap());
        assert!(error.is_none(), "{}", error.unwrap());
        assert_eq!(ids(&batches).len(), after.index.entries().len());
    });
}

#[test]
fn an_earlier_index_of_another_shard_is_not_believed() {
    let shards_dir = Shards::new();
    Indexer::new().index(shards_dir.path(0)).unwrap();
    let other = gzip(&tar(&made_many(9)[1..], 99), 6);
    fs::write(shards_dir.path(0), &other[..other.len() / 2]).unwrap();
    let index = Indexer::new().index(shards_dir.path(0)).unwrap().index;
    let report = index.findings().iter().map(ToString::to_string).collect::<String>();
    assert!(!report.contains("according to an earlier index file") && index.left_out().damaged() > 0, "{report}");
}

#[test]
fn several_ranks_need_indexes_and_are_told_so() {
    let shards_dir = Shards::new();
    let refused = |options: LoaderBuilder| {
        options.build(shards().open_lazy(&[shards_dir.dir.path()]).unwrap()).unwrap_err().to_string()
    };
    let error = refused(options().rank(1, 2));
    assert!(error.contains("3 of 3 shards have no index") && error.contains("maskstream index"), "{error}");
    shards().open(&[shards_dir.dir.path()]).unwrap();
    let loader = shards_dir.stream(options().rank(1, 2));
    assert_eq!(loader.steps(), Some(3));
}

#[test]
fn a_filter_that_nothing_passes_is_an_error_not_an_empty_epoch() {
    within(|| {
        let shards_dir = Shards::new();
        let loader = options().build(shards().retain(|_| false).open_lazy(&[shards_dir.dir.path()]).unwrap()).unwrap();
        let (batches, error) = run(loader.epoch(0).unwrap());
        assert!(batches.is_empty() && error.unwrap().to_string().contains("pass the filter"));
    });
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    OpenPanics,
    ReadPanics,
    ReadFails,
}

#[test]
fn a_pass_that_panics_or_cannot_read_is_an_error_in_its_place_and_is_tried_again() {
    within(|| {
        let shards_dir = Shards::new();
        let all = ids(&run(shards_dir.stream(options()).epoch(0).unwrap()).0);
        for (fault, number) in
            [Fault::OpenPanics, Fault::ReadPanics, Fault::ReadFails].into_iter().flat_map(|f| [(f, 0), (f, 1)])
        {
            shards_dir.delete_indexes();
            let tries = Arc::new(AtomicUsize::new(0));
            let (bad, bytes) = (shards_dir.path(number), fs::read(shards_dir.path(number)).unwrap());
            let opener = move |path: &Path| -> Result<Arc<dyn Source>> {
                if path != bad || tries.fetch_add(1, SeqCst) > 0 {
                    return source::open(path);
                }
                if let Fault::OpenPanics = fault {
                    panic!("the opener panics");
                }
                let faulty = Faulty::new(bytes.clone(), move |range, bytes| match (fault, range.end) {
                    (_, 0..=2) => Ok(bytes),
                    (Fault::ReadFails, _) => Err(std::io::Error::other("the disk is gone").into()),
                    _ => panic!("the source panics"),
                });
                faulty.arm();
                Ok(faulty)
            };
            let loader = options().build(shards().opener(opener).open_lazy(&[shards_dir.dir.path()]).unwrap()).unwrap();
            // This epoch is not dropped: the next one only needs it to have ended.
            let mut epoch = loader.epoch(0).unwrap();
            let before: Vec<Batch> = epoch.by_ref().map_while(Result::ok).collect();
            assert_eq!(ids(&before).len(), 8 * number, "{fault:?}: what came before the fault");
            assert!(epoch.next().is_none());
            assert_eq!(ids(&run(loader.epoch(0).unwrap()).0), all, "{fault:?} of shard {number}: tried again");
            let report = loader.shards().unwrap().len();
            assert_eq!(report as usize, SAMPLES);
        }
    });
}

#[test]
fn a_question_in_the_middle_of_an_epoch_does_not_end_it() {
    within(|| {
        let shards_dir = Shards::new();
        let loader = shards_dir.stream(options().num_workers(1).prefetch_batches(1));
        let mut delivered = 0;
        for batch in loader.epoch(0).unwrap() {
            delivered += batch.unwrap().valid_rows();
            assert!(loader.shards().is_none() && loader.steps().is_none());
            assert!(loader.epoch(1).unwrap_err().to_string().contains("under way"));
            assert!(loader.reports().len() <= 3);
        }
        assert_eq!(delivered, SAMPLES);
        assert_eq!((loader.steps(), loader.reports().len()), (Some(6), 3));
    });
}

#[test]
fn labels_that_were_kept_of_another_sample_are_not_mixed_up() {
    within(|| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tar");
        let (first, second) = (made_many(6), made_many(12).split_off(6));
        fs::write(&path, gzip(&tar(&first, 1), 6)).unwrap();
        // The shard is replaced during its pass, so its index is not valid and the next epoch reads the shard again.
        let (replaced, swap) = (path.clone(), gzip(&tar(&second, 1), 6));
        let swapped = AtomicUsize::new(0);
        let choose = move |entry: &maskstream::index::Entry| {
            if entry.image_id == 6 && swapped.fetch_add(1, SeqCst) == 0 {
                fs::remove_file(&replaced).unwrap();
                fs::write(&replaced, &swap).unwrap();
            }
            true
        };
        let cached = options().mask_cache_bytes(1 << 20).batch_size(1);
        let loader = cached.build(shards().retain(choose).open_lazy(&[&path]).unwrap()).unwrap();
        let (_, error) = run(loader.epoch(0).unwrap());
        assert!(error.unwrap().to_string().contains("changed while it was indexed"));
        let fields = |epoch: Epoch| -> Vec<_> {
            contents(epoch)
                .into_iter()
                .map(|mut c| (c.remove("image_ids"), c.remove("boxes"), c.remove("masks")))
                .collect()
        };
        let after = fields(loader.epoch(1).unwrap());
        let plain = options().batch_size(1).build(shards().open(&[&path]).unwrap()).unwrap();
        assert_eq!(after, fields(plain.epoch(1).unwrap()));
    });
}

#[test]
fn a_sample_that_cannot_be_decoded_is_an_issue_while_shards_are_indexed_too() {
    within(|| {
        let dir = tempfile::tempdir().unwrap();
        let mut samples = made_many(6);
        let half = samples[2].image.len() / 2;
        samples[2].image.truncate(half);
        fs::write(dir.path().join("a.tar"), gzip(&tar(&samples, 1), 6)).unwrap();
        let loader = options().on_error(OnError::skip(1)).build(shards().open_lazy(&[dir.path()]).unwrap()).unwrap();
        let (batches, error) = run(loader.epoch(0).unwrap());
        assert!(error.is_none());
        let errors: Vec<_> = batches.iter().flat_map(Batch::errors).collect();
        assert_eq!(errors.len(), 1);
        assert_eq!(errors[0].error.location().member.as_deref(), Some("./sa_3.jpg"), "{}", errors[0].error);
        assert_eq!(batches.iter().map(Batch::valid_rows).sum::<usize>(), 5);
    });
}

/// Twenty samples in one plain shard, image and json side by side.
fn twenty() -> (tempfile::TempDir, PathBuf, u64) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.tar");
    let pair = |made: &Made| [(made.image_name(), made.image.clone()), (made.json_name(), made.json.clone())];
    let bytes = pack(&made_many(20).iter().flat_map(pair).collect::<Vec<_>>());
    fs::write(&path, &bytes).unwrap();
    (dir, path, bytes.len() as u64)
}

#[test]
fn a_pass_that_is_stuck_is_named_and_left_behind_and_changes_nothing_when_it_comes_back() {
    within(|| {
        let (_dir, path, len) = twenty();
        let (gate_in, gate) = mpsc::channel::<()>();
        let (gate, is_stuck) = (Arc::new(Mutex::new(gate)), Arc::new(AtomicBool::new(false)));
        // The first pass does not get beyond the middle.
        let opener = move |path: &Path| {
            let (gate, is_stuck) = (Arc::clone(&gate), Arc::clone(&is_stuck));
            let source = Faulty::new(fs::read(path)?, move |range, bytes| {
                if range.start >= len / 2 && !is_stuck.swap(true, SeqCst) {
                    let _ = gate.lock().unwrap().recv();
                }
                Ok(bytes)
            });
            source.arm();
            Ok(source as Arc<dyn Source>)
        };
        let options = options().batch_size(2).num_workers(1).stall_timeout(Some(Duration::from_millis(200)));
        let loader = options.build(shards().sidecar(Sidecar::Off).opener(opener).open_lazy(&[&path]).unwrap()).unwrap();
        let mut epoch = loader.epoch(0).unwrap();
        let error = epoch.find_map(Result::err).unwrap();
        assert_eq!((error.kind(), error.location().shard.as_deref()), (ErrorKind::Limit, Some(&*path)), "{error}");
        assert!(error.to_string().contains("a pass has been at one member"), "{error}");
        let report = epoch.report();
        assert_eq!((report.planned, report.lost_by.unwrap().0), (None, ErrorKind::Limit));
        assert!(report.delivered < 20);
        drop(epoch);

        let mut epoch = loader.epoch(0).unwrap();
        let mut batches = vec![epoch.next().unwrap().unwrap()];
        // Now the thread continues.
        drop(gate_in);
        batches.extend(epoch.by_ref().map(Result::unwrap));
        assert_eq!(ids(&batches), (1..=20).collect::<Vec<_>>());
        let report = epoch.report();
        assert_eq!((report.planned, report.delivered, report.lost), (Some(20), 20, 0));
        drop(epoch);
        assert!(loader.shards().is_some());
        assert_eq!(ids(&run(loader.epoch(1).unwrap()).0).len(), 20);
    });
}

#[test]
fn a_shard_that_does_not_open_again_is_named_too() {
    within(|| {
        let (_dir, path, _) = twenty();
        let (gate_in, gate) = mpsc::channel::<()>();
        let (gate, opened) = (Mutex::new(gate), AtomicUsize::new(0));
        let opener = move |path: &Path| {
            if opened.fetch_add(1, SeqCst) > 0 {
                let _ = gate.lock().unwrap().recv();
            }
            source::open(path)
        };
        let options = options().batch_size(1).prefetch_batches(1).stall_timeout(Some(Duration::from_millis(200)));
        let loader = options.build(shards().sidecar(Sidecar::Off).opener(opener).open_lazy(&[&path]).unwrap()).unwrap();
        let mut epoch = loader.epoch(0).unwrap();
        let error = epoch.find_map(Result::err).unwrap();
        assert_eq!((error.kind(), error.location().shard.as_deref()), (ErrorKind::Limit, Some(&*path)), "{error}");
        assert!(error.to_string().contains("the feed thread"), "{error}");
        drop(epoch);
        drop(gate_in);
    });
}

#[test]
fn what_an_epoch_loses_while_shards_are_indexed_is_counted_as_far_as_it_is_known() {
    within(|| {
        let (_dir, path, _) = twenty();
        let bytes = fs::read(&path).unwrap();
        let mut bad = bytes.clone();
        let at = crate::fixture::read_with_tar(&bytes)["sa_9.jpg"].0 as usize;
        bad[at..at + 4].fill(0);
        fs::write(&path, bad).unwrap();
        let stream =
            |on_error| options().batch_size(2).on_error(on_error).build(shards().open_lazy(&[&path]).unwrap()).unwrap();
        let mut epoch = stream(OnError::Stop).epoch(0).unwrap();
        assert_eq!(epoch.by_ref().filter(Result::is_ok).count(), 4);
        let report = epoch.report();
        assert_eq!((report.delivered, report.skipped, report.outstanding), (8, 0, 0));
        assert!(report.lost >= 2 && report.planned.is_none_or(|planned| planned == 8 + report.lost), "{report}");
        drop(epoch);
        let _ = fs::remove_file(path.with_extension("tar.msidx"));
        let mut epoch = stream(OnError::skip(1)).epoch(0).unwrap();
        assert!(epoch.by_ref().all(|batch| batch.is_ok()));
        let report = epoch.report();
        assert_eq!((report.planned, report.delivered, report.skipped, report.lost), (Some(20), 19, 1, 0));
    });
}

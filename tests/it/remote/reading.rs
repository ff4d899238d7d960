//! Good weather: indexes in the store and elsewhere, what is requested and how, and that nothing is left behind.

use std::time::Duration;

use maskstream::index::{IndexStatus, Indexer, Sidecar};
use maskstream::{LazyShardSet, Loader, MaskFilter, ShardSet};

use super::{EACH, Store, epoch, options, shards, soon};
use crate::fixture::{content, within};
use crate::server::{Fault, Speed};

#[test]
fn shards_in_a_store_give_the_batches_of_the_same_files() {
    within(|| {
        let store = Store::new();
        let remote = store.remote();
        for options in [options(), options().shuffle(None), options().chunk_bytes(Some(4000))] {
            let set = store.open(&remote).unwrap();
            assert_eq!(epoch(options.clone(), set), store.expected(options));
        }
        assert_eq!(remote.stats().retries, 0);
    });
}

#[test]
fn an_index_is_made_without_a_local_copy_and_is_found_again_beside_the_shard() {
    within(|| {
        let store = Store::new();
        let indexer = Indexer::new().remote(store.remote());
        for name in &store.names {
            let local = Indexer::new().sidecar(Sidecar::Off).index(store.dir.path().join(name)).unwrap();
            let address = format!("s3://b/d/{name}");
            let made = indexer.index(&address).unwrap();
            assert!(matches!(made.status, IndexStatus::Built(_)), "{:?}", made.status);
            assert_eq!(made.index, local.index);
            assert!(store.server.get(&format!("b/d/{name}.msidx")).is_some());
            store.server.clear_log();
            let found = indexer.index(&address).unwrap();
            assert_eq!((found.status, &found.index), (IndexStatus::Loaded, &local.index));
            let touched: Vec<_> = store.server.requests().iter().map(|request| request.path.clone()).collect();
            let of_shard = touched.iter().filter(|path| path.ends_with(".tar")).count();
            assert_eq!(of_shard, 1, "only to see that it is the same: {touched:?}");
        }
    });
}

#[test]
fn index_files_may_be_in_a_local_directory_or_in_another_place_of_the_store() {
    within(|| {
        let store = Store::new();
        let local = store.dir.path().join("indexes");
        for (dir, is_local) in [(local.clone(), true), ("s3://b/indexes".into(), false)] {
            let open =
                || shards().remote(store.remote()).sidecar(Sidecar::Dir(dir.clone())).open(&["s3://b/d"]).unwrap();
            assert_eq!(epoch(options(), open()), store.expected(options()));
            let loaded = open().reports().filter(|report| report.status == IndexStatus::Loaded).count();
            assert_eq!(loaded, 3);
            assert_eq!(local.join("sa_0.tar.msidx").exists(), is_local || local.exists());
            assert_eq!(store.server.get("b/indexes/sa_0.tar.msidx").is_some(), !is_local);
        }
        assert!(store.server.get("b/d/sa_0.tar.msidx").is_none());
    });
}

#[test]
fn an_index_that_was_made_of_the_file_before_its_upload_is_used() {
    within(|| {
        let store = Store::new();
        for name in &store.names {
            let path = store.dir.path().join(name);
            Indexer::new().index(&path).unwrap();
            let index = std::fs::read(path.with_file_name(format!("{name}.msidx"))).unwrap();
            store.server.put(&format!("b/d/{name}.msidx"), index);
        }
        for _ in 0..2 {
            let set = store.open(&store.remote()).unwrap();
            assert!(set.reports().all(|report| report.status == IndexStatus::Loaded));
        }
        // The second time, the ETag was known: nothing was compared.
        let last = store.server.requests();
        let read = last.iter().rev().take_while(|request| request.query.is_empty());
        assert!(read.filter(|request| request.method == "GET").all(|request| request.path.ends_with(".msidx")));
        assert_eq!(epoch(options(), store.open(&store.remote()).unwrap()), store.expected(options()));
    });
}

#[test]
fn an_indexed_sample_is_read_in_exact_ranges_and_nothing_is_read_twice() {
    within(|| {
        let store = Store::indexed();
        let remote = store.remote();
        let set = store.open(&remote).unwrap();
        let before = remote.stats();
        epoch(options(), set);
        let stats = remote.stats();
        let (received, wanted) =
            (stats.received_bytes - before.received_bytes, stats.wanted_bytes - before.wanted_bytes);
        // These shards are so small that neighbours are merged.
        assert!(received >= wanted / 2 && stats.requests > before.requests);
        assert_eq!((stats.retries, stats.overloads), (0, 0));
    });
}

#[test]
fn the_first_batch_takes_few_round_trips() {
    within(|| {
        const FIRST_BYTE: Duration = Duration::from_millis(50);
        let store = Store::indexed();
        store.server.speed(Speed { first_byte: FIRST_BYTE, ..Speed::default() });
        let set = store.open(&store.remote()).unwrap();
        // One list; the start of each index, and what the filter needs of it, for all shards at once; two ranges.
        let loader = options().build(set).unwrap();
        let batch = loader.epoch(0).unwrap().next().unwrap().unwrap();
        assert_eq!(batch.samples().len(), 4);
        let requests = store.server.requests();
        let lists = requests.iter().filter(|request| !request.query.is_empty()).count();
        let heads = requests.iter().filter(|request| request.method == "HEAD").count();
        assert_eq!((lists, heads), (1, 0), "the list has lengths and ETags");
        // Requests that begin while an answer is on its way share a round trip.
        let mut trips = 0;
        let mut last = None;
        for request in &requests {
            if last.is_none_or(|last: std::time::Instant| request.began.duration_since(last) >= FIRST_BYTE) {
                (trips, last) = (trips + 1, Some(request.began));
            }
        }
        assert!(trips <= 10, "{trips} round trips: {requests:?}");
    });
}

#[test]
fn shards_without_an_index_are_streamed_and_give_the_samples_of_the_files() {
    within(|| {
        let store = Store::new();
        let paths: Vec<_> = store.names.iter().map(|name| store.dir.path().join(name)).collect();
        let files = shards().sidecar(Sidecar::Off).open_lazy(&paths).unwrap();
        let objects = shards().remote(store.remote()).open_lazy(&["s3://b/d/*.tar"]).unwrap();
        assert_eq!(objects.unindexed(), 3);
        let batches = |shards: LazyShardSet| {
            let loader = options().build(shards).unwrap();
            loader.epoch(0).unwrap().map(|batch| content(&batch.unwrap())).collect::<Vec<_>>()
        };
        assert_eq!(batches(objects), batches(files));
        assert!(store.server.get("b/d/sa_2.tar.msidx").is_some(), "the index was saved");
    });
}

#[test]
fn nothing_is_left_behind_when_an_epoch_is_dropped() {
    within(|| {
        let store = Store::indexed();
        let set = store.open(&store.remote()).unwrap();
        let loader = options().build(set).unwrap();
        store.server.script(|_| Some(Fault::Stall { after_bytes: 1, pause: Duration::from_secs(60) }));
        let epoch = loader.epoch(0).unwrap();
        soon("requests are under way", || store.server.in_flight() > 0);
        drop(epoch);
        soon("no request is left", || store.server.in_flight() == 0);
        drop(loader);
        soon("no connection is left", || store.server.open_connections() == 0);
    });
}

#[test]
fn a_remote_that_is_dropped_leaves_no_thread() {
    let count = || {
        let names = std::fs::read_dir("/proc/self/task").unwrap();
        let names = names.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok());
        names.filter(|name| name.starts_with("maskstream-net")).count()
    };
    let store = Store::indexed();
    let remote = store.remote();
    let source = Indexer::new().remote(remote.clone()).open("s3://b/d/sa_0.tar").unwrap();
    assert!(!source.is_empty() && count() > 0);
    let mine = count();
    drop((source, remote));
    // Other tests have threads of the same name.
    soon("its threads have ended", || count() < mine || count() == 0);
}

#[test]
fn a_wrong_filter_is_not_hidden_by_the_network() {
    within(|| {
        let store = Store::indexed();
        let error = ShardSet::builder()
            .filter(MaskFilter::default().min_predicted_iou(1.5))
            .remote(store.remote())
            .open(&["s3://b/d/"])
            .unwrap_err();
        assert!(error.to_string().contains(&format!("none of the {} samples in 3 shards", 3 * EACH)), "{error}");
    });
}

#[test]
fn the_memory_plan_has_what_is_received_ahead() {
    within(|| {
        let store = Store::indexed();
        let remote = store.builder().read_ahead_bytes(1000).build().unwrap();
        let loader = options().build(store.open(&remote).unwrap()).unwrap();
        assert_eq!(loader.memory_plan().read_ahead_bytes, 1000);
        assert!(loader.memory_plan().to_string().contains("read ahead 0.0 MB"));
        let files = Loader::builder().build(shards().open(&[store.dir.path()]).unwrap()).unwrap();
        assert_eq!(files.memory_plan().read_ahead_bytes, 0);
    });
}

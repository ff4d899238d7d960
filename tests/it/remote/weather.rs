//! Bad weather: for each thing that can go wrong, the batches of the same files, or an error in bounded time. Whatever
//! was delivered before the error is right, and delivered + skipped = planned.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use maskstream::source::Remote;
use maskstream::{Budget, ErrorKind, Loader, OnError};

use super::{EACH, Seen, Store, options, shards, soon};
use crate::fixture::{content, within};
use crate::server::{Fault, Request};

/// How an epoch went.
struct Epoch {
    batches: Vec<Seen>,
    error: Option<maskstream::Error>,
    delivered: u64,
    skipped: u64,
    time: Duration,
}

fn run(loader: &Loader) -> Epoch {
    let begun = Instant::now();
    let mut epoch = loader.epoch(0).unwrap();
    let (mut batches, mut error) = (Vec::new(), None);
    for batch in &mut epoch {
        match batch {
            Ok(batch) => batches.push(content(&batch)),
            Err(e) => error = Some(e),
        }
    }
    let stats = epoch.stats();
    drop(epoch);
    Epoch { batches, error, delivered: stats.delivered, skipped: stats.skipped, time: begun.elapsed() }
}

/// What the weather must lead to.
enum Outcome {
    Same,
    Error(ErrorKind, &'static str),
}

/// Opens a set in good weather, lets `weather` come over the requests of shards, and runs an epoch.
#[track_caller]
fn case(name: &str, outcome: Outcome, weather: impl Fn(&Store)) {
    let store = Store::indexed();
    let expected = store.expected(options());
    let remote = store.builder().retry_timeout(Duration::from_secs(1)).build().unwrap();
    let loader = options().build(store.open(&remote).unwrap()).unwrap();
    let tolerant = options().on_error(OnError::skip(Budget::UNLIMITED)).build(store.open(&remote).unwrap()).unwrap();
    store.server.clear_log();
    weather(&store);
    let epoch = run(&loader);
    assert!(epoch.time < Duration::from_secs(20), "{name}: {:?}", epoch.time);
    assert_eq!(epoch.batches, expected[..epoch.batches.len()], "{name}: a batch differs");
    match outcome {
        Outcome::Same => {
            assert!(epoch.error.is_none(), "{name}: {:?}", epoch.error);
            assert_eq!(epoch.batches.len(), expected.len(), "{name}");
        }
        Outcome::Error(kind, text) => {
            let error = epoch.error.unwrap_or_else(|| panic!("{name}: no error"));
            assert!(error.kind() == kind && error.to_string().contains(text), "{name}: {:?} {error}", error.kind());
            let shard = error.location().shard.as_deref().and_then(|shard| shard.to_str()).unwrap_or_default();
            assert!(shard.starts_with("s3://b/d/sa_"), "{name}: {error}");
            // The same weather again, skipped: nothing is lost without being counted.
            let epoch = run(&tolerant);
            assert!(epoch.error.is_none() && epoch.skipped > 0, "{name}: {:?}", epoch.error);
            assert_eq!(epoch.delivered + epoch.skipped, 3 * EACH as u64, "{name}");
            assert!(epoch.time < Duration::from_secs(120), "{name}: {:?}", epoch.time);
        }
    }
    drop((loader, tolerant));
    store.server.unscript();
    soon("no request is left", || store.server.in_flight() == 0);
}

/// A fault in the first `count` requests of shards.
fn first(count: usize, fault: impl Fn() -> Fault + Send + Sync + 'static) -> impl Fn(&Store) {
    let fault = std::sync::Arc::new(fault);
    move |store| {
        let (left, fault) = (AtomicUsize::new(count), fault.clone());
        store.server.script(move |request| {
            let is_hit = is_read(request) && left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
            is_hit.then(|| fault())
        });
    }
}

/// A fault in all requests of shards.
fn all(fault: impl Fn(&Request) -> Fault + Send + Sync + 'static) -> impl Fn(&Store) {
    let fault = std::sync::Arc::new(fault);
    move |store| {
        let fault = fault.clone();
        store.server.script(move |request| is_read(request).then(|| fault(request)));
    }
}

fn is_read(request: &Request) -> bool {
    request.method == "GET" && request.path.ends_with(".tar")
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_store_that_has_too_much_to_do_is_asked_again() {
    within(|| {
        case("503", Outcome::Same, first(8, || Fault::status(503)));
        let later = || Fault::Status { code: 429, body: String::new(), retry_after: Some(1) };
        case("429, later", Outcome::Same, first(2, later));
        case("500", Outcome::Same, first(5, || Fault::status(500)));
        case("408", Outcome::Same, first(3, || Fault::status(408)));
        let gone = Outcome::Error(ErrorKind::Io, "status 503, SlowDown; given up after");
        case("503 for ever", gone, all(|_| Fault::status(503)));
    });
}

#[test]
fn a_connection_that_breaks_is_taken_up_where_it_broke() {
    within(|| {
        case("no answer", Outcome::Same, first(5, || Fault::CloseBeforeHeaders));
        for bytes in [0, 1, 100, 1000, 5000] {
            case("reset", Outcome::Same, first(7, move || Fault::ResetAfter(bytes)));
            case("end", Outcome::Same, first(7, move || Fault::FinAfter(bytes)));
        }
        // Each request gives a little.
        case("reset always", Outcome::Same, all(|_| Fault::ResetAfter(3000)));
        case("short always", Outcome::Same, all(|_| Fault::ShortBody(3000)));
        case("short", Outcome::Same, first(9, || Fault::ShortBody(500)));
        let nothing = Outcome::Error(ErrorKind::Io, "bytes early; given up after");
        case("nothing", nothing, all(|_| Fault::ShortBody(0)));
    });
}

#[test]
fn a_resumed_request_asks_only_for_what_is_missing() {
    within(|| {
        let store = Store::indexed();
        let remote = store.remote();
        let set = store.open(&remote).unwrap();
        store.server.clear_log();
        let source = set.source(2).unwrap();
        first(1, || Fault::ResetAfter(1000))(&store);
        let before = remote.stats();
        let bytes = source.read(10..5010).unwrap();
        assert_eq!(bytes[..], store.server.get("b/d/sa_2.tar").unwrap()[10..5010]);
        let ranges: Vec<_> = store.server.requests().iter().map(|request| request.range.clone().unwrap()).collect();
        assert!(ranges.len() == 2 && ranges[0] == (10..5010) && ranges[1].end == 5010, "{ranges:?}");
        assert!((11..=1010).contains(&ranges[1].start), "{ranges:?}");
        let stats = remote.stats();
        assert_eq!(stats.received_bytes - before.received_bytes, 5000);
        assert_eq!(stats.retries - before.retries, 1);
    });
}

#[test]
fn what_stalls_is_given_up_and_what_is_slow_is_waited_for() {
    within(|| {
        let stall = || Fault::Stall { after_bytes: 700, pause: MINUTE };
        case("stall", Outcome::Same, first(3, stall));
        case("late", Outcome::Same, first(3, || Fault::LateFirstByte(Duration::from_millis(250))));
        case("never", Outcome::Same, first(3, || Fault::LateFirstByte(MINUTE)));
        let drip = || Fault::Drip { bytes: 500, every: Duration::from_millis(100) };
        case("slow", Outcome::Same, first(2, drip));
        let silent = Outcome::Error(ErrorKind::Io, "nothing was received for 0.5 s; given up after");
        case("silent", silent, all(|_| Fault::LateFirstByte(MINUTE)));
    });
}

#[test]
fn an_object_that_was_replaced_is_an_error_with_its_name() {
    within(|| {
        let replaced = || Outcome::Error(ErrorKind::Io, "the object was replaced while in use: its ETag is");
        case("ETag", replaced(), all(|_| Fault::ETag("\"other\"".to_owned())));
        case("between two ranges", replaced(), |store: &Store| {
            let seen = AtomicUsize::new(0);
            store.server.script(move |request| {
                let is_later = is_read(request) && seen.fetch_add(1, SeqCst) > 2;
                is_later.then(|| Fault::ETag("\"other\"".to_owned()))
            });
        });
        case("other bytes", replaced(), all(|_| Fault::Replaced(vec![7; 200_000].into())));
        let refused = Outcome::Error(ErrorKind::Io, "it has another ETag now");
        case("If-Match honoured", refused, |store: &Store| {
            let bytes = store.server.get("b/d/sa_1.tar").unwrap();
            store.server.put("b/d/sa_1.tar", [&bytes[..], b"x"].concat());
        });
        let shorter = Outcome::Error(ErrorKind::Io, "the object was replaced while in use: it has fewer bytes now");
        case("416", shorter, |store: &Store| {
            let tag = store.server.etag("b/d/sa_1.tar");
            store.server.put("b/d/sa_1.tar", vec![1; 5]);
            store.server.set_etag("b/d/sa_1.tar", Some(tag));
        });
        // What says nothing of its version is believed: the checksums are what counts.
        case("no ETag", Outcome::Same, all(|_| Fault::NoETag));
        case("If-Match ignored", Outcome::Same, all(|_| Fault::IgnoreIfMatch));
    });
}

#[test]
fn weak_etags_are_compared_but_not_sent() {
    within(|| {
        let store = Store::new();
        for name in &store.names {
            store.server.set_etag(&format!("b/d/{name}"), Some("W/\"1\"".to_owned()));
        }
        let expected = store.expected(options());
        let loader = options().build(store.open(&store.remote()).unwrap()).unwrap();
        assert_eq!(run(&loader).batches, expected);
        assert!(store.server.requests().iter().filter(|read| is_read(read)).all(|read| read.if_match.is_none()));
        store.server.set_etag("b/d/sa_0.tar", Some("W/\"2\"".to_owned()));
        let error = run(&loader).error.unwrap();
        assert!(error.to_string().contains("its ETag is W/\"2\" now, it was W/\"1\""), "{error}");
    });
}

#[test]
fn an_answer_that_is_not_what_was_asked_for_is_an_error() {
    within(|| {
        let error = |text| Outcome::Error(ErrorKind::Io, text);
        case("200", error("the server ignores ranges (status 200, not 206)"), all(|_| Fault::NotPartial));
        case("another range", error("the answer is not valid: Requested"), all(|_| Fault::WrongContentRange));
        case("too long", error("the answer has more than the"), all(|_| Fault::TooLong(1)));
        case("404", error("there is no such object"), |store: &Store| drop(store.server.remove("b/d/sa_1.tar")));
        let expired = error("access is denied (status 403, ExpiredToken): check AWS_ACCESS_KEY_ID");
        case("expired", expired, |store: &Store| store.server.expire_after(5));
    });
}

#[test]
fn wrong_bytes_are_found_by_their_checksums() {
    within(|| {
        for (name, shift) in [("shifted", true), ("flipped", false)] {
            case(name, Outcome::Error(ErrorKind::Corrupt, "member "), move |store: &Store| {
                store.server.script(move |request| {
                    let fault = if shift { Fault::ShiftedBody } else { Fault::FlipBit { at: 600 } };
                    is_read(request).then_some(fault)
                });
            });
        }
    });
}

#[test]
fn a_server_that_comes_back_is_waited_for_and_one_that_is_gone_is_an_error() {
    within(|| {
        for after in [0, 300] {
            let store = Store::indexed();
            let expected = store.expected(options());
            let loader = options().build(store.open(&store.remote()).unwrap()).unwrap();
            let mut epoch = loader.epoch(0).unwrap();
            let mut batches = Vec::new();
            std::thread::scope(|scope| {
                let server = &store.server;
                scope.spawn(move || {
                    std::thread::sleep(Duration::from_millis(after));
                    server.refuse_connections(true);
                    std::thread::sleep(Duration::from_millis(1500));
                    server.refuse_connections(false);
                });
                std::thread::sleep(Duration::from_millis(100));
                batches.extend(epoch.by_ref().map(|batch| content(&batch.unwrap())));
            });
            assert_eq!(batches, expected);
        }
        let gone = Outcome::Error(ErrorKind::Io, "given up after");
        case("gone", gone, |store: &Store| store.server.refuse_connections(true));
    });
}

#[test]
fn a_consumer_that_stalls_is_waited_for_with_bounded_bytes_and_idle_connections_may_close() {
    within(|| {
        let store = Store::sparse();
        store.server.idle_timeout(Duration::from_millis(300));
        let remote = store.builder().read_ahead_bytes(20_000).build().unwrap();
        let loader = options().build(store.open(&remote).unwrap()).unwrap();
        let before = remote.stats().received_bytes;
        let mut epoch = loader.epoch(0).unwrap();
        let first = content(&epoch.next().unwrap().unwrap());
        std::thread::sleep(Duration::from_millis(1500));
        assert_eq!(store.server.in_flight(), 0, "nothing is under way while nobody asks");
        let received = remote.stats().received_bytes - before;
        let rest: Vec<_> = epoch.map(|batch| content(&batch.unwrap())).collect();
        assert_eq!([vec![first], rest].concat(), store.expected(options()));
        let all = remote.stats().received_bytes - before;
        assert!(received < all / 2, "{received} of {all} bytes were received ahead");
    });
}

#[test]
fn a_loader_that_is_dropped_with_many_requests_leaves_none() {
    within(|| {
        let store = Store::sparse();
        let loader = options().build(store.open(&store.remote()).unwrap()).unwrap();
        // More requests are sent at once when some have been answered.
        assert!(run(&loader).error.is_none());
        store.server.script(|request| is_read(request).then_some(Fault::Stall { after_bytes: 1, pause: MINUTE }));
        let epoch = loader.epoch(0).unwrap();
        soon("many requests are under way", || store.server.in_flight() >= 60);
        let begun = Instant::now();
        drop((epoch, loader));
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        soon("no request is left", || store.server.in_flight() == 0);
        soon("no connection is left", || store.server.open_connections() == 0);
    });
}

#[test]
fn distant_members_are_read_in_exact_ranges_and_neighbours_together() {
    within(|| {
        let store = Store::sparse();
        let remote = store.remote();
        let set = store.open(&remote).unwrap();
        let before = remote.stats();
        let loader = options().build(set).unwrap();
        assert_eq!(run(&loader).batches, store.expected(options()));
        let after = remote.stats();
        let (received, wanted) =
            (after.received_bytes - before.received_bytes, after.wanted_bytes - before.wanted_bytes);
        assert!(received <= wanted + wanted / 50, "{received} bytes were received for {wanted}");
        assert!(after.most_under_way >= 32, "{} requests at once", after.most_under_way);
    });
}

#[test]
fn a_late_answer_is_hedged_at_the_cost_of_few_bytes() {
    within(|| {
        let store = Store::sparse();
        let remote = store.builder().read_timeout(MINUTE).hedge(true).build().unwrap();
        let loader = options().build(store.open(&remote).unwrap()).unwrap();
        let expected = store.expected(options());
        // What is late is known after a hundred answers, and two per cent is a few requests after many.
        (0..4).for_each(|_| assert_eq!(run(&loader).batches, expected));
        let before = remote.stats();
        for fault in [Fault::LateFirstByte(MINUTE), Fault::Stall { after_bytes: 100, pause: MINUTE }] {
            let reads = AtomicUsize::new(0);
            store.server.script(move |request| {
                let is_hit = is_read(request) && reads.fetch_add(1, SeqCst) == 30;
                is_hit.then(|| fault.clone())
            });
            let epoch = run(&loader);
            assert_eq!(epoch.batches, expected);
            assert!(epoch.time < Duration::from_secs(30), "{:?}", epoch.time);
        }
        let stats = remote.stats();
        assert!(stats.hedges > before.hedges);
        assert!(stats.received_bytes <= stats.wanted_bytes + stats.wanted_bytes / 20, "{stats:?}");
    });
}

#[test]
fn ranks_that_start_at_once_share_the_samples_of_a_busy_store() {
    within(|| {
        const RANKS: usize = 32;
        let store = Store::indexed();
        store.server.script(|request| (request.number < 300 && request.number % 3 == 0).then(|| Fault::status(503)));
        let mut all: Vec<String> = std::thread::scope(|scope| {
            let (store, options) = (&store, |rank| options().batch_size(2).rank(rank, RANKS).num_workers(1));
            let rank = |rank| {
                scope.spawn(move || {
                    let remote = store.builder().retry_timeout(MINUTE).build().unwrap();
                    let loader = options(rank).build(store.open(&remote).unwrap()).unwrap();
                    let batches = loader.epoch(0).unwrap().map(|batch| batch.unwrap().samples().to_vec());
                    batches.flatten().flatten().map(|sample| format!("{sample:?}")).collect::<Vec<_>>()
                })
            };
            let ranks: Vec<_> = (0..RANKS).map(rank).collect();
            ranks.into_iter().flat_map(|rank| rank.join().unwrap()).collect()
        });
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 3 * EACH);
    });
}

#[test]
fn an_index_in_bad_weather_is_the_index_in_good_weather() {
    within(|| {
        for fault in [
            || Fault::status(503),
            || Fault::ResetAfter(2000),
            || Fault::ShortBody(2000),
            || Fault::Stall { after_bytes: 900, pause: MINUTE },
        ] {
            let store = Store::new();
            first(4, fault)(&store);
            let loader = options().build(store.open(&store.remote()).unwrap()).unwrap();
            assert_eq!(run(&loader).batches, store.expected(options()));
        }
        let store = Store::new();
        all(|_| Fault::ETag("\"other\"".to_owned()))(&store);
        let error = store.open(&store.remote()).unwrap_err();
        assert!(error.to_string().contains("the object was replaced while in use"), "{error}");
    });
}

#[test]
fn an_index_file_that_cannot_be_written_or_read_costs_only_time() {
    within(|| {
        let store = Store::new();
        store.server.script(|request| (request.method == "PUT").then(|| Fault::status(403)));
        let set = store.open(&store.remote()).unwrap();
        let statuses: Vec<_> = set.reports().map(|report| format!("{:?}", report.status)).collect();
        assert!(statuses.iter().all(|status| status.contains("Unsaved") && status.contains("403")), "{statuses:?}");
        store.server.unscript();
        store.open(&store.remote()).unwrap();
        for fault in [|| Fault::status(403), || Fault::FlipBit { at: 100 }] {
            store.server.script(move |request| request.path.ends_with(".msidx").then(fault));
            let set = store.open(&store.remote()).unwrap();
            assert!(set.reports().all(|report| report.status != maskstream::index::IndexStatus::Loaded));
            assert_eq!(run(&options().build(set).unwrap()).batches, store.expected(options()));
        }
    });
}

#[test]
fn what_a_store_refuses_is_an_error_at_once_for_lists_and_writes_too() {
    within(|| {
        for (status, expected) in [
            (404, "there is no such bucket: check AWS_ACCESS_KEY_ID"),
            (403, "access is denied (status 403"),
            (400, "access is denied (status 400"),
        ] {
            let store = Store::new();
            let remote = store.builder().retry_timeout(MINUTE).build().unwrap();
            let body = "<Error><Code>NoSuchBucket</Code></Error>".to_owned();
            store.server.script(move |request| {
                let fault = Fault::Status { code: status, body: body.clone(), retry_after: None };
                (!request.query.is_empty()).then_some(fault)
            });
            let begun = Instant::now();
            let error = store.open(&remote).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert!(begun.elapsed() < Duration::from_secs(20), "{status}: {:?}", begun.elapsed());
        }
        let store = Store::new();
        let remote = store.builder().retry_timeout(MINUTE).build().unwrap();
        store.server.script(|request| (request.method == "PUT").then(|| Fault::status(405)));
        let begun = Instant::now();
        let set = store.open(&remote).unwrap();
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        assert!(set.reports().all(|report| matches!(report.status, maskstream::index::IndexStatus::Unsaved(_))));
    });
}

#[test]
fn an_index_file_that_another_rank_writes_anew_while_it_is_read_does_no_harm() {
    within(|| {
        let store = Store::indexed();
        let set = store.open(&store.remote()).unwrap();
        // Read in two parts, with another version in between.
        let seen = AtomicUsize::new(0);
        store.server.script(move |request| {
            let tag = format!("\"version {}\"", seen.fetch_add(1, SeqCst));
            request.path.ends_with(".msidx").then_some(Fault::ETag(tag))
        });
        assert_eq!(run(&options().build(set).unwrap()).batches, store.expected(options()));
        let set = store.open(&store.remote()).unwrap();
        assert!(set.reports().all(|report| report.status == maskstream::index::IndexStatus::Loaded));
        assert_eq!(run(&options().build(set).unwrap()).batches, store.expected(options()));
    });
}

#[test]
fn a_server_without_etags_is_compared_by_the_time_of_its_files() {
    within(|| {
        let store = Store::new();
        for name in &store.names {
            store.server.set_etag(&format!("b/d/{name}"), None);
        }
        let loader = options().build(store.open(&store.remote()).unwrap()).unwrap();
        assert_eq!(run(&loader).batches, store.expected(options()));
        let again = store.open(&store.remote()).unwrap();
        assert!(again.reports().all(|report| report.status == maskstream::index::IndexStatus::Loaded));
    });
}

#[test]
fn a_store_without_credentials_or_without_a_server_says_so() {
    within(|| {
        let remote = Remote::builder()
            .option("aws_endpoint_url", "http://127.0.0.1:1")
            .option("aws_access_key_id", "key")
            .option("aws_secret_access_key", "secret")
            .retry_timeout(Duration::from_secs(1))
            .build()
            .unwrap();
        let error = shards().remote(remote).open(&["s3://b/d/a.tar"]).unwrap_err().to_string();
        assert!(error.contains("s3://b/d/a.tar: ") && error.contains("onnection refused"), "{error}");
    });
}

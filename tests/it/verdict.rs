//! What the statistics of a loader say of the bottleneck: made-up numbers, and loops whose bottleneck is known.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use maskstream::index::Entry;
use maskstream::{Bottleneck, Loader, LoaderBuilder, LoaderStats, Sample, SampleId, Verdict};

use crate::fixture::{Faulty, gzip, made_many, set_of, set_of_sources, shard};

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// Ten batches: seconds that the consumer waits after the first batch and that it works, that four workers decode
/// images and masks, and that are spent reading.
fn stats(wait: f64, consumer: f64, [image, masks]: [f64; 2], reading: f64) -> LoaderStats {
    let mut stats = LoaderStats::default();
    (stats.batches, stats.num_workers) = (10, 4);
    (stats.first_wait, stats.wait, stats.consumer) = (seconds(1.0), seconds(1.0 + wait), seconds(consumer));
    (stats.stages.image, stats.stages.masks) = (seconds(image), seconds(masks));
    stats.work_wall = seconds(image + masks);
    (stats.stages.read, stats.read_wall) = (seconds(0.5), seconds(reading));
    stats
}

#[test]
fn the_sentence_follows_from_the_numbers() {
    let cases: [(LoaderStats, Bottleneck, &[&str]); 5] = [
        // Four workers decode for 38 s of 4 x 11 s; the loop needs 6 s: 38 / 6 / 0.86 are 7.3.
        (
            stats(4.0, 6.0, [34.0, 4.0], 2.0),
            Bottleneck::Workers,
            &["waits for data 40 % of the time", "busy 86 % of the time, 89 % of that with the step image"],
        ),
        (
            stats(0.1, 9.9, [10.0, 1.0], 2.0),
            Bottleneck::Consumer,
            &["waits for data 1 % of the time", "keeps up", "busy 25 % of the time, so it could be 4.0 times as fast"],
        ),
        (stats(0.1, 9.9, [40.0, 2.0], 2.0), Bottleneck::Consumer, &["busy 95 % of the time"]),
        (
            stats(8.0, 2.0, [6.0, 1.0], 10.5),
            Bottleneck::Source,
            &["waits for data 80 % of the time", "it takes 95 % of the time, the workers 16 % of theirs"],
        ),
        (stats(5.0, 5.0, [10.0, 1.0], 4.0), Bottleneck::Prefetch, &["neither the workers (25 %) nor reading (36 %)"]),
    ];
    for (stats, bottleneck, parts) in cases {
        let verdict = stats.verdict().unwrap();
        assert_eq!(verdict.bottleneck, bottleneck, "{verdict}");
        for part in parts {
            assert!(verdict.to_string().contains(part), "{part}: {verdict}");
        }
    }
    assert_eq!(stats(4.0, 6.0, [34.0, 4.0], 2.0).verdict().unwrap().workers_needed, Some(8));
    // Four workers on fewer cores, or beside other programs: 38 s of work took them 80 s.
    let mut crowded = stats(20.0, 6.0, [34.0, 4.0], 2.0);
    crowded.work_wall = seconds(80.0);
    let verdict = crowded.verdict().unwrap();
    assert_eq!((verdict.bottleneck, verdict.workers_needed), (Bottleneck::Workers, None));
    assert!(verdict.to_string().contains("they had a core for only 48 % of it: "), "{verdict}");
    // A loop that does nothing but wait is never served fast enough.
    assert_eq!(stats(10.0, 0.0, [40.0, 2.0], 2.0).verdict().unwrap().workers_needed, None);
    let mut few = stats(4.0, 6.0, [34.0, 4.0], 2.0);
    few.batches = 3;
    assert_eq!(few.verdict(), None);
}

fn options() -> LoaderBuilder {
    Loader::builder().batch_size(2).image_size(32).mask_size([8, 8]).num_workers(1).prefetch_batches(1)
}

/// The verdict on a loop over an epoch that takes so long for a batch.
fn verdict(loader: &Loader, time: Duration) -> Verdict {
    for batch in loader.epoch(0).unwrap() {
        batch.unwrap();
        sleep(time);
    }
    let stats = loader.stats();
    // What passed between two batches is either the loop's or waited for.
    assert!(stats.consumer >= time * 10 && stats.wait >= stats.first_wait, "{stats:?}");
    assert_eq!((stats.occupancy.asked, stats.occupancy.capacity), (stats.batches - 1, 1));
    assert_eq!(stats.occupancy.ready + stats.occupancy.empty, stats.occupancy.asked, "one batch is ready, or none");
    stats.verdict().unwrap()
}

#[test]
fn a_slow_loop_a_slow_source_and_too_few_workers_are_told_apart() {
    let bytes = shard(&made_many(24));
    let plain = || set_of(vec![bytes.clone()]);
    let loader = options().build(plain()).unwrap();
    let slow_loop = verdict(&loader, Duration::from_millis(40));
    assert_eq!(slow_loop.bottleneck, Bottleneck::Consumer, "{slow_loop}");
    assert!(loader.stats().occupancy.mean() > 0.5, "{}", loader.stats().occupancy);

    let source = Faulty::new(bytes.clone(), |_, bytes| {
        sleep(Duration::from_millis(20));
        Ok(bytes)
    });
    let loader = options().build(set_of_sources(vec![Arc::clone(&source) as _])).unwrap();
    source.arm();
    let slow_source = verdict(&loader, Duration::from_millis(1));
    assert_eq!(slow_source.bottleneck, Bottleneck::Source, "{slow_source}");
    assert!(loader.stats().occupancy.mean() < 0.5, "{}", loader.stats().occupancy);

    // A step of the user's own that takes 20 ms of a worker.
    let busy = |_: &mut Sample<'_>| {
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(20) {
            std::hint::spin_loop();
        }
        Ok(())
    };
    let slow_worker = verdict(&options().transform(busy).build(plain()).unwrap(), Duration::from_millis(1));
    assert_eq!(slow_worker.bottleneck, Bottleneck::Workers, "{slow_worker}");
    assert_eq!(slow_worker.slowest_step.0, "image", "{slow_worker}");
}

#[test]
fn bytes_are_counted_by_step() {
    for is_gzip in [false, true] {
        let bytes = shard(&made_many(10));
        let set = set_of(vec![if is_gzip { gzip(&bytes, 6) } else { bytes }]);
        let entry = |entry: u32| set.entry(SampleId { shard: 0, entry }).unwrap().clone();
        let entries: Vec<Entry> = (0..set.len() as u32).map(entry).collect();
        let [images, jsons] = [|entry: &Entry| entry.image.len, |entry: &Entry| entry.annotations.len]
            .map(|len| entries.iter().map(|entry| u64::from(len(entry))).sum::<u64>());
        let loader = options().build(set).unwrap();
        loader.epoch(0).unwrap().for_each(|batch| drop(batch.unwrap()));
        let found = loader.stats().bytes;
        assert_eq!((found.image, found.json), (images, jsons));
        assert_eq!(found.batches, 5 * loader.layout().bytes() as u64);
        if is_gzip {
            // Members begin a little behind the restart points from which they are inflated.
            assert!(found.inflate >= images + jsons && found.inflate < 2 * (images + jsons), "{found:?}");
            assert!(found.read > 0, "{found:?}");
        } else {
            assert_eq!((found.read, found.inflate), (images + jsons, 0));
        }
        let sum: u64 = found.named().iter().map(|(_, bytes)| bytes).sum();
        assert_eq!(sum, found.read + found.inflate + images + jsons + found.batches);
    }
}

/// The metrics of a page in Prometheus' text format: name and labels, and the value. Each name must have been declared.
fn metrics(page: &str) -> BTreeMap<String, f64> {
    let mut declared = BTreeMap::new();
    let mut found = BTreeMap::new();
    for line in page.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, text) = help.split_once(' ').unwrap();
            assert!(declared.insert(name, None).is_none() && text.ends_with('.'), "{line}");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            *declared.get_mut(name).unwrap() = Some(kind);
        } else {
            let (metric, value) = line.rsplit_once(' ').unwrap();
            let name = metric.split('{').next().unwrap();
            assert!(declared[name].is_some(), "{line}");
            assert!(found.insert(metric.to_owned(), value.parse().unwrap()).is_none(), "{line}");
        }
    }
    found
}

#[test]
fn metrics_for_prometheus_are_the_statistics() {
    let mut stats = stats(4.0, 6.0, [34.0, 4.0], 2.0);
    (stats.delivered, stats.skipped, stats.decoded, stats.bytes.read) = (158, 2, 170, 1_234_567);
    let found = metrics(&stats.prometheus(&[]));
    for (metric, value) in [
        ("maskstream_batches_total", 10.0),
        ("maskstream_samples_total{result=\"delivered\"}", 158.0),
        ("maskstream_samples_total{result=\"skipped\"}", 2.0),
        ("maskstream_decoded_samples_total", 170.0),
        ("maskstream_wait_seconds_total", 5.0),
        ("maskstream_first_wait_seconds_total", 1.0),
        ("maskstream_consumer_seconds_total", 6.0),
        ("maskstream_read_wall_seconds_total", 2.0),
        ("maskstream_work_wall_seconds_total", 38.0),
        ("maskstream_step_cpu_seconds_total{step=\"image\"}", 34.0),
        ("maskstream_step_cpu_seconds_total{step=\"masks\"}", 4.0),
        ("maskstream_step_bytes_total{step=\"read\"}", 1_234_567.0),
        ("maskstream_workers", 4.0),
    ] {
        assert_eq!(found.get(metric), Some(&value), "{metric}");
    }
    let labelled = stats.prometheus(&[("job", "a \"b\" \\c\nd"), ("rank", "3")]);
    assert_eq!(metrics(&labelled).len(), found.len());
    let line = "\nmaskstream_samples_total{job=\"a \\\"b\\\" \\\\c\\nd\",rank=\"3\",result=\"skipped\"} 2\n";
    assert!(labelled.contains(line), "{labelled}");
}

/// A loader whose one worker always has a sample under way, which takes 2 ms of it.
#[test]
fn a_worker_that_is_never_without_work_counts_as_busy() {
    let busy = |_: &mut Sample<'_>| {
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(2) {
            std::hint::spin_loop();
        }
        Ok(())
    };
    let loader = options().prefetch_batches(8).transform(busy).build(set_of(vec![shard(&made_many(60))])).unwrap();
    let mut epoch = loader.epoch(0).unwrap();
    for batch in epoch.by_ref().take(20) {
        batch.unwrap();
    }
    let stats = epoch.stats();
    // A thread has a core for no longer than it works.
    let cpu = stats.stages.total() - stats.stages.read;
    assert!(stats.work_wall >= cpu.mul_f64(0.9) && cpu >= Duration::from_millis(40), "{stats:?}");
}

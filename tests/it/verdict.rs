//! What the statistics of a loader say of the bottleneck: made-up numbers, and loops whose bottleneck is known.

use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use maskstream::{Bottleneck, Loader, LoaderBuilder, LoaderStats, Sample, Verdict};

use crate::fixture::{Faulty, made_many, set_of, set_of_sources, shard};

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
    stats.verdict().unwrap()
}

#[test]
fn a_slow_loop_a_slow_source_and_too_few_workers_are_told_apart() {
    let bytes = shard(&made_many(24));
    let plain = || set_of(vec![bytes.clone()]);
    let slow_loop = verdict(&options().build(plain()).unwrap(), Duration::from_millis(40));
    assert_eq!(slow_loop.bottleneck, Bottleneck::Consumer, "{slow_loop}");

    let source = Faulty::new(bytes.clone(), |_, bytes| {
        sleep(Duration::from_millis(20));
        Ok(bytes)
    });
    let loader = options().build(set_of_sources(vec![Arc::clone(&source) as _])).unwrap();
    source.arm();
    let slow_source = verdict(&loader, Duration::from_millis(1));
    assert_eq!(slow_source.bottleneck, Bottleneck::Source, "{slow_source}");

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

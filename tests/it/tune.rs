//! `maskstream tune`: what it tries, and what it chooses of that.

use serde_json::Value;

use crate::command::{run, succeeds, text};

const SHAPE: &str = "--image-size 64 --mask-size 16 --batch-size 4 --top-k 3";

fn shards() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    succeeds(dir.path(), "synth data --shards 2 --samples 20 --preset small");
    succeeds(dir.path(), "index data");
    dir
}

/// The settings that were tried with this one varied, and their rates.
fn tried(report: &Value, varied: &str) -> Vec<(Value, f64)> {
    let all = report["tried"].as_array().unwrap().iter().filter(|tried| tried["varied"] == varied);
    all.map(|tried| (tried[varied].clone(), tried["samples_per_second"].as_f64().unwrap())).collect()
}

/// The first value whose rate is at least 98 % of the highest.
fn smallest(tried: &[(Value, f64)]) -> Value {
    let highest = tried.iter().map(|(_, rate)| *rate).fold(0.0, f64::max);
    tried.iter().find(|(_, rate)| *rate >= 0.98 * highest).unwrap().0.clone()
}

#[test]
fn each_setting_is_the_smallest_that_is_nearly_as_fast_as_the_fastest() {
    let dir = shards();
    let report = succeeds(dir.path(), &format!("tune data --shuffle --seconds 1 --json {SHAPE}"));
    let report: Value = serde_json::from_str(&report).unwrap();
    let (workers, prefetch) = (tried(&report, "num_workers"), tried(&report, "prefetch_batches"));
    assert!(workers.len() >= 2 && workers.iter().chain(&prefetch).all(|(_, rate)| *rate > 0.0), "{report}");
    assert!(workers.iter().map(|(number, _)| number.as_u64()).is_sorted(), "{report}");
    let best = &report["best"];
    assert_eq!(best["num_workers"], smallest(&workers), "{report}");
    assert_eq!(best["prefetch_batches"], smallest(&prefetch), "{report}");
    assert_eq!(tried(&report, "scaled_decode").len(), 2);
    for name in ["decoding_ceiling", "reading_ceiling", "memory_bytes"] {
        assert!(report[name].as_f64().unwrap() > 0.0, "{name}: {report}");
    }

    // The flags are those of a training run.
    let flags = report["flags"].as_str().unwrap();
    let figures = succeeds(dir.path(), &format!("bench data --shuffle --json {SHAPE} {flags}"));
    assert_eq!(serde_json::from_str::<Value>(&figures).unwrap()["samples"], 40);
}

#[test]
fn settings_that_are_given_are_kept_and_the_output_fits_80_columns() {
    let dir = shards();
    let given = format!("--num-workers 2 --prefetch-batches 3 --scaled-decode full --chunk-bytes 64k {SHAPE}");
    let report = succeeds(dir.path(), &format!("tune data --shuffle --seconds 1 --step-ms 1 {given}"));
    assert!(report.lines().all(|line| line.chars().count() <= 80), "{report}");
    for line in [
        "  --num-workers 2 --prefetch-batches 3 --chunk-bytes 64000",
        "  Loader::builder().num_workers(2).prefetch_batches(3).chunk_bytes(64000)",
    ] {
        assert!(report.lines().any(|found| found == line), "{line}: {report}");
    }
    let rows: Vec<&str> = report
        .lines()
        .filter(|line| line.contains(" %"))
        .filter(|line| line.contains("kB") || line.contains("0.1 MB"))
        .collect();
    assert!(rows.len() >= 4 && rows.iter().all(|row| row.trim_start().starts_with("2 ")), "{report}");
}

#[test]
fn what_cannot_be_measured_is_an_error_with_a_reason() {
    let dir = shards();
    for (args, status, reason) in [
        ("tune data --seconds 1 --min-predicted-iou 2", 1, "passes the filter"),
        ("tune data --seconds 1 --max-memory-bytes 1M", 2, "--max-memory-bytes is 1000000"),
        ("tune data --seconds 0", 2, "it must be a number from 1 on"),
        ("tune nowhere", 1, "no shard matches nowhere"),
    ] {
        let output = run(dir.path(), args);
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{args}: {errors}");
        assert!(errors.contains(reason), "{args}: {errors}");
    }
}

//! The `maskstream` command, run as a user runs it.

use std::path::Path;
use std::process::{Command, Output};

use safetensors::SafeTensors;
use serde_json::Value;

fn maskstream(dir: &Path, args: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_maskstream")).current_dir(dir).args(args.split(' ')).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Standard output of a command that succeeds and says nothing else: progress is for terminals.
fn succeeds(dir: &Path, args: &str) -> String {
    let output = maskstream(dir, args);
    assert!(output.status.success() && output.stderr.is_empty(), "{args}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Standard error of a command that fails.
fn fails(dir: &Path, args: &str) -> String {
    let output = maskstream(dir, args);
    assert!(!output.status.success(), "{args}: {}", text(&output.stdout));
    text(&output.stderr)
}

#[test]
fn made_shards_can_be_indexed_inspected_measured_and_exported() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    succeeds(dir, "synth data --shards 2 --samples 5 --preset small --seed 3");
    assert!(succeeds(dir, "index data --jobs 1 --index-dir elsewhere").contains("2 shards"));
    assert!(dir.join("elsewhere/sa_000001.tar.msidx").exists());
    assert!(succeeds(dir, "index data --index-dir elsewhere").contains("up to date"));

    let shards: Vec<Value> =
        succeeds(dir, "inspect data --json").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(shards.iter().map(|shard| shard["samples"].as_u64().unwrap()).collect::<Vec<_>>(), [5, 5]);
    assert!(succeeds(dir, "inspect data/sa_000000.tar").contains("no problems"));

    let shape = "--batch-size 4 --image-size 64 --mask-size 16 --coverage 8 --top-k 3 --workers 2 --prefetch 1";
    let figures: Value = serde_json::from_str(&succeeds(dir, &format!("bench data --json --shuffle {shape}"))).unwrap();
    assert_eq!((figures["batches"].as_u64(), figures["samples"].as_u64()), (Some(3), Some(10)));
    let stages = figures["stages_ms"].as_array().unwrap();
    assert!(stages.iter().all(|stage| stage[1].as_f64().unwrap() >= 0.0) && stages.len() == 7);

    succeeds(dir, &format!("export data --batches 2 --fit stretch -o batch.safetensors {shape}"));
    let file = std::fs::read(dir.join("batch.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let shape_of = |name: &str| tensors.tensor(name).unwrap().shape().to_vec();
    assert_eq!(shape_of("images"), [8, 3, 64, 64]);
    assert_eq!(shape_of("masks"), [8, 3, 16, 16]);
    assert_eq!(shape_of("coverage"), [8, 3, 8, 8]);
    assert_eq!(shape_of("boxes"), [8, 3, 4]);
    assert_eq!(tensors.tensor("image_valid").unwrap().data(), [1; 8]);
}

#[test]
fn gzip_shards_are_read_as_plain_ones_are() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    succeeds(dir, "synth packed --samples 3 --preset small --seed 4 --gzip");
    succeeds(dir, "synth plain --samples 3 --preset small --seed 4");
    assert!(std::fs::read(dir.join("packed/sa_000000.tar")).unwrap().starts_with(&[0x1f, 0x8b]));
    assert!(!std::fs::read(dir.join("plain/sa_000000.tar")).unwrap().starts_with(&[0x1f, 0x8b]));
    for shards in ["packed", "plain"] {
        assert!(succeeds(dir, &format!("index {shards}")).contains("3 samples"));
        assert!(succeeds(dir, &format!("inspect {shards}")).contains("no problems"));
        succeeds(dir, &format!("export {shards} --batches 1 --batch-size 3 --image-size 64 -o {shards}.safetensors"));
    }
    let [packed, plain] =
        ["packed", "plain"].map(|name| std::fs::read(dir.join(format!("{name}.safetensors"))).unwrap());
    assert!(packed == plain, "the same samples give the same file");
}

#[test]
fn what_cannot_be_done_is_one_line_and_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    assert!(fails(dir, "bench nowhere/*.tar").contains("nowhere"));
    succeeds(dir, "synth data --samples 2 --preset small");
    assert!(fails(dir, "bench data --batch-size 0").contains("batch_size"));
    assert!(fails(dir, "bench data --min-iou 7").contains("none of the 2 samples"));
    assert!(fails(dir, "export data -o missing/batch.safetensors").contains("maskstream:"));
}

#[test]
fn a_damaged_shard_is_named_and_can_be_used_on_request() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    succeeds(dir, "synth data --samples 6 --preset small");
    let shard = dir.join("data/sa_000000.tar");
    let bytes = std::fs::read(&shard).unwrap();
    std::fs::write(&shard, &bytes[..bytes.len() * 3 / 4]).unwrap();
    assert!(fails(dir, "index data").contains("damaged"));
    assert!(fails(dir, "bench data --image-size 32").contains("broken shard"));
    let figures: Value = serde_json::from_str(&succeeds(dir, "bench data --image-size 32 --skip 1 --json")).unwrap();
    let delivered = figures["samples"].as_u64().unwrap();
    assert!((1..6).contains(&delivered), "{delivered} of 6 samples");
}

//! The example `sam`: it learns, it continues where it was interrupted, and its ranks share an epoch.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use candle_core::{Device, safetensors};

use sam::{Settings, generate, loaders, options, train};

#[allow(dead_code)]
#[path = "../../examples/sam.rs"]
mod sam;

fn settings(dir: &Path, checkpoint: &str, epochs: u64, stop_after: u64) -> Settings {
    let shards = vec![generate(dir, 2, 48).unwrap()];
    let checkpoint = dir.join(checkpoint);
    Settings { shards, side: 32, epochs, ranks: 1, checkpoint, save_every: 4, stop_after }
}

#[test]
fn the_model_learns_to_find_what_was_clicked() {
    let dir = tempfile::tempdir().unwrap();
    let (before, after) = train(&settings(dir.path(), "checkpoint", 25, u64::MAX)).unwrap();
    assert!(after > before + 0.1 && after > 0.25, "IoU of held-out masks: {before} before, {after} after");
}

#[test]
fn an_interrupted_run_ends_with_the_weights_of_one_that_was_not() {
    let dir = tempfile::tempdir().unwrap();
    let run = |checkpoint: &str, epochs: u64, stop_after: u64| {
        train(&settings(dir.path(), checkpoint, epochs, stop_after)).unwrap();
    };
    // Six steps an epoch; weights are random, so both go on from one checkpoint.
    run("whole", 1, 5);
    std::fs::copy(dir.path().join("whole"), dir.path().join("parts")).unwrap();
    run("whole", 2, u64::MAX);
    run("parts", 2, 9);
    run("parts", 2, u64::MAX);
    let [whole, parts] = ["whole", "parts"].map(|name| safetensors::load(dir.path().join(name), &Device::Cpu).unwrap());
    assert!(whole.len() > 10 && whole.len() == parts.len());
    for (name, tensor) in whole {
        let bits = |tensor: &candle_core::Tensor| format!("{:?}", tensor.flatten_all().unwrap().to_vec1::<f32>().ok());
        assert_eq!(bits(&tensor), bits(&parts[&name]), "{name}");
    }
}

#[test]
fn two_ranks_share_an_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let shards = PathBuf::from(generate(dir.path(), 2, 16).unwrap());
    let paths = maskstream::index::resolve_patterns(&[shards]).unwrap();
    let ids = |ranks: usize| -> Vec<BTreeSet<i64>> {
        let loaders = loaders(&options(32), &paths, ranks).unwrap();
        let of_rank = |loader: &maskstream::Loader| {
            let batches = loader.epoch(0).unwrap().map(Result::unwrap);
            batches.flat_map(|batch| batch.image_ids().to_vec()).collect()
        };
        loaders.iter().map(of_rank).collect()
    };
    let (one, two) = (ids(1), ids(2));
    assert_eq!((one[0].len(), two[0].len(), two[1].len()), (32, 16, 16));
    assert_eq!(&two[0] | &two[1], one[0]);
}

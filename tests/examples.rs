//! The examples do what they say: `sam` learns, resumes in mid-epoch and shares an epoch among ranks; `coverage` finds
//! the patches that masks cover most.
#![allow(missing_docs, dead_code, unreachable_pub, clippy::unwrap_used)]

#[path = "../examples/coverage.rs"]
mod coverage;
#[path = "../examples/sam.rs"]
mod sam;

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::Path;
use std::{fs, thread};

use candle_core::{Device, Tensor};
use maskstream::synth::{Preset, SynthOptions, write_shards};
use maskstream::{CandleBatch, Distributed};

/// Images of a shard; two shards are trained on, and a third is held out.
const SAMPLES: usize = 16;
const BATCH: usize = 4;

fn scenes(dir: &Path) -> Vec<String> {
    let shards = write_shards(dir, 3, &SynthOptions::new(Preset::Small).samples(SAMPLES), &|_| ()).unwrap();
    shards.iter().map(|path| path.display().to_string()).collect()
}

fn settings(shards: &[String], out: &Path, steps: u64) -> sam::Settings {
    let (shards, out) = (shards.to_vec(), out.to_owned());
    sam::Settings { shards, out, master: String::new(), side: 64, batch: BATCH, steps, fresh: false }
}

fn alone() -> Distributed {
    Distributed::single_process()
}

#[test]
fn sam_learns_and_a_run_resumed_in_mid_epoch_has_the_same_weights() {
    let dir = tempfile::tempdir().unwrap();
    let shards = scenes(dir.path());
    let run = |name: &str, steps: u64| {
        let out = dir.path().join(name);
        let (mut losses, settings) = (vec![], settings(&shards, &out, steps));
        let iou = sam::train(&settings, &alone(), |step, loss, _| losses.push((step, loss))).unwrap();
        (iou, losses, fs::read(out.join("checkpoint.safetensors")).unwrap())
    };
    // An epoch has 8 steps.
    let (_, mut losses, whole) = run("whole", 28);
    losses.drain(..19);
    run("parts", 11);
    run("parts", 19);
    let (_, resumed, parts) = run("parts", 28);
    assert_eq!(resumed, losses);
    assert!(parts == whole, "the checkpoints differ");

    let ([before, after], ..) = run("whole", 90);
    assert!(after[0] > before[0] + 0.2, "IoU {before:?} before, {after:?} after");
}

#[test]
fn two_ranks_of_sam_see_disjoint_samples_that_together_are_the_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let shards = scenes(dir.path());
    let steps = (2 * SAMPLES / BATCH) as u64;
    // A port that is free, as the system has just chosen it.
    let master = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let run = |rank: usize, world_size: usize| {
        let out = dir.path().join(format!("of-{world_size}"));
        let settings = sam::Settings { master: master.clone(), ..settings(&shards, &out, steps) };
        let mut ranks = alone();
        (ranks.rank, ranks.world_size) = (rank, world_size);
        let mut ids = vec![];
        let see = |_, _, batch: &CandleBatch| ids.extend(batch.image_ids.to_vec1::<i64>().unwrap());
        let iou = sam::train(&settings, &ranks, see).unwrap();
        (ids, iou)
    };
    let [(first, of_first), (second, of_second)] = thread::scope(|scope| {
        let threads = [0, 1].map(|rank| scope.spawn(move || run(rank, 2)));
        threads.map(|thread| thread.join().unwrap())
    });
    assert_eq!([first.len(), second.len()], [SAMPLES; 2]);
    let ids: BTreeSet<i64> = first.into_iter().chain(second).collect();
    assert_eq!(ids, (1..=2 * SAMPLES as i64).collect());
    assert_eq!(run(0, 1).0.into_iter().collect::<BTreeSet<i64>>(), ids);
    // Both have the same gradients, so they end with the same model.
    assert_eq!(of_first, of_second);
}

#[test]
fn coverage_finds_the_patches_that_masks_cover_most() {
    // Two images with two masks each. The second mask of the second image is padding.
    let share =
        |image: usize, mask: usize, patch: usize| ((patch * 37 + image * 11 + mask * 501) % 1024) as f32 / 1023.0;
    let all = (0..4).flat_map(|i| (0..1024).map(move |patch| share(i / 2, i % 2, patch)));
    let coverage = Tensor::from_iter(all, &Device::Cpu).unwrap().reshape((2, 2, 32, 32)).unwrap();
    let valid = Tensor::new(&[[1u8, 1], [1, 0]], &Device::Cpu).unwrap();
    let (found, patches, boxes) = coverage::best_patches(&coverage, &valid).unwrap();
    let (found, patches) = (found.to_vec2::<f32>().unwrap(), patches.to_vec2::<u32>().unwrap());
    let boxes = boxes.to_vec3::<f32>().unwrap();
    for image in 0..2 {
        let union = |patch: usize| share(image, 0, patch).max(if image == 0 { share(image, 1, patch) } else { 0.0 });
        let mut best: Vec<f32> = (0..1024).map(union).collect();
        best.sort_by(|a, b| b.total_cmp(a));
        assert_eq!(found[image], best[..200]);
        assert_eq!(patches[image].iter().collect::<BTreeSet<_>>().len(), 200);
        for (n, &patch) in patches[image].iter().enumerate() {
            assert_eq!(union(patch as usize), found[image][n]);
            let (column, row) = ((patch % 32) as f32, (patch / 32) as f32);
            assert_eq!(boxes[image][n], [16.0 * column, 16.0 * row, 16.0 * column + 16.0, 16.0 * row + 16.0]);
        }
    }
}

//! Orders of any settings: no panic, every sample of a small population exactly once, positions of a huge one inside.
#![no_main]

use libfuzzer_sys::fuzz_target;
use maskstream::internals::{Order, SampleSpace, Shuffle};

fuzz_target!(|input: (Vec<u8>, u64, u64, Option<u64>, [u16; 3], bool, u8)| {
    let (shards, seed, epoch, chunk_samples, [batch_size, world_size, rank], drop_last, scale) = input;
    let shuffle = chunk_samples.map(|chunk_samples| Shuffle { seed, chunk_samples });
    let (batch_size, world_size, rank) = (batch_size.into(), world_size.into(), rank.into());
    let order = Order { batch_size, shuffle, rank, world_size, drop_last };
    let small: Vec<u64> = shards.iter().take(40).map(|&samples| samples.into()).collect();
    let population = SampleSpace::of_shards(&small);
    if let Ok(plan) = order.plan(&population, epoch) {
        let len = population.len();
        let mut seen = vec![false; len as usize];
        for position in 0..len {
            let sample = plan.sample_at(position);
            assert!(!std::mem::replace(&mut seen[sample as usize], true), "{sample} comes twice");
            assert!(plan.chunk_of(sample).contains(&sample));
        }
        assert!(plan.samples_from(0) <= len && plan.dropped() <= len);
    }
    let huge: Vec<u64> = small.iter().map(|samples| samples << (scale % 40)).collect();
    let sets: Vec<(f64, &[u64])> = huge.chunks(8).enumerate().map(|(i, set)| (1.0 + i as f64, set)).collect();
    for population in [Some(SampleSpace::of_shards(&huge)), SampleSpace::mixed(&sets).ok()].into_iter().flatten() {
        if let Ok(plan) = order.plan(&population, epoch) {
            for step in [0, plan.steps() / 2, plan.steps() - 1] {
                assert!(plan.batch(step).take(64).flatten().all(|sample| sample < population.len()));
            }
        }
    }
});

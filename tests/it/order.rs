//! The order: a shuffle is a bijection, and a plan hands out every sample exactly once, whatever the world size.

use std::collections::{BTreeSet, HashSet};

use maskstream::ErrorKind;
use maskstream::order::{Order, Permutation, Population, Shuffle};

/// One shard of so many samples.
fn samples(count: u64) -> Population {
    Population::of_shards(&[count])
}

fn order(batch_size: usize, world_size: usize, rank: usize) -> Order {
    Order { batch_size, shuffle: Some(Shuffle::of_samples(5)), rank, world_size, drop_last: false }
}

#[test]
fn permutation_is_a_bijection_for_small_counts() {
    for count in 0..300 {
        for key in [0, 1, u64::MAX] {
            let permutation = Permutation::new(count, key);
            let images: BTreeSet<u64> = (0..count).map(|i| permutation.get(i)).collect();
            assert!(images.iter().copied().eq(0..count), "count {count}, key {key}");
        }
    }
}

#[test]
fn permutation_is_a_bijection_for_large_counts() {
    for count in [65_536, 65_537, 100_000] {
        let permutation = Permutation::new(count, 77);
        let mut seen = vec![false; count as usize];
        (0..count).for_each(|i| assert!(!std::mem::replace(&mut seen[permutation.get(i) as usize], true)));
        assert!(seen.into_iter().all(|seen| seen));
    }
}

#[test]
fn permutation_of_huge_counts_stays_inside_and_never_collides() {
    for count in [(1 << 40) + 3, u64::MAX / 2 + 5, u64::MAX] {
        let permutation = Permutation::new(count, 3);
        let images: HashSet<u64> = (0..5000).map(|i| permutation.get(i * (count / 5000))).collect();
        assert_eq!(images.len(), 5000);
        assert!(images.iter().all(|&image| image < count));
    }
}

#[test]
fn permutation_looks_shuffled() {
    // Fixed points and kept neighbours are rare in a random permutation: one of each is expected.
    let permutation = Permutation::new(10_000, 9);
    let images: Vec<u64> = (0..10_000).map(|i| permutation.get(i)).collect();
    let fixed = images.iter().zip(0..).filter(|&(&image, i)| image == i).count();
    let neighbours = images.windows(2).filter(|pair| pair[1] == pair[0] + 1).count();
    assert!(fixed < 12 && neighbours < 12, "{fixed} fixed, {neighbours} neighbours");
}

#[test]
fn epochs_and_seeds_give_different_orders_and_the_same_ones_again() {
    let list = |seed, epoch| -> Vec<Option<u64>> {
        let plan =
            Order { shuffle: Some(Shuffle::of_samples(seed)), ..order(64, 1, 0) }.plan(&samples(64), epoch).unwrap();
        plan.batch(0).collect()
    };
    let all: HashSet<Vec<Option<u64>>> = (0..8).flat_map(|seed| (0..8).map(move |epoch| list(seed, epoch))).collect();
    assert_eq!(all.len(), 64);
    assert_eq!(list(3, 4), list(3, 4));
}

#[test]
fn without_shuffle_samples_come_in_their_own_order() {
    let plan = Order { shuffle: None, ..order(4, 1, 0) }.plan(&samples(10), 3).unwrap();
    let all: Vec<Option<u64>> = (0..plan.steps()).flat_map(|step| plan.batch(step)).collect();
    let expected: Vec<Option<u64>> = (0..10).map(Some).chain([None, None]).collect();
    assert_eq!(all, expected);
}

#[test]
fn every_sample_is_planned_exactly_once_over_all_ranks() {
    for world_size in 1..=16 {
        for batch_size in [1, 2, 3, 7, 16] {
            for count in [1, 2, 15, 16, 17, 100] {
                let mut seen = Vec::new();
                let mut steps = HashSet::new();
                for rank in 0..world_size {
                    let plan = order(batch_size, world_size, rank).plan(&samples(count), 2).unwrap();
                    steps.insert(plan.steps());
                    for step in 0..plan.steps() {
                        assert_eq!(plan.batch(step).len(), batch_size);
                        seen.extend(plan.batch(step).flatten());
                    }
                }
                seen.sort_unstable();
                let case = format!("world {world_size}, batch {batch_size}, samples {count}");
                assert!(seen.iter().copied().eq(0..count), "{case}: {seen:?}");
                assert_eq!(steps.len(), 1, "{case}: ranks differ in steps");
                assert_eq!(*steps.iter().next().unwrap(), count.div_ceil((world_size * batch_size) as u64), "{case}");
            }
        }
    }
}

#[test]
fn drop_last_leaves_out_only_the_tail_and_pads_nothing() {
    for world_size in 1..=16 {
        for batch_size in [1, 2, 3] {
            let count = 100;
            let global = (world_size * batch_size) as u64;
            let mut seen = HashSet::new();
            for rank in 0..world_size {
                let dropping =
                    Order { drop_last: true, ..order(batch_size, world_size, rank) }.plan(&samples(count), 0).unwrap();
                let padding = order(batch_size, world_size, rank).plan(&samples(count), 0).unwrap();
                assert_eq!(dropping.steps(), count / global);
                for step in 0..dropping.steps() {
                    assert!(dropping.batch(step).eq(padding.batch(step)));
                    dropping.batch(step).for_each(|sample| assert!(seen.insert(sample.expect("no padding"))));
                }
            }
            assert_eq!(seen.len() as u64, count / global * global);
        }
    }
}

#[test]
fn a_step_is_the_same_samples_on_any_world_size() {
    // 16 samples a step in all, split over 1, 2, 4, 8 or 16 ranks.
    let union = |world_size: usize, step: u64| -> BTreeSet<Option<u64>> {
        (0..world_size)
            .flat_map(|rank| {
                let plan = order(16 / world_size, world_size, rank).plan(&samples(100), 7).unwrap();
                plan.batch(step).collect::<Vec<_>>()
            })
            .collect()
    };
    for step in 0..7 {
        let alone = union(1, step);
        for world_size in [2, 4, 8, 16] {
            assert_eq!(union(world_size, step), alone, "step {step}, world {world_size}");
        }
    }
}

#[test]
fn impossible_settings_are_refused() {
    let good = order(4, 2, 0);
    let bad = [
        Order { batch_size: 0, ..good },
        Order { batch_size: 1 << 21, ..good },
        Order { world_size: 0, ..good },
        Order { world_size: 1 << 21, ..good },
        Order { rank: 2, ..good },
        Order { drop_last: true, batch_size: 6, ..good },
    ];
    for order in bad {
        assert_eq!(order.plan(&samples(10), 0).unwrap_err().kind(), ErrorKind::Config, "{order:?}");
    }
    assert!(good.plan(&samples(10), 0).is_ok());
}

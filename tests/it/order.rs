//! The order: a permutation is a bijection, the guarantees G1 to G5 of `order` hold for every world size, batch size,
//! `drop_last`, chunk size and mixture, and each launcher is recognized.

use std::collections::{BTreeSet, HashSet};

use maskstream::internals::{Order, Permutation, SampleSpace, Shuffle};
use maskstream::{Distributed, ErrorKind, Launcher};

/// One shard of `count` samples.
fn samples(count: u64) -> SampleSpace {
    SampleSpace::of_shards(&[count])
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
    // A random permutation is expected to have one fixed point and one pair of neighbours that stay neighbours.
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

/// One to sixteen ranks, and two large worlds with many divisors.
fn worlds() -> impl Iterator<Item = usize> {
    (1..=16).chain([60, 240])
}

/// Sequential, a perfect shuffle, and chunks shorter and longer than shards.
fn shuffles() -> [Option<Shuffle>; 6] {
    let chunks = |chunk_samples| Some(Shuffle { seed: 5, chunk_samples });
    [None, chunks(1), chunks(2), chunks(7), chunks(16), chunks(1 << 40)]
}

/// One sample; shards of equal, of uneven and of no size; and several sets mixed.
fn spaces() -> Vec<SampleSpace> {
    vec![
        SampleSpace::of_shards(&[1]),
        SampleSpace::of_shards(&[37, 0, 1, 250, 16, 16, 17]),
        SampleSpace::of_shards(&[0, 0, 96]),
        SampleSpace::of_shards(&[1300; 3]),
        SampleSpace::mixed(&[(3.0, &[100, 41]), (1.0, &[7]), (0.5, &[300, 300])]).unwrap(),
    ]
}

/// The rows of a step on all ranks, rank by rank.
fn rows(order: Order, space: &SampleSpace, epoch: u64, step: u64) -> Vec<Option<u64>> {
    let on = |rank| Order { rank, ..order }.plan(space, epoch).unwrap().batch(step).collect::<Vec<_>>();
    (0..order.world_size).flat_map(on).collect()
}

#[test]
fn g1_every_rank_has_the_same_number_of_steps() {
    for space in spaces() {
        for world_size in worlds() {
            for (batch_size, drop_last) in [(1, false), (2, true), (3, false), (16, false), (16, true)] {
                let steps = |rank| {
                    let order = Order { drop_last, ..order(batch_size, world_size, rank) };
                    order.plan(&space, 2).map(|plan| plan.steps()).ok()
                };
                let (len, global) = (space.len(), (batch_size * world_size) as u64);
                let expected = if drop_last { len / global } else { len.div_ceil(global) };
                let expected = (expected > 0).then_some(expected);
                assert!((0..world_size).all(|rank| steps(rank) == expected), "{len} samples, world {world_size}");
            }
        }
    }
}

#[test]
fn g2_a_step_of_all_ranks_is_one_stretch_of_one_order_for_every_world_size() {
    for space in spaces() {
        for shuffle in shuffles() {
            let alone = Order { shuffle, ..order(240, 1, 0) };
            let global: Vec<u64> = {
                let plan = alone.plan(&space, 7).unwrap();
                (0..space.len()).map(|position| plan.sample_at(position)).collect()
            };
            for world_size in worlds().filter(|world| 240 % world == 0) {
                let order = Order { shuffle, ..order(240 / world_size, world_size, 0) };
                for step in 0..order.plan(&space, 7).unwrap().steps() {
                    let start = 240 * step as usize;
                    let mut expected = global[start..global.len().min(start + 240)].to_vec();
                    let mut found: Vec<u64> = rows(order, &space, 7, step).into_iter().flatten().collect();
                    expected.sort_unstable();
                    found.sort_unstable();
                    assert_eq!(found, expected, "step {step}, world {world_size}, {shuffle:?}");
                }
            }
        }
    }
}

#[test]
fn g3_no_sample_comes_twice_and_none_is_missed_but_a_dropped_tail() {
    for space in spaces().into_iter().take(4) {
        for shuffle in shuffles() {
            for world_size in worlds() {
                for (batch_size, drop_last) in [(1, false), (3, true), (7, false)] {
                    let order = Order { shuffle, drop_last, ..order(batch_size, world_size, 0) };
                    let Ok(plan) = order.plan(&space, 3) else {
                        assert!(drop_last && space.len() < order.global_batch());
                        continue;
                    };
                    let steps = (0..plan.steps()).map(|step| rows(order, &space, 3, step));
                    let mut seen: Vec<u64> = steps.flatten().flatten().collect();
                    let (planned, all) = (seen.len() as u64, space.len());
                    seen.sort_unstable();
                    seen.dedup();
                    let case = format!("world {world_size}, batch {batch_size}, {shuffle:?}");
                    assert_eq!(seen.len() as u64, planned, "{case}: a sample comes twice");
                    assert!(seen.last().is_none_or(|&last| last < all), "{case}");
                    assert_eq!(plan.dropped(), all - planned, "{case}");
                    assert!(plan.dropped() < if drop_last { order.global_batch() } else { 1 }, "{case}");
                    let shares = (0..world_size).map(|rank| {
                        let plan = Order { rank, ..order }.plan(&space, 3).unwrap();
                        let mut later = 0;
                        assert_eq!(plan.samples_from(plan.steps()), later, "{case}, rank {rank}");
                        for step in (0..plan.steps()).rev() {
                            later += plan.batch(step).flatten().count() as u64;
                            assert_eq!(plan.samples_from(step), later, "{case}, rank {rank}, step {step}");
                        }
                        plan.samples_from(0)
                    });
                    assert_eq!(shares.sum::<u64>(), planned, "{case}");
                }
            }
        }
    }
}

#[test]
fn g3_all_samples_of_a_mixed_set_come_once_before_any_comes_again() {
    let sets: [(f64, &[u64]); 3] = [(3.0, &[100, 41]), (1.0, &[7]), (0.5, &[300, 300])];
    let space = SampleSpace::mixed(&sets).unwrap();
    let (len, starts) = (space.len(), [0, 141, 148, 748]);
    for shuffle in shuffles() {
        let order = Order { shuffle, ..order(8, 1, 0) };
        let mut draws = [const { Vec::new() }; 3];
        for epoch in 0..40 {
            let plan = order.plan(&space, epoch).unwrap();
            for position in 0..len {
                let sample = plan.sample_at(position);
                let set = starts.iter().rposition(|&start| start <= sample).unwrap();
                draws[set].push(sample - starts[set]);
            }
        }
        for (set, draws) in draws.iter().enumerate() {
            let size = starts[set + 1] - starts[set];
            for (round, samples) in draws.chunks(size as usize).enumerate() {
                let seen: BTreeSet<u64> = samples.iter().copied().collect();
                assert_eq!(seen.len(), samples.len(), "set {set}, round {round}, {shuffle:?}");
                assert!(seen.iter().all(|&sample| sample < size));
            }
            let share = draws.len() as f64 / (40 * len) as f64;
            let wanted = sets[set].0 / 4.5;
            assert!((share - wanted).abs() < 0.002, "set {set} has a share of {share}, not {wanted}");
        }
    }
}

#[test]
fn g4_a_position_is_reached_without_those_before_it() {
    // The end of an order that is far too large to be listed.
    for shuffle in shuffles() {
        let shards: Vec<u64> = (0..1000).map(|shard| (1 << 40) + shard).collect();
        let space = SampleSpace::of_shards(&shards);
        let order = Order { shuffle, ..order(64, 240, 11) };
        let plan = order.plan(&space, 9).unwrap();
        let last: Vec<u64> = plan.batch(plan.steps() - 1).flatten().collect();
        assert!(!last.is_empty() && last.iter().all(|&sample| sample < space.len()));
        assert_eq!(plan.samples_from(plan.steps() - 1), last.len() as u64);
    }
}

#[test]
fn g5_ranks_agree_without_talking_and_differ_in_epochs_and_seeds() {
    let space = SampleSpace::of_shards(&[500, 500]);
    let list = |seed, epoch, chunk_samples| -> Vec<u64> {
        let order = Order { shuffle: Some(Shuffle { seed, chunk_samples }), ..order(8, 2, 0) };
        let plan = order.plan(&space, epoch).unwrap();
        (0..space.len()).map(|position| plan.sample_at(position)).collect()
    };
    let mut orders = HashSet::new();
    for seed in 0..4 {
        for epoch in 0..4 {
            for chunk in [1, 2, 8] {
                let order = list(seed, epoch, chunk);
                assert_eq!(order, list(seed, epoch, chunk));
                assert!(orders.insert(order), "seed {seed}, epoch {epoch}, chunk {chunk} repeats another order");
            }
        }
    }
}

#[test]
fn a_chunk_is_a_run_of_one_shard_and_is_in_use_for_a_short_while() {
    let shards = [40_000, 333, 7, 40_960, 25_000];
    let space = SampleSpace::of_shards(&shards);
    let starts: Vec<u64> = (0..=shards.len()).map(|shard| shards[..shard].iter().sum()).collect();
    for chunk_samples in [1, 2, 7, 8] {
        let order = Order { shuffle: Some(Shuffle { seed: 3, chunk_samples }), ..order(8, 1, 0) };
        let plan = order.plan(&space, 1).unwrap();
        let mut span = std::collections::HashMap::new();
        for position in 0..space.len() {
            let sample = plan.sample_at(position);
            let chunk = plan.chunk_of(sample);
            assert!(chunk.contains(&sample) && [1, chunk_samples].contains(&(chunk.end - chunk.start)));
            let shard = starts.partition_point(|&start| start <= chunk.start) - 1;
            assert!(chunk.end <= starts[shard + 1], "{chunk:?} crosses the end of its shard");
            span.entry(chunk).or_insert((position, position)).1 = position;
        }
        let whole = span.keys().filter(|chunk| chunk.end - chunk.start == chunk_samples).count() as u64;
        let expected: u64 = shards.iter().map(|shard| shard / chunk_samples).sum();
        assert!(whole == expected || chunk_samples == 1, "{whole} whole chunks, not {expected}");
        // 960 lanes, each with one chunk at a time. The ends of a lane may cut two chunks, and its start one.
        let limit = 960 * (chunk_samples + 2);
        let long = span.values().filter(|(first, last)| last - first > limit).count();
        assert!(long <= 3 * 960, "{long} of {} chunks are in use for long", span.len());
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
        Order { shuffle: Some(Shuffle { seed: 1, chunk_samples: 0 }), ..good },
    ];
    for order in bad {
        assert_eq!(order.plan(&samples(10), 0).unwrap_err().kind(), ErrorKind::Config, "{order:?}");
    }
    assert!(good.plan(&samples(10), 0).is_ok());
}

#[test]
fn shares_are_within_one_draw_of_their_weights_in_any_order_of_sets() {
    for weights in [vec![1.0; 7], vec![0.5, 0.2, 0.2, 0.1], vec![0.000_5, 0.999, 0.000_5], vec![1.0, 3.0, 1.0 / 512.0]]
    {
        let total: f64 = weights.iter().sum();
        let sets: Vec<(f64, &[u64])> = weights.iter().map(|&weight| (weight, &[10_u64][..])).collect();
        let space = SampleSpace::mixed(&sets).unwrap();
        let plan = order(1, 1, 0).plan(&space, 0).unwrap();
        let reversed: Vec<_> = sets.iter().rev().copied().collect();
        assert!(SampleSpace::mixed(&reversed).is_ok());
        // In 4093 epochs every set has had whole periods.
        let len = space.len();
        let mut drawn = vec![0_u64; weights.len()];
        for epoch in 0..4093 {
            let plan = order(1, 1, 0).plan(&space, epoch).unwrap();
            (0..len).for_each(|position| drawn[(plan.sample_at(position) / 10) as usize] += 1);
        }
        for (weight, drawn) in weights.iter().zip(drawn) {
            let share = drawn as f64 / (4093 * len) as f64;
            assert!((share - weight / total).abs() < 1.0 / 4093.0, "{weights:?}: {share} for {weight}");
        }
        assert_eq!(plan.steps(), len);
    }
    assert!(SampleSpace::mixed(&[(0.9, &[5]), (4093.0, &[5])]).is_err(), "less than one draw");
}

#[test]
fn batches_after_the_last_step_are_empty() {
    let dropping = Order { drop_last: true, ..order(4, 1, 0) };
    for step in [2, 3, 1 << 62, u64::MAX] {
        let plan = dropping.plan(&samples(10), 0).unwrap();
        assert_eq!((plan.batch(step).collect::<Vec<_>>(), plan.samples_from(step)), (vec![None; 4], 0));
    }
}

#[test]
fn unusable_weights_are_refused() {
    let bad: [&[(f64, &[u64])]; 6] = [
        &[],
        &[(0.0, &[5]), (1.0, &[5])],
        &[(-1.0, &[5]), (2.0, &[5])],
        &[(f64::NAN, &[5]), (1.0, &[5])],
        &[(1e-9, &[5]), (1.0, &[5])],
        &[(1.0, &[5]), (1.0, &[0, 0])],
    ];
    for sets in bad {
        assert_eq!(SampleSpace::mixed(sets).unwrap_err().kind(), ErrorKind::Config, "{sets:?}");
    }
    assert_eq!(SampleSpace::mixed(&[(1e30, &[5]), (1e30, &[6])]).unwrap().len(), 11);
    assert!(SampleSpace::mixed(&[(f64::MAX, &[5]), (f64::MAX, &[6])]).is_err(), "their sum is not finite");
}

fn launched(variables: &[(&str, &str)]) -> maskstream::Result<Distributed> {
    Distributed::from_variables(|name| {
        variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    })
}

#[test]
fn each_launcher_is_recognized_and_inherited_variables_are_not() {
    let expect = |variables: &[(&str, &str)], rank, world_size, local_rank, launcher| {
        let found = launched(variables).unwrap();
        let expected = (rank, world_size, local_rank, launcher);
        assert_eq!((found.rank, found.world_size, found.local_rank, found.launcher), expected, "{variables:?}");
    };
    let torch = [("RANK", "5"), ("WORLD_SIZE", "8"), ("LOCAL_RANK", "1"), ("LOCAL_WORLD_SIZE", "4")];
    expect(&torch, 5, 8, Some(1), Launcher::Torchrun);
    assert_eq!(launched(&torch).unwrap().local_world_size, Some(4));
    let srun = [
        ("SLURM_STEP_ID", "0"),
        ("SLURM_PROCID", "3"),
        ("SLURM_STEP_NUM_TASKS", "4"),
        ("SLURM_LOCALID", "1"),
        ("SLURM_NTASKS", "9"),
    ];
    expect(&srun, 3, 4, Some(1), Launcher::Slurm);
    // torchrun in each of srun's tasks: Slurm's ranks are those of machines.
    expect(&[&torch[..], &srun].concat(), 5, 8, Some(1), Launcher::Torchrun);
    // A batch script without srun, and a task of a job array.
    expect(&[("SLURM_PROCID", "0"), ("SLURM_NTASKS", "2"), ("SLURM_JOB_ID", "7")], 0, 1, None, Launcher::SingleProcess);
    expect(
        &[("SLURM_PROCID", "0"), ("SLURM_NTASKS", ""), ("SLURM_ARRAY_TASK_ID", "4")],
        0,
        1,
        None,
        Launcher::SingleProcess,
    );
    let mpirun = [
        ("OMPI_COMM_WORLD_RANK", "2"),
        ("OMPI_COMM_WORLD_SIZE", "3"),
        ("OMPI_COMM_WORLD_LOCAL_RANK", "0"),
        ("PMIX_RANK", "2"),
    ];
    expect(&mpirun, 2, 3, Some(0), Launcher::OpenMpi);
    // In a Slurm allocation, mpirun starts a daemon on each machine with srun, and ranks inherit its variables.
    expect(&[&srun[..], &mpirun].concat(), 2, 3, Some(0), Launcher::OpenMpi);
    expect(&[&srun[..], &[("PMI_RANK", "1"), ("PMI_SIZE", "2")]].concat(), 1, 2, None, Launcher::Mpich);
    expect(&[("PMIX_RANK", "2")], 0, 1, None, Launcher::SingleProcess);
    expect(&[("PMI_RANK", "1"), ("PMI_SIZE", "2"), ("MPI_LOCALRANKID", "1")], 1, 2, Some(1), Launcher::Mpich);
    expect(&[("JOB_COMPLETION_INDEX", "3")], 0, 1, None, Launcher::SingleProcess);
    expect(&[("RANK", " "), ("WORLD_SIZE", "")], 0, 1, None, Launcher::SingleProcess);
    expect(&[], 0, 1, None, Launcher::SingleProcess);
}

#[test]
fn half_a_pair_or_an_impossible_rank_is_an_error_that_names_the_variable() {
    let bad: [(&[(&str, &str)], &str); 9] = [
        (&[("RANK", "1")], "WORLD_SIZE"),
        (&[("WORLD_SIZE", "2")], "RANK"),
        (&[("RANK", "2"), ("WORLD_SIZE", "2")], "not below"),
        (&[("RANK", "-1"), ("WORLD_SIZE", "2")], "\"-1\""),
        (&[("RANK", "0"), ("WORLD_SIZE", "two")], "\"two\""),
        (&[("SLURM_STEP_ID", "0"), ("SLURM_PROCID", "1")], "SLURM_STEP_NUM_TASKS"),
        (&[("OMPI_COMM_WORLD_SIZE", "3")], "OMPI_COMM_WORLD_RANK"),
        (&[("PMI_RANK", "0")], "PMI_SIZE"),
        (&[("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "x")], "LOCAL_RANK"),
    ];
    for (variables, named) in bad {
        let error = launched(variables).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(named), "{variables:?}: {error}");
    }
}

//! Cursors: a resumed or replayed epoch equals the uninterrupted one, and a cursor that does not fit is refused with
//! the reason.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use maskstream::index::{Sidecar, resolve_patterns};
use maskstream::{
    Batch, Cursor, ErrorKind, IdList, Loader, LoaderBuilder, MaskFilter, Memory, OnError, ShardSet, TopKBy,
};

use crate::fixture::{Made, content, lenient, made_many, memory, set_of, shard, within};

fn options() -> LoaderBuilder {
    Loader::builder().batch_size(2).image_size(24).mask_size(Some([8, 8])).top_k(3).num_workers(2).shuffle(9)
}

/// Three shards of five samples, and one of nine.
fn shards() -> Vec<Vec<u8>> {
    let samples = made_many(24);
    [0..5, 5..10, 10..15, 15..24].map(|range| shard(&samples[range])).to_vec()
}

fn loader(options: LoaderBuilder) -> Loader {
    options.build(set_of(shards())).unwrap()
}

fn contents(batches: impl Iterator<Item = maskstream::Result<Batch>>) -> Vec<BTreeMap<String, Vec<u8>>> {
    batches.map(|batch| content(&batch.unwrap())).collect()
}

/// The cursor as a checkpoint stores it.
fn saved(cursor: &Cursor) -> Cursor {
    serde_json::from_str(&serde_json::to_string(cursor).unwrap()).unwrap()
}

#[test]
fn g4_an_epoch_resumed_at_any_batch_goes_on_as_if_nothing_had_happened() {
    within(|| {
        for options in [options as fn() -> LoaderBuilder, || options().chunk_bytes(20_000), || options().batch_size(5)]
        {
            let whole = contents(loader(options()).epoch(3).unwrap());
            for taken in 0..=whole.len() {
                let first = loader(options().num_workers(3).prefetch_batches(4));
                let mut epoch = first.epoch(3).unwrap();
                let mut batches: Vec<_> = contents(epoch.by_ref().take(taken));
                let cursor = saved(&epoch.cursor().unwrap());
                // All batches under way are lost.
                drop((epoch, first));
                let second = loader(options().num_workers(1).prefetch_batches(1).memory(Memory::Pinned));
                let mut rest = second.resume_from(&cursor).unwrap();
                assert_eq!(rest.cursor(), Some(cursor), "stopped before the first batch, nothing is lost");
                assert_eq!((rest.index(), rest.steps()), (3, Some(whole.len() as u64)));
                batches.extend(contents(rest.by_ref()));
                let end = rest.cursor().unwrap();
                assert_eq!(batches, whole, "resumed after {taken}");
                assert_eq!((end.epoch(), end.step()), (3, whole.len() as u64));
            }
        }
    });
}

#[test]
fn g4_an_epoch_begun_on_eight_ranks_is_finished_on_twelve() {
    within(|| {
        // Two steps of 24 samples, the second one padded, of one set and of two that are mixed.
        let samples = made_many(40);
        let set = |range: std::ops::Range<usize>| set_of(vec![shard(&samples[range])]);
        let sets = [
            Arc::new(set(0..40)),
            Arc::new(ShardSet::interleave(vec![(2.0, set(0..30)), (1.0, set(30..40))]).unwrap()),
        ];
        for set in sets {
            let on = |rank: usize, world: usize| {
                options().batch_size(24 / world).rank(rank, world).build(Arc::clone(&set)).unwrap()
            };
            let ids = |batch: &Batch| -> Vec<i64> {
                let rows = batch.image_ids().iter().zip(batch.image_valid());
                rows.filter(|(_, valid)| **valid == 1).map(|(id, _)| *id).collect()
            };
            let union = |batches: Vec<Batch>| -> Vec<i64> {
                let mut all: Vec<i64> = batches.iter().flat_map(ids).collect();
                all.sort_unstable();
                all
            };
            let alone: Vec<Vec<i64>> = on(0, 1).epoch(1).unwrap().map(|batch| union(vec![batch.unwrap()])).collect();
            let mut digests = Vec::new();
            let first: Vec<Batch> = (0..8)
                .map(|rank| {
                    let loader = on(rank, 8);
                    digests.push(loader.fingerprint());
                    loader.epoch(1).unwrap().next().unwrap().unwrap()
                })
                .collect();
            assert!(digests.iter().all(|digest| *digest == digests[0]), "ranks agree");
            let cursor = first[0].cursor().unwrap();
            assert!(first.iter().all(|batch| batch.cursor() == Some(cursor)), "the cursor is the same on every rank");
            assert_eq!(union(first), alone[0]);
            let resume = |rank| on(rank, 12).resume_from(&cursor).unwrap().map(Result::unwrap).collect();
            let mut rest: Vec<Vec<Batch>> = (0..12).map(resume).collect();
            for (step, expected) in alone.iter().enumerate().skip(1) {
                let batches = rest.iter_mut().map(|batches| batches.remove(0)).collect::<Vec<_>>();
                assert!(batches.iter().all(|batch| batch.step() == step as u64));
                assert_eq!(union(batches), *expected, "step {step}");
            }
            assert!(rest.iter().all(Vec::is_empty), "every rank has the same number of steps");
        }
    });
}

#[test]
fn a_cursor_is_small_and_at_an_end_leads_nowhere() {
    within(|| {
        let loader = loader(options());
        let mut epoch = loader.epoch(7).unwrap();
        let start = epoch.cursor().unwrap();
        assert_eq!((start.epoch(), start.position()), (7, 0));
        let batches: Vec<Batch> = epoch.by_ref().map(Result::unwrap).collect();
        let cursor = epoch.cursor().unwrap();
        assert_eq!(batches.last().unwrap().cursor(), Some(cursor));
        assert_eq!((cursor.epoch(), cursor.position(), cursor.step()), (7, 24, 12));
        assert_eq!(batches[4].cursor().unwrap().position(), 10);
        assert!(loader.resume_from(&cursor).unwrap().next().is_none());
        let json = serde_json::to_string(&cursor).unwrap();
        assert!(json.len() < 700, "{json}");
        assert!(postcard::to_stdvec(&cursor).unwrap().len() < 100);
    });
}

#[test]
fn what_does_not_fit_a_cursor_is_refused_and_named() {
    within(|| {
        let cursor = {
            let mut epoch = loader(options()).epoch(2).unwrap();
            epoch.by_ref().take(3).for_each(|batch| drop(batch.unwrap()));
            epoch.cursor().unwrap()
        };
        let refused = |loader: &Loader, named: &str| {
            let error = loader.resume_from(&cursor).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains(named), "{error} does not name {named}");
            assert!(loader.replay(&cursor, 0).is_err());
        };
        refused(&loader(options().shuffle(10)), "seed 9 when it was saved and is now seed 10");
        refused(&loader(options().chunk_bytes(60_000)), "chunks of");
        refused(&loader(options().batch_size(3)), "batch_size x world_size was 2 when it was saved and is now 3");
        refused(&loader(options().rank(0, 2)), "batch_size x world_size");
        refused(&loader(options().top_k(4)), "top_k was 3");
        refused(&loader(options().drop_last(true)), "drop_last");
        refused(&loader(options().top_k_by(TopKBy::LargestArea)), "top_k_by was highest stability_score when");
        let sources = |shards: Vec<Vec<u8>>| {
            shards.into_iter().zip('a'..).map(|(bytes, name)| (name.to_string(), memory(bytes))).collect::<Vec<_>>()
        };
        let build = |set: maskstream::Result<ShardSet>| options().build(set.unwrap()).unwrap();
        let filter = MaskFilter::all().min_stability_score(0.92);
        refused(&build(lenient().filter(filter).from_sources(sources(shards()))), "the filter");
        refused(&build(lenient().retain(|entry| entry.image_id != 7).from_sources(sources(shards()))), "23 samples");
        let ids = IdList::images(1..=24);
        assert!(build(lenient().ids(ids).from_sources(sources(shards()))).resume_from(&cursor).is_ok());
        // A shard of the same length with another json.
        let mut samples = made_many(24);
        let end = samples[20].json.len() - 8;
        let digit = samples[20].json[..end].iter().rposition(|byte| byte.is_ascii_digit()).unwrap();
        samples[20].json[digit] = if samples[20].json[digit] == b'1' { b'2' } else { b'1' };
        let mut changed = shards();
        changed[3] = shard(&samples[15..24]);
        assert_eq!(changed[3].len(), shards()[3].len());
        refused(&build(lenient().from_sources(sources(changed))), "what the shards hold");
        // Fewer shards, more, and in another order.
        refused(&build(lenient().from_sources(sources(shards()[..3].to_vec()))), "the number of shards was 4");
        let mut more = shards();
        more.push(shard(&[Made { id: 25, ..made_many(1).remove(0) }]));
        refused(&build(lenient().from_sources(sources(more))), "1 more shards than when it was saved (e)");
        let mut turned = shards();
        turned.swap(0, 3);
        refused(&build(lenient().from_sources(sources(turned))), "the list of shards");
        let weights = ShardSet::interleave(vec![
            (1.0, lenient().from_sources(sources(shards())[..2].to_vec()).unwrap()),
            (2.0, lenient().from_sources(sources(shards())[2..].to_vec()).unwrap()),
        ]);
        refused(&build(weights), "does not fit");
        // A modified cursor.
        let mut json: serde_json::Value = serde_json::to_value(cursor).unwrap();
        json["position"] = 5.into();
        let error = loader(options()).resume_from(&serde_json::from_value(json.clone()).unwrap()).unwrap_err();
        assert!(error.is_corrupt() && error.to_string().contains("position 5"), "{error}");
        json["plan"]["version"] = 99.into();
        let error = loader(options()).resume_from(&serde_json::from_value(json).unwrap()).unwrap_err();
        assert!(error.to_string().contains("version"), "{error}");
    });
}

#[test]
fn shards_may_move_and_be_indexed_anew() {
    within(|| {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (bytes, name) in shards().iter().zip(["a.tar", "b.tar", "c.tar", "d.tar"]) {
            std::fs::write(here.path().join(name), bytes).unwrap();
            std::fs::write(there.path().join(name), bytes).unwrap();
        }
        let open = |dir: &tempfile::TempDir, sidecar| {
            let paths: Vec<PathBuf> = resolve_patterns(&[dir.path()]).unwrap();
            options().build(lenient().sidecar(sidecar).open(&paths).unwrap()).unwrap()
        };
        let whole = contents(open(&here, Sidecar::Beside).epoch(0).unwrap());
        let fifth = open(&here, Sidecar::Beside).epoch(0).unwrap().nth(4).unwrap().unwrap();
        let there = open(&there, Sidecar::Off);
        assert_eq!(contents(there.resume_from(&fifth.cursor().unwrap()).unwrap()), whole[5..]);
    });
}

#[test]
fn a_batch_is_replayed_as_it_was_and_leaves_no_trace() {
    within(|| {
        let loader = loader(options().on_error(OnError::Stop));
        let mut epoch = loader.epoch(4).unwrap();
        let whole = contents(epoch.by_ref());
        let cursor = epoch.cursor().unwrap();
        for step in [0, 5, 11, 3] {
            let batch = loader.replay(&cursor, step).unwrap();
            assert_eq!(content(&batch), whole[step as usize]);
            assert_eq!(batch.cursor().unwrap().step(), step + 1);
        }
        assert_eq!(epoch.cursor(), Some(cursor));
        assert!(loader.replay(&cursor, 12).unwrap_err().to_string().contains("an epoch has 12"));
    });
}

#[test]
fn ranks_with_other_data_or_settings_have_another_digest() {
    let digest = |options: LoaderBuilder| loader(options).fingerprint();
    let same = digest(options().rank(0, 2).batch_size(1));
    assert_eq!(digest(options().rank(1, 2).batch_size(1).num_workers(5).image_size(32)), same);
    let others = [
        options().rank(0, 2).batch_size(1).shuffle(10),
        options().batch_size(2),
        options().rank(0, 4).batch_size(1),
        options().rank(0, 2).batch_size(1).top_k(9),
    ];
    for other in others {
        assert_ne!(digest(other), same);
    }
}

#[test]
fn of_mixed_sets_each_keeps_its_filter_its_share_and_its_opener() {
    within(|| {
        let samples = made_many(30);
        let few = MaskFilter::all().min_stability_score(0.95);
        let open = |range: std::ops::Range<usize>, filter: MaskFilter| {
            lenient().filter(filter).from_sources(vec![("s".to_owned(), memory(shard(&samples[range])))]).unwrap()
        };
        let sets = || vec![(3.0, open(0..20, MaskFilter::all())), (1.0, open(20..30, few.clone()))];
        let lengths: Vec<u64> = sets().iter().map(|(_, set)| set.len()).collect();
        let mixed = ShardSet::interleave(sets()).unwrap();
        assert_eq!((mixed.len(), mixed.reports().len()), (lengths[0] + lengths[1], 2));
        let loader = options().batch_size(1).top_k(10).build(mixed).unwrap();
        let mut drawn = [0_u64; 2];
        for epoch in 0..8 {
            for batch in loader.epoch(epoch).unwrap() {
                let batch = batch.unwrap();
                let set = batch.samples()[0].unwrap().shard as usize;
                drawn[set] += 1;
                assert_eq!(set == 0, batch.image_ids()[0] <= 20, "from its own source");
                let least = if set == 0 { 0.0 } else { 0.95 };
                let scores = batch.stability_score().iter().zip(batch.valid());
                assert!(scores.filter(|(_, valid)| **valid == 1).all(|(score, _)| *score >= least));
            }
        }
        let share = drawn[0] as f64 / (drawn[0] + drawn[1]) as f64;
        assert!((share - 0.75).abs() < 0.04, "{drawn:?}");
        let nested =
            ShardSet::interleave(vec![(1.0, ShardSet::interleave(sets()).unwrap()), (1.0, open(0..2, few.clone()))]);
        assert!(nested.unwrap_err().to_string().contains("itself a mixture"));
    });
}

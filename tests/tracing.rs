//! The spans of an epoch, as a subscriber gets them from all of its threads.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};

use maskstream::synth::{Preset, SynthOptions, write_shards};
use maskstream::{Loader, ShardSet};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// A span that was opened: its name, its fields, and how often it was entered, left and closed.
#[derive(Clone, Debug, Default)]
struct Seen {
    name: &'static str,
    fields: BTreeMap<&'static str, u64>,
    counts: [u32; 3],
}

/// All spans of the process so far. The id of a span is its place, counted from 1.
static SEEN: Mutex<Vec<Seen>> = Mutex::new(Vec::new());

struct Recorder;

impl Recorder {
    fn count(&self, span: &Id, what: usize) {
        SEEN.lock().unwrap_or_else(PoisonError::into_inner)[span.into_u64() as usize - 1].counts[what] += 1;
    }
}

impl Visit for Seen {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.fields.insert(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        panic!("{field} is not a number: {value:?}");
    }
}

impl Subscriber for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "maskstream"
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut seen = Seen { name: span.metadata().name(), ..Seen::default() };
        span.record(&mut seen);
        let mut all = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(seen);
        Id::from_u64(all.len() as u64)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, span: &Id) {
        self.count(span, 0);
    }

    fn exit(&self, span: &Id) {
        self.count(span, 1);
    }

    fn try_close(&self, span: Id) -> bool {
        self.count(&span, 2);
        true
    }
}

#[test]
fn each_sample_and_batch_has_its_spans_and_each_is_closed() {
    tracing::subscriber::set_global_default(Recorder).unwrap();
    let dir = tempfile::tempdir().unwrap();
    write_shards(dir.path(), 2, &SynthOptions::new(Preset::Small).samples(7), &|_| ()).unwrap();
    let shards = ShardSet::builder().open(&[dir.path()]).unwrap();
    let samples: Vec<[u64; 2]> = shards
        .reports()
        .enumerate()
        .flat_map(|(shard, report)| (0..report.samples as u64).map(move |entry| [shard as u64, entry]))
        .collect();
    let loader = Loader::builder().batch_size(4).image_size(64).num_workers(3).build(shards).unwrap();
    let batches = loader.epoch(0).unwrap().convert_with(|batch| Ok(batch.step()));
    let steps: Vec<u64> = batches.map(|step| step.unwrap()).collect();

    let seen = SEEN.lock().unwrap().clone();
    let of = |name: &str| seen.iter().filter(|seen| seen.name == name).collect::<Vec<_>>();
    for (name, is_entered) in [("read", true), ("labels", true), ("image", false)] {
        let mut found: Vec<[u64; 2]> =
            of(name).iter().map(|seen| [seen.fields["shard"], seen.fields["entry"]]).collect();
        found.sort_unstable();
        assert_eq!(found, samples, "{name}");
        for (place, span) in of(name).iter().enumerate() {
            assert_eq!(span.counts, [u32::from(is_entered), u32::from(is_entered), 1], "{span:?}");
            // Nothing is shuffled, and samples are read in order.
            assert!(name != "read" || span.fields["step"] == place as u64 / 4, "{span:?}");
        }
    }
    let steps_of = |name: &str| of(name).iter().map(|seen| seen.fields["step"]).collect::<Vec<_>>();
    assert_eq!(steps_of("convert"), steps);
    assert_eq!(steps_of("wait"), [steps, vec![4]].concat(), "and for the end");
    assert!(seen.iter().all(|span| span.counts[2] == 1), "a span was not closed");
}

//! Shards that become known while they are read. Comes in: paths and options. Goes out: their samples, shard by shard in
//! the order of their indexes, as soon as a pass has come by them; and when all passes are done, the [`ShardSet`].
//! Fails as indexing does, after the samples before the failure.
//!
//! Passes run on threads that the loader lends ([`GrowingSet::run_passes`]), at most `lookahead` shards ahead of the one
//! whose samples are being taken.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rayon::prelude::*;

use super::index::Follow;
use super::indexed::{self, IndexedShard, Unindexed};
use super::set::Shard;
use super::{Entry, SampleId, ShardSet, ShardSetOptions};
use crate::annotation::Score;
use crate::source::{GzipSource, Restarts, Source};
use crate::{Error, Result};

/// What it takes to read samples by their ids.
pub(crate) trait Samples: Send + Sync + std::fmt::Debug {
    /// The index row of a sample.
    fn entry(&self, id: SampleId) -> Option<Entry>;
    /// The bytes that the index of a shard speaks of.
    fn source(&self, shard: u32) -> Result<Arc<dyn Source>>;
    /// Where a shard is.
    fn path(&self, shard: u32) -> Option<PathBuf>;
}

impl Samples for ShardSet {
    fn entry(&self, id: SampleId) -> Option<Entry> {
        ShardSet::entry(self, id).cloned()
    }

    fn source(&self, shard: u32) -> Result<Arc<dyn Source>> {
        ShardSet::source(self, shard)
    }

    fn path(&self, shard: u32) -> Option<PathBuf> {
        self.shard_path(SampleId { shard, entry: 0 }).map(Into::into)
    }
}

/// Shards of which some have no index yet.
pub(crate) struct GrowingSet {
    options: ShardSetOptions,
    paths: Vec<PathBuf>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    shards: Vec<Growing>,
    /// The shard whose samples are being taken, and how many after it may be passed over meanwhile.
    current: usize,
    lookahead: usize,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Idle,
    Running,
    /// Passes are to give up.
    Stopping,
}

struct Growing {
    /// Samples that pass the filter, so far.
    entries: Vec<Entry>,
    source: Option<Arc<dyn Source>>,
    is: Is,
}

enum Is {
    Unindexed(Unindexed),
    UnderWay,
    Failed(Unindexed, Error),
    Indexed(Shard),
}

/// The next sample to take.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Position {
    shard: usize,
    entry: usize,
}

impl GrowingSet {
    /// Looks for the indexes that are there.
    pub(crate) fn open(options: ShardSetOptions, paths: Vec<PathBuf>) -> Result<Self> {
        let load = |path: &PathBuf| {
            let is = match options.load(path)? {
                Ok(indexed) => Is::Indexed(Shard::select(indexed, &options)?),
                Err(unindexed) => Is::Unindexed(unindexed),
            };
            Ok(Growing { entries: Vec::new(), source: None, is })
        };
        let shards = paths.par_iter().map(load).collect::<Result<Vec<_>>>()?;
        let state = State { shards, current: 0, lookahead: 0, stage: Stage::Idle };
        Ok(Self { options, paths, state: Mutex::new(state), changed: Condvar::new() })
    }

    /// Number of shards.
    pub(crate) fn len(&self) -> usize {
        self.paths.len()
    }

    /// Number of shards without an index.
    pub(crate) fn unindexed(&self) -> usize {
        self.lock().shards.iter().filter(|shard| !matches!(shard.is, Is::Indexed(_))).count()
    }

    /// The finished set; to be called once, when no shard is without an index.
    pub(crate) fn finish(&self) -> Result<ShardSet> {
        let shards = std::mem::take(&mut self.lock().shards);
        let indexed = |shard: Growing| match shard.is {
            Is::Indexed(shard) => Ok(shard),
            _ => Err(Error::config("a shard has no index yet")),
        };
        let shards = shards.into_iter().map(indexed).collect::<Result<_>>()?;
        ShardSet::assemble(self.options.clone(), shards)
    }

    /// Begins to take samples from the first one on.
    ///
    /// # Errors
    /// If that is going on already.
    pub(crate) fn start(&self, lookahead: usize) -> Result<()> {
        let mut state = self.lock();
        if state.stage != Stage::Idle {
            return Err(Error::config("an epoch is under way while the shards are indexed: finish or drop it first"));
        }
        (state.current, state.lookahead, state.stage) = (0, lookahead, Stage::Running);
        for shard in &mut state.shards {
            if let Is::Failed(unindexed, _) = &shard.is {
                (shard.is, shard.source) = (Is::Unindexed(unindexed.clone()), None);
            }
        }
        Ok(())
    }

    /// Has all passes give up, and whoever waits for a sample.
    pub(crate) fn stop(&self) {
        let mut state = self.lock();
        if state.stage == Stage::Running {
            state.stage = Stage::Stopping;
        }
        self.changed.notify_all();
    }

    /// Says that nobody works on it any more.
    pub(crate) fn rest(&self) {
        self.lock().stage = Stage::Idle;
    }

    /// The sample at `position`, which moves on; waits until it is known. `None` after the last one of all shards.
    ///
    /// # Errors
    /// If a shard cannot be read, or is more damaged than the policy allows; its sound samples have been returned by
    /// then.
    pub(crate) fn next(&self, position: &mut Position) -> Result<Option<SampleId>> {
        let mut state = self.lock();
        loop {
            let Some(shard) = state.shards.get(position.shard) else { return Ok(None) };
            if position.entry < shard.entries().len() {
                let id = SampleId { shard: position.shard as u32, entry: position.entry as u32 };
                position.entry += 1;
                return Ok(Some(id));
            }
            match &shard.is {
                Is::Indexed(_) => {
                    let reports = state.shards[..=position.shard].iter().filter_map(|shard| match &shard.is {
                        Is::Indexed(shard) => Some(shard.report()),
                        _ => None,
                    });
                    self.options.on_damage.judge(reports)?;
                    // Opened again if needed, by the points in the sidecar.
                    state.shards[position.shard].source = None;
                    *position = Position { shard: position.shard + 1, entry: 0 };
                    state.current = position.shard;
                    self.changed.notify_all();
                }
                Is::Failed(_, error) => return Err(error.repeat()),
                _ if state.stage != Stage::Running => return Err(given_up()),
                _ => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// A pass thread's life: one shard after the other, until none is left or all is to stop.
    pub(crate) fn run_passes(&self) {
        while let Some((index, unindexed)) = self.take_unindexed() {
            let passed = self.pass(index, &unindexed);
            let mut state = self.lock();
            let stopping = state.stage != Stage::Running;
            let shard = &mut state.shards[index];
            (shard.is, shard.source) = match passed {
                Ok(passed) => (Is::Indexed(passed), None),
                Err(_) if stopping => (Is::Unindexed(unindexed), None),
                // What was found before can still be read.
                Err(error) => (Is::Failed(unindexed, error), shard.source.take()),
            };
            if !matches!(shard.is, Is::Failed(..)) {
                shard.entries = Vec::new();
            }
            self.changed.notify_all();
        }
    }

    fn take_unindexed(&self) -> Option<(usize, Unindexed)> {
        let mut state = self.lock();
        while state.stage == Stage::Running {
            let index = state.shards.iter().position(|shard| matches!(shard.is, Is::Unindexed(_)))?;
            if index <= state.current + state.lookahead {
                let shard = &mut state.shards[index];
                shard.entries.clear();
                if let Is::Unindexed(unindexed) = std::mem::replace(&mut shard.is, Is::UnderWay) {
                    return Some((index, unindexed));
                }
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        None
    }

    fn pass(&self, index: usize, unindexed: &Unindexed) -> Result<Shard> {
        let path = &unindexed.path;
        let file = (self.options.opener)(path).map_err(|e| e.in_shard(path))?;
        let mut follower = Follower { set: self, index, file: Arc::clone(&file) };
        let built = indexed::pass(file.as_ref(), path, &*self.options.progress, &mut follower)?;
        let indexed: IndexedShard = unindexed.clone().finish(&file, built)?;
        Ok(Shard::sound(indexed, &self.options))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is one assignment: a panic elsewhere leaves nothing half-changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Growing {
    fn entries(&self) -> &[Entry] {
        match &self.is {
            Is::Indexed(shard) => shard.entries(),
            _ => &self.entries,
        }
    }
}

impl Samples for GrowingSet {
    fn entry(&self, id: SampleId) -> Option<Entry> {
        self.lock().shards.get(id.shard as usize)?.entries().get(id.entry as usize).cloned()
    }

    fn source(&self, index: u32) -> Result<Arc<dyn Source>> {
        let mut state = self.lock();
        let shard = state.shards.get_mut(index as usize);
        let shard = shard.ok_or_else(|| Error::config(format!("there is no shard {index}")))?;
        match (&shard.source, &shard.is) {
            (Some(source), _) => Ok(Arc::clone(source)),
            (None, Is::Indexed(indexed)) => {
                let source = indexed.open(&*self.options.opener)?;
                shard.source = Some(Arc::clone(&source));
                Ok(source)
            }
            (None, _) => Err(given_up()),
        }
    }

    fn path(&self, shard: u32) -> Option<PathBuf> {
        self.paths.get(shard as usize).cloned()
    }
}

impl std::fmt::Debug for GrowingSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GrowingSet").field("shards", &self.paths.len()).finish_non_exhaustive()
    }
}

/// Takes down what a pass finds.
struct Follower<'a> {
    set: &'a GrowingSet,
    index: usize,
    file: Arc<dyn Source>,
}

impl Follow for Follower<'_> {
    fn found(&mut self, entry: &Entry, scores: &[Score], restarts: Option<&Arc<Restarts>>) -> Result<()> {
        if self.set.options.keeps(entry, scores) {
            let mut state = self.set.lock();
            let shard = &mut state.shards[self.index];
            shard.entries.push(entry.clone());
            shard.source.get_or_insert_with(|| match restarts {
                Some(restarts) => Arc::new(GzipSource::new(Arc::clone(&self.file), Arc::clone(restarts))),
                None => Arc::clone(&self.file),
            });
            self.set.changed.notify_all();
        }
        Ok(())
    }

    fn goes_on(&self) -> Result<()> {
        if self.set.lock().stage == Stage::Running { Ok(()) } else { Err(given_up()) }
    }
}

fn given_up() -> Error {
    Error::limit("the epoch was given up while its shards were indexed")
}

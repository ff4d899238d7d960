//! The set of shards while it is indexed. Samples can be taken shard by shard, in the order of their indexes, as soon
//! as a pass has read both members; when all passes are done, the set becomes a [`ShardSet`]. Errors are those of
//! indexing, and come after the samples before the failure.
//!
//! Passes run on the epoch's threads ([`LiveSet::run_passes`]), at most `lookahead` shards ahead of the shard whose
//! samples are being taken.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use lru::LruCache;

use crate::annotation::{AnnotationSelector, AnnotationStats};
use crate::shard::{
    Entry, PartlyIndexed, PassObserver, SampleId, Samples, Shard, ShardReport, ShardSet, ShardSetBuilder, Unindexed,
    catch_panic,
};
use crate::source::{GzipSource, Restarts, Source};
use crate::{Error, Result};

/// Shards of which some have no index yet.
pub(in crate::loader) struct LiveSet {
    options: ShardSetBuilder,
    paths: Vec<PathBuf>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    shards: Vec<LiveShard>,
    /// The shard whose samples are being taken, and how many after it may be passed over meanwhile.
    current: usize,
    lookahead: usize,
    stage: Stage,
    /// Counts the epochs: a pass of an earlier one, which nobody waits for any more, changes nothing.
    run: u64,
    /// Whether all shards had an index from the start, or an epoch has come to the end of all.
    is_known: bool,
    /// Shards that are not being passed over, least recently used first out.
    open: LruCache<u32, Arc<dyn Source>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Idle,
    Running,
    /// Passes are to give up.
    Stopping,
}

struct LiveShard {
    /// Samples that pass the filter, as a pass of this epoch has found them.
    entries: Vec<Entry>,
    /// Of a shard that is being passed over.
    source: Option<Arc<dyn Source>>,
    state: IndexState,
}

enum IndexState {
    Unindexed(Unindexed),
    InProgress(Unindexed),
    Failed(Unindexed, Error),
    Indexed(Shard),
}

/// The next sample to take.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Position {
    shard: usize,
    entry: usize,
}

impl LiveSet {
    pub(in crate::loader) fn new(partly: PartlyIndexed) -> Self {
        let PartlyIndexed { options, paths, shards } = partly;
        let shard = |found: Result<Shard, Unindexed>| LiveShard {
            entries: Vec::new(),
            source: None,
            state: found.map_or_else(IndexState::Unindexed, IndexState::Indexed),
        };
        let shards = shards.into_iter().map(shard).collect();
        let open = LruCache::new(options.open_shards);
        let state = State { shards, current: 0, lookahead: 0, stage: Stage::Idle, run: 0, is_known: false, open };
        Self { options, paths, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Number of shards.
    pub(in crate::loader) fn len(&self) -> usize {
        self.paths.len()
    }

    /// Number of shards without an index.
    pub(in crate::loader) fn unindexed(&self) -> usize {
        self.lock().shards.iter().filter(|shard| !matches!(shard.state, IndexState::Indexed(_))).count()
    }

    /// Whether every shard has an index and nobody takes samples: the set can be finished. It does not depend on how
    /// far passes happened to be when an epoch was dropped.
    pub(in crate::loader) fn is_known(&self) -> bool {
        let state = self.lock();
        state.is_known && state.stage == Stage::Idle
    }

    /// Reports of the shards that have an index by now.
    pub(in crate::loader) fn reports(&self) -> Vec<ShardReport> {
        let state = self.lock();
        let indexed = state.shards.iter().filter_map(|shard| match &shard.state {
            IndexState::Indexed(shard) => Some(shard.report().clone()),
            _ => None,
        });
        indexed.collect()
    }

    /// The finished set; to be called once, when it is known.
    pub(in crate::loader) fn finish(&self) -> Result<ShardSet> {
        let shards = std::mem::take(&mut self.lock().shards);
        let indexed = |shard: LiveShard| match shard.state {
            IndexState::Indexed(shard) => Ok(shard),
            _ => Err(Error::config("a shard has no index yet")),
        };
        let shards = shards.into_iter().map(indexed).collect::<Result<_>>()?;
        ShardSet::assemble(self.options.clone(), shards)
    }

    /// Begins to take samples from the first one on; returns the number of this run.
    ///
    /// # Errors
    /// If that is going on already, or all is known.
    pub(in crate::loader) fn start(&self, lookahead: usize) -> Result<u64> {
        let mut state = self.lock();
        if state.is_known {
            return Err(Error::config("all shards are indexed"));
        }
        if state.stage != Stage::Idle {
            return Err(Error::config("an epoch is under way while the shards are indexed: finish or drop it first"));
        }
        (state.current, state.lookahead, state.stage) = (0, lookahead, Stage::Running);
        state.run += 1;
        for shard in &mut state.shards {
            if let IndexState::Failed(unindexed, _) = &shard.state {
                // The file may have been replaced.
                let state = match self.options.load_lenient(&unindexed.path) {
                    Ok(Ok(shard)) => IndexState::Indexed(shard),
                    Ok(Err(unindexed)) => IndexState::Unindexed(unindexed),
                    Err(_) => IndexState::Unindexed(unindexed.clone()),
                };
                *shard = LiveShard { entries: Vec::new(), source: None, state };
            } else if let IndexState::InProgress(unindexed) = &shard.state {
                // By a thread that was left behind.
                let state = IndexState::Unindexed(unindexed.clone());
                *shard = LiveShard { entries: Vec::new(), source: None, state };
            }
        }
        Ok(state.run)
    }

    /// Has all passes give up, and whoever waits for a sample.
    pub(in crate::loader) fn stop(&self) {
        let mut state = self.lock();
        if state.stage == Stage::Running {
            state.stage = Stage::Stopping;
        }
        self.changed.notify_all();
    }

    /// Says that nobody works on it any more, and whether all samples have been received: that, unlike what threads
    /// have done by now, does not depend on timing.
    pub(in crate::loader) fn rest(&self, is_complete: bool) {
        let mut state = self.lock();
        state.is_known |= is_complete;
        state.stage = Stage::Idle;
        state.shards.iter_mut().for_each(|shard| shard.entries = Vec::new());
    }

    /// The sample at `position`, which moves on; waits until it is known. `None` after the last one of all shards.
    ///
    /// # Errors
    /// If a shard cannot be read, or is more damaged than the policy allows; its sound samples have been returned by
    /// then.
    pub(super) fn next(&self, position: &mut Position) -> Result<Option<SampleId>> {
        let mut state = self.lock();
        loop {
            let Some(shard) = state.shards.get(position.shard) else { return Ok(None) };
            if position.entry < shard.entries().len() {
                let id = SampleId { shard: position.shard as u32, entry: position.entry as u32 };
                position.entry += 1;
                return Ok(Some(id));
            }
            match &shard.state {
                IndexState::Indexed(_) => {
                    let reports = state.shards[..=position.shard].iter().filter_map(|shard| match &shard.state {
                        IndexState::Indexed(shard) => Some(shard.report()),
                        _ => None,
                    });
                    self.options.damage_policy().check(reports)?;
                    *position = Position { shard: position.shard + 1, entry: 0 };
                    state.current = position.shard;
                    self.changed.notify_all();
                }
                IndexState::Failed(_, error) => return Err(error.clone()),
                _ if state.stage != Stage::Running => return Err(given_up()),
                _ => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// A pass thread's life: one shard after the other, until none is left or all is to stop. `alive` is told the shard
    /// at each of its members, and none when there is nothing to wait for.
    pub(in crate::loader) fn run_passes(&self, run: u64, alive: &dyn Fn(Option<u32>)) {
        while let Some((index, unindexed)) = self.take_unindexed(run) {
            let passed = self.pass(run, index, &unindexed, alive);
            alive(None);
            let mut state = self.lock();
            if state.run != run {
                return;
            }
            let stopping = state.stage != Stage::Running;
            let shard = &mut state.shards[index];
            match passed {
                Ok(passed) => {
                    shard.complete(passed.entries());
                    (shard.state, shard.source) = (IndexState::Indexed(passed), None);
                }
                Err(_) if stopping => (shard.state, shard.source) = (IndexState::Unindexed(unindexed), None),
                // What was found before can still be read.
                Err(error) => shard.state = IndexState::Failed(unindexed, error),
            }
            self.changed.notify_all();
        }
    }

    fn take_unindexed(&self, run: u64) -> Option<(usize, Unindexed)> {
        let mut state = self.lock();
        while state.stage == Stage::Running && state.run == run {
            let index = state.shards.iter().position(|shard| matches!(shard.state, IndexState::Unindexed(_)))?;
            if index <= state.current + state.lookahead {
                let shard = &mut state.shards[index];
                shard.entries.clear();
                if let IndexState::Unindexed(unindexed) = &shard.state {
                    let unindexed = unindexed.clone();
                    shard.state = IndexState::InProgress(unindexed.clone());
                    return Some((index, unindexed));
                }
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        None
    }

    /// A panic in foreign code (the opener, the source, the `retain` function) becomes this shard's error.
    fn pass(&self, run: u64, index: usize, unindexed: &Unindexed, alive: &dyn Fn(Option<u32>)) -> Result<Shard> {
        catch_panic(&unindexed.path, || {
            alive(Some(index as u32));
            let file = self.options.open_file(&unindexed.path)?;
            let mut observer = LivePass { set: self, run, index, file: Arc::clone(&file), alive };
            // Salvaging what an earlier index knows behind a break may take a while, and is not watched.
            let salvaging = || alive(None);
            let saving = || alive(Some(index as u32));
            self.options.pass(unindexed.clone(), &file, &mut observer, &salvaging, &saving)
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is one assignment: a panic elsewhere leaves nothing half-changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LiveShard {
    /// The samples as this epoch counts them: those that a pass found, else those of the index.
    fn entries(&self) -> &[Entry] {
        match &self.state {
            IndexState::Indexed(shard) if self.entries.is_empty() => shard.entries(),
            _ => &self.entries,
        }
    }

    /// Adds what the finished index knows beside what was found on the way: samples behind a break.
    fn complete(&mut self, all: &[Entry]) {
        if !self.entries.is_empty() && self.entries != all {
            let found: HashSet<u64> = self.entries.iter().map(|entry| entry.image.offset).collect();
            self.entries.extend(all.iter().filter(|entry| !found.contains(&entry.image.offset)).cloned());
        }
    }
}

impl Samples for LiveSet {
    fn entry(&self, id: SampleId) -> Option<Entry> {
        self.lock().shards.get(id.shard as usize)?.entries().get(id.entry as usize).cloned()
    }

    fn source(&self, index: u32) -> Result<Arc<dyn Source>> {
        let opening = {
            let State { shards, open, .. } = &mut *self.lock();
            let shard = shards.get(index as usize);
            let shard = shard.ok_or_else(|| Error::config(format!("there is no shard {index}")))?;
            match (&shard.source, open.get(&index), &shard.state) {
                (Some(source), ..) | (None, Some(source), _) => return Ok(Arc::clone(source)),
                (None, None, IndexState::Indexed(indexed)) => indexed.opening(),
                (None, None, _) => return Err(given_up()),
            }
        };
        // Opening may take long, or for ever: nobody else waits for it.
        let source = opening()?;
        self.lock().open.put(index, Arc::clone(&source));
        Ok(source)
    }

    fn path(&self, shard: u32) -> Option<PathBuf> {
        self.paths.get(shard as usize).cloned()
    }

    fn selector(&self, _: u32) -> Option<Arc<AnnotationSelector>> {
        Some(Arc::clone(&self.options.selector))
    }
}

impl std::fmt::Debug for LiveSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LiveSet").field("shards", &self.paths.len()).finish_non_exhaustive()
    }
}

/// Takes down what a pass finds.
struct LivePass<'a> {
    set: &'a LiveSet,
    run: u64,
    index: usize,
    file: Arc<dyn Source>,
    alive: &'a dyn Fn(Option<u32>),
}

impl PassObserver for LivePass<'_> {
    fn on_sample(&mut self, entry: &Entry, stats: &[AnnotationStats], restarts: Option<&Arc<Restarts>>) -> Result<()> {
        let options = &self.set.options;
        if options.admits(entry, stats) {
            let mut state = self.set.lock();
            if state.run != self.run {
                return Err(given_up());
            }
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

    fn on_member(&self) -> Result<()> {
        (self.alive)(Some(self.index as u32));
        let state = self.set.lock();
        if state.stage == Stage::Running && state.run == self.run { Ok(()) } else { Err(given_up()) }
    }
}

fn given_up() -> Error {
    Error::limit("the epoch was given up while its shards were indexed")
}

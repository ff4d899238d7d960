//! The set of shards while it is being indexed: a monitor that the pass threads, the feed and the workers share.
//!
//! The feed takes samples shard by shard, in index order, each as soon as a pass has read both of its members. When all
//! passes are done, the set becomes a [`ShardSet`]. An error of indexing is returned after the samples that precede it.
//! Passes run on threads of the epoch ([`LiveSet::run_passes`]), at most `lookahead` shards ahead of the shard from
//! which the feed takes samples.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use lru::LruCache;

use crate::annotation::{AnnotationSelector, AnnotationStats};
use crate::shard::{
    Entry, PartlyIndexed, PassObserver, SampleId, Samples, Shard, ShardReport, ShardSet, ShardSetBuilder, ShardTotals,
    Unindexed, catch_panic,
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
    /// The shard from which the feed takes samples, and how many shards after it passes may index meanwhile.
    current: usize,
    lookahead: usize,
    stage: Stage,
    /// Counts the epochs. A pass that was left running by an earlier one must not change the state.
    run: u64,
    /// Whether an epoch has delivered the samples of all shards, so that all have an index.
    is_complete: bool,
    /// Kept when the shards are moved into a [`ShardSet`].
    totals: Option<ShardTotals>,
    /// Open shards, except those that are being indexed. The least recently used one is evicted.
    open: LruCache<u32, Arc<dyn Source>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Idle,
    Running,
    /// Passes must end as soon as possible.
    Stopping,
}

struct LiveShard {
    /// Samples that pass the filter, in the order in which a pass of this epoch has found them.
    entries: Vec<Entry>,
    /// Samples that a pass has found and that are not in the finished index: no checksum vouches for them, or a later
    /// member has replaced one of theirs.
    unverified: u64,
    /// Of these, those whose image is not in the finished index at all.
    absent: u64,
    /// The open shard, while it is being indexed.
    source: Option<Arc<dyn Source>>,
    state: IndexState,
}

enum IndexState {
    Unindexed(Unindexed),
    InProgress(Unindexed),
    Failed(Unindexed, Error),
    Indexed(Box<Shard>),
}

impl From<Result<Shard, Unindexed>> for IndexState {
    fn from(found: Result<Shard, Unindexed>) -> Self {
        found.map_or_else(Self::Unindexed, |shard| Self::Indexed(Box::new(shard)))
    }
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
        let shards = shards.into_iter().map(|found| LiveShard::unread(found.into())).collect();
        let open = LruCache::new(options.max_open());
        let state = State {
            shards,
            current: 0,
            lookahead: 0,
            stage: Stage::Idle,
            run: 0,
            is_complete: false,
            totals: None,
            open,
        };
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

    /// Whether the set can be finished: an epoch has delivered all samples, and none is running. This does not depend
    /// on how far passes had come when an epoch was dropped.
    pub(in crate::loader) fn is_complete(&self) -> bool {
        let state = self.lock();
        state.is_complete && state.stage == Stage::Idle
    }

    /// Reports of the shards that have an index so far.
    pub(in crate::loader) fn reports(&self) -> Vec<ShardReport> {
        self.lock().shards.iter().filter_map(LiveShard::report).cloned().collect()
    }

    /// Moves the shards into a [`ShardSet`]. Must be called once, when the set is complete.
    pub(in crate::loader) fn finish(&self) -> Result<ShardSet> {
        let totals = self.totals();
        let mut state = self.lock();
        let shards = std::mem::take(&mut state.shards);
        state.totals = Some(totals);
        drop(state);
        let indexed = |shard: LiveShard| match shard.state {
            IndexState::Indexed(shard) => Ok(*shard),
            _ => Err(Error::config("a shard has no index yet")),
        };
        let shards = shards.into_iter().map(indexed).collect::<Result<_>>()?;
        ShardSet::assemble(self.options.clone(), shards)
    }

    /// Begins a run, which takes samples from the first one on. Returns the run's number.
    ///
    /// # Errors
    /// If a run is in progress, or the set is complete.
    pub(in crate::loader) fn start(&self, lookahead: usize) -> Result<u64> {
        let mut state = self.lock();
        if state.is_complete {
            return Err(Error::config("all shards are indexed"));
        }
        if state.stage != Stage::Idle {
            return Err(Error::config("an epoch is under way while the shards are indexed: finish or drop it first"));
        }
        (state.current, state.lookahead, state.stage) = (0, lookahead, Stage::Running);
        state.run += 1;
        for shard in &mut state.shards {
            (shard.unverified, shard.absent) = (0, 0);
            if let IndexState::Failed(unindexed, _) = &shard.state {
                // The file may have been replaced since.
                let found = self.options.load_lenient(&unindexed.path).unwrap_or_else(|_| Err(unindexed.clone()));
                *shard = LiveShard::unread(found.into());
            } else if let IndexState::InProgress(unindexed) = &shard.state {
                // A thread that was left running is indexing it.
                let state = IndexState::Unindexed(unindexed.clone());
                *shard = LiveShard::unread(state);
            }
        }
        Ok(state.run)
    }

    /// Makes all passes end, and [`LiveSet::next`] return an error instead of waiting.
    pub(in crate::loader) fn stop(&self) {
        let mut state = self.lock();
        if state.stage == Stage::Running {
            state.stage = Stage::Stopping;
        }
        self.changed.notify_all();
    }

    /// Ends the run, after its threads have ended. `is_complete` states whether all samples have been delivered, which,
    /// unlike the progress of the passes, does not depend on timing.
    pub(in crate::loader) fn end_run(&self, is_complete: bool) {
        let mut state = self.lock();
        state.is_complete |= is_complete;
        state.stage = Stage::Idle;
        state.shards.iter_mut().for_each(|shard| shard.entries = Vec::new());
    }

    /// Returns the sample at `position` and advances it. Waits until a pass has found the sample. `None` after the last
    /// sample of the last shard.
    ///
    /// # Errors
    /// If a shard cannot be read, or has more corrupt samples than the policy allows. Its valid samples have been
    /// returned by then.
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
                    let reports = state.shards[..=position.shard].iter().filter_map(LiveShard::report);
                    self.options.damage_policy().check(reports)?;
                    *position = Position { shard: position.shard + 1, entry: 0 };
                    state.current = position.shard;
                    self.changed.notify_all();
                }
                IndexState::Failed(_, error) => return Err(error.clone()),
                _ if state.stage != Stage::Running => return Err(cancelled()),
                _ => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// The body of a pass thread: indexes one shard after the other until none is left or the run is stopped. It calls
    /// `heartbeat` with the shard's index at each member, and with `None` where its time is not limited.
    pub(in crate::loader) fn run_passes(&self, run: u64, heartbeat: &dyn Fn(Option<u32>)) {
        while let Some((index, unindexed)) = self.take_unindexed(run) {
            let passed = self.pass(run, index, &unindexed, heartbeat);
            heartbeat(None);
            let mut state = self.lock();
            if state.run != run {
                return;
            }
            let stopping = state.stage != Stage::Running;
            let shard = &mut state.shards[index];
            match passed {
                Ok(passed) => {
                    shard.complete(passed.entries());
                    (shard.state, shard.source) = (IndexState::Indexed(Box::new(passed)), None);
                }
                Err(_) if stopping => (shard.state, shard.source) = (IndexState::Unindexed(unindexed), None),
                // The source stays open: samples found before the error can still be read.
                Err(error) => shard.state = IndexState::Failed(unindexed, error),
            }
            self.changed.notify_all();
        }
    }

    /// Claims the next shard to index. Waits while it is too far ahead; `None` if there is none or the run is stopped.
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

    /// Indexes one shard. A panic in foreign code (the opener, the source, the `retain` function) becomes its error.
    fn pass(&self, run: u64, index: usize, unindexed: &Unindexed, heartbeat: &dyn Fn(Option<u32>)) -> Result<Shard> {
        catch_panic(&unindexed.path, || {
            heartbeat(Some(index as u32));
            let file = self.options.open_file(&unindexed.path)?;
            let mut observer = LivePass { set: self, run, index, file: Arc::clone(&file), heartbeat };
            // Salvaging the samples that an earlier index knows after a corrupt part may take long: no time limit.
            let salvaging = || heartbeat(None);
            let saving = || heartbeat(Some(index as u32));
            self.options.pass(unindexed.clone(), &file, &mut observer, &salvaging, &saving)
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each update is one assignment, so a poisoned state is still consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LiveShard {
    /// The samples by number: those that a pass of this epoch has found, otherwise those of the index.
    fn entries(&self) -> &[Entry] {
        match &self.state {
            IndexState::Indexed(shard) if self.entries.is_empty() => shard.entries(),
            _ => &self.entries,
        }
    }

    /// What the shard's index says of it, if it has one.
    fn report(&self) -> Option<&ShardReport> {
        match &self.state {
            IndexState::Indexed(shard) => Some(shard.report()),
            _ => None,
        }
    }

    fn unread(state: IndexState) -> Self {
        Self { entries: Vec::new(), unverified: 0, absent: 0, source: None, state }
    }

    /// Adds the samples that only the finished index has: those salvaged behind a corrupt part. Counts those that it
    /// does not have. They are delivered all the same, as some have been already: what an epoch delivers must not
    /// depend on how far its threads have come.
    fn complete(&mut self, all: &[Entry]) {
        if self.entries.is_empty() || self.entries == all {
            return;
        }
        let known: HashMap<String, &Entry> = all.iter().map(|entry| (entry.image_name(), entry)).collect();
        let found: HashSet<String> = self.entries.iter().map(Entry::image_name).collect();
        let is_known = |entry: &&Entry| known.get(&entry.image_name()) == Some(entry);
        self.unverified = self.entries.iter().filter(|entry| !is_known(entry)).count() as u64;
        self.absent = found.iter().filter(|name| !known.contains_key(*name)).count() as u64;
        self.entries.extend(all.iter().filter(|entry| !found.contains(&entry.image_name())).cloned());
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
                (None, None, _) => return Err(cancelled()),
            }
        };
        // Opening may take long or hang, so the state is not locked meanwhile.
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

    fn totals(&self) -> ShardTotals {
        let state = self.lock();
        if let Some(totals) = state.totals {
            return totals;
        }
        let mut totals = ShardTotals::of(state.shards.iter().filter_map(LiveShard::report));
        for shard in &state.shards {
            totals.unverified += shard.unverified;
            // They were delivered, so they are not left out.
            let delivered = shard.absent.min(totals.left_out.unverified);
            totals.left_out.unverified -= delivered;
            totals.selected += delivered;
        }
        totals
    }
}

impl std::fmt::Debug for LiveSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LiveSet").field("shards", &self.paths.len()).finish_non_exhaustive()
    }
}

/// Adds the samples that a pass finds to the set.
struct LivePass<'a> {
    set: &'a LiveSet,
    run: u64,
    index: usize,
    file: Arc<dyn Source>,
    heartbeat: &'a dyn Fn(Option<u32>),
}

impl PassObserver for LivePass<'_> {
    fn on_sample(&mut self, entry: &Entry, stats: &[AnnotationStats], restarts: Option<&Arc<Restarts>>) -> Result<()> {
        let options = &self.set.options;
        if options.admits(entry, stats) {
            let mut state = self.set.lock();
            if state.run != self.run {
                return Err(cancelled());
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
        (self.heartbeat)(Some(self.index as u32));
        let state = self.set.lock();
        if state.stage == Stage::Running && state.run == self.run { Ok(()) } else { Err(cancelled()) }
    }
}

fn cancelled() -> Error {
    Error::limit("the epoch ended while its shards were being indexed")
}

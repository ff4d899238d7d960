//! Checks that a thousand epochs leave nothing behind: afterwards there are as many threads, files, mappings, locked
//! pages and as much memory as before.
//!
//! The test needs a process of its own, in which no other test starts a thread and whose allocator has one arena and
//! keeps no stacks, so that resources can be counted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use maskstream::index::Sidecar;
use maskstream::{Batch, Cursor, Epoch, ErrorKind, Loader, LoaderBuilder, MaskFilter, Memory, OnError, ShardSet};

use crate::fixture::{self, Dice, Faulty};
use crate::job::write_shards;
use crate::runner::within_deadline;

/// Distinguishes the child process from a test filter.
pub(crate) const MARK: &str = "in a process of its own";
const ROUNDS: usize = 40;
const EPOCHS_PER_ROUND: usize = 25;
/// Number of images, in two shards of each form.
const SAMPLES: i64 = 22;
/// By how many KB each value may grow in eight tenths of the epochs. VmData is the allocator's one arena, which varies
/// by 400 KB because of fragmentation: if an epoch left 2600 bytes behind, a twentieth of a batch, the bound would be
/// exceeded. Resident memory varies by 1 MB, and by two more if the kernel puts a huge page under a part of the arena.
const GROWTH_KB: [(&str, u64); 2] = [("VmData:", 2 << 10), ("VmRSS:", 4 << 10)];

/// The system resources of a process.
#[derive(Debug, PartialEq)]
struct Held {
    threads: usize,
    files: usize,
    mappings: usize,
    locked_kb: u64,
}

impl Held {
    /// Waits until joined threads have left the process table, which takes a moment.
    fn now() -> Self {
        let list = |dir: &str| fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
        let is_ours =
            |task: &PathBuf| fs::read_to_string(task.join("comm")).is_ok_and(|name| name.starts_with("maskstream-"));
        let patience = Instant::now() + PATIENCE;
        while list("/proc/self/task").iter().any(is_ours) && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(1));
        }
        Self {
            threads: list("/proc/self/task").len(),
            files: list("/proc/self/fd").len(),
            mappings: fs::read_to_string("/proc/self/maps").unwrap().lines().count(),
            locked_kb: status("VmLck:"),
        }
    }
}

/// A number of `/proc/self/status`.
fn status(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Counts of events, to prove that each of them still occurs.
#[derive(Debug, Default)]
struct Seen {
    epochs: usize,
    finished: usize,
    broken_off: usize,
    failed: usize,
    skipped: usize,
    held: usize,
}

/// The shards, and the loaders over them.
struct Lives {
    plain: PathBuf,
    gzip: PathBuf,
    /// A shard whose image at this offset cannot be read.
    faulty: (Vec<u8>, u64),
    /// Lives as long as all others together; its budget is just enough for the batches in progress and those held.
    lasting: Loader,
    dice: Dice,
    seen: Seen,
}

const PREFETCH: usize = 4;
/// How long threads may take to finish their work or to end.
const PATIENCE: Duration = Duration::from_secs(20);
/// The largest number of batches that outlive an epoch.
const MOST_HELD: usize = 5;
/// The largest number of batches that are taken from an epoch.
const MOST_TAKEN: u64 = 7;

fn open(dir: &Path) -> Arc<ShardSet> {
    Arc::new(ShardSet::builder().filter(MaskFilter::all()).open(&[dir]).unwrap())
}

fn options(memory: Memory) -> LoaderBuilder {
    let options = Loader::builder().batch_size(4).image_size(64).mask_size(Some([32, 32])).top_k(3);
    options.num_workers(3).prefetch_batches(PREFETCH).shuffle(9).memory(memory)
}

impl Lives {
    fn new(dir: &Path) -> Self {
        let [plain, gzip] = ["plain", "gzip"].map(|name| dir.join(name));
        for (dir, gzip) in [(&plain, false), (&gzip, true)] {
            fs::create_dir(dir).unwrap();
            write_shards(dir, SAMPLES, 2, gzip);
        }
        let samples = fixture::made_many(SAMPLES);
        let shard = fixture::shard(&samples);
        let offset = fixture::read_with_tar(&shard)[&samples[13].image_name()].0;
        let (set, batches) = (open(&plain), PREFETCH as u64 + 1 + MOST_HELD as u64 + MOST_TAKEN);
        let budget = fixture::budget(options(Memory::Heap), &set, batches);
        let lasting = options(Memory::Heap).max_memory_bytes(budget).build(set).unwrap();
        Self { plain, gzip, faulty: (shard, offset), lasting, dice: Dice(1000), seen: Seen::default() }
    }

    fn faulty_set(&self) -> Arc<ShardSet> {
        let (shard, offset) = self.faulty.clone();
        let fault = move |range: std::ops::Range<u64>, bytes| {
            if range.start == offset { Err(fixture::read_error(offset)) } else { Ok(bytes) }
        };
        let source = Faulty::new(shard, fault);
        let set = fixture::set_of_sources(vec![source.clone()]);
        source.arm();
        Arc::new(set)
    }

    /// Opens everything, begins epochs, and drops it all.
    fn round(&mut self) {
        let sets = [open(&self.plain), open(&self.gzip), self.faulty_set(), self.faulty_set()];
        let mut loaders = vec![self.lasting.clone(); 2];
        for memory in [Memory::Heap, Memory::Pinned] {
            for (number, set) in sets.iter().enumerate() {
                let on_error = if number == 3 { OnError::skip(1) } else { OnError::Stop };
                loaders.push(options(memory).on_error(on_error).build(Arc::clone(set)).unwrap());
            }
        }
        // These outlive their epochs, and in the end the loaders.
        let mut held = Vec::new();
        let mut cursors: Vec<Cursor> =
            loaders.iter().map(|loader| loader.epoch(0).unwrap().cursor().unwrap()).collect();
        for _ in 0..EPOCHS_PER_ROUND {
            let number = self.dice.below(10) as usize;
            let (loader, cursor) = (&loaders[number], cursors[number]);
            let epoch = match self.dice.below(8) {
                0 => {
                    let step = self.dice.below(loader.steps().unwrap());
                    held.truncate(MOST_HELD - 1);
                    held.push(loader.replay(&cursor, step).unwrap());
                    self.seen.epochs += 1;
                    continue;
                }
                1 => self.stream(),
                2 | 3 => loader.resume_from(&cursor).unwrap(),
                _ => loader.epoch(self.dice.below(5)).unwrap(),
            };
            cursors[number] = self.live(epoch, &mut held).unwrap_or(cursor);
            held.truncate(self.dice.below(MOST_HELD as u64 + 1) as usize);
        }
        drop((loaders, sets));
        assert!(held.iter().all(|batch| batch.image_ids().len() == 4));
    }

    /// An epoch over shards that are being indexed.
    fn stream(&mut self) -> Epoch {
        let dir = if self.dice.below(2) == 0 { &self.plain } else { &self.gzip };
        let shards = ShardSet::builder().filter(MaskFilter::all()).sidecar(Sidecar::Off);
        options(Memory::Heap).build(shards.open_lazy(&[dir]).unwrap()).unwrap().epoch(0).unwrap()
    }

    /// Takes some batches of an epoch, keeps some of them, and drops it; returns where it was.
    fn live(&mut self, mut epoch: Epoch, held: &mut Vec<Batch>) -> Option<Cursor> {
        self.seen.epochs += 1;
        for _ in 0..self.dice.below(MOST_TAKEN + 1) {
            match epoch.next() {
                Some(Ok(batch)) => {
                    self.seen.skipped += batch.errors().len();
                    if self.dice.below(4) == 0 {
                        self.seen.held += 1;
                        held.push(batch);
                    }
                }
                Some(Err(error)) => {
                    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                    self.seen.failed += 1;
                    return epoch.cursor();
                }
                None => {
                    self.seen.finished += 1;
                    return epoch.cursor();
                }
            }
        }
        self.seen.broken_off += 1;
        epoch.cursor()
    }
}

fn median(mut numbers: Vec<u64>) -> u64 {
    numbers.sort_unstable();
    numbers[numbers.len() / 2]
}

/// Checks that an epoch still works as far ahead as at first, although no batch is taken: no epoch has kept its share
/// of the budget.
fn check_budget(lasting: &Loader) {
    let epoch = lasting.epoch(0).unwrap();
    let (samples, patience) = (4 * PREFETCH as u64, Instant::now() + PATIENCE);
    while epoch.stats().decoded < samples && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(epoch.stats().decoded, samples);
}

/// The thousand epochs.
pub(crate) fn run() {
    within_deadline("a thousand epochs", || {
        let dir = tempfile::tempdir().unwrap();
        let mut lives = Lives::new(dir.path());
        // Starts the threads that index shards, and creates everything else that is created once.
        for _ in 0..4 {
            lives.round();
        }
        lives.seen = Seen::default();
        let before = Held::now();
        let memory: Vec<_> = (0..ROUNDS)
            .map(|round| {
                lives.round();
                assert_eq!(Held::now(), before, "after {} epochs", (round + 1) * EPOCHS_PER_ROUND);
                GROWTH_KB.map(|(name, _)| status(name))
            })
            .collect();
        check_budget(&lives.lasting);
        let seen = &lives.seen;
        let numbers = [seen.finished, seen.broken_off, seen.failed, seen.skipped, seen.held];
        assert_eq!(seen.epochs, ROUNDS * EPOCHS_PER_ROUND);
        assert!(numbers.iter().all(|&number| number > 30), "{seen:?}");
        for (which, (name, most)) in GROWTH_KB.into_iter().enumerate() {
            let kb: Vec<_> = memory.iter().map(|sizes| sizes[which]).collect();
            // Medians of the second tenth and of the last one.
            let tenth = ROUNDS / 10;
            let [early, late] = [tenth, ROUNDS - tenth].map(|first| median(kb[first..first + tenth].to_vec()));
            assert!(late <= early + most, "{name} grew from {early} KB to {late} KB: {kb:?}");
        }
    });
}

pub(crate) fn in_a_process_of_its_own() {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env("MALLOC_ARENA_MAX", "1").env("GLIBC_TUNABLES", "glibc.pthread.stack_cache_size=0");
    let status = command.args(["leaks", MARK]).status().unwrap();
    assert!(status.success(), "{status}");
}

//! Reads that are begun before their samples are needed: those of the next batch are announced to a disk, and those of
//! as many batches as it takes are begun at an object store, within a number of bytes.
//!
//! The samples of a chunk are begun together, when the first of them is needed, and wait for their turns. Where ranks
//! share chunks, some turns never come; those reads are dropped a while after the last use of their chunk.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::activity::ActivityBoard;
use super::shared::Shared;
use super::steps::{Chunk, Steps};
use crate::Result;
use crate::order::CHUNKS_IN_USE;
use crate::shard::{SampleId, Samples};
use crate::source::Prefetch;

/// While a chunk is in use, one of its samples is due at least once in half as many samples of a rank.
const CHUNK_TURNS: u64 = 2 * CHUNKS_IN_USE;
/// The most batches that are begun ahead: each is a few numbers, even if its samples take no bytes.
const MAX_STEPS: usize = 4096;

/// The reads of one sample.
#[derive(Debug, Default)]
pub(super) struct Reads {
    pub(super) image: Prefetch,
    pub(super) annotations: Prefetch,
}

/// The reads that have been begun.
pub(super) struct Ahead {
    shared: Arc<Shared>,
    samples: Arc<dyn Samples>,
    board: Arc<ActivityBoard>,
    /// The step whose samples are needed now.
    now: u64,
    /// Bytes that were begun for this step and the ones after it.
    steps: VecDeque<u64>,
    /// The number of bytes begun ahead that the sources ask for.
    limit: u64,
    chunks: HashMap<u64, Begun>,
}

/// The reads of a chunk.
struct Begun {
    reads: HashMap<SampleId, VecDeque<Reads>>,
    /// The last step that has needed it, or the first that will.
    used: u64,
    /// Whether it has several samples, some of which may be those of other ranks.
    is_shared: bool,
}

impl Ahead {
    pub(super) fn new(
        shared: &Arc<Shared>,
        samples: &Arc<dyn Samples>,
        board: &Arc<ActivityBoard>,
        first: u64,
    ) -> Self {
        let (shared, samples, board) = (Arc::clone(shared), Arc::clone(samples), Arc::clone(board));
        Self { shared, samples, board, now: first, steps: VecDeque::new(), limit: 0, chunks: HashMap::new() }
    }

    /// Says that the samples of this step are needed now.
    pub(super) fn advance(&mut self, step: u64) {
        for _ in self.now..step {
            self.steps.pop_front();
        }
        self.now = step;
        let turns = CHUNK_TURNS / self.shared.order.batch_size.max(1) as u64 + 1;
        self.chunks.retain(|_, chunk| !chunk.is_shared || chunk.used + turns >= step);
    }

    /// The step that is begun next, if it should be begun now: the one after the present one, and those behind it as
    /// long as few bytes are waited for.
    pub(super) fn due(&self) -> Option<u64> {
        let begun = self.steps.len();
        let bytes: u64 = self.steps.iter().skip(1).sum();
        (begun < 2 || bytes < self.limit && begun < MAX_STEPS).then_some(self.now + begun as u64)
    }

    /// Begins the reads of a step, the next one that is due. Errors and panics of sources are ignored: they recur when
    /// the bytes are read.
    pub(super) fn begin(&mut self, steps: &mut Steps, samples: Option<&[Option<SampleId>]>) {
        let step = self.now + self.steps.len() as u64;
        let mut wanted = steps.prefetchable(samples.unwrap_or_default());
        wanted.sort_by_key(|(sample, _)| *sample);
        let mut bytes = 0;
        for shard in wanted.chunk_by(|(a, _), (b, _)| a.shard == b.shard) {
            let ids: Vec<SampleId> = shard.iter().map(|(sample, _)| *sample).collect();
            let reads = catch_unwind(AssertUnwindSafe(|| self.begin_all(&ids))).ok().and_then(Result::ok);
            for (reads, (sample, chunk)) in reads.into_iter().flatten().zip(shard) {
                let size = reads.image.bytes() + reads.annotations.bytes();
                // A disk was only told of them.
                if size > 0 {
                    bytes += size;
                    self.keep(*sample, chunk, reads, step);
                }
            }
        }
        self.steps.push_back(bytes);
    }

    /// Begins to read samples of one shard.
    fn begin_all(&mut self, samples: &[SampleId]) -> Result<Vec<Reads>> {
        let Some(&first) = samples.first() else { return Ok(Vec::new()) };
        // Posted as an activity because it may open a shard, which can take long.
        let _guard = self.board.begin(0, first);
        let source = self.samples.source(first.shard)?;
        self.limit = self.limit.max(source.read_ahead().bytes);
        let ranges = samples.iter().flat_map(|&sample| {
            let Some(entry) = self.samples.entry(sample) else { return [0..0, 0..0] };
            let is_cached = self.shared.cache.as_ref().is_some_and(|cache| cache.holds(sample, entry.annotations));
            [entry.image.range(), if is_cached { 0..0 } else { entry.annotations.range() }]
        });
        let mut begun = source.prefetch(&ranges.collect::<Vec<_>>()).into_iter();
        let mut next = || begun.next().unwrap_or_default();
        Ok(samples.iter().map(|_| Reads { image: next(), annotations: next() }).collect())
    }

    fn keep(&mut self, sample: SampleId, chunk: &Chunk, reads: Reads, step: u64) {
        let new = || Begun { reads: HashMap::new(), used: step, is_shared: chunk.samples > 1 };
        let begun = self.chunks.entry(chunk.key).or_insert_with(new);
        begun.used = begun.used.max(step);
        begun.reads.entry(sample).or_default().push_back(reads);
    }

    /// The reads of a sample that is needed now, whether they have been begun or not.
    pub(super) fn take(&mut self, sample: SampleId, steps: &Steps) -> Reads {
        let key = steps.chunk_of(sample).key;
        let Some(chunk) = self.chunks.get_mut(&key) else { return Reads::default() };
        chunk.used = chunk.used.max(self.now);
        let Some(of_sample) = chunk.reads.get_mut(&sample) else { return Reads::default() };
        let reads = of_sample.pop_front().unwrap_or_default();
        if of_sample.is_empty() {
            chunk.reads.remove(&sample);
        }
        if chunk.reads.is_empty() {
            self.chunks.remove(&key);
        }
        reads
    }
}

//! A cache of decoded labels, bounded in bytes. It evicts the least recently used rows.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;

use crate::shard::{Extent, SampleId};

/// Rows without their images, by sample. Workers share it.
#[derive(Debug)]
pub(super) struct LabelCache {
    max_bytes: u64,
    rows: Mutex<Rows>,
}

#[derive(Debug)]
struct Rows {
    bytes: u64,
    by_sample: LruCache<SampleId, (Extent, Arc<[u8]>)>,
}

impl LabelCache {
    pub(super) fn new(max_bytes: u64) -> Self {
        Self { max_bytes, rows: Mutex::new(Rows { bytes: 0, by_sample: LruCache::unbounded() }) }
    }

    /// The cached row of a sample, if it was decoded from these annotations. They are compared because an id may be
    /// given to another sample while shards are being indexed.
    pub(super) fn get(&self, sample: SampleId, annotations: Extent) -> Option<Arc<[u8]>> {
        let row = self.lock().by_sample.get(&sample).cloned();
        row.filter(|(source, _)| *source == annotations).map(|(_, row)| row)
    }

    /// Whether [`get`](Self::get) would return a row. It does not count as a use.
    pub(super) fn holds(&self, sample: SampleId, annotations: Extent) -> bool {
        self.lock().by_sample.peek(&sample).is_some_and(|(source, _)| *source == annotations)
    }

    /// Adds a row, and evicts others until all fit the bound.
    pub(super) fn put(&self, sample: SampleId, annotations: Extent, row: Box<[u8]>) {
        let mut rows = self.lock();
        rows.bytes += row.len() as u64;
        if let Some((_, (_, replaced))) = rows.by_sample.push(sample, (annotations, row.into())) {
            rows.bytes -= replaced.len() as u64;
        }
        while rows.bytes > self.max_bytes {
            let Some((_, (_, oldest))) = rows.by_sample.pop_lru() else { break };
            rows.bytes -= oldest.len() as u64;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Rows> {
        // A panic between two updates can only leave the byte count too high, so the cache stays within its bound.
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! The access to object stores, which all parts of a command share: what one has listed, the others know.

use std::path::{Path, PathBuf};

use maskstream::index::Indexer;
use maskstream::source::Source;
use maskstream::{Result, ShardSet, ShardSetBuilder};
use serde::Serialize;

use super::output::{counted, size};

#[cfg(feature = "remote")]
static REMOTE: std::sync::LazyLock<Option<maskstream::source::Remote>> =
    std::sync::LazyLock::new(|| maskstream::source::Remote::builder().build().ok());

/// What has gone over the network.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Traffic {
    pub(super) requests: u64,
    pub(super) received_bytes: u64,
    /// Bytes received for each byte that was asked for.
    pub(super) amplification: f64,
    pub(super) retries: u64,
    /// Answers 429 and 503, and requests without an answer in time.
    pub(super) overloads: u64,
    pub(super) most_under_way: u64,
    pub(super) request_limit: u64,
    /// Time until an answer begins.
    pub(super) first_byte_p50_ms: f64,
    pub(super) first_byte_p95_ms: f64,
    /// What limits the speed, in a sentence.
    pub(super) verdict: Option<String>,
}

/// The traffic since a moment.
pub(super) struct Meter {
    #[cfg(feature = "remote")]
    before: Option<maskstream::source::RemoteStats>,
}

impl Meter {
    /// Begins to count.
    pub(super) fn start() -> Self {
        Self {
            #[cfg(feature = "remote")]
            before: REMOTE.as_ref().map(maskstream::source::Remote::stats),
        }
    }

    /// What has gone over the network since; `None` if nothing has.
    #[cfg(feature = "remote")]
    pub(super) fn read(&self) -> Option<Traffic> {
        let stats = REMOTE.as_ref()?.stats().since(self.before.as_ref()?);
        let ms = |share| stats.first_byte(share).as_secs_f64() * 1e3;
        (stats.requests > 0).then(|| Traffic {
            requests: stats.requests,
            received_bytes: stats.received_bytes,
            amplification: stats.amplification(),
            retries: stats.retries,
            overloads: stats.overloads,
            most_under_way: stats.most_under_way,
            request_limit: stats.request_limit,
            first_byte_p50_ms: ms(0.5),
            first_byte_p95_ms: ms(0.95),
            verdict: stats.verdict(),
        })
    }

    /// Nothing goes over the network.
    #[cfg(not(feature = "remote"))]
    pub(super) fn read(&self) -> Option<Traffic> {
        None
    }
}

impl Traffic {
    /// The lines of a report, which took so many seconds.
    pub(super) fn lines(&self, seconds: f64) -> Vec<String> {
        let mut lines = vec![format!(
            "  network: {} in {}, {:.1} MB/s, {:.3} bytes received for each used; {}, first byte after {:.0} ms \
             (median), {:.0} ms (95 %)",
            size(self.received_bytes),
            counted(self.requests as usize, "request"),
            self.received_bytes as f64 / 1e6 / seconds,
            self.amplification,
            match self.retries {
                0 => "none repeated".to_owned(),
                retries => format!("{retries} repeated"),
            },
            self.first_byte_p50_ms,
            self.first_byte_p95_ms
        )];
        lines.extend(self.verdict.as_ref().map(|verdict| format!("  network verdict: {verdict}")));
        lines
    }
}

/// An indexer with default settings.
pub(super) fn indexer() -> Indexer {
    let indexer = Indexer::new();
    #[cfg(feature = "remote")]
    if let Some(remote) = &*REMOTE {
        return indexer.remote(remote.clone());
    }
    indexer
}

/// The default settings for opening shards.
pub(super) fn shard_set() -> ShardSetBuilder {
    let builder = ShardSet::builder();
    #[cfg(feature = "remote")]
    if let Some(remote) = &*REMOTE {
        return builder.remote(remote.clone());
    }
    builder
}

/// The shards that patterns stand for.
pub(super) fn resolve_patterns<P: AsRef<Path>>(patterns: &[P]) -> Result<Vec<PathBuf>> {
    indexer().resolve_patterns(patterns)
}

/// Opens the file of a shard.
pub(super) fn open(path: &Path) -> Result<std::sync::Arc<dyn Source>> {
    indexer().open(path)
}

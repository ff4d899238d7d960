//! Progress bars on standard error, if that is a terminal.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use indicatif::{ProgressBar, ProgressStyle};

use super::stores;

/// A bar of `total` steps, counted in `unit`. If that is "bytes", it shows sizes.
pub(super) fn bar(total: u64, what: &str, unit: &str) -> ProgressBar {
    let template = match unit {
        "bytes" => "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}".to_owned(),
        unit => format!("{{msg}} {{wide_bar}} {{pos}}/{{len}} {unit} {{per_sec}} {{eta}}"),
    };
    styled(ProgressBar::new(total), what, &template)
}

/// Counts what has been found so far. The total is not known.
pub(super) fn counter(what: &str, unit: &str) -> ProgressBar {
    styled(ProgressBar::new_spinner(), what, &format!("{{msg}}: {{human_pos}} {unit} {{elapsed}}"))
}

/// A bar of milliseconds, which shows how much of the time has passed.
pub(super) fn clock(what: &str) -> ProgressBar {
    styled(ProgressBar::new(0), what, "{msg} {wide_bar} {percent} %, {elapsed}")
}

fn styled(bar: ProgressBar, what: &str, template: &str) -> ProgressBar {
    // The templates are constant and valid, so the fallback is never used.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.with_message(what.to_owned()).with_style(style)
}

/// Total size of the files in bytes; files that cannot be read count as 0.
pub(super) fn total_bytes(paths: &[std::path::PathBuf]) -> u64 {
    paths.iter().map(|path| file_bytes(path)).sum()
}

/// The progress of one shard, on a bar of bytes, or of samples, for all shards.
///
/// When it is dropped, what was not processed is taken off the bar's total: there was nothing to do, or the
/// shard failed. So the rate and the time left are those of actual work.
pub(super) struct ShardProgress {
    bar: ProgressBar,
    all: u64,
    done: AtomicU64,
}

impl ShardProgress {
    pub(super) fn new(bar: &ProgressBar, path: &Path) -> Self {
        Self::of(bar, file_bytes(path))
    }

    /// A share of the bar.
    pub(super) fn of(bar: &ProgressBar, all: u64) -> Self {
        Self { bar: bar.clone(), all, done: AtomicU64::new(0) }
    }

    pub(super) fn advance(&self, bytes: u64) {
        // All bytes in one step: the index existed already, and nothing was read.
        if bytes < self.all {
            self.done.fetch_add(bytes, Relaxed);
            self.bar.inc(bytes);
        }
    }
}

impl Drop for ShardProgress {
    fn drop(&mut self) {
        self.bar.dec_length(self.all.saturating_sub(self.done.load(Relaxed)));
    }
}

fn file_bytes(path: &Path) -> u64 {
    let of_object = |_| stores::open(path).map_or(0, |object| object.len());
    std::fs::metadata(path).map_or_else(of_object, |metadata| metadata.len())
}

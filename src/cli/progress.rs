//! Progress on standard error. Comes in: a total and steps. Goes out: a bar, when standard error is a terminal; nothing
//! otherwise. Cannot fail.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use indicatif::{ProgressBar, ProgressStyle};

/// A bar of `total` things called `unit`; "bytes" are shown as such.
pub(super) fn bar(total: u64, what: &str, unit: &str) -> ProgressBar {
    let template = match unit {
        "bytes" => "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}".to_owned(),
        unit => format!("{{msg}} {{wide_bar}} {{pos}}/{{len}} {unit} {{per_sec}} {{eta}}"),
    };
    let bar = ProgressBar::new(total).with_message(what.to_owned());
    // The templates above are fixed and sound; the default style would do as well.
    bar.with_style(ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Bytes of all files, as far as they can be looked at.
pub(super) fn total_bytes(paths: &[std::path::PathBuf]) -> u64 {
    paths.iter().map(|path| file_bytes(path)).sum()
}

/// One shard's share of a bar of bytes. What has not been worked on when it is dropped leaves the total: because there
/// was nothing to do, or because it failed. So the rate and the time left are those of work.
pub(super) struct Share {
    bar: ProgressBar,
    all: u64,
    done: AtomicU64,
}

impl Share {
    pub(super) fn of(bar: &ProgressBar, path: &Path) -> Self {
        Self { bar: bar.clone(), all: file_bytes(path), done: AtomicU64::new(0) }
    }

    pub(super) fn advance(&self, bytes: u64) {
        // All at once: its index was there already.
        if bytes < self.all {
            self.done.fetch_add(bytes, Relaxed);
            self.bar.inc(bytes);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.bar.dec_length(self.all.saturating_sub(self.done.load(Relaxed)));
    }
}

fn file_bytes(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

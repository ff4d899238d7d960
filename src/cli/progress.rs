//! Progress on standard error. Comes in: a total and steps. Goes out: a bar, when standard error is a terminal; nothing
//! otherwise. Cannot fail.

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
    paths.iter().filter_map(|path| std::fs::metadata(path).ok()).map(|metadata| metadata.len()).sum()
}

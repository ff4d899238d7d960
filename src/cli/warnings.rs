//! Warnings on standard error about what a command has opened.

use maskstream::ShardSet;
use maskstream::index::IndexStatus;
use maskstream::internals::OneLine;

/// Says if images come more than once: a shard may have been copied under another name.
pub(super) fn warn_repeated(set: &ShardSet) {
    let repeated = set.repeated_images();
    let place = |id| {
        let shard = set.shard_path(id).map_or_else(String::new, |path| OneLine(path.display()).to_string());
        set.entry(id).map_or(shard.clone(), |entry| format!("{} in {shard}", entry.image_name()))
    };
    if let Some([first, second]) = repeated.examples.first() {
        let image = set.entry(*first).map_or(0, |entry| entry.image_id);
        tell!(
            "maskstream: {} samples have the image id of another one, such as {image}: {} and {}",
            repeated.samples,
            place(*first),
            place(*second)
        );
    }
}

/// Says, in one line, if indexes could not be saved. Otherwise nobody learns why each command takes so long.
pub(super) fn warn_unsaved<'a>(statuses: impl Iterator<Item = &'a IndexStatus>) {
    let reasons: Vec<&str> = statuses
        .filter_map(|status| match status {
            IndexStatus::Unsaved(reason) => Some(reason.as_str()),
            _ => None,
        })
        .collect();
    if let [first, others @ ..] = reasons.as_slice() {
        let others = match others.len() {
            0 => String::new(),
            more => format!(", and {more} more like it"),
        };
        tell!(
            "maskstream: an index could not be saved and is built anew by every command: {first}{others}; choose a \
             directory for indexes with --index-dir DIR"
        );
    }
}

//! Errors in the words of the command: what the library calls by the name of a setting is a flag here.

use std::error::Error;

use maskstream::ErrorKind;

use super::output::WrongArguments;

/// Settings of the library, and the flags that set them.
const FLAGS: [(&str, &str); 25] = [
    ("augment", "--augment"),
    ("batch_size", "--batch-size"),
    ("chunk_bytes", "--chunk-bytes"),
    ("coverage", "--coverage"),
    ("drop_last", "--drop-last"),
    ("image_dtype", "--image-dtype"),
    ("image_size", "--image-size"),
    ("scaled_decode", "--scaled-decode"),
    ("mask_format", "--mask-format"),
    ("mask_kind", "--mask-kind"),
    ("mask_size", "--mask-size"),
    ("max_image_pixels", "--max-image-pixels"),
    ("max_memory_bytes", "--max-memory-bytes"),
    ("min_masks", "--min-masks"),
    ("num_workers", "--num-workers"),
    ("on_corrupt", "--skip N"),
    ("on_error", "--skip N"),
    ("prefetch_batches", "--prefetch-batches"),
    ("quarantine_log", "--quarantine-log"),
    ("top_k", "--top-k"),
    ("top_k_by", "--top-k-by"),
    ("world_size", "--world-size"),
    ("box_format", "--box-format"),
    ("box_jitter", "--box-jitter"),
    ("coord_frame", "--coord-frame"),
];

/// What only a program can do, and what the command offers instead.
const PHRASES: [(&str, &str); 13] = [
    ("build the index again (Indexer::rebuild)", "build the index again with `maskstream index --rebuild`"),
    ("with use_unverified(true)", "with --unverified"),
    ("with MaskFilter::all() or min_predicted_iou(f32::NEG_INFINITY)", "with --min-predicted-iou none"),
    ("with MaskFilter::all() or min_stability_score(f32::NEG_INFINITY)", "with --min-stability-score none"),
    (" or ShardSet::builder().open(..)", ""),
    ("(index::Packer)", "with `maskstream pack DIR -o OUT`"),
    ("index::Packer makes shards of ", "make shards of it with `maskstream pack "),
    (" in a directory of their own", " -o OUT`"),
    ("or pack them in parts", "or pack them in parts, on several disks, with --task I/N"),
    ("take None for none", "0 means none"),
    ("(ids, retain, quarantined samples)", "(--ids, --quarantine)"),
    (
        "open each set with its own filter, and interleave them as that run did",
        "use `Loader::replay` in a program of your own",
    ),
    ("batch_size x world_size", "--batch-size x --world-size"),
];

/// The message of an error for whoever typed the command. A bad sample gets the advice to skip it.
pub(super) fn in_flags(error: &(dyn Error + 'static)) -> String {
    let mut text = translated(&error.to_string());
    if let Some(error) = error.downcast_ref::<maskstream::Error>() {
        let is_sample = error.is_corrupt() && error.location().member.is_some();
        if is_sample && !text.contains("--skip") {
            text += "; --skip N goes on without up to N bad samples";
        } else if error.is_limit() && text.contains("more than --max-image-pixels") && !text.contains("--skip") {
            text += "; raise it, or go on without up to N such samples with --skip N";
        }
    }
    text
}

/// Replaces whole words only: a path may contain the name of a setting.
pub(super) fn translated(text: &str) -> String {
    let text = PHRASES.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
    let flag_of = |word: &str| FLAGS.iter().find(|(setting, _)| *setting == word).map(|(_, flag)| *flag);
    let translate = |token: &str| {
        let word = token.trim_matches(|c: char| !c.is_alphanumeric() && c != '_');
        // A word that is the end of a longer one, as in a path, has more before it than a bracket.
        let bare = token.trim_matches(['(', ')', ',', ';', ':', '.', ' ']);
        match flag_of(word) {
            Some(flag) if bare == word => token.replace(word, flag),
            _ => token.to_owned(),
        }
    };
    text.split_inclusive(' ').map(translate).collect()
}

/// Settings that a loader refuses are wrong arguments.
pub(super) fn misuse(error: maskstream::Error) -> Box<dyn std::error::Error> {
    match error.kind() {
        ErrorKind::Config => WrongArguments(in_flags(&error)).into(),
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_become_flags_and_paths_stay() {
        let cases = [
            ("more than max_image_pixels, 67108864", "more than --max-image-pixels, 67108864"),
            ("the budget of 1 (on_corrupt)", "the budget of 1 (--skip N)"),
            ("lower batch_size, image_size or top_k", "lower --batch-size, --image-size or --top-k"),
            ("batch_size x world_size was 2", "--batch-size x --world-size was 2"),
            ("/data/top_k/batch_size.tar: cut short", "/data/top_k/batch_size.tar: cut short"),
        ];
        for (library, command) in cases {
            assert_eq!(translated(library), command);
        }
    }
}

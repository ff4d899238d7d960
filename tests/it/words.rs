//! The words of the library and of the command: what cannot be done is said with its cause and its remedy, in the names
//! of whoever reads it; nothing that a file holds reaches a terminal unescaped.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use maskstream::index::{Sidecar, resolve_patterns};
use maskstream::mask::Rle;
use maskstream::{Batch, ErrorKind, Loader, MaskFilter, ShardSet, TopKBy};
use serde_json::{Value, json};

use crate::fixture::{
    Made, annotation, document, jpeg, lenient, made, made_many, pack, rectangle, set_of, shard, within,
};

fn run(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_maskstream")).current_dir(dir).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Standard error of a command that ends with this exit status.
fn fails(dir: &Path, status: i32, args: &[&str]) -> String {
    let output = run(dir, args);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{args:?}: {error}");
    error
}

fn succeeds(dir: &Path, args: &[&str]) -> String {
    let output = run(dir, args);
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// A directory with the small shard `s/sa_000000.tar` of four samples.
fn with_shard() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("s")).unwrap();
    fs::write(dir.path().join("s/sa_000000.tar"), shard(&made_many(4))).unwrap();
    dir
}

#[test]
fn what_is_there_in_place_of_shards_is_said_with_the_remedy() {
    let dir = with_shard();
    let dir = dir.path();
    let extracted = ["ext/sa_1.jpg", "ext/sa_1.json", "parts/b/sa_2.jpeg", "parts/b/sa_2.json", "half/sa_1.json"];
    let archives = ["gz/a.tar.gz", "tgz/a.tgz", "other/a.tar.zst", "deep/in/a.tar"];
    for name in extracted.into_iter().chain(archives) {
        fs::create_dir_all(dir.join(name).parent().unwrap()).unwrap();
        fs::write(dir.join(name), "").unwrap();
    }
    fs::create_dir(dir.join("empty")).unwrap();
    fs::write(dir.join("file"), "").unwrap();
    std::os::unix::fs::symlink("nowhere", dir.join("link.tar")).unwrap();
    assert!(Command::new("mkfifo").arg(dir.join("pipe.tar")).status().unwrap().success());
    let cases = [
        ("gone/sa.tar", "no shard matches gone/sa.tar: there is no directory gone; check the path, or mount its disk"),
        ("gone/*/x/*.tar", "there is no directory gone"),
        ("s/sa.tar", "no shard matches s/sa.tar: there is no such file or directory; check the name"),
        ("s/sb_*.tar", "no shard matches s/sb_*.tar: s has only sa_000000.tar"),
        ("file/x.tar", "file is no directory"),
        ("e*", "it matches directories only, such as empty; name a directory for its *.tar files"),
        ("empty", "the directory empty is empty: shards are its *.tar files"),
        ("empty/*.tar", "no shard matches empty/*.tar: empty is empty"),
        ("gz", "the directory gz has no *.tar file, but 1 such as a.tar.gz: name them as 'gz/*.tar.gz'"),
        ("tgz", "name them as 'tgz/*.tgz'"),
        ("ext", "but 1 image/json pair (sa_1.jpg): make shards of it with `maskstream pack ext -o OUT`"),
        ("ext/*.tar", "ext has 1 image/json pair (sa_1.jpg): make shards of it with `maskstream pack ext -o OUT`"),
        (
            "parts",
            "but directories with image/json pairs, such as parts/b: make shards of it with `maskstream pack parts",
        ),
        ("half", "but images or json files, 1 such as sa_1.json: a sample needs both, under one name"),
        ("other", "the directory other has no *.tar file: it has only a.tar.zst; name shards with other names"),
        ("deep", "but directories with some: name deep/in"),
        #[cfg(not(feature = "remote"))]
        ("https://example.org/sa.tar", "this build reads files only: build it with the feature `remote`"),
        #[cfg(not(feature = "remote"))]
        ("s3://bucket/sa.tar", "mount the bucket"),
        ("hf://bucket/sa.tar", "is an address that cannot be read: addresses begin with s3://, gs://, az://"),
        ("file:///data/sa.tar", "name the file: /data/sa.tar"),
        ("-", "- is a stream, but a shard is read at many places: write it to a file first"),
        ("/dev/stdin", "is a stream"),
        ("/dev/null", "/dev/null: cannot open the file: it is a device, and shards are read at random places"),
        ("pipe.tar", "pipe.tar: cannot open the file: it is a fifo (a pipe)"),
        ("p*.tar", "it is a fifo (a pipe)"),
        ("link.tar", "link.tar is a link to nowhere, which does not exist"),
        ("l*.tar", "link.tar is a link to nowhere"),
        ("s/sa_[", "the pattern s/sa_["),
        ("s/sa_{000000..000009}.tar", "9 of the 10 shards of s/sa_{000000..000009}.tar are missing (s/sa_000001.tar, "),
        ("gone/{a,b}.tar", "2 of the 2 shards of gone/{a,b}.tar are missing (gone/a.tar, gone/b.tar): there is no dir"),
        ("sa_{0..999999999}.tar", "stands for more than 100000 shards: name fewer at a time"),
        ("~/no.tar", "/no.tar: there is no "),
    ];
    for (pattern, expected) in cases {
        let error = fails(dir, 1, &["inspect", pattern]);
        assert!(error.contains(expected), "{pattern}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn patterns_expand_as_in_a_shell() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    for name in ["a/sa_08.tar", "a/sa_09.tar", "a/sa_10.tar", "b/sa_08.tar", "b/c/sa_1.tar", "odd{1,2}.tar"] {
        fs::create_dir_all(dir.join(name).parent().unwrap()).unwrap();
        fs::write(dir.join(name), "").unwrap();
    }
    let found = |pattern: &str| -> Vec<String> {
        let paths = resolve_patterns(&[dir.join(pattern)]).unwrap();
        paths.iter().map(|path| path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned()).collect()
    };
    assert_eq!(found("a/sa_{09..10}.tar"), ["a/sa_09.tar", "a/sa_10.tar"]);
    assert_eq!(found("{b,a}/sa_08.tar"), ["b/sa_08.tar", "a/sa_08.tar"], "in the order of the list");
    assert_eq!(found("{b,a}"), ["b/sa_08.tar", "a/sa_08.tar", "a/sa_09.tar", "a/sa_10.tar"]);
    assert_eq!(found("[ab]/sa_*[08].tar"), ["a/sa_08.tar", "a/sa_10.tar", "b/sa_08.tar"]);
    assert_eq!(found("**/sa_*8.tar"), ["a/sa_08.tar", "b/sa_08.tar"]);
    assert_eq!(found("b/**/*.tar"), ["b/c/sa_1.tar", "b/sa_08.tar"]);
    assert_eq!(found("odd{1,2}.tar"), ["odd{1,2}.tar"], "what exists wins");
    let home = Command::new(env!("CARGO_BIN_EXE_maskstream"))
        .args(["index", "~/a/sa_{08..09}.tar", "--json"])
        .env("HOME", dir)
        .output()
        .unwrap();
    let text = text(&[home.stdout, home.stderr].concat());
    assert!(text.contains(dir.join("a/sa_08.tar").to_str().unwrap()), "{text}");
    assert!(text.contains(dir.join("a/sa_09.tar").to_str().unwrap()), "{text}");
}

#[test]
fn no_file_is_left_out_for_its_name_or_taken_twice() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let strange = dir.join(OsStr::from_bytes(b"sa_\xff.tar"));
    for path in [&strange, &dir.join("sa_1.tar"), &dir.join("._sa_1.tar"), &dir.join("sa_1.txt")] {
        fs::write(path, "").unwrap();
    }
    fs::hard_link(dir.join("sa_1.tar"), dir.join("sa_2.tar")).unwrap();
    let expected = [dir.join("sa_1.tar"), strange.clone()];
    for patterns in [vec![dir.to_owned()], vec![dir.join("*.tar")], vec![dir.join("sa_?.tar")]] {
        assert_eq!(resolve_patterns(&patterns).unwrap(), expected, "{patterns:?}");
    }
    // A file that is named is taken.
    assert_eq!(resolve_patterns(&[dir.join("._sa_1.tar")]).unwrap(), [dir.join("._sa_1.tar")]);
    assert_eq!(resolve_patterns(&[&strange]).unwrap(), [strange]);
}

/// A JPEG whose EXIF data turns it.
fn turned(jpeg: &[u8], orientation: u16) -> Vec<u8> {
    let mut tiff = b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01".to_vec();
    tiff.extend(orientation.to_be_bytes());
    tiff.extend([0; 6]);
    let segment = [b"Exif\0\0".as_slice(), &tiff].concat();
    let length = (segment.len() as u16 + 2).to_be_bytes();
    [&jpeg[..2], &[0xff, 0xe1], &length, &segment, &jpeg[2..]].concat()
}

/// A sample of one mask, as members.
fn one(id: i64, image: Vec<u8>, annotation: Value) -> [(String, Vec<u8>); 2] {
    [(format!("sa_{id}.jpg"), image), (format!("sa_{id}.json"), document(id, 40, 30, &[annotation]))]
}

#[test]
fn inspect_decodes_on_request_and_says_what_it_has_not_checked() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mask = rectangle(40, 30, [10, 5, 20, 9]);
    let sound = || annotation(1, &mask, 0.9, 0.95);
    let whole = |id: u64| jpeg(40, 30, id);
    let swapped = {
        let mut made = sound();
        made["segmentation"]["size"] = json!([40, 30]);
        made
    };
    let empty = {
        let mut made = sound();
        made["segmentation"]["counts"] = json!(Rle::empty(30, 40).unwrap().to_counts());
        made
    };
    let unlike = |field: &str, value: Value| {
        let mut made = sound();
        made[field] = value;
        made
    };
    let members = [
        one(1, whole(1), sound()),
        one(2, whole(2)[..300].to_vec(), sound()),
        one(3, b"no image at all".to_vec(), sound()),
        one(4, whole(4), swapped),
        one(5, whole(5), empty),
        one(6, whole(6), unlike("bbox", json!([1, 5, 20, 9]))),
        one(7, whole(7), unlike("area", json!(17))),
        one(8, turned(&whole(8), 3), sound()),
        one(9, turned(&whole(9), 1), sound()),
        one(10, jpeg(30, 40, 10), sound()),
    ]
    .concat();
    fs::write(dir.join("bad.tar"), pack(&members)).unwrap();
    fs::write(dir.join("good.tar"), shard(&made_many(3))).unwrap();

    let plain = succeeds(dir, &["inspect", "bad.tar"]);
    assert!(plain.contains("no problems (images and masks were not opened: --decode does)"), "{plain}");
    let output = run(dir, &["inspect", "bad.tar", "good.tar", "--decode"]);
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{shown}");
    assert!(text(&output.stderr).contains("1 of 2 shards are damaged"), "{}", text(&output.stderr));
    for line in [
        "  3 x image cannot be decoded\n",
        "  1 x mask cannot be read\n",
        "  1 x mask without a pixel\n",
        "  1 x mask unlike its box\n",
        "  1 x mask unlike its area\n",
        "  1 x image turned by EXIF\n",
        "image turned by EXIF: member ./sa_8.jpg, byte ",
        "no problems; all images and masks can be decoded",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");

    // Notes alone are no damage.
    let notes = [one(6, whole(6), unlike("area", json!(17))), one(8, turned(&whole(8), 6), sound())].concat();
    fs::write(dir.join("notes.tar"), pack(&notes)).unwrap();
    let line = succeeds(dir, &["inspect", "notes.tar", "--decode", "--json"]);
    let summary: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&summary["decoded"], &summary["damaged"]), (&true.into(), &false.into()));
    assert_eq!(summary["finding_counts"], json!({"image turned by EXIF": 1, "mask unlike its area": 1}));
    assert_eq!(summary["findings"].as_array().unwrap().len(), 2);
    // A limit is one that the command can raise.
    let large = text(&run(dir, &["inspect", "notes.tar", "--decode", "--max-image-pixels", "100"]).stdout);
    assert!(large.contains("2 x image cannot be decoded"), "{large}");
}

#[test]
fn inspect_tells_a_script_what_is_damaged_and_goes_on() {
    let dir = with_shard();
    let dir = dir.path();
    let bytes = fs::read(dir.join("s/sa_000000.tar")).unwrap();
    fs::write(dir.join("s/cut.tar"), &bytes[..bytes.len() / 2]).unwrap();
    fs::write(dir.join("s/orphan.tar"), pack(&[("sa_1.jpg".to_owned(), jpeg(8, 8, 1))])).unwrap();
    let output = run(dir, &["inspect", "s"]);
    assert_eq!(output.status.code(), Some(1));
    let shown = text(&output.stdout);
    for name in ["s/cut.tar", "s/orphan.tar", "s/sa_000000.tar"] {
        assert!(shown.contains(name), "{name} is shown: {shown}");
    }
    assert!(text(&output.stderr).contains("1 of 3 shards are damaged"));
    succeeds(dir, &["inspect", "s/orphan.tar"]);
    succeeds(dir, &["inspect", "s/sa_000000.tar"]);
}

#[test]
fn what_a_file_holds_never_reaches_the_terminal_unescaped() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let evil = "\u{1b}[2J\u{202e}sa.txt\r\u{9b}";
    let mut members = made_many(2).iter().flat_map(Made::both).collect::<Vec<_>>();
    members.push((evil.to_owned(), b"x".to_vec()));
    members.push(("\u{7}\u{1b}]0;x.json".to_owned(), b"{\x1b[31m".to_vec()));
    fs::write(dir.join("\u{1b}[1mevil.tar"), pack(&members)).unwrap();
    let pattern = ["*evil.tar"];
    for command in [
        vec!["index"],
        vec!["index", "--json"],
        vec!["inspect"],
        vec!["inspect", "--decode"],
        vec!["bench", "--image-size", "32"],
        vec!["export", "--image-size", "32", "-o", "o.safetensors"],
    ] {
        let Output { stdout, stderr, .. } = run(dir, &[&command[..1], &pattern, &command[1..]].concat());
        let shown = text(&stdout) + &text(&stderr);
        let is_unsafe = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!shown.is_empty() && !shown.contains(is_unsafe), "{command:?}: {shown:?}");
    }
}

/// The members of a sample.
trait Both {
    fn both(&self) -> [(String, Vec<u8>); 2];
}

impl Both for Made {
    fn both(&self) -> [(String, Vec<u8>); 2] {
        [(self.image_name(), self.image.clone()), (self.json_name(), self.json.clone())]
    }
}

#[test]
fn the_command_names_its_flags_and_not_the_librarys_settings() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let sample = |id| made(id, 40, 30, 3);
    let mut broken = sample(2);
    broken.json = b"{".to_vec();
    let mut cut = sample(3);
    cut.image.truncate(200);
    fs::write(dir.join("broken.tar"), shard(&[sample(1), broken])).unwrap();
    fs::write(dir.join("cut.tar"), shard(&[sample(1), cut])).unwrap();
    fs::write(dir.join("sound.tar"), shard(&[sample(1), sample(2)])).unwrap();
    let cases: [(i32, &[&str], &str); 12] = [
        (1, &["broken.tar"], "to use the valid samples, set --skip N"),
        (1, &["cut.tar"], "; --skip N goes on without up to N bad samples"),
        (
            1,
            &["sound.tar", "--max-image-pixels", "100"],
            "pixels, more than --max-image-pixels, 100; raise it, or go on",
        ),
        // Settings that cannot be are wrong arguments.
        (2, &["sound.tar", "--batch-size", "4096"], "--max-memory-bytes is 8589934592 by default, but 3 batches x"),
        (2, &["sound.tar", "--max-memory-bytes", "1MB"], "--max-memory-bytes is 1000000, but 3 batches x"),
        (2, &["sound.tar", "--max-memory-bytes", "1MiB"], "--max-memory-bytes is 1048576, but"),
        (2, &["sound.tar", "--rank", "0", "--world-size", "0"], "must be below --world-size, 0"),
        (2, &["sound.tar", "--mask-size", "70000"], "--mask-size is 70000 x 70000"),
        (2, &["sound.tar", "--drop-last", "--batch-size", "3"], "--drop-last is set"),
        (2, &["sound.tar", "--imagenet"], "--imagenet has no effect on u8 images"),
        (2, &["sound.tar", "--clicks", "60", "--negative-clicks", "60"], "negative clicks are more than 64"),
        (
            2,
            &["sound.tar", "--stream", "--rank", "0", "--world-size", "2"],
            "build the indexes first, with `maskstream in",
        ),
    ];
    for (status, args, expected) in cases {
        let said = fails(dir, status, &[&["bench"], args].concat());
        // An epoch that has begun is accounted for before the error.
        let (before, error) = said.trim_end().rsplit_once('\n').unwrap_or(("", &said));
        assert!(error.contains(expected), "{args:?}: {error}");
        assert!(before.is_empty() || before.starts_with("maskstream: epoch 0: ") && !before.contains('\n'), "{said}");
        for word in ["on_corrupt", "on_error", "OnCorrupt", "OnError", "max_", "batch_size", "ShardSet", "None", "{ "] {
            assert!(!error.contains(word), "{args:?} has {word}: {error}");
        }
        // Only what is built by `--stream` has no index yet.
        let _ = fs::remove_file(dir.join("sound.tar.msidx"));
    }
    for args in [
        ["export", "--batches", "0"],
        ["bench", "--epochs", "0"],
        ["bench", "--batch-size", "0"],
        ["bench", "--top-k", "70000"],
        ["bench", "--num-workers", "0"],
        ["bench", "--max-memory-bytes", "8X"],
        ["bench", "--chunk-bytes", "1x"],
    ] {
        let error = fails(dir, 2, &[&args[..1], &["sound.tar"], &args[1..]].concat());
        assert!(error.contains(args[1]), "{error}");
    }
}

#[test]
fn a_loader_that_needs_more_than_the_default_memory_is_refused_with_the_sum() {
    let set = std::sync::Arc::new(set_of(vec![shard(&made_many(4))]));
    let large = || Loader::builder().batch_size(4096);
    let error = large().build(std::sync::Arc::clone(&set)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let text = error.to_string();
    let needed: u64 = text.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(text.starts_with("max_memory_bytes is 8589934592 by default, but 3 batches x "), "{text}");
    // With what the error says, and with not a byte less, it is built.
    assert!(large().max_memory_bytes(needed - 1).build(std::sync::Arc::clone(&set)).is_err());
    assert!(large().max_memory_bytes(needed).build(std::sync::Arc::clone(&set)).is_ok());
    let plan = *Loader::builder().build(set).unwrap().memory_plan();
    assert_eq!(plan.max_bytes, 8 << 30);
}

#[test]
fn an_index_that_cannot_be_saved_is_said_in_one_line() {
    let dir = with_shard();
    let dir = dir.path();
    fs::write(dir.join("file"), "").unwrap();
    for command in [
        vec!["export", "s", "--image-size", "32", "-o", "o.safetensors"],
        vec!["bench", "s", "--image-size", "32"],
        vec!["bench", "s", "--image-size", "32", "--stream"],
        vec!["inspect", "s"],
    ] {
        let output = run(dir, &[&command[..], &["--index-dir", "file"]].concat());
        let error = text(&output.stderr);
        assert!(output.status.success(), "{command:?}: {error}");
        let said: Vec<&str> = error.lines().filter(|line| line.contains("--index-dir DIR")).collect();
        assert!(said.len() == 1 && said[0].contains("an index could not be saved"), "{command:?}: {error}");
        assert!(said[0].contains("file/sa_000000.tar.msidx"), "{error}");
    }
    assert!(fails(dir, 1, &["index", "s", "--index-dir", "file"]).contains("--index-dir DIR"));
    // Nothing is said where nothing is wrong.
    assert!(run(dir, &["bench", "s", "--image-size", "32"]).stderr.is_empty());
}

#[test]
fn replay_needs_nothing_but_the_cursor_and_the_shards() {
    within(|| {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let samples = made_many(24);
        fs::create_dir(dir.join("s")).unwrap();
        for (n, samples) in samples.chunks(8).enumerate() {
            fs::write(dir.join(format!("s/sa_{n}.tar")), shard(samples)).unwrap();
        }
        let filter = MaskFilter::all().min_stability_score(0.92).area(3, 900).box_side(1.0, 44.5).min_masks(2);
        let open = |filter| lenient().filter(filter).sidecar(Sidecar::Beside).open(&[dir.join("s")]).unwrap();
        let runs = [
            (open(filter), Loader::builder().batch_size(3).rank(1, 2).top_k(2).shuffle(41).drop_last(true)),
            (open(MaskFilter::default()), Loader::builder().batch_size(5).top_k_by(TopKBy::Random { seed: 9 })),
            (open(MaskFilter::all()), Loader::builder().batch_size(2).shuffle(3).chunk_bytes(9_000)),
        ];
        for (set, options) in runs {
            let loader = options.image_size(48).build(set).unwrap();
            let batches: Vec<Batch> = loader.epoch(2).unwrap().map(Result::unwrap).collect();
            let batch = &batches[batches.len() / 2];
            let cursor = batch.cursor().unwrap();
            fs::write(dir.join("cursor.json"), serde_json::to_string(&cursor).unwrap()).unwrap();
            let replay = ["replay", "s", "--cursor", "cursor.json", "--json"];
            let world = (cursor.global_batch() as usize / batch.samples().len()).to_string();
            let rank = if world == "1" { "0" } else { "1" };
            let args = [&replay[..], &["--image-size", "48", "--rank", rank, "--world-size", &world]].concat();
            let shown: Value = serde_json::from_str(&succeeds(dir, &args)).unwrap();
            assert_eq!((&shown["epoch"], &shown["batch"]), (&2.into(), &batch.step().into()));
            let rows = shown["rows"].as_array().unwrap();
            let ids: Vec<i64> = rows.iter().map(|row| row["image_id"].as_i64().unwrap()).collect();
            assert_eq!(ids, batch.image_ids()[..batch.valid_rows()]);
            let masks: usize = rows.iter().map(|row| row["masks"].as_u64().unwrap() as usize).sum();
            assert_eq!(masks, batch.valid().iter().filter(|&&valid| valid == 1).count());
            // Without a rank: the batch of all ranks.
            let all: Value = serde_json::from_str(&succeeds(dir, &replay)).unwrap();
            let all: Vec<_> = all["rows"].as_array().unwrap().iter().map(|row| row["image_id"].clone()).collect();
            assert!(ids.iter().all(|id| all.contains(&(*id).into())) && all.len() >= ids.len());
        }
        // The last cursor: in chunks, with seed 3, unfiltered, without a flag that says so.
        let table = succeeds(dir, &["replay", "s", "--cursor", "cursor.json"]);
        let ids = table.lines().find(|line| line.contains("image_ids")).unwrap();
        assert_eq!(ids.split_whitespace().count(), 4, "ids have no mean: {ids}");
        let same = ["--shuffle", "--seed", "3", "--batch-size", "2", "--top-k", "10", "--min-masks", "0"];
        succeeds(dir, &[&["replay", "s", "--cursor", "cursor.json"], &same[..]].concat());
        let contradictions: [(&[&str], &str); 7] = [
            (&["--seed", "4"], "the shuffle was seed 3 with chunks of"),
            (&["--batch-size", "4"], "--batch-size x --world-size was 2 when it was saved and is now 4"),
            (&["--top-k", "4"], "--top-k was 10 when it was saved and is now 4"),
            (&["--top-k-by", "largest"], "was highest stability_score when it was saved and is now largest area"),
            (&["--drop-last"], "--drop-last was false when it was saved and is now true"),
            (&["--min-predicted-iou", "0.5"], "the filter was (no bounds) when it was saved and is now (predicted_iou"),
            (&["--rank", "0", "--world-size", "3"], "2 samples a step, as in the cursor, cannot be shared by 3 ranks"),
        ];
        for (args, expected) in contradictions {
            let error = fails(dir, 1, &[&["replay", "s", "--cursor", "cursor.json"], args].concat());
            assert!(error.contains(expected), "{args:?}: {error}");
        }
        for name in ["null", "null.json"] {
            fs::write(dir.join("null.json"), "null\n").unwrap();
            let error = fails(dir, 1, &["replay", "s", "--cursor", name]);
            assert!(error.contains("is null: a batch has no cursor while shards have no index"), "{error}");
        }
        // A cursor as earlier versions saved it.
        let old = json!({"epoch": 6, "position": 8, "plan": {
            "version": 2,
            "data": {"shards": 2, "files": 1, "index": 2, "filter": 3, "samples": 10, "selection": 4, "weights": 5},
            "top_k": 3, "top_k_by": 17, "jpeg_codec": 0, "shuffle": [5, 1], "global_batch": 4, "drop_last": false
        }});
        let mut newer = old.clone();
        newer["plan"]["version"] = json!(3);
        newer["plan"]["settings"] = json!({
            "filter": null, "top_k": 10, "top_k_by": "StabilityScore", "jpeg_codec": "Zune", "shuffle": null,
            "global_batch": 4, "drop_last": false
        });
        for (version, cursor) in [(2, old), (3, newer)] {
            let error = fails(dir, 1, &["replay", "s", "--cursor", &cursor.to_string()]);
            let words = format!("it has version {version} of the order, and this program has version");
            assert!(error.contains(&words), "{error}");
        }
    });
}

#[test]
fn a_cursor_of_mixed_sets_says_that_it_does_not_hold_their_filters() {
    let part = |range: std::ops::Range<usize>| set_of(vec![shard(&made_many(8)[range])]);
    let mixed = ShardSet::interleave(vec![(1.0, part(0..4)), (1.0, part(4..8))]).unwrap();
    let loader = Loader::builder().batch_size(2).build(mixed).unwrap();
    let cursor = loader.epoch(0).unwrap().cursor().unwrap();
    let error = cursor.filter().unwrap_err();
    assert!(error.to_string().contains("interleaved sets"), "{error}");
    let single = Loader::builder().build(part(0..4)).unwrap().epoch(0).unwrap().cursor().unwrap();
    assert_eq!(single.filter().unwrap(), MaskFilter::all());
}

#[test]
fn long_output_is_wrapped_and_paths_stay_whole() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let folder = "a folder  with spaces ".repeat(4) + "and an end";
    let path = PathBuf::from(&folder).join("sa_000000.tar");
    fs::create_dir(dir.join(&folder)).unwrap();
    let mut members: Vec<_> = made_many(2).iter().flat_map(Made::both).collect();
    members.extend((0..30).map(|n| (format!("sa_{n}.txt"), Vec::new())));
    fs::write(dir.join(&path), pack(&members)).unwrap();
    for command in ["index", "inspect"] {
        let shown = succeeds(dir, &[command, &folder]);
        let path = path.to_str().unwrap();
        assert!(shown.contains(path), "{shown}");
        let is_long = |line: &&str| line.chars().count() > 80 && !line.contains(path);
        assert_eq!(shown.lines().find(is_long), None);
        assert!(shown.contains("... and 10 more"), "{command}: {shown}");
    }
}
